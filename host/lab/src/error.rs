//! What can go wrong in the lab.

use std::path::{Path, PathBuf};

/// Why a server of the lab could not do what a test or the demo asked.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Server programs that are not on this machine.
    #[error("{what} is not installed: {hint}")]
    Missing { what: String, hint: String },
    /// A server that ended or stayed silent instead of starting; `log` is the end of its log.
    #[error("{what} did not start: {why}\n{log}")]
    Start { what: String, why: String, log: String },
    /// A client or set-up program that failed.
    #[error("{program} failed ({status}): {stderr}")]
    Command { program: String, status: String, stderr: String },
    /// A statement that the server refused.
    #[error("database {database:?}: {source}")]
    Sql { database: String, source: sqlx::Error },
    /// A table that no rows could be made for.
    #[error("no rows can be made for {table}: {why}")]
    Unfillable { table: String, why: String },
    /// A file or folder that could not be used.
    #[error("cannot {what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    /// A bucket or an object that a test named and that is not there.
    #[error("no {0} on the lab's S3 server")]
    NoObject(String),
    /// A thread of the lab that did not come back.
    #[error("the lab's worker ended early: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

pub type Result<T, E = LabError> = std::result::Result<T, E>;

/// For `map_err`: an I/O error with what was tried, on which path.
pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LabError {
    let path = path.to_owned();
    move |source| LabError::Io { what, path, source }
}
