//! Which effects restore an archive into an empty database, and which of them wait for which.

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_archive::{Entry, Section, if_exists, split};
use godwit_pg_catalog::index_build::IndexBuild;
use godwit_pg_catalog::tablespaces::{table_within, within};
use godwit_pg_catalog::{TargetMemo, analyze, frontier, prelude, sql};
use godwit_sdk::prelude::*;

use crate::archive::{Archive, Rows};
use crate::choice::{Choice, is_data, is_privileges, is_said, sections_of};
use crate::data_only::{Begun, Decision};
use crate::objects;
use crate::params::{Params, RestoredTable};
use crate::rights;
use crate::units::{Unit, Work};

/// Statements of one transaction, at most. An error names the statement, so more would only cost what is done again.
const BATCH: usize = 200;
/// How many bytes of rows a compressed byte may stand for, where memory is sized by them.
const UNPACKED: u64 = 4;

/// What goes with its table: nothing of it is left when the tables of a database that was empty are dropped. A partition's
/// couldn't be dropped by itself.
const WITH_TABLE: &[&str] = &["CONSTRAINT", "INDEX ATTACH", "TABLE ATTACH"];

/// What would fire on rows, or hide them: it comes last.
const LAST: &[&str] = &[
    "TRIGGER",
    "RULE",
    "POLICY",
    "ROW SECURITY",
    "EVENT TRIGGER",
    "PUBLICATION",
    "PUBLICATION TABLE",
    "PUBLICATION TABLES IN SCHEMA",
    "SUBSCRIPTION",
    "SUBSCRIPTION TABLE",
];

/// Indexes of partitioned tables and of their partitions, by dump id: one that is attached can't be dropped by itself, nor
/// can one that a constraint's is attached to.
type Attached = BTreeSet<i32>;

/// An entry with what it takes to make it and to take it back.
pub struct Part<'a> {
    pub entry: &'a Entry,
    pub statements: Vec<String>,
    pub drops: Vec<String>,
}

/// Cuts an entry's definition into statements; what the target has already is neither made nor taken back.
fn part<'a>(entry: &'a Entry, target: &TargetMemo, attached: &Attached) -> Result<Part<'a>> {
    let tag = entry.tag.as_deref().unwrap_or_default();
    let is_there = match entry.desc.as_str() {
        "SCHEMA" => target.schemas.contains(tag),
        "EXTENSION" => target.extensions.contains_key(tag),
        _ => false,
    };
    if is_there {
        return Ok(Part { entry, statements: Vec::new(), drops: Vec::new() });
    }
    let cut = |text: &Option<String>| {
        split(text.as_deref().unwrap_or_default()).map_err(|fault| {
            Error::Invalid(format!(
                "{} (entry {}) of the archive can't be read: {fault}; nothing was touched",
                entry.title(),
                entry.dump_id
            ))
        })
    };
    let mut statements = cut(&entry.definition)?;
    let method = entry.access_method.as_deref().filter(|method| !matches!(*method, "" | "heap"));
    if let Some(method) = method.filter(|_| !statements.is_empty()) {
        let table = sql::qualified(entry.namespace.as_deref().unwrap_or_default(), tag);
        if entry.relkind == i32::from(b'p') {
            statements.push(format!("ALTER TABLE {table} SET ACCESS METHOD {}", sql::ident(method)));
        } else {
            let set =
                |method: &str| format!("SET LOCAL default_table_access_method = {}", sql::ident(method));
            statements.insert(0, set(method));
            statements.push(set("heap"));
        }
    }
    if let Some(tablespace) = entry.tablespace.as_deref().filter(|_| !statements.is_empty()) {
        let table = (entry.desc == "TABLE")
            .then(|| statements.iter().position(|s| table_within(s, tablespace).is_some()))
            .flatten();
        if let Some(at) = table {
            statements[at].push_str(&format!(" TABLESPACE {}", sql::ident(tablespace)));
        } else {
            let (begin, end) = within(tablespace);
            statements.insert(0, begin);
            statements.push(end);
        }
    }
    let goes_along = match entry.desc.as_str() {
        // It may call a function, which is dropped before the table.
        "CHECK CONSTRAINT" => entry.section == Section::PostData,
        "INDEX" => attached.contains(&entry.dump_id),
        desc => WITH_TABLE.contains(&desc),
    };
    let drops = if goes_along || statements.is_empty() {
        Vec::new()
    } else {
        cut(&entry.drop)?.iter().map(|statement| if_exists(&entry.desc, statement) + cascade(entry)).collect()
    };
    Ok(Part { entry, statements, drops })
}

/// A range and the function that makes its values canonical need each other, so neither goes alone; whatever else used the
/// type is gone by then.
fn cascade(entry: &Entry) -> &'static str {
    let is_range = |definition: &String| {
        definition.contains(" AS RANGE (")
            && definition.lines().any(|line| line.trim_start().starts_with("canonical = "))
    };
    if entry.desc == "TYPE" && entry.definition.as_ref().is_some_and(is_range) { " CASCADE" } else { "" }
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    pub units: Vec<Unit>,
    pub tables: Vec<RestoredTable>,
}

/// Works out the units of a choice in an order in which each comes after those it waits for. `filled` says how rows go
/// into tables that are there already.
pub fn lay_out(
    archive: &Archive,
    choice: &Choice<'_>,
    params: &Params,
    target: &TargetMemo,
    filled: Option<&Decision>,
) -> Result<Plan> {
    let sections = sections_of(&choice.entries);
    let attached: Attached = choice
        .entries
        .iter()
        .filter(|entry| entry.desc == "INDEX ATTACH")
        .flat_map(|entry| entry.dependencies.iter().copied())
        .collect();
    let of = |section: Section| {
        choice
            .entries
            .iter()
            .copied()
            .filter(|entry| !is_data(entry) && !objects::belongs(entry))
            .filter(|entry| sections.get(&entry.dump_id) == Some(&section))
            .map(|entry| part(entry, target, &attached))
            .collect::<Result<Vec<_>>>()
    };
    // An entry of the data section that isn't data is made of rows: after them.
    let (mut later, before): (Vec<_>, Vec<_>) =
        of(Section::PreData)?.into_iter().partition(|part| is_privileges(part.entry));
    later.extend(of(Section::Data)?);
    later.extend(of(Section::PostData)?);

    let mut layout = Layout::new(archive, choice, &params.index_build);
    layout.plan.units = prelude(target);
    layout.last_before = frontier(&layout.plan.units);
    layout.before(before);
    let (granted, later): (Vec<_>, Vec<_>) = later.into_iter().partition(|part| is_privileges(part.entry));
    let (last, keys) = apart(later);
    match filled {
        Some(decision) => layout.given(decision.begin(archive, choice)?),
        None => layout.loads()?,
    }
    layout.objects()?;
    layout.keys(keys);
    layout.refreshes()?;
    let mut all = frontier(&layout.plan.units);
    if let Some(decision) = filled {
        let refreshed = |view: &&String| !layout.refreshed.contains(*view);
        let views: Vec<String> = decision.views.iter().filter(refreshed).cloned().collect();
        let end = decision.end(choice, &views, &all)?;
        layout.plan.units.extend(end);
        all = frontier(&layout.plan.units);
    }
    let (switches, last): (Vec<_>, Vec<_>) = last.into_iter().partition(|part| is_event_trigger(part.entry));
    all = layout.chain("after", last, all);
    let (of_triggers, owners): (Vec<_>, Vec<_>) = choice
        .entries
        .iter()
        .filter(|_| params.owners)
        .filter_map(|entry| rights::owner(entry))
        .partition(|part| is_event_trigger(part.entry));
    all = layout.chain("owners", owners, all);
    let of_objects = choice.entries.iter().filter(|entry| entry.desc == "ACL" && objects::belongs(entry));
    let mut granted = granted;
    for entry in of_objects {
        granted.push(part(entry, target, &attached)?);
    }
    let granted = granted.into_iter().map(|part| rights::granted(part, &layout.entries)).collect();
    all = layout.chain("privileges", granted, all);
    // These fire on what makes others.
    layout.chain("event-triggers", switches.into_iter().chain(of_triggers).collect(), all);
    if filled.is_none() {
        layout.sequences()?;
        layout.analyze();
    }
    Ok(layout.plan)
}

/// Whether it is one, or a comment on one.
fn is_event_trigger(entry: &Entry) -> bool {
    let tag = entry.tag.as_deref().unwrap_or_default();
    entry.desc == "EVENT TRIGGER" || is_said(entry) && tag.starts_with("EVENT TRIGGER ")
}

/// What comes last, and everything else. A comment goes with what it is on.
fn apart(parts: Vec<Part<'_>>) -> (Vec<Part<'_>>, Vec<Part<'_>>) {
    let mut last_ids: BTreeSet<i32> = BTreeSet::new();
    parts.into_iter().partition(|part| {
        let entry = part.entry;
        // The query of a view that was made without it, to break a circle: others read the view.
        let is_query =
            entry.desc == "RULE" && entry.tag.as_deref().is_some_and(|tag| tag.ends_with(" _RETURN"));
        let is_last = LAST.contains(&entry.desc.as_str()) && !is_query
            || entry.section == Section::None && entry.dependencies.iter().any(|id| last_ids.contains(id));
        if is_last {
            last_ids.insert(entry.dump_id);
        }
        is_last
    })
}

struct Layout<'a> {
    archive: &'a Archive,
    choice: &'a Choice<'a>,
    build: &'a IndexBuild,
    plan: Plan,
    /// The unit that makes an entry, by dump id.
    made_by: BTreeMap<i32, String>,
    last_before: BTreeSet<String>,
    /// The units that load rows of a table, by the dump id of the table's entry.
    loads: BTreeMap<i32, BTreeSet<String>>,
    /// Bytes of rows of a table, likewise.
    bytes: BTreeMap<i32, u64>,
    entries: BTreeMap<i32, &'a Entry>,
    /// Tables that are part of each table, by dump id.
    children: BTreeMap<i32, BTreeSet<i32>>,
    keys: BTreeSet<String>,
    /// The materialized views that are filled, qualified and quoted.
    refreshed: BTreeSet<String>,
}

impl<'a> Layout<'a> {
    fn new(archive: &'a Archive, choice: &'a Choice<'a>, build: &'a IndexBuild) -> Self {
        // Also what isn't restored: without `pre-data`, tables are there already, and keys wait for their rows all the same.
        let entries: BTreeMap<i32, &Entry> =
            archive.toc.entries.iter().map(|entry| (entry.dump_id, entry)).collect();
        Self {
            archive,
            choice,
            build,
            plan: Plan::default(),
            made_by: BTreeMap::new(),
            last_before: BTreeSet::new(),
            loads: BTreeMap::new(),
            bytes: BTreeMap::new(),
            children: children(&entries),
            entries,
            keys: BTreeSet::new(),
            refreshed: BTreeSet::new(),
        }
    }

    /// A key that no unit has yet.
    fn new_key(&mut self, wish: String, entry: &Entry) -> String {
        let key = if self.keys.contains(&wish) { format!("{wish}#{}", entry.dump_id) } else { wish };
        self.keys.insert(key.clone());
        key
    }

    /// A table's entry with those of the tables below it.
    fn family(&self, table: i32) -> BTreeSet<i32> {
        let mut found = BTreeSet::from([table]);
        let mut open = vec![table];
        while let Some(next) = open.pop() {
            for child in self.children.get(&next).into_iter().flatten() {
                if found.insert(*child) {
                    open.push(*child);
                }
            }
        }
        found
    }

    /// Adds a transaction of parts, in order, taken back in reverse.
    fn execute(&mut self, key: String, parts: &[Part<'_>], after: BTreeSet<String>, first: Vec<String>) {
        let mut statements = first;
        if parts.iter().any(|part| matches!(part.entry.desc.as_str(), "FUNCTION" | "PROCEDURE")) {
            // A body may speak of what comes later; the server checks it when it is called.
            statements.insert(0, "SET LOCAL check_function_bodies = off".to_owned());
        }
        statements.extend(parts.iter().flat_map(|part| &part.statements).map(|statement| {
            if statement.starts_with("CREATE INDEX ") && statement.contains(" USING hnsw ") {
                self.build.hnsw(statement)
            } else {
                statement.clone()
            }
        }));
        let drops: Vec<String> = parts.iter().rev().flat_map(|part| part.drops.iter().cloned()).collect();
        let undo = if drops.is_empty() { Undo::Nothing } else { Undo::Statements(drops) };
        let entries = parts.iter().map(|part| (part.entry.title(), part.statements.clone())).collect();
        self.made_by.extend(parts.iter().map(|part| (part.entry.dump_id, key.clone())));
        let request = Execute::atomic(statements, undo);
        self.plan.units.push(Unit { key, after, work: Work::Execute { request, entries } });
    }

    /// A chain of transactions, each after the one before; the keys that whoever waits for all of it waits for.
    fn chain(&mut self, name: &str, parts: Vec<Part<'_>>, first: BTreeSet<String>) -> BTreeSet<String> {
        let mut batches: Vec<Vec<Part<'_>>> = Vec::new();
        let mut count = 0;
        for part in parts.into_iter().filter(|part| !part.statements.is_empty()) {
            if batches.is_empty() || count + part.statements.len() > BATCH {
                batches.push(Vec::new());
                count = 0;
            }
            count += part.statements.len();
            if let Some(batch) = batches.last_mut() {
                batch.push(part);
            }
        }
        let mut after = first;
        for (number, batch) in batches.iter().enumerate() {
            let key = format!("{name}/{:04}", number + 1);
            self.execute(key.clone(), batch, after, Vec::new());
            after = BTreeSet::from([key]);
        }
        after
    }

    fn before(&mut self, parts: Vec<Part<'_>>) {
        let first = self.last_before.clone();
        self.last_before = self.chain("before", parts, first);
    }

    /// The transfers into tables that are there, by the entries that they are of.
    fn given(&mut self, begun: Begun) {
        for mut unit in begun.units {
            unit.after.extend(self.last_before.iter().cloned());
            self.keys.insert(unit.key.clone());
            self.plan.units.push(unit);
        }
        for (dump_id, key) in begun.loads {
            for id in self.entries.get(&dump_id).into_iter().flat_map(|entry| &entry.dependencies) {
                self.loads.entry(*id).or_default().insert(key.clone());
            }
            self.made_by.insert(dump_id, key);
        }
        self.plan.tables = begun.tables;
    }

    fn loads(&mut self) -> Result<()> {
        let mut loads: Vec<(&Entry, Rows)> = Vec::new();
        for entry in self.choice.entries.iter().filter(|entry| entry.desc == "TABLE DATA") {
            loads.push((*entry, self.archive.rows(entry)?));
        }
        // The largest first, so that nothing long is begun when all else is done.
        loads.sort_by_key(|(entry, rows)| (std::cmp::Reverse(rows.bytes), entry.dump_id));
        for (entry, rows) in loads {
            let Some(target) = self.choice.targets.get(&entry.dump_id) else { continue };
            let key = self.new_key(load_key(&target.schema, &target.name), entry);
            let factor = if rows.compression == Compression::None { 1 } else { UNPACKED };
            for id in &entry.dependencies {
                self.loads.entry(*id).or_default().insert(key.clone());
                let bytes = self.bytes.entry(*id).or_default();
                *bytes = bytes.saturating_add(rows.bytes.saturating_mul(factor));
            }
            self.made_by.insert(entry.dump_id, key.clone());
            restored(&mut self.plan.tables, &target.schema, &target.name, &key);
            let work = Work::Load {
                rows,
                schema: target.schema.clone(),
                name: target.name.clone(),
                columns: target.columns.clone(),
            };
            self.plan.units.push(Unit { key, after: self.last_before.clone(), work });
        }
        Ok(())
    }

    /// The large objects, and their comments.
    fn objects(&mut self) -> Result<()> {
        let sources = objects::sources(self.archive, self.choice)?;
        if sources.is_empty() {
            return Ok(());
        }
        let (schema, name) = ("pg_catalog", "pg_largeobject");
        let key = load_key(schema, name);
        self.keys.insert(key.clone());
        restored(&mut self.plan.tables, schema, name, &key);
        let work = Work::LoadObjects(sources);
        self.plan.units.push(Unit { key: key.clone(), after: self.last_before.clone(), work });
        let choice = self.choice;
        let mut comments = Vec::new();
        for entry in choice.entries.iter().filter(|entry| is_said(entry) && objects::belongs(entry)) {
            let part = part(entry, &TargetMemo::default(), &Attached::new())?;
            // It goes with its object.
            comments.push(Part { drops: Vec::new(), ..part });
        }
        self.chain("large-objects", comments, BTreeSet::from([key]));
        Ok(())
    }

    /// The tables that an entry is about: those that it depends on, or that what it depends on is about.
    fn tables_of(&self, entry: &Entry) -> BTreeSet<i32> {
        let mut tables = BTreeSet::new();
        for id in &entry.dependencies {
            match self.entries.get(id) {
                Some(other) if other.desc == "TABLE" => tables.extend(self.family(*id)),
                Some(other) if matches!(other.desc.as_str(), "INDEX" | "CONSTRAINT" | "INDEX ATTACH") => {
                    let below: BTreeSet<i32> = other.dependencies.iter().copied().collect();
                    for id in below {
                        if self.entries.get(&id).is_some_and(|entry| entry.desc == "TABLE") {
                            tables.extend(self.family(id));
                        }
                    }
                }
                _ => {}
            }
        }
        tables
    }

    /// Indexes, keys, foreign keys and late views: each by itself, as soon as what it needs is there.
    fn keys(&mut self, parts: Vec<Part<'_>>) {
        // What changes a table, and not only reads it, locks it: those that share one go one after the other, lest they
        // wait for each other in a circle (`identify_locking_dependencies` in pg_backup_archiver.c).
        let mut busy: BTreeMap<i32, String> = BTreeMap::new();
        let (comments, parts): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| part.entry.section == Section::None);
        let mut comments_of: BTreeMap<i32, Vec<Part<'_>>> = BTreeMap::new();
        let ids: BTreeSet<i32> = parts.iter().map(|part| part.entry.dump_id).collect();
        let mut alone = Vec::new();
        for comment in comments {
            match comment.entry.dependencies.iter().find(|id| ids.contains(id)) {
                Some(id) => comments_of.entry(*id).or_default().push(comment),
                None => alone.push(comment),
            }
        }
        for part in parts.into_iter().chain(alone) {
            let entry = part.entry;
            let tables = self.tables_of(entry);
            let mut after = self.last_before.clone();
            after.extend(entry.dependencies.iter().filter_map(|id| self.made_by.get(id)).cloned());
            for table in &tables {
                after.extend(self.loads.get(table).into_iter().flatten().cloned());
            }
            if entry.desc != "INDEX" {
                after.extend(tables.iter().filter_map(|table| busy.get(table)).cloned());
            }
            let mut together = vec![part];
            together.extend(comments_of.remove(&entry.dump_id).into_iter().flatten());
            if together.iter().all(|part| part.statements.is_empty()) {
                continue;
            }
            let title = entry.title();
            let name = title.get(entry.desc.len()..).unwrap_or_default().trim_start();
            let wish = format!("{}/{name}", entry.desc.to_lowercase().replace(' ', "-"));
            let key = self.new_key(wish, entry);
            let first = self.build_settings(entry);
            self.execute(key.clone(), &together, after, first);
            if entry.desc != "INDEX" {
                busy.extend(tables.into_iter().map(|table| (table, key.clone())));
            }
        }
    }

    /// Memory and workers for an index.
    fn build_settings(&self, entry: &Entry) -> Vec<String> {
        if !matches!(entry.desc.as_str(), "INDEX" | "CONSTRAINT") {
            return Vec::new();
        }
        let definition = entry.definition.as_deref().unwrap_or_default();
        let vectors = [" USING hnsw ", " USING ivfflat "].iter().any(|method| definition.contains(method));
        let bytes = self.tables_of(entry).iter().filter_map(|table| self.bytes.get(table)).sum();
        self.build.settings(vectors.then_some(bytes), bytes)
    }

    /// Fills the materialized views that were filled, those that others read first.
    fn refreshes(&mut self) -> Result<()> {
        let all = frontier(&self.plan.units);
        let choice = self.choice;
        for entry in choice.entries.iter().filter(|entry| entry.desc == "MATERIALIZED VIEW DATA") {
            let part = part(entry, &TargetMemo::default(), &Attached::new())?;
            if part.statements.is_empty() {
                continue;
            }
            let mut after = all.clone();
            after.extend(entry.dependencies.iter().filter_map(|id| self.made_by.get(id)).cloned());
            let (schema, name) = (entry.namespace.as_deref(), entry.tag.as_deref());
            let key = self.new_key(
                format!("refresh/{}.{}", schema.unwrap_or_default(), name.unwrap_or_default()),
                entry,
            );
            self.made_by.insert(entry.dump_id, key.clone());
            self.refreshed.insert(sql::qualified(schema.unwrap_or_default(), name.unwrap_or_default()));
            let statements = part.statements.clone();
            let mut unit: Unit = Unit::refresh(key, after, part.statements);
            if let Work::Execute { entries, .. } = &mut unit.work {
                *entries = vec![(entry.title(), statements)];
            }
            self.plan.units.push(unit);
        }
        Ok(())
    }

    fn sequences(&mut self) -> Result<()> {
        let mut parts = Vec::new();
        for entry in self.choice.entries.iter().filter(|entry| entry.desc == "SEQUENCE SET") {
            parts.push(part(entry, &TargetMemo::default(), &Attached::new())?);
        }
        let after = self.last_before.clone();
        self.chain("sequences", parts, after);
        Ok(())
    }

    /// Statistics for the planner, of the tables and materialized views that were filled. ANALYZE would go to other servers
    /// for foreign tables, so a table above one of these is left to autovacuum.
    fn analyze(&mut self) {
        let is_foreign = |id: &i32| self.entries.get(id).is_some_and(|entry| entry.desc == "FOREIGN TABLE");
        let above: BTreeSet<String> = self
            .children
            .keys()
            .filter(|id| self.family(**id).iter().any(is_foreign))
            .filter_map(|id| self.entries.get(id))
            .filter_map(|entry| Some(sql::qualified(entry.namespace.as_deref()?, entry.tag.as_deref()?)))
            .collect();
        let tables = self.plan.tables.iter().filter(|table| table.schema != "pg_catalog");
        let tables = tables.map(|table| sql::qualified(&table.schema, &table.name));
        let mut names: Vec<String> = tables.filter(|name| !above.contains(name)).collect();
        names.extend(
            self.choice
                .entries
                .iter()
                .filter(|entry| entry.desc == "MATERIALIZED VIEW DATA")
                .filter_map(|entry| Some(sql::qualified(entry.namespace.as_deref()?, entry.tag.as_deref()?))),
        );
        let after = frontier(&self.plan.units);
        self.plan.units.extend(analyze(&names, &after));
    }
}

/// The key of the transfer into a table.
pub fn load_key(schema: &str, name: &str) -> String {
    format!("load/{schema}.{name}")
}

/// Notes a transfer into a table.
pub fn restored(tables: &mut Vec<RestoredTable>, schema: &str, name: &str, key: &str) {
    match tables.iter_mut().find(|table| table.schema == schema && table.name == name) {
        Some(table) => table.keys.push(key.to_owned()),
        None => tables.push(RestoredTable {
            schema: schema.to_owned(),
            name: name.to_owned(),
            keys: vec![key.to_owned()],
        }),
    }
}

/// Which tables are part of which, by dump id: those that entries attach, and those that were made of others.
fn children(entries: &BTreeMap<i32, &Entry>) -> BTreeMap<i32, BTreeSet<i32>> {
    let mut children: BTreeMap<i32, BTreeSet<i32>> = BTreeMap::new();
    let is_table = |id: &&i32| {
        entries.get(id).is_some_and(|entry| matches!(entry.desc.as_str(), "TABLE" | "FOREIGN TABLE"))
    };
    for (id, entry) in entries {
        let tables: Vec<i32> = entry.dependencies.iter().filter(is_table).copied().collect();
        match entry.desc.as_str() {
            "TABLE" | "FOREIGN TABLE" => {
                for parent in tables {
                    children.entry(parent).or_default().insert(*id);
                }
            }
            "TABLE ATTACH" => {
                let is_child = |id: &i32| {
                    entries
                        .get(id)
                        .is_some_and(|table| table.tag == entry.tag && table.namespace == entry.namespace)
                };
                let (child, parents): (Vec<i32>, Vec<i32>) = tables.into_iter().partition(is_child);
                for parent in parents {
                    children.entry(parent).or_default().extend(&child);
                }
            }
            _ => {}
        }
    }
    children
}
