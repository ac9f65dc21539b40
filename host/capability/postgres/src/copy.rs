//! Copies of tables: format, parts, one transaction for each part.

mod landing;
mod part;

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use godwit_model::capability::{Ledger, StepScope};
use godwit_model::effect::{
    Class, Consistency, CopyTable, Done, Estimate, Evidence, Preparation, Table as Named,
};
use godwit_model::{EffectKey, Error, Fault, Json, Result, RunId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::catalog::{self, Column, Table};
use crate::digest::{Format, RowFold, RowSum};
use crate::emptying::Filled;
use crate::errors::Failure;
use crate::frozen;
use crate::gate;
use crate::large_objects;
use crate::place::Place;
use crate::quote::{idents, literal, qualified};
use crate::snapshot::Leader;
pub use landing::{Landing, may_freeze};
use part::Job;

/// A table is split where it is larger than this; parts are about this large.
const PART_BYTES: u64 = 64 << 20;
const MOST_PARTS: u64 = 256;
/// The first version that reads a range of blocks without reading the whole table.
const TID_RANGES: u32 = 140_000;

/// Both ends of a copy, for one effect.
pub struct Ends {
    pub source: Place,
    pub sink: Place,
    pub leader: Arc<Leader>,
    /// The source's table as the snapshot has it.
    pub table: Table,
}

/// What the effect's notes keep before the first part starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    format: Format,
    /// Why text, where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// The sink held rows before; known beforehand only for a copy in several parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found_rows: Option<bool>,
}

/// A range of the source's blocks: from the first one, up to but without the last one. `{}` is the whole table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Range {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u64>,
}

/// What a part left: in the journal and, by the same transaction as its rows, in the sink's marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartDone {
    #[serde(flatten)]
    pub sum: RowSum,
    pub generation: u32,
    pub found_rows: bool,
    #[serde(default)]
    pub xid: u64,
}

/// What undo and `observe` need of a done copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub run: RunId,
    pub format: Format,
    /// Of the rows as they came, where it isn't the connection's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    pub generation: u32,
    /// The sink is a partitioned table.
    #[serde(default)]
    pub partitioned: bool,
    pub filled: Filled,
}

/// Looks at the source, and says how the copy will go.
pub fn prepare(scope: &StepScope, request: &CopyTable, table: &Table) -> Result<Preparation> {
    let label = request.source.label();
    if request.source.columns.len() != request.sink.columns.len() {
        return Err(Error::invalid(format!(
            "copy of {label}: {} columns of the source, {} of the sink",
            request.source.columns.len(),
            request.sink.columns.len()
        ))
        .fault(Fault::Plugin));
    }
    if large_objects::are_in(&request.source) != large_objects::are_in(&request.sink) {
        return Err(Error::invalid(format!("copy of {label}: large objects are no rows of a table"))
            .fault(Fault::Plugin));
    }
    let columns = table.pick(&request.source.columns, &label)?;
    if let Some(filter) = &request.filter {
        gate::admit_filter(filter)?;
    }
    let mut details = Vec::new();
    match text_reason(scope, &label, &columns, None) {
        Some(why) => details.push(format!("COPY in text format: {why}")),
        None => details.push("COPY in binary format".to_owned()),
    }
    if let Some(filter) = &request.filter {
        details.push(format!("rows where {}", gate::brief(filter)));
    }
    if request.only && table.has_children {
        details.push("without the rows of tables that inherit from it".to_owned());
    }
    Ok(Preparation {
        class: Class::Creates,
        irreversible: None,
        title: format!("copy {label} → {}", request.sink.label()),
        details,
        diff: None,
        estimate: Some(Estimate { items: table.rows, bytes: table.bytes, exact: false }),
        before: json!({ "run": scope.run, ROOT: table.root }),
    })
}

/// Where a preparation, or an outcome's fingerprint, keeps the qualified name of a partition's root.
pub const ROOT: &str = "root";

/// The root of the partition that a transfer is of, by what was noted of it.
pub fn root(noted: &Json) -> Option<String> {
    Some(noted.get(ROOT)?.as_str()?.to_owned())
}

fn text_reason(
    scope: &StepScope,
    label: &str,
    source: &[&Column],
    sink: Option<&[&Column]>,
) -> Option<String> {
    if scope.transforms.applies(label) {
        return Some("a transform reads the rows".to_owned());
    }
    catalog::first_text_column(source, sink)
}

/// Copies what isn't copied yet. The sink's markers are prepared, its table is known.
pub async fn perform(
    scope: &StepScope,
    key: &EffectKey,
    request: &CopyTable,
    ends: &Ends,
    sink_table: &Table,
    ledger: &dyn Ledger,
) -> Result<Done> {
    let label = request.source.label();
    let mut notes = Vec::new();
    if request.consistency == Consistency::Frozen {
        notes.extend(frozen::check(scope, &ends.source, Some(&*ends.leader)).await?);
    } else {
        ends.leader.mark_used(scope).await?;
    }
    let source_columns = ends.table.pick(&request.source.columns, &label)?;
    let sink_columns = sink_table.pick(&request.sink.columns, &request.sink.label())?;
    let generation = ends.leader.generation;

    let mut parts = ledger.parts().await?;
    if parts.is_empty() {
        let why = text_reason(scope, &label, &source_columns, Some(&sink_columns));
        let format = if why.is_some() { Format::Text } else { Format::Binary };
        let ranges = ranges(
            &ends.table,
            request,
            format == Format::Text && scope.transforms.applies(&label),
            ends.leader.version,
        );
        let found_rows = match ranges.len() {
            1 => None,
            _ => Some(holds_rows(&ends.sink, request, sink_table).await?),
        };
        let plan = Plan { format, why, found_rows };
        ledger.set("plan", to_json(&plan)?).await?;
        let ranges = ranges.iter().map(to_json).collect::<Result<_>>()?;
        parts = ledger.plan_parts(ranges).await?;
    } else if request.consistency == Consistency::Snapshot {
        let outcomes = parts.iter().filter_map(|part| part.outcome.as_ref());
        let stale = outcomes.map(from_json::<PartDone>).collect::<Result<Vec<_>>>()?;
        if stale.iter().any(|done| done.generation != generation) {
            ledger.reset_parts().await?;
            parts = ledger.parts().await?;
        }
    }
    let plan: Plan = match ledger.get("plan").await? {
        Some(plan) => from_json(&plan)?,
        None => {
            return Err(Error::host(format!("copy of {label}: its parts are journalled, its plan isn't")));
        }
    };
    if let Some(why) = &plan.why {
        notes.push(format!("COPY in text format: {why}"));
    }
    if request.consistency == Consistency::Snapshot && generation > 1 {
        notes.push(format!(
            "copied under snapshot {generation}: a former one was lost, its tables were begun again"
        ));
    }
    if !sink_table.triggers.is_empty() {
        let names: Vec<&str> = sink_table.triggers.iter().map(|trigger| trigger.name.as_str()).collect();
        notes.push(format!("triggers of the sink didn't fire: {}", names.join(", ")));
    }

    let whole = parts.len() == 1;
    let job = Job { scope, key, request, ends, sink_table, plan: &plan, columns: &source_columns, whole };
    let outcomes: Vec<PartDone> = stream::iter(parts)
        .map(|part| {
            let job = &job;
            async move {
                if let Some(outcome) = &part.outcome {
                    return from_json(outcome);
                }
                let range: Range = from_json(&part.range)?;
                let done = job.part(part.index, range).await?;
                ledger.finish_part(part.index, to_json(&done)?).await?;
                Ok::<_, Error>(done)
            }
        })
        .buffer_unordered(ends.sink.server.config.max_connections)
        .try_collect()
        .await?;

    let mut sum = RowSum::default();
    for done in &outcomes {
        sum.add(done.sum);
    }
    if sum.rows == 0 && !whole {
        job.prove_empty().await?;
    }
    if request.consistency == Consistency::Frozen {
        notes.extend(frozen::check(scope, &ends.source, Some(&*ends.leader)).await?);
    }
    let found_rows = plan.found_rows.unwrap_or_else(|| outcomes.iter().any(|done| done.found_rows));
    if found_rows {
        notes.push(format!("{} held rows before", request.sink.label()));
    }
    notes.dedup();
    let fingerprint = Fingerprint {
        run: scope.run.clone(),
        format: plan.format,
        encoding: None,
        generation,
        partitioned: sink_table.kind == "p",
        filled: Filled {
            schema: request.sink.schema.clone(),
            name: request.sink.name.clone(),
            rows: sum.rows,
            xids: outcomes.iter().map(|done| done.xid).collect(),
            found_rows,
        },
    };
    Ok(Done {
        result: json!({ "rows": sum.rows, "bytes": sum.bytes, "parts": outcomes.len() }),
        evidence: Some(sum.evidence()),
        fingerprint: to_json(&fingerprint)?,
        notes,
    })
}

/// The ranges of blocks that a table is copied in. The last one is open-ended, so that nothing beyond the measured
/// size is missed.
fn ranges(table: &Table, request: &CopyTable, transformed: bool, version: u32) -> Vec<Range> {
    let whole = vec![Range::default()];
    let inherited = table.has_children && !request.only;
    let objects = large_objects::are_in(&request.source);
    if objects || transformed || inherited || !table.is_heap() || version < TID_RANGES || table.block == 0 {
        return whole;
    }
    let blocks = table.heap_bytes.div_ceil(table.block);
    let parts = (table.bytes / PART_BYTES).min(MOST_PARTS).min(blocks);
    if parts < 2 {
        return whole;
    }
    let each = blocks.div_ceil(parts);
    let starts: Vec<u64> = (0..parts).map(|part| part * each).take_while(|start| *start < blocks).collect();
    starts
        .iter()
        .enumerate()
        .map(|(index, start)| Range { from: Some(*start), to: starts.get(index + 1).copied() })
        .collect()
}

impl Range {
    fn condition(&self) -> Option<String> {
        let bound = |block: u64, sign: &str| format!("ctid {sign} '({block},0)'::tid");
        match (self.from, self.to) {
            (None, None) => None,
            (Some(from), None) => Some(bound(from, ">=")),
            (None, Some(to)) => Some(bound(to, "<")),
            (Some(from), Some(to)) => Some(format!("{} AND {}", bound(from, ">="), bound(to, "<"))),
        }
    }
}

async fn holds_rows(sink: &Place, request: &CopyTable, table: &Table) -> Result<bool> {
    let name = only(&qualified(&request.sink.schema, &request.sink.name), table.kind == "p");
    let mut session = sink.wire().await?;
    let replies = session.simple(&format!("SELECT EXISTS (SELECT 1 FROM {name})")).await?;
    session.keep();
    Ok(replies.first().and_then(|reply| reply.one()) == Some("t"))
}

/// A table without what inherits from it; a partitioned one has no rows of its own.
fn only(name: &str, partitioned: bool) -> String {
    if partitioned { name.to_owned() } else { format!("ONLY {name}") }
}

/// An option of COPY, after others. The encoding of rows is no setting of the session: what a server says stays in UTF-8.
fn in_encoding(encoding: Option<&str>) -> String {
    encoding.map_or_else(String::new, |encoding| format!(", ENCODING {}", literal(encoding)))
}

/// Folds what the sink holds now, in the format and the encoding of the copy.
pub async fn observe(
    scope: &StepScope,
    sink: &Place,
    table: &Named,
    fingerprint: &Fingerprint,
) -> Result<Evidence> {
    let name = match large_objects::are_in(table) {
        true => large_objects::ROWS.to_owned(),
        false => only(&qualified(&table.schema, &table.name), fingerprint.partitioned),
    };
    // Beside what was there before, ours are those that the loading transactions left as they are.
    let ours = match fingerprint.filled.found_rows {
        true => format!(" WHERE {}", fingerprint.filled.ours()),
        false => String::new(),
    };
    let sql = format!(
        "COPY (SELECT {} FROM {name}{ours}) TO STDOUT WITH (FORMAT {}{})",
        idents(table.columns.iter().map(String::as_str)),
        fingerprint.format.name(),
        in_encoding(fingerprint.encoding.as_deref())
    );
    let mut wire = sink.server.permit().await?.wire(&sink.database, &sink.application).await?;
    let failed = |failure: Failure| Error::from(failure).context(format!("reading {} again", table.label()));
    wire.copy_out(&sql).await.map_err(failed)?;
    let mut fold = RowFold::new(fingerprint.format);
    let label = table.label();
    while let Some(block) = wire.copy_block(&mut fold).await.map_err(failed)? {
        scope.progress.transfer(&label, 0, block.len() as u64);
    }
    wire.keep();
    Ok(fold.total().evidence())
}

fn to_json<T: Serialize>(value: &T) -> Result<Json> {
    serde_json::to_value(value)
        .map_err(|e| Error::host(format!("a copy's journal entry can't be written: {e}")))
}

fn from_json<T: serde::de::DeserializeOwned>(json: &Json) -> Result<T> {
    T::deserialize(json).map_err(|e| Error::host(format!("a copy's journal entry can't be read: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(bytes: u64) -> Table {
        Table {
            kind: "r".into(),
            method: "heap".into(),
            rows: 1,
            heap_bytes: bytes,
            bytes,
            block: 8192,
            readable: true,
            has_children: false,
            has_indexes: false,
            root: None,
            columns: Vec::new(),
            triggers: Vec::new(),
        }
    }

    fn request() -> CopyTable {
        let named =
            Named { slot: "s".into(), schema: "public".into(), name: "t".into(), columns: Vec::new() };
        CopyTable {
            source: named.clone(),
            sink: named,
            consistency: Consistency::Snapshot,
            only: false,
            filter: None,
        }
    }

    #[test]
    fn ranges_cover_every_block_once() {
        for megabytes in [0, 1, 127, 128, 1000, 100_000] {
            let ranges = ranges(&table(megabytes << 20), &request(), false, 160_000);
            assert!(ranges.len() <= 256);
            if ranges.len() == 1 {
                assert!(megabytes < 128);
                assert_eq!(ranges, [Range::default()]);
                continue;
            }
            assert_eq!(ranges[0].from, Some(0));
            assert_eq!(ranges.last().and_then(|r| r.to), None);
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].to, pair[1].from);
                assert!(pair[0].from < pair[0].to);
            }
        }
    }

    #[test]
    fn what_can_not_be_split_is_not() {
        let large = table(1 << 30);
        assert_eq!(ranges(&large, &request(), true, 160_000).len(), 1);
        assert_eq!(ranges(&large, &request(), false, 130_000).len(), 1);
        assert_eq!(ranges(&Table { kind: "p".into(), ..large.clone() }, &request(), false, 160_000).len(), 1);
        let parent = Table { has_children: true, ..large };
        assert_eq!(ranges(&parent, &request(), false, 160_000).len(), 1);
        assert_eq!(ranges(&parent, &CopyTable { only: true, ..request() }, false, 160_000).len(), 16);
    }

    #[test]
    fn a_range_survives_the_journal() {
        let range = Range { from: Some(3), to: None };
        assert_eq!(from_json::<Range>(&to_json(&range).unwrap()).unwrap(), range);
        assert_eq!(range.condition().unwrap(), "ctid >= '(3,0)'::tid");
        assert_eq!(from_json::<Range>(&json!({})).unwrap().condition(), None);
    }
}
