//! `godwit`, with a journal that can be told by the environment to end the process.
//!
//! `GODWIT_TEST_KILL=before:N|after:N` names the journal write, `before:METHOD:N` the N-th one by a method of the journal;
//! `GODWIT_TEST_COUNT=FILE` takes the number of writes.

use std::path::PathBuf;
use std::sync::Arc;

use godwit_cli::Hooks;
use godwit_tests::kill::{KillingJournal, Moment};

fn main() -> std::process::ExitCode {
    let moment = match std::env::var("GODWIT_TEST_KILL") {
        Ok(text) => {
            Some(Moment::parse(&text).expect("GODWIT_TEST_KILL is before:N, after:N, or names a method"))
        }
        Err(_) => None,
    };
    let count_file = std::env::var_os("GODWIT_TEST_COUNT").map(PathBuf::from);
    let hooks = Hooks {
        wrap_journal: Some(Arc::new(move |journal| {
            Arc::new(KillingJournal::new(journal, moment.clone(), count_file.clone()))
        })),
    };
    godwit_cli::main(std::env::args_os(), hooks)
}
