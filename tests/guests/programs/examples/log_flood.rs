//! Logs and writes to stderr without end.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common;

use common::godwit::plugin::context;
use common::{Check, Error, Guest, Manifest};

struct Step;

impl Guest for Step {
    fn describe() -> Manifest {
        common::manifest("log-flood", &[])
    }

    fn apply(_params: String) -> Result<String, Error> {
        for line in 0_u64.. {
            context::log(context::Level::Info, &format!("line {line}"));
            eprintln!("line {line} again");
        }
        Ok("null".to_owned())
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
