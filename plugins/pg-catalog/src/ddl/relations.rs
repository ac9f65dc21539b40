//! Tables, views, and the parts of tables that need statements of their own.

use crate::ddl::comment;
use crate::ddl::foreign::options;
use crate::ddl::not_nulls::usually_named;
use crate::ddl::sequences::sequence_options;
use crate::graph::{Builder, Node};
use crate::kind::Kind;
use crate::rows::{ColumnRow, ConstraintRow, Oid, RelationRow, SequenceRow};
use crate::sql::{ident, option_list, qualified, statement, with_options};

impl<'a> Builder<'a> {
    pub(crate) fn relations(&mut self) {
        for row in &self.catalog.relations {
            let mut node = match row.kind.as_str() {
                "v" => self.view(row),
                "m" => self.materialized_view(row),
                _ => self.table(row),
            };
            node.relation = Some(row.oid);
            node.tablespace.clone_from(&row.tablespace);
            self.add("pg_class", node);
        }
        // A child needs its parents, and pg_depend says so too; but the ids have to be there first.
        for row in &self.catalog.relations {
            for parent in &row.parents {
                if let (Some(child), Some(parent)) =
                    (self.node("pg_class", row.oid), self.node("pg_class", *parent))
                {
                    self.nodes[child].needs.insert(parent);
                }
            }
        }
        for row in &self.catalog.rules {
            if row.definition.is_none()
                && let Some(view) = self.node("pg_class", row.relation)
            {
                self.at.insert(("pg_rewrite", row.oid), view);
            }
        }
    }

    fn table(&mut self, row: &'a RelationRow) -> Node {
        let name = qualified(&row.schema, &row.name);
        let foreign = row.kind == "f";
        let kind = if foreign { Kind::ForeignTable } else { Kind::Table };
        let mut node = Node::new(kind, row.oid, &row.schema, &row.name);
        let columns = self.catalog.columns_of(row.oid);
        let mut elements: Vec<String> =
            columns.iter().filter_map(|column| self.column(row, column, &mut node)).collect();
        let mut comments = Vec::new();
        let not_nulls = self.inherited_not_nulls(row);
        for constraint in self.inline_checks(row) {
            elements.push(format!("CONSTRAINT {} {}", ident(&constraint.name), constraint.definition));
            let object = format!("CONSTRAINT {} ON {name}", ident(&constraint.name));
            comments.extend(comment(&object, constraint.comment.as_deref()));
        }
        let unlogged = match row.persistence.as_str() {
            _ if foreign => "FOREIGN ",
            "u" => "UNLOGGED ",
            _ => "",
        };
        let reordered = self.is_reordered(row);
        let mut rest = String::new();
        if !row.partition && !row.parents.is_empty() && !reordered {
            rest += &format!(" INHERITS ({})", self.names(&row.parents).join(", "));
        }
        if let Some(key) = &row.partition_key {
            rest += &format!(" PARTITION BY {key}");
        }
        if let Some(method) = row.access_method.as_deref().filter(|method| *method != "heap") {
            rest += &format!(" USING {}", ident(method));
        }
        if let Some(server) = &row.server {
            rest += &format!(" SERVER {}{}", ident(server), options(&row.foreign_options));
            node.withheld.clone_from(&row.withheld);
        }
        let mut storage = row.options.clone();
        storage.extend(row.toast_options.iter().map(|option| format!("toast.{option}")));
        rest += &with_options(&storage);
        let create = |elements: &[String]| match &row.of_type {
            Some(of_type) if elements.is_empty() => {
                format!("CREATE {unlogged}TABLE {name} OF {of_type}{rest}")
            }
            Some(of_type) => {
                format!("CREATE {unlogged}TABLE {name} OF {of_type} ({}){rest}", lines(elements))
            }
            None => format!("CREATE {unlogged}TABLE {name} ({}){rest}", lines(elements)),
        };
        if !not_nulls.is_empty() {
            // An older server has no name for them, and takes them from the parent.
            node.older = Some((180_000, create(&elements)));
            elements.extend(not_nulls);
        }
        node.create.push(create(&elements));
        let word = if foreign { "FOREIGN TABLE" } else { "TABLE" };
        node.create.extend(comment(&format!("{word} {name}"), row.comment.as_deref()));
        node.create.append(&mut comments);
        self.column_settings(row, &mut node);
        if reordered {
            let inherit = |parent| format!("ALTER {word} ONLY {name} INHERIT {parent}");
            node.create.extend(self.names(&row.parents).into_iter().map(inherit));
        }
        if row.partition
            && let (Some(parent), Some(bound)) = (row.parents.first(), &row.bound)
        {
            for parent in self.names(&[*parent]) {
                node.create.push(format!("ALTER TABLE ONLY {parent} ATTACH PARTITION {name} {bound}"));
            }
        }
        node.drop.push(format!("DROP {word} {name}"));
        node
    }

    /// One element of CREATE TABLE; none for a column that comes from a parent or the table's type.
    fn column(&self, row: &RelationRow, column: &ColumnRow, node: &mut Node) -> Option<String> {
        if !printed(row, column) {
            return None;
        }
        let mut text = ident(&column.name);
        let typed = row.of_type.is_some();
        if !typed {
            text += &format!(" {}", column.ty);
            text += &column.collation.as_ref().map(|c| format!(" COLLATE {c}")).unwrap_or_default();
        }
        let bare = text.len();
        // A child takes the same generation expression from its parent, and before 16 may not repeat it.
        let apart = row.partition || self.is_reordered(row);
        let repeats = !apart
            && !column.generated.is_empty()
            && self
                .inherited(row, &column.name)
                .iter()
                .any(|c| c.generated == column.generated && c.default == column.default);
        let mixed = self
            .inherited(row, &column.name)
            .iter()
            .any(|c| c.generated.is_empty() != column.generated.is_empty());
        if mixed {
            node.gone.push((160_000, "column that is generated in a child or its parent alone"));
        }
        match (&column.default, column.generated.as_str()) {
            _ if repeats => {}
            (Some(expression), "s") => text += &format!(" GENERATED ALWAYS AS ({expression}) STORED"),
            (Some(expression), "v") => {
                text += &format!(" GENERATED ALWAYS AS ({expression})");
                node.features.push((180_000, "virtual generated column"));
            }
            (Some(expression), _) if self.default_inline(row, column) => {
                text += &format!(" DEFAULT {expression}")
            }
            _ => {}
        }
        if let Some(sequence) = self.identity_of(row, column) {
            let always = if column.identity == "a" { "ALWAYS" } else { "BY DEFAULT" };
            let name = qualified(&sequence.schema, &sequence.name);
            text += &format!(
                " GENERATED {always} AS IDENTITY (SEQUENCE NAME {name} {})",
                sequence_options(sequence, false)
            );
        }
        match &column.not_null_constraint {
            Some(constraint)
                if constraint.validated && (self.is_own_not_null(row, column) || row.partition) =>
            {
                if !usually_named(row, column, constraint) {
                    text += &format!(" CONSTRAINT {}", ident(&constraint.name));
                }
                text += " NOT NULL";
                if constraint.no_inherit {
                    text += " NO INHERIT";
                    node.features.push((180_000, "NOT NULL NO INHERIT"));
                }
            }
            // Before 18 a child's NOT NULL is not told from the one that it inherits.
            None if column.not_null
                && (apart || !self.inherited(row, &column.name).iter().any(|c| c.not_null)) =>
            {
                text += " NOT NULL";
            }
            _ => {}
        }
        if typed {
            return (text.len() > bare)
                .then(|| format!("{} WITH OPTIONS{}", ident(&column.name), &text[bare..]));
        }
        Some(text)
    }

    /// What CREATE TABLE can't say of columns: storage, statistics, what differs from a parent's column, comments.
    fn column_settings(&self, row: &'a RelationRow, node: &mut Node) {
        let name = qualified(&row.schema, &row.name);
        for column in self.catalog.columns_of(row.oid) {
            let alter = format!("ALTER TABLE ONLY {name} ALTER COLUMN {}", ident(&column.name));
            if let Some(storage) = &column.storage {
                let word = match storage.as_str() {
                    "p" => "PLAIN",
                    "e" => "EXTERNAL",
                    "m" => "MAIN",
                    _ => "EXTENDED",
                };
                node.create.push(format!("{alter} SET STORAGE {word}"));
            }
            match column.compression.as_str() {
                "p" => node.create.push(format!("{alter} SET COMPRESSION pglz")),
                "l" => node.create.push(format!("{alter} SET COMPRESSION lz4")),
                _ => {}
            }
            if !column.compression.is_empty() {
                node.features.push((140_000, "column compression"));
            }
            if let Some(target) = column.statistics {
                node.create.push(format!("{alter} SET STATISTICS {target}"));
            }
            if !column.options.is_empty() {
                node.create.push(format!("{alter} SET ({})", option_list(&column.options)));
            }
            if column.foreign_options.is_some() {
                let alter = alter.replacen("ALTER TABLE", "ALTER FOREIGN TABLE", 1);
                node.create.push(format!("{alter}{}", options(&column.foreign_options)));
            }
            if !printed(row, column) && row.declares_columns() && row.of_type.is_none() {
                let above = self.inherited(row, &column.name);
                if column.default.is_none() && above.iter().any(|c| c.default.is_some()) {
                    node.create.push(format!("{alter} DROP DEFAULT"));
                }
                let validated = column.not_null_constraint.as_ref().is_none_or(|c| c.validated);
                if column.not_null && validated && !above.iter().any(|c| c.not_null) {
                    node.create.push(format!("{alter} SET NOT NULL"));
                }
            }
            let object = format!("COLUMN {name}.{}", ident(&column.name));
            node.create.extend(comment(&object, column.comment.as_deref()));
            if let Some(constraint) = &column.not_null_constraint
                && constraint.validated
                && self.is_own_not_null(row, column)
            {
                let object = format!("CONSTRAINT {} ON {name}", ident(&constraint.name));
                node.create.extend(comment(&object, constraint.comment.as_deref()));
            }
        }
    }

    /// The columns of this name in the parents.
    pub(crate) fn inherited(&self, row: &RelationRow, column: &str) -> Vec<&'a ColumnRow> {
        row.parents
            .iter()
            .flat_map(|parent| self.catalog.columns_of(*parent))
            .filter(|above| above.name == column)
            .collect()
    }

    /// Whether a child has its columns in another order than INHERITS would put them into, and declares all that it takes
    /// from its parents, so that it can be made by itself and given to them afterwards. (Where it declares only some,
    /// INHERITS is the one way not to declare the others, and puts them in front.)
    fn is_reordered(&self, row: &RelationRow) -> bool {
        if row.partition || row.parents.is_empty() {
            return false;
        }
        let columns = self.catalog.columns_of(row.oid);
        let declares = columns.iter().all(|column| {
            column.local && column.not_null_constraint.as_ref().is_none_or(|c| c.local && c.validated)
        });
        let checks = self.checks.get(&row.oid).map_or(0, Vec::len);
        if !declares || self.inline_checks(row).len() != checks {
            return false;
        }
        let above = row.parents.iter().flat_map(|parent| self.catalog.columns_of(*parent));
        let mut usual: Vec<&str> = Vec::new();
        for column in above.chain(columns) {
            if !usual.contains(&column.name.as_str()) {
                usual.push(&column.name);
            }
        }
        !usual.into_iter().eq(columns.iter().map(|column| column.name.as_str()))
    }

    /// Whether the default stands in CREATE TABLE; otherwise it gets a statement of its own.
    fn default_inline(&self, row: &RelationRow, column: &ColumnRow) -> bool {
        let own = column.default_oid.is_none_or(|oid| !self.calls_routine("pg_attrdef", oid));
        own && row.declares_columns() && printed(row, column)
    }

    fn identity_of(&self, row: &RelationRow, column: &ColumnRow) -> Option<&'a SequenceRow> {
        self.identities.get(&(row.oid, column.number)).copied()
    }

    fn names(&self, relations: &[Oid]) -> Vec<String> {
        relations
            .iter()
            .filter_map(|oid| self.relations.get(oid))
            .map(|relation| qualified(&relation.schema, &relation.name))
            .collect()
    }

    fn view(&mut self, row: &'a RelationRow) -> Node {
        let name = qualified(&row.schema, &row.name);
        let mut node = Node::new(Kind::View, row.oid, &row.schema, &row.name);
        let mut check = String::new();
        let mut options = Vec::new();
        for option in &row.options {
            match option.split_once('=') {
                Some(("check_option", level)) => {
                    check = format!(" WITH {} CHECK OPTION", level.to_uppercase())
                }
                _ => options.push(option.clone()),
            }
            if option.starts_with("security_invoker=") {
                node.features.push((150_000, "security_invoker view"));
            }
        }
        let query = statement(row.definition.as_deref().unwrap_or_default());
        node.create.push(format!("CREATE VIEW {name}{} AS\n{query}{check}", with_options(&options)));
        node.create.extend(comment(&format!("VIEW {name}"), row.comment.as_deref()));
        self.column_settings(row, &mut node);
        node.drop.push(format!("DROP VIEW {name}"));
        let columns: Vec<String> = self
            .catalog
            .columns_of(row.oid)
            .iter()
            .map(|column| {
                let collation =
                    column.collation.as_ref().map(|c| format!(" COLLATE {c}")).unwrap_or_default();
                format!("NULL::{}{collation} AS {}", column.ty, ident(&column.name))
            })
            .collect();
        node.placeholder =
            Some(format!("CREATE VIEW {name}{} AS\nSELECT {}", with_options(&options), columns.join(", ")));
        node
    }

    fn materialized_view(&mut self, row: &'a RelationRow) -> Node {
        let name = qualified(&row.schema, &row.name);
        let mut node = Node::new(Kind::MaterializedView, row.oid, &row.schema, &row.name);
        let using = match row.access_method.as_deref() {
            Some(method) if method != "heap" => format!(" USING {}", ident(method)),
            _ => String::new(),
        };
        let query = statement(row.definition.as_deref().unwrap_or_default());
        let options = with_options(&row.options);
        node.create
            .push(format!("CREATE MATERIALIZED VIEW {name}{using}{options} AS\n{query}\nWITH NO DATA"));
        node.create.extend(comment(&format!("MATERIALIZED VIEW {name}"), row.comment.as_deref()));
        self.column_settings(row, &mut node);
        node.drop.push(format!("DROP MATERIALIZED VIEW {name}"));
        node
    }

    /// Defaults that don't stand in CREATE TABLE.
    pub(crate) fn defaults(&mut self) {
        for row in &self.catalog.relations {
            let Some(relation) = self.node("pg_class", row.oid) else { continue };
            for column in self.catalog.columns_of(row.oid) {
                let (Some(oid), Some(expression)) = (column.default_oid, &column.default) else { continue };
                if !column.generated.is_empty() || self.default_inline(row, column) {
                    self.at.insert(("pg_attrdef", oid), relation);
                    continue;
                }
                let name = qualified(&row.schema, &row.name);
                let alter = format!("ALTER TABLE ONLY {name} ALTER COLUMN {}", ident(&column.name));
                let mut node = Node::new(Kind::Default, oid, &row.schema, &column.name);
                node.on = Some(row.label());
                node.relation = Some(row.oid);
                node.create.push(format!("{alter} SET DEFAULT {expression}"));
                node.drop.push(format!("{alter} DROP DEFAULT"));
                node.needs.insert(relation);
                self.add("pg_attrdef", node);
            }
        }
    }

    /// The checks that stand in CREATE TABLE.
    fn inline_checks(&self, row: &RelationRow) -> Vec<&'a ConstraintRow> {
        self.checks
            .get(&row.oid)
            .into_iter()
            .flatten()
            .copied()
            .filter(|k| k.validated && (k.local || row.partition))
            .filter(|k| !self.calls_routine("pg_constraint", k.oid))
            .collect()
    }

    /// The checks that get a statement of their own: those that call a user's function, and those that not every row has
    /// to pass (NOT VALID), which come after the rows.
    pub(crate) fn checks(&mut self) {
        for constraint in self.catalog.constraints.iter().filter(|k| k.kind == "c") {
            let Some(row) = self.relations.get(&constraint.relation).copied() else { continue };
            let Some(table) = self.node("pg_class", row.oid) else { continue };
            let inline = constraint.validated && !self.calls_routine("pg_constraint", constraint.oid);
            if inline || !constraint.local {
                // One that is only inherited comes with the parent's.
                self.at.insert(("pg_constraint", constraint.oid), table);
                continue;
            }
            let name = qualified(&row.schema, &row.name);
            let kind = if constraint.validated { Kind::Check } else { Kind::LateCheck };
            let mut node = Node::new(kind, constraint.oid, &row.schema, &constraint.name);
            node.on = Some(row.label());
            node.relation = Some(row.oid);
            let quoted = ident(&constraint.name);
            node.create.push(format!("ALTER TABLE {name} ADD CONSTRAINT {quoted} {}", constraint.definition));
            node.create
                .extend(comment(&format!("CONSTRAINT {quoted} ON {name}"), constraint.comment.as_deref()));
            node.drop.push(format!("ALTER TABLE {name} DROP CONSTRAINT {quoted}"));
            if constraint.definition.contains("NOT ENFORCED") {
                node.features.push((180_000, "NOT ENFORCED constraint"));
            }
            // It has to reach the tables below, so these come first.
            let below: Vec<usize> = self
                .descendants
                .get(&row.oid)
                .into_iter()
                .flatten()
                .filter_map(|oid| self.node("pg_class", *oid))
                .collect();
            node.needs.insert(table);
            node.needs.extend(below);
            self.add("pg_constraint", node);
        }
        self.late_not_nulls();
    }
}

/// Whether CREATE TABLE declares the column. A partition declares all of its columns, since it is made by itself and
/// then attached, which keeps their order.
pub(crate) fn printed(row: &RelationRow, column: &ColumnRow) -> bool {
    row.declares_columns() && (column.local || row.partition)
}

fn lines(elements: &[String]) -> String {
    if elements.is_empty() { String::new() } else { format!("\n    {}\n", elements.join(",\n    ")) }
}
