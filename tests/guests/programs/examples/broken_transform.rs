//! Fails in the way that its params say.

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
            name: "broken-transform".to_owned(),
            version: "1.0.0".to_owned(),
            summary: "A guest for tests.".to_owned(),
            slots: Vec::new(),
            params_schema: "{}".to_owned(),
            outputs_schema: "null".to_owned(),
        }
    }

    fn selects(params: String) -> Result<Vec<String>, Error> {
        assert!(!params.contains("panic"), "the params are nonsense");
        if params.contains("error") {
            return Err(Error::Invalid("the rule for `public.users` names no column".to_owned()));
        }
        while params.contains("loop") {
            std::hint::black_box(());
        }
        Ok(Vec::new())
    }
}

struct Pipe {
    how: RefCell<String>,
}

impl GuestPipe for Pipe {
    fn new(params: String, _shape: String) -> Self {
        assert!(!params.contains("in-constructor"), "the params are nonsense");
        Self { how: RefCell::new(params) }
    }

    fn push(&self, chunk: Vec<u8>) -> Result<Vec<u8>, Error> {
        let how = self.how.borrow();
        assert!(!how.contains("panic"), "row 7 has no column `email`");
        if how.contains("error") {
            return Err(Error::Invalid("the rule for `public.users` names no column".to_owned()));
        }
        while how.contains("loop") {
            std::hint::black_box(());
        }
        Ok(chunk)
    }

    fn finish(&self) -> Result<Vec<u8>, Error> {
        Ok(Vec::new())
    }
}

#[allow(unsafe_code)]
mod export {
    super::bindings::export!(Transform with_types_in super::bindings);
    use super::Transform;
}
