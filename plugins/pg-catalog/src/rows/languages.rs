//! Rows of languages, transforms, access methods, conversions and event triggers.

use serde::Deserialize;

use super::Oid;

#[derive(Clone, Debug, Deserialize)]
pub struct LanguageRow {
    pub oid: Oid,
    pub name: String,
    pub trusted: bool,
    pub handler: Option<String>,
    pub inline: Option<String>,
    pub validator: Option<String>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct TransformRow {
    pub oid: Oid,
    #[serde(rename = "type")]
    pub ty: String,
    pub language: String,
    /// With its types.
    pub from_sql: Option<String>,
    pub to_sql: Option<String>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AccessMethodRow {
    pub oid: Oid,
    pub name: String,
    /// `i`ndex or `t`able.
    pub kind: String,
    pub handler: String,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ConversionRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// Encodings.
    pub source: String,
    pub target: String,
    pub function: String,
    pub default: bool,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct EventTriggerRow {
    pub oid: Oid,
    pub name: String,
    pub event: String,
    pub function: String,
    /// As of triggers.
    pub enabled: String,
    pub tags: Vec<String>,
    pub comment: Option<String>,
}
