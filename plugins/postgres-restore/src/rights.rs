//! Owners and privileges of an archive.

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_archive::rights::{grantee, renamed, reversed};
use godwit_pg_archive::{Entry, split};
use godwit_pg_catalog::Rights;
use godwit_pg_catalog::roles::RoleMap;
use godwit_pg_catalog::sql::ident;
use godwit_sdk::prelude::*;

use crate::choice::is_privileges;
use crate::layout::Part;
use crate::objects;

/// Puts other roles in the place of those that `roles` names, as owners, grantees and in policies; fails where it names one
/// that the archive doesn't.
pub fn rename(entries: &mut [Entry], roles: &RoleMap) -> Result<()> {
    if roles.is_empty() {
        return Ok(());
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut new_name = |name: &str| {
        let new = roles.get(name)?;
        seen.insert(name.to_owned());
        Some(new.clone())
    };
    for entry in entries {
        if let Some(new) = entry.owner.as_deref().and_then(&mut new_name) {
            entry.owner = Some(new);
        }
        if !is_privileges(entry) && entry.desc != "POLICY" {
            continue;
        }
        // What can't be read is told when the entry is laid out.
        let Some(statements) = entry.definition.as_deref().and_then(|text| split(text).ok()) else {
            continue;
        };
        let renamed = statements.iter().map(|statement| renamed(statement, &mut new_name) + ";\n");
        entry.definition = Some(renamed.collect());
    }
    let idle: Vec<&str> = roles.keys().filter(|old| !seen.contains(*old)).map(String::as_str).collect();
    if idle.is_empty() {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "`roles` names what nothing in the archive belongs to or is granted to: {}; correct it in `with`",
        idle.join(", ")
    )))
}

/// Gives what an entry makes to its owner.
pub fn owner(entry: &Entry) -> Option<Part<'_>> {
    if objects::are(entry) {
        let owner = entry.owner.as_deref().filter(|owner| !owner.is_empty())?;
        let give = |number: &str| format!("ALTER LARGE OBJECT {number} OWNER TO {}", ident(owner));
        // They are gone when their transfer is taken back.
        let statements = objects::numbers(entry).into_iter().map(give).collect();
        return Some(Part { entry, statements, drops: Vec::new() });
    }
    let alter = entry.alter_owner()?;
    let owner = entry.owner.as_deref()?;
    // A sequence that belongs to a column goes back with the table's owner, and refuses to go alone; any other is dropped.
    let drops = match entry.desc.as_str() {
        "SEQUENCE" => Vec::new(),
        _ => vec![format!("{alter} CURRENT_USER")],
    };
    Some(Part { entry, statements: vec![format!("{alter} {}", ident(owner))], drops })
}

/// What is granted, without changes of the session's user: each privilege is granted by whoever owns the object by then.
/// Taken back is only what was granted on things that stay: those that are no `made` entry of the archive.
pub fn granted<'a>(part: Part<'a>, made: &BTreeMap<i32, &Entry>) -> Part<'a> {
    let is_session = |statement: &String| {
        statement.starts_with("SET SESSION AUTHORIZATION ")
            || statement.starts_with("RESET SESSION AUTHORIZATION")
    };
    let statements: Vec<String> = part.statements.into_iter().filter(|s| !is_session(s)).collect();
    let numbers = |id: i32| {
        let entry = made.get(&id).filter(|entry| objects::are(entry))?;
        Some(objects::numbers(entry).into_iter().map(str::to_owned).collect())
    };
    let statements = objects::for_each(part.entry, statements, numbers);
    let is_made = |id: &i32| made.get(id).is_some_and(|entry| entry.desc != "EXTENSION");
    let stays = part.entry.desc == "DEFAULT ACL"
        || !part.entry.dependencies.iter().any(is_made)
        || part.entry.namespace.as_deref() == Some("pg_catalog")
        || part.entry.tag.as_deref() == Some("SCHEMA public");
    let drops = match stays {
        true => statements.iter().rev().filter_map(|statement| reversed(statement)).collect(),
        false => Vec::new(),
    };
    Part { entry: part.entry, statements, drops }
}

/// Every role that the entries name, as far as they are restored.
pub fn roles(entries: &[&Entry], rights: Rights) -> BTreeSet<String> {
    let mut roles = BTreeSet::new();
    for entry in entries {
        if rights.owners && owner(entry).is_some() {
            roles.extend(entry.owner.clone());
        }
        if rights.privileges && is_privileges(entry) {
            // What can't be read is told when the entry is laid out.
            let statements = split(entry.definition.as_deref().unwrap_or_default()).unwrap_or_default();
            let granting = statements.iter().filter(|s| !s.contains(" SESSION AUTHORIZATION"));
            roles.extend(granting.filter_map(|statement| grantee(statement)));
        }
    }
    roles
}
