//! Resuming a step: orphans ended, and what was copied under a lost snapshot taken out again.

use std::collections::BTreeSet;

use godwit_model::capability::{Performed, StepScope};
use godwit_model::effect::{Action, Consistency, CopySequences, CopyTable};
use godwit_model::{EffectKey, Error, Result, SlotName};

use crate::emptying::{self, Filled};
use crate::errors::Failure;
use crate::marker::{self, Found};
use crate::place::Place;
use crate::snapshot::{Leaders, Succession};
use crate::undo::{filled, part_done};
use crate::wire::Wire;

/// What one source's snapshot means for one sink.
struct Pair<'a> {
    source: Place,
    sink: Place,
    copies: Vec<(&'a Performed, &'a CopyTable)>,
    sequences: Vec<(&'a Performed, &'a CopySequences)>,
}

/// Empties the tables of copies under a snapshot that is lost, and returns the keys of done effects that have to be
/// done again: these copies, the sequences, and what was made from their rows. Rows that others put into such a table
/// are a conflict. May be called again at any point.
pub async fn begin_again(
    scope: &StepScope,
    leaders: &Leaders,
    known: &[Performed],
    place: &(dyn Fn(&SlotName) -> Result<Place> + Sync),
) -> Result<Vec<EffectKey>> {
    let mut redo = BTreeSet::new();
    for pair in pairs(known, place)? {
        let leader = leaders.get(scope, &pair.source, Succession::BeginAgain).await?;
        let generation = leader.generation;
        let mut session = pair.sink.wire().await?;
        let markers = marker::of_step(&mut session, &scope.run, &scope.step).await?;
        let of = |key: &EffectKey| -> Vec<Found> {
            markers.iter().filter(|found| found.key == *key).cloned().collect()
        };

        let mut tables: Vec<Filled> = Vec::new();
        let mut cleared = Vec::new();
        let mut stale = false;
        for (performed, request) in &pair.copies {
            let key = &performed.effect.key;
            let found = of(key);
            let in_sink =
                found.iter().any(|part| part_done(part).is_none_or(|done| done.generation != generation));
            let in_journal = generation_of(performed).is_some_and(|g| g != u64::from(generation));
            if in_journal {
                redo.insert(key.clone());
            }
            if in_sink {
                tables.push(filled(&request.sink.schema, &request.sink.name, &found));
                cleared.push(key.clone());
            }
            stale |= in_sink || in_journal;
        }
        for (performed, _) in &pair.sequences {
            let key = &performed.effect.key;
            if stale || generation_of(performed).is_some_and(|g| g != u64::from(generation)) {
                cleared.push(key.clone());
                if performed.done.is_some() {
                    redo.insert(key.clone());
                }
            }
        }
        for performed in known {
            let Action::ExecuteSql(request) = &performed.effect.action else { continue };
            if !request.data_dependent || place(&request.slot)?.identity() != pair.sink.identity() {
                continue;
            }
            let key = &performed.effect.key;
            // A marker that is gone was cleared by an earlier attempt to begin again.
            if stale || (performed.done.is_some() && is_atomic(performed) && of(key).is_empty()) {
                cleared.push(key.clone());
                if performed.done.is_some() {
                    redo.insert(key.clone());
                }
            }
        }
        if !cleared.is_empty() && !markers.is_empty() {
            clear(scope, &pair.sink, &mut session, &tables, &cleared).await?;
        }
        session.keep();
    }
    // A sealed archive is whole, of whatever snapshot its rows are.
    let is_sealed = |performed: &Performed| {
        matches!(performed.effect.action, Action::SealArchive(_)) && performed.done.is_some()
    };
    let sealed = known.iter().any(is_sealed);
    for performed in known {
        let Action::DumpTable(request) = &performed.effect.action else { continue };
        if request.consistency != Consistency::Snapshot {
            continue;
        }
        let leader = leaders.get(scope, &place(&request.source.slot)?, Succession::BeginAgain).await?;
        let stale = generation_of(performed).is_some_and(|g| g != u64::from(leader.generation));
        if stale && !sealed {
            redo.insert(performed.effect.key.clone());
        }
    }
    // In the order of submission.
    Ok(known
        .iter()
        .map(|performed| &performed.effect.key)
        .filter(|key| redo.contains(*key))
        .cloned()
        .collect())
}

/// Empties the tables and removes the markers, in one transaction. Rows of others in a table that this run found empty
/// are a conflict; then nothing is emptied.
async fn clear(
    scope: &StepScope,
    sink: &Place,
    session: &mut Wire,
    tables: &[Filled],
    cleared: &[EffectKey],
) -> Result<()> {
    let failed = |failure: Failure| Error::from(failure).context("emptying tables whose snapshot was lost");
    let whole: Vec<Filled> = tables.iter().filter(|table| !table.found_rows).cloned().collect();
    let changed = emptying::unlink(session, tables, false).await?;
    if !changed.is_empty() {
        return Err(others_wrote(sink, &changed));
    }
    let lock = emptying::lock(session, &whole).await?.unwrap_or_default();
    session.simple_quietly(&format!("BEGIN; {lock}")).await.map_err(failed)?;
    let strangers = emptying::strangers(session, &whole).await?;
    if !strangers.is_empty() {
        session.simple_quietly("ROLLBACK").await.map_err(failed)?;
        return Err(others_wrote(sink, &strangers));
    }
    let mut sql = String::new();
    for statement in emptying::statements(session, tables).await? {
        sql.push_str(&statement);
        sql.push_str(";\n");
    }
    sql.push_str(&marker::delete(&scope.run, &scope.step, cleared));
    sql.push_str(";\nCOMMIT");
    session.simple_quietly(&sql).await.map_err(failed)?;
    Ok(())
}

fn others_wrote(sink: &Place, what: &[String]) -> Error {
    Error::conflict(format!(
        "{}: the source was written to, so that its tables have to be copied again, but others have put rows into them \
         since: {}",
        sink.identity(),
        what.join("; ")
    ))
    .hint("remove those rows and resume, or undo the run")
}

fn is_atomic(performed: &Performed) -> bool {
    matches!(&performed.effect.action, Action::ExecuteSql(request)
        if request.execution == godwit_model::effect::Execution::Atomic)
}

fn generation_of(performed: &Performed) -> Option<u64> {
    performed.done.as_ref()?.fingerprint.get("generation")?.as_u64()
}

/// The copies that rely on a snapshot, by source and sink.
fn pairs<'a>(
    known: &'a [Performed],
    place: &(dyn Fn(&SlotName) -> Result<Place> + Sync),
) -> Result<Vec<Pair<'a>>> {
    let mut pairs: Vec<Pair<'a>> = Vec::new();
    let mut at = |source: &SlotName, sink: &SlotName| -> Result<usize> {
        let (source, sink) = (place(source)?, place(sink)?);
        let same = |pair: &Pair<'_>| {
            pair.source.identity() == source.identity() && pair.sink.identity() == sink.identity()
        };
        if let Some(index) = pairs.iter().position(same) {
            return Ok(index);
        }
        pairs.push(Pair { source, sink, copies: Vec::new(), sequences: Vec::new() });
        Ok(pairs.len() - 1)
    };
    let mut copies = Vec::new();
    let mut sequences = Vec::new();
    for performed in known {
        match &performed.effect.action {
            Action::CopyTable(request) if request.consistency == Consistency::Snapshot => {
                copies.push((at(&request.source.slot, &request.sink.slot)?, performed, request));
            }
            Action::CopySequences(request) => {
                sequences.push((at(&request.source, &request.sink)?, performed, request));
            }
            _ => {}
        }
    }
    for (index, performed, request) in copies {
        pairs[index].copies.push((performed, request));
    }
    for (index, performed, request) in sequences {
        pairs[index].sequences.push((performed, request));
    }
    // Sequences alone rely on no snapshot: they are read as they stand.
    pairs.retain(|pair| !pair.copies.is_empty());
    Ok(pairs)
}
