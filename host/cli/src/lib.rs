//! The command line: arguments, wiring, rendering. No migration decision is made here.

mod args;
mod commands;
mod demo;
mod inputs;
mod observer;
mod output;
mod progress;
mod recipes;
mod render;
mod wiring;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use godwit_model::journal::Journal;

pub use output::Exit;

/// Wraps the journal of a process.
pub type WrapJournal = Arc<dyn Fn(Arc<dyn Journal>) -> Arc<dyn Journal> + Send + Sync>;

/// What an embedding program may put between the rooms.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Sees every write before the real journal does.
    pub wrap_journal: Option<WrapJournal>,
}

/// Parses the arguments, does what they say, and returns the exit code that the help names.
pub fn main(args: impl IntoIterator<Item = OsString>, hooks: Hooks) -> ExitCode {
    let args = match args::Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // clap prints help to stdout and usage errors to stderr; a closed pipe is no fault of ours.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("the async runtime could not be started: {error}"), None);
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(commands::dispatch(args, hooks));
    // Blocking reads that were abandoned by a stop must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    exit.into()
}
