//! One part of a copy: rows out of the snapshot, into one transaction of the sink that begins with its marker.

use std::sync::Arc;

use godwit_model::capability::StepScope;
use godwit_model::effect::{Consistency, CopyTable};
use godwit_model::{EffectKey, Error, Json, Result};
use serde_json::json;

use super::{Ends, PartDone, Plan, Range, only};
use crate::catalog::{Column, Table};
use crate::errors::Failure;
use crate::gate;
use crate::marker::{self, Marker};
use crate::pool::{Lease, Permit};
use crate::quote::{ident, idents, qualified};
use crate::transfer::{self, Counter};
use crate::wire::Wire;

/// One copy's parts, as they share what they need.
pub struct Job<'a> {
    pub scope: &'a StepScope,
    pub key: &'a EffectKey,
    pub request: &'a CopyTable,
    pub ends: &'a Ends,
    pub sink_table: &'a Table,
    pub plan: &'a Plan,
    pub columns: &'a [&'a Column],
    pub whole: bool,
}

impl Job<'_> {
    /// Copies one part, or learns from its marker that it is done.
    pub async fn part(&self, index: u32, range: Range) -> Result<PartDone> {
        let (mut source, mut sink) = self.connect().await?;
        let marker = Marker::of(self.scope, self.key, index);
        let begin = self.sink_sql(&marker);
        let out =
            format!("COPY ({}) TO STDOUT WITH (FORMAT {})", self.select(range)?, self.plan.format.name());
        let (begun, started) = tokio::join!(sink.copy_in(&begin), source.copy_out(&out));
        let begun = match begun {
            Ok(begun) => begun,
            Err(failure) if marker::is_done(&failure) => return self.was_done(sink, &marker).await,
            Err(failure) => return Err(self.named(failure)),
        };
        started.map_err(|failure| self.named(failure))?;
        let found_rows = match self.plan.found_rows {
            Some(found) => found,
            None => begun.get(2).and_then(|reply| reply.one()) == Some("t"),
        };
        let label = self.request.source.label();
        let counter = Counter { progress: self.scope.progress.as_ref(), label: &label };
        let moved = if self.scope.transforms.applies(&label) {
            let pipes = transfer::pipes(self.scope, &label, &self.shape()).await?;
            transfer::transform(&mut source, &mut sink, pipes, &counter).await
        } else {
            transfer::forward(&mut source, &mut sink, self.plan.format, &counter).await
        };
        let sum = moved.map_err(|failure| self.named(failure))?;
        if sum.rows == 0 && self.whole {
            // Before the sink commits: a source that came out empty has to be empty.
            self.prove_empty_by(&mut source).await?;
        }
        let mut done = PartDone { sum, generation: self.ends.leader.generation, found_rows, xid: 0 };
        let note = serde_json::to_string(&done).map_err(|e| Error::host(e.to_string()))?;
        let replies =
            sink.copy_end(&self.end_sql(&marker, &note)).await.map_err(|failure| self.named(failure))?;
        let taken = replies.first().map_or(0, |reply| reply.affected());
        if taken != sum.rows {
            return Err(Error::failed(format!(
                "copy of {label}: {} rows were sent, and {} took {taken}",
                sum.rows,
                self.request.sink.label()
            ))
            .hint("look for a trigger or a rule that keeps rows out of the target"));
        }
        let xid = replies.iter().rev().find_map(|reply| reply.one());
        done.xid = xid.and_then(|xid| xid.parse().ok()).unwrap_or(0);
        source.keep();
        sink.keep();
        Ok(done)
    }

    /// A connection to each end, taken in an order that can't block.
    async fn connect(&self) -> Result<(Lease<Wire>, Lease<Wire>)> {
        let (from, to) = (&self.ends.source, &self.ends.sink);
        let (one, other): (Permit, Permit) = if Arc::ptr_eq(&from.server, &to.server) {
            from.server.two_permits().await?
        } else if from.server.config.name < to.server.config.name {
            let one = from.server.permit().await?;
            (one, to.server.permit().await?)
        } else {
            let other = to.server.permit().await?;
            (from.server.permit().await?, other)
        };
        tokio::try_join!(self.ends.leader.reader(one), other.wire(&to.database, &to.application))
    }

    /// What the source sends.
    fn select(&self, range: Range) -> Result<String> {
        let request = self.request;
        let mut conditions: Vec<String> = range.condition().into_iter().collect();
        if let Some(filter) = &request.filter {
            conditions.push(gate::admit_filter(filter)?);
        }
        let only = if request.only && self.ends.table.kind != "p" { "ONLY " } else { "" };
        let mut sql = format!(
            "SELECT {} FROM {only}{}",
            idents(request.source.columns.iter().map(String::as_str)),
            qualified(&request.source.schema, &request.source.name)
        );
        if !conditions.is_empty() {
            sql.push_str(" WHERE ");
            sql.push_str(&conditions.join(" AND "));
        }
        Ok(sql)
    }

    /// The sink's transaction up to the rows: one request.
    fn sink_sql(&self, marker: &Marker<'_>) -> String {
        let sink = &self.request.sink;
        let name = qualified(&sink.schema, &sink.name);
        let mut sql = format!("BEGIN; {}; ", marker.insert());
        if self.plan.found_rows.is_none() {
            sql.push_str(&format!("SELECT EXISTS (SELECT 1 FROM {}); ", self.sink_only()));
        }
        for trigger in &self.sink_table.triggers {
            sql.push_str(&format!("ALTER TABLE {name} DISABLE TRIGGER {}; ", ident(&trigger.name)));
        }
        let columns = match sink.columns.as_slice() {
            [] => String::new(),
            columns => format!(" ({})", idents(columns.iter().map(String::as_str))),
        };
        sql.push_str(&format!("COPY {name}{columns} FROM STDIN WITH (FORMAT {})", self.plan.format.name()));
        sql
    }

    fn end_sql(&self, marker: &Marker<'_>, note: &str) -> String {
        let name = qualified(&self.request.sink.schema, &self.request.sink.name);
        let mut sql = String::new();
        for trigger in &self.sink_table.triggers {
            let how = if trigger.enabled == "A" { "ENABLE ALWAYS" } else { "ENABLE" };
            sql.push_str(&format!("ALTER TABLE {name} {how} TRIGGER {}; ", ident(&trigger.name)));
        }
        sql.push_str(&format!("{}; COMMIT", marker.annotate(note)));
        sql
    }

    fn sink_only(&self) -> String {
        only(&qualified(&self.request.sink.schema, &self.request.sink.name), self.sink_table.kind == "p")
    }

    /// The marker was there: the part is done, and the marker says with what.
    async fn was_done(&self, mut sink: Lease<Wire>, marker: &Marker<'_>) -> Result<PartDone> {
        let lost = || {
            Error::conflict(format!(
                "copy of {}: its marker in the sink can't be read",
                self.request.source.label()
            ))
        };
        sink.simple("ROLLBACK").await?;
        let replies = sink.simple(&marker.select()).await?;
        sink.keep();
        let row = replies.first().and_then(|reply| reply.rows.first()).ok_or_else(lost)?;
        let [Some(note), Some(xid)] = row.as_slice() else { return Err(lost()) };
        let mut done: PartDone = serde_json::from_str(note).map_err(|_| lost())?;
        done.xid = xid.parse().map_err(|_| lost())?;
        if self.request.consistency == Consistency::Snapshot && done.generation != self.ends.leader.generation
        {
            return Err(Error::conflict(format!(
                "copy of {}: the sink holds rows of snapshot {}, and this is snapshot {}",
                self.request.source.label(),
                done.generation,
                self.ends.leader.generation
            ))
            .hint("`godwit resume` begins the copied tables again"));
        }
        Ok(done)
    }

    /// Zero rows moved is a success only where the source counts zero.
    async fn prove_empty_by(&self, source: &mut Wire) -> Result<()> {
        let sql = format!("SELECT count(*) FROM ({}) AS q", self.select(Range::default())?);
        let replies = source.simple(&sql).await?;
        match replies.first().and_then(|reply| reply.one()) {
            Some("0") => Ok(()),
            counted => Err(Error::failed(format!(
                "copy of {}: no rows came, and the source counts {}",
                self.request.source.label(),
                counted.unwrap_or("none")
            ))
            .hint("see the source's log; nothing was committed")),
        }
    }

    /// The same for a table in several parts, once all are done.
    pub async fn prove_empty(&self) -> Result<()> {
        let mut source = self.ends.leader.reader(self.ends.source.server.permit().await?).await?;
        self.prove_empty_by(&mut source).await?;
        source.keep();
        Ok(())
    }

    /// The stream's description for a transform; see `transform` in the WIT.
    fn shape(&self) -> Json {
        let columns: Vec<Json> =
            self.columns.iter().map(|column| json!({ "name": column.name, "type": column.r#type })).collect();
        json!({
            "kind": "table",
            "schema": self.request.source.schema,
            "table": self.request.source.name,
            "root": self.ends.table.root,
            "columns": columns,
            "format": "text",
        })
    }

    fn named(&self, failure: Failure) -> Error {
        Error::from(failure).context(format!("copy of {}", self.request.source.label()))
    }
}
