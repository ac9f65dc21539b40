//! What is found at both ends before anything is touched.

use std::collections::BTreeSet;

use godwit_pg_catalog::facts::Facts;
use godwit_pg_catalog::preflight::{Finding, of_pair, of_source, of_target};
use godwit_pg_catalog::tablespaces::{Dropped, of_dropped};
use godwit_pg_catalog::{Catalog, Graph, Kind, Node, NodeId, Oid, TargetMemo, clean};
use godwit_sdk::prelude::*;

use crate::params::Params;
use crate::{SOURCE, TARGET};

/// What the target had when the step began, once it is known that nothing stands in the way of making these nodes.
pub fn target<H: Host>(
    host: &H,
    catalog: &Catalog,
    graph: &Graph,
    nodes: &[NodeId],
    unplaced: &Dropped,
    params: &Params,
) -> Result<TargetMemo> {
    let sections = params.sections()?;
    let nodes: Vec<&Node> = nodes.iter().map(|id| &graph.nodes[*id]).collect();
    let source = std::cell::OnceCell::new();
    TargetMemo::take(
        host,
        TARGET,
        || {
            let facts = Facts::read(host, SOURCE, catalog.version)?;
            let mut findings = of_source(&facts, &unlogged(catalog, graph, params), sections.rows);
            if sections.rows && sections.after {
                findings.extend(without_rows(catalog, &nodes, params));
            }
            let _ = source.set(facts);
            Ok(findings)
        },
        |target, memo| {
            let facts = Facts::read(host, TARGET, target.version)?;
            let mut findings = of_target(&facts, sections.makes());
            if let Some(source) = source.get() {
                findings.extend(of_pair(source, &facts, sections.rows));
            }
            findings.extend(target.obstacles(&nodes));
            findings.extend(graph.labels());
            if sections.makes() {
                findings.extend(of_dropped(unplaced));
                findings
                    .extend(target.tablespaces(nodes.iter().filter_map(|node| node.tablespace.as_deref())));
            }
            findings.extend(target.large_objects(sections.rows && graph.large_objects > 0));
            findings.extend(target.other_versions(&nodes, catalog));
            let named =
                nodes.iter().flat_map(|node| node.roles.iter().map(|role| (role.as_str(), node.title())));
            findings.extend(target.missing_roles(named, params.missing_roles(), &facts, memo));
            if params.clean {
                let names: BTreeSet<clean::Name> = nodes.iter().map(|node| clean::name(node)).collect();
                let there = Catalog::read(host, TARGET)?;
                let cleaning = clean::clean(&there, |node| names.contains(&clean::name(node)));
                findings.extend(cleaning.findings());
                memo.clean = cleaning.statements;
            } else {
                findings.extend(target.taken(&nodes));
            }
            Ok(findings)
        },
        |why| {
            format!(
                "the target can't take the copy: {why}; nothing was touched. Empty the target or choose another one, leave \
                 objects out by `tables`, `schemas` or `skip`, or have them dropped by `clean`"
            )
        },
    )
}

/// Tables whose rows are read and that are not in the write-ahead log.
fn unlogged(catalog: &Catalog, graph: &Graph, params: &Params) -> Vec<String> {
    let filter = params.filter();
    let made: BTreeSet<Oid> = graph.nodes.iter().filter(|n| n.kind == Kind::Table).map(|n| n.oid).collect();
    let tables = catalog.relations.iter().filter(|r| r.persistence == "u" && r.holds_rows());
    tables.filter(|r| made.contains(&r.oid) && filter.admits_rows(catalog, r)).map(|r| r.label()).collect()
}

/// Foreign keys of tables with rows that point at tables whose rows are left out.
fn without_rows(catalog: &Catalog, nodes: &[&Node], params: &Params) -> Vec<Finding> {
    let filter = params.filter();
    let has_rows = |oid: Option<Oid>| {
        oid.and_then(|oid| catalog.relation(oid)).is_some_and(|table| filter.admits_rows(catalog, table))
    };
    let keys = nodes.iter().filter(|node| node.kind == Kind::ForeignKey);
    keys.filter(|node| has_rows(node.relation) && !has_rows(node.references))
        .map(|node| {
            Finding::warning(
                node.title(),
                "points at a table whose rows `table_data` leaves out: it can't be made unless no row uses it",
                "leave the rows of both out, or `foreign key` by `skip`",
            )
        })
        .collect()
}
