//! The bounds of one call, and the error that says which of them was passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use godwit_model::Error;
use godwit_model::plugin::Limits;
use wasmtime::ResourceLimiter;

/// Elements of all tables of one store: functions that can be called indirectly.
const TABLE_ELEMENTS: usize = 1_000_000;
/// Core instances, memories and tables of one store. Components of Python and JavaScript have some dozens.
const INSTANCES: usize = 1_000;
/// Effects made and not yet submitted, cursors and listings open at once, by one call.
pub(crate) const PENDING_EFFECTS: u64 = 65_536;
pub(crate) const OPEN_PAGES: u64 = 256;
/// Everything a guest may hold handles of.
pub(crate) const HANDLES: usize = 80_000;

/// A bound that a guest passed. It travels as the cause of a trap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Passed {
    #[error("memory limit")]
    Memory { limit: u64 },
    #[error("table limit")]
    Tables,
    #[error("CPU limit")]
    Cpu { limit_ms: u64 },
    #[error("log limit")]
    Log { limit: u64 },
    #[error("output limit")]
    Output { what: String, len: u64, limit: u64 },
    #[error("effects limit")]
    Effects { limit: u64 },
    #[error("content limit")]
    Content { limit: u64 },
    #[error("pending effects limit")]
    Pending,
    #[error("open pages limit")]
    OpenPages,
}

impl Passed {
    /// In words for a person, with the recipe line that raises the bound where one does.
    pub(crate) fn explain(&self, plugin: &str) -> Error {
        let (what, hint) = match self {
            Self::Memory { limit } => {
                (format!("its memory limit of {}", size(*limit)), raise("memory", &quoted_size(limit * 2)))
            }
            Self::Tables => (format!("the bound of {TABLE_ELEMENTS} table elements"), no_raise()),
            Self::Cpu { limit_ms } => (
                format!("its CPU limit of {}", time(*limit_ms)),
                raise("cpu", &format!("\"{}\"", time(limit_ms.saturating_mul(2)))),
            ),
            Self::Log { limit } => (
                format!("its limit of {} for log messages and stderr", size(*limit)),
                raise("log", &quoted_size(limit * 2)),
            ),
            Self::Output { what, len, limit } => (
                format!("its output limit of {}: {what} has {len} bytes", size(*limit)),
                raise("output", &quoted_size((limit * 2).max(len.next_power_of_two()))),
            ),
            Self::Effects { limit } => (
                format!("its limit of {limit} effects and memos"),
                raise("effects", &limit.saturating_mul(2).to_string()),
            ),
            Self::Content { limit } => (
                format!(
                    "its memory limit of {} by the content of effects that it hasn't submitted",
                    size(*limit)
                ),
                raise("memory", &quoted_size(limit * 2)),
            ),
            Self::Pending => (
                format!("the bound of {PENDING_EFFECTS} effects that aren't submitted"),
                "the plugin has to submit its effects in smaller batches: report this to its author"
                    .to_owned(),
            ),
            Self::OpenPages => (format!("the bound of {OPEN_PAGES} open cursors and listings"), no_raise()),
        };
        Error::plugin(format!("plugin `{plugin}` passed {what}")).hint(hint)
    }
}

fn raise(field: &str, value: &str) -> String {
    format!("if the work really needs that, raise it in the step: `\"limits\": {{ \"{field}\": {value} }}`")
}

fn no_raise() -> String {
    "no setting raises this bound: report it to the plugin's author".to_owned()
}

/// Bytes as a recipe writes them.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    UNITS
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes} bytes"), |(unit, name)| format!("{}{name}", bytes / unit))
}

fn quoted_size(bytes: u64) -> String {
    let size = size(bytes);
    if size.ends_with("bytes") { bytes.to_string() } else { format!("\"{size}\"") }
}

fn time(milliseconds: u64) -> String {
    if milliseconds.is_multiple_of(1000) {
        format!("{}s", milliseconds / 1000)
    } else {
        format!("{milliseconds}ms")
    }
}

/// Bounds the memories and tables of a store. Growing past a bound is a trap that names it: a guest that gets «no
/// memory» from its allocator would abort without a word.
pub(crate) struct Bounds {
    memory_limit: u64,
    memory: u64,
    table_elements: usize,
}

impl Bounds {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory_limit: limits.memory, memory: 0, table_elements: 0 }
    }
}

impl ResourceLimiter for Bounds {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let memory = self.memory.saturating_add(desired.saturating_sub(current) as u64);
        if memory > self.memory_limit {
            return Err(Passed::Memory { limit: self.memory_limit }.into());
        }
        self.memory = memory;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        if elements > TABLE_ELEMENTS {
            return Err(Passed::Tables.into());
        }
        self.table_elements = elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        INSTANCES
    }

    fn memories(&self) -> usize {
        INSTANCES
    }
}

/// Bytes of log messages, stdout and stderr together.
#[derive(Clone, Debug)]
pub(crate) struct LogBudget {
    used: Arc<AtomicU64>,
    limit: u64,
}

impl LogBudget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { used: Arc::default(), limit }
    }

    pub(crate) fn take(&self, bytes: usize) -> Result<(), Passed> {
        let used = self.used.fetch_add(bytes as u64, Ordering::Relaxed).saturating_add(bytes as u64);
        if used > self.limit { Err(Passed::Log { limit: self.limit }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_limit_and_the_line_that_raises_it() {
        let error = Passed::Memory { limit: 256 << 20 }.explain("bomb");
        assert_eq!(error.message, "plugin `bomb` passed its memory limit of 256MiB");
        assert!(error.hint.unwrap().contains("`\"limits\": { \"memory\": \"512MiB\" }`"));
        let error = Passed::Cpu { limit_ms: 1500 }.explain("spin");
        assert_eq!(error.message, "plugin `spin` passed its CPU limit of 1500ms");
        assert!(error.hint.unwrap().contains("\"cpu\": \"3s\""));
        let error = Passed::Effects { limit: 7 }.explain("flood");
        assert!(error.hint.unwrap().contains("\"effects\": 14"));
        let error = Passed::Log { limit: 1000 }.explain("chat");
        assert!(error.message.contains("1000 bytes"));
        assert!(error.hint.unwrap().contains("\"log\": 2000"));
    }

    #[test]
    fn memories_are_bounded_together() {
        let mut bounds = Bounds::new(&Limits { memory: 1 << 20, ..Limits::default() });
        assert!(bounds.memory_growing(0, 512 << 10, None).unwrap());
        assert!(bounds.memory_growing(0, 512 << 10, None).unwrap());
        let error = bounds.memory_growing(512 << 10, 576 << 10, None).unwrap_err();
        assert_eq!(error.downcast_ref::<Passed>(), Some(&Passed::Memory { limit: 1 << 20 }));
        assert!(!bounds.memory_growing(0, 2 << 20, Some(1 << 20)).unwrap());
    }
}
