//! What plugins know of PostgreSQL's catalogs: reading a schema in a fixed number of queries, the statements that make
//! it again, and the order in which they may run.
//!
//! Servers 12 to 18. Nothing here causes effects: a plugin reads through a [`Host`](godwit_sdk::host::Host) and hands
//! the statements on.

mod archive;
mod catalog;
pub mod clean;
mod compare;
mod ddl;
pub mod digest;
pub mod evidence;
pub mod facts;
pub mod fill;
mod graph;
pub mod index_build;
mod kind;
mod order;
pub mod pattern;
pub mod preflight;
mod queries;
pub mod roles;
mod rows;
pub mod sections;
pub mod selection;
pub mod sql;
pub mod tablespaces;
mod target;
mod units;

pub use catalog::{
    Catalog, OLDEST, Rights, SequencePosition, SequenceState, release, sequence_positions, sequence_states,
    server_version,
};
pub use compare::{Difference, compare};
pub use ddl::{SECURITY_LABEL, unlabelled};
pub use graph::{Cause, Defaults, Graph, LeftOut, Node, NodeId, build, build_with};
pub use kind::{Kind, Phase};
pub use order::{late, sort};
pub use queries::{USER_SCHEMA, large_object_numbers};
pub use rows::*;
pub use target::{MissingRoles, Target, TargetMemo};
pub use units::{Unit, analyze, chain, frontier, prelude, submit, submit_explained};
