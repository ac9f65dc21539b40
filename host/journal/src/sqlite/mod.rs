//! The journal of real runs: one SQLite file in a private folder.
//!
//! Write-ahead log, `synchronous=FULL`, one writer task per process with group commit, reads on connections of their
//! own. Several processes may have one journal open.

mod bulk;
mod fault;
mod folder;
mod read;
mod schema;
mod text;
mod write;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use godwit_model::capability::Part;
use godwit_model::journal::{
    Accepted, EffectRecord, EffectStatus, Intent, Journal, RunRecord, RunStatus, StepRecord, UndoRecord,
};
use godwit_model::{EffectKey, Error, Json, Result, RunId, StepId};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePoolOptions, SqliteSynchronous};
use tokio::task::JoinHandle;

use self::bulk::{IntentBatch, IntentRow, Settlement};
use self::fault::{Doing, from_sqlx};
use self::read::Reader;
use self::text::{sequence, to_json};
use self::write::Write;
use self::writer::Queue;
use crate::rule;
use crate::transition::EffectState;
use godwit_model::clock;

/// How a journal is opened.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a write waits for another process before it fails.
    pub busy_timeout: Duration,
    /// Pages of 4 KiB that the file may have; more is a full disk. `None`: what the disk holds.
    pub max_pages: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(30), max_pages: None }
    }
}

/// A [`Journal`] in SQLite. Needs a tokio runtime with time; belongs to the runtime that opened it.
#[derive(Debug)]
pub struct SqliteJournal {
    /// `None` once closed.
    queue: RwLock<Option<Queue>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    reader: Reader,
}

impl SqliteJournal {
    /// Opens the journal `journal.sqlite` of a state folder; makes both where they are not there yet.
    pub async fn open(dir: &Path) -> Result<Self> {
        Self::open_with(dir, &Settings::default()).await
    }

    /// [`SqliteJournal::open`] with settings.
    pub async fn open_with(dir: &Path, settings: &Settings) -> Result<Self> {
        let path = folder::prepare(dir)?;
        Self::connect(path, settings).await
    }

    /// Opens the journal of a state folder if there is one; creates neither the folder nor a journal.
    pub async fn open_existing(dir: &Path) -> Result<Option<Self>> {
        let path = folder::journal_file(dir);
        match std::fs::metadata(&path) {
            Ok(_) => Self::connect(path, &Settings::default()).await.map(Some),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => {
                Err(Error::host(format!("the journal {} can't be opened: {error}", path.display()))
                    .hint("check the owner and the mode of the state folder"))
            }
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.reader.path
    }

    /// Transactions that this journal has committed: what it costs in syncs. 0 once closed.
    pub fn commits(&self) -> u64 {
        self.queue.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Queue::commits)
    }

    /// Writes what is queued, closes every connection and folds the write-ahead log into the file. Later writes and
    /// reads fail. A journal that is dropped without it loses nothing: the next one to open folds the log.
    pub async fn close(&self) {
        drop(self.queue.write().unwrap_or_else(PoisonError::into_inner).take());
        // Last of all the writer's connection: whoever closes last folds the log, and readers can't.
        self.reader.pool.close().await;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && let Err(error) = writer.await
        {
            tracing::warn!(journal = %self.path().display(), %error, "the journal's writer ended badly");
        }
    }

    async fn write(&self, write: Write) -> Result<()> {
        self.ask(write).await.map(|_| ())
    }

    async fn ask(&self, write: Write) -> Result<Option<Json>> {
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner).clone();
        match queue {
            Some(queue) => queue.write(write).await,
            None => Err(Error::host(format!("the journal {} is closed", self.path().display()))),
        }
    }

    async fn connect(path: PathBuf, settings: &Settings) -> Result<Self> {
        let options = options(&path, settings);
        let connection = open_current(&path, &options, settings.busy_timeout).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            // A connection to a file doesn't go stale.
            .test_before_acquire(false)
            .connect_lazy_with(options.clone().read_only(true));
        let (queue, writer) = Queue::start(path.clone(), options, connection);
        Ok(Self {
            queue: RwLock::new(Some(queue)),
            writer: Mutex::new(Some(writer)),
            reader: Reader { pool, path },
        })
    }
}

fn options(path: &Path, settings: &Settings) -> SqliteConnectOptions {
    let mut options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(settings.busy_timeout)
        // Where fsync alone leaves data in the drive's cache (macOS).
        .pragma("fullfsync", "ON")
        .pragma("checkpoint_fullfsync", "ON")
        .row_buffer_size(1000)
        .disable_statement_logging();
    if let Some(pages) = settings.max_pages {
        options = options.pragma("max_page_count", pages.to_string());
    }
    options
}

/// Connects and brings the file up to date. Making a file a write-ahead one needs it alone and doesn't wait by itself
/// when two processes open a new journal at once.
async fn open_current(
    path: &Path,
    options: &SqliteConnectOptions,
    patience: Duration,
) -> Result<SqliteConnection> {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        let opened = match options.connect().await {
            Ok(mut connection) => match schema::bring_up_to_date(&mut connection, path).await {
                Ok(()) => return Ok(connection),
                Err(error) => error,
            },
            Err(error) => from_sqlx(path, Doing::Opening, &error),
        };
        let is_locked = opened.code.as_deref() == Some(fault::BUSY);
        if !is_locked || tokio::time::Instant::now() >= deadline {
            return Err(opened);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn insert_run(&self, run: &RunRecord) -> Result<()> {
        self.write(Write::InsertRun(Box::new(run.clone()))).await
    }

    async fn set_run_status(&self, run: &RunId, status: RunStatus, error: Option<&Error>) -> Result<()> {
        let error = error.map(|error| to_json(error, "the error of a run")).transpose()?;
        self.write(Write::SetRunStatus { run: run.clone(), status, error, at: clock::now() }).await
    }

    async fn own_run(&self, run: &RunId, owner: &str) -> Result<()> {
        self.write(Write::OwnRun { run: run.clone(), owner: owner.to_owned() }).await
    }

    async fn accept(&self, run: &RunId, accepted: &[Accepted]) -> Result<()> {
        self.write(Write::Accept { run: run.clone(), accepted: accepted.to_vec() }).await
    }

    async fn run(&self, run: &RunId) -> Result<Option<RunRecord>> {
        self.reader.run(run).await
    }

    async fn runs(&self) -> Result<Vec<RunRecord>> {
        self.reader.runs().await
    }

    async fn forget(&self, run: &RunId) -> Result<()> {
        self.write(Write::Forget { run: run.clone() }).await
    }

    async fn put_step(&self, run: &RunId, step: &StepRecord) -> Result<()> {
        let record = to_json(step, "a step")?;
        self.write(Write::PutStep { run: run.clone(), step: step.step.clone(), status: step.status, record })
            .await
    }

    async fn steps(&self, run: &RunId) -> Result<Vec<StepRecord>> {
        self.reader.steps(run).await
    }

    async fn memo(&self, run: &RunId, step: &StepId, key: &str, value: &Json) -> Result<Json> {
        // On resume every memo is there already, and reading costs no commit.
        if let Some(kept) = self.reader.memo(run, step, key).await? {
            return Ok(kept);
        }
        let text = to_json(value, "a memo")?;
        let memo = Write::Memo { run: run.clone(), step: step.clone(), key: key.to_owned(), value: text };
        match self.ask(memo).await? {
            Some(kept) => Ok(kept),
            None => Err(Error::host(format!("the journal {} kept no memo `{key}`", self.path().display()))),
        }
    }

    async fn kept_memo(&self, run: &RunId, step: &StepId, key: &str) -> Result<Option<Json>> {
        self.reader.memo(run, step, key).await
    }

    async fn memos(&self, run: &RunId, step: &StepId) -> Result<Vec<(String, Json)>> {
        self.reader.memos(run, step).await
    }

    async fn intend(&self, run: &RunId, step: &StepId, batch: &[Intent]) -> Result<()> {
        let row = |intent: &Intent| {
            Ok(IntentRow {
                key: intent.effect.key.as_str().to_owned(),
                request: intent.request.as_str().to_owned(),
                sequence: sequence(intent.sequence)?,
                effect: to_json(&intent.effect, "an effect")?,
                preparation: to_json(&intent.preparation, "a preparation")?,
            })
        };
        let rows = batch.iter().map(row).collect::<Result<_>>()?;
        let (run, step) = (run.as_str().to_owned(), step.as_str().to_owned());
        self.write(Write::Intend(IntentBatch { run, step, rows, at: clock::now() })).await
    }

    async fn settle(&self, run: &RunId, step: &StepId, key: &EffectKey, status: &EffectStatus) -> Result<()> {
        let outcome = match status {
            EffectStatus::Intended => None,
            status => Some(to_json(status, "an outcome")?),
        };
        let settlement = Settlement {
            run: run.as_str().to_owned(),
            step: step.as_str().to_owned(),
            key: key.as_str().to_owned(),
            state: EffectState::of(status),
            outcome,
            at: clock::now(),
        };
        self.write(Write::Settle(settlement)).await
    }

    async fn effects_before(
        &self,
        run: &RunId,
        step: &StepId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<EffectRecord>> {
        self.reader.effects_before(run, step, before, limit).await
    }

    async fn effects_of(&self, run: &RunId, step: &StepId, keys: &[EffectKey]) -> Result<Vec<EffectRecord>> {
        self.reader.effects_of(run, step, keys).await
    }

    async fn effect_count(&self, run: &RunId, step: &StepId) -> Result<u64> {
        self.reader.effect_count(run, step).await
    }

    async fn effect(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Option<EffectRecord>> {
        self.reader.effect(run, step, key).await
    }

    async fn effects_from(
        &self,
        run: &RunId,
        step: &StepId,
        from: &EffectKey,
        limit: u32,
    ) -> Result<Vec<EffectRecord>> {
        self.reader.effects_from(run, step, from, limit).await
    }

    async fn plan_parts(&self, run: &RunId, step: &StepId, key: &EffectKey, ranges: &[Json]) -> Result<()> {
        let ranges = ranges.iter().map(|range| to_json(range, "a part's range")).collect::<Result<_>>()?;
        self.write(Write::PlanParts { run: run.clone(), step: step.clone(), key: key.clone(), ranges }).await
    }

    async fn finish_part(
        &self,
        run: &RunId,
        step: &StepId,
        key: &EffectKey,
        index: u32,
        outcome: &Json,
    ) -> Result<()> {
        let (run, step, key) = (run.clone(), step.clone(), key.clone());
        let outcome = to_json(outcome, "a part's outcome")?;
        self.write(Write::FinishPart { run, step, key, index, outcome }).await
    }

    async fn reset_parts(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<()> {
        self.write(Write::ResetParts { run: run.clone(), step: step.clone(), key: key.clone() }).await
    }

    async fn parts(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Vec<Part>> {
        self.reader.parts(run, step, key).await
    }

    async fn set_note(
        &self,
        run: &RunId,
        step: &StepId,
        key: Option<&EffectKey>,
        name: &str,
        value: &Json,
    ) -> Result<()> {
        let (run, step, key) = (run.clone(), step.clone(), key.cloned());
        let value = to_json(value, "a note")?;
        self.write(Write::SetNote { run, step, key, name: name.to_owned(), value }).await
    }

    async fn note(
        &self,
        run: &RunId,
        step: &StepId,
        key: Option<&EffectKey>,
        name: &str,
    ) -> Result<Option<Json>> {
        self.reader.note(run, step, key, name).await
    }

    async fn plan_undo(&self, undo_run: &RunId, actions: Vec<UndoRecord>) -> Result<()> {
        let actions = rule::ordered_plan(undo_run, actions)?;
        self.write(Write::PlanUndo { run: undo_run.clone(), actions }).await
    }

    async fn finish_undo(
        &self,
        undo_run: &RunId,
        step: &StepId,
        key: &EffectKey,
        result: &Json,
    ) -> Result<()> {
        let (run, step, key) = (undo_run.clone(), step.clone(), key.clone());
        let result = to_json(result, "a result of an undo")?;
        self.write(Write::FinishUndo { run, step, key, result }).await
    }

    async fn undo_actions(&self, undo_run: &RunId) -> Result<Vec<UndoRecord>> {
        self.reader.undo_actions(undo_run).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_commit_is_on_the_disk() {
        let dir = tempfile::tempdir().expect("a folder");
        SqliteJournal::open(dir.path()).await.expect("opens").close().await;
        // A killed process can't show what a power cut would: the settings have to.
        let options = options(&folder::journal_file(dir.path()), &Settings::default());
        let mut connection = options.connect().await.expect("connects");
        for (pragma, expected) in
            [("PRAGMA synchronous", "2"), ("PRAGMA foreign_keys", "1"), ("PRAGMA fullfsync", "1")]
        {
            let value: i64 = sqlx::query_scalar(pragma).fetch_one(&mut connection).await.expect("answers");
            assert_eq!(value.to_string(), expected, "{pragma}");
        }
        let mode: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.expect("answers");
        assert_eq!(mode, "wal");
    }
}
