//! A hot standby as the source, and as the target.

use godwit_lab::postgres::{Major, PgServer};
use godwit_tests::database;
use serde_json::json;

use crate::pair::{Pair, RUN, Side, assert_failed, ended};

/// A pair whose source follows the first one's.
fn start() -> (PgServer, Pair) {
    let first = Pair::start_with(PgServer::builder(Major::V16), PgServer::builder(Major::V18));
    let standby =
        first.runtime.block_on(first.source.standby().setting("max_standby_streaming_delay", "0").start());
    let Pair { runtime, source, target, to_source, to_target } = first;
    drop((to_source, to_target));
    (source, Pair::between(runtime, standby.unwrap(), target))
}

/// Waits until the standby has what the primary has.
fn catch_up(primary: &PgServer, standby: &PgServer) {
    let lsn = primary.psql("postgres", "SELECT pg_current_wal_flush_lsn()").unwrap();
    let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'");
    let began = std::time::Instant::now();
    while standby.psql("postgres", &sql).unwrap() != "t" {
        assert!(began.elapsed() < crate::pair::PATIENCE, "the standby does not catch up");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_standby_is_a_source_and_no_target() {
    let (primary, pair) = start();
    let godwit = pair.fresh("app");
    godwit.ok(&RUN);
    pair.assert_copied("app", "from a standby");

    // `frozen`: what the primary wrote meanwhile is found out by the standby too, which keeps no counters.
    let godwit = pair.fresh_with("frozen", json!({ "consistency": "frozen" }), 2);
    let child = pair.in_the_middle(&godwit, Side::Target);
    primary.psql("app", "UPDATE owners SET name = 'somebody else' WHERE id = 1").unwrap();
    catch_up(&primary, &pair.source);
    pair.to_target.release();
    assert_failed(&godwit, &ended(child), &["declared frozen"]);

    let godwit = pair.fresh("elsewhere");
    let godwit = godwit
        .env("GODWIT_INPUT_SOURCE_URL", &pair.target.url("app"))
        .env("GODWIT_INPUT_TARGET_URL", &pair.source.url("postgres"));
    let refused = godwit.run(&RUN);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("the target is a standby"), "{refused}");
    assert_eq!(database::objects(&primary, "postgres"), Vec::<String>::new());
}
