//! The journal's folder and file: private, refused when they are not ours, whole when the disk is not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use godwit_journal::conformance::{a_run, an_intent, done};
use godwit_journal::{Settings, SqliteJournal};
use godwit_model::journal::Journal as _;
use godwit_model::{EffectKey, Error, Fault, Json, RunId, StepId};
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tokio::task::JoinSet;

async fn raw(dir: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(dir.join("journal.sqlite"));
    options.connect().await.expect("sqlite opens it")
}

async fn execute(dir: &Path, sql: &str) {
    let mut connection = raw(dir).await;
    connection.execute(AssertSqlSafe(sql.to_owned())).await.expect("sqlite does it");
    connection.close().await.expect("closes");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

#[track_caller]
fn assert_names(error: &Error, dir: &Path, words: &[&str]) {
    assert_eq!(error.fault, Fault::Host, "{error}");
    let file = dir.join("journal.sqlite").display().to_string();
    for word in words.iter().copied().chain([file.as_str()]) {
        assert!(error.message.contains(word), "`{error}` doesn't say `{word}`");
    }
    assert!(error.hint.is_some(), "`{error}` doesn't say what to do next");
}

async fn refusal(dir: &Path) -> Error {
    SqliteJournal::open(dir).await.expect_err("it must be refused")
}

#[tokio::test]
async fn everything_is_private_and_ignored() {
    let parent = tempfile::tempdir().expect("a folder");
    let dir = parent.path().join("project/.godwit");
    let journal = SqliteJournal::open(&dir).await.expect("opens");
    journal.insert_run(&a_run("r")).await.expect("insert");
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(fs::read(dir.join(".gitignore")).expect("read"), b"*\n");
    for name in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", ".gitignore"] {
        assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
    }
    journal.close().await;
    assert!(!dir.join("journal.sqlite-wal").exists(), "closing folds the log");
    let error = journal.insert_run(&a_run("s")).await.expect_err("it is closed");
    assert!(error.message.contains("closed"), "{error}");

    let journal = SqliteJournal::open(&dir).await.expect("opens again");
    assert!(journal.run(&RunId::from("r")).await.expect("read").is_some());
    journal.close().await;
}

#[tokio::test]
async fn a_folder_of_other_things_keeps_its_mode() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("else"), b"").expect("write");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    SqliteJournal::open(dir.path()).await.expect("opens").close().await;
    assert_eq!(mode(dir.path()), 0o755);
    assert_eq!(mode(&dir.path().join("journal.sqlite")), 0o600);
}

#[tokio::test]
async fn a_repository_is_no_state_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join(".git")).expect("mkdir");
    let error = refusal(dir.path()).await;
    assert!(error.message.contains("git repository"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 1);
}

#[tokio::test]
async fn opening_what_exists_creates_nothing() {
    let parent = tempfile::tempdir().expect("a folder");
    let dir = parent.path().join(".godwit");
    assert!(SqliteJournal::open_existing(&dir).await.expect("no fault").is_none());
    assert!(!dir.exists());
    fs::create_dir(&dir).expect("mkdir");
    assert!(SqliteJournal::open_existing(&dir).await.expect("no fault").is_none());
    assert_eq!(fs::read_dir(&dir).expect("read").count(), 0);
    SqliteJournal::open(&dir).await.expect("opens").close().await;
    SqliteJournal::open_existing(&dir).await.expect("opens").expect("is there").close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_make_a_journal_at_once() {
    for round in 0..25 {
        let dir = tempfile::tempdir().expect("a folder");
        let mut tasks = JoinSet::new();
        for n in 0..6 {
            let dir = dir.path().join(".godwit");
            tasks.spawn(async move {
                let journal = SqliteJournal::open(&dir).await?;
                journal.insert_run(&a_run(&n.to_string())).await?;
                journal.close().await;
                Ok::<(), Error>(())
            });
        }
        for opened in tasks.join_all().await {
            opened.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
        }
        let journal = SqliteJournal::open(&dir.path().join(".godwit")).await.expect("opens");
        assert_eq!(journal.runs().await.expect("read").len(), 6);
        journal.close().await;
    }
}

#[tokio::test]
async fn an_interrupted_creation_is_a_fresh_journal() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("journal.sqlite"), b"").expect("write");
    let journal = SqliteJournal::open_existing(dir.path()).await.expect("opens").expect("is there");
    assert!(journal.runs().await.expect("read").is_empty());
    journal.close().await;
}

/// Format 1 had no order of its own for effects.
#[tokio::test]
async fn an_older_journal_becomes_a_current_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = SqliteJournal::open(dir.path()).await.expect("opens");
    let (run, step) = (RunId::from("r"), StepId::from("s"));
    journal.insert_run(&a_run("r")).await.expect("insert");
    let batch: Vec<_> = (0..3).map(|n| an_intent(&format!("{}", 9 - n), "x", n)).collect();
    journal.intend(&run, &step, &batch).await.expect("intend");
    journal.close().await;
    execute(dir.path(), "DROP INDEX effects_in_order; PRAGMA user_version = 1").await;
    let journal = SqliteJournal::open(dir.path()).await.expect("opens");
    let page = journal.effects_before(&run, &step, Some(2), 9).await.expect("read");
    let found: Vec<&str> = page.iter().map(|record| record.effect.key.as_str()).collect();
    assert_eq!(found, ["8", "9"]);
    journal.close().await;
    let mut connection = raw(dir.path()).await;
    let index = "SELECT count(*) FROM sqlite_schema WHERE name = 'effects_in_order'";
    let count: i64 = sqlx::query_scalar(index).fetch_one(&mut connection).await.expect("read");
    let version: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await.expect("read");
    assert_eq!((count, version), (1, 2));
    connection.close().await.expect("closes");
}

#[tokio::test]
async fn a_newer_journal_is_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    SqliteJournal::open(dir.path()).await.expect("opens").close().await;
    execute(dir.path(), "PRAGMA user_version = 99").await;
    let before = fs::read(dir.path().join("journal.sqlite")).expect("read");
    assert_names(&refusal(dir.path()).await, dir.path(), &["newer godwit", "format 99", "up to 2"]);
    assert_eq!(fs::read(dir.path().join("journal.sqlite")).expect("read"), before);
}

#[tokio::test]
async fn a_file_of_somebody_else_is_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("journal.sqlite"), b"").expect("write");
    execute(dir.path(), "CREATE TABLE theirs (a)").await;
    assert_names(&refusal(dir.path()).await, dir.path(), &["not a journal"]);
    fs::write(dir.path().join("journal.sqlite"), b"a letter, and a long one: ".repeat(100)).expect("write");
    assert_names(&refusal(dir.path()).await, dir.path(), &["never a journal"]);
}

#[tokio::test]
async fn damage_is_reported_not_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = SqliteJournal::open(dir.path()).await.expect("opens");
    journal.insert_run(&a_run("r")).await.expect("insert");
    journal.close().await;
    let file = dir.path().join("journal.sqlite");
    let mut bytes = fs::read(&file).expect("read");
    bytes[4096..].fill(0xff);
    fs::write(&file, bytes).expect("write");
    let journal = SqliteJournal::open(dir.path()).await.expect("the first page is whole");
    let run = RunId::from("r");
    assert_names(&journal.run(&run).await.expect_err("damaged"), dir.path(), &["read", "damaged"]);
    let error = journal.own_run(&run, "h:1:1").await.expect_err("damaged");
    assert_names(&error, dir.path(), &["written", "damaged"]);
    assert_eq!(error.code.as_deref(), Some("SQLITE_CORRUPT"));
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_answered() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = Settings { max_pages: Some(80), ..Settings::default() };
    let journal = SqliteJournal::open_with(dir.path(), &settings).await.expect("opens");
    let (run, step) = (RunId::from("r"), StepId::from("s"));
    journal.insert_run(&a_run("r")).await.expect("insert");
    let batch = |n: u64| -> Vec<_> {
        (0..20).map(|i| an_intent(&format!("{n}-{i}"), &"p".repeat(200), n * 20 + i)).collect()
    };
    let mut durable = 0;
    let error = loop {
        match journal.intend(&run, &step, &batch(durable)).await {
            Ok(()) => durable += 1,
            Err(error) => break error,
        }
        assert!(durable < 1000, "80 pages must be full by now");
    };
    assert_names(&error, dir.path(), &["written", "disk is full"]);
    assert_eq!(error.code.as_deref(), Some("SQLITE_FULL"));
    assert!(durable > 0);
    assert_eq!(journal.effects(&run, &step).await.expect("read").len() as u64, durable * 20);
    assert!(journal.intend(&run, &step, &batch(durable)).await.is_err(), "still full");
    journal.close().await;

    let journal = SqliteJournal::open(dir.path()).await.expect("opens");
    assert_eq!(journal.effects(&run, &step).await.expect("read").len() as u64, durable * 20);
    journal.intend(&run, &step, &batch(durable)).await.expect("there is space again");
    journal.close().await;
}

#[tokio::test]
async fn a_locked_journal_is_waited_for_and_then_reported() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = Settings { busy_timeout: Duration::from_millis(300), ..Settings::default() };
    let journal = SqliteJournal::open_with(dir.path(), &settings).await.expect("opens");
    journal.insert_run(&a_run("r")).await.expect("insert");
    let run = RunId::from("r");
    let mut other = raw(dir.path()).await;
    other.execute("BEGIN IMMEDIATE").await.expect("locks");
    let began = Instant::now();
    let error = journal.own_run(&run, "h:1:1").await.expect_err("it is locked");
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    assert_names(&error, dir.path(), &["locked by another process"]);
    assert!(journal.run(&run).await.expect("reads don't wait").is_some());
    other.execute("COMMIT").await.expect("unlocks");
    other.close().await.expect("closes");
    let me = godwit_journal::owner::Owner::current().to_string();
    journal.own_run(&run, &me).await.expect("the writer has recovered");
    journal.close().await;
}

#[tokio::test]
async fn one_bad_write_doesnt_spoil_its_group() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = Arc::new(SqliteJournal::open(dir.path()).await.expect("opens"));
    journal.insert_run(&a_run("r")).await.expect("insert");
    // What SQLite itself refuses, beyond the journal's rules.
    execute(
        dir.path(),
        "CREATE TRIGGER poison BEFORE INSERT ON notes WHEN NEW.name = 'n13'
         BEGIN SELECT RAISE(ABORT, 'poison'); END",
    )
    .await;
    journal.intend(&"r".into(), &"s".into(), &[an_intent("known", "p", 0)]).await.expect("intend");
    let mut tasks = JoinSet::new();
    for n in 0..40 {
        let journal = journal.clone();
        tasks.spawn(async move {
            let (run, step) = (RunId::from("r"), StepId::from("s"));
            let noted = journal.set_note(&run, &step, None, &format!("n{n}"), &json!(n)).await;
            let key = EffectKey::from(if n == 0 { "known" } else { "unknown" });
            let settled = journal.settle(&run, &step, &key, &done(Json::Null)).await;
            (n, noted, settled)
        });
    }
    for (n, noted, settled) in tasks.join_all().await {
        assert_eq!(noted.is_ok(), n != 13, "{n}: {noted:?}");
        assert_eq!(settled.is_ok(), n == 0, "{n}: {settled:?}");
        let note = journal.note(&"r".into(), &"s".into(), None, &format!("n{n}")).await.expect("read");
        assert_eq!(note, (n != 13).then(|| json!(n)));
    }
    journal.close().await;
}
