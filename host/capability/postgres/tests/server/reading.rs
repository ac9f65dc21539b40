//! Guests' queries.

use godwit_model::ErrorKind;
use godwit_model::capability::{Capability as _, PostgresReads as _};
use godwit_model::effect::*;
use godwit_model::plugin::{Access, Mode};

use crate::support::*;

#[tokio::test]
async fn queries_see_the_snapshot_page_by_page() {
    let pair = Pair::new("queries").await;
    pair.both("CREATE TABLE t (a int, b text)");
    pair.from("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i");
    let (pg, mut bench) = (pair.process(), Bench::new());
    let source = grant("source", Access::Read);
    let mut cursor =
        pg.query(&bench.scope, &source, "SELECT a, b FROM public.t ORDER BY a", &[]).await.unwrap();
    let first = cursor.next().await.unwrap();
    assert!(first[0].starts_with(r#"{"a":1,"b":"xxx"#), "{}", first[0]);
    pair.from("DELETE FROM t");
    // Other queries in between, failing ones too.
    let count = bench.query(&pg, "source", "SELECT count(*) FROM public.t").await.unwrap();
    assert_eq!(count, [r#"{"count":20000}"#]);
    assert!(bench.query(&pg, "source", "SELECT 1 / 0").await.is_err());
    assert_eq!(bench.query(&pg, "source", "SELECT nope").await.unwrap_err().kind, ErrorKind::Missing);
    let mut rows = first.len();
    let mut largest = 0;
    loop {
        let page = cursor.next().await.unwrap();
        if page.is_empty() {
            break;
        }
        largest = largest.max(page.iter().map(String::len).sum());
        rows += page.len();
    }
    assert_eq!(rows, 20000);
    assert!(largest <= 8 << 20, "{largest}");
    let rows = bench.query(&pg, "source", "SELECT b FROM public.t WHERE a < 0").await.unwrap();
    assert!(rows.is_empty());
    // Parameters are texts.
    let params = [Some("16384".to_owned()), None];
    let mut cursor =
        pg.query(&bench.scope, &source, "SELECT $1::oid AS o, $2 IS NULL AS n", &params).await.unwrap();
    assert_eq!(cursor.next().await.unwrap(), [r#"{"o":"16384","n":true}"#]);
    assert!(cursor.next().await.unwrap().is_empty());
    assert_eq!(bench.query(&pg, "source", "SHOW search_path").await.unwrap(), [r#"{"search_path":"\"\""}"#]);
    assert!(bench.query(&pg, "source", "EXPLAIN SELECT 1").await.unwrap()[0].contains("QUERY PLAN"));

    // A write slot sees what was written, but writes nothing itself.
    bench
        .run(&pg, &execute("fill", &["INSERT INTO public.t VALUES (1, 'x')"], SqlUndo::Nothing))
        .await
        .unwrap();
    assert_eq!(bench.query(&pg, "sink", "SELECT a FROM public.t").await.unwrap(), [r#"{"a":1}"#]);
    pair.to("CREATE FUNCTION sneak() RETURNS int LANGUAGE sql VOLATILE AS $$ INSERT INTO public.t VALUES (2, 'y') RETURNING a $$");
    let error = bench.query(&pg, "sink", "SELECT public.sneak()").await.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("25006"));
    for sql in ["DELETE FROM public.t", "SELECT pg_read_file('PG_VERSION')", "SELECT 1; SELECT 2"] {
        assert_eq!(bench.query(&pg, "sink", sql).await.unwrap_err().kind, ErrorKind::Denied, "{sql}");
    }
    assert_eq!(pair.to("SELECT count(*) FROM t"), "1");
    // The snapshots are gone at once; what else is open serves whoever comes next, under its own name.
    pg.close_step(&bench.scope).await.unwrap();
    let ours = "application_name LIKE 'godwit/%' AND datname = current_database()";
    let open = format!("SELECT count(*) FROM pg_stat_activity WHERE {ours} AND xact_start IS NOT NULL");
    for _ in 0..100 {
        if pair.from(&open) == "0" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(pair.from(&open), "0");
    let sessions =
        format!("SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE {ours}");
    let before = pair.from(&sessions);
    bench.scope.step = "next".into();
    bench.scope.mode = Mode::Verify;
    let name = "SELECT split_part(current_setting('application_name'), '/', 3) AS step";
    assert_eq!(bench.query(&pg, "source", name).await.unwrap(), [r#"{"step":"next"}"#]);
    assert_eq!(pair.from(&sessions), before);
    drop(pg);
    for _ in 0..100 {
        if pair.from(&sessions).is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(pair.from(&sessions), "");
}

#[tokio::test]
async fn whole_answers_come_at_once_under_the_same_snapshot_and_rules() {
    let pair = Pair::new("answers").await;
    pair.both("CREATE TABLE t (a int, b text)");
    pair.from("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 5000) i");
    let (pg, bench) = (pair.process(), Bench::new());
    let (source, sink) = (grant("source", Access::Read), grant("sink", Access::Write));
    let ask = |grant, sql: &'static str| {
        let (pg, bench) = (&pg, &bench);
        async move { pg.answer(&bench.scope, grant, sql, &[]).await }
    };
    let count = "SELECT count(*) FROM public.t";
    assert_eq!(ask(&source, count).await.unwrap(), [r#"{"count":5000}"#]);
    pair.from("DELETE FROM t");
    pair.to("INSERT INTO t VALUES (1, 'x')");
    // Many more than there are connections, on both sides at once.
    let many =
        futures::future::join_all((0..20).flat_map(|_| [ask(&source, count), ask(&sink, count)])).await;
    for (index, answer) in many.into_iter().enumerate() {
        let expected = if index % 2 == 0 { r#"{"count":5000}"# } else { r#"{"count":1}"# };
        assert_eq!(answer.unwrap(), [expected]);
    }
    let params = [Some("7".to_owned()), None];
    let answer =
        pg.answer(&bench.scope, &sink, "SELECT $1::int AS a, $2 IS NULL AS b", &params).await.unwrap();
    assert_eq!(answer, [r#"{"a":7,"b":true}"#]);
    let error = ask(&source, "SELECT b FROM public.t").await.unwrap_err();
    assert!(error.message.contains("more than 4 MiB"), "{error}");
    assert_eq!(ask(&sink, "SELECT 1 / 0").await.unwrap_err().code.as_deref(), Some("22012"));
    assert_eq!(ask(&sink, "DELETE FROM public.t").await.unwrap_err().kind, ErrorKind::Denied);
    // Nothing of that hurts what comes after it.
    assert_eq!(ask(&source, count).await.unwrap(), [r#"{"count":5000}"#]);
    pg.close_step(&bench.scope).await.unwrap();
}

#[tokio::test]
async fn a_plan_only_reads() {
    let pair = Pair::new("plan").await;
    pair.both(PEOPLE);
    pair.from(FILL);
    let pg = pair.process();
    let mut bench = Bench::new();
    bench.scope.mode = Mode::Plan;
    let planned = bench.intended(&pg, &copy("people", COLUMNS)).await;
    assert_eq!(planned.preparation.title, "copy public.people → public.people");
    let estimate = planned.preparation.estimate.unwrap();
    assert!(estimate.items > 0 && estimate.bytes > 100_000 && !estimate.exact, "{estimate:?}");
    pg.close_step(&bench.scope).await.unwrap();
    assert!(bench.notes.0.lock().unwrap().is_empty());
    let log = pair.source.log();
    let ours =
        log.lines().filter(|line| line.contains(&format!("db={}", pair.name)) && line.contains("app=godwit"));
    for line in ours.filter(|line| line.contains("statement:") || line.contains("execute")) {
        for word in ["INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "LOCK", "COPY"] {
            assert!(!line.contains(word), "{line}");
        }
    }
    assert_eq!(pair.to("SELECT count(*) FROM pg_namespace WHERE nspname = 'godwit_marker'"), "0");
}

#[tokio::test]
async fn bad_credentials_and_servers_are_told_apart() {
    let pair = Pair::new("credentials").await;
    let wrong = pair.source.url_as("postgres", "wrong-word", &pair.name);
    let pg = capability(&[("source", &wrong), ("sink", "postgres://u@127.0.0.1:1/x?connect_timeout=2")]);
    let bench = Bench::new();
    let error = bench.query(&pg, "source", "SELECT 1").await.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("28P01"));
    assert!(!format!("{error:?}").contains("wrong-word"));
    let error = bench.query(&pg, "sink", "SELECT 1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let pg =
        capability(&[("source", &pair.source.url("no such database")), ("sink", &pair.sink.url(&pair.name))]);
    let error = bench.query(&pg, "source", "SELECT 1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Missing);
}
