//! Finding out what a bucket really does, by an object of the host's own that is gone again when the probe ends.

use bytes::Bytes;
use godwit_model::capability::StepScope;
use godwit_model::effect::{Class, Done, Preparation, ProbeBucket};
use godwit_model::{Digest, EffectKey, ErrorKind, Result};
use http::header::IF_NONE_MATCH;
use http::{HeaderMap, HeaderValue};
use serde_json::json;

use crate::Objects;
use crate::fault;
use crate::guarded::Belief;
use crate::http::Turn;
use crate::store::{Payload, Store, patiently};

/// The probe's object. Its name comes from what is journalled, so that a resume finds what a crash left.
pub(crate) fn object_name(scope: &StepScope, key: &EffectKey, prefix: &str) -> String {
    let digest = Digest::of(format!("{}\0{}\0{key}", scope.run, scope.step).as_bytes());
    format!("{prefix}.godwit-probe-{}", digest.short())
}

impl Objects {
    pub(crate) fn prepare_probe(&self, action: &ProbeBucket) -> Preparation {
        let title = format!("probe bucket {} by an object that is gone again afterwards", action.bucket);
        crate::preparation(Class::Creates, title)
    }

    pub(crate) async fn probe_bucket(
        &self,
        scope: &StepScope,
        key: &EffectKey,
        action: &ProbeBucket,
        maybe_ours: bool,
    ) -> Result<Done> {
        let store = self.store_of(scope, &action.slot)?;
        let name = object_name(scope, key, &action.prefix);
        if maybe_ours {
            store.remove_wholly(&action.bucket, &name).await?;
        }
        let found = probe(store, &action.bucket, &name).await;
        // Whatever came of it, nothing stays.
        let removed = store.remove_wholly(&action.bucket, &name).await;
        let found = found?;
        removed?;
        Ok(Done { result: found, evidence: None, fingerprint: json!({}), notes: Vec::new() })
    }
}

async fn probe(store: &Store, bucket: &str, name: &str) -> Result<godwit_model::Json> {
    let content = Bytes::from(format!("A probe: {name}\n"));
    let presigned_put = store.presigned_put(bucket, name, content.clone()).await?;
    if !(200..300).contains(&presigned_put) {
        let payload = || Payload::held(content.clone());
        patiently(|_| store.put(bucket, name, Vec::new(), HeaderMap::new(), payload(), Turn::Waits)).await?;
    }
    let (presigned_get, read) = store.presigned_bytes(bucket, name, 2 * content.len()).await?;
    let content_kept = presigned_get == 200 && read == content;

    let other = Bytes::from_static(b"This may not replace the probe.\n");
    let refused = patiently(|_| async {
        let mut condition = HeaderMap::new();
        condition.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        let payload = Payload::held(other.clone());
        match store.put(bucket, name, Vec::new(), condition, payload, Turn::Waits).await {
            Ok(_) => Ok(false),
            Err(error) if error.kind == ErrorKind::Conflict => Ok(true),
            Err(error) if fault::is_not_implemented(&error) => Ok(false),
            Err(error) => Err(error),
        }
    })
    .await?;
    store.beliefs.learn(if refused { Belief::Honoured } else { Belief::Ignored });
    Ok(json!({
        "presigned_put": presigned_put,
        "presigned_get": presigned_get,
        "content_kept": content_kept,
        "conditions_honoured": refused,
    }))
}

impl Store {
    /// Deletes an object of the host's own with all versions of it.
    pub async fn remove_wholly(&self, bucket: &str, key: &str) -> Result<()> {
        if self.keeps_versions(bucket).await? {
            for one in self.versions_of(bucket, key).await? {
                self.delete(bucket, key, Some(&one.version)).await?;
            }
            return Ok(());
        }
        match self.delete(bucket, key, None).await {
            Err(error) if error.kind == ErrorKind::Missing => Ok(()),
            other => other.map(|_| ()),
        }
    }
}
