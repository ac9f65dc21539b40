//! Runs plugins: digest, compile cache, reflection, limits, calls.
//!
//! The only room that names wasmtime. It implements [`godwit_model::plugin::Plugin`] and
//! [`godwit_model::plugin::Pipe`], and translates what a guest asks for to [`godwit_model::plugin::StepHost`]. It
//! decides nothing: grants, journal and plan are behind `StepHost`.
//!
//! Absent from this room: SQL, HTTP, the journal, recipes, and any ambient authority for a guest.

mod abi;
mod cache;
mod clock;
mod code;
mod engine;
mod failure;
mod guest;
mod limits;
mod plugin;
mod reflect;
mod runtime;
mod stdio;

pub use reflect::{Imports, Version};
pub use runtime::{Inspection, Runtime};
