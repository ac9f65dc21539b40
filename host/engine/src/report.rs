//! What was done, when, by which plugin, with what evidence: read from the journal alone.

use godwit_model::check::Check;
use godwit_model::effect::{Class, Evidence};
use godwit_model::journal::{EFFECTS_AT_ONCE, EffectStatus, Journal, RunKind, RunStatus, StepStatus};
use godwit_model::{Digest, EffectKey, Error, Json, Result, RunId, StepId};
use serde::Serialize;

/// The version of the report's JSON.
pub const FORMAT_VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub format: u32,
    pub run: RunId,
    pub kind: RunKind,
    pub of: Option<RunId>,
    pub recipe: String,
    pub recipe_digest: Digest,
    pub status: RunStatus,
    /// RFC 3339, UTC.
    pub started_at: String,
    pub ended_at: Option<String>,
    /// Plain values; secrets by name only.
    pub inputs: Json,
    pub secret_inputs: Vec<String>,
    pub error: Option<Error>,
    pub steps: Vec<StepReport>,
    /// Of an undo: its actions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undone: Vec<UndoneReport>,
}

#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    pub step: StepId,
    pub plugin: String,
    pub plugin_digest: Digest,
    pub status: StepStatus,
    pub started_at: Option<String>,
    pub ended_at: Option<String>,
    pub error: Option<Error>,
    pub outputs: Json,
    pub checks: Vec<Check>,
    pub effects: Vec<EffectReport>,
}

#[derive(Clone, Debug, Serialize)]
pub struct EffectReport {
    pub key: EffectKey,
    pub title: String,
    pub class: Class,
    /// `intended`, `done`, `failed`, `cancelled`.
    pub status: &'static str,
    pub at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether undo can take it back.
    pub reversible: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct UndoneReport {
    pub step: StepId,
    pub key: EffectKey,
    pub title: String,
    pub done: bool,
}

impl Report {
    /// Reads the report of a run.
    pub async fn read(journal: &dyn Journal, run: &RunId) -> Result<Self> {
        let record = journal.run(run).await?.ok_or_else(|| {
            Error::missing(format!("the journal has no run {run}")).hint("`godwit runs` lists them")
        })?;
        let mut steps = Vec::new();
        for step in journal.steps(run).await? {
            steps.push(StepReport {
                effects: effects_of(journal, run, &step.step).await?,
                step: step.step,
                plugin: step.plugin,
                plugin_digest: step.plugin_digest,
                status: step.status,
                started_at: step.started_at,
                ended_at: step.ended_at,
                error: step.error,
                outputs: step.outputs,
                checks: step.checks,
            });
        }
        let undone = journal
            .undo_actions(run)
            .await?
            .into_iter()
            .map(|undo| UndoneReport {
                step: undo.step,
                key: undo.action.key,
                title: undo.action.title,
                done: undo.done.is_some(),
            })
            .collect();
        Ok(Self {
            format: FORMAT_VERSION,
            run: record.id,
            kind: record.kind,
            of: record.of,
            recipe: record.recipe,
            recipe_digest: Digest::of(record.recipe_text.as_bytes()),
            status: record.status,
            started_at: record.started_at,
            ended_at: record.ended_at,
            inputs: record.inputs,
            secret_inputs: record.secret_inputs,
            error: record.error,
            steps,
            undone,
        })
    }
}

/// In the order of submission; never more than a page of whole records at once.
async fn effects_of(journal: &dyn Journal, run: &RunId, step: &StepId) -> Result<Vec<EffectReport>> {
    let (mut reports, mut before) = (Vec::new(), None);
    loop {
        let page = journal.effects_before(run, step, before, EFFECTS_AT_ONCE).await?;
        let Some(last) = page.last() else {
            reports.reverse();
            return Ok(reports);
        };
        before = Some(last.sequence);
        reports.extend(page.into_iter().map(effect_report));
    }
}

fn effect_report(record: godwit_model::journal::EffectRecord) -> EffectReport {
    let (status, evidence, notes, error) = match record.status {
        EffectStatus::Intended => ("intended", None, Vec::new(), None),
        EffectStatus::Done { done } => ("done", done.evidence, done.notes, None),
        EffectStatus::Failed { error } => ("failed", None, Vec::new(), Some(error.to_string())),
        EffectStatus::Cancelled { why } => ("cancelled", None, Vec::new(), Some(why)),
    };
    EffectReport {
        key: record.effect.key,
        title: record.preparation.title,
        class: record.preparation.class,
        status,
        at: record.at,
        evidence,
        notes,
        error,
        reversible: record.preparation.irreversible.is_none(),
    }
}
