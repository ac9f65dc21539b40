//! The host as a plugin sees it: one method for each function of the contract.
//!
//! Plugins are generic over [`Host`], with static dispatch: a plugin that never calls `query` compiles to a component
//! that doesn't import `godwit:plugin/postgres`, and so doesn't ask for that permission.

use serde::de::DeserializeOwned;

use crate::types::*;

/// An effect that was made, but not yet submitted.
pub trait EffectHandle: Sized {
    /// Starts the effect only after these effects of the same step are done.
    fn after<K: AsRef<str>>(self, keys: impl IntoIterator<Item = K>) -> Self;
}

/// What a step plugin may ask of its host. Every error may be handed on by `?`; in a plan that carries `pending` out.
pub trait Host {
    type Effect: EffectHandle;
    type Rows: RowSource;
    type Objects: ObjectSource;
    type Versions: VersionSource;

    fn mode(&self) -> Mode;
    fn log(&self, level: Level, message: &str);
    fn progress(&self, label: &str, done: u64, total: Option<u64>, unit: &str);
    /// With a value: keeps it unless the key has one already; returns what is kept. See `context.memo` in the WIT.
    fn memo_json(&self, key: &str, value: Option<String>) -> Option<String>;
    fn granted(&self, slot: &str) -> Option<Granted>;

    fn submit(&self, batch: Vec<Self::Effect>) -> Result<()>;
    fn next(&self, max: u32) -> Result<Vec<Outcome>>;
    fn evidence(&self, key: &str) -> Result<Option<Evidence>>;
    /// Folds the evidence of transfers anew, several at once: one result for each key.
    fn observe(&self, keys: &[&str]) -> Vec<Result<Evidence>>;

    fn read_file(&self, slot: &str, path: &str) -> Result<Vec<u8>>;
    /// At most `length` bytes from `offset` on: fewer only where the file ends.
    fn read_file_range(&self, slot: &str, path: &str, offset: u64, length: u32) -> Result<Vec<u8>>;
    fn stat_file(&self, slot: &str, path: &str) -> Result<Option<FileStat>>;
    fn list_files(&self, slot: &str, path: &str) -> Result<Vec<FileStat>>;
    fn write_file(&self, slot: &str, key: &str, path: &str, content: &[u8]) -> Result<Self::Effect>;
    fn delete_file(&self, slot: &str, key: &str, path: &str) -> Result<Self::Effect>;

    /// Rows come as JSON texts; see [`HostExt::select`] for typed ones.
    fn query(&self, slot: &str, sql: &str, params: &[Option<&str>]) -> Result<Self::Rows>;
    /// Asks several queries at once and reads each answer, of 4 MiB at most, to its end; see [`HostExt::ask`].
    fn answers(&self, questions: &[Question]) -> Vec<Result<Vec<String>>>;
    fn execute(&self, slot: &str, key: &str, request: Execute) -> Result<Self::Effect>;
    fn copy_table(&self, key: &str, source: Table, sink: Table, options: CopyOptions)
    -> Result<Self::Effect>;
    /// `sequences` are (schema, name).
    fn copy_sequences(
        &self,
        key: &str,
        source_slot: &str,
        sink_slot: &str,
        sequences: &[(String, String)],
    ) -> Result<Self::Effect>;
    fn create_database(&self, slot: &str, key: &str, options: DatabaseOptions) -> Result<Self::Effect>;

    fn dump_table(
        &self,
        key: &str,
        source: Table,
        sink: RowsFile,
        options: CopyOptions,
    ) -> Result<Self::Effect>;
    /// `encoding` as in `archive.load` in the WIT.
    fn load_table(
        &self,
        key: &str,
        source: RowsFile,
        block: Option<Block>,
        encoding: Option<&str>,
        sink: Table,
    ) -> Result<Self::Effect>;
    /// See `archive.load-objects` in the WIT.
    fn load_objects(&self, key: &str, sources: Vec<ObjectsFile>, slot: &str) -> Result<Self::Effect>;
    /// The data blocks of a file of the custom format, from `start` on.
    fn archive_blocks(&self, slot: &str, path: &str, start: u64) -> Result<Vec<Block>>;
    /// See `archive.seal` in the WIT.
    fn seal_archive(&self, slot: &str, key: &str, path: &str, pieces: Vec<Piece>) -> Result<Self::Effect>;

    fn describe_endpoint(&self, slot: &str) -> Result<Endpoint>;
    /// From the first key after `after` on.
    fn list_objects(
        &self,
        slot: &str,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Self::Objects>;
    fn list_versions(&self, slot: &str, bucket: &str, prefix: &str) -> Result<Self::Versions>;
    /// One result for each key.
    fn stat_objects(&self, slot: &str, bucket: &str, keys: &[&str]) -> Vec<Result<Option<ObjectInfo>>>;
    /// One result for each pair.
    fn compare_objects(&self, pairs: &[(Location, Location)], deep: bool) -> Vec<Result<Comparison>>;
    fn bucket_setting(&self, slot: &str, bucket: &str, name: BucketSetting) -> Result<Setting>;
    fn cors_preflight(&self, slot: &str, bucket: &str, key: &str, ask: &PreflightAsk) -> Result<Preflight>;
    fn head_object(&self, slot: &str, bucket: &str, key: &str) -> Result<Option<ObjectHead>>;
    fn bucket_exists(&self, slot: &str, bucket: &str) -> Result<bool>;
    /// The rules as a JSON array.
    fn bucket_cors(&self, slot: &str, bucket: &str) -> Result<Option<String>>;
    fn presigned_get(&self, slot: &str, bucket: &str, key: &str) -> Result<Presigned>;
    fn copy_object(
        &self,
        key: &str,
        source: Location,
        sink: Location,
        size: u64,
        etag: &str,
        copy: ObjectCopy,
    ) -> Result<Self::Effect>;
    /// The oldest version first.
    fn copy_versions(
        &self,
        key: &str,
        source: Location,
        sink: Location,
        versions: Vec<VersionCopy>,
        tags: bool,
    ) -> Result<Self::Effect>;
    fn put_object(
        &self,
        key: &str,
        sink: Location,
        content: &[u8],
        content_type: Option<&str>,
        replaces: Replaces,
    ) -> Result<Self::Effect>;
    fn delete_object(&self, key: &str, sink: Location, etag: &str) -> Result<Self::Effect>;
    fn create_bucket(&self, slot: &str, key: &str, bucket: &str) -> Result<Self::Effect>;
    fn set_cors(&self, slot: &str, key: &str, bucket: &str, rules: &[CorsRule]) -> Result<Self::Effect>;
    /// `None` takes the setting away.
    fn set_bucket_setting(
        &self,
        slot: &str,
        key: &str,
        bucket: &str,
        name: BucketSetting,
        document: Option<&str>,
    ) -> Result<Self::Effect>;
    /// See `objects.probe` in the WIT.
    fn probe_bucket(&self, slot: &str, key: &str, bucket: &str, prefix: &str) -> Result<Self::Effect>;
}

/// Rows of a query, page by page.
pub trait RowSource {
    /// The next page; empty at the end.
    fn next_page(&mut self) -> Result<Vec<String>>;
}

/// Versions of a listing, page by page.
pub trait VersionSource {
    /// The next page; empty at the end.
    fn next_page(&mut self) -> Result<Vec<ObjectVersion>>;
}

/// Objects of a listing, page by page.
pub trait ObjectSource {
    /// The next page; empty at the end.
    fn next_page(&mut self) -> Result<Vec<ObjectInfo>>;
}

/// A row as `T`.
fn typed<T: DeserializeOwned>(slot: &str, sql: &str, row: &str) -> Result<T> {
    serde_json::from_str(row).map_err(|e| {
        Error::Failed(format!("a row of slot `{slot}` isn't as expected: {e}; the query was: {sql}"))
    })
}

/// Conveniences over [`Host`].
pub trait HostExt: Host {
    /// All rows of a query, each one read into `T` by column name.
    fn select<T: DeserializeOwned>(&self, slot: &str, sql: &str, params: &[Option<&str>]) -> Result<Vec<T>> {
        let mut rows = self.query(slot, sql, params)?;
        let mut out = Vec::new();
        loop {
            let page = rows.next_page()?;
            if page.is_empty() {
                return Ok(out);
            }
            for row in page {
                out.push(typed(slot, sql, &row)?);
            }
        }
    }

    /// Folds the evidence of one transfer anew.
    fn observe_one(&self, key: &str) -> Result<Evidence> {
        let none = || Error::Failed(format!("the host observed nothing of `{key}`"));
        self.observe(&[key]).pop().ok_or_else(none)?
    }

    /// The rows that several queries answer, asked at once, each read into `T` by column name.
    fn ask<T: DeserializeOwned>(&self, questions: &[Question]) -> Result<Vec<Vec<T>>> {
        let answers = self.answers(questions);
        if answers.len() != questions.len() {
            let (asked, answered) = (questions.len(), answers.len());
            return Err(Error::Failed(format!("{asked} queries were asked, {answered} answered")));
        }
        questions
            .iter()
            .zip(answers)
            .map(|(question, rows)| {
                rows?.iter().map(|row| typed(&question.slot, &question.sql, row)).collect()
            })
            .collect()
    }

    /// A memo of a typed value: `make` is called only where nothing is kept yet.
    fn memo<T: serde::Serialize + DeserializeOwned>(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let kept = match self.memo_json(key, None) {
            Some(kept) => kept,
            None => {
                let made = serde_json::to_string(&make()?)
                    .map_err(|e| Error::Failed(format!("memo `{key}` can't be written as JSON: {e}")))?;
                self.memo_json(key, Some(made.clone())).unwrap_or(made)
            }
        };
        serde_json::from_str(&kept).map_err(|e| Error::Conflict(format!("memo `{key}` can't be read: {e}")))
    }

    /// Waits for everything that was submitted. The first failure is returned once all have ended; in a plan, `pending`.
    fn settle(&self) -> Result<Vec<(String, String)>> {
        let mut done = Vec::new();
        let mut first = None;
        loop {
            let outcomes = self.next(1024)?;
            if outcomes.is_empty() {
                return first.map_or(Ok(done), Err);
            }
            for outcome in outcomes {
                match outcome.result {
                    Ok(result) => done.push((outcome.key, result)),
                    Err(error) => {
                        first.get_or_insert(error);
                    }
                }
            }
        }
    }
}

impl<H: Host> HostExt for H {}
