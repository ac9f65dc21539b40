//! Archives of PostgreSQL as `pg_dump` writes them: their table of contents, and the SQL in its entries.
//!
//! An archive comes from anywhere, so nothing here trusts it: a malformed one is a [`Fault`] that names the field and
//! the byte it was found at, never a panic, and never an allocation beyond the bytes that are there. The format is
//! described by its own code alone: `src/bin/pg_dump/pg_backup_archiver.c` (`WriteHead`, `WriteToc`),
//! `pg_backup_custom.c` and `pg_backup_directory.c` of PostgreSQL.

mod copy_statement;
mod fault;
mod read;
pub mod rights;
mod statements;
mod toc;
mod write;

pub use copy_statement::CopyTarget;
pub use fault::{Fault, FaultKind};
pub use read::{Text, read, read_with};
pub use statements::{SplitFault, if_exists, split};
pub use toc::{Compressed, Created, Data, Entry, Layout, Section, Toc, Version};
pub use write::write;
