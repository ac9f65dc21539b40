//! Settings that hold in one database: of it, and of roles in it.

use crate::graph::{Builder, Node};
use crate::kind::Kind;
use crate::rows::SettingRow;
use crate::sql::{ident, literal};

/// Settings that are lists of names, each quoted by itself (`variable_is_guc_list_quote` in
/// `src/bin/pg_dump/dumputils.c`).
const LISTS: &[&str] = &[
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

impl Builder<'_> {
    pub(crate) fn settings(&mut self) {
        for row in &self.catalog.settings {
            let name = match &row.role {
                Some(role) => format!("{} of {role}", row.name),
                None => row.name.clone(),
            };
            let mut node = Node::new(Kind::Setting, 0, "", &name);
            let setting = setting_name(&row.name);
            node.create.push(alter(row, &format!("SET {setting} TO {}", value(&row.name, &row.value))));
            node.drop.push(alter(row, &format!("RESET {setting}")));
            node.roles.extend(row.role.clone());
            self.add_part(node);
        }
    }
}

/// A statement about the database at hand, whatever its name is there.
fn alter(row: &SettingRow, change: &str) -> String {
    let subject = match &row.role {
        Some(role) => format!("ALTER ROLE {} IN DATABASE", ident(role)).replace('%', "%%"),
        None => "ALTER DATABASE".to_owned(),
    };
    let format = format!("{subject} %I {}", change.replace('%', "%%"));
    let body =
        format!("BEGIN EXECUTE pg_catalog.format({}, pg_catalog.current_database()); END", literal(&format));
    format!("DO {}", literal(&body))
}

/// `search_path`, or `"my app".mode`: each part is a name.
fn setting_name(name: &str) -> String {
    name.split('.').map(ident).collect::<Vec<_>>().join(".")
}

fn value(name: &str, value: &str) -> String {
    if !LISTS.contains(&name.to_lowercase().as_str()) {
        return literal(value);
    }
    let names = names(value);
    if names.is_empty() {
        "''".to_owned()
    } else {
        names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ")
    }
}

/// The names of `"$user", public`.
fn names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = list.trim();
    while !rest.is_empty() {
        let mut name = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut after = quoted;
            while let Some((part, more)) = after.split_once('"') {
                name += part;
                after = more;
                match more.strip_prefix('"') {
                    Some(more) => {
                        name.push('"');
                        after = more;
                    }
                    None => break,
                }
            }
            rest = after;
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            name = rest[..end].trim_end().to_owned();
            rest = &rest[end..];
        }
        names.push(name);
        rest = rest.trim_start().trim_start_matches(',').trim_start();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_quoted_name_by_name() {
        assert_eq!(value("search_path", "\"$user\", public, \"a \"\"b\""), "'$user', 'public', 'a \"b'");
        assert_eq!(value("search_path", ""), "''");
        assert_eq!(value("application_name", "a, b"), "'a, b'");
    }

    #[test]
    fn the_database_is_named_where_the_statement_runs() {
        let row = |role: Option<&str>| SettingRow {
            role: role.map(str::to_owned),
            name: "work_mem".to_owned(),
            value: "5MB".to_owned(),
        };
        assert_eq!(
            alter(&row(None), "SET work_mem TO '5%'"),
            "DO 'BEGIN EXECUTE pg_catalog.format(''ALTER DATABASE %I SET work_mem TO ''''5%%'''''', pg_catalog.current_database()); END'"
        );
        assert!(
            alter(&row(Some("a b")), "RESET work_mem")
                .contains("ALTER ROLE \"a b\" IN DATABASE %I RESET work_mem")
        );
    }
}
