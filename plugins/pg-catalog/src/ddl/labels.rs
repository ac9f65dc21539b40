//! Security labels: each a statement more of what it is on.

use std::collections::BTreeMap;

use crate::graph::{Builder, Graph, Node, NodeId};
use crate::kind::Kind;
use crate::preflight::Finding;
use crate::rows::SecurityLabelRow;
use crate::sql::{ident, literal, qualified};

/// What every one of them begins with.
pub const WORDS: &str = "SECURITY LABEL ";
const FOR: &str = "SECURITY LABEL FOR ";

/// What takes the label of a statement away again.
pub fn unlabelled(statement: &str) -> String {
    let object = statement.split_once(" IS '").map_or(statement, |(object, _)| object);
    format!("{object} IS NULL")
}

impl SecurityLabelRow {
    /// The statement for an object, as `TABLE app.users`.
    pub fn on(&self, object: &str) -> String {
        format!("{FOR}{} ON {object} IS {}", ident(&self.provider), literal(&self.label))
    }

    pub fn is_of_large_object(&self) -> bool {
        self.class == "pg_largeobject"
    }
}

impl Builder<'_> {
    pub(crate) fn labels(&mut self) {
        // Those of one node in the order of their texts: numbers differ between databases.
        let mut said: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
        for row in &self.catalog.labels {
            if row.is_of_large_object() {
                let mut node = Node::new(
                    Kind::LargeObject,
                    row.oid,
                    "",
                    &format!("{} labelled by {}", row.oid, row.provider),
                );
                node.create.push(row.on(&format!("LARGE OBJECT {}", row.oid)));
                self.add_part(node);
                continue;
            }
            // An identity column's sequence comes with its table.
            let sequence =
                self.catalog.sequences.iter().find(|s| row.class == "pg_class" && s.oid == row.oid);
            let of_identity = sequence.filter(|s| s.identity == Some(true));
            if let Some(sequence) = of_identity {
                if let Some(table) = sequence.owner.and_then(|owner| self.node("pg_class", owner)) {
                    let object = format!("SEQUENCE {}", qualified(&sequence.schema, &sequence.name));
                    said.entry(table).or_default().push(row.on(&object));
                }
                continue;
            }
            let Some(id) = self.own_node(&row.class, row.oid) else { continue };
            let node = &self.nodes[id];
            let object = match &row.column {
                Some(column) => format!("COLUMN {}.{column}", qualified(&node.schema, &node.name)),
                None => {
                    let Some(object) = node.drop.iter().find_map(|drop| drop.strip_prefix("DROP ")) else {
                        continue;
                    };
                    object.trim_end_matches(" CASCADE").replacen(" IF EXISTS ", " ", 1)
                }
            };
            said.entry(id).or_default().push(row.on(&object));
        }
        for (id, mut statements) in said {
            statements.sort();
            self.nodes[id].create.extend(statements);
        }
    }
}

impl Graph {
    /// What is to be known of the labels that are made: a server doesn't tell which providers it has.
    pub fn labels(&self) -> Vec<Finding> {
        let statements = self.nodes.iter().flat_map(|node| &node.create);
        let mut providers: BTreeMap<&str, u64> = BTreeMap::new();
        for rest in statements.filter_map(|statement| statement.strip_prefix(FOR)) {
            *providers.entry(rest.split(" ON ").next().unwrap_or_default()).or_default() += 1;
        }
        let say = |(provider, count): (&str, &u64)| {
            Finding::warning(
                format!("security labels of provider {provider}"),
                format!(
                    "are to be made, {count} of them: that fails where the target hasn't loaded the provider"
                ),
                "load it there by `shared_preload_libraries`, or leave `security_labels` out",
            )
        };
        providers.iter().map(|(provider, count)| say((provider, count))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::catalog::Catalog;
    use crate::graph::build;
    use crate::pattern::Filter;

    #[test]
    fn labels_follow_what_they_are_on() {
        let schema = serde_json::json!({ "oid": 20000, "name": "App", "comment": "mine" });
        let label = |class: &str, oid, provider: &str| SecurityLabelRow {
            class: class.to_owned(),
            oid,
            column: None,
            provider: provider.to_owned(),
            label: "it's secret".to_owned(),
        };
        let catalog = Catalog {
            version: 180_000,
            schemas: vec![serde_json::from_value(schema).unwrap()],
            labels: vec![label("pg_namespace", 20000, "dummy"), label("pg_largeobject", 7, "Odd")],
            ..Catalog::default()
        };
        let graph = build(&catalog, &Filter::default(), &BTreeSet::new());
        let create: Vec<&String> = graph.nodes.iter().flat_map(|node| &node.create).collect();
        assert_eq!(create[0], "CREATE SCHEMA \"App\"");
        assert!(
            create.iter().any(|s| *s == "SECURITY LABEL FOR dummy ON SCHEMA \"App\" IS 'it''s secret'"),
            "{create:?}"
        );
        assert!(
            create.iter().any(|s| *s == "SECURITY LABEL FOR \"Odd\" ON LARGE OBJECT 7 IS 'it''s secret'"),
            "{create:?}"
        );
        let said: Vec<String> = graph.labels().iter().map(Finding::sentence).collect();
        assert!(
            said.len() == 2 && said.iter().any(|line| line.contains("provider dummy are to be made, 1")),
            "{said:?}"
        );
    }
}
