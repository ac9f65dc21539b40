//! `cargo xtask regression`: how far copies and archives of PostgreSQL's regression database differ from it.
//! `--server MAJOR` takes one major; else all that there are. Ends with 1 where anything differs.

use std::path::Path;
use std::process::ExitCode;

use godwit_lab::postgres::Major;

/// Where the differences are written, below the current folder.
const FOLDER: &str = "target/regression";

fn main() -> ExitCode {
    let mut majors = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = arguments.next().filter(|_| argument == "--server").unwrap_or_default();
        match Major::ALL.into_iter().find(|major| major.to_string() == number) {
            Some(major) => majors.push(major),
            None => {
                eprintln!("`{argument} {number}`: --server takes one of 15, 16, 18");
                return ExitCode::from(2);
            }
        }
    }
    if majors.is_empty() {
        majors = Major::ALL.to_vec();
    }
    let program = std::env::current_exe().expect("the path of this program").with_file_name("godwit");
    let runtime = tokio::runtime::Runtime::new().expect("the async runtime starts");
    let program = program.to_string_lossy().into_owned();
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
