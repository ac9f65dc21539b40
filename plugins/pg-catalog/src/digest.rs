//! Counting and digesting the rows of tables inside of the server.

use std::collections::BTreeMap;

use godwit_sdk::host::{Host, HostExt};
use godwit_sdk::types::Result;
use serde::Deserialize;

use crate::sql::{idents, literal, qualified};

/// Tables of one query, at most, and the bytes after which a query takes no more tables.
const TABLES: usize = 50;
const BYTES: u64 = 64 << 20;

/// A table to digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digestible {
    pub schema: String,
    pub name: String,
    /// In the order in which they enter the digest; none for the table's own order.
    pub columns: Option<Vec<String>>,
    /// Without the rows of tables that inherit from it.
    pub only: bool,
    /// About how much there is to read.
    pub bytes: u64,
}

/// What a table holds: equal contents give equal values, whatever the order of the rows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TableDigest {
    pub rows: u64,
    /// Sums of two seeded 64-bit hashes of each row's text, as decimal numbers.
    pub first: String,
    pub second: String,
}

/// The digest of each table, by `schema.name`. One round trip for up to 50 tables or 64 MiB.
pub fn digests<H: Host>(
    host: &H,
    slot: &str,
    tables: &[Digestible],
) -> Result<BTreeMap<String, TableDigest>> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
        #[serde(flatten)]
        digest: TableDigest,
    }
    let mut found = BTreeMap::new();
    let mut rest = tables;
    while !rest.is_empty() {
        let mut bytes = 0_u64;
        let count = rest
            .iter()
            .take(TABLES)
            .take_while(|table| {
                let room = bytes == 0 || bytes.saturating_add(table.bytes) <= BYTES;
                bytes = bytes.saturating_add(table.bytes.max(1));
                room
            })
            .count()
            .max(1);
        let (batch, later) = rest.split_at(count);
        let sql = batch.iter().map(query).collect::<Vec<_>>().join("\nUNION ALL\n");
        for row in host.select::<Row>(slot, &sql, &[])? {
            found.insert(row.name, row.digest);
        }
        rest = later;
        host.progress("digests", found.len() as u64, Some(tables.len() as u64), "tables");
    }
    Ok(found)
}

/// `hashtextextended` is the same on every major and platform of one byte order; the "C" collation keeps locales out.
fn query(table: &Digestible) -> String {
    // The table's own order needs no names of columns, which a host may take for those of functions it denies.
    let columns = match &table.columns {
        Some(columns) => idents(columns.iter().map(String::as_str)),
        None => "godwit.*".to_owned(),
    };
    let row = format!("(ROW({columns})::text COLLATE pg_catalog.\"C\")");
    let sum = |seed: u32| format!("COALESCE(sum(hashtextextended({row}, {seed})::numeric), 0)::text");
    format!(
        "SELECT {} AS name, count(*) AS rows, {} AS first, {} AS second FROM {}{} AS godwit",
        literal(&format!("{}.{}", table.schema, table.name)),
        sum(0),
        sum(0x676f_6477),
        if table.only { "ONLY " } else { "" },
        qualified(&table.schema, &table.name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_sdk::mock::MockHost;
    use godwit_sdk::serde_json::json;

    #[test]
    fn small_tables_share_a_query_and_large_ones_have_their_own() {
        let table = |name: &str, bytes: u64| Digestible {
            schema: "public".into(),
            name: name.into(),
            columns: (name == "a").then(|| vec!["a".into()]),
            only: true,
            bytes,
        };
        let host = MockHost::new().on_query(|query| {
            let names = query.sql.matches("AS name").count();
            assert!(names > 0);
            let all = ["public.a", "public.b", "public.c"];
            let rows = all.iter().filter(|name| query.sql.contains(&format!("'{name}'")));
            Some(Ok(rows.map(|name| json!({"name": name, "rows": 1, "first": "2", "second": "3"})).collect()))
        });
        let found =
            digests(&host, "source", &[table("a", 10), table("b", 20), table("c", u64::MAX)]).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(host.queries().len(), 2);
    }
}
