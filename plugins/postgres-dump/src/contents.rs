//! The entries of an archive: objects under pg_dump's own names for them, in an order in which they can be made.

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_archive::{Data, Entry, Section};
use godwit_pg_catalog::sections::Sections;
use godwit_pg_catalog::{
    Catalog, Graph, Kind, LargeObjectGroup, Node, NodeId, Oid, Phase, SECURITY_LABEL, late, sql,
};

use crate::rights::{Owners, acl_tag};

/// The file of a folder that lists large objects.
pub const OBJECTS: &str = "blobs.toc";

/// What an archive says, without the positions of sequences, which are read last.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Of its texts and rows.
    pub encoding: String,
    pub entries: Vec<Entry>,
    pub tables: Vec<TableRows>,
    /// Each with its entry's place in `entries`.
    pub sequences: Vec<(usize, (String, String))>,
}

/// A table whose rows belong to the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRows {
    /// Of the entry that stands for them.
    pub dump_id: i32,
    pub schema: String,
    pub name: String,
    pub columns: Vec<String>,
    /// Tables inherit from it.
    pub only: bool,
    /// Which of its rows; all where there is none.
    pub filter: Option<String>,
}

impl TableRows {
    /// They are no rows, but large objects.
    pub fn are_objects(&self) -> bool {
        (self.schema.as_str(), self.name.as_str()) == ("pg_catalog", "pg_largeobject")
    }
}

/// What is moved beside definitions.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The relations that hold rows, in the order of their files.
    pub tables: &'a [Oid],
    /// The numbers of large objects.
    pub objects: &'a [Oid],
}

/// Works out the entries of a sorted graph.
pub fn contents(
    catalog: &Catalog,
    graph: &Graph,
    order: &[NodeId],
    rows: Rows<'_>,
    sections: Sections,
    encoding: &str,
) -> Contents {
    let Rows { tables, objects } = rows;
    let late = late(&graph.nodes, order);
    let is_before = |id: &NodeId| {
        let kind = graph.nodes[*id].kind;
        kind.phase() == Phase::Before && kind != Kind::ViewQuery && !late.contains(id)
    };
    let (before, later): (Vec<NodeId>, Vec<NodeId>) = order.iter().partition(|id| is_before(id));
    let (before, after_tables) = sequences_after_tables(graph, before);
    let mut writer = Writer {
        catalog,
        graph,
        after_tables,
        ids: BTreeMap::new(),
        owners: Owners::of(graph),
        contents: Contents { encoding: encoding.to_owned(), ..Contents::default() },
        next: 1,
    };
    writer.settings();
    let appended = writer.replica_identities();
    if sections.before {
        for id in before {
            writer.node(id, Section::PreData, &appended);
        }
    }
    if sections.rows {
        let before = if sections.before { Section::PreData } else { Section::Data };
        let made = writer.objects(objects, before);
        writer.rows(tables);
        writer.positions();
        if !objects.is_empty() {
            writer.bytes_of_objects(if before == Section::Data { made } else { Vec::new() });
        }
    }
    if sections.after {
        let (after, keys): (Vec<NodeId>, Vec<NodeId>) =
            later.into_iter().partition(|id| graph.nodes[*id].kind.phase() == Phase::After);
        for id in keys {
            writer.node(id, Section::PostData, &appended);
        }
        if sections.rows || !sections.before {
            writer.refreshes(order);
        }
        for id in after {
            writer.node(id, Section::PostData, &appended);
        }
    }
    writer.contents
}

/// Moves each sequence that a column owns behind the table, to where its owner is told, as pg_dump has it: whoever drops
/// entries in the reverse order drops the sequence first, not with its table. Also the nodes that tell the owners of those.
/// A sequence that something else needs before stays where it is.
fn sequences_after_tables(graph: &Graph, order: Vec<NodeId>) -> (Vec<NodeId>, BTreeSet<NodeId>) {
    let nodes = &graph.nodes;
    let mut first_need: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for id in &order {
        for need in nodes[*id].needs.iter().filter(|need| nodes[**need].kind == Kind::Sequence) {
            first_need.entry(*need).or_insert(*id);
        }
    }
    let moved: BTreeMap<NodeId, NodeId> = first_need
        .into_iter()
        .filter(|(_, by)| nodes[*by].kind == Kind::SequenceOwner)
        .map(|(sequence, owner)| (owner, sequence))
        .collect();
    let sequences: BTreeSet<NodeId> = moved.values().copied().collect();
    let order = order
        .into_iter()
        .filter(|id| !sequences.contains(id))
        .flat_map(|id| moved.get(&id).copied().into_iter().chain([id]))
        .collect();
    (order, moved.into_keys().collect())
}

struct Writer<'a> {
    catalog: &'a Catalog,
    graph: &'a Graph,
    /// The nodes that tell a sequence's owner right after the sequence.
    after_tables: BTreeSet<NodeId>,
    /// What has to be there before whatever needs a node: its own entry, and those that attach partitions.
    ids: BTreeMap<NodeId, Vec<i32>>,
    owners: Owners<'a>,
    contents: Contents,
    next: i32,
}

impl Writer<'_> {
    fn new_entry(&mut self, desc: &str, tag: &str, section: Section) -> Entry {
        let entry = Entry::new(self.next, desc, tag, section);
        self.next += 1;
        entry
    }

    /// What `dumpEncoding`, `dumpStdStrings` and `dumpSearchPath` of pg_dump.c write.
    fn settings(&mut self) {
        let encoding = format!("SET client_encoding = '{}';\n", self.contents.encoding);
        for (desc, definition) in [
            ("ENCODING", encoding.as_str()),
            ("STDSTRINGS", "SET standard_conforming_strings = 'on';\n"),
            ("SEARCHPATH", "SELECT pg_catalog.set_config('search_path', '', false);\n"),
        ] {
            let mut entry = self.new_entry(desc, desc, Section::PreData);
            entry.definition = Some(definition.to_owned());
            self.contents.entries.push(entry);
        }
    }

    /// The statements of replica identities, by the node that they are appended to: pg_dump has no entry for them.
    fn replica_identities(&self) -> BTreeMap<NodeId, Vec<String>> {
        let nodes = &self.graph.nodes;
        let mut appended: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
        for node in nodes.iter().filter(|node| node.kind == Kind::ReplicaIdentity) {
            let index = node.needs.iter().find(|need| nodes[**need].kind.phase() == Phase::Index);
            if let Some(to) = index.or_else(|| node.needs.iter().next()) {
                appended.entry(*to).or_default().extend(node.create.iter().cloned());
            }
        }
        appended
    }

    fn dependencies(&self, node: &Node) -> Vec<i32> {
        let mut ids: Vec<i32> =
            node.needs.iter().filter_map(|need| self.ids.get(need)).flatten().copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn node(&mut self, id: NodeId, section: Section, appended: &BTreeMap<NodeId, Vec<String>>) {
        let graph = self.graph;
        let node = &graph.nodes[id];
        match node.kind {
            // A field of the entry of what is owned.
            Kind::ReplicaIdentity | Kind::Owner => return,
            // Each has entries of its own.
            Kind::LargeObject => return,
            Kind::Privileges | Kind::SystemPrivileges => return self.privileges(id),
            _ => {}
        }
        let is_comment = |statement: &&String| {
            statement.starts_with("COMMENT ON ") || statement.starts_with(SECURITY_LABEL)
        };
        let is_attachment = |statement: &&String| {
            let word = match node.kind {
                Kind::Table | Kind::ForeignTable => "ALTER TABLE ONLY ",
                kind if kind.phase() == Phase::Index => "ALTER INDEX ",
                _ => return false,
            };
            statement.starts_with(word) && statement.contains(" ATTACH PARTITION ")
        };
        let mut definition: Vec<&String> =
            node.create.iter().filter(|s| !is_comment(s) && !is_attachment(s)).collect();
        definition.extend(appended.get(&id).into_iter().flatten());

        let (desc, tag) = node.archive_name();
        let mut entry = self.new_entry(desc, &tag, section);
        entry.catalog = node.kind.catalog_oid();
        entry.oid = node.oid;
        entry.namespace = namespace(node);
        entry.tablespace = tablespace(node);
        entry.owner = self.owners.of_node(graph, id).map(str::to_owned);
        entry.dependencies = self.dependencies(node);
        let is_public = node.kind == Kind::Schema && node.name == "public";
        if is_public {
            // As pg_dump has it: every database begins with this schema.
            entry.definition = Some("-- *not* creating schema, since initdb creates it\n".to_owned());
            entry.drop = Some("-- *not* dropping schema, since initdb creates it\n".to_owned());
        } else {
            entry.definition = Some(text(definition.iter().map(|statement| defined(node, statement))));
            entry.drop = if self.after_tables.contains(&id) { None } else { dropped(node) };
        }
        let main = entry.dump_id;
        self.contents.entries.push(entry);
        let mut ids = vec![main];

        for statement in node.create.iter().filter(is_attachment) {
            ids.extend(self.attachment(id, main, statement));
        }
        self.ids.insert(id, ids);
        for statement in node.create.iter().filter(is_comment) {
            let desc = if statement.starts_with(SECURITY_LABEL) { "SECURITY LABEL" } else { "COMMENT" };
            let mut entry = self.new_entry(desc, &comment_tag(node, statement), Section::None);
            entry.namespace = namespace(node);
            entry.definition = Some(text([statement.clone()]));
            entry.dependencies = vec![main];
            self.contents.entries.push(entry);
        }
    }

    /// What is granted on an object, which goes with it.
    fn privileges(&mut self, id: NodeId) {
        let node = &self.graph.nodes[id];
        let mut entry = self.new_entry("ACL", &acl_tag(node), Section::None);
        entry.namespace = match node.kind {
            Kind::SystemPrivileges => Some("pg_catalog".to_owned()),
            _ => namespace(node).filter(|_| !entry.tag.as_deref().unwrap_or_default().starts_with("SCHEMA ")),
        };
        entry.owner = self.owners.of_object(self.graph, node).map(str::to_owned);
        entry.dependencies = self.dependencies(node);
        entry.definition = Some(text(node.create.iter().cloned()));
        let dump_id = entry.dump_id;
        self.contents.entries.push(entry);
        self.ids.insert(id, vec![dump_id]);
    }

    /// The entry that attaches a partition to its table, or the index of a partition to that of its table.
    fn attachment(&mut self, id: NodeId, main: i32, statement: &str) -> Option<i32> {
        let graph = self.graph;
        let node = &graph.nodes[id];
        let (desc, child, section) = if matches!(node.kind, Kind::Table | Kind::ForeignTable) {
            ("TABLE ATTACH", node, Section::PreData)
        } else {
            let child = graph.nodes.iter().find(|other| {
                other.parent == Some(id)
                    && statement.ends_with(&format!(
                        " ATTACH PARTITION {}",
                        sql::qualified(&other.schema, &other.name)
                    ))
            })?;
            ("INDEX ATTACH", child, Section::PostData)
        };
        let mut entry = self.new_entry(desc, &child.name, section);
        entry.namespace = Some(child.schema.clone());
        entry.definition = Some(text([statement.to_owned()]));
        entry.dependencies = self.dependencies(node);
        entry.dependencies.push(main);
        let dump_id = entry.dump_id;
        self.contents.entries.push(entry);
        Some(dump_id)
    }

    /// The large objects, each without its bytes: what makes it, what is granted on it, its comment. The ids of those that
    /// make them.
    fn objects(&mut self, objects: &[Oid], section: Section) -> Vec<i32> {
        let catalog = self.catalog;
        let groups: BTreeMap<Oid, &LargeObjectGroup> = catalog
            .large_object_groups
            .iter()
            .flat_map(|group| group.oids.iter().map(move |oid| (*oid, group)))
            .collect();
        let mut made = Vec::new();
        let mut said = Vec::new();
        for oid in objects {
            let (tag, group) = (oid.to_string(), groups.get(oid));
            let mut entry = self.new_entry("BLOB", &tag, section);
            entry.catalog = Kind::LargeObject.catalog_oid();
            entry.oid = *oid;
            entry.owner = group.and_then(|group| group.owner.clone());
            entry.definition = Some(text([format!("SELECT pg_catalog.lo_create('{oid}')")]));
            entry.drop = Some(text([format!("SELECT pg_catalog.lo_unlink('{oid}')")]));
            let (main, owner) = (entry.dump_id, entry.owner.clone());
            made.push(main);
            self.contents.entries.push(entry);
            let comment = group.and_then(|group| group.comment_on(&tag)).into_iter().collect();
            let granted = group.map(|group| group.privileges(&tag)).unwrap_or_default();
            let of_this = catalog.labels.iter().filter(|row| row.is_of_large_object() && row.oid == *oid);
            let labels: Vec<String> = of_this.map(|row| row.on(&format!("LARGE OBJECT {oid}"))).collect();
            for (desc, statements) in [("COMMENT", comment), ("SECURITY LABEL", labels), ("ACL", granted)] {
                let statements: Vec<String> = statements;
                if statements.is_empty() {
                    continue;
                }
                let mut entry = self.new_entry(desc, &format!("LARGE OBJECT {oid}"), Section::None);
                entry.owner.clone_from(&owner);
                entry.dependencies = vec![main];
                entry.definition = Some(text(statements));
                said.push(entry);
            }
        }
        self.contents.entries.extend(said);
        made
    }

    /// The bytes of all of them.
    fn bytes_of_objects(&mut self, dependencies: Vec<i32>) {
        let mut entry = self.new_entry("BLOBS", "BLOBS", Section::Data);
        entry.had_dumper = true;
        entry.dependencies = dependencies;
        entry.data = Data::File(OBJECTS.to_owned());
        self.contents.tables.push(TableRows {
            dump_id: entry.dump_id,
            schema: "pg_catalog".to_owned(),
            name: "pg_largeobject".to_owned(),
            columns: ["loid", "pageno", "data"].map(str::to_owned).to_vec(),
            only: true,
            filter: None,
        });
        self.contents.entries.push(entry);
    }

    fn rows(&mut self, tables: &[Oid]) {
        let nodes: BTreeMap<Oid, NodeId> = (0..self.graph.nodes.len())
            .filter(|id| self.graph.nodes[*id].kind == Kind::Table)
            .map(|id| (self.graph.nodes[id].oid, id))
            .collect();
        let parents: BTreeSet<Oid> =
            self.catalog.relations.iter().flat_map(|r| r.parents.iter().copied()).collect();
        for relation in tables.iter().filter_map(|oid| self.catalog.relation(*oid)) {
            let Some(node) = nodes.get(&relation.oid) else { continue };
            let columns: Vec<String> = self
                .catalog
                .columns_of(relation.oid)
                .iter()
                .filter(|column| column.generated.is_empty())
                .map(|column| column.name.clone())
                .collect();
            let mut entry = self.new_entry("TABLE DATA", &relation.name, Section::Data);
            entry.catalog = Kind::Table.catalog_oid();
            entry.oid = relation.oid;
            entry.namespace = Some(relation.schema.clone());
            entry.had_dumper = true;
            entry.copy = Some(copy_statement(&relation.schema, &relation.name, &columns));
            entry.dependencies =
                self.ids.get(node).and_then(|ids| ids.first()).copied().into_iter().collect();
            entry.data = Data::File(format!("{}.dat", entry.dump_id));
            self.contents.tables.push(TableRows {
                dump_id: entry.dump_id,
                schema: relation.schema.clone(),
                name: relation.name.clone(),
                columns,
                only: parents.contains(&relation.oid),
                filter: None,
            });
            self.contents.entries.push(entry);
        }
        self.extension_rows();
    }

    /// What users put into tables of extensions, which have no entries of their own.
    fn extension_rows(&mut self) {
        let graph = self.graph;
        for (extension, table) in graph.extension_data.iter().filter(|(_, table)| table.kind == "r") {
            let mut entry = self.new_entry("TABLE DATA", &table.name, Section::Data);
            entry.catalog = Kind::Table.catalog_oid();
            entry.namespace = Some(table.schema.clone());
            entry.had_dumper = true;
            entry.copy = Some(copy_statement(&table.schema, &table.name, &table.columns));
            entry.dependencies = self.ids.get(extension).cloned().unwrap_or_default();
            entry.data = Data::File(format!("{}.dat", entry.dump_id));
            self.contents.tables.push(TableRows {
                dump_id: entry.dump_id,
                schema: table.schema.clone(),
                name: table.name.clone(),
                columns: table.columns.clone(),
                only: true,
                filter: table.filter(),
            });
            self.contents.entries.push(entry);
        }
    }

    /// One entry for each sequence, whose definition is written once its position is known.
    fn positions(&mut self) {
        let nodes = &self.graph.nodes;
        let of_kind = |kind: Kind, oid: Oid| nodes.iter().position(|n| n.kind == kind && n.oid == oid);
        let sequences: Vec<_> = self
            .catalog
            .sequences
            .iter()
            .filter_map(|row| {
                let node = match (row.identity, row.owner) {
                    (Some(true), Some(owner)) => of_kind(Kind::Table, owner),
                    _ => of_kind(Kind::Sequence, row.oid),
                };
                Some((row, node?))
            })
            .collect();
        for (row, node) in sequences {
            let mut entry = self.new_entry("SEQUENCE SET", &row.name, Section::Data);
            entry.namespace = Some(row.schema.clone());
            entry.dependencies =
                self.ids.get(&node).and_then(|ids| ids.first()).copied().into_iter().collect();
            self.contents
                .sequences
                .push((self.contents.entries.len(), (row.schema.clone(), row.name.clone())));
            self.contents.entries.push(entry);
        }
        let graph = self.graph;
        for (extension, table) in graph.extension_data.iter().filter(|(_, table)| table.kind == "S") {
            let mut entry = self.new_entry("SEQUENCE SET", &table.name, Section::Data);
            entry.namespace = Some(table.schema.clone());
            entry.dependencies = self.ids.get(extension).cloned().unwrap_or_default();
            let name = (table.schema.clone(), table.name.clone());
            self.contents.sequences.push((self.contents.entries.len(), name));
            self.contents.entries.push(entry);
        }
    }

    fn refreshes(&mut self, order: &[NodeId]) {
        let nodes = &self.graph.nodes;
        let mut made: BTreeMap<NodeId, i32> = BTreeMap::new();
        for id in order.iter().filter(|id| nodes[**id].kind == Kind::MaterializedView) {
            let node = &nodes[*id];
            if !self.catalog.relation(node.oid).is_some_and(|relation| relation.populated) {
                continue;
            }
            let mut entry = self.new_entry("MATERIALIZED VIEW DATA", &node.name, Section::PostData);
            entry.catalog = Kind::MaterializedView.catalog_oid();
            entry.oid = node.oid;
            entry.namespace = Some(node.schema.clone());
            entry.definition = Some(text([format!(
                "REFRESH MATERIALIZED VIEW {}",
                sql::qualified(&node.schema, &node.name)
            )]));
            entry.dependencies = self.ids.get(id).cloned().unwrap_or_default();
            // What it reads, at any depth: a view in between may read another materialized view.
            let mut open: Vec<NodeId> = node.needs.iter().copied().collect();
            let mut seen = BTreeSet::new();
            while let Some(next) = open.pop() {
                if seen.insert(next) {
                    entry.dependencies.extend(made.get(&next));
                    open.extend(&nodes[next].needs);
                }
            }
            made.insert(*id, entry.dump_id);
            self.contents.entries.push(entry);
        }
    }
}

/// `COPY public.t (a, b) FROM stdin;`, as pg_dump writes it.
pub fn copy_statement(schema: &str, name: &str, columns: &[String]) -> String {
    let columns = match columns {
        [] => String::new(),
        columns => format!("({})", sql::idents(columns.iter().map(String::as_str))),
    };
    format!("COPY {} {columns} FROM stdin;\n", sql::qualified(schema, name))
}

fn text(statements: impl IntoIterator<Item = String>) -> String {
    statements.into_iter().map(|statement| statement + ";\n").collect()
}

fn namespace(node: &Node) -> Option<String> {
    Some(node.schema.clone()).filter(|schema| !schema.is_empty())
}

/// Empty is the database's own; what can't lie in one has none.
fn tablespace(node: &Node) -> Option<String> {
    let lies = matches!(
        node.kind,
        Kind::Table
            | Kind::MaterializedView
            | Kind::Index
            | Kind::PrimaryKey
            | Kind::Unique
            | Kind::Exclusion
    );
    lies.then(|| node.tablespace.clone().unwrap_or_default())
}

/// A statement of a definition as an archive has it.
fn defined(node: &Node, statement: &str) -> String {
    match node.kind {
        // A target may have it already: hosted servers make extensions by means of their own.
        Kind::Extension => statement.replacen("CREATE EXTENSION ", "CREATE EXTENSION IF NOT EXISTS ", 1),
        _ => statement.to_owned(),
    }
}

/// What `pg_restore --clean` runs, in the reverse order of the entries.
fn dropped(node: &Node) -> Option<String> {
    // An index that is attached goes with the one that it is attached to, row security and what is published of it with
    // its table.
    let goes_along =
        matches!(node.kind, Kind::RowSecurity | Kind::PublicationTable | Kind::PublicationSchema);
    if node.parent.is_some() || node.drop.is_empty() || goes_along {
        return None;
    }
    // pg_restore looks for `DROP` and the entry's name, to put IF EXISTS after it.
    let statements = node.drop.iter().filter(|statement| !statement.starts_with("DO "));
    Some(text(statements.map(|statement| match node.kind {
        // Its table is dropped before the sequence, and would take that with it.
        Kind::SequenceOwner => statement.replacen("ALTER SEQUENCE ", "ALTER SEQUENCE IF EXISTS ", 1),
        Kind::Language => statement.replacen("DROP LANGUAGE ", "DROP PROCEDURAL LANGUAGE ", 1),
        Kind::Function => statement.replacen("DROP FUNCTION IF EXISTS ", "DROP FUNCTION ", 1),
        _ => statement.clone(),
    })))
}

/// `TABLE users` of `COMMENT ON TABLE app.users IS '…'`.
fn comment_tag(node: &Node, statement: &str) -> String {
    let rest = statement.split_once(" ON ").map_or(statement, |(_, rest)| rest);
    let object = rest.split(" IS ").next().unwrap_or(rest);
    object.replacen(&format!("{}.", sql::ident(&node.schema)), "", 1)
}
