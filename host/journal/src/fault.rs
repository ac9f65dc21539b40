//! The journal's own errors, in the same words whatever keeps it.

use std::fmt::Display;

use godwit_model::{EffectKey, Error, ErrorKind, Fault, RunId, StepId};

use crate::owner::Owner;
use crate::transition::IllegalTransition;

fn missing(message: String) -> Error {
    Error::new(ErrorKind::Missing, Fault::Host, message)
}

fn conflict(message: String) -> Error {
    Error::new(ErrorKind::Conflict, Fault::Host, message)
}

pub(crate) fn unknown_run(run: &str) -> Error {
    missing(format!("run `{run}` is not in the journal")).hint("`godwit runs` lists those that are")
}

pub(crate) fn known_run(run: &RunId) -> Error {
    conflict(format!("run `{run}` is in the journal already")).hint("resume it, or start one with another id")
}

pub(crate) fn unknown_effect(run: &str, step: &str, key: &str) -> Error {
    missing(format!(
        "effect `{key}` of step `{step}` in run `{run}` was never intended, so it can't be settled"
    ))
}

pub(crate) fn unknown_part(run: &str, step: &str, key: &str, index: u32) -> Error {
    missing(format!("part {index} of effect `{key}` of step `{step}` in run `{run}` was never planned"))
}

pub(crate) fn parts_without_effect(run: &RunId, step: &StepId, key: &EffectKey) -> Error {
    missing(format!(
        "effect `{key}` of step `{step}` in run `{run}` was never intended, so it can't have parts"
    ))
}

pub(crate) fn unknown_undo(run: &RunId, step: &StepId, key: &EffectKey) -> Error {
    missing(format!("undo run `{run}` has no action `{key}` of step `{step}` in its plan"))
}

pub(crate) fn another_undo_plan(run: &RunId) -> Error {
    conflict(format!("undo run `{run}` has another plan in the journal already"))
        .hint("resume the undo, which goes on with the plan it has, or begin a new undo run")
}

pub(crate) fn twice_in_undo_plan(run: &RunId, step: &StepId, key: &EffectKey) -> Error {
    conflict(format!("the plan of undo run `{run}` has action `{key}` of step `{step}` twice"))
}

pub(crate) fn another_request(run: &str, step: &str, key: &str, known: &str, asked: &str) -> Error {
    conflict(format!(
        "effect `{key}` of step `{step}` in run `{run}` is done with request {}, and can't be intended with request {}",
        known.get(..12).unwrap_or(known),
        asked.get(..12).unwrap_or(asked)
    ))
}

pub(crate) fn illegal(which: impl Display, illegal: IllegalTransition) -> Error {
    conflict(format!("{which}: {illegal}"))
}

pub(crate) fn owned(run: &str, owner: &Owner) -> Error {
    conflict(format!("run `{run}` is being worked on by process {} on {}", owner.pid, owner.host))
        .hint(format!("wait until process {} has ended, or end it, and try again", owner.pid))
}
