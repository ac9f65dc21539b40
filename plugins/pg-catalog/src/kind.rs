//! Kinds of objects, and when each is made.

/// What an object is. The order is the one in which objects without a dependency between them are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Schema,
    Extension,
    Collation,
    Enum,
    Domain,
    Composite,
    Range,
    Function,
    Procedure,
    Aggregate,
    Sequence,
    Table,
    SequenceOwner,
    Default,
    DomainCheck,
    Check,
    View,
    MaterializedView,
    /// The query of a view that was first made without it, to break a cycle.
    ViewQuery,
    PrimaryKey,
    Unique,
    Exclusion,
    Index,
    LateCheck,
    LateNotNull,
    ForeignKey,
    Statistics,
    Rule,
    Trigger,
    Policy,
    RowSecurity,
    ReplicaIdentity,
}

/// When an object is made, seen from the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Before any row is moved.
    Before,
    /// As soon as its own table is full.
    Index,
    /// When the tables on both of its ends are full and have their keys.
    ForeignKey,
    /// When everything is there: what would fire on, or forbid, the moving of rows.
    After,
}

impl Kind {
    /// The kind in words; what `skip` names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Extension => "extension",
            Self::Collation => "collation",
            Self::Enum => "enum type",
            Self::Domain => "domain",
            Self::Composite => "composite type",
            Self::Range => "range type",
            Self::Function => "function",
            Self::Procedure => "procedure",
            Self::Aggregate => "aggregate",
            Self::Sequence => "sequence",
            Self::Table => "table",
            Self::SequenceOwner => "sequence owner",
            Self::Default => "column default",
            Self::DomainCheck => "domain constraint",
            Self::Check | Self::LateCheck => "check constraint",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::ViewQuery => "view query",
            Self::PrimaryKey => "primary key",
            Self::Unique => "unique constraint",
            Self::Exclusion => "exclusion constraint",
            Self::Index => "index",
            Self::LateNotNull => "not-null constraint",
            Self::ForeignKey => "foreign key",
            Self::Statistics => "extended statistics",
            Self::Rule => "rule",
            Self::Trigger => "trigger",
            Self::Policy => "policy",
            Self::RowSecurity => "row security",
            Self::ReplicaIdentity => "replica identity",
        }
    }

    pub fn phase(self) -> Phase {
        match self {
            Self::PrimaryKey | Self::Unique | Self::Exclusion | Self::Index => Phase::Index,
            Self::ForeignKey => Phase::ForeignKey,
            Self::LateCheck
            | Self::LateNotNull
            | Self::Statistics
            | Self::Rule
            | Self::Trigger
            | Self::Policy
            | Self::RowSecurity
            | Self::ReplicaIdentity => Phase::After,
            _ => Phase::Before,
        }
    }

    /// Whether its definition holds expressions that majors of PostgreSQL may deparse into other words. Tables, keys,
    /// indexes and sequences are written alike.
    pub fn is_worded(self) -> bool {
        matches!(
            self,
            Self::View
                | Self::MaterializedView
                | Self::ViewQuery
                | Self::Rule
                | Self::Policy
                | Self::Trigger
                | Self::Function
                | Self::Procedure
                | Self::Statistics
                | Self::Default
                | Self::Check
                | Self::LateCheck
        )
    }

    /// Kinds that a recipe may leave out by `skip`, without anything that holds rows going missing.
    pub const SKIPPABLE: &[Self] = &[
        Self::Function,
        Self::Procedure,
        Self::Aggregate,
        Self::View,
        Self::MaterializedView,
        Self::Exclusion,
        Self::Index,
        Self::ForeignKey,
        Self::Statistics,
        Self::Rule,
        Self::Trigger,
        Self::Policy,
        Self::RowSecurity,
        Self::Extension,
    ];
}
