//! The one writer of a process: takes what is queued, commits it in one transaction, then answers everybody.
//!
//! While a commit waits for the disk the next group gathers by itself, so that the number of syncs follows the disk's
//! speed and not the number of writes. Where the disk is faster than that, a commit still begins no sooner than `PERIOD`
//! after the last one while many write: each costs some twenty switches between threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use godwit_model::{Error, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::fault::{Doing, from_sqlx, spoils_group};
use super::write::{Answer, Refusal, Tables, Write};

/// Writes per commit at most.
const GROUP: usize = 4096;

/// From the beginning of one commit to that of the next at least, while `MANY` writes or more come in that time.
const PERIOD: Duration = Duration::from_millis(10);
const MANY: usize = 4;

/// A write with the place where its answer goes.
#[derive(Debug)]
pub(super) struct Request {
    pub write: Write,
    pub answer: oneshot::Sender<Result<Answer>>,
}

/// Asks for writes.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    requests: mpsc::Sender<Request>,
    path: PathBuf,
    commits: Arc<AtomicU64>,
}

impl Queue {
    /// Starts the writer on the current runtime; it ends when the last `Queue` is gone and all is written.
    pub fn start(
        path: PathBuf,
        options: SqliteConnectOptions,
        connection: SqliteConnection,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (requests, queued) = mpsc::channel(GROUP);
        let commits = Arc::new(AtomicU64::new(0));
        let writer =
            Writer { path: path.clone(), options, connection: Some(connection), commits: commits.clone() };
        (Self { requests, path, commits }, tokio::spawn(writer.run(queued)))
    }

    /// Transactions committed so far.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Queues a write and waits until it is durable. A caller that stops waiting doesn't take the write back.
    pub async fn write(&self, write: Write) -> Result<Answer> {
        let (answer, answered) = oneshot::channel();
        let gone = || Error::host(format!("the journal {} is closed", self.path.display()));
        self.requests.send(Request { write, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

struct Writer {
    path: PathBuf,
    options: SqliteConnectOptions,
    /// `None` after a failure: what state a connection is in then is not worth knowing.
    connection: Option<SqliteConnection>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    async fn run(mut self, mut queued: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(GROUP);
        let mut next = Instant::now();
        while queued.recv_many(&mut group, GROUP).await > 0 {
            if Instant::now() < next {
                tokio::time::sleep_until(next).await;
                while group.len() < GROUP
                    && let Ok(request) = queued.try_recv()
                {
                    group.push(request);
                }
            }
            next = Instant::now() + if group.len() < MANY { Duration::ZERO } else { PERIOD };
            let (writes, answers): (Vec<_>, Vec<_>) =
                group.drain(..).map(|request| (request.write, request.answer)).unzip();
            for (answer, to) in self.commit(&writes).await.into_iter().zip(answers) {
                // Nobody may be waiting any more; the write stands all the same.
                let _ = to.send(answer);
            }
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(journal = %self.path.display(), %error, "the journal was not closed in good order");
        }
    }

    /// Commits a group, or, where one write spoils it, each alone. An answer for each write, in order.
    async fn commit(&mut self, writes: &[Write]) -> Vec<Result<Answer>> {
        match self.transact(writes).await {
            Ok(answers) => answers,
            Err(error) if writes.len() == 1 || spoils_group(&error) => {
                let error = from_sqlx(&self.path, Doing::Writing, &error);
                writes.iter().map(|_| Err(error.clone())).collect()
            }
            Err(_) => {
                let mut answers = Vec::with_capacity(writes.len());
                for write in writes {
                    answers.push(match self.transact(std::slice::from_ref(write)).await {
                        Ok(mut answers) => answers.pop().unwrap_or(Ok(None)),
                        Err(error) => Err(from_sqlx(&self.path, Doing::Writing, &error)),
                    });
                }
                answers
            }
        }
    }

    /// Carries the writes out in one transaction. A write that a rule refuses has its own answer and leaves the others
    /// alone; when SQLite fails, nothing is written.
    async fn transact(&mut self, writes: &[Write]) -> Result<Vec<Result<Answer>>, sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        match transact_on(&mut connection, &self.path, writes).await {
            Ok(answers) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                self.connection = Some(connection);
                Ok(answers)
            }
            Err(error) => {
                tracing::warn!(journal = %self.path.display(), %error, writes = writes.len(), "a commit failed");
                // Closing rolls back what is open.
                if let Err(error) = connection.close_hard().await {
                    tracing::warn!(journal = %self.path.display(), %error, "a connection was not closed");
                }
                Err(error)
            }
        }
    }
}

async fn transact_on(
    connection: &mut SqliteConnection,
    path: &Path,
    writes: &[Write],
) -> Result<Vec<Result<Answer>>, sqlx::Error> {
    // IMMEDIATE: a transaction that read first could not wait for another process's lock later on.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut tables = Tables { connection: &mut transaction, path };
    let mut answers = Vec::with_capacity(writes.len());
    for run in writes.chunk_by(|a, b| std::mem::discriminant(a) == std::mem::discriminant(b)) {
        let carried = match run[0] {
            Write::Intend(_) => {
                let batches: Vec<_> = run.iter().filter_map(Write::as_intents).collect();
                tables.intend(&batches).await
            }
            Write::Settle(_) => {
                let settlements: Vec<_> = run.iter().filter_map(Write::as_settlement).collect();
                tables.settle(&settlements).await
            }
            _ => {
                let mut carried = Vec::with_capacity(run.len());
                for write in run {
                    carried.push(tables.carry_out(write).await);
                }
                Ok(carried)
            }
        };
        match carried {
            Ok(carried) => {
                for answer in carried {
                    answers.push(answered(answer)?);
                }
            }
            Err(Refusal::Rule(error)) => answers.extend(run.iter().map(|_| Err(error.clone()))),
            Err(Refusal::Sql(error)) => return Err(error),
        }
    }
    transaction.commit().await?;
    Ok(answers)
}

/// The answer of a write that the transaction survives.
fn answered(carried: Result<Answer, Refusal>) -> Result<Result<Answer>, sqlx::Error> {
    match carried {
        Ok(answer) => Ok(Ok(answer)),
        Err(Refusal::Rule(error)) => Ok(Err(error)),
        Err(Refusal::Sql(error)) => Err(error),
    }
}
