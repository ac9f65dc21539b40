//! Values as they stand in columns.

use std::borrow::Cow;
use std::path::Path;

use godwit_model::{EffectKey, Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A step id or an effect key as it stands in a column that bulk writes reach.
///
/// Bulk writes hand their rows to SQLite as JSON, where its functions end a text at the first NUL. Plugins choose keys,
/// so two that differ only behind one have to stay two: a NUL becomes `\0`, and a backslash `\\`.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    if text.contains(['\0', '\\']) {
        Cow::Owned(text.replace('\\', "\\\\").replace('\0', "\\0"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Whose note it is: the step's own or an effect's.
pub(super) fn note_owner(key: Option<&EffectKey>) -> String {
    key.map_or_else(String::new, |key| format!("={}", stored(key.as_str())))
}

/// JSON text of a value that is about to be journalled.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T, what: &str) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::host(format!("{what} can't be written as JSON for the journal: {error}")))
}

/// Reads JSON text of the journal back.
pub(super) fn from_json<T: DeserializeOwned>(path: &Path, text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::host(format!("the journal {} holds {what} that can't be read: {error}", path.display()))
            .hint("the file was damaged or changed by hand; restore it, or give another state folder")
    })
}

/// The kebab-case name of a unit variant, as serde has it.
pub(super) fn name_of<T: Serialize>(variant: &T, what: &str) -> Result<String> {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(name)) => Ok(name),
        _ => Err(Error::host(format!("{what} has no name to journal"))),
    }
}

/// The variant of this name.
pub(super) fn by_name<T: DeserializeOwned>(path: &Path, name: &str, what: &str) -> Result<T> {
    from_json(path, &serde_json::Value::from(name).to_string(), what)
}

/// An order number as SQLite's signed integers hold it.
pub(super) fn sequence(sequence: u64) -> Result<i64> {
    i64::try_from(sequence)
        .map_err(|_| Error::host(format!("sequence number {sequence} is too large for the journal")))
}

#[cfg(test)]
mod tests {
    use super::stored;

    #[test]
    fn stored_texts_are_as_distinct_as_the_texts() {
        let texts = ["a", "a\0", "a\0b", "a\\0b", "a\\\\0b", "a\\\0b", "", "\0", "\\", "\\0"];
        for a in texts {
            assert!(!stored(a).contains('\0'));
            for b in texts {
                assert_eq!(stored(a) == stored(b), a == b, "{a:?} {b:?}");
            }
        }
    }
}
