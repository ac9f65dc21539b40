//! The `postgres` capability: databases of PostgreSQL servers, 12 and newer.
//!
//! Guests' queries pass a gate and run READ ONLY; SQL effects carry markers; tables move by COPY over a connection of
//! our own, under one exported snapshot; all of it can be resumed, observed and undone.

mod archive;
mod capability;
mod catalog;
mod channel_binding;
mod config;
mod copy;
mod database;
mod digest;
mod emptying;
mod errors;
mod examine;
mod execute;
mod frozen;
mod gate;
mod large_objects;
mod marker;
mod orphans;
mod pins;
mod place;
mod pool;
mod quote;
mod reads;
mod resume;
mod sequences;
mod snapshot;
mod statements;
mod tls;
mod transfer;
mod undo;
mod waits;
mod wire;

pub use capability::Postgres;
pub use marker::{MarkerStatus, SCHEMA as MARKER_SCHEMA};
