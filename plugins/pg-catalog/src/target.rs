//! What a target database has already.

use std::collections::{BTreeMap, BTreeSet};

use godwit_sdk::host::{Host, HostExt};
use godwit_sdk::types::{Error, Mode, Result};
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, release, server_version};
use crate::clean;
use crate::ddl::without_in;
use crate::facts::Facts;
use crate::graph::Node;
use crate::kind::Kind;
use crate::preflight::{Finding, conclude};
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
    /// Of the extensions that are there.
    versions: BTreeMap<String, String>,
    /// Extensions whose default version a superuser alone may make.
    untrusted: BTreeSet<String>,
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
    /// Tablespaces, and whether the connection's user may put something there.
    pub(crate) spaces: BTreeMap<String, bool>,
    /// The connection's user, and whether it is a superuser.
    pub(crate) user: String,
    superuser: bool,
}

/// The part of a target that decisions rest on; kept by a memo, because the step itself changes what would be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetMemo {
    pub version: u32,
    pub schemas: BTreeSet<String>,
    pub extensions: BTreeMap<String, String>,
    /// The connection's user is one.
    pub superuser: bool,
    /// Roles that the step makes.
    pub roles: BTreeSet<String>,
    /// Statements that make room; nothing brings back what they drop.
    pub clean: Vec<String>,
    /// What was found and is no error.
    pub findings: Vec<Finding>,
}

impl TargetMemo {
    /// What the target had when the step began, once it is known that nothing stands in the way. `examine` looks at the
    /// target, may add to the memo what is to be done first, and tells what it found; together with `source`, what was
    /// found before, errors become the `conflict` that `refusal` makes of them. A database that an earlier step is yet to
    /// make will be as initdb makes it.
    pub fn take<H: Host>(
        host: &H,
        slot: &str,
        source: impl FnOnce() -> Result<Vec<Finding>>,
        examine: impl FnOnce(&Target, &mut Self) -> Result<Vec<Finding>>,
        refusal: impl FnOnce(&str) -> String,
    ) -> Result<Self> {
        let read = || -> Result<Self> {
            let mut findings = source()?;
            let target = match Target::read(host, slot) {
                Err(pending @ Error::Pending(_)) => {
                    conclude(host, findings, refusal)?;
                    return Err(pending);
                }
                other => other?,
            };
            let mut memo = target.memo();
            findings.extend(examine(&target, &mut memo)?);
            memo.findings = conclude(host, findings, refusal)?;
            Ok(memo)
        };
        match host.memo("target", read) {
            Err(Error::Pending(_)) if host.mode() == Mode::Plan => {
                Ok(Self { schemas: BTreeSet::from(["public".to_owned()]), ..Self::default() })
            }
            other => other,
        }
    }
}

/// What is to become of roles that the target lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingRoles {
    Refuse,
    Make,
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
        let rows: Vec<Row> = host.select(slot, &queries::target(target.version), &[])?;
        for Row { kind, name, detail } in rows {
            match kind.as_str() {
                "schema" => drop(target.schemas.insert(name)),
                "extension" => drop(target.extensions.insert(name, detail.unwrap_or_default())),
                "version" => drop(target.versions.insert(name, detail.unwrap_or_default())),
                "untrusted" => drop(target.untrusted.insert(name)),
                "available" => drop(target.available.insert(name, detail.unwrap_or_default())),
                "role" => drop(target.roles.insert(name)),
                "member" => drop(target.memberships.insert(name)),
                "relation" => drop(target.relations.insert(name)),
                "type" => drop(target.types.insert(name)),
                "object" => drop(target.objects.insert((detail.unwrap_or_default(), name))),
                "tablespace" => drop(target.spaces.insert(name, detail.as_deref() == Some("true"))),
                "large objects" => target.large_objects = name.parse().unwrap_or(0),
                "user" => {
                    target.superuser = detail.as_deref() == Some("on");
                    target.user = name;
                }
                _ => drop(target.routines.insert(without_in(&name))),
            }
        }
        Ok(target)
    }

    /// Everything that keeps these from being made here, but for what is there already and for roles.
    pub fn obstacles(&self, nodes: &[&Node]) -> Vec<Finding> {
        let mut found = Vec::new();
        for node in nodes {
            if node.superuser && !self.superuser {
                found.push(Finding::error(
                    node.title(),
                    format!("can be made by a superuser alone, which `{}` is not", self.user),
                    "",
                ));
            }
            if let Some(role) =
                node.member_of.as_ref().filter(|r| self.roles.contains(*r) && !self.memberships.contains(*r))
            {
                found.push(Finding::error(
                    node.title(),
                    format!(
                        "can be set by a member of the role `{role}` alone, which `{}` is not",
                        self.user
                    ),
                    "",
                ));
            }
            if node.kind == Kind::Extension {
                let wanted = node.create.first().and_then(|create| create.split(" WITH SCHEMA ").nth(1));
                found.extend(self.extension(&node.name, wanted));
            }
            for (version, feature) in node.features.iter().filter(|(version, _)| self.version < *version) {
                found.push(Finding::error(
                    node.title(),
                    format!(
                        "uses a feature ({feature}) that came with PostgreSQL {}; the target is {}",
                        version / 10_000,
                        release(self.version)
                    ),
                    "",
                ));
            }
            for (version, feature) in node.gone.iter().filter(|(version, _)| self.version >= *version) {
                found.push(Finding::error(
                    node.title(),
                    format!(
                        "uses a feature ({feature}) that went with PostgreSQL {}; the target is {}",
                        version / 10_000,
                        release(self.version)
                    ),
                    "",
                ));
            }
        }
        found
    }

    /// Large objects that are there: those of a source keep their numbers.
    pub fn large_objects(&self, any_come: bool) -> Option<Finding> {
        let count = self.large_objects;
        (any_come && count > 0).then(|| {
            Finding::error("the target", format!("holds {count} large objects already"), "unlink them")
        })
    }

    /// What is there already under the name of something that is to be made.
    pub fn taken(&self, nodes: &[&Node]) -> Vec<Finding> {
        let taken = |node: &&&Node| {
            let (space, name) = clean::name(node);
            match space {
                "relation" => self.relations.contains(&name),
                "type" => self.types.contains(&name),
                "routine" => self.routines.contains(&name),
                kind => self.objects.contains(&(kind.to_owned(), name)),
            }
        };
        let found = nodes.iter().filter(taken);
        found.map(|node| Finding::error(node.title(), "is there already", "")).collect()
    }

    /// The roles that are named, by whoever names them, and aren't there; to be made, where the recipe says so and the
    /// user may, and else an error over all of them.
    pub fn missing_roles<'a>(
        &self,
        named: impl IntoIterator<Item = (&'a str, String)>,
        missing: MissingRoles,
        facts: &Facts,
        memo: &mut TargetMemo,
    ) -> Option<Finding> {
        let mut by: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (role, whom) in named {
            if !self.roles.contains(role) {
                by.entry(role).or_default().push(whom);
            }
        }
        if by.is_empty() {
            return None;
        }
        let mut quoted: Vec<String> = Vec::new();
        for (role, whom) in &by {
            let more = match whom.len() {
                0 | 1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            quoted.push(format!("`{role}` (by {}{more})", whom.first().map_or("", String::as_str)));
        }
        let (what, names) = if by.len() == 1 { ("the role", "is") } else { ("the roles", "are") };
        let thing = format!("{what} {}", quoted.join(", "));
        match missing {
            MissingRoles::Make if facts.may_create_roles => {
                memo.roles = by.into_keys().map(str::to_owned).collect();
                None
            }
            MissingRoles::Make => Some(Finding::error(
                thing,
                format!("{names} missing in the target, and `{}` has no CREATEROLE to make them", self.user),
                "make them first, or map them to others by `roles`",
            )),
            MissingRoles::Refuse => Some(Finding::error(
                thing,
                format!("{names} missing in the target"),
                "make them first, map them to others by `roles`, or set `create_roles`",
            )),
        }
    }

    /// What is the matter with an extension that is to be made, or used; `wanted` is the schema, quoted.
    pub fn extension(&self, name: &str, wanted: Option<&str>) -> Option<Finding> {
        let thing = format!("extension {name}");
        match (self.extensions.get(name), wanted) {
            (Some(schema), Some(wanted)) if ident(schema) != wanted => Some(Finding::error(
                thing,
                format!(
                    "is in schema `{schema}`, but the source has it in {wanted}, by which its objects are named"
                ),
                "",
            )),
            (Some(_), _) => None,
            (None, _) => match self.available.get(name) {
                None => {
                    Some(Finding::error(thing, "is not available on the target's server", "install it there"))
                }
                // Hosted servers have means of their own to let others make it.
                Some(_) if !self.superuser && self.untrusted.contains(name) => Some(Finding::warning(
                    thing,
                    format!("is for superusers alone to make, which `{}` is not", self.user),
                    "where the server has no way around that, have it made in the target beforehand",
                )),
                Some(_) => None,
            },
        }
    }

    /// Extensions whose version will be another one than the source's.
    pub fn other_versions(&self, nodes: &[&Node], source: &Catalog) -> Vec<Finding> {
        let wanted = nodes.iter().filter(|node| node.kind == Kind::Extension);
        wanted
            .filter_map(|node| {
                let ours = &source.extensions.iter().find(|x| x.name == node.name)?.version;
                let theirs = self.versions.get(&node.name).or_else(|| self.available.get(&node.name))?;
                (ours != theirs).then(|| {
                    Finding::note(
                        format!("extension {}", node.name),
                        format!("is of version {ours} in the source and {theirs} in the target"),
                    )
                })
            })
            .collect()
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
            superuser: self.superuser,
            ..TargetMemo::default()
        }
    }
}
