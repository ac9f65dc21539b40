//! Undo of what is no single object: copied versions, a bucket's settings, a probe that was cut off.

use godwit_model::capability::{Performed, StepScope};
use godwit_model::effect::{Action, CopyVersions, ProbeBucket, SetBucketSetting};
use godwit_model::{Error, ErrorKind, Json, Result};
use serde_json::json;

use crate::store::Store;
use crate::undo::{OpenOne, Request};
use crate::{Objects, probe, settings, versions};

/// What one such effect leaves for undo: title, request, what has changed since.
pub(crate) type Planned = Option<(String, Request, Option<String>)>;

impl Objects {
    pub(crate) async fn plan_further(&self, scope: &StepScope, one: &Performed) -> Result<Planned> {
        match &one.effect.action {
            Action::CopyVersions(copy) => self.plan_versions(scope, one, copy).await,
            Action::SetBucketSetting(set) => self.plan_setting(scope, one, set).await,
            Action::ProbeBucket(probe) => self.plan_probe(scope, one, probe).await,
            _ => Ok(None),
        }
    }

    async fn plan_versions(
        &self,
        scope: &StepScope,
        one: &Performed,
        copy: &CopyVersions,
    ) -> Result<Planned> {
        let store = self.store_of(scope, &copy.sink.slot)?;
        let (bucket, key) = (&copy.sink.bucket, &copy.sink.key);
        let there = match store.versions_of(bucket, key).await {
            Err(error) if error.kind == ErrorKind::Missing => Vec::new(),
            other => other?,
        };
        let mut uploads = Vec::new();
        let mut changed = None;
        let ids: Vec<String> = match &one.done {
            Some(done) => {
                let made = done.fingerprint.get("versions").and_then(Json::as_array);
                let made: Vec<&str> = made.into_iter().flatten().filter_map(Json::as_str).collect();
                if there.iter().any(|version| !made.contains(&version.version.as_str())) {
                    changed = Some(format!("{bucket}/{key} has been written since"));
                }
                let left = there.iter().filter(|version| made.contains(&version.version.as_str()));
                left.map(|version| version.version.clone()).collect()
            }
            None => {
                if copy.versions.iter().any(|version| version.size > self.sizes().held) {
                    for upload in store.open_uploads(bucket, key).await? {
                        uploads.push(OpenOne { bucket: bucket.clone(), key: key.clone(), id: upload.id });
                    }
                }
                if !versions::begins_like(&copy.versions, &there) {
                    changed = Some(format!(
                        "{bucket}/{key} has versions, but they are not what the run was going to write"
                    ));
                }
                there.into_iter().map(|version| version.version).collect()
            }
        };
        if ids.is_empty() && uploads.is_empty() {
            return Ok(None);
        }
        let title = format!("delete {} versions of {bucket}/{key}", ids.len());
        let request = Request::DeleteVersions {
            slot: copy.sink.slot.clone(),
            bucket: bucket.clone(),
            key: key.clone(),
            versions: ids,
            uploads,
        };
        Ok(Some((title, request, changed)))
    }

    async fn plan_setting(
        &self,
        scope: &StepScope,
        one: &Performed,
        set: &SetBucketSetting,
    ) -> Result<Planned> {
        let store = self.store_of(scope, &set.slot)?;
        let text = |json: &Json| json.get("document").and_then(Json::as_str).map(str::to_owned);
        let before = text(&one.preparation.before);
        let after = one.done.as_ref().map_or_else(|| set.document.clone(), |done| text(&done.fingerprint));
        if let Err(error) = store.setting(&set.bucket, set.name).await
            && error.kind == ErrorKind::Missing
        {
            return Ok(None);
        }
        let current = store.document_of(&set.bucket, set.name).await?;
        if settings::same(set.name, current.as_deref(), before.as_deref()) {
            return Ok(None);
        }
        let name = set.name.name();
        let changed = (!settings::same(set.name, current.as_deref(), after.as_deref()))
            .then(|| format!("the {name} of bucket {} has been changed since", set.bucket));
        let title = match before {
            Some(_) => format!("put the former {name} of bucket {} back", set.bucket),
            None => format!("remove the {name} of bucket {}", set.bucket),
        };
        let request = Request::RestoreSetting {
            slot: set.slot.clone(),
            bucket: set.bucket.clone(),
            name: set.name,
            before,
            set: after,
        };
        Ok(Some((title, request, changed)))
    }

    /// A probe leaves nothing but where it was cut off.
    async fn plan_probe(&self, scope: &StepScope, one: &Performed, action: &ProbeBucket) -> Result<Planned> {
        if one.done.is_some() {
            return Ok(None);
        }
        let store = self.store_of(scope, &action.slot)?;
        let key = probe::object_name(scope, &one.effect.key, &action.prefix);
        let there = match store.keeps_versions(&action.bucket).await? {
            true => !store.versions_of(&action.bucket, &key).await?.is_empty(),
            false => store.head(&action.bucket, &key).await?.is_some(),
        };
        let title = format!("delete the probe {}/{key}", action.bucket);
        let request = Request::RemoveProbe { slot: action.slot.clone(), bucket: action.bucket.clone(), key };
        Ok(there.then_some((title, request, None)))
    }

    pub(crate) async fn undo_further(
        &self,
        scope: &StepScope,
        request: Request,
        discard: bool,
    ) -> Result<Json> {
        match request {
            Request::DeleteVersions { slot, bucket, key, versions, uploads } => {
                let store = self.store_of(scope, &slot)?;
                for open in &uploads {
                    store.abort_upload(&open.bucket, &open.key, &open.id).await?;
                }
                let there = store.versions_of(&bucket, &key).await?;
                if !discard && there.iter().any(|one| !versions.contains(&one.version)) {
                    return Err(Error::conflict(format!(
                        "connection `{}`: {bucket}/{key} has been written since the run",
                        store.endpoint.name
                    ))
                    .hint("look at it; `--discard-later-changes` deletes the run's versions all the same"));
                }
                let mut deleted = 0;
                // The newest first, so that nothing older becomes current again on the way.
                for one in there.iter().rev().filter(|one| versions.contains(&one.version)) {
                    store.delete(&bucket, &key, Some(&one.version)).await?;
                    deleted += 1;
                }
                Ok(json!({ "deleted": deleted, "gone": versions.len() - deleted, "given_up": uploads.len() }))
            }
            Request::RestoreSetting { slot, bucket, name, before, set } => {
                let store = self.store_of(scope, &slot)?;
                let current = store.document_of(&bucket, name).await?;
                if settings::same(name, current.as_deref(), before.as_deref()) {
                    return Ok(json!({ "restored": false }));
                }
                if !discard && !settings::same(name, current.as_deref(), set.as_deref()) {
                    return Err(changed(store, &bucket, name.name()));
                }
                store.set_setting(&bucket, name, before.as_deref()).await?;
                Ok(json!({ "restored": true }))
            }
            Request::RemoveProbe { slot, bucket, key } => {
                let store = self.store_of(scope, &slot)?;
                store.remove_wholly(&bucket, &key).await?;
                Ok(json!({ "deleted": true }))
            }
            _ => Err(Error::host("an undo request went astray")),
        }
    }
}

fn changed(store: &Store, bucket: &str, name: &str) -> Error {
    Error::conflict(format!(
        "connection `{}`: the {name} of bucket {bucket} has been changed since the run",
        store.endpoint.name
    ))
    .hint("look at it; `--discard-later-changes` puts the former one back all the same")
}
