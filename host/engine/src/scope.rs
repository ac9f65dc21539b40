//! What a capability is handed for a step: notes and ledgers over the journal, progress over the observer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use godwit_model::capability::{History, Ledger, Notes, Part, Performed, Progress};
use godwit_model::effect::CapabilityName;
use godwit_model::journal::{EFFECTS_AT_ONCE, EffectRecord, EffectStatus, Journal};
use godwit_model::plugin::Level;
use godwit_model::{EffectKey, Error, Json, Result, RunId, StepId};
use tokio::sync::Notify;

use crate::observer::{Event, Observer};

/// Asks a run to stop in good order. Cloned handles stop the same run.
#[derive(Clone, Default)]
pub struct Stop {
    inner: Arc<(AtomicBool, Notify)>,
}

impl Stop {
    pub fn stop(&self) {
        self.inner.0.store(true, Ordering::SeqCst);
        self.inner.1.notify_waiters();
    }

    pub fn is_stopped(&self) -> bool {
        self.inner.0.load(Ordering::SeqCst)
    }

    /// Resolves once the run was asked to stop.
    pub async fn stopped(&self) {
        loop {
            let notified = self.inner.1.notified();
            if self.is_stopped() {
                return;
            }
            notified.await;
        }
    }

    /// The error that ends what was asked to stop.
    pub fn error() -> Error {
        Error::host("stopped before it was done").code("stopped").hint("`godwit resume` goes on from here")
    }
}

/// The notes of a step or, with a key, of one of its effects; and that effect's parts.
pub(crate) struct JournalLedger {
    pub journal: Arc<dyn Journal>,
    pub run: RunId,
    pub step: StepId,
    /// `None`: the step itself.
    pub key: Option<EffectKey>,
}

impl JournalLedger {
    fn key(&self) -> Result<&EffectKey> {
        self.key.as_ref().ok_or_else(|| Error::host("parts belong to an effect, not to a step"))
    }
}

#[async_trait]
impl Notes for JournalLedger {
    async fn get(&self, name: &str) -> Result<Option<Json>> {
        self.journal.note(&self.run, &self.step, self.key.as_ref(), name).await
    }

    async fn set(&self, name: &str, value: Json) -> Result<()> {
        self.journal.set_note(&self.run, &self.step, self.key.as_ref(), name, &value).await
    }
}

#[async_trait]
impl Ledger for JournalLedger {
    async fn parts(&self) -> Result<Vec<Part>> {
        self.journal.parts(&self.run, &self.step, self.key()?).await
    }

    async fn plan_parts(&self, ranges: Vec<Json>) -> Result<Vec<Part>> {
        let known = self.parts().await?;
        if !known.is_empty() {
            return Ok(known);
        }
        self.journal.plan_parts(&self.run, &self.step, self.key()?, &ranges).await?;
        self.parts().await
    }

    async fn finish_part(&self, index: u32, outcome: Json) -> Result<()> {
        self.journal.finish_part(&self.run, &self.step, self.key()?, index, &outcome).await
    }

    async fn reset_parts(&self) -> Result<()> {
        self.journal.reset_parts(&self.run, &self.step, self.key()?).await
    }
}

/// The effects of a step that are one capability's, by pages of the journal.
pub(crate) struct JournalHistory {
    pub journal: Arc<dyn Journal>,
    pub run: RunId,
    pub step: StepId,
    pub capability: CapabilityName,
}

#[async_trait]
impl History for JournalHistory {
    async fn before(&self, mut before: Option<u64>) -> Result<Vec<Performed>> {
        loop {
            let page = self.journal.effects_before(&self.run, &self.step, before, EFFECTS_AT_ONCE).await?;
            let Some(last) = page.last() else { return Ok(Vec::new()) };
            before = Some(last.sequence);
            let own: Vec<Performed> = page
                .into_iter()
                .filter(|record| record.effect.action.capability() == self.capability)
                .map(performed)
                .collect();
            if !own.is_empty() {
                return Ok(own);
            }
        }
    }
}

/// An effect as capabilities know it.
pub(crate) fn performed(record: EffectRecord) -> Performed {
    Performed {
        done: match record.status {
            EffectStatus::Done { done } => Some(done),
            _ => None,
        },
        effect: record.effect,
        preparation: record.preparation,
        sequence: record.sequence,
    }
}

/// Notes that live as long as a plan: a plan journals nothing.
#[derive(Default)]
pub(crate) struct PlanNotes {
    kept: std::sync::Mutex<std::collections::HashMap<String, Json>>,
}

#[async_trait]
impl Notes for PlanNotes {
    async fn get(&self, name: &str) -> Result<Option<Json>> {
        Ok(self.kept.lock().unwrap_or_else(|p| p.into_inner()).get(name).cloned())
    }

    async fn set(&self, name: &str, value: Json) -> Result<()> {
        self.kept.lock().unwrap_or_else(|p| p.into_inner()).insert(name.to_owned(), value);
        Ok(())
    }
}

/// Progress of transfers, told to the observer.
pub(crate) struct ObserverProgress {
    pub observer: Arc<dyn Observer>,
    pub step: StepId,
}

impl Progress for ObserverProgress {
    fn transfer(&self, label: &str, items: u64, bytes: u64) {
        self.observer.event(Event::Transferred {
            step: self.step.clone(),
            label: label.to_owned(),
            items,
            bytes,
        });
    }

    fn work(&self, label: &str, done: u64, total: Option<u64>, unit: &str) {
        self.observer.event(Event::Progress {
            step: self.step.clone(),
            label: label.to_owned(),
            done,
            total,
            unit: unit.to_owned(),
        });
    }

    fn waits(&self, what: &str) {
        self.observer.event(Event::Log {
            step: self.step.clone(),
            level: Level::Warn,
            message: what.to_owned(),
        });
    }
}

/// No planned effects: the overlay of everything but a plan.
pub(crate) struct NoOverlay;

impl godwit_model::capability::Overlay for NoOverlay {
    fn file(
        &self,
        _connection: &godwit_model::ConnectionName,
        _path: &str,
    ) -> Option<godwit_model::capability::PlannedFile> {
        None
    }
}

#[cfg(test)]
mod tests {
    use godwit_journal::MemoryJournal;
    use godwit_journal::conformance::{a_run, an_intent};
    use godwit_model::effect::{Action, CreateBucket};

    use super::*;

    #[tokio::test]
    async fn a_history_is_one_capabilitys_over_all_pages() {
        let journal = MemoryJournal::new();
        let (run, step) = (RunId::from("r"), StepId::from("s"));
        journal.insert_run(&a_run("r")).await.unwrap();
        // More than two pages of the files capability's, with none of the other's for more than a page between.
        let other = [0, 1, 1500, 2299];
        let intents: Vec<_> = (0..2300)
            .map(|n| {
                let mut intent = an_intent(&format!("{n}"), "x", n);
                if other.contains(&n) {
                    let bucket = CreateBucket { slot: "out".into(), bucket: "b".into() };
                    intent.effect.action = Action::CreateBucket(bucket);
                }
                intent
            })
            .collect();
        journal.intend(&run, &step, &intents).await.unwrap();
        let journal: Arc<dyn Journal> = Arc::new(journal);
        let of = |capability| JournalHistory {
            journal: Arc::clone(&journal),
            run: run.clone(),
            step: step.clone(),
            capability,
        };
        let sequences = async |history: JournalHistory| {
            history.all().await.unwrap().iter().map(|one| one.sequence).collect::<Vec<_>>()
        };
        assert_eq!(sequences(of(CapabilityName::Objects)).await, other);
        let files: Vec<u64> = (0..2300).filter(|n| !other.contains(n)).collect();
        assert_eq!(sequences(of(CapabilityName::Files)).await, files);
        assert!(of(CapabilityName::Postgres).before(None).await.unwrap().is_empty());
    }
}
