//! The harness of the tests that cross rooms: `godwit` as a process of its own, which can be told to die; and what
//! `cargo xtask bench plugin` measures.

pub mod around;
pub mod bench;
pub mod cpu;
pub mod database;
pub mod kill;
pub mod killed;
pub mod process;
pub mod regression;
pub mod timing;
