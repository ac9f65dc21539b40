//! What the engine asks of a journal, and the records in it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::capability::{Part, UndoAction};
use crate::check::Check;
use crate::effect::{Done, Effect, Preparation};
use crate::{Digest, EffectKey, Error, Json, Result, RunId, StepId};

/// The version of what the journal stores; a newer one is refused by name.
pub const FORMAT_VERSION: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    Apply,
    Undo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// Begun and not ended: running now, or cut off. Resumable.
    Running,
    /// Stopped in good order: Ctrl-C, a question answered with no. Resumable.
    Stopped,
    /// A step failed. Resumable once the cause is mended.
    Failed,
    /// All steps complete, checks passed, markers removed.
    Done,
    /// Taken back by a later undo run.
    Undone,
}

impl RunStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Done => "done",
            Self::Undone => "undone",
        }
    }
}

/// One execution of a recipe, or its undo.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    pub id: RunId,
    pub kind: RunKind,
    /// For an undo: the run that it takes back.
    pub of: Option<RunId>,
    /// The recipe's name.
    pub recipe: String,
    /// The recipe's file as given, for messages.
    pub recipe_path: Option<String>,
    /// The recipe's whole text, so that a resume doesn't depend on the file.
    pub recipe_text: String,
    /// Plain input values by name; secrets are absent, urls have their user info cut out.
    pub inputs: Json,
    /// Names of secret inputs, which must be given again.
    pub secret_inputs: Vec<String>,
    /// Plugin digests by the name the recipe uses.
    pub plugins: Json,
    /// Requests that a person accepted in the plan.
    pub accepted: Vec<Accepted>,
    pub status: RunStatus,
    /// RFC 3339, UTC.
    pub started_at: String,
    pub ended_at: Option<String>,
    pub error: Option<Error>,
    /// Host name and process id of whoever runs it now.
    pub owner: String,
}

/// A gated effect that a person has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accepted {
    pub step: StepId,
    pub key: EffectKey,
    pub request: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepStatus {
    Waiting,
    Applying,
    Verifying,
    /// Applied and verified.
    Complete,
    Failed,
    /// Its `when` was false.
    Skipped,
}

impl StepStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Applying => "applying",
            Self::Verifying => "verifying",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepRecord {
    pub step: StepId,
    pub plugin: String,
    pub plugin_digest: Digest,
    pub status: StepStatus,
    /// The params that the plugin was called with, over tokens.
    pub params: Json,
    pub outputs: Json,
    pub checks: Vec<Check>,
    pub error: Option<Error>,
    pub started_at: Option<String>,
    pub ended_at: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum EffectStatus {
    /// Intended; nothing is known of it since.
    Intended,
    Done {
        done: Done,
    },
    Failed {
        error: Error,
    },
    /// A predecessor failed, or the step stopped before it began.
    Cancelled {
        why: String,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EffectRecord {
    pub effect: Effect,
    pub request: Digest,
    pub preparation: Preparation,
    /// Order of submission within the step, from 0.
    pub sequence: u64,
    #[serde(flatten)]
    pub status: EffectStatus,
    /// RFC 3339, UTC, of the last change.
    pub at: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Intent {
    pub effect: Effect,
    pub request: Digest,
    pub preparation: Preparation,
    pub sequence: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UndoRecord {
    pub step: StepId,
    pub action: UndoAction,
    /// Order within the undo.
    pub sequence: u64,
    pub done: Option<Json>,
}

/// Effects that are read from a journal at once where all of a step are looked at: some megabytes.
pub const EFFECTS_AT_ONCE: u32 = 1000;

/// A durable, append-mostly record of runs. Every write is durable when it returns, and may fail; then what it was
/// written for must not happen.
#[async_trait]
pub trait Journal: Send + Sync {
    async fn insert_run(&self, run: &RunRecord) -> Result<()>;
    async fn set_run_status(&self, run: &RunId, status: RunStatus, error: Option<&Error>) -> Result<()>;
    /// Takes the run over for this process; fails with `conflict` while another live process of this host has it.
    async fn own_run(&self, run: &RunId, owner: &str) -> Result<()>;
    async fn accept(&self, run: &RunId, accepted: &[Accepted]) -> Result<()>;
    async fn run(&self, run: &RunId) -> Result<Option<RunRecord>>;
    /// Newest first.
    async fn runs(&self) -> Result<Vec<RunRecord>>;
    /// Removes a run with all that hangs on it.
    async fn forget(&self, run: &RunId) -> Result<()>;

    /// Inserts or replaces.
    async fn put_step(&self, run: &RunId, step: &StepRecord) -> Result<()>;
    /// In the order in which they were first put.
    async fn steps(&self, run: &RunId) -> Result<Vec<StepRecord>>;

    /// Keeps the value unless the key has one; returns what is kept.
    async fn memo(&self, run: &RunId, step: &StepId, key: &str, value: &Json) -> Result<Json>;
    /// What is kept under a key.
    async fn kept_memo(&self, run: &RunId, step: &StepId, key: &str) -> Result<Option<Json>>;
    async fn memos(&self, run: &RunId, step: &StepId) -> Result<Vec<(String, Json)>>;

    /// Journals a batch in one commit. A key that is known already is replaced only when its status is not `Done`.
    async fn intend(&self, run: &RunId, step: &StepId, batch: &[Intent]) -> Result<()>;
    async fn settle(&self, run: &RunId, step: &StepId, key: &EffectKey, status: &EffectStatus) -> Result<()>;
    /// At most `limit` effects that were submitted before the one with the sequence `before`, the latest first; `None`: the
    /// latest of all. No two effects of a step have one sequence.
    async fn effects_before(
        &self,
        run: &RunId,
        step: &StepId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<EffectRecord>>;
    /// Those of these keys that are known, in any order.
    async fn effects_of(&self, run: &RunId, step: &StepId, keys: &[EffectKey]) -> Result<Vec<EffectRecord>>;
    /// How many effects a step has.
    async fn effect_count(&self, run: &RunId, step: &StepId) -> Result<u64>;
    /// All effects in the order of submission; a step may have millions.
    async fn effects(&self, run: &RunId, step: &StepId) -> Result<Vec<EffectRecord>> {
        let mut all: Vec<EffectRecord> = Vec::new();
        loop {
            let before = all.last().map(|last| last.sequence);
            let page = self.effects_before(run, step, before, EFFECTS_AT_ONCE).await?;
            let last = page.len() < EFFECTS_AT_ONCE as usize;
            all.extend(page);
            if last {
                all.reverse();
                return Ok(all);
            }
        }
    }
    async fn effect(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Option<EffectRecord>>;
    /// At most `limit` effects whose keys are `from` or come after it, in the order of the keys' bytes.
    async fn effects_from(
        &self,
        run: &RunId,
        step: &StepId,
        from: &EffectKey,
        limit: u32,
    ) -> Result<Vec<EffectRecord>>;

    async fn plan_parts(&self, run: &RunId, step: &StepId, key: &EffectKey, ranges: &[Json]) -> Result<()>;
    async fn finish_part(
        &self,
        run: &RunId,
        step: &StepId,
        key: &EffectKey,
        index: u32,
        outcome: &Json,
    ) -> Result<()>;
    async fn reset_parts(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<()>;
    async fn parts(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Vec<Part>>;

    /// Notes of an effect (`Some(key)`) or of the step itself.
    async fn set_note(
        &self,
        run: &RunId,
        step: &StepId,
        key: Option<&EffectKey>,
        name: &str,
        value: &Json,
    ) -> Result<()>;
    async fn note(
        &self,
        run: &RunId,
        step: &StepId,
        key: Option<&EffectKey>,
        name: &str,
    ) -> Result<Option<Json>>;

    /// Journals the whole plan of an undo, in one commit.
    async fn plan_undo(&self, undo_run: &RunId, actions: Vec<UndoRecord>) -> Result<()>;
    async fn finish_undo(
        &self,
        undo_run: &RunId,
        step: &StepId,
        key: &EffectKey,
        result: &Json,
    ) -> Result<()>;
    async fn undo_actions(&self, undo_run: &RunId) -> Result<Vec<UndoRecord>>;
}
