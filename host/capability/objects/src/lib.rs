//! The `objects` capability: stores that speak the S3 API.
//!
//! It lists, heads and copies objects between any two endpoints with bounded memory, one GET and one PUT for a small
//! object, journalled parts for a large one; sets CORS rules; makes buckets; and takes all of that back. Keys, headers
//! and user metadata travel byte for byte. What was read is what the store confirmed: each body held in memory goes with
//! a digest that the store checks (`claim`), and what it answers is compared.

mod buffers;
mod checksum;
mod claim;
mod compare;
mod control;
mod copy;
mod credentials;
mod dress;
mod endpoint;
mod fault;
mod guarded;
mod http;
mod kept;
mod listing;
mod multipart;
mod pace;
mod patience;
mod preflight;
mod probe;
mod reads;
mod settings;
mod sights;
mod sign;
mod source;
mod store;
mod undo;
mod undo_plan;
mod undo_versions;
mod vendor;
mod versions;
mod xml;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use godwit_model::capability::{Capability, Connection, History, Ledger, Performed, StepScope, UndoAction};
use godwit_model::effect::{
    Action, Class, CopyObject, CorsRule, CreateBucket, DeleteObject, Done, Effect, Estimate, Evidence,
    Preparation, PutObject, Replaces, SetCors,
};
use godwit_model::plugin::Grant;
use godwit_model::{ConnectionName, EffectKey, Error, ErrorKind, Json, Result, RunId, SlotName};
use serde_json::json;

pub use crate::endpoint::SETTINGS;

use crate::control::BucketState;
use crate::copy::{Copy, Memory, Sizes};
use crate::guarded::{Sink, TAKEN};
use crate::http::Patience;
use crate::store::{Store, patiently};

/// The capability for all connections of kind `s3`.
pub struct Objects {
    stores: BTreeMap<ConnectionName, Arc<Store>>,
    sizes: Sizes,
    memory: Memory,
    patience: Duration,
    /// Effects that failed in this process after they may have written something; whether they lost all patience.
    tried: Mutex<BTreeMap<(RunId, String, EffectKey), bool>>,
}

impl Objects {
    /// Checks the settings of the connections of kind `s3`; others are left alone. Asks no store.
    pub fn new(connections: Vec<Connection>) -> Result<Self> {
        Self::with_sizes(connections, Sizes::default(), Patience::default())
    }

    /// The same with other bounds, so that a test needs no gigabytes: what one request holds, what goes by a single PUT,
    /// a part, in bytes; the most parts of an upload. Within a store one request copies four times `single`.
    #[doc(hidden)]
    pub fn with_bounds(
        connections: Vec<Connection>,
        held: u64,
        single: u64,
        part: u64,
        max_parts: u64,
    ) -> Result<Self> {
        let sizes = Self::bounded(held, single, part, max_parts);
        Self::with_sizes(connections, sizes, Patience::default())
    }

    /// The same, where an endpoint may be silent for `silence` alone, for five times as long while it moves data on its own
    /// side, and for as long in all that one effect tries in vain. No uplink is slow.
    #[doc(hidden)]
    pub fn with_patience(
        connections: Vec<Connection>,
        [held, single, part, max_parts]: [u64; 4],
        silence: Duration,
    ) -> Result<Self> {
        let patience = Patience { silence, long_work: 5 * silence, effect: 5 * silence, slowest: u64::MAX };
        Self::with_sizes(connections, Self::bounded(held, single, part, max_parts), patience)
    }

    fn bounded(held: u64, single: u64, part: u64, max_parts: u64) -> Sizes {
        Sizes { held, single, part, max_parts, within: 4 * single, within_part: single, ..Sizes::default() }
    }

    fn with_sizes(connections: Vec<Connection>, sizes: Sizes, patience: Patience) -> Result<Self> {
        let stores = endpoint::parse_all(&connections)?
            .into_iter()
            .map(|endpoint| {
                let name = ConnectionName::new(endpoint.name.clone());
                Ok((name, Arc::new(Store::new(endpoint, patience)?)))
            })
            .collect::<Result<_>>()?;
        let memory = Memory::new(&sizes);
        Ok(Self { stores, memory, sizes, patience: patience.effect, tried: Mutex::default() })
    }

    fn store(&self, connection: &ConnectionName) -> Result<&Arc<Store>> {
        self.stores.get(connection).ok_or_else(|| {
            Error::invalid(format!("connection `{connection}` is not an s3 connection of this run"))
        })
    }

    fn store_of(&self, scope: &StepScope, slot: &SlotName) -> Result<&Arc<Store>> {
        self.store(&scope.grant(slot)?.connection)
    }

    fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// The class of a write, and why it can't be undone.
    async fn class_of(
        &self,
        store: &Store,
        bucket: &str,
        replaces: &Replaces,
    ) -> Result<(Class, Option<String>)> {
        match replaces {
            Replaces::Nothing => Ok((Class::Creates, None)),
            Replaces::Object { .. } => {
                Ok((Class::Overwrites, self.no_versions(store, bucket, "overwritten").await?))
            }
        }
    }

    async fn no_versions(&self, store: &Store, bucket: &str, what: &str) -> Result<Option<String>> {
        let keeps = store.keeps_versions(bucket).await?;
        Ok((!keeps).then(|| format!("bucket {bucket} keeps no versions: what is {what} is lost")))
    }

    async fn prepare_copy(&self, scope: &StepScope, action: &CopyObject) -> Result<Preparation> {
        let store = self.store_of(scope, &action.sink.slot)?;
        let (class, irreversible) = self.class_of(store, &action.sink.bucket, &action.replaces).await?;
        let estimate = Estimate { items: 1, bytes: action.size, exact: true };
        Ok(Preparation { irreversible, estimate: Some(estimate), ..preparation(class, copy::title(action)) })
    }

    async fn prepare_put(&self, scope: &StepScope, action: &PutObject) -> Result<Preparation> {
        let store = self.store_of(scope, &action.sink.slot)?;
        let (class, irreversible) = self.class_of(store, &action.sink.bucket, &action.replaces).await?;
        let title = format!("put {}/{} ({} bytes)", action.sink.bucket, action.sink.key, action.content.len);
        let estimate = Estimate { items: 1, bytes: action.content.len, exact: true };
        Ok(Preparation { irreversible, estimate: Some(estimate), ..preparation(class, title) })
    }

    async fn prepare_delete(&self, scope: &StepScope, action: &DeleteObject) -> Result<Preparation> {
        let store = self.store_of(scope, &action.sink.slot)?;
        let irreversible = self.no_versions(store, &action.sink.bucket, "deleted").await?;
        let title = format!("delete {}/{}", action.sink.bucket, action.sink.key);
        Ok(Preparation { irreversible, ..preparation(Class::Destroys, title) })
    }

    async fn prepare_bucket(&self, scope: &StepScope, action: &CreateBucket) -> Result<Preparation> {
        let store = self.store_of(scope, &action.slot)?;
        let exists = match store.bucket(&action.bucket).await? {
            BucketState::Forbidden => return Err(reads::forbidden(store, &action.bucket)),
            state => state == BucketState::Usable,
        };
        let title = match exists {
            true => format!("bucket {} at {} is there already", action.bucket, store.endpoint.authority),
            false => format!("create bucket {} at {}", action.bucket, store.endpoint.authority),
        };
        Ok(Preparation { before: json!({ "exists": exists }), ..preparation(Class::Creates, title) })
    }

    async fn prepare_cors(&self, scope: &StepScope, action: &SetCors) -> Result<Preparation> {
        let store = self.store_of(scope, &action.slot)?;
        let vendor = store.endpoint.vendor;
        if !action.rules.is_empty() && vendor.lacks_settings.contains(&"cors") {
            return Err(Error::failed(format!(
                "connection `{}`: bucket {}: {} buckets take no CORS rules",
                store.endpoint.name, action.bucket, vendor.name
            ))
            .hint("leave the rules out, and set the server's own list of origins"));
        }
        let former = match store.cors(&action.bucket).await {
            // The bucket may be one that an earlier effect is yet to make: a bucket that isn't there has no rules.
            Err(error) if error.kind == ErrorKind::Missing => None,
            other => other?,
        };
        let mut details: Vec<String> = action.rules.iter().map(describe).collect();
        match &former {
            None => details.push("the bucket has no rules now".to_owned()),
            Some(former) => {
                details.extend(former.iter().map(|named| format!("now: {}", describe(&named.rule))))
            }
        }
        let before = serde_json::to_value(former.unwrap_or_default())
            .map_err(|e| Error::host(format!("CORS rules of bucket {} make no JSON: {e}", action.bucket)))?;
        let title = match action.rules.len() {
            0 => format!("remove the CORS rules of bucket {}", action.bucket),
            1 => format!("set 1 CORS rule on bucket {}", action.bucket),
            many => format!("set {many} CORS rules on bucket {}", action.bucket),
        };
        Ok(Preparation { details, before: json!({ "rules": before }), ..preparation(Class::Changes, title) })
    }

    async fn put(&self, scope: &StepScope, action: &PutObject, maybe_ours: bool) -> Result<Done> {
        let store = self.store_of(scope, &action.sink.slot)?;
        let place = format!("{}/{}", action.sink.bucket, action.sink.key);
        let bytes = action.content.bytes.clone().ok_or_else(|| {
            Error::host(format!("{place}: its content isn't at hand"))
                .hint("resume the run, so that the step asks anew")
        })?;
        if std::str::from_utf8(&bytes).is_ok_and(|text| scope.secrets.holds_token(text)) {
            return Err(Error::denied(format!("{place}: secrets are not written into objects"))
                .hint("write them into a file through a `dir` connection"));
        }
        let sink = Sink {
            store,
            bucket: &action.sink.bucket,
            key: &action.sink.key,
            replaces: &action.replaces,
            class: None,
            tags: false,
        };
        copy::put_bytes(sink, bytes, action.content_type.as_deref(), maybe_ours).await
    }

    async fn delete(&self, scope: &StepScope, action: &DeleteObject, maybe_done: bool) -> Result<Done> {
        let store = self.store_of(scope, &action.sink.slot)?;
        let (bucket, key) = (&action.sink.bucket, &action.sink.key);
        let marker = match store.head(bucket, key).await? {
            Some(head) if head.etag == action.etag => store.delete(bucket, key, None).await?,
            Some(head) => {
                return Err(Error::conflict(format!(
                    "connection `{}`: {bucket}/{key} has changed: its ETag is {}, and {} was to be deleted",
                    store.endpoint.name, head.etag, action.etag
                ))
                .hint("look at it, then start a new run"));
            }
            None if maybe_done => None,
            None => {
                return Err(Error::missing(format!(
                    "connection `{}`: {bucket}/{key} was to be deleted, but isn't there",
                    store.endpoint.name
                )));
            }
        };
        Ok(Done {
            result: json!({ "deleted": true }),
            evidence: None,
            fingerprint: json!({ "marker": marker }),
            notes: Vec::new(),
        })
    }

    async fn create_bucket(&self, scope: &StepScope, action: &CreateBucket, before: &Json) -> Result<Done> {
        let store = self.store_of(scope, &action.slot)?;
        let absent_before = before.get("exists") == Some(&Json::Bool(false));
        let created = patiently(|_| async {
            match store.bucket(&action.bucket).await? {
                BucketState::Usable => Ok(absent_before),
                BucketState::Forbidden => Err(reads::forbidden(store, &action.bucket)),
                BucketState::Absent => match store.create_bucket(&action.bucket).await {
                    Err(error) if error.code.as_deref() == Some("BucketAlreadyOwnedByYou") => {
                        Ok(absent_before)
                    }
                    other => {
                        other?;
                        store.sights.made(&action.bucket);
                        Ok(true)
                    }
                },
            }
        })
        .await?;
        Ok(Done {
            result: json!({ "created": created }),
            evidence: None,
            fingerprint: json!({ "created": created }),
            notes: Vec::new(),
        })
    }

    async fn act(
        &self,
        scope: &StepScope,
        effect: &Effect,
        preparation: &Preparation,
        ledger: &dyn Ledger,
        maybe_ours: bool,
    ) -> Result<Done> {
        match &effect.action {
            Action::CopyObject(action) => {
                let copy = Copy {
                    scope,
                    action,
                    from: self.store_of(scope, &action.source.slot)?,
                    to: self.store_of(scope, &action.sink.slot)?,
                    ledger,
                    sizes: &self.sizes,
                    memory: &self.memory,
                };
                copy.run(maybe_ours).await
            }
            Action::PutObject(action) => self.put(scope, action, maybe_ours).await,
            Action::DeleteObject(action) => self.delete(scope, action, maybe_ours).await,
            Action::CreateBucket(action) => self.create_bucket(scope, action, &preparation.before).await,
            Action::SetCors(action) => self.set_cors(scope, action).await,
            Action::CopyVersions(action) => self.copy_versions(scope, action, ledger, maybe_ours).await,
            Action::SetBucketSetting(action) => self.set_setting(scope, action).await,
            Action::ProbeBucket(action) => self.probe_bucket(scope, &effect.key, action, maybe_ours).await,
            _ => Err(not_ours(effect)),
        }
    }

    async fn set_cors(&self, scope: &StepScope, action: &SetCors) -> Result<Done> {
        let store = self.store_of(scope, &action.slot)?;
        store.set_cors(&action.bucket, &undo::named(&action.rules)).await?;
        Ok(Done {
            result: json!({ "rules": action.rules.len() }),
            evidence: None,
            fingerprint: json!({ "rules": action.rules }),
            notes: Vec::new(),
        })
    }
}

fn preparation(class: Class, title: String) -> Preparation {
    Preparation {
        class,
        irreversible: None,
        title,
        details: Vec::new(),
        diff: None,
        estimate: None,
        before: Json::Null,
    }
}

/// A rule in one line.
fn describe(rule: &CorsRule) -> String {
    let mut line = format!("{} from {}", rule.allowed_methods.join(", "), rule.allowed_origins.join(", "));
    if !rule.allowed_headers.is_empty() {
        line.push_str(&format!("; headers {}", rule.allowed_headers.join(", ")));
    }
    if !rule.expose_headers.is_empty() {
        line.push_str(&format!("; exposes {}", rule.expose_headers.join(", ")));
    }
    if let Some(age) = rule.max_age {
        line.push_str(&format!("; for {age} s"));
    }
    line
}

/// The step's note of an effect that met somebody else's object, and wrote nothing.
fn refused(effect: &Effect) -> String {
    format!("refused/{}", effect.key)
}

fn not_ours(effect: &Effect) -> Error {
    Error::host(format!("effect `{}` is none of the objects capability's", effect.key))
}

#[async_trait]
impl Capability for Objects {
    fn identity(&self, grant: &Grant) -> Result<String> {
        Ok(self.store(&grant.connection)?.endpoint.identity.clone())
    }

    async fn open_step(&self, _scope: &StepScope, _known: &dyn History) -> Result<Vec<EffectKey>> {
        // What a crash left behind is settled effect by effect: a PUT is repeated or recognised, an upload taken up.
        Ok(Vec::new())
    }

    async fn close_step(&self, scope: &StepScope) -> Result<()> {
        let mut tried = self.tried.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        tried.retain(|(run, step, _), _| *run != scope.run || step != scope.step.as_str());
        Ok(())
    }

    async fn prepare(&self, scope: &StepScope, effect: &Effect) -> Result<Preparation> {
        match &effect.action {
            Action::CopyObject(action) => self.prepare_copy(scope, action).await,
            Action::PutObject(action) => self.prepare_put(scope, action).await,
            Action::DeleteObject(action) => self.prepare_delete(scope, action).await,
            Action::CreateBucket(action) => self.prepare_bucket(scope, action).await,
            Action::SetCors(action) => self.prepare_cors(scope, action).await,
            Action::CopyVersions(action) => self.prepare_versions(scope, action).await,
            Action::SetBucketSetting(action) => self.prepare_setting(scope, action).await,
            Action::ProbeBucket(action) => Ok(self.prepare_probe(action)),
            _ => Err(not_ours(effect)),
        }
    }

    async fn perform(
        &self,
        scope: &StepScope,
        effect: &Effect,
        preparation: &Preparation,
        ledger: &dyn Ledger,
        resumed: bool,
    ) -> Result<Done> {
        let mark = (scope.run.clone(), scope.step.as_str().to_owned(), effect.key.clone());
        let lock = || self.tried.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let tried = lock().get(&mark).copied();
        let mut maybe_ours = resumed || tried.is_some();
        let note = refused(effect);
        if resumed && scope.notes.get(&note).await?.is_some_and(|noted| noted == true) {
            // Taken back first: whatever happens from here on may be this attempt's.
            scope.notes.set(&note, Json::Null).await?;
            maybe_ours = false;
        }
        let work = self.act(scope, effect, preparation, ledger, maybe_ours);
        let (result, spent) = patience::within(self.patience, tried == Some(true), work).await;
        if !maybe_ours && result.as_ref().is_err_and(|error| error.code.as_deref() == Some(TAKEN)) {
            // Else a resume, or undo, would take an object of the same content for this effect's.
            scope.notes.set(&note, Json::Bool(true)).await?;
            lock().remove(&mark);
        } else if result.is_err() {
            lock().insert(mark, spent);
        } else if maybe_ours {
            lock().remove(&mark);
        }
        result
    }

    /// HEAD: an object's ETag and size are those that its copy left as evidence, as long as it is the same object.
    async fn observe(&self, scope: &StepScope, performed: &Performed) -> Result<Evidence> {
        let sink = match &performed.effect.action {
            Action::CopyObject(action) => &action.sink,
            Action::PutObject(action) => &action.sink,
            Action::CopyVersions(action) => return self.observe_versions(scope, action).await,
            _ => return Err(not_ours(&performed.effect)),
        };
        let store = self.store_of(scope, &sink.slot)?;
        let head = store.head(&sink.bucket, &sink.key).await?.ok_or_else(|| {
            Error::missing(format!(
                "connection `{}`: {}/{} isn't there",
                store.endpoint.name, sink.bucket, sink.key
            ))
        })?;
        Ok(Evidence { items: 1, bytes: head.size, digest: format!("etag:{}", head.etag) })
    }

    async fn plan_undo(&self, scope: &StepScope, performed: &dyn History) -> Result<Vec<UndoAction>> {
        self.undo_actions(scope, performed).await
    }

    async fn undo(
        &self,
        scope: &StepScope,
        action: &UndoAction,
        discard: bool,
        _resumed: bool,
    ) -> Result<Json> {
        self.undo_action(scope, action, discard).await
    }

    /// Objects carry no markers: nothing has to be cleaned up.
    async fn cleanup(&self, _run: &RunId, _grant: &Grant) -> Result<Option<String>> {
        Ok(None)
    }
}
