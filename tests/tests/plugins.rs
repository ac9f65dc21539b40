//! Plugins of other people, and transforms in the path of a real copy.

use std::process::Command;

use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::sample;
use godwit_tests::process::Godwit;

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

fn masked_copy(labels: &str, tables: &str) -> String {
    format!(
        r#"{{
  "godwit": "1",
  "name": "masked-copy",
  "inputs": {{ "source_url": {{ "type": "url" }}, "target_url": {{ "type": "url" }} }},
  "connections": {{
    "source": {{ "kind": "postgres", "url": "${{inputs.source_url}}" }},
    "target": {{ "kind": "postgres", "url": "${{inputs.target_url}}" }}
  }},
  "steps": [
    {{
      "id": "copy",
      "plugin": "postgres-copy",
      "grant": {{
        "source": {{ "connection": "source", "access": "read" }},
        "target": {{ "connection": "target", "access": "write" }}
      }},
      "transforms": [
        {{
          "plugin": "mask-columns",
          "labels": [{labels}],
          "with": {{ "key": "an example key of no worth", "tables": {tables} }}
        }}
      ]
    }}
  ]
}}"#
    )
}

#[test]
fn masks_columns_in_the_path_of_a_copy_and_fails_closed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (source, target) = runtime.block_on(async {
        let (source, target) = tokio::join!(PgServer::start(Major::V16), PgServer::start(Major::V18));
        let (source, target) = (source.unwrap(), target.unwrap());
        source.create_database("labeler").await.unwrap();
        sample::fill_database(&source.url("labeler")).await.unwrap();
        target.create_database("app").await.unwrap();
        (source, target)
    });
    let godwit = Godwit::new(PROGRAM)
        .env("GODWIT_INPUT_SOURCE_URL", &source.url("labeler"))
        .env("GODWIT_INPUT_TARGET_URL", &target.url("app"));
    let tables = || target.psql("app", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").unwrap();

    // A label that matches no transfer fails the plan.
    let mask = r#"{ "public.invitations": { "email": { "mask": "hash", "suffix": "@example.com" } } }"#;
    godwit.write("typo.json", masked_copy(r#""public.invitation""#, mask));
    let ran = godwit.run(&["run", "typo.json", "--yes"]);
    assert_ne!(ran.code, Some(0), "{ran}");
    assert!(ran.stderr.contains("public.invitation"), "{ran}");
    assert_eq!(tables(), "0");

    godwit.write("masked.json", masked_copy(r#""public.invitations""#, mask));
    godwit.ok(&["run", "masked.json", "--yes"]);
    let digits = "SELECT count(*) FROM invitations WHERE email ~ '^[0-9a-f]{64}@example[.]com$'";
    assert_eq!(target.psql("app", digits).unwrap(), "4");
    let rest = "SELECT md5(string_agg(id::text || project_id || role, ',' ORDER BY id)) FROM invitations";
    assert_eq!(source.psql("labeler", rest).unwrap(), target.psql("app", rest).unwrap());
    let others = "SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM annotations t";
    assert_eq!(source.psql("labeler", others).unwrap(), target.psql("app", others).unwrap());
    let (run, _) = godwit.newest_run().unwrap();
    godwit.ok(&["undo", &run, "--yes"]);
    assert_eq!(tables(), "0");

    // A rule for a table that no label lets through the mask, or that isn't there, fails the plan.
    for (other, hint) in
        [("public.datasets", "add `public.datasets` to its `labels`"), ("public.dataset", "mend")]
    {
        let rules = format!(
            r#"{{ "public.invitations": {{ "email": {{ "mask": "null" }} }}, "{other}": {{ "name": {{ "mask": "null" }} }} }}"#
        );
        godwit.write("unmet.json", masked_copy(r#""public.invitations""#, &rules));
        let ran = godwit.run(&["run", "unmet.json", "--yes"]);
        assert_ne!(ran.code, Some(0), "{ran}");
        assert!(ran.stderr.contains(&format!("rules for `{other}`")) && ran.stderr.contains(hint), "{ran}");
        assert_eq!(tables(), "0");
    }

    // A partition is met by the name of its root.
    let visits = "CREATE TABLE visits (id int, who text) PARTITION BY RANGE (id);
        CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (10);
        CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM (10) TO (20);
        INSERT INTO visits SELECT i, 'someone' FROM generate_series(1, 15) i";
    source.psql("labeler", visits).unwrap();
    let rules = r#"{ "public.visits": { "who": { "mask": "fixed", "value": "nobody" } } }"#;
    godwit.write("parts.json", masked_copy(r#""public.visits_*""#, rules));
    godwit.ok(&["run", "parts.json", "--yes"]);
    let who = "SELECT string_agg(DISTINCT who, ',') || count(*) FROM visits";
    assert_eq!(target.psql("app", who).unwrap(), "nobody15");
    let (run, _) = godwit.newest_run().unwrap();
    godwit.ok(&["undo", &run, "--yes"]);
    assert_eq!(tables(), "0");

    // What types fill up or write in groups is sent as the target will print it, or the verification would fail.
    let members = "CREATE TABLE members (id int, code char(20), token uuid, active boolean, short char(9));
        INSERT INTO members SELECT i, 'code ' || i, gen_random_uuid(), true, 'ab' FROM generate_series(1, 9) i";
    source.psql("labeler", members).unwrap();
    let rules = r#"{ "public.members": {
        "code": { "mask": "hash", "length": 8 }, "token": { "mask": "hash" },
        "active": { "mask": "fixed", "value": "false" }, "short": { "mask": "partial", "keep_start": 1 } } }"#;
    godwit.write("typed.json", masked_copy(r#""public.members""#, rules));
    godwit.ok(&["run", "typed.json", "--yes"]);
    let masked = "SELECT count(*) FROM members
        WHERE code::text ~ '^[0-9a-f]{8}$' AND token IS NOT NULL AND NOT active AND short = 'a*'";
    assert_eq!(target.psql("app", masked).unwrap(), "9");
    let (run, _) = godwit.newest_run().unwrap();
    godwit.ok(&["undo", &run, "--yes"]);
    assert_eq!(tables(), "0");

    // A table that goes through the mask, but that no rule names, fails the run; nothing of it arrives.
    godwit.write("missed.json", masked_copy(r#""public.invitations", "public.datasets""#, mask));
    let ran = godwit.run(&["run", "missed.json", "--yes"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("public.datasets"), "{ran}");
    assert_eq!(target.psql("app", "SELECT count(*) FROM datasets").unwrap(), "0");
    let (run, _) = godwit.newest_run().unwrap();
    godwit.ok(&["undo", &run, "--yes"]);
    assert_eq!(tables(), "0");
}

#[test]
fn a_new_plugin_builds_passes_its_test_and_runs() {
    let godwit = Godwit::new(PROGRAM);
    for kind in ["step", "transform"] {
        let name = format!("my-{kind}");
        godwit.ok(&["plugin", "new", &name, "--kind", kind]);
        for args in
            [vec!["test", "--quiet"], vec!["build", "--quiet", "--release", "--target", "wasm32-wasip2"]]
        {
            let output = Command::new(env!("CARGO"))
                .args(&args)
                .current_dir(godwit.path(&name))
                .env("CARGO_TARGET_DIR", godwit.path("built"))
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_ENCODED_RUSTFLAGS")
                .output()
                .unwrap();
            assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let component = godwit.path(&format!("built/wasm32-wasip2/release/my_{kind}.wasm"));
        let component = component.to_str().unwrap();
        let inspected = godwit.ok(&["plugin", "inspect", component]);
        assert!(inspected.stdout.contains(&name), "{inspected}");
        assert!(!inspected.stdout.contains("postgres@"), "it asks for no more than it uses: {inspected}");
        if kind == "step" {
            let recipe = godwit.read("my-step/recipe.json");
            let recipe = recipe.replace("target/wasm32-wasip2/release/my_step.wasm", component);
            godwit.write("my-step/recipe.json", recipe);
            godwit.ok(&["check", "my-step/recipe.json"]);
            godwit.ok(&["run", "my-step/recipe.json", "--yes"]);
            assert_eq!(godwit.read("my-step/hello.txt"), "Hello, world!\n");
            let (run, _) = godwit.newest_run().unwrap();
            godwit.ok(&["undo", &run, "--yes"]);
            assert!(!godwit.path("my-step/hello.txt").exists());
        }
    }
    let again = godwit.run(&["plugin", "new", "my-step"]);
    assert_eq!(again.code, Some(2), "{again}");
    let bad = godwit.run(&["plugin", "new", "Bad_Name"]);
    assert_eq!(bad.code, Some(2), "{bad}");
}

#[test]
fn the_lists_name_what_is_bundled() {
    let godwit = Godwit::new(PROGRAM);
    let plugins = godwit.ok(&["plugin", "list"]);
    for name in [
        "env-rewrite",
        "mask-columns",
        "postgres-copy",
        "postgres-dump",
        "postgres-restore",
        "postgres-verify",
        "s3-to-r2",
        "s3-verify",
    ] {
        assert!(plugins.stdout.contains(name), "{plugins}");
        godwit.ok(&["plugin", "inspect", name]);
    }
    let recipes = godwit.json(&["recipe", "list", "--json"]);
    for recipe in recipes.as_array().unwrap() {
        let name = recipe["name"].as_str().unwrap();
        godwit.ok(&["check", name]);
        let shown = godwit.ok(&["recipe", "show", name]);
        assert!(shown.stdout.contains(&format!("\"name\": \"{name}\"")), "{shown}");
    }
    let unknown = godwit.run(&["check", "no-such-recipe"]);
    assert_eq!(unknown.code, Some(2), "{unknown}");
    assert!(unknown.stderr.contains("copy-postgres"), "{unknown}");
    assert!(godwit.json(&["schema"])["properties"]["steps"].is_object());
    assert_eq!(godwit.json(&["runs", "--json"]), serde_json::json!([]));
}
