//! The tables, and how an older journal becomes a current one.

use std::path::Path;

use godwit_model::journal::FORMAT_VERSION;
use godwit_model::{Error, Result};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::fault::{Doing, from_sqlx};

/// `PRAGMA application_id`: `gdwt`. Tells a journal from somebody else's SQLite file.
const APPLICATION_ID: i64 = 0x6764_7774;

/// Entry `n` takes a journal of format `n` to format `n + 1`. A released entry never changes.
const MIGRATIONS: &[&str] = &[FORMAT_1, FORMAT_2];

/// Identifiers and statuses have columns; what is only handed back whole is JSON of the model's types.
/// Text under `key` and `step` in `effects` and `notes` is in the form of `super::text::stored`.
const FORMAT_1: &str = "
CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    of_run TEXT,
    recipe TEXT NOT NULL,
    recipe_path TEXT,
    recipe_text TEXT NOT NULL,
    inputs TEXT NOT NULL,
    secret_inputs TEXT NOT NULL,
    plugins TEXT NOT NULL,
    status TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    error TEXT,
    owner TEXT NOT NULL
) STRICT;

CREATE TABLE accepted (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step TEXT NOT NULL,
    key TEXT NOT NULL,
    request TEXT NOT NULL,
    PRIMARY KEY (run, step, key, request)
) STRICT;

CREATE TABLE steps (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step TEXT NOT NULL,
    status TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (run, step)
) STRICT;

CREATE TABLE memos (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, step, key)
) STRICT;

CREATE TABLE effects (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step TEXT NOT NULL,
    key TEXT NOT NULL,
    request TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    effect TEXT NOT NULL,
    preparation TEXT NOT NULL,
    status TEXT NOT NULL,
    outcome TEXT,
    at TEXT NOT NULL,
    UNIQUE (run, step, key)
) STRICT;

CREATE TABLE parts (
    effect INTEGER NOT NULL REFERENCES effects (id) ON DELETE CASCADE,
    part INTEGER NOT NULL,
    range TEXT NOT NULL,
    outcome TEXT,
    PRIMARY KEY (effect, part)
) STRICT, WITHOUT ROWID;

-- `effect` is '' for a note of the step itself, else '=' and the effect's key.
CREATE TABLE notes (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step TEXT NOT NULL,
    effect TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, step, effect, name)
) STRICT;

CREATE TABLE undo_actions (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    step TEXT NOT NULL,
    key TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    action TEXT NOT NULL,
    done TEXT,
    PRIMARY KEY (run, step, key)
) STRICT;
";

/// Effects are read by pages in their order.
const FORMAT_2: &str = "CREATE INDEX effects_in_order ON effects (run, step, sequence);";

// A new format needs the migration that leads to it.
const _: () = assert!(MIGRATIONS.len() == FORMAT_VERSION as usize);

/// Makes a fresh or older journal current, in one transaction; refuses a newer one and a file that is no journal.
pub(super) async fn bring_up_to_date(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    let known = format_of(connection, path).await?;
    // Before there are tables, so that a crash in between leaves an empty file, which is a fresh journal.
    connection
        .execute("PRAGMA journal_mode = WAL")
        .await
        .map_err(|error| from_sqlx(path, Doing::Opening, &error))?;
    if known == FORMAT_VERSION {
        return Ok(());
    }
    migrate(connection, path).await
}

async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    let fault = |error: sqlx::Error| from_sqlx(path, Doing::Migrating, &error);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(fault)?;
    // Another process may have been faster.
    let known = format_of(&mut transaction, path).await?;
    for migration in MIGRATIONS.iter().skip(known as usize) {
        transaction.execute(*migration).await.map_err(fault)?;
    }
    // A PRAGMA takes no parameters; both are constants of this file.
    let marks = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT_VERSION};");
    transaction.execute(AssertSqlSafe(marks)).await.map_err(fault)?;
    transaction.commit().await.map_err(fault)
}

/// The format version of a journal; 0 for an empty file.
async fn format_of(connection: &mut SqliteConnection, path: &Path) -> Result<u32> {
    let fault = |error: sqlx::Error| from_sqlx(path, Doing::Opening, &error);
    // One view of all three: another process may be making the tables just now.
    let mut view = connection.begin().await.map_err(fault)?;
    let application: i64 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *view).await.map_err(fault)?;
    let version: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *view).await.map_err(fault)?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *view)
        .await
        .map_err(fault)?;
    view.commit().await.map_err(fault)?;
    if (application, version, tables) == (0, 0, 0) {
        return Ok(0);
    }
    if application != APPLICATION_ID {
        return Err(Error::host(format!("{} is a SQLite file, but not a journal of Godwit", path.display()))
            .hint("give another state folder, or move the file away"));
    }
    match u32::try_from(version) {
        Ok(version) if version <= FORMAT_VERSION => Ok(version),
        _ => Err(Error::host(format!(
            "the journal {} was made by a newer godwit: it has format {version}, this one knows formats up to \
             {FORMAT_VERSION}",
            path.display()
        ))
        .hint("use the newer godwit, or give another state folder")),
    }
}
