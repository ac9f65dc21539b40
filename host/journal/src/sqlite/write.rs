//! The writes, as data that the writer groups, and how each one is carried out within a transaction.

use std::path::Path;

use godwit_model::journal::{Accepted, RunRecord, RunStatus, StepStatus, UndoRecord};
use godwit_model::{EffectKey, Error, Json, Result, RunId, StepId};
use sqlx::sqlite::SqliteConnection;

use super::bulk::{IntentBatch, Settlement};
use super::read::{UNDO_ACTIONS, UndoRow};
use super::text::{by_name, from_json, name_of, note_owner, sequence, stored, to_json};
use crate::transition::{StepEvent, next_step};
use crate::{fault, owner, rule};

/// One write. What it says about the world is JSON already, made where it was asked for, so that the writer only
/// writes. May be carried out twice: its first transaction may have failed as a whole.
#[derive(Debug)]
pub(super) enum Write {
    InsertRun(Box<RunRecord>),
    SetRunStatus { run: RunId, status: RunStatus, error: Option<String>, at: String },
    OwnRun { run: RunId, owner: String },
    Accept { run: RunId, accepted: Vec<Accepted> },
    Forget { run: RunId },
    PutStep { run: RunId, step: StepId, status: StepStatus, record: String },
    Memo { run: RunId, step: StepId, key: String, value: String },
    Intend(IntentBatch),
    Settle(Settlement),
    PlanParts { run: RunId, step: StepId, key: EffectKey, ranges: Vec<String> },
    FinishPart { run: RunId, step: StepId, key: EffectKey, index: u32, outcome: String },
    ResetParts { run: RunId, step: StepId, key: EffectKey },
    SetNote { run: RunId, step: StepId, key: Option<EffectKey>, name: String, value: String },
    PlanUndo { run: RunId, actions: Vec<UndoRecord> },
    FinishUndo { run: RunId, step: StepId, key: EffectKey, result: String },
}

impl Write {
    /// The intents, for bulk.
    pub fn as_intents(&self) -> Option<&IntentBatch> {
        if let Self::Intend(batch) = self { Some(batch) } else { None }
    }

    /// The settlement, for bulk.
    pub fn as_settlement(&self) -> Option<&Settlement> {
        if let Self::Settle(settlement) = self { Some(settlement) } else { None }
    }
}

/// What a write answers: the value kept, for a memo.
pub(super) type Answer = Option<Json>;

/// Why a write wasn't carried out.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A rule of the journal. Nothing of this write was done; the transaction is as good as before.
    Rule(Error),
    /// SQLite. The transaction is lost.
    Sql(sqlx::Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Rule(error)
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

type Carried<T = Answer> = Result<T, Refusal>;

/// The writing side within one transaction.
pub(super) struct Tables<'a> {
    pub connection: &'a mut SqliteConnection,
    pub path: &'a Path,
}

impl Tables<'_> {
    /// Carries out one write. Every check comes before the first change.
    pub async fn carry_out(&mut self, write: &Write) -> Carried {
        match write {
            Write::InsertRun(run) => self.insert_run(run).await?,
            Write::SetRunStatus { run, status, error, at } => {
                self.set_run_status(run, *status, error.as_deref(), at).await?;
            }
            Write::OwnRun { run, owner } => self.own_run(run, owner).await?,
            Write::Accept { run, accepted } => self.accept(run, accepted).await?,
            Write::Forget { run } => self.forget(run).await?,
            Write::PutStep { run, step, status, record } => self.put_step(run, step, *status, record).await?,
            Write::Memo { run, step, key, value } => return self.memo(run, step, key, value).await.map(Some),
            Write::Intend(batch) => return self.intend(&[batch]).await?.pop().unwrap_or(Ok(None)),
            Write::Settle(one) => return self.settle(&[one]).await?.pop().unwrap_or(Ok(None)),
            Write::PlanParts { run, step, key, ranges } => self.plan_parts(run, step, key, ranges).await?,
            Write::FinishPart { run, step, key, index, outcome } => {
                self.finish_part(run, step, key, *index, outcome).await?;
            }
            Write::ResetParts { run, step, key } => self.reset_parts(run, step, key).await?,
            Write::SetNote { run, step, key, name, value } => {
                self.set_note(run, step, key.as_ref(), name, value).await?;
            }
            Write::PlanUndo { run, actions } => self.plan_undo(run, actions).await?,
            Write::FinishUndo { run, step, key, result } => self.finish_undo(run, step, key, result).await?,
        }
        Ok(None)
    }

    /// Refuses a run that isn't there; otherwise its status and owner.
    pub async fn require_run(&mut self, run: &str) -> Carried<(RunStatus, String)> {
        let row: Option<(String, String)> = sqlx::query_as("SELECT status, owner FROM runs WHERE id = ?1")
            .bind(run)
            .fetch_optional(&mut *self.connection)
            .await?;
        let (status, owner) = row.ok_or_else(|| fault::unknown_run(run))?;
        Ok((by_name(self.path, &status, "a status of a run")?, owner))
    }

    async fn insert_run(&mut self, run: &RunRecord) -> Carried<()> {
        match self.require_run(run.id.as_str()).await {
            Ok(_) => return Err(fault::known_run(&run.id).into()),
            Err(Refusal::Rule(_)) => {}
            Err(lost) => return Err(lost),
        }
        let kind = name_of(&run.kind, "a kind of run")?;
        let inputs = to_json(&run.inputs, "the inputs of a run")?;
        let secret_inputs = to_json(&run.secret_inputs, "the secret inputs of a run")?;
        let plugins = to_json(&run.plugins, "the plugins of a run")?;
        let error = run.error.as_ref().map(|error| to_json(error, "the error of a run")).transpose()?;
        sqlx::query(
            "INSERT INTO runs (id, kind, of_run, recipe, recipe_path, recipe_text, inputs, secret_inputs, plugins,
                               status, started_at, ended_at, error, owner)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )
        .bind(run.id.as_str())
        .bind(kind)
        .bind(run.of.as_ref().map(RunId::as_str))
        .bind(&run.recipe)
        .bind(&run.recipe_path)
        .bind(&run.recipe_text)
        .bind(inputs)
        .bind(secret_inputs)
        .bind(plugins)
        .bind(run.status.name())
        .bind(&run.started_at)
        .bind(&run.ended_at)
        .bind(error)
        .bind(&run.owner)
        .execute(&mut *self.connection)
        .await?;
        self.insert_accepted(&run.id, &run.accepted).await
    }

    async fn set_run_status(
        &mut self,
        run: &RunId,
        status: RunStatus,
        error: Option<&str>,
        at: &str,
    ) -> Carried<()> {
        let (from, _) = self.require_run(run.as_str()).await?;
        let status = rule::move_run(run.as_str(), from, status)?;
        let before: Option<String> = sqlx::query_scalar("SELECT ended_at FROM runs WHERE id = ?1")
            .bind(run.as_str())
            .fetch_one(&mut *self.connection)
            .await?;
        sqlx::query(
            "UPDATE runs SET status = ?2, ended_at = ?3, error = coalesce(?4, iif(?5, error, NULL)) WHERE id = ?1",
        )
        .bind(run.as_str())
        .bind(status.name())
        .bind(rule::ended_at(status, before, at))
        .bind(error)
        .bind(rule::keeps_error(status))
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn own_run(&mut self, run: &RunId, owner: &str) -> Carried<()> {
        let (_, holder) = self.require_run(run.as_str()).await?;
        owner::admit(run.as_str(), &holder, owner)?;
        sqlx::query("UPDATE runs SET owner = ?2 WHERE id = ?1")
            .bind(run.as_str())
            .bind(owner)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn accept(&mut self, run: &RunId, accepted: &[Accepted]) -> Carried<()> {
        self.require_run(run.as_str()).await?;
        self.insert_accepted(run, accepted).await
    }

    async fn insert_accepted(&mut self, run: &RunId, accepted: &[Accepted]) -> Carried<()> {
        for one in accepted {
            sqlx::query("INSERT OR IGNORE INTO accepted (run, step, key, request) VALUES (?1, ?2, ?3, ?4)")
                .bind(run.as_str())
                .bind(one.step.as_str())
                .bind(one.key.as_str())
                .bind(one.request.as_str())
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }

    async fn forget(&mut self, run: &RunId) -> Carried<()> {
        let (status, holder) = self.require_run(run.as_str()).await?;
        owner::admit_forget(run.as_str(), status, &holder)?;
        sqlx::query("DELETE FROM runs WHERE id = ?1")
            .bind(run.as_str())
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn put_step(
        &mut self,
        run: &RunId,
        step: &StepId,
        status: StepStatus,
        record: &str,
    ) -> Carried<()> {
        self.require_run(run.as_str()).await?;
        let known: Option<String> =
            sqlx::query_scalar("SELECT status FROM steps WHERE run = ?1 AND step = ?2")
                .bind(run.as_str())
                .bind(step.as_str())
                .fetch_optional(&mut *self.connection)
                .await?;
        let known = known.map(|name| by_name(self.path, &name, "a status of a step")).transpose()?;
        let status = next_step(known, StepEvent::to(status))
            .map_err(|illegal| fault::illegal(format!("step `{step}`"), illegal))?;
        sqlx::query(
            "INSERT INTO steps (run, step, status, record) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (run, step) DO UPDATE SET status = excluded.status, record = excluded.record",
        )
        .bind(run.as_str())
        .bind(step.as_str())
        .bind(status.name())
        .bind(record)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn memo(&mut self, run: &RunId, step: &StepId, key: &str, value: &str) -> Carried<Json> {
        self.require_run(run.as_str()).await?;
        let kept: String = sqlx::query_scalar(
            "INSERT INTO memos (run, step, key, value) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (run, step, key) DO UPDATE SET value = value RETURNING value",
        )
        .bind(run.as_str())
        .bind(step.as_str())
        .bind(key)
        .bind(value)
        .fetch_one(&mut *self.connection)
        .await?;
        Ok(from_json(self.path, &kept, "a memo")?)
    }

    /// The row of an effect.
    async fn effect_id(&mut self, run: &RunId, step: &StepId, key: &EffectKey) -> Carried<Option<i64>> {
        Ok(sqlx::query_scalar("SELECT id FROM effects WHERE run = ?1 AND step = ?2 AND key = ?3")
            .bind(run.as_str())
            .bind(stored(step.as_str()).as_ref())
            .bind(stored(key.as_str()).as_ref())
            .fetch_optional(&mut *self.connection)
            .await?)
    }

    async fn plan_parts(
        &mut self,
        run: &RunId,
        step: &StepId,
        key: &EffectKey,
        ranges: &[String],
    ) -> Carried<()> {
        self.require_run(run.as_str()).await?;
        let effect = self
            .effect_id(run, step, key)
            .await?
            .ok_or_else(|| fault::parts_without_effect(run, step, key))?;
        let planned: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM parts WHERE effect = ?1)")
            .bind(effect)
            .fetch_one(&mut *self.connection)
            .await?;
        if planned {
            return Ok(());
        }
        for (index, range) in (0_u32..).zip(ranges) {
            sqlx::query("INSERT INTO parts (effect, part, range) VALUES (?1, ?2, ?3)")
                .bind(effect)
                .bind(index)
                .bind(range)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }

    async fn finish_part(
        &mut self,
        run: &RunId,
        step: &StepId,
        key: &EffectKey,
        index: u32,
        outcome: &str,
    ) -> Carried<()> {
        let done = sqlx::query(
            "UPDATE parts SET outcome = ?5 WHERE part = ?4
             AND effect = (SELECT id FROM effects WHERE run = ?1 AND step = ?2 AND key = ?3)",
        )
        .bind(run.as_str())
        .bind(stored(step.as_str()).as_ref())
        .bind(stored(key.as_str()).as_ref())
        .bind(index)
        .bind(outcome)
        .execute(&mut *self.connection)
        .await?;
        if done.rows_affected() == 0 {
            self.require_run(run.as_str()).await?;
            return Err(fault::unknown_part(run.as_str(), step.as_str(), key.as_str(), index).into());
        }
        Ok(())
    }

    async fn reset_parts(&mut self, run: &RunId, step: &StepId, key: &EffectKey) -> Carried<()> {
        self.require_run(run.as_str()).await?;
        sqlx::query(
            "UPDATE parts SET outcome = NULL
             WHERE effect = (SELECT id FROM effects WHERE run = ?1 AND step = ?2 AND key = ?3)",
        )
        .bind(run.as_str())
        .bind(stored(step.as_str()).as_ref())
        .bind(stored(key.as_str()).as_ref())
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn set_note(
        &mut self,
        run: &RunId,
        step: &StepId,
        key: Option<&EffectKey>,
        name: &str,
        value: &str,
    ) -> Carried<()> {
        self.require_run(run.as_str()).await?;
        sqlx::query(
            "INSERT INTO notes (run, step, effect, name, value) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (run, step, effect, name) DO UPDATE SET value = excluded.value",
        )
        .bind(run.as_str())
        .bind(stored(step.as_str()).as_ref())
        .bind(note_owner(key))
        .bind(name)
        .bind(value)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn plan_undo(&mut self, run: &RunId, actions: &[UndoRecord]) -> Carried<()> {
        self.require_run(run.as_str()).await?;
        let known: Vec<UndoRow> =
            sqlx::query_as(UNDO_ACTIONS).bind(run.as_str()).fetch_all(&mut *self.connection).await?;
        if !known.is_empty() {
            let known: Vec<UndoRecord> =
                known.into_iter().map(|row| row.into_record(self.path)).collect::<Result<_>>()?;
            return match rule::same_plan(&known, actions) {
                true => Ok(()),
                false => Err(fault::another_undo_plan(run).into()),
            };
        }
        let mut rows = Vec::with_capacity(actions.len());
        for record in actions {
            let done = record.done.as_ref().map(|done| to_json(done, "a result of an undo")).transpose()?;
            rows.push((
                record,
                sequence(record.sequence)?,
                to_json(&record.action, "an action of an undo")?,
                done,
            ));
        }
        for (record, sequence, action, done) in rows {
            sqlx::query(
                "INSERT INTO undo_actions (run, step, key, sequence, action, done) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .bind(run.as_str())
            .bind(record.step.as_str())
            .bind(record.action.key.as_str())
            .bind(sequence)
            .bind(action)
            .bind(done)
            .execute(&mut *self.connection)
            .await?;
        }
        Ok(())
    }

    async fn finish_undo(
        &mut self,
        run: &RunId,
        step: &StepId,
        key: &EffectKey,
        result: &str,
    ) -> Carried<()> {
        let done = sqlx::query("UPDATE undo_actions SET done = ?4 WHERE run = ?1 AND step = ?2 AND key = ?3")
            .bind(run.as_str())
            .bind(step.as_str())
            .bind(key.as_str())
            .bind(result)
            .execute(&mut *self.connection)
            .await?;
        if done.rows_affected() == 0 {
            self.require_run(run.as_str()).await?;
            return Err(fault::unknown_undo(run, step, key).into());
        }
        Ok(())
    }
}
