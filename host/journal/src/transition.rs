//! The state machines of a run, a step and an effect: one total function each.
//!
//! Every write that moves a status goes through one of them, in every journal.

use godwit_model::journal::{EffectStatus, RunStatus, StepStatus};

/// A move that a state machine doesn't know. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} that is {from} can't {event}")]
pub struct IllegalTransition {
    /// `a run`, `a step` or `an effect`.
    pub what: &'static str,
    pub from: &'static str,
    pub event: &'static str,
}

/// What can happen to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunEvent {
    /// It begins, or goes on where it was left.
    Start,
    Stop,
    Fail,
    Complete,
    /// An undo run has taken it back.
    TakeBack,
}

impl RunEvent {
    pub const ALL: [Self; 5] = [Self::Start, Self::Stop, Self::Fail, Self::Complete, Self::TakeBack];

    /// The event that leads to `status`.
    pub fn to(status: RunStatus) -> Self {
        match status {
            RunStatus::Running => Self::Start,
            RunStatus::Stopped => Self::Stop,
            RunStatus::Failed => Self::Fail,
            RunStatus::Done => Self::Complete,
            RunStatus::Undone => Self::TakeBack,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Fail => "fail",
            Self::Complete => "complete",
            Self::TakeBack => "be taken back",
        }
    }
}

/// The status of a run after an event. Repeating the last event changes nothing and is legal.
///
/// A stopped or failed run starts again before it can end in another way; a done run can only be taken back; an
/// undone run stays undone.
pub fn next_run(from: RunStatus, event: RunEvent) -> Result<RunStatus, IllegalTransition> {
    use RunStatus::{Done, Failed, Running, Stopped, Undone};
    Ok(match (from, event) {
        (Running | Stopped | Failed, RunEvent::Start) => Running,
        (Running | Stopped, RunEvent::Stop) => Stopped,
        (Running | Failed, RunEvent::Fail) => Failed,
        (Running | Done, RunEvent::Complete) => Done,
        (Running | Stopped | Failed | Done | Undone, RunEvent::TakeBack) => Undone,
        (Done | Undone, RunEvent::Start | RunEvent::Stop | RunEvent::Fail)
        | (Stopped | Failed | Undone, RunEvent::Complete)
        | (Stopped, RunEvent::Fail)
        | (Failed, RunEvent::Stop) => {
            return Err(IllegalTransition { what: "a run", from: from.name(), event: event.name() });
        }
    })
}

/// What can happen to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepEvent {
    /// It waits for its predecessors, for the first time or again.
    Wait,
    Apply,
    Verify,
    Complete,
    Fail,
    Skip,
}

impl StepEvent {
    pub const ALL: [Self; 6] =
        [Self::Wait, Self::Apply, Self::Verify, Self::Complete, Self::Fail, Self::Skip];

    /// The event that leads to `status`.
    pub fn to(status: StepStatus) -> Self {
        match status {
            StepStatus::Waiting => Self::Wait,
            StepStatus::Applying => Self::Apply,
            StepStatus::Verifying => Self::Verify,
            StepStatus::Complete => Self::Complete,
            StepStatus::Failed => Self::Fail,
            StepStatus::Skipped => Self::Skip,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Apply => "be applied",
            Self::Verify => "be verified",
            Self::Complete => "complete",
            Self::Fail => "fail",
            Self::Skip => "be skipped",
        }
    }
}

/// The status of a step after an event; `from` is `None` before the step was ever put. Repeating the last event only
/// brings the record up to date.
///
/// A step completes only from its own verification, and is skipped only while it waits. A step that was under way, or
/// failed, or is complete may be applied or verified again.
pub fn next_step(from: Option<StepStatus>, event: StepEvent) -> Result<StepStatus, IllegalTransition> {
    use StepStatus::{Applying, Complete, Failed, Skipped, Verifying, Waiting};
    Ok(match (from, event) {
        (None | Some(Waiting | Applying | Verifying | Failed | Skipped), StepEvent::Wait) => Waiting,
        (None | Some(Waiting | Applying | Verifying | Complete | Failed), StepEvent::Apply) => Applying,
        (Some(Applying | Verifying | Complete | Failed), StepEvent::Verify) => Verifying,
        (Some(Verifying | Complete), StepEvent::Complete) => Complete,
        (None | Some(Waiting | Applying | Verifying | Failed), StepEvent::Fail) => Failed,
        (None | Some(Waiting | Skipped), StepEvent::Skip) => Skipped,
        (Some(Complete), StepEvent::Wait | StepEvent::Fail)
        | (Some(Skipped), StepEvent::Apply | StepEvent::Fail)
        | (None | Some(Waiting | Skipped), StepEvent::Verify)
        | (None | Some(Waiting | Applying | Failed | Skipped), StepEvent::Complete)
        | (Some(Applying | Verifying | Complete | Failed), StepEvent::Skip) => {
            let from = from.map_or("not begun", StepStatus::name);
            return Err(IllegalTransition { what: "a step", from, event: event.name() });
        }
    })
}

/// The status of an effect without what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EffectState {
    Intended,
    Done,
    Failed,
    Cancelled,
}

impl EffectState {
    pub const ALL: [Self; 4] = [Self::Intended, Self::Done, Self::Failed, Self::Cancelled];

    /// The state of a status.
    pub fn of(status: &EffectStatus) -> Self {
        match status {
            EffectStatus::Intended => Self::Intended,
            EffectStatus::Done { .. } => Self::Done,
            EffectStatus::Failed { .. } => Self::Failed,
            EffectStatus::Cancelled { .. } => Self::Cancelled,
        }
    }

    /// As it stands in the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What can happen to an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EffectEvent {
    /// It will be performed: for the first time, once more, or because what it did was lost.
    Intend,
    Succeed,
    Fail,
    Cancel,
}

impl EffectEvent {
    pub const ALL: [Self; 4] = [Self::Intend, Self::Succeed, Self::Fail, Self::Cancel];

    /// The event that leads to `state`.
    pub fn to(state: EffectState) -> Self {
        match state {
            EffectState::Intended => Self::Intend,
            EffectState::Done => Self::Succeed,
            EffectState::Failed => Self::Fail,
            EffectState::Cancelled => Self::Cancel,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Intend => "be intended",
            Self::Succeed => "succeed",
            Self::Fail => "fail",
            Self::Cancel => "be cancelled",
        }
    }
}

/// The state of an effect after an event; `from` is `None` before it was intended.
///
/// Every outcome comes from an intent. Any outcome may be intended again; nothing leads from one outcome to another.
pub fn next_effect(from: Option<EffectState>, event: EffectEvent) -> Result<EffectState, IllegalTransition> {
    use EffectState::{Cancelled, Done, Failed, Intended};
    Ok(match (from, event) {
        (None | Some(Intended | Done | Failed | Cancelled), EffectEvent::Intend) => Intended,
        (Some(Intended), EffectEvent::Succeed) => Done,
        (Some(Intended), EffectEvent::Fail) => Failed,
        (Some(Intended), EffectEvent::Cancel) => Cancelled,
        (
            None | Some(Done | Failed | Cancelled),
            EffectEvent::Succeed | EffectEvent::Fail | EffectEvent::Cancel,
        ) => {
            let from = from.map_or("not intended", EffectState::name);
            return Err(IllegalTransition { what: "an effect", from, event: event.name() });
        }
    })
}
