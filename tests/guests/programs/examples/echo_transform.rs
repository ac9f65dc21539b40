//! Hands every chunk on, and ends with what it was made with.

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
            name: "echo-transform".to_owned(),
            version: "1.0.0".to_owned(),
            summary: "A guest for tests.".to_owned(),
            slots: Vec::new(),
            params_schema: "{}".to_owned(),
            outputs_schema: "null".to_owned(),
        }
    }

    fn selects(params: String) -> Result<Vec<String>, Error> {
        Ok(vec!["public.*".to_owned(), params])
    }
}

struct Pipe {
    made_with: String,
    chunks: RefCell<u64>,
}

impl GuestPipe for Pipe {
    fn new(params: String, shape: String) -> Self {
        Self { made_with: format!("{params} {shape}"), chunks: RefCell::new(0) }
    }

    fn push(&self, chunk: Vec<u8>) -> Result<Vec<u8>, Error> {
        *self.chunks.borrow_mut() += 1;
        Ok(chunk)
    }

    fn finish(&self) -> Result<Vec<u8>, Error> {
        Ok(format!("{} chunks, {}", self.chunks.borrow(), self.made_with).into_bytes())
    }
}

#[allow(unsafe_code)]
mod export {
    super::bindings::export!(Transform with_types_in super::bindings);
    use super::Transform;
}
