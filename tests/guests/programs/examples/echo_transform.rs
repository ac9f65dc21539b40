//! Hands every chunk on, and ends with what it was made with.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common_transform;

use std::cell::RefCell;

use common_transform::{Error, Guest, GuestPipe, Manifest};

struct Transform;

impl Guest for Transform {
    type Pipe = Pipe;

    fn describe() -> Manifest {
        common_transform::manifest("echo-transform")
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
    super::common_transform::export!(Transform with_types_in super::common_transform);
    use super::Transform;
}
