//! Real servers for tests and for the demo: PostgreSQL of three majors, an S3 server in the process and Garage, and
//! the labelling application that fills them; for tests also databases of applications that no one here wrote. Everything
//! listens on free loopback ports and cleans up after itself. For tests of faults, a proxy that holds and cuts
//! connections, a disk that fills up, standbys and poolers.
//! No migration logic.

pub mod cache;
pub mod crates;
mod disk;
mod error;
mod fetch;
pub mod foreign;
pub mod garage;
pub mod kinds;
pub mod packages;
pub mod pooler;
pub mod postgres;
mod process;
pub mod proxy;
pub mod rows;
pub mod s3;
pub mod sample;
pub mod sources;
pub mod wheel;

pub use error::{LabError, Result};
pub use garage::Garage;
