//! Taking back what was done: created objects are deleted, former versions and CORS rules return, empty buckets go.
//!
//! Nothing is deleted that isn't, by its ETag, what the run left there. What is to be done is found out in `undo_plan`.

use futures::StreamExt as _;
use godwit_model::capability::{StepScope, UndoAction};
use godwit_model::effect::BucketSetting;
use godwit_model::{Error, ErrorKind, Json, Result, SlotName};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Objects;
use crate::control::NamedCorsRule;
use crate::store::{Head, Store};

/// Requests under way at once.
pub(crate) const AT_ONCE: usize = 16;

/// The request of an [`UndoAction`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "kebab-case")]
pub(crate) enum Request {
    DeleteObjects {
        slot: SlotName,
        objects: Vec<Target>,
        uploads: Vec<OpenOne>,
    },
    RemoveMarker {
        slot: SlotName,
        bucket: String,
        key: String,
        marker: String,
    },
    RestoreCors {
        slot: SlotName,
        bucket: String,
        before: Vec<NamedCorsRule>,
        set: Vec<NamedCorsRule>,
    },
    DeleteBucket {
        slot: SlotName,
        bucket: String,
    },
    DeleteVersions {
        slot: SlotName,
        bucket: String,
        key: String,
        versions: Vec<String>,
        uploads: Vec<OpenOne>,
    },
    RestoreSetting {
        slot: SlotName,
        bucket: String,
        name: BucketSetting,
        before: Option<String>,
        set: Option<String>,
    },
    RemoveProbe {
        slot: SlotName,
        bucket: String,
        key: String,
    },
    /// Only said, never done.
    Refuse,
}

/// An object that the run left. Four fields without names in JSON, since there may be millions of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(String, String, String, Option<String>)", into = "(String, String, String, Option<String>)")]
pub(crate) struct Target {
    pub bucket: String,
    pub key: String,
    pub etag: String,
    /// Where the bucket keeps versions: this one goes, and the one before it is current again.
    pub version: Option<String>,
}

impl From<(String, String, String, Option<String>)> for Target {
    fn from((bucket, key, etag, version): (String, String, String, Option<String>)) -> Self {
        Self { bucket, key, etag, version }
    }
}

impl From<Target> for (String, String, String, Option<String>) {
    fn from(target: Target) -> Self {
        (target.bucket, target.key, target.etag, target.version)
    }
}

/// A multipart upload that the run left open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenOne {
    pub bucket: String,
    pub key: String,
    pub id: String,
}

impl Objects {
    pub(crate) async fn undo_action(
        &self,
        scope: &StepScope,
        action: &UndoAction,
        discard: bool,
    ) -> Result<Json> {
        let request: Request = serde_json::from_value(action.request.clone()).map_err(|e| {
            Error::host(format!("the journal's undo request `{}` can't be read: {e}", action.key))
        })?;
        match request {
            Request::DeleteObjects { slot, objects, uploads } => {
                let store = self.store(&scope.grant(&slot)?.connection)?;
                for open in &uploads {
                    store.abort_upload(&open.bucket, &open.key, &open.id).await?;
                }
                let deletions: Vec<_> = objects.iter().map(|target| delete(store, target, discard)).collect();
                let results: Vec<Result<bool>> =
                    futures::stream::iter(deletions).buffer_unordered(AT_ONCE).collect().await;
                let mut deleted = 0;
                for result in results {
                    deleted += u64::from(result?);
                }
                Ok(
                    json!({ "deleted": deleted, "gone": objects.len() as u64 - deleted, "given_up": uploads.len() }),
                )
            }
            Request::RemoveMarker { slot, bucket, key, marker } => {
                let store = self.store(&scope.grant(&slot)?.connection)?;
                match store.delete(&bucket, &key, Some(&marker)).await {
                    Err(error) if error.kind == ErrorKind::Missing => Ok(json!({ "restored": false })),
                    other => other.map(|_| json!({ "restored": true })),
                }
            }
            Request::RestoreCors { slot, bucket, before, set } => {
                let store = self.store(&scope.grant(&slot)?.connection)?;
                let current = store.cors(&bucket).await?.unwrap_or_default();
                if same_rules(&current, &before) {
                    return Ok(json!({ "restored": false }));
                }
                if !discard && !same_rules(&current, &set) {
                    return Err(Error::conflict(format!(
                        "connection `{}`: the CORS rules of bucket {bucket} have been changed since the run",
                        store.endpoint.name
                    ))
                    .hint(
                        "look at them; `--discard-later-changes all` puts the former ones back all the same",
                    ));
                }
                store.set_cors(&bucket, &before).await?;
                Ok(json!({ "restored": true }))
            }
            Request::DeleteBucket { slot, bucket } => {
                let store = self.store(&scope.grant(&slot)?.connection)?;
                match store.delete_bucket(&bucket).await {
                    Ok(()) => Ok(json!({ "deleted": true })),
                    Err(error) if error.kind == ErrorKind::Missing => Ok(json!({ "deleted": false })),
                    // What others put there is never deleted, whatever may be discarded.
                    Err(error) if error.kind == ErrorKind::Conflict && discard => {
                        Ok(json!({ "deleted": false, "left": "the bucket isn't empty" }))
                    }
                    Err(error) => Err(error.hint(
                        "the bucket holds what this run didn't put there; move it away, or leave the bucket by \
                         `--discard-later-changes`",
                    )),
                }
            }
            Request::Refuse => Err(Error::failed(format!("{}: can't be undone", action.title))),
            further => self.undo_further(scope, further, discard).await,
        }
    }
}

/// Deletes an object if it is the one that the run left; `false` when it is gone already.
async fn delete(store: &Store, target: &Target, discard: bool) -> Result<bool> {
    let found = match store.head(&target.bucket, &target.key).await {
        Err(error) if error.kind == ErrorKind::Missing => None,
        other => other?,
    };
    let Some(head) = found else { return Ok(false) };
    if is_taken_back(store, &target.bucket, &target.key, target.version.as_deref(), &head).await? {
        return Ok(false);
    }
    // A store that names a version when it is written to needn't name one when it is asked.
    let versions_differ =
        matches!((&target.version, &head.version), (Some(ours), Some(there)) if ours != there);
    let same = head.etag == target.etag && !versions_differ;
    if !same && !discard {
        return Err(changed(store, target, &head));
    }
    store.delete(&target.bucket, &target.key, target.version.as_deref()).await?;
    Ok(true)
}

/// Whether the version that the run wrote is gone, so that a former one is current again.
pub(crate) async fn is_taken_back(
    store: &Store,
    bucket: &str,
    key: &str,
    version: Option<&str>,
    head: &Head,
) -> Result<bool> {
    match version {
        Some(version) if head.version.as_deref() != Some(version) => {
            Ok(store.head_of(bucket, key, Some(version)).await?.is_none())
        }
        _ => Ok(false),
    }
}

fn changed(store: &Store, target: &Target, head: &Head) -> Error {
    Error::conflict(format!(
        "connection `{}`: {}/{} has been written since the run: ETag {} became {}",
        store.endpoint.name, target.bucket, target.key, target.etag, head.etag
    ))
    .hint("look at it; `--discard-later-changes` deletes it all the same")
}

/// Rules without names of their own.
pub(crate) fn named(rules: &[godwit_model::effect::CorsRule]) -> Vec<NamedCorsRule> {
    rules.iter().map(|rule| NamedCorsRule { id: None, rule: rule.clone() }).collect()
}

/// Whether both say the same; a store may have named the rules.
pub(crate) fn same_rules(a: &[NamedCorsRule], b: &[NamedCorsRule]) -> bool {
    a.iter().map(|named| &named.rule).eq(b.iter().map(|named| &named.rule))
}
