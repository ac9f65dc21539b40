//! `cargo xtask killed`: a copy of 5,000 objects, ended by SIGKILL at 100 random moments and resumed after each.
//! `--objects N` and `--kills N` take other numbers; GODWIT_TEST_SEED the seed of a trial that failed. Ends with 1 where
//! the target isn't the source's equal, or anything was moved again that was journalled as done.

use std::process::ExitCode;

use godwit_tests::killed::{Trial, run, seed};

fn main() -> ExitCode {
    let mut trial = Trial { small: 4996, kills: 100, seed: seed() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = arguments.next().and_then(|text| text.parse::<u32>().ok()).filter(|number| *number > 4);
        match (argument.as_str(), number) {
            ("--objects", Some(number)) => trial.small = number as usize - 4,
            ("--kills", Some(number)) => trial.kills = number,
            _ => {
                eprintln!("`{argument}`: there are --objects and --kills, each with a number of 5 at least");
                return ExitCode::from(2);
            }
        }
    }
    let program = std::env::current_exe().expect("the path of this program");
    let program = program.with_file_name("godwit-under-test");
    match run(&program.to_string_lossy(), trial) {
        Ok(figures) => {
            println!("seed {}: {figures}", trial.seed);
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
