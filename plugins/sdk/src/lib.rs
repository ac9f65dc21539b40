//! The kit for writing Godwit plugins.
//!
//! A plugin decides, the host does. A **step** plugin is a struct that implements [`Step`]: it reads the world through
//! a [`Host`](host::Host), works out what has to happen, and submits effects. A **transform** plugin implements
//! [`Transform`] and changes a stream of bytes. [`export_step!`] or [`export_transform!`] makes a WebAssembly component
//! of it when the crate is built for `wasm32-wasip2`; natively the same code is tested against a
//! `mock::MockHost`.
//!
//! ```
//! use godwit_sdk::prelude::*;
//!
//! /// Writes a greeting into a file.
//! struct Greet;
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Params {
//!     path: String,
//! }
//!
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! struct Outputs {
//!     bytes: usize,
//! }
//!
//! impl Step for Greet {
//!     const NAME: &str = "greet";
//!     const VERSION: &str = "0.1.0";
//!     const SUMMARY: &str = "writes a greeting into a file";
//!     type Params = Params;
//!     type Outputs = Outputs;
//!
//!     fn slots() -> Vec<Slot> {
//!         vec![Slot::new("folder", ConnectionKind::Dir, Access::Write, "where the file goes")]
//!     }
//!
//!     fn apply<H: Host>(host: &H, params: Params) -> Result<Outputs> {
//!         host.submit(vec![host.write_file("folder", "greeting", &params.path, b"hello\n")?])?;
//!         host.settle()?;
//!         Ok(Outputs { bytes: 6 })
//!     }
//!
//!     fn verify<H: Host>(host: &H, params: Params, outputs: Outputs) -> Result<Vec<Check>> {
//!         let found = host.read_file("folder", &params.path)?;
//!         Ok(vec![Check::that("greeting", found.len() == outputs.bytes, "the file has another length")])
//!     }
//! }
//!
//! godwit_sdk::export_step!(Greet);
//! # #[cfg(not(target_family = "wasm"))]
//! # {
//! use godwit_sdk::mock::{self, MockHost};
//! let host = MockHost::new();
//! let outputs = mock::apply::<Greet>(&host, &serde_json::json!({ "path": "hello.txt" })).unwrap();
//! assert_eq!(host.file("folder", "hello.txt").as_deref(), Some(&b"hello\n"[..]));
//! # let _ = outputs;
//! # }
//! ```
//!
//! # What a step must keep to
//!
//! - `apply` is called to plan, to apply, and **again from the top** to resume. Effects that are done are answered from
//!   the journal, by key *and* request: the same decisions must make the same requests. What was decided from reads
//!   that the step's own effects change goes through [`HostExt::memo`](host::HostExt::memo).
//! - In a plan, a read that depends on an effect that was only recorded ends with [`Error::Pending`](types::Error);
//!   `?` hands it on.
//! - A credential arrives as an opaque token. Tokens may be put into longer texts and written, nothing else.

pub mod host;
mod step;
mod transform;
pub mod types;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod guest;

#[cfg(not(target_family = "wasm"))]
pub mod mock;

pub use schemars;
pub use serde;
pub use serde_json;
pub use step::{Manifest, Step, run_apply, run_verify};
pub use transform::{Column, Shape, TableShape, Transform, open_pipe, run_selects};

/// What a plugin needs, for `use godwit_sdk::prelude::*`.
pub mod prelude {
    pub use crate::host::{EffectHandle, Host, HostExt, ObjectSource, RowSource, VersionSource};
    pub use crate::types::*;
    pub use crate::{Column, Shape, Step, TableShape, Transform};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}

/// Makes the crate a step component of a type that implements [`Step`].
///
/// Exports exist only where the target is WebAssembly; natively the macro checks the type and does nothing. A crate
/// exports one step or one transform. The crate's `crate-type` is `["cdylib", "rlib"]`.
#[macro_export]
macro_rules! export_step {
    ($step:ty) => {
        const _: () = {
            const fn is_a_step<S: $crate::Step>() {}
            is_a_step::<$step>();

            #[cfg(target_family = "wasm")]
            type GodwitExport = $crate::guest::StepExport<$step>;
            #[cfg(target_family = "wasm")]
    $crate::guest::step::export_component!(GodwitExport with_types_in $crate::guest::step);
        };
    };
}

/// Makes the crate a transform component of a type that implements [`Transform`]. See [`export_step!`].
#[macro_export]
macro_rules! export_transform {
    ($transform:ty) => {
        const _: () = {
            const fn is_a_transform<T: $crate::Transform>() {}
            is_a_transform::<$transform>();

            #[cfg(target_family = "wasm")]
            type GodwitExport = $crate::guest::TransformExport<$transform>;
            #[cfg(target_family = "wasm")]
    $crate::guest::transform::export_component!(GodwitExport with_types_in $crate::guest::transform);
        };
    };
}
