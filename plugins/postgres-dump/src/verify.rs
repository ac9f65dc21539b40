//! Proving an archive: each file of rows, and what makes it whole, against what was written.

use godwit_pg_catalog::evidence;
use godwit_sdk::prelude::*;

use crate::WHOLE;
use crate::params::{Format, Outputs, Params};

pub fn verify<H: Host>(host: &H, params: &Params, outputs: &Outputs) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    // The rows of a script are part of it by now.
    if params.format == Format::Directory {
        for table in &outputs.tables {
            checks.push(evidence::rows(host, &format!("{}.{}", table.schema, table.name), &table.key)?);
        }
    }
    let (name, path) = match params.format {
        Format::Directory => ("table of contents", params.below("toc.dat")),
        Format::Plain => ("script", params.path.clone()),
    };
    checks.push(match host.evidence(WHOLE)? {
        None => Check::failed(name, format!("`{path}` was not written; resume the run")),
        Some(written) => {
            let there = match host.observe(WHOLE) {
                Err(Error::Missing(why)) => return Ok(vec![Check::failed(name, why)]),
                other => other?,
            };
            let why = format!(
                "`{path}` has changed since: {} of {} bytes was written, {} of {} bytes is there",
                evidence::short(&written.digest),
                written.bytes,
                evidence::short(&there.digest),
                there.bytes
            );
            Check::that(name, written.digest == there.digest && written.bytes == there.bytes, why)
                .detail(format!("{} bytes, digest {}", written.bytes, evidence::short(&written.digest)))
        }
    });
    Ok(checks)
}
