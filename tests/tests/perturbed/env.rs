//! `env-rewrite`: its edits change the very files that it reads.

use godwit_tests::process::Godwit;

use crate::{PROGRAM, cut_off, refused, resumed};

const RECIPE: &str = r#"{
  "godwit": "1", "name": "env",
  "inputs": { "password": { "type": "secret" } },
  "connections": { "here": { "kind": "dir", "path": "." } },
  "steps": [{
    "id": "env", "plugin": "env-rewrite",
    "grant": { "env": { "connection": "here", "access": "write", "secrets": ["password"] } },
    "with": { "files": [
      {
        "path": ".env",
        "rename": { "OLD_HOST": "DB_HOST" },
        "map": { "DB_PORT": { "5433": "5432" }, "MODE": { "blue": "green", "red": "green" } },
        "set": { "DB_PASSWORD": "${inputs.password}", "ADDED": "1" },
        "unset": ["VECTOR_DATABASE_URL"],
        "example": { "path": ".env.example" }
      },
      { "path": "web/.env", "create": true, "set": { "API": "https://api.example.com" } }
    ] }
  }]
}"#;

const FILES: [&str; 3] = [".env", ".env.example", "web/.env"];

fn fixture() -> Godwit {
    let godwit = Godwit::new(PROGRAM).env("GODWIT_INPUT_PASSWORD", "fake-secret");
    godwit.write("recipe.json", RECIPE);
    godwit.write(
        ".env",
        "# old\nOLD_HOST=localhost # here\nDB_PORT='5433'\nMODE=blue\nDB_PASSWORD=\"x\"\nVECTOR_DATABASE_URL=y\n",
    );
    godwit.write(".env.example", "OLD_HOST=localhost\nDB_PORT=5433\nMODE=blue\nDB_PASSWORD=x\n");
    godwit.write("web/README", "a folder for the application");
    godwit
}

/// All three files; none where there is none.
fn files(godwit: &Godwit) -> [Option<String>; 3] {
    FILES.map(|path| std::fs::read_to_string(godwit.path(path)).ok())
}

fn undisturbed() -> [Option<String>; 3] {
    let godwit = fixture();
    godwit.ok(&["run", "recipe.json", "--yes"]);
    files(&godwit)
}

#[test]
fn edits_are_found_done() {
    let expected = undisturbed();
    assert!(expected[0].as_ref().is_some_and(|env| env.contains("MODE=green")), "{expected:?}");
    for written in 0..=3 {
        // Cut off with none, some and all of the files written.
        let moment =
            if written == 0 { "after:intend:1".to_owned() } else { format!("before:settle:{written}") };
        let godwit = fixture();
        let before = files(&godwit);
        let run = cut_off(&godwit, &moment, "recipe.json");
        assert!(written == 0 || files(&godwit) != before, "{moment}");
        // The folder is listed in another order, and times say nothing.
        godwit.write("web/aaa", "");
        for path in FILES {
            if let Ok(content) = std::fs::read(godwit.path(path)) {
                std::fs::remove_file(godwit.path(path)).unwrap();
                godwit.write(path, content);
            }
        }
        resumed(&godwit, &run, &moment);
        assert_eq!(files(&godwit), expected, "{moment}");
        godwit.ok(&["undo", &run, "--yes"]);
        assert_eq!(files(&godwit), before, "{moment}");
    }
}

#[test]
fn a_stranger_edits_a_file() {
    let expected = undisturbed();
    for path in FILES {
        for moment in ["after:intend:1", "after:settle:1", "after:settle:2", "after:settle:3"] {
            let context = format!("{path} {moment}");
            let godwit = fixture();
            let run = cut_off(&godwit, moment, "recipe.json");
            let at_the_cut = std::fs::read_to_string(godwit.path(path)).ok();
            let edited = at_the_cut.clone().unwrap_or_default() + "STRANGER=1\n";
            godwit.write(path, &edited);
            refused(&godwit, &run, &[path], &context);
            assert_eq!(godwit.read(path), edited, "{context}: the stranger's edit is kept");
            match &at_the_cut {
                Some(content) => godwit.write(path, content),
                None => std::fs::remove_file(godwit.path(path)).unwrap(),
            }
            resumed(&godwit, &run, &context);
            assert_eq!(files(&godwit), expected, "{context}");
        }
    }
}

#[test]
fn a_stranger_removes_a_file() {
    let expected = undisturbed();
    for (path, moment) in
        [(".env", "after:intend:1"), (".env", "after:settle:3"), ("web/.env", "after:settle:3")]
    {
        let context = format!("{path} {moment}");
        let godwit = fixture();
        let run = cut_off(&godwit, moment, "recipe.json");
        let content = godwit.read(path);
        std::fs::remove_file(godwit.path(path)).unwrap();
        refused(&godwit, &run, &[path], &context);
        assert!(!godwit.path(path).exists(), "{context}");
        godwit.write(path, content);
        resumed(&godwit, &run, &context);
        assert_eq!(files(&godwit), expected, "{context}");
    }
}
