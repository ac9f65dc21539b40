//! Large objects on their way, and taken back.

use godwit_model::ErrorKind;
use godwit_model::capability::Capability as _;
use godwit_model::effect::Effect;

use crate::support::*;

/// One without a byte, one with a hole, one of many pages that aren't text, and 2,500 small ones.
const OBJECTS: &str = "SELECT lo_create(100);
    SELECT lo_create(200); SELECT lo_put(200, 5000, 'after the hole'); SELECT lo_put(200, 3, 'a');
    SELECT lo_from_bytea(300, (SELECT string_agg(sha256(i::text::bytea), '') FROM generate_series(1, 9000) i));
    SELECT count(lo_from_bytea(10000 + i, i::text::bytea)) FROM generate_series(1, 2500) i;";

const SUM: &str = "SELECT count(*), sum(hashtextextended(oid || ':' || encode(lo_get(oid), 'hex'), 0)) FROM pg_largeobject_metadata";

fn objects() -> Effect {
    changed(copy("pg_largeobject", &["loid", "pageno", "data"]), |copy| {
        copy.source.schema = "pg_catalog".to_owned();
        copy.sink.schema = "pg_catalog".to_owned();
        copy.only = true;
    })
}

#[tokio::test]
async fn large_objects_move_and_are_observed_and_taken_back() {
    let pair = Pair::new("objects").await;
    pair.from(OBJECTS);
    let (pg, bench) = (pair.process(), Bench::new());
    let done = bench.run(&pg, &objects()).await.unwrap();
    assert_eq!(pair.from(SUM), pair.to(SUM));
    let pages = "SELECT count(*), sum(length(data)) FROM pg_largeobject";
    assert_eq!(pair.from(pages), pair.to(pages));
    assert_eq!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done));
    // Nothing is left of what they came by.
    assert_eq!(pair.to("SELECT count(*) FROM pg_class WHERE relname = 'godwit_large_objects'"), "0");
    assert_eq!(pair.to("SELECT count(*) FROM pg_proc WHERE proname = 'godwit_large_object'"), "0");

    // Whom they belong to, and what is said of them, is no change of theirs.
    pair.to("COMMENT ON LARGE OBJECT 100 IS 'empty'; GRANT SELECT ON LARGE OBJECT 200 TO PUBLIC");
    let scope = bench.undo();
    let performed = [done];
    let actions = pg.plan_undo(&scope, &performed).await.unwrap();
    assert_eq!((actions.len(), &actions[0].changed), (1, &None));
    // One altered byte is seen, and kept.
    pair.to("SELECT lo_put(300, 7, 'x')");
    assert_ne!(pg.observe(&bench.scope, &performed[0]).await.unwrap().digest, evidence(&performed[0]).digest);
    let actions = pg.plan_undo(&scope, &performed).await.unwrap();
    assert!(actions[0].changed.as_deref().unwrap().contains("large objects"), "{actions:?}");
    let refused = pg.undo(&scope, &actions[0], false, false).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict);
    assert_eq!(pair.to("SELECT count(*) FROM pg_largeobject_metadata"), "2503");
    pg.undo(&scope, &actions[0], true, false).await.unwrap();
    assert_eq!(pair.to("SELECT count(*) FROM pg_largeobject_metadata"), "0");
}

#[tokio::test]
async fn large_objects_are_begun_again_when_their_snapshot_is_lost() {
    let pair = Pair::new("objectsagain").await;
    pair.from("SELECT lo_from_bytea(1, 'one'), lo_from_bytea(2, 'two')");
    let first = pair.process();
    let bench = Bench::new();
    let done = bench.run(&first, &objects()).await.unwrap();
    drop(first);
    // The source goes on, and a new process finds another snapshot.
    pair.from("SELECT lo_unlink(1), lo_put(2, 0, 'TWO'), lo_from_bytea(3, 'three')");
    let pg = pair.process();
    let again = pg.open_step(&bench.scope, &[done]).await.unwrap();
    assert_eq!(again, [objects().key]);
    assert_eq!(pair.to("SELECT count(*) FROM pg_largeobject_metadata"), "0");
    bench.perform(&pg, &objects(), true).await.unwrap();
    assert_eq!(pair.from(SUM), pair.to(SUM));
}

#[tokio::test]
async fn a_sink_with_large_objects_of_its_own_takes_none() {
    let pair = Pair::new("objectsthere").await;
    pair.from("SELECT lo_from_bytea(1, 'one')");
    pair.to("SELECT lo_from_bytea(7, 'mine')");
    let (pg, bench) = (pair.process(), Bench::new());
    let refused = bench.run(&pg, &objects()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict, "{refused}");
    assert!(refused.message.contains("holds large objects already"), "{refused}");
    assert_eq!(pair.to("SELECT string_agg(oid::text, ',') FROM pg_largeobject_metadata"), "7");
}
