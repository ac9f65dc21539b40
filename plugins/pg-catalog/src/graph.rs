//! The objects of a database as a graph: what makes each, what takes it back, and what it needs first.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::Catalog;
use crate::kind::Kind;
use crate::pattern::Filter;
use crate::rows::{ConfigTable, Oid};

/// An index into [`Graph::nodes`].
pub type NodeId = usize;

/// One object.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub schema: String,
    /// Unquoted. A function's has its argument types.
    pub name: String,
    /// `schema.name`, unquoted, of the table that it belongs to.
    pub on: Option<String>,
    /// Its own catalog id.
    pub oid: Oid,
    /// The relation that it is or belongs to.
    pub relation: Option<Oid>,
    /// The relation that a foreign key points at.
    pub references: Option<Oid>,
    /// The index of the partitioned table that this index is attached to.
    pub parent: Option<NodeId>,
    /// An index's access method.
    pub method: Option<String>,
    /// Where it is to lie; its statements say so once [`Graph::write_tablespaces`] was called.
    pub tablespace: Option<String>,
    pub create: Vec<String>,
    /// What stands in the place of the first statement on a server before this version, which lacks the words for it.
    pub older: Option<(u32, String)>,
    /// What a server from this version on needs in addition, to behave as the source's does.
    pub since: Vec<(u32, String)>,
    /// In the order in which they run.
    pub drop: Vec<String>,
    pub needs: BTreeSet<NodeId>,
    /// (`server_version_num`, feature): what the target's server has to be able to do.
    pub features: Vec<(u32, &'static str)>,
    /// Likewise, what servers from this version on can't do any more.
    pub gone: Vec<(u32, &'static str)>,
    /// Roles that have to be there.
    pub roles: Vec<String>,
    /// The role that whoever makes it has to be a member of.
    pub member_of: Option<String>,
    /// Only a superuser may make it.
    pub superuser: bool,
    /// Names of options that may hold a secret and stay behind.
    pub withheld: Vec<String>,
    /// For a view: what makes it without its query.
    pub placeholder: Option<String>,
}

impl Node {
    pub fn new(kind: Kind, oid: Oid, schema: &str, name: &str) -> Self {
        Self {
            kind,
            schema: schema.to_owned(),
            name: name.to_owned(),
            on: None,
            oid,
            relation: None,
            references: None,
            parent: None,
            method: None,
            tablespace: None,
            create: Vec::new(),
            older: None,
            since: Vec::new(),
            drop: Vec::new(),
            needs: BTreeSet::new(),
            features: Vec::new(),
            gone: Vec::new(),
            roles: Vec::new(),
            member_of: None,
            superuser: false,
            withheld: Vec::new(),
            placeholder: None,
        }
    }

    /// The statements that make it on a server of this version.
    pub fn statements(&self, version: u32) -> impl Iterator<Item = &String> {
        let since = self.since.iter().filter(move |(since, _)| version >= *since);
        self.common(version).chain(since.map(|(_, statement)| statement))
    }

    /// Likewise, without those that are there for newer servers alone.
    pub fn common(&self, version: u32) -> impl Iterator<Item = &String> {
        let older = self.older.as_ref().filter(|(since, _)| version < *since).map(|(_, create)| create);
        let rest = usize::from(older.is_some());
        older.into_iter().chain(self.create.iter().skip(rest))
    }

    /// The object for people: `public.users`, `users_pkey on public.users`, `vector`.
    pub fn label(&self) -> String {
        match (&self.on, self.schema.as_str()) {
            (Some(table), _) => format!("{} on {table}", self.name),
            (None, "") => self.name.clone(),
            (None, schema) => format!("{schema}.{}", self.name),
        }
    }

    /// `index public.users_email`.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind.name(), self.label())
    }
}

/// Something that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    pub kind: Kind,
    pub name: String,
    /// The table that it belongs to, when it isn't one itself.
    pub on: Option<String>,
    pub cause: Cause,
}

/// Why something is left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// `skip` names its kind.
    Skipped,
    /// The patterns of schemas or tables don't admit it, or the table it belongs to.
    Filtered(String),
    /// It needs something that is left out, named here.
    Needs(String),
    /// It is made, but without these of its options, which may hold a secret.
    Withheld(Vec<String>),
}

impl LeftOut {
    /// Why, in words.
    pub fn reason(&self) -> String {
        match &self.cause {
            Cause::Skipped => format!("`skip` names the kind `{}`", self.kind.name()),
            Cause::Filtered(reason) => reason.clone(),
            Cause::Needs(what) => format!("it needs {what}, which is left out"),
            Cause::Withheld(options) => format!(
                "it is made without `{}`, which may hold a secret; set it in the target",
                options.join("`, `")
            ),
        }
    }

    /// Whether leaving it out would change what rows the target takes, though nobody asked for that.
    pub fn is_fatal(&self) -> bool {
        matches!(self.cause, Cause::Needs(_)) && !Kind::SKIPPABLE.contains(&self.kind)
    }
}

/// All objects of a catalog that a filter admits.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The server's, as `server_version_num`.
    pub version: u32,
    pub nodes: Vec<Node>,
    pub left_out: Vec<LeftOut>,
    /// How many large objects belong to what was chosen.
    pub large_objects: u64,
    /// What users put into the tables of extensions; see [`select`](crate::selection::select).
    pub extension_data: Vec<(NodeId, ConfigTable)>,
}

/// Makes the nodes; the methods that write a kind's statements are in `ddl`.
pub(crate) struct Builder<'a> {
    pub catalog: &'a Catalog,
    pub nodes: Vec<Node>,
    /// Which node a catalog row belongs to.
    pub at: BTreeMap<(&'a str, Oid), NodeId>,
    pub relations: BTreeMap<Oid, &'a crate::rows::RelationRow>,
    /// Rows of `pg_attrdef` and `pg_constraint` that call a function which users made, or a sequence where its call is to
    /// stand by itself.
    calls: BTreeSet<(&'a str, Oid)>,
    /// The tables below each table, at any depth.
    pub descendants: BTreeMap<Oid, Vec<Oid>>,
    /// The check constraints of each relation.
    pub checks: BTreeMap<Oid, Vec<&'a crate::rows::ConstraintRow>>,
    /// The sequences of identity columns, by relation and column number.
    pub identities: BTreeMap<(Oid, i16), &'a crate::rows::SequenceRow>,
    /// The shell that a type was made from.
    pub shells: BTreeMap<NodeId, NodeId>,
    /// The nodes that hand an object over to its owner, and those that grant its privileges, by the object.
    pub owners: BTreeMap<NodeId, NodeId>,
    pub granted: BTreeMap<NodeId, NodeId>,
}

impl<'a> Builder<'a> {
    fn new(catalog: &'a Catalog, defaults: Defaults) -> Self {
        let routines: BTreeSet<Oid> = catalog.routines.iter().map(|r| r.oid).collect();
        let sequences: BTreeSet<Oid> = match defaults {
            Defaults::Inline => BTreeSet::new(),
            Defaults::Apart => catalog.sequences.iter().map(|s| s.oid).collect(),
        };
        let is_apart = |e: &&crate::rows::EdgeRow| {
            e.rc == "pg_proc" && routines.contains(&e.ro)
                || e.c == "pg_attrdef" && e.rc == "pg_class" && sequences.contains(&e.ro)
        };
        let calls = catalog.edges.iter().filter(is_apart).map(|e| (e.c.as_str(), e.o)).collect();
        let relations: BTreeMap<_, _> = catalog.relations.iter().map(|r| (r.oid, r)).collect();
        let mut descendants: BTreeMap<Oid, Vec<Oid>> = BTreeMap::new();
        for relation in &catalog.relations {
            let mut up: Vec<Oid> = relation.parents.clone();
            let mut seen = BTreeSet::new();
            while let Some(parent) = up.pop() {
                if seen.insert(parent) {
                    descendants.entry(parent).or_default().push(relation.oid);
                    up.extend(relations.get(&parent).map_or(&[][..], |p| &p.parents));
                }
            }
        }
        let mut checks: BTreeMap<Oid, Vec<_>> = BTreeMap::new();
        for check in catalog.constraints.iter().filter(|k| k.kind == "c") {
            checks.entry(check.relation).or_default().push(check);
        }
        let identities = catalog
            .sequences
            .iter()
            .filter(|s| s.identity == Some(true))
            .filter_map(|s| Some(((s.owner?, s.owner_column?), s)))
            .collect();
        Self {
            catalog,
            nodes: Vec::new(),
            at: BTreeMap::new(),
            relations,
            calls,
            descendants,
            checks,
            identities,
            shells: BTreeMap::new(),
            owners: BTreeMap::new(),
            granted: BTreeMap::new(),
        }
    }

    /// Whether this default or constraint calls a function that users made. Then it is added by a statement of its own
    /// once the function is there; the function may in turn need the table.
    pub fn calls_routine(&self, class: &'a str, oid: Oid) -> bool {
        self.calls.contains(&(class, oid))
    }

    /// Adds a node and says which catalog row it is.
    pub fn add(&mut self, class: &'a str, node: Node) -> NodeId {
        let id = self.nodes.len();
        self.at.insert((class, node.oid), id);
        self.nodes.push(node);
        id
    }

    /// Adds a node that is no catalog row of its own.
    pub fn add_part(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub fn node(&self, class: &'a str, oid: Oid) -> Option<NodeId> {
        self.at.get(&(class, oid)).copied()
    }

    fn link(&mut self) {
        // A member of an extension comes with it.
        for edge in &self.catalog.edges {
            if edge.t == "e"
                && let Some(extension) = self.node(&edge.rc, edge.ro)
            {
                self.at.entry((edge.c.as_str(), edge.o)).or_insert(extension);
            }
        }
        let made_of: BTreeSet<(NodeId, NodeId)> = self
            .catalog
            .edges
            .iter()
            .filter(|edge| edge.c == "pg_type" && edge.rc == "pg_proc")
            .filter_map(|edge| Some((self.node(&edge.c, edge.o)?, self.node(&edge.rc, edge.ro)?)))
            .filter(|(ty, _)| self.shells.contains_key(ty))
            .collect();
        for edge in &self.catalog.edges {
            let (Some(from), Some(to)) = (self.node(&edge.c, edge.o), self.node(&edge.rc, edge.ro)) else {
                continue;
            };
            if let Some(shell) = self.shells.get(&to).filter(|_| made_of.contains(&(to, from))) {
                // The type needs this function, which goes with it.
                self.nodes[from].needs.insert(*shell);
                for drop in &mut self.nodes[from].drop {
                    if !drop.contains(" IF EXISTS ") {
                        *drop = drop.replacen("DROP FUNCTION ", "DROP FUNCTION IF EXISTS ", 1);
                    }
                }
                continue;
            }
            // A sequence is made before the column that owns it: the column's default asks for it.
            let owned = self.nodes[from].kind == Kind::Sequence && matches!(edge.t.as_str(), "a" | "i");
            // What hangs on a view by its query is the view's; a placeholder takes the cycle apart, see `order`.
            if from != to && !owned {
                self.nodes[from].needs.insert(to);
            }
        }
    }
}

/// Where the default of a column that calls a sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defaults {
    /// In CREATE TABLE, which then needs the sequence.
    Inline,
    /// In a statement of its own, so that a table can be made without the sequence.
    Apart,
}

/// Makes the graph of a catalog: everything that `filter` admits and `skip` doesn't name.
pub fn build(catalog: &Catalog, filter: &Filter, skip: &BTreeSet<String>) -> Graph {
    build_with(catalog, filter, skip, Defaults::Inline)
}

/// [`build`], with a choice of where defaults stand.
pub fn build_with(catalog: &Catalog, filter: &Filter, skip: &BTreeSet<String>, defaults: Defaults) -> Graph {
    let mut builder = Builder::new(catalog, defaults);
    builder.schemas();
    builder.extensions();
    builder.languages();
    builder.access_methods();
    builder.collations();
    builder.types();
    builder.routines();
    builder.operators();
    builder.operator_families();
    builder.operator_classes();
    builder.casts();
    builder.transforms();
    builder.conversions();
    builder.text_search();
    builder.wrappers();
    builder.servers();
    builder.relations();
    builder.sequences();
    builder.alias_types();
    builder.defaults();
    builder.checks();
    builder.indexes();
    builder.foreign_keys();
    builder.statistics();
    builder.rules();
    builder.triggers();
    builder.policies();
    builder.row_security();
    builder.publications();
    builder.subscriptions();
    builder.event_triggers();
    builder.owners();
    builder.privileges();
    builder.default_privileges();
    builder.large_objects();
    builder.labels();
    builder.settings();
    builder.link();
    let unsupported = unsupported_needs(&builder);
    let Builder { nodes, relations, shells, .. } = builder;

    let mut out: BTreeMap<NodeId, Cause> = BTreeMap::new();
    for (id, node) in nodes.iter().enumerate() {
        if let Some(cause) = left_out(node, filter, skip, &relations) {
            out.insert(id, cause);
        } else if let Some(row) = unsupported.get(&id) {
            out.insert(id, Cause::Needs(row.clone()));
        }
    }
    for (ty, shell) in &shells {
        if out.contains_key(ty) {
            out.insert(*shell, Cause::Needs(nodes[*ty].title()));
        }
    }
    unchosen(&nodes, filter, &mut out);
    // What needs something that is left out can't be made either.
    loop {
        let mut more = Vec::new();
        for (id, node) in nodes.iter().enumerate() {
            if !out.contains_key(&id)
                && let Some(missing) = node.needs.iter().find(|need| out.contains_key(need))
            {
                more.push((id, Cause::Needs(nodes[*missing].title())));
            }
        }
        if more.is_empty() {
            break;
        }
        out.extend(more);
    }
    let (nodes, mut left_out) = keep(nodes, &out);
    left_out.retain(|left| left.kind != Kind::LargeObject);
    let large_objects = chosen_large_objects(catalog, filter, skip, &mut left_out);
    Graph { version: catalog.version, nodes, left_out, large_objects, extension_data: Vec::new() }
}

/// How many large objects are wanted: like all that is in no schema, none where a recipe names what it wants.
fn chosen_large_objects(
    catalog: &Catalog,
    filter: &Filter,
    skip: &BTreeSet<String>,
    left_out: &mut Vec<LeftOut>,
) -> u64 {
    let count = catalog.large_objects.count;
    let cause = if skip.contains(Kind::LargeObject.name()) {
        Cause::Skipped
    } else if !filter.schemas.include.is_empty() || !filter.tables.include.is_empty() {
        Cause::Filtered(UNCHOSEN.to_owned())
    } else {
        return count;
    };
    if count > 0 {
        left_out.push(LeftOut { kind: Kind::LargeObject, name: format!("{count} of them"), on: None, cause });
    }
    0
}

/// Which nodes need an object of an unsupported kind, and its name.
fn unsupported_needs(builder: &Builder<'_>) -> BTreeMap<NodeId, String> {
    let rows: BTreeMap<(&str, Oid), String> = builder
        .catalog
        .unsupported
        .iter()
        .map(|row| ((row.class.as_str(), row.oid), format!("{} {}", row.kind, row.label())))
        .collect();
    let mut needs = BTreeMap::new();
    for edge in &builder.catalog.edges {
        if let (Some(node), Some(row)) =
            (builder.at.get(&(edge.c.as_str(), edge.o)), rows.get(&(edge.rc.as_str(), edge.ro)))
        {
            needs.insert(*node, row.clone());
        }
    }
    needs
}

/// Why a node itself isn't wanted.
fn left_out(
    node: &Node,
    filter: &Filter,
    skip: &BTreeSet<String>,
    relations: &BTreeMap<Oid, &crate::rows::RelationRow>,
) -> Option<Cause> {
    if skip.contains(node.kind.name()) {
        return Some(Cause::Skipped);
    }
    let schema = match node.kind {
        Kind::Extension if !filter.extensions.admit([("", node.name.as_str())]) => {
            return Some(Cause::Filtered("`extensions` leaves it out".to_owned()));
        }
        Kind::Schema => &node.name,
        _ if node.schema.is_empty() => return None,
        _ => &node.schema,
    };
    if !filter.schema(schema) {
        return Some(Cause::Filtered(format!("`schemas` leaves schema `{schema}` out")));
    }
    if filter.tables.is_empty() {
        return None;
    }
    let own = relations.get(&node.relation?)?;
    // A partition is admitted by its root, too.
    let mut names = Vec::new();
    let mut up = vec![*own];
    while let Some(relation) = up.pop() {
        names.push((relation.schema.as_str(), relation.name.as_str()));
        if relation.partition {
            up.extend(relation.parents.iter().filter_map(|parent| relations.get(parent).copied()));
        }
    }
    (!filter.tables.admit(names)).then(|| Cause::Filtered(format!("`tables` leaves {} out", own.label())))
}

const UNCHOSEN: &str = "`schemas` or `tables` names what is wanted, and nothing of that needs it";

/// Leaves out what is in no schema where a recipe names what it wants and nothing of that needs it, as pg_dump does
/// under `--schema` and `--table`. Extensions are an exception: they say nothing of where they are used.
fn unchosen(nodes: &[Node], filter: &Filter, out: &mut BTreeMap<NodeId, Cause>) {
    if filter.schemas.include.is_empty() && filter.tables.include.is_empty() {
        return;
    }
    let global = |node: &Node| node.schema.is_empty() && !matches!(node.kind, Kind::Schema | Kind::Extension);
    let mut wanted: BTreeSet<NodeId> = BTreeSet::new();
    let mut open: Vec<NodeId> = (0..nodes.len())
        .filter(|id| {
            !global(&nodes[*id])
                && !out.contains_key(id)
                && !matches!(nodes[*id].kind, Kind::PublicationTable | Kind::PublicationSchema)
        })
        .collect();
    while let Some(id) = open.pop() {
        if wanted.insert(id) {
            open.extend(&nodes[id].needs);
        }
    }
    for (id, node) in nodes.iter().enumerate() {
        // A mapping goes with its server.
        let hangs = node.kind == Kind::UserMapping && node.needs.iter().all(|need| wanted.contains(need));
        if global(node) && !wanted.contains(&id) && !hangs {
            out.entry(id).or_insert(Cause::Filtered(UNCHOSEN.to_owned()));
        }
    }
}

/// Drops the nodes that are out and renumbers the rest.
fn keep(nodes: Vec<Node>, out: &BTreeMap<NodeId, Cause>) -> (Vec<Node>, Vec<LeftOut>) {
    let mut left_out: Vec<LeftOut> = out
        .iter()
        .map(|(id, cause)| LeftOut {
            kind: nodes[*id].kind,
            name: nodes[*id].label(),
            on: nodes[*id].on.clone(),
            cause: cause.clone(),
        })
        .collect();
    let withheld = |(id, node): &(usize, &Node)| !out.contains_key(id) && !node.withheld.is_empty();
    left_out.extend(nodes.iter().enumerate().filter(withheld).map(|(_, node)| LeftOut {
        kind: node.kind,
        name: node.label(),
        on: None,
        cause: Cause::Withheld(node.withheld.clone()),
    }));
    left_out.sort();
    let mut number = BTreeMap::new();
    for id in (0..nodes.len()).filter(|id| !out.contains_key(id)) {
        number.insert(id, number.len());
    }
    let nodes = nodes
        .into_iter()
        .enumerate()
        .filter(|(id, _)| number.contains_key(id))
        .map(|(_, mut node)| {
            node.needs = node.needs.iter().filter_map(|need| number.get(need).copied()).collect();
            node.parent = node.parent.and_then(|parent| number.get(&parent).copied());
            node
        })
        .collect();
    (nodes, left_out)
}

impl Graph {
    /// These nodes alone, without what they need: to be compared, not to be made.
    pub fn only(&self, nodes: &[NodeId]) -> Self {
        let nodes =
            nodes.iter().map(|id| Node { needs: BTreeSet::new(), parent: None, ..self.nodes[*id].clone() });
        Self { version: self.version, nodes: nodes.collect(), ..Self::default() }
    }

    /// How many objects of each kind there are, by the kind's name.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for node in &self.nodes {
            if !matches!(
                node.kind,
                Kind::SequenceOwner
                    | Kind::ViewQuery
                    | Kind::ReplicaIdentity
                    | Kind::Owner
                    | Kind::Privileges
                    | Kind::SystemPrivileges
            ) {
                *counts.entry(node.kind.name()).or_default() += 1;
            }
        }
        counts
    }
}
