//! Keeps every chunk and returns far more than it got, as its params say.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common_transform;

use std::cell::RefCell;

use common_transform::{Error, Guest, GuestPipe, Manifest};

struct Transform;

impl Guest for Transform {
    type Pipe = Pipe;

    fn describe() -> Manifest {
        common_transform::manifest("greedy-transform")
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
    super::common_transform::export!(Transform with_types_in super::common_transform);
    use super::Transform;
}
