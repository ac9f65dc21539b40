//! The comparison itself, and the checks that follow from it.

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_catalog::digest::{Digestible, TableDigest, digests};
use godwit_pg_catalog::{
    Catalog, Difference, Graph, RelationRow, Rights, SequenceState, build, compare as differences,
    sequence_states,
};
use godwit_sdk::prelude::*;

use crate::locate::{Located, Sides, locate};
use crate::repair::{Repaired, repair};
use crate::{Extra, Params, SOURCE, TARGET};

/// A row of the outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableOutcome {
    /// `schema.name`.
    pub table: String,
    pub source_rows: u64,
    /// None where the table is missing, or has other columns.
    pub target_rows: Option<u64>,
    pub equal: bool,
    /// What differs, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
    /// Where the rows differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub located: Option<Located>,
}

/// How the objects of one kind compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KindOutcome {
    pub kind: String,
    pub compared: u64,
    /// What is missing in the target or defined in another way.
    pub different: Vec<String>,
    /// What two majors may only have put into other words.
    pub doubtful: Vec<String>,
}

/// A sequence whose states differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SequenceOutcome {
    /// `schema.name`.
    pub sequence: String,
    pub source: Option<i64>,
    pub target: Option<i64>,
}

/// The outcome of the comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// Whether nothing differs.
    pub equal: bool,
    pub tables: Vec<TableOutcome>,
    pub definitions: Vec<KindOutcome>,
    /// How many sequences were compared.
    pub sequences_compared: u64,
    pub sequences: Vec<SequenceOutcome>,
    /// Tables that only the target has.
    pub only_in_target: Vec<String>,
    /// Ranges that were copied again; the rest of the outcome is about the databases as they were before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repaired: Vec<Repaired>,
}

pub fn compare<H: Host>(host: &H, params: &Params) -> Result<Outputs> {
    let (source, target) = Catalog::read_both(host, SOURCE, TARGET, Rights::default())?;
    let filter = params.filter();
    let names = |catalog: &Catalog| -> Vec<(String, String)> {
        catalog.relations.iter().map(|r| (r.schema.clone(), r.name.clone())).collect()
    };
    let (ours, theirs) = (names(&source), names(&target));
    let tables: Vec<(&str, &str)> =
        ours.iter().chain(&theirs).map(|(s, n)| (s.as_str(), n.as_str())).collect();
    let schemas: Vec<&str> =
        source.schemas.iter().chain(&target.schemas).map(|schema| schema.name.as_str()).collect();
    filter.check(&schemas, &tables, &[])?;

    // A partitioned table is compared by its root, so that it doesn't matter how it is cut.
    let wanted = |r: &&RelationRow| {
        r.is_table()
            && !r.partition
            && filter.schema(&r.schema)
            && filter.tables.admit([(r.schema.as_str(), r.name.as_str())])
    };
    let ours: Vec<&RelationRow> = source.relations.iter().filter(wanted).collect();
    let theirs: BTreeMap<String, &RelationRow> =
        target.relations.iter().filter(wanted).map(|r| (r.label(), r)).collect();
    let known: BTreeSet<String> = ours.iter().map(|r| r.label()).collect();
    let mut outputs = Outputs {
        only_in_target: theirs.keys().filter(|label| !known.contains(*label)).cloned().collect(),
        ..Outputs::default()
    };
    if params.rows {
        outputs.tables = rows(host, &source, &target, &ours, &theirs)?;
    }
    if params.definitions {
        let skip = params.skip.iter().cloned().collect();
        let (ours, theirs) = (build(&source, &filter, &skip), build(&target, &Default::default(), &skip));
        outputs.definitions = definitions(&ours, &theirs);
    }
    if params.sequences {
        let states = sequence_states(host, SOURCE)?;
        let ours: Vec<SequenceState> = states.into_iter().filter(|s| admits(&source, params, s)).collect();
        let theirs: BTreeMap<(String, String), SequenceState> = sequence_states(host, TARGET)?
            .into_iter()
            .map(|state| ((state.schema.clone(), state.name.clone()), state))
            .collect();
        outputs.sequences_compared = ours.len() as u64;
        for state in ours {
            let there = theirs.get(&(state.schema.clone(), state.name.clone()));
            if there.is_none_or(|there| there.last_value != state.last_value) {
                outputs.sequences.push(SequenceOutcome {
                    sequence: format!("{}.{}", state.schema, state.name),
                    source: state.last_value,
                    target: there.and_then(|there| there.last_value),
                });
            }
        }
    }
    // What a resumed run finds may be repaired already, in part.
    let differ = outputs.tables.iter().any(|table| !table.equal);
    if params.repair
        && matches!(host.mode(), Mode::Plan | Mode::Apply)
        && (differ || host.memo_json("repair", None).is_some())
    {
        outputs.repaired = repair(host, &source, &target, &outputs.tables)?;
    }
    outputs.equal = checks(params, &outputs).iter().all(|check| check.verdict == Verdict::Passed);
    Ok(outputs)
}

/// Whether the filter admits a sequence: by its own schema, and by the table that owns it.
fn admits(catalog: &Catalog, params: &Params, state: &SequenceState) -> bool {
    let filter = params.filter();
    let row = catalog.sequences.iter().find(|r| r.schema == state.schema && r.name == state.name);
    let owner = row.and_then(|row| row.owner).and_then(|owner| catalog.relation(owner));
    filter.schema(&state.schema)
        && owner.is_none_or(|owner| filter.tables.admit([(owner.schema.as_str(), owner.name.as_str())]))
}

fn rows<H: Host>(
    host: &H,
    source: &Catalog,
    target: &Catalog,
    ours: &[&RelationRow],
    theirs: &BTreeMap<String, &RelationRow>,
) -> Result<Vec<TableOutcome>> {
    let digestible = |catalog: &Catalog, table: &RelationRow, columns: Option<Vec<String>>| Digestible {
        schema: table.schema.clone(),
        name: table.name.clone(),
        columns,
        // The rows of an inheriting table are compared under its own name.
        only: table.kind == "r",
        bytes: bytes(catalog, table),
    };
    let columns = |catalog: &Catalog, table: &RelationRow| -> Vec<String> {
        catalog.columns_of(table.oid).iter().map(|column| column.name.clone()).collect()
    };
    let mut faults: BTreeMap<String, String> = BTreeMap::new();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for table in ours {
        let own = columns(source, table);
        match theirs.get(&table.label()) {
            None => drop(faults.insert(table.label(), "the table is missing in the target".to_owned())),
            Some(there) => {
                let other = columns(target, there);
                let differ: Vec<&String> = own
                    .iter()
                    .filter(|c| !other.contains(c))
                    .chain(other.iter().filter(|c| !own.contains(c)))
                    .collect();
                if differ.is_empty() {
                    // By name, in the source's order, unless both have the same.
                    right.push(digestible(target, there, (own != other).then(|| own.clone())));
                } else {
                    let names: Vec<String> = differ.iter().map(|c| format!("`{c}`")).collect();
                    faults
                        .insert(table.label(), format!("only one side has the columns {}", names.join(", ")));
                }
            }
        }
        left.push(digestible(source, table, None));
    }
    let mut digests = digests(host, &[(SOURCE, left.clone()), (TARGET, right.clone())])?.into_iter();
    let (here, there) = (digests.next().unwrap_or_default(), digests.next().unwrap_or_default());
    let mut outcomes = Vec::with_capacity(ours.len());
    for (table, source) in ours.iter().zip(&left) {
        let label = table.label();
        let (here, there) = (here.get(&label), there.get(&label));
        let fault = faults.get(&label).cloned();
        let mut outcome = TableOutcome {
            source_rows: here.map_or(0, |digest| digest.rows),
            target_rows: there.map(|digest| digest.rows),
            equal: false,
            difference: fault.or_else(|| difference(here, there)),
            located: None,
            table: label,
        };
        let target = right.iter().find(|t| (&t.schema, &t.name) == (&source.schema, &source.name));
        if let (Some(difference), Some(here), Some(there), Some(target)) =
            (&mut outcome.difference, here, there, target)
        {
            let located = locate(host, &Sides { source, target }, [here.rows, there.rows])?;
            *difference = format!("{difference}: {}", located.sentence());
            outcome.located = Some(located);
        }
        outcome.equal = outcome.difference.is_none();
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn difference(here: Option<&TableDigest>, there: Option<&TableDigest>) -> Option<String> {
    match (here, there) {
        (Some(here), Some(there)) if here == there => None,
        (Some(here), Some(there)) if here.rows == there.rows => {
            Some("the rows are as many, but not the same".to_owned())
        }
        (Some(here), Some(there)) => {
            Some(format!("the source has {} rows, the target {}", here.rows, there.rows))
        }
        _ => Some("the table vanished while it was compared".to_owned()),
    }
}

/// Bytes of a table with its partitions.
fn bytes(catalog: &Catalog, table: &RelationRow) -> u64 {
    let mut sum = table.bytes.unwrap_or(0);
    if table.kind == "p" {
        for child in catalog.relations.iter().filter(|r| r.partition && r.parents.contains(&table.oid)) {
            sum = sum.saturating_add(bytes(catalog, child));
        }
    }
    sum
}

fn definitions(source: &Graph, target: &Graph) -> Vec<KindOutcome> {
    let mut outcomes: BTreeMap<&str, KindOutcome> = BTreeMap::new();
    for node in &source.nodes {
        let kind = node.kind.name();
        outcomes
            .entry(kind)
            .or_insert_with(|| KindOutcome {
                kind: kind.to_owned(),
                compared: 0,
                different: Vec::new(),
                doubtful: Vec::new(),
            })
            .compared += 1;
    }
    for (title, kind, difference) in differences(source, target) {
        let Some(outcome) = outcomes.get_mut(kind.name()) else { continue };
        let reworded = matches!(difference, Difference::Reworded { .. });
        let list = if reworded { &mut outcome.doubtful } else { &mut outcome.different };
        list.push(difference.sentence(&title));
    }
    outcomes.into_values().collect()
}

/// One check for each table, each kind of object, and all sequences.
pub fn checks(params: &Params, outputs: &Outputs) -> Vec<Check> {
    let mut checks: Vec<Check> = outputs
        .tables
        .iter()
        .map(|table| {
            let why = table.difference.clone().unwrap_or_default();
            Check::that(format!("rows of {}", table.table), table.equal, why)
                .detail(format!("{} rows", table.source_rows))
        })
        .collect();
    checks.extend(outputs.definitions.iter().map(|kind| {
        let name = format!("definitions: {}", kind.kind);
        if !kind.different.is_empty() {
            Check::failed(name, kind.different.join("; "))
        } else if !kind.doubtful.is_empty() {
            Check::not_comparable(name, kind.doubtful.join("; "))
        } else {
            Check::passed(name).detail(format!("{} alike", kind.compared))
        }
    }));
    if params.sequences {
        let shown = |value: Option<i64>| value.map_or("not begun".to_owned(), |value| value.to_string());
        let differ: Vec<String> = outputs
            .sequences
            .iter()
            .map(|s| {
                format!(
                    "{} is at {} in the source and at {} in the target",
                    s.sequence,
                    shown(s.source),
                    shown(s.target)
                )
            })
            .collect();
        checks.push(
            Check::that("sequence values", differ.is_empty(), differ.join("; "))
                .detail(format!("{} compared", outputs.sequences_compared)),
        );
    }
    if params.extra == Extra::Fail {
        let extra = &outputs.only_in_target;
        let why = format!("only the target has {}", extra.join(", "));
        checks.push(Check::that("no tables beside the source's", extra.is_empty(), why));
    }
    checks
}
