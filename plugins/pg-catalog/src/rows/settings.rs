//! Rows of settings.

use serde::Deserialize;

/// A setting of the database.
#[derive(Clone, Debug, Deserialize)]
pub struct SettingRow {
    /// Of this role in it.
    pub role: Option<String>,
    pub name: String,
    /// As `pg_db_role_setting` has it.
    pub value: String,
}
