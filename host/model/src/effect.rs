//! Effects: anything that changes the world, as data.

use serde::{Deserialize, Serialize};

use crate::plugin::ConnectionKind;
use crate::{Digest, EffectKey, Error, Json, SlotName};

/// One effect as a plugin asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    pub key: EffectKey,
    /// Keys of effects of the same step that must be done first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<EffectKey>,
    pub action: Action,
}

impl Effect {
    /// SHA-256 over the JSON of the action. Contents enter by their digest, secrets by their token, `after` not at all.
    pub fn request_digest(&self) -> Digest {
        let json = serde_json::to_vec(&self.action).expect("an action is plain data");
        Digest::of(&json)
    }
}

/// What an effect does. The variants' data is the whole request: two equal requests mean the same change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    WriteFile(WriteFile),
    DeleteFile(DeleteFile),
    ExecuteSql(ExecuteSql),
    CopyTable(CopyTable),
    CopySequences(CopySequences),
    CreateDatabase(CreateDatabase),
    DumpTable(DumpTable),
    LoadTable(LoadTable),
    SealArchive(SealArchive),
    CopyObject(CopyObject),
    PutObject(PutObject),
    DeleteObject(DeleteObject),
    CreateBucket(CreateBucket),
    SetCors(SetCors),
    CopyVersions(CopyVersions),
    SetBucketSetting(SetBucketSetting),
    ProbeBucket(ProbeBucket),
}

/// Which capability performs an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CapabilityName {
    Files,
    Postgres,
    Objects,
}

impl CapabilityName {
    /// The kind of connection that a capability serves.
    pub fn kind(self) -> ConnectionKind {
        match self {
            Self::Files => ConnectionKind::Dir,
            Self::Postgres => ConnectionKind::Postgres,
            Self::Objects => ConnectionKind::S3,
        }
    }
}

impl Action {
    pub fn capability(&self) -> CapabilityName {
        match self {
            Self::WriteFile(_) | Self::DeleteFile(_) => CapabilityName::Files,
            Self::ExecuteSql(_)
            | Self::CopyTable(_)
            | Self::CopySequences(_)
            | Self::CreateDatabase(_)
            | Self::DumpTable(_)
            | Self::LoadTable(_)
            | Self::SealArchive(_) => CapabilityName::Postgres,
            Self::CopyObject(_)
            | Self::PutObject(_)
            | Self::DeleteObject(_)
            | Self::CreateBucket(_)
            | Self::SetCors(_)
            | Self::CopyVersions(_)
            | Self::SetBucketSetting(_)
            | Self::ProbeBucket(_) => CapabilityName::Objects,
        }
    }

    /// The slot that the action writes through.
    pub fn sink(&self) -> &SlotName {
        match self {
            Self::WriteFile(a) => &a.slot,
            Self::DeleteFile(a) => &a.slot,
            Self::ExecuteSql(a) => &a.slot,
            Self::CopyTable(a) => &a.sink.slot,
            Self::CopySequences(a) => &a.sink,
            Self::CreateDatabase(a) => &a.slot,
            Self::DumpTable(a) => &a.sink.slot,
            Self::LoadTable(a) => &a.sink.slot,
            Self::SealArchive(a) => &a.slot,
            Self::CopyObject(a) => &a.sink.slot,
            Self::PutObject(a) => &a.sink.slot,
            Self::DeleteObject(a) => &a.sink.slot,
            Self::CreateBucket(a) => &a.slot,
            Self::SetCors(a) => &a.slot,
            Self::CopyVersions(a) => &a.sink.slot,
            Self::SetBucketSetting(a) => &a.slot,
            Self::ProbeBucket(a) => &a.slot,
        }
    }

    /// The slots that the action reads from, beside the one that it writes through.
    pub fn sources(&self) -> Vec<&SlotName> {
        match self {
            Self::CopyTable(a) => vec![&a.source.slot],
            Self::CopySequences(a) => vec![&a.source],
            Self::DumpTable(a) => vec![&a.source.slot],
            Self::LoadTable(a) => a.sources().map(|(file, _)| &file.slot).collect(),
            Self::CopyObject(a) => vec![&a.source.slot],
            Self::CopyVersions(a) => vec![&a.source.slot],
            _ => Vec::new(),
        }
    }

    /// The kind of connection that the sink's slot has to be.
    pub fn sink_kind(&self) -> ConnectionKind {
        match self {
            Self::DumpTable(_) | Self::SealArchive(_) => ConnectionKind::Dir,
            _ => self.capability().kind(),
        }
    }

    /// The kind of connection that the slots of the sources have to be.
    pub fn source_kind(&self) -> ConnectionKind {
        match self {
            Self::LoadTable(_) => ConnectionKind::Dir,
            _ => self.capability().kind(),
        }
    }

    /// The label of a transfer: a qualified table name, an object's key. `None` for what moves no bytes.
    pub fn transfer_label(&self) -> Option<String> {
        match self {
            Self::CopyTable(a) => Some(a.source.label()),
            Self::DumpTable(a) => Some(a.source.label()),
            Self::LoadTable(a) => Some(a.sink.label()),
            Self::CopyObject(a) => Some(a.source.label()),
            Self::CopyVersions(a) => Some(a.source.label()),
            _ => None,
        }
    }
}

/// Bytes that travel with a request but are named by their digest in the journal and in plans.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub sha256: Digest,
    pub len: u64,
    /// Absent in what was read back from a journal.
    #[serde(skip)]
    pub bytes: Option<Vec<u8>>,
}

impl Content {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { sha256: Digest::of(&bytes), len: bytes.len() as u64, bytes: Some(bytes) }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} bytes, {})", self.len, self.sha256.short())
    }
}

/// Writes a whole file, atomically (a temporary file, then a rename). An existing file keeps its mode.
/// Secret tokens in the content are replaced by their values on the way, where the grant names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteFile {
    pub slot: SlotName,
    /// Relative to the slot's folder, `/`-separated, without `..`.
    pub path: String,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteFile {
    pub slot: SlotName,
    pub path: String,
}

/// Runs SQL statements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteSql {
    pub slot: SlotName,
    /// One statement each, without a trailing semicolon.
    pub statements: Vec<String>,
    pub execution: Execution,
    pub undo: SqlUndo,
    /// The result depends on rows moved by the effects in `after`: done again when they are.
    #[serde(default)]
    pub data_dependent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "as", rename_all = "kebab-case")]
pub enum Execution {
    /// All statements in one transaction, together with the marker.
    Atomic,
    /// Each statement outside of a transaction.
    Standalone {
        /// A SELECT of one text: `done`, `absent` or `broken`. Without one, a doubtful effect stops for a person.
        probe: Option<String>,
        /// What takes a broken state back to an absent one.
        repair: Vec<String>,
    },
}

/// How the statements are taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum SqlUndo {
    /// These statements, in this order, in one transaction (each alone for a standalone effect).
    Statements { statements: Vec<String> },
    /// Nothing is left to undo (ANALYZE, or what goes with another effect's undo).
    Nothing,
    /// Can't be undone.
    Irreversible,
}

/// A table, or some of its columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub slot: SlotName,
    pub schema: String,
    pub name: String,
    /// In this order; generated columns can't be among a sink's.
    pub columns: Vec<String>,
}

impl Table {
    /// `schema.name`, unquoted: for labels and messages.
    pub fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// Moves the rows of one table into another by COPY.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyTable {
    pub source: Table,
    pub sink: Table,
    pub consistency: Consistency,
    /// Only the table itself, without those that inherit from it (`COPY (SELECT … FROM ONLY …)`).
    pub only: bool,
    /// A boolean SQL expression over the source's columns that admits rows; passes the gate of `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// What a run relies on when it reads one source more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// One exported snapshot; when it is lost, tables are emptied and begun again.
    Snapshot,
    /// The source takes no writes; the host checks that it took none.
    Frozen,
}

/// Reads the state of sequences at the source and sets it at the sink. Done again whenever the tables are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySequences {
    pub source: SlotName,
    pub sink: SlotName,
    /// (schema, name) at the source and the sink alike.
    pub sequences: Vec<(String, String)>,
}

/// Creates the database that the slot's grant names, by way of the connection's own database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateDatabase {
    pub slot: SlotName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// `libc`, `icu` or `builtin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale_provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<i32>,
}

/// How the data of an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    None,
    /// In a file of its own the gzip format (RFC 1952), in a block of the custom format zlib (RFC 1950).
    Gzip,
    /// The LZ4 frame format.
    Lz4,
    Zstd,
    /// In a file of its own, which is to become a block of the custom format (RFC 1950).
    Zlib,
}

/// A file of rows in COPY text, ended by `\\.` and two empty lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsFile {
    pub slot: SlotName,
    /// Relative to the slot's folder, `/`-separated, without `..`.
    pub path: String,
    pub compression: Compression,
}

/// A data block within a file of pg_dump's custom format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub dump_id: i32,
    /// Byte offset of the block's first byte.
    pub offset: u64,
}

/// Moves the rows of one table into a file that isn't there yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpTable {
    pub source: Table,
    pub sink: RowsFile,
    pub consistency: Consistency,
    /// See [`CopyTable::only`].
    pub only: bool,
    /// See [`CopyTable::filter`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// Moves the rows of a file, or of one block of it, into a table, in one transaction; or large objects into
/// `pg_catalog.pg_largeobject`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadTable {
    pub source: RowsFile,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<Block>,
    /// Further files or blocks of large objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<(RowsFile, Option<Block>)>,
    /// Of the rows, by PostgreSQL's name; `None` is UTF-8, or none at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    pub sink: Table,
}

impl LoadTable {
    /// Where it loads from, in order.
    pub fn sources(&self) -> impl Iterator<Item = (&RowsFile, Option<Block>)> {
        [(&self.source, self.block)].into_iter().chain(self.more.iter().map(|(file, block)| (file, *block)))
    }
}

/// Writes the file that makes an archive whole. It must not be there yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealArchive {
    pub slot: SlotName,
    pub path: String,
    pub pieces: Vec<Piece>,
}

impl SealArchive {
    /// The dumped file whose large objects become files, and how those are compressed.
    pub fn object_files(&self) -> Option<(&str, Compression)> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::ObjectFiles { path, compression } => Some((path.as_str(), *compression)),
            _ => None,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Piece {
    /// What was read from the source, and so no part of the request's identity.
    Text {
        #[serde(skip)]
        bytes: Vec<u8>,
    },
    /// An uncompressed file that this step has dumped into the same slot; removed once it is part of the whole.
    Dumped { path: String },
    /// Such a file, compressed or not, as a data block of the custom format.
    Block { path: String, dump_id: i32 },
    /// Dumped large objects as a block of the custom format.
    Objects { path: String, dump_id: i32 },
    /// Dumped large objects, uncompressed, as statements.
    ObjectScript { path: String },
    /// Dumped large objects as files of their own, beside the sealed one, which lists them.
    ObjectFiles { path: String, compression: Compression },
}

/// One object's place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    pub slot: SlotName,
    pub bucket: String,
    /// Byte for byte.
    pub key: String,
}

impl Location {
    /// `bucket/key`.
    pub fn label(&self) -> String {
        format!("{}/{}", self.bucket, self.key)
    }
}

/// Copies one object with its metadata and headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyObject {
    pub source: Location,
    pub sink: Location,
    /// Bytes.
    pub size: u64,
    /// The source's ETag as listed, without quotes; the copy fails where it has changed.
    pub etag: String,
    pub replaces: Replaces,
    /// The sink's; `None` for the store's standard one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Carry the object's tags over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tags: bool,
}

/// Copies versions of one object, the oldest first, to a key that has nothing, in a bucket that keeps versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyVersions {
    pub source: Location,
    pub sink: Location,
    pub versions: Vec<VersionCopy>,
    /// Carry the tags over.
    pub tags: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionCopy {
    pub version: String,
    /// Bytes; 0 for a delete marker.
    pub size: u64,
    /// Without quotes; empty for a delete marker.
    pub etag: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

/// What a write to a key expects to find there; anything else is a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Replaces {
    Nothing,
    /// The object with this ETag: the effect overwrites it.
    Object {
        etag: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutObject {
    pub sink: Location,
    pub content: Content,
    pub content_type: Option<String>,
    pub replaces: Replaces,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteObject {
    pub sink: Location,
    pub etag: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateBucket {
    pub slot: SlotName,
    pub bucket: String,
}

/// Settings of a bucket that are one document of the S3 API each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BucketSetting {
    Lifecycle,
    Tagging,
    /// JSON; all others are XML.
    Policy,
    Encryption,
    Versioning,
}

impl BucketSetting {
    /// Its name in the S3 API's query strings.
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

/// Sets a bucket's setting; `None` takes it away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBucketSetting {
    pub slot: SlotName,
    pub bucket: String,
    pub name: BucketSetting,
    pub document: Option<String>,
}

/// Finds out by an object of the host's own, which is gone again afterwards, what a bucket really does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeBucket {
    pub slot: SlotName,
    pub bucket: String,
    pub prefix: String,
}

/// Sets all CORS rules of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetCors {
    pub slot: SlotName,
    pub bucket: String,
    pub rules: Vec<CorsRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorsRule {
    pub allowed_origins: Vec<String>,
    pub allowed_methods: Vec<String>,
    #[serde(default)]
    pub allowed_headers: Vec<String>,
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Seconds.
    #[serde(default)]
    pub max_age: Option<u32>,
}

/// What a transfer's content was, folded on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Rows of a table, 1 for an object or a file.
    pub items: u64,
    pub bytes: u64,
    /// `<algorithm>:<hex>`; order-independent for the rows of a table. Empty where nothing comparable exists.
    pub digest: String,
}

/// How much of the world an effect takes away. Ordered from harmless to final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Adds what was not there; undo removes it.
    Creates,
    /// Changes what was there in a way that undo takes back (sequence states, settings).
    Changes,
    /// Replaces content that was there.
    Overwrites,
    /// Removes content that was there.
    Destroys,
}

/// What is known of an effect before it is performed. Shown in a plan; journalled with the intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    pub class: Class,
    /// Why undo can't take it back; `None` when it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible: Option<String>,
    /// One line for a person: `copy public.users → public.users`.
    pub title: String,
    /// More lines: SQL statements, notes, the COPY format chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// A unified diff with secrets and unknown env values masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// The capability's own note of what was there before (a before-image's name, an ETag). Holds no content.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub before: Json,
}

impl Preparation {
    /// Whether a person has to have accepted the effect before it is performed.
    pub fn is_gated(&self) -> bool {
        self.class >= Class::Overwrites || self.irreversible.is_some()
    }
}

/// How much an effect will move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Rows or objects.
    pub items: u64,
    pub bytes: u64,
    /// False when it comes from statistics.
    pub exact: bool,
}

/// What became of a performed effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Answered to the guest.
    #[serde(default)]
    pub result: Json,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// What undo compares the world with (a file digest, an ETag, row count and transactions). The capability's own.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub fingerprint: Json,
    /// Things a person should know: a table begun again under a new snapshot, a format fallen back to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// An outcome as a guest gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub key: EffectKey,
    pub result: Result<Json, Error>,
}
