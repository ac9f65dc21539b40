//! Memory and workers while indexes over vectors are built.

use godwit_sdk::types::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::sql::literal;

/// Shared memory that a container has unless told otherwise. A parallel HNSW build takes `maintenance_work_mem` from it,
/// and pgvector keeps just below this (`src/hnswbuild.c`, `HnswParallelBuildMain`).
const CONTAINER_MEMORY: u64 = 64 << 20;

/// How indexes over vectors are built.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IndexBuild {
    /// `maintenance_work_mem` while an index is built, such as `1GB`. Default for HNSW and IVFFlat: by the table's size,
    /// from 64 MB to 1 GB; for other indexes the server's own setting.
    pub memory: Option<String>,
    /// `max_parallel_maintenance_workers` while an index is built. Default: the server's own setting, but 0 for HNSW with
    /// more than 64 MB: several workers need that much shared memory, which containers rarely have.
    pub workers: Option<u32>,
}

/// Bytes of a memory size as PostgreSQL's settings write it: a number and `kB`, `MB` or `GB`.
pub fn memory(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let unit = match &text[digits.len()..] {
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Fails where a param's text is no memory size.
pub fn check_memory(param: &str, text: Option<&str>) -> Result<()> {
    match text {
        Some(text) if memory(text).is_none() => Err(Error::Invalid(format!(
            "`{param}` is `{text}`; write a number and a unit, such as `512MB` or `2GB`"
        ))),
        _ => Ok(()),
    }
}

/// The settings under which indexes are built. An HNSW index that is given more memory than a container usually shares is
/// built by one process unless workers are asked for: alone it needs no shared memory, and a graph that fits into memory
/// gains more than workers do.
pub fn settings(hnsw: bool, given: Option<&str>, workers: Option<u32>) -> Vec<String> {
    let shared = given.and_then(memory).unwrap_or(0) > CONTAINER_MEMORY;
    let workers = workers.or((hnsw && shared).then_some(0));
    let mut settings = Vec::new();
    settings.extend(given.map(|m| format!("SET LOCAL maintenance_work_mem = {}", literal(m))));
    settings.extend(workers.map(|w| format!("SET LOCAL max_parallel_maintenance_workers = {w}")));
    settings
}

/// `maintenance_work_mem` for indexes over vectors of a table of this size. An HNSW graph that doesn't fit is built many
/// times slower (pgvector's README, "Index Build Time").
pub fn memory_for_vectors(bytes: u64) -> String {
    let wanted = (bytes.saturating_mul(2) >> 20).next_power_of_two();
    format!("{}MB", wanted.clamp(64, 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(memory("64MB"), Some(CONTAINER_MEMORY));
        assert_eq!(memory("2GB"), Some(2 << 30));
        for wrong in ["", "MB", "12", "1.5GB", "3mb", "99999999999999999999GB"] {
            assert_eq!(memory(wrong), None, "{wrong}");
        }
        assert!(check_memory("memory", Some("much")).is_err());
        assert!(check_memory("memory", None).is_ok());
    }

    #[test]
    fn workers_are_left_out_where_shared_memory_may_be_short() {
        let none: [String; 0] = [];
        assert_eq!(settings(true, None, None), none);
        assert_eq!(settings(true, Some("64MB"), None), ["SET LOCAL maintenance_work_mem = '64MB'"]);
        let alone = "SET LOCAL max_parallel_maintenance_workers = 0";
        assert_eq!(settings(true, Some("1GB"), None)[1], alone);
        assert_eq!(settings(false, Some("1GB"), None).len(), 1);
        assert_eq!(settings(true, Some("1GB"), Some(3))[1], "SET LOCAL max_parallel_maintenance_workers = 3");
    }
}
