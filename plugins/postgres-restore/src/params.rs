//! What a recipe says to the step, and what the step says to later ones.

use std::collections::BTreeMap;

use godwit_pg_catalog::index_build::{IndexBuild, check_memory};
use godwit_pg_catalog::preflight::Finding;
use godwit_pg_catalog::roles::{RoleMap, check_roles};
use godwit_pg_catalog::sections::{Section, Sections};
use godwit_pg_catalog::selection::{Selection, Skipped};
use godwit_pg_catalog::tablespaces::{TablespaceMap, check_tablespaces};
use godwit_pg_catalog::{MissingRoles, Rights};
use godwit_sdk::prelude::*;

/// Params of `postgres-restore`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The archive: a folder of `pg_dump -Fd`, or a file of `pg_dump -Fc`; relative to the slot's folder.
    pub path: String,
    /// Entries to leave out, by their description as `pg_restore -l` shows it (`EVENT TRIGGER`), or by description and
    /// name (`TABLE: audit.*`, `FUNCTION: f(integer)`); `*` stands for any text. What needs them is left out with them.
    #[serde(default)]
    pub skip: Vec<String>,
    /// Which tables, views and materialized views: `users`, `public.users`, `audit.*`. What needs one that is left out is
    /// left out too.
    #[serde(default)]
    pub tables: Selection,
    /// Which schemas. What lies in none comes in any case.
    #[serde(default)]
    pub schemas: Selection,
    /// Of which tables the rows, too. The others are made and stay empty.
    #[serde(default)]
    pub table_data: Selection,
    /// Which extensions are made.
    #[serde(default)]
    pub extensions: Selection,
    /// Which sections, in pg_dump's words. Default: all.
    #[serde(default)]
    pub sections: Vec<Section>,
    /// Who owns what, as far as the archive says it.
    #[serde(default)]
    pub owners: bool,
    /// What is granted, and default privileges. Each is granted by the object's owner.
    #[serde(default)]
    pub privileges: bool,
    /// Roles of the archive, and those of the target that stand for them.
    #[serde(default)]
    pub roles: RoleMap,
    /// Security labels, whose providers the target has to have loaded.
    #[serde(default)]
    pub security_labels: bool,
    /// Tablespaces of the archive, and those of the target that stand for them. What lies in another one goes where the
    /// database does.
    #[serde(default)]
    pub tablespaces: TablespaceMap,
    /// Makes the roles that are named and that the target lacks, as roles that can't log in.
    #[serde(default)]
    pub create_roles: bool,
    /// The schema alone, without rows.
    #[serde(default)]
    pub schema_only: bool,
    /// The rows alone, into tables that are there; columns are matched by name.
    #[serde(default)]
    pub data_only: bool,
    /// With `data_only`: tables whose rows in the target stay as they are, such as `alembic_version`.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Drops what the target has under the names of what is made, first. Nothing brings it back.
    #[serde(default)]
    pub clean: bool,
    #[serde(default)]
    pub index_build: IndexBuild,
}

impl Params {
    /// Checks what the JSON Schema can't say.
    pub fn check(&self) -> Result<()> {
        if self.path.trim_matches('/').is_empty() {
            return Err(Error::Invalid(
                "`path` is empty; name the archive's folder or file, such as `backup`".into(),
            ));
        }
        let sections = self.sections()?;
        if !sections.makes() && (self.security_labels || !self.tablespaces.is_empty()) {
            return Err(Error::Invalid(
                "`tablespaces` and `security_labels` are of what is made; they don't go with `data_only`, which makes nothing"
                    .into(),
            ));
        }
        check_roles(&self.roles)?;
        check_tablespaces(&self.tablespaces)?;
        if self.clean && !sections.makes() {
            return Err(Error::Invalid(
                "`clean` makes room for objects that are made; it doesn't go with `data_only`, which makes none".into(),
            ));
        }
        check_memory("index_build.memory", self.index_build.memory.as_deref())
    }

    pub fn sections(&self) -> Result<Sections> {
        Sections::of(&self.sections, self.schema_only, self.data_only, &self.keep)
    }

    pub fn missing_roles(&self) -> MissingRoles {
        if self.create_roles { MissingRoles::Make } else { MissingRoles::Refuse }
    }

    pub fn rights(&self) -> Rights {
        Rights {
            owners: self.owners,
            privileges: self.privileges,
            settings: false,
            labels: self.security_labels,
        }
    }

    pub fn path(&self) -> &str {
        self.path.trim_end_matches('/')
    }
}

/// A table that was filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoredTable {
    pub schema: String,
    pub name: String,
    /// The keys of the transfers into it, under which their evidence is kept: one, or one for each partition where the
    /// archive was made with `--load-via-partition-root`.
    pub keys: Vec<String>,
}

/// What the step did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    pub tables: Vec<RestoredTable>,
    /// How many entries of each description were restored.
    pub objects: BTreeMap<String, u64>,
    /// What was left out, by description and name.
    pub skipped: Vec<Skipped>,
    /// What is never restored.
    pub dropped: Vec<String>,
    /// What was found before anything was touched, and didn't stand in the way.
    #[serde(default)]
    pub preflight: Vec<Finding>,
}
