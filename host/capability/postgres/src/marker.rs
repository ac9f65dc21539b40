//! Markers: what a run has done in a target, kept in the target by the same transactions.
//!
//! A transaction of an effect begins by inserting its key under a unique index. Done twice, the second insert fails;
//! done by an orphan that hasn't committed yet, it waits for the orphan. The record of the run refuses another run.

use godwit_model::capability::StepScope;
use godwit_model::{EffectKey, Error, Result, RunId, StepId};
use serde::{Deserialize, Serialize};

use crate::errors::Failure;
use crate::quote::{literal, nullable};
use crate::wire::Wire;

/// The schema of the markers.
pub const SCHEMA: &str = "godwit_marker";

/// Serialises the making and the removal of the schema; no other program has a reason for this pair of keys. Event triggers
/// of the target may forbid what is none of their business: as far as the role may, they are passed over meanwhile.
const LOCK: &str = "SELECT pg_catalog.pg_advisory_xact_lock(1735357556, 1),
    (SELECT pg_catalog.set_config('session_replication_role', 'replica', true)
     WHERE pg_catalog.current_setting('is_superuser') = 'on')";

/// A run that has markers in a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkerStatus {
    pub run: RunId,
    /// The machine it was started on.
    pub host: String,
    /// As the target's clock had it, in UTC.
    pub started_at: String,
    /// Effects and parts that the target has and the run hasn't cleaned up yet.
    pub effects: u64,
}

/// Makes the schema and the run's record, unless they are there. Another run's record is a conflict, unless `undoes`
/// names it. One round trip.
pub async fn register(session: &mut Wire, run: &RunId, undoes: Option<&RunId>, at: &str) -> Result<()> {
    let known = crate::quote::literals([Some(run), undoes].into_iter().flatten().map(RunId::as_str));
    let sql = format!(
        "BEGIN; {LOCK};
         CREATE SCHEMA IF NOT EXISTS {SCHEMA};
         CREATE TABLE IF NOT EXISTS {SCHEMA}.run (id text PRIMARY KEY, host text NOT NULL, undoes text,
           started_at timestamptz NOT NULL DEFAULT pg_catalog.now());
         CREATE TABLE IF NOT EXISTS {SCHEMA}.effect (run text NOT NULL, step text NOT NULL, key text NOT NULL,
           part int4 NOT NULL, at timestamptz NOT NULL DEFAULT pg_catalog.now(), xid int8, note text,
           PRIMARY KEY (run, step, key, part));
         INSERT INTO {SCHEMA}.run (id, host, undoes) SELECT {run}, {host}, {undoes}
           WHERE NOT EXISTS (SELECT 1 FROM {SCHEMA}.run WHERE id NOT IN ({known})) ON CONFLICT (id) DO NOTHING;
         SELECT id, host, started_at::text FROM {SCHEMA}.run WHERE id NOT IN ({known}) LIMIT 1;
         COMMIT",
        run = literal(run.as_str()),
        host = literal(&host_name()),
        undoes = nullable(undoes.map(RunId::as_str)),
    );
    let replies = session.simple(&sql).await.map_err(|e| e.context("the markers can't be prepared"))?;
    let foreign = replies.iter().flat_map(|reply| &reply.rows).find(|row| row.len() == 3);
    match foreign.map(Vec::as_slice) {
        Some([Some(id), Some(host), Some(started)]) => Err(Error::conflict(format!(
            "{at} belongs to the unfinished run {id}, started on {host} at {started}"
        ))
        .hint(format!(
            "finish it (`godwit resume {id}`) or take it back (`godwit undo {id}`); \
             `godwit target status` shows it, `godwit target release` drops its claim"
        ))),
        _ => Ok(()),
    }
}

/// Names one marker.
#[derive(Clone, Copy, Debug)]
pub struct Marker<'a> {
    pub run: &'a RunId,
    pub step: &'a StepId,
    pub key: &'a EffectKey,
    pub part: u32,
}

impl<'a> Marker<'a> {
    pub fn of(scope: &'a StepScope, key: &'a EffectKey, part: u32) -> Self {
        Self { run: &scope.run, step: &scope.step, key, part }
    }

    /// The first statement of an effect's transaction.
    pub fn insert(&self) -> String {
        format!(
            "INSERT INTO {SCHEMA}.effect (run, step, key, part) VALUES ({}, {}, {}, {})",
            literal(self.run.as_str()),
            literal(self.step.as_str()),
            literal(self.key.as_str()),
            self.part
        )
    }

    /// Keeps a note with the marker and answers the transaction's number.
    pub fn annotate(&self, note: &str) -> String {
        format!(
            "UPDATE {SCHEMA}.effect SET note = {}, xid = pg_catalog.txid_current() WHERE {} RETURNING xid::text",
            literal(note),
            self.condition()
        )
    }

    /// The note and the transaction of a marker that is there.
    pub fn select(&self) -> String {
        format!("SELECT note, xid::text FROM {SCHEMA}.effect WHERE {}", self.condition())
    }

    fn condition(&self) -> String {
        format!(
            "run = {} AND step = {} AND key = {} AND part = {}",
            literal(self.run.as_str()),
            literal(self.step.as_str()),
            literal(self.key.as_str()),
            self.part
        )
    }
}

/// Whether a transaction failed because its marker was there: the effect is done.
pub fn is_done(failure: &Failure) -> bool {
    failure.is("23505") && failure.constraint.as_ref().is_some_and(|c| c.0 == format!("{SCHEMA}.effect"))
}

/// Whether an error says that there are no markers at all.
pub fn is_absent(failure: &Failure) -> bool {
    failure.is("42P01") || failure.is("3F000") || failure.is("3D000")
}

/// A marker as the target has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub key: EffectKey,
    pub part: u32,
    pub note: Option<String>,
    pub xid: Option<String>,
}

/// The markers of one step; empty where the schema isn't there.
pub async fn of_step(session: &mut Wire, run: &RunId, step: &StepId) -> Result<Vec<Found>> {
    let sql = format!(
        "SELECT key, part::text, note, xid::text FROM {SCHEMA}.effect WHERE run = {} AND step = {} ORDER BY key, part",
        literal(run.as_str()),
        literal(step.as_str())
    );
    let replies = match session.simple(&sql).await {
        Ok(replies) => replies,
        Err(failure) if is_absent(&failure) => return Ok(Vec::new()),
        Err(failure) => return Err(failure.into()),
    };
    let rows = replies.into_iter().flat_map(|reply| reply.rows);
    Ok(rows
        .filter_map(|row| {
            let [Some(key), Some(part), note, xid] = <[Option<String>; 4]>::try_from(row).ok()? else {
                return None;
            };
            Some(Found { key: key.into(), part: part.parse().ok()?, note, xid })
        })
        .collect())
}

/// Whether a run claims a target: its record is there, so its markers say all that it did and that still stands.
pub async fn claims(session: &mut Wire, run: &RunId) -> Result<bool> {
    let sql = format!("SELECT 1 FROM {SCHEMA}.run WHERE id = {}", literal(run.as_str()));
    match session.simple(&sql).await {
        Ok(replies) => Ok(replies.iter().any(|reply| !reply.rows.is_empty())),
        Err(failure) if is_absent(&failure) => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}

/// The statement that removes markers of some effects of a step.
pub fn delete(run: &RunId, step: &StepId, keys: &[EffectKey]) -> String {
    format!(
        "DELETE FROM {SCHEMA}.effect WHERE run = {} AND step = {} AND key IN ({})",
        literal(run.as_str()),
        literal(step.as_str()),
        crate::quote::literals(keys.iter().map(EffectKey::as_str))
    )
}

/// The runs that have markers.
pub async fn status(session: &mut Wire) -> Result<Vec<MarkerStatus>> {
    let sql = format!(
        "SELECT r.id, r.host, r.started_at::text,
           (SELECT pg_catalog.count(*) FROM {SCHEMA}.effect e WHERE e.run = r.id)::text
         FROM {SCHEMA}.run r ORDER BY r.started_at"
    );
    let replies = match session.simple(&sql).await {
        Ok(replies) => replies,
        Err(failure) if is_absent(&failure) => return Ok(Vec::new()),
        Err(failure) => return Err(failure.into()),
    };
    let rows = replies.into_iter().flat_map(|reply| reply.rows);
    Ok(rows
        .filter_map(|row| {
            let [Some(run), Some(host), Some(started_at), Some(effects)] =
                <[Option<String>; 4]>::try_from(row).ok()?
            else {
                return None;
            };
            Some(MarkerStatus { run: run.into(), host, started_at, effects: effects.parse().ok()? })
        })
        .collect())
}

/// Removes a run's markers and those of what it undid (all, for `None`), and the schema with the last run.
/// Returns what was removed, in words.
pub async fn remove(session: &mut Wire, run: Option<&RunId>) -> Result<Option<String>> {
    let whose = |column: &str| {
        run.map_or_else(
            || "true".to_owned(),
            |run| {
                let run = literal(run.as_str());
                format!("{column} = {run} OR {column} IN (SELECT undoes FROM {SCHEMA}.run WHERE id = {run})")
            },
        )
    };
    let sql = format!(
        "BEGIN; {LOCK};
         DELETE FROM {SCHEMA}.effect WHERE {};
         DELETE FROM {SCHEMA}.run WHERE {};
         SELECT pg_catalog.count(*)::text FROM {SCHEMA}.run",
        whose("run"),
        whose("id"),
    );
    let replies = match session.simple(&sql).await {
        Ok(replies) => replies,
        Err(failure) if is_absent(&failure) => {
            // The transaction is open and aborted.
            session.simple("ROLLBACK").await?;
            return Ok(None);
        }
        Err(failure) => return Err(failure.into()),
    };
    let removed = |index: usize| replies.get(index).map_or(0, |reply| reply.affected());
    let (effects, runs) = (removed(2), removed(3));
    if replies.last().and_then(|reply| reply.one()) == Some("0") {
        let drop =
            format!("DROP TABLE {SCHEMA}.effect; DROP TABLE {SCHEMA}.run; DROP SCHEMA {SCHEMA}; COMMIT");
        session.simple(&drop).await.map_err(|e| e.context(format!("schema {SCHEMA} can't be dropped")))?;
        return Ok(Some(format!("{effects} markers and the schema {SCHEMA}")));
    }
    session.simple("COMMIT").await?;
    Ok((runs > 0 || effects > 0).then(|| format!("{effects} markers")))
}

/// The name of this machine, for the record of a run.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "an unnamed machine".to_owned())
}
