//! Connects to the network.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod common;

use common::{Check, Error, Guest, Manifest};

struct Step;

impl Guest for Step {
    fn describe() -> Manifest {
        common::manifest("imports-sockets", &[])
    }

    fn apply(_params: String) -> Result<String, Error> {
        let stream = std::net::TcpStream::connect("127.0.0.1:9").map_err(|e| Error::Failed(e.to_string()))?;
        Ok(format!("\"{:?}\"", stream.peer_addr().ok()))
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
