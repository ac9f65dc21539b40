//! Roles under other names: what belongs to one role in the source belongs to another in the target.

use std::collections::{BTreeMap, BTreeSet};

use godwit_sdk::types::{Error, Result};

use crate::catalog::Catalog;
use crate::rows::Granted;

/// Role of the source to role of the target.
pub type RoleMap = BTreeMap<String, String>;

/// Fails where a name is empty.
pub fn check_roles(roles: &RoleMap) -> Result<()> {
    match roles.iter().find(|(old, new)| old.is_empty() || new.is_empty()) {
        Some((old, new)) => {
            Err(Error::Invalid(format!("`roles` maps `{old}` to `{new}`; both have to be names of roles")))
        }
        None => Ok(()),
    }
}

impl Catalog {
    /// Puts other roles in the place of those that `roles` names; fails where it names one that nothing of the catalog,
    /// as far as it was read, belongs to or is granted to.
    pub fn rename_roles(&mut self, roles: &RoleMap) -> Result<()> {
        if roles.is_empty() {
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        let mut rename = |name: &mut String| {
            if let Some(new) = roles.get(name) {
                seen.insert(std::mem::replace(name, new.clone()));
            }
        };
        self.owners.iter_mut().for_each(|row| rename(&mut row.owner));
        for row in &mut self.privileges {
            rename(&mut row.owner);
            grantees(&mut row.granted, &mut rename);
            grantees(&mut row.usual, &mut rename);
        }
        for row in &mut self.default_privileges {
            rename(&mut row.role);
            grantees(&mut row.granted, &mut rename);
            grantees(&mut row.usual, &mut rename);
        }
        self.policies.iter_mut().flat_map(|row| &mut row.roles).for_each(&mut rename);
        for row in &mut self.policies {
            let mut told = BTreeSet::new();
            row.roles.retain(|role| told.insert(role.clone()));
        }
        // `public` there is no role, but everybody else.
        self.mappings.iter_mut().filter(|row| row.role != "public").for_each(|row| rename(&mut row.role));
        let idle: Vec<&str> = roles.keys().filter(|old| !seen.contains(*old)).map(String::as_str).collect();
        if idle.is_empty() {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "`roles` names what nothing in the source belongs to or is granted to: {}; correct it in `with`, or set \
             `owners` or `privileges` if that was meant",
            idle.join(", ")
        )))
    }
}

/// Privileges in the order of their bits, in which a server lists them (`ACL_ALL_RIGHTS_STR` in `src/include/utils/acl.h`).
const PRIVILEGES: [&str; 15] = [
    "INSERT",
    "SELECT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
    "EXECUTE",
    "USAGE",
    "CREATE",
    "TEMPORARY",
    "CONNECT",
    "SET",
    "ALTER SYSTEM",
    "MAINTAIN",
];

/// Two roles that become one are granted what either was.
fn grantees(granted: &mut Option<Vec<Granted>>, rename: &mut impl FnMut(&mut String)) {
    /// By rank and name of a privilege, whether it may be handed on.
    type Privileges = BTreeMap<(usize, String), bool>;
    let Some(entries) = granted else { return };
    entries.iter_mut().for_each(|(grantee, ..)| rename(grantee));
    let mut merged: Vec<(String, Privileges)> = Vec::new();
    for (grantee, privilege, grantable) in entries.drain(..) {
        let rank = PRIVILEGES.iter().position(|name| *name == privilege).unwrap_or(PRIVILEGES.len());
        let place = merged.iter().position(|(name, _)| *name == grantee).unwrap_or(merged.len());
        if place == merged.len() {
            merged.push((grantee, BTreeMap::new()));
        }
        *merged[place].1.entry((rank, privilege)).or_default() |= grantable;
    }
    entries.extend(merged.into_iter().flat_map(|(grantee, privileges)| {
        privileges.into_iter().map(move |((_, privilege), grantable)| (grantee.clone(), privilege, grantable))
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::OwnerRow;

    #[test]
    fn two_roles_that_become_one_are_granted_what_either_was() {
        let entry = |role: &str, grantable| (role.to_owned(), "SELECT".to_owned(), grantable);
        let insert = ("b".to_owned(), "INSERT".to_owned(), false);
        let mut granted = Some(vec![entry("a", false), entry("c", false), insert, entry("b", true)]);
        grantees(&mut granted, &mut |name: &mut String| {
            if name == "b" {
                "a".clone_into(name);
            }
        });
        let insert = ("a".to_owned(), "INSERT".to_owned(), false);
        assert_eq!(granted, Some(vec![insert, entry("a", true), entry("c", false)]));
    }

    #[test]
    fn a_role_that_owns_nothing_is_a_mistake() {
        let owner = OwnerRow { class: "pg_class".into(), oid: 1, owner: "old".into(), initial: false };
        let mut catalog = Catalog { owners: vec![owner], ..Catalog::default() };
        let roles = RoleMap::from([("old".into(), "new".into()), ("absent".into(), "x".into())]);
        let error = catalog.rename_roles(&roles).unwrap_err().to_string();
        assert!(error.contains(": absent;"), "{error}");
        assert_eq!(catalog.owners[0].owner, "new");
        assert!(check_roles(&RoleMap::from([("a".into(), String::new())])).is_err());
    }
}
