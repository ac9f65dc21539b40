//! The order in which objects are made.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use godwit_sdk::types::{Error, Result};

use crate::graph::{Graph, Node, NodeId};
use crate::kind::{Kind, Phase};

/// Sorts the objects so that each comes after what it needs; among those that are free, by kind and name, so that the
/// same schema always gives the same order. A cycle through a view is taken apart: the view is made without its query
/// first. Any other cycle is an error that names its members.
pub fn sort(graph: &mut Graph) -> Result<Vec<NodeId>> {
    loop {
        let (order, rest) = kahn(&graph.nodes);
        if rest.is_empty() {
            return Ok(order);
        }
        let core = core(&graph.nodes, rest);
        let view = core
            .iter()
            .copied()
            .filter(|id| graph.nodes[*id].placeholder.is_some())
            .min_by_key(|id| graph.nodes[*id].label());
        match view {
            Some(view) => split(graph, view),
            None => {
                let names: Vec<String> = core.iter().map(|id| graph.nodes[*id].title()).collect();
                return Err(Error::Invalid(format!(
                    "these objects need each other and can't be put into an order: {}; break the cycle in the source, or \
                     leave one of the kinds out by `skip`",
                    names.join(", ")
                )));
            }
        }
    }
}

/// Which objects of [`Phase::Before`] have to wait for one of a later phase (a view that groups by a primary key), and
/// which of [`Phase::Index`] have to wait for one of those.
pub fn late(nodes: &[Node], order: &[NodeId]) -> BTreeSet<NodeId> {
    let mut late = BTreeSet::new();
    for id in order {
        let node = &nodes[*id];
        let waits = |need: &NodeId| late.contains(need);
        let is_late = match node.kind.phase() {
            Phase::Before => {
                node.needs.iter().any(|need| waits(need) || nodes[*need].kind.phase() != Phase::Before)
            }
            Phase::Index => node.needs.iter().any(waits),
            Phase::ForeignKey | Phase::After => false,
        };
        if is_late {
            late.insert(*id);
        }
    }
    late
}

fn kahn(nodes: &[Node]) -> (Vec<NodeId>, BTreeSet<NodeId>) {
    let mut open: Vec<usize> = nodes.iter().map(|node| node.needs.len()).collect();
    let mut wanted_by: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for (id, node) in nodes.iter().enumerate() {
        for need in &node.needs {
            wanted_by.entry(*need).or_default().push(id);
        }
    }
    let key = |id: NodeId| Reverse((nodes[id].kind, nodes[id].label(), id));
    let mut free: BinaryHeap<_> = (0..nodes.len()).filter(|id| open[*id] == 0).map(key).collect();
    let mut order = Vec::with_capacity(nodes.len());
    let mut rest: BTreeSet<NodeId> = (0..nodes.len()).collect();
    while let Some(Reverse((_, _, id))) = free.pop() {
        order.push(id);
        rest.remove(&id);
        for wanting in wanted_by.get(&id).into_iter().flatten() {
            open[*wanting] -= 1;
            if open[*wanting] == 0 {
                free.push(key(*wanting));
            }
        }
    }
    (order, rest)
}

/// Of what can't be sorted, what is on a cycle or between two: everything that nothing else waits for is taken away.
fn core(nodes: &[Node], mut rest: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    loop {
        let wanted: BTreeSet<NodeId> = rest
            .iter()
            .flat_map(|id| nodes[*id].needs.iter().copied())
            .filter(|need| rest.contains(need))
            .collect();
        if wanted.len() == rest.len() {
            return rest;
        }
        rest = wanted;
    }
}

/// Makes of a view its placeholder, and a node of its own of its query. The placeholder needs what its columns' types
/// need, so it keeps the needs on types alone.
fn split(graph: &mut Graph, view: NodeId) {
    let is_type = |node: &Node| {
        matches!(
            node.kind,
            Kind::Schema
                | Kind::Extension
                | Kind::Collation
                | Kind::Shell
                | Kind::Base
                | Kind::Enum
                | Kind::Domain
                | Kind::Composite
                | Kind::Range
        )
    };
    let types: BTreeSet<NodeId> =
        graph.nodes[view].needs.iter().copied().filter(|need| is_type(&graph.nodes[*need])).collect();
    let node = &mut graph.nodes[view];
    let Some(placeholder) = node.placeholder.take() else { return };
    let mut query = node.clone();
    query.kind = Kind::ViewQuery;
    query.needs.insert(view);
    query.create[0] = query.create[0].replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1);
    query.drop = vec![placeholder.replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)];
    node.create = vec![placeholder];
    node.needs = types;
    graph.nodes.push(query);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: Kind, name: &str, needs: &[NodeId]) -> Node {
        let mut node = Node::new(kind, 0, "public", name);
        node.needs = needs.iter().copied().collect();
        if kind == Kind::View {
            node.create = vec![format!("CREATE VIEW public.{name} AS SELECT 1 AS a")];
            node.placeholder = Some(format!("CREATE VIEW public.{name} AS SELECT NULL::int AS a"));
        }
        node
    }

    fn names(graph: &Graph, order: &[NodeId]) -> Vec<String> {
        order.iter().map(|id| graph.nodes[*id].title()).collect()
    }

    #[test]
    fn what_is_needed_comes_first_and_the_rest_by_name() {
        let mut graph = Graph {
            nodes: vec![
                node(Kind::Table, "b", &[]),
                node(Kind::Table, "a", &[0]),
                node(Kind::Enum, "z", &[]),
                node(Kind::Table, "c", &[]),
            ],
            ..Graph::default()
        };
        let order = sort(&mut graph).unwrap();
        assert_eq!(
            names(&graph, &order),
            ["enum type public.z", "table public.b", "table public.a", "table public.c"]
        );
    }

    #[test]
    fn a_cycle_through_a_view_is_taken_apart() {
        let mut graph = Graph {
            nodes: vec![
                node(Kind::View, "v", &[1]),
                node(Kind::Function, "f()", &[0]),
                node(Kind::View, "w", &[0]),
            ],
            ..Graph::default()
        };
        let order = sort(&mut graph).unwrap();
        assert_eq!(
            names(&graph, &order),
            ["view public.v", "function public.f()", "view public.w", "view query public.v"]
        );
        assert_eq!(graph.nodes[0].create, ["CREATE VIEW public.v AS SELECT NULL::int AS a"]);
        assert_eq!(graph.nodes[3].create, ["CREATE OR REPLACE VIEW public.v AS SELECT 1 AS a"]);
    }

    #[test]
    fn another_cycle_is_named() {
        let mut graph = Graph {
            nodes: vec![
                node(Kind::Table, "a", &[1]),
                node(Kind::Table, "b", &[0]),
                node(Kind::Index, "i", &[0]),
            ],
            ..Graph::default()
        };
        let error = sort(&mut graph).unwrap_err();
        assert!(error.message().contains("table public.a, table public.b;"), "{error}");
    }

    #[test]
    fn a_view_over_a_key_waits_for_it() {
        let nodes = vec![
            node(Kind::Table, "t", &[]),
            node(Kind::PrimaryKey, "k", &[0]),
            node(Kind::View, "v", &[0, 1]),
            node(Kind::View, "w", &[2]),
        ];
        assert_eq!(late(&nodes, &[0, 1, 2, 3]), BTreeSet::from([2, 3]));
    }
}
