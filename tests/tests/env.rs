//! `env-rewrite` end to end: plan, run, SIGKILL at every journal write, resume, verify, undo.

use godwit_tests::process::Godwit;

const RECIPE: &str = r#"{
  "godwit": "1",
  "name": "move-env",
  "inputs": {
    "host": { "type": "string" },
    "port": { "type": "integer", "default": 5432 },
    "password": { "type": "secret" }
  },
  "connections": { "here": { "kind": "dir", "path": "." } },
  "steps": [
    {
      "id": "env",
      "plugin": "env-rewrite",
      "grant": { "env": { "connection": "here", "access": "write", "secrets": ["password"] } },
      "with": {
        "path": ".env",
        "set": {
          "DB_HOST": "${inputs.host}",
          "DB_PORT": "${inputs.port}",
          "DATABASE_URL": "postgres://app:${inputs.password}@${inputs.host}:${inputs.port}/app"
        },
        "unset": ["VECTOR_DATABASE_URL"],
        "example": { "path": ".env.example" }
      }
    }
  ]
}"#;

const ENV: &str = "# the database\nexport DB_HOST=\"localhost\" # hosted: db.example.com\nDB_PORT=5435\r\nDATABASE_URL='postgres://app:old-secret@localhost:5435/app'\nVECTOR_DATABASE_URL=postgres://localhost/vectors\nMULTI=\"one\ntwo # not a comment\"\nUNKNOWN=keep me\n";
const EXAMPLE: &str =
    "DB_HOST=localhost\nDATABASE_URL=postgres://app:change_me@localhost:5435/app\nVECTOR_DATABASE_URL=x\n";
const SECRET: &str = "s3cret-and-fake";
const INPUTS: [&str; 2] = ["-i", "host=db.example.com"];

fn fixture() -> Godwit {
    let godwit = Godwit::new(env!("CARGO_BIN_EXE_godwit-under-test")).env("GODWIT_INPUT_PASSWORD", SECRET);
    godwit.write("recipe.json", RECIPE);
    godwit.write(".env", ENV);
    godwit.write(".env.example", EXAMPLE);
    godwit
}

fn with_inputs<'a>(args: &[&'a str]) -> Vec<&'a str> {
    args.iter().copied().chain(INPUTS).collect()
}

/// What an undisturbed run leaves.
fn undisturbed() -> (String, String) {
    let godwit = fixture();
    godwit.ok(&with_inputs(&["run", "recipe.json", "--yes"]));
    (godwit.read(".env"), godwit.read(".env.example"))
}

/// No file below the state folder but before-images holds the secret.
fn assert_no_secret(godwit: &Godwit) {
    let state = godwit.path(".godwit");
    let mut open = vec![state.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path != state.join("before") {
                    open.push(path);
                }
            } else {
                let bytes = std::fs::read(&path).unwrap();
                let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
                assert!(!found, "{} holds the secret", path.display());
            }
        }
    }
}

#[test]
fn plan_changes_nothing_and_masks_values() {
    let godwit = fixture();
    let plan = godwit.ok(&with_inputs(&["plan", "recipe.json"]));
    assert!(plan.stdout.contains(".env"), "{plan}");
    assert!(plan.stdout.contains("+DATABASE_URL") || plan.stdout.contains("+ DATABASE_URL"), "{plan}");
    assert!(plan.stdout.contains("db.example.com"), "a known plain input may be shown: {plan}");
    for hidden in [SECRET, "old-secret", "keep me"] {
        assert!(!plan.stdout.contains(hidden) && !plan.stderr.contains(hidden), "{hidden} is shown: {plan}");
    }
    assert_eq!(godwit.read(".env"), ENV);
    assert!(!godwit.path(".godwit").exists(), "a plan creates nothing");
}

#[test]
fn run_verify_report_undo() {
    let godwit = fixture();
    godwit.ok(&with_inputs(&["run", "recipe.json", "--yes"]));
    let env = godwit.read(".env");
    assert!(env.contains("export DB_HOST=\"db.example.com\" # hosted: db.example.com\n"), "{env}");
    assert!(env.contains("DB_PORT=5432\r\n"), "{env}");
    assert!(
        env.contains(&format!("DATABASE_URL='postgres://app:{SECRET}@db.example.com:5432/app'\n")),
        "{env}"
    );
    assert!(!env.contains("VECTOR_DATABASE_URL"), "{env}");
    assert!(env.contains("MULTI=\"one\ntwo # not a comment\"\nUNKNOWN=keep me\n"), "{env}");
    let example = godwit.read(".env.example");
    assert!(example.contains("postgres://app:change_me@db.example.com:5432/app"), "{example}");
    assert!(!example.contains(SECRET));
    assert_no_secret(&godwit);

    let (run, status) = godwit.newest_run().unwrap();
    assert_eq!(status, "done");
    godwit.ok(&with_inputs(&["verify", &run]));
    for format in ["text", "json", "md"] {
        let report = godwit.ok(&["report", &run, "--format", format]);
        assert!(!report.stdout.contains(SECRET), "{report}");
        assert!(report.stdout.contains("env-rewrite"), "{report}");
    }

    let plan = godwit.ok(&with_inputs(&["undo", &run, "--plan"]));
    assert!(plan.stdout.contains(".env"), "{plan}");
    assert_ne!(godwit.read(".env"), ENV);
    godwit.ok(&with_inputs(&["undo", &run, "--yes"]));
    assert_eq!(godwit.read(".env"), ENV);
    assert_eq!(godwit.read(".env.example"), EXAMPLE);
    let again = godwit.run(&with_inputs(&["undo", &run, "--yes"]));
    assert_ne!(again.code, Some(0), "{again}");
    for id in [run.as_str(), "last"] {
        let verified = godwit.run(&with_inputs(&["verify", id]));
        assert_eq!(verified.code, Some(2), "what was undone can't be verified: {verified}");
    }
}

#[test]
fn killed_at_every_journal_write_then_resumed() {
    let expected = undisturbed();
    let writes = fixture().count_writes(&with_inputs(&["run", "recipe.json", "--yes"]));
    assert!(writes >= 5, "only {writes} journal writes");
    for number in 1..=writes {
        for side in ["before", "after"] {
            let moment = format!("{side}:{number}");
            let godwit = fixture();
            let killed = godwit.killed_at(&moment, &with_inputs(&["run", "recipe.json", "--yes"]));
            assert_eq!(killed.code, None, "killed {moment}: {killed}");
            match godwit.newest_run() {
                None => {
                    // Nothing was journalled, so nothing may have happened.
                    assert_eq!(godwit.read(".env"), ENV, "killed {moment}");
                    continue;
                }
                Some((run, status)) if status == "running" => {
                    godwit.ok(&with_inputs(&["resume", &run, "--yes"]));
                }
                Some((_, status)) => assert_eq!(status, "done", "killed {moment}"),
            }
            assert_eq!((godwit.read(".env"), godwit.read(".env.example")), expected, "killed {moment}");
            assert_no_secret(&godwit);
        }
    }
}

#[test]
fn undo_killed_at_every_journal_write_then_resumed() {
    let count = {
        let godwit = fixture();
        godwit.ok(&with_inputs(&["run", "recipe.json", "--yes"]));
        let (run, _) = godwit.newest_run().unwrap();
        godwit.count_writes(&with_inputs(&["undo", &run, "--yes"]))
    };
    for number in 1..=count {
        let godwit = fixture();
        godwit.ok(&with_inputs(&["run", "recipe.json", "--yes"]));
        let (run, _) = godwit.newest_run().unwrap();
        let moment = format!("after:{number}");
        let killed = godwit.killed_at(&moment, &with_inputs(&["undo", &run, "--yes"]));
        assert_eq!(killed.code, None, "killed {moment}: {killed}");
        let (newest, status) = godwit.newest_run().unwrap();
        if newest == run {
            godwit.ok(&with_inputs(&["undo", &run, "--yes"]));
        } else if status == "running" {
            godwit.ok(&with_inputs(&["resume", &newest]));
        }
        assert_eq!(godwit.read(".env"), ENV, "killed {moment}");
        assert_eq!(godwit.read(".env.example"), EXAMPLE, "killed {moment}");
    }
}

#[test]
fn undo_refuses_what_has_changed_since() {
    let godwit = fixture();
    godwit.ok(&with_inputs(&["run", "recipe.json", "--yes"]));
    let (run, _) = godwit.newest_run().unwrap();
    let changed = godwit.read(".env") + "LATER=1\n";
    godwit.write(".env", &changed);
    let refused = godwit.run(&with_inputs(&["undo", &run, "--yes"]));
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("--discard-later-changes"), "{refused}");
    assert_eq!(godwit.read(".env"), changed, "nothing was undone");
    godwit.ok(&with_inputs(&["undo", &run, "--yes", "--discard-later-changes", "all"]));
    assert_eq!(godwit.read(".env"), ENV);
}

#[test]
fn secrets_must_be_given_again() {
    let godwit = fixture();
    let killed = godwit.killed_at("after:3", &with_inputs(&["run", "recipe.json", "--yes"]));
    assert_eq!(killed.code, None, "{killed}");
    let (run, _) = godwit.newest_run().unwrap();
    let bare = godwit.env("GODWIT_INPUT_PASSWORD", "");
    let refused = bare.run(&["resume", &run, "--yes"]);
    assert_ne!(refused.code, Some(0), "{refused}");
    assert!(refused.stderr.contains("password"), "{refused}");
}

#[test]
fn without_a_terminal_nothing_is_done_unasked() {
    let godwit = fixture();
    let ran = godwit.run(&with_inputs(&["run", "recipe.json"]));
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(ran.stderr.contains("--yes"), "{ran}");
    assert_eq!(godwit.read(".env"), ENV);
}

#[test]
fn a_secret_that_is_not_granted_is_denied_with_the_line_that_would_grant_it() {
    let godwit = fixture();
    godwit.write("recipe.json", RECIPE.replace(r#", "secrets": ["password"]"#, ""));
    let ran = godwit.run(&with_inputs(&["run", "recipe.json", "--yes"]));
    assert!(matches!(ran.code, Some(2 | 4)), "{ran}");
    assert!(ran.stderr.contains("\"secrets\""), "{ran}");
    assert_eq!(godwit.read(".env"), ENV);
}

#[test]
fn faults_come_all_at_once_with_places() {
    let godwit = fixture();
    godwit.write(
        "broken.json",
        RECIPE
            .replace("\"unset\"", "\"unsett\"")
            .replace("\"access\": \"write\"", "\"access\": \"read\"")
            .replace("${inputs.port}/app", "${inputs.prot}/app"),
    );
    let ran = godwit.run(&["check", "broken.json"]);
    assert_eq!(ran.code, Some(2), "{ran}");
    for expected in ["broken.json:", "unsett", "write", "prot"] {
        assert!(ran.stderr.contains(expected), "{expected} is missing: {ran}");
    }
    assert!(!godwit.path(".godwit").exists(), "a check creates nothing");
}
