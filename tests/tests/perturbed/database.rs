//! `postgres-database`: whether the database is there is what its own effect changes.

use godwit_lab::postgres::{Major, PgServer};
use godwit_tests::process::Godwit;

use crate::{PROGRAM, cut_off, resumed};

const RECIPE: &str = r#"{
  "godwit": "1", "name": "database",
  "inputs": { "url": { "type": "url" }, "name": { "type": "string" } },
  "connections": { "server": { "kind": "postgres", "url": "${inputs.url}" } },
  "steps": [{
    "id": "make", "plugin": "postgres-database",
    "grant": { "target": { "connection": "server", "access": "write", "database": "${inputs.name}" } },
    "with": { "encoding": "UTF8" }
  }]
}"#;

struct Server {
    runtime: tokio::runtime::Runtime,
    server: PgServer,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(PgServer::start(Major::V18)).unwrap();
        Self { runtime, server }
    }

    fn godwit(&self, name: &str) -> Godwit {
        let godwit = Godwit::new(PROGRAM)
            .env("GODWIT_INPUT_URL", &self.server.url("postgres"))
            .env("GODWIT_INPUT_NAME", name);
        godwit.write("recipe.json", RECIPE);
        godwit
    }

    fn has(&self, name: &str) -> bool {
        let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
        self.server.psql("postgres", &sql).unwrap() == "1"
    }
}

/// What the step said of itself.
fn created(godwit: &Godwit, run: &str) -> bool {
    let report = godwit.json(&["report", run, "--json"]);
    report["steps"][0]["outputs"]["created"].as_bool().unwrap_or_else(|| panic!("{report:#}"))
}

#[test]
fn what_the_step_made_is_its_own() {
    let server = Server::start();
    for (number, moment) in
        ["before:settle:1", "after:settle:1", "before:put_step:2", "before:put_step:3"].iter().enumerate()
    {
        let name = format!("own_{number}");
        let godwit = server.godwit(&name);
        let run = cut_off(&godwit, moment, "recipe.json");
        assert!(server.has(&name) || number > 1, "{moment}");
        server.runtime.block_on(server.server.restart()).unwrap();
        resumed(&godwit, &run, moment);
        assert!(created(&godwit, &run), "{moment}");
        godwit.ok(&["undo", &run, "--yes"]);
        assert!(!server.has(&name), "{moment}");
    }
}

#[test]
fn what_was_there_before_stays() {
    let server = Server::start();
    for (number, moment) in ["before:intend:1", "after:intend:1", "before:settle:1"].iter().enumerate() {
        let name = format!("there_{number}");
        let godwit = server.godwit(&name);
        if *moment != "before:intend:1" {
            server.runtime.block_on(server.server.create_database(&name)).unwrap();
        }
        let run = cut_off(&godwit, moment, "recipe.json");
        if *moment == "before:intend:1" {
            // Nothing was intended yet, so a stranger who was faster is known as such.
            server.runtime.block_on(server.server.create_database(&name)).unwrap();
        }
        resumed(&godwit, &run, moment);
        assert!(!created(&godwit, &run), "{moment}");
        godwit.ok(&["undo", &run, "--yes"]);
        assert!(server.has(&name), "{moment}");
    }
}

#[test]
fn a_stranger_moves_in() {
    let server = Server::start();
    for (number, moment) in ["after:intend:1", "before:settle:1", "after:settle:1"].iter().enumerate() {
        let name = format!("stranger_{number}");
        let godwit = server.godwit(&name);
        let run = cut_off(&godwit, moment, "recipe.json");
        if !server.has(&name) {
            server.runtime.block_on(server.server.create_database(&name)).unwrap();
        }
        server.server.psql(&name, "CREATE TABLE mine AS SELECT 7 AS number").unwrap();
        resumed(&godwit, &run, moment);
        let refused = godwit.run(&["undo", &run, "--yes"]);
        assert_eq!(refused.code, Some(1), "{moment}: {refused}");
        assert!(refused.stderr.contains("public.mine"), "{moment}: {refused}");
        assert_eq!(server.server.psql(&name, "SELECT number FROM mine").unwrap(), "7", "{moment}");
    }
}
