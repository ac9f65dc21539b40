//! Databases that are alike, and databases that are not.

#[path = "../../pg-catalog/tests/support/mod.rs"]
mod support;

use std::sync::Arc;

use godwit_lab::postgres::{Major, PgServer};
use godwit_plugin_postgres_verify::{Outputs, Params, PostgresVerify};
use godwit_sdk::Step;
use godwit_sdk::types::*;
use serde_json::{Value, json};
use support::{Database, NativeHost};

const SHOP: &str = "
    CREATE TABLE public.users (id serial PRIMARY KEY, name text, score float8, at timestamptz, doc jsonb, tags text[]);
    INSERT INTO public.users (name, score, at, doc, tags)
        SELECT 'u' || i, i / 3.0, '2024-01-01'::timestamptz + i * interval '1 h', jsonb_build_object('i', i), ARRAY['a', NULL]
        FROM generate_series(1, 100) i;
    CREATE INDEX users_name ON public.users (name);
    CREATE TABLE public.events (at date, n int) PARTITION BY RANGE (at);
    CREATE TABLE public.events_1 PARTITION OF public.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    INSERT INTO public.events SELECT '2024-02-01', i FROM generate_series(1, 20) i;
    CREATE TABLE public.empty ();
    CREATE VIEW public.names AS SELECT name FROM public.users;
";
/// The same rows in another physical order.
const SHUFFLE: &str = "
    CREATE TABLE public.tmp AS SELECT * FROM public.users ORDER BY random();
    TRUNCATE public.users;
    INSERT INTO public.users SELECT * FROM public.tmp;
    DROP TABLE public.tmp";

struct World {
    host: NativeHost,
    target: Database,
}

async fn world(source: Major, target: Major) -> World {
    let from = Arc::new(PgServer::start(source).await.expect("a server"));
    let to = Arc::new(PgServer::start(target).await.expect("a server"));
    let (a, b) = (Database::create(&from, "a").await, Database::create(&to, "b").await);
    from.psql("a", SHOP).expect("fixture");
    to.psql("b", SHOP).expect("fixture");
    to.psql("b", SHUFFLE).expect("another order");
    World { host: NativeHost::new(&[("source", &a), ("target", &b)]), target: b }
}

impl World {
    fn run(&self, params: Value) -> (Outputs, Vec<Check>) {
        let read = || -> Params { serde_json::from_value(params.clone()).expect("params") };
        self.host.begin(Mode::Apply);
        let outputs = PostgresVerify::apply(&self.host, read()).expect("compare");
        self.host.begin(Mode::Verify);
        let checks = PostgresVerify::verify(&self.host, read(), outputs.clone()).expect("verify");
        (outputs, checks)
    }

    fn failed(&self, params: Value) -> Vec<String> {
        let (outputs, checks) = self.run(params);
        assert!(!outputs.equal);
        checks.into_iter().filter(|c| matches!(c.verdict, Verdict::Failed(_))).map(|c| c.name).collect()
    }

    fn change(&self, sql: &str) {
        self.target.server.psql("b", sql).expect("a change");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_reads_again_only_when_it_is_made_again() {
    let world = world(Major::V16, Major::V16).await;
    let (outputs, _) = world.run(json!({}));
    world.change("UPDATE users SET name = 'changed' WHERE id = 1");
    let failed = |mode: Mode| -> usize {
        world.host.begin(mode);
        let params = serde_json::from_value(json!({})).expect("params");
        let checks = PostgresVerify::verify(&world.host, params, outputs.clone()).expect("verify");
        checks.iter().filter(|check| matches!(check.verdict, Verdict::Failed(_))).count()
    };
    assert_eq!((failed(Mode::Verify), failed(Mode::Recheck)), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_databases_of_two_majors_are_proven_equal() {
    let world = world(Major::V16, Major::V18).await;
    let (outputs, checks) = world.run(json!({}));
    let bad: Vec<_> = checks.iter().filter(|check| check.verdict != Verdict::Passed).collect();
    assert!(outputs.equal && bad.is_empty(), "{bad:#?}");
    let tables: Vec<(&str, u64, Option<u64>)> =
        outputs.tables.iter().map(|t| (t.table.as_str(), t.source_rows, t.target_rows)).collect();
    assert_eq!(
        tables,
        [("public.empty", 0, Some(0)), ("public.events", 20, Some(20)), ("public.users", 100, Some(100))]
    );
    assert!(world.host.queries.get() <= 8, "{} queries", world.host.queries.get());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_difference_is_named() {
    let world = world(Major::V16, Major::V16).await;
    world.change(
        "UPDATE public.users SET doc = '{\"i\": 0}' WHERE id = 50; DELETE FROM public.events WHERE n = 3",
    );
    assert_eq!(world.failed(json!({})), ["rows of public.events", "rows of public.users"]);
    let (outputs, _) = world.run(json!({}));
    let difference =
        |table: &str| outputs.tables.iter().find(|t| t.table == table).and_then(|t| t.difference.clone());
    assert_eq!(difference("public.users").as_deref(), Some("the rows are as many, but not the same"));
    assert_eq!(difference("public.events").as_deref(), Some("the source has 20 rows, the target 19"));

    let none = json!({ "rows": false });
    world.change(
        "DROP INDEX public.users_name; SELECT setval('public.users_id_seq', 7); CREATE TABLE public.more (a int)",
    );
    assert_eq!(world.failed(none.clone()), ["definitions: index", "sequence values"]);
    world.change("ALTER TABLE public.users ALTER score SET NOT NULL; DROP VIEW public.names");
    assert_eq!(
        world.failed(none),
        ["definitions: index", "definitions: table", "definitions: view", "sequence values"]
    );
    let strict = json!({ "rows": false, "definitions": false, "sequences": false, "extra": "fail" });
    assert_eq!(world.failed(strict), ["no tables beside the source's"]);
    let chosen =
        json!({ "tables": { "include": ["public.empty"] }, "definitions": false, "sequences": false });
    assert!(world.run(chosen).0.equal);
}
