//! `cargo xtask bench plugin [--quick] [SECTION…]`: what the sandbox costs, and the journal.

use godwit_tests::bench::{Effort, SECTIONS, report};

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo itself adds `--bench` when it is asked for all benches.
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let named: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    if let Some(unknown) = named.iter().find(|name| !SECTIONS.contains(name)) {
        eprintln!("there is no section `{unknown}`; there are {}", SECTIONS.join(", "));
        std::process::exit(2);
    }
    let sections = if named.is_empty() { &SECTIONS[..] } else { &named };
    // Guests are measured by the CPU time of this thread, on which they run; servers have threads of their own.
    let runtime = tokio::runtime::Runtime::new().expect("the async runtime starts");
    runtime.block_on(report(PROGRAM, if quick { Effort::GLANCE } else { Effort::FULL }, sections));
}
