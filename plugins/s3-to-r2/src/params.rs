//! What a recipe says under `with`.

use std::collections::BTreeMap;

use godwit_s3_walk::{Choice, Filter, Mapping, NewName, Rename, check_scope};
use godwit_sdk::prelude::*;

/// Which buckets move, and how.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Buckets to copy: a name, or an object that also gives other names and prefixes.
    pub buckets: Vec<BucketEntry>,
    /// Make buckets that aren't at the target.
    #[serde(default)]
    pub create_buckets: bool,
    /// CORS rules for every target bucket; left alone where none are given.
    #[serde(default)]
    pub cors: Vec<Rule>,
    /// What to do about an object that is at the target with other content.
    #[serde(default)]
    pub overwrite: Overwrite,
    /// How arrival is proven.
    #[serde(default)]
    pub verify: Verification,
    /// Fetch one object of each bucket by a presigned URL, as an application would.
    #[serde(default = "yes")]
    pub presigned_check: bool,
    /// Copy only keys that match one of these: `*` stands for anything but `/`, `**` for anything, `?` for one
    /// character.
    #[serde(default)]
    pub include: Vec<String>,
    /// Leave out keys that match one of these.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Copy only objects of at least this many bytes.
    #[serde(default)]
    pub min_size: Option<u64>,
    /// Copy only objects of at most this many bytes.
    #[serde(default)]
    pub max_size: Option<u64>,
    /// Copy only objects that were written at least this long ago: `12h`, `30d`.
    #[serde(default)]
    pub min_age: Option<String>,
    /// Copy only objects that were written at most this long ago.
    #[serde(default)]
    pub max_age: Option<String>,
    /// Other names for keys: the first rule that fits a key (what comes after its prefix) names it anew.
    #[serde(default)]
    pub rename: Vec<Rename>,
    /// Delete what the target has below the prefixes and the source hasn't.
    #[serde(default)]
    pub mirror: Option<Mirror>,
    /// Which versions of an object are copied.
    #[serde(default)]
    pub versions: Versions,
    /// Carry tags over, where the target has them.
    #[serde(default = "yes")]
    pub tags: bool,
    /// Storage classes at the target by those of the source. A class that isn't named is kept where the target has
    /// storage classes; `STANDARD` is the target's standard one.
    #[serde(default)]
    pub storage_classes: BTreeMap<String, String>,
    /// Settings of the buckets by name: `source` carries the source's over, anything else is the document to set (XML as
    /// the S3 API defines it, of a policy JSON).
    #[serde(default)]
    pub settings: BTreeMap<BucketSetting, String>,
    /// Carry the source's CORS rules over where `cors` gives none.
    #[serde(default)]
    pub carry_cors: bool,
    /// Before anything is copied, find out by an object that is gone again afterwards whether presigned PUT and GET work
    /// at the target and whether it honours conditions.
    #[serde(default = "yes")]
    pub probe: bool,
    /// Of a hundred objects, how many a verification of `checksum` or `full` compares; which ones follows from their keys.
    #[serde(default = "hundred")]
    pub sample_percent: u8,
    /// Origins whose preflight requests the target has to allow; those that the CORS rules spell out if left out.
    #[serde(default)]
    pub check_origins: Option<Vec<String>>,
}

fn hundred() -> u8 {
    100
}

/// How the target is made to hold nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// More objects to delete than this end the step before anything is copied or deleted.
    pub max_delete: u64,
}

/// Which versions of an object are copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Versions {
    #[default]
    Latest,
    /// All, the oldest first, with delete markers; only to keys that have nothing, in buckets that keep versions.
    All,
}

fn yes() -> bool {
    true
}

/// An entry of `buckets`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BucketEntry {
    /// The same name on both sides, all keys.
    Name(String),
    Mapping(BucketMapping),
}

/// A bucket with other names or prefixes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketMapping {
    /// Bucket at the source.
    pub source: String,
    /// Bucket at the target; the source's name if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only keys that begin with this.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// What takes the place of `prefix` at the target; the same prefix if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_prefix: Option<String>,
    /// CORS rules for this target bucket, instead of the common ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Vec<Rule>>,
}

/// What to do about an object that is at the target with other content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overwrite {
    /// End the step before anything is copied, and name them.
    #[default]
    Never,
    /// Replace them.
    Changed,
    /// Replace those that are older than the source's, and leave the others.
    Newer,
}

/// How arrival is proven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verification {
    /// By the target's listing, a thousand objects to a request, which tells of each what HEAD does: size and ETag. HEAD
    /// where it disagrees.
    #[default]
    List,
    /// By HEAD of every object that was copied.
    Head,
    /// HEAD, and both sides are compared by a checksum that both offer, or else by their content. Not for a step with
    /// transforms.
    Checksum,
    /// HEAD, and the content of both sides is read and compared. Not for a step with transforms.
    Full,
}

/// A CORS rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Origins such as `https://app.example.com`, or `*`.
    pub allowed_origins: Vec<String>,
    /// Methods such as `GET` and `HEAD`.
    pub allowed_methods: Vec<String>,
    #[serde(default)]
    pub allowed_headers: Vec<String>,
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Seconds for which a browser may remember the answer.
    #[serde(default)]
    pub max_age: Option<u32>,
}

impl Rule {
    pub fn to_cors(&self) -> CorsRule {
        CorsRule {
            allowed_origins: self.allowed_origins.clone(),
            allowed_methods: self.allowed_methods.clone(),
            allowed_headers: self.allowed_headers.clone(),
            expose_headers: self.expose_headers.clone(),
            max_age: self.max_age,
        }
    }
}

impl Params {
    pub fn mappings(&self) -> Result<Vec<Mapping>> {
        check_scope(self.buckets.len(), self.sample_percent)?;
        let instead = |one: &str, other: &str| {
            Err(Error::Invalid(format!("`{one}` and `{other}` can't stand together: leave one of them out")))
        };
        if !self.rename.is_empty() && self.mirror.is_some() {
            return instead("rename", "mirror");
        }
        if self.versions == Versions::All && self.mirror.is_some() {
            return instead("mirror", "\"versions\": \"all\"");
        }
        let names = self.rename.iter().map(NewName::new).collect::<Result<Vec<_>>>()?;
        self.buckets.iter().map(|entry| entry.resolve(&names)).collect()
    }

    /// `now` is in seconds since the Unix epoch: ages are taken from it.
    pub fn filter(&self, now: i64) -> Result<Filter> {
        let choice = Choice {
            include: &self.include,
            exclude: &self.exclude,
            min_size: self.min_size,
            max_size: self.max_size,
            min_age: self.min_age.as_deref(),
            max_age: self.max_age.as_deref(),
        };
        choice.filter(now)
    }

    /// The storage class at the target; `None` for its standard one.
    pub fn class_of(&self, source: Option<&str>, target_has_classes: bool) -> Option<String> {
        let mapped = source.and_then(|class| self.storage_classes.get(class).map(String::as_str));
        let kept = source.filter(|_| target_has_classes);
        mapped.or(kept).filter(|class| *class != "STANDARD").map(str::to_owned)
    }

    /// The rules of the entry that a mapping was made of; no two entries write to one place.
    pub fn cors_of(&self, mapping: &Mapping) -> &[Rule] {
        let entry = self
            .buckets
            .iter()
            .find(|entry| entry.resolve(&mapping.names).is_ok_and(|made| made == *mapping));
        match entry {
            Some(BucketEntry::Mapping(BucketMapping { cors: Some(own), .. })) => own,
            _ => &self.cors,
        }
    }
}

impl BucketEntry {
    fn resolve(&self, names: &[NewName]) -> Result<Mapping> {
        match self {
            Self::Name(name) => Mapping::new(name, None, "", None, names),
            Self::Mapping(entry) => Mapping::new(
                &entry.source,
                entry.target.as_deref(),
                &entry.prefix,
                entry.target_prefix.as_deref(),
                names,
            ),
        }
    }
}
