//! Patterns of names: which schemas and tables a step is about.

use godwit_sdk::types::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::rows::RelationRow;

/// A pattern of a qualified name, `*` standing for any text. Without a dot it is matched against the bare name.
pub fn matches(pattern: &str, schema: &str, name: &str) -> bool {
    if pattern.contains('.') { glob(pattern, &format!("{schema}.{name}")) } else { glob(pattern, name) }
}

/// Whether `*` (any text, also none) makes the pattern equal to the text.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return text.is_empty() };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Include and exclude patterns. An empty `include` admits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patterns {
    #[serde(default)]
    pub include: Vec<String>,
    #[serde(default)]
    pub exclude: Vec<String>,
}

impl Patterns {
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether any of a thing's names is admitted: its own, and those of the tables it is a partition of.
    pub fn admit<'a>(&self, names: impl IntoIterator<Item = (&'a str, &'a str)> + Clone) -> bool {
        let any = |patterns: &[String]| {
            patterns.iter().any(|p| names.clone().into_iter().any(|(schema, name)| matches(p, schema, name)))
        };
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

/// What of a database a step is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub schemas: Patterns,
    /// Tables, views and materialized views.
    pub tables: Patterns,
    /// Tables whose rows are wanted, among those.
    pub rows: Patterns,
    pub extensions: Patterns,
}

impl Filter {
    pub fn schema(&self, schema: &str) -> bool {
        self.schemas.admit([("", schema)])
    }

    /// Whether the rows of a table are wanted.
    pub fn admits_rows(&self, catalog: &Catalog, table: &RelationRow) -> bool {
        self.rows.is_empty() || self.rows.admit(catalog.lineage(table))
    }

    /// Fails where a pattern matches nothing: a name was misspelt, and the step would do something else than was meant.
    pub fn check(&self, schemas: &[&str], tables: &[(&str, &str)], extensions: &[&str]) -> Result<()> {
        let mut idle = Vec::new();
        for (param, patterns, names) in
            [("schemas", &self.schemas, schemas), ("extensions", &self.extensions, extensions)]
        {
            for pattern in patterns.include.iter().chain(&patterns.exclude) {
                if !names.iter().any(|name| matches(pattern, "", name)) {
                    idle.push(format!("{param} `{pattern}`"));
                }
            }
        }
        for (param, patterns) in [("tables", &self.tables), ("table_data", &self.rows)] {
            for pattern in patterns.include.iter().chain(&patterns.exclude) {
                if !tables.iter().any(|(schema, name)| matches(pattern, schema, name)) {
                    idle.push(format!("{param} `{pattern}`"));
                }
            }
        }
        if idle.is_empty() {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "these patterns match nothing in the source: {}; correct them in `with`, or leave them out",
            idle.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        let cases = [
            ("public.*", "public.users", true),
            ("*.users", "public.users", true),
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
            ("ab*ba", "aba", false),
            ("users", "users", true),
            ("users", "users2", false),
            ("", "", true),
            ("", "x", false),
        ];
        for (pattern, text, expect) in cases {
            assert_eq!(glob(pattern, text), expect, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_partition_is_admitted_by_its_root() {
        let patterns = Patterns { include: vec!["public.events".into()], exclude: vec![] };
        assert!(patterns.admit([("public", "events_2024"), ("public", "events")]));
        assert!(!patterns.admit([("public", "other")]));
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        let filter = Filter {
            tables: Patterns { include: vec!["public.user".into()], exclude: vec![] },
            ..Filter::default()
        };
        let error = filter.check(&["public"], &[("public", "users")], &[]).unwrap_err();
        assert!(error.message().contains("`public.user`"), "{error}");
    }
}
