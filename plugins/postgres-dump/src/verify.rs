//! Proving an archive: each file of rows, and what makes it whole, against what was written.

use godwit_pg_catalog::evidence;
use godwit_sdk::prelude::*;

use crate::WHOLE;
use crate::params::{Format, Outputs, Params};

pub fn verify<H: Host>(host: &H, params: &Params, outputs: &Outputs) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    // The rows of one file are part of it by now.
    if params.format == Format::Directory {
        let tables: Vec<(String, String)> = outputs
            .tables
            .iter()
            .map(|table| (format!("{}.{}", table.schema, table.name), table.key.clone()))
            .collect();
        checks.extend(evidence::rows(host, &tables)?);
    }
    let (name, path) = match params.format {
        Format::Directory => ("table of contents", params.below("toc.dat")),
        Format::Custom => ("archive", params.path.clone()),
        Format::Plain => ("script", params.path.clone()),
    };
    checks.push(whole(host, name, &path)?);
    Ok(checks)
}

/// The file that makes the archive whole, as it was written against as it is.
fn whole<H: Host>(host: &H, name: &str, path: &str) -> Result<Check> {
    let Some(written) = host.evidence(WHOLE)? else {
        return Ok(Check::failed(name, format!("`{path}` was not written; resume the run")));
    };
    let there = match host.observe_one(WHOLE) {
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
