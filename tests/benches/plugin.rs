//! `cargo xtask bench plugin`: what the sandbox costs, and the journal. `--quick` measures next to nothing.

use godwit_tests::bench::{Effort, report};

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

fn main() {
    let effort = match std::env::args().any(|argument| argument == "--quick") {
        true => Effort::GLANCE,
        false => Effort::FULL,
    };
    let runtime = tokio::runtime::Runtime::new().expect("the async runtime starts");
    runtime.block_on(report(PROGRAM, effort));
}
