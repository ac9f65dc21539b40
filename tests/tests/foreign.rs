//! `copy-postgres` with databases that no one here wrote: the schemas of Roundcube and MediaWiki from Debian's packages,
//! and Wagtail's by its own migrations. The stock tools' restore is the oracle of the schema.

use std::sync::OnceLock;

use godwit_lab::foreign::Application;
use godwit_lab::postgres::{Major, PgServer};
use godwit_tests::database;
use godwit_tests::process::Godwit;

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

/// Rows that are wanted in each table.
const ROWS: usize = 120;

/// One server of each major for all cases; each case has databases of its own. They end with the process.
struct Servers {
    runtime: tokio::runtime::Runtime,
    servers: [PgServer; 3],
}

impl Servers {
    fn get() -> &'static Self {
        static SERVERS: OnceLock<Servers> = OnceLock::new();
        SERVERS.get_or_init(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let start = |major| async move { PgServer::start(major).await.unwrap() };
            let [first, second, third] = Major::ALL.map(start);
            let (first, second, third) = runtime.block_on(async { tokio::join!(first, second, third) });
            Self { runtime, servers: [first, second, third] }
        })
    }

    fn of(&self, major: Major) -> &PgServer {
        self.servers.iter().find(|server| server.major() == major).unwrap()
    }
}

/// Copies an application between majors, and takes the copy back. `tables` is how many it has, all of them with rows.
fn moves(application: Application, tables: usize) {
    let servers = Servers::get();
    for (from, to) in [(Major::V15, Major::V18), (Major::V16, Major::V18), (Major::V18, Major::V16)] {
        let context = format!("{application:?}, {from} to {to}");
        let (source, target) = (servers.of(from), servers.of(to));
        let name = application.name();
        let (copy, oracle) = (format!("{name}_of_{from}"), format!("{name}_of_{from}_oracle"));
        servers.runtime.block_on(source.create_database(name)).unwrap();
        servers.runtime.block_on(target.create_database(&copy)).unwrap();
        let filled = servers.runtime.block_on(application.fill(source, name, 1, ROWS)).unwrap();
        assert_eq!(filled.len(), tables, "{context}: {filled:#?}");

        let godwit = Godwit::new(PROGRAM)
            .env("GODWIT_INPUT_SOURCE_URL", &source.url(name))
            .env("GODWIT_INPUT_TARGET_URL", &target.url(&copy));
        godwit.ok(&["run", "copy-postgres", "--yes"]);
        let expected = servers.runtime.block_on(database::oracle((source, name), target, &oracle));
        assert_eq!(expected, database::dump(target, &copy), "{context}: the schemas differ");
        let rows = database::contents(source, name);
        assert_eq!(rows, database::contents(target, &copy), "{context}: the rows differ");
        for table in &filled {
            let counted = format!("|{} rows|", table.rows);
            let held = rows.iter().find(|line| line.split('|').next() == Some(&table.table));
            assert!(held.is_some_and(|line| line.contains(&counted)), "{context}: {table:?}, but {held:?}");
        }
        assert_eq!(database::markers(target, &copy), "", "{context}: a marker is left");

        let (run, status) = godwit.newest_run().unwrap();
        assert_eq!(status, "done", "{context}");
        godwit.ok(&["undo", &run, "--yes"]);
        assert_eq!(database::objects(target, &copy), Vec::<String>::new(), "{context}: undone");
    }
}

#[test]
fn roundcube() {
    moves(Application::Roundcube, 17);
}

#[test]
fn mediawiki() {
    moves(Application::MediaWiki, 58);
}

#[test]
fn wagtail() {
    moves(Application::Wagtail, 57);
}
