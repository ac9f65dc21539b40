//! Which objects of a database a step is about, and what of it can't be made again.

use std::collections::BTreeSet;

use godwit_sdk::prelude::*;

use crate::catalog::{Catalog, Rights};
use crate::graph::{Cause, Defaults, Graph, build_with};
use crate::kind::Kind;
use crate::pattern::{Filter, Patterns};
use crate::rows::{ConfigTable, Oid};
use crate::sql;
use crate::tablespaces::TablespaceMap;

/// Rows that users put into tables of extensions: beside [`Kind::SKIPPABLE`] a name for `skip`.
pub const EXTENSION_DATA: &str = "extension data";

/// What is lost by design, or because the recipe doesn't ask for it; also pg_dump's `--no-owner --no-privileges
/// --no-tablespaces`.
pub fn dropped(rights: Rights, tablespaces: &TablespaceMap) -> Vec<String> {
    let all = [
        ("owners", !rights.owners),
        ("privileges", !rights.privileges),
        ("tablespaces", tablespaces.is_empty()),
        ("security labels", !rights.labels),
        ("database settings", !rights.settings),
    ];
    all.iter().filter(|(_, dropped)| *dropped).map(|(what, _)| (*what).to_owned()).collect()
}

/// Patterns of names: `*` stands for any text.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Admits what matches any of these; empty admits everything.
    pub include: Vec<String>,
    /// Leaves out what matches any of these.
    pub exclude: Vec<String>,
}

impl From<&Selection> for Patterns {
    fn from(selection: &Selection) -> Self {
        Self { include: selection.include.clone(), exclude: selection.exclude.clone() }
    }
}

/// What the copy relies on while the source is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reliance {
    /// One snapshot of the source; when it is lost, tables are emptied and begun again.
    #[default]
    Snapshot,
    /// The source takes no writes, which is checked.
    Frozen,
}

/// An object that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    pub kind: String,
    pub name: String,
    pub reason: String,
}

impl Reliance {
    pub fn consistency(self) -> Consistency {
        match self {
            Self::Snapshot => Consistency::Snapshot,
            Self::Frozen => Consistency::Frozen,
        }
    }
}

/// The filter that selections of schemas and tables make.
pub fn filter(schemas: &Selection, tables: &Selection) -> Filter {
    Filter { schemas: schemas.into(), tables: tables.into(), ..Filter::default() }
}

/// Fails where `skip` names a kind that can't be left out.
pub fn check_skip(skip: &[String]) -> Result<()> {
    let known: BTreeSet<&str> =
        Kind::SKIPPABLE.iter().map(|kind| kind.name()).chain([EXTENSION_DATA]).collect();
    let unknown: Vec<&str> = skip.iter().map(String::as_str).filter(|kind| !known.contains(kind)).collect();
    if !unknown.is_empty() {
        let known: Vec<&str> = known.into_iter().collect();
        return Err(Error::Invalid(format!(
            "`skip` names no kind that can be left out: {}; it may name: {}",
            unknown.join(", "),
            known.join(", ")
        )));
    }
    Ok(())
}

/// Fails where a pattern matches nothing in the source.
pub fn check_filter(filter: &Filter, catalog: &Catalog) -> Result<()> {
    let schemas: Vec<&str> = catalog.schemas.iter().map(|s| s.name.as_str()).collect();
    let tables: Vec<(&str, &str)> =
        catalog.relations.iter().map(|r| (r.schema.as_str(), r.name.as_str())).collect();
    let extensions: Vec<&str> = catalog.extensions.iter().map(|x| x.name.as_str()).collect();
    filter.check(&schemas, &tables, &extensions)
}

/// What a recipe wants of a database.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub filter: &'a Filter,
    /// Names of kinds.
    pub skip: &'a BTreeSet<String>,
    /// Rows too, not the schema alone.
    pub rows: bool,
    /// Large objects can be taken along.
    pub large_objects: bool,
    pub defaults: Defaults,
}

/// The objects to make; fails where something can't be made and the recipe doesn't say to leave it out.
///
/// `done` is the word for what happens to objects: `copied`.
pub fn select<H: Host>(
    host: &H,
    slot: &str,
    catalog: &Catalog,
    wanted: &Wanted<'_>,
    done: &str,
) -> Result<(Graph, Vec<Skipped>)> {
    let Wanted { filter, skip, rows: with_rows, large_objects, defaults } = *wanted;
    check_filter(filter, catalog)?;

    let mut skipped = Vec::new();
    let mut refused = Vec::new();
    let rows: Vec<(String, String)> = catalog
        .unsupported
        .iter()
        .filter(|row| row.schema.as_ref().is_none_or(|schema| filter.schema(schema)))
        .map(|row| (row.kind.clone(), row.label()))
        .collect();
    for (kind, name) in rows {
        if skip.contains(&kind) {
            let reason = format!("`skip` names the kind `{kind}`");
            skipped.push(Skipped { kind, name, reason });
        } else {
            refused.push(format!("{kind} {name}"));
        }
    }
    let mut graph = build_with(catalog, filter, skip, defaults);
    if with_rows {
        // Decided once: a source that goes on being written may fill others.
        let data = host.memo(EXTENSION_DATA, || extension_data(host, slot, catalog))?;
        for (extension, table) in data {
            let node =
                graph.nodes.iter().position(|node| node.kind == Kind::Extension && node.name == extension);
            let Some(node) = node else { continue };
            if skip.contains(EXTENSION_DATA) {
                let reason = format!("`skip` names the kind `{EXTENSION_DATA}`");
                let name = format!("{}.{}", table.schema, table.name);
                skipped.push(Skipped { kind: EXTENSION_DATA.to_owned(), name, reason });
            } else {
                graph.extension_data.push((node, table));
            }
        }
    }
    if with_rows && graph.large_objects > 0 && !(large_objects && catalog.large_objects.readable) {
        let why = if large_objects { " (`pg_largeobject` can be read by superusers alone)" } else { "" };
        refused.push(format!("large object {} of them{why}", graph.large_objects));
    }
    let tables: BTreeSet<&str> = graph
        .left_out
        .iter()
        .filter(|left| matches!(left.kind, Kind::Table | Kind::ForeignTable))
        .map(|left| left.name.as_str())
        .collect();
    for left in &graph.left_out {
        // What hangs on a table goes with it.
        if left.on.as_deref().is_some_and(|table| tables.contains(table)) && left.kind != Kind::ForeignKey {
            continue;
        }
        if left.is_fatal() {
            refused.push(format!("{} {} ({})", left.kind.name(), left.name, left.reason()));
        } else if is_worth_saying(left.kind, &left.cause) {
            skipped.push(Skipped {
                kind: left.kind.name().to_owned(),
                name: left.name.clone(),
                reason: left.reason(),
            });
        }
    }
    if !refused.is_empty() {
        return Err(Error::Invalid(format!(
            "the source has objects that can't be {done}: {}; nothing was touched. To go on without them, list their kinds \
             under `skip`",
            refused.join("; ")
        )));
    }
    if with_rows && !filter.rows.is_empty() {
        let tables: BTreeSet<Oid> =
            graph.nodes.iter().filter(|n| n.kind == Kind::Table).map(|n| n.oid).collect();
        let made = catalog.relations.iter().filter(|r| r.holds_rows() && tables.contains(&r.oid));
        skipped.extend(made.filter(|table| !filter.admits_rows(catalog, table)).map(|table| Skipped {
            kind: "rows".to_owned(),
            name: table.label(),
            reason: "`table_data` leaves them out".to_owned(),
        }));
    }
    for index in catalog.indexes.iter().filter(|i| !i.valid && !i.partitioned && i.constraint.is_none()) {
        let table = catalog.relation(index.relation).map(|r| r.label()).unwrap_or_default();
        skipped.push(Skipped {
            kind: Kind::Index.name().to_owned(),
            name: format!("{} on {table}", index.name),
            reason: "it is invalid: a CREATE INDEX CONCURRENTLY failed".to_owned(),
        });
    }
    for what in &skipped {
        host.log(Level::Warn, &format!("left out: {} {}: {}", what.kind, what.name, what.reason));
    }
    Ok((graph, skipped))
}

/// What a filter leaves out is said once, not for every index of a table.
fn is_worth_saying(kind: Kind, cause: &Cause) -> bool {
    match cause {
        Cause::Filtered(_) => {
            matches!(
                kind,
                Kind::Schema
                    | Kind::Extension
                    | Kind::Table
                    | Kind::View
                    | Kind::MaterializedView
                    | Kind::LargeObject
            )
        }
        Cause::Skipped | Cause::Needs(_) | Cause::Withheld(_) => true,
    }
}

/// Tables of extensions that hold rows of users' own, each with its extension's name, and sequences of theirs.
fn extension_data<H: Host>(host: &H, slot: &str, catalog: &Catalog) -> Result<Vec<(String, ConfigTable)>> {
    let tables: Vec<(String, ConfigTable)> = catalog
        .extensions
        .iter()
        .flat_map(|x| x.config.iter().flatten().map(|table| (x.name.clone(), table.clone())))
        .collect();
    let exists = |(number, (_, table)): (usize, &(String, ConfigTable))| {
        let name = sql::qualified(&table.schema, &table.name);
        let filled = match table.kind.as_str() {
            "S" => "true".to_owned(),
            _ => format!("EXISTS (SELECT 1 FROM {name} {})", table.condition),
        };
        format!("SELECT {number} AS number, {filled} AS filled")
    };
    let queries: Vec<String> = tables.iter().enumerate().map(exists).collect();
    if queries.is_empty() {
        return Ok(Vec::new());
    }
    #[derive(Deserialize)]
    struct Row {
        number: usize,
        filled: bool,
    }
    let rows: Vec<Row> = host.select(slot, &queries.join(" UNION ALL "), &[])?;
    let filled: BTreeSet<usize> = rows.iter().filter(|row| row.filled).map(|row| row.number).collect();
    let chosen = tables.into_iter().enumerate().filter(|(number, _)| filled.contains(number));
    Ok(chosen.map(|(_, table)| table).collect())
}
