//! Restoring rows alone, into tables that are there (a schema that Alembic or Django made).

use std::collections::BTreeSet;

use godwit_pg_archive::{Entry, split};
use godwit_pg_catalog::fill::{self, Trigger};
use godwit_pg_catalog::{Catalog, RelationRow, SequencePosition, frontier, sequence_positions, sql};
use godwit_sdk::prelude::*;

use crate::TARGET;
use crate::archive::Archive;
use crate::choice::Choice;
use crate::layout::{Plan, load_key, restored};
use crate::params::Params;
use crate::units::{Unit, Work};

/// What is to be done, as it was decided when the step began; a memo keeps it, since the tables are not empty afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Decision {
    loads: Vec<Load>,
    triggers: Vec<Trigger>,
    /// Where the target's sequences stood.
    sequences: Vec<SequencePosition>,
    /// Qualified names, those that others read first.
    views: Vec<String>,
}

/// One transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Load {
    dump_id: i32,
    columns: Vec<String>,
    /// Indexes into the list of loads: those of the tables that its foreign keys point at.
    after: Vec<usize>,
}

pub fn lay_out<H: Host>(host: &H, archive: &Archive, choice: &Choice<'_>, params: &Params) -> Result<Plan> {
    let decision = host.memo("data-only", || decide(host, choice, params))?;
    let mut plan = Plan { units: fill::begin(&decision.triggers).into_iter().collect(), ..Plan::default() };
    let first: BTreeSet<String> = plan.units.iter().map(|unit| unit.key.clone()).collect();
    let mut keys: Vec<String> = Vec::new();
    for load in &decision.loads {
        let found = choice.entries.iter().find(|entry| entry.dump_id == load.dump_id);
        let (Some(entry), Some(target)) = (found, choice.targets.get(&load.dump_id)) else {
            return Err(Error::Conflict(format!(
                "entry {} of the archive was to be restored when this run began, and isn't any more",
                load.dump_id
            )));
        };
        let mut key = load_key(&target.schema, &target.name);
        if keys.contains(&key) {
            key = format!("{key}#{}", load.dump_id);
        }
        keys.push(key.clone());
        let rows = archive.rows(entry)?;
        let mut after = first.clone();
        after.extend(load.after.iter().filter_map(|place| keys.get(*place)).cloned());
        restored(&mut plan.tables, &target.schema, &target.name, &key);
        let work = Work::Load {
            rows,
            schema: target.schema.clone(),
            name: target.name.clone(),
            columns: load.columns.clone(),
        };
        plan.units.push(Unit { key, after, work });
    }
    let all = frontier(&plan.units);
    let positions = positions(choice)?;
    if !positions.is_empty() {
        let before = decision.sequences.iter().map(SequencePosition::setval).collect();
        let undo = Undo::Statements(before);
        plan.units.push(Unit::statements("sequences".to_owned(), all.clone(), positions, undo));
    }
    let names: Vec<String> =
        plan.tables.iter().map(|table| sql::qualified(&table.schema, &table.name)).collect();
    plan.units.extend(fill::end(&decision.triggers, &decision.views, &names, &all));
    Ok(plan)
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
