//! Rows of large objects.

use serde::Deserialize;

use super::{Granted, Oid};

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct LargeObjectsRow {
    pub count: u64,
    /// Whether the connection's user may read their bytes.
    pub readable: bool,
}

/// Some of them, alike in what is said of them.
#[derive(Clone, Debug, Deserialize)]
pub struct LargeObjectGroup {
    /// In their order.
    pub oids: Vec<Oid>,
    /// Where owners are asked for.
    pub owner: Option<String>,
    /// The owner, asked for or not.
    pub role: String,
    pub comment: Option<String>,
    pub granted: Option<Vec<Granted>>,
    /// What an object has from the start; none where nothing was ever granted.
    pub usual: Option<Vec<Granted>>,
}
