//! Uses a slot that it declares nowhere.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common;

use common::godwit::plugin::{effects, files};
use common::{Check, ConnectionKind, Error, Guest, Manifest};

struct Step;

impl Guest for Step {
    fn describe() -> Manifest {
        common::manifest("forged-slot", &[("files", ConnectionKind::Dir)])
    }

    fn apply(_params: String) -> Result<String, Error> {
        let content = files::read("someone-elses", "secrets.txt")?;
        let effect = files::write("someone-elses", "steal", "copy.txt", &content)?;
        effects::submit(vec![effect])?;
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
