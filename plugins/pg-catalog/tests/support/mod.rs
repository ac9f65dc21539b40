//! A host over real servers for native tests: it performs effects at once, through psql, and remembers them.

#![allow(dead_code)] // Each test file uses its own part.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;

use godwit_lab::postgres::PgServer;
use godwit_sdk::host::{EffectHandle, Host, ObjectSource, RowSource, VersionSource};
use godwit_sdk::mock::{Request, Submitted};
use godwit_sdk::types::*;

/// A database of a server.
#[derive(Clone)]
pub struct Database {
    pub server: Arc<PgServer>,
    pub name: String,
}

impl Database {
    pub async fn create(server: &Arc<PgServer>, name: &str) -> Self {
        server.create_database(name).await.expect("a database can be created");
        Self { server: Arc::clone(server), name: name.to_owned() }
    }

    /// Runs a script under the settings that the host pins.
    pub fn sql(&self, script: &str) -> Result<String> {
        let mut psql = self.server.client("psql", &self.name);
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-0",
            "-v",
            "ON_ERROR_STOP=1",
            "-v",
            "VERBOSITY=verbose",
            "-f",
            "-",
        ])
        .env("PGOPTIONS", "-c search_path= -c row_security=off -c client_min_messages=warning")
        .env("PGTZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
        let mut child = psql.spawn().expect("psql runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        let text = script.to_owned();
        let writer = std::thread::spawn(move || {
            let _ = stdin.write_all(text.as_bytes());
        });
        let output = child.wait_with_output().expect("psql ends");
        let _ = writer.join();
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Failed(format!("{}: {}", self.name, String::from_utf8_lossy(&output.stderr))))
    }

    /// `pg_dump -s` by the newest client, which reads every older server, without what differs for no reason.
    pub fn dump(&self, client: &PgServer, options: &[&str]) -> String {
        let output = client
            .client("pg_dump", &self.name)
            .env("PGPORT", self.server.port().to_string())
            .args(options)
            .output()
            .expect("pg_dump runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter(|line| {
                !line.starts_with("--")
                    && !line.starts_with("\\restrict")
                    && !line.starts_with("\\unrestrict")
            })
            .filter(|line| !line.is_empty() && !line.starts_with("SET "))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Loads the schema of another database by `pg_dump | psql`.
    pub fn restore(&self, from: &Database, client: &PgServer) {
        let output = client
            .client("pg_dump", &from.name)
            .env("PGPORT", from.server.port().to_string())
            .args(["-s"])
            .output()
            .expect("pg_dump runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        client_psql(client, self, &String::from_utf8_lossy(&output.stdout));
    }

    /// `rows:digest` of a query over one table.
    fn evidence(&self, table: &Table, options: &CopyOptions) -> Result<Evidence> {
        let columns: Vec<String> = table.columns.iter().map(|c| godwit_pg_catalog::sql::ident(c)).collect();
        let name = godwit_pg_catalog::sql::qualified(&table.schema, &table.name);
        let only = if options.only { "ONLY " } else { "" };
        let found = self.sql(&format!(
            "SELECT count(*)::text || ':' || COALESCE(sum(hashtextextended(ROW({})::text, 0)::numeric), 0)::text FROM {only}{name}{}",
            columns.join(", "),
            condition(options)
        ))?;
        let found = found.trim_end_matches(['\0', '\n']);
        let (items, digest) = found.split_once(':').expect("two values");
        Ok(Evidence { items: items.parse().expect("a count"), bytes: 0, digest: format!("sum:{digest}") })
    }
}

fn condition(options: &CopyOptions) -> String {
    options.filter.as_ref().map(|filter| format!(" WHERE {filter}")).unwrap_or_default()
}

/// The world of one step. `begin` calls it again, as a resumed run does.
pub struct NativeHost {
    slots: BTreeMap<String, Database>,
    mode: Cell<Mode>,
    memos: RefCell<BTreeMap<String, String>>,
    journal: RefCell<Vec<(Submitted, Result<String>)>>,
    queue: RefCell<VecDeque<Outcome>>,
    evidence: RefCell<BTreeMap<String, (Evidence, Table, CopyOptions)>>,
    /// Keys of this call.
    asked: RefCell<BTreeSet<String>>,
    pub queries: Cell<usize>,
    pub logs: RefCell<Vec<String>>,
    /// Ends the call by an error after this many effects of this call.
    pub crash_after: Cell<Option<usize>>,
}

impl NativeHost {
    pub fn new(slots: &[(&str, &Database)]) -> Self {
        Self {
            slots: slots.iter().map(|(name, database)| ((*name).to_owned(), (*database).clone())).collect(),
            mode: Cell::new(Mode::Apply),
            memos: RefCell::default(),
            journal: RefCell::default(),
            queue: RefCell::default(),
            evidence: RefCell::default(),
            asked: RefCell::default(),
            queries: Cell::new(0),
            logs: RefCell::default(),
            crash_after: Cell::new(None),
        }
    }

    pub fn begin(&self, mode: Mode) {
        self.mode.set(mode);
        self.queue.borrow_mut().clear();
        self.asked.borrow_mut().clear();
        self.queries.set(0);
        self.crash_after.set(None);
    }

    pub fn submitted(&self) -> Vec<Submitted> {
        self.journal.borrow().iter().map(|(submitted, _)| submitted.clone()).collect()
    }

    /// Takes everything back, last first: statements by their undo, tables by one TRUNCATE where the last was filled.
    pub fn undo(&self) -> Result<()> {
        let journal = self.journal.borrow();
        let done: Vec<_> = journal.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(s, _)| s).collect();
        let tables: Vec<String> = done
            .iter()
            .filter_map(|s| match &s.request {
                Request::CopyTable { sink, .. } => {
                    Some(format!("ONLY {}", godwit_pg_catalog::sql::qualified(&sink.schema, &sink.name)))
                }
                _ => None,
            })
            .collect();
        let mut emptied = tables.is_empty();
        for submitted in done.iter().rev() {
            match &submitted.request {
                Request::Execute { slot, request } => {
                    if let Undo::Statements(statements) = &request.undo {
                        self.database(slot)?.sql(&transaction(statements))?;
                    }
                }
                Request::CopyTable { sink, .. } if !emptied => {
                    emptied = true;
                    self.database(&sink.slot)?.sql(&format!("TRUNCATE {}", tables.join(", ")))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The rows of a query, each the JSON text of an object.
    fn rows(&self, slot: &str, sql: &str) -> Result<Vec<String>> {
        self.queries.set(self.queries.get() + 1);
        let text = self
            .database(slot)?
            .sql(&format!("BEGIN READ ONLY;\nSELECT row_to_json(q)::text FROM ({sql}) q;\nCOMMIT;"))?;
        Ok(text.split('\0').filter(|row| !row.is_empty()).map(str::to_owned).collect())
    }

    pub fn database(&self, slot: &str) -> Result<&Database> {
        self.slots.get(slot).ok_or_else(|| Error::Denied(format!("slot `{slot}` is not granted")))
    }

    fn perform(&self, submitted: &Submitted) -> Result<String> {
        match &submitted.request {
            Request::Execute { slot, request } => {
                let database = self.database(slot)?;
                match request.execution {
                    Execution::Atomic => database.sql(&transaction(&request.statements))?,
                    Execution::Standalone { .. } => database.sql(&(request.statements.join(";\n") + ";"))?,
                };
            }
            Request::CopyTable { source, sink, options } => {
                let (from, to) = (self.database(&source.slot)?, self.database(&sink.slot)?);
                let columns = |table: &Table| {
                    table
                        .columns
                        .iter()
                        .map(|c| godwit_pg_catalog::sql::ident(c))
                        .collect::<Vec<_>>()
                        .join(", ")
                };
                let name = |table: &Table| godwit_pg_catalog::sql::qualified(&table.schema, &table.name);
                if !source.columns.is_empty() {
                    let only = if options.only { "ONLY " } else { "" };
                    let filter = condition(options);
                    let query = format!("SELECT {} FROM {only}{}{filter}", columns(source), name(source));
                    let rows = copy_out(from, &format!("COPY ({query}) TO STDOUT"))?;
                    copy_in(to, &format!("COPY {} ({}) FROM STDIN", name(sink), columns(sink)), rows)?;
                }
                let evidence = from.evidence(source, options)?;
                self.evidence
                    .borrow_mut()
                    .insert(submitted.key.clone(), (evidence, sink.clone(), options.clone()));
            }
            Request::CopySequences { source, sink, sequences } => {
                let mut script = String::new();
                for (schema, name) in sequences {
                    let name = godwit_pg_catalog::sql::qualified(schema, name);
                    let state = self
                        .database(source)?
                        .sql(&format!("SELECT last_value || ',' || is_called FROM {name}"))?;
                    let name = godwit_pg_catalog::sql::literal(&name);
                    script += &format!("SELECT setval({name}, {});\n", state.trim_end_matches(['\0', '\n']));
                }
                self.database(sink)?.sql(&script)?;
            }
            other => return Err(Error::Failed(format!("{other:?} is not for this host"))),
        }
        Ok("null".to_owned())
    }
}

fn client_psql(client: &PgServer, database: &Database, script: &str) {
    let mut child = client
        .client("psql", &database.name)
        .env("PGPORT", database.server.port().to_string())
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let script = script.to_owned();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(script.as_bytes());
    });
    let output = child.wait_with_output().expect("psql ends");
    let _ = writer.join();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn transaction(statements: &[String]) -> String {
    format!("BEGIN;\n{};\nCOMMIT;", statements.join(";\n"))
}

fn copy_out(database: &Database, command: &str) -> Result<Vec<u8>> {
    let output = database
        .server
        .client("psql", &database.name)
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", command])
        .env("PGOPTIONS", "-c search_path= -c row_security=off")
        .output()
        .expect("psql runs");
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(Error::Failed(String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn copy_in(database: &Database, command: &str, rows: Vec<u8>) -> Result<()> {
    let mut child = database
        .server
        .client("psql", &database.name)
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", command])
        .env("PGOPTIONS", "-c search_path= -c row_security=off")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&rows);
    });
    let output = child.wait_with_output().expect("psql ends");
    let _ = writer.join();
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Failed(format!("{command}: {}", String::from_utf8_lossy(&output.stderr))))
}

pub struct NativeEffect(Submitted);

impl EffectHandle for NativeEffect {
    fn after<K: AsRef<str>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.0.after.extend(keys.into_iter().map(|key| key.as_ref().to_owned()));
        self
    }
}

fn effect(key: &str, request: Request) -> NativeEffect {
    NativeEffect(Submitted { key: key.to_owned(), after: Vec::new(), request })
}

pub struct NativeRows(VecDeque<Vec<String>>);

impl RowSource for NativeRows {
    fn next_page(&mut self) -> Result<Vec<String>> {
        Ok(self.0.pop_front().unwrap_or_default())
    }
}

pub struct NoObjects;

impl VersionSource for NoObjects {
    fn next_page(&mut self) -> Result<Vec<ObjectVersion>> {
        Ok(Vec::new())
    }
}

impl ObjectSource for NoObjects {
    fn next_page(&mut self) -> Result<Vec<ObjectInfo>> {
        Ok(Vec::new())
    }
}

fn not_here<T>(what: &str) -> Result<T> {
    Err(Error::Denied(format!("{what} is not granted here")))
}

impl Host for NativeHost {
    type Effect = NativeEffect;
    type Rows = NativeRows;
    type Objects = NoObjects;
    type Versions = NoObjects;

    fn mode(&self) -> Mode {
        self.mode.get()
    }

    fn log(&self, _level: Level, message: &str) {
        self.logs.borrow_mut().push(message.to_owned());
    }

    fn progress(&self, _label: &str, _done: u64, _total: Option<u64>, _unit: &str) {}

    fn memo_json(&self, key: &str, value: Option<String>) -> Option<String> {
        let mut memos = self.memos.borrow_mut();
        match (memos.get(key).cloned(), value) {
            (Some(kept), _) => Some(kept),
            (None, Some(value)) => {
                if self.mode.get() == Mode::Apply {
                    memos.insert(key.to_owned(), value.clone());
                }
                Some(value)
            }
            (None, None) => None,
        }
    }

    fn granted(&self, slot: &str) -> Option<Granted> {
        let database = self.slots.get(slot)?;
        let identity = format!("postgres://127.0.0.1:{}/{}", database.server.port(), database.name);
        Some(Granted { write: slot != "source", identity, secrets: Vec::new() })
    }

    fn submit(&self, batch: Vec<NativeEffect>) -> Result<()> {
        let mut asked = self.asked.borrow_mut();
        asked.extend(batch.iter().map(|effect| effect.0.key.clone()));
        for NativeEffect(submitted) in &batch {
            for key in &submitted.after {
                assert!(asked.contains(key), "`{}` waits for `{key}`, which nobody submitted", submitted.key);
            }
        }
        let mut waiting: VecDeque<Submitted> = batch.into_iter().map(|effect| effect.0).collect();
        let mut idle = 0;
        while let Some(submitted) = waiting.pop_front() {
            if waiting.iter().any(|other| submitted.after.contains(&other.key)) {
                idle += 1;
                assert!(idle <= waiting.len(), "`{}` waits for itself in a circle", submitted.key);
                waiting.push_back(submitted);
                continue;
            }
            idle = 0;
            if self.mode.get() == Mode::Plan {
                let result = Err(Error::Pending("a plan performs nothing".into()));
                self.queue.borrow_mut().push_back(Outcome { key: submitted.key, result });
                continue;
            }
            let found = self.journal.borrow().iter().find(|(s, _)| s.key == submitted.key).cloned();
            let result = match found {
                Some((journalled, _)) if journalled.request != submitted.request => {
                    return Err(Error::Conflict(format!(
                        "`{}` was asked for with another request: {:?} and {:?}",
                        submitted.key, journalled.request, submitted.request
                    )));
                }
                Some((_, Ok(result))) => Ok(result),
                _ => {
                    if let Some(left) = self.crash_after.get() {
                        if left == 0 {
                            return Err(Error::Failed("crashed".into()));
                        }
                        self.crash_after.set(Some(left - 1));
                    }
                    let failed = self
                        .journal
                        .borrow()
                        .iter()
                        .any(|(s, r)| r.is_err() && submitted.after.contains(&s.key));
                    let result = if failed {
                        Err(Error::Failed(format!("`{}` was cancelled", submitted.key)))
                    } else {
                        self.perform(&submitted)
                    };
                    let mut journal = self.journal.borrow_mut();
                    journal.retain(|(s, _)| s.key != submitted.key);
                    journal.push((submitted.clone(), result.clone()));
                    result
                }
            };
            self.queue.borrow_mut().push_back(Outcome { key: submitted.key, result });
        }
        Ok(())
    }

    fn next(&self, max: u32) -> Result<Vec<Outcome>> {
        let mut queue = self.queue.borrow_mut();
        let count = queue.len().min(max as usize);
        Ok(queue.drain(..count).collect())
    }

    fn evidence(&self, key: &str) -> Result<Option<Evidence>> {
        Ok(self.evidence.borrow().get(key).map(|(evidence, ..)| evidence.clone()))
    }

    fn observe(&self, keys: &[&str]) -> Vec<Result<Evidence>> {
        let evidence = self.evidence.borrow();
        keys.iter()
            .map(|key| {
                let (_, sink, options) =
                    evidence.get(*key).ok_or_else(|| Error::Missing(format!("no transfer `{key}`")))?;
                self.database(&sink.slot)?.evidence(sink, options)
            })
            .collect()
    }

    fn query(&self, slot: &str, sql: &str, params: &[Option<&str>]) -> Result<NativeRows> {
        assert!(params.is_empty(), "this host takes no parameters");
        Ok(NativeRows(self.rows(slot, sql)?.chunks(1000).map(<[String]>::to_vec).collect()))
    }

    fn answers(&self, questions: &[Question]) -> Vec<Result<Vec<String>>> {
        questions.iter().map(|question| self.rows(&question.slot, &question.sql)).collect()
    }

    fn execute(&self, slot: &str, key: &str, request: Execute) -> Result<NativeEffect> {
        Ok(effect(key, Request::Execute { slot: slot.to_owned(), request }))
    }

    fn copy_table(
        &self,
        key: &str,
        source: Table,
        sink: Table,
        options: CopyOptions,
    ) -> Result<NativeEffect> {
        Ok(effect(key, Request::CopyTable { source, sink, options }))
    }

    fn copy_sequences(
        &self,
        key: &str,
        source_slot: &str,
        sink_slot: &str,
        sequences: &[(String, String)],
    ) -> Result<NativeEffect> {
        let (source, sink) = (source_slot.to_owned(), sink_slot.to_owned());
        Ok(effect(key, Request::CopySequences { source, sink, sequences: sequences.to_vec() }))
    }

    fn create_database(&self, _: &str, _: &str, _: DatabaseOptions) -> Result<NativeEffect> {
        not_here("create_database")
    }

    fn read_file(&self, _: &str, _: &str) -> Result<Vec<u8>> {
        not_here("files")
    }

    fn read_file_range(&self, _: &str, _: &str, _: u64, _: u32) -> Result<Vec<u8>> {
        not_here("files")
    }

    fn stat_file(&self, _: &str, _: &str) -> Result<Option<FileStat>> {
        not_here("files")
    }

    fn list_files(&self, _: &str, _: &str) -> Result<Vec<FileStat>> {
        not_here("files")
    }

    fn write_file(&self, _: &str, _: &str, _: &str, _: &[u8]) -> Result<NativeEffect> {
        not_here("files")
    }

    fn delete_file(&self, _: &str, _: &str, _: &str) -> Result<NativeEffect> {
        not_here("files")
    }

    fn dump_table(&self, _: &str, _: Table, _: RowsFile, _: CopyOptions) -> Result<NativeEffect> {
        not_here("archive")
    }

    fn load_table(
        &self,
        _: &str,
        _: RowsFile,
        _: Option<Block>,
        _: Option<&str>,
        _: Table,
    ) -> Result<NativeEffect> {
        not_here("archive")
    }

    fn load_objects(&self, _: &str, _: Vec<ObjectsFile>, _: &str) -> Result<NativeEffect> {
        not_here("archive")
    }

    fn archive_blocks(&self, _: &str, _: &str, _: u64) -> Result<Vec<Block>> {
        not_here("archive")
    }

    fn seal_archive(&self, _: &str, _: &str, _: &str, _: Vec<Piece>) -> Result<NativeEffect> {
        not_here("archive")
    }

    fn describe_endpoint(&self, _: &str) -> Result<Endpoint> {
        not_here("objects")
    }

    fn list_objects(&self, _: &str, _: &str, _: &str, _: Option<&str>) -> Result<NoObjects> {
        not_here("objects")
    }

    fn list_versions(&self, _: &str, _: &str, _: &str) -> Result<NoObjects> {
        not_here("objects")
    }

    fn stat_objects(&self, _: &str, _: &str, _: &[&str]) -> Vec<Result<Option<ObjectInfo>>> {
        vec![not_here("objects")]
    }

    fn compare_objects(&self, _: &[(Location, Location)], _: bool) -> Vec<Result<Comparison>> {
        vec![not_here("objects")]
    }

    fn bucket_setting(&self, _: &str, _: &str, _: BucketSetting) -> Result<Setting> {
        not_here("objects")
    }

    fn cors_preflight(&self, _: &str, _: &str, _: &str, _: &PreflightAsk) -> Result<Preflight> {
        not_here("objects")
    }

    fn copy_versions(
        &self,
        _: &str,
        _: Location,
        _: Location,
        _: Vec<VersionCopy>,
        _: bool,
    ) -> Result<NativeEffect> {
        not_here("objects")
    }

    fn set_bucket_setting(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: BucketSetting,
        _: Option<&str>,
    ) -> Result<NativeEffect> {
        not_here("objects")
    }

    fn probe_bucket(&self, _: &str, _: &str, _: &str, _: &str) -> Result<NativeEffect> {
        not_here("objects")
    }

    fn head_object(&self, _: &str, _: &str, _: &str) -> Result<Option<ObjectHead>> {
        not_here("objects")
    }

    fn bucket_exists(&self, _: &str, _: &str) -> Result<bool> {
        not_here("objects")
    }

    fn bucket_cors(&self, _: &str, _: &str) -> Result<Option<String>> {
        not_here("objects")
    }

    fn presigned_get(&self, _: &str, _: &str, _: &str) -> Result<Presigned> {
        not_here("objects")
    }

    fn copy_object(
        &self,
        _: &str,
        _: Location,
        _: Location,
        _: u64,
        _: &str,
        _: ObjectCopy,
    ) -> Result<NativeEffect> {
        not_here("objects")
    }

    fn put_object(
        &self,
        _: &str,
        _: Location,
        _: &[u8],
        _: Option<&str>,
        _: Replaces,
    ) -> Result<NativeEffect> {
        not_here("objects")
    }

    fn delete_object(&self, _: &str, _: Location, _: &str) -> Result<NativeEffect> {
        not_here("objects")
    }

    fn create_bucket(&self, _: &str, _: &str, _: &str) -> Result<NativeEffect> {
        not_here("objects")
    }

    fn set_cors(&self, _: &str, _: &str, _: &str, _: &[CorsRule]) -> Result<NativeEffect> {
        not_here("objects")
    }
}
