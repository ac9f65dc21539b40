//! The state of sequences, read at the source and set at the sink.

use std::collections::BTreeMap;

use godwit_model::capability::StepScope;
use godwit_model::effect::{Class, CopySequences, Done, Preparation};
use godwit_model::{EffectKey, Error, Result, RunId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::marker::{self, Marker};
use crate::place::Place;
use crate::quote::{literal, qualified};
use crate::snapshot::Leader;
use crate::wire::Reply;
use crate::wire::Wire;

/// A sequence and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub schema: String,
    pub name: String,
    pub last_value: i64,
    pub is_called: bool,
}

/// What undo needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub run: RunId,
    pub generation: u32,
    pub before: Vec<State>,
    pub set: Vec<State>,
}

/// What the marker's note keeps, so that a repeated attempt knows the state from before the first one.
#[derive(Serialize, Deserialize)]
struct Note {
    before: Vec<State>,
    set: Vec<State>,
}

pub fn prepare(scope: &StepScope, request: &CopySequences) -> Preparation {
    let count = request.sequences.len();
    Preparation {
        class: Class::Changes,
        irreversible: None,
        title: format!("set {count} {}", if count == 1 { "sequence" } else { "sequences" }),
        details: request.sequences.iter().map(|(schema, name)| format!("{schema}.{name}")).collect(),
        diff: None,
        estimate: None,
        before: json!({ "run": scope.run }),
    }
}

/// One query for all; empty for none.
fn query<'a>(sequences: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let each = |(schema, name): (&str, &str)| {
        format!(
            "SELECT {}, {}, last_value::text, is_called::text FROM {}",
            literal(schema),
            literal(name),
            qualified(schema, name)
        )
    };
    sequences.map(each).collect::<Vec<_>>().join(" UNION ALL ")
}

fn states(reply: Option<&Reply>) -> Result<Vec<State>> {
    let rows = reply.map_or(&[][..], |reply| &reply.rows);
    rows.iter()
        .map(|row| match row.as_slice() {
            [Some(schema), Some(name), Some(last), Some(called)] => Ok(State {
                schema: schema.clone(),
                name: name.clone(),
                last_value: last
                    .parse()
                    .map_err(|_| Error::failed(format!("sequence {schema}.{name} stands at `{last}`")))?,
                is_called: called == "true",
            }),
            _ => Err(Error::failed("the sequences' states can't be read")),
        })
        .collect()
}

fn set(states: &[State]) -> String {
    let each = |state: &State| {
        format!(
            "pg_catalog.setval({}, {}, {})",
            literal(&qualified(&state.schema, &state.name)),
            state.last_value,
            state.is_called
        )
    };
    // Few targets to a SELECT: its list is limited to 1,664 (manual, appendix K).
    states
        .chunks(500)
        .map(|chunk| format!("SELECT {}", chunk.iter().map(each).collect::<Vec<_>>().join(", ")))
        .collect::<Vec<_>>()
        .join("; ")
}

/// Copies the states. The sink's markers are prepared.
pub async fn perform(
    scope: &StepScope,
    key: &EffectKey,
    request: &CopySequences,
    leader: &Leader,
    sink: &Place,
) -> Result<Done> {
    let wanted = || request.sequences.iter().map(|(schema, name)| (schema.as_str(), name.as_str()));
    let note = if request.sequences.is_empty() {
        Note { before: Vec::new(), set: Vec::new() }
    } else {
        let now = states(Some(&leader.catalog(&query(wanted())).await?))?;
        let mut session = sink.wire().await?;
        let marker = Marker::of(scope, key, 0);
        match session.simple(&format!("BEGIN; {}; {}", marker.insert(), query(wanted()))).await {
            Ok(replies) => {
                let note = Note { before: states(replies.last())?, set: now };
                let text = serde_json::to_string(&note).map_err(|e| Error::host(e.to_string()))?;
                session.simple(&format!("{}; {}; COMMIT", set(&note.set), marker.annotate(&text))).await?;
                session.keep();
                note
            }
            Err(failure) if marker::is_done(&failure) => {
                session.simple("ROLLBACK").await?;
                let replies = session.simple(&marker.select()).await?;
                session.keep();
                let text = replies.first().and_then(|reply| reply.one()).unwrap_or("");
                serde_json::from_str(text)
                    .map_err(|e| Error::conflict(format!("the marker of `{key}` can't be read: {e}")))?
            }
            Err(failure) => return Err(failure.into()),
        }
    };
    let result: BTreeMap<String, i64> =
        note.set.iter().map(|state| (format!("{}.{}", state.schema, state.name), state.last_value)).collect();
    let fingerprint = Fingerprint {
        run: scope.run.clone(),
        generation: leader.generation,
        before: note.before,
        set: note.set,
    };
    Ok(Done {
        result: json!({ "sequences": result }),
        evidence: None,
        fingerprint: serde_json::to_value(fingerprint).map_err(|e| Error::host(e.to_string()))?,
        notes: Vec::new(),
    })
}

/// The fingerprint that a marker's note stands for, where the journal has none.
pub fn from_note(run: RunId, note: &str) -> Option<Fingerprint> {
    let note: Note = serde_json::from_str(note).ok()?;
    Some(Fingerprint { run, generation: 0, before: note.before, set: note.set })
}

/// What differs between the sequences as they were set and as they are. Those that are gone are passed over.
pub async fn changes(session: &mut Wire, set: &[State]) -> Result<Vec<String>> {
    let there = existing(session, set).await?;
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let replies = session.simple(&query(there.iter().map(|s| (s.schema.as_str(), s.name.as_str())))).await?;
    let now = states(replies.first())?;
    Ok(there
        .iter()
        .filter_map(|was| {
            let now = now.iter().find(|now| now.schema == was.schema && now.name == was.name)?;
            (now != was).then(|| {
                format!(
                    "sequence {}.{} was set to {} and stands at {}",
                    was.schema, was.name, was.last_value, now.last_value
                )
            })
        })
        .collect())
}

async fn existing(session: &mut Wire, states: &[State]) -> Result<Vec<State>> {
    if states.is_empty() {
        return Ok(Vec::new());
    }
    let each = |state: &State| {
        format!("pg_catalog.to_regclass({}) IS NOT NULL", literal(&qualified(&state.schema, &state.name)))
    };
    let mut there = Vec::new();
    for chunk in states.chunks(500) {
        let sql = format!("SELECT {}", chunk.iter().map(each).collect::<Vec<_>>().join(", "));
        let replies = session.simple(&sql).await?;
        let row = replies.first().and_then(|reply| reply.rows.first());
        let flags = row.into_iter().flatten().map(|flag| flag.as_deref() == Some("t"));
        there.extend(chunk.iter().zip(flags).filter(|(_, is)| *is).map(|(state, _)| state.clone()));
    }
    Ok(there)
}

/// Statements that put the sequences back; to be run in one transaction.
pub async fn restore(session: &mut Wire, before: &[State]) -> Result<Vec<String>> {
    let there = existing(session, before).await?;
    Ok(if there.is_empty() { Vec::new() } else { vec![set(&there)] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_set_in_few_statements() {
        let state = |n: i64| State {
            schema: "s".into(),
            name: format!("q\"{n}"),
            last_value: n,
            is_called: n % 2 == 0,
        };
        assert_eq!(set(&[state(1)]), r#"SELECT pg_catalog.setval('"s"."q""1"', 1, false)"#);
        let many: Vec<_> = (0..1200).map(state).collect();
        assert_eq!(set(&many).matches("SELECT").count(), 3);
        assert_eq!(set(&[]), "");
    }
}
