//! Reads a file of the machine.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common;

use common::{Check, Error, Guest, Manifest};

struct Step;

impl Guest for Step {
    fn describe() -> Manifest {
        common::manifest("imports-filesystem", &[])
    }

    fn apply(_params: String) -> Result<String, Error> {
        let content = std::fs::read_to_string("/etc/passwd").map_err(|e| Error::Failed(e.to_string()))?;
        Ok(format!("{content:?}"))
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
