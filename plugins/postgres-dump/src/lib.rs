//! Dumps a PostgreSQL database into an archive that the stock `pg_restore` restores, or a script that psql runs.
//!
//! Everything is read and decided before anything is asked for. The schema becomes [entries](contents) of a table of
//! contents, with the statements of `postgres-copy`; the rows of each table become a file; what says how they belong
//! together is written at the very end, so that an archive is whole or none.

mod contents;
mod dump;
mod params;
mod rights;
mod script;
mod verify;

use godwit_sdk::prelude::*;

pub use godwit_pg_catalog::selection::Skipped;
pub use params::{ArchiveVersion, DumpedTable, Format, Outputs, Params};

/// The slot that is read.
pub const SOURCE: &str = "source";
/// The slot that is written.
pub const ARCHIVE: &str = "archive";
/// The key of the file that makes the archive whole.
pub(crate) const WHOLE: &str = "archive";
/// The key of the files of large objects.
pub(crate) const OBJECT_FILES: &str = "large-objects";

/// The plugin.
pub struct PostgresDump;

impl Step for PostgresDump {
    const NAME: &str = "postgres-dump";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "dumps a PostgreSQL database into an archive of pg_dump, or into a script";
    type Params = Params;
    type Outputs = Outputs;

    fn slots() -> Vec<Slot> {
        vec![
            Slot::new(SOURCE, ConnectionKind::Postgres, Access::Read, "the database that is dumped"),
            Slot::new(ARCHIVE, ConnectionKind::Dir, Access::Write, "the folder that the archive is made in"),
        ]
    }

    fn apply<H: Host>(host: &H, params: Params) -> Result<Outputs> {
        params.check()?;
        dump::apply(host, &params)
    }

    fn verify<H: Host>(host: &H, params: Params, outputs: Outputs) -> Result<Vec<Check>> {
        verify::verify(host, &params, &outputs)
    }
}

godwit_sdk::export_step!(PostgresDump);
