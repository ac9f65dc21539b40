//! What a recipe says to the step, and what the step says to later ones.

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_catalog::index_build::{IndexBuild, check_memory};
use godwit_pg_catalog::pattern::Filter;
use godwit_pg_catalog::preflight::Finding;
use godwit_pg_catalog::roles::{RoleMap, check_roles};
use godwit_pg_catalog::sections::{Section, Sections};
use godwit_pg_catalog::selection::{Reliance, Selection, Skipped, check_skip, filter};
use godwit_pg_catalog::tablespaces::{TablespaceMap, check_tablespaces};
use godwit_pg_catalog::{MissingRoles, Rights};
use godwit_sdk::prelude::*;

/// Params of `postgres-copy`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    pub consistency: Reliance,
    /// Which schemas.
    pub schemas: Selection,
    /// Which tables, views and materialized views: `users`, `public.users`, `audit.*`. A partition goes with its root.
    pub tables: Selection,
    /// Of which tables the rows, too. The others are made and stay empty.
    pub table_data: Selection,
    /// Which extensions are made. What needs one that is left out is left out too.
    pub extensions: Selection,
    /// Which sections, in pg_dump's words. Default: all.
    pub sections: Vec<Section>,
    /// The schema alone, without rows.
    pub schema_only: bool,
    /// The rows alone, into tables that are there; columns are matched by name.
    pub data_only: bool,
    /// The owners of all objects too; the roles have to be there.
    pub owners: bool,
    /// What is granted too, to roles that have to be there, and default privileges.
    pub privileges: bool,
    /// Roles of the source, and those of the target that stand for them.
    pub roles: RoleMap,
    /// Security labels, whose providers the target has to have loaded.
    pub security_labels: bool,
    /// Tablespaces of the source, and those of the target that stand for them. What lies in another one goes where the
    /// database does.
    pub tablespaces: TablespaceMap,
    /// Makes the roles that are named and that the target lacks, as roles that can't log in.
    pub create_roles: bool,
    /// Drops what the target has under the names of what is made, first. Nothing brings it back.
    pub clean: bool,
    /// Settings of the database, and of roles in it (`ALTER DATABASE … SET`, `ALTER ROLE … IN DATABASE … SET`).
    pub settings: bool,
    /// Kinds of objects to leave out, such as `trigger` or `event trigger`.
    pub skip: Vec<String>,
    /// With `data_only`: tables whose rows in the target stay as they are, such as `alembic_version`.
    pub keep: Vec<String>,
    pub index_build: IndexBuild,
}

impl Params {
    /// Checks what the JSON Schema can't say.
    pub fn check(&self) -> Result<()> {
        let sections = self.sections()?;
        if !sections.makes() && (self.security_labels || !self.tablespaces.is_empty()) {
            return Err(Error::Invalid(
                "`tablespaces` and `security_labels` are of what is made; they don't go with `data_only`, which makes nothing"
                    .into(),
            ));
        }
        if !sections.after && (self.owners || self.privileges || self.settings) {
            return Err(Error::Invalid(
                "`owners`, `privileges` and `settings` are of what is made, and told after all rows; they don't go with \
                 `data_only`, or `sections` without `post-data`"
                    .into(),
            ));
        }
        if self.clean && !sections.makes() {
            return Err(Error::Invalid(
                "`clean` makes room for objects that are made; it doesn't go with `data_only`, which makes none".into(),
            ));
        }
        if !sections.rows && (!self.table_data.include.is_empty() || !self.table_data.exclude.is_empty()) {
            return Err(Error::Invalid(
                "`table_data` chooses among rows, and no rows are copied; leave it out".into(),
            ));
        }
        check_roles(&self.roles)?;
        check_tablespaces(&self.tablespaces)?;
        check_skip(&self.skip)?;
        check_memory("index_build.memory", self.index_build.memory.as_deref())
    }

    pub fn filter(&self) -> Filter {
        Filter {
            rows: (&self.table_data).into(),
            extensions: (&self.extensions).into(),
            ..filter(&self.schemas, &self.tables)
        }
    }

    pub fn sections(&self) -> Result<Sections> {
        Sections::of(&self.sections, self.schema_only, self.data_only, &self.keep)
    }

    pub fn missing_roles(&self) -> MissingRoles {
        if self.create_roles { MissingRoles::Make } else { MissingRoles::Refuse }
    }

    pub fn skipped(&self) -> BTreeSet<String> {
        self.skip.iter().cloned().collect()
    }

    pub fn rights(&self) -> Rights {
        Rights {
            owners: self.owners,
            privileges: self.privileges,
            settings: self.settings,
            labels: self.security_labels,
        }
    }

    pub fn consistency(&self) -> Consistency {
        self.consistency.consistency()
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
    /// What was found before anything was touched, and didn't stand in the way.
    #[serde(default)]
    pub preflight: Vec<Finding>,
}
