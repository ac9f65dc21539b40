//! What a recipe says under `with`.

use godwit_sdk::prelude::*;

use crate::glob::{Filter, Glob};

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
}

/// How arrival is proven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verification {
    /// By the target's listing, a thousand objects to a request; HEAD where it disagrees.
    List,
    /// By HEAD of every object that was copied.
    #[default]
    Head,
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

/// An entry of `buckets`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub source: String,
    pub target: String,
    pub prefix: String,
    pub target_prefix: String,
    pub cors: Option<Vec<Rule>>,
}

impl Mapping {
    /// The source's key of what comes after the prefix.
    pub fn source_key(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    /// The target's key of what comes after the prefix.
    pub fn target_key(&self, rest: &str) -> String {
        format!("{}{rest}", self.target_prefix)
    }
}

impl Params {
    pub fn mappings(&self) -> Result<Vec<Mapping>> {
        if self.buckets.is_empty() {
            return Err(Error::Invalid("`buckets` is empty: name at least one bucket".to_owned()));
        }
        self.buckets.iter().map(BucketEntry::resolve).collect()
    }

    pub fn filter(&self) -> Result<Filter> {
        let globs = |patterns: &[String]| {
            patterns.iter().map(|pattern| Glob::new(pattern)).collect::<Result<Vec<_>>>()
        };
        Ok(Filter { include: globs(&self.include)?, exclude: globs(&self.exclude)? })
    }

    pub fn cors_of<'a>(&'a self, mapping: &'a Mapping) -> &'a [Rule] {
        mapping.cors.as_deref().unwrap_or(&self.cors)
    }
}

impl BucketEntry {
    fn resolve(&self) -> Result<Mapping> {
        let mapping = match self {
            Self::Name(name) => Mapping {
                source: name.clone(),
                target: name.clone(),
                prefix: String::new(),
                target_prefix: String::new(),
                cors: None,
            },
            Self::Mapping(entry) => Mapping {
                source: entry.source.clone(),
                target: entry.target.clone().unwrap_or_else(|| entry.source.clone()),
                prefix: entry.prefix.clone(),
                target_prefix: entry.target_prefix.clone().unwrap_or_else(|| entry.prefix.clone()),
                cors: entry.cors.clone(),
            },
        };
        if mapping.source.is_empty() || mapping.target.is_empty() {
            return Err(Error::Invalid("an entry of `buckets` has an empty name".to_owned()));
        }
        Ok(mapping)
    }
}
