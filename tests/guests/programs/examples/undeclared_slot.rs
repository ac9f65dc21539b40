//! Imports `postgres`, but declares no slot of that kind.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common;

use common::godwit::plugin::postgres;
use common::{Check, ConnectionKind, Error, Guest, Manifest};

struct Step;

impl Guest for Step {
    fn describe() -> Manifest {
        common::manifest("undeclared-slot", &[("files", ConnectionKind::Dir)])
    }

    fn apply(_params: String) -> Result<String, Error> {
        let rows = postgres::query("db", "SELECT 1", &[])?;
        Ok(format!("{:?}", rows.next()?))
    }

    fn verify(_params: String, _outputs: String) -> Result<Vec<Check>, Error> {
        Ok(Vec::new())
    }
}

#[allow(unsafe_code)]
mod export {
    super::common::export!(Step with_types_in super::common);
    use super::Step;
}
