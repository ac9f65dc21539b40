//! Filling tables that are there already: in which order, with which triggers out of the way.

use std::collections::{BTreeMap, BTreeSet};

use godwit_sdk::host::{Host, HostExt};
use godwit_sdk::types::{Error, Execute, Result, Undo};
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::graph::build;
use crate::kind::Kind;
use crate::order::sort;
use crate::pattern::matches;
use crate::rows::{Oid, RelationRow};
use crate::sql;
use crate::units::{Unit, analyze};

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

/// The columns of `there` that rows with the columns `given` fill; else a fault that says what of them can't be filled, or
/// can't be left empty. `origin` is where the rows come from: `source`.
pub fn columns(
    catalog: &Catalog,
    there: &RelationRow,
    given: &[String],
    origin: &str,
) -> Result<Vec<String>, String> {
    let theirs = catalog.columns_of(there.oid);
    let mut missing = Vec::new();
    for name in given {
        match theirs.iter().find(|column| column.name == *name) {
            Some(column) if column.generated.is_empty() => {}
            Some(_) => missing.push(format!("`{name}` is generated in the target")),
            None => missing.push(format!("`{name}` is missing in the target")),
        }
    }
    for column in theirs.iter().filter(|column| !given.contains(&column.name)) {
        let filled = !column.identity.is_empty() || !column.generated.is_empty() || column.default.is_some();
        if column.not_null && !filled {
            missing.push(format!("`{}` of the target is NOT NULL, and the {origin} has none", column.name));
        }
    }
    if missing.is_empty() {
        Ok(given.to_vec())
    } else {
        Err(format!("table {}: {}", there.label(), missing.join(", ")))
    }
}

/// Fails where a pattern of `keep` names no table of the target.
pub fn check_keep(catalog: &Catalog, keep: &[String]) -> Result<()> {
    let idle = |pattern: &&String| !catalog.relations.iter().any(|r| matches(pattern, &r.schema, &r.name));
    match keep.iter().find(idle) {
        Some(pattern) => {
            Err(Error::Invalid(format!("`keep` names `{pattern}`, but the target has no such table")))
        }
        None => Ok(()),
    }
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
    fn off(&self) -> String {
        format!("ALTER TABLE {} DISABLE TRIGGER {}", self.table, self.name)
    }

    fn on(&self) -> String {
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

/// The key of the unit that disables triggers.
const OFF: &str = "triggers/off";

/// What has to be done before rows come: triggers are kept from firing.
pub fn begin<W: From<Execute>>(triggers: &[Trigger]) -> Option<Unit<W>> {
    let (off, on) = switches(triggers)?;
    Some(Unit::statements(OFF.to_owned(), BTreeSet::new(), off, Undo::Statements(on)))
}

/// The tables of which statistics are taken once they are filled, qualified and quoted: one above foreign tables is left to
/// autovacuum.
pub fn analyzed(target: &Catalog, tables: &[&RelationRow]) -> Vec<String> {
    let above = target.above_foreign();
    let taken = tables.iter().filter(|table| !above.contains(&table.oid));
    taken.map(|table| sql::qualified(&table.schema, &table.name)).collect()
}

/// What has to be done once the rows are there, all of it after `rows`: materialized views are filled, one after the other
/// as they are given, triggers fire again, and the planner's statistics are taken of the tables that are [`analyzed`]. Names are qualified and
/// quoted.
pub fn end<W: From<Execute>>(
    triggers: &[Trigger],
    views: &[String],
    analyzed: &[String],
    rows: &BTreeSet<String>,
) -> Vec<Unit<W>> {
    let mut units = Vec::new();
    let mut before = rows.clone();
    for view in views {
        let key = format!("refresh/{view}");
        let statements = vec![format!("REFRESH MATERIALIZED VIEW {view}")];
        units.push(Unit::refresh(key.clone(), before.clone(), statements));
        before.insert(key);
    }
    if let Some((off, on)) = switches(triggers) {
        units.push(Unit::statements("triggers/on".to_owned(), rows.clone(), on, Undo::Statements(off)));
    }
    units.extend(analyze(analyzed, rows));
    units
}

/// The statements that disable the triggers, and those that enable them again.
fn switches(triggers: &[Trigger]) -> Option<(Vec<String>, Vec<String>)> {
    let both = || triggers.iter().map(|trigger| (trigger.off(), trigger.on())).unzip();
    (!triggers.is_empty()).then(both)
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
