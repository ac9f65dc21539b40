//! What hangs on a table: keys, indexes, foreign keys, statistics, rules, triggers, policies, row security.

use std::collections::{BTreeMap, BTreeSet};

use crate::ddl::comment;
use crate::graph::{Builder, Node, NodeId};
use crate::kind::{Kind, Phase};
use crate::rows::{ConstraintRow, IndexRow, Oid, RelationRow};
use crate::sql::{ident, idents, qualified, statement, with_options};

/// Features of constraints and indexes that older servers lack, by the words that the deparser writes.
const FEATURES: &[(&str, u32, &str)] = &[
    ("NULLS NOT DISTINCT", 150_000, "NULLS NOT DISTINCT"),
    ("WITHOUT OVERLAPS", 180_000, "WITHOUT OVERLAPS"),
    ("PERIOD ", 180_000, "foreign key with PERIOD"),
    ("NOT ENFORCED", 180_000, "NOT ENFORCED constraint"),
];

fn features(definition: &str) -> Vec<(u32, &'static str)> {
    FEATURES
        .iter()
        .filter(|(words, ..)| definition.contains(words))
        .map(|(_, version, name)| (*version, *name))
        .collect()
}

impl<'a> Builder<'a> {
    /// A node of something that hangs on a table.
    fn part(&self, kind: Kind, oid: Oid, name: &str, row: &RelationRow) -> Option<Node> {
        let table = self.node("pg_class", row.oid)?;
        let mut node = Node::new(kind, oid, &row.schema, name);
        node.on = Some(row.label());
        node.relation = Some(row.oid);
        node.needs.insert(table);
        Some(node)
    }

    /// Indexes, and the constraints that are made of them. The index of a partitioned table comes after those of its
    /// partitions, which it takes in.
    pub(crate) fn indexes(&mut self) {
        let constraints: BTreeMap<Oid, &ConstraintRow> =
            self.catalog.constraints.iter().map(|k| (k.oid, k)).collect();
        for row in &self.catalog.indexes {
            let Some(relation) = self.relations.get(&row.relation).copied() else { continue };
            let constraint = row.constraint.and_then(|oid| constraints.get(&oid).copied());
            let node = match constraint {
                Some(constraint) => self.key(row, constraint, relation),
                // What a failed CREATE INDEX CONCURRENTLY left is of no use to anybody; see `Catalog::invalid_indexes`.
                None if !row.valid && !row.partitioned => continue,
                None => self.index(row, relation),
            };
            let Some(mut node) = node else { continue };
            node.method = Some(row.method.clone());
            node.tablespace.clone_from(&row.tablespace);
            self.index_settings(row, relation, &mut node);
            let id = self.add("pg_class", node);
            if let Some(constraint) = constraint {
                self.at.insert(("pg_constraint", constraint.oid), id);
            }
        }
        self.attach_indexes();
        self.replica_identities();
    }

    fn index(&self, row: &IndexRow, relation: &RelationRow) -> Option<Node> {
        let name = qualified(&relation.schema, &row.name);
        let mut node = self.part(Kind::Index, row.oid, &row.name, relation)?;
        node.create.push(statement(&row.definition));
        node.features = features(&row.definition);
        let exists = if row.parent.is_some() { "IF EXISTS " } else { "" };
        node.drop.push(format!("DROP INDEX {exists}{name}"));
        Some(node)
    }

    fn key(&self, row: &IndexRow, constraint: &ConstraintRow, relation: &RelationRow) -> Option<Node> {
        let table = qualified(&relation.schema, &relation.name);
        let kind = match constraint.kind.as_str() {
            "p" => Kind::PrimaryKey,
            "u" => Kind::Unique,
            _ => Kind::Exclusion,
        };
        let mut node = self.part(kind, row.oid, &constraint.name, relation)?;
        let name = ident(&constraint.name);
        let definition = match kind {
            Kind::Exclusion => constraint.definition.clone(),
            _ => with_index_options(&constraint.definition, &row.options),
        };
        node.create.push(format!("ALTER TABLE ONLY {table} ADD CONSTRAINT {name} {definition}"));
        node.features = features(&constraint.definition);
        node.create.extend(comment(&format!("CONSTRAINT {name} ON {table}"), constraint.comment.as_deref()));
        let exists = if row.parent.is_some() { "IF EXISTS " } else { "" };
        node.drop.push(format!("ALTER TABLE {table} DROP CONSTRAINT {exists}{name}"));
        Some(node)
    }

    fn index_settings(&self, row: &IndexRow, relation: &RelationRow, node: &mut Node) {
        let name = qualified(&relation.schema, &row.name);
        let table = qualified(&relation.schema, &relation.name);
        for (column, target) in row.statistics.iter().flatten() {
            node.create.push(format!("ALTER INDEX {name} ALTER COLUMN {column} SET STATISTICS {target}"));
        }
        if row.clustered {
            node.create.push(format!("ALTER TABLE {table} CLUSTER ON {}", ident(&row.name)));
        }
        node.create.extend(comment(&format!("INDEX {name}"), row.comment.as_deref()));
    }

    fn attach_indexes(&mut self) {
        for row in &self.catalog.indexes {
            let (Some(child), Some(parent)) =
                (self.node("pg_class", row.oid), row.parent.and_then(|parent| self.node("pg_class", parent)))
            else {
                continue;
            };
            let attach = format!(
                "ALTER INDEX {} ATTACH PARTITION {}",
                qualified(&self.nodes[parent].schema, &self.nodes[parent].name),
                qualified(&self.nodes[child].schema, &self.nodes[child].name)
            );
            self.nodes[child].parent = Some(parent);
            self.nodes[parent].needs.insert(child);
            self.nodes[parent].create.push(attach);
        }
        self.undroppable_indexes();
    }

    /// A partition's constraint may be attached to an index that is none. Neither of them can then be dropped by itself,
    /// nor can the rest of their tree: all of it goes with its tables.
    fn undroppable_indexes(&mut self) {
        let root = |nodes: &[Node], mut id: NodeId| {
            while let Some(parent) = nodes[id].parent {
                id = parent;
            }
            id
        };
        let mixed: BTreeSet<NodeId> = (0..self.nodes.len())
            .filter(|id| {
                let node = &self.nodes[*id];
                node.kind != Kind::Index
                    && node.parent.is_some_and(|parent| self.nodes[parent].kind == Kind::Index)
            })
            .map(|id| root(&self.nodes, id))
            .collect();
        for id in 0..self.nodes.len() {
            if self.nodes[id].kind.phase() == Phase::Index && mixed.contains(&root(&self.nodes, id)) {
                self.nodes[id].drop.clear();
            }
        }
    }

    fn replica_identities(&mut self) {
        for row in self.catalog.relations.iter().filter(|row| row.is_table()) {
            let table = qualified(&row.schema, &row.name);
            let index = self.catalog.indexes.iter().find(|i| i.relation == row.oid && i.replica_identity);
            let identity = match (row.replica_identity.as_str(), index) {
                ("f", _) => "FULL".to_owned(),
                ("n", _) => "NOTHING".to_owned(),
                ("i", Some(index)) => format!("USING INDEX {}", ident(&index.name)),
                _ => continue,
            };
            let Some(mut node) = self.part(Kind::ReplicaIdentity, row.oid, "replica identity", row) else {
                continue;
            };
            node.create.push(format!("ALTER TABLE ONLY {table} REPLICA IDENTITY {identity}"));
            node.drop.push(format!("ALTER TABLE ONLY {table} REPLICA IDENTITY DEFAULT"));
            node.needs.extend(index.and_then(|index| self.node("pg_class", index.oid)));
            self.add_part(node);
        }
    }

    pub(crate) fn foreign_keys(&mut self) {
        for row in self.catalog.constraints.iter().filter(|k| k.kind == "f" && !k.has_parent) {
            let Some(relation) = self.relations.get(&row.relation).copied() else { continue };
            let Some(mut node) = self.part(Kind::ForeignKey, row.oid, &row.name, relation) else { continue };
            let table = qualified(&relation.schema, &relation.name);
            let name = ident(&row.name);
            // A partitioned table hands its foreign keys down.
            let only = if relation.kind == "p" { "" } else { "ONLY " };
            node.create.push(format!("ALTER TABLE {only}{table} ADD CONSTRAINT {name} {}", row.definition));
            node.create.extend(comment(&format!("CONSTRAINT {name} ON {table}"), row.comment.as_deref()));
            node.drop.push(format!("ALTER TABLE {table} DROP CONSTRAINT {name}"));
            node.features = features(&row.definition);
            node.references = row.references;
            node.needs.extend(row.references.and_then(|oid| self.node("pg_class", oid)));
            node.needs.extend(row.index.and_then(|oid| self.node("pg_class", oid)));
            self.add("pg_constraint", node);
        }
    }

    pub(crate) fn statistics(&mut self) {
        for row in &self.catalog.statistics {
            let Some(relation) = self.relations.get(&row.relation).copied() else { continue };
            let Some(mut node) = self.part(Kind::Statistics, row.oid, &row.name, relation) else { continue };
            let name = qualified(&row.schema, &row.name);
            node.schema.clone_from(&row.schema);
            node.create.push(statement(&row.definition));
            node.create
                .extend(row.target.map(|target| format!("ALTER STATISTICS {name} SET STATISTICS {target}")));
            node.create.extend(comment(&format!("STATISTICS {name}"), row.comment.as_deref()));
            node.drop.push(format!("DROP STATISTICS {name}"));
            self.add("pg_statistic_ext", node);
        }
    }

    pub(crate) fn rules(&mut self) {
        for row in &self.catalog.rules {
            let Some(definition) = &row.definition else { continue };
            let Some(relation) = self.relations.get(&row.relation).copied() else { continue };
            let Some(mut node) = self.part(Kind::Rule, row.oid, &row.name, relation) else { continue };
            let table = qualified(&relation.schema, &relation.name);
            let name = ident(&row.name);
            node.create.push(statement(definition));
            node.create.extend(switch(&table, "RULE", &name, &row.enabled));
            node.create.extend(comment(&format!("RULE {name} ON {table}"), row.comment.as_deref()));
            node.drop.push(format!("DROP RULE {name} ON {table}"));
            self.add("pg_rewrite", node);
        }
    }

    pub(crate) fn triggers(&mut self) {
        // Clones last: their originals make them.
        let (clones, originals): (Vec<_>, Vec<_>) = self.catalog.triggers.iter().partition(|row| row.clone);
        for row in originals {
            let Some(relation) = self.relations.get(&row.relation).copied() else { continue };
            let Some(mut node) = self.part(Kind::Trigger, row.oid, &row.name, relation) else { continue };
            let table = qualified(&relation.schema, &relation.name);
            let name = ident(&row.name);
            node.create.push(statement(&row.definition));
            node.create.extend(switch(&table, "TRIGGER", &name, &row.enabled));
            node.create.extend(comment(&format!("TRIGGER {name} ON {table}"), row.comment.as_deref()));
            node.drop.push(format!("DROP TRIGGER {name} ON {table}"));
            self.add("pg_trigger", node);
        }
        for row in clones {
            let Some(relation) = self.relations.get(&row.relation).copied() else { continue };
            let original = self.nodes.iter().position(|node| {
                node.kind == Kind::Trigger
                    && node.name == row.name
                    && node.relation.is_some_and(|above| {
                        self.descendants.get(&above).is_some_and(|below| below.contains(&row.relation))
                    })
            });
            let Some(original) = original else { continue };
            let table = qualified(&relation.schema, &relation.name);
            let name = ident(&row.name);
            let word = enabled_word(&row.enabled);
            self.nodes[original].create.push(format!("ALTER TABLE ONLY {table} {word} TRIGGER {name}"));
        }
    }

    pub(crate) fn policies(&mut self) {
        for row in &self.catalog.policies {
            let Some(relation) = self.relations.get(&row.relation).copied() else { continue };
            let Some(mut node) = self.part(Kind::Policy, row.oid, &row.name, relation) else { continue };
            let table = qualified(&relation.schema, &relation.name);
            let name = ident(&row.name);
            let mut create = format!("CREATE POLICY {name} ON {table}");
            if !row.permissive {
                create += " AS RESTRICTIVE";
            }
            create += match row.command.as_str() {
                "r" => " FOR SELECT",
                "a" => " FOR INSERT",
                "w" => " FOR UPDATE",
                "d" => " FOR DELETE",
                _ => "",
            };
            node.roles = row.roles.iter().filter(|role| !role.is_empty()).cloned().collect();
            if !node.roles.is_empty() {
                create += &format!(" TO {}", idents(node.roles.iter().map(String::as_str)));
            }
            if let Some(using) = &row.using {
                create += &format!(" USING ({using})");
            }
            if let Some(check) = &row.check {
                create += &format!(" WITH CHECK ({check})");
            }
            node.create.push(create);
            node.create.extend(comment(&format!("POLICY {name} ON {table}"), row.comment.as_deref()));
            node.drop.push(format!("DROP POLICY {name} ON {table}"));
            self.add("pg_policy", node);
        }
    }

    pub(crate) fn row_security(&mut self) {
        for row in self.catalog.relations.iter().filter(|row| row.row_security || row.force_row_security) {
            let Some(mut node) = self.part(Kind::RowSecurity, row.oid, "row security", row) else { continue };
            let table = qualified(&row.schema, &row.name);
            if row.row_security {
                node.create.push(format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"));
                node.drop.push(format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"));
            }
            if row.force_row_security {
                node.create.push(format!("ALTER TABLE ONLY {table} FORCE ROW LEVEL SECURITY"));
                node.drop.push(format!("ALTER TABLE ONLY {table} NO FORCE ROW LEVEL SECURITY"));
            }
            // From here on the owner's own rows may be hidden: after everything else of the table.
            let table_parts: Vec<NodeId> = (0..self.nodes.len())
                .filter(|id| {
                    self.nodes[*id].relation == Some(row.oid) && self.nodes[*id].kind == Kind::Policy
                })
                .collect();
            node.needs.extend(table_parts);
            self.add_part(node);
        }
    }
}

/// `ALTER TABLE … ENABLE/DISABLE …` for a trigger or rule in another state than the usual one.
fn switch(table: &str, what: &str, name: &str, enabled: &str) -> Option<String> {
    (enabled != "O").then(|| format!("ALTER TABLE {table} {} {what} {name}", enabled_word(enabled)))
}

/// The words for a value of `pg_trigger.tgenabled`.
pub(crate) fn enabled_word(enabled: &str) -> &'static str {
    match enabled {
        "D" => "DISABLE",
        "R" => "ENABLE REPLICA",
        "A" => "ENABLE ALWAYS",
        _ => "ENABLE",
    }
}

/// `pg_get_constraintdef` leaves the index's options out; they stand before DEFERRABLE.
fn with_index_options(definition: &str, options: &[String]) -> String {
    if options.is_empty() {
        return definition.to_owned();
    }
    let (head, tail) = match definition.find(") DEFERRABLE") {
        Some(at) => definition.split_at(at + 1),
        None => (definition, ""),
    };
    format!("{head}{}{tail}", with_options(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_key_stand_before_its_deferral() {
        let options = ["fillfactor=70".to_owned()];
        assert_eq!(with_index_options("PRIMARY KEY (id)", &options), "PRIMARY KEY (id) WITH (fillfactor=70)");
        assert_eq!(
            with_index_options("UNIQUE (a) INCLUDE (b) DEFERRABLE INITIALLY DEFERRED", &options),
            "UNIQUE (a) INCLUDE (b) WITH (fillfactor=70) DEFERRABLE INITIALLY DEFERRED"
        );
    }
}
