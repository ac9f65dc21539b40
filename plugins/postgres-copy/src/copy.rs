//! Copying a schema, with its rows or without.

use godwit_pg_catalog::selection::{Wanted, dropped, select};
use godwit_pg_catalog::{Catalog, Defaults, Kind, TargetMemo, sort};
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
        large_objects: true,
        defaults: Defaults::Inline,
    };
    let (mut graph, skipped) = select(host, SOURCE, &catalog, &wanted, "copied")?;
    let order = sort(&mut graph)?;
    let target = TargetMemo::take(
        host,
        TARGET,
        |target| target.obstacles(&graph),
        |why| {
            format!(
                "the target can't take the copy: {why}; nothing was touched. Empty the target or choose another one, or leave \
                 objects out by `tables`, `schemas` or `skip`"
            )
        },
    )?;
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
    Ok(Outputs { tables: copied(&units), objects, skipped, dropped: dropped(params.rights()) })
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
