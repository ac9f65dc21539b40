//! Taking back.

use godwit_model::ErrorKind;
use godwit_model::capability::Capability as _;
use godwit_model::effect::*;
use godwit_model::plugin::Access;

use crate::support::*;

#[tokio::test]
async fn undo_takes_back_what_the_step_did() {
    let pair = Pair::new("undo").await;
    pair.from(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int REFERENCES a); CREATE SEQUENCE s;
               INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1); SELECT setval('s', 7)",
    );
    pair.to("CREATE SEQUENCE s; SELECT setval('s', 3)");
    let before =
        pair.to("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1");
    let (pg, bench) = (pair.process(), Bench::new());
    let effects = [
        execute(
            "tables",
            &["CREATE TABLE public.a (id int)", "CREATE TABLE public.b (id int)"],
            undo_by(&["DROP TABLE public.b", "DROP TABLE public.a"]),
        ),
        copy("a", &["id"]),
        copy("b", &["id"]),
        execute(
            "keys",
            &[
                "ALTER TABLE public.a ADD PRIMARY KEY (id)",
                "ALTER TABLE public.b ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES public.a",
            ],
            undo_by(&[
                "ALTER TABLE public.b DROP CONSTRAINT f",
                "ALTER TABLE public.a DROP CONSTRAINT a_pkey",
            ]),
        ),
        sequences(&["s"]),
        execute("analyze", &["ANALYZE public.a"], SqlUndo::Nothing),
    ];
    let mut performed = Vec::new();
    for effect in &effects {
        performed.push(bench.run(&pg, effect).await.unwrap());
    }
    let scope = bench.undo();
    let actions = pg.plan_undo(&scope, &performed).await.unwrap();
    let titles: Vec<&str> = actions.iter().map(|a| a.title.as_str()).collect();
    assert_eq!(actions.len(), 4, "{titles:?}");
    assert!(titles[0].contains("sequence") && titles[1].contains("DROP CONSTRAINT"), "{titles:?}");
    assert_eq!(titles[2], "empty 2 tables of 3 copied rows");
    assert!(titles[3].contains("DROP TABLE"), "{titles:?}");
    assert!(actions.iter().all(|a| a.changed.is_none() && a.irreversible.is_none()), "{actions:?}");

    // Somebody writes to the target: undo refuses, and says what.
    pair.to("INSERT INTO a VALUES (3)");
    let seen = pg.plan_undo(&scope, &performed).await.unwrap();
    assert!(seen[2].changed.as_deref().unwrap().contains("public.a: 1 rows came from later"), "{seen:?}");
    let error = pg.undo(&scope, &actions[2], false, false).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(pair.to("SELECT count(*) FROM a"), "3");
    pair.to("DELETE FROM a WHERE id = 3");
    for action in &actions {
        pg.undo(&scope, action, false, false).await.unwrap();
        // As after a crash.
        pg.undo(&scope, action, false, true).await.unwrap();
    }
    assert_eq!(
        pair.to("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"),
        before
    );
    assert_eq!(pair.to("SELECT last_value FROM s"), "3");
    // The undo's cleanup also takes the markers of the run that it undid.
    pg.close_step(&scope).await.unwrap();
    pg.cleanup(&scope.run, &grant("sink", Access::Write)).await.unwrap();
    assert_eq!(pair.to("SELECT count(*) FROM pg_namespace WHERE nspname = 'godwit_marker'"), "0");
}

#[tokio::test]
async fn undo_of_doubtful_effects_asks_the_markers() {
    let pair = Pair::new("doubt").await;
    pair.both("CREATE TABLE a (id int)");
    pair.from("INSERT INTO a VALUES (1), (2)");
    pair.to("INSERT INTO a VALUES (100); CREATE TABLE c (id int)");
    let (pg, bench) = (pair.process(), Bench::new());
    let effect = copy("a", &["id"]);
    bench.run(&pg, &effect).await.unwrap();
    // Outcomes lost: done according to the target, and never begun.
    let known = [
        bench.intended(&pg, &effect).await,
        bench
            .intended(
                &pg,
                &execute("never", &["DROP TABLE public.c"], undo_by(&["CREATE TABLE public.c ()"])),
            )
            .await,
    ];
    let scope = bench.undo();
    let actions = pg.plan_undo(&scope, &known).await.unwrap();
    assert_eq!(actions.len(), 1, "{actions:?}");
    pg.undo(&scope, &actions[0], false, false).await.unwrap();
    // The row that was there before stays.
    assert_eq!(pair.to("SELECT id FROM a"), "100");
}

#[tokio::test]
async fn what_was_emptied_with_a_lost_snapshot_has_not_changed_since() {
    let (pair, bench, known) = copied_under_a_lost_snapshot("doubt_lost").await;
    let pg = pair.process();
    pg.open_step(&bench.scope, &known).await.unwrap();
    // One copy was begun again, and the journal hasn't heard of it.
    bench.perform(&pg, &copy("b", &["id"]), true).await.unwrap();
    let scope = bench.undo();
    let actions = pg.plan_undo(&scope, &known).await.unwrap();
    assert_eq!(actions.len(), 1, "{actions:?}");
    assert_eq!((actions[0].changed.as_deref(), actions[0].details.len()), (None, 1), "{actions:?}");
    pg.undo(&scope, &actions[0], false, false).await.unwrap();
    assert_eq!(pair.to("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"), "0|0");
    // What somebody else did then is still seen.
    bench.perform(&pg, &copy("a", &["id"]), true).await.unwrap();
    pair.to("UPDATE a SET id = 7 WHERE id = 1");
    let actions = pg.plan_undo(&bench.undo(), &known).await.unwrap();
    assert!(actions[0].changed.as_deref().is_some_and(|why| why.contains("public.a")), "{actions:?}");
}

#[tokio::test]
async fn tables_that_others_point_at_are_emptied_row_by_row() {
    let pair = Pair::new("pointed").await;
    pair.both("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY REFERENCES a)");
    pair.to("CREATE TABLE outside (b int REFERENCES b)");
    pair.from("INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1), (2)");
    let (pg, bench) = (pair.process(), Bench::new());
    let mut performed = Vec::new();
    for name in ["a", "b"] {
        performed.push(bench.run(&pg, &copy(name, &["id"])).await.unwrap());
    }
    let scope = bench.undo();
    let actions = pg.plan_undo(&scope, &performed).await.unwrap();
    pg.undo(&scope, &actions[0], false, false).await.unwrap();
    assert_eq!(pair.to("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"), "0|0");
}
