//! A component that has nothing to do with Godwit.

#![cfg(target_arch = "wasm32")]

#[allow(dead_code, unsafe_code)]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package example:greeter@1.0.0;
            world greeter {
                export greet: func() -> string;
            }
        ",
        pub_export_macro: true,
        default_bindings_module: "bindings",
    });
}

struct Greeter;

impl bindings::Guest for Greeter {
    fn greet() -> String {
        "hello".to_owned()
    }
}

#[allow(unsafe_code)]
mod export {
    super::bindings::export!(Greeter with_types_in super::bindings);
    use super::Greeter;
}
