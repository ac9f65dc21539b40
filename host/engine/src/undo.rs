//! Undo: a run of its own over the journal of another, backwards; planned, journalled, resumable.

use std::collections::BTreeSet;
use std::sync::Arc;

use godwit_model::capability::{History as _, StepScope, UndoAction};
use godwit_model::journal::{Accepted, RunKind, RunRecord, RunStatus, StepStatus, UndoRecord};
use godwit_model::plugin::{Access, Mode};
use godwit_model::{Digest, EffectKey, Error, Json, Result, RunId, StepId};
use serde::{Deserialize, Serialize};

use crate::observer::Event;
use crate::run::{Engine, RunEnd};
use crate::scope::{JournalLedger, NoOverlay, Stop};
use crate::transforms::StepTransforms;
use godwit_model::clock::now;

/// What undo would do, in its order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UndoPlan {
    pub of: RunId,
    pub recipe: String,
    pub steps: Vec<UndoStep>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UndoStep {
    pub step: StepId,
    pub actions: Vec<UndoAction>,
}

/// What a person allows an undo to do.
#[derive(Clone, Debug, Default)]
pub struct UndoOptions {
    /// Keys of actions (`step/key`, or `all`) whose later changes may be thrown away.
    pub discard_later_changes: Vec<String>,
    /// Leaves what can't be taken back as it is, instead of refusing to begin.
    pub keep_irreversible: bool,
    pub owner: String,
}

impl UndoPlan {
    /// How many things undo would do.
    pub fn len(&self) -> usize {
        self.steps.iter().map(|step| step.actions.len()).sum()
    }

    /// Whether there is nothing to undo.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The actions that stand in the way: changed since and not to be discarded, or irreversible and not to be kept.
    fn refuse(&self, options: &UndoOptions) -> Result<()> {
        let mut changed = Vec::new();
        let mut irreversible = Vec::new();
        for step in &self.steps {
            for action in &step.actions {
                if let Some(why) = &action.irreversible
                    && !options.keep_irreversible
                {
                    irreversible.push(format!("  {}/{}: {} ({why})", step.step, action.key, action.title));
                }
                if let Some(what) = &action.changed
                    && !discards(&options.discard_later_changes, &step.step, action)
                {
                    changed.push(format!("  {}/{}: {what}", step.step, action.key));
                }
            }
        }
        if !changed.is_empty() {
            return Err(Error::conflict(format!("changed since run {}:\n{}", self.of, changed.join("\n")))
                .hint("nothing was undone; `--discard-later-changes STEP/KEY` (or `all`) throws the later changes away"));
        }
        if !irreversible.is_empty() {
            return Err(Error::conflict(format!("can't be undone:\n{}", irreversible.join("\n")))
                .hint("nothing was undone; `--keep-irreversible` undoes the rest"));
        }
        Ok(())
    }
}

fn discards(named: &[String], step: &StepId, action: &UndoAction) -> bool {
    let name = format!("{step}/{}", action.key);
    named.iter().any(|given| given == "all" || *given == name)
}

/// The actions to journal, in their order; what can't be taken back is left as it is.
fn actions_of(plan: UndoPlan) -> Vec<UndoRecord> {
    plan.steps
        .into_iter()
        .flat_map(|step| step.actions.into_iter().map(move |action| (step.step.clone(), action)))
        .filter(|(_, action)| action.irreversible.is_none())
        .enumerate()
        .map(|(sequence, (step, action))| UndoRecord { step, action, sequence: sequence as u64, done: None })
        .collect()
}

fn digest_of(action: &UndoAction) -> Digest {
    Digest::of(&serde_json::to_vec(action).unwrap_or_default())
}

impl Engine {
    /// What undoing this run would do now. Reads only.
    pub async fn plan_undo(&self) -> Result<UndoPlan> {
        let record = self.record().await?;
        if record.kind == RunKind::Undo {
            return Err(Error::invalid(format!("run {} is an undo itself", record.id))
                .hint("run the recipe again instead"));
        }
        if record.status == RunStatus::Undone {
            return Err(Error::conflict(format!("run {} was undone already", record.id)));
        }
        let mut steps = Vec::new();
        let records = self.rooms.journal.steps(&self.checked.run).await?;
        for step in self.checked.steps.iter().rev() {
            let run = &self.checked.run;
            let begun = records.iter().any(|record| {
                record.step == step.id && !matches!(record.status, StepStatus::Waiting | StepStatus::Skipped)
            });
            if !begun || self.rooms.journal.effect_count(run, &step.id).await? == 0 {
                continue;
            }
            let scope = self.undo_scope(run, &step.id)?;
            let mut actions = Vec::new();
            for (name, capability) in self.capabilities_of(step) {
                let history = self.history(run, &step.id, name);
                if !history.before(None).await?.is_empty() {
                    actions.extend(capability.plan_undo(&scope, &history).await?);
                }
            }
            self.each_capability(step, |capability| {
                let scope = scope.clone();
                async move { capability.close_step(&scope).await }
            })
            .await?;
            if !actions.is_empty() {
                steps.push(UndoStep { step: step.id.clone(), actions });
            }
        }
        Ok(UndoPlan { of: record.id, recipe: record.recipe, steps })
    }

    /// Undoes this run by the run `id`. Refuses, with nothing done, where later changes or irreversible effects
    /// stand in the way.
    pub async fn undo(&self, id: RunId, options: &UndoOptions) -> Result<RunEnd> {
        let plan = self.plan_undo().await?;
        plan.refuse(options)?;
        let original = self.record().await?;
        self.rooms.journal.own_run(&original.id, &options.owner).await?;
        let accepted = plan
            .steps
            .iter()
            .flat_map(|step| step.actions.iter().map(move |action| (&step.step, action)))
            .filter(|(_, action)| action.changed.is_some())
            .map(|(step, action)| Accepted {
                step: step.clone(),
                key: action.key.clone(),
                request: digest_of(action),
            })
            .collect();
        let record = RunRecord {
            id: id.clone(),
            kind: RunKind::Undo,
            of: Some(original.id.clone()),
            recipe: original.recipe,
            recipe_path: original.recipe_path,
            recipe_text: original.recipe_text,
            inputs: original.inputs,
            secret_inputs: original.secret_inputs,
            plugins: original.plugins,
            accepted,
            status: RunStatus::Running,
            started_at: now(),
            ended_at: None,
            error: None,
            owner: options.owner.clone(),
        };
        self.rooms.journal.insert_run(&record).await?;
        self.rooms.journal.plan_undo(&id, actions_of(plan)).await?;
        self.perform_undo(&record, &options.discard_later_changes).await
    }

    /// Goes on with an undo that was cut off. The engine is that of the run it takes back. `discard` names what may be
    /// thrown away beside what was named when the undo began.
    pub async fn resume_undo(&self, undo: &RunId, owner: &str, discard: &[String]) -> Result<RunEnd> {
        let record = self.rooms.journal.run(undo).await?.ok_or_else(|| {
            Error::missing(format!("the journal has no run {undo}")).hint("`godwit runs` lists them")
        })?;
        if record.status == RunStatus::Done {
            return Err(Error::conflict(format!("undo {undo} is done; there is nothing to resume")));
        }
        self.rooms.journal.own_run(undo, owner).await?;
        self.rooms.journal.set_run_status(undo, RunStatus::Running, None).await?;
        if self.rooms.journal.undo_actions(undo).await?.is_empty() {
            // Cut off before its plan was journalled, hence before anything was done: what was accepted then is
            // accepted now, anything else refuses.
            let plan = self.plan_undo().await?;
            let names = record.accepted.iter().map(|accepted| format!("{}/{}", accepted.step, accepted.key));
            let options = UndoOptions {
                discard_later_changes: names.chain(discard.iter().cloned()).collect(),
                keep_irreversible: true,
                owner: owner.to_owned(),
            };
            plan.refuse(&options)?;
            self.rooms.journal.plan_undo(undo, actions_of(plan)).await?;
        }
        self.perform_undo(&record, discard).await
    }

    async fn perform_undo(&self, record: &RunRecord, discard: &[String]) -> Result<RunEnd> {
        let undo = &record.id;
        let end = |status, failed| RunEnd {
            run: undo.clone(),
            status,
            failed,
            verification_failed: false,
            outputs: Json::Null,
        };
        // Each action may have been begun by a process that was cut off: all but the done ones are «resumed».
        let result = self.undo_all(record, discard).await;
        if let Err((step, error)) = result {
            let status =
                if error.code.as_deref() == Some("stopped") { RunStatus::Stopped } else { RunStatus::Failed };
            let error = self.redacted(error);
            self.rooms.journal.set_run_status(undo, status, Some(&error)).await?;
            return Ok(end(status, Some((step, error))));
        }
        self.rooms.journal.set_run_status(&self.checked.run, RunStatus::Undone, None).await?;
        self.rooms.journal.set_run_status(undo, RunStatus::Done, None).await?;
        Ok(end(RunStatus::Done, None))
    }

    async fn undo_all(
        &self,
        record: &RunRecord,
        discard: &[String],
    ) -> std::result::Result<(), (StepId, Error)> {
        let actions =
            self.rooms.journal.undo_actions(&record.id).await.map_err(|e| (StepId::new("undo"), e))?;
        for undo in actions.into_iter().filter(|undo| undo.done.is_none()) {
            let step = undo.step.clone();
            if self.stop.is_stopped() {
                return Err((step, Stop::error()));
            }
            self.undo_one(record, undo, discard).await.map_err(|error| (step, error))?;
        }
        self.cleanup_undo(record).await.map_err(|error| (StepId::new("cleanup"), error))
    }

    async fn undo_one(&self, record: &RunRecord, undo: UndoRecord, named: &[String]) -> Result<()> {
        let scope = self.undo_scope(&record.id, &undo.step)?;
        let first =
            undo.action.takes_back.first().ok_or_else(|| {
                Error::host(format!("undo action `{}` takes nothing back", undo.action.key))
            })?;
        let of = self.effect_of(&undo.step, first).await?;
        let accepted = record.accepted.iter().any(|accepted| {
            accepted.step == undo.step
                && accepted.key == undo.action.key
                && accepted.request == digest_of(&undo.action)
        });
        // What has changed since the plan of the undo may be named later, too.
        let discard = accepted || discards(named, &undo.step, &undo.action);
        let capability = self.rooms.capabilities.named(of.effect.action.capability());
        let result = capability.undo(&scope, &undo.action, discard, true).await;
        let closed = capability.close_step(&scope).await;
        let result = result.map_err(|error| error.context(format!("undo of `{}`", undo.action.title)))?;
        closed?;
        self.rooms.journal.finish_undo(&record.id, &undo.step, &undo.action.key, &result).await?;
        self.rooms.observer.event(Event::UndoDone {
            step: undo.step,
            key: undo.action.key,
            title: undo.action.title,
        });
        Ok(())
    }

    async fn effect_of(&self, step: &StepId, key: &EffectKey) -> Result<godwit_model::journal::EffectRecord> {
        self.rooms.journal.effect(&self.checked.run, step, key).await?.ok_or_else(|| {
            Error::host(format!("the journal of run {} doesn't know effect `{key}`", self.checked.run))
        })
    }

    /// Removes the markers of the undo and of the run that it took back.
    async fn cleanup_undo(&self, record: &RunRecord) -> Result<()> {
        let mut seen = BTreeSet::new();
        for step in &self.checked.steps {
            for grant in step.grants.iter().filter(|grant| grant.access == Access::Write) {
                let capability = self.rooms.capabilities.for_kind(grant.kind);
                if !seen.insert(capability.identity(grant)?) {
                    continue;
                }
                for run in [&self.checked.run, &record.id] {
                    if let Some(what) = capability.cleanup(run, grant).await? {
                        self.rooms.observer.event(Event::Cleanup { what });
                    }
                }
            }
        }
        Ok(())
    }

    /// The scope of an undo: marked by the undo's own run.
    fn undo_scope(&self, run: &RunId, step: &StepId) -> Result<StepScope> {
        let step = self
            .checked
            .step(step)
            .ok_or_else(|| Error::host(format!("the recipe of the run has no step `{step}`")))?;
        let notes = JournalLedger {
            journal: Arc::clone(&self.rooms.journal),
            run: run.clone(),
            step: step.id.clone(),
            key: None,
        };
        let transforms = Arc::new(StepTransforms::default());
        let mut scope = self.scope(step, Mode::Apply, Arc::new(notes), transforms, Arc::new(NoOverlay));
        scope.run = run.clone();
        Ok(scope)
    }
}
