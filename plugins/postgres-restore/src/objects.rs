//! Large objects of an archive: their bytes are one transfer, which makes them; what is said of them comes after it.

use godwit_pg_archive::Entry;
use godwit_sdk::prelude::*;

use crate::archive::Archive;
use crate::choice::Choice;

/// What makes large objects, and fills them.
const OWN: &[&str] = &["BLOB", "BLOBS", "BLOB METADATA", "BLOB COMMENTS"];

/// Whether an entry is a large object, or some.
pub fn are(entry: &Entry) -> bool {
    OWN.contains(&entry.desc.as_str())
}

/// Whether an entry belongs to large objects: their comments and privileges too.
pub fn belongs(entry: &Entry) -> bool {
    let is_said = matches!(entry.desc.as_str(), "COMMENT" | "ACL" | "SECURITY LABEL");
    are(entry) || is_said && entry.tag.as_deref().is_some_and(|tag| tag.starts_with("LARGE OBJECT"))
}

/// The numbers of the objects that an entry makes: its name, or the lines of its definition (`dumpLO` in pg_dump.c of 17).
pub fn numbers(entry: &Entry) -> Vec<&str> {
    match entry.desc.as_str() {
        "BLOB" => entry.tag.as_deref().into_iter().collect(),
        "BLOB METADATA" => entry.definition.as_deref().unwrap_or_default().split_whitespace().collect(),
        _ => Vec::new(),
    }
}

/// The statements about one of some objects that are alike, for each of them: an archive of 17 has those about the first
/// alone (`printACLs` of pg_backup_archiver.c, where the tag is `LARGE OBJECTS 1..9`).
pub fn for_each(
    entry: &Entry,
    statements: Vec<String>,
    made: impl Fn(i32) -> Option<Vec<String>>,
) -> Vec<String> {
    if !entry.tag.as_deref().is_some_and(|tag| tag.starts_with("LARGE OBJECTS ")) {
        return statements;
    }
    let numbers: Vec<String> = entry.dependencies.iter().filter_map(|id| made(*id)).flatten().collect();
    let Some(first) = numbers.first() else { return statements };
    let of_first = format!(" ON LARGE OBJECT {first} ");
    numbers
        .iter()
        .flat_map(|number| {
            let of_this = format!(" ON LARGE OBJECT {number} ");
            statements.iter().map(|statement| statement.replacen(&of_first, &of_this, 1)).collect::<Vec<_>>()
        })
        .collect()
}

/// Where the bytes of all chosen objects are; none where there are none.
pub fn sources(archive: &Archive, choice: &Choice<'_>) -> Result<Vec<ObjectsFile>> {
    let entries = choice.entries.iter().filter(|entry| entry.desc == "BLOBS");
    entries.map(|entry| archive.objects(entry)).collect()
}
