//! Putting a target right: the ranges that differ are deleted there and copied anew.

use godwit_pg_catalog::digest::Digestible;
use godwit_pg_catalog::sql::{ident, literal, qualified};
use godwit_pg_catalog::{Catalog, RelationRow, fill};
use godwit_sdk::prelude::*;

use crate::comparison::TableOutcome;
use crate::locate::{KeyRange, Sides, condition, key};
use crate::{SOURCE, TARGET};

/// A range that was copied again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Repaired {
    /// `schema.name`.
    pub table: String,
    /// A condition that is true of its rows.
    pub rows_where: String,
}

/// What is to be repaired, decided once: a resumed run finds the target changed by its own effects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Work {
    ranges: Vec<Range>,
    /// Foreign keys that point at these tables stand aside meanwhile: statements that take them away, and back.
    drop: Vec<String>,
    add: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Range {
    schema: String,
    name: String,
    only: bool,
    columns: Vec<String>,
    condition: String,
}

/// Copies the ranges that differ again.
pub fn repair<H: Host>(
    host: &H,
    source: &Catalog,
    target: &Catalog,
    tables: &[TableOutcome],
) -> Result<Vec<Repaired>> {
    if !host.granted(TARGET).is_some_and(|granted| granted.write) {
        return Err(Error::Denied(format!(
            "`repair` writes: grant slot `{TARGET}` with \"access\": \"write\""
        )));
    }
    let work: Work = host.memo("repair", || decide(host, source, target, tables))?;
    if work.ranges.is_empty() {
        return Ok(Vec::new());
    }
    let mut batch = Vec::new();
    let mut aside = Vec::new();
    if !work.drop.is_empty() {
        let request = Execute::atomic(work.drop.clone(), Undo::Statements(work.add.clone()));
        batch.push(host.execute(TARGET, "foreign-keys/aside", request)?);
        aside.push("foreign-keys/aside");
    }
    let mut filled = Vec::new();
    for (at, range) in work.ranges.iter().enumerate() {
        let name = format!("{}.{}/{at}", range.schema, range.name);
        let (delete, rows) = (format!("delete/{name}"), format!("rows/{name}"));
        let sql = format!(
            "DELETE FROM {}{} WHERE {}",
            if range.only { "ONLY " } else { "" },
            qualified(&range.schema, &range.name),
            range.condition
        );
        let request = Execute::atomic(vec![sql], Undo::Irreversible);
        batch.push(host.execute(TARGET, &delete, request)?.after(&aside));
        let table = |slot: &str| Table {
            slot: slot.to_owned(),
            schema: range.schema.clone(),
            name: range.name.clone(),
            columns: range.columns.clone(),
        };
        let options = CopyOptions {
            consistency: Consistency::Snapshot,
            only: range.only,
            filter: Some(range.condition.clone()),
        };
        batch.push(host.copy_table(&rows, table(SOURCE), table(TARGET), options)?.after([delete]));
        filled.push(rows);
    }
    if !work.add.is_empty() {
        let request = Execute::atomic(work.add.clone(), Undo::Statements(work.drop.clone()));
        batch.push(host.execute(TARGET, "foreign-keys/back", request)?.after(&filled));
    }
    host.submit(batch)?;
    host.settle()?;
    let repaired = |range: Range| Repaired {
        table: format!("{}.{}", range.schema, range.name),
        rows_where: range.condition,
    };
    Ok(work.ranges.into_iter().map(repaired).collect())
}

fn decide<H: Host>(host: &H, source: &Catalog, target: &Catalog, tables: &[TableOutcome]) -> Result<Work> {
    fn find<'a>(catalog: &'a Catalog, label: &str) -> Option<&'a RelationRow> {
        catalog.relations.iter().find(|r| r.is_table() && !r.partition && r.label() == label)
    }
    let mut work = Work::default();
    for table in tables.iter().filter(|table| !table.equal) {
        let (Some(located), Some(ours), Some(theirs)) =
            (&table.located, find(source, &table.table), find(target, &table.table))
        else {
            let why = table.difference.clone().unwrap_or_default();
            return Err(Error::Failed(format!("{} can't be repaired: {why}", table.table)));
        };
        let given: Vec<String> = source
            .columns_of(ours.oid)
            .iter()
            .filter(|column| column.generated.is_empty())
            .map(|column| column.name.clone())
            .collect();
        let columns = fill::columns(target, theirs, &given, SOURCE).map_err(Error::Failed)?;
        let digestible = |table: &RelationRow| Digestible {
            schema: table.schema.clone(),
            name: table.name.clone(),
            columns: None,
            only: table.kind == "r",
            bytes: 0,
        };
        let key = match located.column {
            Some(_) => key(host, &Sides { source: &digestible(ours), target: &digestible(theirs) })?,
            None => Vec::new(),
        };
        let condition =
            |range: &KeyRange| key.first().map_or("true".to_owned(), |first| condition(first, range));
        work.ranges.extend(located.ranges.iter().map(|range| Range {
            schema: theirs.schema.clone(),
            name: theirs.name.clone(),
            only: theirs.kind == "r",
            columns: columns.clone(),
            condition: condition(range),
        }));
        let pointing = target.constraints.iter().filter(|key| {
            key.kind == "f" && !key.has_parent && key.references == Some(theirs.oid) && key.local
        });
        for key in pointing {
            let Some(table) = target.relation(key.relation) else { continue };
            // One of a partitioned table can't be taken from its root alone.
            let only = if table.kind == "p" { "" } else { "ONLY " };
            let (table, name) = (qualified(&table.schema, &table.name), ident(&key.name));
            work.drop.push(format!("ALTER TABLE {only}{table} DROP CONSTRAINT {name}"));
            work.add.push(format!("ALTER TABLE {only}{table} ADD CONSTRAINT {name} {}", key.definition));
            if let Some(comment) = &key.comment {
                work.add.push(format!("COMMENT ON CONSTRAINT {name} ON {table} IS {}", literal(comment)));
            }
        }
    }
    Ok(work)
}
