//! A plugin of an earlier contract.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package godwit:plugin@0.0.1;
            interface step {
                describe: func() -> string;
            }
            world other {
                export step;
            }
        ",
        pub_export_macro: true,
        default_bindings_module: "bindings",
    });
}

use bindings::exports::godwit::plugin::step::Guest;

struct Step;

impl Guest for Step {
    fn describe() -> String {
        "from another time".to_owned()
    }
}

#[allow(unsafe_code)]
mod export {
    super::bindings::export!(Step with_types_in super::bindings);
    use super::Step;
}
