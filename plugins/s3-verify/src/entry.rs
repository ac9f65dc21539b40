//! A verdict on one key, pages of them, and what they add up to.

use std::collections::BTreeMap;

use godwit_s3_walk::{Mapping, Page, SHOWN};
use godwit_sdk::prelude::*;

/// By which two objects of one size match that nothing else compares.
pub const SIZE: &str = "size";

/// How the two sides of a key compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Match,
    Differ,
    MissingOnSource,
    MissingOnTarget,
    /// One side could not be read; the reason says why.
    NotCompared,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Differ => "differ",
            Self::MissingOnSource => "missing_on_source",
            Self::MissingOnTarget => "missing_on_target",
            Self::NotCompared => "not_compared",
        }
    }
}

/// What one side has at a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, String)", into = "(u64, String)")]
pub struct Side {
    pub size: u64,
    pub etag: String,
}

impl From<(u64, String)> for Side {
    fn from((size, etag): (u64, String)) -> Self {
        Self { size, etag }
    }
}

impl From<Side> for (u64, String) {
    fn from(side: Side) -> Self {
        (side.size, side.etag)
    }
}

impl From<ObjectInfo> for Side {
    fn from(info: ObjectInfo) -> Self {
        Self { size: info.size, etag: info.etag }
    }
}

/// The verdict on a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Row", into = "Row")]
pub struct Entry {
    /// The key at the source without the prefix.
    pub rest: String,
    pub class: Class,
    pub source: Option<Side>,
    pub target: Option<Side>,
    /// What proved it: `etag`, `size`, `md5`, `content`, ….
    pub by: String,
    pub reason: String,
}

/// An entry as it is memoised.
type Row = (String, Class, Option<Side>, Option<Side>, String, String);

impl From<Row> for Entry {
    fn from((rest, class, source, target, by, reason): Row) -> Self {
        Self { rest, class, source, target, by, reason }
    }
}

impl From<Entry> for Row {
    fn from(entry: Entry) -> Self {
        (entry.rest, entry.class, entry.source, entry.target, entry.by, entry.reason)
    }
}

/// Verdicts over a stretch of keys: those after the page before, up to `upto`. Holds all that the report says of them, so
/// that a resumed call writes the same one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    pub upto: String,
    pub last: bool,
    pub counts: Counts,
    /// Those that the report lists.
    pub entries: Vec<Entry>,
}

impl Page for Verdicts {
    fn upto(&self) -> &str {
        &self.upto
    }

    fn is_last(&self) -> bool {
        self.last
    }
}

/// How many keys are of each class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    #[serde(rename = "match")]
    pub matching: u64,
    pub differ: u64,
    pub missing_on_source: u64,
    pub missing_on_target: u64,
    pub not_compared: u64,
    /// Bytes of the objects that match.
    pub matching_bytes: u64,
    /// Objects that match by what proved it; `size`: as large, and nothing else was compared.
    pub matching_by: BTreeMap<String, u64>,
}

impl Counts {
    pub fn count(&mut self, entry: &Entry) {
        match entry.class {
            Class::Match => {
                self.matching += 1;
                self.matching_bytes += entry.source.as_ref().map_or(0, |side| side.size);
                match self.matching_by.get_mut(&entry.by) {
                    Some(count) => *count += 1,
                    None => drop(self.matching_by.insert(entry.by.clone(), 1)),
                }
            }
            Class::Differ => self.differ += 1,
            Class::MissingOnSource => self.missing_on_source += 1,
            Class::MissingOnTarget => self.missing_on_target += 1,
            Class::NotCompared => self.not_compared += 1,
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.matching += other.matching;
        self.differ += other.differ;
        self.missing_on_source += other.missing_on_source;
        self.missing_on_target += other.missing_on_target;
        self.not_compared += other.not_compared;
        self.matching_bytes += other.matching_bytes;
        for (by, count) in &other.matching_by {
            *self.matching_by.entry(by.clone()).or_default() += count;
        }
    }

    /// Keys without a match.
    pub fn apart(&self) -> u64 {
        self.differ + self.missing_on_source + self.missing_on_target + self.not_compared
    }

    pub fn keys(&self) -> u64 {
        self.matching + self.apart()
    }

    /// Matches of which only the size was compared.
    pub fn by_size(&self) -> u64 {
        self.matching_by.get(SIZE).copied().unwrap_or(0)
    }
}

/// What became of one entry of `buckets`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BucketOutputs {
    /// Bucket at the source.
    pub source: String,
    pub prefix: String,
    /// Bucket at the target.
    pub target: String,
    pub target_prefix: String,
    pub counts: Counts,
    /// The first keys that don't match, by class.
    pub first: BTreeMap<Class, Vec<String>>,
}

impl BucketOutputs {
    pub fn of(mapping: &Mapping) -> Self {
        Self {
            source: mapping.source.clone(),
            prefix: mapping.prefix.clone(),
            target: mapping.target.clone(),
            target_prefix: mapping.target_prefix.clone(),
            ..Self::default()
        }
    }

    pub fn add(&mut self, page: &Verdicts) {
        self.counts.add(&page.counts);
        for entry in page.entries.iter().filter(|entry| entry.class != Class::Match) {
            let shown = self.first.entry(entry.class).or_default();
            if shown.len() < SHOWN {
                shown.push(format!("{}{}", self.prefix, entry.rest));
            }
        }
    }

    /// `3 differ: a, b, c` for each class that doesn't match.
    pub fn apart(&self, tolerates_extra: bool) -> Vec<String> {
        let counts = &self.counts;
        [
            (Class::Differ, counts.differ, "differ"),
            (Class::MissingOnTarget, counts.missing_on_target, "are missing on the target"),
            (Class::MissingOnSource, counts.missing_on_source, "are missing on the source"),
            (Class::NotCompared, counts.not_compared, "could not be compared"),
        ]
        .into_iter()
        .filter(|(class, count, _)| *count > 0 && !(tolerates_extra && *class == Class::MissingOnSource))
        .map(|(class, count, what)| {
            let shown = self.first.get(&class).cloned().unwrap_or_default();
            let more = match count - shown.len() as u64 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{count} {what}: {}{more}", shown.join(", "))
        })
        .collect()
    }
}
