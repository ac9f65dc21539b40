//! Sequences, and the columns that own them.

use crate::ddl::comment;
use crate::graph::{Builder, Node};
use crate::kind::Kind;
use crate::rows::SequenceRow;
use crate::sql::{ident, qualified};

impl<'a> Builder<'a> {
    /// Sequences of their own and of serial columns; an identity column's comes with the column.
    pub(crate) fn sequences(&mut self) {
        for row in &self.catalog.sequences {
            if row.identity == Some(true) {
                if let Some(table) = row.owner.and_then(|owner| self.node("pg_class", owner)) {
                    let name = qualified(&row.schema, &row.name);
                    let comment = comment(&format!("SEQUENCE {name}"), row.comment.as_deref());
                    // From 15 on it follows its table unless told otherwise.
                    let like = row.owner.and_then(|owner| self.relations.get(&owner)).map(|r| &r.persistence);
                    if self.catalog.version >= 150_000 && like.is_some_and(|like| *like != row.persistence) {
                        let word = if row.persistence == "u" { "UNLOGGED" } else { "LOGGED" };
                        self.nodes[table].create.push(format!("ALTER SEQUENCE {name} SET {word}"));
                        self.nodes[table].features.push((150_000, "unlogged sequence"));
                    }
                    self.nodes[table].create.extend(comment);
                    self.at.insert(("pg_class", row.oid), table);
                }
                continue;
            }
            let name = qualified(&row.schema, &row.name);
            let mut node = Node::new(Kind::Sequence, row.oid, &row.schema, &row.name);
            let unlogged = if row.persistence == "u" { "UNLOGGED " } else { "" };
            if row.persistence == "u" {
                node.features.push((150_000, "unlogged sequence"));
            }
            node.create.push(format!("CREATE {unlogged}SEQUENCE {name} {}", sequence_options(row, true)));
            node.create.extend(comment(&format!("SEQUENCE {name}"), row.comment.as_deref()));
            node.drop.push(format!("DROP SEQUENCE {name}"));
            // A serial column's sequence goes where its table goes.
            node.relation = row.owner;
            let sequence = self.add("pg_class", node);
            self.sequence_owner(row, sequence);
        }
    }

    fn sequence_owner(&mut self, row: &'a SequenceRow, sequence: usize) {
        let (Some(owner), Some(number)) = (row.owner, row.owner_column) else { return };
        let Some(table) = self.node("pg_class", owner) else { return };
        let Some(column) = self.catalog.columns_of(owner).iter().find(|c| c.number == number) else { return };
        let name = qualified(&row.schema, &row.name);
        let on = qualified(&self.nodes[table].schema, &self.nodes[table].name);
        let mut node = Node::new(Kind::SequenceOwner, row.oid, &row.schema, &row.name);
        node.on = self.relations.get(&owner).map(|r| r.label());
        node.relation = Some(owner);
        node.create.push(format!("ALTER SEQUENCE {name} OWNED BY {on}.{}", ident(&column.name)));
        node.drop.push(format!("ALTER SEQUENCE {name} OWNED BY NONE"));
        node.needs.extend([sequence, table]);
        self.add_part(node);
    }
}

/// The options of a sequence; an identity column's has its type from the column.
pub(crate) fn sequence_options(row: &SequenceRow, with_type: bool) -> String {
    let mut options = Vec::new();
    if with_type && row.ty != "bigint" {
        options.push(format!("AS {}", row.ty));
    }
    options.push(format!("START WITH {}", row.start));
    options.push(format!("INCREMENT BY {}", row.increment));
    options.push(format!("MINVALUE {}", row.min));
    options.push(format!("MAXVALUE {}", row.max));
    options.push(format!("CACHE {}", row.cache));
    if row.cycle {
        options.push("CYCLE".to_owned());
    }
    options.join(" ")
}
