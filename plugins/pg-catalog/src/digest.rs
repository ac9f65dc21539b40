//! Counting and digesting the rows of tables inside of the server.

use std::collections::BTreeMap;

use godwit_sdk::host::{Host, HostExt};
use godwit_sdk::types::{Question, Result};
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
    /// The sum of a 64-bit hash of each row's text, as a decimal number.
    pub sum: String,
}

/// The digests of tables in several slots, by `schema.name`, in the order of `sides`. All are asked for at once; small
/// tables share a query: up to 50 of them, or 64 MiB.
pub fn digests<H: Host>(
    host: &H,
    sides: &[(&str, Vec<Digestible>)],
) -> Result<Vec<BTreeMap<String, TableDigest>>> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
        #[serde(flatten)]
        digest: TableDigest,
    }
    let mut questions = Vec::new();
    let mut whose = Vec::new();
    for (side, (slot, tables)) in sides.iter().enumerate() {
        for batch in batches(tables) {
            let sql = batch.iter().map(query).collect::<Vec<_>>().join("\nUNION ALL\n");
            questions.push(Question { slot: (*slot).to_owned(), sql, params: Vec::new() });
            whose.push(side);
        }
    }
    let mut found = vec![BTreeMap::new(); sides.len()];
    for (side, rows) in whose.into_iter().zip(host.ask::<Row>(&questions)?) {
        found[side].extend(rows.into_iter().map(|row| (row.name, row.digest)));
    }
    Ok(found)
}

/// The largest first, so that nothing long is begun when all else is done.
fn batches(tables: &[Digestible]) -> Vec<Vec<&Digestible>> {
    let mut tables: Vec<&Digestible> = tables.iter().collect();
    tables.sort_by_key(|table| std::cmp::Reverse(table.bytes));
    let mut batches: Vec<Vec<&Digestible>> = Vec::new();
    let mut bytes = 0_u64;
    for table in tables {
        let size = table.bytes.max(1);
        match batches.last_mut() {
            Some(batch) if batch.len() < TABLES && bytes.saturating_add(size) <= BYTES => {
                bytes += size;
                batch.push(table);
            }
            _ => {
                bytes = size;
                batches.push(vec![table]);
            }
        }
    }
    batches
}

/// Where the rows of a table come from.
pub fn from(table: &Digestible) -> String {
    let only = if table.only { "ONLY " } else { "" };
    format!("FROM {only}{} AS godwit", qualified(&table.schema, &table.name))
}

/// The hash of a row's text. `hashtextextended` is the same on every major and platform of one byte order; the "C"
/// collation keeps locales out. One hash and no subquery, so that the text is made once, and in parallel workers.
pub fn hash(table: &Digestible) -> String {
    // The table's own order needs no names of columns, which a host may take for those of functions it denies.
    let columns = match &table.columns {
        Some(columns) => idents(columns.iter().map(String::as_str)),
        None => "godwit.*".to_owned(),
    };
    format!("hashtextextended(ROW({columns})::text COLLATE pg_catalog.\"C\", 1735353463)")
}

/// The columns of a [`TableDigest`]. The sum of `bigint` is exact, as a `numeric`.
pub fn sums(table: &Digestible) -> String {
    format!("count(*) AS rows, COALESCE(sum({}), 0)::text AS sum", hash(table))
}

fn query(table: &&Digestible) -> String {
    let name = literal(&format!("{}.{}", table.schema, table.name));
    format!("SELECT {name} AS name, {} {}", sums(table), from(table))
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
            Some(Ok(rows.map(|name| json!({"name": name, "rows": 1, "sum": "2"})).collect()))
        });
        let tables = vec![table("a", 10), table("b", 20), table("c", u64::MAX)];
        let found = digests(&host, &[("source", tables.clone()), ("target", tables)]).unwrap();
        assert_eq!(found.iter().map(BTreeMap::len).collect::<Vec<_>>(), [3, 3]);
        assert_eq!(host.queries().len(), 4);
    }
}
