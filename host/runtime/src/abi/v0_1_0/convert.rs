//! The types of the WIT to the types of the model, and back.

use godwit_model::capability::{self, FileStat, ObjectHead, ObjectInfo};
use godwit_model::check::{Check, Verdict};
use godwit_model::effect;
use godwit_model::plugin::{Access, ConnectionKind, Level, Mode, Question, SlotSpec};
use godwit_model::{Error, ErrorKind};

use super::wit::{archive, context, files, objects, postgres, types};
use crate::abi::{RawManifest, Reply};

pub(super) fn manifest(manifest: types::Manifest) -> RawManifest {
    RawManifest {
        name: manifest.name,
        version: manifest.version,
        summary: manifest.summary,
        slots: manifest.slots.into_iter().map(slot).collect(),
        params_schema: manifest.params_schema,
        outputs_schema: manifest.outputs_schema,
    }
}

fn slot(slot: types::Slot) -> SlotSpec {
    SlotSpec {
        name: slot.name.into(),
        kind: match slot.kind {
            types::ConnectionKind::Postgres => ConnectionKind::Postgres,
            types::ConnectionKind::S3 => ConnectionKind::S3,
            types::ConnectionKind::Dir => ConnectionKind::Dir,
        },
        access: match slot.access {
            types::Access::Read => Access::Read,
            types::Access::Write => Access::Write,
        },
        required: slot.required,
        summary: slot.summary,
    }
}

pub(super) fn check(check: types::Check) -> Check {
    Check {
        name: check.name,
        verdict: match check.verdict {
            types::Verdict::Passed => Verdict::Passed,
            types::Verdict::Failed(why) => Verdict::Failed(why),
            types::Verdict::NotComparable(why) => Verdict::NotComparable(why),
        },
        detail: check.detail,
    }
}

pub(super) fn reply(error: types::Error) -> Reply {
    let (kind, text) = match error {
        types::Error::Invalid(text) => (ErrorKind::Invalid, text),
        types::Error::Denied(text) => (ErrorKind::Denied, text),
        types::Error::Missing(text) => (ErrorKind::Missing, text),
        types::Error::Conflict(text) => (ErrorKind::Conflict, text),
        types::Error::Unavailable(text) => (ErrorKind::Unavailable, text),
        types::Error::Failed(text) => (ErrorKind::Failed, text),
        types::Error::Pending(text) => (ErrorKind::Pending, text),
    };
    Reply { kind, text }
}

/// An error for a guest; `tell` makes its text.
pub(super) fn error(error: Error, tell: impl FnOnce(Error) -> String) -> types::Error {
    let make = match error.kind {
        ErrorKind::Invalid => types::Error::Invalid,
        ErrorKind::Denied => types::Error::Denied,
        ErrorKind::Missing => types::Error::Missing,
        ErrorKind::Conflict => types::Error::Conflict,
        ErrorKind::Unavailable => types::Error::Unavailable,
        ErrorKind::Failed => types::Error::Failed,
        ErrorKind::Pending => types::Error::Pending,
    };
    make(tell(error))
}

pub(super) fn mode(mode: Mode) -> context::CallMode {
    match mode {
        Mode::Plan => context::CallMode::Plan,
        Mode::Apply => context::CallMode::Apply,
        Mode::Verify => context::CallMode::Verify,
        Mode::Recheck => context::CallMode::Recheck,
    }
}

pub(super) fn level(level: context::Level) -> Level {
    match level {
        context::Level::Debug => Level::Debug,
        context::Level::Info => Level::Info,
        context::Level::Warn => Level::Warn,
    }
}

pub(super) fn evidence(evidence: effect::Evidence) -> types::Evidence {
    types::Evidence { items: evidence.items, bytes: evidence.bytes, digest: evidence.digest }
}

pub(super) fn stat(stat: FileStat) -> files::FileStat {
    files::FileStat { path: stat.path, size: stat.size, is_dir: stat.is_dir }
}

pub(super) fn execution(execution: postgres::Execution) -> effect::Execution {
    match execution {
        postgres::Execution::Atomic => effect::Execution::Atomic,
        postgres::Execution::Standalone(standalone) => {
            effect::Execution::Standalone { probe: standalone.probe, repair: standalone.repair }
        }
    }
}

pub(super) fn undo(undo: postgres::Undo) -> effect::SqlUndo {
    match undo {
        postgres::Undo::Statements(statements) => effect::SqlUndo::Statements { statements },
        postgres::Undo::Nothing => effect::SqlUndo::Nothing,
        postgres::Undo::Irreversible => effect::SqlUndo::Irreversible,
    }
}

pub(super) fn table(table: postgres::Table) -> effect::Table {
    effect::Table { slot: table.slot.into(), schema: table.schema, name: table.name, columns: table.columns }
}

pub(super) fn question(question: postgres::Question) -> Question {
    Question { slot: question.slot, sql: question.sql, params: question.params }
}

pub(super) fn consistency(consistency: postgres::Consistency) -> effect::Consistency {
    match consistency {
        postgres::Consistency::Snapshot => effect::Consistency::Snapshot,
        postgres::Consistency::Frozen => effect::Consistency::Frozen,
    }
}

pub(super) fn object(object: ObjectInfo) -> objects::Object {
    objects::Object {
        key: object.key,
        size: object.size,
        etag: object.etag,
        modified: object.modified,
        storage_class: object.storage_class,
    }
}

pub(super) fn version(version: capability::ObjectVersion) -> objects::ObjectVersion {
    objects::ObjectVersion {
        object: object(version.info),
        version: version.version,
        latest: version.latest,
        deleted: version.deleted,
    }
}

pub(super) fn version_copy(version: objects::VersionCopy) -> effect::VersionCopy {
    effect::VersionCopy {
        version: version.version,
        size: version.size,
        etag: version.etag,
        deleted: version.deleted,
        storage_class: version.storage_class,
    }
}

pub(super) fn endpoint(info: capability::EndpointInfo) -> objects::Endpoint {
    objects::Endpoint {
        vendor: info.vendor,
        tags: info.tags,
        versions: info.versions,
        storage_classes: info.storage_classes,
        max_object: info.max_object,
        max_key: info.max_key,
        cors: info.cors,
        folds_unicode: info.folds_unicode,
        path_keys: info.path_keys,
    }
}

pub(super) fn comparison(found: capability::Comparison) -> objects::Comparison {
    objects::Comparison {
        likeness: match found.likeness {
            capability::Likeness::Same => objects::Likeness::Same,
            capability::Likeness::Differs => objects::Likeness::Differs,
            capability::Likeness::MissingLeft => objects::Likeness::MissingLeft,
            capability::Likeness::MissingRight => objects::Likeness::MissingRight,
        },
        by: found.by,
        detail: found.detail,
    }
}

pub(super) fn setting_name(name: objects::BucketSetting) -> effect::BucketSetting {
    match name {
        objects::BucketSetting::Lifecycle => effect::BucketSetting::Lifecycle,
        objects::BucketSetting::Tagging => effect::BucketSetting::Tagging,
        objects::BucketSetting::Policy => effect::BucketSetting::Policy,
        objects::BucketSetting::Encryption => effect::BucketSetting::Encryption,
        objects::BucketSetting::Versioning => effect::BucketSetting::Versioning,
    }
}

pub(super) fn setting(state: capability::SettingState) -> objects::SettingState {
    match state {
        capability::SettingState::Document(text) => objects::SettingState::Document(text),
        capability::SettingState::Absent => objects::SettingState::Absent,
        capability::SettingState::Unsupported(why) => objects::SettingState::Unsupported(why),
    }
}

pub(super) fn head(head: ObjectHead) -> objects::ObjectHead {
    objects::ObjectHead {
        object: object(head.info),
        headers: head.headers.into_iter().collect(),
        metadata: head.metadata.into_iter().collect(),
    }
}

pub(super) fn presigned(get: capability::PresignedGet) -> objects::Presigned {
    objects::Presigned { status: get.status, bytes: get.bytes, sha256: get.sha256.as_str().to_owned() }
}

pub(super) fn location(location: objects::Location) -> effect::Location {
    effect::Location { slot: location.slot.into(), bucket: location.bucket, key: location.key }
}

pub(super) fn replaces(replaces: objects::Replaces) -> effect::Replaces {
    match replaces {
        objects::Replaces::Nothing => effect::Replaces::Nothing,
        objects::Replaces::Object(etag) => effect::Replaces::Object { etag },
    }
}

pub(super) fn cors_rule(rule: objects::CorsRule) -> effect::CorsRule {
    effect::CorsRule {
        allowed_origins: rule.allowed_origins,
        allowed_methods: rule.allowed_methods,
        allowed_headers: rule.allowed_headers,
        expose_headers: rule.expose_headers,
        max_age: rule.max_age,
    }
}

pub(super) fn rows_file(file: archive::RowsFile) -> effect::RowsFile {
    effect::RowsFile { slot: file.slot.into(), path: file.path, compression: compression(file.compression) }
}

pub(super) fn block(block: archive::Block) -> effect::Block {
    effect::Block { dump_id: block.dump_id, offset: block.offset }
}

pub(super) fn compression(compression: archive::Compression) -> effect::Compression {
    match compression {
        archive::Compression::None => effect::Compression::None,
        archive::Compression::Gzip => effect::Compression::Gzip,
        archive::Compression::Lz4 => effect::Compression::Lz4,
        archive::Compression::Zstd => effect::Compression::Zstd,
        archive::Compression::Zlib => effect::Compression::Zlib,
    }
}

pub(super) fn piece(piece: archive::Piece) -> effect::Piece {
    match piece {
        archive::Piece::Text(bytes) => effect::Piece::Text { bytes },
        archive::Piece::Dumped(path) => effect::Piece::Dumped { path },
        archive::Piece::Block(block) => effect::Piece::Block { path: block.path, dump_id: block.dump_id },
        archive::Piece::Objects(block) => effect::Piece::Objects { path: block.path, dump_id: block.dump_id },
        archive::Piece::ObjectScript(path) => effect::Piece::ObjectScript { path },
        archive::Piece::ObjectFiles(dumped) => {
            effect::Piece::ObjectFiles { path: dumped.path, compression: compression(dumped.compression) }
        }
    }
}
