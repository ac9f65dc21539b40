//! NOT NULL constraints as objects with names and parents of their own, which they are from PostgreSQL 18 on.

use crate::ddl::comment;
use crate::ddl::relations::printed;
use crate::graph::{Builder, Node};
use crate::kind::Kind;
use crate::rows::{ColumnRow, NotNull, RelationRow};
use crate::sql::{ident, qualified};

impl Builder<'_> {
    /// Whether a child has to declare the NOT NULL of a column: its own, or a validated one where no parent's is
    /// (`flagInhAttrs` of pg_dump).
    pub(crate) fn is_own_not_null(&self, row: &RelationRow, column: &ColumnRow) -> bool {
        let Some(constraint) = &column.not_null_constraint else { return false };
        let above = self.inherited(row, &column.name);
        let mut above = above.iter().filter_map(|column| column.not_null_constraint.as_ref()).peekable();
        let stronger = constraint.validated && above.peek().is_some() && above.all(|c| !c.validated);
        constraint.local || stronger
    }

    /// The elements of CREATE TABLE for NOT NULLs of a child's own on columns that it only inherits.
    pub(crate) fn inherited_not_nulls(&self, row: &RelationRow) -> Vec<String> {
        let columns = self.catalog.columns_of(row.oid).iter();
        columns
            .filter(|column| row.declares_columns() && row.of_type.is_none() && !printed(row, column))
            .filter(|column| self.is_own_not_null(row, column))
            .filter_map(|column| Some((column, column.not_null_constraint.as_ref().filter(|c| c.validated)?)))
            .map(|(column, constraint)| {
                let name = match usually_named(row, column, constraint) {
                    true => String::new(),
                    false => format!("CONSTRAINT {} ", ident(&constraint.name)),
                };
                let no_inherit = if constraint.no_inherit { " NO INHERIT" } else { "" };
                format!("{name}NOT NULL {}{no_inherit}", ident(&column.name))
            })
            .collect()
    }

    /// Those that not every row has to pass (NOT VALID), which come after the rows.
    pub(crate) fn late_not_nulls(&mut self) {
        for row in &self.catalog.relations {
            for column in self.catalog.columns_of(row.oid) {
                let Some(constraint) =
                    column.not_null_constraint.as_ref().filter(|c| !c.validated && c.local)
                else {
                    continue;
                };
                let Some(table) = self.node("pg_class", row.oid) else { continue };
                let name = qualified(&row.schema, &row.name);
                let quoted = ident(&constraint.name);
                let mut node = Node::new(Kind::LateNotNull, row.oid, &row.schema, &constraint.name);
                node.on = Some(row.label());
                node.relation = Some(row.oid);
                node.create.push(format!(
                    "ALTER TABLE {name} ADD CONSTRAINT {quoted} NOT NULL {} NOT VALID",
                    ident(&column.name)
                ));
                let object = format!("CONSTRAINT {quoted} ON {name}");
                node.create.extend(comment(&object, constraint.comment.as_deref()));
                node.drop.push(format!("ALTER TABLE {name} DROP CONSTRAINT {quoted}"));
                node.features.push((180_000, "NOT NULL NOT VALID"));
                node.needs.insert(table);
                self.add_part(node);
            }
        }
    }
}

/// Whether a NOT NULL constraint has the name that the server gives it.
pub(crate) fn usually_named(row: &RelationRow, column: &ColumnRow, constraint: &NotNull) -> bool {
    constraint.name == format!("{}_{}_not_null", row.name, column.name)
}
