//! What a recipe says to the step, and what the step says to later ones.

use std::collections::BTreeMap;

use godwit_pg_archive::{Compressed, Version};
use godwit_pg_catalog::Rights;
use godwit_pg_catalog::pattern::Filter;
use godwit_pg_catalog::preflight::Finding;
use godwit_pg_catalog::roles::{RoleMap, check_roles};
use godwit_pg_catalog::sections::{Section, Sections};
use godwit_pg_catalog::selection::{Reliance, Selection, Skipped, check_skip, filter};
use godwit_pg_catalog::tablespaces::{TablespaceMap, check_tablespaces};
use godwit_sdk::prelude::*;

use crate::script::Cleaning;

/// What is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A folder as `pg_dump -Fd` makes it, for `pg_restore` and for `postgres-restore`.
    #[default]
    Directory,
    /// One file as `pg_dump -Fc` makes it, likewise.
    Custom,
    /// A script, for `psql -v ON_ERROR_STOP=1`.
    Plain,
}

/// How the rows are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    None,
    Gzip,
    /// Read by pg_restore 16 and newer.
    Lz4,
    /// Read by pg_restore 16 and newer.
    Zstd,
}

/// The version of the archive's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ArchiveVersion {
    /// For pg_restore 12 and newer.
    #[serde(rename = "1.14")]
    V1_14,
    /// For pg_restore 16 and newer.
    #[serde(rename = "1.15")]
    V1_15,
    /// For pg_restore 17 and newer.
    #[serde(rename = "1.16")]
    V1_16,
}

/// Params of `postgres-dump`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The folder, or with `format` `custom` or `plain` the file, that is made; relative to the slot's folder. A folder may be there if
    /// it is empty.
    pub path: String,
    #[serde(default)]
    pub format: Format,
    /// Default: `gzip`, and `none` for `plain`.
    #[serde(default)]
    pub compression: Option<Method>,
    /// Default: the oldest that can say how the rows are compressed.
    #[serde(default)]
    pub archive_version: Option<ArchiveVersion>,
    #[serde(default)]
    pub consistency: Reliance,
    /// Which schemas.
    #[serde(default)]
    pub schemas: Selection,
    /// Which tables, views and materialized views: `users`, `public.users`, `audit.*`. A partition goes with its root.
    #[serde(default)]
    pub tables: Selection,
    /// Of which tables the rows, too. The others are made and stay empty.
    #[serde(default)]
    pub table_data: Selection,
    /// Which extensions are made.
    #[serde(default)]
    pub extensions: Selection,
    /// Which sections, in pg_dump's words. Default: all.
    #[serde(default)]
    pub sections: Vec<Section>,
    /// The schema alone, without rows.
    #[serde(default)]
    pub schema_only: bool,
    /// The rows alone.
    #[serde(default)]
    pub data_only: bool,
    /// With `format` `plain`: the script drops what it makes, first. An archive leaves that to `pg_restore --clean`.
    #[serde(default)]
    pub clean: bool,
    /// With `clean`: what isn't there is no error.
    #[serde(default)]
    pub if_exists: bool,
    /// Who owns what.
    #[serde(default)]
    pub owners: bool,
    /// What is granted, and default privileges.
    #[serde(default)]
    pub privileges: bool,
    /// Roles of the source, and those that stand for them in the archive.
    #[serde(default)]
    pub roles: RoleMap,
    /// Security labels.
    #[serde(default)]
    pub security_labels: bool,
    /// Tablespaces of the source, and those that the archive names in their place. What lies in another one is said to lie
    /// where the database does.
    #[serde(default)]
    pub tablespaces: TablespaceMap,
    /// Kinds of objects to leave out, such as `trigger` or `event trigger`.
    #[serde(default)]
    pub skip: Vec<String>,
}

impl Params {
    /// Checks what the JSON Schema can't say.
    pub fn check(&self) -> Result<()> {
        if self.path.trim_matches('/').is_empty() {
            return Err(Error::Invalid(
                "`path` is empty; name the folder or file that is to be made, such as `backup`".into(),
            ));
        }
        let sections = self.sections()?;
        if !sections.makes() && (self.security_labels || !self.tablespaces.is_empty()) {
            return Err(Error::Invalid(
                "`tablespaces` and `security_labels` are of what is made; they don't go with `data_only`, which makes nothing"
                    .into(),
            ));
        }
        if !sections.rows && (!self.table_data.include.is_empty() || !self.table_data.exclude.is_empty()) {
            return Err(Error::Invalid(
                "`table_data` chooses among rows, and no rows are dumped; leave it out".into(),
            ));
        }
        if self.clean && (self.format != Format::Plain || !sections.before) {
            return Err(Error::Invalid(
                "`clean` writes statements that drop what a script makes; it takes `format` `plain`, and objects that are \
                 made. Archives are cleaned for by whoever restores them"
                    .into(),
            ));
        }
        if self.if_exists && !self.clean {
            return Err(Error::Invalid(
                "`if_exists` is of the statements that `clean` writes; set that too".into(),
            ));
        }
        if self.format == Format::Plain {
            if self.compression.is_some_and(|method| method != Method::None) {
                return Err(Error::Invalid(
                    "a script isn't compressed; leave `compression` out, or set `format` to `directory`"
                        .into(),
                ));
            }
            if self.archive_version.is_some() {
                return Err(Error::Invalid(
                    "a script has no `archive_version`; leave it out, or set `format` to `directory`".into(),
                ));
            }
        }
        if matches!(self.method(), Method::Lz4 | Method::Zstd)
            && self.archive_version == Some(ArchiveVersion::V1_14)
        {
            return Err(Error::Invalid(
                "`archive_version` 1.14 knows no compression but gzip; leave it out, or set `compression` to `gzip`"
                    .into(),
            ));
        }
        check_roles(&self.roles)?;
        check_tablespaces(&self.tablespaces)?;
        check_skip(&self.skip)
    }

    pub fn rights(&self) -> Rights {
        Rights {
            owners: self.owners,
            privileges: self.privileges,
            settings: false,
            labels: self.security_labels,
        }
    }

    pub fn filter(&self) -> Filter {
        Filter {
            rows: (&self.table_data).into(),
            extensions: (&self.extensions).into(),
            ..filter(&self.schemas, &self.tables)
        }
    }

    pub fn sections(&self) -> Result<Sections> {
        Sections::of(&self.sections, self.schema_only, self.data_only, &[])
    }

    pub fn cleaning(&self) -> Cleaning {
        match (self.clean, self.if_exists) {
            (false, _) => Cleaning::None,
            (true, false) => Cleaning::Drop,
            (true, true) => Cleaning::IfExists,
        }
    }

    fn method(&self) -> Method {
        self.compression.unwrap_or(match self.format {
            Format::Directory | Format::Custom => Method::Gzip,
            Format::Plain => Method::None,
        })
    }

    pub fn compression(&self) -> Compression {
        match self.method() {
            Method::None => Compression::None,
            // Blocks hold zlib, where files hold gzip.
            Method::Gzip if self.format == Format::Custom => Compression::Zlib,
            Method::Gzip => Compression::Gzip,
            Method::Lz4 => Compression::Lz4,
            Method::Zstd => Compression::Zstd,
        }
    }

    /// The archive's version, and what its header says of the compression.
    pub fn version(&self) -> (Version, Compressed) {
        let method = self.method();
        let least = match method {
            Method::None | Method::Gzip => Version::V1_14,
            Method::Lz4 | Method::Zstd => Version::V1_15,
        };
        let version = match self.archive_version {
            None => least,
            Some(ArchiveVersion::V1_14) => Version::V1_14,
            Some(ArchiveVersion::V1_15) => Version::V1_15,
            Some(ArchiveVersion::V1_16) => Version::V1_16,
        };
        let compressed = match method {
            Method::None if version < Version::V1_15 => Compressed::Level(0),
            // gzip's default level.
            Method::Gzip if version < Version::V1_15 => Compressed::Level(-1),
            Method::None => Compressed::None,
            Method::Gzip => Compressed::Gzip,
            Method::Lz4 => Compressed::Lz4,
            Method::Zstd => Compressed::Zstd,
        };
        (version, compressed)
    }

    /// `name` in the archive's folder.
    pub fn below(&self, name: &str) -> String {
        format!("{}/{name}", self.path.trim_end_matches('/'))
    }
}

/// A table whose rows were dumped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DumpedTable {
    pub schema: String,
    pub name: String,
    /// The transfer's key, under which its evidence is kept.
    pub key: String,
}

/// What the step did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    pub path: String,
    pub format: Format,
    pub tables: Vec<DumpedTable>,
    /// Of all tables; none in a plan.
    pub rows: Option<u64>,
    /// Of all tables, before compression; none in a plan.
    pub bytes: Option<u64>,
    /// How many objects of each kind there are in the archive.
    pub objects: BTreeMap<String, u64>,
    /// What the recipe left out, and what could not be made without it.
    pub skipped: Vec<Skipped>,
    /// What is never dumped.
    pub dropped: Vec<String>,
    /// What was found before anything was written, and didn't stand in the way.
    #[serde(default)]
    pub preflight: Vec<Finding>,
}
