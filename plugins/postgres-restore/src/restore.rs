//! Restoring an archive: what is read, what is decided, what is asked for.

use std::collections::BTreeMap;

use godwit_pg_archive::Entry;
use godwit_pg_catalog::Rights;
use godwit_pg_catalog::selection::dropped;
use godwit_pg_catalog::{Target, TargetMemo};
use godwit_sdk::prelude::*;

use crate::archive::{Archive, Identity};
use crate::choice::{choose, schemas};
use crate::layout::{Plan, lay_out};
use crate::params::{Outputs, Params};
use crate::rights::roles;
use crate::units::submit;
use crate::{TARGET, data_only};

pub fn apply<H: Host>(host: &H, params: &Params) -> Result<Outputs> {
    let archive = Archive::open(host, params.path())?;
    let identity: Identity = host.memo("archive", || Ok(archive.identity.clone()))?;
    if identity != archive.identity {
        return Err(Error::Conflict(format!(
            "the archive `{}` is another one than when this run began; put the former one back, or undo the run and begin anew",
            params.path()
        )));
    }
    let choice = choose(&archive.toc, params)?;
    for what in &choice.skipped {
        host.log(Level::Warn, &format!("left out: {} {}: {}", what.kind, what.name, what.reason));
    }
    let Plan { units, mut tables } = if params.data_only {
        data_only::lay_out(host, &archive, &choice, params)?
    } else {
        let target = TargetMemo::take(
            host,
            TARGET,
            |target| obstacles(target, &choice.entries, params.rights()),
            |why| {
                format!(
                    "the target can't take the archive: {why}; nothing was touched. Restore into an empty database, or into \
                     a schema that is there by `data_only`; or leave entries out by `skip`"
                )
            },
        )?;
        lay_out(&archive, &choice, params, &target)?
    };
    submit(host, &units)?;

    tables.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    let mut objects: BTreeMap<String, u64> = BTreeMap::new();
    for entry in &choice.entries {
        *objects.entry(entry.desc.clone()).or_default() += 1;
    }
    Ok(Outputs { tables, objects, skipped: choice.skipped, dropped: dropped(params.rights()) })
}

/// Everything that keeps the entries from being restored, one sentence each.
fn obstacles(target: &Target, entries: &[&Entry], rights: Rights) -> Vec<String> {
    const SHOWN: usize = 10;
    let mut obstacles = Vec::new();
    let used = schemas(entries);
    let there: Vec<&str> = target.contents(&used).collect();
    if !there.is_empty() {
        let more = match there.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let shown = there.get(..SHOWN).unwrap_or(&there);
        obstacles.push(format!("it isn't empty: it has {}{more}", shown.join(", ")));
    }
    for entry in entries.iter().filter(|entry| entry.desc == "EXTENSION") {
        let name = entry.tag.as_deref().unwrap_or_default();
        if !target.extensions.contains_key(name) && !target.available.contains_key(name) {
            obstacles.push(format!("extension {name} is not available on its server"));
        }
    }
    for role in roles(entries, rights) {
        if !target.roles.contains(&role) {
            obstacles.push(format!("it lacks the role `{role}`, which the archive names"));
        }
    }
    obstacles
}
