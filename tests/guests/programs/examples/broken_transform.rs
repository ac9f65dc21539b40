//! Fails in the way that its params say.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common_transform;

use std::cell::RefCell;

use common_transform::{Error, Guest, GuestPipe, Manifest};

struct Transform;

impl Guest for Transform {
    type Pipe = Pipe;

    fn describe() -> Manifest {
        common_transform::manifest("broken-transform")
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
    super::common_transform::export!(Transform with_types_in super::common_transform);
    use super::Transform;
}
