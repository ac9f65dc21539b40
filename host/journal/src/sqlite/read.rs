//! Reads, from connections of their own: they never wait for the writer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use godwit_model::capability::{Part, UndoAction};
use godwit_model::journal::{Accepted, EffectRecord, EffectStatus, RunRecord, StepRecord, UndoRecord};
use godwit_model::{Digest, EffectKey, Error, Json, Result, RunId, StepId};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{FromRow, Row as _};

use super::fault::{Doing, from_sqlx};
use super::text::{by_name, from_json, note_owner, sequence, stored, to_json};
use crate::transition::EffectState;

/// The reading side of a journal.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub pool: SqlitePool,
    pub path: PathBuf,
}

/// A struct whose fields are columns of the same names.
macro_rules! row {
    ($(#[$doc:meta])* $visibility:vis struct $name:ident { $($column:ident: $type:ty,)* }) => {
        $(#[$doc])*
        $visibility struct $name { $($column: $type,)* }

        impl FromRow<'_, SqliteRow> for $name {
            fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
                Ok(Self { $($column: row.try_get(stringify!($column))?,)* })
            }
        }
    };
}

row! {
    struct RunRow {
        id: String,
        kind: String,
        of_run: Option<String>,
        recipe: String,
        recipe_path: Option<String>,
        recipe_text: String,
        inputs: String,
        secret_inputs: String,
        plugins: String,
        status: String,
        started_at: String,
        ended_at: Option<String>,
        error: Option<String>,
        owner: String,
    }
}

impl RunRow {
    fn into_record(self, path: &Path, accepted: Vec<Accepted>) -> Result<RunRecord> {
        Ok(RunRecord {
            kind: by_name(path, &self.kind, "a kind of run")?,
            of: self.of_run.map(RunId::from),
            recipe: self.recipe,
            recipe_path: self.recipe_path,
            recipe_text: self.recipe_text,
            inputs: from_json(path, &self.inputs, "inputs of a run")?,
            secret_inputs: from_json(path, &self.secret_inputs, "secret inputs of a run")?,
            plugins: from_json(path, &self.plugins, "plugins of a run")?,
            accepted,
            status: by_name(path, &self.status, "a status of a run")?,
            started_at: self.started_at,
            ended_at: self.ended_at,
            error: self.error.map(|error| from_json(path, &error, "an error of a run")).transpose()?,
            owner: self.owner,
            id: RunId::from(self.id),
        })
    }
}

row! {
    struct EffectRow {
        request: String,
        sequence: i64,
        effect: String,
        preparation: String,
        status: String,
        outcome: Option<String>,
        at: String,
    }
}

impl EffectRow {
    fn into_record(self, path: &Path) -> Result<EffectRecord> {
        let status = match self.outcome {
            Some(outcome) => from_json(path, &outcome, "an outcome")?,
            None if self.status == EffectState::Intended.name() => EffectStatus::Intended,
            None => {
                return Err(Error::host(format!(
                    "the journal {} holds a {} effect without what came of it",
                    path.display(),
                    self.status
                )));
            }
        };
        Ok(EffectRecord {
            effect: from_json(path, &self.effect, "an effect")?,
            request: Digest::from(self.request),
            preparation: from_json(path, &self.preparation, "a preparation")?,
            sequence: u64::try_from(self.sequence).unwrap_or_default(),
            status,
            at: self.at,
        })
    }
}

impl Reader {
    fn fault(&self) -> impl Fn(sqlx::Error) -> Error + '_ {
        |error| from_sqlx(&self.path, Doing::Reading, &error)
    }

    pub async fn run(&self, run: &RunId) -> Result<Option<RunRecord>> {
        let row: Option<RunRow> = sqlx::query_as("SELECT * FROM runs WHERE id = ?1")
            .bind(run.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(self.fault())?;
        let Some(row) = row else { return Ok(None) };
        let accepted = sqlx::query("SELECT step, key, request FROM accepted WHERE run = ?1 ORDER BY rowid")
            .bind(run.as_str())
            .fetch_all(&self.pool)
            .await
            .map_err(self.fault())?;
        let accepted = accepted.iter().map(accepted_of).collect::<Result<_, _>>().map_err(self.fault())?;
        row.into_record(&self.path, accepted).map(Some)
    }

    pub async fn runs(&self) -> Result<Vec<RunRecord>> {
        let accepted = sqlx::query("SELECT step, key, request, run FROM accepted ORDER BY rowid")
            .fetch_all(&self.pool)
            .await
            .map_err(self.fault())?;
        let mut by_run: HashMap<String, Vec<Accepted>> = HashMap::new();
        for row in &accepted {
            let run = row.try_get("run").map_err(self.fault())?;
            by_run.entry(run).or_default().push(accepted_of(row).map_err(self.fault())?);
        }
        let rows: Vec<RunRow> = sqlx::query_as("SELECT * FROM runs ORDER BY started_at DESC, rowid DESC")
            .fetch_all(&self.pool)
            .await
            .map_err(self.fault())?;
        rows.into_iter()
            .map(|row| {
                let accepted = by_run.remove(&row.id).unwrap_or_default();
                row.into_record(&self.path, accepted)
            })
            .collect()
    }

    pub async fn steps(&self, run: &RunId) -> Result<Vec<StepRecord>> {
        let records: Vec<String> =
            sqlx::query_scalar("SELECT record FROM steps WHERE run = ?1 ORDER BY rowid")
                .bind(run.as_str())
                .fetch_all(&self.pool)
                .await
                .map_err(self.fault())?;
        records.iter().map(|record| from_json(&self.path, record, "a step")).collect()
    }

    pub async fn memo(&self, run: &RunId, step: &StepId, key: &str) -> Result<Option<Json>> {
        let value: Option<String> =
            sqlx::query_scalar("SELECT value FROM memos WHERE run = ?1 AND step = ?2 AND key = ?3")
                .bind(run.as_str())
                .bind(step.as_str())
                .bind(key)
                .fetch_optional(&self.pool)
                .await
                .map_err(self.fault())?;
        value.map(|value| from_json(&self.path, &value, "a memo")).transpose()
    }

    pub async fn memos(&self, run: &RunId, step: &StepId) -> Result<Vec<(String, Json)>> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT key, value FROM memos WHERE run = ?1 AND step = ?2 ORDER BY key")
                .bind(run.as_str())
                .bind(step.as_str())
                .fetch_all(&self.pool)
                .await
                .map_err(self.fault())?;
        rows.into_iter().map(|(key, value)| Ok((key, from_json(&self.path, &value, "a memo")?))).collect()
    }

    pub async fn effects_before(
        &self,
        run: &RunId,
        step: &StepId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<EffectRecord>> {
        let rows: Vec<EffectRow> = sqlx::query_as(
            "SELECT request, sequence, effect, preparation, status, outcome, at FROM effects
             WHERE run = ?1 AND step = ?2 AND sequence < ?3 ORDER BY sequence DESC LIMIT ?4",
        )
        .bind(run.as_str())
        .bind(stored(step.as_str()).as_ref())
        .bind(before.map_or(Ok(i64::MAX), sequence)?)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(self.fault())?;
        rows.into_iter().map(|row| row.into_record(&self.path)).collect()
    }

    pub async fn effects_of(
        &self,
        run: &RunId,
        step: &StepId,
        keys: &[EffectKey],
    ) -> Result<Vec<EffectRecord>> {
        let keys: Vec<_> = keys.iter().map(|key| stored(key.as_str())).collect();
        let rows: Vec<EffectRow> = sqlx::query_as(
            "SELECT request, sequence, effect, preparation, status, outcome, at
             FROM json_each(?3) AS asked CROSS JOIN effects
             ON effects.run = ?1 AND effects.step = ?2 AND effects.key = asked.value",
        )
        .bind(run.as_str())
        .bind(stored(step.as_str()).as_ref())
        .bind(to_json(&keys, "keys of effects")?)
        .fetch_all(&self.pool)
        .await
        .map_err(self.fault())?;
        rows.into_iter().map(|row| row.into_record(&self.path)).collect()
    }

    pub async fn effect_count(&self, run: &RunId, step: &StepId) -> Result<u64> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM effects WHERE run = ?1 AND step = ?2")
            .bind(run.as_str())
            .bind(stored(step.as_str()).as_ref())
            .fetch_one(&self.pool)
            .await
            .map_err(self.fault())?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    pub async fn effect(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Option<EffectRecord>> {
        let row: Option<EffectRow> = sqlx::query_as(
            "SELECT request, sequence, effect, preparation, status, outcome, at FROM effects
             WHERE run = ?1 AND step = ?2 AND key = ?3",
        )
        .bind(run.as_str())
        .bind(stored(step.as_str()).as_ref())
        .bind(stored(key.as_str()).as_ref())
        .fetch_optional(&self.pool)
        .await
        .map_err(self.fault())?;
        row.map(|row| row.into_record(&self.path)).transpose()
    }

    pub async fn effects_from(
        &self,
        run: &RunId,
        step: &StepId,
        from: &EffectKey,
        limit: u32,
    ) -> Result<Vec<EffectRecord>> {
        let rows: Vec<EffectRow> = sqlx::query_as(
            "SELECT request, sequence, effect, preparation, status, outcome, at FROM effects
             WHERE run = ?1 AND step = ?2 AND key >= ?3 ORDER BY key LIMIT ?4",
        )
        .bind(run.as_str())
        .bind(stored(step.as_str()).as_ref())
        .bind(stored(from.as_str()).as_ref())
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(self.fault())?;
        rows.into_iter().map(|row| row.into_record(&self.path)).collect()
    }

    pub async fn parts(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Vec<Part>> {
        let rows: Vec<(u32, String, Option<String>)> = sqlx::query_as(
            "SELECT parts.part, parts.range, parts.outcome FROM effects JOIN parts ON parts.effect = effects.id
             WHERE effects.run = ?1 AND effects.step = ?2 AND effects.key = ?3 ORDER BY parts.part",
        )
        .bind(run.as_str())
        .bind(stored(step.as_str()).as_ref())
        .bind(stored(key.as_str()).as_ref())
        .fetch_all(&self.pool)
        .await
        .map_err(self.fault())?;
        rows.into_iter()
            .map(|(index, range, outcome)| {
                let outcome = outcome.map(|outcome| from_json(&self.path, &outcome, "a part's outcome"));
                Ok(Part {
                    index,
                    range: from_json(&self.path, &range, "a part's range")?,
                    outcome: outcome.transpose()?,
                })
            })
            .collect()
    }

    pub async fn note(
        &self,
        run: &RunId,
        step: &StepId,
        key: Option<&EffectKey>,
        name: &str,
    ) -> Result<Option<Json>> {
        let value: Option<String> = sqlx::query_scalar(
            "SELECT value FROM notes WHERE run = ?1 AND step = ?2 AND effect = ?3 AND name = ?4",
        )
        .bind(run.as_str())
        .bind(stored(step.as_str()).as_ref())
        .bind(note_owner(key))
        .bind(name)
        .fetch_optional(&self.pool)
        .await
        .map_err(self.fault())?;
        value.map(|value| from_json(&self.path, &value, "a note")).transpose()
    }

    pub async fn undo_actions(&self, undo_run: &RunId) -> Result<Vec<UndoRecord>> {
        let rows: Vec<UndoRow> = sqlx::query_as(UNDO_ACTIONS)
            .bind(undo_run.as_str())
            .fetch_all(&self.pool)
            .await
            .map_err(self.fault())?;
        rows.into_iter().map(|row| row.into_record(&self.path)).collect()
    }
}

fn accepted_of(row: &SqliteRow) -> Result<Accepted, sqlx::Error> {
    Ok(Accepted {
        step: StepId::from(row.try_get::<String, _>("step")?),
        key: EffectKey::from(row.try_get::<String, _>("key")?),
        request: Digest::from(row.try_get::<String, _>("request")?),
    })
}

/// All actions of an undo in order.
pub(super) const UNDO_ACTIONS: &str =
    "SELECT step, sequence, action, done FROM undo_actions WHERE run = ?1 ORDER BY sequence, rowid";

row! {
    pub(super) struct UndoRow {
        step: String,
        sequence: i64,
        action: String,
        done: Option<String>,
    }
}

impl UndoRow {
    pub fn into_record(self, path: &Path) -> Result<UndoRecord> {
        let action: UndoAction = from_json(path, &self.action, "an action of an undo")?;
        Ok(UndoRecord {
            step: StepId::from(self.step),
            action,
            sequence: u64::try_from(self.sequence).unwrap_or_default(),
            done: self.done.map(|done| from_json(path, &done, "a result of an undo")).transpose()?,
        })
    }
}
