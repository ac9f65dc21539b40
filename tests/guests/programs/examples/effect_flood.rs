//! Makes effects without end, as its params tell: submitted one by one, or kept, or each with a large content.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common;

use common::godwit::plugin::{effects, files};
use common::{Check, ConnectionKind, Error, Guest, Manifest};

struct Step;

impl Guest for Step {
    fn describe() -> Manifest {
        common::manifest("effect-flood", &[("files", ConnectionKind::Dir)])
    }

    fn apply(params: String) -> Result<String, Error> {
        let mut kept = Vec::new();
        let content = vec![0; if params.contains("large") { 1 << 20 } else { 1 }];
        for n in 0_u64.. {
            let effect = files::write("files", &format!("write {n}"), &format!("{n}.txt"), &content)?;
            if params.contains("submit") {
                effects::submit(vec![effect])?;
            } else {
                kept.push(effect);
            }
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
