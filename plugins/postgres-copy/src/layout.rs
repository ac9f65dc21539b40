//! Which effects make a schema and fill it, and which of them wait for which.

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_catalog::index_build::IndexBuild;
use godwit_pg_catalog::pattern::Filter;
use godwit_pg_catalog::sections::Sections;
use godwit_pg_catalog::{
    Catalog, Graph, Kind, NodeId, Oid, Phase, SECURITY_LABEL, TargetMemo, analyze, frontier, late, prelude,
    sql, unlabelled,
};
use godwit_sdk::prelude::*;

use crate::data_only::{self, Decision};
use crate::params::Params;
use crate::units::{Unit, Work, copy_key};

/// Statements of one transaction, at most. An error names the statement, so more would only cost what is done again.
const BATCH: usize = 200;
/// Tables below this many bytes have their indexes made many at a time, since a round trip costs more than the index.
const SMALL: u64 = 1 << 20;
/// Tables from this many bytes on have each index made by an effect of its own, several at once.
const LARGE: u64 = 64 << 20;

/// Bytes of the tables that aren't small, by label. Kept by a memo: a source that goes on being written would otherwise
/// be cut into other effects by a resumed call.
pub type Sizes = BTreeMap<String, u64>;

pub fn sizes(catalog: &Catalog) -> Sizes {
    catalog
        .relations
        .iter()
        .filter_map(|relation| Some((relation.label(), relation.bytes.filter(|bytes| *bytes >= SMALL)?)))
        .collect()
}

/// What a layout is made of.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    pub catalog: &'a Catalog,
    pub graph: &'a Graph,
    /// Of the whole graph.
    pub order: &'a [NodeId],
    /// What is made of it, in that order.
    pub nodes: &'a [NodeId],
    pub target: &'a TargetMemo,
    pub sizes: &'a Sizes,
    /// How rows go into tables that are there already.
    pub filled: Option<&'a Decision>,
}

/// Works out the units of a schema in an order in which each comes after those it waits for.
pub fn lay_out(given: Given<'_>, params: &Params, sections: Sections) -> Vec<Unit> {
    let Given { catalog, graph, order, nodes, target, sizes, filled } = given;
    let units: Vec<Unit> = prelude(target);
    let mut layout = Layout {
        catalog,
        graph,
        target,
        sizes,
        build: &params.index_build,
        filter: params.filter(),
        labels: catalog.relations.iter().map(|r| (r.oid, r.label())).collect(),
        tables: graph.nodes.iter().filter(|n| n.kind == Kind::Table).map(|n| n.oid).collect(),
        children: children(catalog),
        begun: frontier(&units),
        units,
        of_node: BTreeMap::new(),
        copies: BTreeMap::new(),
        indexes: BTreeMap::new(),
    };
    let late = late(&graph.nodes, order);
    let of_phase = |phase: Phase| -> Vec<NodeId> {
        nodes
            .iter()
            .copied()
            .filter(|id| graph.nodes[*id].kind.phase() == phase && !late.contains(id))
            .collect()
    };
    layout.before(&of_phase(Phase::Before));
    match filled {
        Some(decision) => layout.given(decision),
        None if sections.rows => {
            layout.large_objects(&of_phase(Phase::After));
            layout.copies();
        }
        None => {}
    }
    let rows = frontier(&layout.units);
    let views: BTreeSet<Oid> = catalog.relations.iter().filter(|r| r.kind == "m").map(|r| r.oid).collect();
    let (on_views, on_tables): (Vec<_>, Vec<_>) = of_phase(Phase::Index)
        .into_iter()
        .partition(|id| graph.nodes[*id].relation.is_some_and(|relation| views.contains(&relation)));
    layout.indexes(&on_tables);
    let late: Vec<NodeId> = nodes.iter().copied().filter(|id| late.contains(id)).collect();
    layout.late(&late);
    layout.foreign_keys(&of_phase(Phase::ForeignKey));
    // Without rows there is nothing to fill them from, unless the rows were there before.
    if sections.after && (sections.rows || !sections.before) {
        layout.refreshes(order);
    }
    layout.indexes(&on_views);
    match filled {
        Some(decision) => {
            layout.units.extend(data_only::sequences(decision, &rows));
            let is_left = |view: &&String| {
                let refresh = format!("REFRESH MATERIALIZED VIEW {view}");
                !layout.units.iter().any(
                    |unit| matches!(&unit.work, Work::Execute(request) if request.statements.contains(&refresh)),
                )
            };
            let views: Vec<String> = decision.views.iter().filter(is_left).cloned().collect();
            let all = frontier(&layout.units);
            layout.units.extend(data_only::end(decision, &views, &all));
            layout.after(&of_phase(Phase::After));
        }
        None => {
            layout.after(&of_phase(Phase::After));
            if sections.rows {
                layout.sequences();
                layout.analyze();
            }
        }
    }
    layout.units
}

fn children(catalog: &Catalog) -> BTreeMap<Oid, Vec<Oid>> {
    let mut children: BTreeMap<Oid, Vec<Oid>> = BTreeMap::new();
    for relation in &catalog.relations {
        for parent in &relation.parents {
            children.entry(*parent).or_default().push(relation.oid);
        }
    }
    children
}

struct Layout<'a> {
    catalog: &'a Catalog,
    graph: &'a Graph,
    target: &'a TargetMemo,
    sizes: &'a Sizes,
    build: &'a IndexBuild,
    filter: Filter,
    labels: BTreeMap<Oid, String>,
    /// The tables that are made.
    tables: BTreeSet<Oid>,
    children: BTreeMap<Oid, Vec<Oid>>,
    units: Vec<Unit>,
    /// The unit that makes a node; for a materialized view, the one that fills it.
    of_node: BTreeMap<NodeId, String>,
    /// What everything else waits for: the units that make what rows need, and what comes before those.
    begun: BTreeSet<String>,
    /// The transfers, by table.
    copies: BTreeMap<Oid, String>,
    /// The units that make a relation's keys and indexes.
    indexes: BTreeMap<Oid, BTreeSet<String>>,
}

impl Layout<'_> {
    fn label(&self, relation: Option<Oid>) -> String {
        relation.and_then(|oid| self.labels.get(&oid).cloned()).unwrap_or_default()
    }

    /// Bytes of a relation with everything below it.
    fn weight(&self, relation: Oid) -> u64 {
        let own = self.labels.get(&relation).and_then(|label| self.sizes.get(label)).copied().unwrap_or(0);
        self.below(relation).iter().fold(own, |sum, below| {
            sum.saturating_add(
                self.labels.get(below).and_then(|label| self.sizes.get(label)).copied().unwrap_or(0),
            )
        })
    }

    /// The tables that inherit from a relation, at any depth.
    fn below(&self, relation: Oid) -> Vec<Oid> {
        let mut found = Vec::new();
        let mut open = vec![relation];
        while let Some(parent) = open.pop() {
            for child in self.children.get(&parent).into_iter().flatten() {
                if !found.contains(child) {
                    found.push(*child);
                    open.push(*child);
                }
            }
        }
        found
    }

    /// Whether the target has it already, so that it is neither made nor taken back.
    fn is_there(&self, id: NodeId) -> bool {
        let node = &self.graph.nodes[id];
        match node.kind {
            Kind::Schema => self.target.schemas.contains(&node.name),
            Kind::Extension => self.target.extensions.contains_key(&node.name),
            _ => false,
        }
    }

    /// One transaction of nodes, in order, taken back in reverse.
    fn execute(&mut self, key: String, nodes: &[NodeId], mut after: BTreeSet<String>) -> String {
        let wanted: Vec<NodeId> = nodes.iter().copied().filter(|id| !self.is_there(*id)).collect();
        let mut statements = Vec::new();
        let kinds: BTreeSet<Kind> = wanted.iter().map(|id| self.graph.nodes[*id].kind).collect();
        if kinds.iter().any(|kind| matches!(kind, Kind::Function | Kind::Procedure)) {
            // A body may speak of what comes later; the server checks it when it is called.
            statements.push("SET LOCAL check_function_bodies = off".to_owned());
        }
        statements.extend(self.build_settings(&wanted));
        let mut undo = Vec::new();
        // What is there, such as the schema `public`, is labelled all the same.
        for id in nodes.iter().filter(|id| !wanted.contains(id)) {
            let labels = self.graph.nodes[*id].create.iter().filter(|s| s.starts_with(SECURITY_LABEL));
            statements.extend(labels.clone().cloned());
            undo.extend(labels.map(|statement| unlabelled(statement)));
        }
        for id in &wanted {
            let node = &self.graph.nodes[*id];
            let hnsw = node.method.as_deref() == Some("hnsw");
            statements.extend(node.statements(self.target.version).map(|statement| {
                if hnsw && statement.starts_with("CREATE INDEX ") {
                    self.build.hnsw(statement)
                } else {
                    statement.clone()
                }
            }));
        }
        for id in wanted.iter().rev() {
            undo.extend(self.graph.nodes[*id].drop.iter().cloned());
        }
        for id in nodes {
            for need in &self.graph.nodes[*id].needs {
                if let Some(unit) = self.of_node.get(need)
                    && *unit != key
                {
                    after.insert(unit.clone());
                }
            }
        }
        for id in nodes {
            self.of_node.insert(*id, key.clone());
        }
        if !statements.is_empty() {
            self.units.push(Unit::statements(key.clone(), after, statements, Undo::Statements(undo)));
        } else {
            // Nothing to do, so nothing to wait for either.
            for id in nodes {
                self.of_node.remove(id);
            }
        }
        key
    }

    /// Memory and workers for the indexes among the nodes.
    fn build_settings(&self, nodes: &[NodeId]) -> Vec<String> {
        let indexes: Vec<_> = nodes
            .iter()
            .map(|id| &self.graph.nodes[*id])
            .filter(|n| n.kind.phase() == Phase::Index)
            .collect();
        if indexes.is_empty() {
            return Vec::new();
        }
        let largest = |of_vectors: bool| {
            indexes
                .iter()
                .filter(|node| !of_vectors || matches!(node.method.as_deref(), Some("hnsw" | "ivfflat")))
                .filter_map(|node| node.relation)
                .map(|relation| self.weight(relation))
                .max()
        };
        self.build.settings(largest(true), largest(false).unwrap_or(0))
    }

    /// Cuts nodes into batches of at most [`BATCH`] statements.
    fn batches(&self, nodes: &[NodeId]) -> Vec<Vec<NodeId>> {
        let mut batches: Vec<Vec<NodeId>> = Vec::new();
        let mut count = 0;
        for id in nodes {
            let statements = self.graph.nodes[*id].create.len();
            if batches.is_empty() || count + statements > BATCH {
                batches.push(Vec::new());
                count = 0;
            }
            count += statements;
            if let Some(batch) = batches.last_mut() {
                batch.push(*id);
            }
        }
        batches
    }

    /// A chain of transactions, each after the one before.
    fn chain(&mut self, name: &str, nodes: &[NodeId], first: BTreeSet<String>) -> Option<String> {
        let mut after = first;
        let mut last = None;
        for (number, batch) in self.batches(nodes).into_iter().enumerate() {
            let count = self.units.len();
            let key = self.execute(format!("{name}/{:04}", number + 1), &batch, after.clone());
            if self.units.len() > count {
                after = BTreeSet::from([key.clone()]);
                last = Some(key);
            }
        }
        last
    }

    fn before(&mut self, nodes: &[NodeId]) {
        if let Some(last) = self.chain("before", nodes, self.begun.clone()) {
            self.begun = BTreeSet::from([last]);
        }
    }

    /// The transfers into tables that are there.
    fn given(&mut self, decision: &Decision) {
        for mut unit in data_only::begin(decision) {
            if let Work::Copy { schema, name, .. } = &unit.work {
                let table = self.catalog.relations.iter().find(|r| r.schema == *schema && r.name == *name);
                self.copies.extend(table.map(|table| (table.oid, unit.key.clone())));
            }
            unit.after.extend(self.begun.iter().cloned());
            self.units.push(unit);
        }
    }

    /// The large objects, and what is said of them. Theirs may be the longest transfer of all.
    fn large_objects(&mut self, nodes: &[NodeId]) {
        if self.graph.large_objects == 0 {
            return;
        }
        let (schema, name) = ("pg_catalog".to_owned(), "pg_largeobject".to_owned());
        let key = copy_key(&schema, &name);
        let columns = ["loid", "pageno", "data"].map(str::to_owned).to_vec();
        let work = Work::Copy { schema, name, columns, only: true, filter: None };
        self.units.push(Unit { key: key.clone(), after: self.begun.clone(), work });
        for id in nodes.iter().filter(|id| self.graph.nodes[**id].kind == Kind::LargeObject) {
            let node = &self.graph.nodes[*id];
            // They are gone whenever the transfer is begun again, and with its undo.
            let request =
                Execute { data_dependent: true, ..Execute::atomic(node.create.clone(), Undo::Nothing) };
            let key_of = format!("large-object/{}", node.name);
            let after = BTreeSet::from([key.clone()]);
            self.units.push(Unit { key: key_of, after, work: Work::Execute(request) });
        }
    }

    fn copies(&mut self) {
        let mut rows: Vec<_> = self
            .catalog
            .relations
            .iter()
            .filter(|r| r.holds_rows() && self.tables.contains(&r.oid))
            .filter(|r| self.filter.admits_rows(self.catalog, r))
            .collect();
        // The largest first, so that nothing long is begun when all else is done.
        rows.sort_by_key(|r| std::cmp::Reverse(self.sizes.get(&r.label()).copied().unwrap_or(0)));
        for row in rows {
            let key = copy_key(&row.schema, &row.name);
            let columns = self
                .catalog
                .columns_of(row.oid)
                .iter()
                .filter(|column| column.generated.is_empty())
                .map(|column| column.name.clone())
                .collect();
            let only = self.children.contains_key(&row.oid);
            let (schema, name) = (row.schema.clone(), row.name.clone());
            let work = Work::Copy { schema, name, columns, only, filter: None };
            self.units.push(Unit { key: key.clone(), after: self.begun.clone(), work });
            self.copies.insert(row.oid, key);
        }
        // What extensions bring stays beside it.
        for (_, table) in self.graph.extension_data.iter().filter(|(_, table)| table.kind == "r") {
            let (schema, name) = (table.schema.clone(), table.name.clone());
            let key = copy_key(&schema, &name);
            let (columns, filter) = (table.columns.clone(), table.filter());
            let work = Work::Copy { schema, name, columns, only: true, filter };
            self.units.push(Unit { key, after: self.begun.clone(), work });
        }
    }

    /// What has to be done before anything is built over the rows of a relation.
    fn rows_of(&self, relation: Oid) -> BTreeSet<String> {
        match self.copies.get(&relation) {
            Some(copy) => BTreeSet::from([copy.clone()]),
            None => self.begun.clone(),
        }
    }

    fn indexes(&mut self, nodes: &[NodeId]) {
        let mut by_relation: Vec<(Oid, Vec<NodeId>)> = Vec::new();
        let mut place: BTreeMap<Oid, usize> = BTreeMap::new();
        for id in nodes {
            let Some(relation) = self.graph.nodes[*id].relation else { continue };
            let at = *place.entry(relation).or_insert(by_relation.len());
            if at == by_relation.len() {
                by_relation.push((relation, Vec::new()));
            }
            by_relation[at].1.push(*id);
        }
        let partitioned: BTreeSet<Oid> =
            self.catalog.relations.iter().filter(|r| r.kind == "p").map(|r| r.oid).collect();
        // In the order of names; those of partitioned tables take in those of their partitions and come last, in the
        // order of the nodes, which is that of their needs.
        let (above, mut plain): (Vec<_>, Vec<_>) =
            by_relation.into_iter().partition(|(relation, _)| partitioned.contains(relation));
        plain.sort_by_key(|(relation, _)| self.label(Some(*relation)));

        let mut small = std::collections::VecDeque::new();
        for (relation, nodes) in plain {
            let weight = self.weight(relation);
            if weight >= LARGE {
                for id in nodes {
                    let key = format!("index/{}/{}", self.label(Some(relation)), self.graph.nodes[id].name);
                    self.index_unit(key, &[relation], &[id]);
                }
            } else if weight >= SMALL || !self.tables.contains(&relation) {
                let key = format!("index/{}", self.label(Some(relation)));
                self.index_unit(key, &[relation], &nodes);
            } else {
                small.push_back((relation, nodes));
            }
        }
        let mut number = 0;
        while !small.is_empty() {
            number += 1;
            let (mut relations, mut batch) = (Vec::new(), Vec::new());
            while let Some((relation, nodes)) = small.pop_front() {
                if !batch.is_empty() && batch.len() + nodes.len() > BATCH / 2 {
                    small.push_front((relation, nodes));
                    break;
                }
                relations.push(relation);
                batch.extend(nodes);
            }
            self.index_unit(format!("index/small/{number:04}"), &relations, &batch);
        }
        for (relation, nodes) in above {
            let key = format!("index/{}", self.label(Some(relation)));
            self.index_unit(key, &[relation], &nodes);
        }
    }

    fn index_unit(&mut self, key: String, relations: &[Oid], nodes: &[NodeId]) {
        let after = relations.iter().flat_map(|relation| self.rows_of(*relation)).collect();
        let key = self.execute(key, nodes, after);
        for relation in relations {
            self.indexes.entry(*relation).or_default().insert(key.clone());
        }
    }

    /// Views and functions that need a key, and indexes that need one of those: after the keys and rows they need.
    fn late(&mut self, nodes: &[NodeId]) {
        let indexed =
            nodes.iter().map(|id| &self.graph.nodes[*id]).filter(|n| n.kind.phase() == Phase::Index);
        let mut first: BTreeSet<String> =
            indexed.filter_map(|n| n.relation).flat_map(|relation| self.rows_of(relation)).collect();
        first.extend(self.begun.iter().cloned());
        self.chain("late", nodes, first);
    }

    fn foreign_keys(&mut self, nodes: &[NodeId]) {
        let mut small = Vec::new();
        let mut large = Vec::new();
        for id in nodes {
            let node = &self.graph.nodes[*id];
            let weight =
                node.relation.map_or(0, |r| self.weight(r)) + node.references.map_or(0, |r| self.weight(r));
            if weight < LARGE { small.push(*id) } else { large.push(*id) }
        }
        // Adding a foreign key locks both tables: those that share one go one after the other, lest they wait for each
        // other in a circle.
        let mut busy: BTreeMap<Oid, String> = BTreeMap::new();
        let groups = large
            .into_iter()
            .map(|id| {
                let node = &self.graph.nodes[id];
                (format!("foreign-key/{}/{}", self.label(node.relation), node.name), vec![id])
            })
            .collect::<Vec<_>>();
        let batches = self.batches(&small).into_iter().enumerate();
        let batches: Vec<_> =
            batches.map(|(number, batch)| (format!("foreign-key/small/{:04}", number + 1), batch)).collect();
        for (key, nodes) in groups.into_iter().chain(batches) {
            let mut tables = BTreeSet::new();
            for id in &nodes {
                let node = &self.graph.nodes[*id];
                for end in [node.relation, node.references].into_iter().flatten() {
                    tables.insert(end);
                    tables.extend(self.below(end));
                }
            }
            let mut after: BTreeSet<String> = BTreeSet::new();
            for table in &tables {
                after.extend(self.rows_of(*table));
                after.extend(self.indexes.get(table).into_iter().flatten().cloned());
                after.extend(busy.get(table).cloned());
            }
            let key = self.execute(key, &nodes, after);
            busy.extend(tables.into_iter().map(|table| (table, key.clone())));
        }
    }

    /// Fills the materialized views that are filled in the source, those that others read first.
    fn refreshes(&mut self, order: &[NodeId]) {
        // A query may reach any table by way of a function, and is the quicker for indexes.
        let all = frontier(&self.units);
        let populated: BTreeSet<Oid> =
            self.catalog.relations.iter().filter(|r| r.kind == "m" && r.populated).map(|r| r.oid).collect();
        for id in order {
            let node = &self.graph.nodes[*id];
            if node.kind != Kind::MaterializedView || !populated.contains(&node.oid) {
                continue;
            }
            let mut after = all.clone();
            // What it reads, at any depth: a view in between may read another materialized view.
            let mut open: Vec<NodeId> = vec![*id];
            let mut seen = BTreeSet::new();
            while let Some(next) = open.pop() {
                if seen.insert(next) {
                    after.extend(self.of_node.get(&next).cloned());
                    open.extend(&self.graph.nodes[next].needs);
                }
            }
            let name = sql::qualified(&node.schema, &node.name);
            let key = format!("refresh/{}", node.label());
            let statements = vec![format!("REFRESH MATERIALIZED VIEW {name}")];
            self.units.push(Unit::refresh(key.clone(), after, statements));
            self.of_node.insert(*id, key.clone());
            self.copies.insert(node.oid, key);
        }
    }

    fn after(&mut self, nodes: &[NodeId]) {
        let all = frontier(&self.units);
        let is_other = |id: &NodeId| self.graph.nodes[*id].kind != Kind::LargeObject;
        let others: Vec<NodeId> = nodes.iter().copied().filter(is_other).collect();
        self.chain("after", &others, all);
    }

    fn sequences(&mut self) {
        let here: BTreeSet<Oid> = self
            .graph
            .nodes
            .iter()
            .filter(|n| matches!(n.kind, Kind::Sequence | Kind::Table))
            .map(|n| n.oid)
            .collect();
        let mut sequences: Vec<(String, String)> = self
            .catalog
            .sequences
            .iter()
            .filter(|s| match s.identity {
                Some(true) => s.owner.is_some_and(|owner| here.contains(&owner)),
                _ => here.contains(&s.oid),
            })
            .map(|s| (s.schema.clone(), s.name.clone()))
            .collect();
        let of_extensions = self.graph.extension_data.iter().filter(|(_, table)| table.kind == "S");
        sequences.extend(of_extensions.map(|(_, table)| (table.schema.clone(), table.name.clone())));
        if !sequences.is_empty() {
            let after = self.copies.values().chain(&self.begun).cloned().collect();
            self.units.push(Unit { key: "sequences".to_owned(), after, work: Work::Sequences(sequences) });
        }
    }

    /// Statistics for the planner, of the tables and materialized views that were filled. A partitioned table's are taken
    /// from its root, which takes those of its partitions as well; but ANALYZE would go to other servers for foreign ones,
    /// so a table above one of these is left to autovacuum, and what is below it goes by itself.
    fn analyze(&mut self) {
        let above = self.catalog.above_foreign();
        let names: Vec<String> = self
            .catalog
            .relations
            .iter()
            .filter(|r| !r.partition || r.parents.iter().any(|parent| above.contains(parent)))
            .filter(|r| self.tables.contains(&r.oid) || self.copies.contains_key(&r.oid))
            .filter(|r| !above.contains(&r.oid))
            .map(|r| sql::qualified(&r.schema, &r.name))
            .collect();
        let all = frontier(&self.units);
        self.units.extend(analyze(&names, &all));
    }
}
