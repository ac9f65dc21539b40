//! `postgres-verify`: two databases compared inside of their servers.
//!
//! Rows by count and by a digest that doesn't depend on their order; sequences by their state; everything else by its
//! definition. Of tables that differ, keys and hashes of rows are read to say where; no other value leaves a server.

mod comparison;
mod locate;
mod repair;

use godwit_pg_catalog::pattern::Filter;
use godwit_pg_catalog::selection::{self, Selection};
use godwit_sdk::prelude::*;

pub use comparison::{KindOutcome, Outputs, SequenceOutcome, TableOutcome};
pub use locate::{DifferentKey, KeyRange, Located, What};
pub use repair::Repaired;

/// The one side; what it has is looked for on the other.
pub const SOURCE: &str = "source";
/// The other side.
pub const TARGET: &str = "target";

/// What to do about a table that only the target has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Extra {
    /// It is named in the outputs.
    #[default]
    Report,
    /// It fails the step.
    Fail,
}

/// Params of `postgres-verify`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Which schemas.
    pub schemas: Selection,
    /// Which tables: `users`, `public.users`, `audit.*`. A partitioned table is compared as a whole.
    pub tables: Selection,
    /// Compare rows.
    pub rows: bool,
    /// Compare definitions: tables, constraints, indexes, views and the rest.
    pub definitions: bool,
    /// Compare the state of sequences.
    pub sequences: bool,
    /// Kinds of objects whose definitions are not compared, such as `trigger`.
    pub skip: Vec<String>,
    pub extra: Extra,
    /// Put the target right: in each table whose rows differ, the ranges of the key that do are deleted in the target and
    /// copied again. That can't be undone, and needs a `target` that is granted `write`.
    pub repair: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            schemas: Selection::default(),
            tables: Selection::default(),
            rows: true,
            definitions: true,
            sequences: true,
            skip: Vec::new(),
            extra: Extra::Report,
            repair: false,
        }
    }
}

impl Params {
    fn filter(&self) -> Filter {
        selection::filter(&self.schemas, &self.tables)
    }
}

/// The plugin.
pub struct PostgresVerify;

impl Step for PostgresVerify {
    const NAME: &str = "postgres-verify";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "compares two PostgreSQL databases inside of their servers";
    type Params = Params;
    type Outputs = Outputs;

    fn slots() -> Vec<Slot> {
        vec![
            Slot::new(SOURCE, ConnectionKind::Postgres, Access::Read, "the database that is taken as right"),
            Slot::new(
                TARGET,
                ConnectionKind::Postgres,
                Access::Read,
                "the database that is compared with it",
            ),
        ]
    }

    /// A difference is no error here but a check that fails, so that the outputs hold the whole table.
    fn apply<H: Host>(host: &H, params: Params) -> Result<Outputs> {
        comparison::compare(host, &params)
    }

    fn verify<H: Host>(host: &H, params: Params, outputs: Outputs) -> Result<Vec<Check>> {
        // Right after an apply nothing is to be learnt by reading both databases a second time, unless it changed one.
        let again = host.mode() == Mode::Recheck || !outputs.repaired.is_empty();
        let outputs = if again { comparison::compare(host, &params)? } else { outputs };
        Ok(comparison::checks(&params, &outputs))
    }
}

godwit_sdk::export_step!(PostgresVerify);
