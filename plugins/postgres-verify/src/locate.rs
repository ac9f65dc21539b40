//! Where two tables differ: ranges of the key, and the keys themselves as far as they are few.
//!
//! A table whose digests differ is cut into ranges of the first column of its primary key, whose digests are compared
//! again, and so on down to ranges that are small. Both servers order texts by their bytes for that, since their locales
//! may differ. A table without a key is cut by the hashes of its rows.

use std::collections::BTreeMap;

use godwit_pg_catalog::digest::{self, Digestible, TableDigest};
use godwit_pg_catalog::sql::{ident, literal, qualified};
use godwit_sdk::prelude::*;

use crate::{SOURCE, TARGET};

/// A range with fewer rows isn't cut any more.
const SMALL: u64 = 4096;
/// About as many rows has a range that a table is cut into; and how many ranges at most.
const CHUNK: u64 = 1024;
const CHUNKS: u64 = 128;
/// Ranges that are cut again, in one table.
const CUTS: u32 = 12;
/// Rows whose keys are read, in one table, from either side.
const KEYS_READ: u64 = 100_000;
/// What is named of one table.
const RANGES_NAMED: usize = 64;
const KEYS_NAMED: usize = 20;

/// Where a table differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Located {
    /// The first column of the primary key; none where there is no key, or where the sides have different ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// In their order; together they hold every difference.
    pub ranges: Vec<KeyRange>,
    /// Whether the rows of all ranges were compared one by one. Otherwise what follows is a part of the differences.
    pub complete: bool,
    /// Rows that only the source has, that only the target has, and that have the same key on both sides and differ.
    pub missing: u64,
    pub extra: u64,
    pub changed: u64,
    /// The first of them; empty where there is no key.
    pub keys: Vec<DifferentKey>,
}

/// Rows from a value of the key's first column on, up to but without another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRange {
    /// None from the beginning on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// None up to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    pub source_rows: u64,
    pub target_rows: u64,
}

/// The key of a row that differs, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DifferentKey {
    pub key: String,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Only the source has it.
    Missing,
    /// Only the target has it.
    Extra,
    Changed,
}

/// A table on both sides.
pub struct Sides<'a> {
    pub source: &'a Digestible,
    pub target: &'a Digestible,
}

/// A column of a primary key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KeyColumn {
    name: String,
    /// Below a domain, without a length.
    r#type: String,
    /// It has a collation.
    text: bool,
}

#[derive(Deserialize)]
struct Chunk {
    chunk: i64,
    #[serde(flatten)]
    digest: TableDigest,
}

/// The columns of the primary key, where both sides have the same.
pub fn key<H: Host>(host: &H, sides: &Sides<'_>) -> Result<Vec<KeyColumn>> {
    let query = |table: &Digestible| {
        format!(
            "SELECT a.attname AS name, a.attcollation <> 0 AS text,
                pg_catalog.format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, -1) AS type
             FROM pg_catalog.pg_index i
             CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k(number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
             JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
             WHERE i.indrelid = {}::pg_catalog.regclass AND i.indisprimary AND i.indisvalid AND k.place <= i.indnkeyatts
             ORDER BY k.place",
            literal(&qualified(&table.schema, &table.name))
        )
    };
    let [ours, theirs] = ask::<_, KeyColumn>(host, sides, query)?;
    Ok(if ours == theirs { ours } else { Vec::new() })
}

/// What a query of each side answers, asked at the same time; no more than a few thousand rows.
fn ask<H: Host, T: serde::de::DeserializeOwned>(
    host: &H,
    sides: &Sides<'_>,
    query: impl Fn(&Digestible) -> String,
) -> Result<[Vec<T>; 2]> {
    let question = |slot: &str, table: &Digestible| Question {
        slot: slot.to_owned(),
        sql: query(table),
        params: Vec::new(),
    };
    let mut read = host.ask(&[question(SOURCE, sides.source), question(TARGET, sides.target)])?.into_iter();
    Ok([read.next().unwrap_or_default(), read.next().unwrap_or_default()])
}

/// The same for as many rows as there are, page by page.
fn read<H: Host, T: serde::de::DeserializeOwned>(
    host: &H,
    sides: &Sides<'_>,
    query: impl Fn(&Digestible) -> String,
) -> Result<[Vec<T>; 2]> {
    Ok([host.select(SOURCE, &query(sides.source), &[])?, host.select(TARGET, &query(sides.target), &[])?])
}

/// Finds where the rows differ.
pub fn locate<H: Host>(host: &H, sides: &Sides<'_>, rows: [u64; 2]) -> Result<Located> {
    let key = key(host, sides)?;
    let whole = KeyRange { source_rows: rows[0], target_rows: rows[1], ..KeyRange::default() };
    let Some(first) = key.first() else { return by_hash(host, sides, whole) };
    let mut cutter = Cutter { host, sides, column: first, cuts: CUTS };
    let ranges = cutter.cut(whole)?;
    let mut located = Located { column: Some(first.name.clone()), complete: true, ..Located::default() };
    let mut read = 0;
    for range in &ranges {
        read += range.source_rows.max(range.target_rows);
        if read > KEYS_READ {
            located.complete = false;
            break;
        }
        by_key(host, sides, &key, range, &mut located)?;
    }
    located.ranges = merged(ranges);
    Ok(located)
}

/// A boolean expression over the table's columns that is true of a range's rows.
pub fn condition(column: &KeyColumn, range: &KeyRange) -> String {
    let bound = |sign: &str, value: &Option<String>| {
        value
            .as_ref()
            .map(|value| format!("{} {sign} {}::{}", column.expression(), literal(value), column.r#type))
    };
    let bounds: Vec<String> =
        [bound(">=", &range.from), bound("<", &range.to)].into_iter().flatten().collect();
    if bounds.is_empty() { "true".to_owned() } else { bounds.join(" AND ") }
}

impl KeyColumn {
    /// The column's value in an order that both servers share.
    fn expression(&self) -> String {
        let name = ident(&self.name);
        let value = format!("({name}::{})", self.r#type);
        if self.text { format!("{value} COLLATE pg_catalog.\"C\"") } else { value }
    }
}

struct Cutter<'a, H> {
    host: &'a H,
    sides: &'a Sides<'a>,
    column: &'a KeyColumn,
    cuts: u32,
}

impl<H: Host> Cutter<'_, H> {
    /// The ranges within this one that differ, in order.
    fn cut(&mut self, range: KeyRange) -> Result<Vec<KeyRange>> {
        let rows = range.source_rows.max(range.target_rows);
        if rows <= SMALL || self.cuts == 0 {
            return Ok(vec![range]);
        }
        self.cuts -= 1;
        let bounds = self.bounds(&range)?;
        if bounds.is_empty() {
            return Ok(vec![range]);
        }
        let differing = self.differing(&range, &bounds)?;
        let mut found = Vec::new();
        for part in differing {
            // A part that is the whole again holds one value of the column.
            let whole = (&part.from, &part.to) == (&range.from, &range.to);
            if whole { found.push(part) } else { found.extend(self.cut(part)?) }
        }
        Ok(found)
    }

    /// Values of the source's column that cut a range into about equal parts.
    fn bounds(&self, range: &KeyRange) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Row {
            bounds: Option<Vec<String>>,
        }
        // Rows that only the target has lie somewhere between those of the source, or are one part.
        let parts = range.source_rows.div_ceil(CHUNK).clamp(1, CHUNKS);
        let at: Vec<String> = (1..parts).map(|part| (part as f64 / parts as f64).to_string()).collect();
        if at.is_empty() {
            return Ok(Vec::new());
        }
        let table = self.sides.source;
        let sql = format!(
            "SELECT (percentile_disc(ARRAY[{}]::pg_catalog.float8[]) WITHIN GROUP (ORDER BY {}))::pg_catalog.text[] AS bounds
             FROM {}{} WHERE {}",
            at.join(", "),
            self.column.expression(),
            if table.only { "ONLY " } else { "" },
            qualified(&table.schema, &table.name),
            condition(self.column, range)
        );
        let rows: Vec<Row> = self.host.select(SOURCE, &sql, &[])?;
        let mut bounds = rows.into_iter().next().and_then(|row| row.bounds).unwrap_or_default();
        bounds.dedup();
        bounds.retain(|bound| Some(bound) != range.from.as_ref());
        Ok(bounds)
    }

    fn differing(&self, range: &KeyRange, bounds: &[String]) -> Result<Vec<KeyRange>> {
        let values: Vec<String> = bounds.iter().map(|bound| literal(bound)).collect();
        let chunk = format!(
            "width_bucket({}, ARRAY[{}]::{}[])",
            self.column.expression(),
            values.join(", "),
            self.column.r#type
        );
        let [ours, theirs] =
            chunks(self.host, self.sides, |_| chunk.clone(), &condition(self.column, range))?;
        let edge = |at: i64| usize::try_from(at).ok().and_then(|at| bounds.get(at)).cloned();
        Ok((0..=bounds.len() as i64)
            .filter(|chunk| ours.get(chunk) != theirs.get(chunk))
            .map(|chunk| KeyRange {
                from: if chunk == 0 { range.from.clone() } else { edge(chunk - 1) },
                to: edge(chunk).or_else(|| range.to.clone()),
                source_rows: ours.get(&chunk).map_or(0, |digest| digest.rows),
                target_rows: theirs.get(&chunk).map_or(0, |digest| digest.rows),
            })
            .collect())
    }
}

/// The digests of the parts that an expression cuts a table's rows into, by side.
fn chunks<H: Host>(
    host: &H,
    sides: &Sides<'_>,
    chunk: impl Fn(&Digestible) -> String,
    condition: &str,
) -> Result<[BTreeMap<i64, TableDigest>; 2]> {
    let query = |table: &Digestible| {
        format!(
            "SELECT ({})::pg_catalog.int8 AS chunk, {} {} WHERE {condition} GROUP BY 1",
            chunk(table),
            digest::sums(table),
            digest::from(table)
        )
    };
    Ok(ask::<_, Chunk>(host, sides, query)?
        .map(|rows| rows.into_iter().map(|row| (row.chunk, row.digest)).collect()))
}

/// Compares the rows of a range one by one, by their key.
fn by_key<H: Host>(
    host: &H,
    sides: &Sides<'_>,
    key: &[KeyColumn],
    range: &KeyRange,
    located: &mut Located,
) -> Result<()> {
    #[derive(Deserialize)]
    struct Row {
        key: String,
        hash: String,
    }
    let Some(first) = key.first() else { return Ok(()) };
    let names: Vec<String> = key.iter().map(|column| ident(&column.name)).collect();
    let text = match names.as_slice() {
        [name] => format!("{name}::pg_catalog.text"),
        names => format!("ROW({})::pg_catalog.text", names.join(", ")),
    };
    let query = |table: &Digestible| {
        format!(
            "SELECT {text} AS key, {}::pg_catalog.text AS hash {} WHERE {} ORDER BY {}",
            digest::hash(table),
            digest::from(table),
            condition(first, range),
            first.expression()
        )
    };
    let [ours, theirs] = read::<_, Row>(host, sides, query)?;
    let mut left: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in &theirs {
        left.entry(&row.key).or_default().push(&row.hash);
    }
    let mut note = |key: &str, what: What| {
        match what {
            What::Missing => located.missing += 1,
            What::Extra => located.extra += 1,
            What::Changed => located.changed += 1,
        }
        if located.keys.len() < KEYS_NAMED {
            located.keys.push(DifferentKey { key: key.to_owned(), what });
        }
    };
    for row in &ours {
        match left.get_mut(row.key.as_str()) {
            None => note(&row.key, What::Missing),
            Some(there) => {
                // The same row, or any: the target may hold a key twice.
                let same = there.iter().position(|hash| *hash == row.hash);
                match same.or_else(|| (!there.is_empty()).then_some(0)) {
                    Some(at) => {
                        there.swap_remove(at);
                        if same.is_none() {
                            note(&row.key, What::Changed);
                        }
                    }
                    None => note(&row.key, What::Missing),
                }
            }
        }
    }
    // In the order of the target's keys.
    for row in &theirs {
        if left.get_mut(row.key.as_str()).is_some_and(|rest| rest.pop().is_some()) {
            note(&row.key, What::Extra);
        }
    }
    Ok(())
}

/// Without a key: how many rows either side has for itself.
fn by_hash<H: Host>(host: &H, sides: &Sides<'_>, whole: KeyRange) -> Result<Located> {
    #[derive(Deserialize)]
    struct Row {
        hash: String,
        rows: u64,
    }
    let bucket = |table: &Digestible| format!("{} & 1023", digest::hash(table));
    let [ours, theirs] = chunks(host, sides, bucket, "true")?;
    let differing: Vec<i64> = (0..1024).filter(|bucket| ours.get(bucket) != theirs.get(bucket)).collect();
    let rows = |side: &BTreeMap<i64, TableDigest>| -> u64 {
        differing.iter().filter_map(|bucket| side.get(bucket)).map(|digest| digest.rows).sum()
    };
    let mut located = Located { ranges: vec![whole], ..Located::default() };
    if rows(&ours).max(rows(&theirs)) > KEYS_READ {
        return Ok(located);
    }
    let list: Vec<String> = differing.iter().map(i64::to_string).collect();
    let query = |table: &Digestible| {
        format!(
            "SELECT {}::pg_catalog.text AS hash, count(*) AS rows {} WHERE {} IN ({}) GROUP BY 1",
            digest::hash(table),
            digest::from(table),
            bucket(table),
            list.join(", ")
        )
    };
    let [ours, theirs] = read::<_, Row>(host, sides, query)?;
    let mut rows: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (side, list) in [&ours, &theirs].into_iter().enumerate() {
        for row in list {
            rows.entry(&row.hash).or_default()[side] += row.rows;
        }
    }
    for [here, there] in rows.values() {
        located.missing += here.saturating_sub(*there);
        located.extra += there.saturating_sub(*here);
    }
    located.complete = true;
    Ok(located)
}

/// Ranges that touch each other are one; what is too many to be named goes with the last one.
fn merged(ranges: Vec<KeyRange>) -> Vec<KeyRange> {
    let mut merged: Vec<KeyRange> = Vec::new();
    for range in ranges {
        let full = merged.len() >= RANGES_NAMED;
        match merged.last_mut() {
            Some(last) if full || (last.to.is_some() && last.to == range.from) => {
                last.to = range.to;
                last.source_rows += range.source_rows;
                last.target_rows += range.target_rows;
            }
            _ => merged.push(range),
        }
    }
    merged
}

impl Located {
    /// The differences in words: `2 changed, 1 missing; `id` from 40 up to 60; keys 45 (missing), 50 (changed)`.
    pub fn sentence(&self) -> String {
        let mut parts = Vec::new();
        let counts: Vec<String> =
            [(self.changed, "changed"), (self.missing, "missing"), (self.extra, "extra")]
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!("{count} {what}"))
                .collect();
        if !counts.is_empty() {
            let more = if self.complete { "" } else { " at least" };
            parts.push(counts.join(", ") + more);
        }
        if let Some(column) = &self.column {
            let ranges: Vec<String> = self.ranges.iter().take(8).map(KeyRange::words).collect();
            let more = if self.ranges.len() > ranges.len() { ", …" } else { "" };
            parts.push(format!("`{column}` {}{more}", ranges.join(", ")));
        }
        if !self.keys.is_empty() {
            let keys: Vec<String> =
                self.keys.iter().map(|key| format!("{} ({})", short(&key.key), key.what.word())).collect();
            let all = self.missing + self.extra + self.changed;
            let more = if all > keys.len() as u64 { ", …" } else { "" };
            parts.push(format!("keys {}{more}", keys.join(", ")));
        }
        parts.join("; ")
    }
}

impl KeyRange {
    fn words(&self) -> String {
        match (&self.from, &self.to) {
            (None, None) => "in the whole table".to_owned(),
            (Some(from), None) => format!("from {} on", short(from)),
            (None, Some(to)) => format!("below {}", short(to)),
            (Some(from), Some(to)) => format!("from {} up to {}", short(from), short(to)),
        }
    }
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Changed => "changed",
        }
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= 60 {
        text.to_owned()
    } else {
        text.chars().take(59).chain("…".chars()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: Option<&str>, to: Option<&str>) -> KeyRange {
        let text = |bound: Option<&str>| bound.map(str::to_owned);
        KeyRange { from: text(from), to: text(to), source_rows: 1, target_rows: 1 }
    }

    #[test]
    fn ranges_that_touch_are_one_and_nothing_is_lost_when_they_are_many() {
        let joined =
            merged(vec![range(None, Some("5")), range(Some("5"), Some("9")), range(Some("12"), None)]);
        assert_eq!(joined.len(), 2);
        assert_eq!((joined[0].to.as_deref(), joined[0].source_rows), (Some("9"), 2));
        let many: Vec<KeyRange> =
            (0..100).map(|i| range(Some(&(2 * i).to_string()), Some(&(2 * i + 1).to_string()))).collect();
        let few = merged(many);
        assert_eq!(few.len(), RANGES_NAMED);
        assert_eq!(few.last().and_then(|last| last.to.as_deref()), Some("199"));
        assert_eq!(few.iter().map(|range| range.source_rows).sum::<u64>(), 100);
    }

    #[test]
    fn conditions_quote_what_the_key_holds() {
        let column = KeyColumn { name: "a b".into(), r#type: "text".into(), text: true };
        let words = condition(&column, &range(Some("it's"), None));
        assert_eq!(words, "(\"a b\"::text) COLLATE pg_catalog.\"C\" >= 'it''s'::text");
        assert_eq!(condition(&column, &range(None, None)), "true");
    }
}
