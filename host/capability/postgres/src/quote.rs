//! SQL text made of names and values.

pub use postgres_protocol::escape::{escape_identifier as ident, escape_literal as literal};

/// `"schema"."name"`.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// A literal, or NULL.
pub fn nullable(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), literal)
}

/// `'a', 'b'`; `NULL` for an empty list, which no value equals.
pub fn literals<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let list: Vec<_> = texts.into_iter().map(literal).collect();
    if list.is_empty() { "NULL".to_owned() } else { list.join(", ") }
}

/// `"a", "b"`.
pub fn idents<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(ident).collect::<Vec<_>>().join(", ")
}
