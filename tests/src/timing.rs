//! A journal that measures what a run pays for it.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use godwit_model::Result;
use serde::{Deserialize, Serialize};

use crate::around::Around;
use crate::cpu;

/// What a process paid for its journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JournalTimes {
    pub calls: u64,
    /// Wall time in which at least one caller waited for the journal, in seconds.
    pub waited: f64,
    /// CPU time of the journal: of the callers within its calls, and of SQLite's own threads, in seconds.
    pub cpu: f64,
    /// CPU time of the whole process so far, in seconds.
    pub process_cpu: f64,
}

/// Times the calls of a journal, and leaves the sum in a file when it is dropped.
pub struct Timing {
    file: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: u64,
    waited: Duration,
    cpu: Duration,
    /// Calls under way, and since when there are any.
    open: usize,
    since: Option<Instant>,
}

impl Timing {
    pub fn new(file: PathBuf) -> Self {
        Self { file, state: Mutex::default() }
    }

    async fn time<F: Future>(&self, call: F) -> F::Output {
        let _open = Open::new(self);
        let mut call = pin!(call);
        std::future::poll_fn(|context| {
            let began = cpu::of_thread();
            let polled = call.as_mut().poll(context);
            let spent = cpu::of_thread().saturating_sub(began);
            self.lock().cpu += spent;
            polled
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is under way; also one that is given up ends.
struct Open<'a>(&'a Timing);

impl<'a> Open<'a> {
    fn new(journal: &'a Timing) -> Self {
        let mut state = journal.lock();
        state.calls += 1;
        state.open += 1;
        state.since.get_or_insert_with(Instant::now);
        Self(journal)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open -= 1;
        if state.open == 0
            && let Some(since) = state.since.take()
        {
            state.waited += since.elapsed();
        }
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        let state = self.lock();
        // sqlx calls the threads that it gives to SQLite `sqlx-sqlite-worker-N`; Linux keeps 15 characters.
        let threads = cpu::of_threads("sqlx-sqlite");
        let times = JournalTimes {
            calls: state.calls,
            waited: state.waited.as_secs_f64(),
            cpu: (state.cpu + threads).as_secs_f64(),
            process_cpu: cpu::of_process().as_secs_f64(),
        };
        drop(state);
        let text = serde_json::to_string(&times).expect("numbers can be written");
        std::fs::write(&self.file, text).expect("the file of times can be written");
    }
}

impl Around for Timing {
    async fn write<T: Send>(
        &self,
        _method: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.time(call).await
    }

    async fn read<T: Send>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.time(call).await
    }
}
