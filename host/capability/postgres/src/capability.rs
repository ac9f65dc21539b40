//! The capability itself: what it knows of a run's places, and what lives as long as a step.

mod effects;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use async_trait::async_trait;
use godwit_model::capability::{
    ArchiveReads, Capability, Connection, Cursor, FileStreams, History, Ledger, Performed, PostgresReads,
    StepScope, UndoAction,
};
use godwit_model::effect::{
    Action, Block, CopyTable, Done, DumpTable, Effect, Evidence, LoadTable, Preparation, SealArchive, Table,
};
use godwit_model::plugin::{Access, ConnectionKind, Grant, Mode};
use godwit_model::{ConnectionName, Digest, EffectKey, Error, Fault, Json, Result, RunId, SlotName};
use tokio::sync::Mutex;

use crate::archive::{self, Dump, FilePlace, Load, Seal};
use crate::catalog::{self, Schema};
use crate::config::Config;
use crate::copy::{self, Ends, Fingerprint};
use crate::marker::{self, MarkerStatus};
use crate::place::{Place, StepKey, application};
use crate::pool::Server;
use crate::reads::Opening;
use crate::snapshot::{Leader, Leaders, Succession};
use crate::undo::{Planner, Request};
use crate::{frozen, gate, large_objects, orphans, reads, resume, waits};

/// Databases of PostgreSQL servers, 12 and newer.
pub struct Postgres {
    servers: HashMap<ConnectionName, Arc<Server>>,
    /// Where archives are; without it there are none.
    files: Option<Arc<dyn FileStreams>>,
    /// Tells this process's sessions from those of a former one.
    process: String,
    steps: StdMutex<HashMap<StepKey, Arc<Step>>>,
    /// Targets whose markers are prepared, by run.
    registered: Mutex<HashSet<(RunId, String)>>,
    /// `system_identifier` by target, where the role may read it.
    systems: Mutex<HashMap<String, Option<String>>>,
}

/// What lives as long as a step's call.
#[derive(Default)]
struct Step {
    leaders: Leaders,
    /// Tables of sinks by database and schema. Read again where a table isn't among them.
    sinks: Mutex<HashMap<(String, String), Arc<Schema>>>,
}

impl Postgres {
    /// Takes the connections of kind `postgres`; others are passed over. Opens none.
    pub fn new(connections: Vec<Connection>) -> Result<Self> {
        let mut servers = HashMap::new();
        for connection in connections.iter().filter(|connection| connection.kind == ConnectionKind::Postgres)
        {
            servers.insert(connection.name.clone(), Arc::new(Server::new(Config::new(connection)?)));
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let seed = format!("{} {}", std::process::id(), now.as_nanos());
        let process = Digest::of(seed.as_bytes()).as_str().chars().take(8).collect();
        Ok(Self {
            servers,
            files: None,
            process,
            steps: StdMutex::default(),
            registered: Mutex::default(),
            systems: Mutex::default(),
        })
    }

    /// Lets rows move between databases and files.
    pub fn with_files(mut self, files: Arc<dyn FileStreams>) -> Self {
        self.files = Some(files);
        self
    }

    /// The runs that have markers in a target.
    pub async fn target_status(&self, grant: &Grant) -> Result<Vec<MarkerStatus>> {
        let mut session = self.place(grant, "godwit/target/status")?.wire().await?;
        let status = marker::status(&mut session).await?;
        session.keep();
        Ok(status)
    }

    /// Removes the markers of one run, or of all, from a target: what the run did there stays, but the run can't be
    /// resumed any more. Returns what was removed, in words.
    pub async fn target_release(&self, grant: &Grant, run: Option<&RunId>) -> Result<Option<String>> {
        let mut session = self.place(grant, "godwit/target/release")?.wire().await?;
        let removed = marker::remove(&mut session, run).await?;
        session.keep();
        self.registered.lock().await.clear();
        Ok(removed)
    }

    fn application(&self, scope: &StepScope) -> String {
        application(&scope.run, scope.step.as_str(), &self.process)
    }

    fn place(&self, grant: &Grant, application: &str) -> Result<Place> {
        let server = self.servers.get(&grant.connection).ok_or_else(|| {
            Error::invalid(format!(
                "slot `{}` is granted connection `{}`, which isn't a postgres one",
                grant.slot, grant.connection
            ))
        })?;
        Ok(Place {
            database: grant.database.clone().unwrap_or_else(|| server.config.database.clone()),
            server: server.clone(),
            application: application.to_owned(),
        })
    }

    fn slot(&self, scope: &StepScope, slot: &SlotName) -> Result<Place> {
        self.place(scope.grant(slot)?, &self.application(scope))
    }

    /// The connection's own database, by way of which another one is made.
    fn own(&self, scope: &StepScope, slot: &SlotName) -> Result<Place> {
        let place = self.slot(scope, slot)?;
        let own = place.server.config.database.clone();
        Ok(place.beside(&own))
    }

    /// Closes what is open to a database and not in use, by whichever connection.
    async fn leave(&self, database: &str) {
        for server in self.servers.values() {
            server.close_idle(|key| key.database == database).await;
        }
    }

    fn step(&self, scope: &StepScope) -> Arc<Step> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.entry((scope.run.clone(), scope.step.clone())).or_default().clone()
    }

    /// Prepares a target's markers, once for a run and process.
    async fn register(&self, scope: &StepScope, place: &Place, undoes: Option<&RunId>) -> Result<()> {
        let mut registered = self.registered.lock().await;
        let key = (scope.run.clone(), place.identity());
        if registered.contains(&key) {
            return Ok(());
        }
        let mut session = place.wire().await?;
        marker::register(&mut session, &scope.run, undoes, &place.identity()).await?;
        session.keep();
        registered.insert(key);
        Ok(())
    }

    /// The databases that a step may touch.
    fn places(&self, scope: &StepScope) -> Result<Vec<Place>> {
        let grants = scope.grants.iter().filter(|grant| grant.kind == ConnectionKind::Postgres);
        grants.map(|grant| self.place(grant, &self.application(scope))).collect()
    }

    /// A sink's table as it is now, or was when its schema was last read.
    async fn sink_table(&self, step: &Step, place: &Place, table: &Table) -> Result<catalog::Table> {
        let mut sinks = step.sinks.lock().await;
        let key = (place.identity(), table.schema.clone());
        if let Some(found) = sinks.get(&key).and_then(|schema| schema.get(&table.name)) {
            return Ok(found.clone());
        }
        let mut session = place.wire().await?;
        let replies = session.simple(&catalog::query(&table.schema)).await?;
        session.keep();
        let schema = Arc::new(catalog::read(&replies.into_iter().next().unwrap_or_default())?);
        sinks.insert(key, schema.clone());
        schema.get(&table.name).cloned().ok_or_else(|| {
            Error::missing(format!("{} has no table {}", place.identity(), table.label()))
                .hint("create the table before rows are copied into it")
        })
    }

    /// A table as the step's snapshot has it.
    async fn source(
        &self,
        scope: &StepScope,
        step: &Step,
        named: &Table,
    ) -> Result<(Place, Arc<Leader>, catalog::Table)> {
        let source = self.slot(scope, &named.slot)?;
        let leader = step.leaders.get(scope, &source, Succession::Refuse).await?;
        let schema = leader.schema(&named.schema).await?;
        let table = schema
            .get(&named.name)
            .cloned()
            .ok_or_else(|| Error::missing(format!("{} has no table {}", source.identity(), named.label())))?;
        Ok((source, leader, table))
    }

    fn streams(&self) -> Result<Arc<dyn FileStreams>> {
        self.files.clone().ok_or_else(|| Error::host("this capability was made without files"))
    }

    fn file(&self, scope: &StepScope, slot: &SlotName, path: &str) -> Result<FilePlace> {
        Ok(FilePlace { files: self.streams()?, grant: scope.grant(slot)?.clone(), path: path.to_owned() })
    }

    fn dump<'a>(
        &self,
        scope: &'a StepScope,
        effect: &'a Effect,
        request: &'a DumpTable,
        source: &'a Place,
        leader: &'a Leader,
        table: &'a catalog::Table,
    ) -> Result<Dump<'a>> {
        let sink = self.file(scope, &request.sink.slot, &request.sink.path)?;
        Ok(Dump { scope, effect, request, source, leader, table, sink })
    }

    fn load<'a>(
        &self,
        scope: &'a StepScope,
        effect: &'a Effect,
        request: &'a LoadTable,
        sink: &'a Place,
    ) -> Result<Load<'a>> {
        let source = self.file(scope, &request.source.slot, &request.source.path)?;
        Ok(Load { scope, effect, request, source, sink })
    }

    fn seal<'a>(
        &self,
        scope: &'a StepScope,
        effect: &'a Effect,
        request: &'a SealArchive,
    ) -> Result<Seal<'a>> {
        let sink = self.file(scope, &request.slot, &request.path)?;
        Ok(Seal { scope, effect, request, sink })
    }

    async fn ends(&self, scope: &StepScope, step: &Step, request: &CopyTable) -> Result<Ends> {
        let (source, leader, table) = self.source(scope, step, &request.source).await?;
        let sink = self.slot(scope, &request.sink.slot)?;
        if source.identity() == sink.identity() && same_table(request) {
            return Err(overlap(&source, &sink, request));
        }
        Ok(Ends { source, sink, leader, table })
    }

    /// Refuses a sink that is the source under another name.
    async fn refuse_overlap(&self, ends: &Ends, request: &CopyTable) -> Result<()> {
        if !same_table(request) || ends.source.database != ends.sink.database {
            return Ok(());
        }
        let Some(source) = &ends.leader.system else { return Ok(()) };
        let mut systems = self.systems.lock().await;
        let key = ends.sink.identity();
        if !systems.contains_key(&key) {
            let mut session = ends.sink.wire().await?;
            let answer =
                session.simple("SELECT system_identifier::text FROM pg_catalog.pg_control_system()").await;
            let system = match answer {
                Ok(replies) => {
                    session.keep();
                    replies.first().and_then(|reply| reply.one()).map(str::to_owned)
                }
                Err(failure) if failure.is("42501") => None,
                Err(failure) => return Err(failure.into()),
            };
            systems.insert(key.clone(), system);
        }
        match systems.get(&key) {
            Some(Some(sink)) if sink == source => Err(overlap(&ends.source, &ends.sink, request)),
            _ => Ok(()),
        }
    }
}

fn same_table(request: &CopyTable) -> bool {
    (&request.source.schema, &request.source.name) == (&request.sink.schema, &request.sink.name)
}

fn overlap(source: &Place, sink: &Place, request: &CopyTable) -> Error {
    Error::invalid(format!(
        "{} and {} are the same database: {} would be copied into itself",
        source.identity(),
        sink.identity(),
        request.source.label()
    ))
    .hint("grant another database as the target")
}

#[async_trait]
impl Capability for Postgres {
    fn identity(&self, grant: &Grant) -> Result<String> {
        Ok(self.place(grant, "")?.identity())
    }

    async fn check_frozen(&self, scope: &StepScope, grant: &Grant) -> Result<()> {
        let place = self.place(grant, &self.application(scope))?;
        if frozen::is_declared(scope, &place).await? {
            frozen::check_finally(scope, &place).await?;
        }
        Ok(())
    }

    async fn open_step(&self, scope: &StepScope, known: &dyn History) -> Result<Vec<EffectKey>> {
        let step = self.step(scope);
        // What is far away is connected to while the guest reads elsewhere. Another database than the connection's own may be
        // one that is still to be made.
        for grant in scope.grants.iter().filter(|grant| grant.kind == ConnectionKind::Postgres) {
            if grant.database.is_none() {
                let place = self.place(grant, &self.application(scope))?;
                place.server.warm_up(place.database, place.application);
            }
        }
        if scope.mode != Mode::Apply {
            return Ok(Vec::new());
        }
        let known = known.all().await?;
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let mut seen = HashSet::new();
        for place in self.places(scope)? {
            if seen.insert(place.identity()) {
                orphans::end(&place, &scope.run, &self.process).await?;
            }
        }
        let slot = |slot: &SlotName| self.slot(scope, slot);
        let begun = resume::begin_again(scope, &step.leaders, &known, &slot);
        waits::told(scope, &self.places(scope)?, begun).await
    }

    async fn close_step(&self, scope: &StepScope) -> Result<()> {
        let step = {
            let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.remove(&(scope.run.clone(), scope.step.clone()))
        };
        if let Some(step) = step {
            step.leaders.release().await;
        }
        let application = self.application(scope);
        // What comes next goes on with its connections: the run after a plan, the verification after an apply, another step, the
        // cleanup. Those of its snapshot are nothing to anybody.
        for server in self.servers.values() {
            server.close_idle(|key| key.application == application && key.snapshot.is_some()).await;
        }
        Ok(())
    }

    async fn prepare(&self, scope: &StepScope, effect: &Effect) -> Result<Preparation> {
        waits::told(scope, &self.places(scope)?, self.prepare_effect(scope, effect)).await
    }

    fn names(&self, effect: &Effect, preparation: &Preparation, done: Option<&Done>) -> Option<Vec<String>> {
        let noted = match &effect.action {
            // Its table may be made by the same step: the load itself sees it first.
            Action::LoadTable(_) => &done?.fingerprint,
            _ => &preparation.before,
        };
        Some(copy::root(noted).into_iter().collect())
    }

    async fn perform(
        &self,
        scope: &StepScope,
        effect: &Effect,
        preparation: &Preparation,
        ledger: &dyn Ledger,
        resumed: bool,
    ) -> Result<Done> {
        let work = self.perform_effect(scope, effect, preparation, ledger, resumed);
        waits::told(scope, &self.places(scope)?, work).await
    }

    async fn observe(&self, scope: &StepScope, performed: &Performed) -> Result<Evidence> {
        let sink = match &performed.effect.action {
            Action::CopyTable(request) => &request.sink,
            Action::LoadTable(request) => &request.sink,
            Action::DumpTable(request) => {
                let file = self.file(scope, &request.sink.slot, &request.sink.path)?;
                return archive::observe_dump(
                    &file,
                    request.sink.compression,
                    large_objects::are_in(&request.source),
                    performed,
                )
                .await;
            }
            Action::SealArchive(request) => {
                return archive::observe_seal(&self.file(scope, &request.slot, &request.path)?, request)
                    .await;
            }
            _ => {
                return Err(Error::invalid(format!("effect `{}` moves no rows", performed.effect.key))
                    .fault(Fault::Plugin));
            }
        };
        let done = performed.done.as_ref().ok_or_else(|| {
            Error::conflict(format!(
                "effect `{}` isn't done: there is nothing to compare",
                performed.effect.key
            ))
        })?;
        let fingerprint: Fingerprint = serde_json::from_value(done.fingerprint.clone()).map_err(|e| {
            Error::host(format!("the fingerprint of `{}` can't be read: {e}", performed.effect.key))
        })?;
        copy::observe(scope, &self.slot(scope, &sink.slot)?, sink, &fingerprint).await
    }

    async fn plan_undo(&self, scope: &StepScope, performed: &dyn History) -> Result<Vec<UndoAction>> {
        let performed = performed.all().await?;
        let file = |slot: &SlotName, path: &str| self.file(scope, slot, path);
        Planner::new(scope, &|slot| self.slot(scope, slot), &file, &self.process).plan(&performed).await
    }

    async fn undo(
        &self,
        scope: &StepScope,
        action: &UndoAction,
        discard: bool,
        resumed: bool,
    ) -> Result<Json> {
        let request = Request::read(&action.request)?;
        let place = match &request {
            Request::RemoveFile { slot, path, before, sha256, seal } => {
                let file = self.file(scope, slot, path)?;
                return crate::undo::remove_file(
                    &file,
                    &scope.step,
                    action,
                    before,
                    sha256.as_ref(),
                    seal.as_ref(),
                    // Of several files some are gone by then.
                    discard || resumed && seal.is_some(),
                )
                .await;
            }
            Request::DropDatabase { slot, name } => {
                self.leave(name).await;
                self.own(scope, slot)?
            }
            _ => {
                let place = self.slot(scope, request.slot())?;
                self.register(scope, &place, request.run()).await?;
                place
            }
        };
        let work = crate::undo::perform(scope, &place, action, &request, discard, resumed);
        waits::told(scope, std::slice::from_ref(&place), work).await
    }

    async fn cleanup(&self, run: &RunId, grant: &Grant) -> Result<Option<String>> {
        if grant.access < Access::Write {
            return Ok(None);
        }
        let place = self.place(grant, &application(run, "cleanup", &self.process))?;
        let mut session = match place.wire().await {
            Ok(session) => session,
            // An undo has dropped the database, and the markers with it.
            Err(e) if e.code.as_deref() == Some("3D000") => return Ok(None),
            Err(e) => return Err(e),
        };
        let removed = marker::remove(&mut session, Some(run)).await?;
        session.end().await;
        self.registered.lock().await.remove(&(run.clone(), place.identity()));
        Ok(removed)
    }
}

#[async_trait]
impl ArchiveReads for Postgres {
    async fn blocks(&self, grant: &Grant, path: &str, start: u64) -> Result<Vec<Block>> {
        let place = FilePlace { files: self.streams()?, grant: grant.clone(), path: path.to_owned() };
        archive::blocks(&place, start).await
    }
}

#[async_trait]
impl PostgresReads for Postgres {
    async fn query(
        &self,
        scope: &StepScope,
        grant: &Grant,
        sql: &str,
        params: &[Option<String>],
    ) -> Result<Box<dyn Cursor>> {
        let query = gate::admit(sql)?;
        let place = self.place(grant, &self.application(scope))?;
        let (scope, step, access, params) = (scope.clone(), self.step(scope), grant.access, params.to_vec());
        Ok(Box::new(Opening::new(async move {
            let opened = async {
                match access {
                    Access::Read => {
                        let leader = step.leaders.get(&scope, &place, Succession::Refuse).await?;
                        reads::in_snapshot(leader, &query, &params).await
                    }
                    // What the step has written so far has to be seen.
                    Access::Write => reads::fresh(&place, &query, &params).await,
                }
            };
            waits::told(&scope, std::slice::from_ref(&place), opened).await
        })))
    }

    async fn answer(
        &self,
        scope: &StepScope,
        grant: &Grant,
        sql: &str,
        params: &[Option<String>],
    ) -> Result<Vec<String>> {
        let query = gate::admit(sql)?;
        let place = self.place(grant, &self.application(scope))?;
        let answered = async {
            match grant.access {
                Access::Read => {
                    let leader = self.step(scope).leaders.get(scope, &place, Succession::Refuse).await?;
                    reads::answer_in_snapshot(&place, &leader, &query, params).await
                }
                Access::Write => reads::answer_fresh(&place, &query, params).await,
            }
        };
        waits::told(scope, std::slice::from_ref(&place), answered).await
    }
}
