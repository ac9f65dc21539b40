//! Copying rows alone, into tables that are there (a schema that Alembic or Django made).

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_catalog::fill::{self, Trigger};
use godwit_pg_catalog::pattern::matches;
use godwit_pg_catalog::selection::{Skipped, check_filter};
use godwit_pg_catalog::tablespaces::Dropped;
use godwit_pg_catalog::{Catalog, Graph, RelationRow, Rights, frontier};
use godwit_sdk::prelude::*;

use crate::copy::{copied, submit};
use crate::params::{Outputs, Params};
use crate::preflight;
use crate::units::{Unit, Work, copy_key};
use crate::{SOURCE, TARGET};

/// What is to be done, as it was decided when the step began; a memo keeps it, since the tables are not empty afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub tables: Vec<TableCopy>,
    pub triggers: Vec<Trigger>,
    pub sequences: Vec<(String, String)>,
    /// Qualified names, those that others read first.
    pub views: Vec<String>,
    /// Qualified names.
    pub analyzed: Vec<String>,
    pub skipped: Vec<(String, String, String)>,
}

impl Decision {
    pub fn into_skipped(self) -> Vec<Skipped> {
        self.skipped.into_iter().map(|(kind, name, reason)| Skipped { kind, name, reason }).collect()
    }
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
    let catalog = Catalog::read(host, SOURCE)?;
    let target = preflight::target(host, &catalog, &Graph::default(), &[], &Dropped::default(), params)?;
    let decision = decision(host, params)?;
    let mut units = begin(&decision);
    let rows = frontier(&units);
    units.extend(sequences(&decision, &rows));
    units.extend(end(&decision, &decision.views, &rows));
    submit(host, &units, params.consistency())?;
    let objects = BTreeMap::from([("table".to_owned(), decision.tables.len() as u64)]);
    Ok(Outputs {
        tables: copied(&units),
        objects,
        skipped: decision.into_skipped(),
        dropped: Vec::new(),
        preflight: target.findings,
    })
}

/// What is to be done, decided once.
pub fn decision<H: Host>(host: &H, params: &Params) -> Result<Decision> {
    host.memo("data-only", || decide(host, params))
}

fn decide<H: Host>(host: &H, params: &Params) -> Result<Decision> {
    let (source, target) = Catalog::read_both(host, SOURCE, TARGET, Rights::default())?;
    let filter = params.filter();
    check_filter(&filter, &source)?;
    fill::check_keep(&target, &params.keep)?;
    let mut decision = Decision::default();
    if source.large_objects.count > 0 {
        let reason = "`data_only` fills tables; large objects are no rows of theirs".to_owned();
        let name = format!("{} of them", source.large_objects.count);
        decision.skipped.push(("large object".to_owned(), name, reason));
    }
    let mut faults = Vec::new();
    // (source, target) of each table whose rows move.
    let mut pairs: Vec<(&RelationRow, &RelationRow)> = Vec::new();
    for table in source.relations.iter().filter(|r| r.holds_rows()) {
        if !filter.schema(&table.schema) || !filter.tables.admit(source.lineage(table)) {
            continue;
        }
        if params.keep.iter().any(|pattern| matches(pattern, &table.schema, &table.name)) {
            let reason = "`keep` leaves the target's rows as they are".to_owned();
            decision.skipped.push(("rows".to_owned(), table.label(), reason));
            continue;
        }
        if !filter.admits_rows(&source, table) {
            let reason = "`table_data` leaves them out".to_owned();
            decision.skipped.push(("rows".to_owned(), table.label(), reason));
            continue;
        }
        match target
            .relations
            .iter()
            .find(|r| r.is_table() && r.schema == table.schema && r.name == table.name)
        {
            Some(there) => match fill::columns(&target, there, &filled(&source, table), "source") {
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
    let there: Vec<&RelationRow> = pairs.iter().map(|(_, there)| *there).collect();
    fill::empty(host, TARGET, &there)?;
    decision.tables = fill::order(&target, &there)?
        .into_iter()
        .map(|(place, after)| TableCopy { after, ..decision.tables[place].clone() })
        .collect();
    decision.triggers = fill::triggers(&target, &there);
    decision.views = fill::filled_views(&target);
    decision.analyzed = fill::analyzed(&target, &there);
    Ok(decision)
}

/// The columns of a table that rows fill.
fn filled(catalog: &Catalog, table: &RelationRow) -> Vec<String> {
    let columns = catalog.columns_of(table.oid).iter();
    columns.filter(|column| column.generated.is_empty()).map(|column| column.name.clone()).collect()
}

/// The units that move the rows, with the triggers off.
pub fn begin(decision: &Decision) -> Vec<Unit> {
    let mut units: Vec<Unit> = fill::begin(&decision.triggers).into_iter().collect();
    let first: BTreeSet<String> = units.iter().map(|unit| unit.key.clone()).collect();
    let keys: Vec<String> = decision.tables.iter().map(|t| copy_key(&t.schema, &t.name)).collect();
    for (table, key) in decision.tables.iter().zip(&keys) {
        let mut after = first.clone();
        after.extend(table.after.iter().filter_map(|i| keys.get(*i)).cloned());
        let work = Work::Copy {
            schema: table.schema.clone(),
            name: table.name.clone(),
            columns: table.columns.clone(),
            only: table.only,
            filter: None,
        };
        units.push(Unit { key: key.clone(), after, work });
    }
    units
}

/// The unit that sets the sequences, where there are any.
pub fn sequences(decision: &Decision, rows: &BTreeSet<String>) -> Option<Unit> {
    let work = Work::Sequences(decision.sequences.clone());
    let unit = Unit { key: "sequences".to_owned(), after: rows.clone(), work };
    (!decision.sequences.is_empty()).then_some(unit)
}

/// The units after all rows: these views filled, triggers on, statistics taken.
pub fn end(decision: &Decision, views: &[String], rows: &BTreeSet<String>) -> Vec<Unit> {
    fill::end(&decision.triggers, views, &decision.analyzed, rows)
}
