//! What the engine asks of a capability: reads for a guest, effects, undo.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::effect::{Block, BucketSetting, Done, Effect, Evidence, Preparation};
use crate::plugin::{ConnectionKind, Grant, Mode, Pipe};
use crate::secret::{Secret, Secrets};
use crate::{ConnectionName, Digest, EffectKey, Json, Result, RunId, StepId};

/// A connection with its credentials. Only a capability sees it whole.
#[derive(Clone, Debug)]
pub struct Connection {
    pub name: ConnectionName,
    pub kind: ConnectionKind,
    /// The recipe's fields with expressions evaluated: `url`, `endpoint`, `region`, `access_key_id`, `path`, ….
    /// Text that holds a credential is a token; see `secrets`.
    pub settings: BTreeMap<String, Json>,
    /// Every secret of the run, to turn tokens of `settings` into values.
    pub secrets: Arc<Secrets>,
}

impl Connection {
    /// A text setting with its tokens replaced by their values.
    pub fn reveal(&self, field: &str) -> Option<Secret> {
        let text = self.settings.get(field)?.as_str()?;
        Some(Secret::new(self.secrets.reveal(text, None).unwrap_or_else(|_| text.to_owned())))
    }

    /// A text setting as it may be shown.
    pub fn shown(&self, field: &str) -> Option<&str> {
        self.settings.get(field)?.as_str()
    }
}

/// The step on whose behalf a capability acts.
#[derive(Clone)]
pub struct StepScope {
    pub run: RunId,
    pub step: StepId,
    pub mode: Mode,
    pub grants: Arc<Vec<Grant>>,
    pub secrets: Arc<Secrets>,
    /// Plain input values: what a masked diff may show.
    pub known_values: Arc<Vec<String>>,
    /// Private, durable notes of the step (snapshot generations and the like).
    pub notes: Arc<dyn Notes>,
    pub transforms: Arc<dyn Transforms>,
    pub progress: Arc<dyn Progress>,
    /// Planned file writes and deletions: empty outside a plan.
    pub overlay: Arc<dyn Overlay>,
}

impl StepScope {
    /// The grant of a slot. The engine has admitted the effect, so it is there.
    pub fn grant(&self, slot: &crate::SlotName) -> Result<&Grant> {
        self.grants.iter().find(|grant| grant.slot == *slot).ok_or_else(|| {
            crate::Error::denied(format!("slot `{slot}` of step `{}` is not granted", self.step))
        })
    }
}

/// Durable key-value notes.
#[async_trait]
pub trait Notes: Send + Sync {
    async fn get(&self, name: &str) -> Result<Option<Json>>;
    /// Durable when it returns. Replaces an earlier value.
    async fn set(&self, name: &str, value: Json) -> Result<()>;
}

/// The transforms that the recipe puts into transfers.
#[async_trait]
pub trait Transforms: Send + Sync {
    /// Whether there is none at all.
    fn is_empty(&self) -> bool {
        false
    }
    /// Whether any transform sits in the transfer with this label.
    fn applies(&self, label: &str) -> bool;
    /// Opens the pipes for one part of a transfer, in order; empty when none applies.
    async fn open(&self, label: &str, shape: &Json) -> Result<Vec<Box<dyn Pipe>>>;
}

/// Where bytes and rows moved are counted for the display.
pub trait Progress: Send + Sync {
    fn transfer(&self, label: &str, items: u64, bytes: u64);

    /// Says how far a piece of work on the other side is. Nobody has to listen.
    fn work(&self, _label: &str, _done: u64, _total: Option<u64>, _unit: &str) {}

    /// Says what the work waits for that somebody else holds. Said once; nobody has to listen.
    fn waits(&self, _what: &str) {}
}

/// A planned state of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedFile {
    /// The content over tokens.
    Written(Vec<u8>),
    Deleted,
    /// Made by this step, with a content that isn't known before.
    Made(StepId),
}

/// What planned effects have done to files.
pub trait Overlay: Send + Sync {
    fn file(&self, connection: &ConnectionName, path: &str) -> Option<PlannedFile>;
}

/// The journal of one effect's parts and notes.
#[async_trait]
pub trait Ledger: Notes {
    /// The parts as they stand; empty before `plan_parts`.
    async fn parts(&self) -> Result<Vec<Part>>;
    /// Journals the ranges, once, before the first part starts. Durable when it returns.
    async fn plan_parts(&self, ranges: Vec<Json>) -> Result<Vec<Part>>;
    /// Journals that part `index` is done.
    async fn finish_part(&self, index: u32, outcome: Json) -> Result<()>;
    /// Forgets that any part is done, keeping the ranges: their content was emptied.
    async fn reset_parts(&self) -> Result<()>;
}

/// A piece of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub index: u32,
    /// The capability's own description; the last range is open-ended.
    pub range: Json,
    /// What `finish_part` journalled; `None` while the part isn't done.
    pub outcome: Option<Json>,
}

/// An effect as the journal has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Performed {
    pub effect: Effect,
    pub preparation: Preparation,
    /// `None`: an intent without an outcome.
    pub done: Option<Done>,
    /// Order of submission within the step.
    pub sequence: u64,
}

/// The effects of one step that are a capability's own, as far as the journal knows them. There may be more than memory
/// should hold.
#[async_trait]
pub trait History: Send + Sync {
    /// The latest that were submitted before the one with the sequence `before` (`None`: the latest of all), the latest
    /// first; as many as one reading gives. Empty at the end.
    async fn before(&self, before: Option<u64>) -> Result<Vec<Performed>>;

    /// All of them, in the order of submission: for what has effects by the thousand at most.
    async fn all(&self) -> Result<Vec<Performed>> {
        let mut all: Vec<Performed> = Vec::new();
        loop {
            let page = self.before(all.last().map(|last| last.sequence)).await?;
            if page.is_empty() {
                all.reverse();
                return Ok(all);
            }
            all.extend(page);
        }
    }
}

/// What is in memory already, in the order of submission.
#[async_trait]
impl<T: AsRef<[Performed]> + Send + Sync> History for T {
    async fn before(&self, before: Option<u64>) -> Result<Vec<Performed>> {
        let earlier = |one: &&Performed| before.is_none_or(|before| one.sequence < before);
        Ok(self.as_ref().iter().rev().filter(earlier).cloned().collect())
    }
}

/// One thing undo will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoAction {
    /// Unique and stable within the undone step.
    pub key: EffectKey,
    /// One line for a person.
    pub title: String,
    /// The effects it takes back.
    pub takes_back: Vec<EffectKey>,
    /// Why it can't be done; shown, and the undo doesn't start unless told to leave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible: Option<String>,
    /// What has changed since the run; refused unless `--discard-later-changes` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// The capability's own request.
    pub request: Json,
}

/// One capability: performs, observes and undoes the actions that are its own.
///
/// Every method may be called again after a crash at any point; what a method says it has done must be durable.
#[async_trait]
pub trait Capability: Send + Sync {
    /// The thing behind a grant, without credentials and without asking it: `postgres://host:5432/db`,
    /// `s3://host/`, `dir:/real/path`. Two grants with one identity are the same thing.
    fn identity(&self, grant: &Grant) -> Result<String>;

    /// Called before the first effect or read of a step in a run, and again on resume, with what the journal knows.
    /// Settles what a crash left behind and returns the keys of done effects that must be done again
    /// (their snapshot was lost).
    async fn open_step(&self, scope: &StepScope, known: &dyn History) -> Result<Vec<EffectKey>>;

    /// Called once the step's call has ended, well or not: releases snapshots and sessions.
    async fn close_step(&self, scope: &StepScope) -> Result<()>;

    /// Looks before the leap: class, title, estimate, what was there. Changes nothing outside the state folder; in a
    /// plan, nothing at all.
    async fn prepare(&self, scope: &StepScope, effect: &Effect) -> Result<Preparation>;

    /// Names of a transfer beside its label, by which a transform's params may select it: of a partition, the qualified
    /// name of its root. Told by what is journalled alone, so that a resume knows them too; `None` where only the
    /// outcome will tell.
    fn names(
        &self,
        _effect: &Effect,
        _preparation: &Preparation,
        _done: Option<&Done>,
    ) -> Option<Vec<String>> {
        Some(Vec::new())
    }

    /// Performs an effect whose intent is durable. `resumed` says that an earlier attempt may have happened, wholly
    /// or in part.
    async fn perform(
        &self,
        scope: &StepScope,
        effect: &Effect,
        preparation: &Preparation,
        ledger: &dyn Ledger,
        resumed: bool,
    ) -> Result<Done>;

    /// Folds the evidence of a done transfer again, from what its sink holds now.
    async fn observe(&self, scope: &StepScope, performed: &Performed) -> Result<Evidence>;

    /// Turns the performed effects of one step into what undo has to do, in the order in which it has to be done. Reads
    /// only.
    async fn plan_undo(&self, scope: &StepScope, performed: &dyn History) -> Result<Vec<UndoAction>>;

    /// Performs one action of `plan_undo`, whose intent is durable. `discard` allows what has changed since.
    async fn undo(
        &self,
        scope: &StepScope,
        action: &UndoAction,
        discard: bool,
        resumed: bool,
    ) -> Result<Json>;

    /// Proves that a source which the step declared frozen took no writes since the step began, else `conflict`. Asked
    /// before a cut-over; a capability without frozen sources has nothing to prove.
    async fn check_frozen(&self, _scope: &StepScope, _grant: &Grant) -> Result<()> {
        Ok(())
    }

    /// The journalled cleanup at the end of a run or an undo: removes markers of `run` behind the grant.
    /// Returns what was removed, in words; `None` when there was nothing.
    async fn cleanup(&self, run: &RunId, grant: &Grant) -> Result<Option<String>>;
}

/// The reads that the `postgres` capability answers.
#[async_trait]
pub trait PostgresReads: Send + Sync {
    async fn query(
        &self,
        scope: &StepScope,
        grant: &Grant,
        sql: &str,
        params: &[Option<String>],
    ) -> Result<Box<dyn Cursor>>;

    /// The whole answer to a query, at most [`MOST_ANSWER`] bytes. Several are asked at once.
    async fn answer(
        &self,
        scope: &StepScope,
        grant: &Grant,
        sql: &str,
        params: &[Option<String>],
    ) -> Result<Vec<String>>;
}

/// Bytes of an answer that is read to its end.
pub const MOST_ANSWER: usize = 4 << 20;

/// Rows of a query, page by page.
#[async_trait]
pub trait Cursor: Send {
    /// The next rows, each one the JSON text of an object; empty at the end. A page stays under 4 MiB unless one row
    /// is larger.
    async fn next(&mut self) -> Result<Vec<String>>;
}

/// The reads that the `files` capability answers.
#[async_trait]
pub trait FileReads: Send + Sync {
    /// The whole file. Larger than 64 MiB is `invalid`.
    async fn read(&self, grant: &Grant, path: &str) -> Result<Vec<u8>>;
    /// At most `length` bytes (more than 64 MiB is `invalid`) from `offset` on: fewer only where the file ends.
    async fn read_range(&self, grant: &Grant, path: &str, offset: u64, length: u32) -> Result<Vec<u8>>;
    async fn stat(&self, grant: &Grant, path: &str) -> Result<Option<FileStat>>;
    /// The entries of one folder, sorted by path.
    async fn list(&self, grant: &Grant, path: &str) -> Result<Vec<FileStat>>;
}

/// Files as streams, for a capability that moves bulk bytes between them and something else. Every call blocks.
pub trait FileStreams: Send + Sync {
    /// Opens a regular file; `missing` where there is none.
    fn open(&self, grant: &Grant, path: &str) -> Result<std::fs::File>;
    /// Begins a file: an empty temporary one beside its place, in place of what an earlier attempt with this tag left.
    /// Makes missing folders; a plan of the effect notes them beforehand by [`FileStreams::missing_folders`].
    fn begin(&self, grant: &Grant, path: &str, tag: &str) -> Result<std::fs::File>;
    /// Gives a begun file, whose content is written, its name, durably. `conflict` where something has it.
    fn commit(&self, grant: &Grant, path: &str, tag: &str) -> Result<()>;
    /// The same, where the name may be forgotten until another file of the folder is committed; with `replace`, it takes the
    /// place of what is there.
    fn link(&self, grant: &Grant, path: &str, tag: &str, replace: bool) -> Result<()>;
    /// SHA-256 of a file; `None` where nothing is there.
    fn digest(&self, grant: &Grant, path: &str) -> Result<Option<Digest>>;
    fn exists(&self, grant: &Grant, path: &str) -> Result<bool>;
    /// The folders above a path that aren't there, outermost first.
    fn missing_folders(&self, grant: &Grant, path: &str) -> Result<Vec<String>>;
    /// Removes a file (where it is there), what attempts with this tag left, and then those of `folders` that are empty.
    fn remove(&self, grant: &Grant, path: &str, tag: &str, folders: &[String]) -> Result<()>;
}

/// The reads of archives.
#[async_trait]
pub trait ArchiveReads: Send + Sync {
    /// The data blocks of a file of pg_dump's custom format, from `start` on.
    async fn blocks(&self, grant: &Grant, path: &str, start: u64) -> Result<Vec<Block>>;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// Relative to the slot's folder.
    pub path: String,
    pub size: u64,
    pub is_dir: bool,
}

/// The reads that the `objects` capability answers.
#[async_trait]
pub trait ObjectReads: Send + Sync {
    /// What is known of the endpoint; asks nothing of it.
    fn endpoint(&self, grant: &Grant) -> Result<EndpointInfo>;
    /// The objects below a prefix in the order of their keys' bytes, from the first one after `after` on; a missing
    /// bucket is `missing`.
    async fn list(
        &self,
        grant: &Grant,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Box<dyn Listing>>;
    /// All versions of the objects below a prefix; of each key the newest first.
    async fn versions(&self, grant: &Grant, bucket: &str, prefix: &str) -> Result<Box<dyn VersionListing>>;
    /// Many heads at once, one result for each key.
    async fn stat(&self, grant: &Grant, bucket: &str, keys: &[String]) -> Vec<Result<Option<ObjectInfo>>>;
    /// Compares many pairs at once, one result for each.
    async fn compare(&self, pairs: &[ObjectPair], deep: bool) -> Vec<Result<Comparison>>;
    async fn setting(&self, grant: &Grant, bucket: &str, name: BucketSetting) -> Result<SettingState>;
    /// Asks as a browser would, without credentials.
    async fn cors_preflight(&self, grant: &Grant, at: &Bucketed, ask: &PreflightAsk) -> Result<Preflight>;
    async fn head(&self, grant: &Grant, at: &Bucketed) -> Result<Option<ObjectHead>>;
    async fn bucket_exists(&self, grant: &Grant, bucket: &str) -> Result<bool>;
    async fn cors(&self, grant: &Grant, bucket: &str) -> Result<Option<Json>>;
    /// GETs an object by a presigned URL, without other credentials, and counts and digests what comes; of a body longer
    /// than 1 MiB the beginning.
    async fn presigned_get(&self, grant: &Grant, at: &Bucketed) -> Result<PresignedGet>;
}

#[async_trait]
pub trait Listing: Send {
    /// The next page; empty at the end.
    async fn next(&mut self) -> Result<Vec<ObjectInfo>>;
}

#[async_trait]
pub trait VersionListing: Send {
    /// The next page; empty at the end.
    async fn next(&mut self) -> Result<Vec<ObjectVersion>>;
}

/// What is known of an endpoint's habits before anything is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointInfo {
    pub vendor: String,
    pub tags: bool,
    pub versions: bool,
    pub storage_classes: bool,
    /// Bytes.
    pub max_object: u64,
    /// Bytes.
    pub max_key: u32,
    /// Buckets may have CORS rules of their own.
    pub cors: bool,
    /// Keys that differ in their Unicode form alone are one key.
    pub folds_unicode: bool,
    /// Keys are paths: no empty part, none that is `.` or `..` or has more than 255 bytes, no key that is another one's
    /// folder.
    pub path_keys: bool,
}

/// Two objects to be compared.
#[derive(Clone, Debug)]
pub struct ObjectPair {
    pub left: (Grant, Bucketed),
    pub right: (Grant, Bucketed),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    Same,
    Differs,
    MissingLeft,
    MissingRight,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    pub likeness: Likeness,
    /// `size`, the name of a digest, or `content`.
    pub by: String,
    pub detail: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingState {
    /// XML; of a policy JSON.
    Document(String),
    Absent,
    /// Why the store says that it has no such setting.
    Unsupported(String),
}

/// A preflight request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightAsk {
    pub origin: String,
    pub method: String,
    pub headers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// HTTP status.
    pub status: u16,
    /// The answer's CORS headers, by lower-case name.
    pub headers: Vec<(String, String)>,
}

/// One of an object's versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    pub info: ObjectInfo,
    pub version: String,
    pub latest: bool,
    /// A delete marker.
    pub deleted: bool,
}

/// An object's place within a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bucketed {
    pub bucket: String,
    pub key: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    pub key: String,
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    /// Seconds since the Unix epoch.
    pub modified: i64,
    /// `None` for the store's standard one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectHead {
    pub info: ObjectInfo,
    /// `content-type`, `content-encoding`, `content-disposition`, `content-language`, `cache-control`, `expires`:
    /// those that are set, by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// User metadata, names without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresignedGet {
    /// HTTP status.
    pub status: u16,
    /// Of the body: counted, or where it is longer than 1 MiB as it was announced.
    pub bytes: u64,
    /// Of what was read.
    pub sha256: Digest,
}

/// Where a capability may keep what must survive a crash: before-images. 0700.
#[derive(Clone, Debug)]
pub struct StateDir(pub PathBuf);
