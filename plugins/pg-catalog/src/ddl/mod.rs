//! The statements that make each kind of object, and those that take it back.
//!
//! Definitions come from the server's own deparser wherever it has one (manual, 9.27 "System Catalog Information
//! Functions"); what it lacks is written here after `src/bin/pg_dump/pg_dump.c`.

mod dependents;
mod foreign;
mod labels;
mod languages;
mod large_objects;
mod not_nulls;
mod operators;
mod privileges;
mod relations;
mod replication;
mod routines;
mod sequences;
mod settings;
mod text_search;
mod types;

pub use labels::{WORDS as SECURITY_LABEL, unlabelled};
pub(crate) use routines::without_in;

use crate::sql::literal;

/// `COMMENT ON <object> IS '…'`, where there is a comment.
fn comment(object: &str, text: Option<&str>) -> Option<String> {
    text.map(|text| format!("COMMENT ON {object} IS {}", literal(text)))
}
