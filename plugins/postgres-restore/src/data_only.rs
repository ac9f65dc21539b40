//! Restoring rows alone, into tables that are there (a schema that Alembic or Django made).

use std::collections::BTreeSet;

use godwit_pg_archive::{Entry, split};
use godwit_pg_catalog::fill::{self, Trigger};
use godwit_pg_catalog::{Catalog, RelationRow, SequencePosition, frontier, sequence_positions};
use godwit_sdk::prelude::*;

use crate::TARGET;
use crate::archive::Archive;
use crate::choice::Choice;
use crate::layout::{Plan, load_key, restored};
use crate::params::{Params, RestoredTable};
use crate::units::{Unit, Work};

/// What is to be done, as it was decided when the step began; a memo keeps it, since the tables are not empty afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    loads: Vec<Load>,
    triggers: Vec<Trigger>,
    /// Where the target's sequences stood.
    sequences: Vec<SequencePosition>,
    /// Qualified names, those that others read first.
    pub views: Vec<String>,
    /// Qualified names.
    analyzed: Vec<String>,
}

/// One transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Load {
    dump_id: i32,
    columns: Vec<String>,
    /// Indexes into the list of loads: those of the tables that its foreign keys point at.
    after: Vec<usize>,
}

/// What moves the rows, with the triggers off.
#[derive(Debug, Default)]
pub struct Begun {
    pub units: Vec<Unit>,
    pub tables: Vec<RestoredTable>,
    /// The key of each transfer, by the dump id of its entry.
    pub loads: Vec<(i32, String)>,
}

/// Decides what is to be done, once.
pub fn decision<H: Host>(host: &H, choice: &Choice<'_>, params: &Params) -> Result<Decision> {
    host.memo("data-only", || decide(host, choice, params))
}

/// The units that restore rows and nothing else.
pub fn lay_out(archive: &Archive, choice: &Choice<'_>, decision: &Decision) -> Result<Plan> {
    let Begun { units, tables, .. } = decision.begin(archive, choice)?;
    let mut plan = Plan { units, tables };
    let all = frontier(&plan.units);
    let end = decision.end(choice, &decision.views, &all)?;
    plan.units.extend(end);
    Ok(plan)
}

impl Decision {
    pub fn begin(&self, archive: &Archive, choice: &Choice<'_>) -> Result<Begun> {
        let mut begun =
            Begun { units: fill::begin(&self.triggers).into_iter().collect(), ..Begun::default() };
        let first: BTreeSet<String> = begun.units.iter().map(|unit| unit.key.clone()).collect();
        for load in &self.loads {
            let found = choice.entries.iter().find(|entry| entry.dump_id == load.dump_id);
            let (Some(entry), Some(target)) = (found, choice.targets.get(&load.dump_id)) else {
                return Err(Error::Conflict(format!(
                    "entry {} of the archive was to be restored when this run began, and isn't any more",
                    load.dump_id
                )));
            };
            let mut key = load_key(&target.schema, &target.name);
            if begun.loads.iter().any(|(_, other)| *other == key) {
                key = format!("{key}#{}", load.dump_id);
            }
            let mut after = first.clone();
            after.extend(
                load.after.iter().filter_map(|place| begun.loads.get(*place)).map(|(_, key)| key.clone()),
            );
            begun.loads.push((load.dump_id, key.clone()));
            restored(&mut begun.tables, &target.schema, &target.name, &key);
            let work = Work::Load {
                rows: archive.rows(entry)?,
                schema: target.schema.clone(),
                name: target.name.clone(),
                columns: load.columns.clone(),
            };
            begun.units.push(Unit { key, after, work });
        }
        Ok(begun)
    }

    /// What comes after all rows: sequences, these views filled, triggers on, statistics taken.
    pub fn end(&self, choice: &Choice<'_>, views: &[String], all: &BTreeSet<String>) -> Result<Vec<Unit>> {
        let mut units = Vec::new();
        let positions = positions(choice)?;
        if !positions.is_empty() {
            let before = self.sequences.iter().map(SequencePosition::setval).collect();
            let undo = Undo::Statements(before);
            units.push(Unit::statements("sequences".to_owned(), all.clone(), positions, undo));
        }
        units.extend(fill::end(&self.triggers, views, &self.analyzed, all));
        Ok(units)
    }
}

/// The statements that set sequences.
fn positions(choice: &Choice<'_>) -> Result<Vec<String>> {
    let mut statements = Vec::new();
    for entry in of_sequences(choice) {
        let found = split(entry.definition.as_deref().unwrap_or_default()).map_err(|fault| {
            Error::Invalid(format!(
                "{} (entry {}) of the archive can't be read: {fault}; nothing was touched",
                entry.title(),
                entry.dump_id
            ))
        })?;
        statements.extend(found);
    }
    Ok(statements)
}

fn of_sequences<'a>(choice: &'a Choice<'_>) -> impl Iterator<Item = &'a Entry> {
    choice.entries.iter().copied().filter(|entry| entry.desc == "SEQUENCE SET")
}

fn decide<H: Host>(host: &H, choice: &Choice<'_>, params: &Params) -> Result<Decision> {
    let catalog = Catalog::read(host, TARGET)?;
    fill::check_keep(&catalog, &params.keep)?;
    let mut faults = Vec::new();
    // Several entries may go into one table, by way of a partitioned root.
    let mut loads: Vec<(i32, Vec<String>, &RelationRow)> = Vec::new();
    for entry in choice.entries.iter().filter(|entry| entry.desc == "TABLE DATA") {
        let Some(target) = choice.targets.get(&entry.dump_id) else { continue };
        let there = catalog
            .relations
            .iter()
            .find(|r| r.is_table() && r.schema == target.schema && r.name == target.name);
        match there {
            Some(there) => match fill::columns(&catalog, there, &target.columns, "archive") {
                Ok(columns) => loads.push((entry.dump_id, columns, there)),
                Err(fault) => faults.push(fault),
            },
            None => faults.push(format!("table {}.{} is missing in the target", target.schema, target.name)),
        }
    }
    let mut sequences = Vec::new();
    for entry in of_sequences(choice) {
        let (schema, name) =
            (entry.namespace.clone().unwrap_or_default(), entry.tag.clone().unwrap_or_default());
        if catalog.sequences.iter().any(|s| s.schema == schema && s.name == name) {
            sequences.push((schema, name));
        } else {
            faults.push(format!("sequence {schema}.{name} is missing in the target"));
        }
    }
    if !faults.is_empty() {
        return Err(Error::Conflict(format!(
            "the target's schema doesn't fit the archive's rows: {}; nothing was touched. Bring the schema up to date, or \
             leave entries out by `tables` or `skip`",
            faults.join("; ")
        )));
    }
    let mut tables: Vec<&RelationRow> = Vec::new();
    for (_, _, there) in &loads {
        if !tables.iter().any(|table| table.oid == there.oid) {
            tables.push(there);
        }
    }
    fill::empty(host, TARGET, &tables)?;
    let mut decision = Decision {
        triggers: fill::triggers(&catalog, &tables),
        sequences: sequence_positions(host, TARGET, &sequences)?,
        views: fill::filled_views(&catalog),
        analyzed: fill::analyzed(&catalog, &tables),
        ..Decision::default()
    };
    // The loads of each table, by the table's place in the order.
    let mut placed: Vec<Vec<usize>> = Vec::new();
    for (place, needs) in fill::order(&catalog, &tables)? {
        let after: Vec<usize> =
            needs.iter().filter_map(|need| placed.get(*need)).flatten().copied().collect();
        let mut own = Vec::new();
        for (dump_id, columns, there) in &loads {
            if tables.get(place).is_some_and(|table| table.oid == there.oid) {
                own.push(decision.loads.len());
                decision.loads.push(Load {
                    dump_id: *dump_id,
                    columns: columns.clone(),
                    after: after.clone(),
                });
            }
        }
        placed.push(own);
    }
    Ok(decision)
}
