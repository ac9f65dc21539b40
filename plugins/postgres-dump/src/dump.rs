//! Making an archive: what is read, what is asked for, and when.

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_archive::{Created, Data, Entry, Layout, Toc, write};
use godwit_pg_catalog::facts::Facts;
use godwit_pg_catalog::preflight::{Finding, conclude, of_source};
use godwit_pg_catalog::sections::Sections;
use godwit_pg_catalog::selection::{Wanted, dropped, select};
use godwit_pg_catalog::tablespaces::{Dropped, of_dropped};
use godwit_pg_catalog::{
    Catalog, Defaults, Graph, Kind, Oid, RelationRow, Unit, fill, large_object_numbers, sequence_positions,
    sort, submit,
};
use godwit_sdk::prelude::*;

use crate::contents::{Contents, OBJECTS, Rows, TableRows, contents};
use crate::params::{DumpedTable, Format, Outputs, Params};
use crate::script::script;
use crate::{ARCHIVE, OBJECT_FILES, SOURCE, WHOLE};

pub fn apply<H: Host>(host: &H, params: &Params) -> Result<Outputs> {
    // Decided once: the step's own files would be in the way of a resumed call.
    host.memo("vacant", || vacant(host, params))?;
    let mut catalog = Catalog::read_with(host, SOURCE, params.rights())?;
    catalog.rename_roles(&params.roles)?;
    let unplaced = catalog.place(&params.tablespaces)?;
    let skip: BTreeSet<String> = params.skip.iter().cloned().collect();
    // `pg_restore -t` makes a table without its sequence.
    let sections = params.sections()?;
    let wanted = Wanted {
        filter: &params.filter(),
        skip: &skip,
        rows: sections.rows,
        large_objects: true,
        defaults: Defaults::Apart,
    };
    let (mut graph, skipped) = select(host, SOURCE, &catalog, &wanted, "dumped")?;
    let order = sort(&mut graph)?;
    let tables = tables(host, &catalog, &graph, params)?;
    let Source { preflight, encoding } =
        host.memo("preflight", || preflight(host, &catalog, &tables, &unplaced, sections))?;
    let objects = match sections.rows && graph.large_objects > 0 {
        true => numbers(host)?,
        false => Vec::new(),
    };
    let rows = Rows { tables: &tables, objects: &objects };
    let mut contents = contents(&catalog, &graph, &order, rows, sections, &encoding);

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
    let mut units = vec![Unit { key: WHOLE.to_owned(), after: BTreeSet::new(), work: None }];
    // Files of their own, as a folder has them.
    let objects = contents.tables.iter().find(|table| table.are_objects());
    if let Some(table) = objects.filter(|_| params.format == Format::Directory) {
        units[0].after.insert(OBJECT_FILES.to_owned());
        units.insert(0, Unit { key: OBJECT_FILES.to_owned(), after: BTreeSet::new(), work: Some(table) });
    }
    submit(host, &units, |unit| match unit.work {
        Some(table) => seal_objects(host, params, &unit.key, table),
        None => Ok(seal(host, params, &unit.key, &contents)?.after(&unit.after)),
    })?;

    let (rows, bytes) = moved(host, &contents)?;
    Ok(Outputs {
        path: params.path.clone(),
        format: params.format,
        tables: contents.tables.iter().map(dumped).collect(),
        rows,
        bytes,
        objects: counts(&graph.only(&sections.nodes(&graph, &order))),
        skipped,
        dropped: dropped(params.rights(), &params.tablespaces),
        preflight,
    })
}

/// The numbers of the large objects, as the step's snapshot has them.
fn numbers<H: Host>(host: &H) -> Result<Vec<Oid>> {
    #[derive(Deserialize)]
    struct Batch {
        oids: Vec<Oid>,
    }
    let batches: Vec<Batch> = host.select(SOURCE, &large_object_numbers(), &[])?;
    Ok(batches.into_iter().flat_map(|batch| batch.oids).collect())
}

/// What is known of the source before anything is written.
#[derive(Serialize, Deserialize)]
struct Source {
    preflight: Vec<Finding>,
    /// Of what it sends: UTF-8, but of a database that doesn't know its own, whose bytes come as they are.
    encoding: String,
}

/// What is found at the source before anything is written.
fn preflight<H: Host>(
    host: &H,
    catalog: &Catalog,
    tables: &[Oid],
    unplaced: &Dropped,
    sections: Sections,
) -> Result<Source> {
    let facts = Facts::read(host, SOURCE, catalog.version)?;
    let of_rows = tables.iter().filter_map(|oid| catalog.relation(*oid));
    let unlogged: Vec<String> = of_rows.filter(|r| r.persistence == "u").map(RelationRow::label).collect();
    let mut findings = of_source(&facts, &unlogged, sections.rows);
    if sections.makes() {
        findings.extend(of_dropped(unplaced));
    }
    let preflight =
        conclude(host, findings, |why| format!("the source can't be dumped: {why}; nothing was written"))?;
    let encoding = if facts.encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
    Ok(Source { preflight, encoding: encoding.to_owned() })
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
    let filter = params.filter();
    let tables: Vec<&RelationRow> = catalog
        .relations
        .iter()
        .filter(|r| r.holds_rows() && made.contains(&r.oid) && filter.admits_rows(catalog, r))
        .collect();
    if !params.sections()?.fills() {
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
        Format::Directory if table.are_objects() => params.below("blobs.rows"),
        Format::Directory => {
            let suffix = match params.compression() {
                Compression::None => "",
                Compression::Gzip => ".gz",
                Compression::Lz4 => ".lz4",
                Compression::Zstd => ".zst",
                Compression::Zlib => ".z",
            };
            params.below(&format!("{}.dat{suffix}", table.dump_id))
        }
        Format::Custom | Format::Plain => format!("{}.{}.rows", params.path, table.dump_id),
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

/// Makes a file of each large object, and the list of those.
fn seal_objects<H: Host>(host: &H, params: &Params, key: &str, table: &TableRows) -> Result<H::Effect> {
    let piece = Piece::ObjectFiles { path: file(params, table), compression: params.compression() };
    host.seal_archive(ARCHIVE, key, &params.below(OBJECTS), vec![piece])
}

fn seal<H: Host>(host: &H, params: &Params, key: &str, contents: &Contents) -> Result<H::Effect> {
    let origin = origin(host)?;
    match params.format {
        Format::Directory => {
            let toc = toc(params, contents, origin, Layout::Directory)?;
            host.seal_archive(ARCHIVE, key, &params.below("toc.dat"), vec![Piece::Text(toc)])
        }
        Format::Custom => {
            let contents = located(host, params, contents, &origin)?;
            let mut pieces = vec![Piece::Text(toc(params, &contents, origin, Layout::Custom)?)];
            let of_table = |table: &TableRows| match table.are_objects() {
                true => Piece::Objects { path: file(params, table), dump_id: table.dump_id },
                false => Piece::Block { path: file(params, table), dump_id: table.dump_id },
            };
            pieces.extend(contents.tables.iter().map(of_table));
            host.seal_archive(ARCHIVE, key, &params.path, pieces)
        }
        Format::Plain => {
            let files: BTreeMap<i32, String> =
                contents.tables.iter().map(|table| (table.dump_id, file(params, table))).collect();
            let of_entry = |entry: &Entry| files.get(&entry.dump_id).cloned();
            host.seal_archive(
                ARCHIVE,
                key,
                &params.path,
                script(contents, &origin.server, params.cleaning(), of_entry),
            )
        }
    }
}

/// The bytes of a table of contents.
fn toc(params: &Params, contents: &Contents, origin: Origin, layout: Layout) -> Result<Vec<u8>> {
    let (version, compressed) = params.version();
    let mut toc = Toc::new(version, layout);
    toc.compressed = compressed;
    toc.created = origin.created();
    toc.database = Some(origin.database);
    toc.server_version = Some(origin.server);
    toc.dump_version = Some(format!("godwit {}", env!("CARGO_PKG_VERSION")));
    toc.entries = contents.entries.clone();
    write(&toc).map_err(|fault| Error::Failed(format!("the table of contents can't be written: {fault}")))
}

/// The contents of a file of the custom format, with the place of each block: behind the table of contents, whose length
/// doesn't depend on what the places are. A file that has become part of the whole already takes none: then the whole is
/// there, and isn't written again.
fn located<H: Host>(host: &H, params: &Params, contents: &Contents, origin: &Origin) -> Result<Contents> {
    let mut located = contents.clone();
    let mut places: BTreeMap<i32, u64> = contents.tables.iter().map(|table| (table.dump_id, 0)).collect();
    let place = |contents: &mut Contents, places: &BTreeMap<i32, u64>| {
        for entry in &mut contents.entries {
            if let Some(offset) = places.get(&entry.dump_id) {
                entry.data = Data::At(*offset);
            }
        }
    };
    place(&mut located, &places);
    if host.mode() == Mode::Plan {
        return Ok(located);
    }
    let mut offset = toc(params, &located, origin.clone(), Layout::Custom)?.len() as u64;
    for table in &contents.tables {
        places.insert(table.dump_id, offset);
        let size = host.stat_file(ARCHIVE, &file(params, table))?.map_or(0, |there| there.size);
        offset += if table.are_objects() { objects_block_size(size) } else { block_size(size) };
    }
    place(&mut located, &places);
    Ok(located)
}

/// What the source says of itself, and the time there.
#[derive(Clone, Deserialize)]
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
