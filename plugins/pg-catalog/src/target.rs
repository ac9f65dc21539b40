//! What a target database has already.

use std::collections::{BTreeMap, BTreeSet};

use godwit_sdk::host::{Host, HostExt};
use godwit_sdk::types::{Error, Mode, Result};
use serde::{Deserialize, Serialize};

use crate::catalog::{release, server_version};
use crate::graph::Graph;
use crate::kind::Kind;
use crate::queries;
use crate::sql::ident;

/// What a target has, as it was read.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// `server_version_num`.
    pub version: u32,
    pub schemas: BTreeSet<String>,
    /// Name to schema.
    pub extensions: BTreeMap<String, String>,
    /// What could be made by CREATE EXTENSION, name to default version.
    pub available: BTreeMap<String, String>,
    pub roles: BTreeSet<String>,
    /// Those that the connection's user is a member of, itself included.
    memberships: BTreeSet<String>,
    relations: BTreeSet<String>,
    types: BTreeSet<String>,
    routines: BTreeSet<String>,
    /// Other objects: the kind's name, and the label.
    objects: BTreeSet<(String, String)>,
    /// How many.
    large_objects: u64,
    /// The connection's user, and whether it is a superuser.
    user: String,
    superuser: bool,
}

/// The part of a target that decisions rest on; kept by a memo, because the step itself changes what would be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetMemo {
    pub version: u32,
    pub schemas: BTreeSet<String>,
    pub extensions: BTreeMap<String, String>,
}

impl TargetMemo {
    /// What the target had when the step began, once it is known that nothing stands in the way: `obstacles` are told as
    /// the `conflict` that `refusal` makes of them. A database that an earlier step is yet to make will be as initdb
    /// makes it.
    pub fn take<H: Host>(
        host: &H,
        slot: &str,
        obstacles: impl FnOnce(&Target) -> Vec<String>,
        refusal: impl FnOnce(&str) -> String,
    ) -> Result<Self> {
        let read = || -> Result<Self> {
            let target = Target::read(host, slot)?;
            let obstacles = obstacles(&target);
            if obstacles.is_empty() {
                return Ok(target.memo());
            }
            Err(Error::Conflict(refusal(&obstacles.join("; "))))
        };
        match host.memo("target", read) {
            Err(Error::Pending(_)) if host.mode() == Mode::Plan => {
                Ok(Self { schemas: BTreeSet::from(["public".to_owned()]), ..Self::default() })
            }
            other => other,
        }
    }
}

impl Target {
    /// Reads a target in two round trips.
    pub fn read<H: Host>(host: &H, slot: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Row {
            kind: String,
            name: String,
            detail: Option<String>,
        }
        let mut target = Self { version: server_version(host, slot)?, ..Self::default() };
        let rows: Vec<Row> = host.select(slot, &queries::target(), &[])?;
        for Row { kind, name, detail } in rows {
            match kind.as_str() {
                "schema" => drop(target.schemas.insert(name)),
                "extension" => drop(target.extensions.insert(name, detail.unwrap_or_default())),
                "available" => drop(target.available.insert(name, detail.unwrap_or_default())),
                "role" => drop(target.roles.insert(name)),
                "member" => drop(target.memberships.insert(name)),
                "relation" => drop(target.relations.insert(name)),
                "type" => drop(target.types.insert(name)),
                "object" => drop(target.objects.insert((detail.unwrap_or_default(), name))),
                "large objects" => target.large_objects = name.parse().unwrap_or(0),
                "user" => {
                    target.superuser = detail.as_deref() == Some("on");
                    target.user = name;
                }
                _ => drop(target.routines.insert(name)),
            }
        }
        Ok(target)
    }

    /// Everything that keeps the graph from being made here, one sentence each.
    pub fn obstacles(&self, graph: &Graph) -> Vec<String> {
        let mut found = Vec::new();
        if graph.large_objects > 0 && self.large_objects > 0 {
            found.push(format!("it holds {} large objects already", self.large_objects));
        }
        for node in &graph.nodes {
            if node.superuser && !self.superuser {
                found.push(format!(
                    "{} can be made by a superuser alone, which `{}` is not",
                    node.title(),
                    self.user
                ));
            }
            if let Some(role) =
                node.member_of.as_ref().filter(|r| self.roles.contains(*r) && !self.memberships.contains(*r))
            {
                found.push(format!(
                    "{} can be set by a member of the role `{role}` alone, which `{}` is not",
                    node.title(),
                    self.user
                ));
            }
            let label = format!("{}.{}", node.schema, node.name);
            let taken = match node.kind {
                Kind::Table
                | Kind::ForeignTable
                | Kind::View
                | Kind::MaterializedView
                | Kind::Sequence
                | Kind::Index => self.relations.contains(&label),
                Kind::PrimaryKey | Kind::Unique | Kind::Exclusion => self.relations.contains(&label),
                Kind::Enum | Kind::Domain | Kind::Composite | Kind::Range | Kind::Base => {
                    self.types.contains(&label)
                }
                Kind::Function | Kind::Procedure | Kind::Aggregate => self.routines.contains(&label),
                kind => self.objects.contains(&(kind.name().to_owned(), node.label())),
            };
            if taken {
                found.push(format!("{} is there already", node.title()));
            }
            if node.kind == Kind::Extension {
                found.extend(self.extension_obstacle(node));
            }
            for (version, feature) in &node.features {
                if self.version < *version {
                    found.push(format!(
                        "{} uses a feature ({feature}) that came with PostgreSQL {}; the target is {}",
                        node.title(),
                        version / 10_000,
                        release(self.version)
                    ));
                }
            }
            for (version, feature) in node.gone.iter().filter(|(version, _)| self.version >= *version) {
                found.push(format!(
                    "{} uses a feature ({feature}) that went with PostgreSQL {}; the target is {}",
                    node.title(),
                    version / 10_000,
                    release(self.version)
                ));
            }
            for role in node.roles.iter().filter(|role| !self.roles.contains(*role)) {
                found.push(format!("{} names the role `{role}`, which the target lacks", node.title()));
            }
        }
        found.dedup();
        found
    }

    fn extension_obstacle(&self, node: &crate::graph::Node) -> Option<String> {
        let wanted = node.create.first().and_then(|create| create.split(" WITH SCHEMA ").nth(1));
        match (self.extensions.get(&node.name), wanted) {
            (Some(schema), Some(wanted)) if ident(schema) != wanted => Some(format!(
                "extension {} is in schema `{schema}`, but the source has it in {wanted}, by which its objects are named",
                node.name
            )),
            (Some(_), _) => None,
            (None, _) if self.available.contains_key(&node.name) => None,
            (None, _) => Some(format!(
                "extension {} is not available on the target's server; install it there",
                node.name
            )),
        }
    }

    /// The relations, types and routines of users in these schemas, by name.
    pub fn contents<'a>(&'a self, schemas: &'a BTreeSet<String>) -> impl Iterator<Item = &'a str> {
        let within = |name: &&String| {
            name.match_indices('.').any(|(dot, _)| schemas.contains(name.get(..dot).unwrap_or_default()))
        };
        self.relations.iter().chain(&self.types).chain(&self.routines).filter(within).map(String::as_str)
    }

    /// Whether there is a table, view, sequence or index of this name.
    pub fn has_relation(&self, schema: &str, name: &str) -> bool {
        self.relations.contains(&format!("{schema}.{name}"))
    }

    pub fn memo(&self) -> TargetMemo {
        TargetMemo {
            version: self.version,
            schemas: self.schemas.clone(),
            extensions: self.extensions.clone(),
        }
    }
}
