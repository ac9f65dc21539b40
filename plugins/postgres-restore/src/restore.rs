//! Restoring an archive: what is read, what is decided, what is asked for.

use std::collections::BTreeMap;

use godwit_pg_archive::Entry;
use godwit_pg_catalog::selection::dropped;
use godwit_pg_catalog::tablespaces::{Dropped, TablespaceMap, place};
use godwit_sdk::prelude::*;

use crate::archive::{Archive, Identity};
use crate::choice::choose;
use crate::data_only::{self, Decision};
use crate::layout::{Plan, lay_out};
use crate::params::{Outputs, Params};
use crate::preflight;
use crate::rights::rename;
use crate::units::submit;

pub fn apply<H: Host>(host: &H, params: &Params) -> Result<Outputs> {
    let mut archive = Archive::open(host, params.path())?;
    rename(&mut archive.toc.entries, &params.roles)?;
    let unplaced = place_entries(&mut archive.toc.entries, &params.tablespaces)?;
    let identity: Identity = host.memo("archive", || Ok(archive.identity.clone()))?;
    if identity != archive.identity {
        return Err(Error::Conflict(format!(
            "the archive `{}` is another one than when this run began; put the former one back, or undo the run and begin anew",
            params.path()
        )));
    }
    let choice = choose(&archive, params)?;
    for what in &choice.skipped {
        host.log(Level::Warn, &format!("left out: {} {}: {}", what.kind, what.name, what.reason));
    }
    // Once: what is damaged later is found out when it is read.
    host.memo("whole", || archive.whole(host, &choice.entries).map(|()| true))?;
    let sections = params.sections()?;
    let target = preflight::target(host, &archive, &choice, &unplaced, params)?;
    let filled: Option<Decision> = match sections.fills() {
        true => Some(data_only::decision(host, &choice, params)?),
        false => None,
    };
    let Plan { units, mut tables } = match &filled {
        Some(decision) if !sections.makes() => data_only::lay_out(&archive, &choice, decision)?,
        filled => lay_out(&archive, &choice, params, &target, filled.as_ref())?,
    };
    submit(host, &units)?;

    tables.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    let mut objects: BTreeMap<String, u64> = BTreeMap::new();
    for entry in &choice.entries {
        *objects.entry(entry.desc.clone()).or_default() += 1;
    }
    Ok(Outputs {
        tables,
        objects,
        skipped: choice.skipped,
        dropped: dropped(params.rights(), &params.tablespaces),
        preflight: target.findings,
    })
}

/// Puts the target's tablespaces in the place of the archive's. An empty one is the database's own.
fn place_entries(entries: &mut [Entry], map: &TablespaceMap) -> Result<Dropped> {
    let places = entries.iter_mut().map(|entry| {
        entry.tablespace = entry.tablespace.take().filter(|name| !name.is_empty());
        &mut entry.tablespace
    });
    place(map, places)
}
