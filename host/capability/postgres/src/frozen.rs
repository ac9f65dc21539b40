//! `frozen`: the proof that a source took no writes.
//!
//! A transaction that writes can't end without changing `txid_current_snapshot()`, be it one that has begun since, which
//! moves its upper bound, or one that was at work before, which is on its list. So the same text proves that nothing
//! was written. Autovacuum and other databases of the server change it too: then the tables' own counters say what was
//! possibly written. A session hands its counts on when it is idle, up to ten seconds late (from 15 on; before, with
//! its next statement or its end), so that counters that stand still are looked at again where it matters. A standby
//! counts nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use godwit_model::capability::StepScope;
use godwit_model::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::place::Place;
use crate::snapshot::Leader;
use crate::wire::Reply;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// `txid_current_snapshot()` as the server wrote it.
    visible: String,
    /// The server replays what another one writes.
    standby: bool,
    /// By table: rows inserted, updated and deleted since the statistics began, and the file the table is in.
    tables: BTreeMap<String, String>,
}

/// Asks for a [`Mark`].
pub const QUERY: &str =
    "SELECT pg_catalog.txid_current_snapshot()::text, pg_catalog.pg_is_in_recovery()::text,
  (SELECT pg_catalog.json_object_agg(n.nspname || '.' || c.relname,
      (pg_catalog.pg_stat_get_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_tuples_updated(c.oid)
       + pg_catalog.pg_stat_get_tuples_deleted(c.oid))::text || '@' || c.relfilenode)::text
   FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
     AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp%')";

/// How long a session may keep its counts to itself while it is idle (PGSTAT_IDLE_INTERVAL, pgstat.c), and a little.
const COUNTS_ARRIVE: Duration = Duration::from_secs(11);

/// Compares the source with how the step found it, by its snapshot's `leader`, which is journalled at the first call. A
/// source that was written to is a conflict that names both values and the tables; `Some` says that the value moved and
/// no counter did.
pub async fn check(scope: &StepScope, place: &Place, leader: Option<&Leader>) -> Result<Option<String>> {
    let mut session = place.wire().await?;
    let replies = session.simple(QUERY).await?;
    session.keep();
    let now = read(place, &replies.into_iter().next().unwrap_or_default())?;
    let note = note(place);
    let found: Mark = match scope.notes.get(&note).await? {
        Some(found) => serde_json::from_value(found)
            .map_err(|e| Error::host(format!("note `{note}` of step `{}` can't be read: {e}", scope.step)))?,
        None => {
            let found = leader.and_then(|leader| leader.mark.as_ref()).unwrap_or(&now);
            let json = serde_json::to_value(found).map_err(|e| Error::host(e.to_string()))?;
            scope.notes.set(&note, json).await?;
            found.clone()
        }
    };
    compare(&found, &now).map_err(|why| {
        Error::conflict(format!("{} was declared frozen, but {why}", place.identity()))
            .hint("stop what writes to the source, then run again; or copy with `consistency: snapshot`")
    })
}

/// The same, for the last time: counters that stood still are looked at again once the counts of idle sessions have
/// arrived.
pub async fn check_finally(scope: &StepScope, place: &Place) -> Result<()> {
    if check(scope, place, None).await?.is_some() {
        tokio::time::sleep(COUNTS_ARRIVE).await;
        check(scope, place, None).await?;
    }
    Ok(())
}

/// Reads what [`QUERY`] answers.
pub fn read(place: &Place, reply: &Reply) -> Result<Mark> {
    let row = reply.rows.first().map(Vec::as_slice);
    let Some([Some(visible), Some(standby), tables]) = row else {
        return Err(Error::failed(format!(
            "{}: the server doesn't say which transactions it has seen",
            place.identity()
        )));
    };
    let tables = serde_json::from_str(tables.as_deref().unwrap_or("{}")).map_err(|e| {
        Error::failed(format!("{}: the tables' counters can't be read: {e}", place.identity()))
    })?;
    Ok(Mark { visible: visible.clone(), standby: standby == "true", tables })
}

/// Whether the step has declared this source frozen, and so journalled how it found it.
pub async fn is_declared(scope: &StepScope, place: &Place) -> Result<bool> {
    Ok(scope.notes.get(&note(place)).await?.is_some())
}

fn note(place: &Place) -> String {
    format!("frozen {}", place.identity())
}

fn compare(found: &Mark, now: &Mark) -> Result<Option<String>, String> {
    if found.visible == now.visible {
        return Ok(None);
    }
    let moved = format!("its transactions moved from {} to {}", found.visible, now.visible);
    let names = found.tables.keys().chain(now.tables.keys().filter(|name| !found.tables.contains_key(*name)));
    let changed: Vec<&str> =
        names.filter(|name| found.tables.get(*name) != now.tables.get(*name)).map(String::as_str).collect();
    if changed.is_empty() && now.standby {
        return Err(format!("{moved}, and a standby doesn't count what is written to which table"));
    }
    if changed.is_empty() {
        return Ok(Some(format!(
            "{moved}, though no table's counters did: the server's own maintenance, or another database's writes"
        )));
    }
    Err(format!("{moved}, and these tables were possibly written to: {}", changed.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(visible: &str, tables: &[(&str, &str)]) -> Mark {
        let tables = tables.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Mark { visible: visible.into(), standby: false, tables }
    }

    #[test]
    fn only_a_moved_snapshot_with_moved_counters_is_a_conflict() {
        let found = mark("10", &[("a", "1@1"), ("b", "2@2")]);
        assert_eq!(compare(&found, &mark("10", &[])), Ok(None));
        assert!(matches!(compare(&found, &mark("12", &[("a", "1@1"), ("b", "2@2")])), Ok(Some(_))));
        let why = compare(&found, &mark("12", &[("a", "1@1"), ("b", "3@2"), ("c", "0@3")])).unwrap_err();
        assert!(why.contains("from 10 to 12") && why.ends_with("b, c"), "{why}");
        // What was at work at the beginning has ended since.
        assert!(compare(&mark("9:12:9", &[("a", "1@1")]), &mark("12:12:", &[("a", "2@1")])).is_err());
        let standby = Mark { standby: true, ..mark("12", &[("a", "1@1"), ("b", "2@2")]) };
        assert!(compare(&found, &standby).unwrap_err().contains("standby"));
    }
}
