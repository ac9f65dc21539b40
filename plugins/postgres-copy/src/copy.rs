//! Copying a schema, with its rows or without.

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_catalog::selection::{Wanted, dropped, select};
use godwit_pg_catalog::{Catalog, Defaults, Graph, Kind, NodeId, Oid, sort};
use godwit_sdk::prelude::*;

use crate::SOURCE;
use crate::data_only::{self, Decision};
use crate::layout::{Given, Sizes, lay_out, sizes};
use crate::params::{CopiedTable, Outputs, Params};
use crate::preflight;
use crate::units::{Unit, Work, effect};

pub fn apply<H: Host>(host: &H, params: &Params) -> Result<Outputs> {
    let sections = params.sections()?;
    let mut catalog = Catalog::read_with(host, SOURCE, params.rights())?;
    catalog.rename_roles(&params.roles)?;
    let unplaced = catalog.place(&params.tablespaces)?;
    let skip = params.skipped();
    let filter = params.filter();
    let wanted = Wanted {
        filter: &filter,
        skip: &skip,
        rows: sections.rows,
        large_objects: sections.rows && sections.before,
        defaults: Defaults::Inline,
    };
    let (mut graph, mut skipped) = select(host, SOURCE, &catalog, &wanted, "copied")?;
    graph.write_tablespaces();
    let order = sort(&mut graph)?;
    let nodes = sections.nodes(&graph, &order);
    let target = preflight::target(host, &catalog, &graph, &nodes, &unplaced, params)?;
    let filled: Option<Decision> = match sections.fills() {
        true => Some(data_only::decision(host, params)?),
        false => None,
    };
    let sizes: Sizes = host.memo("sizes", || Ok(sizes(&catalog)))?;
    let given = Given {
        catalog: &catalog,
        graph: &graph,
        order: &order,
        nodes: &nodes,
        target: &target,
        sizes: &sizes,
        filled: filled.as_ref(),
    };
    let units = lay_out(given, params, sections);
    submit(host, &units, params.consistency())?;

    skipped.extend(filled.into_iter().flat_map(Decision::into_skipped));
    skipped.dedup();
    Ok(Outputs {
        tables: copied(&units),
        objects: objects(&catalog, &graph, &nodes),
        skipped,
        dropped: dropped(params.rights(), &params.tablespaces),
        preflight: target.findings,
    })
}

/// How many objects of each kind are made, by the kind's name.
fn objects(catalog: &Catalog, graph: &Graph, nodes: &[NodeId]) -> BTreeMap<String, u64> {
    let graph = graph.only(nodes);
    let mut objects: BTreeMap<String, u64> =
        graph.counts().into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect();
    let tables: BTreeSet<Oid> = graph.nodes.iter().filter(|n| n.kind == Kind::Table).map(|n| n.oid).collect();
    let of_table = |owner: Option<Oid>| owner.is_some_and(|owner| tables.contains(&owner));
    let identities =
        catalog.sequences.iter().filter(|s| s.identity == Some(true) && of_table(s.owner)).count() as u64;
    if identities > 0 {
        objects.insert("identity column".to_owned(), identities);
    }
    objects
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
