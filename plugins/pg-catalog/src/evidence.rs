//! Checks of transfers by their evidence.

use godwit_sdk::host::Host;
use godwit_sdk::types::{Check, Error, Result};

/// What was sent by a transfer against what its sink holds: a check named after the table.
pub fn rows<H: Host>(host: &H, table: &str, key: &str) -> Result<Check> {
    let name = format!("rows of {table}");
    let Some(sent) = host.evidence(key)? else {
        return Ok(Check::failed(name, format!("the transfer `{key}` has left no evidence; resume the run")));
    };
    let there = match host.observe(key) {
        Err(Error::Missing(why)) => return Ok(Check::failed(name, why)),
        other => other?,
    };
    let detail = format!("{} rows, digest {}", sent.items, short(&sent.digest));
    if sent.items != there.items {
        let why = format!("{} rows were sent, there are now {}", sent.items, there.items);
        return Ok(Check::failed(name, why));
    }
    if sent.digest.is_empty() {
        let why = "the transfer has no digest; only the number of rows was compared";
        return Ok(Check::not_comparable(name, why).detail(format!("{} rows", sent.items)));
    }
    let why = format!(
        "the rows differ: digest {} was sent, there are now {}",
        short(&sent.digest),
        short(&there.digest)
    );
    Ok(Check::that(name, sent.digest == there.digest, why).detail(detail))
}

/// The algorithm and the first digits of a digest.
pub fn short(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hex)) => format!("{algorithm}:{}", hex.get(..12).unwrap_or(hex)),
        None => digest.to_owned(),
    }
}
