//! Rows of publications and subscriptions.

use serde::Deserialize;

use super::Oid;

#[derive(Clone, Debug, Deserialize)]
pub struct PublicationRow {
    pub oid: Oid,
    pub name: String,
    pub all_tables: bool,
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub truncate: bool,
    pub via_root: bool,
    /// Generated columns: `s`tored, or `n`one.
    pub generated: String,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct PublicationTableRow {
    pub oid: Oid,
    pub publication: Oid,
    /// The publication's.
    pub name: String,
    pub relation: Oid,
    pub columns: Option<Vec<String>>,
    pub filter: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct PublicationSchemaRow {
    pub oid: Oid,
    pub publication: Oid,
    /// The publication's.
    pub name: String,
    pub namespace: Oid,
    pub schema: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SubscriptionRow {
    pub oid: Oid,
    pub name: String,
    /// Without passwords.
    pub connection: String,
    /// There was a password in it.
    pub withheld: bool,
    pub publications: Vec<String>,
    pub synchronous_commit: String,
    pub binary: bool,
    /// `f`, `t`, or `p`arallel; before 16 a boolean's text, before 14 empty.
    pub streaming: String,
    /// `d`isabled, else enabled.
    pub two_phase: String,
    pub disable_on_error: bool,
    pub password_required: bool,
    pub run_as_owner: bool,
    pub origin: Option<String>,
    pub failover: bool,
    pub comment: Option<String>,
}
