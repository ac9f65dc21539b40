//! `cargo xtask regression`: how far copies and archives of PostgreSQL's regression database differ from it.
//! `--server MAJOR` takes one major; else all that there are. Ends with 1 where anything differs. With `--target MAJOR`
//! it says instead what of the one server's database that major can't hold.

use std::path::Path;
use std::process::ExitCode;

use godwit_lab::postgres::Major;

/// Where the differences are written, below the current folder.
const FOLDER: &str = "target/regression";

fn main() -> ExitCode {
    let (mut majors, mut target) = (Vec::new(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = arguments.next().unwrap_or_default();
        let major = Major::EVERY.into_iter().find(|major| major.to_string() == number);
        match (argument.as_str(), major) {
            ("--server", Some(major)) => majors.push(major),
            ("--target", Some(major)) => target = Some(major),
            _ => {
                eprintln!(
                    "`{argument} {number}`: there are --server and --target with one of 15, 16, 17, 18"
                );
                return ExitCode::from(2);
            }
        }
    }
    let program = std::env::current_exe().expect("the path of this program").with_file_name("godwit");
    let runtime = tokio::runtime::Runtime::new().expect("the async runtime starts");
    let program = program.to_string_lossy().into_owned();
    if let Some(target) = target {
        let source = majors.first().copied().unwrap_or(Major::V18);
        return match runtime.block_on(godwit_tests::regression::obstacles(&program, source, target)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    if majors.is_empty() {
        majors = Major::EVERY.to_vec();
    }
    let report = godwit_tests::regression::report(&program, &majors, Path::new(FOLDER));
    match runtime.block_on(report) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("\nwhat differs is in {FOLDER}");
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
