//! The demo as a stranger runs it: from nothing to a report, what it says to type next, and its end.

use godwit_lab::cache;
use godwit_tests::process::Godwit;

#[test]
fn runs_reports_undoes_and_leaves_nothing() {
    let godwit = Godwit::new(env!("CARGO_BIN_EXE_godwit-under-test"));
    // Below the cache folder, which the servers' user may enter; as root, a temporary folder's parents may bar it.
    let dir = cache::dir().join(format!("demo-of-a-test-{}", std::process::id()));
    let dir = dir.to_str().expect("the cache folder has a UTF-8 path");
    let ran = godwit.ok(&["demo", "--dir", dir]);
    assert!(ran.stdout.contains("Run ") && ran.stdout.contains("public.image_metadata"), "{ran}");
    assert!(ran.stdout.contains("undo last"), "{ran}");
    for secret in ["postgres-demo", "lab-secret-key"] {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{secret} is shown: {ran}");
    }

    let (state, inputs) = (format!("{dir}/state"), format!("{dir}/inputs.env"));
    let env = || std::fs::read_to_string(format!("{dir}/app/.env")).expect("the application has a .env");
    let migrated = env();
    assert!(migrated.contains("LABELER_DB_NAME=railway"), "{migrated}");
    godwit.ok(&["--state", &state, "verify", "last", "--env-file", &inputs]);
    godwit.ok(&["--state", &state, "undo", "last", "--env-file", &inputs, "--yes"]);
    assert!(env().contains("LABELER_DB_NAME=labeler"), "{}", env());

    godwit.ok(&["demo", "--stop", "--dir", dir]);
    assert!(!std::path::Path::new(dir).exists());
    let again = godwit.ok(&["demo", "--stop", "--dir", dir]);
    assert!(again.stdout.contains("no demo"), "{again}");
}

#[test]
fn a_folder_that_is_not_a_demo_s_is_left_alone() {
    let godwit = Godwit::new(env!("CARGO_BIN_EXE_godwit-under-test"));
    godwit.write("mine/file", "mine");
    let refused = godwit.run(&["demo", "--stop", "--dir", "mine"]);
    assert_eq!(refused.code, Some(2), "{refused}");
    assert_eq!(godwit.read("mine/file"), "mine");
}
