//! Rows of owners and privileges.

use serde::Deserialize;

use super::Oid;

/// The grantee (empty for PUBLIC), the privilege as GRANT calls it, and whether it may be handed on.
pub type Granted = (String, String, bool);

#[derive(Clone, Debug, Deserialize)]
pub struct OwnerRow {
    /// The catalog that the object is in.
    pub class: String,
    pub oid: Oid,
    pub owner: String,
    /// It is the role that initdb made, or the one that stands for the database's owner.
    pub initial: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct PrivilegesRow {
    /// The catalog that the object is in.
    pub class: String,
    pub oid: Oid,
    /// As GRANT calls it: `TABLE public.users`.
    pub object: String,
    pub column: Option<String>,
    /// The extension that the object belongs to.
    pub extension: Option<Oid>,
    /// The object is the server's own.
    pub system: bool,
    pub owner: String,
    /// In the order of the access list.
    pub granted: Option<Vec<Granted>>,
    /// What an object of this kind has from the start.
    pub usual: Option<Vec<Granted>>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DefaultPrivilegesRow {
    pub oid: Oid,
    /// For what this role makes.
    pub role: String,
    pub namespace: Option<Oid>,
    pub schema: Option<String>,
    /// `r`elation, `S`equence, `f`unction, `T`ype, `n`amespace, `L`arge object.
    pub kind: String,
    pub granted: Option<Vec<Granted>>,
    /// What such an object has without this row.
    pub usual: Option<Vec<Granted>>,
}
