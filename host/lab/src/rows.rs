//! Rows for any schema, made from its catalogs: the same for the same seed on every machine and major.

mod catalog;
mod random;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};

use crate::error::{LabError, Result};
use crate::postgres::PgServer;
use catalog::{ForeignKey, Table};
use random::Random;

/// A table, qualified and quoted, and how many rows it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRows {
    pub table: String,
    pub rows: i64,
}

/// Rows that one statement inserts; a later statement may refer to them.
const BATCH: usize = 25;
/// How often a row that the server refuses is made anew before its table counts as one that can't be filled.
const TRIES: usize = 200;
/// Rows of a table that foreign keys choose from.
const CANDIDATES: usize = 500;

/// Fills every table of a database with up to `wanted` more rows, in the order of their foreign keys, and says how many
/// each holds then, by name. Rows that a unique index refuses are left out, so a table with few possible rows gets
/// fewer. Columns with an identity or a sequence are left to it. A nullable foreign key that lies on a circle is null
/// in the table that is filled first; one to its own table refers to rows made before.
///
/// Values heed types, lengths, NOT NULL, foreign keys and, by trying, checks: of the values that a check names, and
/// others.
///
/// [`LabError::Unfillable`] names a table that stays empty, or a type that isn't known here, and why.
pub async fn fill(server: &PgServer, database: &str, seed: u64, wanted: usize) -> Result<Vec<TableRows>> {
    let sql_error = |source| LabError::Sql { database: database.to_owned(), source };
    let mut connection = server.options(database).connect().await.map_err(sql_error)?;
    let tables = catalog::read(&mut connection).await.map_err(sql_error)?;
    let mut filled = BTreeSet::new();
    let mut counts = Vec::new();
    while filled.len() < tables.len() {
        let table = next(&tables, &filled)?;
        let mut filling = Filling { connection: &mut connection, database, table, filled: &filled, seed };
        filling.fill(wanted).await?;
        let rows = filling.count().await?;
        if rows == 0 && wanted > 0 {
            let why = "every row that was tried met one that is already there".to_owned();
            return Err(LabError::Unfillable { table: table.name.clone(), why });
        }
        counts.push(TableRows { table: table.name.clone(), rows });
        filled.insert(table.oid);
    }
    counts.sort_by(|a, b| a.table.cmp(&b.table));
    connection.close().await.map_err(sql_error)?;
    Ok(counts)
}

/// A table that refers only to filled ones; where there is none, one whose other foreign keys may be null.
fn next<'a>(tables: &'a [Table], filled: &BTreeSet<i64>) -> Result<&'a Table> {
    let open = || tables.iter().filter(|table| !filled.contains(&table.oid));
    let ready = |table: &Table, key: &ForeignKey| key.target == table.oid || filled.contains(&key.target);
    let nullable =
        |table: &Table, key: &ForeignKey| key.columns.iter().any(|at| !table.columns[*at].not_null);
    open()
        .find(|table| table.foreign_keys.iter().all(|key| ready(table, key)))
        .or_else(|| {
            open()
                .find(|table| table.foreign_keys.iter().all(|key| ready(table, key) || nullable(table, key)))
        })
        .ok_or_else(|| {
            let names: Vec<&str> = open().map(|table| table.name.as_str()).collect();
            LabError::Unfillable {
                table: names.join(", "),
                why: "their foreign keys go in a circle, and none of them may be null".to_owned(),
            }
        })
}

struct Filling<'a> {
    connection: &'a mut PgConnection,
    database: &'a str,
    table: &'a Table,
    filled: &'a BTreeSet<i64>,
    seed: u64,
}

/// Per foreign key of the table, the keys it may refer to.
type Candidates = Vec<Vec<Vec<String>>>;

impl Filling<'_> {
    async fn fill(&mut self, wanted: usize) -> Result<()> {
        let mut random = Random::new(self.seed, &self.table.name);
        let mut candidates = Candidates::new();
        for key in &self.table.foreign_keys {
            candidates.push(self.candidates(key).await?);
        }
        let mut left = wanted;
        while left > 0 {
            for (at, key) in self.table.foreign_keys.iter().enumerate() {
                if key.target == self.table.oid {
                    candidates[at] = self.candidates(key).await?;
                }
            }
            let batch = left.min(BATCH);
            let rows = (0..batch).map(|_| self.row(&mut random, &candidates)).collect::<Result<Vec<_>>>()?;
            if self.insert(&rows).await.is_err() {
                self.one_by_one(rows, &mut random, &candidates).await?;
            }
            left -= batch;
        }
        Ok(())
    }

    /// After a batch was refused: each row by itself, made anew until it is taken.
    async fn one_by_one(
        &mut self,
        rows: Vec<String>,
        random: &mut Random,
        candidates: &Candidates,
    ) -> Result<()> {
        let mut refused = 0;
        for mut row in rows {
            while let Err(error) = self.insert(std::slice::from_ref(&row)).await {
                refused += 1;
                if refused > TRIES {
                    let why = format!("{TRIES} rows were refused, the last one with: {error}");
                    return Err(LabError::Unfillable { table: self.table.name.clone(), why });
                }
                row = self.row(random, candidates)?;
            }
        }
        Ok(())
    }

    /// The columns that get values, by position.
    fn columns(&self) -> impl Iterator<Item = usize> {
        let columns = &self.table.columns;
        (0..columns.len()).filter(|at| !columns[*at].left_out)
    }

    /// One row as SQL, in parentheses.
    fn row(&self, random: &mut Random, candidates: &Candidates) -> Result<String> {
        let mut values: BTreeMap<usize, Option<String>> = BTreeMap::new();
        for (at, key) in self.table.foreign_keys.iter().enumerate() {
            self.refer(key, &candidates[at], random, &mut values)?;
        }
        for at in self.columns() {
            if values.contains_key(&at) {
                continue;
            }
            let column = &self.table.columns[at];
            let value = if !column.not_null && random.once_in(6) {
                None
            } else if !column.named.is_empty() && !random.once_in(3) {
                random.pick(&column.named).cloned()
            } else {
                let text = values::text(&column.kind, random, !column.indexed);
                Some(text.ok_or_else(|| LabError::Unfillable {
                    table: self.table.name.clone(),
                    why: format!("no values are known for the type {} of {}", column.kind.name, column.name),
                })?)
            };
            values.insert(at, value);
        }
        let texts: Vec<String> =
            self.columns().map(|at| values.get(&at).cloned().flatten()).map(literal).collect();
        Ok(format!("({})", texts.join(", ")))
    }

    /// Values for the columns of a foreign key: one of the candidates that agree with what other foreign keys chose, or
    /// null.
    fn refer(
        &self,
        key: &ForeignKey,
        candidates: &[Vec<String>],
        random: &mut Random,
        values: &mut BTreeMap<usize, Option<String>>,
    ) -> Result<()> {
        let table = self.table;
        let nullable: Vec<usize> =
            key.columns.iter().copied().filter(|at| !table.columns[*at].not_null).collect();
        let agreeing: Vec<&Vec<String>> = candidates
            .iter()
            .filter(|chosen| {
                let mut pairs = key.columns.iter().zip(chosen.iter());
                pairs.all(|(at, value)| values.get(at).is_none_or(|held| held.as_ref() == Some(value)))
            })
            .collect();
        let chosen = match random.pick(&agreeing) {
            Some(chosen) if nullable.is_empty() || !random.once_in(6) => Some(*chosen),
            _ => None,
        };
        if let Some(chosen) = chosen {
            for (at, value) in key.columns.iter().zip(chosen) {
                values.insert(*at, Some(value.clone()));
            }
        } else if nullable.is_empty() {
            if key.target != table.oid {
                let why = format!("no row of {} fits its foreign key", key.target_name);
                return Err(LabError::Unfillable { table: table.name.clone(), why });
            }
            // The first rows of a table that refers to itself refer to themselves.
            for (at, target) in key.columns.iter().zip(&key.target_columns) {
                let Some(own) = table.columns.iter().position(|column| column.name == *target) else {
                    continue;
                };
                if table.columns[own].left_out {
                    let why =
                        format!("its first row would have to know its own {target}, which the server makes");
                    return Err(LabError::Unfillable { table: table.name.clone(), why });
                }
                let value = match values.get(&own) {
                    Some(value) => value.clone(),
                    None => values::text(&table.columns[own].kind, random, false),
                };
                values.insert(own, value.clone());
                values.insert(*at, value);
            }
        } else {
            for at in nullable {
                values.insert(at, None);
            }
        }
        Ok(())
    }

    /// Keys that a foreign key may refer to; none while its table is not filled.
    async fn candidates(&mut self, key: &ForeignKey) -> Result<Vec<Vec<String>>> {
        if key.target != self.table.oid && !self.filled.contains(&key.target) {
            return Ok(Vec::new());
        }
        let texts: Vec<String> = key.target_columns.iter().map(|column| format!("{column}::text")).collect();
        let known: Vec<String> =
            key.target_columns.iter().map(|column| format!("{column} IS NOT NULL")).collect();
        let sql = format!(
            "SELECT key FROM (SELECT ARRAY[{}] AS key FROM {} WHERE {}) AS keys ORDER BY key COLLATE \"C\" LIMIT {CANDIDATES}",
            texts.join(", "),
            key.target_name,
            known.join(" AND ")
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *self.connection).await;
        let rows = rows.map_err(|source| self.sql_error(source))?;
        rows.iter().map(|row| row.try_get(0).map_err(|source| self.sql_error(source))).collect()
    }

    async fn insert(&mut self, rows: &[String]) -> Result<(), sqlx::Error> {
        let names: Vec<&str> = self.columns().map(|at| self.table.columns[at].name.as_str()).collect();
        let sql = if names.is_empty() {
            // Every column is the server's.
            format!("INSERT INTO {} DEFAULT VALUES", self.table.name)
        } else {
            format!(
                "INSERT INTO {} ({}) VALUES {} ON CONFLICT DO NOTHING",
                self.table.name,
                names.join(", "),
                rows.join(", ")
            )
        };
        let repeat = if names.is_empty() { rows.len() } else { 1 };
        for _ in 0..repeat {
            sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut *self.connection).await?;
        }
        Ok(())
    }

    async fn count(&mut self) -> Result<i64> {
        let sql = format!("SELECT count(*) FROM {}", self.table.name);
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut *self.connection).await;
        row.and_then(|row| row.try_get(0)).map_err(|source| self.sql_error(source))
    }

    fn sql_error(&self, source: sqlx::Error) -> LabError {
        LabError::Sql { database: self.database.to_owned(), source }
    }
}

/// A literal of no type: the server reads it as the column's.
fn literal(value: Option<String>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(text) => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
    }
}
