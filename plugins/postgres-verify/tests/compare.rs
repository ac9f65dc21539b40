//! Databases that are alike, and databases that are not.

#[path = "../../pg-catalog/tests/support/mod.rs"]
mod support;

use std::sync::Arc;

use godwit_lab::postgres::{Major, PgServer};
use godwit_plugin_postgres_verify::{Outputs, Params, PostgresVerify, What};
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
    assert_eq!(
        difference("public.users").as_deref(),
        Some("the rows are as many, but not the same: 1 changed; `id` in the whole table; keys 50 (changed)")
    );
    assert_eq!(
        difference("public.events").as_deref(),
        Some("the source has 20 rows, the target 19: 1 missing")
    );

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

/// 50,000 rows under a key of a number, and under a key of two columns of which the first is a text.
const LARGE: &str = "
    CREATE TABLE public.by_number (id int PRIMARY KEY, body text);
    INSERT INTO public.by_number SELECT i, md5(i::text) FROM generate_series(1, 50000) i;
    CREATE DOMAIN public.code AS text;
    CREATE TABLE public.by_text (code public.code, n int, body text, PRIMARY KEY (code, n));
    INSERT INTO public.by_text SELECT CASE WHEN i % 2 = 0 THEN 'é' ELSE 'Z' END || i % 20000, i, md5(i::text)
        FROM generate_series(1, 50000) i;
    CREATE TABLE public.without (n int, body text);
    INSERT INTO public.without SELECT i, md5(i::text) FROM generate_series(1, 50000) i";

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_found_by_its_range_and_its_key() {
    let world = world(Major::V15, Major::V18).await;
    for slot in ["a", "b"] {
        world.host.database(if slot == "a" { "source" } else { "target" }).unwrap().sql(LARGE).unwrap();
    }
    world.change(
        "UPDATE public.by_number SET body = 'x' WHERE id IN (777, 40000);
         DELETE FROM public.by_number WHERE id BETWEEN 20000 AND 20002;
         INSERT INTO public.by_number VALUES (90001, 'y'), (90002, 'y');
         UPDATE public.by_text SET body = body || '!' WHERE n = 31415;
         DELETE FROM public.without WHERE n = 5; INSERT INTO public.without VALUES (6, md5('6'))",
    );
    let only = json!({ "definitions": false, "sequences": false, "tables": { "include": ["public.by_*", "public.without"] } });
    let (outputs, _) = world.run(only);
    let located = |table: &str| {
        outputs.tables.iter().find(|t| t.table == table).and_then(|t| t.located.clone()).expect("it differs")
    };
    let numbers = located("public.by_number");
    assert_eq!((numbers.changed, numbers.missing, numbers.extra, numbers.complete), (2, 3, 2, true));
    let keys: Vec<(&str, What)> = numbers.keys.iter().map(|key| (key.key.as_str(), key.what)).collect();
    let expected = [
        ("777", What::Changed),
        ("20000", What::Missing),
        ("20001", What::Missing),
        ("20002", What::Missing),
        ("40000", What::Changed),
        ("90001", What::Extra),
        ("90002", What::Extra),
    ];
    assert_eq!(keys, expected);
    assert_eq!(numbers.ranges.len(), 4, "{:#?}", numbers.ranges);
    assert!(numbers.ranges.iter().all(|range| range.source_rows < 3000), "{:#?}", numbers.ranges);

    let texts = located("public.by_text");
    let keys: Vec<&str> = texts.keys.iter().map(|key| key.key.as_str()).collect();
    assert_eq!((texts.column.as_deref(), keys), (Some("code"), vec!["(Z11415,31415)"]));
    assert_eq!(texts.ranges.len(), 1);
    assert!(texts.ranges[0].source_rows < 3000, "{:#?}", texts.ranges);

    let without = located("public.without");
    assert_eq!((without.column, without.missing, without.extra, without.complete), (None, 1, 1, true));
}

const FAMILY: &str = "
    CREATE TABLE public.parents (id int PRIMARY KEY, name text NOT NULL, loud text GENERATED ALWAYS AS (upper(name)) STORED);
    CREATE TABLE public.children (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent int NOT NULL REFERENCES public.parents);
    INSERT INTO public.parents SELECT i, 'p' || i FROM generate_series(1, 9000) i;
    INSERT INTO public.children (parent) SELECT 1 + i % 9000 FROM generate_series(1, 9000) i";

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_copied_again() {
    let world = world(Major::V16, Major::V18).await;
    for slot in ["source", "target"] {
        world.host.database(slot).unwrap().sql(LARGE).unwrap();
        world.host.database(slot).unwrap().sql(FAMILY).unwrap();
    }
    world.change(
        "UPDATE public.by_number SET body = 'x' WHERE id IN (777, 40000);
         DELETE FROM public.by_text WHERE n < 50; INSERT INTO public.by_text VALUES ('zz', 0, '');
         INSERT INTO public.without VALUES (0, '');
         DELETE FROM public.children WHERE parent = 50; DELETE FROM public.parents WHERE id = 50;
         INSERT INTO public.parents VALUES (10000, 'more'); INSERT INTO public.children (parent) VALUES (10000)",
    );
    let params = json!({ "definitions": false, "sequences": false, "repair": true });
    let (outputs, checks) = world.run(params.clone());
    let failed: Vec<_> = checks.iter().filter(|check| check.verdict != Verdict::Passed).collect();
    assert!(!outputs.equal && failed.is_empty(), "{failed:#?}");
    let mut tables: Vec<&str> = outputs.repaired.iter().map(|range| range.table.as_str()).collect();
    tables.dedup();
    tables.sort_unstable();
    let all = ["public.by_number", "public.by_text", "public.children", "public.parents", "public.without"];
    assert_eq!(tables, all);
    // Not the whole of what has a key.
    let submitted = world.host.submitted();
    let deleted = submitted.iter().filter(|s| s.key.starts_with("delete/public.by_number"));
    assert_eq!(deleted.count(), 2);

    // Called again, as by a resume: the same effects under the same keys, and nothing to do.
    world.host.begin(Mode::Apply);
    let read = serde_json::from_value(params).unwrap();
    let again = PostgresVerify::apply(&world.host, read).expect("the same effects");
    assert_eq!(again.repaired, outputs.repaired);
    assert!(again.equal);
}
