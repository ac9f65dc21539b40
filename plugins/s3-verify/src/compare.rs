//! Verdicts on all keys of two buckets, in the order of the keys: by their listings, and by requests for what these don't
//! tell.

use godwit_s3_walk::{Alike, Filter, Mapping, Pair, SOURCE, TARGET, Walk, alike, location, sampled};
use godwit_sdk::prelude::*;

use crate::entry::{Class, Counts, Entry, SIZE, Side, Verdicts};
use crate::params::{Params, Verification};

/// Keys that are judged together.
const CHUNK: usize = 1000;
/// Objects that are asked for at once.
const AT_ONCE: usize = 256;
/// Entries on one page of verdicts.
const PAGE: usize = 1000;
/// Keys on one page at most: where nothing is to be said, pages are rare.
const STRETCH: u64 = 50_000;
/// Objects on one page at most that were asked for, and bytes of those: a cut-off call asks for no more again.
const ASKED: usize = 5_000;
const ASKED_BYTES: u64 = 4 << 30;
/// Keys apart up to which a listing's word is checked by requests. It may lag by a few objects, not by so many.
const DOUBTED: u64 = 10_000;
/// Failed comparisons from which on a batch that has nothing else isn't about single objects.
const ALL_FAILED: usize = 8;

/// The comparison of one mapping.
pub struct Task<'a> {
    pub mapping: &'a Mapping,
    pub filter: &'a Filter,
    pub params: &'a Params,
    /// Whether matches are kept as entries.
    pub lists_all: bool,
}

/// What a plan says of a mapping: what listings tell.
#[derive(Debug, Default)]
pub struct Preview {
    pub counts: Counts,
    /// To be compared beyond the listings.
    pub due: u64,
    pub due_bytes: u64,
}

/// A pair on its way to a verdict.
struct Judged {
    pair: Pair,
    /// The class, what proved it, why.
    verdict: Option<(Class, String, String)>,
    asked: bool,
}

impl Judged {
    fn settle(&mut self, class: Class, by: &str, reason: impl Into<String>) {
        self.verdict = Some((class, by.to_owned(), reason.into()));
    }

    fn entry(self) -> Entry {
        let (class, by, reason) = self.verdict.unwrap_or_else(|| {
            (Class::NotCompared, String::new(), "the host gave no answer for it".to_owned())
        });
        Entry {
            rest: self.pair.rest,
            class,
            source: self.pair.source.map(Side::from),
            target: self.pair.target.map(Side::from),
            by,
            reason,
        }
    }

    fn size(&self) -> u64 {
        let size = |info: &Option<ObjectInfo>| info.as_ref().map_or(0, |info| info.size);
        size(&self.pair.source).max(size(&self.pair.target))
    }
}

/// What is to be done about a pair that both sides have.
enum Next {
    Settled(Class, &'static str, String),
    Ask { deep: bool },
}

impl Task<'_> {
    /// Verdicts on all keys after `after`, a page at a time. `known`: keys apart before that.
    pub fn pages<H: Host>(
        &self,
        host: &H,
        after: Option<&str>,
        known: u64,
        mut keep: impl FnMut(Verdicts) -> Result<()>,
    ) -> Result<()> {
        let mut walk = Walk::open(host, self.mapping, self.filter, true, after)?;
        let (mut apart, mut seen) = (known, 0);
        loop {
            let mut page = Verdicts::default();
            let (mut asked, mut bytes) = (0, 0);
            loop {
                let chunk = self.chunk(&mut walk)?;
                page.last = walk.ahead().is_none();
                if let Some(last) = chunk.last() {
                    page.upto.clone_from(&last.pair.rest);
                }
                for judged in self.judge(host, chunk, apart + page.counts.apart())? {
                    if judged.asked {
                        asked += 1;
                        bytes += judged.size();
                    }
                    let entry = judged.entry();
                    page.counts.count(&entry);
                    if self.lists_all || entry.class != Class::Match {
                        page.entries.push(entry);
                    }
                }
                let done = seen + page.counts.keys();
                host.progress(&format!("compare {}", self.mapping.source), done, None, "objects");
                let full = page.entries.len() >= PAGE || page.counts.keys() >= STRETCH;
                if page.last || full || asked >= ASKED || bytes >= ASKED_BYTES {
                    break;
                }
            }
            apart += page.counts.apart();
            seen += page.counts.keys();
            let last = page.last;
            keep(page)?;
            if last {
                return Ok(());
            }
        }
    }

    /// What listings tell, and the entries of the first so many keys that don't match by them.
    pub fn preview<H: Host>(&self, host: &H, most: usize) -> Result<(Preview, Vec<Entry>)> {
        let mut walk = Walk::open(host, self.mapping, self.filter, true, None)?;
        let (mut preview, mut entries) = (Preview::default(), Vec::new());
        while let Some(pair) = walk.next_pair()? {
            if !self.takes_part(&pair) {
                continue;
            }
            let next = match (&pair.source, &pair.target) {
                (Some(source), Some(target)) => self.next(&pair.rest, source, target, false),
                (source, _) => missing(source.is_some(), "by the listings"),
            };
            match next {
                Next::Ask { .. } => {
                    preview.due += 1;
                    preview.due_bytes += pair.source.map_or(0, |source| source.size);
                }
                Next::Settled(class, by, reason) => {
                    let verdict = Some((class, by.to_owned(), reason));
                    let entry = Judged { pair, verdict, asked: false }.entry();
                    preview.counts.count(&entry);
                    if entries.len() < most && (self.lists_all || entry.class != Class::Match) {
                        entries.push(entry);
                    }
                }
            }
            let done = preview.counts.keys() + preview.due;
            if done.is_multiple_of(STRETCH) {
                host.progress(&format!("list {}", self.mapping.source), done, None, "objects");
            }
        }
        Ok((preview, entries))
    }

    /// The walk knows patterns; of what only the target has, size and age count as well.
    fn takes_part(&self, pair: &Pair) -> bool {
        match (&pair.source, &pair.target) {
            (None, Some(target)) => self.filter.admits_size_and_age(target),
            _ => true,
        }
    }

    /// The next keys: fewer where their contents are many bytes.
    fn chunk<H: Host>(&self, walk: &mut Walk<'_, H>) -> Result<Vec<Judged>> {
        let (mut chunk, mut bytes) = (Vec::new(), 0u64);
        while chunk.len() < CHUNK && bytes < ASKED_BYTES {
            let Some(pair) = walk.next_pair()? else { break };
            if !self.takes_part(&pair) {
                continue;
            }
            if let (Some(source), Some(target)) = (&pair.source, &pair.target)
                && matches!(self.next(&pair.rest, source, target, false), Next::Ask { .. })
            {
                bytes = bytes.saturating_add(source.size);
            }
            chunk.push(Judged { pair, verdict: None, asked: false });
        }
        Ok(chunk)
    }

    /// A verdict on each; `apart`: keys without a match so far.
    fn judge<H: Host>(&self, host: &H, mut chunk: Vec<Judged>, apart: u64) -> Result<Vec<Judged>> {
        let doubts = apart < DOUBTED;
        if self.params.verify == Verification::Head {
            self.ask(host, &mut chunk, SOURCE, |_| true)?;
            self.ask(host, &mut chunk, TARGET, |_| true)?;
        } else if doubts {
            // A listing may lag: what is missing in one is asked for. Counterparts under other names were asked for.
            self.ask(host, &mut chunk, SOURCE, |pair| pair.source.is_none())?;
            if self.mapping.names.is_empty() {
                self.ask(host, &mut chunk, TARGET, |pair| pair.target.is_none())?;
            }
        }
        let mut due: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
        for (index, judged) in chunk.iter_mut().enumerate() {
            let pair = &judged.pair;
            let next = match (&pair.source, &pair.target) {
                (Some(source), Some(target)) => self.next(&pair.rest, source, target, doubts),
                (None, None) => {
                    Next::Settled(Class::NotCompared, "", "it is gone from both sides".to_owned())
                }
                (source, _) => {
                    let heads = doubts || self.params.verify == Verification::Head;
                    missing(source.is_some(), if heads { "" } else { "by the listings" })
                }
            };
            match next {
                Next::Settled(class, by, reason) => judged.settle(class, by, reason),
                Next::Ask { deep } => due[usize::from(deep)].push(index),
            }
        }
        let [shallow, deep] = due;
        self.contents(host, &mut chunk, &shallow, false)?;
        self.contents(host, &mut chunk, &deep, true)?;
        Ok(chunk)
    }

    /// What is to be done about a pair; `doubts`: that it differs is to be proven.
    fn next(&self, rest: &str, source: &ObjectInfo, target: &ObjectInfo, doubts: bool) -> Next {
        let verify = self.params.verify;
        let sampled = || sampled(rest, self.params.sample_percent);
        let sizes = || format!("{} and {} bytes", source.size, target.size);
        match alike(source, target) {
            Alike::Different if doubts => Next::Ask { deep: false },
            Alike::Different if source.size != target.size => Next::Settled(Class::Differ, SIZE, sizes()),
            _ if verify == Verification::Full && sampled() => Next::Ask { deep: true },
            Alike::Same => Next::Settled(Class::Match, "etag", String::new()),
            // Two MD5s, unless one side encrypts with keys of its own.
            Alike::Different if verify == Verification::Checksum => Next::Ask { deep: false },
            Alike::Different => Next::Settled(
                Class::Differ,
                "etag",
                format!("ETags {} and {}, by the listings", source.etag, target.etag),
            ),
            Alike::Unknown if verify == Verification::Checksum && sampled() => Next::Ask { deep: false },
            Alike::Unknown => {
                Next::Settled(Class::Match, SIZE, "the ETags don't compare; only sizes were".to_owned())
            }
        }
    }

    /// Asks one side for those objects by HEAD.
    fn ask<H: Host>(
        &self,
        host: &H,
        chunk: &mut [Judged],
        slot: &str,
        which: impl Fn(&Pair) -> bool,
    ) -> Result<()> {
        let at_source = slot == SOURCE;
        let bucket = if at_source { &self.mapping.source } else { &self.mapping.target };
        let mut wanted: Vec<&mut Judged> = chunk.iter_mut().filter(|judged| which(&judged.pair)).collect();
        for group in wanted.chunks_mut(AT_ONCE) {
            let key = |judged: &&mut Judged| match at_source {
                true => self.mapping.source_key(&judged.pair.rest),
                false => self.mapping.target_key(&judged.pair.rest),
            };
            let keys: Vec<String> = group.iter().map(key).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            for (judged, found) in group.iter_mut().zip(host.stat_objects(slot, bucket, &keys)) {
                let side = if at_source { &mut judged.pair.source } else { &mut judged.pair.target };
                *side = found?;
                judged.asked = true;
            }
        }
        Ok(())
    }

    /// Compares pairs by digests or contents.
    fn contents<H: Host>(&self, host: &H, chunk: &mut [Judged], due: &[usize], deep: bool) -> Result<()> {
        for group in due.chunks(AT_ONCE) {
            let pairs: Vec<(Location, Location)> = group
                .iter()
                .map(|index| {
                    let rest = &chunk[*index].pair.rest;
                    (
                        location(SOURCE, &self.mapping.source, self.mapping.source_key(rest)),
                        location(TARGET, &self.mapping.target, self.mapping.target_key(rest)),
                    )
                })
                .collect();
            let mut failures = Vec::new();
            for (index, found) in group.iter().zip(host.compare_objects(&pairs, deep)) {
                let judged = &mut chunk[*index];
                judged.asked = true;
                match found {
                    Ok(found) => {
                        let detail = found.detail.unwrap_or_default();
                        match found.likeness {
                            Likeness::Same => judged.settle(Class::Match, &found.by, detail),
                            Likeness::Differs => judged.settle(Class::Differ, &found.by, detail),
                            Likeness::MissingLeft => {
                                judged.pair.source = None;
                                judged.settle(Class::MissingOnSource, "", "it is gone since it was listed");
                            }
                            Likeness::MissingRight => {
                                judged.pair.target = None;
                                judged.settle(Class::MissingOnTarget, "", "it is gone since it was listed");
                            }
                        }
                    }
                    // One object's: archived, forbidden, changed or gone meanwhile.
                    Err(error @ (Error::Failed(_) | Error::Conflict(_) | Error::Missing(_))) => {
                        judged.settle(Class::NotCompared, "", error.to_string());
                        failures.push(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            if failures.len() == group.len() && failures.len() >= ALL_FAILED {
                return Err(failures.swap_remove(0));
            }
        }
        Ok(())
    }
}

fn missing(at_target: bool, reason: &str) -> Next {
    let class = if at_target { Class::MissingOnTarget } else { Class::MissingOnSource };
    Next::Settled(class, "", reason.to_owned())
}
