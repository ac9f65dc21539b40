//! How far a step is: what its effects and transfers have done, out of what was asked for.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use godwit_model::EffectKey;
use godwit_model::effect::Estimate;

use crate::output::bytes;

/// Transfers that are shown by name at once.
const SHOWN: usize = 3;
/// Before this much is done, or this long has gone by, nothing is foretold.
const TELLING: (f64, Duration) = (0.01, Duration::from_secs(2));

/// What is known of a step that runs.
pub struct StepProgress {
    began: Instant,
    asked: u64,
    ended: u64,
    failed: u64,
    retried: u64,
    /// Those that have not ended: of millions, the ones that were asked for and wait are a few thousand.
    transfers: HashMap<EffectKey, Transfer>,
    running: HashSet<EffectKey>,
    /// What all transfers weigh that were asked for, and those that have ended.
    weight: f64,
    weight_ended: f64,
    /// Which transfer is called by a label.
    labels: HashMap<String, EffectKey>,
    /// Items and bytes moved so far.
    items: u64,
    moved: u64,
    first_moved: Option<Instant>,
    /// Its checks are being made: what is read now moves nothing.
    verifying: bool,
    /// Bytes that its checks have read.
    read: u64,
    latest: String,
}

struct Transfer {
    label: String,
    estimate: Option<Estimate>,
    items: u64,
    bytes: u64,
}

impl Transfer {
    /// How much of it is done, from 0 to 1.
    #[allow(clippy::cast_precision_loss)] // a display
    fn share(&self) -> f64 {
        match &self.estimate {
            Some(estimate) if estimate.items > 0 => (self.items as f64 / estimate.items as f64).min(0.99),
            Some(estimate) if estimate.bytes > 0 => (self.bytes as f64 / estimate.bytes as f64).min(0.99),
            _ => 0.0,
        }
    }

    /// What it weighs among the others: even nothing costs a round trip.
    #[allow(clippy::cast_precision_loss)]
    fn weight(&self) -> f64 {
        self.estimate.as_ref().map_or(0, |estimate| estimate.bytes).max(8192) as f64
    }
}

impl StepProgress {
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            asked: 0,
            ended: 0,
            failed: 0,
            retried: 0,
            transfers: HashMap::new(),
            running: HashSet::new(),
            weight: 0.0,
            weight_ended: 0.0,
            labels: HashMap::new(),
            items: 0,
            moved: 0,
            first_moved: None,
            verifying: false,
            read: 0,
            latest: String::new(),
        }
    }

    /// An effect was asked for; `transfer` is the label of a transfer, and `done` says that the journal had it as done.
    pub fn asked(
        &mut self,
        key: EffectKey,
        transfer: Option<String>,
        estimate: Option<Estimate>,
        done: bool,
    ) {
        self.asked += 1;
        if let Some(label) = transfer {
            let transfer = Transfer { label, estimate, items: 0, bytes: 0 };
            self.weight += transfer.weight();
            if done {
                self.weight_ended += transfer.weight();
            } else {
                self.labels.insert(transfer.label.clone(), key.clone());
                self.transfers.insert(key, transfer);
            }
        }
    }

    pub fn started(&mut self, key: &EffectKey, title: String) {
        self.latest = title;
        if self.transfers.contains_key(key) {
            self.running.insert(key.clone());
        }
    }

    pub fn ended(&mut self, key: &EffectKey) {
        self.ended += 1;
        self.running.remove(key);
        if let Some(transfer) = self.transfers.remove(key) {
            self.labels.remove(&transfer.label);
            self.weight_ended += transfer.weight();
        }
    }

    pub fn failed(&mut self, key: &EffectKey) {
        self.failed += 1;
        self.ended(key);
    }

    /// An attempt failed, and another one follows.
    pub fn retried(&mut self) {
        self.retried += 1;
    }

    pub fn transferred(&mut self, label: &str, items: u64, bytes: u64, now: Instant) {
        if self.verifying {
            self.read += bytes;
            return;
        }
        self.first_moved.get_or_insert(now);
        self.items += items;
        self.moved += bytes;
        if let Some(transfer) = self.labels.get(label).and_then(|key| self.transfers.get_mut(key)) {
            transfer.items += items;
            transfer.bytes += bytes;
        }
    }

    pub fn verifying(&mut self) {
        self.verifying = true;
        self.latest = "verifying".to_owned();
    }

    pub fn says(&mut self, latest: String) {
        self.latest = latest;
    }

    /// One line for a terminal.
    pub fn message(&self, now: Instant) -> String {
        let mut parts = Vec::new();
        if self.verifying {
            parts.push(self.latest.clone());
            if self.read > 0 {
                parts.push(format!("{} read", bytes(self.read)));
            }
            return parts.join(" · ");
        }
        if self.asked > 0 {
            parts.push(format!("{}/{} effects", self.ended, self.asked));
        }
        for (count, word) in [(self.failed, "failed"), (self.retried, "tried again")] {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        if let Some(since) = self.first_moved {
            let rate = per_second(self.moved, now.saturating_duration_since(since));
            parts.push(format!("{} items, {}, {}/s", self.items, bytes(self.moved), bytes(rate)));
            parts.extend(self.left(now).map(|left| format!("about {} left", short(left))));
        }
        let mut running: Vec<&Transfer> = self.under_way().collect();
        running.sort_by(|a, b| b.weight().total_cmp(&a.weight()).then_with(|| a.label.cmp(&b.label)));
        match running.as_slice() {
            [] if self.latest.is_empty() => {}
            [] => parts.push(self.latest.clone()),
            running => parts.extend(
                running.iter().take(SHOWN).map(|t| format!("{} {:.0} %", t.label, t.share() * 100.0)),
            ),
        }
        parts.join(" · ")
    }

    fn under_way(&self) -> impl Iterator<Item = &Transfer> {
        self.running.iter().filter_map(|key| self.transfers.get(key))
    }

    /// How long the transfers that were asked for will still take, at the rate so far.
    fn left(&self, now: Instant) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.first_moved?);
        let done: f64 = self.under_way().map(|t| t.weight() * t.share()).sum();
        let share = (self.weight_ended + done) / self.weight;
        if share < TELLING.0 || share >= 1.0 || elapsed < TELLING.1 {
            return None;
        }
        Some(elapsed.mul_f64((1.0 - share) / share))
    }

    /// What is said once the step has ended.
    pub fn summary(&self, now: Instant) -> String {
        let mut out = format!(" in {:.1} s", now.saturating_duration_since(self.began).as_secs_f64());
        if self.ended > 0 {
            out.push_str(&format!(", {} effects", self.ended));
        }
        if self.items > 0 {
            out.push_str(&format!(", {} items, {}", self.items, bytes(self.moved)));
        }
        out
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a display
fn per_second(count: u64, time: Duration) -> u64 {
    (count as f64 / time.as_secs_f64().max(0.001)) as u64
}

/// `45 s`, `3 min`, `2 h 5 min`.
fn short(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..90 => format!("{} s", seconds.max(1)),
        seconds @ 90..5400 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> EffectKey {
        EffectKey::new(name)
    }

    fn estimate(items: u64, bytes: u64) -> Option<Estimate> {
        Some(Estimate { items, bytes, exact: false })
    }

    #[test]
    fn what_is_left_goes_by_what_is_done() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut step = StepProgress::new(began);
        step.asked(key("before"), None, None, false);
        step.asked(key("copy/a"), Some("public.a".into()), estimate(1000, 900 << 20), false);
        step.asked(key("copy/b"), Some("public.b".into()), estimate(10, 100 << 20), true);
        step.ended(&key("before"));
        step.ended(&key("copy/b"));
        step.started(&key("copy/a"), "copy public.a".into());
        assert_eq!(step.message(at(1)), "2/3 effects · public.a 0 %");
        step.transferred("public.a", 0, 1, at(10));
        step.transferred("public.a", 500, (500 << 20) - 1, at(20));
        // 550 of 1000 MiB in ten seconds.
        assert_eq!(
            step.message(at(20)),
            "2/3 effects · 500 items, 500.0 MiB, 50.0 MiB/s · about 8 s left · public.a 50 %"
        );
        step.ended(&key("copy/a"));
        step.says("index on public.a".into());
        assert_eq!(
            step.message(at(20)),
            "3/3 effects · 500 items, 500.0 MiB, 50.0 MiB/s · index on public.a"
        );
        // What checks read is no part of what was moved.
        step.verifying();
        step.transferred("public.a", 0, 7_000_000, at(30));
        assert_eq!(step.message(at(30)), "verifying · 6.7 MiB read");
        assert_eq!(step.summary(at(40)), " in 40.0 s, 3 effects, 500 items, 500.0 MiB");
    }

    #[test]
    fn wrong_estimates_foretell_no_nonsense() {
        let began = Instant::now();
        let later = began + Duration::from_secs(60);
        let mut step = StepProgress::new(began);
        step.asked(key("a"), Some("a".into()), estimate(0, 0), false);
        step.asked(key("b"), Some("b".into()), None, false);
        step.started(&key("a"), "a".into());
        step.transferred("a", 5, 5, began);
        assert_eq!(step.message(later), "0/2 effects · 5 items, 5 B, 0 B/s · a 0 %");
        step.asked(key("c"), Some("c".into()), estimate(1, 1), false);
        step.started(&key("c"), "c".into());
        step.transferred("c", 100, 100, began);
        step.transferred("unknown", 1, 1, began);
        assert!(step.message(later).contains("left"), "{}", step.message(later));
        step.retried();
        step.failed(&key("a"));
        let said = step.message(later);
        assert!(said.starts_with("1/3 effects · 1 failed · 1 tried again · 106 items"), "{said}");
    }

    #[test]
    fn times_are_short() {
        let shown = [0, 89, 90, 5399, 7500].map(|s| short(Duration::from_secs(s)));
        assert_eq!(shown, ["1 s", "89 s", "2 min", "90 min", "2 h 5 min"]);
    }
}
