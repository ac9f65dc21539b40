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
        self.planned().filter(|(_, planned)| planned.preparation.class == class).count()
    }

    /// How many effects there are in all.
    pub fn effects(&self) -> usize {
        self.planned().count()
    }

    fn planned(&self) -> impl Iterator<Item = (&StepId, &PlannedEffect)> {
        self.steps.iter().flat_map(|step| step.effects.iter().map(move |planned| (&step.step, planned)))
    }
}
