//! `pgvector-setup`: what the database has already is what its own effects change.

use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::sample;
use godwit_tests::database;
use godwit_tests::process::Godwit;

use crate::{PROGRAM, cut_off, refused, resumed};

/// Five effects, one after the other: extension, table, column, two indexes.
const RECIPE: &str = r#"{
  "godwit": "1", "name": "vectors",
  "inputs": { "url": { "type": "url" } },
  "connections": { "target": { "kind": "postgres", "url": "${inputs.url}" } },
  "steps": [{
    "id": "setup", "plugin": "pgvector-setup",
    "grant": { "target": { "connection": "target", "access": "write" } },
    "with": {
      "embeddings": [{ "table": "asset_embeddings", "of": "assets", "column": "asset_id", "dimensions": 8 }],
      "columns": [{ "table": "assets", "column": "outline", "dimensions": 3 }],
      "indexes": [
        { "table": "asset_embeddings", "method": "hnsw", "metric": "cosine", "m": 8 },
        { "table": "assets", "column": "outline", "method": "ivfflat", "metric": "l2", "lists": 2 }
      ]
    }
  }]
}"#;
const EFFECTS: u32 = 5;

struct Server {
    runtime: tokio::runtime::Runtime,
    server: PgServer,
    expected: String,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(async {
            let server = PgServer::start(Major::V16).await.unwrap();
            server.create_database("assets").await.unwrap();
            sample::fill_assets_database(&server.url("assets")).await.unwrap();
            server
        });
        let mut server = Self { runtime, server, expected: String::new() };
        server.fresh("undisturbed").ok(&["run", "recipe.json", "--yes"]);
        server.expected = database::dump(&server.server, "undisturbed");
        server
    }

    fn fresh(&self, name: &str) -> Godwit {
        self.server.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE assets")).unwrap();
        let godwit = Godwit::new(PROGRAM).env("GODWIT_INPUT_URL", &self.server.url(name));
        godwit.write("recipe.json", RECIPE);
        godwit
    }

    fn psql(&self, name: &str, sql: &str) -> String {
        self.server.psql(name, sql).unwrap()
    }

    fn assert_as_undisturbed(&self, name: &str, context: &str) {
        assert_eq!(self.expected, database::dump(&self.server, name), "{context}");
        assert_eq!(database::markers(&self.server, name), "", "{context}");
    }
}

#[test]
fn rows_statistics_and_strangers_come() {
    let server = Server::start();
    for done in 1..=EFFECTS {
        // By turns in doubt, with the effect done and not journalled, and known to be done.
        let side = if done % 2 == 1 { "before" } else { "after" };
        let (name, moment) = (format!("rows_{done}"), format!("{side}:settle:{done}"));
        let godwit = server.fresh(&name);
        let before = database::dump(&server.server, "assets");
        let run = cut_off(&godwit, &moment, "recipe.json");
        server.psql(&name, "CREATE TABLE stranger (id int); ALTER TABLE assets SET (fillfactor = 50)");
        server.psql(
                &name,
                "DO $$ BEGIN
                   IF to_regclass('asset_embeddings') IS NOT NULL THEN
                     INSERT INTO asset_embeddings (asset_id, embedding)
                       SELECT id, (SELECT array_agg(n)::real[] FROM generate_series(1, 8) n)::vector FROM assets;
                   END IF;
                 END $$;
                 VACUUM FULL; ANALYZE",
            );
        server.runtime.block_on(server.server.restart()).unwrap();
        resumed(&godwit, &run, &moment);
        server.psql(&name, "DROP TABLE stranger; ALTER TABLE assets RESET (fillfactor)");
        server.assert_as_undisturbed(&name, &moment);
        // What it made is its own, also what it found done.
        godwit.ok(&["undo", &run, "--yes"]);
        assert_eq!(before, database::dump(&server.server, &name), "{moment}");
    }
}

#[test]
fn a_stranger_is_faster() {
    let server = Server::start();
    // What was still to come when the run was cut off; how the stranger's is taken away again.
    let cases = [
        (1, "CREATE TABLE asset_embeddings (id int)", "DROP TABLE asset_embeddings", "asset_embeddings"),
        (2, "ALTER TABLE assets ADD outline text", "ALTER TABLE assets DROP outline", "outline"),
        (
            3,
            "CREATE INDEX asset_embeddings_embedding_hnsw ON asset_embeddings (asset_id)",
            "DROP INDEX asset_embeddings_embedding_hnsw",
            "asset_embeddings_embedding_hnsw",
        ),
        (
            4,
            "CREATE TABLE assets_outline_ivfflat ()",
            "DROP TABLE assets_outline_ivfflat",
            "assets_outline_ivfflat",
        ),
    ];
    for (done, make, take_away, named) in cases {
        let name = format!("faster_{done}");
        let godwit = server.fresh(&name);
        let run = cut_off(&godwit, &format!("after:settle:{done}"), "recipe.json");
        server.psql(&name, make);
        let with_stranger = database::dump(&server.server, &name);
        refused(&godwit, &run, &[named, "already exists"], make);
        assert_eq!(with_stranger, database::dump(&server.server, &name), "{make}");
        server.psql(&name, take_away);
        resumed(&godwit, &run, make);
        server.assert_as_undisturbed(&name, make);
    }
}

#[test]
fn a_stranger_takes_away_what_was_made() {
    let server = Server::start();
    for (done, sql, named) in [
        (3, "ALTER TABLE assets DROP outline", "outline"),
        (4, "DROP INDEX asset_embeddings_embedding_hnsw", "asset_embeddings_embedding_hnsw"),
    ] {
        let name = format!("taken_{done}");
        let godwit = server.fresh(&name);
        let run = cut_off(&godwit, &format!("after:settle:{done}"), "recipe.json");
        server.psql(&name, sql);
        refused(&godwit, &run, &[named], sql);
    }
}
