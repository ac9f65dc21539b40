//! Making an archive: what is read, what is asked for, and when.

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_archive::{Created, Entry, Layout, Toc, write};
use godwit_pg_catalog::selection::{Wanted, dropped, select};
use godwit_pg_catalog::{
    Catalog, Defaults, Graph, Kind, Oid, RelationRow, Unit, fill, sequence_positions, sort, submit,
};
use godwit_sdk::prelude::*;

use crate::contents::{Contents, Parts, TableRows, contents};
use crate::params::{DumpedTable, Format, Outputs, Params};
use crate::script::script;
use crate::{ARCHIVE, SOURCE, WHOLE};

pub fn apply<H: Host>(host: &H, params: &Params) -> Result<Outputs> {
    // Decided once: the step's own files would be in the way of a resumed call.
    host.memo("vacant", || vacant(host, params))?;
    let catalog = Catalog::read_with(host, SOURCE, params.rights())?;
    let skip: BTreeSet<String> = params.skip.iter().cloned().collect();
    // `pg_restore -t` makes a table without its sequence.
    let wanted = Wanted {
        filter: &params.filter(),
        skip: &skip,
        rows: !params.schema_only,
        large_objects: false,
        defaults: Defaults::Apart,
    };
    let (mut graph, skipped) = select(host, SOURCE, &catalog, &wanted, "dumped")?;
    let order = sort(&mut graph)?;
    let tables = tables(host, &catalog, &graph, params)?;
    let parts = Parts { schema: !params.data_only, rows: !params.schema_only };
    let mut contents = contents(&catalog, &graph, &order, &tables, parts);

    let units: Vec<Unit<&TableRows>> = contents
        .tables
        .iter()
        .map(|table| Unit { key: key(table), after: BTreeSet::new(), work: table })
        .collect();
    submit(host, &units, |unit| dump(host, params, &unit.key, unit.work))?;

    // Sequences aren't part of a snapshot: they are read when all rows are there, so that none is behind its rows.
    let names: Vec<(String, String)> = contents.sequences.iter().map(|(_, name)| name.clone()).collect();
    let positions = sequence_positions(host, SOURCE, &names)?;
    for ((place, _), position) in contents.sequences.iter().zip(&positions) {
        contents.entries[*place].definition = Some(position.setval() + ";\n");
    }
    let units = [Unit { key: WHOLE.to_owned(), after: BTreeSet::new(), work: () }];
    submit(host, &units, |unit| seal(host, params, &unit.key, &contents))?;

    let (rows, bytes) = moved(host, &contents)?;
    Ok(Outputs {
        path: params.path.clone(),
        format: params.format,
        tables: contents.tables.iter().map(dumped).collect(),
        rows,
        bytes,
        objects: if params.data_only { BTreeMap::new() } else { counts(&graph) },
        skipped,
        dropped: dropped(params.rights()),
    })
}

/// Fails where something is at the archive's place.
fn vacant<H: Host>(host: &H, params: &Params) -> Result<bool> {
    let path = params.path.trim_end_matches('/');
    let taken = |what: &str| {
        Err(Error::Conflict(format!(
            "{what} is at `{path}` of slot `{ARCHIVE}` already; nothing was touched. Remove it, or choose another `path`"
        )))
    };
    match (host.stat_file(ARCHIVE, path)?, params.format) {
        (None, _) => Ok(true),
        (Some(there), Format::Directory) if there.is_dir => {
            if host.list_files(ARCHIVE, path)?.is_empty() {
                Ok(true)
            } else {
                taken("a folder that isn't empty")
            }
        }
        (Some(there), _) => taken(if there.is_dir { "a folder" } else { "a file" }),
    }
}

/// The tables whose rows are dumped: by name, or, where they go into a schema that is there, those first that others
/// point at.
fn tables<H: Host>(host: &H, catalog: &Catalog, graph: &Graph, params: &Params) -> Result<Vec<Oid>> {
    let made: BTreeSet<Oid> = graph.nodes.iter().filter(|n| n.kind == Kind::Table).map(|n| n.oid).collect();
    let tables: Vec<&RelationRow> =
        catalog.relations.iter().filter(|r| r.holds_rows() && made.contains(&r.oid)).collect();
    if !params.data_only {
        return Ok(tables.into_iter().map(|table| table.oid).collect());
    }
    match fill::order(catalog, &tables) {
        Ok(order) => Ok(order.into_iter().map(|(place, _)| tables[place].oid).collect()),
        Err(circle) => {
            host.log(Level::Warn, &format!("the rows can't be put into an order: {circle}"));
            Ok(tables.into_iter().map(|table| table.oid).collect())
        }
    }
}

fn key(table: &TableRows) -> String {
    format!("dump/{}.{}", table.schema, table.name)
}

fn dumped(table: &TableRows) -> DumpedTable {
    DumpedTable { schema: table.schema.clone(), name: table.name.clone(), key: key(table) }
}

/// Where the rows of a table go; those of a script become part of it at the end.
fn file(params: &Params, table: &TableRows) -> String {
    match params.format {
        Format::Directory => {
            let suffix = match params.compression() {
                Compression::None => "",
                Compression::Gzip => ".gz",
                Compression::Lz4 => ".lz4",
                Compression::Zstd => ".zst",
            };
            params.below(&format!("{}.dat{suffix}", table.dump_id))
        }
        Format::Plain => format!("{}.{}.rows", params.path, table.dump_id),
    }
}

fn dump<H: Host>(host: &H, params: &Params, key: &str, table: &TableRows) -> Result<H::Effect> {
    let source = Table {
        slot: SOURCE.to_owned(),
        schema: table.schema.clone(),
        name: table.name.clone(),
        columns: table.columns.clone(),
    };
    let sink =
        RowsFile { slot: ARCHIVE.to_owned(), path: file(params, table), compression: params.compression() };
    let consistency = params.consistency.consistency();
    host.dump_table(
        key,
        source,
        sink,
        CopyOptions { consistency, only: table.only, filter: table.filter.clone() },
    )
}

fn seal<H: Host>(host: &H, params: &Params, key: &str, contents: &Contents) -> Result<H::Effect> {
    let origin = origin(host)?;
    match params.format {
        Format::Directory => {
            let (version, compressed) = params.version();
            let mut toc = Toc::new(version, Layout::Directory);
            toc.compressed = compressed;
            toc.created = origin.created();
            toc.database = Some(origin.database);
            toc.server_version = Some(origin.server);
            toc.dump_version = Some(format!("godwit {}", env!("CARGO_PKG_VERSION")));
            toc.entries = contents.entries.clone();
            let bytes = write(&toc)
                .map_err(|fault| Error::Failed(format!("the table of contents can't be written: {fault}")))?;
            host.seal_archive(ARCHIVE, key, &params.below("toc.dat"), vec![Piece::Text(bytes)])
        }
        Format::Plain => {
            let files: BTreeMap<i32, String> =
                contents.tables.iter().map(|table| (table.dump_id, file(params, table))).collect();
            let of_entry = |entry: &Entry| files.get(&entry.dump_id).cloned();
            host.seal_archive(ARCHIVE, key, &params.path, script(&contents.entries, &origin.server, of_entry))
        }
    }
}

/// What the source says of itself, and the time there.
#[derive(Deserialize)]
struct Origin {
    database: String,
    server: String,
    second: i32,
    minute: i32,
    hour: i32,
    day: i32,
    month: i32,
    year: i32,
}

impl Origin {
    fn created(&self) -> Created {
        Created {
            second: self.second,
            minute: self.minute,
            hour: self.hour,
            day: self.day,
            month: self.month - 1,
            year: self.year - 1900,
            daylight_saving: 0,
        }
    }
}

fn origin<H: Host>(host: &H) -> Result<Origin> {
    let part = |name: &str| format!("extract({name} FROM t.at)::int AS {name}");
    let parts: Vec<String> = ["minute", "hour", "day", "month", "year"].into_iter().map(part).collect();
    let sql = format!(
        "SELECT current_database() AS database, current_setting('server_version') AS server, \
         floor(extract(second FROM t.at))::int AS second, {} FROM (SELECT now() AT TIME ZONE 'UTC' AS at) t",
        parts.join(", ")
    );
    host.select(SOURCE, &sql, &[])?.pop().ok_or_else(|| {
        Error::Failed(format!("the server of slot `{SOURCE}` doesn't say which database it is"))
    })
}

/// Rows and bytes of all tables, once they are dumped.
fn moved<H: Host>(host: &H, contents: &Contents) -> Result<(Option<u64>, Option<u64>)> {
    if host.mode() == Mode::Plan {
        return Ok((None, None));
    }
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    for table in &contents.tables {
        if let Some(evidence) = host.evidence(&key(table))? {
            rows = rows.saturating_add(evidence.items);
            bytes = bytes.saturating_add(evidence.bytes);
        }
    }
    Ok((Some(rows), Some(bytes)))
}

fn counts(graph: &Graph) -> BTreeMap<String, u64> {
    graph.counts().into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect()
}
