//! Proving a copy: the rows by the evidence of their transfers, everything else by its definition on both sides.

use std::collections::BTreeMap;

use godwit_pg_catalog::sections::Sections;
use godwit_pg_catalog::selection::Reliance;
use godwit_pg_catalog::{
    Catalog, Difference, Kind, SequenceState, build, compare, evidence, sequence_states, sort,
};
use godwit_sdk::prelude::*;

use crate::params::{Outputs, Params};
use crate::{SOURCE, TARGET};

pub fn verify<H: Host>(host: &H, params: &Params, outputs: &Outputs) -> Result<Vec<Check>> {
    let tables: Vec<(String, String)> = outputs
        .tables
        .iter()
        .map(|table| (format!("{}.{}", table.schema, table.name), table.key.clone()))
        .collect();
    let mut checks = evidence::rows(host, &tables)?;
    let (mut source, target) = Catalog::read_both(host, SOURCE, TARGET, params.rights())?;
    source.rename_roles(&params.roles)?;
    source.place(&params.tablespaces)?;
    let sections = params.sections()?;
    if sections.makes() {
        checks.extend(definitions(&source, &target, params, sections)?);
    }
    if sections.rows {
        checks.push(sequences(host, &source, params)?);
    }
    Ok(checks)
}

/// One check for each kind of object.
fn definitions(
    source: &Catalog,
    target: &Catalog,
    params: &Params,
    sections: Sections,
) -> Result<Vec<Check>> {
    let filter = params.filter();
    let mut skip = params.skipped();
    if !sections.rows || sections.fills() {
        skip.insert(Kind::LargeObject.name().to_owned());
    }
    let mut ours = build(source, &filter, &skip);
    if sections != Sections::ALL {
        // Sorting may take views apart; they are compared whole.
        let mut sorted = ours.clone();
        let order = sort(&mut sorted)?;
        let mut nodes = sections.nodes(&sorted, &order);
        nodes.retain(|id| *id < ours.nodes.len());
        ours = ours.only(&nodes);
    }
    let theirs = build(target, &Default::default(), &skip);
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut doubtful: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (title, kind, difference) in compare(&ours, &theirs) {
        let list = if matches!(difference, Difference::Reworded { .. }) { &mut doubtful } else { &mut found };
        list.entry(kind.name()).or_default().push(difference.sentence(&title));
    }
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for node in &ours.nodes {
        *counts.entry(node.kind.name()).or_default() += 1;
    }
    Ok(counts
        .into_iter()
        .map(|(kind, count)| {
            let name = format!("definitions: {kind}");
            match (found.get(kind), doubtful.get(kind)) {
                (Some(faults), _) => Check::failed(name, faults.join("; ")),
                (None, Some(texts)) => Check::not_comparable(name, texts.join("; ")),
                (None, None) => Check::passed(name).detail(format!("{count} alike")),
            }
        })
        .collect())
}

/// The next value of each sequence, which the source's own writers move on unless it is frozen.
fn sequences<H: Host>(host: &H, source: &Catalog, params: &Params) -> Result<Check> {
    let filter = params.filter();
    let name = "sequence values";
    let ours = sequence_states(host, SOURCE)?;
    let theirs: BTreeMap<(String, String), SequenceState> =
        sequence_states(host, TARGET)?.into_iter().map(|s| ((s.schema.clone(), s.name.clone()), s)).collect();
    let known: Vec<&godwit_pg_catalog::SequenceRow> = source.sequences.iter().collect();
    let mut differ = Vec::new();
    let mut count = 0;
    for state in &ours {
        let Some(row) = known.iter().find(|r| r.schema == state.schema && r.name == state.name) else {
            continue;
        };
        let owner = row.owner.and_then(|owner| source.relation(owner));
        let admitted = filter.schema(&state.schema)
            && owner.is_none_or(|o| filter.tables.admit([(o.schema.as_str(), o.name.as_str())]));
        if !admitted {
            continue;
        }
        let Some(there) = theirs.get(&(state.schema.clone(), state.name.clone())) else { continue };
        count += 1;
        if there.last_value != state.last_value {
            let shown = |value: Option<i64>| value.map_or("not begun".to_owned(), |value| value.to_string());
            differ.push(format!(
                "{}.{} is at {} in the source and at {} in the target",
                state.schema,
                state.name,
                shown(state.last_value),
                shown(there.last_value)
            ));
        }
    }
    if differ.is_empty() {
        return Ok(Check::passed(name).detail(format!("{count} equal")));
    }
    let why = differ.join("; ");
    Ok(match params.consistency {
        Reliance::Frozen => Check::failed(name, why),
        Reliance::Snapshot => Check::not_comparable(
            name,
            format!("{why}; the source may have gone on, since `consistency` is `snapshot`"),
        ),
    })
}
