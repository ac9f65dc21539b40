//! What a crash, another run or a lost snapshot leaves behind.

use godwit_model::capability::Capability as _;
use godwit_model::effect::*;
use godwit_model::plugin::Access;
use godwit_model::{EffectKey, ErrorKind, RunId};

use crate::support::*;

#[tokio::test]
async fn what_is_done_is_not_done_again() {
    let pair = Pair::new("again").await;
    pair.both(PEOPLE);
    pair.from(FILL);
    let bench = Bench::new();
    let effect = copy("people", COLUMNS);
    // The rows are committed, and the journal's write fails.
    let pg = pair.process();
    let broken = Book { fail_after: Some(0), ..Book::default() };
    bench.books.lock().unwrap().insert(effect.key.clone(), broken.clone());
    let error = bench.run(&pg, &effect).await.unwrap_err();
    assert!(error.message.contains("journal"), "{error}");
    assert_eq!(pair.to("SELECT count(*) FROM people"), "5000");
    let intended = bench.intended(&pg, &effect).await;
    drop(pg);

    // Another process, the same snapshot: the marker says that it is done, and with what.
    let pg = pair.process();
    assert_eq!(pg.open_step(&bench.scope, &[intended]).await.unwrap(), [] as [EffectKey; 0]);
    bench.books.lock().unwrap().insert(effect.key.clone(), Book { fail_after: None, ..broken });
    let done = bench.perform(&pg, &effect, true).await.unwrap();
    assert_eq!(evidence(&done).items, 5000);
    assert_eq!(pair.from(SUM), pair.to(SUM));
    assert_eq!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done));
}

#[tokio::test]
async fn a_lost_snapshot_begins_all_its_tables_again() {
    let pair = Pair::new("lost").await;
    pair.both("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a); CREATE SEQUENCE s");
    pair.both("CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM a");
    pair.from("INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1, 1); SELECT setval('s', 5)");
    let bench = Bench::new();
    let pg = pair.process();
    let (copy_a, copy_b, seq) = (copy("a", &["id"]), copy("b", &["id", "a"]), sequences(&["s"]));
    let mut refresh = execute("refresh", &["REFRESH MATERIALIZED VIEW public.m"], SqlUndo::Nothing);
    if let Action::ExecuteSql(request) = &mut refresh.action {
        request.data_dependent = true;
    }
    let a = bench.run(&pg, &copy_a).await.unwrap();
    let seq_done = bench.run(&pg, &seq).await.unwrap();
    let m = bench.run(&pg, &refresh).await.unwrap();
    let b = bench.intended(&pg, &copy_b).await;
    assert_eq!(pair.to("SELECT * FROM m"), "2");
    drop(pg);
    // Written in between: table b would hold a row whose a isn't there.
    pair.from("INSERT INTO a VALUES (3); INSERT INTO b VALUES (2, 3); SELECT setval('s', 9)");

    let pg = pair.process();
    let known = [a, seq_done, m, b];
    let redo = pg.open_step(&bench.scope, &known).await.unwrap();
    assert_eq!(redo, ["copy/a".into(), "sequences".into(), "refresh".into()] as [EffectKey; 3]);
    assert_eq!(pair.to("SELECT count(*) FROM a"), "0");
    // A second crash right here changes nothing.
    drop(pg);
    let pg = pair.process();
    assert_eq!(pg.open_step(&bench.scope, &known).await.unwrap(), redo);
    for effect in [&copy_a, &copy_b, &seq, &refresh] {
        let done = bench.perform(&pg, effect, true).await.unwrap();
        if matches!(effect.action, Action::CopyTable(_)) {
            assert!(done.done.unwrap().notes.iter().any(|n| n.contains("begun again")));
        }
    }
    assert_eq!(pair.to("SELECT count(*) FROM a"), "3");
    assert_eq!(pair.to("SELECT count(*) FROM b"), "2");
    assert_eq!(pair.to("SELECT last_value FROM s"), "9");
    assert_eq!(pair.to("SELECT * FROM m"), "3");
}

#[tokio::test]
async fn rows_of_others_are_not_emptied_with_a_lost_snapshot() {
    let (pair, bench, known) = copied_under_a_lost_snapshot("lost_others").await;
    pair.to("INSERT INTO b VALUES (100)");

    let pg = pair.process();
    let error = pg.open_step(&bench.scope, &known).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.message.contains("public.b: 1 rows") && !error.message.contains("public.a"), "{error}");
    assert_eq!(
        pair.to("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"),
        "2|2",
        "nothing is emptied"
    );
    pair.to("DELETE FROM b WHERE id = 100");
    drop(pg);
    let pg = pair.process();
    assert_eq!(pg.open_step(&bench.scope, &known).await.unwrap().len(), 2);
    assert_eq!(pair.to("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"), "0|0");
}

#[tokio::test]
async fn an_untouched_source_keeps_its_generation() {
    let pair = Pair::new("untouched").await;
    pair.both("CREATE TABLE a (id int)");
    pair.from("INSERT INTO a VALUES (1); VACUUM ANALYZE");
    let bench = Bench::new();
    let pg = pair.process();
    let a = bench.run(&pg, &copy("a", &["id"])).await.unwrap();
    drop(pg);
    // Other tests write to the same server, so the snapshot may differ: then the table is begun again. Either way
    // the answer fits what was done with the rows.
    let pg = pair.process();
    let redo = pg.open_step(&bench.scope, &std::slice::from_ref(&a)).await.unwrap();
    assert_eq!(pair.to("SELECT count(*) FROM a"), if redo.is_empty() { "1" } else { "0" });
}

#[tokio::test]
async fn frozen_is_proven_or_refused() {
    let pair = Pair::new("frozen").await;
    pair.both("CREATE TABLE a (id int); CREATE TABLE b (id int)");
    pair.from("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)");
    let frozen = |name| changed(copy(name, &["id"]), |request| request.consistency = Consistency::Frozen);
    let (pg, bench) = (pair.process(), Bench::new());
    bench.run(&pg, &frozen("a")).await.unwrap();
    pair.from("INSERT INTO b VALUES (2); SELECT pg_stat_force_next_flush()");
    let error = bench.run(&pg, &frozen("b")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.message.contains("public.b") && !error.message.contains("public.a"), "{error}");
    assert_eq!(
        pg.check_frozen(&bench.scope, &grant("source", Access::Read)).await.unwrap_err().kind,
        ErrorKind::Conflict
    );
}

#[tokio::test]
async fn frozen_notices_who_was_at_work_before_and_who_was_between_snapshot_and_copy() {
    let pair = Pair::new("frozen_late").await;
    pair.both("CREATE TABLE a (id int); CREATE TABLE b (id int)");
    pair.from("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)");
    let frozen = |name| changed(copy(name, &["id"]), |request| request.consistency = Consistency::Frozen);
    // Its number is given out before the copy begins, and a later one is done by then.
    let mut writer = pair.source.somebody(&pair.name).await.unwrap();
    writer.exec("BEGIN; INSERT INTO b VALUES (2)").await.unwrap();
    pair.from("INSERT INTO a VALUES (2)");
    let (pg, bench) = (pair.process(), Bench::new());
    bench.run(&pg, &frozen("a")).await.unwrap();
    writer.exec("COMMIT").await.unwrap();
    writer.exec("SELECT pg_stat_force_next_flush()").await.unwrap();
    let error = bench.run(&pg, &frozen("b")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(error.message.contains("public.b"), "{error}");

    pair.to("TRUNCATE a, b");
    let (pg, bench) = (pair.process(), Bench::new());
    bench.query(&pg, "source", "SELECT count(*) FROM public.b").await.unwrap();
    pair.from("INSERT INTO b VALUES (3); SELECT pg_stat_force_next_flush()");
    let error = bench.run(&pg, &frozen("b")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(pair.to("SELECT count(*) FROM b"), "0");
}

#[tokio::test]
async fn a_frozen_copy_goes_on_part_by_part_under_another_snapshot() {
    let pair = Pair::new("frozen_parts").await;
    pair.both("CREATE TABLE people (id int, filler text)");
    // 140 MiB: two parts.
    pair.from(
        "ALTER TABLE people ALTER filler SET STORAGE EXTERNAL;
         INSERT INTO people SELECT i, repeat(md5(i::text), 100) FROM generate_series(1, 42000) i",
    );
    let frozen = changed(copy("people", &["id", "filler"]), |r| r.consistency = Consistency::Frozen);
    let (pg, bench) = (pair.process(), Bench::new());
    // The first part that ends is committed, and not journalled.
    let broken = Book { fail_after: Some(0), ..Book::default() };
    bench.books.lock().unwrap().insert(frozen.key.clone(), broken.clone());
    let error = bench.run(&pg, &frozen).await.unwrap_err();
    assert!(error.message.contains("journal"), "{error}");
    let intended = bench.intended(&pg, &frozen).await;
    drop(pg);
    let transactions = "SELECT string_agg(DISTINCT xmin::text, ' ') FROM people";
    let committed = pair.to(transactions);
    assert_ne!(committed, "", "a part is there");

    // Not the snapshot that it was, though nobody wrote here.
    pair.source.psql("postgres", "SELECT pg_current_xact_id()").unwrap();
    let pg = pair.process();
    assert_eq!(pg.open_step(&bench.scope, &[intended]).await.unwrap(), [] as [EffectKey; 0]);
    bench.books.lock().unwrap().insert(frozen.key.clone(), Book { fail_after: None, ..broken });
    let done = bench.perform(&pg, &frozen, true).await.unwrap();
    assert_eq!((result(&done)["rows"].as_u64(), result(&done)["parts"].as_u64()), (Some(42000), Some(2)));
    assert_eq!(pg.observe(&bench.scope, &done).await.unwrap(), *evidence(&done));
    let now = pair.to(transactions);
    let now: Vec<&str> = now.split(' ').collect();
    assert!(committed.split(' ').all(|xid| now.contains(&xid)), "what was there was not copied again");
}

#[tokio::test]
async fn an_orphan_that_commits_late_is_waited_for_or_ended() {
    let pair = Pair::new("orphan").await;
    pair.to("CREATE TABLE t (a int)");
    let bench = Bench::new();
    let effect = execute("insert", &["INSERT INTO public.t SELECT 1 FROM pg_sleep(1.5)"], SqlUndo::Nothing);
    let pg = pair.process();
    bench.run(&pg, &execute("first", &["SELECT 1"], SqlUndo::Nothing)).await.unwrap();
    let intended = bench.intended(&pg, &effect).await;
    // The process «dies» in the middle; the server goes on with the whole request.
    let cut = tokio::time::timeout(std::time::Duration::from_millis(500), bench.run(&pg, &effect)).await;
    assert!(cut.is_err());
    drop(pg);
    // Without opening the step, the marker alone keeps it from being done twice.
    let pg = pair.process();
    let done = bench.perform(&pg, &effect, true).await.unwrap();
    assert_eq!(pair.to("SELECT count(*) FROM t"), "1", "{:?}", done.done);

    let slow = execute("slow", &["INSERT INTO public.t SELECT 2 FROM pg_sleep(30)"], SqlUndo::Nothing);
    let cut = tokio::time::timeout(std::time::Duration::from_millis(500), bench.run(&pg, &slow)).await;
    assert!(cut.is_err());
    drop(pg);
    let pg = pair.process();
    let begun = std::time::Instant::now();
    pg.open_step(&bench.scope, &[intended]).await.unwrap();
    assert!(begun.elapsed().as_secs() < 10, "the orphan was ended");
    assert_eq!(pair.to("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()"), "0");
}

#[tokio::test]
async fn another_run_is_refused() {
    let pair = Pair::new("foreign").await;
    let (pg, bench) = (pair.process(), Bench::new());
    bench.run(&pg, &execute("one", &["SELECT 1"], SqlUndo::Nothing)).await.unwrap();
    let other = Bench { scope: bench.undo(), ..Bench::new() };
    let error =
        other.run(&pair.process(), &execute("one", &["SELECT 1"], SqlUndo::Nothing)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.message.contains(RUN), "{error}");
    assert!(error.hint.unwrap().contains("godwit target release"));
    let sink = grant("sink", Access::Write);
    assert!(pg.target_release(&sink, Some(&RunId::from(RUN))).await.unwrap().is_some());
    assert!(pg.target_status(&sink).await.unwrap().is_empty());
    other.run(&pair.process(), &execute("one", &["SELECT 1"], SqlUndo::Nothing)).await.unwrap();
}

#[tokio::test]
async fn a_lost_leader_is_never_papered_over() {
    let pair = Pair::new("leader").await;
    pair.both("CREATE TABLE a (id int); CREATE TABLE b (id int)");
    pair.from("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)");
    let (pg, bench) = (pair.process(), Bench::new());
    let a = bench.run(&pg, &copy("a", &["id"])).await.unwrap();
    let kill = "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity \
                WHERE application_name LIKE 'godwit/%' AND datname = current_database()";
    assert_eq!(pair.from(kill), "t");
    pair.from("INSERT INTO b VALUES (2)");
    // The engine retries what is unavailable; in the end the step stops and says why.
    let mut errors = Vec::new();
    for _ in 0..3 {
        match bench.perform(&pg, &copy("b", &["id"]), true).await {
            Ok(done) => panic!("copied under another snapshot: {:?}", done.done),
            Err(error) => errors.push(error),
        }
    }
    let last = errors.pop().unwrap();
    assert_eq!(last.kind, ErrorKind::Failed, "{last}");
    assert!(last.message.contains("snapshot") && last.hint.unwrap().contains("godwit resume"));
    assert!(errors.iter().take(1).all(|error| error.kind == ErrorKind::Unavailable), "{errors:?}");
    // So does a guest's query.
    assert!(bench.query(&pg, "source", "SELECT 1").await.is_err());
    pg.close_step(&bench.scope).await.unwrap();
    drop(pg);
    let pg = pair.process();
    assert_eq!(pg.open_step(&bench.scope, &[a]).await.unwrap(), ["copy/a".into()] as [EffectKey; 1]);
    for name in ["a", "b"] {
        bench.perform(&pg, &copy(name, &["id"]), true).await.unwrap();
    }
    assert_eq!(pair.to("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"), "1|2");
}

#[tokio::test]
async fn sequences_alone_rely_on_no_snapshot() {
    let pair = Pair::new("sequences").await;
    pair.both("CREATE SEQUENCE s");
    pair.from("SELECT setval('s', 5)");
    let bench = Bench::new();
    let pg = pair.process();
    let done = bench.run(&pg, &sequences(&["s"])).await.unwrap();
    drop(pg);
    pair.from("SELECT setval('s', 6)");
    let pg = pair.process();
    assert_eq!(pg.open_step(&bench.scope, &[done]).await.unwrap(), [] as [EffectKey; 0]);
    assert_eq!(bench.query(&pg, "source", "SELECT 1 AS one").await.unwrap(), [r#"{"one":1}"#]);
    assert_eq!(pair.to("SELECT last_value FROM s"), "5");
}
