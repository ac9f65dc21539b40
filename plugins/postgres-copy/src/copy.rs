//! Copying a schema, with its rows or without.

use std::collections::BTreeSet;

use godwit_pg_catalog::{Catalog, Cause, Graph, Kind, Target, TargetMemo, build, sort};
use godwit_sdk::prelude::*;

use crate::layout::{self, Sizes};
use crate::params::{CopiedTable, DROPPED, Outputs, Params, Skipped};
use crate::units::{Unit, Work};
use crate::{SOURCE, TARGET};

/// Effects to a submission: each is one durable commit of the journal.
const SUBMISSION: usize = 1000;

pub fn apply<H: Host>(host: &H, params: &Params) -> Result<Outputs> {
    let catalog = Catalog::read(host, SOURCE)?;
    let (mut graph, skipped) = select(host, &catalog, params)?;
    let order = sort(&mut graph)?;
    let target = target(host, &graph)?;
    let sizes: Sizes = host.memo("sizes", || Ok(layout::sizes(&catalog)))?;
    let units = layout::lay_out(&catalog, &graph, &order, params, &target, &sizes);
    submit(host, &units, params.consistency())?;

    let mut objects: std::collections::BTreeMap<String, u64> =
        graph.counts().into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect();
    let identities = catalog
        .sequences
        .iter()
        .filter(|s| s.identity == Some(true))
        .filter(|s| graph.nodes.iter().any(|n| n.kind == Kind::Table && Some(n.oid) == s.owner))
        .count() as u64;
    if identities > 0 {
        objects.insert("identity column".to_owned(), identities);
    }
    Ok(Outputs {
        tables: copied(&units),
        objects,
        skipped,
        dropped: DROPPED.iter().map(|what| (*what).to_owned()).collect(),
    })
}

/// The objects to make; fails where something can't be made and the recipe doesn't say to leave it out.
pub fn select<H: Host>(host: &H, catalog: &Catalog, params: &Params) -> Result<(Graph, Vec<Skipped>)> {
    let filter = params.filter();
    let schemas: Vec<&str> = catalog.schemas.iter().map(|s| s.name.as_str()).collect();
    let tables: Vec<(&str, &str)> =
        catalog.relations.iter().map(|r| (r.schema.as_str(), r.name.as_str())).collect();
    filter.check(&schemas, &tables)?;

    let skip = params.skipped();
    let mut skipped = Vec::new();
    let mut refused = Vec::new();
    let mut rows: Vec<(String, String)> = catalog
        .unsupported
        .iter()
        .filter(|row| row.schema.as_ref().is_none_or(|schema| filter.schema(schema)))
        .map(|row| (row.kind.clone(), row.label()))
        .collect();
    if !params.schema_only {
        rows.extend(
            extension_data(host, catalog)?.into_iter().map(|name| ("extension data".to_owned(), name)),
        );
    }
    for (kind, name) in rows {
        if skip.contains(&kind) {
            let reason = format!("`skip` names the kind `{kind}`");
            skipped.push(Skipped { kind, name, reason });
        } else {
            refused.push(format!("{kind} {name}"));
        }
    }
    let graph = build(catalog, &filter, &skip);
    let tables: BTreeSet<&str> = graph
        .left_out
        .iter()
        .filter(|left| left.kind == Kind::Table)
        .map(|left| left.name.as_str())
        .collect();
    for left in &graph.left_out {
        // What hangs on a table goes with it.
        if left.on.as_deref().is_some_and(|table| tables.contains(table)) && left.kind != Kind::ForeignKey {
            continue;
        }
        if left.is_fatal() {
            refused.push(format!("{} {} ({})", left.kind.name(), left.name, left.reason()));
        } else if is_worth_saying(left.kind, &left.cause) {
            skipped.push(Skipped {
                kind: left.kind.name().to_owned(),
                name: left.name.clone(),
                reason: left.reason(),
            });
        }
    }
    if !refused.is_empty() {
        return Err(Error::Invalid(format!(
            "the source has objects that can't be copied: {}; nothing was touched. To go on without them, list their kinds \
             under `skip`",
            refused.join("; ")
        )));
    }
    for index in catalog.indexes.iter().filter(|i| !i.valid && !i.partitioned && i.constraint.is_none()) {
        let table = catalog.relation(index.relation).map(|r| r.label()).unwrap_or_default();
        skipped.push(Skipped {
            kind: Kind::Index.name().to_owned(),
            name: format!("{} on {table}", index.name),
            reason: "it is invalid: a CREATE INDEX CONCURRENTLY failed".to_owned(),
        });
    }
    for what in &skipped {
        host.log(Level::Warn, &format!("left out: {} {}: {}", what.kind, what.name, what.reason));
    }
    Ok((graph, skipped))
}

/// What a filter leaves out is said once, not for every index of a table.
fn is_worth_saying(kind: Kind, cause: &Cause) -> bool {
    match cause {
        Cause::Filtered(_) => {
            matches!(kind, Kind::Schema | Kind::Table | Kind::View | Kind::MaterializedView)
        }
        Cause::Skipped | Cause::Needs(_) => true,
    }
}

/// Tables of extensions that hold rows of users' own; they would have to be merged with what the extension brings.
fn extension_data<H: Host>(host: &H, catalog: &Catalog) -> Result<Vec<String>> {
    let tables: Vec<String> = catalog
        .extensions
        .iter()
        .flat_map(|x| x.config.iter().flatten())
        .map(|table| {
            let label = format!("{}.{}", table.schema, table.name);
            format!(
                "SELECT {} AS name, EXISTS (SELECT 1 FROM {} {}) AS filled",
                godwit_pg_catalog::sql::literal(&label),
                godwit_pg_catalog::sql::qualified(&table.schema, &table.name),
                table.condition
            )
        })
        .collect();
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    #[derive(Deserialize)]
    struct Row {
        name: String,
        filled: bool,
    }
    let rows: Vec<Row> = host.select(SOURCE, &tables.join(" UNION ALL "), &[])?;
    Ok(rows.into_iter().filter(|row| row.filled).map(|row| row.name).collect())
}

/// What the target had when the step began, once it is known that nothing stands in the way.
fn target<H: Host>(host: &H, graph: &Graph) -> Result<TargetMemo> {
    let read = || -> Result<TargetMemo> {
        let target = Target::read(host, TARGET)?;
        let obstacles = target.obstacles(graph);
        if obstacles.is_empty() {
            return Ok(target.memo());
        }
        Err(Error::Conflict(format!(
            "the target can't take the copy: {}; nothing was touched. Empty the target or choose another one, or leave \
             objects out by `tables`, `schemas` or `skip`",
            obstacles.join("; ")
        )))
    };
    match host.memo("target", read) {
        // The database comes into being by an earlier step: it will be as initdb makes it.
        Err(Error::Pending(_)) if host.mode() == Mode::Plan => {
            let schemas = BTreeSet::from(["public".to_owned()]);
            Ok(TargetMemo { schemas, ..TargetMemo::default() })
        }
        other => other,
    }
}

/// Submits the units and waits for all of them. A plan has no outcomes to wait for.
pub fn submit<H: Host>(host: &H, units: &[Unit], consistency: Consistency) -> Result<()> {
    for batch in units.chunks(SUBMISSION) {
        let effects = batch.iter().map(|unit| unit.effect(host, consistency)).collect::<Result<Vec<_>>>()?;
        host.submit(effects)?;
    }
    match host.settle() {
        Err(Error::Pending(_)) if host.mode() == Mode::Plan => Ok(()),
        other => other.map(drop),
    }
}

pub fn copied(units: &[Unit]) -> Vec<CopiedTable> {
    let mut tables: Vec<CopiedTable> = units
        .iter()
        .filter_map(|unit| match &unit.work {
            Work::Copy { schema, name, .. } => {
                Some(CopiedTable { schema: schema.clone(), name: name.clone(), key: unit.key.clone() })
            }
            _ => None,
        })
        .collect();
    tables.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    tables
}
