//! What a step's `verify` says.

use serde::{Deserialize, Serialize};

/// The verdict of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", content = "why", rename_all = "kebab-case")]
pub enum Verdict {
    Passed,
    Failed(String),
    /// Nothing was found wrong, but nothing could be proven either.
    NotComparable(String),
}

/// One named check of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What was compared, in words: `327 rows, digest 5e0c…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
