//! Calls itself without end.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common;

use common::{Check, Error, Guest, Manifest};

struct Step;

#[inline(never)]
fn deeper(n: u64) -> u64 {
    std::hint::black_box(n) + if n == u64::MAX { 0 } else { deeper(n + 1) }
}

impl Guest for Step {
    fn describe() -> Manifest {
        common::manifest("deep-recursion", &[])
    }

    fn apply(_params: String) -> Result<String, Error> {
        Ok(deeper(0).to_string())
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
