//! The harness of the tests that cross rooms: `godwit` as a process of its own, which can be told to die.

pub mod database;
pub mod kill;
pub mod process;
