//! Databases of applications that no one here wrote: their own schemas, with rows made by [`crate::rows`].

use std::path::PathBuf;

use crate::error::{LabError, Result, io};
use crate::postgres::PgServer;
use crate::rows::{self, TableRows};
use crate::{cache, packages, process};

/// An application, at the version that [`packages`] pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    /// A mail client: sequences of its own, foreign keys that cascade.
    Roundcube,
    /// A wiki, in a schema of its own: text search by triggers, and no foreign keys.
    MediaWiki,
    /// A content management system on Django, made by its own migrations, which leave rows: deferrable foreign keys
    /// around circles, identity columns, checks, JSON, GIN indexes.
    Wagtail,
}

impl Application {
    pub const ALL: [Self; 3] = [Self::Roundcube, Self::MediaWiki, Self::Wagtail];

    /// A name for its databases.
    pub fn name(self) -> &'static str {
        match self {
            Self::Roundcube => "roundcube",
            Self::MediaWiki => "mediawiki",
            Self::Wagtail => "wagtail",
        }
    }

    /// Makes its schema in an empty database, then fills every table with up to `wanted` rows, the same for the same
    /// `seed`. Wagtail's migrations take seconds. Blocks the thread while it makes the schema.
    ///
    /// [`LabError::Missing`] says how to get its packages; this fetches nothing.
    pub async fn fill(
        self,
        server: &PgServer,
        database: &str,
        seed: u64,
        wanted: usize,
    ) -> Result<Vec<TableRows>> {
        match self {
            Self::Roundcube => load(server, database, &read("roundcube.sql")?)?,
            Self::MediaWiki => {
                // `tables.sql` begins a transaction, which MediaWiki's installer commits.
                let script = format!(
                    "CREATE SCHEMA mediawiki; SET search_path = mediawiki;\n{}\n{}\nCOMMIT;\n",
                    read("mediawiki-generated.sql")?,
                    read("mediawiki.sql")?
                );
                load(server, database, &script)?;
            }
            Self::Wagtail => migrate_wagtail(server, database)?,
        }
        rows::fill(server, database, seed, wanted).await
    }
}

fn load(server: &PgServer, database: &str, script: &str) -> Result<()> {
    server.psql(database, script).map(drop)
}

fn read(name: &str) -> Result<String> {
    let path: PathBuf = packages::schema(&cache::dir(), name).ok_or_else(|| missing(name))?;
    std::fs::read_to_string(&path).map_err(io("read", &path))
}

fn migrate_wagtail(server: &PgServer, database: &str) -> Result<()> {
    let site = packages::wagtail(&cache::dir()).ok_or_else(|| missing("Wagtail"))?;
    let mut python = process::command("python3".as_ref(), None);
    // Checks are about templates and middleware, which a database doesn't need.
    python
        .args(["-m", "django", "migrate", "--skip-checks", "--verbosity=0"])
        .env("PYTHONPATH", &site)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DJANGO_SETTINGS_MODULE", packages::SETTINGS_MODULE)
        .envs(server.environment(database));
    process::output(&mut python).map(drop)
}

fn missing(what: &str) -> LabError {
    let hint = format!("it belongs into {}: run `cargo xtask setup`", cache::dir().display());
    LabError::Missing { what: what.to_owned(), hint }
}
