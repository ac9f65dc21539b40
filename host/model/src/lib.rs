//! The words of Godwit: the data types that travel between rooms, and the traits at which rooms meet.
//!
//! No I/O, no runtime, no SQL, no HTTP, no terminal. A room that needs another room's service names a trait of
//! this crate; the CLI puts the rooms together.

pub mod capability;
pub mod check;
pub mod clock;
pub mod effect;
pub mod error;
pub mod ids;
pub mod journal;
pub mod plugin;
pub mod secret;

pub use error::{Error, ErrorKind, Fault, Result};
pub use ids::{ConnectionName, Digest, EffectKey, InputName, PluginName, RunId, SlotName, StepId};

/// A JSON value, as params, outputs and memos are.
pub type Json = serde_json::Value;
