//! A database through an archive, `postgres-dump` and `postgres-restore`, cut off by SIGKILL at random moments, resumed,
//! and taken back.

use std::time::{Duration, Instant};

use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::sample;
use godwit_tests::database;
use godwit_tests::process::Godwit;

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

const RECIPE: &str = r#"{
  "godwit": "1",
  "name": "through-an-archive",
  "inputs": { "source_url": { "type": "url" }, "target_url": { "type": "url" } },
  "connections": {
    "source": { "kind": "postgres", "url": "${inputs.source_url}" },
    "target": { "kind": "postgres", "url": "${inputs.target_url}" },
    "archives": { "kind": "dir", "path": "." }
  },
  "steps": [
    {
      "id": "dump",
      "plugin": "postgres-dump",
      "grant": {
        "source": { "connection": "source", "access": "read" },
        "archive": { "connection": "archives", "access": "write" }
      },
      "with": { "path": "backup", "consistency": "frozen" }
    },
    {
      "id": "restore",
      "plugin": "postgres-restore",
      "needs": ["dump"],
      "grant": {
        "archive": { "connection": "archives", "access": "read" },
        "target": { "connection": "target", "access": "write" }
      },
      "with": { "path": "backup" }
    }
  ]
}"#;

const RUN: [&str; 3] = ["run", "through-an-archive.json", "--yes"];

/// The labelling application on 16, and a server of 18 for what is restored.
struct Pair {
    runtime: tokio::runtime::Runtime,
    source: PgServer,
    target: PgServer,
    schema: String,
    rows: Vec<String>,
}

impl Pair {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (source, target) = runtime.block_on(async {
            let (source, target) = tokio::join!(PgServer::start(Major::V16), PgServer::start(Major::V18));
            let (source, target) = (source.unwrap(), target.unwrap());
            source.create_database("labeler").await.unwrap();
            sample::fill_database(&source.url("labeler")).await.unwrap();
            (source, target)
        });
        let schema = runtime.block_on(database::oracle((&source, "labeler"), &target, "oracle"));
        let rows = database::contents(&source, "labeler");
        Self { runtime, source, target, schema, rows }
    }

    fn fresh(&self, name: &str) -> Godwit {
        self.runtime.block_on(self.target.create_database(name)).unwrap();
        let godwit = Godwit::new(PROGRAM)
            .env("GODWIT_INPUT_SOURCE_URL", &self.source.url("labeler"))
            .env("GODWIT_INPUT_TARGET_URL", &self.target.url(name));
        godwit.write("through-an-archive.json", RECIPE);
        godwit
    }

    fn assert_restored(&self, name: &str, context: &str) {
        assert_eq!(self.schema, database::dump(&self.target, name), "schemas differ: {context}");
        assert_eq!(self.rows, database::contents(&self.target, name), "rows differ: {context}");
        assert_eq!(database::markers(&self.target, name), "", "a marker is left: {context}");
    }

    /// Nothing of the application is in the database, nothing of the archive in the folder.
    fn assert_nothing(&self, godwit: &Godwit, name: &str, context: &str) {
        assert_eq!(database::objects(&self.target, name), Vec::<String>::new(), "{context}");
        assert!(!godwit.path("backup").exists(), "a part of the archive is left: {context}");
    }
}

#[test]
fn killed_at_random_moments_then_resumed_then_undone() {
    let pair = Pair::start();
    let began = Instant::now();
    pair.fresh("count").ok(&RUN);
    let whole = began.elapsed();
    for number in 0..12u32 {
        let moment = whole * (number + 1) / 13;
        let (context, name) = (format!("killed after {moment:?} of {whole:?}"), format!("random_{number}"));
        let godwit = pair.fresh(&name);
        godwit.killed_after(moment, &RUN);
        godwit.resume_newest(&context);
        let Some((run, _)) = godwit.newest_run() else {
            pair.assert_nothing(&godwit, &name, &context);
            continue;
        };
        pair.assert_restored(&name, &context);
        // Undo is cut off too, and goes on.
        godwit.undo_cut_off(&run, Duration::from_millis(20 * u64::from(number)));
        pair.assert_nothing(&godwit, &name, &context);
    }
}
