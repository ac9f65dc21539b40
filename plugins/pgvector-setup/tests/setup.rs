//! pgvector set up on real servers, and refused where it can't be.

#[path = "../../pg-catalog/tests/support/mod.rs"]
mod support;

use std::sync::Arc;

use godwit_lab::postgres::{Major, PgServer};
use godwit_plugin_pgvector_setup::{Outputs, Params, PgvectorSetup};
use godwit_sdk::Step;
use godwit_sdk::types::*;
use serde_json::{Value, json};
use support::{Database, NativeHost};

fn read(params: &Value) -> Params {
    serde_json::from_value(params.clone()).expect("params")
}

fn apply(host: &NativeHost, params: &Value) -> Result<Outputs> {
    host.begin(Mode::Apply);
    PgvectorSetup::apply(host, read(params))
}

fn proven(host: &NativeHost, params: &Value, outputs: &Outputs) {
    host.begin(Mode::Verify);
    let checks = PgvectorSetup::verify(host, read(params), outputs.clone()).expect("verify");
    let bad: Vec<_> = checks.iter().filter(|check| check.verdict != Verdict::Passed).collect();
    assert!(!checks.is_empty() && bad.is_empty(), "{bad:#?}");
}

fn everything() -> Value {
    json!({
        "min_version": "0.7.0",
        "embeddings": [{ "table": "asset_embeddings", "of": "public.assets", "column": "asset_id", "dimensions": 1536 }],
        "columns": [{ "table": "public.notes", "column": "half", "dimensions": 3, "type": "halfvec" }],
        "indexes": [
            { "table": "asset_embeddings", "m": 8, "ef_construction": 40 },
            { "table": "public.notes", "column": "half", "type": "halfvec", "metric": "l1" },
            { "table": "public.notes", "column": "e", "method": "ivfflat", "metric": "l2", "lists": 2, "name": "notes_by_l2" }
        ],
        "memory": "64MB",
        "workers": 0
    })
}

async fn database(major: Major, name: &str) -> Database {
    Database::create(&Arc::new(PgServer::start(major).await.expect("a server")), name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_made_once_found_afterwards_and_taken_back() {
    for major in [Major::V16, Major::V18] {
        let database = database(major, "vectors").await;
        let sql = |text: &str| database.server.psql("vectors", text).unwrap();
        sql("CREATE TABLE public.assets (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text);
             INSERT INTO public.assets (name) VALUES ('a');
             CREATE TABLE public.notes (id int)");
        let before = database.dump(&database.server, &["-s"]);
        let host = NativeHost::new(&[("target", &database)]);
        let error = apply(&host, &everything()).expect_err("notes has no e").to_string();
        assert!(
            error.contains("public.notes has no column `e`") && error.contains("nothing was touched"),
            "{error}"
        );

        let mut params = everything();
        params["columns"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "table": "notes", "column": "e", "dimensions": 2 }));
        let host = NativeHost::new(&[("target", &database)]);
        let outputs = apply(&host, &params).expect("setup");
        assert_eq!(outputs.made.len(), 7, "{outputs:?}");
        assert_eq!(outputs.version.as_deref(), Some("0.8.5"));
        proven(&host, &params, &outputs);
        assert_eq!(apply(&host, &params).expect("resumed"), outputs);
        sql("INSERT INTO public.asset_embeddings (asset_id, embedding)
             SELECT id, array_fill(0.5, ARRAY[1536])::vector FROM public.assets");
        assert_eq!(
            sql(
                "SELECT embedding_model, metadata IS NULL, created_at IS NOT NULL FROM public.asset_embeddings"
            ),
            "text-embedding-3-small|t|t"
        );
        let index =
            sql("SELECT indexdef FROM pg_indexes WHERE indexname = 'asset_embeddings_embedding_hnsw'");
        assert!(
            index.contains("hnsw (embedding vector_cosine_ops) WITH (m='8', ef_construction='40')"),
            "{index}"
        );
        assert_eq!(sql("DELETE FROM public.assets; SELECT count(*) FROM public.asset_embeddings"), "0");

        // Another step finds everything as it is wanted.
        let again = NativeHost::new(&[("target", &database)]);
        let found = apply(&again, &params).expect("again");
        assert_eq!((found.made.len(), found.found.len()), (0, 7));
        proven(&again, &params, &found);

        let other = json!({ "columns": [{ "table": "notes", "column": "e", "dimensions": 5 }],
            "indexes": [{ "table": "notes", "column": "e", "name": "notes_by_l2" }] });
        let error =
            apply(&NativeHost::new(&[("target", &database)]), &other).expect_err("a conflict").to_string();
        assert!(error.contains("vector(2), but vector(5) is asked for"), "{error}");
        assert!(error.contains("notes_by_l2 is there already, but is another one"), "{error}");

        host.undo().expect("undo");
        assert_eq!(database.dump(&database.server, &["-s"]), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_pgvector_is_known_before_anything_is_touched() {
    let database = database(Major::V15, "plain").await;
    let host = NativeHost::new(&[("target", &database)]);
    let error = apply(&host, &json!({})).expect_err("a refusal").to_string();
    assert!(
        error.contains("the server lacks pgvector") && error.contains("pgvector/pgvector:pg16"),
        "{error}"
    );
    assert!(host.submitted().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_too_old_is_refused() {
    let database = database(Major::V16, "old").await;
    let host = NativeHost::new(&[("target", &database)]);
    let error = apply(&host, &json!({ "min_version": "9.0" })).expect_err("a refusal").to_string();
    assert!(error.contains("the server's pgvector is 0.8.5, but 9.0.0 is needed"), "{error}");
}
