//! `pgvector-setup`: makes a database hold vectors.
//!
//! The extension, tables of embeddings, vector columns and their HNSW or IVFFlat indexes; what is there already and fits is
//! left as it is. Whether the server can do all of it is known before anything is touched.

mod params;
mod setup;
mod state;

use godwit_sdk::prelude::*;

pub use params::{Embeddings, Method, Metric, Params, VectorColumn, VectorIndex, VectorType};
pub use setup::Outputs;

/// The slot of the database.
pub const TARGET: &str = "target";

/// The plugin.
pub struct PgvectorSetup;

impl Step for PgvectorSetup {
    const NAME: &str = "pgvector-setup";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str =
        "sets up pgvector: the extension, tables and columns of vectors, HNSW and IVFFlat indexes";
    type Params = Params;
    type Outputs = Outputs;

    fn slots() -> Vec<Slot> {
        vec![Slot::new(
            TARGET,
            ConnectionKind::Postgres,
            Access::Write,
            "the database that is to hold vectors",
        )]
    }

    fn apply<H: Host>(host: &H, params: Params) -> Result<Outputs> {
        params.check()?;
        setup::apply(host, &params)
    }

    fn verify<H: Host>(host: &H, params: Params, outputs: Outputs) -> Result<Vec<Check>> {
        setup::verify(host, &params, &outputs)
    }
}

godwit_sdk::export_step!(PgvectorSetup);
