//! Schemas, extensions, collations and types.

use crate::ddl::comment;
use crate::graph::{Builder, Node, NodeId};
use crate::kind::Kind;
use crate::rows::{DomainConstraint, ScalarParts, TypeRow};
use crate::sql::{ident, literal, qualified};

impl<'a> Builder<'a> {
    pub(crate) fn schemas(&mut self) {
        for row in &self.catalog.schemas {
            let mut node = Node::new(Kind::Schema, row.oid, "", &row.name);
            node.create.push(format!("CREATE SCHEMA {}", ident(&row.name)));
            node.drop.push(format!("DROP SCHEMA {}", ident(&row.name)));
            // initdb's own comment on `public`; whoever doesn't own that schema may not set it.
            let text = row.comment.as_deref().filter(|text| *text != "standard public schema");
            node.create.extend(comment(&format!("SCHEMA {}", ident(&row.name)), text));
            self.add("pg_namespace", node);
        }
    }

    /// An extension's comment comes with it; setting one needs to own the extension, which hosted servers don't allow.
    pub(crate) fn extensions(&mut self) {
        for row in &self.catalog.extensions {
            let mut node = Node::new(Kind::Extension, row.oid, "", &row.name);
            let schema =
                if row.own_schema { String::new() } else { format!(" WITH SCHEMA {}", ident(&row.schema)) };
            node.create.push(format!("CREATE EXTENSION {}{schema}", ident(&row.name)));
            node.drop.push(format!("DROP EXTENSION {}", ident(&row.name)));
            self.add("pg_extension", node);
        }
    }

    pub(crate) fn collations(&mut self) {
        for row in &self.catalog.collations {
            let name = qualified(&row.schema, &row.name);
            let mut node = Node::new(Kind::Collation, row.oid, &row.schema, &row.name);
            let provider = match row.provider.as_str() {
                "i" => "icu",
                "b" => "builtin",
                _ => "libc",
            };
            let mut parts = vec![format!("provider = {provider}")];
            if !row.deterministic {
                parts.push("deterministic = false".to_owned());
            }
            match (&row.locale, &row.collate, &row.ctype) {
                (Some(locale), ..) => parts.push(format!("locale = {}", literal(locale))),
                (None, Some(collate), Some(ctype)) if collate == ctype => {
                    parts.push(format!("locale = {}", literal(collate)));
                }
                (None, collate, ctype) => {
                    parts.extend(collate.iter().map(|c| format!("lc_collate = {}", literal(c))));
                    parts.extend(ctype.iter().map(|c| format!("lc_ctype = {}", literal(c))));
                }
            }
            parts.extend(row.rules.iter().map(|rules| format!("rules = {}", literal(rules))));
            if row.provider == "b" {
                node.features.push((170_000, "builtin collation provider"));
            }
            node.create.push(format!("CREATE COLLATION {name} ({})", parts.join(", ")));
            node.create.extend(comment(&format!("COLLATION {name}"), row.comment.as_deref()));
            node.drop.push(format!("DROP COLLATION {name}"));
            self.add("pg_collation", node);
        }
    }

    pub(crate) fn types(&mut self) {
        for row in &self.catalog.types {
            match row.kind.as_str() {
                "e" => self.enumeration(row),
                "d" => self.domain(row),
                "c" => self.composite(row),
                "r" => self.range(row),
                "b" => self.base(row),
                "p" => drop(self.shell(row)),
                _ => {}
            }
        }
    }

    fn enumeration(&mut self, row: &'a TypeRow) {
        let name = qualified(&row.schema, &row.name);
        let labels: Vec<String> = row.labels.iter().flatten().map(|label| literal(label)).collect();
        let mut node = Node::new(Kind::Enum, row.oid, &row.schema, &row.name);
        node.create.push(format!("CREATE TYPE {name} AS ENUM ({})", labels.join(", ")));
        node.create.extend(comment(&format!("TYPE {name}"), row.comment.as_deref()));
        node.drop.push(format!("DROP TYPE {name}"));
        self.add("pg_type", node);
    }

    fn domain(&mut self, row: &'a TypeRow) {
        let name = qualified(&row.schema, &row.name);
        let mut create = format!("CREATE DOMAIN {name} AS {}", row.base.as_deref().unwrap_or_default());
        if let Some(collation) = &row.collation {
            create += &format!(" COLLATE {collation}");
        }
        if let Some(default) = &row.default {
            create += &format!(" DEFAULT {default}");
        }
        let mut comments = Vec::new();
        let mut parts = Vec::new();
        let (not_null, checks): (Vec<_>, Vec<_>) =
            row.constraints.iter().flatten().partition(|constraint| constraint.kind == "n");
        let object = |constraint: &DomainConstraint| {
            format!("CONSTRAINT {} ON DOMAIN {name}", ident(&constraint.name))
        };
        match not_null.first() {
            Some(constraint) => {
                if constraint.name != format!("{}_not_null", row.name) {
                    create += &format!(" CONSTRAINT {}", ident(&constraint.name));
                }
                create += " NOT NULL";
                comments.extend(comment(&object(constraint), constraint.comment.as_deref()));
            }
            None if row.not_null => create += " NOT NULL",
            None => {}
        }
        for constraint in checks {
            let comment = comment(&object(constraint), constraint.comment.as_deref());
            let Some(definition) = &constraint.definition else { continue };
            if constraint.validated && !self.calls_routine("pg_constraint", constraint.oid) {
                create += &format!(" CONSTRAINT {} {definition}", ident(&constraint.name));
                comments.extend(comment);
                continue;
            }
            // NOT VALID is added once the rows are there that may break it.
            let kind = if constraint.validated { Kind::DomainCheck } else { Kind::LateCheck };
            let mut part = Node::new(kind, constraint.oid, &row.schema, &constraint.name);
            part.on = Some(format!("{}.{}", row.schema, row.name));
            part.create
                .push(format!("ALTER DOMAIN {name} ADD CONSTRAINT {} {definition}", ident(&constraint.name)));
            part.create.extend(comment);
            part.drop.push(format!("ALTER DOMAIN {name} DROP CONSTRAINT {}", ident(&constraint.name)));
            parts.push(part);
        }
        let mut node = Node::new(Kind::Domain, row.oid, &row.schema, &row.name);
        node.create.push(create);
        node.create.extend(comment(&format!("DOMAIN {name}"), row.comment.as_deref()));
        node.create.extend(comments);
        node.drop.push(format!("DROP DOMAIN {name}"));
        let domain = self.add("pg_type", node);
        for mut part in parts {
            part.needs.insert(domain);
            self.add("pg_constraint", part);
        }
        for constraint in row.constraints.iter().flatten() {
            self.at.entry(("pg_constraint", constraint.oid)).or_insert(domain);
        }
    }

    fn composite(&mut self, row: &'a TypeRow) {
        let name = qualified(&row.schema, &row.name);
        let mut node = Node::new(Kind::Composite, row.oid, &row.schema, &row.name);
        let attributes: Vec<String> = row
            .attributes
            .iter()
            .flatten()
            .map(|attribute| {
                let collation =
                    attribute.collation.as_ref().map(|c| format!(" COLLATE {c}")).unwrap_or_default();
                format!("{} {}{collation}", ident(&attribute.name), attribute.ty)
            })
            .collect();
        node.create.push(format!("CREATE TYPE {name} AS ({})", attributes.join(", ")));
        node.create.extend(comment(&format!("TYPE {name}"), row.comment.as_deref()));
        for attribute in row.attributes.iter().flatten() {
            let object = format!("COLUMN {name}.{}", ident(&attribute.name));
            node.create.extend(comment(&object, attribute.comment.as_deref()));
        }
        node.drop.push(format!("DROP TYPE {name}"));
        let id = self.add("pg_type", node);
        self.at.insert(("pg_class", row.relation), id);
    }

    fn range(&mut self, row: &'a TypeRow) {
        let Some(range) = &row.range else { return };
        let name = qualified(&row.schema, &row.name);
        let mut node = Node::new(Kind::Range, row.oid, &row.schema, &row.name);
        let mut parts = vec![format!("subtype = {}", range.subtype)];
        parts.extend(range.multirange.iter().map(|m| format!("multirange_type_name = {m}")));
        parts.extend(range.opclass.iter().map(|o| format!("subtype_opclass = {o}")));
        parts.extend(range.collation.iter().map(|c| format!("collation = {c}")));
        parts.extend(range.difference_name.iter().map(|f| format!("subtype_diff = {f}")));
        parts.extend(range.canonical.iter().map(|f| format!("canonical = {f}")));
        node.create.push(format!("CREATE TYPE {name} AS RANGE ({})", parts.join(", ")));
        node.create.extend(comment(&format!("TYPE {name}"), row.comment.as_deref()));
        if range.canonical.is_some() {
            self.circular(row, node);
        } else {
            node.drop.push(format!("DROP TYPE {name}"));
            self.add("pg_type", node);
        }
    }

    fn base(&mut self, row: &'a TypeRow) {
        let Some(parts) = &row.scalar else { return };
        let name = qualified(&row.schema, &row.name);
        let mut node = Node::new(Kind::Base, row.oid, &row.schema, &row.name);
        node.create.push(format!(
            "CREATE TYPE {name} ({})",
            scalar_options(parts, row.default.as_deref()).join(", ")
        ));
        node.create.extend(comment(&format!("TYPE {name}"), row.comment.as_deref()));
        // Its functions read and write the server's memory.
        node.superuser = true;
        self.circular(row, node);
    }

    /// A type that functions make up which take or return it: they are made over a shell of it, and can't be dropped
    /// before it, nor it before them.
    fn circular(&mut self, row: &'a TypeRow, mut node: Node) {
        let shell = self.shell(row);
        // It goes with the type that it became.
        self.nodes[shell].drop.clear();
        let name = qualified(&row.schema, &row.name);
        node.needs.insert(shell);
        node.drop.push(unused(&name));
        node.drop.push(format!("DROP TYPE {name} CASCADE"));
        let id = self.add("pg_type", node);
        self.shells.insert(id, shell);
    }

    fn shell(&mut self, row: &'a TypeRow) -> NodeId {
        let name = qualified(&row.schema, &row.name);
        let mut node = Node::new(Kind::Shell, row.oid, &row.schema, &row.name);
        node.create.push(format!("CREATE TYPE {name}"));
        if row.kind == "p" {
            node.create.extend(comment(&format!("TYPE {name}"), row.comment.as_deref()));
        }
        node.drop.push(format!("DROP TYPE {name}"));
        self.add("pg_type", node)
    }

    /// Row types belong to their relations; array and multirange types to what they are made of.
    pub(crate) fn alias_types(&mut self) {
        for relation in &self.catalog.relations {
            if let Some(id) = self.node("pg_class", relation.oid) {
                self.at.insert(("pg_type", relation.row_type), id);
            }
        }
        // An array type hangs on its element type by an internal dependency, a multirange on its range; hence an array of
        // multiranges is found in the second pass.
        for edge in self.catalog.edges.iter().chain(&self.catalog.edges) {
            if edge.t == "i"
                && edge.c == "pg_type"
                && edge.rc == "pg_type"
                && let Some(id) = self.node("pg_type", edge.ro)
            {
                self.at.entry(("pg_type", edge.o)).or_insert(id);
            }
        }
    }
}

/// Fails where anything uses a type but the functions that make it up, and what the server makes with it (constructors of
/// ranges): CASCADE would take that away, too.
fn unused(name: &str) -> String {
    let quoted = literal(name);
    format!(
        "DO $godwit$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_type t \
           JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass \
             AND d.refobjid IN (t.oid, t.typarray) AND d.deptype = 'n' \
           WHERE t.oid = {quoted}::pg_catalog.regtype AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend own \
             WHERE own.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND own.objid = t.oid \
               AND own.refclassid = d.classid AND own.refobjid = d.objid \
               OR own.classid = d.classid AND own.objid = d.objid AND own.deptype = 'i' \
               AND own.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass)) \
         THEN RAISE 'other objects use the type %', {quoted} USING ERRCODE = 'dependent_objects_still_exist'; \
         END IF; END $godwit$"
    )
}

/// In the order of pg_dump (`dumpBaseType`).
fn scalar_options(parts: &ScalarParts, default: Option<&str>) -> Vec<String> {
    let length = if parts.length == -1 { "variable".to_owned() } else { parts.length.to_string() };
    let mut options = vec![
        format!("INTERNALLENGTH = {length}"),
        format!("INPUT = {}", parts.input),
        format!("OUTPUT = {}", parts.output),
    ];
    let mut named = |word: &str, value: &Option<String>| {
        options.extend(value.as_ref().map(|value| format!("{word} = {value}")));
    };
    named("RECEIVE", &parts.receive);
    named("SEND", &parts.send);
    named("TYPMOD_IN", &parts.typmod_in);
    named("TYPMOD_OUT", &parts.typmod_out);
    named("ANALYZE", &parts.analyze);
    named("SUBSCRIPT", &parts.subscript);
    named("DEFAULT", &default.map(literal));
    named("ELEMENT", &parts.element);
    if parts.collatable {
        options.push("COLLATABLE = true".to_owned());
    }
    if parts.category != "U" {
        options.push(format!("CATEGORY = {}", literal(&parts.category)));
    }
    if parts.preferred {
        options.push("PREFERRED = true".to_owned());
    }
    if parts.delimiter != "," {
        options.push(format!("DELIMITER = {}", literal(&parts.delimiter)));
    }
    let alignment = match parts.alignment.as_str() {
        "c" => "char",
        "s" => "int2",
        "d" => "double",
        _ => "int4",
    };
    options.push(format!("ALIGNMENT = {alignment}"));
    let storage = match parts.storage.as_str() {
        "e" => "external",
        "m" => "main",
        "x" => "extended",
        _ => "plain",
    };
    options.push(format!("STORAGE = {storage}"));
    if parts.by_value {
        options.push("PASSEDBYVALUE".to_owned());
    }
    options
}
