//! A database's catalog, read in two round trips.

use std::collections::{BTreeMap, BTreeSet};

use godwit_sdk::host::{Host, HostExt, RowSource};
use godwit_sdk::types::{Error, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::queries;
use crate::rows::*;
use crate::sql;

/// The oldest server that is read, as `server_version_num`.
pub const OLDEST: u32 = 120_000;

/// What is read of who may do what. Without it a copy's objects belong to whoever makes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    pub owners: bool,
    /// Default privileges, too.
    pub privileges: bool,
    /// Settings of the database, and of roles in it.
    pub settings: bool,
    /// Security labels.
    pub labels: bool,
}

/// Everything that users made in one database.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// `server_version_num`.
    pub version: u32,
    pub schemas: Vec<SchemaRow>,
    pub extensions: Vec<ExtensionRow>,
    pub types: Vec<TypeRow>,
    pub relations: Vec<RelationRow>,
    /// By relation, in the order of their numbers.
    pub columns: BTreeMap<Oid, Vec<ColumnRow>>,
    pub constraints: Vec<ConstraintRow>,
    pub indexes: Vec<IndexRow>,
    pub sequences: Vec<SequenceRow>,
    pub routines: Vec<RoutineRow>,
    pub triggers: Vec<TriggerRow>,
    pub policies: Vec<PolicyRow>,
    pub rules: Vec<RuleRow>,
    pub statistics: Vec<StatisticsRow>,
    pub collations: Vec<CollationRow>,
    pub languages: Vec<LanguageRow>,
    pub transforms: Vec<TransformRow>,
    pub access_methods: Vec<AccessMethodRow>,
    pub conversions: Vec<ConversionRow>,
    pub event_triggers: Vec<EventTriggerRow>,
    pub operators: Vec<OperatorRow>,
    pub operator_families: Vec<OperatorFamilyRow>,
    pub operator_classes: Vec<OperatorClassRow>,
    pub casts: Vec<CastRow>,
    pub parsers: Vec<ParserRow>,
    pub templates: Vec<TemplateRow>,
    pub dictionaries: Vec<DictionaryRow>,
    pub configurations: Vec<ConfigurationRow>,
    pub wrappers: Vec<WrapperRow>,
    pub servers: Vec<ServerRow>,
    pub mappings: Vec<UserMappingRow>,
    pub publications: Vec<PublicationRow>,
    pub publication_tables: Vec<PublicationTableRow>,
    pub publication_schemas: Vec<PublicationSchemaRow>,
    pub subscriptions: Vec<SubscriptionRow>,
    /// This and the next four are empty unless asked for by [`Rights`].
    pub owners: Vec<OwnerRow>,
    pub privileges: Vec<PrivilegesRow>,
    pub default_privileges: Vec<DefaultPrivilegesRow>,
    pub settings: Vec<SettingRow>,
    pub labels: Vec<SecurityLabelRow>,
    pub large_objects: LargeObjectsRow,
    pub large_object_groups: Vec<LargeObjectGroup>,
    pub edges: Vec<EdgeRow>,
    pub unsupported: Vec<UnsupportedRow>,
}

#[derive(Deserialize)]
struct Tagged {
    s: String,
    r: Box<RawValue>,
}

/// The server's version as a number: 160004 is 16.4.
pub fn server_version<H: Host>(host: &H, slot: &str) -> Result<u32> {
    Ok(Server::of(slot, host.query(slot, SERVER, &[])?)?.version)
}

/// Asks for a [`Server`].
const SERVER: &str = "SELECT current_setting('server_version_num')::int AS version,
    current_setting('is_superuser') = 'on' AS superuser";

/// A server as its connection's user meets it.
#[derive(Deserialize)]
struct Server {
    version: u32,
    superuser: bool,
}

impl Server {
    fn of(slot: &str, mut rows: impl RowSource) -> Result<Self> {
        let page = rows.next_page()?;
        page.first().and_then(|row| serde_json::from_str(row).ok()).ok_or_else(|| {
            Error::Failed(format!("the server of slot `{slot}` doesn't say its version; is it PostgreSQL?"))
        })
    }
}

/// A catalog on its way: several may be, so that two take no longer than one.
struct Coming<R> {
    slot: String,
    catalog: Catalog,
    rows: R,
}

impl<R: RowSource> Coming<R> {
    /// Asks for everything, once the server has said what it is.
    fn ask<H: Host<Rows = R>>(host: &H, slot: &str, server: R, rights: Rights) -> Result<Self> {
        let Server { version, superuser } = Server::of(slot, server)?;
        if version < OLDEST {
            return Err(Error::Invalid(format!(
                "the server of slot `{slot}` is PostgreSQL {}; 12 is the oldest that can be read",
                release(version)
            )));
        }
        let rows = host.query(slot, &queries::everything(version, superuser, rights), &[])?;
        Ok(Self { slot: slot.to_owned(), catalog: Catalog { version, ..Catalog::default() }, rows })
    }

    fn read(mut self) -> Result<Catalog> {
        loop {
            let page = self.rows.next_page()?;
            if page.is_empty() {
                break;
            }
            for row in page {
                self.catalog.take(&self.slot, &row)?;
            }
        }
        self.catalog.arrange();
        Ok(self.catalog)
    }
}

impl Catalog {
    /// Reads a database's catalog, without owners and privileges: two round trips, and one for each further page.
    pub fn read<H: Host>(host: &H, slot: &str) -> Result<Self> {
        Self::read_with(host, slot, Rights::default())
    }

    /// Likewise, with the rights that are asked for.
    pub fn read_with<H: Host>(host: &H, slot: &str, rights: Rights) -> Result<Self> {
        let server = host.query(slot, SERVER, &[])?;
        Coming::ask(host, slot, server, rights)?.read()
    }

    /// Likewise of two databases at once.
    pub fn read_both<H: Host>(host: &H, one: &str, other: &str, rights: Rights) -> Result<(Self, Self)> {
        let servers = (host.query(one, SERVER, &[])?, host.query(other, SERVER, &[])?);
        let one = Coming::ask(host, one, servers.0, rights)?;
        let other = Coming::ask(host, other, servers.1, rights)?;
        Ok((one.read()?, other.read()?))
    }

    fn take(&mut self, slot: &str, row: &str) -> Result<()> {
        fn one<'a, T: Deserialize<'a>>(json: &'a RawValue) -> serde_json::Result<T> {
            serde_json::from_str(json.get())
        }
        let read = |row: &str| serde_json::from_str::<Tagged>(row);
        let fail = |section: &str, error: serde_json::Error| {
            Error::Failed(format!(
                "a catalog row ({section}) of slot `{slot}` isn't as expected: {error}: {row}"
            ))
        };
        let Tagged { s: section, r } = read(row).map_err(|e| fail("envelope", e))?;
        let r = &*r;
        let done = match section.as_str() {
            "schema" => one(r).map(|x| self.schemas.push(x)),
            "extension" => one(r).map(|x| self.extensions.push(x)),
            "type" => one(r).map(|x| self.types.push(x)),
            "relation" => one(r).map(|x| self.relations.push(x)),
            "column" => one(r).map(|x: ColumnRow| self.columns.entry(x.relation).or_default().push(x)),
            "constraint" => one(r).map(|x| self.constraints.push(x)),
            "index" => one(r).map(|x| self.indexes.push(x)),
            "sequence" => one(r).map(|x| self.sequences.push(x)),
            "routine" => one(r).map(|x| self.routines.push(x)),
            "trigger" => one(r).map(|x| self.triggers.push(x)),
            "policy" => one(r).map(|x| self.policies.push(x)),
            "rule" => one(r).map(|x| self.rules.push(x)),
            "statistics" => one(r).map(|x| self.statistics.push(x)),
            "collation" => one(r).map(|x| self.collations.push(x)),
            "language" => one(r).map(|x| self.languages.push(x)),
            "transform" => one(r).map(|x| self.transforms.push(x)),
            "access_method" => one(r).map(|x| self.access_methods.push(x)),
            "conversion" => one(r).map(|x| self.conversions.push(x)),
            "event_trigger" => one(r).map(|x| self.event_triggers.push(x)),
            "operator" => one(r).map(|x| self.operators.push(x)),
            "operator_family" => one(r).map(|x| self.operator_families.push(x)),
            "operator_class" => one(r).map(|x| self.operator_classes.push(x)),
            "cast" => one(r).map(|x| self.casts.push(x)),
            "parser" => one(r).map(|x| self.parsers.push(x)),
            "template" => one(r).map(|x| self.templates.push(x)),
            "dictionary" => one(r).map(|x| self.dictionaries.push(x)),
            "configuration" => one(r).map(|x| self.configurations.push(x)),
            "wrapper" => one(r).map(|x| self.wrappers.push(x)),
            "server" => one(r).map(|x| self.servers.push(x)),
            "mapping" => one(r).map(|x| self.mappings.push(x)),
            "publication" => one(r).map(|x| self.publications.push(x)),
            "publication_table" => one(r).map(|x| self.publication_tables.push(x)),
            "publication_schema" => one(r).map(|x| self.publication_schemas.push(x)),
            "subscription" => one(r).map(|x| self.subscriptions.push(x)),
            "owner" => one(r).map(|x| self.owners.push(x)),
            "privileges" => one(r).map(|x| self.privileges.push(x)),
            "default_privileges" => one(r).map(|x| self.default_privileges.push(x)),
            "setting" => one(r).map(|x| self.settings.push(x)),
            "label" => one(r).map(|x| self.labels.push(x)),
            "large_objects" => one(r).map(|x| self.large_objects = x),
            "large_object" => one(r).map(|x| self.large_object_groups.push(x)),
            "edge" => one(r).map(|x| self.edges.push(x)),
            "unsupported" => one(r).map(|x| self.unsupported.push(x)),
            other => return Err(Error::Failed(format!("an unknown catalog section `{other}`"))),
        };
        done.map_err(|e| fail(&section, e))
    }

    /// Puts everything into an order of names, so that the same schema gives the same statements under other ids.
    fn arrange(&mut self) {
        let labels: BTreeMap<Oid, (String, String)> =
            self.relations.iter().map(|r| (r.oid, (r.schema.clone(), r.name.clone()))).collect();
        let of = |oid: Oid| labels.get(&oid).cloned().unwrap_or_default();
        self.schemas.sort_by(|a, b| a.name.cmp(&b.name));
        self.extensions.sort_by(|a, b| a.name.cmp(&b.name));
        self.types.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        self.relations.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        self.columns.values_mut().for_each(|columns| columns.sort_by_key(|c| c.number));
        self.constraints.sort_by_cached_key(|k| (of(k.relation), k.name.clone()));
        self.indexes.sort_by_cached_key(|i| (of(i.relation), i.name.clone()));
        self.sequences.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        self.routines
            .sort_by(|a, b| (&a.schema, &a.name, &a.arguments).cmp(&(&b.schema, &b.name, &b.arguments)));
        self.triggers.sort_by_cached_key(|t| (of(t.relation), t.name.clone()));
        self.policies.sort_by_cached_key(|p| (of(p.relation), p.name.clone()));
        self.rules.sort_by_cached_key(|r| (of(r.relation), r.name.clone()));
        self.statistics.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        self.collations.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        self.labels.sort();
        self.large_object_groups.sort_by_key(|group| group.oids.first().copied());
        self.unsupported.sort_by(|a, b| (&a.kind, &a.schema, &a.name).cmp(&(&b.kind, &b.schema, &b.name)));
    }

    pub fn relation(&self, oid: Oid) -> Option<&RelationRow> {
        self.relations.iter().find(|r| r.oid == oid)
    }

    /// The tables that have a foreign table below them, at any depth. ANALYZE of these would go to other servers.
    pub fn above_foreign(&self) -> BTreeSet<Oid> {
        let mut above = BTreeSet::new();
        let mut open: Vec<&RelationRow> = self.relations.iter().filter(|r| r.kind == "f").collect();
        while let Some(relation) = open.pop() {
            for parent in &relation.parents {
                if above.insert(*parent) {
                    open.extend(self.relation(*parent));
                }
            }
        }
        above
    }

    /// The names by which patterns know a table: its own, and those of the tables that it is a partition of.
    pub fn lineage<'a>(&'a self, table: &'a RelationRow) -> Vec<(&'a str, &'a str)> {
        let mut names = Vec::new();
        let mut next = Some(table);
        while let Some(relation) = next {
            names.push((relation.schema.as_str(), relation.name.as_str()));
            let root = relation.parents.first().filter(|_| relation.partition);
            next = root.and_then(|parent| self.relation(*parent));
        }
        names
    }

    pub fn columns_of(&self, relation: Oid) -> &[ColumnRow] {
        self.columns.get(&relation).map_or(&[], Vec::as_slice)
    }
}

/// `16.4` of 160004.
pub fn release(version: u32) -> String {
    format!("{}.{}", version / 10_000, version % 10_000)
}

/// Where a sequence stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SequenceState {
    pub schema: String,
    pub name: String,
    /// The value given out last; none before the first.
    pub last_value: Option<i64>,
}

/// The state of every sequence that the connection's user may read, in one round trip.
pub fn sequence_states<H: Host>(host: &H, slot: &str) -> Result<Vec<SequenceState>> {
    let sql = format!(
        "SELECT n.schemaname AS schema, n.sequencename AS name, n.last_value FROM pg_sequences n \
         WHERE {} ORDER BY 1, 2",
        queries::USER_SCHEMA.replace("n.nspname", "n.schemaname")
    );
    host.select(slot, &sql, &[])
}

/// Exactly where a sequence stands: what `setval` needs to put another one there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct SequencePosition {
    pub schema: String,
    pub name: String,
    pub last_value: i64,
    /// `last_value` was given out.
    pub is_called: bool,
}

impl SequencePosition {
    /// The call that puts a sequence there.
    pub fn setval(&self) -> String {
        let name = sql::literal(&sql::qualified(&self.schema, &self.name));
        format!("SELECT pg_catalog.setval({name}, {}, {})", self.last_value, self.is_called)
    }
}

/// The positions of these sequences (schema, name), in their order. One round trip for up to 500.
pub fn sequence_positions<H: Host>(
    host: &H,
    slot: &str,
    sequences: &[(String, String)],
) -> Result<Vec<SequencePosition>> {
    let mut found = Vec::with_capacity(sequences.len());
    for batch in sequences.chunks(500) {
        let one = |(number, (schema, name)): (usize, &(String, String))| {
            format!(
                "SELECT {number} AS number, {} AS schema, {} AS name, last_value, is_called FROM {}",
                sql::literal(schema),
                sql::literal(name),
                sql::qualified(schema, name)
            )
        };
        let all: Vec<String> = batch.iter().enumerate().map(one).collect();
        let query = format!("SELECT * FROM ({}) AS positions ORDER BY number", all.join(" UNION ALL "));
        found.extend(host.select::<SequencePosition>(slot, &query, &[])?);
    }
    Ok(found)
}
