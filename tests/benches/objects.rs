//! `cargo xtask bench objects`: copies of buckets beside rclone and s5cmd. `--quick` measures next to nothing, `--once`
//! everything a single time; a set's name, or a server's (`lab`, `garage`), measures that one alone.

use std::process::ExitCode;

use godwit_tests::bench::objects::{Effort, Own, Place, Set, report};

const OWN: Own<'static> = Own {
    godwit: env!("CARGO_BIN_EXE_godwit-under-test"),
    raw_put: env!("CARGO_BIN_EXE_raw-put"),
    server: env!("CARGO_BIN_EXE_s3-server"),
};

fn main() -> ExitCode {
    let mut effort = Effort::FULL;
    let (mut places, mut sets) = (Vec::new(), Vec::new());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => effort = Effort::GLANCE,
            "--once" => effort.rounds = 1,
            // What cargo adds.
            "--bench" => {}
            name => match (Set::named(name), Place::named(name)) {
                (Some(set), _) => sets.push(set),
                (None, Some(place)) => places.push(place),
                (None, None) => {
                    let known: Vec<&str> = Set::ALL
                        .iter()
                        .map(|set| set.name())
                        .chain(Place::ALL.iter().map(|p| p.name()))
                        .collect();
                    eprintln!("there is no set or server `{name}`; known are {}", known.join(", "));
                    return ExitCode::from(2);
                }
            },
        }
    }
    if sets.is_empty() {
        sets = Set::ALL.to_vec();
    }
    if places.is_empty() {
        places = Place::ALL.to_vec();
    }
    let runtime = tokio::runtime::Runtime::new().expect("the async runtime starts");
    match runtime.block_on(report(OWN, effort, &places, &sets)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
