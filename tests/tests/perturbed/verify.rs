//! `postgres-verify` has no effects: what it says on resume is about the databases as they are then.

use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::sample;
use godwit_tests::process::Godwit;

use crate::{PROGRAM, cut_off, refused, resumed};

const RECIPE: &str = r#"{
  "godwit": "1", "name": "verify",
  "inputs": { "one": { "type": "url" }, "other": { "type": "url" } },
  "connections": {
    "one": { "kind": "postgres", "url": "${inputs.one}" },
    "other": { "kind": "postgres", "url": "${inputs.other}" }
  },
  "steps": [{
    "id": "compare", "plugin": "postgres-verify",
    "grant": {
      "source": { "connection": "one", "access": "read" }, "target": { "connection": "other", "access": "read" }
    }
  }]
}"#;

#[test]
fn the_verdict_is_of_now() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(PgServer::start(Major::V16)).unwrap();
    for name in ["one", "other"] {
        runtime.block_on(server.create_database(name)).unwrap();
        runtime.block_on(sample::fill_database(&server.url(name))).unwrap();
    }
    let fresh = || {
        let godwit = Godwit::new(PROGRAM)
            .env("GODWIT_INPUT_ONE", &server.url("one"))
            .env("GODWIT_INPUT_OTHER", &server.url("other"));
        godwit.write("recipe.json", RECIPE);
        godwit
    };
    for (moment, is_durable) in [
        ("after:put_step:2", false),
        ("after:put_step:3", false),
        ("before:put_step:4", false),
        ("after:put_step:4", true),
    ] {
        let godwit = fresh();
        let run = cut_off(&godwit, moment, "recipe.json");
        // Rows lie elsewhere, statistics are others, the server was restarted: nothing of that counts.
        server.psql("other", "VACUUM FULL; ANALYZE").unwrap();
        runtime.block_on(server.restart()).unwrap();
        resumed(&godwit, &run, moment);

        let godwit = fresh();
        let run = cut_off(&godwit, moment, "recipe.json");
        server.psql("other", "UPDATE datasets SET image_count = image_count + 1").unwrap();
        if is_durable {
            resumed(&godwit, &run, moment);
        } else {
            refused(&godwit, &run, &["public.datasets"], moment);
        }
        server.psql("other", "UPDATE datasets SET image_count = image_count - 1").unwrap();
        if !is_durable {
            resumed(&godwit, &run, moment);
        }
    }
}
