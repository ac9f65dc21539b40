//! The sink's side of what fills a table: one transaction that begins with its marker and ends with its annotation.

use godwit_model::effect::Table as Named;
use godwit_model::{Error, Result};

use super::{PartDone, in_encoding, only};
use crate::catalog::Table;
use crate::digest::Format;
use crate::errors::Failure;
use crate::large_objects;
use crate::marker::Marker;
use crate::pool::Lease;
use crate::quote::{ident, idents, qualified};
use crate::wire::{Reply, Wire};

/// One transaction that fills a table, or a part of it.
pub struct Landing<'a> {
    pub sink: &'a Named,
    pub table: &'a Table,
    pub format: Format,
    /// Of rows as text; `None` is the connection's.
    pub encoding: Option<&'a str>,
    /// Whether the sink held rows before; `None`: the transaction finds out, by the third of its statements.
    pub found_rows: Option<bool>,
    /// What is copied, for messages.
    pub label: &'a Named,
    /// Rows are written as frozen ones, so that nothing has to be written again for them: by whoever fills a table in one
    /// transaction, where [`Landing::may_freeze`].
    pub freeze: bool,
}

/// Below this it isn't worth a lock and a new file.
pub const WORTH_FREEZING: u64 = 8 << 20;

/// Why a server doesn't freeze: a table with rows isn't truncated, one that others point at can't be, nobody gave the
/// privilege, the language is gone (`object_not_in_prerequisite_state`, `feature_not_supported`,
/// `insufficient_privilege`, `undefined_object`).
const NOT_FROZEN: [&str; 4] = ["55000", "0A000", "42501", "42704"];

/// Whether a table is one that the run has made and not yet given indexes, and that is filled by one transaction.
pub fn may_freeze(table: &Table, bytes: u64) -> bool {
    table.is_heap() && table.triggers.is_empty() && !table.has_indexes && bytes >= WORTH_FREEZING
}

impl Landing<'_> {
    /// The transaction up to the rows: one request.
    pub async fn start(&self, sink: &mut Wire, marker: &Marker<'_>) -> Result<Vec<Reply>, Failure> {
        match sink.copy_in(&self.begin(marker, self.freeze)).await {
            Err(failure) if self.freeze && NOT_FROZEN.iter().any(|code| failure.is(code)) => {
                sink.simple("ROLLBACK").await?;
                sink.copy_in(&self.begin(marker, false)).await
            }
            other => other,
        }
    }

    fn begin(&self, marker: &Marker<'_>, freeze: bool) -> String {
        let name = qualified(&self.sink.schema, &self.sink.name);
        let mut sql = format!("BEGIN; {}; ", marker.insert());
        if large_objects::are_in(self.sink) {
            sql.push_str(&format!(
                "{}; {}; COPY {} FROM STDIN WITH (FORMAT {})",
                large_objects::EXIST,
                large_objects::make_view(self.table.block),
                large_objects::VIEW,
                self.format.name()
            ));
            return sql;
        }
        if self.found_rows.is_none() {
            sql.push_str(&format!("SELECT EXISTS (SELECT 1 FROM {}); ", only(&name, self.table.kind == "p")));
        }
        for trigger in &self.table.triggers {
            sql.push_str(&format!("ALTER TABLE {name} DISABLE TRIGGER {}; ", ident(&trigger.name)));
        }
        if freeze {
            // COPY freezes where its own transaction has truncated the table; that must take nobody's rows, and COPY itself
            // would refuse only once rows are on their way.
            let name = only(&name, false);
            sql.push_str(&format!(
                "DO $godwit$ BEGIN LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE; \
                 IF EXISTS (SELECT 1 FROM {name}) THEN RAISE USING ERRCODE = '55000'; END IF; \
                 TRUNCATE {name}; END $godwit$; "
            ));
        }
        let columns = match self.sink.columns.as_slice() {
            [] => String::new(),
            columns => format!(" ({})", idents(columns.iter().map(String::as_str))),
        };
        let frozen = if freeze { ", FREEZE" } else { "" };
        sql.push_str(&format!(
            "COPY {name}{columns} FROM STDIN WITH (FORMAT {}{}{frozen})",
            self.format.name(),
            in_encoding(self.encoding)
        ));
        sql
    }

    /// Ends the rows and commits; `done` comes back with the transaction's number.
    pub async fn finish(&self, sink: &mut Wire, marker: &Marker<'_>, mut done: PartDone) -> Result<PartDone> {
        let note = serde_json::to_string(&done).map_err(|e| Error::host(e.to_string()))?;
        let replies = sink.copy_end(&self.end(marker, &note)).await.map_err(|failure| self.named(failure))?;
        let taken = replies.first().map_or(0, |reply| reply.affected());
        if taken != done.sum.rows {
            return Err(Error::failed(format!(
                "copy of {}: {} rows were sent, and {} took {taken}",
                self.label.label(),
                done.sum.rows,
                self.sink.label()
            ))
            .hint("look for a trigger or a rule that keeps rows out of the target"));
        }
        let xid = replies.iter().rev().find_map(|reply| reply.one());
        done.xid = xid.and_then(|xid| xid.parse().ok()).unwrap_or(0);
        Ok(done)
    }

    fn end(&self, marker: &Marker<'_>, note: &str) -> String {
        let name = qualified(&self.sink.schema, &self.sink.name);
        let mut sql = String::new();
        if large_objects::are_in(self.sink) {
            sql.push_str(&format!("{}; ", large_objects::DROP_VIEW));
        }
        for trigger in &self.table.triggers {
            let how = if trigger.enabled == "A" { "ENABLE ALWAYS" } else { "ENABLE" };
            sql.push_str(&format!("ALTER TABLE {name} {how} TRIGGER {}; ", ident(&trigger.name)));
        }
        sql.push_str(&format!("{}; COMMIT", marker.annotate(note)));
        sql
    }

    /// The marker was there: the transaction is done, and the marker says with what.
    pub async fn was_done(&self, mut sink: Lease, marker: &Marker<'_>) -> Result<PartDone> {
        let lost = || {
            Error::conflict(format!("copy of {}: its marker in the sink can't be read", self.label.label()))
        };
        sink.simple("ROLLBACK").await?;
        let replies = sink.simple(&marker.select()).await?;
        sink.keep();
        let row = replies.first().and_then(|reply| reply.rows.first()).ok_or_else(lost)?;
        let [Some(note), Some(xid)] = row.as_slice() else { return Err(lost()) };
        let mut done: PartDone = serde_json::from_str(note).map_err(|_| lost())?;
        done.xid = xid.parse().map_err(|_| lost())?;
        Ok(done)
    }

    fn named(&self, failure: Failure) -> Error {
        Error::from(failure).context(format!("copy of {}", self.label.label()))
    }
}
