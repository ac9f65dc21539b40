//! `cargo xtask bench postgres`: copies of whole databases beside the stock tools and pgcopydb. `--quick` measures next to
//! nothing; a set's name measures that one alone.

use std::process::ExitCode;

use godwit_tests::bench::postgres::{Effort, Set, report};

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

fn main() -> ExitCode {
    let mut effort = Effort::FULL;
    let mut sets = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => effort = Effort::GLANCE,
            // What cargo adds.
            "--bench" => {}
            name => match Set::ALL.into_iter().find(|set| set.name() == name) {
                Some(set) => sets.push(set),
                None => {
                    let known: Vec<&str> = Set::ALL.iter().map(|set| set.name()).collect();
                    eprintln!("there is no set `{name}`; known are {}", known.join(", "));
                    return ExitCode::from(2);
                }
            },
        }
    }
    if sets.is_empty() {
        sets = Set::ALL.to_vec();
    }
    let runtime = tokio::runtime::Runtime::new().expect("the async runtime starts");
    match runtime.block_on(report(PROGRAM, effort, &sets)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
