//! `postgres-copy`: schema and rows of a database straight into another one, from the catalogs and COPY alone.
//!
//! Three shapes of work: everything (the default), the schema alone, or the rows alone into a schema that exists. What
//! is to happen is worked out as [units](units::Unit): what comes before any row, one transfer for each table, keys and
//! indexes as soon as their table is full, foreign keys when both ends are, and at last what would fire on rows.

mod copy;
mod data_only;
mod layout;
mod params;
mod preflight;
mod units;
mod verify;

use godwit_sdk::prelude::*;

pub use godwit_pg_catalog::selection::Skipped;
pub use params::{CopiedTable, Outputs, Params};

/// The slot that is read.
pub const SOURCE: &str = "source";
/// The slot that is written.
pub const TARGET: &str = "target";

/// The plugin.
pub struct PostgresCopy;

impl Step for PostgresCopy {
    const NAME: &str = "postgres-copy";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "copies schema and rows of a PostgreSQL database into another one";
    type Params = Params;
    type Outputs = Outputs;

    fn slots() -> Vec<Slot> {
        vec![
            Slot::new(SOURCE, ConnectionKind::Postgres, Access::Read, "the database that is copied"),
            Slot::new(TARGET, ConnectionKind::Postgres, Access::Write, "the database that it is copied into"),
        ]
    }

    fn apply<H: Host>(host: &H, params: Params) -> Result<Outputs> {
        params.check()?;
        if params.sections()?.makes() { copy::apply(host, &params) } else { data_only::apply(host, &params) }
    }

    fn verify<H: Host>(host: &H, params: Params, outputs: Outputs) -> Result<Vec<Check>> {
        verify::verify(host, &params, &outputs)
    }
}

godwit_sdk::export_step!(PostgresCopy);
