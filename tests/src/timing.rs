//! A journal that measures what a run pays for it.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use godwit_model::capability::Part;
use godwit_model::journal::{
    Accepted, EffectRecord, EffectStatus, Intent, Journal, RunRecord, RunStatus, StepRecord, UndoRecord,
};
use godwit_model::{EffectKey, Error, Json, Result, RunId, StepId};
use serde::{Deserialize, Serialize};

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

/// Times the calls of the journal it wraps, and leaves the sum in a file when it is dropped.
pub struct TimingJournal {
    inner: Arc<dyn Journal>,
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

impl TimingJournal {
    pub fn new(inner: Arc<dyn Journal>, file: PathBuf) -> Self {
        Self { inner, file, state: Mutex::default() }
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
struct Open<'a>(&'a TimingJournal);

impl<'a> Open<'a> {
    fn new(journal: &'a TimingJournal) -> Self {
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

impl Drop for TimingJournal {
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

#[async_trait]
impl Journal for TimingJournal {
    async fn insert_run(&self, run: &RunRecord) -> Result<()> {
        self.time(self.inner.insert_run(run)).await
    }
    async fn set_run_status(&self, run: &RunId, status: RunStatus, error: Option<&Error>) -> Result<()> {
        self.time(self.inner.set_run_status(run, status, error)).await
    }
    async fn own_run(&self, run: &RunId, owner: &str) -> Result<()> {
        self.time(self.inner.own_run(run, owner)).await
    }
    async fn accept(&self, run: &RunId, accepted: &[Accepted]) -> Result<()> {
        self.time(self.inner.accept(run, accepted)).await
    }
    async fn run(&self, run: &RunId) -> Result<Option<RunRecord>> {
        self.time(self.inner.run(run)).await
    }
    async fn runs(&self) -> Result<Vec<RunRecord>> {
        self.time(self.inner.runs()).await
    }
    async fn forget(&self, run: &RunId) -> Result<()> {
        self.time(self.inner.forget(run)).await
    }
    async fn put_step(&self, run: &RunId, step: &StepRecord) -> Result<()> {
        self.time(self.inner.put_step(run, step)).await
    }
    async fn steps(&self, run: &RunId) -> Result<Vec<StepRecord>> {
        self.time(self.inner.steps(run)).await
    }
    async fn memo(&self, run: &RunId, step: &StepId, key: &str, value: &Json) -> Result<Json> {
        self.time(self.inner.memo(run, step, key, value)).await
    }
    async fn kept_memo(&self, run: &RunId, step: &StepId, key: &str) -> Result<Option<Json>> {
        self.time(self.inner.kept_memo(run, step, key)).await
    }
    async fn memos(&self, run: &RunId, step: &StepId) -> Result<Vec<(String, Json)>> {
        self.time(self.inner.memos(run, step)).await
    }
    async fn intend(&self, run: &RunId, step: &StepId, batch: &[Intent]) -> Result<()> {
        self.time(self.inner.intend(run, step, batch)).await
    }
    async fn settle(&self, run: &RunId, step: &StepId, key: &EffectKey, status: &EffectStatus) -> Result<()> {
        self.time(self.inner.settle(run, step, key, status)).await
    }
    async fn effects(&self, run: &RunId, step: &StepId) -> Result<Vec<EffectRecord>> {
        self.time(self.inner.effects(run, step)).await
    }
    async fn effect(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Option<EffectRecord>> {
        self.time(self.inner.effect(run, step, key)).await
    }
    async fn effects_from(
        &self,
        run: &RunId,
        step: &StepId,
        from: &EffectKey,
        limit: u32,
    ) -> Result<Vec<EffectRecord>> {
        self.time(self.inner.effects_from(run, step, from, limit)).await
    }
    async fn plan_parts(&self, run: &RunId, step: &StepId, key: &EffectKey, ranges: &[Json]) -> Result<()> {
        self.time(self.inner.plan_parts(run, step, key, ranges)).await
    }
    async fn finish_part(
        &self,
        run: &RunId,
        step: &StepId,
        key: &EffectKey,
        index: u32,
        outcome: &Json,
    ) -> Result<()> {
        self.time(self.inner.finish_part(run, step, key, index, outcome)).await
    }
    async fn reset_parts(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<()> {
        self.time(self.inner.reset_parts(run, step, key)).await
    }
    async fn parts(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Vec<Part>> {
        self.time(self.inner.parts(run, step, key)).await
    }
    async fn set_note(
        &self,
        run: &RunId,
        step: &StepId,
        key: Option<&EffectKey>,
        name: &str,
        value: &Json,
    ) -> Result<()> {
        self.time(self.inner.set_note(run, step, key, name, value)).await
    }
    async fn note(
        &self,
        run: &RunId,
        step: &StepId,
        key: Option<&EffectKey>,
        name: &str,
    ) -> Result<Option<Json>> {
        self.time(self.inner.note(run, step, key, name)).await
    }
    async fn plan_undo(&self, undo_run: &RunId, actions: &[UndoRecord]) -> Result<()> {
        self.time(self.inner.plan_undo(undo_run, actions)).await
    }
    async fn finish_undo(
        &self,
        undo_run: &RunId,
        step: &StepId,
        key: &EffectKey,
        result: &Json,
    ) -> Result<()> {
        self.time(self.inner.finish_undo(undo_run, step, key, result)).await
    }
    async fn undo_actions(&self, undo_run: &RunId) -> Result<Vec<UndoRecord>> {
        self.time(self.inner.undo_actions(undo_run)).await
    }
}
