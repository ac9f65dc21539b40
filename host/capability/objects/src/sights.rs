//! What this process has seen of a store's keys: where it knows that nothing lies at a key, a write there needs no HEAD.
//!
//! `replaces: nothing` rests on a listing that the plugin read. Where the store honours `If-None-Match`, the store itself
//! holds that; elsewhere a page of a listing that is a few minutes old at most says the same as a HEAD, and so does a
//! bucket that this process has made. Only digests of keys are kept, and only of the latest pages.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a page speaks for the store.
const FRESH: Duration = Duration::from_secs(600);
/// Keys of pages that are remembered, and keys that were written.
const MOST_LISTED: usize = 200_000;
const MOST_WRITTEN: usize = 1_000_000;
const MOST_PAGES: usize = 1_000;

#[derive(Default)]
pub(crate) struct Sights {
    hasher: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    made: HashSet<String>,
    pages: VecDeque<Sight>,
    listed: usize,
    written: HashSet<u64>,
    /// More was written than is remembered: nothing is known any more.
    full: bool,
}

/// A page of a listing.
struct Sight {
    bucket: String,
    prefix: String,
    /// It shows the keys after this one.
    after: Option<String>,
    /// And up to this one; `None`: to the end.
    upto: Option<String>,
    keys: HashSet<u64>,
    at: Instant,
}

impl Sights {
    /// Notes a bucket that was made just now.
    pub fn made(&self, bucket: &str) {
        self.lock().made.insert(bucket.to_owned());
    }

    /// Notes a page of a listing, with the keys that it shows.
    pub fn listed<'a>(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        upto: Option<&str>,
        keys: impl Iterator<Item = &'a str>,
    ) {
        let sight = Sight {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            upto: upto.map(str::to_owned),
            keys: keys.map(|key| self.hash(bucket, key)).collect(),
            at: Instant::now(),
        };
        let mut seen = self.lock();
        seen.listed += sight.keys.len();
        seen.pages.push_back(sight);
        while seen.pages.len() > MOST_PAGES
            || seen.listed > MOST_LISTED
            || seen.pages.front().is_some_and(|first| first.at.elapsed() > FRESH)
        {
            let Some(old) = seen.pages.pop_front() else { break };
            seen.listed -= old.keys.len();
        }
    }

    /// Notes a write, so that a second one to the same key is no surprise.
    pub fn wrote(&self, bucket: &str, key: &str) {
        let hash = self.hash(bucket, key);
        let mut seen = self.lock();
        if seen.full || (seen.made.is_empty() && seen.pages.is_empty()) {
            return;
        }
        seen.written.insert(hash);
        if seen.written.len() > MOST_WRITTEN {
            *seen = Seen { full: true, ..Seen::default() };
        }
    }

    /// Whether it is known that nothing lies at a key.
    pub fn is_free(&self, bucket: &str, key: &str) -> bool {
        let hash = self.hash(bucket, key);
        let seen = self.lock();
        if seen.full || seen.written.contains(&hash) {
            return false;
        }
        seen.made.contains(bucket)
            || seen.pages.iter().rev().any(|page| {
                page.bucket == bucket
                    && key.starts_with(&page.prefix)
                    && page.after.as_deref().is_none_or(|after| key > after)
                    && page.upto.as_deref().is_none_or(|upto| key <= upto)
                    && page.at.elapsed() <= FRESH
                    && !page.keys.contains(&hash)
            })
    }

    fn hash(&self, bucket: &str, key: &str) -> u64 {
        self.hasher.hash_one((bucket, key))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_page_covers_is_known() {
        let sights = Sights::default();
        assert!(!sights.is_free("b", "p/x"));
        sights.listed("b", "p/", None, Some("p/m"), ["p/a", "p/m"].into_iter());
        assert!(sights.is_free("b", "p/b"));
        assert!(!sights.is_free("b", "p/a") && !sights.is_free("b", "p/n"));
        assert!(!sights.is_free("b", "q") && !sights.is_free("c", "p/b"));
        sights.listed("b", "p/", Some("p/m"), None, ["p/z"].into_iter());
        assert!(sights.is_free("b", "p/n") && !sights.is_free("b", "p/z"));
        sights.wrote("b", "p/n");
        assert!(!sights.is_free("b", "p/n"));
        sights.made("new");
        assert!(sights.is_free("new", "anything"));
    }

    #[test]
    fn what_was_written_is_remembered_or_nothing_is() {
        let sights = Sights::default();
        sights.made("b");
        for index in 0..=MOST_WRITTEN {
            sights.wrote("b", &index.to_string());
        }
        assert!(!sights.is_free("b", "x"));
    }
}
