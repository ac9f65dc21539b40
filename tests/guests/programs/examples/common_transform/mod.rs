//! The contract's transform world, and a manifest.

wit_bindgen::generate!({
    path: "../../../wit/godwit-plugin-0.1.0",
    world: "transform-plugin",
    pub_export_macro: true,
    default_bindings_module: "common_transform",
});

pub use exports::godwit::plugin::transform::{Guest, GuestPipe};
#[allow(unused_imports)]
pub use godwit::plugin::types::{Error, Manifest};

/// A manifest: a transform has no slots.
pub fn manifest(name: &str) -> Manifest {
    Manifest {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        summary: "A guest for tests.".to_owned(),
        slots: Vec::new(),
        params_schema: "{}".to_owned(),
        outputs_schema: "null".to_owned(),
    }
}
