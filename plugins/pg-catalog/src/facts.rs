//! What a server says of itself and of a database, beside the objects in it.

use godwit_sdk::host::{Host, HostExt};
use godwit_sdk::types::{Error, Result};
use serde::Deserialize;

use crate::queries;

/// What a preflight asks of one end.
#[derive(Clone, Debug, Deserialize)]
pub struct Facts {
    /// `server_version_num`.
    pub version: u32,
    pub database: String,
    pub user: String,
    pub standby: bool,
    /// `default_transaction_read_only`: the host's own reads are read-only anyway.
    pub read_only: bool,
    pub encoding: String,
    pub collate: String,
    pub ctype: String,
    /// `c` libc, `i`cu, `b`uiltin.
    pub provider: String,
    pub icu_locale: Option<String>,
    /// Of the database, with its indexes.
    pub bytes: u64,
    /// In bytes.
    pub max_wal_size: u64,
    pub connections: Limit,
    pub may_create: bool,
    /// The user may make roles.
    pub may_create_roles: bool,
    /// The schema of Godwit's own markers is there.
    pub has_markers: bool,
    /// Names of prepared transactions of the database.
    pub prepared: Vec<String>,
    /// Replication slots of the database.
    pub slots: Vec<String>,
    /// Collations in use, whose version in the catalog isn't the system's.
    pub outdated_collations: Vec<String>,
}

/// How many more connections a user may open.
#[derive(Clone, Debug, Deserialize)]
pub struct Limit {
    pub free: i64,
    /// The limit that decides.
    pub bound: String,
}

impl Facts {
    /// Asks a server of this version, in one round trip.
    pub fn read<H: Host>(host: &H, slot: &str, version: u32) -> Result<Self> {
        host.select(slot, &queries::facts(version), &[])?
            .pop()
            .ok_or_else(|| Error::Failed(format!("the server of slot `{slot}` doesn't say what it is")))
    }

    /// The locale in words.
    pub fn locale(&self) -> String {
        let provider = match self.provider.as_str() {
            "i" => "icu ",
            "b" => "builtin ",
            _ => "",
        };
        match &self.icu_locale {
            Some(locale) => format!("{provider}{locale}"),
            None if self.collate == self.ctype => format!("{provider}{}", self.collate),
            None => format!("{provider}{} ({})", self.collate, self.ctype),
        }
    }
}
