//! The durable record of runs: [`SqliteJournal`] for real ones, [`MemoryJournal`] for tests of what uses a journal.
//!
//! Both keep the same rules ([`transition`]) and pass the same [`conformance`] suite. Nothing here knows what a step
//! or an effect does.

pub mod conformance;
mod fault;
pub mod memory;
pub mod owner;
mod rule;
pub mod sqlite;
pub mod transition;

pub use memory::MemoryJournal;
pub use sqlite::{Settings, SqliteJournal};
