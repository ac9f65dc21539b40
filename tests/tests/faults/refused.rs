//! What can't be done, said before or while it is tried.

use godwit_lab::proxy::Hold;
use godwit_tests::database;
use serde_json::json;

use crate::pair::{Pair, RUN, Side, assert_failed, ended};

#[test]
fn a_read_only_target_is_named_and_nothing_is_touched() {
    let pair = Pair::start();
    let godwit = pair.fresh("app");
    pair.target.psql("postgres", "ALTER DATABASE app SET default_transaction_read_only = on").unwrap();
    let refused = godwit.run(&RUN);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("default_transaction_read_only"), "{refused}");
    assert_eq!(godwit.newest_run(), None, "no run began");
    assert_eq!(database::objects(&pair.target, "app"), Vec::<String>::new());
    pair.target.psql("postgres", "ALTER DATABASE app RESET default_transaction_read_only").unwrap();

    // It becomes so in the middle: for sessions that are opened from then on.
    let child = pair.in_the_middle(&godwit, Side::Target);
    pair.target.psql("postgres", "ALTER DATABASE app SET default_transaction_read_only = on").unwrap();
    assert!(pair.on_sessions(Side::Target, "pg_terminate_backend", "true") > 0);
    pair.to_target.release();
    let run = assert_failed(&godwit, &ended(child), &["25006", "read-only", "use a primary"]);
    pair.target.psql("postgres", "ALTER DATABASE app RESET default_transaction_read_only").unwrap();
    godwit.ok(&["resume", &run, "--yes"]);
    pair.assert_copied("app", "resumed");
}

#[test]
fn a_row_that_breaks_a_constraint_of_the_target_is_named() {
    let pair = Pair::start();
    let godwit = pair.fresh_with("app", json!({ "data_only": true }), 5);
    pair.target.psql("app", &database::dump(&pair.source, "app")).unwrap();
    pair.target.psql("app", "CREATE UNIQUE INDEX one_each ON big (owner)").unwrap();
    let run = assert_failed(&godwit, &godwit.run(&RUN), &["public.big", "one_each", "23505"]);
    assert_eq!(pair.target.psql("app", "SELECT count(*) FROM big").unwrap(), "0");
    pair.target.psql("app", "DROP INDEX one_each").unwrap();
    godwit.ok(&["resume", &run, "--yes"]);
    pair.assert_copied("app", "resumed");
}

#[test]
fn a_table_that_was_dropped_after_the_plan_is_named() {
    let pair = Pair::start();
    pair.source.psql("app", "CREATE TABLE late (id int); INSERT INTO late VALUES (1)").unwrap();
    let godwit = pair.fresh("app");
    godwit.ok(&["plan", "copy.json", "--out", "plan.json"]);
    pair.source.psql("app", "DROP TABLE late").unwrap();
    // The step decides anew from what is there; the plan was an outlook, and consents to what it showed.
    godwit.ok(&["run", "copy.json", "--yes", "--plan", "plan.json"]);
    pair.assert_copied("app", "without the table");
}

/// What others do to a table between the snapshot and the lock that keeps its form would make it look empty.
#[test]
fn a_table_that_changes_its_form_under_the_snapshot_is_named() {
    let pair = Pair::start();
    for (name, sql, reasons) in [
        ("dropped", "DROP TABLE late", &["late", "42P01"][..]),
        ("truncated", "TRUNCATE late", &["public.late", "since the snapshot"]),
        ("replaced", "DROP TABLE late; CREATE TABLE late (id int)", &["public.late", "since the snapshot"]),
        ("rewritten", "ALTER TABLE late ALTER id TYPE bigint", &["public.late", "since the snapshot"]),
    ] {
        let late = "CREATE TABLE late (id int); INSERT INTO late SELECT generate_series(1, 10)";
        pair.source.psql("app", late).unwrap();
        let godwit = pair.fresh(name);
        pair.to_source.hold(Hold::Text("LOCK TABLE".to_owned()));
        let child = godwit.spawn(&RUN);
        pair.held(&pair.to_source);
        pair.source.psql("app", sql).unwrap();
        pair.to_source.release();
        let run = assert_failed(&godwit, &ended(child), reasons);
        // What was lost is lost at the source as well; a fresh run copies what is there.
        godwit.ok(&["undo", &run, "--yes"]);
        assert_eq!(database::objects(&pair.target, name), Vec::<String>::new(), "{name}");
        godwit.ok(&RUN);
        pair.assert_copied(name, name);
        pair.source.psql("app", "DROP TABLE IF EXISTS late").unwrap();
    }
}
