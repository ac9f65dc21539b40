//! How it is copied.

use std::path::Path;
use std::process::Command;

use godwit_lab::postgres::PgServer;
use serde_json::{Value, json};

use super::super::usage::{Spent, measure, seconds};
use crate::process::Godwit;

/// Jobs of each kind, for every way that has such a setting. Godwit's default budget is 4 connections a server.
const JOBS: u32 = 2;

/// Where a copy goes from and to.
pub struct World<'a> {
    /// The path of `godwit-under-test`.
    pub program: &'a str,
    pub source: &'a PgServer,
    pub target: &'a PgServer,
    /// The source's.
    pub database: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `psql` to `psql`, COPY in binary, table after table, without indexes: nothing moves rows with less.
    BinaryFloor,
    /// The same as text.
    TextFloor,
    /// Indexes and constraints alone, by `pg_restore -j` on rows that are there.
    IndexFloor,
    DumpPipe,
    DumpDirectory,
    Pgcopydb,
    /// Copied, and the target read again against what was sent.
    Godwit,
    /// The same, and both databases compared row by row afterwards, as the recipe does unless told otherwise.
    GodwitCompared,
    /// Copied with its largest table going through `mask-columns`.
    GodwitMasked,
}

impl Way {
    pub const ALL: [Self; 9] = [
        Self::BinaryFloor,
        Self::TextFloor,
        Self::IndexFloor,
        Self::DumpPipe,
        Self::DumpDirectory,
        Self::Pgcopydb,
        Self::Godwit,
        Self::GodwitCompared,
        Self::GodwitMasked,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::BinaryFloor => "binary_floor",
            Self::TextFloor => "text_floor",
            Self::IndexFloor => "index_floor",
            Self::DumpPipe => "dump_pipe",
            Self::DumpDirectory => "dump_directory",
            Self::Pgcopydb => "pgcopydb",
            Self::Godwit => "godwit",
            Self::GodwitCompared => "godwit_compared",
            Self::GodwitMasked => "godwit_masked",
        }
    }

    pub fn title(self) -> String {
        match self {
            Self::BinaryFloor => "psql COPY binary, no indexes".to_owned(),
            Self::TextFloor => "psql COPY text, no indexes".to_owned(),
            Self::IndexFloor => format!("pg_restore -j{JOBS}, indexes alone"),
            Self::DumpPipe => "pg_dump -Fc | pg_restore".to_owned(),
            Self::DumpDirectory => format!("pg_dump -Fd, pg_restore, -j{JOBS}"),
            Self::Pgcopydb => format!("pgcopydb clone, {JOBS} + {JOBS} jobs"),
            Self::Godwit => "godwit, copied and verified".to_owned(),
            Self::GodwitCompared => "godwit, compared as well".to_owned(),
            Self::GodwitMasked => "godwit, through mask-columns".to_owned(),
        }
    }

    /// Whether it copies everything, and not a part to compare with.
    pub fn is_whole(self) -> bool {
        !matches!(self, Self::BinaryFloor | Self::TextFloor | Self::IndexFloor)
    }

    /// Copies into an empty database of the target's.
    pub fn run(self, world: &World<'_>, copy: &str) -> Result<Spent, String> {
        let (from, to) = (world.source.url(world.database), world.target.url(copy));
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let dir = folder.path().display();
        let schema =
            format!("pg_dump --section=pre-data -d '{from}' | psql -X -q -v ON_ERROR_STOP=1 -d '{to}'");
        match self {
            Self::BinaryFloor | Self::TextFloor => {
                prepare(shell(world, &schema))?;
                measure(shell(world, &pipes(world, &from, &to, self == Self::BinaryFloor)?))
            }
            Self::IndexFloor => {
                let made = format!("{schema} && pg_dump -Fc -f {dir}/post --section=post-data -d '{from}'");
                prepare(shell(world, &made))?;
                prepare(shell(world, &pipes(world, &from, &to, true)?))?;
                measure(shell(world, &format!("pg_restore -j{JOBS} -d '{to}' {dir}/post")))
            }
            Self::DumpPipe => {
                measure(shell(world, &format!("pg_dump -Fc -d '{from}' | pg_restore -d '{to}'")))
            }
            Self::DumpDirectory => measure(shell(
                world,
                &format!(
                    "pg_dump -Fd -j{JOBS} -f {dir}/dump -d '{from}' && pg_restore -j{JOBS} -d '{to}' {dir}/dump"
                ),
            )),
            Self::Pgcopydb => measure(shell(
                world,
                &format!(
                    "pgcopydb clone --source '{from}' --target '{to}' --dir {dir}/pgcopydb --table-jobs {JOBS} \
                     --index-jobs {JOBS} --no-owner --no-acl --not-consistent"
                ),
            )),
            Self::Godwit => {
                godwit(world.program, &["copy-postgres", "-i", "compare=false"], &from, &to, None)
            }
            Self::GodwitCompared => godwit(world.program, &["copy-postgres"], &from, &to, None),
            Self::GodwitMasked => {
                let recipe = masking(world)?;
                godwit(world.program, &["copying.json"], &from, &to, Some(&recipe))
            }
        }
    }
}

/// Runs a recipe, bundled or given, from one database into another.
pub fn godwit(
    program: &str,
    recipe: &[&str],
    from: &str,
    to: &str,
    text: Option<&Value>,
) -> Result<Spent, String> {
    let godwit = Godwit::new(program).env("GODWIT_INPUT_SOURCE_URL", from).env("GODWIT_INPUT_TARGET_URL", to);
    if let Some(text) = text {
        godwit.write(recipe[0], text.to_string());
    }
    let mut spent = measure(godwit.to_run(&[&["run"], recipe, &["--yes"]].concat()))?;
    spent.data = data_phase(&godwit.json(&["report", "last", "--json"]));
    Ok(spent)
}

/// A copy whose largest table goes through a mask: its first column of texts is replaced.
fn masking(world: &World<'_>) -> Result<Value, String> {
    let largest = "SELECT c.relname || ' ' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0
        ORDER BY pg_table_size(c.oid) DESC, c.oid, a.atttypid::regtype::text NOT IN ('text', 'character') , a.attnum LIMIT 1";
    let largest = world.source.psql(world.database, largest).map_err(|e| e.to_string())?;
    let (table, column) = largest.split_once(' ').ok_or("the set has no table")?;
    let label = format!("public.{table}");
    let masks = json!({ "tables": { &label: { column: { "mask": "fixed", "value": "masked" } } } });
    Ok(copying(&json!({
        "transforms": [{ "plugin": "mask-columns", "labels": [label], "with": masks }]
    })))
}

/// A recipe that copies, with more fields for its only step.
pub fn copying(more: &Value) -> Value {
    let url = |name: &str| json!({ "kind": "postgres", "url": format!("${{inputs.{name}}}") });
    let grant = |name: &str, access: &str| json!({ "connection": name, "access": access });
    let mut step = json!({
        "id": "copy",
        "plugin": "postgres-copy",
        "grant": { "source": grant("source", "read"), "target": grant("target", "write") }
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        step[field] = value.clone();
    }
    json!({
        "godwit": "1",
        "name": "copying",
        "inputs": { "source_url": { "type": "url" }, "target_url": { "type": "url" } },
        "connections": { "source": url("source_url"), "target": url("target_url") },
        "steps": [step]
    })
}

/// A shell that finds the servers' own client programs first.
fn shell(world: &World<'_>, script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", world.source.bin_dir().display()));
    // pgcopydb runs the pg_dump and pg_restore that it finds here.
    command.env("PG_CONFIG", Path::new(world.source.bin_dir()).join("pg_config"));
    command
}

/// What has to be there before the clock runs.
fn prepare(command: Command) -> Result<(), String> {
    measure(command).map(drop)
}

/// One pipe for each table, after the other.
fn pipes(world: &World<'_>, from: &str, to: &str, binary: bool) -> Result<String, String> {
    let tables = "SELECT string_agg(oid::regclass::text, ' ' ORDER BY oid) FROM pg_class \
                  WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    let tables = world.source.psql(world.database, tables).map_err(|e| e.to_string())?;
    let format = if binary { "binary" } else { "text" };
    Ok(format!(
        "for t in {tables}; do psql -X -q -d '{from}' -c \"COPY $t TO STDOUT (FORMAT {format})\" | \
         psql -X -q -d '{to}' -c \"COPY $t FROM STDIN (FORMAT {format})\"; done"
    ))
}

/// Seconds from the beginning of the step that copies to its last row.
fn data_phase(report: &Value) -> Option<f64> {
    let step = report["steps"].as_array()?.iter().find(|step| step["plugin"] == "postgres-copy")?;
    let began = step["started_at"].as_str()?;
    let moved = step["effects"].as_array()?.iter().filter(|effect| effect["evidence"].is_object());
    let last = moved.filter_map(|effect| effect["at"].as_str()).max()?;
    Some(seconds(last)? - seconds(began)?)
}

/// Rows of every table, by name.
pub fn counts(server: &PgServer, database: &str) -> Result<String, String> {
    let list = "SELECT string_agg(format('SELECT %L, count(*) FROM %s', oid::regclass, oid::regclass), ' UNION ALL ') || ' ORDER BY 1' \
                FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    let query = server.psql(database, list).map_err(|e| e.to_string())?;
    server.psql(database, &query).map_err(|e| e.to_string())
}
