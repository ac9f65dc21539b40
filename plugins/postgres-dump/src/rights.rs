//! Owners and privileges as an archive has them: the one a field of what is owned, the others entries of their own.

use std::collections::BTreeMap;

use godwit_pg_catalog::{Graph, Kind, Node, NodeId, Oid};

/// The owners of objects, as far as the graph has them.
#[derive(Debug, Default)]
pub struct Owners<'a> {
    of_node: BTreeMap<NodeId, &'a str>,
    /// What belongs to a relation has the same.
    of_relation: BTreeMap<Oid, &'a str>,
}

impl<'a> Owners<'a> {
    pub fn of(graph: &'a Graph) -> Self {
        let mut owners = Self::default();
        for node in graph.nodes.iter().filter(|node| node.kind == Kind::Owner) {
            let Some(object) = node.needs.iter().next() else { continue };
            owners.of_node.insert(*object, &node.name);
            let object = &graph.nodes[*object];
            if object.relation == Some(object.oid) {
                owners.of_relation.insert(object.oid, &node.name);
            }
        }
        owners
    }

    /// The owner of what a node makes.
    pub fn of_node(&self, graph: &Graph, id: NodeId) -> Option<&'a str> {
        let own = self.of_node.get(&id).copied();
        own.or_else(|| self.of_relation.get(&graph.nodes[id].relation?).copied())
    }

    /// The owner of what privileges are of.
    pub fn of_object(&self, graph: &Graph, node: &Node) -> Option<&'a str> {
        node.needs.iter().find_map(|id| self.of_node(graph, *id))
    }
}

/// `TABLE users` of `GRANT SELECT ON TABLE app.users TO reader`, `COLUMN users.name` where it is of a column.
pub fn acl_tag(node: &Node) -> String {
    let statement = node.create.first().map_or("", String::as_str);
    let object = statement.split_once(" ON ").map_or(statement, |(_, rest)| rest);
    let end = [" TO ", " FROM "].iter().filter_map(|word| object.rfind(word)).max();
    let object = object.get(..end.unwrap_or(object.len())).unwrap_or(object);
    let object = object.replacen(&format!(" {}.", godwit_pg_catalog::sql::ident(&node.schema)), " ", 1);
    match node.name.strip_prefix("of column ") {
        Some(column) => format!("{}.{column}", object.replacen("TABLE ", "COLUMN ", 1)),
        None => object,
    }
}
