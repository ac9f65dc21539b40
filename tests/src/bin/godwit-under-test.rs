//! `godwit`, with a journal that can be told by the environment to end the process.
//!
//! `GODWIT_TEST_KILL=before:N|after:N` names the journal write, `before:METHOD:N` the N-th one by a method of the journal;
//! `GODWIT_TEST_COUNT=FILE` takes the number of writes.
//! `GODWIT_TEST_JOURNAL_TIMES=FILE` takes what the journal cost; `GODWIT_TEST_JOURNAL=memory` keeps it in memory, which
//! costs next to nothing and survives nothing.

use std::path::PathBuf;
use std::sync::Arc;

use godwit_cli::Hooks;
use godwit_journal::MemoryJournal;
use godwit_tests::around::Wrapped;
use godwit_tests::kill::{Killing, Moment};
use godwit_tests::timing::Timing;

fn main() -> std::process::ExitCode {
    let moment = match std::env::var("GODWIT_TEST_KILL") {
        Ok(text) => {
            Some(Moment::parse(&text).expect("GODWIT_TEST_KILL is before:N, after:N, or names a method"))
        }
        Err(_) => None,
    };
    let count_file = std::env::var_os("GODWIT_TEST_COUNT").map(PathBuf::from);
    let times_file = std::env::var_os("GODWIT_TEST_JOURNAL_TIMES").map(PathBuf::from);
    let in_memory = match std::env::var("GODWIT_TEST_JOURNAL").as_deref() {
        Ok("memory") => true,
        Ok(other) => panic!("GODWIT_TEST_JOURNAL is `memory` or nothing, not {other:?}"),
        Err(_) => false,
    };
    let hooks = Hooks {
        wrap_journal: Some(Arc::new(move |journal| {
            let journal = if in_memory { Arc::new(MemoryJournal::new()) } else { journal };
            match &times_file {
                Some(file) => Arc::new(Wrapped { inner: journal, around: Timing::new(file.clone()) }),
                None => Arc::new(Wrapped {
                    inner: journal,
                    around: Killing::new(moment.clone(), count_file.clone()),
                }),
            }
        })),
    };
    godwit_cli::main(std::env::args_os(), hooks)
}
