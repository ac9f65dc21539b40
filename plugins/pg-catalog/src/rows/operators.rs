//! Rows of operators, their families and classes, and casts.

use serde::Deserialize;

use super::Oid;

#[derive(Clone, Debug, Deserialize)]
pub struct OperatorRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub left: Option<String>,
    /// None for a postfix operator (before 14).
    pub right: Option<String>,
    pub function: String,
    /// `OPERATOR(schema.name)`, as is `negator`.
    pub commutator: Option<String>,
    pub negator: Option<String>,
    pub restrict: Option<String>,
    pub join: Option<String>,
    pub hashes: bool,
    pub merges: bool,
    pub comment: Option<String>,
}

/// A row of `pg_amop`.
#[derive(Clone, Debug, Deserialize)]
pub struct MemberOperator {
    pub number: i16,
    /// With its types.
    pub operator: String,
    /// The family by which it orders.
    pub sort: Option<String>,
}

/// A row of `pg_amproc`.
#[derive(Clone, Debug, Deserialize)]
pub struct MemberFunction {
    pub number: i16,
    /// With its types.
    pub function: String,
    pub left: String,
    pub right: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct OperatorFamilyRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// The access method.
    pub method: String,
    /// Those that belong to no class of it.
    pub operators: Option<Vec<MemberOperator>>,
    pub functions: Option<Vec<MemberFunction>>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct OperatorClassRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// The access method.
    pub method: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub default: bool,
    /// The type that the index stores, where it is another one.
    pub key_type: Option<String>,
    /// Quoted and qualified.
    pub family: String,
    pub operators: Option<Vec<MemberOperator>>,
    pub functions: Option<Vec<MemberFunction>>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct CastRow {
    pub oid: Oid,
    pub source: String,
    pub target: String,
    /// With its types.
    pub function: Option<String>,
    /// `e`xplicit, on `a`ssignment, or `i`mplicit.
    pub context: String,
    /// By `f`unction, by `i`nput and output, or `b`inary.
    pub method: String,
    pub comment: Option<String>,
}
