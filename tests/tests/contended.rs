//! Two at one target, through the binary: a run and the sessions that its killed process left behind, and two runs.
//!
//! Transactions are held at their very end: the target waits for a standby that doesn't exist, and only transactions of
//! chosen effects heed that. Such a transaction is committed on disk, can't be seen yet, and can't be rolled back any more.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use godwit_lab::postgres::{Major, PgServer};
use godwit_lab::sample;
use godwit_tests::database;
use godwit_tests::process::{Godwit, Ran};

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

/// Makes the transactions of the effects whose keys are like `$KEY` wait for the standby, by a trigger on the markers,
/// which don't exist yet.
const HOLD: &str = "
CREATE SCHEMA lab;
CREATE FUNCTION lab.hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.key LIKE '$KEY' THEN PERFORM set_config('synchronous_commit', 'on', true); END IF;
  RETURN NEW;
END $$;
CREATE FUNCTION lab.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'godwit_marker.effect') THEN
    CREATE TRIGGER hold BEFORE INSERT ON godwit_marker.effect FOR EACH ROW EXECUTE FUNCTION lab.hold();
  END IF;
END $$;
CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION lab.watch();
ALTER EVENT TRIGGER watch ENABLE ALWAYS;";

/// A quiet source with the labelling application, and a target with one empty database, `app`.
struct Pair {
    runtime: tokio::runtime::Runtime,
    source: PgServer,
    target: PgServer,
}

/// A session of the target that waits.
struct Waiting {
    pid: String,
    xid: String,
}

impl Waiting {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid]).status().unwrap();
        assert!(sent.success(), "kill -s {name} {}", self.pid);
    }
}

impl Pair {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (source, target) = runtime.block_on(async {
            // An autovacuum would count as a write, and begin what was copied again.
            let source = PgServer::builder(Major::V16).setting("autovacuum", "off");
            let target = PgServer::builder(Major::V18)
                .setting("synchronous_standby_names", "nobody")
                .setting("synchronous_commit", "local");
            let (source, target) = tokio::join!(source.start(), target.start());
            let (source, target) = (source.unwrap(), target.unwrap());
            source.create_database("labeler").await.unwrap();
            sample::fill_database(&source.url("labeler")).await.unwrap();
            target.create_database("app").await.unwrap();
            (source, target)
        });
        Self { runtime, source, target }
    }

    fn godwit(&self) -> Godwit {
        Godwit::new(PROGRAM)
            .env("GODWIT_INPUT_SOURCE_URL", &self.source.url("labeler"))
            .env("GODWIT_INPUT_TARGET_URL", &self.target.url("app"))
            .env("GODWIT_TARGET_URL", &self.target.url("app"))
    }

    fn psql(&self, sql: &str) -> String {
        self.target.psql("app", sql).unwrap()
    }

    /// Polls until a session of Godwit's in the target fits; `child` must not end meanwhile.
    fn wait_for(&self, condition: &str, child: &mut Child) -> Waiting {
        let sql = format!(
            "SELECT pid || ' ' || coalesce(backend_xid::text, '-') FROM pg_stat_activity
             WHERE datname = 'app' AND starts_with(application_name, 'godwit/') AND {condition} LIMIT 1"
        );
        let began = Instant::now();
        loop {
            if let Some((pid, xid)) = self.psql(&sql).split_once(' ') {
                return Waiting { pid: pid.to_owned(), xid: xid.to_owned() };
            }
            assert!(child.try_wait().unwrap().is_none(), "godwit ended before a session fitted: {condition}");
            assert!(began.elapsed() < Duration::from_secs(60), "no session of godwit's fits: {condition}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// From now on nobody waits for the standby, and who does goes on unless it is stopped.
    fn let_go(&self) {
        self.target.psql("postgres", "ALTER SYSTEM SET synchronous_standby_names = ''").unwrap();
        self.target.psql("postgres", "SELECT pg_reload_conf()").unwrap();
    }

    /// The target is as an undisturbed run leaves it.
    fn assert_copied(&self, context: &str) {
        self.psql("DROP EVENT TRIGGER IF EXISTS watch; DROP SCHEMA IF EXISTS lab CASCADE");
        let source = (&self.source, "labeler");
        let expected = self.runtime.block_on(database::oracle(source, &self.target, "oracle"));
        assert_eq!(expected, database::dump(&self.target, "app"), "{context}");
        assert_eq!(
            database::contents(&self.source, "labeler"),
            database::contents(&self.target, "app"),
            "{context}"
        );
        assert_eq!(database::markers(&self.target, "app"), "", "{context}");
    }
}

fn ended(child: Child) -> Ran {
    Ran::from(child.wait_with_output().unwrap())
}

/// When the orphan goes on, and commits.
#[derive(Clone, Copy, Debug)]
enum Late {
    /// While the resumed run looks for sessions that were left behind.
    OnceLookedFor,
    /// After the resumed run has given up waiting for them, and met the marker.
    OnceMet,
}

/// `made_by` is the transaction of something that the effect makes.
fn orphan(key: &str, late: Late, made_by: &str) {
    let context = format!("{key} {late:?}");
    let pair = Pair::start();
    pair.psql(&HOLD.replace("$KEY", key));
    let godwit = pair.godwit();
    let mut first = godwit.spawn(&["run", "copy-postgres", "--yes"]);
    let orphan = pair.wait_for("wait_event = 'SyncRep'", &mut first);
    orphan.signal("STOP");
    first.kill().unwrap();
    ended(first);
    pair.let_go();
    let (run, status) = godwit.newest_run().unwrap();
    assert_eq!(status, "running", "{context}");

    let mut second = godwit.spawn(&["resume", &run, "--yes"]);
    let others = format!("pid <> {}", orphan.pid);
    pair.wait_for(
        &match late {
            Late::OnceLookedFor => others,
            Late::OnceMet => {
                format!("{others} AND wait_event_type = 'Lock' AND wait_event = 'transactionid'")
            }
        },
        &mut second,
    );
    orphan.signal("CONT");
    let resumed = ended(second);
    assert_eq!(resumed.code, Some(0), "{context}: {resumed}");
    // The orphan's work stands, and nobody did it again.
    assert_eq!(pair.psql(made_by), orphan.xid, "{context}: {resumed}");
    pair.assert_copied(&context);
}

const ROWS: &str = "SELECT DISTINCT xmin FROM image_metadata";
const TYPE: &str = "SELECT xmin FROM pg_type WHERE typname = 'task_type'";

#[test]
fn an_orphan_commits_rows_while_it_is_looked_for() {
    orphan("copy/public.image_metadata", Late::OnceLookedFor, ROWS);
}

#[test]
fn an_orphan_commits_rows_that_are_to_be_copied_again() {
    orphan("copy/public.image_metadata", Late::OnceMet, ROWS);
}

#[test]
fn an_orphan_commits_the_schema_that_is_to_be_made_again() {
    orphan("before/%", Late::OnceMet, TYPE);
}

/// Refused by name, host and time of the run that claims the target.
fn assert_refused(pair: &Pair, ran: &Ran, by: &str) {
    assert_eq!(ran.code, Some(1), "{ran}");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let since = pair.psql(&format!("SELECT started_at FROM godwit_marker.run WHERE id = '{by}'"));
    assert!(!since.is_empty(), "{by} has no claim");
    // The time is the target's, in UTC, to the second at least.
    let since = since.split(['.', '+']).next().unwrap();
    for named in [by, host.trim(), since, "godwit target release"] {
        assert!(ran.stderr.contains(named), "{named} isn't named: {ran}");
    }
}

#[test]
fn a_run_is_refused_while_another_is_at_work() {
    let pair = Pair::start();
    pair.psql(&HOLD.replace("$KEY", "before/%"));
    let (first, second) = (pair.godwit(), pair.godwit());
    let mut at_work = first.spawn(&["run", "copy-postgres", "--yes"]);
    pair.wait_for("wait_event = 'SyncRep'", &mut at_work);
    let (run, _) = first.newest_run().unwrap();
    let refused = second.run(&["run", "copy-postgres", "--yes"]);
    assert_refused(&pair, &refused, &run);

    pair.let_go();
    let done = ended(at_work);
    assert_eq!(done.code, Some(0), "{done}");
    pair.assert_copied("the first run");
    // The first one is done, so the target is free to be claimed, but not to be filled.
    let (other, _) = second.newest_run().unwrap();
    let refused = second.run(&["resume", &other, "--yes"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("already exists"), "{refused}");
    second.ok(&["undo", &other, "--yes"]);
    assert_eq!(database::contents(&pair.source, "labeler"), database::contents(&pair.target, "app"));
    first.ok(&["undo", &run, "--yes"]);
    assert_eq!(database::objects(&pair.target, "app"), Vec::<String>::new());
    second.ok(&["run", "copy-postgres", "--yes"]);
    assert_eq!(database::contents(&pair.source, "labeler"), database::contents(&pair.target, "app"));
}

#[test]
fn a_run_goes_on_once_the_claim_of_a_killed_one_is_released() {
    let pair = Pair::start();
    // The first run is held in the middle of its first effect, killed there, and its transaction is rolled back: of all
    // its work, only its claim is left.
    pair.psql(
        "CREATE SCHEMA lab;
         CREATE FUNCTION lab.wait() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); END $$;
         CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE TYPE') EXECUTE FUNCTION lab.wait()",
    );
    let (first, second) = (pair.godwit(), pair.godwit());
    let mut killed = first.spawn(&["run", "copy-postgres", "--yes"]);
    let orphan = pair.wait_for("wait_event = 'PgSleep'", &mut killed);
    killed.kill().unwrap();
    ended(killed);
    let (run, _) = first.newest_run().unwrap();
    let refused = second.run(&["run", "copy-postgres", "--yes"]);
    assert_refused(&pair, &refused, &run);
    pair.psql(&format!("SELECT pg_terminate_backend({}, 10000)", orphan.pid));
    pair.psql("DROP EVENT TRIGGER watch");
    let (other, status) = second.newest_run().unwrap();
    assert_eq!(status, "failed");
    assert_refused(&pair, &second.run(&["resume", &other, "--yes"]), &run);

    let status = first.json(&["target", "status", "--json"]);
    assert!(status.to_string().contains(&run), "{status}");
    second.ok(&["target", "release", "--run", &run, "-y"]);
    second.ok(&["resume", &other, "--yes"]);
    pair.assert_copied("the second run");

    // The first one can't do its part any more, and taking it back takes nothing of the second's.
    let late = first.run(&["resume", &run, "--yes"]);
    assert_eq!(late.code, Some(1), "{late}");
    assert!(late.stderr.contains("already exists"), "{late}");
    first.ok(&["undo", &run, "--yes"]);
    assert_eq!(database::contents(&pair.source, "labeler"), database::contents(&pair.target, "app"));
    assert_eq!(database::markers(&pair.target, "app"), "");
}
