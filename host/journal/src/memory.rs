//! A journal in memory: the same rules without a disk, and writes that fail when told to.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use godwit_model::capability::Part;
use godwit_model::journal::{
    Accepted, EffectRecord, EffectStatus, Intent, Journal, RunRecord, RunStatus, StepRecord, UndoRecord,
};
use godwit_model::{EffectKey, Error, Json, Result, RunId, StepId};

use crate::rule::{At, Intending};
use crate::transition::{EffectState, StepEvent, next_step};
use godwit_model::clock;

use crate::{fault, owner, rule};

type NoteName = (StepId, Option<EffectKey>, String);

struct Run {
    record: RunRecord,
    steps: Vec<StepRecord>,
    memos: BTreeMap<(StepId, String), Json>,
    effects: HashMap<(StepId, EffectKey), EffectRecord>,
    parts: HashMap<(StepId, EffectKey), Vec<Part>>,
    notes: HashMap<NoteName, Json>,
    undo: Vec<UndoRecord>,
}

#[derive(Default)]
struct State {
    runs: Vec<Run>,
    writes: u64,
    /// Writes from this count on fail.
    fail_from: Option<u64>,
}

/// A [`Journal`] that forgets everything when it is dropped: for tests.
#[derive(Default)]
pub struct MemoryJournal {
    state: Mutex<State>,
}

impl MemoryJournal {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `count` more writes succeed; every later one fails and changes nothing, as on a full disk.
    pub fn fail_writes_after(&self, count: u64) {
        let mut state = self.lock();
        state.fail_from = Some(state.writes + count);
    }

    /// Lets writes succeed again.
    pub fn heal(&self) {
        self.lock().fail_from = None;
    }

    /// How many writes have succeeded or were refused by a rule so far.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No method panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.lock();
        if state.fail_from.is_some_and(|from| state.writes >= from) {
            return Err(Error::host("the journal in memory can't be written: its writes are set to fail")
                .code("SQLITE_FULL"));
        }
        state.writes += 1;
        change(&mut state)
    }

    fn write_run<T>(&self, run: &RunId, change: impl FnOnce(&mut Run) -> Result<T>) -> Result<T> {
        self.write(|state| change(state.run_mut(run)?))
    }

    fn read<T>(&self, run: &RunId, read: impl FnOnce(&Run) -> T) -> Option<T> {
        self.lock().runs.iter().find(|known| known.record.id == *run).map(read)
    }

    /// The effects of a step that are asked for. What a journal gives back never holds contents.
    fn effects_in(
        &self,
        run: &RunId,
        step: &StepId,
        asked: impl Fn(&EffectRecord) -> bool,
    ) -> Vec<EffectRecord> {
        let mut effects: Vec<EffectRecord> = self
            .read(run, |known| {
                let of_step = known.effects.iter().filter(|((of, _), record)| of == step && asked(record));
                of_step.map(|(_, record)| record.clone()).collect()
            })
            .unwrap_or_default();
        effects.iter_mut().for_each(|record| rule::drop_contents(&mut record.effect));
        effects
    }
}

impl State {
    fn run_mut(&mut self, run: &RunId) -> Result<&mut Run> {
        self.runs
            .iter_mut()
            .find(|known| known.record.id == *run)
            .ok_or_else(|| fault::unknown_run(run.as_str()))
    }
}

fn at<'a>(run: &'a RunId, step: &'a StepId, key: &'a EffectKey) -> At<'a> {
    At { run: run.as_str(), step: step.as_str(), key: key.as_str() }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn insert_run(&self, run: &RunRecord) -> Result<()> {
        self.write(|state| {
            if state.run_mut(&run.id).is_ok() {
                return Err(fault::known_run(&run.id));
            }
            state.runs.push(Run {
                record: run.clone(),
                steps: Vec::new(),
                memos: BTreeMap::new(),
                effects: HashMap::new(),
                parts: HashMap::new(),
                notes: HashMap::new(),
                undo: Vec::new(),
            });
            Ok(())
        })
    }

    async fn set_run_status(&self, run: &RunId, status: RunStatus, error: Option<&Error>) -> Result<()> {
        self.write_run(run, |known| {
            let record = &mut known.record;
            record.status = rule::move_run(run.as_str(), record.status, status)?;
            record.ended_at = rule::ended_at(status, record.ended_at.take(), &clock::now());
            record.error =
                error.cloned().or_else(|| record.error.take().filter(|_| rule::keeps_error(status)));
            Ok(())
        })
    }

    async fn own_run(&self, run: &RunId, owner: &str) -> Result<()> {
        self.write_run(run, |known| {
            owner::admit(run.as_str(), &known.record.owner, owner)?;
            known.record.owner = owner.to_owned();
            Ok(())
        })
    }

    async fn accept(&self, run: &RunId, accepted: &[Accepted]) -> Result<()> {
        self.write_run(run, |known| {
            for one in accepted {
                if !known.record.accepted.contains(one) {
                    known.record.accepted.push(one.clone());
                }
            }
            Ok(())
        })
    }

    async fn run(&self, run: &RunId) -> Result<Option<RunRecord>> {
        Ok(self.read(run, |known| known.record.clone()))
    }

    async fn runs(&self) -> Result<Vec<RunRecord>> {
        let mut runs: Vec<_> = self.lock().runs.iter().rev().map(|known| known.record.clone()).collect();
        runs.sort_by(|a, b| b.started_at.cmp(&a.started_at));
        Ok(runs)
    }

    async fn forget(&self, run: &RunId) -> Result<()> {
        self.write(|state| {
            let known = state.run_mut(run)?;
            owner::admit_forget(run.as_str(), known.record.status, &known.record.owner)?;
            state.runs.retain(|known| known.record.id != *run);
            Ok(())
        })
    }

    async fn put_step(&self, run: &RunId, step: &StepRecord) -> Result<()> {
        self.write_run(run, |known| {
            let index = known.steps.iter().position(|known| known.step == step.step);
            let from = index.map(|index| known.steps[index].status);
            next_step(from, StepEvent::to(step.status))
                .map_err(|illegal| fault::illegal(format!("step `{}`", step.step), illegal))?;
            match index {
                Some(index) => known.steps[index] = step.clone(),
                None => known.steps.push(step.clone()),
            }
            Ok(())
        })
    }

    async fn steps(&self, run: &RunId) -> Result<Vec<StepRecord>> {
        Ok(self.read(run, |known| known.steps.clone()).unwrap_or_default())
    }

    async fn memo(&self, run: &RunId, step: &StepId, key: &str, value: &Json) -> Result<Json> {
        let name = (step.clone(), key.to_owned());
        // A value that is kept already is read, not written.
        if let Some(kept) = self.read(run, |known| known.memos.get(&name).cloned()).flatten() {
            return Ok(kept);
        }
        self.write_run(run, |known| Ok(known.memos.entry(name).or_insert_with(|| value.clone()).clone()))
    }

    async fn kept_memo(&self, run: &RunId, step: &StepId, key: &str) -> Result<Option<Json>> {
        let at = (step.clone(), key.to_owned());
        Ok(self.read(run, |known| known.memos.get(&at).cloned()).flatten())
    }

    async fn memos(&self, run: &RunId, step: &StepId) -> Result<Vec<(String, Json)>> {
        Ok(self
            .read(run, |known| {
                let of_step = known.memos.iter().filter(|((of, _), _)| of == step);
                of_step.map(|((_, key), value)| (key.clone(), value.clone())).collect()
            })
            .unwrap_or_default())
    }

    async fn intend(&self, run: &RunId, step: &StepId, batch: &[Intent]) -> Result<()> {
        self.write_run(run, |known| {
            let mut decided = Vec::with_capacity(batch.len());
            let mut fresh: HashMap<&EffectKey, &Intent> = HashMap::new();
            for intent in batch {
                let key = &intent.effect.key;
                let record = known.effects.get(&(step.clone(), key.clone()));
                let before = match fresh.get(key) {
                    Some(earlier) => Some((EffectState::Intended, earlier.request.as_str())),
                    None => record.map(|record| (EffectState::of(&record.status), record.request.as_str())),
                };
                let what = rule::intend(at(run, step, key), before, intent.request.as_str())?;
                if what != Intending::Keep {
                    fresh.insert(key, intent);
                    decided.push((what, intent));
                }
            }
            // All of the batch is legal: only now anything is changed.
            for (what, intent) in decided {
                let key = &intent.effect.key;
                if what == Intending::Replace {
                    known.parts.remove(&(step.clone(), key.clone()));
                    known.notes.retain(|(of, effect, _), _| of != step || effect.as_ref() != Some(key));
                }
                let record = EffectRecord {
                    effect: intent.effect.clone(),
                    request: intent.request.clone(),
                    preparation: intent.preparation.clone(),
                    sequence: intent.sequence,
                    status: EffectStatus::Intended,
                    at: clock::now(),
                };
                known.effects.insert((step.clone(), key.clone()), record);
            }
            Ok(())
        })
    }

    async fn settle(&self, run: &RunId, step: &StepId, key: &EffectKey, status: &EffectStatus) -> Result<()> {
        self.write_run(run, |known| {
            let record = known.effects.get_mut(&(step.clone(), key.clone()));
            let from = record.as_ref().map(|record| EffectState::of(&record.status));
            let same = record.as_ref().is_some_and(|record| record.status == *status);
            let changes = rule::settle(at(run, step, key), from, EffectState::of(status), same)?;
            if let Some(record) = record.filter(|_| changes) {
                record.status = status.clone();
                record.at = clock::now();
            }
            Ok(())
        })
    }

    async fn effects_before(
        &self,
        run: &RunId,
        step: &StepId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<EffectRecord>> {
        let mut effects = self.effects_in(run, step, |record| before.is_none_or(|at| record.sequence < at));
        effects.sort_by_key(|record| std::cmp::Reverse(record.sequence));
        effects.truncate(limit as usize);
        Ok(effects)
    }

    async fn effects_of(&self, run: &RunId, step: &StepId, keys: &[EffectKey]) -> Result<Vec<EffectRecord>> {
        Ok(self.effects_in(run, step, |record| keys.contains(&record.effect.key)))
    }

    async fn effect_count(&self, run: &RunId, step: &StepId) -> Result<u64> {
        Ok(self.effects_in(run, step, |_| true).len() as u64)
    }

    async fn effect(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Option<EffectRecord>> {
        let mut found =
            self.read(run, |known| known.effects.get(&(step.clone(), key.clone())).cloned()).flatten();
        if let Some(record) = &mut found {
            rule::drop_contents(&mut record.effect);
        }
        Ok(found)
    }

    async fn effects_from(
        &self,
        run: &RunId,
        step: &StepId,
        from: &EffectKey,
        limit: u32,
    ) -> Result<Vec<EffectRecord>> {
        let mut effects = self.effects_in(run, step, |record| record.effect.key >= *from);
        effects.sort_by(|a, b| a.effect.key.cmp(&b.effect.key));
        effects.truncate(limit as usize);
        Ok(effects)
    }

    async fn plan_parts(&self, run: &RunId, step: &StepId, key: &EffectKey, ranges: &[Json]) -> Result<()> {
        self.write_run(run, |known| {
            let name = (step.clone(), key.clone());
            if !known.effects.contains_key(&name) {
                return Err(fault::parts_without_effect(run, step, key));
            }
            let parts = known.parts.entry(name).or_default();
            if parts.is_empty() {
                *parts = (0..)
                    .zip(ranges)
                    .map(|(index, range)| Part { index, range: range.clone(), outcome: None })
                    .collect();
            }
            Ok(())
        })
    }

    async fn finish_part(
        &self,
        run: &RunId,
        step: &StepId,
        key: &EffectKey,
        index: u32,
        outcome: &Json,
    ) -> Result<()> {
        self.write_run(run, |known| {
            let parts = known.parts.get_mut(&(step.clone(), key.clone()));
            let part = parts.and_then(|parts| parts.iter_mut().find(|part| part.index == index));
            let part =
                part.ok_or_else(|| fault::unknown_part(run.as_str(), step.as_str(), key.as_str(), index))?;
            part.outcome = Some(outcome.clone());
            Ok(())
        })
    }

    async fn reset_parts(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<()> {
        self.write_run(run, |known| {
            if let Some(parts) = known.parts.get_mut(&(step.clone(), key.clone())) {
                parts.iter_mut().for_each(|part| part.outcome = None);
            }
            Ok(())
        })
    }

    async fn parts(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Vec<Part>> {
        let parts = self.read(run, |known| known.parts.get(&(step.clone(), key.clone())).cloned());
        Ok(parts.flatten().unwrap_or_default())
    }

    async fn set_note(
        &self,
        run: &RunId,
        step: &StepId,
        key: Option<&EffectKey>,
        name: &str,
        value: &Json,
    ) -> Result<()> {
        self.write_run(run, |known| {
            known.notes.insert((step.clone(), key.cloned(), name.to_owned()), value.clone());
            Ok(())
        })
    }

    async fn note(
        &self,
        run: &RunId,
        step: &StepId,
        key: Option<&EffectKey>,
        name: &str,
    ) -> Result<Option<Json>> {
        let name = (step.clone(), key.cloned(), name.to_owned());
        Ok(self.read(run, |known| known.notes.get(&name).cloned()).flatten())
    }

    async fn plan_undo(&self, undo_run: &RunId, actions: Vec<UndoRecord>) -> Result<()> {
        let actions = rule::ordered_plan(undo_run, actions)?;
        self.write_run(undo_run, |known| {
            if known.undo.is_empty() {
                known.undo = actions;
            } else if !rule::same_plan(&known.undo, &actions) {
                return Err(fault::another_undo_plan(undo_run));
            }
            Ok(())
        })
    }

    async fn finish_undo(
        &self,
        undo_run: &RunId,
        step: &StepId,
        key: &EffectKey,
        result: &Json,
    ) -> Result<()> {
        self.write_run(undo_run, |known| {
            let record = known.undo.iter_mut().find(|known| known.step == *step && known.action.key == *key);
            let record = record.ok_or_else(|| fault::unknown_undo(undo_run, step, key))?;
            record.done = Some(result.clone());
            Ok(())
        })
    }

    async fn undo_actions(&self, undo_run: &RunId) -> Result<Vec<UndoRecord>> {
        Ok(self.read(undo_run, |known| known.undo.clone()).unwrap_or_default())
    }
}
