//! What the catalogs say of the tables that are to be filled.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, Row};

/// A table that takes rows: an ordinary one, or the root of a partitioned one.
#[derive(Debug)]
pub struct Table {
    pub oid: i64,
    /// Qualified and quoted.
    pub name: String,
    pub columns: Vec<Column>,
    pub foreign_keys: Vec<ForeignKey>,
}

#[derive(Debug)]
pub struct Column {
    /// Quoted.
    pub name: String,
    pub kind: Kind,
    pub not_null: bool,
    /// Left to the server: identity, generated, or the next value of a sequence.
    pub left_out: bool,
    /// An index may hold it, so that its values have to be short.
    pub indexed: bool,
    /// Values that the table's checks name.
    pub named: Vec<String>,
}

/// A type, domains resolved.
#[derive(Debug, Clone)]
pub struct Kind {
    /// As `pg_type` has it.
    pub name: String,
    /// The type's modifier as the catalogs store it, or -1.
    pub modifier: i32,
    /// Of an enumeration, in order.
    pub labels: Vec<String>,
    /// Of a true array.
    pub element: Option<Box<Kind>>,
}

#[derive(Debug)]
pub struct ForeignKey {
    /// Positions in the table's `columns`.
    pub columns: Vec<usize>,
    /// The table it refers to: its oid, and its name as [`Table::name`].
    pub target: i64,
    pub target_name: String,
    /// Quoted.
    pub target_columns: Vec<String>,
}

struct PgType {
    name: String,
    base: i64,
    modifier: i32,
    element: i64,
    labels: Vec<String>,
}

const TYPES: &str = "
SELECT t.oid::int8, t.typname::text, t.typbasetype::int8, t.typtypmod,
       CASE WHEN t.typcategory = 'A' AND t.typtype = 'b' THEN t.typelem::int8 ELSE 0 END,
       ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
FROM pg_type t";

const TABLES: &str = "
SELECT c.oid::int8, format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 2";

const COLUMNS: &str = "
SELECT a.attnum::int4, format('%I', a.attname), a.atttypid::int8, a.atttypmod,
       a.attnotnull OR t.typnotnull,
       a.attidentity <> '' OR a.attgenerated <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid) ~ 'nextval\\(', false),
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND (a.attnum = ANY (i.indkey) OR 0 = ANY (i.indkey))),
       ARRAY(SELECT coalesce(m[1], m[2])
             FROM pg_constraint k, regexp_matches(pg_get_constraintdef(k.oid), '''([^'']*)''|\\m([0-9]+)\\M', 'g') AS m
             WHERE k.conrelid = a.attrelid AND k.contype = 'c' AND a.attnum = ANY (k.conkey))
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
     LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum";

const FOREIGN_KEYS: &str = "
SELECT k.conkey::int4[], k.confrelid::int8, format('%I.%I', n.nspname, c.relname),
       ARRAY(SELECT format('%I', a.attname)
             FROM unnest(k.confkey) WITH ORDINALITY AS f (number, place)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = f.number
             ORDER BY f.place)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conrelid = $1::int8::oid AND k.conparentid = 0
ORDER BY k.conname";

/// All tables that take rows, by name. Partitions are filled through their roots.
pub async fn read(connection: &mut PgConnection) -> Result<Vec<Table>, sqlx::Error> {
    let mut types = BTreeMap::new();
    for row in sqlx::query(TYPES).fetch_all(&mut *connection).await? {
        let held = PgType {
            name: row.try_get(1)?,
            base: row.try_get(2)?,
            modifier: row.try_get(3)?,
            element: row.try_get(4)?,
            labels: row.try_get(5)?,
        };
        types.insert(row.try_get::<i64, _>(0)?, held);
    }
    let mut tables = Vec::new();
    for row in sqlx::query(TABLES).fetch_all(&mut *connection).await? {
        let (oid, name): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        let mut numbers: Vec<i32> = Vec::new();
        let mut columns = Vec::new();
        for row in sqlx::query(AssertSqlSafe(COLUMNS)).bind(oid).fetch_all(&mut *connection).await? {
            numbers.push(row.try_get(0)?);
            columns.push(Column {
                name: row.try_get(1)?,
                kind: kind(&types, row.try_get(2)?, row.try_get(3)?),
                not_null: row.try_get(4)?,
                left_out: row.try_get(5)?,
                indexed: row.try_get(6)?,
                named: row.try_get(7)?,
            });
        }
        let mut foreign_keys = Vec::new();
        for row in sqlx::query(FOREIGN_KEYS).bind(oid).fetch_all(&mut *connection).await? {
            let keys: Vec<i32> = row.try_get(0)?;
            foreign_keys.push(ForeignKey {
                columns: keys
                    .iter()
                    .filter_map(|key| numbers.iter().position(|number| number == key))
                    .collect(),
                target: row.try_get(1)?,
                target_name: row.try_get(2)?,
                target_columns: row.try_get(3)?,
            });
        }
        tables.push(Table { oid, name, columns, foreign_keys });
    }
    Ok(tables)
}

fn kind(types: &BTreeMap<i64, PgType>, mut oid: i64, mut modifier: i32) -> Kind {
    let mut found = types.get(&oid);
    while let Some(held) = found
        && held.base != 0
    {
        if modifier < 0 {
            modifier = held.modifier;
        }
        oid = held.base;
        found = types.get(&oid);
    }
    let Some(held) = found else {
        return Kind { name: format!("type {oid}"), modifier, labels: Vec::new(), element: None };
    };
    let element = (held.element != 0).then(|| Box::new(kind(types, held.element, modifier)));
    Kind { name: held.name.clone(), modifier, labels: held.labels.clone(), element }
}
