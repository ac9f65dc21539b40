//! Proving a restore: the rows by the evidence of their transfers, everything else by its being there.

use std::collections::BTreeMap;

use godwit_pg_catalog::{Catalog, ColumnRow, Target, evidence};
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
    let choice = archive.as_ref().map(|archive| choose(&archive.toc, params)).transpose()?;
    let mut checks = Vec::new();
    if !outputs.tables.is_empty() {
        let catalog = Catalog::read(host, TARGET)?;
        for table in &outputs.tables {
            checks.push(rows(host, &catalog, choice.as_ref(), table)?);
        }
    }
    match &choice {
        Some(choice) if !params.data_only => checks.extend(relations(host, choice)?),
        Some(_) => {}
        None => {
            let why = format!("the archive `{}` is gone from slot `{ARCHIVE}`", params.path());
            checks.push(Check::not_comparable("objects of the archive", why));
        }
    }
    Ok(checks)
}

fn rows<H: Host>(
    host: &H,
    catalog: &Catalog,
    choice: Option<&Choice<'_>>,
    table: &RestoredTable,
) -> Result<Check> {
    let label = format!("{}.{}", table.schema, table.name);
    let check = match table.keys.as_slice() {
        [key] => evidence::rows(host, &label, key)?,
        keys => several(host, &label, keys, in_one_order(choice, table))?,
    };
    let Verdict::Failed(why) = &check.verdict else { return Ok(check) };
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
    if doubtful.is_empty() || !why.starts_with("the rows differ") {
        return Ok(check);
    }
    let why = format!(
        "the number of rows is right, but they are written in another way than in the archive; the text of {} depends on the \
         settings under which it was dumped",
        doubtful.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    );
    Ok(Check::not_comparable(check.name, why))
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

/// One table that was filled by several transfers: their evidence adds up (a sum modulo 2¹²⁸).
fn several<H: Host>(host: &H, table: &str, keys: &[String], in_one_order: bool) -> Result<Check> {
    let name = format!("rows of {table}");
    let Some(last) = keys.last() else { return Ok(Check::passed(name)) };
    let mut items = 0_u64;
    let mut sum = Some(0_u128);
    for key in keys {
        let Some(sent) = host.evidence(key)? else {
            return Ok(Check::failed(
                name,
                format!("the transfer `{key}` has left no evidence; resume the run"),
            ));
        };
        items = items.saturating_add(sent.items);
        sum = sum.and_then(|sum| Some(sum.wrapping_add(number(&sent.digest)?)));
    }
    let there = match host.observe(last) {
        Err(Error::Missing(why)) => return Ok(Check::failed(name, why)),
        other => other?,
    };
    if items != there.items {
        return Ok(Check::failed(name, format!("{items} rows were sent, there are now {}", there.items)));
    }
    let detail = format!("{items} rows by {} transfers", keys.len());
    if !in_one_order {
        let why = "the number of rows is right; digests can't be compared, since partitions have their columns in other orders";
        return Ok(Check::not_comparable(name, why).detail(detail));
    }
    Ok(match (sum, number(&there.digest)) {
        (Some(sent), Some(there)) => {
            Check::that(name, sent == there, "the rows differ: their digests do").detail(detail)
        }
        _ => {
            Check::not_comparable(name, "the transfers have no digest; only the number of rows was compared")
                .detail(detail)
        }
    })
}

fn number(digest: &str) -> Option<u128> {
    u128::from_str_radix(digest.split_once(':')?.1, 16).ok()
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
