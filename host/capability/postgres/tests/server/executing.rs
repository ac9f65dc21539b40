//! SQL effects and databases.

use godwit_model::ErrorKind;
use godwit_model::capability::Capability as _;
use godwit_model::effect::*;

use crate::support::*;

#[tokio::test]
async fn statements_are_one_transaction_with_their_marker() {
    let pair = Pair::new("atomic").await;
    let (pg, bench) = (pair.process(), Bench::new());
    let effect = execute(
        "schema",
        &[
            "CREATE TABLE t (a int) -- first",
            "CREATE INDEX ON public.t (a);",
            "SET LOCAL check_function_bodies = off",
            "INSERT INTO public.t VALUES (1)",
        ],
        undo_by(&["DROP TABLE public.t"]),
    );
    // search_path is empty: an unqualified name has no place to go.
    let error = bench.run(&pg, &effect).await.unwrap_err();
    assert!(
        error.message.starts_with("statement 1 of 4") && error.message.contains("CREATE TABLE t"),
        "{error}"
    );
    let effect = execute(
        "schema",
        &[
            "CREATE TABLE public.t (a int) -- first",
            "CREATE INDEX ON public.t (a);",
            "SET LOCAL check_function_bodies = off",
            "INSERT INTO public.t VALUES (1)",
        ],
        undo_by(&["DROP TABLE public.t"]),
    );
    let done = bench.run(&pg, &effect).await.unwrap();
    assert_eq!(done.preparation.class, Class::Creates);
    assert_eq!(done.preparation.irreversible, None);
    // Again, as after a crash: the marker is there.
    let again = bench.perform(&pg, &effect, true).await.unwrap();
    assert!(again.done.unwrap().notes[0].contains("done already"));
    assert_eq!(pair.to("SELECT count(*) FROM t"), "1");

    // A failure in the middle names the statement and leaves nothing.
    let error = bench
        .run(
            &pg,
            &execute(
                "bad",
                &["CREATE TABLE public.u (a int)", "INSERT INTO public.nope VALUES (1)", "SELECT 1"],
                SqlUndo::Nothing,
            ),
        )
        .await
        .unwrap_err();
    assert!(error.message.starts_with("statement 2 of 3: ") && error.message.contains("nope"), "{error}");
    let error = bench
        .run(
            &pg,
            &execute("bad", &["CREATE TABLE public.u (a int)", "CREATE TABEL public.v ()"], SqlUndo::Nothing),
        )
        .await
        .unwrap_err();
    assert!(error.message.starts_with("statement 2 of 2: ") && error.message.contains("TABEL"), "{error}");
    assert_eq!(pair.to("SELECT count(*) FROM pg_class WHERE relname = 'u'"), "0");
    assert_eq!(pair.to("SELECT count(*) FROM godwit_marker.effect"), "1");
    for escape in ["COMMIT", "SELECT 1; COMMIT; DROP TABLE public.t"] {
        assert!(bench.run(&pg, &execute("escape", &[escape], SqlUndo::Nothing)).await.is_err(), "{escape}");
    }
    let what = bench.intended(&pg, &execute("do", &["DO $$BEGIN END$$"], SqlUndo::Irreversible)).await;
    assert!(what.preparation.is_gated());
}

#[tokio::test]
async fn standalone_statements_settle_by_their_probe() {
    let pair = Pair::new("standalone").await;
    pair.to("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)");
    let (pg, bench) = (pair.process(), Bench::new());
    let probe = "SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM pg_class WHERE relname = 'i') THEN 'absent' \
                 WHEN (SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.i'::regclass) THEN 'done' ELSE 'broken' END";
    let build = |unique: &str, probe: Option<&str>| Effect {
        key: "index".into(),
        after: Vec::new(),
        action: Action::ExecuteSql(ExecuteSql {
            slot: "sink".into(),
            statements: vec![format!("CREATE {unique} INDEX CONCURRENTLY i ON public.t (a)")],
            execution: Execution::Standalone {
                probe: probe.map(Into::into),
                repair: vec!["DROP INDEX public.i".into()],
            },
            undo: undo_by(&["DROP INDEX public.i"]),
            data_dependent: false,
        }),
    };
    // Fails and leaves an invalid index behind.
    let error = bench.run(&pg, &build("UNIQUE", Some(probe))).await.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("23505"));
    assert_eq!(pair.to("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"), "f");
    let done = bench.perform(&pg, &build("", Some(probe)), true).await.unwrap();
    assert!(done.done.unwrap().notes[0].contains("repaired"));
    let done = bench.perform(&pg, &build("", Some(probe)), true).await.unwrap();
    assert!(done.done.unwrap().notes[0].contains("done already"));
    let error = bench.perform(&pg, &build("", None), true).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.hint.is_some());
    let intended = bench.intended(&pg, &build("", None)).await;
    assert!(intended.preparation.irreversible.is_some());
}

#[tokio::test]
async fn a_database_is_made_and_dropped() {
    let pair = Pair::new("made_from").await;
    let pg = pair.process();
    let mut bench = Bench::new();
    let mut grants = bench.scope.grants.to_vec();
    grants[1].database = Some("made \"x\"".into());
    bench.scope.grants = std::sync::Arc::new(grants);
    let effect = Effect {
        key: "database".into(),
        after: Vec::new(),
        action: Action::CreateDatabase(CreateDatabase {
            slot: "sink".into(),
            owner: None,
            encoding: Some("UTF8".into()),
            locale: Some("C".into()),
            locale_provider: None,
            template: None,
            connection_limit: Some(9),
        }),
    };
    let performed = bench.run(&pg, &effect).await.unwrap();
    assert_eq!(result(&performed)["created"], true);
    let limit = "SELECT datconnlimit FROM pg_database WHERE datname = 'made \"x\"'";
    assert_eq!(pair.sink.psql("postgres", limit).unwrap(), "9");
    let again = pg
        .perform(&bench.scope, &effect, &performed.preparation, &bench.book(&effect.key), true)
        .await
        .unwrap();
    assert_eq!(again.result["created"], true, "an earlier attempt was this run's");
    let fill = bench
        .run(&pg, &execute("t", &["CREATE TABLE public.t ()"], undo_by(&["DROP TABLE public.t"])))
        .await
        .unwrap();

    let scope = bench.undo();
    let actions = pg.plan_undo(&scope, &[performed.clone(), fill]).await.unwrap();
    assert_eq!(actions.len(), 2);
    let foreseen = actions[1].details.join("; ");
    assert!(foreseen.contains("holds 1 relation now: public.t"), "{foreseen}");
    let error = pg.undo(&scope, &actions[1], false, false).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.message.contains("public.t"), "{error}");
    pg.undo(&scope, &actions[0], false, false).await.unwrap();
    pg.close_step(&bench.scope).await.unwrap();
    pg.undo(&scope, &actions[1], false, false).await.unwrap();
    assert_eq!(
        pair.sink.psql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'made \"x\"'").unwrap(),
        "0"
    );
    pg.undo(&scope, &actions[1], false, true).await.unwrap();
    assert_eq!(pg.cleanup(&scope.run, bench.scope.grant(&"sink".into()).unwrap()).await.unwrap(), None);
    // One that was there is left alone.
    let existing = bench.intended(&pg, &effect).await;
    assert_eq!(existing.preparation.before["existed"], false);
}

#[tokio::test]
async fn secrets_enter_statements_where_granted_and_nowhere_else() {
    use godwit_model::secret::{Secret, Secrets};
    let pair = Pair::new("secrets").await;
    let pg = pair.process();
    let mut bench = Bench::new();
    let mut secrets = Secrets::default();
    let token = secrets.insert(&bench.scope.run, "word", Secret::new("fake-secret-word"));
    bench.scope.secrets = std::sync::Arc::new(secrets);
    let effect =
        execute("role", &[&format!("CREATE TABLE public.t AS SELECT '{token}' AS w")], SqlUndo::Nothing);
    let error = bench.run(&pg, &effect).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    let mut grants = bench.scope.grants.to_vec();
    grants[1].secrets = vec!["word".into()];
    bench.scope.grants = std::sync::Arc::new(grants);
    let done = bench.run(&pg, &effect).await.unwrap();
    assert_eq!(pair.to("SELECT w FROM t"), "fake-secret-word");
    assert!(!format!("{done:?}").contains("fake-secret"));
    let failing = execute("bad", &[&format!("SELECT '{token}'::int")], SqlUndo::Nothing);
    let error = bench.run(&pg, &failing).await.unwrap_err();
    assert!(!format!("{error:?}").contains("fake-secret"), "{error}");
}
