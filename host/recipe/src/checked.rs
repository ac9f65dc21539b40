//! The checked form of a recipe: the only form that travels.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use godwit_model::capability::Connection;
use godwit_model::plugin::{ConnectionKind, Grant, Limits, Manifest, PluginKind};
use godwit_model::secret::Secrets;
use godwit_model::{Digest, Error, Json, RunId, StepId};

pub(crate) use crate::eval::Program;
use crate::input::InputSpec;
use crate::steps::Body;

/// The plugins that a recipe may name.
pub trait Catalogue {
    /// What a plugin says of itself; the error says why there is none: unknown, damaged, too old.
    fn plugin(&self, name: &str) -> Result<PluginInfo, String>;
    /// Every name that can be used, to suggest the nearest.
    fn names(&self) -> Vec<String>;
}

/// A plugin as the checks see it.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginInfo {
    pub kind: PluginKind,
    pub digest: Digest,
    pub manifest: Manifest,
    /// The kinds of connection whose capabilities its imports use.
    pub needs_kinds: Vec<ConnectionKind>,
}

/// A recipe that can be run: every reference resolved, every grant matched, every known value of the right type.
#[derive(Clone, Debug)]
pub struct Checked {
    pub name: String,
    pub description: Option<String>,
    /// The recipe's text as it was checked; it holds no credential.
    pub text: String,
    pub run: RunId,
    /// Over tokens.
    pub inputs: serde_json::Map<String, Json>,
    /// What a journal may keep, an object: secrets are left out, urls have their user information and secret
    /// parameters cut.
    pub plain_inputs: Json,
    /// Inputs that have to be given again for a resume: every `secret`, and every `url` with a credential in it.
    pub secret_inputs: Vec<String>,
    pub secrets: Arc<Secrets>,
    pub connections: Vec<Connection>,
    /// In an order in which each step comes after all that it needs; `foreach` expanded.
    pub steps: Vec<Step>,
    /// What the recipe's steps and transforms use, by the name in the recipe.
    pub plugins: BTreeMap<String, PluginInfo>,
    pub(crate) program: Arc<Program>,
}

/// One step of a run.
#[derive(Clone, Debug)]
pub struct Step {
    /// `id`, or `id[key]` of a `foreach`.
    pub id: StepId,
    /// The `foreach` key and its item, over tokens.
    pub each: Option<(String, Json)>,
    pub plugin: String,
    pub description: Option<String>,
    pub grants: Vec<Grant>,
    /// The steps that have to be complete before, both said and implied by expressions.
    pub needs: Vec<StepId>,
    pub retry: Retry,
    /// Wall time; `None`: no end.
    pub timeout: Option<Duration>,
    pub limits: Limits,
    pub transforms: Vec<TransformUse>,
    pub on_failure: OnFailure,
    pub cutover: bool,
    /// The line of the recipe where it stands, from 1.
    pub line: usize,
    pub(crate) body: Arc<Body>,
}

/// How often an effect is tried while the other side is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// In all, the first included; at least 1.
    pub attempts: u32,
    /// The wait before the second attempt; it doubles from there.
    pub backoff: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, backoff: Duration::from_secs(1) }
    }
}

/// What a failed effect does to its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// No further effect is begun.
    #[default]
    Stop,
    /// The others go on until more than `max_errors` have failed; the step fails in the end all the same.
    Continue { max_errors: u64 },
}

/// A transform in the transfers of a step.
#[derive(Clone, Debug)]
pub struct TransformUse {
    pub plugin: String,
    /// Patterns of transfer labels; see [`crate::label_matches`].
    pub labels: Vec<String>,
}

impl TransformUse {
    /// Whether this transform sits in the transfer with this label.
    pub fn applies(&self, label: &str) -> bool {
        self.labels.iter().any(|pattern| crate::label_matches(pattern, label))
    }
}

/// The outputs of complete steps. A skipped step's are `null`.
pub type Outputs = BTreeMap<StepId, Json>;

/// Why an expression has no value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EvalError {
    /// It needs the outputs of a step that isn't complete: in a plan, the answer isn't known yet.
    #[error("the outputs of step `{step}` aren't known yet")]
    Unknown { step: StepId },
    #[error("{0}")]
    Failed(Error),
}

/// What `check` shows of a recipe whose inputs may be missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Outline {
    pub name: String,
    pub description: Option<String>,
    pub inputs: Vec<InputSpec>,
    pub steps: Vec<OutlineStep>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OutlineStep {
    /// `id[key]` for each known item of a `foreach`, `id[*]` where the items aren't known.
    pub id: String,
    pub plugin: String,
    pub description: Option<String>,
    /// Slot, connection and access: what the step may touch.
    pub grants: Vec<Grant>,
    pub needs: Vec<String>,
    pub cutover: bool,
}

impl Checked {
    /// The step with this id.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == *id)
    }

    /// The connection with this name.
    pub fn connection(&self, name: &godwit_model::ConnectionName) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.name == *name)
    }
}
