//! Two servers with a way to each that can be held and cut, and one table that takes a while.

use std::process::Child;
use std::time::Duration;

use godwit_lab::postgres::{Builder, Major, PgServer};
use godwit_lab::proxy::{Hold, Proxy};
use godwit_tests::database;
use godwit_tests::process::{Godwit, Ran};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

/// A recipe of one step between the two servers.
pub fn recipe(plugin: &str, access: &str, with: Value, attempts: u32) -> String {
    json!({
        "godwit": "1",
        "name": "one-step",
        "inputs": { "source_url": { "type": "url" }, "target_url": { "type": "url" } },
        "connections": {
            "source": { "kind": "postgres", "url": "${inputs.source_url}" },
            "target": { "kind": "postgres", "url": "${inputs.target_url}" }
        },
        "steps": [{
            "id": "only",
            "plugin": plugin,
            "grant": {
                "source": { "connection": "source", "access": "read" },
                "target": { "connection": "target", "access": access }
            },
            "with": with,
            "retry": { "attempts": attempts, "backoff": "200ms" }
        }]
    })
    .to_string()
}

/// The rows of `big` are 24 MB, stored as they are: more than the sockets on the way hold, so that a copy that is held is
/// in its middle on both servers.
const SCHEMA: &str = "
CREATE TABLE owners (id int PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE big (id int PRIMARY KEY, owner int NOT NULL REFERENCES owners, body bytea NOT NULL);
ALTER TABLE big ALTER body SET STORAGE EXTERNAL;
CREATE SEQUENCE tickets;
INSERT INTO owners SELECT i, 'owner ' || i FROM generate_series(1, 100) i;
INSERT INTO big SELECT i, 1 + i % 100, convert_to(repeat(md5(i::text), 256), 'UTF8') FROM generate_series(1, 3000) i;
SELECT setval('tickets', 77);";

/// As many bytes pass before a copy is held: much more than the catalogs are.
const MIDDLE: u64 = 2 << 20;

pub const PATIENCE: Duration = Duration::from_secs(60);

pub const RUN: [&str; 3] = ["run", "copy.json", "--yes"];

pub struct Pair {
    pub runtime: tokio::runtime::Runtime,
    pub source: PgServer,
    pub target: PgServer,
    pub to_source: Proxy,
    pub to_target: Proxy,
}

impl Pair {
    pub fn start() -> Self {
        Self::start_with(PgServer::builder(Major::V16), PgServer::builder(Major::V18))
    }

    pub fn start_with(source: Builder, target: Builder) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // An autovacuum would count as a write, and begin what was copied again.
        let source = source.setting("autovacuum", "off");
        let (source, target) = runtime.block_on(async { tokio::join!(source.start(), target.start()) });
        let (source, target) = (source.unwrap(), target.unwrap());
        runtime.block_on(source.create_database("app")).unwrap();
        source.psql("app", SCHEMA).unwrap();
        Self::between(runtime, source, target)
    }

    /// Between servers that run already.
    pub fn between(runtime: tokio::runtime::Runtime, source: PgServer, target: PgServer) -> Self {
        let (to_source, to_target) = runtime
            .block_on(async { tokio::join!(Proxy::before(source.port()), Proxy::before(target.port())) });
        let (to_source, to_target) = (to_source.unwrap(), to_target.unwrap());
        Self { runtime, source, target, to_source, to_target }
    }

    /// A fresh database on the target, and a copy of everything into it that is tried five times.
    pub fn fresh(&self, name: &str) -> Godwit {
        self.fresh_with(name, json!({}), 5)
    }

    pub fn fresh_with(&self, name: &str, with: Value, attempts: u32) -> Godwit {
        self.runtime.block_on(self.target.create_database(name)).unwrap();
        let by = |proxy: &Proxy, server: &PgServer, name: &str| proxy.url(&server.url(name), server.port());
        let godwit = Godwit::new(PROGRAM)
            .env("GODWIT_INPUT_SOURCE_URL", &by(&self.to_source, &self.source, "app"))
            .env("GODWIT_INPUT_TARGET_URL", &by(&self.to_target, &self.target, name));
        godwit.write("copy.json", recipe("postgres-copy", "write", with, attempts));
        godwit
    }

    pub fn held(&self, proxy: &Proxy) {
        self.runtime.block_on(proxy.held(PATIENCE)).unwrap();
    }

    /// Begins a run and holds it in the middle of the rows of `big`, on their way from the source or to the target.
    pub fn in_the_middle(&self, godwit: &Godwit, side: Side) -> Child {
        self.proxy(side).hold(match side {
            Side::Source => Hold::Received(MIDDLE),
            Side::Target => Hold::Sent(MIDDLE),
        });
        let child = godwit.spawn(&RUN);
        self.held(self.proxy(side));
        child
    }

    pub fn proxy(&self, side: Side) -> &Proxy {
        match side {
            Side::Source => &self.to_source,
            Side::Target => &self.to_target,
        }
    }

    pub fn server(&self, side: Side) -> &PgServer {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// What `function` says of each session of Godwit's that fits.
    pub fn on_sessions(&self, side: Side, function: &str, condition: &str) -> usize {
        let sql = format!(
            "SELECT {function}(pid) FROM pg_stat_activity
             WHERE starts_with(application_name, 'godwit/') AND {condition}"
        );
        self.server(side).psql("postgres", &sql).unwrap().lines().filter(|line| *line == "t").count()
    }

    /// The target holds all that the source holds, and nothing of Godwit's.
    pub fn assert_copied(&self, name: &str, context: &str) {
        let (source, target) =
            (database::contents(&self.source, "app"), database::contents(&self.target, name));
        assert!(source.iter().any(|line| line.starts_with("public.big|3000 rows")), "{source:#?}");
        assert_eq!(source, target, "{context}");
        assert_eq!(database::markers(&self.target, name), "", "a marker is left: {context}");
        let keys = "SELECT count(*) FROM pg_constraint WHERE contype IN ('p', 'u', 'f') AND convalidated
            AND conrelid IN ('big'::regclass, 'owners'::regclass)";
        assert_eq!(self.target.psql(name, keys).unwrap(), "4", "{context}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

pub fn ended(child: Child) -> Ran {
    Ran::from(child.wait_with_output().unwrap())
}

/// The run has failed, says so to whoever asks, and named its reasons.
pub fn assert_failed(godwit: &Godwit, ran: &Ran, reasons: &[&str]) -> String {
    assert_eq!(ran.code, Some(1), "{ran}");
    for reason in reasons {
        assert!(ran.stderr.contains(reason), "`{reason}` isn't named: {ran}");
    }
    let (run, status) = godwit.newest_run().expect("a run began");
    assert_eq!(status, "failed", "{ran}");
    let shown = godwit.ok(&["show", &run]);
    assert!(shown.stdout.contains(&format!("godwit resume {run}")), "{shown}");
    run
}
