//! Making a plan: `apply` with effects recorded instead of performed.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use godwit_model::capability::StepScope;
use godwit_model::effect::{Action, Class, Effect, Outcome, Preparation, SqlUndo};
use godwit_model::plugin::Mode;
use godwit_model::{EffectKey, Error, ErrorKind, Result};
use godwit_recipe::{EvalError, Outputs, Step};

use crate::plan::{FORMAT_VERSION, MoreEffects, Plan, PlannedEffect, StepPlan, StepPlanStatus};
use crate::rooms::Rooms;
use crate::run::Engine;
use crate::scope::PlanNotes;
use crate::session::{Backing, Session};
use crate::transforms::Transfer;
use crate::world::PlannedWorld;

/// Effects of a step from which on copies of objects that nobody has to be asked about are counted instead of kept: a
/// bucket may have millions.
const MOST_COPIES: usize = 5_000;

/// The record of one step's planned effects.
#[derive(Clone, Default)]
pub(crate) struct PlannedStep {
    inner: Arc<Mutex<Recorded>>,
}

#[derive(Default)]
struct Recorded {
    keys: HashSet<EffectKey>,
    effects: Vec<PlannedEffect>,
    more: Option<MoreEffects>,
    transfers: Vec<Transfer>,
    outcomes: VecDeque<Outcome>,
    log: Vec<String>,
}

impl PlannedStep {
    pub fn log(&self, message: &str) {
        self.lock().log.push(message.to_owned());
    }

    /// Prepares and records a batch; every outcome of it is `pending`.
    pub async fn record(
        &self,
        rooms: &Rooms,
        scope: &StepScope,
        world: &PlannedWorld,
        batch: Vec<Effect>,
    ) -> Result<()> {
        for effect in batch {
            let capability = rooms.capabilities.named(effect.action.capability());
            let sink = scope.grant(effect.action.sink())?;
            let identity = rooms.capabilities.for_kind(sink.kind).identity(sink)?;
            let (preparation, transfer) = match capability.prepare(scope, &effect).await {
                Ok(preparation) => {
                    let transfer = Transfer::of(rooms, &*scope.transforms, &effect, &preparation, None);
                    (preparation, transfer)
                }
                // The database is made by this very plan: there is nothing yet to look at.
                Err(_) if world.is_planned_database(&identity) => {
                    (unseen(&effect.action), Transfer::unseen(&*scope.transforms, &effect))
                }
                Err(error) => return Err(error.context(format!("effect `{}`", effect.key))),
            };
            world.touch(&scope.step, &effect.action, sink, &identity);
            let mut recorded = self.lock();
            if !recorded.keys.insert(effect.key.clone()) {
                return Err(Error::plugin(format!(
                    "the plugin asked twice for an effect with key `{}`",
                    effect.key
                )));
            }
            recorded.outcomes.push_back(Outcome {
                key: effect.key.clone(),
                result: Err(Error::pending(format!("effect `{}` is only planned", effect.key))),
            });
            recorded.transfers.extend(transfer);
            let copies = matches!(effect.action, Action::CopyObject(_)) && !preparation.is_gated();
            if copies && recorded.effects.len() >= MOST_COPIES {
                recorded.more.get_or_insert_default().add(&preparation);
            } else {
                let request = effect.request_digest();
                recorded.effects.push(PlannedEffect { request, effect, preparation });
            }
        }
        Ok(())
    }

    pub fn outcomes(&self, max: u32) -> Vec<Outcome> {
        let mut recorded = self.lock();
        let count = recorded.outcomes.len().min(max.max(1) as usize);
        recorded.outcomes.drain(..count).collect()
    }

    /// Moves what was recorded into the plan of its step.
    fn fill(&self, planned: &mut StepPlan) {
        let mut recorded = self.lock();
        planned.effects = std::mem::take(&mut recorded.effects);
        planned.more = recorded.more.take();
        planned.log = std::mem::take(&mut recorded.log);
    }

    pub fn transfers(&self) -> Vec<Transfer> {
        self.lock().transfers.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recorded> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What can be said of an effect whose sink is made by the same plan.
fn unseen(action: &Action) -> Preparation {
    let (title, details, irreversible) = match action {
        Action::ExecuteSql(sql) => (
            format!("run {} SQL statement(s)", sql.statements.len()),
            sql.statements.clone(),
            matches!(sql.undo, SqlUndo::Irreversible).then(|| "the plugin knows no way back".to_owned()),
        ),
        Action::CopyTable(copy) => {
            (format!("copy {} → {}", copy.source.label(), copy.sink.label()), Vec::new(), None)
        }
        Action::LoadTable(load) => {
            (format!("load {} ← {}", load.sink.label(), load.source.path), Vec::new(), None)
        }
        Action::CopySequences(copy) => {
            (format!("set the state of {} sequence(s)", copy.sequences.len()), Vec::new(), None)
        }
        _ => ("an effect on what this plan makes".to_owned(), Vec::new(), None),
    };
    Preparation {
        class: Class::Creates,
        irreversible,
        title,
        details,
        diff: None,
        estimate: None,
        before: serde_json::Value::Null,
    }
}

impl Engine {
    /// Plans the whole recipe. Performs nothing and journals nothing; a step that would fail says so in the plan.
    pub async fn plan(&self) -> Result<Plan> {
        let world = Arc::new(PlannedWorld::default());
        let mut steps = Vec::new();
        // No step of a plan has outputs: whatever needs them isn't known yet.
        let outputs = Outputs::new();
        for step in &self.checked.steps {
            if self.stop.is_stopped() {
                return Err(crate::scope::Stop::error());
            }
            steps.push(self.plan_step(step, &outputs, &world).await?);
        }
        Ok(Plan {
            format: FORMAT_VERSION,
            run: self.checked.run.clone(),
            recipe: self.checked.name.clone(),
            recipe_digest: godwit_model::Digest::of(self.checked.text.as_bytes()),
            inputs: self.checked.plain_inputs.clone(),
            steps,
        })
    }

    async fn plan_step(&self, step: &Step, outputs: &Outputs, world: &Arc<PlannedWorld>) -> Result<StepPlan> {
        let plugin = self.rooms.plugins.load(&step.plugin).await?;
        let mut planned = StepPlan {
            step: step.id.clone(),
            plugin: step.plugin.clone(),
            plugin_digest: plugin.digest().clone(),
            description: step.description.clone(),
            cutover: step.cutover,
            status: StepPlanStatus::Known,
            effects: Vec::new(),
            more: None,
            log: Vec::new(),
        };
        let params = match self.evaluated(step, outputs) {
            Ok(Some(params)) => params,
            Ok(None) => {
                planned.status = StepPlanStatus::Skipped;
                return Ok(planned);
            }
            Err(EvalError::Unknown { step }) => {
                planned.status = StepPlanStatus::DependsOn { on: step };
                return Ok(planned);
            }
            Err(EvalError::Failed(error)) => {
                planned.status = StepPlanStatus::Failed { error };
                return Ok(planned);
            }
        };
        let recorded = PlannedStep::default();
        let result = self.call_plan(step, &plugin, &params, outputs, world, &recorded).await;
        recorded.fill(&mut planned);
        planned.status = match result {
            Ok(()) => StepPlanStatus::Known,
            Err(error) if error.kind == ErrorKind::Pending => {
                StepPlanStatus::Partly { because: error.message }
            }
            Err(error) => StepPlanStatus::Failed { error: self.redacted(error) },
        };
        Ok(planned)
    }

    /// Calls `apply` to plan. Fails where a transform would miss its transfer, too.
    async fn call_plan(
        &self,
        step: &Step,
        plugin: &Arc<dyn godwit_model::plugin::Plugin>,
        params: &godwit_model::Json,
        outputs: &Outputs,
        world: &Arc<PlannedWorld>,
        recorded: &PlannedStep,
    ) -> Result<()> {
        let transforms = Arc::new(self.transforms(step, outputs).await?);
        let scope = self.scope(
            step,
            Mode::Plan,
            Arc::new(PlanNotes::default()),
            Arc::clone(&transforms) as _,
            Arc::clone(world) as _,
        );
        self.each_capability(step, |capability| {
            let scope = scope.clone();
            // A plan comes before everything.
            async move { capability.open_step(&scope, &[].as_slice()).await.map(|_| ()) }
        })
        .await?;
        let session = Session::new(
            self.rooms.clone(),
            scope.clone(),
            Backing::Plan { world: Arc::clone(world), step: recorded.clone() },
            self.stop.clone(),
            step.limits.clone(),
        );
        let result = self.timed(step, plugin.apply(session, params, &step.limits)).await;
        self.each_capability(step, |capability| {
            let scope = scope.clone();
            async move { capability.close_step(&scope).await }
        })
        .await?;
        match result {
            Ok(_) => transforms.check(&step.id, &recorded.transfers()),
            Err(error) if error.is_pending() => {
                // A step that asks for transfers asks for all of them at once: what it reads later can't bring more.
                // One that got nowhere hasn't said which it will ask for.
                match recorded.transfers().as_slice() {
                    [] => Err(error),
                    transfers => transforms.check(&step.id, transfers).and(Err(error)),
                }
            }
            Err(error) => Err(error),
        }
    }
}
