//! The host as a component imports it, and a component's exports.
//!
//! Every method of [`GuestHost`] touches the bindings of its own interface only, so that the linker drops the imports
//! of what a plugin never calls.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::host::{EffectHandle, Host, ObjectSource, RowSource, VersionSource};
use crate::types::*;
use crate::{Manifest, Step, Transform, open_pipe, run_apply, run_selects, run_verify};

/// Bindings of world `step-plugin`.
#[allow(unsafe_code, clippy::all)] // generated: the canonical ABI is raw pointers
pub mod step {
    wit_bindgen::generate!({
        world: "step-plugin",
        path: "../../wit/godwit-plugin-0.1.0",
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "godwit_sdk::guest::step",
    });
}

/// Bindings of world `transform-plugin`.
#[allow(unsafe_code, clippy::all)] // generated: the canonical ABI is raw pointers
pub mod transform {
    wit_bindgen::generate!({
        world: "transform-plugin",
        path: "../../wit/godwit-plugin-0.1.0",
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "godwit_sdk::guest::transform",
        with: { "godwit:plugin/types@0.1.0": crate::guest::step::godwit::plugin::types },
    });
}

use step::godwit::plugin::{archive, context, effects, files, objects, postgres, types};

/// The exports of a step.
pub struct StepExport<S>(PhantomData<S>);

impl<S: Step> step::exports::godwit::plugin::step::Guest for StepExport<S> {
    fn describe() -> types::Manifest {
        Manifest::of_step::<S>().into()
    }

    fn apply(params: String) -> Result<String, types::Error> {
        run_apply::<S, _>(&GuestHost, &params).map_err(Into::into)
    }

    fn verify(params: String, outputs: String) -> Result<Vec<types::Check>, types::Error> {
        let checks = run_verify::<S, _>(&GuestHost, &params, &outputs)?;
        Ok(checks.into_iter().map(Into::into).collect())
    }
}

/// The exports of a transform.
pub struct TransformExport<T>(PhantomData<T>);

impl<T: Transform> transform::exports::godwit::plugin::transform::Guest for TransformExport<T> {
    type Pipe = Pipe<T>;

    fn describe() -> types::Manifest {
        Manifest::of_transform::<T>().into()
    }

    fn selects(params: String) -> Result<Vec<String>, types::Error> {
        run_selects::<T>(&params).map_err(Into::into)
    }
}

/// One use of a transform. A constructor can't fail in the contract: what went wrong there is told by the first call.
pub struct Pipe<T>(RefCell<Result<T>>);

impl<T: Transform> Pipe<T> {
    fn with(&self, f: impl FnOnce(&mut T) -> Result<Vec<u8>>) -> Result<Vec<u8>, types::Error> {
        match &mut *self.0.borrow_mut() {
            Ok(transform) => f(transform).map_err(Into::into),
            Err(error) => Err(error.clone().into()),
        }
    }
}

impl<T: Transform> transform::exports::godwit::plugin::transform::GuestPipe for Pipe<T> {
    fn new(params: String, shape: String) -> Self {
        Self(RefCell::new(open_pipe(&params, &shape)))
    }

    fn push(&self, chunk: Vec<u8>) -> Result<Vec<u8>, types::Error> {
        self.with(|transform| transform.push(&chunk))
    }

    fn finish(&self) -> Result<Vec<u8>, types::Error> {
        self.with(Transform::finish)
    }
}

/// The host that runs this component.
pub struct GuestHost;

/// An effect of the host's.
pub struct GuestEffect(effects::Effect);

impl EffectHandle for GuestEffect {
    fn after<K: AsRef<str>>(self, keys: impl IntoIterator<Item = K>) -> Self {
        let keys: Vec<String> = keys.into_iter().map(|key| key.as_ref().to_owned()).collect();
        self.0.after(&keys);
        self
    }
}

/// Rows of a query.
pub struct GuestRows(postgres::Cursor);

impl RowSource for GuestRows {
    fn next_page(&mut self) -> Result<Vec<String>> {
        self.0.next().map_err(Into::into)
    }
}

/// Versions of a listing.
pub struct GuestVersions(objects::VersionListing);

impl VersionSource for GuestVersions {
    fn next_page(&mut self) -> Result<Vec<ObjectVersion>> {
        Ok(self.0.next()?.into_iter().map(Into::into).collect())
    }
}

/// Objects of a listing.
pub struct GuestObjects(objects::Listing);

impl ObjectSource for GuestObjects {
    fn next_page(&mut self) -> Result<Vec<ObjectInfo>> {
        Ok(self.0.next()?.into_iter().map(Into::into).collect())
    }
}

fn made(result: Result<effects::Effect, types::Error>) -> Result<GuestEffect> {
    result.map(GuestEffect).map_err(Into::into)
}

impl Host for GuestHost {
    type Effect = GuestEffect;
    type Rows = GuestRows;
    type Objects = GuestObjects;
    type Versions = GuestVersions;

    fn mode(&self) -> Mode {
        match context::mode() {
            context::CallMode::Plan => Mode::Plan,
            context::CallMode::Apply => Mode::Apply,
            context::CallMode::Verify => Mode::Verify,
            context::CallMode::Recheck => Mode::Recheck,
        }
    }

    fn log(&self, level: Level, message: &str) {
        let level = match level {
            Level::Debug => context::Level::Debug,
            Level::Info => context::Level::Info,
            Level::Warn => context::Level::Warn,
        };
        context::log(level, message);
    }

    fn progress(&self, label: &str, done: u64, total: Option<u64>, unit: &str) {
        context::progress(label, done, total, unit);
    }

    fn memo_json(&self, key: &str, value: Option<String>) -> Option<String> {
        context::memo(key, value.as_deref())
    }

    fn granted(&self, slot: &str) -> Option<Granted> {
        let access = context::granted(slot)?;
        Some(Granted { write: access.write, identity: access.identity, secrets: access.secrets })
    }

    fn submit(&self, batch: Vec<GuestEffect>) -> Result<()> {
        effects::submit(batch.into_iter().map(|effect| effect.0).collect()).map_err(Into::into)
    }

    fn next(&self, max: u32) -> Result<Vec<Outcome>> {
        let outcomes = effects::next(max)?;
        Ok(outcomes
            .into_iter()
            .map(|outcome| Outcome { key: outcome.key, result: outcome.result.map_err(Into::into) })
            .collect())
    }

    fn evidence(&self, key: &str) -> Result<Option<Evidence>> {
        Ok(effects::evidence_of(key)?.map(Into::into))
    }

    fn observe(&self, keys: &[&str]) -> Vec<Result<Evidence>> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        effects::observe(&keys).into_iter().map(|found| Ok(found?.into())).collect()
    }

    fn read_file(&self, slot: &str, path: &str) -> Result<Vec<u8>> {
        files::read(slot, path).map_err(Into::into)
    }

    fn read_file_range(&self, slot: &str, path: &str, offset: u64, length: u32) -> Result<Vec<u8>> {
        files::read_range(slot, path, offset, length).map_err(Into::into)
    }

    fn stat_file(&self, slot: &str, path: &str) -> Result<Option<FileStat>> {
        Ok(files::stat(slot, path)?.map(Into::into))
    }

    fn list_files(&self, slot: &str, path: &str) -> Result<Vec<FileStat>> {
        Ok(files::list(slot, path)?.into_iter().map(Into::into).collect())
    }

    fn write_file(&self, slot: &str, key: &str, path: &str, content: &[u8]) -> Result<GuestEffect> {
        made(files::write(slot, key, path, content))
    }

    fn delete_file(&self, slot: &str, key: &str, path: &str) -> Result<GuestEffect> {
        made(files::delete(slot, key, path))
    }

    fn query(&self, slot: &str, sql: &str, params: &[Option<&str>]) -> Result<GuestRows> {
        let params: Vec<Option<String>> = params.iter().map(|param| param.map(str::to_owned)).collect();
        Ok(GuestRows(postgres::query(slot, sql, &params)?))
    }

    fn answers(&self, questions: &[Question]) -> Vec<Result<Vec<String>>> {
        let questions: Vec<postgres::Question> = questions
            .iter()
            .map(|question| postgres::Question {
                slot: question.slot.clone(),
                sql: question.sql.clone(),
                params: question.params.clone(),
            })
            .collect();
        postgres::answers(&questions).into_iter().map(|answer| Ok(answer?)).collect()
    }

    fn execute(&self, slot: &str, key: &str, request: Execute) -> Result<GuestEffect> {
        let execution = match request.execution {
            Execution::Atomic => postgres::Execution::Atomic,
            Execution::Standalone { probe, repair } => {
                postgres::Execution::Standalone(postgres::Standalone { probe, repair })
            }
        };
        let undo = match request.undo {
            Undo::Statements(statements) => postgres::Undo::Statements(statements),
            Undo::Nothing => postgres::Undo::Nothing,
            Undo::Irreversible => postgres::Undo::Irreversible,
        };
        made(postgres::execute(slot, key, &request.statements, &execution, &undo, request.data_dependent))
    }

    fn copy_table(&self, key: &str, source: Table, sink: Table, options: CopyOptions) -> Result<GuestEffect> {
        made(postgres::copy(key, &source.into(), &sink.into(), &options.into()))
    }

    fn copy_sequences(
        &self,
        key: &str,
        source_slot: &str,
        sink_slot: &str,
        sequences: &[(String, String)],
    ) -> Result<GuestEffect> {
        let sequences: Vec<postgres::Sequence> = sequences
            .iter()
            .map(|(schema, name)| postgres::Sequence { schema: schema.clone(), name: name.clone() })
            .collect();
        made(postgres::copy_sequences(key, source_slot, sink_slot, &sequences))
    }

    fn create_database(&self, slot: &str, key: &str, options: DatabaseOptions) -> Result<GuestEffect> {
        let options = postgres::DatabaseOptions {
            owner: options.owner,
            encoding: options.encoding,
            locale: options.locale,
            locale_provider: options.locale_provider,
            template: options.template,
            connection_limit: options.connection_limit,
        };
        made(postgres::create_database(slot, key, &options))
    }

    fn dump_table(
        &self,
        key: &str,
        source: Table,
        sink: RowsFile,
        options: CopyOptions,
    ) -> Result<GuestEffect> {
        made(archive::dump(key, &source.into(), &sink.into(), &options.into()))
    }

    fn load_table(
        &self,
        key: &str,
        source: RowsFile,
        block: Option<Block>,
        encoding: Option<&str>,
        sink: Table,
    ) -> Result<GuestEffect> {
        let block = block.map(|block| archive::Block { dump_id: block.dump_id, offset: block.offset });
        made(archive::load(key, &source.into(), block, encoding, &sink.into()))
    }

    fn load_objects(&self, key: &str, sources: Vec<ObjectsFile>, slot: &str) -> Result<GuestEffect> {
        let block = |block: Block| archive::Block { dump_id: block.dump_id, offset: block.offset };
        let sources: Vec<archive::ObjectsFile> = sources
            .into_iter()
            .map(|source| archive::ObjectsFile { file: source.file.into(), block: source.block.map(block) })
            .collect();
        made(archive::load_objects(key, &sources, slot))
    }

    fn archive_blocks(&self, slot: &str, path: &str, start: u64) -> Result<Vec<Block>> {
        let blocks = archive::blocks(slot, path, start)?;
        Ok(blocks.into_iter().map(|block| Block { dump_id: block.dump_id, offset: block.offset }).collect())
    }

    fn seal_archive(&self, slot: &str, key: &str, path: &str, pieces: Vec<Piece>) -> Result<GuestEffect> {
        let pieces: Vec<archive::Piece> = pieces.into_iter().map(Into::into).collect();
        made(archive::seal(slot, key, path, &pieces))
    }

    fn describe_endpoint(&self, slot: &str) -> Result<Endpoint> {
        let found = objects::describe_endpoint(slot)?;
        Ok(Endpoint {
            vendor: found.vendor,
            tags: found.tags,
            versions: found.versions,
            storage_classes: found.storage_classes,
            max_object: found.max_object,
            max_key: found.max_key,
            cors: found.cors,
            folds_unicode: found.folds_unicode,
            path_keys: found.path_keys,
        })
    }

    fn list_objects(
        &self,
        slot: &str,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<GuestObjects> {
        Ok(GuestObjects(objects::list(slot, bucket, prefix, after)?))
    }

    fn list_versions(&self, slot: &str, bucket: &str, prefix: &str) -> Result<GuestVersions> {
        Ok(GuestVersions(objects::versions(slot, bucket, prefix)?))
    }

    fn stat_objects(&self, slot: &str, bucket: &str, keys: &[&str]) -> Vec<Result<Option<ObjectInfo>>> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let found = objects::stat(slot, bucket, &keys);
        found.into_iter().map(|one| one.map(|found| found.map(Into::into)).map_err(Into::into)).collect()
    }

    fn compare_objects(&self, pairs: &[(Location, Location)], deep: bool) -> Vec<Result<Comparison>> {
        let pairs: Vec<(objects::Location, objects::Location)> =
            pairs.iter().map(|(left, right)| (left.clone().into(), right.clone().into())).collect();
        let found = objects::compare(&pairs, deep);
        found.into_iter().map(|one| one.map(Into::into).map_err(Into::into)).collect()
    }

    fn bucket_setting(&self, slot: &str, bucket: &str, name: BucketSetting) -> Result<Setting> {
        Ok(match objects::setting(slot, bucket, name.into())? {
            objects::SettingState::Document(text) => Setting::Document(text),
            objects::SettingState::Absent => Setting::Absent,
            objects::SettingState::Unsupported(why) => Setting::Unsupported(why),
        })
    }

    fn cors_preflight(&self, slot: &str, bucket: &str, key: &str, ask: &PreflightAsk) -> Result<Preflight> {
        let answer = objects::cors_preflight(slot, bucket, key, &ask.origin, &ask.method, &ask.headers)?;
        Ok(Preflight { status: answer.status, headers: answer.headers })
    }

    fn head_object(&self, slot: &str, bucket: &str, key: &str) -> Result<Option<ObjectHead>> {
        Ok(objects::head(slot, bucket, key)?.map(|head| ObjectHead {
            info: head.object.into(),
            headers: head.headers,
            metadata: head.metadata,
        }))
    }

    fn bucket_exists(&self, slot: &str, bucket: &str) -> Result<bool> {
        objects::bucket_exists(slot, bucket).map_err(Into::into)
    }

    fn bucket_cors(&self, slot: &str, bucket: &str) -> Result<Option<String>> {
        objects::cors(slot, bucket).map_err(Into::into)
    }

    fn presigned_get(&self, slot: &str, bucket: &str, key: &str) -> Result<Presigned> {
        let got = objects::presigned_get(slot, bucket, key)?;
        Ok(Presigned { status: got.status, bytes: got.bytes, sha256: got.sha256 })
    }

    fn copy_object(
        &self,
        key: &str,
        source: Location,
        sink: Location,
        size: u64,
        etag: &str,
        copy: ObjectCopy,
    ) -> Result<GuestEffect> {
        let options = objects::CopyOptions {
            replaces: copy.replaces.into(),
            storage_class: copy.storage_class,
            tags: copy.tags,
        };
        made(objects::copy(key, &source.into(), &sink.into(), size, etag, &options))
    }

    fn copy_versions(
        &self,
        key: &str,
        source: Location,
        sink: Location,
        versions: Vec<VersionCopy>,
        tags: bool,
    ) -> Result<GuestEffect> {
        let versions: Vec<objects::VersionCopy> = versions
            .into_iter()
            .map(|version| objects::VersionCopy {
                version: version.version,
                size: version.size,
                etag: version.etag,
                deleted: version.deleted,
                storage_class: version.storage_class,
            })
            .collect();
        made(objects::copy_versions(key, &source.into(), &sink.into(), &versions, tags))
    }

    fn put_object(
        &self,
        key: &str,
        sink: Location,
        content: &[u8],
        content_type: Option<&str>,
        replaces: Replaces,
    ) -> Result<GuestEffect> {
        made(objects::put(key, &sink.into(), content, content_type, &replaces.into()))
    }

    fn delete_object(&self, key: &str, sink: Location, etag: &str) -> Result<GuestEffect> {
        made(objects::delete(key, &sink.into(), etag))
    }

    fn create_bucket(&self, slot: &str, key: &str, bucket: &str) -> Result<GuestEffect> {
        made(objects::create_bucket(slot, key, bucket))
    }

    fn set_cors(&self, slot: &str, key: &str, bucket: &str, rules: &[CorsRule]) -> Result<GuestEffect> {
        let rules: Vec<objects::CorsRule> = rules
            .iter()
            .cloned()
            .map(|rule| objects::CorsRule {
                allowed_origins: rule.allowed_origins,
                allowed_methods: rule.allowed_methods,
                allowed_headers: rule.allowed_headers,
                expose_headers: rule.expose_headers,
                max_age: rule.max_age,
            })
            .collect();
        made(objects::set_cors(slot, key, bucket, &rules))
    }

    fn set_bucket_setting(
        &self,
        slot: &str,
        key: &str,
        bucket: &str,
        name: BucketSetting,
        document: Option<&str>,
    ) -> Result<GuestEffect> {
        made(objects::set_setting(slot, key, bucket, name.into(), document))
    }

    fn probe_bucket(&self, slot: &str, key: &str, bucket: &str, prefix: &str) -> Result<GuestEffect> {
        made(objects::probe(slot, key, bucket, prefix))
    }
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Invalid(m) => Self::Invalid(m),
            types::Error::Denied(m) => Self::Denied(m),
            types::Error::Missing(m) => Self::Missing(m),
            types::Error::Conflict(m) => Self::Conflict(m),
            types::Error::Unavailable(m) => Self::Unavailable(m),
            types::Error::Failed(m) => Self::Failed(m),
            types::Error::Pending(m) => Self::Pending(m),
        }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(m) => Self::Invalid(m),
            Error::Denied(m) => Self::Denied(m),
            Error::Missing(m) => Self::Missing(m),
            Error::Conflict(m) => Self::Conflict(m),
            Error::Unavailable(m) => Self::Unavailable(m),
            Error::Failed(m) => Self::Failed(m),
            Error::Pending(m) => Self::Pending(m),
        }
    }
}

impl From<Manifest> for types::Manifest {
    fn from(manifest: Manifest) -> Self {
        Self {
            name: manifest.name.to_owned(),
            version: manifest.version.to_owned(),
            summary: manifest.summary.to_owned(),
            slots: manifest.slots.into_iter().map(Into::into).collect(),
            params_schema: manifest.params_schema.to_string(),
            outputs_schema: manifest.outputs_schema.to_string(),
        }
    }
}

impl From<Slot> for types::Slot {
    fn from(slot: Slot) -> Self {
        Self {
            name: slot.name,
            kind: match slot.kind {
                ConnectionKind::Postgres => types::ConnectionKind::Postgres,
                ConnectionKind::S3 => types::ConnectionKind::S3,
                ConnectionKind::Dir => types::ConnectionKind::Dir,
            },
            access: match slot.access {
                Access::Read => types::Access::Read,
                Access::Write => types::Access::Write,
            },
            required: slot.required,
            summary: slot.summary,
        }
    }
}

impl From<Check> for types::Check {
    fn from(check: Check) -> Self {
        let verdict = match check.verdict {
            Verdict::Passed => types::Verdict::Passed,
            Verdict::Failed(why) => types::Verdict::Failed(why),
            Verdict::NotComparable(why) => types::Verdict::NotComparable(why),
        };
        Self { name: check.name, verdict, detail: check.detail }
    }
}

impl From<types::Evidence> for Evidence {
    fn from(evidence: types::Evidence) -> Self {
        Self { items: evidence.items, bytes: evidence.bytes, digest: evidence.digest }
    }
}

impl From<files::FileStat> for FileStat {
    fn from(stat: files::FileStat) -> Self {
        Self { path: stat.path, size: stat.size, is_dir: stat.is_dir }
    }
}

impl From<Table> for postgres::Table {
    fn from(table: Table) -> Self {
        Self { slot: table.slot, schema: table.schema, name: table.name, columns: table.columns }
    }
}

impl From<CopyOptions> for postgres::CopyOptions {
    fn from(options: CopyOptions) -> Self {
        Self {
            consistency: match options.consistency {
                Consistency::Snapshot => postgres::Consistency::Snapshot,
                Consistency::Frozen => postgres::Consistency::Frozen,
            },
            only: options.only,
            filter: options.filter,
        }
    }
}

impl From<RowsFile> for archive::RowsFile {
    fn from(file: RowsFile) -> Self {
        Self { slot: file.slot, path: file.path, compression: file.compression.into() }
    }
}

impl From<Compression> for archive::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Gzip => Self::Gzip,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd,
            Compression::Zlib => Self::Zlib,
        }
    }
}

impl From<Piece> for archive::Piece {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Text(bytes) => Self::Text(bytes),
            Piece::Dumped(path) => Self::Dumped(path),
            Piece::Block { path, dump_id } => Self::Block(archive::DumpedBlock { path, dump_id }),
            Piece::Objects { path, dump_id } => Self::Objects(archive::DumpedBlock { path, dump_id }),
            Piece::ObjectScript(path) => Self::ObjectScript(path),
            Piece::ObjectFiles { path, compression } => {
                Self::ObjectFiles(archive::DumpedObjects { path, compression: compression.into() })
            }
        }
    }
}

impl From<objects::Object> for ObjectInfo {
    fn from(object: objects::Object) -> Self {
        Self {
            key: object.key,
            size: object.size,
            etag: object.etag,
            modified: object.modified,
            storage_class: object.storage_class,
        }
    }
}

impl From<objects::ObjectVersion> for ObjectVersion {
    fn from(found: objects::ObjectVersion) -> Self {
        Self {
            info: found.object.into(),
            version: found.version,
            latest: found.latest,
            deleted: found.deleted,
        }
    }
}

impl From<objects::Comparison> for Comparison {
    fn from(found: objects::Comparison) -> Self {
        let likeness = match found.likeness {
            objects::Likeness::Same => Likeness::Same,
            objects::Likeness::Differs => Likeness::Differs,
            objects::Likeness::MissingLeft => Likeness::MissingLeft,
            objects::Likeness::MissingRight => Likeness::MissingRight,
        };
        Self { likeness, by: found.by, detail: found.detail }
    }
}

impl From<BucketSetting> for objects::BucketSetting {
    fn from(name: BucketSetting) -> Self {
        match name {
            BucketSetting::Lifecycle => Self::Lifecycle,
            BucketSetting::Tagging => Self::Tagging,
            BucketSetting::Policy => Self::Policy,
            BucketSetting::Encryption => Self::Encryption,
            BucketSetting::Versioning => Self::Versioning,
        }
    }
}

impl From<Location> for objects::Location {
    fn from(location: Location) -> Self {
        Self { slot: location.slot, bucket: location.bucket, key: location.key }
    }
}

impl From<Replaces> for objects::Replaces {
    fn from(replaces: Replaces) -> Self {
        match replaces {
            Replaces::Nothing => Self::Nothing,
            Replaces::Object(etag) => Self::Object(etag),
        }
    }
}
