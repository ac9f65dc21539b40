//! What a database has of what was asked for.

use std::collections::BTreeMap;

use godwit_pg_catalog::server_version;
use godwit_pg_catalog::sql::literal;
use godwit_sdk::prelude::*;

use crate::TARGET;
use crate::params::{Params, split};

/// What the decisions rest on; kept by a memo, because the step changes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// `server_version_num`.
    pub server: u32,
    /// Version and schema of the extension in the database.
    pub installed: Option<(String, String)>,
    /// The newest version that the server could install.
    pub available: Option<String>,
    /// Types of columns, by `schema.table` and name. A table that isn't there has no entry.
    pub tables: BTreeMap<String, BTreeMap<String, String>>,
    /// Definitions of indexes, by `schema.name`; an invalid one has an empty definition.
    pub indexes: BTreeMap<String, String>,
}

/// Reads what the params speak of in two round trips.
pub fn read<H: Host>(host: &H, params: &Params) -> Result<State> {
    #[derive(Deserialize)]
    struct Row {
        kind: String,
        name: String,
        first: Option<String>,
        second: Option<String>,
    }
    let mut names: Vec<&str> =
        params.embeddings.iter().flat_map(|e| [e.table.as_str(), e.of.as_str()]).collect();
    names.extend(params.columns.iter().map(|c| c.table.as_str()));
    names.extend(params.indexes.iter().map(|i| i.table.as_str()));
    let list: Vec<String> = names
        .iter()
        .map(|name| {
            let (schema, table) = split(name);
            literal(&format!("{schema}.{table}"))
        })
        .chain(std::iter::once("''".to_owned()))
        .collect();
    let list = list.join(", ");
    let sql = format!(
        "SELECT 'installed' AS kind, x.extname::text AS name, x.extversion::text AS first, n.nspname::text AS second \
           FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace WHERE x.extname = 'vector' \
         UNION ALL SELECT 'available', a.name::text, a.default_version::text, NULL FROM pg_available_extensions a \
           WHERE a.name = 'vector' \
         UNION ALL SELECT 'column', n.nspname || '.' || c.relname, a.attname::text, format_type(a.atttypid, a.atttypmod) \
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
           LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
           WHERE c.relkind IN ('r', 'p') AND n.nspname || '.' || c.relname IN ({list}) \
         UNION ALL SELECT 'index', n.nspname || '.' || i.relname, \
             CASE WHEN x.indisvalid THEN pg_get_indexdef(x.indexrelid) ELSE '' END, NULL \
           FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid \
           JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname || '.' || c.relname IN ({list})"
    );
    let mut state = State { server: server_version(host, TARGET)?, ..State::default() };
    for Row { kind, name, first, second } in host.select::<Row>(TARGET, &sql, &[])? {
        match kind.as_str() {
            "installed" => state.installed = first.zip(second),
            "available" => state.available = first,
            "column" => {
                let columns = state.tables.entry(name).or_default();
                columns.extend(first.zip(second));
            }
            _ => drop(state.indexes.insert(name, first.unwrap_or_default())),
        }
    }
    Ok(state)
}
