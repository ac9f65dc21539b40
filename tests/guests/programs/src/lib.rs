//! Guests for tests: each example is a component, well-behaved or evil.
//!
//! They speak to the contract directly, without the SDK, as a guest of another language would; those that are measured
//! (`cargo xtask bench plugin`) use it, as plugins do. A guest without a test of
//! its name in `host/runtime/tests/guests` doesn't compile there. Natively each of them is empty: the names of a
//! component's exports are none that a native linker takes.
