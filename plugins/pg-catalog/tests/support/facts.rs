//! What a server that has nothing to complain of answers to a preflight.

use serde_json::{Value, json};

/// The query's mark, and its row.
pub const QUERY: &str = "max_wal_size";

pub fn facts() -> Value {
    json!({
        "version": 160_004, "database": "shop", "user": "postgres", "standby": false, "read_only": false,
        "encoding": "UTF8", "collate": "C", "ctype": "C", "provider": "c", "icu_locale": null, "bytes": 8_000_000,
        "max_wal_size": 1_073_741_824, "connections": { "free": 90, "bound": "`max_connections` is 100" },
        "may_create": true, "may_create_roles": true, "has_markers": false, "prepared": [], "slots": [],
        "outdated_collations": []
    })
}
