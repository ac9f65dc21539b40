//! Returns outputs of 32 MiB.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common;

use common::{Check, Error, Guest, Manifest};

struct Step;

impl Guest for Step {
    fn describe() -> Manifest {
        common::manifest("huge-output", &[])
    }

    fn apply(_params: String) -> Result<String, Error> {
        Ok(format!("\"{}\"", "x".repeat(32 << 20)))
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
