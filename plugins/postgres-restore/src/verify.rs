//! Proving a restore: the rows by the evidence of their transfers, everything else by its being there.

use std::collections::BTreeMap;

use godwit_pg_catalog::evidence::{self, Comparison, Finding};
use godwit_pg_catalog::{Catalog, ColumnRow, Target};
use godwit_sdk::prelude::*;

use crate::archive::Archive;
use crate::choice::{Choice, choose};
use crate::params::{Outputs, Params, RestoredTable};
use crate::{ARCHIVE, TARGET};

/// Types whose text depends on the settings of the session that wrote it: pg_dump sets most, but not the time zone.
const BY_SETTINGS: &[&str] =
    &["with time zone", "tstz", "real", "double precision", "money", "bytea", "interval", "xml", "reg"];

pub fn verify<H: Host>(host: &H, params: &Params, outputs: &Outputs) -> Result<Vec<Check>> {
    let archive = match Archive::open(host, params.path()) {
        Err(Error::Missing(_)) => None,
        other => Some(other?),
    };
    let choice = archive.as_ref().map(|archive| choose(archive, params)).transpose()?;
    let mut checks = Vec::new();
    if !outputs.tables.is_empty() {
        let catalog = Catalog::read(host, TARGET)?;
        let keys: Vec<Vec<String>> = outputs.tables.iter().map(|table| table.keys.clone()).collect();
        let compared = evidence::compare(host, &keys)?;
        for (table, found) in outputs.tables.iter().zip(&compared) {
            checks.push(rows(&catalog, choice.as_ref(), table, found));
        }
    }
    match &choice {
        Some(choice) if params.sections()?.makes() => checks.extend(relations(host, choice)?),
        Some(_) => {}
        None => {
            let why = format!("the archive `{}` is gone from slot `{ARCHIVE}`", params.path());
            checks.push(Check::not_comparable("objects of the archive", why));
        }
    }
    Ok(checks)
}

fn rows(catalog: &Catalog, choice: Option<&Choice<'_>>, table: &RestoredTable, found: &Comparison) -> Check {
    let label = format!("{}.{}", table.schema, table.name);
    let check = found.check(&label);
    if !matches!(found.finding, Finding::Different { .. }) {
        return check;
    }
    if found.transfers > 1 && !in_one_order(choice, table) {
        let why = "the number of rows is right; digests can't be compared, since partitions have their columns in other orders";
        return Check::not_comparable(check.name, why);
    }
    // As many rows, in other words: as far as the words may differ for the same values, nothing is proven either way.
    let doubtful: Vec<&str> = catalog
        .relations
        .iter()
        .find(|r| r.schema == table.schema && r.name == table.name)
        .map_or(&[][..], |r| catalog.columns_of(r.oid))
        .iter()
        .filter(|column| depends_on_settings(column))
        .map(|column| column.name.as_str())
        .collect();
    if doubtful.is_empty() {
        return check;
    }
    let why = format!(
        "the number of rows is right, but they are written in another way than in the archive; the text of {} depends on the \
         settings under which it was dumped",
        doubtful.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    );
    Check::not_comparable(check.name, why)
}

/// Built-in types whose text is always the same, and enums, are named; of any other type nothing is known.
fn depends_on_settings(column: &ColumnRow) -> bool {
    BY_SETTINGS.iter().any(|word| column.ty.contains(word)) || column.ty.contains('.')
}

/// Whether all rows of a table came with their columns in one order. A partition's order may be its own.
fn in_one_order(choice: Option<&Choice<'_>>, table: &RestoredTable) -> bool {
    let targets = choice.into_iter().flat_map(|choice| choice.targets.values());
    let mut orders: Vec<&[String]> = targets
        .filter(|target| target.schema == table.schema && target.name == table.name)
        .map(|target| target.columns.as_slice())
        .collect();
    orders.sort_unstable();
    orders.dedup();
    orders.len() == 1
}

/// Whether every relation of the archive is there, by kind.
fn relations<H: Host>(host: &H, choice: &Choice<'_>) -> Result<Vec<Check>> {
    let target = Target::read(host, TARGET)?;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut missing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let kinds = ["TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE", "INDEX", "FOREIGN TABLE"];
    for entry in choice.entries.iter().filter(|entry| kinds.contains(&entry.desc.as_str())) {
        let (schema, name) =
            (entry.namespace.as_deref().unwrap_or_default(), entry.tag.as_deref().unwrap_or_default());
        *counts.entry(&entry.desc).or_default() += 1;
        if !target.has_relation(schema, name) {
            missing.entry(&entry.desc).or_default().push(format!("{schema}.{name}"));
        }
    }
    let check = |(kind, count): (&str, u64)| {
        let name = format!("objects: {kind}");
        match missing.get(kind) {
            Some(names) => Check::failed(name, format!("missing in the target: {}", names.join(", "))),
            None => Check::passed(name).detail(format!("{count} there")),
        }
    };
    Ok(counts.into_iter().map(check).collect())
}
