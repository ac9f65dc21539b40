//! Making room in a target: what is there under the names of what is to be made is dropped first.

use std::collections::BTreeSet;

use crate::catalog::Catalog;
use crate::graph::{Node, NodeId, build};
use crate::kind::Kind;
use crate::order::sort;
use crate::preflight::Finding;
use crate::rows::Oid;

/// What has to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// In an order in which they can run; never with CASCADE.
    pub statements: Vec<String>,
    /// `table public.users`.
    pub titles: Vec<String>,
    /// Why something can't go.
    pub obstacles: Vec<Finding>,
}

impl Cleaning {
    /// What is dropped, as a warning, and what stands in the way.
    pub fn findings(&self) -> Vec<Finding> {
        /// Names in one sentence.
        const SHOWN: usize = 10;
        let mut findings = self.obstacles.clone();
        if !self.titles.is_empty() {
            let shown = self.titles.get(..SHOWN).unwrap_or(&self.titles).join(", ");
            let more = match self.titles.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            findings.push(Finding::warning(
                "`clean`",
                format!("drops what the target has under the same names: {shown}{more}"),
                "nothing brings it back: have a backup",
            ));
        }
        findings
    }
}

/// Under which names of which kind of thing a server takes no second one: a view is in the way of a table.
pub type Name = (&'static str, String);

/// The name that keeps another object from being made.
pub fn name(node: &Node) -> Name {
    let space = match node.kind {
        Kind::Table
        | Kind::ForeignTable
        | Kind::View
        | Kind::MaterializedView
        | Kind::Sequence
        | Kind::Index
        | Kind::PrimaryKey
        | Kind::Unique
        | Kind::Exclusion => "relation",
        Kind::Enum | Kind::Domain | Kind::Composite | Kind::Range | Kind::Base => "type",
        Kind::Function | Kind::Procedure | Kind::Aggregate => "routine",
        kind => return (kind.name(), node.label()),
    };
    (space, format!("{}.{}", node.schema, node.name))
}

/// Works out what of the target is dropped so that everything `is_replaced` admits can be made. What belongs to a table goes
/// with it; schemas and extensions stay. What isn't replaced, but needs something that is, stands in the way.
pub fn clean(target: &Catalog, is_replaced: impl Fn(&Node) -> bool) -> Cleaning {
    let mut graph = build(target, &Default::default(), &BTreeSet::new());
    // Views that need each other are dropped by their placeholders; any other circle is the server's to refuse.
    let order = sort(&mut graph).unwrap_or_else(|_| (0..graph.nodes.len()).collect());
    let nodes = &graph.nodes;
    let stays = |node: &Node| matches!(node.kind, Kind::Schema | Kind::Extension);
    let replaced: BTreeSet<NodeId> =
        order.iter().copied().filter(|id| !stays(&nodes[*id]) && is_replaced(&nodes[*id])).collect();
    let relations: BTreeSet<Oid> = replaced
        .iter()
        .map(|id| &nodes[*id])
        .filter(|node| node.relation == Some(node.oid))
        .map(|node| node.oid)
        .collect();
    let belongs = |node: &Node| node.relation.is_some_and(|relation| relations.contains(&relation));
    let mut gone: BTreeSet<NodeId> =
        order.iter().copied().filter(|id| replaced.contains(id) || belongs(&nodes[*id])).collect();
    loop {
        let more: Vec<NodeId> = order
            .iter()
            .copied()
            .filter(|id| !gone.contains(id) && goes_along(nodes[*id].kind))
            .filter(|id| nodes[*id].needs.iter().any(|need| gone.contains(need)))
            .collect();
        if more.is_empty() {
            break;
        }
        gone.extend(more);
    }
    let mut cleaning = Cleaning::default();
    for id in order.iter().rev() {
        let node = &nodes[*id];
        if gone.contains(id) {
            cleaning.statements.extend(node.drop.iter().cloned());
            if replaced.contains(id) && node.on.is_none() {
                cleaning.titles.push(node.title());
            }
        } else if let Some(need) = node.needs.iter().find(|need| gone.contains(need)) {
            cleaning.obstacles.push(Finding::error(
                node.title(),
                format!(
                    "of the target needs {}, which `clean` would drop, and would not be made again",
                    nodes[*need].title()
                ),
                "drop it by hand, or leave what it needs out",
            ));
        }
    }
    cleaning.titles.sort();
    cleaning
}

/// What is no loss when what it tells something of is gone.
fn goes_along(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::SequenceOwner
            | Kind::ViewQuery
            | Kind::ReplicaIdentity
            | Kind::PublicationTable
            | Kind::DomainCheck
    )
}
