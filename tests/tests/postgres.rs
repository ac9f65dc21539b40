//! `postgres-copy` and `postgres-verify` end to end on real servers: plan, run, SIGKILL, resume, verify, undo.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::sample;
use godwit_tests::database;
use godwit_tests::process::Godwit;

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

/// A source with the labelling application, an empty target of another major, and a `godwit` that knows both.
struct Pair {
    runtime: tokio::runtime::Runtime,
    source: PgServer,
    target: PgServer,
    oracle: OnceLock<String>,
    contents: OnceLock<Vec<String>>,
}

impl Pair {
    fn start(source: Major, target: Major) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (source, target) = runtime.block_on(async {
            let (source, target) = tokio::join!(PgServer::start(source), PgServer::start(target));
            let (source, target) = (source.unwrap(), target.unwrap());
            source.create_database("labeler").await.unwrap();
            sample::fill_database(&source.url("labeler")).await.unwrap();
            (source, target)
        });
        Self { runtime, source, target, oracle: OnceLock::new(), contents: OnceLock::new() }
    }

    /// A fresh database on the target.
    fn fresh(&self, name: &str) -> Godwit {
        self.runtime.block_on(self.target.create_database(name)).unwrap();
        Godwit::new(PROGRAM)
            .env("GODWIT_INPUT_SOURCE_URL", &self.source.url("labeler"))
            .env("GODWIT_INPUT_TARGET_URL", &self.target.url(name))
    }

    /// What the stock tools make of the source on the target's server.
    fn oracle(&self) -> &str {
        self.oracle.get_or_init(|| {
            let source = (&self.source, "labeler");
            self.runtime.block_on(database::oracle(source, &self.target, "oracle"))
        })
    }

    fn assert_equal(&self, name: &str, context: &str) {
        assert_eq!(self.oracle(), database::dump(&self.target, name), "schemas differ: {context}");
        let source = self.contents.get_or_init(|| database::contents(&self.source, "labeler"));
        assert_eq!(source, &database::contents(&self.target, name), "{context}");
        for (table, rows) in sample::ROW_COUNTS {
            let line = format!("public.{table}|{rows} rows|");
            assert!(source.iter().any(|held| held.starts_with(&line)), "{line} is not in {source:#?}");
        }
        assert_eq!(database::markers(&self.target, name), "", "a marker is left: {context}");
    }

    /// Nothing of the application or of Godwit is in the database.
    fn assert_empty(&self, name: &str, context: &str) {
        assert_eq!(database::objects(&self.target, name), Vec::<String>::new(), "{context}");
    }
}

#[test]
fn plan_performs_nothing() {
    let pair = Pair::start(Major::V16, Major::V18);
    let godwit = pair.fresh("app");
    let before = (pair.source.log().len(), pair.target.log().len());
    let plan = godwit.ok(&["plan", "copy-postgres"]);
    assert!(plan.stdout.contains("image_metadata"), "{plan}");
    assert!(!plan.stdout.contains("postgres-demo") && !plan.stderr.contains("postgres-demo"), "{plan}");
    assert!(!godwit.path(".godwit").exists(), "a plan creates nothing");
    pair.assert_empty("app", "after a plan");
    for (server, before) in [(&pair.source, before.0), (&pair.target, before.1)] {
        let log = server.log();
        let writes: Vec<&str> = log[before..]
            .lines()
            .filter(|line| line.contains("godwit/"))
            .filter(|line| {
                let upper = line.to_uppercase();
                ["INSERT ", "UPDATE ", "DELETE ", "TRUNCATE ", "DROP ", "ALTER TABLE", " FROM STDIN"]
                    .iter()
                    .any(|word| {
                        upper.contains(&format!("STATEMENT: {word}")) || upper.contains(&format!(": {word}"))
                    })
            })
            .collect();
        assert!(writes.is_empty(), "{writes:#?}");
    }
}

#[test]
fn copies_verifies_and_undoes_across_majors() {
    for (from, to) in [(Major::V16, Major::V18), (Major::V15, Major::V16), (Major::V18, Major::V16)] {
        let pair = Pair::start(from, to);
        let context = format!("{from} to {to}");
        let godwit = pair.fresh("app");
        godwit.ok(&["run", "copy-postgres", "--yes"]);
        pair.assert_equal("app", &context);
        let (run, status) = godwit.newest_run().unwrap();
        assert_eq!(status, "done", "{context}");
        godwit.ok(&["verify", &run]);
        let report = godwit.json(&["report", &run, "--json"]);
        let rows: u64 = report["steps"][0]["effects"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|effect| effect["evidence"]["items"].as_u64())
            .sum();
        let expected: i64 = sample::ROW_COUNTS.iter().map(|(_, rows)| rows).sum();
        assert_eq!(rows, expected as u64, "{context}");
        godwit.ok(&["undo", &run, "--yes"]);
        pair.assert_empty("app", &context);
    }
}

#[test]
fn verify_finds_a_changed_row_and_undo_refuses_it() {
    let pair = Pair::start(Major::V16, Major::V18);
    let godwit = pair.fresh("app");
    godwit.ok(&["run", "copy-postgres", "--yes"]);
    let (run, _) = godwit.newest_run().unwrap();
    pair.target.psql("app", "UPDATE image_locks SET image_id = image_id").unwrap();
    let refused = godwit.run(&["undo", &run, "--yes"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("image_locks"), "{refused}");
    pair.target.psql("app", "DELETE FROM image_locks").unwrap();
    let verified = godwit.run(&["verify", &run]);
    assert_eq!(verified.code, Some(3), "{verified}");
    assert!(verified.stdout.contains("image_locks"), "{verified}");
    godwit.ok(&["undo", &run, "--yes", "--discard-later-changes", "all"]);
    pair.assert_empty("app", "undone");
}

#[test]
fn a_target_that_is_not_empty_is_refused_before_anything_is_touched() {
    let pair = Pair::start(Major::V16, Major::V18);
    let godwit = pair.fresh("app");
    pair.target.psql("app", "CREATE TABLE datasets (id int); INSERT INTO datasets VALUES (1)").unwrap();
    let ran = godwit.run(&["run", "copy-postgres", "--yes"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("datasets"), "{ran}");
    assert_eq!(pair.target.psql("app", "SELECT count(*) FROM datasets").unwrap(), "1");
    let tables =
        pair.target.psql("app", "SELECT count(*) FROM pg_class WHERE relname LIKE 'image%'").unwrap();
    assert_eq!(tables, "0");
}

#[test]
fn killed_at_journal_writes_then_resumed() {
    let pair = Pair::start(Major::V16, Major::V18);
    let writes = pair.fresh("count").count_writes(&["run", "copy-postgres", "--yes"]);
    assert!(writes > 20, "only {writes} journal writes");
    // Every write, by turns just before and just after it became durable.
    for number in 1..=writes {
        let side = if number % 2 == 0 { "before" } else { "after" };
        let moment = format!("{side}:{number}");
        let name = format!("kill_{number}");
        let godwit = pair.fresh(&name);
        let killed = godwit.killed_at(&moment, &["run", "copy-postgres", "--yes"]);
        godwit.resume_newest(&moment);
        if killed.code.is_none() && godwit.newest_run().is_none() {
            pair.assert_empty(&name, &moment);
        } else {
            pair.assert_equal(&name, &moment);
        }
        pair.target.psql("postgres", &format!("DROP DATABASE {name}")).unwrap();
    }
}

#[test]
fn killed_at_random_moments_then_resumed_then_undone() {
    let pair = Pair::start(Major::V16, Major::V18);
    let began = Instant::now();
    pair.fresh("count").ok(&["run", "copy-postgres", "--yes"]);
    let whole = began.elapsed();
    for number in 0..32u32 {
        let moment = whole * (number + 1) / 33;
        let context = format!("killed after {moment:?} of {whole:?}");
        let name = format!("random_{number}");
        let godwit = pair.fresh(&name);
        godwit.killed_after(moment, &["run", "copy-postgres", "--yes"]);
        godwit.resume_newest(&context);
        let Some((run, _)) = godwit.newest_run() else {
            pair.assert_empty(&name, &context);
            continue;
        };
        pair.assert_equal(&name, &context);
        // Undo is cut off too, and goes on.
        godwit.undo_cut_off(&run, Duration::from_millis(10 * u64::from(number)));
        pair.assert_empty(&name, &context);
    }
}
