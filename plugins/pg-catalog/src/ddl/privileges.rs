//! Owners, privileges and default privileges, as far as the catalog was read with them.
//!
//! Every privilege is granted by the object's owner, whoever granted it in the source.

use std::collections::BTreeSet;

use crate::graph::{Builder, Node, NodeId};
use crate::kind::Kind;
use crate::rows::{DefaultPrivilegesRow, Granted, PrivilegesRow};
use crate::sql::ident;

/// Kinds without an owner of their own, or with one that a role can't be given.
const UNOWNED: &[Kind] = &[
    Kind::Extension,
    Kind::Shell,
    Kind::AccessMethod,
    Kind::Cast,
    Kind::Transform,
    Kind::Parser,
    Kind::Template,
    Kind::UserMapping,
];

impl Builder<'_> {
    pub(crate) fn owners(&mut self) {
        for row in &self.catalog.owners {
            let Some(id) = self.own_node(&row.class, row.oid) else { continue };
            let owned = &self.nodes[id];
            // `public` belongs to whoever owns the database; a sequence of a column goes with its table.
            let public = owned.kind == Kind::Schema && owned.name == "public";
            let of_column = owned.kind == Kind::Sequence && owned.relation.is_some();
            if UNOWNED.contains(&owned.kind) || of_column || public && row.initial {
                continue;
            }
            let Some(object) = owned.drop.iter().find_map(|drop| drop.strip_prefix("DROP ")) else {
                continue;
            };
            let alter = format!("ALTER {} OWNER TO", object.trim_end_matches(" CASCADE"));
            let mut node = self.about(Kind::Owner, &row.owner, id);
            node.create.push(format!("{alter} {}", ident(&row.owner)));
            node.drop.push(format!("{alter} CURRENT_USER"));
            node.roles.push(row.owner.clone());
            node.member_of = Some(row.owner.clone());
            self.owners.insert(id, self.nodes.len());
            self.add_part(node);
        }
    }

    pub(crate) fn privileges(&mut self) {
        for row in &self.catalog.privileges {
            if row.system || row.extension.is_some() {
                self.changed_privileges(row);
                continue;
            }
            // An identity column's sequence comes with its table.
            let of_identity = || {
                self.node("pg_class", row.oid)
                    .filter(|_| row.class == "pg_class" && row.object.starts_with("SEQUENCE "))
            };
            let Some(id) = self.own_node(&row.class, row.oid).or_else(of_identity) else { continue };
            let own = self.nodes[id].oid == row.oid;
            let (create, undo) = self.statements(row);
            if create.is_empty() {
                continue;
            }
            let name = match &row.column {
                Some(column) => format!("of column {column}"),
                None if own => "granted".to_owned(),
                None => format!("of {}", row.object),
            };
            let mut node = self.about(Kind::Privileges, &name, id);
            node.needs.extend(self.owners.get(&id));
            // A REVOKE of the table takes those of columns as well, so the table's come first.
            node.needs.extend(self.granted.get(&id));
            let entries = row.granted.iter().flatten().filter(|(grantee, ..)| *grantee != row.owner);
            restrict(&mut node, entries);
            node.create = create;
            node.drop = undo;
            if row.column.is_none() && own {
                self.granted.insert(id, self.nodes.len());
            }
            self.add_part(node);
        }
    }

    /// What differs from what initdb or an extension granted.
    fn changed_privileges(&mut self, row: &PrivilegesRow) {
        let (create, undo) = self.statements(row);
        if create.is_empty() {
            return;
        }
        let column = row.column.as_ref().map(|column| format!(" ({column})")).unwrap_or_default();
        let kind = if row.system { Kind::SystemPrivileges } else { Kind::Privileges };
        let mut node = Node::new(kind, row.oid, "", &format!("{}{column}", row.object));
        // Only who runs the server owns what initdb made.
        node.superuser = row.system;
        if let Some(extension) = row.extension {
            match self.own_node("pg_extension", extension) {
                Some(id) => {
                    node.on = Some(self.nodes[id].title());
                    node.needs.insert(id);
                }
                // plpgsql, which is in every database from the start.
                None => node.superuser = true,
            }
        }
        restrict(&mut node, row.granted.iter().flatten().filter(|(grantee, ..)| *grantee != row.owner));
        node.create = create;
        node.drop = undo;
        self.add_part(node);
    }

    pub(crate) fn default_privileges(&mut self) {
        for row in &self.catalog.default_privileges {
            let word = match row.kind.as_str() {
                "r" => "TABLES",
                "S" => "SEQUENCES",
                "f" => "FUNCTIONS",
                "T" => "TYPES",
                "n" => "SCHEMAS",
                "L" => "LARGE OBJECTS",
                _ => continue,
            };
            let within = row.schema.as_ref().map(|s| format!(" IN SCHEMA {}", ident(s))).unwrap_or_default();
            let alter = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {}{within} ", ident(&row.role));
            let schema = row.schema.clone().unwrap_or_default();
            let name = format!("of {} for {}", row.role, word.to_lowercase());
            let mut node = Node::new(Kind::DefaultPrivileges, row.oid, &schema, &name);
            if let Some(namespace) = row.namespace {
                let Some(id) = self.own_node("pg_namespace", namespace) else { continue };
                node.needs.insert(id);
            }
            let (create, undo) = default_statements(row, &alter, word);
            node.create = create;
            node.drop = undo;
            node.roles.push(row.role.clone());
            node.member_of = Some(row.role.clone());
            if word == "LARGE OBJECTS" {
                node.features.push((180_000, "default privileges of large objects"));
            }
            restrict(&mut node, row.granted.iter().flatten());
            if !node.create.is_empty() {
                self.add("pg_default_acl", node);
            }
        }
    }

    fn statements(&self, row: &PrivilegesRow) -> (Vec<String>, Vec<String>) {
        // Without owners, the connection's user owns everything, and has all privileges.
        let keeps_owner = !self.catalog.owners.is_empty();
        let of = |entries: &Option<Vec<Granted>>| -> Vec<Granted> {
            entries
                .iter()
                .flatten()
                .filter(|(grantee, ..)| keeps_owner || *grantee != row.owner)
                .cloned()
                .collect()
        };
        let column = row.column.as_ref().map(|column| format!(" ({})", ident(column))).unwrap_or_default();
        let subject = Subject { before: "", column: &column, object: &row.object };
        difference(&of(&row.granted), &of(&row.usual), &subject)
    }

    /// The node of a catalog row, if it is one of its own.
    pub(crate) fn own_node(&self, class: &str, oid: u32) -> Option<NodeId> {
        self.at.get(&(class, oid)).copied().filter(|id| self.nodes[*id].oid == oid)
    }

    fn about(&self, kind: Kind, name: &str, id: NodeId) -> Node {
        let object = &self.nodes[id];
        let mut node = Node::new(kind, object.oid, &object.schema, name);
        if object.kind == Kind::Schema {
            node.schema.clone_from(&object.name);
        }
        node.on = Some(object.title());
        node.relation = object.relation;
        node.needs.insert(id);
        node
    }
}

pub(crate) fn restrict<'g>(node: &mut Node, entries: impl Iterator<Item = &'g Granted>) {
    let mut roles = BTreeSet::new();
    for (grantee, privilege, _) in entries {
        if !grantee.is_empty() {
            roles.insert(grantee.clone());
        }
        if privilege == "MAINTAIN" && node.kind != Kind::DefaultPrivileges {
            node.features.push((170_000, "MAINTAIN privilege"));
        }
    }
    node.features.dedup();
    node.roles.extend(roles.into_iter().filter(|role| Some(role) != node.member_of.as_ref()));
}

fn default_statements(row: &DefaultPrivilegesRow, alter: &str, word: &str) -> (Vec<String>, Vec<String>) {
    let list = |entries: &Option<Vec<Granted>>| entries.clone().unwrap_or_default();
    let subject = Subject { before: alter, column: "", object: word };
    difference(&list(&row.granted), &list(&row.usual), &subject)
}

/// What privileges are granted on, as the statements name it.
pub(crate) struct Subject<'s> {
    /// What stands before GRANT and REVOKE.
    pub before: &'s str,
    /// ` (column)`, or empty.
    pub column: &'s str,
    pub object: &'s str,
}

/// The statements that lead from one access list to another, and those that lead back.
pub(crate) fn difference(
    granted: &[Granted],
    usual: &[Granted],
    subject: &Subject<'_>,
) -> (Vec<String>, Vec<String>) {
    let Subject { before, column, object } = *subject;
    let (mut create, mut undo) = (Vec::new(), Vec::new());
    let of = |entries: &[Granted], grantee: &str| -> Vec<(String, bool)> {
        entries.iter().filter(|entry| entry.0 == grantee).map(|entry| (entry.1.clone(), entry.2)).collect()
    };
    // Never ALL: it is more in a newer server.
    let names = |entries: &[(String, bool)]| -> String {
        entries.iter().map(|entry| format!("{}{column}", entry.0)).collect::<Vec<_>>().join(", ")
    };
    let grant = |entries: &[(String, bool)], grantee: &str| -> Vec<String> {
        [(false, ""), (true, " WITH GRANT OPTION")]
            .into_iter()
            .filter_map(|(grantable, option)| {
                let some: Vec<_> = entries.iter().filter(|entry| entry.1 == grantable).cloned().collect();
                (!some.is_empty()).then(|| {
                    format!("{before}GRANT {} ON {object} TO {}{option}", names(&some), role(grantee))
                })
            })
            .collect()
    };
    let revoke = |entries: &[(String, bool)], grantee: &str| {
        (!entries.is_empty())
            .then(|| format!("{before}REVOKE {} ON {object} FROM {}", names(entries), role(grantee)))
    };
    let mut seen: Vec<&str> = Vec::new();
    for (grantee, ..) in usual.iter().chain(granted) {
        if seen.contains(&grantee.as_str()) {
            continue;
        }
        seen.push(grantee);
        let (now, then) = (of(granted, grantee), of(usual, grantee));
        let same = |a: &[(String, bool)], b: &[(String, bool)]| a.iter().all(|entry| b.contains(entry));
        if same(&now, &then) && same(&then, &now) {
            continue;
        }
        create.extend(revoke(&then, grantee));
        create.extend(grant(&now, grantee));
        undo.extend(revoke(&now, grantee));
        undo.extend(grant(&then, grantee));
    }
    (create, undo)
}

fn role(name: &str) -> String {
    if name.is_empty() { "PUBLIC".to_owned() } else { ident(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on<'s>(column: &'s str, object: &'s str) -> Subject<'s> {
        Subject { before: "", column, object }
    }

    fn entry(grantee: &str, privilege: &str, grantable: bool) -> Granted {
        (grantee.to_owned(), privilege.to_owned(), grantable)
    }

    #[test]
    fn only_what_differs_is_granted_and_it_can_be_taken_back() {
        let usual = [entry("", "EXECUTE", false), entry("o", "EXECUTE", false)];
        let granted =
            [entry("o", "EXECUTE", false), entry("a b", "EXECUTE", true), entry("reader", "EXECUTE", false)];
        let (create, undo) = difference(&granted, &usual, &on("", "FUNCTION s.f()"));
        assert_eq!(
            create,
            [
                "REVOKE EXECUTE ON FUNCTION s.f() FROM PUBLIC",
                "GRANT EXECUTE ON FUNCTION s.f() TO \"a b\" WITH GRANT OPTION",
                "GRANT EXECUTE ON FUNCTION s.f() TO reader",
            ]
        );
        assert_eq!(
            undo,
            [
                "GRANT EXECUTE ON FUNCTION s.f() TO PUBLIC",
                "REVOKE EXECUTE ON FUNCTION s.f() FROM \"a b\"",
                "REVOKE EXECUTE ON FUNCTION s.f() FROM reader",
            ]
        );
        assert_eq!(difference(&usual, &usual, &on("", "FUNCTION s.f()")).0, Vec::<String>::new());
    }

    #[test]
    fn privileges_of_columns_name_the_column_each_time() {
        let granted = [entry("r", "SELECT", false), entry("r", "UPDATE", false)];
        let (create, undo) = difference(&granted, &[], &on(" (\"A\")", "TABLE s.t"));
        assert_eq!(create, ["GRANT SELECT (\"A\"), UPDATE (\"A\") ON TABLE s.t TO r"]);
        assert_eq!(undo, ["REVOKE SELECT (\"A\"), UPDATE (\"A\") ON TABLE s.t FROM r"]);
    }
}
