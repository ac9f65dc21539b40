//! What a plan says. Stored by `--out`, hence versioned.

use godwit_model::effect::{Class, Effect, Preparation};
use godwit_model::journal::Accepted;
use godwit_model::{Digest, Error, Json, RunId, StepId};
use serde::{Deserialize, Serialize};

/// The version of the stored form.
pub const FORMAT_VERSION: u32 = 1;

/// The effects that a run would have, as far as they can be known without performing any.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub format: u32,
    /// The run that the plan was made for: secret tokens, and so request digests, are those of this run.
    pub run: RunId,
    pub recipe: String,
    /// SHA-256 of the recipe's text.
    pub recipe_digest: Digest,
    /// Plain input values.
    pub inputs: Json,
    pub steps: Vec<StepPlan>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepPlan {
    pub step: StepId,
    pub plugin: String,
    pub plugin_digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub cutover: bool,
    #[serde(flatten)]
    pub status: StepPlanStatus,
    pub effects: Vec<PlannedEffect>,
    /// Copies of objects beyond those of `effects`; none of them overwrites, destroys or can't be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<MoreEffects>,
    /// Log lines of level info and above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum StepPlanStatus {
    /// Every effect is known.
    Known,
    /// What is known ends where an answer depends on an effect that was only recorded.
    Partly { because: String },
    /// Nothing is known yet: the params need outputs of this step.
    DependsOn { on: StepId },
    /// Its `when` is false.
    Skipped,
    /// The step would fail.
    Failed { error: Error },
}

/// Effects that are counted alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoreEffects {
    pub effects: u64,
    /// Objects.
    pub items: u64,
    pub bytes: u64,
}

impl MoreEffects {
    pub fn add(&mut self, preparation: &Preparation) {
        self.effects += 1;
        if let Some(estimate) = &preparation.estimate {
            self.items += estimate.items;
            self.bytes += estimate.bytes;
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedEffect {
    pub effect: Effect,
    pub request: Digest,
    pub preparation: Preparation,
}

impl Plan {
    /// The gated effects: accepting the plan accepts exactly these.
    pub fn gated(&self) -> Vec<Accepted> {
        self.planned()
            .filter(|(_, planned)| planned.preparation.is_gated())
            .map(|(step, planned)| Accepted {
                step: step.clone(),
                key: planned.effect.key.clone(),
                request: planned.request.clone(),
            })
            .collect()
    }

    /// The first step that would fail.
    pub fn failure(&self) -> Option<(&StepId, &Error)> {
        self.steps.iter().find_map(|step| match &step.status {
            StepPlanStatus::Failed { error } => Some((&step.step, error)),
            _ => None,
        })
    }

    /// How many effects are of this class.
    pub fn count(&self, class: Class) -> usize {
        let known = self.planned().filter(|(_, planned)| planned.preparation.class == class).count();
        // What is counted alone makes objects that weren't there.
        known + if class == Class::Creates { self.counted() } else { 0 }
    }

    /// How many effects there are in all.
    pub fn effects(&self) -> usize {
        self.planned().count() + self.counted()
    }

    fn counted(&self) -> usize {
        let more = self.steps.iter().filter_map(|step| step.more.as_ref());
        more.map(|more| usize::try_from(more.effects).unwrap_or(usize::MAX)).sum()
    }

    fn planned(&self) -> impl Iterator<Item = (&StepId, &PlannedEffect)> {
        self.steps.iter().flat_map(|step| step.effects.iter().map(move |planned| (&step.step, planned)))
    }
}
