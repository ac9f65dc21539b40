//! A journal that ends its process with SIGKILL around one of its writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use godwit_model::capability::Part;
use godwit_model::journal::{
    Accepted, EffectRecord, EffectStatus, Intent, Journal, RunRecord, RunStatus, StepRecord, UndoRecord,
};
use godwit_model::{EffectKey, Error, Json, Result, RunId, StepId};

/// At which write, and on which side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Never,
    /// Just before the write with this number, from 1.
    Before(u64),
    /// Just after it became durable.
    After(u64),
}

impl Moment {
    /// Reads `before:N` or `after:N`.
    pub fn parse(text: &str) -> Option<Self> {
        let (side, number) = text.split_once(':')?;
        let number = number.parse().ok()?;
        match side {
            "before" => Some(Self::Before(number)),
            "after" => Some(Self::After(number)),
            _ => None,
        }
    }
}

/// Counts the writes of the journal it wraps.
pub struct KillingJournal {
    inner: Arc<dyn Journal>,
    moment: Moment,
    writes: AtomicU64,
    /// Where the count is written at each write, so that a test knows how many there are.
    count_file: Option<std::path::PathBuf>,
}

impl KillingJournal {
    pub fn new(inner: Arc<dyn Journal>, moment: Moment, count_file: Option<std::path::PathBuf>) -> Self {
        Self { inner, moment, writes: AtomicU64::new(0), count_file }
    }

    fn before(&self) -> u64 {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(path) = &self.count_file {
            std::fs::write(path, number.to_string()).expect("the count file can be written");
        }
        if self.moment == Moment::Before(number) {
            die();
        }
        number
    }

    fn after(&self, number: u64) {
        if self.moment == Moment::After(number) {
            die();
        }
    }
}

#[allow(unsafe_code)]
fn die() -> ! {
    // SAFETY: kill and getpid have no preconditions; SIGKILL leaves no code of this process to run.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    // The signal ends every thread; this one may be scheduled once more before it arrives.
    loop {
        std::thread::park();
    }
}

macro_rules! write {
    ($self:ident, $call:expr) => {{
        let number = $self.before();
        let result = $call.await;
        $self.after(number);
        result
    }};
}

#[async_trait]
impl Journal for KillingJournal {
    async fn insert_run(&self, run: &RunRecord) -> Result<()> {
        write!(self, self.inner.insert_run(run))
    }
    async fn set_run_status(&self, run: &RunId, status: RunStatus, error: Option<&Error>) -> Result<()> {
        write!(self, self.inner.set_run_status(run, status, error))
    }
    async fn own_run(&self, run: &RunId, owner: &str) -> Result<()> {
        write!(self, self.inner.own_run(run, owner))
    }
    async fn accept(&self, run: &RunId, accepted: &[Accepted]) -> Result<()> {
        write!(self, self.inner.accept(run, accepted))
    }
    async fn run(&self, run: &RunId) -> Result<Option<RunRecord>> {
        self.inner.run(run).await
    }
    async fn runs(&self) -> Result<Vec<RunRecord>> {
        self.inner.runs().await
    }
    async fn forget(&self, run: &RunId) -> Result<()> {
        write!(self, self.inner.forget(run))
    }
    async fn put_step(&self, run: &RunId, step: &StepRecord) -> Result<()> {
        write!(self, self.inner.put_step(run, step))
    }
    async fn steps(&self, run: &RunId) -> Result<Vec<StepRecord>> {
        self.inner.steps(run).await
    }
    async fn memo(&self, run: &RunId, step: &StepId, key: &str, value: &Json) -> Result<Json> {
        write!(self, self.inner.memo(run, step, key, value))
    }
    async fn kept_memo(&self, run: &RunId, step: &StepId, key: &str) -> Result<Option<Json>> {
        self.inner.kept_memo(run, step, key).await
    }
    async fn memos(&self, run: &RunId, step: &StepId) -> Result<Vec<(String, Json)>> {
        self.inner.memos(run, step).await
    }
    async fn intend(&self, run: &RunId, step: &StepId, batch: &[Intent]) -> Result<()> {
        write!(self, self.inner.intend(run, step, batch))
    }
    async fn settle(&self, run: &RunId, step: &StepId, key: &EffectKey, status: &EffectStatus) -> Result<()> {
        write!(self, self.inner.settle(run, step, key, status))
    }
    async fn effects(&self, run: &RunId, step: &StepId) -> Result<Vec<EffectRecord>> {
        self.inner.effects(run, step).await
    }
    async fn effect(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Option<EffectRecord>> {
        self.inner.effect(run, step, key).await
    }
    async fn plan_parts(&self, run: &RunId, step: &StepId, key: &EffectKey, ranges: &[Json]) -> Result<()> {
        write!(self, self.inner.plan_parts(run, step, key, ranges))
    }
    async fn finish_part(
        &self,
        run: &RunId,
        step: &StepId,
        key: &EffectKey,
        index: u32,
        outcome: &Json,
    ) -> Result<()> {
        write!(self, self.inner.finish_part(run, step, key, index, outcome))
    }
    async fn reset_parts(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<()> {
        write!(self, self.inner.reset_parts(run, step, key))
    }
    async fn parts(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Vec<Part>> {
        self.inner.parts(run, step, key).await
    }
    async fn set_note(
        &self,
        run: &RunId,
        step: &StepId,
        key: Option<&EffectKey>,
        name: &str,
        value: &Json,
    ) -> Result<()> {
        write!(self, self.inner.set_note(run, step, key, name, value))
    }
    async fn note(
        &self,
        run: &RunId,
        step: &StepId,
        key: Option<&EffectKey>,
        name: &str,
    ) -> Result<Option<Json>> {
        self.inner.note(run, step, key, name).await
    }
    async fn plan_undo(&self, undo_run: &RunId, actions: &[UndoRecord]) -> Result<()> {
        write!(self, self.inner.plan_undo(undo_run, actions))
    }
    async fn finish_undo(
        &self,
        undo_run: &RunId,
        step: &StepId,
        key: &EffectKey,
        result: &Json,
    ) -> Result<()> {
        write!(self, self.inner.finish_undo(undo_run, step, key, result))
    }
    async fn undo_actions(&self, undo_run: &RunId) -> Result<Vec<UndoRecord>> {
        self.inner.undo_actions(undo_run).await
    }
}
