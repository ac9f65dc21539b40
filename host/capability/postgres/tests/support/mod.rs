//! What a step's surroundings look like to the capability: notes, ledgers and transforms in memory.

#![allow(dead_code)] // each test file uses a part of it

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use godwit_lab::postgres::{Major, PgServer};
use godwit_model::capability::{
    Capability, Connection, Ledger, Notes, Overlay, Part, Performed, PlannedFile, PostgresReads as _,
    Progress, StepScope, Transforms,
};
use godwit_model::effect::*;
use godwit_model::plugin::{Access, ConnectionKind, Grant, Mode, Pipe};
use godwit_model::secret::Secrets;
use godwit_model::{ConnectionName, EffectKey, Error, Json, Result, RunId};
use godwit_postgres::Postgres;
use tokio::sync::OnceCell;

pub const RUN: &str = "20240501-120000-test";

/// The servers of a test file; the lab ends them with the process.
pub async fn server(major: Major) -> &'static PgServer {
    static OLD: OnceCell<PgServer> = OnceCell::const_new();
    static NEW: OnceCell<PgServer> = OnceCell::const_new();
    let cell = if major == Major::V16 { &OLD } else { &NEW };
    cell.get_or_init(|| async {
        PgServer::builder(major)
            .setting("max_connections", "100")
            .start()
            .await
            .expect("a server of the lab starts")
    })
    .await
}

/// A source on 16 and a sink on 18, with a database of their own.
pub struct Pair {
    pub name: String,
    pub source: &'static PgServer,
    pub sink: &'static PgServer,
}

impl Pair {
    pub async fn new(name: &str) -> Self {
        let (source, sink) = (server(Major::V16).await, server(Major::V18).await);
        source.create_database(name).await.expect("the source's database is made");
        sink.create_database(name).await.expect("the sink's database is made");
        Self { name: name.to_owned(), source, sink }
    }

    pub fn from(&self, sql: &str) -> String {
        self.source.psql(&self.name, sql).expect("psql at the source")
    }

    pub fn to(&self, sql: &str) -> String {
        self.sink.psql(&self.name, sql).expect("psql at the sink")
    }

    /// The same statements at both ends.
    pub fn both(&self, sql: &str) {
        self.from(sql);
        self.to(sql);
    }

    /// A capability as a new process would make it.
    pub fn process(&self) -> Postgres {
        capability(&[("source", &self.source.url(&self.name)), ("sink", &self.sink.url(&self.name))])
    }
}

/// Tables `a` and `b`, copied by a process that is gone under a snapshot that is lost: `a` has had another row since.
pub async fn copied_under_a_lost_snapshot(name: &str) -> (Pair, Bench, [Performed; 2]) {
    let pair = Pair::new(name).await;
    pair.both("CREATE TABLE a (id int); CREATE TABLE b (id int)");
    pair.from("INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1)");
    let bench = Bench::new();
    let pg = pair.process();
    let known = [
        bench.run(&pg, &copy("a", &["id"])).await.unwrap(),
        bench.run(&pg, &copy("b", &["id"])).await.unwrap(),
    ];
    drop(pg);
    pair.from("INSERT INTO a VALUES (3)");
    (pair, bench, known)
}

pub fn capability(urls: &[(&str, &str)]) -> Postgres {
    let connections =
        urls.iter().map(|(name, url)| connection(name, serde_json::json!({ "url": url }))).collect();
    Postgres::new(connections).expect("the connections are well-formed")
}

pub fn connection(name: &str, settings: Json) -> Connection {
    Connection {
        name: ConnectionName::from(name),
        kind: ConnectionKind::Postgres,
        settings: settings.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        secrets: Arc::new(Secrets::default()),
    }
}

pub fn grant(slot: &str, access: Access) -> Grant {
    Grant {
        slot: slot.into(),
        connection: slot.into(),
        kind: ConnectionKind::Postgres,
        access,
        database: None,
        secrets: Vec::new(),
    }
}

/// Notes that survive a «crash»: the test hands them to the next process.
#[derive(Clone, Default)]
pub struct Memory(pub Arc<Mutex<BTreeMap<String, Json>>>);

#[async_trait]
impl Notes for Memory {
    async fn get(&self, name: &str) -> Result<Option<Json>> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    async fn set(&self, name: &str, value: Json) -> Result<()> {
        self.0.lock().unwrap().insert(name.to_owned(), value);
        Ok(())
    }
}

/// The ledger of one effect.
#[derive(Clone, Default)]
pub struct Book {
    pub notes: Memory,
    pub parts: Arc<Mutex<Vec<Part>>>,
    /// Fails the journal's write after so many finished parts.
    pub fail_after: Option<u64>,
    pub finished: Arc<AtomicU64>,
}

#[async_trait]
impl Notes for Book {
    async fn get(&self, name: &str) -> Result<Option<Json>> {
        self.notes.get(name).await
    }

    async fn set(&self, name: &str, value: Json) -> Result<()> {
        self.notes.set(name, value).await
    }
}

#[async_trait]
impl Ledger for Book {
    async fn parts(&self) -> Result<Vec<Part>> {
        Ok(self.parts.lock().unwrap().clone())
    }

    async fn plan_parts(&self, ranges: Vec<Json>) -> Result<Vec<Part>> {
        let mut parts = self.parts.lock().unwrap();
        assert!(parts.is_empty(), "ranges are journalled once");
        *parts = (0..).zip(ranges).map(|(index, range)| Part { index, range, outcome: None }).collect();
        Ok(parts.clone())
    }

    async fn finish_part(&self, index: u32, outcome: Json) -> Result<()> {
        if self.fail_after.is_some_and(|limit| self.finished.fetch_add(1, Ordering::SeqCst) >= limit) {
            return Err(Error::host("the journal can't be written"));
        }
        self.parts.lock().unwrap()[index as usize].outcome = Some(outcome);
        Ok(())
    }

    async fn reset_parts(&self) -> Result<()> {
        for part in self.parts.lock().unwrap().iter_mut() {
            part.outcome = None;
        }
        Ok(())
    }
}

/// Transforms of tables whose label is listed: each byte through a function.
#[derive(Default)]
pub struct Mapped {
    pub labels: Vec<String>,
    pub shapes: Mutex<Vec<Json>>,
}

struct Upper;

#[async_trait]
impl Pipe for Upper {
    async fn push(&mut self, chunk: &[u8]) -> Result<Vec<u8>> {
        assert!(chunk.ends_with(b"\n"), "a chunk holds whole rows");
        Ok(String::from_utf8_lossy(chunk).replace("secret", "masked").into_bytes())
    }

    async fn finish(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Transforms for Mapped {
    fn applies(&self, label: &str) -> bool {
        self.labels.iter().any(|l| l == label)
    }

    async fn open(&self, label: &str, shape: &Json) -> Result<Vec<Box<dyn Pipe>>> {
        self.shapes.lock().unwrap().push(shape.clone());
        Ok(if self.applies(label) { vec![Box::new(Upper)] } else { Vec::new() })
    }
}

/// Counts what is reported.
#[derive(Default)]
pub struct Counted {
    pub items: AtomicU64,
    pub bytes: AtomicU64,
}

impl Progress for Counted {
    fn transfer(&self, _: &str, items: u64, bytes: u64) {
        self.items.fetch_add(items, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }
}

struct NoFiles;

impl Overlay for NoFiles {
    fn file(&self, _: &ConnectionName, _: &str) -> Option<PlannedFile> {
        None
    }
}

/// A step, with what the journal would keep of it.
#[derive(Clone)]
pub struct Bench {
    pub scope: StepScope,
    pub notes: Memory,
    pub books: Arc<Mutex<BTreeMap<EffectKey, Book>>>,
    pub progress: Arc<Counted>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Mapped::default())
    }

    pub fn with(transforms: Mapped) -> Self {
        let notes = Memory::default();
        let progress = Arc::new(Counted::default());
        let scope = StepScope {
            run: RunId::from(RUN),
            step: "copy".into(),
            mode: Mode::Apply,
            grants: Arc::new(vec![grant("source", Access::Read), grant("sink", Access::Write)]),
            secrets: Arc::new(Secrets::default()),
            known_values: Arc::new(Vec::new()),
            notes: Arc::new(notes.clone()),
            transforms: Arc::new(transforms),
            progress: progress.clone(),
            overlay: Arc::new(NoFiles),
        };
        Self { scope, notes, books: Arc::default(), progress }
    }

    /// The same step as an undo run sees it.
    pub fn undo(&self) -> StepScope {
        StepScope {
            run: RunId::from("20240501-130000-undo"),
            notes: Arc::new(Memory::default()),
            ..self.scope.clone()
        }
    }

    pub fn book(&self, key: &EffectKey) -> Book {
        self.books.lock().unwrap().entry(key.clone()).or_default().clone()
    }

    /// Prepares and performs, as the engine would.
    pub async fn run(&self, pg: &Postgres, effect: &Effect) -> Result<Performed> {
        self.perform(pg, effect, false).await
    }

    pub async fn perform(&self, pg: &Postgres, effect: &Effect, resumed: bool) -> Result<Performed> {
        let preparation = pg.prepare(&self.scope, effect).await?;
        let done = pg.perform(&self.scope, effect, &preparation, &self.book(&effect.key), resumed).await?;
        Ok(Performed { effect: effect.clone(), preparation, done: Some(done), sequence: 0 })
    }

    /// An intent whose outcome was lost.
    pub async fn intended(&self, pg: &Postgres, effect: &Effect) -> Performed {
        let preparation = pg.prepare(&self.scope, effect).await.expect("the effect can be prepared");
        Performed { effect: effect.clone(), preparation, done: None, sequence: 0 }
    }

    /// All rows of a query.
    pub async fn query(&self, pg: &Postgres, slot: &str, sql: &str) -> Result<Vec<String>> {
        let grant = self.scope.grant(&slot.into())?.clone();
        let mut cursor = pg.query(&self.scope, &grant, sql, &[]).await?;
        let mut rows = Vec::new();
        loop {
            let page = cursor.next().await?;
            if page.is_empty() {
                return Ok(rows);
            }
            rows.extend(page);
        }
    }
}

pub fn table(slot: &str, name: &str, columns: &[&str]) -> Table {
    Table {
        slot: slot.into(),
        schema: "public".into(),
        name: name.into(),
        columns: columns.iter().map(|c| (*c).to_owned()).collect(),
    }
}

pub fn copy(name: &str, columns: &[&str]) -> Effect {
    Effect {
        key: EffectKey::new(format!("copy/{name}")),
        after: Vec::new(),
        action: Action::CopyTable(CopyTable {
            source: table("source", name, columns),
            sink: table("sink", name, columns),
            consistency: Consistency::Snapshot,
            only: true,
            filter: None,
        }),
    }
}

/// The same copy with another consistency or filter.
pub fn changed(mut effect: Effect, change: impl FnOnce(&mut CopyTable)) -> Effect {
    if let Action::CopyTable(request) = &mut effect.action {
        change(request);
    }
    effect
}

pub fn execute(key: &str, statements: &[&str], undo: SqlUndo) -> Effect {
    Effect {
        key: key.into(),
        after: Vec::new(),
        action: Action::ExecuteSql(ExecuteSql {
            slot: "sink".into(),
            statements: statements.iter().map(|s| (*s).to_owned()).collect(),
            execution: Execution::Atomic,
            undo,
            data_dependent: false,
        }),
    }
}

pub fn undo_by(statements: &[&str]) -> SqlUndo {
    SqlUndo::Statements { statements: statements.iter().map(|s| (*s).to_owned()).collect() }
}

pub fn sequences(names: &[&str]) -> Effect {
    Effect {
        key: "sequences".into(),
        after: Vec::new(),
        action: Action::CopySequences(CopySequences {
            source: "source".into(),
            sink: "sink".into(),
            sequences: names.iter().map(|n| ("public".to_owned(), (*n).to_owned())).collect(),
        }),
    }
}

pub fn result(performed: &Performed) -> &Json {
    &performed.done.as_ref().expect("done").result
}

pub fn evidence(performed: &Performed) -> &Evidence {
    performed.done.as_ref().and_then(|done| done.evidence.as_ref()).expect("evidence")
}

/// A table of everyday types, its rows, its columns, and what is compared of it.
pub const PEOPLE: &str = "CREATE TABLE people (id bigint PRIMARY KEY, name text, born date, tags text[], extra jsonb, score float8)";
pub const FILL: &str = "INSERT INTO people SELECT i, 'name ' || i, date '1970-01-01' + i, ARRAY['a', 'b' || i], \
                    jsonb_build_object('n', i, 'secret', md5(i::text)), i / 7.0 FROM generate_series(1, 5000) i";
pub const COLUMNS: &[&str] = &["id", "name", "born", "tags", "extra", "score"];
pub const SUM: &str = "SELECT count(*), sum(hashtextextended(p::text, 0)::numeric) FROM people p";
