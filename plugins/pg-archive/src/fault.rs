//! What is wrong with a table of contents.

use std::fmt;

/// A fault of a table of contents: where it is, in which field, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Byte offset of the field's beginning.
    pub offset: usize,
    pub field: &'static str,
    /// The number of the entry, from 0; none in the header.
    pub entry: Option<usize>,
    pub kind: FaultKind,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The bytes end within it.
    Truncated,
    Malformed(String),
}

impl Fault {
    /// Whether more bytes may mend it: a reader that has only the beginning of a file reads on then.
    pub fn is_truncation(&self) -> bool {
        self.kind == FaultKind::Truncated
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, field, entry, kind } = self;
        match kind {
            FaultKind::Truncated => write!(f, "it ends within {field} at byte {offset}")?,
            FaultKind::Malformed(why) => write!(f, "{field} at byte {offset} {why}")?,
        }
        match entry {
            Some(entry) => write!(f, " (entry {})", entry.saturating_add(1)),
            None => f.write_str(" (header)"),
        }
    }
}

impl std::error::Error for Fault {}
