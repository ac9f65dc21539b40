//! Emptying tables that a run filled: by one TRUNCATE of exactly that set, else by DELETE; never CASCADE.

use std::collections::BTreeSet;

use godwit_model::Result;
use serde::{Deserialize, Serialize};

use crate::large_objects;
use crate::quote::{literal, qualified};
use crate::wire::Wire;

/// A table, and what of it came from this run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    pub schema: String,
    pub name: String,
    /// Rows that were copied into it.
    pub rows: u64,
    /// The loading transactions, as `txid_current()` numbers them.
    pub xids: Vec<u64>,
    /// It held rows before; only ours may go.
    pub found_rows: bool,
}

impl Filled {
    pub fn sql(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    pub fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    fn are_large_objects(&self) -> bool {
        large_objects::are(&self.schema, &self.name)
    }

    /// `xmin` shows the lower half of a transaction's number.
    pub fn ours(&self) -> String {
        let xids: BTreeSet<String> = self.xids.iter().map(|xid| (xid & 0xffff_ffff).to_string()).collect();
        format!("(xmin::text::bigint = ANY ('{{{}}}'))", Vec::from_iter(xids).join(","))
    }
}

/// How a table stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// Absent: somebody dropped the table.
    kind: Option<char>,
    /// A foreign key of a table outside of the set points at it.
    referenced: bool,
    /// Indexes of the set's tables whose foreign keys point at it.
    referencing: Vec<usize>,
}

async fn states(session: &mut Wire, tables: &[Filled]) -> Result<Vec<State>> {
    let values: Vec<String> = tables
        .iter()
        .enumerate()
        .map(|(index, table)| format!("({index}, pg_catalog.to_regclass({})::oid)", literal(&table.sql())))
        .collect();
    let sql = format!(
        "WITH t(i, oid) AS (VALUES {})
         SELECT t.i::text, c.relkind::text,
           EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.confrelid = t.oid
                   AND NOT EXISTS (SELECT 1 FROM t o WHERE o.oid = k.conrelid))::text,
           coalesce((SELECT pg_catalog.string_agg(o.i::text, ',') FROM t o JOIN pg_catalog.pg_constraint k
                     ON k.conrelid = o.oid AND k.contype = 'f' AND k.confrelid = t.oid AND o.i <> t.i), '')
         FROM t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.oid ORDER BY t.i",
        values.join(", ")
    );
    let replies = session.simple(&sql).await?;
    let rows = replies.into_iter().flat_map(|reply| reply.rows);
    Ok(rows
        .map(|row| State {
            kind: row.get(1).and_then(|kind| kind.as_deref()).and_then(|kind| kind.chars().next()),
            referenced: row.get(2).and_then(Option::as_deref) == Some("true"),
            referencing: row
                .get(3)
                .and_then(Option::as_deref)
                .map(|list| list.split(',').filter_map(|i| i.parse().ok()).collect())
                .unwrap_or_default(),
        })
        .collect())
}

/// The name with ONLY, but for a partitioned table, which holds no rows of its own.
fn only(table: &Filled, state: &State) -> String {
    if state.kind == Some('p') { table.sql() } else { format!("ONLY {}", table.sql()) }
}

/// Those that are tables indeed.
fn tables_alone(tables: &[Filled]) -> Vec<Filled> {
    tables.iter().filter(|table| !table.are_large_objects()).cloned().collect()
}

/// Unlinks large objects, if they are among what was filled: beforehand, in transactions of its own, since each object
/// takes a lock. Unless `discard`, it is a conflict where others have made or changed some; the answer says which.
pub async fn unlink(session: &mut Wire, tables: &[Filled], discard: bool) -> Result<Vec<String>> {
    let objects: Vec<Filled> = tables.iter().filter(|table| table.are_large_objects()).cloned().collect();
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let changed = if discard { Vec::new() } else { changes(session, &objects).await? };
    if changed.is_empty() {
        large_objects::unlink(session).await?;
    }
    Ok(changed)
}

/// The statements that empty the tables, to be run in one transaction. Tables that are gone are passed over, and so are
/// large objects: see [`unlink`].
pub async fn statements(session: &mut Wire, tables: &[Filled]) -> Result<Vec<String>> {
    let tables = &tables_alone(tables)[..];
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let states = states(session, tables).await?;
    let there: Vec<usize> =
        (0..tables.len()).filter(|i| states.get(*i).is_some_and(|s| s.kind.is_some())).collect();
    let whole = there.iter().all(|i| !tables[*i].found_rows && !states[*i].referenced);
    if there.is_empty() {
        return Ok(Vec::new());
    }
    if whole {
        let names: Vec<String> = there.iter().map(|i| only(&tables[*i], &states[*i])).collect();
        return Ok(vec![format!("TRUNCATE {}", names.join(", "))]);
    }
    let mut statements = vec!["SET CONSTRAINTS ALL DEFERRED".to_owned()];
    for index in referencing_first(&there, &states) {
        let (table, state) = (&tables[index], &states[index]);
        let condition = if table.found_rows { format!(" WHERE {}", table.ours()) } else { String::new() };
        statements.push(format!("DELETE FROM {}{condition}", only(table, state)));
    }
    Ok(statements)
}

/// The statement that keeps everybody else out of the tables; `None` where none is left.
pub async fn lock(session: &mut Wire, tables: &[Filled]) -> Result<Option<String>> {
    let tables = &tables_alone(tables)[..];
    if tables.is_empty() {
        return Ok(None);
    }
    let states = states(session, tables).await?;
    let there = tables.iter().zip(&states).filter(|(_, state)| state.kind.is_some());
    let names: Vec<String> = there.map(|(table, state)| only(table, state)).collect();
    Ok((!names.is_empty()).then(|| format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", "))))
}

/// Tables whose rows point at others come before those; within a cycle as they come.
fn referencing_first(there: &[usize], states: &[State]) -> Vec<usize> {
    let mut left: Vec<usize> = there.to_vec();
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let free =
            left.iter().position(|i| states[*i].referencing.iter().all(|r| !left.contains(r))).unwrap_or(0);
        order.push(left.remove(free));
    }
    order
}

/// Rows of a table: all of them, and those that its loading transactions left as they are.
struct Rows<'a> {
    table: &'a Filled,
    all: u64,
    ours: u64,
}

/// Counts the tables that are there.
async fn count<'a>(session: &mut Wire, tables: &'a [Filled]) -> Result<Vec<Rows<'a>>> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let states = states(session, tables).await?;
    let counts: Vec<String> = tables
        .iter()
        .enumerate()
        .filter(|(i, _)| states.get(*i).is_some_and(|state| state.kind.is_some()))
        .map(|(i, table)| {
            let from = match table.are_large_objects() {
                true => large_objects::rows_by_transaction(table.xids.first().copied().unwrap_or(0)),
                false => only(table, &states[i]),
            };
            format!(
                "SELECT {i}::text, pg_catalog.count(*)::text, (pg_catalog.count(*) FILTER (WHERE {}))::text FROM {from}",
                table.ours()
            )
        })
        .collect();
    if counts.is_empty() {
        return Ok(Vec::new());
    }
    let replies = session.simple(&counts.join(" UNION ALL ")).await?;
    let mut found = Vec::new();
    for row in replies.into_iter().flat_map(|reply| reply.rows) {
        let number = |at: usize| row.get(at).and_then(Option::as_deref).and_then(|n| n.parse::<u64>().ok());
        let (Some(index), Some(all), Some(ours)) = (number(0), number(1), number(2)) else { continue };
        let Some(table) = usize::try_from(index).ok().and_then(|i| tables.get(i)) else { continue };
        found.push(Rows { table, all, ours });
    }
    Ok(found)
}

/// What differs between the tables as they were filled and as they are: one line for each that differs.
pub async fn changes(session: &mut Wire, tables: &[Filled]) -> Result<Vec<String>> {
    let mut changes = Vec::new();
    for Rows { table, all, ours } in count(session, tables).await? {
        let foreign = all.saturating_sub(ours);
        if table.are_large_objects() {
            // Fewer are what an emptying that was cut off has left.
            if foreign > 0 || all > table.rows {
                changes.push("others have made or changed large objects".to_owned());
            }
        } else if ours != table.rows {
            changes.push(format!(
                "{}: {} rows were copied, {ours} of them are there unchanged",
                table.label(),
                table.rows
            ));
        } else if foreign > 0 && !table.found_rows {
            changes.push(format!("{}: {foreign} rows came from later transactions", table.label()));
        }
    }
    changes.sort();
    Ok(changes)
}

/// Rows that emptying the tables would take from others: one line for each table that has such. Where a table held rows
/// before, only ours go.
pub async fn strangers(session: &mut Wire, tables: &[Filled]) -> Result<Vec<String>> {
    let mut strangers = Vec::new();
    for Rows { table, all, ours } in count(session, tables).await? {
        if all > ours && !table.found_rows {
            strangers.push(format!("{}: {} rows", table.label(), all - ours));
        }
    }
    strangers.sort();
    Ok(strangers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(referencing: &[usize]) -> State {
        State { kind: Some('r'), referenced: false, referencing: referencing.to_vec() }
    }

    #[test]
    fn rows_that_point_go_first() {
        // 1 and 2 point at 0; 2 points at 1.
        let states = [state(&[1, 2]), state(&[2]), state(&[])];
        assert_eq!(referencing_first(&[0, 1, 2], &states), [2, 1, 0]);
        // A cycle ends all the same.
        assert_eq!(referencing_first(&[0, 1], &[state(&[1]), state(&[0])]).len(), 2);
    }

    #[test]
    fn transactions_are_compared_by_their_lower_half() {
        let filled = Filled {
            schema: "s".into(),
            name: "t".into(),
            rows: 1,
            xids: vec![(1 << 32) + 7, 9],
            found_rows: true,
        };
        assert_eq!(filled.ours(), "(xmin::text::bigint = ANY ('{7,9}'))");
    }
}
