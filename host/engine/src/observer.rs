//! Whoever watches a run and answers its questions.

use async_trait::async_trait;
use godwit_model::check::Check;
use godwit_model::effect::{Estimate, Preparation};
use godwit_model::plugin::Level;
use godwit_model::{EffectKey, Error, StepId};

/// Something that happened. Texts have secrets masked already.
#[derive(Clone, Debug)]
pub enum Event {
    StepStarted {
        step: StepId,
        plugin: String,
    },
    StepSkipped {
        step: StepId,
    },
    Log {
        step: StepId,
        level: Level,
        message: String,
    },
    /// A plugin's own progress.
    Progress {
        step: StepId,
        label: String,
        done: u64,
        total: Option<u64>,
        unit: String,
    },
    /// Items and bytes that a transfer has moved since the last event.
    Transferred {
        step: StepId,
        label: String,
        items: u64,
        bytes: u64,
    },
    /// The plugin asked for an effect, which the journal may have as done already.
    EffectAsked {
        step: StepId,
        key: EffectKey,
        /// The label of a transfer.
        transfer: Option<String>,
        estimate: Option<Estimate>,
        from_journal: bool,
    },
    EffectStarted {
        step: StepId,
        key: EffectKey,
        title: String,
    },
    EffectDone {
        step: StepId,
        key: EffectKey,
        notes: Vec<String>,
    },
    EffectFailed {
        step: StepId,
        key: EffectKey,
        error: Error,
    },
    EffectRetried {
        step: StepId,
        key: EffectKey,
        error: Error,
        attempt: u32,
    },
    Verifying {
        step: StepId,
    },
    Checked {
        step: StepId,
        checks: Vec<Check>,
    },
    StepCompleted {
        step: StepId,
    },
    StepFailed {
        step: StepId,
        error: Error,
    },
    UndoDone {
        step: StepId,
        key: EffectKey,
        title: String,
    },
    Cleanup {
        what: String,
    },
}

/// A question that only a person can answer.
#[derive(Clone, Debug)]
pub enum Question {
    /// An effect overwrites, destroys or can't be undone, and was not in the plan that was accepted.
    Unplanned { step: StepId, key: EffectKey, preparation: Box<Preparation> },
    /// All earlier steps are verified; this step points the world at what they made.
    Cutover { step: StepId },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Yes,
    /// The run stops and can be resumed.
    No,
}

/// Watches a run and answers for the person in front of it.
#[async_trait]
pub trait Observer: Send + Sync {
    fn event(&self, event: Event);
    async fn ask(&self, question: &Question) -> Answer;
}
