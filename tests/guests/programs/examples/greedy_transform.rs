//! Keeps every chunk and returns far more than it got, as its params say.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit/godwit-plugin-0.1.0",
        world: "transform-plugin",
        pub_export_macro: true,
        default_bindings_module: "bindings",
    });
}

use std::cell::RefCell;

use bindings::exports::godwit::plugin::transform::{Guest, GuestPipe};
use bindings::godwit::plugin::types::{Error, Manifest};

struct Transform;

impl Guest for Transform {
    type Pipe = Pipe;

    fn describe() -> Manifest {
        Manifest {
            name: "greedy-transform".to_owned(),
            version: "1.0.0".to_owned(),
            summary: "A guest for tests.".to_owned(),
            slots: Vec::new(),
            params_schema: "{}".to_owned(),
            outputs_schema: "null".to_owned(),
        }
    }

    fn selects(params: String) -> Result<Vec<String>, Error> {
        Ok(if params.contains("grow") { vec!["x".repeat(1 << 20); 4] } else { Vec::new() })
    }
}

struct Pipe {
    grows: bool,
    kept: RefCell<Vec<Vec<u8>>>,
}

impl GuestPipe for Pipe {
    fn new(params: String, _shape: String) -> Self {
        Self { grows: params.contains("grow"), kept: RefCell::new(Vec::new()) }
    }

    fn push(&self, chunk: Vec<u8>) -> Result<Vec<u8>, Error> {
        if self.grows {
            return Ok(chunk.repeat(1024));
        }
        self.kept.borrow_mut().push(chunk);
        Ok(Vec::new())
    }

    fn finish(&self) -> Result<Vec<u8>, Error> {
        Ok(self.kept.borrow().concat())
    }
}

#[allow(unsafe_code)]
mod export {
    super::bindings::export!(Transform with_types_in super::bindings);
    use super::Transform;
}
