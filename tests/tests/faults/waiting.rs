//! Others who hold what a copy needs: locks, connections, time.

use std::time::Duration;

use godwit_lab::postgres::{Major, PgServer};
use serde_json::json;

use crate::pair::{Pair, RUN, Side, assert_failed, ended};

#[test]
fn time_limits_of_the_role_do_not_end_a_copy() {
    let pair = Pair::start();
    // Made before there are limits: CREATE DATABASE may take longer than they allow.
    let godwit = pair.fresh_with("app", json!({}), 1);
    for (server, more) in
        [(&pair.source, ""), (&pair.target, "ALTER ROLE postgres SET transaction_timeout = '300ms';")]
    {
        let sql = format!(
            "{more} ALTER ROLE postgres SET statement_timeout = '300ms';
             ALTER ROLE postgres SET lock_timeout = '300ms';
             ALTER ROLE postgres SET idle_session_timeout = '300ms';
             ALTER ROLE postgres SET idle_in_transaction_session_timeout = '300ms';"
        );
        server.psql("postgres", &sql).unwrap();
    }
    let child = pair.in_the_middle(&godwit, Side::Target);
    std::thread::sleep(Duration::from_millis(700));
    pair.to_target.release();
    let ran = ended(child);
    assert_eq!(ran.code, Some(0), "{ran}");
    for server in [&pair.source, &pair.target] {
        server.psql("postgres", "ALTER ROLE postgres RESET ALL").unwrap();
    }
    pair.assert_copied("app", "under time limits");
}

#[test]
fn a_server_without_a_free_connection_is_waited_for_and_then_named() {
    let target = PgServer::builder(Major::V18)
        .setting("max_connections", "6")
        .setting("superuser_reserved_connections", "1")
        .setting("max_wal_senders", "0");
    let pair = Pair::start_with(PgServer::builder(Major::V16), target);
    // An ordinary role, which gets none of the reserved ones.
    pair.target.psql("postgres", "CREATE ROLE app LOGIN PASSWORD 'fake-app'").unwrap();
    let godwit = pair.fresh_with("app", json!({}), 3);
    pair.target.psql("postgres", "ALTER DATABASE app OWNER TO app").unwrap();
    let url = pair.to_target.url(&pair.target.url_as("app", "fake-app", "app"), pair.target.port());
    let godwit = godwit.env("GODWIT_INPUT_TARGET_URL", &url);

    let child = pair.in_the_middle(&godwit, Side::Source);
    let mut others: Vec<_> = Vec::new();
    // In the middle of the copy, all that is left is taken, and the copy's own session is ended.
    while let Ok(other) = pair.runtime.block_on(pair.target.somebody_as("app", "fake-app", "postgres")) {
        others.push(other);
    }
    assert!(!others.is_empty());
    assert!(pair.on_sessions(Side::Target, "pg_terminate_backend", "true") > 0);
    while let Ok(other) = pair.runtime.block_on(pair.target.somebody_as("app", "fake-app", "postgres")) {
        others.push(other);
    }
    pair.to_source.release();
    let run = assert_failed(&godwit, &ended(child), &["53300", "max_connections"]);
    drop(others);
    godwit.ok(&["resume", &run, "--yes"]);
    pair.assert_copied("app", "resumed");
}

#[test]
fn a_lock_of_somebody_else_is_waited_for_and_said() {
    let pair = Pair::start();
    // In the source, a lock that keeps readers out; in the target, one on what the copy fills.
    for (name, side) in [("in_source", Side::Source), ("in_target", Side::Target)] {
        let godwit = match side {
            Side::Source => pair.fresh(name),
            Side::Target => {
                let godwit = pair.fresh_with(name, json!({ "data_only": true }), 5);
                let schema = godwit_tests::database::dump(&pair.source, "app");
                let schema: Vec<&str> = schema.lines().collect();
                pair.target.psql(name, &schema.join("\n")).unwrap();
                godwit
            }
        };
        let (server, database) = (pair.server(side), if side == Side::Source { "app" } else { name });
        let mut other = pair.runtime.block_on(server.somebody(database)).unwrap();
        pair.runtime.block_on(other.exec("BEGIN; LOCK TABLE big IN ACCESS EXCLUSIVE MODE")).unwrap();
        let mut child = godwit.spawn(&RUN);
        let waits = "wait_event_type = 'Lock'";
        let began = std::time::Instant::now();
        while pair.on_sessions(side, "0 < ", waits) == 0 {
            assert!(child.try_wait().unwrap().is_none(), "it did not wait");
            assert!(began.elapsed() < crate::pair::PATIENCE, "nothing waits for the lock");
            std::thread::sleep(Duration::from_millis(20));
        }
        // Until it has been said.
        std::thread::sleep(Duration::from_secs(5));
        pair.runtime.block_on(other.exec("COMMIT")).unwrap();
        let ran = ended(child);
        assert_eq!(ran.code, Some(0), "{name}: {ran}");
        assert!(ran.stderr.contains("waits for a lock on public.big"), "{name}: {ran}");
        pair.assert_copied(name, name);
    }
}
