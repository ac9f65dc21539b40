//! What pg_dump calls each kind of object in its archives.

use crate::graph::Node;
use crate::kind::Kind;

impl Kind {
    /// `desc` of an archive's entry (`src/bin/pg_dump/pg_dump.c`). Replica identity stands in the entry of its table or
    /// index there, and goes by the name of a row's security here, which is the nearest that is run after the rows.
    pub fn archive_desc(self) -> &'static str {
        self.archived().0
    }

    /// The object id of the catalog that its rows are in (`src/include/catalog/pg_*.h`); 0 for what has no row.
    pub fn catalog_oid(self) -> u32 {
        self.archived().1
    }

    fn archived(self) -> (&'static str, u32) {
        match self {
            Self::Schema => ("SCHEMA", 2615),
            Self::Language => ("PROCEDURAL LANGUAGE", 2612),
            Self::AccessMethod => ("ACCESS METHOD", 2601),
            Self::Extension => ("EXTENSION", 3079),
            Self::Collation => ("COLLATION", 3456),
            Self::Shell => ("SHELL TYPE", 1247),
            Self::Base | Self::Enum | Self::Composite | Self::Range => ("TYPE", 1247),
            Self::Domain => ("DOMAIN", 1247),
            Self::Function => ("FUNCTION", 1255),
            Self::Procedure => ("PROCEDURE", 1255),
            Self::Aggregate => ("AGGREGATE", 1255),
            Self::Operator => ("OPERATOR", 2617),
            Self::OperatorFamily => ("OPERATOR FAMILY", 2753),
            Self::OperatorClass => ("OPERATOR CLASS", 2616),
            Self::Cast => ("CAST", 2605),
            Self::Transform => ("TRANSFORM", 3576),
            Self::Conversion => ("CONVERSION", 2607),
            Self::Parser => ("TEXT SEARCH PARSER", 3601),
            Self::Template => ("TEXT SEARCH TEMPLATE", 3764),
            Self::Dictionary => ("TEXT SEARCH DICTIONARY", 3600),
            Self::Configuration => ("TEXT SEARCH CONFIGURATION", 3602),
            Self::Wrapper => ("FOREIGN DATA WRAPPER", 2328),
            Self::Server => ("SERVER", 1417),
            Self::UserMapping => ("USER MAPPING", 1418),
            Self::Sequence => ("SEQUENCE", 1259),
            Self::Table => ("TABLE", 1259),
            Self::ForeignTable => ("FOREIGN TABLE", 1259),
            Self::SequenceOwner => ("SEQUENCE OWNED BY", 0),
            Self::Default => ("DEFAULT", 2604),
            Self::DomainCheck | Self::Check | Self::LateCheck | Self::LateNotNull => {
                ("CHECK CONSTRAINT", 2606)
            }
            Self::View => ("VIEW", 1259),
            Self::MaterializedView => ("MATERIALIZED VIEW", 1259),
            Self::PrimaryKey | Self::Unique | Self::Exclusion => ("CONSTRAINT", 2606),
            Self::Index => ("INDEX", 1259),
            Self::ForeignKey => ("FK CONSTRAINT", 2606),
            Self::Statistics => ("STATISTICS", 3381),
            Self::Rule | Self::ViewQuery => ("RULE", 2618),
            Self::Trigger => ("TRIGGER", 2620),
            Self::Policy => ("POLICY", 3256),
            Self::RowSecurity | Self::ReplicaIdentity => ("ROW SECURITY", 0),
            Self::Publication => ("PUBLICATION", 6104),
            Self::PublicationTable => ("PUBLICATION TABLE", 6106),
            Self::PublicationSchema => ("PUBLICATION TABLES IN SCHEMA", 6237),
            Self::Subscription => ("SUBSCRIPTION", 6100),
            // An owner is a field of the entry of what is owned.
            Self::Owner => ("OWNER", 0),
            Self::LargeObject => ("BLOB", 2613),
            Self::Privileges | Self::SystemPrivileges => ("ACL", 0),
            Self::Setting => ("DATABASE PROPERTIES", 0),
            Self::DefaultPrivileges => ("DEFAULT ACL", 826),
            Self::EventTrigger => ("EVENT TRIGGER", 3466),
        }
    }
}

impl Node {
    /// `desc` and `tag` of its entry.
    pub fn archive_name(&self) -> (&'static str, String) {
        // `public.users`, unquoted, of what belongs to a table.
        let table = self
            .on
            .as_deref()
            .map(|on| on.strip_prefix(&format!("{}.", self.schema)).unwrap_or(on))
            .unwrap_or_default();
        // Without what tells it from others of its name: an operator's types, a class's access method.
        let bare = |end: &str| self.name.split(end).next().unwrap_or_default().to_owned();
        let tag = match self.kind {
            Kind::Operator => bare(" ("),
            Kind::OperatorClass | Kind::OperatorFamily => bare(" using "),
            Kind::Cast => format!("CAST ({})", self.name),
            Kind::Transform => format!("TRANSFORM FOR {}", self.name.replacen(" for ", " LANGUAGE ", 1)),
            Kind::UserMapping => format!("USER MAPPING {} SERVER {table}", self.name),
            Kind::PublicationTable | Kind::PublicationSchema => format!("{} {table}", self.name),
            Kind::ViewQuery => format!("{} _RETURN", self.name),
            Kind::RowSecurity | Kind::ReplicaIdentity => table.to_owned(),
            Kind::DefaultPrivileges => {
                let kind = self.name.rsplit(" for ").next().unwrap_or_default();
                format!("DEFAULT PRIVILEGES FOR {}", kind.to_uppercase())
            }
            Kind::Default
            | Kind::DomainCheck
            | Kind::Check
            | Kind::LateCheck
            | Kind::LateNotNull
            | Kind::PrimaryKey
            | Kind::Unique
            | Kind::Exclusion
            | Kind::ForeignKey
            | Kind::Rule
            | Kind::Trigger
            | Kind::Policy => format!("{table} {}", self.name),
            _ => self.name.clone(),
        };
        (self.kind.archive_desc(), tag)
    }
}
