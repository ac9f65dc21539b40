//! Deciding what is missing, and proving that nothing is.

use std::collections::BTreeSet;

use godwit_pg_catalog::index_build::IndexBuild;
use godwit_pg_catalog::sql::{ident, literal, qualified};
use godwit_sdk::prelude::*;

use crate::TARGET;
use crate::params::{Embeddings, Method, Params, VectorIndex, VectorType, parse_version, split};
use crate::state::{State, read};

/// What the step made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// The version of pgvector: the one installed, or the one that was to be.
    pub version: Option<String>,
    /// The schema of the extension.
    pub schema: String,
    pub made: Vec<String>,
    /// What was there already, and fits.
    pub found: Vec<String>,
}

/// One effect to be.
struct Piece {
    key: String,
    what: String,
    statements: Vec<String>,
    undo: Undo,
}

pub fn apply<H: Host>(host: &H, params: &Params) -> Result<Outputs> {
    let state = match host.memo("state", || checked(host, params)) {
        // The database comes into being by an earlier step.
        Err(Error::Pending(_)) if host.mode() == Mode::Plan => None,
        other => Some(other?),
    };
    let known = state.is_some();
    let state = state.unwrap_or_default();
    let schema = state.installed.as_ref().map_or(params.schema.clone(), |(_, schema)| schema.clone());
    let (pieces, found) = pieces(params, &state, &schema, known);
    let version = match (&state.installed, &state.available) {
        (Some((installed, _)), available) if pieces.iter().any(|p| p.key == "extension") => {
            Some(available.clone().unwrap_or_else(|| installed.clone()))
        }
        (Some((installed, _)), _) => Some(installed.clone()),
        (None, available) => available.clone(),
    };
    let outputs = Outputs { version, schema, made: pieces.iter().map(|p| p.what.clone()).collect(), found };
    let mut before: BTreeSet<String> = BTreeSet::new();
    let mut effects = Vec::new();
    for piece in pieces {
        let request = Execute::atomic(piece.statements, piece.undo);
        effects.push(host.execute(TARGET, &piece.key, request)?.after(&before));
        // One after the other: each may need the one before, and indexes built at once would share the memory.
        before = BTreeSet::from([piece.key]);
    }
    host.submit(effects)?;
    match host.settle() {
        Err(Error::Pending(_)) if host.mode() == Mode::Plan => Ok(outputs),
        other => other.map(|_| outputs),
    }
}

/// The state, once it is known that everything can be made.
fn checked<H: Host>(host: &H, params: &Params) -> Result<State> {
    let state = read(host, params)?;
    let obstacles = obstacles(params, &state);
    if obstacles.is_empty() {
        return Ok(state);
    }
    Err(Error::Conflict(format!("{}; nothing was touched", obstacles.join("; "))))
}

/// Everything that keeps the params from being fulfilled, one sentence each.
fn obstacles(params: &Params, state: &State) -> Vec<String> {
    let mut found = Vec::new();
    let needed = params.needed_version();
    let shown = format!("{}.{}.{}", needed.0, needed.1, needed.2);
    let reaches = |version: &str| parse_version(version).is_some_and(|version| version >= needed);
    match (&state.installed, &state.available) {
        (None, None) => found.push(
            "the server lacks pgvector: it has no extension `vector` to install. Install the package (such as \
             `postgresql-16-pgvector`, or the image `pgvector/pgvector:pg16`), or use another server"
                .to_owned(),
        ),
        (None, Some(available)) if !reaches(available) => found.push(format!(
            "the server's pgvector is {available}, but {shown} is needed; install a newer package on the server"
        )),
        (Some((installed, _)), available) if !reaches(installed) && !available.as_deref().is_some_and(reaches) => {
            found.push(format!(
                "the database has pgvector {installed} and the server offers {}, but {shown} is needed; install a newer \
                 package on the server",
                available.as_deref().unwrap_or("none")
            ));
        }
        _ => {}
    }
    if state.server < 130_000 && !params.embeddings.is_empty() {
        found.push(
            "tables of embeddings use gen_random_uuid(), which came with PostgreSQL 13; the server is older"
                .into(),
        );
    }
    for embeddings in &params.embeddings {
        match state.tables.get(&full(&embeddings.of)) {
            None => found.push(format!("table {} is not there; make it first", full(&embeddings.of))),
            Some(columns) if !columns.contains_key(&embeddings.of_column) => {
                found.push(format!(
                    "table {} has no column `{}`",
                    full(&embeddings.of),
                    embeddings.of_column
                ));
            }
            Some(_) => {}
        }
        if let Some(columns) = state.tables.get(&full(&embeddings.table)) {
            for column in [embeddings.column.as_str(), "embedding"] {
                if !columns.contains_key(column) {
                    found.push(format!(
                        "table {} is there already, but without a column `{column}`; add it by `columns`, or choose \
                         another name",
                        full(&embeddings.table)
                    ));
                }
            }
            found.extend(wrong_type(
                &embeddings.table,
                "embedding",
                embeddings.ty,
                embeddings.dimensions,
                state,
            ));
        }
    }
    for column in &params.columns {
        let made = params.embeddings.iter().any(|e| full(&e.table) == full(&column.table));
        if !made && !state.tables.contains_key(&full(&column.table)) {
            found.push(format!("table {} is not there; make it first", full(&column.table)));
        }
        found.extend(wrong_type(&column.table, &column.column, column.ty, column.dimensions, state));
    }
    for index in &params.indexes {
        let name = index_name(index);
        match state.indexes.get(&name) {
            Some(definition) if definition.is_empty() => found.push(format!(
                "index {name} is there, but invalid; drop it and run again: DROP INDEX {}",
                qualified(split(&index.table).0, &index.name())
            )),
            Some(definition) if !fits(index, definition) => found.push(format!(
                "index {name} is there already, but is another one: {definition}; choose another `name`, or drop it"
            )),
            _ => {}
        }
        let made = params.embeddings.iter().any(|e| full(&e.table) == full(&index.table))
            || params
                .columns
                .iter()
                .any(|c| full(&c.table) == full(&index.table) && c.column == index.column);
        let there = state.tables.get(&full(&index.table)).and_then(|columns| columns.get(&index.column));
        match there {
            None if !made => {
                found.push(format!("index {name}: {} has no column `{}`", full(&index.table), index.column));
            }
            Some(ty) if dimensions(ty).is_none() && !made => found.push(format!(
                "index {name}: column `{}` of {} is of type {ty}; an index needs a vector type with a number of dimensions",
                index.column,
                full(&index.table)
            )),
            _ => {}
        }
    }
    found
}

/// `schema.table`, unquoted.
fn full(name: &str) -> String {
    let (schema, table) = split(name);
    format!("{schema}.{table}")
}

fn index_name(index: &VectorIndex) -> String {
    format!("{}.{}", split(&index.table).0, index.name())
}

/// The type's name and dimensions of `public.vector(3)`.
fn dimensions(ty: &str) -> Option<(&str, u32)> {
    let (name, rest) = ty.split_once('(')?;
    let name = name.rsplit('.').next()?;
    let count = rest.strip_suffix(')')?.parse().ok()?;
    ["vector", "halfvec", "sparsevec"].contains(&name).then_some((name, count))
}

fn wrong_type(table: &str, column: &str, ty: VectorType, wanted: u32, state: &State) -> Option<String> {
    let there = state.tables.get(&full(table))?.get(column)?;
    (dimensions(there) != Some((ty.name(), wanted))).then(|| {
        format!(
            "column `{column}` of {} is of type {there}, but {}({wanted}) is asked for",
            full(table),
            ty.name()
        )
    })
}

/// Whether a definition is that of the index: method, column and operator class.
fn fits(index: &VectorIndex, definition: &str) -> bool {
    let class = index.operator_class().unwrap_or_default();
    let head = format!("USING {} ({}", index.method.name(), ident(&index.column));
    let Some((_, rest)) = definition.split_once(&head) else { return false };
    match rest.split_once(')') {
        Some(("", _)) => index.method == Method::Ivfflat && is_default_class(&class),
        Some((named, _)) => named.trim().rsplit('.').next() == Some(class.as_str()),
        None => false,
    }
}

/// The class that the deparser leaves out: only IVFFlat over `vector` has one.
fn is_default_class(class: &str) -> bool {
    class == "vector_l2_ops"
}

fn pieces(params: &Params, state: &State, schema: &str, known: bool) -> (Vec<Piece>, Vec<String>) {
    let mut pieces = Vec::new();
    let mut found = Vec::new();
    let needed = params.needed_version();
    match &state.installed {
        None => pieces.push(Piece {
            key: "extension".to_owned(),
            what: "extension vector".to_owned(),
            statements: vec![format!("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA {}", ident(schema))],
            undo: Undo::Statements(vec!["DROP EXTENSION IF EXISTS vector".to_owned()]),
        }),
        Some((version, _)) if parse_version(version).is_none_or(|version| version < needed) => {
            pieces.push(Piece {
                key: "extension".to_owned(),
                what: format!("extension vector, updated from {version}"),
                statements: vec!["ALTER EXTENSION vector UPDATE".to_owned()],
                // pgvector has no scripts that lead back.
                undo: Undo::Irreversible,
            })
        }
        Some((version, _)) => found.push(format!("extension vector {version}")),
    }
    for embeddings in &params.embeddings {
        let name = full(&embeddings.table);
        if state.tables.contains_key(&name) {
            found.push(format!("table {name}"));
            continue;
        }
        let of =
            state.tables.get(&full(&embeddings.of)).and_then(|columns| columns.get(&embeddings.of_column));
        pieces.push(table(embeddings, schema, of.map_or("uuid", String::as_str)));
    }
    for column in &params.columns {
        let name = format!("column {} of {}", column.column, full(&column.table));
        if state.tables.get(&full(&column.table)).is_some_and(|columns| columns.contains_key(&column.column))
        {
            found.push(name);
            continue;
        }
        let (owner, table) = split(&column.table);
        let alter = format!("ALTER TABLE {}", qualified(owner, table));
        let ty = format!("{}({})", qualified(schema, column.ty.name()), column.dimensions);
        pieces.push(Piece {
            key: format!("column/{}/{}", full(&column.table), column.column),
            what: name,
            statements: vec![format!("{alter} ADD COLUMN {} {ty}", ident(&column.column))],
            undo: Undo::Statements(vec![format!("{alter} DROP COLUMN {}", ident(&column.column))]),
        });
    }
    for index in &params.indexes {
        let name = index_name(index);
        if known && state.indexes.contains_key(&name) {
            found.push(format!("index {name}"));
        } else {
            pieces.push(build(index, params, schema));
        }
    }
    (pieces, found)
}

/// The table of embeddings, after the one that teams write by hand.
fn table(embeddings: &Embeddings, schema: &str, key_type: &str) -> Piece {
    let (owner, table) = split(&embeddings.table);
    let (of_schema, of) = split(&embeddings.of);
    let name = qualified(owner, table);
    let columns = [
        "id uuid PRIMARY KEY DEFAULT gen_random_uuid()".to_owned(),
        format!(
            "{} {key_type} NOT NULL REFERENCES {}({}) ON DELETE CASCADE",
            ident(&embeddings.column),
            qualified(of_schema, of),
            ident(&embeddings.of_column)
        ),
        format!("embedding {}({})", qualified(schema, embeddings.ty.name()), embeddings.dimensions),
        "source_text text".to_owned(),
        format!("embedding_model varchar(100) DEFAULT {}", literal(&embeddings.model)),
        "metadata jsonb".to_owned(),
        "created_at timestamptz DEFAULT CURRENT_TIMESTAMP".to_owned(),
        "updated_at timestamptz DEFAULT CURRENT_TIMESTAMP".to_owned(),
    ];
    Piece {
        key: format!("table/{}", full(&embeddings.table)),
        what: format!("table {}", full(&embeddings.table)),
        statements: vec![format!("CREATE TABLE {name} (\n    {}\n)", columns.join(",\n    "))],
        undo: Undo::Statements(vec![format!("DROP TABLE {name}")]),
    }
}

fn build(index: &VectorIndex, params: &Params, schema: &str) -> Piece {
    let (owner, table) = split(&index.table);
    let build = IndexBuild { memory: params.memory.clone(), workers: params.workers };
    let mut statements = build.settings_for(&qualified(owner, table));
    let mut options = Vec::new();
    options.extend(index.m.map(|m| format!("m = {m}")));
    options.extend(index.ef_construction.map(|ef| format!("ef_construction = {ef}")));
    options.extend(index.lists.map(|lists| format!("lists = {lists}")));
    let with = if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
    let create = format!(
        "CREATE INDEX {} ON {} USING {} ({} {}){with}",
        ident(&index.name()),
        qualified(owner, table),
        index.method.name(),
        ident(&index.column),
        // `Params::check` has refused what has no operator class.
        qualified(schema, &index.operator_class().unwrap_or_default())
    );
    statements.push(if index.method == Method::Hnsw { build.hnsw(&create) } else { create });
    Piece {
        key: format!("index/{}", index_name(index)),
        what: format!("index {}", index_name(index)),
        statements,
        undo: Undo::Statements(vec![format!("DROP INDEX {}", qualified(owner, &index.name()))]),
    }
}

pub fn verify<H: Host>(host: &H, params: &Params, outputs: &Outputs) -> Result<Vec<Check>> {
    let state = read(host, params)?;
    let mut checks = Vec::new();
    let needed = params.needed_version();
    checks.push(match &state.installed {
        Some((version, _)) if parse_version(version).is_some_and(|version| version >= needed) => {
            Check::passed("extension vector")
                .detail(format!("version {version} in schema {}", outputs.schema))
        }
        Some((version, _)) => Check::failed("extension vector", format!("its version is {version}")),
        None => Check::failed("extension vector", "the database doesn't have it"),
    });
    let columns = params
        .embeddings
        .iter()
        .map(|e| (&e.table, "embedding", e.ty, e.dimensions))
        .chain(params.columns.iter().map(|c| (&c.table, c.column.as_str(), c.ty, c.dimensions)));
    for (table, column, ty, dimensions) in columns {
        let name = format!("column {column} of {}", full(table));
        let there = state.tables.get(&full(table)).and_then(|columns| columns.get(column));
        checks.push(match (there, wrong_type(table, column, ty, dimensions, &state)) {
            (None, _) => Check::failed(name, "it is missing"),
            (Some(_), Some(why)) => Check::failed(name, why),
            (Some(ty), None) => Check::passed(name).detail(ty.clone()),
        });
    }
    for index in &params.indexes {
        let name = index_name(index);
        checks.push(match state.indexes.get(&name) {
            None => Check::failed(format!("index {name}"), "it is missing"),
            Some(definition) if definition.is_empty() => {
                Check::failed(format!("index {name}"), "it is invalid")
            }
            Some(definition) => {
                Check::that(format!("index {name}"), fits(index, definition), definition.clone())
                    .detail(definition.clone())
            }
        });
    }
    Ok(checks)
}
