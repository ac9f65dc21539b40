//! Restores an archive that `pg_dump -Fd`, `pg_dump -Fc` or `postgres-dump` made.
//!
//! An archive is untrusted: its table of contents is parsed here, in the sandbox, and whatever is wrong with it or can't
//! be restored is said before anything is touched. What is restored, is restored without "errors ignored": every
//! [chosen](choice) entry is an effect that is done or fails the step, and what is left out is named.

mod archive;
mod choice;
mod data_only;
mod encoding;
mod layout;
mod objects;
mod params;
mod preflight;
mod restore;
mod rights;
mod units;
mod verify;
mod whole;

use godwit_sdk::prelude::*;

pub use godwit_pg_catalog::selection::Skipped;
pub use params::{Outputs, Params, RestoredTable};

/// The slot that is read.
pub const ARCHIVE: &str = "archive";
/// The slot that is written.
pub const TARGET: &str = "target";

/// The plugin.
pub struct PostgresRestore;

impl Step for PostgresRestore {
    const NAME: &str = "postgres-restore";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "restores an archive of pg_dump into a PostgreSQL database";
    type Params = Params;
    type Outputs = Outputs;

    fn slots() -> Vec<Slot> {
        vec![
            Slot::new(ARCHIVE, ConnectionKind::Dir, Access::Read, "the folder that the archive is in"),
            Slot::new(TARGET, ConnectionKind::Postgres, Access::Write, "the database that is filled"),
        ]
    }

    fn apply<H: Host>(host: &H, params: Params) -> Result<Outputs> {
        params.check()?;
        restore::apply(host, &params)
    }

    fn verify<H: Host>(host: &H, params: Params, outputs: Outputs) -> Result<Vec<Check>> {
        verify::verify(host, &params, &outputs)
    }
}

godwit_sdk::export_step!(PostgresRestore);
