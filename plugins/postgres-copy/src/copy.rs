//! Copying a schema, with its rows or without.

use std::collections::BTreeSet;

use godwit_pg_catalog::selection::{DROPPED, Wanted, select};
use godwit_pg_catalog::{Catalog, Defaults, Graph, Kind, Target, TargetMemo, sort};
use godwit_sdk::prelude::*;

use crate::layout::{self, Sizes};
use crate::params::{CopiedTable, Outputs, Params};
use crate::units::{Unit, Work, effect};
use crate::{SOURCE, TARGET};

pub fn apply<H: Host>(host: &H, params: &Params) -> Result<Outputs> {
    let catalog = Catalog::read_with(host, SOURCE, params.rights())?;
    let skip = params.skipped();
    let wanted = Wanted {
        filter: &params.filter(),
        skip: &skip,
        rows: !params.schema_only,
        defaults: Defaults::Inline,
    };
    let (mut graph, skipped) = select(host, SOURCE, &catalog, &wanted, "copied")?;
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
        dropped: DROPPED
            .iter()
            .filter(|what| match **what {
                "owners" => !params.owners,
                "privileges" => !params.privileges,
                _ => true,
            })
            .map(|what| (*what).to_owned())
            .collect(),
    })
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

/// Submits the units and waits for all of them.
pub fn submit<H: Host>(host: &H, units: &[Unit], consistency: Consistency) -> Result<()> {
    godwit_pg_catalog::submit(host, units, |unit| effect(unit, host, consistency))
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
