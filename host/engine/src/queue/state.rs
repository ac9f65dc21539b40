//! What a queue knows of the effects that were asked for: which wait, which may begin, which have ended and how.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher as _;

use godwit_model::effect::{Effect, Outcome, Preparation};
use godwit_model::{EffectKey, Error, Fault, Json, Result};

use crate::transforms::Transfer;

#[derive(Default)]
pub(crate) struct State {
    /// How many effects the journal knew when the step began, and how many of them were asked for since.
    pub known: u64,
    pub met: u64,
    /// Effects to be done again although the journal has them as done.
    pub redo: HashSet<EffectKey>,
    /// Asked for, and not done.
    pub asked: HashMap<EffectKey, Entry>,
    pub done: Keys,
    pub ready: VecDeque<EffectKey>,
    pub outcomes: VecDeque<Outcome>,
    /// Asked for and not ended.
    pub unfinished: usize,
    pub running: usize,
    /// Done, and being journalled while their workers go on.
    pub settling: usize,
    pub sequence: u64,
    pub errors: u64,
    pub first_error: Option<(EffectKey, Error)>,
    /// Decided to be cancelled, not yet journalled so.
    pub cancelled: Vec<(EffectKey, String)>,
    pub transfers: Vec<Transfer>,
    /// Where in `transfers` those are of which only the outcome tells all names.
    pub unnamed: HashMap<EffectKey, usize>,
    /// Ends the step whatever the guest thinks of it.
    pub fatal: Option<Error>,
    /// What the guest's call waits for. Left standing where a call was dropped, which only wakes nobody in vain.
    pub awaited: Option<Awaited>,
}

/// What a guest's call waits for; a guest makes one call at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// An outcome, or that nothing is left that could have one.
    Outcome,
    /// That at most so many effects are unfinished.
    Unfinished(usize),
}

/// Keys that are only recognised: two hashes, 16 bytes, of each, since a step may have millions of effects. Two keys of ten
/// million have the same ones with a probability of 10⁻²⁵.
#[derive(Default)]
pub(crate) struct Keys {
    hashers: (RandomState, RandomState),
    hashes: HashSet<(u64, u64)>,
}

impl Keys {
    pub fn insert(&mut self, key: &EffectKey) {
        self.hashes.insert(self.hash(key));
    }

    pub fn contains(&self, key: &EffectKey) -> bool {
        self.hashes.contains(&self.hash(key))
    }

    fn hash(&self, key: &EffectKey) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }
}

pub(crate) struct Entry {
    pub effect: Option<Box<(Effect, Preparation, bool)>>,
    pub waits_for: HashSet<EffectKey>,
    pub followers: Vec<EffectKey>,
    /// It ended, and not well.
    pub failed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Failed,
}

impl State {
    /// Whether this has come. Notes it as what is waited for where it hasn't.
    pub fn wait(&mut self, awaited: Awaited) -> bool {
        let over = self.is(awaited);
        self.awaited = (!over).then_some(awaited);
        over
    }

    /// Takes a place among the `most` that are journalled while their workers go on, if there is one.
    pub fn settle_aside(&mut self, most: usize) -> bool {
        let free = self.settling < most;
        self.settling += usize::from(free);
        free
    }

    /// Whether somebody waits and has no reason to any more.
    pub fn has_come(&self) -> bool {
        self.awaited.is_some_and(|awaited| self.fatal.is_some() || self.is(awaited))
    }

    fn is(&self, awaited: Awaited) -> bool {
        match awaited {
            Awaited::Outcome => !self.outcomes.is_empty() || self.unfinished == 0,
            Awaited::Unfinished(most) => self.unfinished <= most,
        }
    }

    /// Whether the guest has asked for all that the journal knew.
    pub fn met_all(&self) -> bool {
        self.met >= self.known
    }

    /// Whether the guest has asked for this effect.
    pub fn is_asked(&self, key: &EffectKey) -> bool {
        self.done.contains(key) || self.asked.contains_key(key)
    }

    pub fn note(&mut self, key: EffectKey, transfer: Option<Transfer>) {
        let Some(transfer) = transfer else { return };
        if !transfer.is_named() {
            self.unnamed.insert(key, self.transfers.len());
        }
        self.transfers.push(transfer);
    }

    /// What the step failed of: the first effect that did, in the plugin's words where it `said` more about just that
    /// error, else under the effect's key.
    pub fn failure(&self, said: Option<&Error>) -> Option<Error> {
        let (key, first) = self.first_error.as_ref()?;
        let error = match said {
            Some(said) if explains(said, first) => said.clone(),
            _ => first.clone().context(format!("effect `{key}`")),
        };
        Some(match self.errors {
            1 => error,
            n => error.context(format!("{n} effects failed, the first of them")),
        })
    }

    pub fn enqueue(&mut self, effect: Effect, preparation: Preparation, resumed: bool) {
        let key = effect.key.clone();
        let waits_for: HashSet<EffectKey> =
            effect.after.iter().filter(|before| !self.done.contains(before)).cloned().collect();
        let followers = self.asked.remove(&key).map(|entry| entry.followers).unwrap_or_default();
        for before in &waits_for {
            // A predecessor later in the same batch gets a place to note its followers before it is enqueued.
            self.asked
                .entry(before.clone())
                .or_insert_with(|| Entry {
                    effect: None,
                    waits_for: HashSet::new(),
                    followers: Vec::new(),
                    failed: false,
                })
                .followers
                .push(key.clone());
        }
        if waits_for.is_empty() {
            self.ready.push_back(key.clone());
        }
        let effect = Some(Box::new((effect, preparation, resumed)));
        self.asked.insert(key, Entry { effect, waits_for, followers, failed: false });
        self.unfinished += 1;
    }

    pub fn take_ready(&mut self) -> Option<(Effect, Preparation, bool)> {
        while let Some(key) = self.ready.pop_front() {
            if let Some(work) = self.asked.get_mut(&key).and_then(|entry| entry.effect.take()) {
                return Some(*work);
            }
        }
        None
    }

    pub fn end(&mut self, key: &EffectKey, result: Result<Json>, end: End) {
        let followers = match self.asked.get_mut(key) {
            None => return,
            Some(entry) if entry.failed => return,
            Some(entry) => {
                entry.effect = None;
                entry.failed = end == End::Failed;
                std::mem::take(&mut entry.followers)
            }
        };
        if end == End::Done {
            self.asked.remove(key);
            self.done.insert(key);
        }
        self.unfinished -= 1;
        self.outcomes.push_back(Outcome { key: key.clone(), result });
        for follower in followers {
            let Some(entry) = self.asked.get_mut(&follower) else { continue };
            if end == End::Done && entry.waits_for.remove(key) && entry.waits_for.is_empty() {
                self.ready.push_back(follower);
            }
        }
    }

    /// Cancels what waits for something that has failed: a mark that `take_cancelled` collects.
    pub fn cancel_orphans(&mut self) {
        if self.errors == 0 {
            return;
        }
        let failed: HashSet<EffectKey> =
            self.asked.iter().filter(|(_, entry)| entry.failed).map(|(key, _)| key.clone()).collect();
        if failed.is_empty() {
            return;
        }
        let orphans: Vec<(EffectKey, EffectKey)> = self
            .asked
            .iter()
            .filter(|(_, entry)| entry.effect.is_some())
            .filter_map(|(key, entry)| {
                entry
                    .waits_for
                    .iter()
                    .find(|before| failed.contains(*before))
                    .map(|b| (key.clone(), b.clone()))
            })
            .collect();
        for (key, before) in orphans {
            self.cancelled_mark(&key, format!("`{before}` did not end well"));
        }
    }

    /// Cancels everything that has not begun.
    pub fn cancel_waiting(&mut self, why: &str) {
        let waiting: Vec<EffectKey> = self
            .asked
            .iter()
            .filter(|(_, entry)| entry.effect.is_some())
            .map(|(key, _)| key.clone())
            .collect();
        for key in waiting {
            self.cancelled_mark(&key, why.to_owned());
        }
    }

    pub fn cancelled_mark(&mut self, key: &EffectKey, why: String) {
        if let Some(entry) = self.asked.get_mut(key) {
            entry.effect = None;
            self.cancelled.push((key.clone(), why));
        }
    }

    pub fn take_cancelled(&mut self) -> Vec<(EffectKey, String)> {
        std::mem::take(&mut self.cancelled)
    }
}

/// Whether a plugin's error is that of the effect with an explanation before it. An error that a plugin passes on keeps
/// the words it was told at its end.
fn explains(said: &Error, effect: &Error) -> bool {
    said.kind == effect.kind
        && said.message.len() > effect.message.len()
        && said.message.ends_with(&effect.message)
}

pub(crate) fn check_predecessors(
    state: &State,
    in_batch: &HashSet<EffectKey>,
    effect: &Effect,
) -> Result<()> {
    for before in &effect.after {
        if !in_batch.contains(before) && !state.is_asked(before) {
            return Err(Error::invalid(format!(
                "effect `{}` comes after `{before}`, which was not submitted",
                effect.key
            ))
            .fault(Fault::Plugin)
            .hint("submit the predecessor before, or in the same batch"));
        }
    }
    Ok(())
}
