//! The queue of one step's effects: intents before effects, predecessors before successors, outcomes in the order in
//! which effects end.

mod state;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use godwit_model::capability::StepScope;
use godwit_model::effect::{Action, Done, Effect, Estimate, Outcome, Preparation};
use godwit_model::journal::{EFFECTS_AT_ONCE, EffectRecord, EffectStatus, Intent, Journal};
use godwit_model::{Digest, EffectKey, Error, Fault, Result, StepId};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::observer::{Answer, Event, Question};
use crate::rooms::Rooms;
use crate::scope::{JournalLedger, Stop};
use crate::transforms::Transfer;
use state::{Awaited, End, State, check_predecessors};

/// How many effects of a step are performed at once at most. Capabilities have budgets of their own below this.
const WORKERS: usize = 64;
/// How many effects may be unfinished before `submit` blocks, and how few they have to be before it goes on: a guest that
/// is woken for each place costs more than the effects do.
const IN_FLIGHT: usize = 4096;
const ROOM: usize = IN_FLIGHT / 4 * 3;
/// How long outcomes are gathered where many are due: a guest that is woken for each costs more than they do.
const GATHERING: Duration = Duration::from_millis(10);
/// How many preparations are made at once.
const PREPARING: usize = 16;
/// The longest wait between two attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// How a step deals with errors of its effects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Failed effects that are borne before the rest is cancelled: 0 for `on_failure: stop`.
    pub max_errors: u64,
    /// Attempts at an effect that is `unavailable`.
    pub attempts: u32,
    /// The wait before the second attempt; doubles with each.
    pub backoff: Duration,
}

/// The gated effects that a person has accepted.
#[derive(Clone, Debug)]
pub(crate) struct Consent {
    pub accepted: Arc<HashSet<(StepId, EffectKey, Digest)>>,
    /// Every one, beforehand.
    pub all: bool,
}

/// The queue of one step's `apply`.
pub(crate) struct Queue {
    rooms: Rooms,
    scope: StepScope,
    policy: Policy,
    stop: Stop,
    consent: Consent,
    state: Mutex<State>,
    /// Something ended, or something became ready.
    changed: Notify,
    workers: Mutex<JoinSet<()>>,
}

impl Queue {
    pub async fn new(
        rooms: Rooms,
        scope: StepScope,
        policy: Policy,
        stop: Stop,
        consent: Consent,
        redo: Vec<EffectKey>,
    ) -> Result<Arc<Self>> {
        let (run, step) = (&scope.run, &scope.step);
        let last = rooms.journal.effects_before(run, step, None, 1).await?.pop();
        let state = State {
            known: rooms.journal.effect_count(run, step).await?,
            redo: redo.into_iter().collect(),
            sequence: last.map_or(0, |last| last.sequence + 1),
            ..State::default()
        };
        Ok(Arc::new(Self {
            rooms,
            scope,
            policy,
            stop,
            consent,
            state: Mutex::new(state),
            changed: Notify::new(),
            workers: Mutex::new(JoinSet::new()),
        }))
    }

    /// Journals the new intents of a batch in one commit, then queues it. An error ends the step.
    pub async fn submit(self: &Arc<Self>, batch: Vec<Effect>) -> Result<()> {
        self.check_alive()?;
        let known = self.known(&batch).await?;
        let mut fresh = Vec::new();
        let mut answered = Vec::new();
        let mut again = Vec::new();
        {
            let mut state = self.lock();
            let mut in_batch: HashSet<EffectKey> = HashSet::new();
            for effect in batch {
                if state.is_asked(&effect.key) || !in_batch.insert(effect.key.clone()) {
                    return Err(Error::conflict(format!(
                        "the plugin asked twice for an effect with key `{}`",
                        effect.key
                    ))
                    .fault(Fault::Plugin)
                    .hint("an effect's key must be unique within its step"));
                }
                let request = effect.request_digest();
                let sequence = state.sequence;
                match known.get(&effect.key) {
                    Some(record) if record.request != request => {
                        return Err(other_request(&self.scope.step, record, &effect));
                    }
                    Some(record) => {
                        let done = match &record.status {
                            EffectStatus::Done { done } => Some(done),
                            _ => None,
                        };
                        let transfer = Transfer::of(
                            &self.rooms,
                            &*self.scope.transforms,
                            &effect,
                            &record.preparation,
                            done,
                        );
                        let key = effect.key.clone();
                        let redo = state.redo.contains(&effect.key);
                        match &record.status {
                            EffectStatus::Done { done } if !redo => answered.push((effect, done.clone())),
                            _ => again.push((effect, record.preparation.clone(), record.status.clone())),
                        }
                        state.note(key, transfer);
                        state.met += 1;
                    }
                    None => {
                        state.sequence += 1;
                        fresh.push((effect, request, sequence));
                    }
                }
            }
            for (effect, _, _) in &fresh {
                check_predecessors(&state, &in_batch, effect)?;
            }
        }

        let prepared: Vec<(Effect, Digest, u64, Preparation)> = stream::iter(fresh)
            .map(|(effect, request, sequence)| async move {
                let preparation = self.prepare(&effect).await?;
                Ok::<_, Error>((effect, request, sequence, preparation))
            })
            .buffered(PREPARING)
            .try_collect()
            .await?;
        for (effect, request, _, preparation) in &prepared {
            self.pass_gate(effect, request, preparation).await?;
        }

        let mut intents: Vec<Intent> = prepared
            .iter()
            .map(|(effect, request, sequence, preparation)| Intent {
                effect: effect.clone(),
                request: request.clone(),
                preparation: preparation.clone(),
                sequence: *sequence,
            })
            .collect();
        for (effect, _, status) in &again {
            match status {
                EffectStatus::Intended => {}
                EffectStatus::Done { .. } => {
                    self.journal()
                        .settle(&self.scope.run, &self.scope.step, &effect.key, &EffectStatus::Intended)
                        .await?;
                }
                EffectStatus::Failed { .. } | EffectStatus::Cancelled { .. } => {
                    if let Some(record) = known.get(&effect.key) {
                        intents.push(Intent {
                            effect: effect.clone(),
                            request: record.request.clone(),
                            preparation: record.preparation.clone(),
                            sequence: record.sequence,
                        });
                    }
                }
            }
        }
        if !intents.is_empty() {
            self.journal().intend(&self.scope.run, &self.scope.step, &intents).await?;
        }

        {
            let mut state = self.lock();
            for (effect, done) in answered {
                self.tell(&effect, None, true);
                let key = effect.key.clone();
                state.done.insert(&key);
                self.rooms.observer.event(Event::EffectDone {
                    step: self.scope.step.clone(),
                    key: key.clone(),
                    notes: Vec::new(),
                });
                state.outcomes.push_back(Outcome { key, result: Ok(done.result) });
            }
            // A cancelled effect never began; every other one may have.
            for (effect, preparation, status) in again {
                let resumed = !matches!(status, EffectStatus::Cancelled { .. });
                self.tell(&effect, preparation.estimate.clone(), false);
                state.enqueue(effect, preparation, resumed);
            }
            for (effect, _, _, preparation) in prepared {
                let transfer =
                    Transfer::of(&self.rooms, &*self.scope.transforms, &effect, &preparation, None);
                state.note(effect.key.clone(), transfer);
                self.tell(&effect, preparation.estimate.clone(), false);
                state.enqueue(effect, preparation, false);
            }
            state.cancel_orphans();
        }
        self.settle_cancelled().await?;
        self.start_workers();
        let full = self.lock().unfinished >= IN_FLIGHT;
        if full { self.wait_for(Awaited::Unfinished(ROOM)).await } else { self.check_alive() }
    }

    /// At least one outcome, at most `max`; empty when nothing is left.
    pub async fn next(self: &Arc<Self>, max: u32) -> Result<Vec<Outcome>> {
        self.wait_for(Awaited::Outcome).await?;
        let many = |state: &State| state.unfinished > WORKERS && state.outcomes.len() < max as usize;
        if many(&self.lock()) {
            tokio::time::sleep(GATHERING).await;
        }
        let mut state = self.lock();
        let count = state.outcomes.len().min(max.max(1) as usize);
        Ok(state.outcomes.drain(..count).collect())
    }

    /// Waits until nothing is unfinished, then says whether the step may go on to be verified.
    pub async fn finish(self: &Arc<Self>) -> Result<()> {
        self.wait_for(Awaited::Unfinished(0)).await?;
        let failure = self.lock().failure(None);
        // Errors that were borne let the others go on; the step fails all the same.
        if let Some(error) = failure {
            return Err(error);
        }
        let Some((count, first)) = self.forgotten().await? else { return Ok(()) };
        Err(Error::conflict(format!(
            "step `{}` asked for {count} effect(s) in an earlier attempt that it doesn't ask for now, the first of them `{first}`",
            self.scope.step,
        ))
        .fault(Fault::Plugin)
        .hint("its decisions changed in between; undo the run and start anew, or ask the plugin's author to keep them by `memo`"))
    }

    /// How many effects the journal knows that the guest hasn't asked for in this attempt, and the first of them.
    async fn forgotten(&self) -> Result<Option<(usize, EffectKey)>> {
        if self.lock().met_all() {
            return Ok(None);
        }
        let (mut count, mut first, mut before) = (0, None, None);
        loop {
            let (run, step) = (&self.scope.run, &self.scope.step);
            let page = self.journal().effects_before(run, step, before, EFFECTS_AT_ONCE).await?;
            let Some(last) = page.last() else { return Ok(first.map(|first| (count, first))) };
            before = Some(last.sequence);
            let state = self.lock();
            for record in page.into_iter().filter(|record| !state.is_asked(&record.effect.key)) {
                count += 1;
                first = Some(record.effect.key);
            }
        }
    }

    /// What the journal knew of the effects of a batch when the step began.
    async fn known(&self, batch: &[Effect]) -> Result<HashMap<EffectKey, EffectRecord>> {
        if self.lock().known == 0 {
            return Ok(HashMap::new());
        }
        let keys: Vec<EffectKey> = batch.iter().map(|effect| effect.key.clone()).collect();
        let records = self.journal().effects_of(&self.scope.run, &self.scope.step, &keys).await?;
        Ok(records.into_iter().map(|record| (record.effect.key.clone(), record)).collect())
    }

    /// The error that a step ends with whose plugin gave up and `said` why. The effects that are under way end first, so
    /// that the journal knows of them.
    pub async fn give_up(self: &Arc<Self>, said: Error) -> Error {
        let ended = self.wait_for(Awaited::Unfinished(0)).await;
        if said.fault == Fault::Host {
            return said;
        }
        match ended {
            Err(stopped) => stopped,
            Ok(()) => self.lock().failure(Some(&said)).unwrap_or(said),
        }
    }

    /// Drops what is being performed. What was intended stays in the journal for a resume.
    pub async fn abandon(&self) {
        let mut workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(|p| p.into_inner()));
        workers.shutdown().await;
    }

    /// All transfers that were asked for.
    pub fn transfers(&self) -> Vec<Transfer> {
        self.lock().transfers.clone()
    }

    fn tell(&self, effect: &Effect, estimate: Option<Estimate>, from_journal: bool) {
        self.rooms.observer.event(Event::EffectAsked {
            step: self.scope.step.clone(),
            key: effect.key.clone(),
            transfer: effect.action.transfer_label(),
            estimate,
            from_journal,
        });
    }

    async fn prepare(&self, effect: &Effect) -> Result<Preparation> {
        let capability = self.rooms.capabilities.named(effect.action.capability());
        let mut attempt = 1;
        loop {
            match capability.prepare(&self.scope, effect).await {
                Err(error) if error.is_retryable() && attempt < self.policy.attempts => {
                    self.back_off(&effect.key, &error, attempt).await?;
                    attempt += 1;
                }
                other => return other.map_err(|error| error.context(format!("effect `{}`", effect.key))),
            }
        }
    }

    async fn pass_gate(&self, effect: &Effect, request: &Digest, preparation: &Preparation) -> Result<()> {
        if !preparation.is_gated() || self.consent.all {
            return Ok(());
        }
        let key = (self.scope.step.clone(), effect.key.clone(), request.clone());
        if self.consent.accepted.contains(&key) {
            return Ok(());
        }
        let question = Question::Unplanned {
            step: self.scope.step.clone(),
            key: effect.key.clone(),
            preparation: Box::new(preparation.clone()),
        };
        match self.rooms.observer.ask(&question).await {
            Answer::Yes => {
                let accepted = godwit_model::journal::Accepted {
                    step: self.scope.step.clone(),
                    key: effect.key.clone(),
                    request: request.clone(),
                };
                self.journal().accept(&self.scope.run, &[accepted]).await
            }
            Answer::No => Err(Error::host(format!(
                "effect `{}` ({}) {} and was not in the plan that was accepted",
                effect.key,
                preparation.title,
                preparation.irreversible.as_deref().unwrap_or("overwrites or destroys what is there")
            ))
            .code("stopped")
            .hint("look at it, then `godwit resume` and answer yes, or pass --accept-irreversible")),
        }
    }

    fn start_workers(self: &Arc<Self>) {
        let wanted = {
            let mut state = self.lock();
            let wanted = state.ready.len().min(WORKERS.saturating_sub(state.running));
            state.running += wanted;
            wanted
        };
        let mut workers = self.workers.lock().unwrap_or_else(|p| p.into_inner());
        while workers.try_join_next().is_some() {}
        for _ in 0..wanted {
            let queue = Arc::clone(self);
            workers.spawn(async move { queue.work().await });
        }
    }

    /// Performs ready effects until there is none.
    async fn work(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                let next =
                    if self.stop.is_stopped() || state.fatal.is_some() { None } else { state.take_ready() };
                if next.is_none() {
                    state.running -= 1;
                }
                next
            };
            let Some((effect, preparation, resumed)) = next else {
                self.wake();
                return;
            };
            let result = self.perform(&effect, &preparation, resumed).await;
            if let Ok(done) = &result {
                self.name(&effect, &preparation, done);
            }
            // What is done is journalled while the next effect begins. A failure comes first: it may be the last one borne.
            if result.is_ok() && self.lock().settle_aside(WORKERS) {
                let queue = Arc::clone(&self);
                let settled = async move {
                    queue.settle(&effect, result).await;
                    queue.lock().settling -= 1;
                };
                self.workers.lock().unwrap_or_else(|p| p.into_inner()).spawn(settled);
            } else {
                self.settle(&effect, result).await;
            }
        }
    }

    /// Ends an effect and lets go on who waits for that.
    async fn settle(self: &Arc<Self>, effect: &Effect, result: Result<Done>) {
        if let Err(fatal) = self.end(effect, result).await {
            self.lock().fatal.get_or_insert(fatal);
        }
        self.wake();
        self.start_workers();
    }

    /// Learns the names of a transfer that only its outcome tells.
    fn name(&self, effect: &Effect, preparation: &Preparation, done: &Done) {
        let mut state = self.lock();
        let Some(at) = state.unnamed.remove(&effect.key) else { return };
        if let Some(named) =
            Transfer::of(&self.rooms, &*self.scope.transforms, effect, preparation, Some(done))
        {
            state.transfers[at] = named;
        }
    }

    async fn perform(&self, effect: &Effect, preparation: &Preparation, resumed: bool) -> Result<Done> {
        let capability = self.rooms.capabilities.named(effect.action.capability());
        let ledger = JournalLedger {
            journal: Arc::clone(&self.rooms.journal),
            run: self.scope.run.clone(),
            step: self.scope.step.clone(),
            key: Some(effect.key.clone()),
        };
        self.rooms.observer.event(Event::EffectStarted {
            step: self.scope.step.clone(),
            key: effect.key.clone(),
            title: preparation.title.clone(),
        });
        let mut attempt = 1;
        loop {
            let result =
                capability.perform(&self.scope, effect, preparation, &ledger, resumed || attempt > 1).await;
            match result {
                Err(error) if error.is_retryable() && attempt < self.policy.attempts => {
                    self.back_off(&effect.key, &error, attempt).await?;
                    attempt += 1;
                }
                Err(error) => return Err(self.redacted(error)),
                done => return done,
            }
        }
    }

    async fn back_off(&self, key: &EffectKey, error: &Error, attempt: u32) -> Result<()> {
        self.rooms.observer.event(Event::EffectRetried {
            step: self.scope.step.clone(),
            key: key.clone(),
            error: self.redacted(error.clone()),
            attempt,
        });
        let wait = self.policy.backoff.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_BACKOFF);
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.stop.stopped() => Err(Stop::error()),
        }
    }

    /// Journals what became of an effect and lets its followers go. An error is fatal: the journal can't be written.
    async fn end(&self, effect: &Effect, result: Result<Done>) -> Result<()> {
        let (status, outcome, end) = match result {
            Ok(done) => {
                self.rooms.observer.event(Event::EffectDone {
                    step: self.scope.step.clone(),
                    key: effect.key.clone(),
                    notes: done.notes.clone(),
                });
                let outcome = Ok(done.result.clone());
                (EffectStatus::Done { done }, outcome, End::Done)
            }
            Err(error) if error.code.as_deref() == Some("stopped") => {
                // Not an end: the intent stays open, and a resume goes on with it.
                let mut state = self.lock();
                state.fatal.get_or_insert(error);
                return Ok(());
            }
            Err(error) => {
                self.rooms.observer.event(Event::EffectFailed {
                    step: self.scope.step.clone(),
                    key: effect.key.clone(),
                    error: error.clone(),
                });
                (EffectStatus::Failed { error: error.clone() }, Err(error), End::Failed)
            }
        };
        self.journal().settle(&self.scope.run, &self.scope.step, &effect.key, &status).await?;
        {
            let mut state = self.lock();
            let failed = outcome.is_err();
            if let Err(error) = &outcome {
                state.errors += 1;
                state.first_error.get_or_insert_with(|| (effect.key.clone(), error.clone()));
            }
            state.end(&effect.key, outcome, end);
            // Both look at everything that was asked for.
            if failed {
                if state.errors > self.policy.max_errors {
                    state.cancel_waiting("an earlier effect of the step failed");
                }
                state.cancel_orphans();
            }
        }
        self.settle_cancelled().await
    }

    /// Journals the cancellations that the state has decided.
    async fn settle_cancelled(&self) -> Result<()> {
        loop {
            let cancelled: Vec<(EffectKey, String)> = self.lock().take_cancelled();
            if cancelled.is_empty() {
                return Ok(());
            }
            for (key, why) in cancelled {
                let status = EffectStatus::Cancelled { why: why.clone() };
                self.journal().settle(&self.scope.run, &self.scope.step, &key, &status).await?;
                let mut state = self.lock();
                state.end(&key, Err(Error::failed(format!("cancelled: {why}"))), End::Failed);
                state.cancel_orphans();
            }
        }
    }

    /// Wakes who waits, if that has come: being woken costs a thread's switch, and most effects' ends are awaited by nobody.
    fn wake(&self) {
        if self.lock().has_come() {
            self.changed.notify_waiters();
        }
    }

    async fn wait_for(self: &Arc<Self>, awaited: Awaited) -> Result<()> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registers before the look, so that a change in between isn't lost.
            changed.as_mut().enable();
            self.check_alive()?;
            if self.lock().wait(awaited) {
                return Ok(());
            }
            tokio::select! {
                () = &mut changed => {}
                () = self.stop.stopped() => return Err(Stop::error()),
            }
        }
    }

    fn check_alive(&self) -> Result<()> {
        if let Some(fatal) = &self.lock().fatal {
            return Err(fatal.clone());
        }
        if self.stop.is_stopped() { Err(Stop::error()) } else { Ok(()) }
    }

    fn redacted(&self, error: Error) -> Error {
        self.scope.secrets.redact_error(error)
    }

    fn journal(&self) -> &Arc<dyn Journal> {
        &self.rooms.journal
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is made whole under one lock; a panic elsewhere leaves it consistent.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn other_request(step: &StepId, record: &EffectRecord, effect: &Effect) -> Error {
    let text = |action: &Action| serde_json::to_string(action).unwrap_or_default();
    let (before, now) = from_difference(&text(&record.effect.action), &text(&effect.action));
    Error::conflict(format!(
        "step `{step}` asks for another effect under the key `{}` than before\n  before: {before}\n  now:    {now}",
        effect.key,
    ))
    .hint("what the step reads has changed since; undo the run and start anew")
}

/// Two long texts, cut to where they differ.
fn from_difference(a: &str, b: &str) -> (String, String) {
    const CONTEXT: usize = 60;
    const SHOWN: usize = 400;
    let alike = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let start = if alike > 2 * CONTEXT { alike - CONTEXT } else { 0 };
    let cut = |text: &str| {
        let mut shown = String::new();
        if start > 0 {
            shown.push('…');
        }
        shown.extend(text.chars().skip(start).take(SHOWN));
        if text.chars().count() > start + SHOWN {
            shown.push('…');
        }
        shown
    };
    (cut(a), cut(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_requests_are_shown_from_where_they_differ() {
        let (same, long) = ("ä".repeat(1000), "x".repeat(1000));
        let (a, b) = from_difference(&format!("{same}one{long}"), &format!("{same}two"));
        assert!(a.starts_with("…ä") && a.contains("äone") && a.ends_with("x…"), "{a}");
        assert_eq!(b, format!("…{}two", "ä".repeat(60)));
        assert_eq!(from_difference("short", "shorter"), ("short".to_owned(), "shorter".to_owned()));
    }
}
