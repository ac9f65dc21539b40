//! The contract's types as plain Rust, the same natively and in a guest.

use serde::{Deserialize, Serialize};

/// `std::result::Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// `types.error` of the WIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    Invalid(String),
    Denied(String),
    Missing(String),
    Conflict(String),
    Unavailable(String),
    Failed(String),
    Pending(String),
}

impl Error {
    pub fn message(&self) -> &str {
        match self {
            Self::Invalid(m)
            | Self::Denied(m)
            | Self::Missing(m)
            | Self::Conflict(m)
            | Self::Unavailable(m)
            | Self::Failed(m)
            | Self::Pending(m) => m,
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Error {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Plan,
    Apply,
    /// Right after an apply.
    Verify,
    /// The checks of a complete step once more.
    Recheck,
}

/// A query to be asked along with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub slot: String,
    pub sql: String,
    pub params: Vec<Option<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    Postgres,
    S3,
    Dir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// A slot as a plugin declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    pub kind: ConnectionKind,
    pub access: Access,
    pub required: bool,
    pub summary: String,
}

/// A grant as a plugin may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub write: bool,
    pub identity: String,
    pub secrets: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub key: String,
    /// The result as JSON text.
    pub result: Result<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub items: u64,
    pub bytes: u64,
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed(String),
    NotComparable(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    pub verdict: Verdict,
    pub detail: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStat {
    pub path: String,
    pub size: u64,
    pub is_dir: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Execution {
    Atomic,
    Standalone { probe: Option<String>, repair: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Undo {
    Statements(Vec<String>),
    Nothing,
    Irreversible,
}

/// A request to run SQL statements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Execute {
    /// One statement each, without trailing semicolons.
    pub statements: Vec<String>,
    pub execution: Execution,
    pub undo: Undo,
    pub data_dependent: bool,
}

impl Execute {
    /// Statements in one transaction, taken back by `undo`.
    pub fn atomic(statements: Vec<String>, undo: Undo) -> Self {
        Self { statements, execution: Execution::Atomic, undo, data_dependent: false }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    pub slot: String,
    pub schema: String,
    pub name: String,
    pub columns: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    Snapshot,
    Frozen,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyOptions {
    pub consistency: Consistency,
    pub only: bool,
    pub filter: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DatabaseOptions {
    pub owner: Option<String>,
    pub encoding: Option<String>,
    pub locale: Option<String>,
    /// `libc`, `icu` or `builtin`.
    pub locale_provider: Option<String>,
    pub template: Option<String>,
    pub connection_limit: Option<i32>,
}

/// How the data of an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    None,
    Gzip,
    Lz4,
    Zstd,
    Zlib,
}

/// `archive.rows-file` of the WIT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowsFile {
    pub slot: String,
    pub path: String,
    pub compression: Compression,
}

/// `archive.block` of the WIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Block {
    pub dump_id: i32,
    pub offset: u64,
}

/// `archive.objects-file` of the WIT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectsFile {
    pub file: RowsFile,
    pub block: Option<Block>,
}

/// A piece of a sealed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Piece {
    Text(Vec<u8>),
    /// The path of a file that this step has dumped.
    Dumped(String),
    /// Such a file as a data block of the custom format.
    Block {
        path: String,
        dump_id: i32,
    },
    /// Dumped large objects as a block of the custom format.
    Objects {
        path: String,
        dump_id: i32,
    },
    /// Dumped large objects as statements.
    ObjectScript(String),
    /// Dumped large objects as files of their own.
    ObjectFiles {
        path: String,
        compression: Compression,
    },
}

/// Bytes of a chunk of [`Piece::Block`].
pub const BLOCK_CHUNK: u64 = 65536;

/// Bytes that a file of `size` bytes takes as a data block; see `archive.piece` in the WIT.
pub fn block_size(size: u64) -> u64 {
    const NUMBER: u64 = 5;
    1 + NUMBER + size + size.div_ceil(BLOCK_CHUNK) * NUMBER + NUMBER
}

/// Bytes that dumped large objects of `size` bytes take as a block.
pub fn objects_block_size(size: u64) -> u64 {
    1 + 5 + size
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    pub key: String,
    pub size: u64,
    pub etag: String,
    pub modified: i64,
    /// `None` for the store's standard one.
    pub storage_class: Option<String>,
}

/// `objects.object-version` of the WIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    pub info: ObjectInfo,
    pub version: String,
    pub latest: bool,
    /// A delete marker.
    pub deleted: bool,
}

/// `objects.version-copy` of the WIT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionCopy {
    pub version: String,
    pub size: u64,
    pub etag: String,
    pub deleted: bool,
    pub storage_class: Option<String>,
}

/// `objects.endpoint` of the WIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
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
    /// Keys that differ in their Unicode form alone (NFC, NFD) are one key.
    pub folds_unicode: bool,
    /// Keys are paths: no empty part, none that is `.` or `..` or has more than 255 bytes, no key that is another one's
    /// folder.
    pub path_keys: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    Same,
    Differs,
    MissingLeft,
    MissingRight,
}

/// `objects.comparison` of the WIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    pub likeness: Likeness,
    pub by: String,
    pub detail: Option<String>,
}

/// Settings of a bucket that are one document of the S3 API each.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum BucketSetting {
    Lifecycle,
    Tagging,
    Policy,
    Encryption,
    Versioning,
}

impl BucketSetting {
    /// Its name in the S3 API and in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lifecycle => "lifecycle",
            Self::Tagging => "tagging",
            Self::Policy => "policy",
            Self::Encryption => "encryption",
            Self::Versioning => "versioning",
        }
    }
}

/// `objects.setting-state` of the WIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    Document(String),
    Absent,
    /// Why the store says that it has no such setting.
    Unsupported(String),
}

/// A browser's preflight request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightAsk {
    pub origin: String,
    pub method: String,
    pub headers: Vec<String>,
}

/// `objects.preflight` of the WIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    pub status: u16,
    /// The answer's CORS headers, by lower-case name.
    pub headers: Vec<(String, String)>,
}

/// How an object is copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectCopy {
    pub replaces: Replaces,
    pub storage_class: Option<String>,
    pub tags: bool,
}

impl ObjectCopy {
    /// With tags, in the standard storage class.
    pub fn onto(replaces: Replaces) -> Self {
        Self { replaces, storage_class: None, tags: true }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    pub info: ObjectInfo,
    pub headers: Vec<(String, String)>,
    pub metadata: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presigned {
    pub status: u16,
    pub bytes: u64,
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Location {
    pub slot: String,
    pub bucket: String,
    pub key: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Replaces {
    Nothing,
    Object(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorsRule {
    pub allowed_origins: Vec<String>,
    pub allowed_methods: Vec<String>,
    pub allowed_headers: Vec<String>,
    pub expose_headers: Vec<String>,
    pub max_age: Option<u32>,
}
