//! Memory and workers while indexes over vectors are built.

use godwit_sdk::types::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::sql::literal;

/// How indexes are built.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IndexBuild {
    /// `maintenance_work_mem` while an index is built, such as `1GB`. Default: by the table's size, from 64 MB to 1 GB for
    /// HNSW and IVFFlat and up to 512 MB for others, where the server's own setting isn't larger.
    pub memory: Option<String>,
    /// `max_parallel_maintenance_workers` while an index is built. Default: the server's own setting. An HNSW index is built
    /// by one process where the server hasn't the shared memory that several need.
    pub workers: Option<u32>,
}

/// Tables below this many bytes are no reason to raise a server's memory setting.
const LARGE: u64 = 64 << 20;

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

impl IndexBuild {
    /// The settings of a transaction that builds indexes over tables of `bytes`, of which `vectors` have HNSW or IVFFlat
    /// ones.
    pub fn settings(&self, vectors: Option<u64>, bytes: u64) -> Vec<String> {
        let memory = match (&self.memory, vectors) {
            (Some(memory), _) => Some(format!("SET LOCAL maintenance_work_mem = {}", literal(memory))),
            (None, Some(vectors)) => Some(at_least(&format!("{} * 1024", for_vectors(vectors)))),
            (None, None) if bytes >= LARGE => {
                Some(at_least(&format!("{} * 1024", ((bytes / 2) >> 20).clamp(64, 512))))
            }
            (None, None) => None,
        };
        let workers = self.workers.map(|w| format!("SET LOCAL max_parallel_maintenance_workers = {w}"));
        memory.into_iter().chain(workers).collect()
    }

    /// The settings of a transaction that builds an index over vectors of a table whose size the server has to say, by its
    /// qualified name.
    pub fn settings_for(&self, table: &str) -> Vec<String> {
        if self.memory.is_some() {
            return self.settings(Some(0), 0);
        }
        let wanted = format!(
            "LEAST(GREATEST(2 * pg_catalog.pg_table_size({}::pg_catalog.regclass) / 1024, {}), {})",
            literal(table),
            64 << 10,
            1024 << 10
        );
        let memory = at_least(&wanted);
        let workers = Self { memory: None, workers: self.workers }.settings(None, 0);
        std::iter::once(memory).chain(workers).collect()
    }

    /// A statement that builds an HNSW index. Several workers share all of `maintenance_work_mem` (pgvector's
    /// `src/hnswbuild.c`, `HnswBeginParallel`), and a container often shares 64 MB at most: where that fails, one process
    /// builds the index in memory of its own.
    pub fn hnsw(&self, create: &str) -> String {
        if self.workers == Some(0) {
            return create.to_owned();
        }
        let tags = (0_u32..).map(|n| if n == 0 { "$build$".to_owned() } else { format!("$build{n}$") });
        let tag = tags.into_iter().find(|tag| !create.contains(tag.as_str())).unwrap_or_default();
        format!(
            "DO {tag} BEGIN {create};\n\
             EXCEPTION WHEN disk_full OR out_of_memory OR insufficient_resources THEN\n\
             SET LOCAL max_parallel_maintenance_workers = 0; {create};\n\
             END {tag}"
        )
    }
}

/// Raises `maintenance_work_mem` to so many kB, an SQL expression, for the transaction, unless it is larger.
fn at_least(kilobytes: &str) -> String {
    format!(
        "SELECT pg_catalog.set_config('maintenance_work_mem', GREATEST({kilobytes}, \
         pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')) / 1024)::text || 'kB', true)"
    )
}

/// Megabytes for indexes over vectors of a table of this size. An HNSW graph that doesn't fit is built many times slower
/// (pgvector's README, "Index Build Time").
fn for_vectors(bytes: u64) -> u64 {
    (bytes.saturating_mul(2) >> 20).next_power_of_two().clamp(64, 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(memory("64MB"), Some(64 << 20));
        assert_eq!(memory("2GB"), Some(2 << 30));
        for wrong in ["", "MB", "12", "1.5GB", "3mb", "99999999999999999999GB"] {
            assert_eq!(memory(wrong), None, "{wrong}");
        }
        assert!(check_memory("memory", Some("much")).is_err());
        assert!(check_memory("memory", None).is_ok());
        assert_eq!([0, 1 << 20, 150 << 20, 1 << 40].map(for_vectors), [64, 64, 512, 1024]);
    }

    #[test]
    fn settings_are_given_or_by_size() {
        let given = IndexBuild { memory: Some("96MB".into()), workers: Some(0) };
        let exactly =
            ["SET LOCAL maintenance_work_mem = '96MB'", "SET LOCAL max_parallel_maintenance_workers = 0"];
        assert_eq!(given.settings(Some(1 << 40), 1 << 40), exactly);
        assert_eq!(given.hnsw("CREATE INDEX x"), "CREATE INDEX x");
        let own = IndexBuild::default();
        assert!(own.settings(None, LARGE - 1).is_empty());
        assert!(own.settings(None, 1 << 30)[0].contains("GREATEST(512 * 1024,"));
        assert!(own.settings(Some(0), 0)[0].contains("GREATEST(64 * 1024,"));
        assert!(own.hnsw("CREATE INDEX \"$build$\"").starts_with("DO $build1$ BEGIN CREATE INDEX"));
    }
}
