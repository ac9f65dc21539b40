//! What a plugin reads changes between its own first effects and the resume: by strangers, by the plugin's own effects,
//! by restarts. Then its decisions stay as they were, or the step ends in an error that names what is in the way; in the
//! end the target is right, or a run that was given up takes back what it did.

mod copy;
mod database;
mod env;
mod objects;
mod vectors;
mod verify;

use godwit_tests::process::{Godwit, Ran};

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

/// Runs until the process dies at `moment`, and gives the run's id.
fn cut_off(godwit: &Godwit, moment: &str, recipe: &str) -> String {
    let killed = godwit.killed_at(moment, &["run", recipe, "--yes"]);
    assert_eq!(killed.code, None, "{moment} of {recipe} never came: {killed}");
    let (run, status) = godwit.newest_run().expect("it is journalled");
    assert_eq!(status, "running", "{moment}");
    run
}

/// Resumes and expects that the run can't go on, with an error that says each of `names`.
fn refused(godwit: &Godwit, run: &str, names: &[&str], context: &str) -> Ran {
    let ran = godwit.run(&["resume", run, "--yes"]);
    assert!(matches!(ran.code, Some(1 | 3)), "{context}: {ran}");
    for name in names {
        assert!(
            ran.stderr.contains(name) || ran.stdout.contains(name),
            "{context}: {name:?} isn't named: {ran}"
        );
    }
    ran
}

/// Resumes and expects that the run ends well.
fn resumed(godwit: &Godwit, run: &str, context: &str) -> Ran {
    let ran = godwit.run(&["resume", run, "--yes"]);
    assert_eq!(ran.code, Some(0), "{context}: {ran}");
    let (_, status) = godwit.newest_run().expect("it is journalled");
    assert_eq!(status, "done", "{context}");
    ran
}
