//! The leader of a step's source: one snapshot that every query and copy of the step sees.
//!
//! The leader's transaction is REPEATABLE READ and READ ONLY and exports its snapshot; copies import it. A snapshot
//! has a generation, journalled among the step's notes: parts that were copied under another one aren't done. It is
//! the same generation as long as the server's snapshot reads the same, whichever session took it: then every
//! transaction is as visible or invisible as it was before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use godwit_model::capability::StepScope;
use godwit_model::plugin::Mode;
use godwit_model::{Error, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OwnedSemaphorePermit};

use crate::catalog::{self, Schema};
use crate::errors::Failure;
use crate::frozen;
use crate::place::Place;
use crate::pool::{Lease, Permit};
use crate::quote::{literal, qualified};
use crate::wire::{Page, Reply};

/// What a step's notes keep of the snapshots of one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    generation: u32,
    /// `txid_current_snapshot()` as the server wrote it.
    visible: String,
    /// Something was copied under it that relies on it.
    used: bool,
}

/// The holder of a source's snapshot, for the length of a step.
#[derive(Debug)]
pub struct Leader {
    place: Place,
    wire: Mutex<LeaderWire>,
    /// The name under which other sessions import the snapshot.
    exported: String,
    visible: String,
    /// `system_identifier`, where the role may read it.
    pub system: Option<String>,
    /// `server_version_num`.
    pub version: u32,
    /// 0 outside of an apply, where nothing is copied.
    pub generation: u32,
    /// How the source was when the snapshot was taken.
    pub mark: Option<frozen::Mark>,
    used: AtomicBool,
    lost: AtomicBool,
    schemas: Mutex<HashMap<String, Arc<Schema>>>,
    /// Portals of cursors that were given up.
    abandoned: StdMutex<Vec<String>>,
    _turn: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct LeaderWire {
    lease: Lease,
    /// A savepoint of the last query is still there.
    savepoint: bool,
    portals: u64,
}

/// The leaders of one step, by source.
#[derive(Debug, Default)]
pub struct Leaders(Mutex<HashMap<String, Arc<Leader>>>);

/// Whether a snapshot that was lost may be followed by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// Yes: what was copied under the former one will be copied again.
    BeginAgain,
    /// Only where nothing was copied under the former one.
    Refuse,
}

impl Leaders {
    /// The leader of a source, opened at the first call.
    pub async fn get(&self, scope: &StepScope, place: &Place, succession: Succession) -> Result<Arc<Leader>> {
        let mut leaders = self.0.lock().await;
        let key = format!("{} {}", place.server.config.name, place.identity());
        if let Some(leader) = leaders.get(&key) {
            if !leader.lost.load(Ordering::Acquire) {
                return Ok(leader.clone());
            }
            leaders.remove(&key);
        }
        let mut leader = Leader::open(place, scope.mode == Mode::Apply).await?;
        if scope.mode == Mode::Apply {
            let note = format!("snapshot {}", place.identity());
            let known: Option<Note> = match scope.notes.get(&note).await? {
                Some(json) => Some(serde_json::from_value(json).map_err(|e| {
                    Error::host(format!("note `{note}` of step `{}` can't be read: {e}", scope.step))
                })?),
                None => None,
            };
            let same = known.as_ref().is_some_and(|known| known.visible == leader.visible);
            let used = known.as_ref().is_some_and(|known| known.used);
            if used && !same && succession == Succession::Refuse {
                return Err(Error::failed(format!(
                    "{}: the session that held the snapshot of step `{}` is gone, and the database has been written \
                     to since",
                    place.identity(),
                    scope.step
                ))
                .hint("`godwit resume` takes a new snapshot and begins the copied tables again"));
            }
            leader.generation = match &known {
                None => 1,
                Some(known) if same => known.generation,
                Some(known) => known.generation + 1,
            };
            leader.used = AtomicBool::new(used && same);
            if !same {
                leader.set_note(scope, false).await?;
            }
        }
        let leader = Arc::new(leader);
        leaders.insert(key, leader.clone());
        Ok(leader)
    }

    /// Lets all snapshots go; their connections may be used again.
    pub async fn release(&self) {
        let leaders = std::mem::take(&mut *self.0.lock().await);
        for leader in leaders.into_values().filter_map(Arc::into_inner) {
            let lost = leader.lost.into_inner();
            let mut lease = leader.wire.into_inner().lease;
            if !lost && lease.simple_unawaited("ROLLBACK").await.is_ok() {
                lease.keep();
            }
        }
    }
}

impl Leader {
    /// `counting`: with what a frozen source is compared with later on, in the same request.
    async fn open(place: &Place, counting: bool) -> Result<Self> {
        let (turn, permit) = place.server.leader_permit().await?;
        let mut lease = permit.wire(&place.database, &place.application).await?;
        const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
            SELECT pg_catalog.pg_export_snapshot(), pg_catalog.txid_current_snapshot()::text,
                   pg_catalog.current_setting('server_version_num')";
        const SYSTEM: &str = "(SELECT system_identifier::text FROM pg_catalog.pg_control_system())";
        let counts = if counting { format!("; {}", frozen::QUERY) } else { String::new() };
        let replies = match lease.simple(&format!("{BEGIN}, {SYSTEM}{counts}")).await {
            // Some hosted servers keep the identifier from everybody.
            Err(failure) if failure.is("42501") => {
                lease.simple("ROLLBACK").await?;
                lease.simple(&format!("{BEGIN}, NULL{counts}")).await?
            }
            other => other?,
        };
        // After BEGIN's.
        let row = replies.get(1).and_then(|reply| reply.rows.first()).map(Vec::as_slice);
        let Some([Some(exported), Some(visible), Some(version), system]) = row else {
            return Err(Error::failed(format!("{}: the server exported no snapshot", place.identity())));
        };
        Ok(Self {
            exported: exported.clone(),
            visible: visible.clone(),
            version: version.parse().unwrap_or(0),
            system: system.clone(),
            mark: replies.get(2).map(|reply| frozen::read(place, reply)).transpose()?,
            place: place.clone(),
            wire: Mutex::new(LeaderWire { lease, savepoint: false, portals: 0 }),
            generation: 0,
            used: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            schemas: Mutex::default(),
            abandoned: StdMutex::default(),
            _turn: turn,
        })
    }

    /// Journals that something is about to be copied under this snapshot.
    pub async fn mark_used(&self, scope: &StepScope) -> Result<()> {
        if self.used.load(Ordering::Acquire) {
            return Ok(());
        }
        self.set_note(scope, true).await?;
        self.used.store(true, Ordering::Release);
        Ok(())
    }

    async fn set_note(&self, scope: &StepScope, used: bool) -> Result<()> {
        let note = Note { generation: self.generation, visible: self.visible.clone(), used };
        let json = serde_json::to_value(note).map_err(|e| Error::host(e.to_string()))?;
        scope.notes.set(&format!("snapshot {}", self.place.identity()), json).await
    }

    /// A connection that sees the snapshot.
    pub async fn reader(&self, permit: Permit) -> Result<Lease> {
        let reader = permit.reader(&self.place.database, &self.place.application, &self.exported).await;
        reader.map_err(|error| match error.code.as_deref() {
            // «snapshot … does not exist», as 16 and older and 17 and newer say it: the leader's session is gone.
            Some("22023" | "42704") => {
                self.lost.store(true, Ordering::Release);
                Error::unavailable(format!(
                    "{}: the session that held the snapshot is gone",
                    self.place.identity()
                ))
            }
            _ => error,
        })
    }

    /// Runs one of our own reading statements.
    pub async fn catalog(&self, sql: &str) -> Result<Reply> {
        let mut wire = self.wire.lock().await;
        wire.savepoint(self).await?;
        match wire.lease.simple(sql).await {
            Ok(mut replies) => Ok(replies.pop().unwrap_or_default()),
            Err(failure) => Err(wire.recover(self, failure).await.into()),
        }
    }

    /// The tables of a schema, as the snapshot has them.
    pub async fn schema(&self, schema: &str) -> Result<Arc<Schema>> {
        let mut schemas = self.schemas.lock().await;
        if let Some(known) = schemas.get(schema) {
            return Ok(known.clone());
        }
        let tables = Arc::new(catalog::read(&self.catalog(&catalog::query(schema)).await?)?);
        // Nobody rewrites the system's own.
        if self.generation > 0 && schema != "pg_catalog" {
            self.lock(schema, &tables).await?;
        }
        schemas.insert(schema.to_owned(), tables.clone());
        Ok(tables)
    }

    /// Locks tables against changes of their form for as long as the snapshot lives: a table that is truncated or
    /// rewritten after the snapshot was taken would read as empty.
    async fn lock(&self, schema: &str, tables: &Schema) -> Result<()> {
        let readable =
            tables.iter().filter(|(_, table)| table.readable && matches!(table.kind.as_str(), "r" | "p"));
        let names: Vec<String> =
            readable.map(|(name, _)| format!("ONLY {}", qualified(schema, name))).collect();
        if names.is_empty() {
            return Ok(());
        }
        // The savepoint moves past the lock, or an error later on would give it back.
        let sql = format!(
            "LOCK TABLE {} IN ACCESS SHARE MODE; RELEASE SAVEPOINT godwit; SAVEPOINT godwit; {}",
            names.join(", "),
            changed_form(schema)
        );
        let changed = self.catalog(&sql).await?;
        let changed: Vec<&str> = changed.rows.iter().flatten().flatten().map(String::as_str).collect();
        if changed.is_empty() {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "{}: truncated, rewritten, replaced or dropped since the snapshot was taken, so that their rows can't be read \
             under it: {}",
            self.place.identity(),
            changed.join(", ")
        ))
        .hint("`godwit resume` copies tables as they are then; where one is gone, undo the run and begin anew"))
    }

    /// Opens a portal over a guest's query, which passed the gate; its name and the first rows.
    pub async fn open_portal(
        &self,
        sql: &str,
        params: &[Option<String>],
        rows: i32,
    ) -> Result<(String, Page)> {
        let mut wire = self.wire.lock().await;
        let abandoned = std::mem::take(&mut *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner));
        wire.portals += 1;
        let portal = format!("godwit_{}", wire.portals);
        let before: &[&str] = if wire.savepoint {
            &["RELEASE SAVEPOINT godwit", "SAVEPOINT godwit"]
        } else {
            &["SAVEPOINT godwit"]
        };
        match wire.lease.open_portal(&abandoned, before, &portal, sql, params, rows).await {
            Ok(page) => {
                wire.savepoint = true;
                Ok((portal, page))
            }
            Err(failure) => {
                wire.savepoint = true;
                Err(wire.recover(self, failure).await.into())
            }
        }
    }

    pub async fn fetch_portal(&self, portal: &str, rows: i32) -> Result<Page> {
        let mut wire = self.wire.lock().await;
        match wire.lease.fetch_portal(portal, rows).await {
            Ok(page) => Ok(page),
            Err(failure) => Err(wire.recover(self, failure).await.into()),
        }
    }

    /// Closes a portal at the next opportunity.
    pub fn abandon(&self, portal: String) {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).push(portal);
    }

    /// Marks the snapshot as lost where an error says that the session is.
    fn notice(&self, failure: Failure) -> Failure {
        let code = failure.error.code.as_deref().unwrap_or("");
        if code.is_empty() || code.starts_with("08") || code.starts_with("57P") {
            self.lost.store(true, Ordering::Release);
        }
        failure
    }
}

/// Tables of a schema whose rows aren't in the file any more in which the snapshot has them, or whose name leads to
/// another table. Functions and names see the catalogs as they are now, tables of the catalog as the snapshot has them.
fn changed_form(schema: &str) -> String {
    format!(
        "SELECT {schema} || '.' || c.relname
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = {schema} AND c.relkind IN ('r', 'p')
           AND (pg_catalog.to_regclass(pg_catalog.format('%I.%I', n.nspname, c.relname)) IS DISTINCT FROM c.oid
             OR pg_catalog.pg_relation_filenode(c.oid) IS DISTINCT FROM NULLIF(c.relfilenode, 0))
         ORDER BY 1",
        schema = literal(schema)
    )
}

impl LeaderWire {
    async fn savepoint(&mut self, leader: &Leader) -> Result<(), Failure> {
        if !self.savepoint {
            self.lease.simple("SAVEPOINT godwit").await.map_err(|failure| leader.notice(failure))?;
            self.savepoint = true;
        }
        Ok(())
    }

    /// After a server's error: back to the savepoint, so that the snapshot lives on.
    async fn recover(&mut self, leader: &Leader, failure: Failure) -> Failure {
        let failure = leader.notice(failure);
        if !leader.lost.load(Ordering::Acquire)
            && self.lease.simple("ROLLBACK TO SAVEPOINT godwit").await.is_err()
        {
            leader.lost.store(true, Ordering::Release);
        }
        failure
    }
}
