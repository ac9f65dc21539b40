//! Rows of text search objects; functions by qualified name.

use serde::Deserialize;

use super::Oid;

#[derive(Clone, Debug, Deserialize)]
pub struct ParserRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub start: String,
    pub token: String,
    pub end: String,
    pub types: String,
    pub headline: Option<String>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct TemplateRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub init: Option<String>,
    pub lexize: String,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DictionaryRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// Quoted and qualified.
    pub template: String,
    /// As CREATE TEXT SEARCH DICTIONARY has them.
    pub options: Option<String>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ConfigurationRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// Quoted and qualified.
    pub parser: String,
    pub mappings: Option<Vec<Mapping>>,
    pub comment: Option<String>,
}

/// Which dictionaries a type of token goes through, in their order.
#[derive(Clone, Debug, Deserialize)]
pub struct Mapping {
    pub token: String,
    /// Quoted, and qualified where they have to be.
    pub dictionaries: Vec<String>,
}
