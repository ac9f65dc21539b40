//! Which server is taken, what a session is set to, and what happens where connections are few.

use godwit_lab::postgres::{Major, PgServer};
use godwit_model::effect::SqlUndo;
use godwit_model::{ErrorKind, Json};
use godwit_postgres::Postgres;
use serde_json::json;

use crate::support::*;

fn postgres(settings: Json) -> Postgres {
    Postgres::new(vec![connection("source", settings)]).unwrap()
}

async fn asked(settings: Json, sql: &str) -> godwit_model::Result<String> {
    let pg = postgres(settings);
    Ok(Bench::new().query(&pg, "source", sql).await?.join(" "))
}

#[tokio::test]
async fn of_several_servers_the_one_is_taken_that_is_asked_for() {
    let (old, new) = (server(Major::V16).await, server(Major::V18).await);
    for server in [old, new] {
        server.create_database("several").await.unwrap();
    }
    old.psql("postgres", "ALTER DATABASE several SET default_transaction_read_only = on").unwrap();
    let rest = new.url("several").split_once("@127.0.0.1:").map(|(user, _)| user.to_owned()).unwrap();
    let url = |ports: &[u16], more: &str| {
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        json!({ "url": format!("{rest}@{}/several?{more}", hosts.join(",")) })
    };
    let major = "SELECT current_setting('server_version_num')::int / 10000 AS v";
    // A port where nobody listens comes first; the others differ in what they take.
    let ports = [1, old.port(), new.port()];
    for (more, expect) in [
        ("connect_timeout=5", r#"{"v":16}"#),
        ("target_session_attrs=read-write", r#"{"v":18}"#),
        ("target_session_attrs=read-only", r#"{"v":16}"#),
        ("target_session_attrs=primary&load_balance_hosts=disable", r#"{"v":16}"#),
        ("target_session_attrs=prefer-standby", r#"{"v":16}"#),
    ] {
        assert_eq!(asked(url(&ports, more), major).await.unwrap(), expect, "{more}");
    }
    let balanced = asked(url(&ports[1..], "load_balance_hosts=random"), major).await.unwrap();
    assert!([r#"{"v":16}"#, r#"{"v":18}"#].contains(&balanced.as_str()), "{balanced}");
    let error = asked(url(&ports, "target_session_attrs=standby"), major).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    for part in ["127.0.0.1:1: ", "is a primary, read-only", &format!(":{} is a primary", new.port())] {
        assert!(error.message.contains(part), "{part} in {error}");
    }
    // As keywords and values; writes and copies go to the same server as reads.
    let (user, password) = rest.trim_start_matches("postgres://").split_once(':').unwrap();
    let text = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} dbname=several user={user} password='{password}' \
         target_session_attrs=read-write",
        old.port(),
        new.port()
    );
    let ends = ["source", "sink"].map(|end| connection(end, json!({ "url": text })));
    let pg = Postgres::new(ends.to_vec()).unwrap();
    Bench::new()
        .run(&pg, &execute("make", &["CREATE TABLE public.made (a int)"], SqlUndo::Nothing))
        .await
        .unwrap();
    assert_eq!(new.psql("several", "SELECT count(*) FROM public.made").unwrap(), "0");
}

#[tokio::test]
async fn sessions_are_set_as_the_connection_says() {
    let server = server(Major::V16).await;
    let settings = json!({
        "url": server.url("postgres"), "options": "-c geqo=off -c statement_timeout=1min", "lock_timeout": "7s",
        "keepalives_idle": 33
    });
    let shown = "SELECT concat_ws(' ', current_setting('geqo'), current_setting('statement_timeout'),
        current_setting('lock_timeout'), current_setting('tcp_keepalives_idle'), current_setting('search_path')) AS s";
    assert_eq!(asked(settings, shown).await.unwrap(), r#"{"s":"off 1min 7s 33 \"\""}"#);
    // A timeout is the server's word, and a statement beyond it is none that was done.
    let short = json!({ "url": server.url("postgres"), "statement_timeout": "300ms" });
    let error = asked(short, "SELECT count(*) FROM generate_series(1, 1000000000)").await.unwrap_err();
    assert!(error.message.contains("statement timeout"), "{error}");
    // What is set wrongly is the server's to refuse, by name.
    let wrong = json!({ "url": server.url("postgres"), "options": "-c no_such_setting=1" });
    let error = asked(wrong, "SELECT 1 AS a").await.unwrap_err();
    assert!(error.message.contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn a_lock_that_is_held_for_longer_than_allowed_is_said() {
    let server = server(Major::V16).await;
    server.create_database("locked").await.unwrap();
    server.psql("locked", "CREATE TABLE public.t (a int)").unwrap();
    let mut holder = server.somebody("locked").await.unwrap();
    holder.exec("BEGIN; LOCK TABLE public.t").await.unwrap();
    let settings = json!({ "url": server.url("locked"), "lock_timeout": "200ms" });
    let impatient =
        Postgres::new(["source", "sink"].map(|end| connection(end, settings.clone())).to_vec()).unwrap();
    let wanted = execute("wanted", &["ALTER TABLE public.t ADD COLUMN b int"], SqlUndo::Nothing);
    let late = Bench::new().run(&impatient, &wanted).await;
    holder.exec("COMMIT").await.unwrap();
    let error = late.unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Unavailable, Some("55P03")), "{error}");
}

/// A role that may have fewer connections than the recipe allows: the copy goes on with what there is.
#[tokio::test]
async fn a_server_with_few_connections_gets_a_smaller_budget() {
    let server = PgServer::start(Major::V16).await.unwrap();
    for name in ["few_a", "few_b"] {
        server.create_database(name).await.unwrap();
    }
    server.psql("postgres", "CREATE ROLE few LOGIN PASSWORD 'fake-word' CONNECTION LIMIT 3; ALTER DATABASE few_b OWNER TO few").unwrap();
    let mut tables = String::new();
    for n in 0..12 {
        tables += &format!("CREATE TABLE public.t{n} (a int); ");
    }
    server
        .psql(
            "few_a",
            &format!("{tables} INSERT INTO public.t0 VALUES (1); INSERT INTO public.t11 VALUES (1)"),
        )
        .unwrap();
    server
        .psql(
            "few_b",
            &format!(
                "SET ROLE few; {}",
                tables.replace("public.", "few.").replacen("CREATE", "CREATE SCHEMA few; CREATE", 1)
            ),
        )
        .unwrap();
    let port = server.port();
    let pg = Postgres::new(vec![
        connection("source", json!({ "url": server.url("few_a") })),
        connection(
            "sink",
            json!({ "url": format!("postgres://few:fake-word@127.0.0.1:{port}/few_b"), "max_connections": 10 }),
        ),
    ])
    .unwrap();
    let bench = Bench::new();
    let copies: Vec<_> = (0..12)
        .map(|n| changed(copy(&format!("t{n}"), &["a"]), |c| c.sink.schema = "few".to_owned()))
        .collect();
    let done = futures::future::join_all(copies.iter().map(|effect| bench.run(&pg, effect))).await;
    for result in done {
        result.unwrap();
    }
    assert_eq!(
        server
            .psql("few_b", "SELECT (SELECT count(*) FROM few.t0) + (SELECT count(*) FROM few.t11)")
            .unwrap(),
        "2"
    );
}
