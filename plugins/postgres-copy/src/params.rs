//! What a recipe says to the step, and what the step says to later ones.

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_catalog::Kind;
use godwit_pg_catalog::index_build::check_memory;
use godwit_pg_catalog::pattern::{Filter, Patterns};
use godwit_sdk::prelude::*;

/// Kinds that can't be recreated, beside [`Kind::SKIPPABLE`] a name for `skip`.
pub const UNSUPPORTED: &[&str] = &[
    "access method",
    "base type",
    "cast",
    "conversion",
    "event trigger",
    "extension data",
    "foreign data wrapper",
    "foreign server",
    "foreign table",
    "language",
    "large object",
    "operator",
    "operator class",
    "operator family",
    "publication",
    "range type with a canonical function",
    "shell type",
    "subscription",
    "text search configuration",
    "text search dictionary",
    "text search parser",
    "text search template",
    "transform",
];

/// What is lost by design, whatever the recipe says; also pg_dump's `--no-owner --no-privileges --no-tablespaces`.
pub const DROPPED: &[&str] = &["owners", "privileges", "tablespaces", "security labels", "database settings"];

/// Patterns of names: `*` stands for any text.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// Admits what matches any of these; empty admits everything.
    pub include: Vec<String>,
    /// Leaves out what matches any of these.
    pub exclude: Vec<String>,
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

/// How indexes over vectors are built.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IndexBuild {
    /// `maintenance_work_mem` while an index is built, such as `1GB`. Default for HNSW and IVFFlat: by the table's size,
    /// from 64 MB to 1 GB; for other indexes the server's own setting.
    pub memory: Option<String>,
    /// `max_parallel_maintenance_workers` while an index is built. Default: the server's own setting, but 0 for HNSW with
    /// more than 64 MB: several workers need that much shared memory, which containers rarely have.
    pub workers: Option<u32>,
}

/// Params of `postgres-copy`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    pub consistency: Reliance,
    /// Which schemas.
    pub schemas: Selection,
    /// Which tables, views and materialized views: `users`, `public.users`, `audit.*`. A partition goes with its root.
    pub tables: Selection,
    /// The schema alone, without rows.
    pub schema_only: bool,
    /// The rows alone, into tables that are there; columns are matched by name.
    pub data_only: bool,
    /// Kinds of objects to leave out, such as `trigger` or `event trigger`.
    pub skip: Vec<String>,
    /// With `data_only`: tables whose rows in the target stay as they are, such as `alembic_version`.
    pub keep: Vec<String>,
    pub index_build: IndexBuild,
}

impl Params {
    /// Checks what the JSON Schema can't say.
    pub fn check(&self) -> Result<()> {
        if self.schema_only && self.data_only {
            return Err(Error::Invalid(
                "`schema_only` and `data_only` exclude each other; set one of them".into(),
            ));
        }
        if !self.keep.is_empty() && !self.data_only {
            return Err(Error::Invalid(
                "`keep` names tables of a schema that exists; it belongs to `data_only`, which is not set"
                    .into(),
            ));
        }
        let known: BTreeSet<&str> =
            Kind::SKIPPABLE.iter().map(|kind| kind.name()).chain(UNSUPPORTED.iter().copied()).collect();
        let unknown: Vec<&str> =
            self.skip.iter().map(String::as_str).filter(|kind| !known.contains(kind)).collect();
        if !unknown.is_empty() {
            let known: Vec<&str> = known.into_iter().collect();
            return Err(Error::Invalid(format!(
                "`skip` names no kind that can be left out: {}; it may name: {}",
                unknown.join(", "),
                known.join(", ")
            )));
        }
        check_memory("index_build.memory", self.index_build.memory.as_deref())
    }

    pub fn filter(&self) -> Filter {
        let patterns = |selection: &Selection| Patterns {
            include: selection.include.clone(),
            exclude: selection.exclude.clone(),
        };
        Filter { schemas: patterns(&self.schemas), tables: patterns(&self.tables) }
    }

    pub fn skipped(&self) -> BTreeSet<String> {
        self.skip.iter().cloned().collect()
    }

    pub fn consistency(&self) -> Consistency {
        match self.consistency {
            Reliance::Snapshot => Consistency::Snapshot,
            Reliance::Frozen => Consistency::Frozen,
        }
    }
}

/// A table whose rows were copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CopiedTable {
    pub schema: String,
    pub name: String,
    /// The transfer's key, under which its evidence is kept.
    pub key: String,
}

/// An object that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    pub kind: String,
    pub name: String,
    pub reason: String,
}

/// What the step did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    pub tables: Vec<CopiedTable>,
    /// How many objects of each kind were made.
    pub objects: BTreeMap<String, u64>,
    /// What the recipe left out, and what could not be made without it.
    pub skipped: Vec<Skipped>,
    /// What is never carried over.
    pub dropped: Vec<String>,
}
