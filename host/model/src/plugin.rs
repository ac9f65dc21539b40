//! What a plugin is to the host, and what the host is to a plugin.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::capability::{
    Bucketed, Comparison, Cursor, EndpointInfo, FileStat, Listing, ObjectHead, ObjectInfo, Preflight,
    PreflightAsk, PresignedGet, SettingState, VersionListing,
};
use crate::check::Check;
use crate::effect::{Action, Block, BucketSetting, Effect, Evidence, Outcome};
use crate::{ConnectionName, Digest, EffectKey, Error, Json, PluginName, Result, SlotName};

/// The kind of an outside thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionKind {
    Postgres,
    S3,
    Dir,
}

impl ConnectionKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::S3 => "s3",
            Self::Dir => "dir",
        }
    }
}

/// What a slot may do. `Write` includes reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    Read,
    Write,
}

impl Access {
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// A slot as a plugin declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotSpec {
    pub name: SlotName,
    pub kind: ConnectionKind,
    /// The least access with which the plugin can do its work.
    pub access: Access,
    pub required: bool,
    pub summary: String,
}

/// What kind of component a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginKind {
    Step,
    Transform,
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub name: PluginName,
    pub version: String,
    pub summary: String,
    /// Empty for a transform.
    pub slots: Vec<SlotSpec>,
    /// JSON Schema (2020-12) of `with`.
    pub params_schema: Json,
    /// JSON Schema (2020-12) of the step's outputs; `null` for a transform.
    pub outputs_schema: Json,
}

/// A slot with what the recipe granted to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    pub slot: SlotName,
    pub connection: ConnectionName,
    pub kind: ConnectionKind,
    pub access: Access,
    /// For `postgres`: a database other than the one in the connection's URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Names of the secrets whose values may be written through this slot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// Bounds of one step call. Passing one ends the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Linear memory of the guest, in bytes.
    pub memory: u64,
    /// Guest CPU time, in milliseconds; time in host calls doesn't count.
    pub cpu_ms: u64,
    /// Bytes of all log messages and stderr.
    pub log: u64,
    /// Bytes of a result: outputs, one log message, one memo, one chunk of a pipe.
    pub output: u64,
    /// Effects that one call may ask for.
    pub effects: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 256 << 20, cpu_ms: 60_000, log: 1 << 20, output: 16 << 20, effects: 1_000_000 }
    }
}

/// What a step call is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Effects are recorded, not performed.
    Plan,
    Apply,
    /// Right after an apply: no effects at all.
    Verify,
    /// The checks of a complete step once more: no effects at all.
    Recheck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Debug,
    Info,
    Warn,
}

/// An error on its way to a guest.
///
/// Keeps «the guest gets an error» apart from «the host must stop»: a guest may handle the first, never sees the second.
#[derive(Clone, Debug)]
pub enum HostError {
    /// Handed to the guest as `types.error`.
    Guest(Error),
    /// Ends the call at once: a broken journal, a conflict of keys, a cancelled run.
    Stop(Error),
}

impl From<Error> for HostError {
    fn from(error: Error) -> Self {
        Self::Guest(error)
    }
}

/// The result of a guest's call to the host.
pub type HostResult<T> = std::result::Result<T, HostError>;

/// A query that is asked along with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub slot: String,
    pub sql: String,
    pub params: Vec<Option<String>>,
}

/// The host as one step call sees it: one method for each function of the WIT's imports.
///
/// The engine implements it and checks grants, journals and overlays a plan there; the runtime only translates.
#[async_trait]
pub trait StepHost: Send + Sync {
    fn mode(&self) -> Mode;
    /// The grant of a slot, `None` when the recipe grants it nothing.
    fn grant(&self, slot: &str) -> Option<Grant>;
    /// The identity of what is behind a granted slot, without credentials: `granted-access.identity` of the WIT.
    fn identity(&self, slot: &str) -> Option<String>;
    async fn log(&self, level: Level, message: &str) -> HostResult<()>;
    fn progress(&self, label: &str, done: u64, total: Option<u64>, unit: &str);
    /// With a value: keeps it unless the key has one already, and returns what is kept. Without: returns what is kept.
    async fn memo(&self, key: &str, value: Option<Json>) -> HostResult<Option<Json>>;

    /// Checks an effect's grant when a guest makes it; `submit` checks again.
    fn admit(&self, action: &Action) -> HostResult<()>;
    /// Journals the intents of the batch in one commit and queues it. Blocks while too many are in flight.
    async fn submit(&self, batch: Vec<Effect>) -> HostResult<()>;
    /// Waits for at least one outcome; returns at most `max`; empty when nothing is left.
    async fn next(&self, max: u32) -> HostResult<Vec<Outcome>>;
    /// The journalled evidence of a transfer of this step.
    async fn evidence(&self, key: &EffectKey) -> HostResult<Option<Evidence>>;
    /// Reads the sinks of done transfers of this step again, several at once, and folds the same evidence over what is
    /// there now: one result for each key.
    async fn observe(&self, keys: &[EffectKey]) -> HostResult<Vec<Result<Evidence>>>;

    async fn query(&self, slot: &str, sql: &str, params: &[Option<String>]) -> HostResult<Box<dyn Cursor>>;
    /// Asks all at once; one answer for each question.
    async fn answers(&self, questions: &[Question]) -> HostResult<Vec<Result<Vec<String>>>>;

    async fn read_file(&self, slot: &str, path: &str) -> HostResult<Vec<u8>>;
    async fn read_file_range(&self, slot: &str, path: &str, offset: u64, length: u32) -> HostResult<Vec<u8>>;
    async fn stat_file(&self, slot: &str, path: &str) -> HostResult<Option<FileStat>>;
    async fn list_files(&self, slot: &str, path: &str) -> HostResult<Vec<FileStat>>;

    /// See [`crate::capability::ArchiveReads::blocks`].
    async fn archive_blocks(&self, slot: &str, path: &str, start: u64) -> HostResult<Vec<Block>>;

    fn describe_endpoint(&self, slot: &str) -> HostResult<EndpointInfo>;
    async fn list_objects(
        &self,
        slot: &str,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> HostResult<Box<dyn Listing>>;
    async fn list_versions(
        &self,
        slot: &str,
        bucket: &str,
        prefix: &str,
    ) -> HostResult<Box<dyn VersionListing>>;
    /// One result for each key.
    async fn stat_objects(
        &self,
        slot: &str,
        bucket: &str,
        keys: &[String],
    ) -> HostResult<Vec<Result<Option<ObjectInfo>>>>;
    /// One result for each pair of slot and place.
    async fn compare_objects(
        &self,
        pairs: &[((String, Bucketed), (String, Bucketed))],
        deep: bool,
    ) -> HostResult<Vec<Result<Comparison>>>;
    async fn bucket_setting(&self, slot: &str, bucket: &str, name: BucketSetting)
    -> HostResult<SettingState>;
    async fn cors_preflight(&self, slot: &str, at: &Bucketed, ask: &PreflightAsk) -> HostResult<Preflight>;
    async fn head_object(&self, slot: &str, at: &Bucketed) -> HostResult<Option<ObjectHead>>;
    async fn bucket_exists(&self, slot: &str, bucket: &str) -> HostResult<bool>;
    /// The CORS rules of a bucket as JSON; `None` when it has none.
    async fn bucket_cors(&self, slot: &str, bucket: &str) -> HostResult<Option<Json>>;
    async fn presigned_get(&self, slot: &str, at: &Bucketed) -> HostResult<PresignedGet>;
}

/// A loaded component.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// SHA-256 of the component's bytes, the same bytes that were compiled.
    fn digest(&self) -> &Digest;
    fn kind(&self) -> PluginKind;
    fn manifest(&self) -> &Manifest;
    /// Calls `apply` in a fresh store.
    async fn apply(&self, host: Arc<dyn StepHost>, params: &Json, limits: &Limits) -> Result<Json>;
    /// Calls `verify` in a fresh store.
    async fn verify(
        &self,
        host: Arc<dyn StepHost>,
        params: &Json,
        outputs: &Json,
        limits: &Limits,
    ) -> Result<Vec<Check>>;
    /// Asks a transform plugin, in a fresh store, for the selectors that these params name: `selects` of the WIT.
    async fn selects(&self, params: &Json, limits: &Limits) -> Result<Vec<String>>;
    /// Opens a pipe of a transform plugin, in a store of its own. `shape` describes the stream.
    async fn pipe(&self, params: &Json, shape: &Json, limits: &Limits) -> Result<Box<dyn Pipe>>;
}

/// One use of a transform on one stream.
#[async_trait]
pub trait Pipe: Send {
    /// Transforms one chunk; what comes back may be shorter, longer or empty.
    async fn push(&mut self, chunk: &[u8]) -> Result<Vec<u8>>;
    /// Ends the stream.
    async fn finish(&mut self) -> Result<Vec<u8>>;
}
