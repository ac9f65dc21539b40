//! Sessions that end in the middle of a COPY.

use godwit_lab::postgres::{Major, PgServer};

use crate::pair::{Pair, RUN, Side, assert_failed, ended};

#[test]
fn a_terminated_session_is_replaced_and_its_rows_come_once() {
    let pair = Pair::start();
    for (name, side, which) in [
        ("copy_out", Side::Source, "query LIKE 'COPY %'"),
        // The holder of the snapshot as well. Nobody has written, so another snapshot sees the same.
        ("all_out", Side::Source, "true"),
        ("copy_in", Side::Target, "query LIKE 'BEGIN; %COPY %'"),
        ("all_in", Side::Target, "true"),
    ] {
        let godwit = pair.fresh(name);
        let child = pair.in_the_middle(&godwit, side);
        assert!(pair.on_sessions(side, "pg_terminate_backend", which) > 0, "{name}");
        pair.proxy(side).release();
        let ran = ended(child);
        assert_eq!(ran.code, Some(0), "{name}: {ran}");
        assert!(ran.stderr.contains("trying again"), "{name}: {ran}");
        // A server that is ended while it sends a row can't say why: its words would be taken for the row's.
        assert!(side == Side::Source || ran.stderr.contains("57P01"), "{name}: {ran}");
        pair.assert_copied(name, name);
    }
}

#[test]
fn a_snapshot_that_is_lost_to_a_write_begins_its_tables_again() {
    let pair = Pair::start();
    let godwit = pair.fresh("app");
    let child = pair.in_the_middle(&godwit, Side::Source);
    pair.source.psql("app", "UPDATE owners SET name = 'somebody else' WHERE id = 1").unwrap();
    pair.on_sessions(Side::Source, "pg_terminate_backend", "true");
    pair.to_source.release();
    let ran = ended(child);
    let run =
        assert_failed(&godwit, &ran, &["the session that held the snapshot", "has been written to since"]);
    godwit.ok(&["resume", &run, "--yes"]);
    pair.assert_copied("app", "resumed");
    let report = godwit.ok(&["report", &run]);
    assert!(report.stdout.contains("copied under snapshot 2: a former one was lost"), "{report}");
}

#[test]
fn a_server_that_restarts_is_waited_for() {
    let pair = Pair::start();
    for (name, side, crash) in [
        ("source_restarts", Side::Source, false),
        ("target_restarts", Side::Target, false),
        ("target_crashes", Side::Target, true),
    ] {
        let godwit = pair.fresh(name);
        let child = pair.in_the_middle(&godwit, side);
        pair.runtime.block_on(async {
            if crash {
                pair.server(side).crash().await.unwrap();
            }
            pair.server(side).restart().await.unwrap();
        });
        pair.proxy(side).release();
        let ran = ended(child);
        assert_eq!(ran.code, Some(0), "{name}: {ran}");
        pair.assert_copied(name, name);
    }
}

#[test]
fn a_connection_that_is_cut_is_made_again() {
    let pair = Pair::start();
    for (name, side) in [("from_source", Side::Source), ("to_target", Side::Target)] {
        let godwit = pair.fresh(name);
        let child = pair.in_the_middle(&godwit, side);
        pair.proxy(side).cut();
        let ran = ended(child);
        assert_eq!(ran.code, Some(0), "{name}: {ran}");
        pair.assert_copied(name, name);
    }
}

#[test]
fn a_cancelled_statement_fails_its_table_and_a_resume_completes_it() {
    let pair = Pair::start();
    for (name, side) in [("out", Side::Source), ("in", Side::Target)] {
        let godwit = pair.fresh(&format!("cancelled_{name}"));
        let child = pair.in_the_middle(&godwit, side);
        let which = "state = 'active' AND query LIKE '%COPY %'";
        assert_eq!(pair.on_sessions(side, "pg_cancel_backend", which), 1, "{name}");
        pair.proxy(side).release();
        let run = assert_failed(&godwit, &ended(child), &["public.big", "57014"]);
        let rows = pair.target.psql(&format!("cancelled_{name}"), "SELECT count(*) FROM big").unwrap();
        assert_eq!(rows, "0", "a table is copied whole or not at all");
        godwit.ok(&["resume", &run, "--yes"]);
        pair.assert_copied(&format!("cancelled_{name}"), name);
    }
}

#[test]
fn a_full_disk_is_named_and_a_resume_completes_the_copy_when_there_is_room() {
    let pair = Pair::start_with(PgServer::builder(Major::V15), PgServer::builder(Major::V16).disk());
    let godwit = pair.fresh("app");
    let child = pair.in_the_middle(&godwit, Side::Target);
    pair.target.fill_disk(true).unwrap();
    pair.to_target.release();
    let run =
        assert_failed(&godwit, &ended(child), &["public.big", "53100", "free space there, then resume"]);
    // Nothing has changed: nothing gets better, and nothing worse.
    assert_failed(&godwit, &godwit.run(&["resume", &run, "--yes"]), &["53100"]);
    pair.target.fill_disk(false).unwrap();
    godwit.ok(&["resume", &run, "--yes"]);
    pair.assert_copied("app", "resumed");
}

#[test]
fn a_run_that_meets_a_full_disk_can_be_taken_back() {
    let pair = Pair::start_with(PgServer::builder(Major::V16), PgServer::builder(Major::V18).disk());
    let godwit = pair.fresh("app");
    pair.target.fill_disk(true).unwrap();
    let run = assert_failed(&godwit, &godwit.run(&RUN), &["53100"]);
    pair.target.fill_disk(false).unwrap();
    godwit.ok(&["undo", &run, "--yes"]);
    assert_eq!(godwit_tests::database::objects(&pair.target, "app"), Vec::<String>::new());
}
