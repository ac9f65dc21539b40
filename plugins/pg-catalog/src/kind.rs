//! Kinds of objects, and when each is made.

/// What an object is. The order is the one in which objects without a dependency between them are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Schema,
    Language,
    AccessMethod,
    Extension,
    Collation,
    /// A type that has a name alone, and becomes a base type or range once its functions are there, or never.
    Shell,
    Base,
    Enum,
    Domain,
    Composite,
    Range,
    Function,
    Procedure,
    Aggregate,
    Operator,
    OperatorFamily,
    OperatorClass,
    Cast,
    Transform,
    Conversion,
    /// Of text search, as are the next three.
    Parser,
    Template,
    Dictionary,
    Configuration,
    /// Of foreign data.
    Wrapper,
    /// A foreign one.
    Server,
    UserMapping,
    Sequence,
    Table,
    ForeignTable,
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
    Publication,
    PublicationTable,
    PublicationSchema,
    Subscription,
    Owner,
    Privileges,
    /// Owner, privileges and comments of some large objects.
    LargeObject,
    /// Of what is the server's own.
    SystemPrivileges,
    DefaultPrivileges,
    /// Of the database, or of a role in it.
    Setting,
    /// Last of all, since it fires on what makes others.
    EventTrigger,
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
            Self::Language => "language",
            Self::AccessMethod => "access method",
            Self::Extension => "extension",
            Self::Collation => "collation",
            Self::Shell => "shell type",
            Self::Base => "base type",
            Self::Enum => "enum type",
            Self::Domain => "domain",
            Self::Composite => "composite type",
            Self::Range => "range type",
            Self::Function => "function",
            Self::Procedure => "procedure",
            Self::Aggregate => "aggregate",
            Self::Operator => "operator",
            Self::OperatorFamily => "operator family",
            Self::OperatorClass => "operator class",
            Self::Cast => "cast",
            Self::Transform => "transform",
            Self::Conversion => "conversion",
            Self::Parser => "text search parser",
            Self::Template => "text search template",
            Self::Dictionary => "text search dictionary",
            Self::Configuration => "text search configuration",
            Self::Wrapper => "foreign data wrapper",
            Self::Server => "foreign server",
            Self::UserMapping => "user mapping",
            Self::Sequence => "sequence",
            Self::Table => "table",
            Self::ForeignTable => "foreign table",
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
            Self::Publication => "publication",
            Self::PublicationTable => "publication table",
            Self::PublicationSchema => "publication schema",
            Self::Subscription => "subscription",
            Self::Owner => "owner",
            Self::Privileges => "privileges",
            Self::LargeObject => "large object",
            Self::SystemPrivileges => "system privileges",
            Self::DefaultPrivileges => "default privileges",
            Self::Setting => "database setting",
            Self::EventTrigger => "event trigger",
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
            | Self::ReplicaIdentity
            | Self::Publication
            | Self::PublicationTable
            | Self::PublicationSchema
            | Self::Subscription
            | Self::Owner
            | Self::Privileges
            | Self::LargeObject
            | Self::SystemPrivileges
            | Self::DefaultPrivileges
            | Self::Setting
            | Self::EventTrigger => Phase::After,
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
                | Self::PublicationTable
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
        Self::Language,
        Self::AccessMethod,
        Self::Shell,
        Self::Base,
        Self::Operator,
        Self::OperatorFamily,
        Self::OperatorClass,
        Self::Cast,
        Self::Transform,
        Self::Conversion,
        Self::Parser,
        Self::Template,
        Self::Dictionary,
        Self::Configuration,
        Self::Wrapper,
        Self::Server,
        Self::UserMapping,
        Self::ForeignTable,
        Self::Publication,
        Self::PublicationTable,
        Self::PublicationSchema,
        Self::Subscription,
        Self::EventTrigger,
        Self::Owner,
        Self::Privileges,
        Self::LargeObject,
        Self::SystemPrivileges,
        Self::DefaultPrivileges,
        Self::Setting,
    ];
}
