//! What a recipe says under `with`.

use godwit_s3_walk::{Choice, Filter, Mapping, NewName, Rename, check_scope};
use godwit_sdk::prelude::*;

/// Bytes of one file of a report, unless the recipe says otherwise: on its way, a file lies in memory many times over.
const FILE_BYTES: u64 = 4 << 20;
/// Bounds of what it may say: a file is put together in the plugin's memory.
const FILE_BOUNDS: std::ops::RangeInclusive<u64> = (1 << 10)..=(32 << 20);

/// Which buckets are compared, and how.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Buckets to compare: a name, or an object that also gives other names and prefixes.
    pub buckets: Vec<BucketEntry>,
    /// Compare only keys that match one of these: `*` stands for anything but `/`, `**` for anything, `?` for one
    /// character.
    #[serde(default)]
    pub include: Vec<String>,
    /// Leave out keys that match one of these.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Compare only objects of at least this many bytes: the source's, or what only the target has.
    #[serde(default)]
    pub min_size: Option<u64>,
    /// Compare only objects of at most this many bytes.
    #[serde(default)]
    pub max_size: Option<u64>,
    /// Compare only objects that were written at least this long ago: `12h`, `30d`.
    #[serde(default)]
    pub min_age: Option<String>,
    /// Compare only objects that were written at most this long ago.
    #[serde(default)]
    pub max_age: Option<String>,
    /// Names under which the target has keys: the first rule that fits a key (what comes after its prefix). What only the
    /// target has isn't looked for then.
    #[serde(default)]
    pub rename: Vec<Rename>,
    /// How objects are compared.
    #[serde(default)]
    pub verify: Verification,
    /// Of a hundred objects, how many `checksum` and `full` compare beyond what listings tell; which ones follows from
    /// their keys.
    #[serde(default = "hundred")]
    pub sample_percent: u8,
    /// What to do about an object that only the target has; `fail` if left out.
    #[serde(default)]
    pub extra: Option<Extra>,
    /// Which objects the report lists; `differences` if left out.
    #[serde(default)]
    pub report: Option<Listed>,
    /// The report's files without their endings: `s3-verify` becomes `s3-verify.json` and `s3-verify.csv`, which mustn't
    /// be there yet.
    #[serde(default)]
    pub report_path: Option<String>,
    /// Bytes of one file at most, 1024 to 33554432; more are written to `s3-verify-2.json` and so on. 4194304 if left
    /// out.
    #[serde(default)]
    pub report_file_bytes: Option<u64>,
}

fn hundred() -> u8 {
    100
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
}

/// How objects are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verification {
    /// By both listings: sizes and ETags. What is missing or differs there is asked for once more.
    List,
    /// The same by HEAD of every object on both sides.
    Head,
    /// By listings; where ETags don't compare, by a checksum that both sides offer, or else by the content.
    #[default]
    Checksum,
    /// The content of both sides is read and compared.
    Full,
}

/// What to do about an object that only the target has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Extra {
    /// It is named in the outputs and the report.
    Report,
    /// It fails the step.
    Fail,
}

/// Which objects the report lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Listed {
    /// Those that don't match.
    Differences,
    All,
}

impl Params {
    pub fn mappings(&self) -> Result<Vec<Mapping>> {
        let invalid = |text: String| Err(Error::Invalid(text));
        check_scope(self.buckets.len(), self.sample_percent)?;
        if !self.rename.is_empty() && self.extra == Some(Extra::Fail) {
            return invalid(
                "`rename` and `\"extra\": \"fail\"` can't stand together: under other names, what only the target has \
                 isn't looked for. Leave `extra` out"
                    .to_owned(),
            );
        }
        if !FILE_BOUNDS.contains(&self.file_bytes()) {
            let (least, most) = FILE_BOUNDS.into_inner();
            return invalid(format!(
                "`report_file_bytes` is {}: give {least} to {most} bytes",
                self.file_bytes()
            ));
        }
        let stem = self.stem();
        if stem.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return invalid(format!(
                "`report_path` is `{stem}`: give a path below the folder of slot `report`, such as `reports/compared`"
            ));
        }
        let name = stem.rsplit('/').next().unwrap_or_default();
        if name.ends_with(".json") || name.ends_with(".csv") {
            return invalid(format!("`report_path` is `{stem}`: give the files' name without its ending"));
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

    /// Objects that only the target has don't fail the step.
    pub fn tolerates_extra(&self) -> bool {
        self.extra == Some(Extra::Report)
    }

    /// Matches are listed, too.
    pub fn lists_all(&self) -> bool {
        self.report == Some(Listed::All)
    }

    pub fn stem(&self) -> &str {
        self.report_path.as_deref().unwrap_or("s3-verify")
    }

    pub fn file_bytes(&self) -> u64 {
        self.report_file_bytes.unwrap_or(FILE_BYTES)
    }

    /// The first param that speaks of a report.
    pub fn of_report(&self) -> Option<&'static str> {
        [
            ("report", self.report.is_some()),
            ("report_path", self.report_path.is_some()),
            ("report_file_bytes", self.report_file_bytes.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
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
