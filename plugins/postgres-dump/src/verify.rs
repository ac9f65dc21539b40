//! Proving an archive: each file of rows, and what makes it whole, against what was written.

use godwit_pg_catalog::evidence;
use godwit_sdk::prelude::*;

use crate::contents::OBJECTS;
use crate::params::{Format, Outputs, Params};
use crate::{OBJECT_FILES, WHOLE};

/// The transfer of large objects, which are files of their own by now.
const OBJECTS_KEY: &str = "dump/pg_catalog.pg_largeobject";

pub fn verify<H: Host>(host: &H, params: &Params, outputs: &Outputs) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    // The rows of one file are part of it by now.
    if params.format == Format::Directory {
        let tables: Vec<(String, String)> = outputs
            .tables
            .iter()
            .filter(|table| table.key != OBJECTS_KEY)
            .map(|table| (format!("{}.{}", table.schema, table.name), table.key.clone()))
            .collect();
        checks.extend(evidence::rows(host, &tables)?);
    }
    let (name, path) = match params.format {
        Format::Directory => ("table of contents", params.below("toc.dat")),
        Format::Custom => ("archive", params.path.clone()),
        Format::Plain => ("script", params.path.clone()),
    };
    checks.push(whole(host, WHOLE, name, &path)?);
    if params.format == Format::Directory && outputs.tables.iter().any(|table| table.key == OBJECTS_KEY) {
        checks.push(whole(host, OBJECT_FILES, "large objects", &params.below(OBJECTS))?);
    }
    Ok(checks)
}

/// The file that makes the archive whole, as it was written against as it is.
fn whole<H: Host>(host: &H, key: &str, name: &str, path: &str) -> Result<Check> {
    let Some(written) = host.evidence(key)? else {
        return Ok(Check::failed(name, format!("`{path}` was not written; resume the run")));
    };
    let there = match host.observe_one(key) {
        Err(Error::Missing(why)) => return Ok(Check::failed(name, why)),
        other => other?,
    };
    let why = format!(
        "`{path}` has changed since: {} of {} bytes was written, {} of {} bytes is there",
        evidence::short(&written.digest),
        written.bytes,
        evidence::short(&there.digest),
        there.bytes
    );
    let alike = written.digest == there.digest && written.bytes == there.bytes;
    Ok(Check::that(name, alike, why).detail(format!(
        "{} bytes, digest {}",
        written.bytes,
        evidence::short(&written.digest)
    )))
}
