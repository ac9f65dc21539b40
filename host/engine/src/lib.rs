//! Plan, apply, verify, undo, resume: the state machine of a run, against traits.
//!
//! No wasmtime, no sqlx, no AWS, no terminal: plugins, capabilities, the journal and the person in front of the
//! terminal are traits of `godwit-model` and of [`observer`].

pub mod observer;
pub mod plan;
mod planning;
mod queue;
pub mod report;
pub mod rooms;
mod run;
mod run_id;
mod scope;
mod session;
mod transforms;
mod undo;
mod world;

pub use observer::{Answer, Event, Observer, Question};
pub use plan::{Plan, PlannedEffect, StepPlan, StepPlanStatus};
pub use report::{EffectReport, Report, StepReport};
pub use rooms::{Capabilities, Plugins, Rooms};
pub use run::{Engine, NewRun, RunEnd, StepChecks};
pub use scope::Stop;
pub use undo::{UndoOptions, UndoPlan, UndoStep};

pub use run_id::run_id;
