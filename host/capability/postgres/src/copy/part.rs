//! One part of a copy: rows out of the snapshot, into one transaction of the sink that begins with its marker.

use std::sync::Arc;

use godwit_model::capability::StepScope;
use godwit_model::effect::{Consistency, CopyTable};
use godwit_model::{EffectKey, Error, Result};

use super::landing::{Landing, may_freeze};
use super::{Ends, PartDone, Plan, Range};
use crate::catalog::{Column, Table};
use crate::errors::Failure;
use crate::gate;
use crate::large_objects;
use crate::marker::{self, Marker};
use crate::pool::{Lease, Permit};
use crate::quote::{idents, qualified};
use crate::transfer::{self, Counter, Lines, MAX_TRANSFORMED_ROW, Rows};
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
        let landing = self.landing();
        let out =
            format!("COPY ({}) TO STDOUT WITH (FORMAT {})", self.select(range)?, self.plan.format.name());
        let (begun, started) = tokio::join!(landing.start(&mut sink, &marker), source.copy_out(&out));
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
        if found_rows && large_objects::are_in(&self.request.sink) {
            return Err(large_objects::in_the_way(&self.ends.sink.identity()));
        }
        let label = self.request.source.label();
        let counter = Counter { progress: self.scope.progress.as_ref(), label: &label };
        let moved = if self.scope.transforms.applies(&label) {
            let pipes = transfer::pipes(
                self.scope,
                &label,
                &transfer::shape(&self.request.source, &self.ends.table, self.columns),
            )
            .await?;
            let rows = Rows { wire: &mut source, max_row: MAX_TRANSFORMED_ROW };
            transfer::text(rows, Lines::new(&mut sink), pipes, &counter).await
        } else {
            transfer::forward(&mut source, &mut sink, self.plan.format, &counter).await
        };
        let sum = moved.map_err(|failure| self.named(failure))?;
        if sum.rows == 0 && self.whole {
            // Before the sink commits: a source that came out empty has to be empty.
            self.prove_empty_by(&mut source).await?;
        }
        let done = PartDone { sum, generation: self.ends.leader.generation, found_rows, xid: 0 };
        let done = landing.finish(&mut sink, &marker, done).await?;
        source.keep();
        sink.keep();
        Ok(done)
    }

    /// A connection to each end, taken in an order that can't block.
    async fn connect(&self) -> Result<(Lease, Lease)> {
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
        let from = match large_objects::are_in(&request.source) {
            true => large_objects::ROWS.to_owned(),
            false => format!("{only}{}", qualified(&request.source.schema, &request.source.name)),
        };
        let mut sql =
            format!("SELECT {} FROM {from}", idents(request.source.columns.iter().map(String::as_str)));
        if !conditions.is_empty() {
            sql.push_str(" WHERE ");
            sql.push_str(&conditions.join(" AND "));
        }
        Ok(sql)
    }

    fn landing(&self) -> Landing<'_> {
        Landing {
            sink: &self.request.sink,
            table: self.sink_table,
            format: self.plan.format,
            encoding: None,
            found_rows: self.plan.found_rows,
            label: &self.request.source,
            freeze: self.whole
                && !large_objects::are_in(&self.request.sink)
                && may_freeze(self.sink_table, self.ends.table.bytes),
        }
    }

    /// The marker was there: the part is done, and the marker says with what.
    async fn was_done(&self, sink: Lease, marker: &Marker<'_>) -> Result<PartDone> {
        let done = self.landing().was_done(sink, marker).await?;
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

    fn named(&self, failure: Failure) -> Error {
        Error::from(failure).context(format!("copy of {}", self.request.source.label()))
    }
}
