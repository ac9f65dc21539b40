//! Copying rows alone, into tables that are there (a schema that Alembic or Django made).

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_catalog::pattern::matches;
use godwit_pg_catalog::{Catalog, Kind, Oid, RelationRow, sql};
use godwit_sdk::prelude::*;

use crate::copy::{copied, submit};
use crate::params::{Outputs, Params, Skipped};
use crate::units::{Unit, Work, copy_key, frontier};
use crate::{SOURCE, TARGET};

/// What is to be done, as it was decided when the step began; a memo keeps it, since the tables are not empty afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub tables: Vec<TableCopy>,
    /// (qualified table, quoted trigger, word that enables it).
    pub triggers: Vec<(String, String, String)>,
    pub sequences: Vec<(String, String)>,
    /// Qualified names, those that others read first.
    pub views: Vec<String>,
    pub skipped: Vec<(String, String, String)>,
}

/// One table's transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCopy {
    pub schema: String,
    pub name: String,
    pub columns: Vec<String>,
    pub only: bool,
    /// Indexes into the list of tables: those that its foreign keys point at.
    pub after: Vec<usize>,
}

pub fn apply<H: Host>(host: &H, params: &Params) -> Result<Outputs> {
    let decision = host.memo("data-only", || decide(host, params))?;
    let units = lay_out(&decision);
    submit(host, &units, params.consistency())?;
    let skipped =
        decision.skipped.into_iter().map(|(kind, name, reason)| Skipped { kind, name, reason }).collect();
    let objects = BTreeMap::from([("table".to_owned(), decision.tables.len() as u64)]);
    Ok(Outputs { tables: copied(&units), objects, skipped, dropped: Vec::new() })
}

fn decide<H: Host>(host: &H, params: &Params) -> Result<Decision> {
    let source = Catalog::read(host, SOURCE)?;
    let target = Catalog::read(host, TARGET)?;
    let filter = params.filter();
    let schemas: Vec<&str> = source.schemas.iter().map(|s| s.name.as_str()).collect();
    let names: Vec<(&str, &str)> =
        source.relations.iter().map(|r| (r.schema.as_str(), r.name.as_str())).collect();
    filter.check(&schemas, &names)?;
    for pattern in &params.keep {
        if !target.relations.iter().any(|r| matches(pattern, &r.schema, &r.name)) {
            return Err(Error::Invalid(format!(
                "`keep` names `{pattern}`, but the target has no such table"
            )));
        }
    }
    let mut decision = Decision::default();
    let mut faults = Vec::new();
    // (source, target) of each table whose rows move.
    let mut pairs: Vec<(&RelationRow, &RelationRow)> = Vec::new();
    for table in source.relations.iter().filter(|r| r.holds_rows()) {
        if !filter.schema(&table.schema) || !filter.tables.admit(lineage(&source, table)) {
            continue;
        }
        if params.keep.iter().any(|pattern| matches(pattern, &table.schema, &table.name)) {
            let reason = "`keep` leaves the target's rows as they are".to_owned();
            decision.skipped.push(("rows".to_owned(), table.label(), reason));
            continue;
        }
        match target
            .relations
            .iter()
            .find(|r| r.is_table() && r.schema == table.schema && r.name == table.name)
        {
            Some(there) => match columns(&source, table, &target, there) {
                Ok(columns) => {
                    let only = source.relations.iter().any(|r| r.parents.contains(&table.oid));
                    let (schema, name) = (table.schema.clone(), table.name.clone());
                    decision.tables.push(TableCopy { schema, name, columns, only, after: Vec::new() });
                    pairs.push((table, there));
                }
                Err(fault) => faults.push(fault),
            },
            None => faults.push(format!("table {} is missing in the target", table.label())),
        }
    }
    let sequences: BTreeSet<(&str, &str)> =
        target.sequences.iter().map(|s| (s.schema.as_str(), s.name.as_str())).collect();
    for sequence in &source.sequences {
        let owner = sequence.owner.and_then(|owner| source.relation(owner));
        let wanted = match owner {
            Some(owner) => pairs.iter().any(|(table, _)| table.oid == owner.oid) || owner.kind == "p",
            None => filter.schema(&sequence.schema),
        };
        let key = (sequence.schema.as_str(), sequence.name.as_str());
        if wanted && sequences.contains(&key) {
            decision.sequences.push((sequence.schema.clone(), sequence.name.clone()));
        } else if wanted {
            faults.push(format!("sequence {}.{} is missing in the target", sequence.schema, sequence.name));
        }
    }
    if !faults.is_empty() {
        return Err(Error::Conflict(format!(
            "the target's schema doesn't fit the source's rows: {}; nothing was touched. Bring the schema up to date, or \
             leave tables out by `tables`",
            faults.join("; ")
        )));
    }
    empty(host, &pairs)?;
    order(&target, &pairs, &mut decision)?;
    decision.triggers = triggers(&target, &pairs);
    decision.views = views(&target);
    Ok(decision)
}

/// A table and what it is a partition of.
fn lineage<'a>(catalog: &'a Catalog, table: &'a RelationRow) -> Vec<(&'a str, &'a str)> {
    let mut names = Vec::new();
    let mut next = Some(table);
    while let Some(relation) = next {
        names.push((relation.schema.as_str(), relation.name.as_str()));
        next = if relation.partition {
            relation.parents.first().and_then(|parent| catalog.relation(*parent))
        } else {
            None
        };
    }
    names
}

/// The columns that both sides have, in the source's order; a fault where one is missing or can't be left empty.
fn columns(
    source: &Catalog,
    from: &RelationRow,
    target: &Catalog,
    to: &RelationRow,
) -> Result<Vec<String>, String> {
    let theirs = target.columns_of(to.oid);
    let mut columns = Vec::new();
    let mut missing = Vec::new();
    for column in source.columns_of(from.oid).iter().filter(|c| c.generated.is_empty()) {
        match theirs.iter().find(|c| c.name == column.name) {
            Some(there) if there.generated.is_empty() => columns.push(column.name.clone()),
            Some(_) => missing.push(format!("`{}` is generated in the target", column.name)),
            None => missing.push(format!("`{}` is missing in the target", column.name)),
        }
    }
    for column in theirs {
        let filled = !column.identity.is_empty() || !column.generated.is_empty() || column.default.is_some();
        if column.not_null
            && !filled
            && !columns.contains(&column.name)
            && !missing.iter().any(|m| m.contains(&column.name))
        {
            missing.push(format!("`{}` of the target is NOT NULL, and the source has none", column.name));
        }
    }
    if missing.is_empty() {
        Ok(columns)
    } else {
        Err(format!("table {}: {}", from.label(), missing.join(", ")))
    }
}

/// Fails where a table of the target holds rows.
fn empty<H: Host>(host: &H, pairs: &[(&RelationRow, &RelationRow)]) -> Result<()> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
        filled: bool,
    }
    let tables: Vec<String> = pairs
        .iter()
        .map(|(_, there)| {
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
        let rows: Vec<Row> = host.select(TARGET, &tables.join(" UNION ALL "), &[])?;
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

/// Puts each table after those that its foreign keys in the target point at.
fn order(target: &Catalog, pairs: &[(&RelationRow, &RelationRow)], decision: &mut Decision) -> Result<()> {
    let index: BTreeMap<Oid, usize> =
        pairs.iter().enumerate().map(|(i, (_, there))| (there.oid, i)).collect();
    let mut needs: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); pairs.len()];
    for key in target.constraints.iter().filter(|k| k.kind == "f") {
        let Some(references) = key.references else { continue };
        for from in family(target, key.relation) {
            for to in family(target, references) {
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
    while rank.len() < pairs.len() {
        let free: Vec<usize> = (0..pairs.len())
            .filter(|i| !placed.contains(i) && needs[*i].iter().all(|need| placed.contains(need)))
            .collect();
        if free.is_empty() {
            // What only waits for a cycle is none of its members.
            let mut rest: BTreeSet<usize> = (0..pairs.len()).filter(|i| !placed.contains(i)).collect();
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
            let names: Vec<String> = rest.iter().map(|i| pairs[*i].1.label()).collect();
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
    let mut tables = Vec::with_capacity(rank.len());
    for old in &rank {
        let mut table = decision.tables[*old].clone();
        table.after = needs[*old].iter().map(|need| new[need]).collect();
        tables.push(table);
    }
    decision.tables = tables;
    Ok(())
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

/// The triggers that would fire on the rows: they did so in the source already.
fn triggers(target: &Catalog, pairs: &[(&RelationRow, &RelationRow)]) -> Vec<(String, String, String)> {
    target
        .triggers
        .iter()
        .filter(|trigger| matches!(trigger.enabled.as_str(), "O" | "A"))
        .filter_map(|trigger| {
            let table = target.relation(trigger.relation)?;
            let concerned = pairs.iter().any(|(_, there)| family(target, table.oid).contains(&there.oid));
            let word = if trigger.enabled == "A" { "ENABLE ALWAYS" } else { "ENABLE" };
            concerned.then(|| {
                (sql::qualified(&table.schema, &table.name), sql::ident(&trigger.name), word.to_owned())
            })
        })
        .collect()
}

/// The materialized views of the target that are filled, those that others read first.
fn views(target: &Catalog) -> Vec<String> {
    let mut graph = godwit_pg_catalog::build(target, &Default::default(), &BTreeSet::new());
    // An order that can't be found is no reason to fail: names will do, and a refresh that fails says why.
    let order = godwit_pg_catalog::sort(&mut graph).unwrap_or_else(|_| (0..graph.nodes.len()).collect());
    order
        .into_iter()
        .map(|id| &graph.nodes[id])
        .filter(|node| node.kind == Kind::MaterializedView)
        .filter(|node| target.relation(node.oid).is_some_and(|r| r.populated))
        .map(|node| sql::qualified(&node.schema, &node.name))
        .collect()
}

fn lay_out(decision: &Decision) -> Vec<Unit> {
    let mut units = Vec::new();
    let execute = |key: &str, after: BTreeSet<String>, statements: Vec<String>, undo: Undo| Unit {
        key: key.to_owned(),
        after,
        work: Work::Execute(Execute::atomic(statements, undo)),
    };
    let off: Vec<String> = decision
        .triggers
        .iter()
        .map(|(table, trigger, _)| format!("ALTER TABLE {table} DISABLE TRIGGER {trigger}"))
        .collect();
    let on: Vec<String> = decision
        .triggers
        .iter()
        .map(|(table, trigger, word)| format!("ALTER TABLE {table} {word} TRIGGER {trigger}"))
        .collect();
    let mut first = BTreeSet::new();
    if !off.is_empty() {
        units.push(execute("triggers/off", BTreeSet::new(), off.clone(), Undo::Statements(on.clone())));
        first.insert("triggers/off".to_owned());
    }
    let keys: Vec<String> = decision.tables.iter().map(|t| copy_key(&t.schema, &t.name)).collect();
    for (table, key) in decision.tables.iter().zip(&keys) {
        let mut after = first.clone();
        after.extend(table.after.iter().filter_map(|i| keys.get(*i)).cloned());
        let work = Work::Copy {
            schema: table.schema.clone(),
            name: table.name.clone(),
            columns: table.columns.clone(),
            only: table.only,
        };
        units.push(Unit { key: key.clone(), after, work });
    }
    let all = frontier(&units);
    if !decision.sequences.is_empty() {
        let work = Work::Sequences(decision.sequences.clone());
        units.push(Unit { key: "sequences".to_owned(), after: all.clone(), work });
    }
    let mut before = all.clone();
    for view in &decision.views {
        let key = format!("refresh/{view}");
        let request = Execute {
            data_dependent: true,
            ..Execute::atomic(vec![format!("REFRESH MATERIALIZED VIEW {view}")], Undo::Nothing)
        };
        units.push(Unit { key: key.clone(), after: before.clone(), work: Work::Execute(request) });
        before.insert(key);
    }
    if !on.is_empty() {
        units.push(execute("triggers/on", all.clone(), on, Undo::Statements(off)));
    }
    let analyze: Vec<String> = decision
        .tables
        .iter()
        .map(|table| format!("ANALYZE {}", sql::qualified(&table.schema, &table.name)))
        .collect();
    for (number, statements) in analyze.chunks(50).enumerate() {
        let key = format!("analyze/{:04}", number + 1);
        units.push(execute(&key, all.clone(), statements.to_vec(), Undo::Nothing));
    }
    units
}
