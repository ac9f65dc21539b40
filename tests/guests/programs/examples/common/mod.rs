//! The contract's step world, and a manifest.

wit_bindgen::generate!({
    path: "../../../wit/godwit-plugin-0.1.0",
    world: "step-plugin",
    pub_export_macro: true,
    default_bindings_module: "common",
});

pub use exports::godwit::plugin::step::Guest;
#[allow(unused_imports)]
pub use godwit::plugin::types::{Access, Check, ConnectionKind, Error, Manifest, Slot, Verdict};

/// A manifest with these slots.
pub fn manifest(name: &str, slots: &[(&str, ConnectionKind)]) -> Manifest {
    Manifest {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        summary: "A guest for tests.".to_owned(),
        slots: slots
            .iter()
            .map(|(name, kind)| Slot {
                name: (*name).to_owned(),
                kind: *kind,
                access: Access::Write,
                required: true,
                summary: String::new(),
            })
            .collect(),
        params_schema: "{}".to_owned(),
        outputs_schema: "{}".to_owned(),
    }
}
