//! What the catalogs say of tables: one set-based query per schema.

mod binary;

use std::collections::HashMap;

use godwit_model::{Error, Result};
use serde::Deserialize;

use crate::quote::literal;
use crate::wire::Reply;

pub use binary::first_text_column;

/// The tables of one schema by name.
pub type Schema = HashMap<String, Table>;

/// A table as its server has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Table {
    /// `pg_class.relkind`: `r` a table, `p` a partitioned one, …
    pub kind: String,
    /// The table access method; empty where there is none.
    pub method: String,
    /// Rows by the statistics, scaled to the present size; not exact.
    pub rows: u64,
    /// Heap alone.
    pub heap_bytes: u64,
    /// Heap and TOAST.
    pub bytes: u64,
    /// Bytes of a block.
    pub block: u64,
    /// Whether the role may read it.
    pub readable: bool,
    /// Whether other tables inherit from it.
    pub has_children: bool,
    pub has_indexes: bool,
    /// The qualified name of the partitioned table at the root, unquoted.
    pub root: Option<String>,
    pub columns: Vec<Column>,
    /// Enabled triggers of users that an INSERT fires.
    pub triggers: Vec<Trigger>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Column {
    pub name: String,
    /// As `format_type` writes it.
    pub r#type: String,
    /// The type below all domains.
    pub base_schema: String,
    pub base: String,
    /// `pg_type.typtype` of the base.
    pub base_kind: String,
    /// The extension that made the base.
    pub extension: Option<String>,
    /// Element type, where the base is an array.
    pub element_schema: Option<String>,
    pub element: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Trigger {
    pub name: String,
    /// `pg_trigger.tgenabled`: `O` origin, `A` always.
    pub enabled: String,
}

impl Table {
    /// A plain heap table, whose rows a range of blocks can be cut from.
    pub fn is_heap(&self) -> bool {
        self.kind == "r" && self.method == "heap"
    }

    /// The named columns in that order.
    pub fn pick(&self, names: &[String], what: &str) -> Result<Vec<&Column>> {
        names
            .iter()
            .map(|name| {
                self.columns
                    .iter()
                    .find(|column| column.name == *name)
                    .ok_or_else(|| Error::missing(format!("{what} has no column `{name}`")))
            })
            .collect()
    }
}

/// The query for all tables of a schema. Works on 12 and newer.
pub fn query(schema: &str) -> String {
    format!(
        r#"WITH RECURSIVE below(top, oid, typtype, typbasetype) AS (
  SELECT oid, oid, typtype, typbasetype FROM pg_type
  UNION ALL
  SELECT b.top, t.oid, t.typtype, t.typbasetype FROM below b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd'
), base AS (
  SELECT b.top, t.oid, t.typname, t.typtype, t.typnamespace,
         CASE WHEN t.typcategory = 'A' THEN t.typelem END AS element
  FROM below b JOIN pg_type t ON t.oid = b.oid WHERE b.typtype <> 'd'
), ext AS (
  SELECT d.objid, x.extname FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
  WHERE d.classid = 'pg_type'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), cols AS (
  SELECT a.attrelid, json_agg(json_build_object(
      'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
      'base_schema', bn.nspname, 'base', b.typname, 'base_kind', b.typtype, 'extension', ext.extname,
      'element_schema', en.nspname, 'element', e.typname) ORDER BY a.attnum) AS list
  FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = {schema}
  JOIN base b ON b.top = a.atttypid
  JOIN pg_namespace bn ON bn.oid = b.typnamespace
  LEFT JOIN ext ON ext.objid = b.oid
  LEFT JOIN pg_type e ON e.oid = b.element
  LEFT JOIN pg_namespace en ON en.oid = e.typnamespace
  WHERE a.attnum > 0 AND NOT a.attisdropped
  GROUP BY a.attrelid
), trig AS (
  SELECT tgrelid, json_agg(json_build_object('name', tgname, 'enabled', tgenabled) ORDER BY tgname) AS list
  FROM pg_trigger WHERE NOT tgisinternal AND tgtype & 4 <> 0 AND tgenabled IN ('O', 'A') GROUP BY tgrelid
)
SELECT c.relname, json_build_object(
  'kind', c.relkind, 'method', coalesce(am.amname, ''),
  'rows', CASE
      WHEN c.reltuples > 0 AND c.relpages > 0
        THEN (c.reltuples / c.relpages * (s.heap / s.block))::int8
      WHEN c.reltuples > 0 THEN c.reltuples::int8
      ELSE s.heap / 100 END,
  'heap_bytes', s.heap, 'bytes', coalesce(pg_table_size(c.oid), 0), 'block', s.block,
  'readable', has_table_privilege(c.oid, 'SELECT'), 'has_children', EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid),
  'has_indexes', EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid),
  'root', CASE WHEN c.relispartition THEN
      (SELECT rn.nspname || '.' || r.relname FROM pg_class r JOIN pg_namespace rn ON rn.oid = r.relnamespace
       WHERE r.oid = pg_partition_root(c.oid)) END,
  'columns', coalesce(cols.list, '[]'), 'triggers', coalesce(trig.list, '[]'))::text
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_am am ON am.oid = c.relam
LEFT JOIN cols ON cols.attrelid = c.oid
LEFT JOIN trig ON trig.tgrelid = c.oid
CROSS JOIN LATERAL (SELECT CASE WHEN c.relkind IN ('r', 'm') THEN coalesce(pg_relation_size(c.oid), 0) ELSE 0 END AS heap,
  current_setting('block_size')::int8 AS block) s
WHERE n.nspname = {schema} AND c.relkind IN ('r', 'p', 'm', 'v', 'f')"#,
        schema = literal(schema)
    )
}

/// Reads the query's answer.
pub fn read(reply: &Reply) -> Result<Schema> {
    reply
        .rows
        .iter()
        .map(|row| match row.as_slice() {
            [Some(name), Some(json)] => {
                serde_json::from_str(json).map(|table| (name.clone(), table)).map_err(|e| {
                    Error::host(format!("the catalogs' entry of table `{name}` can't be read: {e}"))
                })
            }
            _ => Err(Error::host("the catalogs' answer isn't as expected")),
        })
        .collect()
}
