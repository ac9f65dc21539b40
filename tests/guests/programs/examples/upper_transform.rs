//! Makes ASCII letters upper-case: next to nothing is done with a byte, so that what remains is the way of the bytes.
//!
//! The bench compiles this file natively, too.

use godwit_sdk::prelude::*;

pub struct Upper;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {}

impl Transform for Upper {
    const NAME: &str = "upper-transform";
    const VERSION: &str = "1.0.0";
    const SUMMARY: &str = "a guest for tests";
    type Params = Params;

    fn open(_params: Params, _shape: Shape) -> Result<Self> {
        Ok(Self)
    }

    fn push(&mut self, chunk: &[u8]) -> Result<Vec<u8>> {
        Ok(chunk.to_ascii_uppercase())
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

godwit_sdk::export_transform!(Upper);
