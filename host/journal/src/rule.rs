//! What a write may do to what is journalled already.

use godwit_model::Result;
use godwit_model::effect::{Action, Effect};
use godwit_model::journal::{RunStatus, UndoRecord};

use crate::fault;
use crate::transition::{EffectEvent, EffectState, RunEvent, next_effect, next_run};

/// Names an effect in messages.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub run: &'a str,
    pub step: &'a str,
    pub key: &'a str,
}

/// What an intent does to the record under its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intending {
    /// Inserts it, or brings it up to date.
    Write,
    /// Replaces a record of another request that isn't done: its parts and notes describe something else, and go.
    Replace,
    /// Leaves it: this very request is done.
    Keep,
}

/// What an intent with digest `request` does to the record `known` (its state and digest).
pub(crate) fn intend(at: At, known: Option<(EffectState, &str)>, request: &str) -> Result<Intending> {
    match known {
        Some((EffectState::Done, known)) if known == request => Ok(Intending::Keep),
        Some((EffectState::Done, known)) => {
            Err(fault::another_request(at.run, at.step, at.key, known, request))
        }
        Some((_, known)) if known != request => Ok(Intending::Replace),
        _ => Ok(Intending::Write),
    }
}

/// Whether a settlement changes anything; `same` says that the record says the same already.
pub(crate) fn settle(at: At, known: Option<EffectState>, to: EffectState, same: bool) -> Result<bool> {
    let Some(from) = known else {
        return Err(fault::unknown_effect(at.run, at.step, at.key));
    };
    if from == to && same {
        return Ok(false);
    }
    next_effect(Some(from), EffectEvent::to(to))
        .map(|_| true)
        .map_err(|illegal| fault::illegal(format!("effect `{}` of step `{}`", at.key, at.step), illegal))
}

/// The end of a run after its status moved, from the end it had.
pub(crate) fn ended_at(status: RunStatus, before: Option<String>, now: &str) -> Option<String> {
    match status {
        RunStatus::Running => None,
        // Being taken back is not when the run itself ended.
        RunStatus::Undone => before.or_else(|| Some(now.to_owned())),
        RunStatus::Stopped | RunStatus::Failed | RunStatus::Done => Some(now.to_owned()),
    }
}

/// Whether the error of a run outlives a move to `status` that brings none: a run that is taken back keeps why it
/// had failed.
pub(crate) fn keeps_error(status: RunStatus) -> bool {
    status == RunStatus::Undone
}

/// Removes the bytes that travel with a request; the journal knows them by their digest.
pub(crate) fn drop_contents(effect: &mut Effect) {
    match &mut effect.action {
        Action::WriteFile(write) => write.content.bytes = None,
        Action::PutObject(put) => put.content.bytes = None,
        _ => {}
    }
}

/// Moves the status of a run, or says why not.
pub(crate) fn move_run(run: &str, from: RunStatus, to: RunStatus) -> Result<RunStatus> {
    next_run(from, RunEvent::to(to)).map_err(|illegal| fault::illegal(format!("run `{run}`"), illegal))
}

/// Whether two undo plans are the same but for what is done of them.
pub(crate) fn same_plan(known: &[UndoRecord], asked: &[UndoRecord]) -> bool {
    known.len() == asked.len()
        && known.iter().zip(asked).all(|(known, asked)| {
            known.step == asked.step && known.sequence == asked.sequence && known.action == asked.action
        })
}

/// The actions of an undo plan in order, each key once per step.
pub(crate) fn ordered_plan(
    run: &godwit_model::RunId,
    mut actions: Vec<UndoRecord>,
) -> Result<Vec<UndoRecord>> {
    let mut seen = std::collections::HashSet::new();
    for record in &actions {
        if !seen.insert((&record.step, &record.action.key)) {
            return Err(fault::twice_in_undo_plan(run, &record.step, &record.action.key));
        }
    }
    actions.sort_by_key(|record| record.sequence);
    Ok(actions)
}
