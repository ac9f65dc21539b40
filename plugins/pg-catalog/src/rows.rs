//! The rows of a database's catalog, as the queries return them.

mod foreign;
mod languages;
mod large_objects;
mod operators;
mod privileges;
mod replication;
mod settings;
mod text_search;

use serde::Deserialize;

pub use self::foreign::*;
pub use self::languages::*;
pub use self::large_objects::*;
pub use self::operators::*;
pub use self::privileges::*;
pub use self::replication::*;
pub use self::settings::*;
pub use self::text_search::*;

/// An object id. Unique within one catalog of one database, and of no meaning in another database.
pub type Oid = u32;

#[derive(Clone, Debug, Deserialize)]
pub struct SchemaRow {
    pub oid: Oid,
    pub name: String,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ExtensionRow {
    pub oid: Oid,
    pub name: String,
    pub schema: String,
    pub version: String,
    /// The extension made the schema it lives in.
    pub own_schema: bool,
    pub config: Option<Vec<ConfigTable>>,
}

/// A table of an extension whose rows belong to users where the condition holds, or a sequence whose state does
/// (`pg_extension_config_dump`).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct ConfigTable {
    pub schema: String,
    pub name: String,
    /// `pg_class.relkind`: `r` table, `S`equence.
    pub kind: String,
    /// Those that can be filled.
    pub columns: Vec<String>,
    /// Empty, or begins with `WHERE`.
    pub condition: String,
}

impl ConfigTable {
    /// The condition as a boolean expression.
    pub fn filter(&self) -> Option<String> {
        let condition = self.condition.trim();
        let (word, rest) = condition.split_at_checked(5).unwrap_or((condition, ""));
        let filter = if word.eq_ignore_ascii_case("where") { rest.trim() } else { condition };
        (!filter.is_empty()).then(|| filter.to_owned())
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct TypeRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// `pg_type.typtype`: `b`ase, `c`omposite, `d`omain, `e`num, `r`ange; `p` of a shell.
    pub kind: String,
    /// The `pg_class` row of a composite type.
    pub relation: Oid,
    pub not_null: bool,
    pub default: Option<String>,
    pub base: Option<String>,
    pub collation: Option<String>,
    pub labels: Option<Vec<String>>,
    pub constraints: Option<Vec<DomainConstraint>>,
    pub attributes: Option<Vec<Attribute>>,
    pub range: Option<RangeParts>,
    /// A base type's.
    pub scalar: Option<ScalarParts>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DomainConstraint {
    pub oid: Oid,
    pub name: String,
    /// `c`heck, or `n`ot null (from 17 on).
    pub kind: String,
    pub definition: Option<String>,
    pub validated: bool,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Attribute {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub collation: Option<String>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RangeParts {
    pub subtype: String,
    /// Only where it isn't the subtype's default.
    pub opclass: Option<String>,
    pub collation: Option<String>,
    pub difference_name: Option<String>,
    /// Functions by qualified name.
    pub canonical: Option<String>,
    pub multirange: Option<String>,
}

/// What makes a base type; functions by qualified name.
#[derive(Clone, Debug, Deserialize)]
pub struct ScalarParts {
    /// In bytes; -1 is variable.
    pub length: i16,
    pub input: String,
    pub output: String,
    pub receive: Option<String>,
    pub send: Option<String>,
    pub typmod_in: Option<String>,
    pub typmod_out: Option<String>,
    pub analyze: Option<String>,
    pub subscript: Option<String>,
    pub collatable: bool,
    pub element: Option<String>,
    pub category: String,
    pub preferred: bool,
    pub delimiter: String,
    /// `c`har, `s`hort, `i`nt, `d`ouble.
    pub alignment: String,
    /// `p`lain, `e`xternal, `m`ain, e`x`tended.
    pub storage: String,
    pub by_value: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RelationRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// `pg_class.relkind`: `r` table, `p` partitioned table, `v`iew, `m`aterialized view, `f`oreign table.
    pub kind: String,
    /// `p`ermanent or `u`nlogged.
    pub persistence: String,
    pub partition: bool,
    pub row_type: Oid,
    pub bound: Option<String>,
    pub partition_key: Option<String>,
    pub options: Vec<String>,
    pub toast_options: Vec<String>,
    pub row_security: bool,
    pub force_row_security: bool,
    pub replica_identity: String,
    pub access_method: Option<String>,
    pub of_type: Option<String>,
    pub parents: Vec<Oid>,
    pub definition: Option<String>,
    pub populated: bool,
    /// Where it isn't the database's own; see [`crate::tablespaces`].
    pub tablespace: Option<String>,
    pub bytes: Option<u64>,
    /// The server of a foreign table.
    pub server: Option<String>,
    /// A foreign table's.
    pub foreign_options: Option<Options>,
    /// Names of its options that may hold a secret and weren't read.
    #[serde(default)]
    pub withheld: Vec<String>,
    pub comment: Option<String>,
}

impl RelationRow {
    /// A table that may hold rows itself.
    pub fn holds_rows(&self) -> bool {
        self.kind == "r"
    }

    pub fn is_table(&self) -> bool {
        matches!(self.kind.as_str(), "r" | "p")
    }

    /// Whether CREATE … TABLE declares columns: a table, partitioned or foreign ones included.
    pub fn declares_columns(&self) -> bool {
        matches!(self.kind.as_str(), "r" | "p" | "f")
    }

    /// `schema.name`, unquoted: for labels and messages.
    pub fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct ColumnRow {
    pub relation: Oid,
    pub number: i16,
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub not_null: bool,
    /// `a`lways, by `d`efault, or empty.
    pub identity: String,
    /// `s`tored, `v`irtual, or empty.
    pub generated: String,
    pub default_oid: Option<Oid>,
    pub default: Option<String>,
    pub collation: Option<String>,
    pub storage: Option<String>,
    pub compression: String,
    pub statistics: Option<i32>,
    pub options: Vec<String>,
    /// A foreign table's column's.
    pub foreign_options: Option<Options>,
    /// Declared by the table itself; otherwise it is only inherited.
    pub local: bool,
    pub comment: Option<String>,
    pub not_null_constraint: Option<NotNull>,
}

/// A NOT NULL constraint with a name (18 on).
#[derive(Clone, Debug, Deserialize)]
pub struct NotNull {
    pub name: String,
    pub local: bool,
    pub no_inherit: bool,
    pub validated: bool,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ConstraintRow {
    pub oid: Oid,
    pub relation: Oid,
    pub name: String,
    /// `p`rimary, `u`nique, e`x`clusion, `f`oreign, `c`heck.
    pub kind: String,
    pub definition: String,
    pub local: bool,
    pub validated: bool,
    pub index: Option<Oid>,
    pub references: Option<Oid>,
    /// It was made by a constraint of the partitioned table.
    pub has_parent: bool,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct IndexRow {
    pub oid: Oid,
    pub relation: Oid,
    pub name: String,
    pub method: String,
    pub definition: String,
    pub valid: bool,
    pub clustered: bool,
    pub replica_identity: bool,
    pub constraint: Option<Oid>,
    /// The index of the partitioned table that it is attached to.
    pub parent: Option<Oid>,
    pub partitioned: bool,
    pub options: Vec<String>,
    #[serde(default)]
    pub tablespace: Option<String>,
    /// (column number, target).
    pub statistics: Option<Vec<(i16, i32)>>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SequenceRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    pub persistence: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub start: i64,
    pub increment: i64,
    pub min: i64,
    pub max: i64,
    pub cache: i64,
    pub cycle: bool,
    pub owner: Option<Oid>,
    pub owner_column: Option<i16>,
    pub identity: Option<bool>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RoutineRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// `f`unction, `p`rocedure, `w`indow function, `a`ggregate.
    pub kind: String,
    pub arguments: String,
    pub definition: Option<String>,
    pub aggregate: Option<AggregateParts>,
    pub comment: Option<String>,
}

/// `pg_aggregate`, functions by qualified name.
#[derive(Clone, Debug, Deserialize)]
pub struct AggregateParts {
    /// `n`ormal, `o`rdered-set, `h`ypothetical-set.
    pub kind: String,
    pub arguments: String,
    pub parallel: String,
    pub transition: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub space: i64,
    #[serde(rename = "final")]
    pub finish: Option<String>,
    pub final_extra: bool,
    pub final_modify: String,
    pub combine: Option<String>,
    pub serial: Option<String>,
    pub deserial: Option<String>,
    pub moving_transition: Option<String>,
    pub moving_inverse: Option<String>,
    pub moving_final: Option<String>,
    pub moving_final_extra: bool,
    pub moving_final_modify: String,
    pub moving_type: Option<String>,
    pub moving_space: i64,
    pub initial: Option<String>,
    pub moving_initial: Option<String>,
    pub sort: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct TriggerRow {
    pub oid: Oid,
    pub relation: Oid,
    pub name: String,
    pub definition: String,
    /// `O`rigin, `D`isabled, `R`eplica, `A`lways.
    pub enabled: String,
    /// A clone in a partition whose state differs from its original's.
    pub clone: bool,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct PolicyRow {
    pub oid: Oid,
    pub relation: Oid,
    pub name: String,
    pub command: String,
    pub permissive: bool,
    pub using: Option<String>,
    pub check: Option<String>,
    /// The empty name is PUBLIC.
    pub roles: Vec<String>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RuleRow {
    pub oid: Oid,
    pub relation: Oid,
    pub name: String,
    /// None for the rule that is a view's query.
    pub definition: Option<String>,
    pub enabled: String,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct StatisticsRow {
    pub oid: Oid,
    pub relation: Oid,
    pub schema: String,
    pub name: String,
    pub definition: String,
    pub target: Option<i32>,
    pub comment: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct CollationRow {
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// `c` libc, `i`cu, `b`uiltin.
    pub provider: String,
    pub deterministic: bool,
    pub collate: Option<String>,
    pub ctype: Option<String>,
    pub locale: Option<String>,
    pub rules: Option<String>,
    pub comment: Option<String>,
}

/// A row of `pg_seclabel`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct SecurityLabelRow {
    pub class: String,
    pub oid: Oid,
    /// Quoted, of a label of a column's.
    pub column: Option<String>,
    pub provider: String,
    pub label: String,
}

/// A row of `pg_depend`: the object `(c, o)` needs `(rc, ro)`.
#[derive(Clone, Debug, Deserialize)]
pub struct EdgeRow {
    pub c: String,
    pub o: Oid,
    pub rc: String,
    pub ro: Oid,
    /// `pg_depend.deptype`.
    pub t: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct UnsupportedRow {
    pub kind: String,
    pub class: String,
    pub oid: Oid,
    pub schema: Option<String>,
    pub name: String,
}

impl UnsupportedRow {
    pub fn label(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.name),
            None => self.name.clone(),
        }
    }
}
