//! Intents and settlements by the thousand: a fixed number of statements whatever the number of rows.
//!
//! Rows travel as one JSON parameter through `json_each`; statements stay constant and prepared, and a row costs no
//! trip to SQLite's thread of its own.

use std::collections::{HashMap, HashSet};

use godwit_model::Result;
use serde_json::{Value, json};

use super::text::stored;
use super::write::{Answer, Refusal, Tables};
use crate::fault;
use crate::rule::{self, At, Intending};
use crate::transition::EffectState;

/// Rows per statement: bounds the JSON text that SQLite parses at once.
const CHUNK: usize = 1000;

/// The intents of one call, which stand or fall together.
#[derive(Debug)]
pub(super) struct IntentBatch {
    pub run: String,
    pub step: String,
    pub rows: Vec<IntentRow>,
    pub at: String,
}

#[derive(Debug)]
pub(super) struct IntentRow {
    pub key: String,
    pub request: String,
    pub sequence: i64,
    /// JSON.
    pub effect: String,
    /// JSON.
    pub preparation: String,
}

/// What has come of one effect.
#[derive(Debug)]
pub(super) struct Settlement {
    pub run: String,
    pub step: String,
    pub key: String,
    pub state: EffectState,
    /// JSON of the whole status; `None` for an intent.
    pub outcome: Option<String>,
    pub at: String,
}

/// Names an effect: run, step, key.
type Name<'a> = (&'a str, &'a str, &'a str);

/// What the journal has of an effect.
#[derive(Clone, Debug)]
struct Known {
    id: i64,
    state: EffectState,
    request: String,
    outcome: Option<String>,
}

type Answers = Vec<Result<Answer, Refusal>>;

impl Tables<'_> {
    /// Journals batches of intents; one answer for each batch, in order.
    pub async fn intend(&mut self, batches: &[&IntentBatch]) -> Result<Answers, Refusal> {
        let mut runs = HashMap::new();
        for batch in batches {
            if !runs.contains_key(batch.run.as_str()) {
                let known = match self.require_run(&batch.run).await {
                    Ok(_) => true,
                    Err(Refusal::Rule(_)) => false,
                    Err(lost) => return Err(lost),
                };
                runs.insert(batch.run.as_str(), known);
            }
        }
        let names =
            batches.iter().flat_map(|batch| batch.rows.iter().map(|row| name_in(batch, row))).collect();
        let known = self.known(names).await?;

        let mut fresh: HashMap<Name, &str> = HashMap::new();
        let mut replaced: Vec<Name> = Vec::new();
        let mut rows: Vec<(&IntentBatch, &IntentRow)> = Vec::new();
        let answers = batches
            .iter()
            .map(|batch| {
                if !runs[batch.run.as_str()] {
                    return Err(fault::unknown_run(&batch.run).into());
                }
                // Decides the whole batch before any of it is taken up.
                let mut taken = Vec::with_capacity(batch.rows.len());
                let mut own: HashMap<Name, &str> = HashMap::new();
                for row in &batch.rows {
                    let name = name_in(batch, row);
                    let before = match own.get(&name).or_else(|| fresh.get(&name)) {
                        Some(request) => Some((EffectState::Intended, *request)),
                        None => known.get(&name).map(|known| (known.state, known.request.as_str())),
                    };
                    let what = rule::intend(at(name), before, &row.request)?;
                    if what != Intending::Keep {
                        own.insert(name, &row.request);
                        taken.push((what, name, row));
                    }
                }
                for (what, name, row) in taken {
                    if what == Intending::Replace {
                        replaced.push(name);
                    }
                    rows.push((*batch, row));
                }
                fresh.extend(own);
                Ok(None)
            })
            .collect();

        self.drop_replaced(&replaced, &known).await?;
        for chunk in rows.chunks(CHUNK) {
            let rows: Vec<Value> = chunk
                .iter()
                .map(|(batch, row)| {
                    let (run, step, key) = name_in(batch, row);
                    json!([
                        run,
                        stored(step),
                        stored(key),
                        row.request,
                        row.sequence,
                        row.effect,
                        row.preparation,
                        batch.at
                    ])
                })
                .collect();
            sqlx::query(
                "INSERT INTO effects (run, step, key, request, sequence, effect, preparation, status, at)
                 SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                        'intended', value ->> 7
                 FROM json_each(?1) WHERE true
                 ON CONFLICT (run, step, key) DO UPDATE SET
                     request = excluded.request, sequence = excluded.sequence, effect = excluded.effect,
                     preparation = excluded.preparation, status = 'intended', outcome = NULL, at = excluded.at",
            )
            .bind(Value::Array(rows).to_string())
            .execute(&mut *self.connection)
            .await?;
        }
        Ok(answers)
    }

    /// Journals what has come of effects; one answer for each, in order.
    pub async fn settle(&mut self, settlements: &[&Settlement]) -> Result<Answers, Refusal> {
        let names = settlements.iter().map(|one| name_of(one)).collect();
        let mut known = self.known(names).await?;
        let mut missing_runs: HashSet<&str> = HashSet::new();
        for one in settlements.iter().filter(|one| !known.contains_key(&name_of(one))) {
            match self.require_run(&one.run).await {
                Ok(_) => {}
                Err(Refusal::Rule(_)) => {
                    missing_runs.insert(&one.run);
                }
                Err(lost) => return Err(lost),
            }
        }
        // The last change of each row, as one UPDATE changes a row only once.
        let mut changed: HashMap<i64, &Settlement> = HashMap::new();
        let answers = settlements
            .iter()
            .map(|one| {
                if missing_runs.contains(one.run.as_str()) {
                    return Err(fault::unknown_run(&one.run).into());
                }
                let record = known.get_mut(&name_of(one));
                let same = record.as_ref().is_some_and(|record| record.outcome == one.outcome);
                let from = record.as_ref().map(|record| record.state);
                let changes = rule::settle(at(name_of(one)), from, one.state, same)?;
                if let Some(record) = record.filter(|_| changes) {
                    record.state = one.state;
                    record.outcome.clone_from(&one.outcome);
                    changed.insert(record.id, one);
                }
                Ok(None)
            })
            .collect();

        let mut changed: Vec<_> = changed.into_iter().collect();
        changed.sort_unstable_by_key(|(id, _)| *id);
        for chunk in changed.chunks(CHUNK) {
            let rows: Vec<Value> =
                chunk.iter().map(|(id, one)| json!([id, one.state.name(), one.outcome, one.at])).collect();
            sqlx::query(
                "UPDATE effects SET status = new.status, outcome = new.outcome, at = new.at
                 FROM (SELECT value ->> 0 AS id, value ->> 1 AS status, value ->> 2 AS outcome, value ->> 3 AS at
                       FROM json_each(?1)) AS new
                 WHERE effects.id = new.id",
            )
            .bind(Value::Array(rows).to_string())
            .execute(&mut *self.connection)
            .await?;
        }
        Ok(answers)
    }

    /// What the journal has under these names.
    async fn known<'n>(&mut self, names: Vec<Name<'n>>) -> Result<HashMap<Name<'n>, Known>, Refusal> {
        let mut known = HashMap::with_capacity(names.len());
        for chunk in names.chunks(CHUNK) {
            let asked: Vec<Value> =
                chunk.iter().map(|(run, step, key)| json!([run, stored(step), stored(key)])).collect();
            let rows: Vec<(i64, i64, String, String, Option<String>)> = sqlx::query_as(
                "SELECT asked.key, effects.id, effects.status, effects.request, effects.outcome
                 FROM json_each(?1) AS asked CROSS JOIN effects
                 ON effects.run = asked.value ->> 0 AND effects.step = asked.value ->> 1
                    AND effects.key = asked.value ->> 2",
            )
            .bind(Value::Array(asked).to_string())
            .fetch_all(&mut *self.connection)
            .await?;
            for (index, id, status, request, outcome) in rows {
                let name = usize::try_from(index).ok().and_then(|index| chunk.get(index));
                let state = EffectState::by_name(&status);
                let (Some(name), Some(state)) = (name, state) else {
                    return Err(Refusal::Rule(godwit_model::Error::host(format!(
                        "the journal {} holds an effect of unknown status `{status}`",
                        self.path.display()
                    ))));
                };
                known.insert(*name, Known { id, state, request, outcome });
            }
        }
        Ok(known)
    }

    /// Removes parts and notes of effects whose request is another one now.
    async fn drop_replaced(
        &mut self,
        replaced: &[Name<'_>],
        known: &HashMap<Name<'_>, Known>,
    ) -> Result<(), Refusal> {
        for name in replaced {
            // Without a record the key came twice in one batch: there are no parts yet, but there may be notes.
            if let Some(record) = known.get(name) {
                sqlx::query("DELETE FROM parts WHERE effect = ?1")
                    .bind(record.id)
                    .execute(&mut *self.connection)
                    .await?;
            }
            let (run, step, key) = name;
            sqlx::query("DELETE FROM notes WHERE run = ?1 AND step = ?2 AND effect = ?3")
                .bind(run)
                .bind(stored(step).as_ref())
                .bind(format!("={}", stored(key)))
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }
}

fn name_in<'a>(batch: &'a IntentBatch, row: &'a IntentRow) -> Name<'a> {
    (&batch.run, &batch.step, &row.key)
}

fn name_of(one: &Settlement) -> Name<'_> {
    (&one.run, &one.step, &one.key)
}

fn at<'a>((run, step, key): Name<'a>) -> At<'a> {
    At { run, step, key }
}
