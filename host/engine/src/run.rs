//! A run: steps in dependency order, independent ones at once, each applied and verified; and its resume.

use std::collections::{BTreeSet, HashSet};
use std::future::Future;
use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};
use godwit_model::capability::{Capability, Notes, Overlay, StepScope, Transforms};
use godwit_model::check::{Check, Verdict};
use godwit_model::effect::CapabilityName;
use godwit_model::journal::{Accepted, RunKind, RunRecord, RunStatus, StepRecord, StepStatus};
use godwit_model::plugin::{Access, Mode, Plugin};
use godwit_model::{Digest, EffectKey, Error, Fault, Json, Result, RunId, StepId};
use godwit_recipe::{Checked, EvalError, OnFailure, Outputs, Step};

use crate::observer::{Answer, Event, Question};
use crate::queue::{Consent, Policy, Queue};
use crate::rooms::{Rooms, capability_of};
use crate::scope::{JournalHistory, JournalLedger, NoOverlay, ObserverProgress, Stop};
use crate::session::{Backing, Session};
use crate::transforms::StepTransforms;
use godwit_model::clock::now;

/// The engine of one run: a checked recipe and the rooms it runs in.
pub struct Engine {
    pub(crate) checked: Arc<Checked>,
    pub(crate) rooms: Rooms,
    pub(crate) stop: Stop,
    pub(crate) accept_all: bool,
}

/// What a new run is journalled with beside its recipe.
#[derive(Clone, Debug, Default)]
pub struct NewRun {
    pub recipe_path: Option<String>,
    /// What the person accepted: [`crate::Plan::gated`].
    pub accepted: Vec<Accepted>,
    /// Host, process id and start time of this process, as the journal's `own_run` takes it.
    pub owner: String,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunEnd {
    pub run: RunId,
    pub status: RunStatus,
    /// The step that failed, and why.
    pub failed: Option<(StepId, Error)>,
    /// The failure was one of the step's own checks.
    pub verification_failed: bool,
    /// The recipe's outputs, once done.
    pub outputs: Json,
}

/// The checks of one step.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StepChecks {
    pub step: StepId,
    pub checks: Vec<Check>,
}

/// Why a step did not become complete.
enum StepFailure {
    Error(Error),
    Checks(Vec<Check>),
}

impl From<Error> for StepFailure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

enum StepEnd {
    Complete(Json),
    Skipped,
}

impl Engine {
    pub fn new(checked: Arc<Checked>, rooms: Rooms, stop: Stop) -> Self {
        Self { checked, rooms, stop, accept_all: false }
    }

    /// Accepts every effect that overwrites, destroys or can't be undone beforehand.
    pub fn accept_irreversible(mut self, yes: bool) -> Self {
        self.accept_all = yes;
        self
    }

    pub fn run_id(&self) -> &RunId {
        &self.checked.run
    }

    /// Starts a new run and takes it as far as it goes. An `Err` means that the journal could not be written; a
    /// failed step is a [`RunEnd`].
    pub async fn start(&self, new: NewRun) -> Result<RunEnd> {
        let plugins: serde_json::Map<String, Json> = self
            .checked
            .plugins
            .iter()
            .map(|(name, info)| (name.clone(), Json::String(info.digest.to_string())))
            .collect();
        let record = RunRecord {
            id: self.checked.run.clone(),
            kind: RunKind::Apply,
            of: None,
            recipe: self.checked.name.clone(),
            recipe_path: new.recipe_path,
            recipe_text: self.checked.text.clone(),
            inputs: self.checked.plain_inputs.clone(),
            secret_inputs: self.checked.secret_inputs.clone(),
            plugins: Json::Object(plugins),
            accepted: new.accepted,
            status: RunStatus::Running,
            started_at: now(),
            ended_at: None,
            error: None,
            owner: new.owner,
        };
        self.rooms.journal.insert_run(&record).await?;
        for step in &self.checked.steps {
            self.rooms.journal.put_step(&record.id, &self.waiting(step)).await?;
        }
        self.go(record.accepted).await
    }

    /// Goes on with a run from its journal.
    pub async fn resume(&self, owner: &str) -> Result<RunEnd> {
        let run = &self.checked.run;
        let record = self.record().await?;
        match record.status {
            RunStatus::Done => {
                return Err(Error::conflict(format!("run {run} is done; there is nothing to resume")));
            }
            RunStatus::Undone => {
                return Err(Error::conflict(format!("run {run} was undone")).hint("start a new run"));
            }
            RunStatus::Running | RunStatus::Stopped | RunStatus::Failed => {}
        }
        for (name, info) in &self.checked.plugins {
            let before = record.plugins.get(name).and_then(Json::as_str);
            if let Some(before) = before
                && before != info.digest.as_str()
            {
                return Err(Error::conflict(format!(
                    "plugin `{name}` has changed since run {run} began: {} then, {} now",
                    before.get(..12).unwrap_or(before),
                    info.digest.short()
                ))
                .hint("resume with the plugin it began with, or undo the run and start anew"));
            }
        }
        self.rooms.journal.own_run(run, owner).await?;
        self.rooms.journal.set_run_status(run, RunStatus::Running, None).await?;
        self.go(record.accepted).await
    }

    /// Runs the checks of every complete step again.
    pub async fn verify(&self) -> Result<Vec<StepChecks>> {
        let records = self.rooms.journal.steps(&self.checked.run).await?;
        let mut all = Vec::new();
        for step in &self.checked.steps {
            let Some(record) = records.iter().find(|record| record.step == step.id) else { continue };
            if record.status != StepStatus::Complete {
                continue;
            }
            self.rooms.observer.event(Event::Verifying { step: step.id.clone() });
            let plugin = self.rooms.plugins.load(&step.plugin).await?;
            let checks =
                self.call_verify(step, Mode::Recheck, &plugin, &record.params, &record.outputs).await?;
            self.rooms.observer.event(Event::Checked { step: step.id.clone(), checks: checks.clone() });
            all.push(StepChecks { step: step.id.clone(), checks });
        }
        Ok(all)
    }

    pub(crate) async fn record(&self) -> Result<RunRecord> {
        let run = &self.checked.run;
        self.rooms.journal.run(run).await?.ok_or_else(|| {
            Error::missing(format!("the journal has no run {run}")).hint("`godwit runs` lists them")
        })
    }

    async fn go(&self, accepted: Vec<Accepted>) -> Result<RunEnd> {
        let accepted: Arc<HashSet<(StepId, EffectKey, Digest)>> =
            Arc::new(accepted.into_iter().map(|a| (a.step, a.key, a.request)).collect());
        let mut outputs = Outputs::new();
        let mut complete: BTreeSet<StepId> = BTreeSet::new();
        for record in self.rooms.journal.steps(&self.checked.run).await? {
            match record.status {
                StepStatus::Complete => {
                    complete.insert(record.step.clone());
                    outputs.insert(record.step, record.outputs);
                }
                StepStatus::Skipped => {
                    complete.insert(record.step.clone());
                    outputs.insert(record.step, Json::Null);
                }
                _ => {}
            }
        }

        let mut begun: BTreeSet<StepId> = complete.clone();
        let mut running = FuturesUnordered::new();
        let mut failed: Option<(StepId, StepFailure)> = None;
        loop {
            if failed.is_none() && !self.stop.is_stopped() {
                for (index, step) in self.checked.steps.iter().enumerate() {
                    if !begun.contains(&step.id) && self.is_ready(index, step, &complete) {
                        begun.insert(step.id.clone());
                        running.push(self.run_step(step, outputs.clone(), Arc::clone(&accepted)));
                    }
                }
            }
            let Some((step, result)) = running.next().await else { break };
            match result {
                Ok(StepEnd::Complete(value)) => {
                    complete.insert(step.clone());
                    outputs.insert(step, value);
                }
                Ok(StepEnd::Skipped) => {
                    complete.insert(step.clone());
                    outputs.insert(step, Json::Null);
                }
                Err(failure) => {
                    failed.get_or_insert((step, failure));
                }
            }
        }
        drop(running);
        self.end(failed, &outputs).await
    }

    /// Complete: all that the step needs; for a cut-over, every step before it.
    fn is_ready(&self, index: usize, step: &Step, complete: &BTreeSet<StepId>) -> bool {
        step.needs.iter().all(|needed| complete.contains(needed))
            && (!step.cutover
                || self.checked.steps[..index].iter().all(|before| complete.contains(&before.id)))
    }

    async fn end(&self, failed: Option<(StepId, StepFailure)>, outputs: &Outputs) -> Result<RunEnd> {
        let run = self.checked.run.clone();
        let (failed, verification_failed) = match failed {
            Some((step, StepFailure::Error(error))) => (Some((step, error)), false),
            Some((step, StepFailure::Checks(checks))) => {
                (Some((step.clone(), checks_error(&step, &checks))), true)
            }
            None if self.stop.is_stopped() => (Some((StepId::new(""), Stop::error())), false),
            None => (None, false),
        };
        if let Some((step, error)) = failed {
            let stopped = error.code.as_deref() == Some("stopped");
            let status = if stopped { RunStatus::Stopped } else { RunStatus::Failed };
            self.rooms.journal.set_run_status(&run, status, Some(&error)).await?;
            let failed = Some((step, error));
            return Ok(RunEnd { run, status, failed, verification_failed, outputs: Json::Null });
        }
        let result = match self.cleanup().await {
            Ok(()) => match self.checked.outputs(outputs) {
                Ok(value) => Ok(value),
                Err(EvalError::Unknown { step }) => {
                    Err(Error::invalid(format!("the recipe's outputs need step `{step}`, which did not run")))
                }
                Err(EvalError::Failed(error)) => Err(error.context("the recipe's outputs")),
            },
            Err(error) => Err(error.context("removing this run's markers")),
        };
        match result {
            Ok(value) => {
                self.rooms.journal.set_run_status(&run, RunStatus::Done, None).await?;
                Ok(RunEnd {
                    run,
                    status: RunStatus::Done,
                    failed: None,
                    verification_failed: false,
                    outputs: value,
                })
            }
            Err(error) => {
                self.rooms.journal.set_run_status(&run, RunStatus::Failed, Some(&error)).await?;
                let failed = Some((StepId::new("cleanup"), error));
                Ok(RunEnd {
                    run,
                    status: RunStatus::Failed,
                    failed,
                    verification_failed: false,
                    outputs: Json::Null,
                })
            }
        }
    }

    /// Removes this run's markers from every target. Idempotent: a run is done only once it has returned.
    async fn cleanup(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for step in &self.checked.steps {
            for grant in &step.grants {
                let capability = self.rooms.capabilities.for_kind(grant.kind);
                let identity = capability.identity(grant)?;
                if grant.access == Access::Write
                    && seen.insert(identity)
                    && let Some(what) = capability.cleanup(&self.checked.run, grant).await?
                {
                    self.rooms.observer.event(Event::Cleanup { what });
                }
            }
        }
        Ok(())
    }

    async fn run_step(
        &self,
        step: &Step,
        outputs: Outputs,
        accepted: Arc<HashSet<(StepId, EffectKey, Digest)>>,
    ) -> (StepId, std::result::Result<StepEnd, StepFailure>) {
        let result = self.try_step(step, &outputs, accepted).await;
        if let Err(failure) = &result {
            let error = match failure {
                StepFailure::Error(error) => error.clone(),
                StepFailure::Checks(checks) => checks_error(&step.id, checks),
            };
            self.rooms.observer.event(Event::StepFailed { step: step.id.clone(), error });
        }
        (step.id.clone(), result)
    }

    async fn try_step(
        &self,
        step: &Step,
        outputs: &Outputs,
        accepted: Arc<HashSet<(StepId, EffectKey, Digest)>>,
    ) -> std::result::Result<StepEnd, StepFailure> {
        let journal = &self.rooms.journal;
        let run = &self.checked.run;
        let records = journal.steps(run).await?;
        // A run that was cut off at its very beginning has not journalled all of its steps.
        let mut record =
            records.into_iter().find(|record| record.step == step.id).unwrap_or_else(|| self.waiting(step));
        let params = match self.evaluated(step, outputs) {
            Ok(Some(params)) => params,
            Ok(None) => {
                record.status = StepStatus::Skipped;
                record.ended_at = Some(now());
                journal.put_step(run, &record).await?;
                self.rooms.observer.event(Event::StepSkipped { step: step.id.clone() });
                return Ok(StepEnd::Skipped);
            }
            Err(EvalError::Unknown { step: needed }) => {
                return Err(Error::host(format!(
                    "step `{}` was begun before step `{needed}`, whose outputs it needs",
                    step.id
                ))
                .into());
            }
            Err(EvalError::Failed(error)) => return Err(error.into()),
        };
        if step.cutover {
            self.check_frozen(step).await?;
        }
        if step.cutover
            && self.rooms.observer.ask(&Question::Cutover { step: step.id.clone() }).await == Answer::No
        {
            return Err(Error::host(format!("cut-over step `{}` was not confirmed", step.id))
                .code("stopped")
                .hint("`godwit resume` asks again")
                .into());
        }
        self.rooms.observer.event(Event::StepStarted { step: step.id.clone(), plugin: step.plugin.clone() });
        record.status = StepStatus::Applying;
        record.params = params.clone();
        record.error = None;
        record.ended_at = None;
        record.started_at.get_or_insert_with(now);
        journal.put_step(run, &record).await?;

        let result = self.apply_and_verify(step, &mut record, &params, outputs, accepted).await;
        record.ended_at = Some(now());
        match &result {
            Ok(_) => {
                record.status = StepStatus::Complete;
                journal.put_step(run, &record).await?;
                self.rooms.observer.event(Event::StepCompleted { step: step.id.clone() });
            }
            Err(failure) => {
                record.status = StepStatus::Failed;
                record.error = Some(match failure {
                    StepFailure::Error(error) => error.clone(),
                    StepFailure::Checks(checks) => checks_error(&step.id, checks),
                });
                journal.put_step(run, &record).await?;
            }
        }
        result
    }

    /// Before a cut-over: every source that an earlier step declared frozen still is.
    async fn check_frozen(&self, cutover: &Step) -> Result<()> {
        for step in self.checked.steps.iter().take_while(|step| step.id != cutover.id) {
            let scope = self.scope(
                step,
                Mode::Recheck,
                Arc::new(self.step_notes(step)),
                Arc::new(StepTransforms::default()),
                Arc::new(NoOverlay),
            );
            for grant in step.grants.iter().filter(|grant| grant.access == Access::Read) {
                let capability = self.rooms.capabilities.for_kind(grant.kind);
                capability.check_frozen(&scope, grant).await.map_err(|error| {
                    self.redacted(error.context(format!("before the cut-over by `{}`", cutover.id)))
                })?;
            }
        }
        Ok(())
    }

    async fn apply_and_verify(
        &self,
        step: &Step,
        record: &mut StepRecord,
        params: &Json,
        outputs: &Outputs,
        accepted: Arc<HashSet<(StepId, EffectKey, Digest)>>,
    ) -> std::result::Result<StepEnd, StepFailure> {
        let plugin = self.rooms.plugins.load(&step.plugin).await?;
        let value =
            self.call_apply(step, &plugin, params, outputs, accepted).await.map_err(|e| self.redacted(e))?;
        record.outputs = value.clone();
        record.status = StepStatus::Verifying;
        self.rooms.journal.put_step(&self.checked.run, record).await?;

        self.rooms.observer.event(Event::Verifying { step: step.id.clone() });
        let checked = self.call_verify(step, Mode::Verify, &plugin, params, &value).await;
        let checks = checked.map_err(|e| self.redacted(e))?;
        self.rooms.observer.event(Event::Checked { step: step.id.clone(), checks: checks.clone() });
        record.checks = checks.clone();
        if checks.iter().any(|check| matches!(check.verdict, Verdict::Failed(_))) {
            return Err(StepFailure::Checks(checks));
        }
        Ok(StepEnd::Complete(value))
    }

    async fn call_apply(
        &self,
        step: &Step,
        plugin: &Arc<dyn Plugin>,
        params: &Json,
        outputs: &Outputs,
        accepted: Arc<HashSet<(StepId, EffectKey, Digest)>>,
    ) -> Result<Json> {
        let run = &self.checked.run;
        let transforms = Arc::new(self.transforms(step, outputs).await?);
        let scope = self.scope(
            step,
            Mode::Apply,
            Arc::new(self.step_notes(step)),
            Arc::clone(&transforms) as _,
            Arc::new(NoOverlay),
        );
        let mut redo = Vec::new();
        for (name, capability) in self.capabilities_of(step) {
            redo.extend(capability.open_step(&scope, &self.history(run, &step.id, name)).await?);
        }
        let queue = Queue::new(
            self.rooms.clone(),
            scope.clone(),
            Policy {
                max_errors: match step.on_failure {
                    OnFailure::Stop => 0,
                    OnFailure::Continue { max_errors } => max_errors,
                },
                attempts: step.retry.attempts.max(1),
                backoff: step.retry.backoff,
            },
            self.stop.clone(),
            Consent { accepted, all: self.accept_all },
            redo,
        )
        .await?;
        let session = Session::new(
            self.rooms.clone(),
            scope.clone(),
            Backing::Apply { queue: Arc::clone(&queue) },
            self.stop.clone(),
            step.limits.clone(),
        );
        let work = async {
            let applied = plugin.apply(session, params, &step.limits).await;
            match applied {
                Ok(value) => {
                    // What the guest did not wait for still has to end well.
                    queue.finish().await?;
                    transforms.check(&step.id, &queue.transfers())?;
                    Ok(value)
                }
                Err(error) => Err(queue.give_up(error).await),
            }
        };
        let result = tokio::select! {
            result = self.timed(step, work) => result,
            () = self.stop.stopped() => Err(Stop::error()),
        };
        queue.abandon().await;
        let mut closed = Ok(());
        for (_, capability) in self.capabilities_of(step) {
            closed = closed.and(capability.close_step(&scope).await);
        }
        let value = result?;
        closed?;
        Ok(value)
    }

    async fn call_verify(
        &self,
        step: &Step,
        mode: Mode,
        plugin: &Arc<dyn Plugin>,
        params: &Json,
        outputs: &Json,
    ) -> Result<Vec<Check>> {
        let scope = self.scope(
            step,
            mode,
            Arc::new(self.step_notes(step)),
            Arc::new(StepTransforms::default()),
            Arc::new(NoOverlay),
        );
        let session = Session::new(
            self.rooms.clone(),
            scope.clone(),
            Backing::Verify,
            self.stop.clone(),
            step.limits.clone(),
        );
        let result = tokio::select! {
            result = self.timed(step, plugin.verify(session, params, outputs, &step.limits)) => result,
            () = self.stop.stopped() => Err(Stop::error()),
        };
        self.each_capability(step, |capability| {
            let scope = scope.clone();
            async move { capability.close_step(&scope).await }
        })
        .await?;
        result
    }

    /// The params of a step, `None` where its `when` is false.
    pub(crate) fn evaluated(
        &self,
        step: &Step,
        outputs: &Outputs,
    ) -> std::result::Result<Option<Json>, EvalError> {
        if !self.checked.when(step, outputs)? {
            return Ok(None);
        }
        self.checked.params(step, outputs).map(Some)
    }

    pub(crate) async fn transforms(&self, step: &Step, outputs: &Outputs) -> Result<StepTransforms> {
        let mut transforms = StepTransforms::default();
        for (index, used) in step.transforms.iter().enumerate() {
            let plugin = self.rooms.plugins.load(&used.plugin).await?;
            let params =
                self.checked.transform_params(step, index, outputs).map_err(|error| match error {
                    EvalError::Unknown { step: needed } => Error::pending(format!(
                        "the params of transform `{}` need the outputs of step `{needed}`",
                        used.plugin
                    )),
                    EvalError::Failed(error) => error,
                })?;
            transforms.add(plugin, used.labels.clone(), params, step.limits.clone()).await?;
        }
        Ok(transforms)
    }

    pub(crate) fn scope(
        &self,
        step: &Step,
        mode: Mode,
        notes: Arc<dyn Notes>,
        transforms: Arc<dyn Transforms>,
        overlay: Arc<dyn Overlay>,
    ) -> StepScope {
        StepScope {
            run: self.checked.run.clone(),
            step: step.id.clone(),
            mode,
            grants: Arc::new(step.grants.clone()),
            secrets: Arc::clone(&self.checked.secrets),
            known_values: Arc::new(plain_values(&self.checked.plain_inputs)),
            notes,
            transforms,
            progress: Arc::new(ObserverProgress {
                observer: Arc::clone(&self.rooms.observer),
                step: step.id.clone(),
            }),
            overlay,
        }
    }

    fn step_notes(&self, step: &Step) -> JournalLedger {
        JournalLedger {
            journal: Arc::clone(&self.rooms.journal),
            run: self.checked.run.clone(),
            step: step.id.clone(),
            key: None,
        }
    }

    /// The effects of a step that are a capability's, as the journal has them.
    pub(crate) fn history(&self, run: &RunId, step: &StepId, capability: CapabilityName) -> JournalHistory {
        JournalHistory {
            journal: Arc::clone(&self.rooms.journal),
            run: run.clone(),
            step: step.clone(),
            capability,
        }
    }

    /// The capabilities that a step's grants name, each once.
    pub(crate) fn capabilities_of(&self, step: &Step) -> Vec<(CapabilityName, Arc<dyn Capability>)> {
        let names: BTreeSet<CapabilityName> =
            step.grants.iter().map(|grant| capability_of(grant.kind)).collect();
        names.into_iter().map(|name| (name, Arc::clone(self.rooms.capabilities.named(name)))).collect()
    }

    pub(crate) async fn each_capability<F, R>(&self, step: &Step, act: F) -> Result<()>
    where
        F: Fn(Arc<dyn Capability>) -> R,
        R: Future<Output = Result<()>>,
    {
        for (_, capability) in self.capabilities_of(step) {
            act(capability).await?;
        }
        Ok(())
    }

    /// Bounds a call by the step's wall time.
    pub(crate) async fn timed<T>(&self, step: &Step, work: impl Future<Output = Result<T>>) -> Result<T> {
        match step.timeout {
            None => work.await,
            Some(timeout) => tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
                Err(Error::host(format!("step `{}` took longer than its timeout of {timeout:?}", step.id))
                    .fault(Fault::Plugin)
                    .hint("raise the step's \"timeout\" in the recipe and resume"))
            }),
        }
    }

    pub(crate) fn redacted(&self, error: Error) -> Error {
        self.checked.secrets.redact_error(error)
    }

    fn waiting(&self, step: &Step) -> StepRecord {
        StepRecord {
            step: step.id.clone(),
            plugin: step.plugin.clone(),
            plugin_digest: self.plugin_digest(step),
            status: StepStatus::Waiting,
            params: Json::Null,
            outputs: Json::Null,
            checks: Vec::new(),
            error: None,
            started_at: None,
            ended_at: None,
        }
    }

    fn plugin_digest(&self, step: &Step) -> Digest {
        self.checked
            .plugins
            .get(&step.plugin)
            .map(|info| info.digest.clone())
            .unwrap_or_else(|| Digest::of(step.plugin.as_bytes()))
    }
}

fn checks_error(step: &StepId, checks: &[Check]) -> Error {
    let failed: Vec<String> = checks
        .iter()
        .filter_map(|check| match &check.verdict {
            Verdict::Failed(why) => Some(format!("{}: {why}", check.name)),
            _ => None,
        })
        .collect();
    Error::failed(format!("step `{step}` did not pass {} of its checks: {}", failed.len(), failed.join("; ")))
        .code("verification")
        .hint("look at what differs; then resume, or undo the run")
}

/// Every text of the plain inputs, and numbers as text: what a masked diff may show.
fn plain_values(inputs: &Json) -> Vec<String> {
    match inputs {
        Json::String(text) => vec![text.clone()],
        Json::Number(number) => vec![number.to_string()],
        Json::Bool(value) => vec![value.to_string()],
        Json::Array(items) => items.iter().flat_map(plain_values).collect(),
        Json::Object(fields) => fields.values().flat_map(plain_values).collect(),
        Json::Null => Vec::new(),
    }
}
