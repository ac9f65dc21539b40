//! Rows of foreign data wrappers, servers and user mappings.

use serde::Deserialize;

use super::Oid;

/// Name and value.
pub type Options = Vec<(String, String)>;

#[derive(Clone, Debug, Deserialize)]
pub struct WrapperRow {
    pub oid: Oid,
    pub name: String,
    pub handler: Option<String>,
    pub validator: Option<String>,
    pub options: Option<Options>,
    /// Names of options that may hold a secret and weren't read.
    pub withheld: Vec<String>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ServerRow {
    pub oid: Oid,
    pub name: String,
    pub wrapper: String,
    #[serde(rename = "type")]
    pub ty: Option<String>,
    pub version: Option<String>,
    pub options: Option<Options>,
    /// Likewise.
    pub withheld: Vec<String>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct UserMappingRow {
    pub oid: Oid,
    pub server: Oid,
    pub server_name: String,
    /// `public` is no role, but everybody else.
    pub role: String,
    pub options: Option<Options>,
    /// Likewise.
    pub withheld: Vec<String>,
}
