//! Filling tables that are there already: in which order, with which triggers out of the way.

use std::collections::{BTreeMap, BTreeSet};

use godwit_sdk::host::{Host, HostExt};
use godwit_sdk::types::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::graph::build;
use crate::kind::Kind;
use crate::order::sort;
use crate::rows::{Oid, RelationRow};
use crate::sql;

/// Fails where a table of the target holds rows.
pub fn empty<H: Host>(host: &H, slot: &str, tables: &[&RelationRow]) -> Result<()> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
        filled: bool,
    }
    let tables: Vec<String> = tables
        .iter()
        .map(|there| {
            let name = sql::qualified(&there.schema, &there.name);
            let only = if there.kind == "p" { "" } else { "ONLY " };
            format!(
                "SELECT {} AS name, EXISTS (SELECT 1 FROM {only}{name}) AS filled",
                sql::literal(&there.label())
            )
        })
        .collect();
    let mut filled = Vec::new();
    for tables in tables.chunks(200) {
        let rows: Vec<Row> = host.select(slot, &tables.join(" UNION ALL "), &[])?;
        filled.extend(rows.into_iter().filter(|row| row.filled).map(|row| row.name));
    }
    if filled.is_empty() {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "tables of the target hold rows already: {}; nothing was touched. Empty them, or name those under `keep` whose rows \
         are to stay as they are",
        filled.join(", ")
    )))
}

/// An order of tables in which each comes after those that its foreign keys point at: for each, its place in `tables`, and
/// the places in the order of those that it waits for.
pub fn order(catalog: &Catalog, tables: &[&RelationRow]) -> Result<Vec<(usize, Vec<usize>)>> {
    let index: BTreeMap<Oid, usize> = tables.iter().enumerate().map(|(i, there)| (there.oid, i)).collect();
    let mut needs: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); tables.len()];
    for key in catalog.constraints.iter().filter(|k| k.kind == "f") {
        let Some(references) = key.references else { continue };
        for from in family(catalog, key.relation) {
            for to in family(catalog, references) {
                if let (Some(from), Some(to)) = (index.get(&from), index.get(&to))
                    && from != to
                {
                    needs[*from].insert(*to);
                }
            }
        }
    }
    let mut rank: Vec<usize> = Vec::new();
    let mut placed: BTreeSet<usize> = BTreeSet::new();
    while rank.len() < tables.len() {
        let free: Vec<usize> = (0..tables.len())
            .filter(|i| !placed.contains(i) && needs[*i].iter().all(|need| placed.contains(need)))
            .collect();
        if free.is_empty() {
            // What only waits for a cycle is none of its members.
            let mut rest: BTreeSet<usize> = (0..tables.len()).filter(|i| !placed.contains(i)).collect();
            loop {
                let wanted: BTreeSet<usize> = rest
                    .iter()
                    .flat_map(|i| needs[*i].iter().copied())
                    .filter(|i| rest.contains(i))
                    .collect();
                if wanted.len() == rest.len() {
                    break;
                }
                rest = wanted;
            }
            let names: Vec<String> = rest.iter().map(|i| tables[*i].label()).collect();
            return Err(Error::Invalid(format!(
                "foreign keys of the target go round in a circle, so that no order of its tables satisfies them: {}; drop \
                 one of these foreign keys in the target and add it again afterwards",
                names.join(", ")
            )));
        }
        placed.extend(&free);
        rank.extend(free);
    }
    let new: BTreeMap<usize, usize> = rank.iter().enumerate().map(|(new, old)| (*old, new)).collect();
    Ok(rank.into_iter().map(|old| (old, needs[old].iter().map(|need| new[need]).collect())).collect())
}

/// A relation and everything below it.
fn family(catalog: &Catalog, relation: Oid) -> BTreeSet<Oid> {
    let mut found = BTreeSet::from([relation]);
    let mut open = vec![relation];
    while let Some(parent) = open.pop() {
        for child in catalog.relations.iter().filter(|r| r.parents.contains(&parent)) {
            if found.insert(child.oid) {
                open.push(child.oid);
            }
        }
    }
    found
}

/// A trigger that fires on rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Qualified and quoted.
    table: String,
    /// Quoted.
    name: String,
    /// The words that enable it.
    word: String,
}

impl Trigger {
    pub fn off(&self) -> String {
        format!("ALTER TABLE {} DISABLE TRIGGER {}", self.table, self.name)
    }

    pub fn on(&self) -> String {
        format!("ALTER TABLE {} {} TRIGGER {}", self.table, self.word, self.name)
    }
}

/// The triggers that would fire on the rows of these tables: they did so in the source already.
pub fn triggers(catalog: &Catalog, tables: &[&RelationRow]) -> Vec<Trigger> {
    catalog
        .triggers
        .iter()
        .filter(|trigger| matches!(trigger.enabled.as_str(), "O" | "A"))
        .filter_map(|trigger| {
            let table = catalog.relation(trigger.relation)?;
            let family = family(catalog, table.oid);
            let word = if trigger.enabled == "A" { "ENABLE ALWAYS" } else { "ENABLE" };
            tables.iter().any(|there| family.contains(&there.oid)).then(|| Trigger {
                table: sql::qualified(&table.schema, &table.name),
                name: sql::ident(&trigger.name),
                word: word.to_owned(),
            })
        })
        .collect()
}

/// The materialized views of the target that are filled, those that others read first.
pub fn filled_views(catalog: &Catalog) -> Vec<String> {
    let mut graph = build(catalog, &Default::default(), &BTreeSet::new());
    // An order that can't be found is no reason to fail: names will do, and a refresh that fails says why.
    let order = sort(&mut graph).unwrap_or_else(|_| (0..graph.nodes.len()).collect());
    order
        .into_iter()
        .map(|id| &graph.nodes[id])
        .filter(|node| node.kind == Kind::MaterializedView)
        .filter(|node| catalog.relation(node.oid).is_some_and(|r| r.populated))
        .map(|node| sql::qualified(&node.schema, &node.name))
        .collect()
}
