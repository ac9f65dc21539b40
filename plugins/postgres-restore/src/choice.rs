//! Which entries of an archive are restored, and what is left out and why.

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_archive::{CopyTarget, Entry, Section, Toc};
use godwit_pg_catalog::pattern::{Patterns, glob, matches};
use godwit_pg_catalog::selection::{Selection, Skipped};
use godwit_sdk::prelude::*;

use crate::archive::Archive;
use crate::objects;
use crate::params::Params;

/// What of an entry, by its description, is never restored, and why.
const NEVER: &[(&str, &str)] = &[
    ("DATABASE", "the database is the target's own"),
    ("DATABASE PROPERTIES", "settings of the database are the target's own"),
    ("STATISTICS DATA", "the planner's statistics are taken anew by ANALYZE"),
    ("<Init>", "it means nothing since PostgreSQL 7.4"),
];

/// Comments that only whoever owns the thing may set, which on hosted servers is somebody else.
const FOREIGN_COMMENTS: &[(&str, &str)] = &[
    ("EXTENSION ", "an extension brings its own comment, and only its owner may change it"),
    ("DATABASE ", "the database is the target's own"),
];

/// Settings of the archiver itself.
const SETTINGS: &[&str] = &["ENCODING", "STDSTRINGS", "SEARCHPATH"];

/// The entries to restore, in the archive's order.
#[derive(Debug, Default)]
pub struct Choice<'a> {
    pub entries: Vec<&'a Entry>,
    pub skipped: Vec<Skipped>,
    /// Where the rows of an entry go, by dump id.
    pub targets: BTreeMap<i32, CopyTarget>,
}

/// Whether an entry is rows, or follows from them.
pub fn is_data(entry: &Entry) -> bool {
    matches!(entry.desc.as_str(), "TABLE DATA" | "SEQUENCE SET" | "MATERIALIZED VIEW DATA")
        || objects::are(entry)
}

/// Whether an entry says what is granted.
pub fn is_privileges(entry: &Entry) -> bool {
    matches!(entry.desc.as_str(), "ACL" | "DEFAULT ACL")
}

/// Whether an entry is a comment or a security label.
pub fn is_said(entry: &Entry) -> bool {
    matches!(entry.desc.as_str(), "COMMENT" | "SECURITY LABEL")
}

/// Whether an entry is something that rows are read from.
fn is_relation(entry: &Entry) -> bool {
    matches!(entry.desc.as_str(), "TABLE" | "VIEW" | "MATERIALIZED VIEW" | "FOREIGN TABLE")
}

fn tag(entry: &Entry) -> &str {
    entry.tag.as_deref().unwrap_or_default()
}

fn namespace(entry: &Entry) -> &str {
    entry.namespace.as_deref().unwrap_or_default()
}

/// Chooses the entries; fails where something is wanted that can't be restored.
pub fn choose<'a>(archive: &'a Archive, params: &Params) -> Result<Choice<'a>> {
    let toc = &archive.toc;
    settings(toc)?;
    let mut out = left_out(toc, params)?;
    cascade(toc, &mut out);
    let sections = params.sections()?;
    let sections_of = sections_of(&toc.entries.iter().collect::<Vec<_>>());
    let mut choice = Choice::default();
    let mut faults = Vec::new();
    for entry in toc.entries.iter().filter(|entry| !SETTINGS.contains(&entry.desc.as_str())) {
        if let Some(reason) = out.get(&entry.dump_id) {
            let name = match namespace(entry) {
                "" => tag(entry).to_owned(),
                namespace => format!("{namespace}.{}", tag(entry)),
            };
            choice.skipped.push(Skipped { kind: entry.desc.clone(), name, reason: reason.clone() });
            continue;
        }
        let wanted = match sections_of.get(&entry.dump_id) {
            // An archive has it after the rows, as it is made of them.
            _ if entry.desc == "MATERIALIZED VIEW DATA" => {
                sections.after && (sections.rows || !sections.before)
            }
            _ if is_data(entry) || objects::belongs(entry) => sections.rows,
            Some(Section::PostData | Section::Data) => sections.after,
            _ => sections.before,
        };
        if !wanted {
            continue;
        }
        if let Some(field) = archive.unreadable.get(&entry.dump_id) {
            faults.push(format!(
                "{} ({field} holds bytes that aren't UTF-8, which statements are in)",
                entry.title()
            ));
            continue;
        }
        if entry.desc == "BLOB COMMENTS" {
            faults.push(format!("{} (it is of a pg_dump before 9.0)", entry.title()));
            continue;
        }
        if entry.desc == "TABLE DATA" {
            match rows(entry) {
                Ok(target) => drop(choice.targets.insert(entry.dump_id, target)),
                Err(fault) => {
                    faults.push(format!("{} ({fault})", entry.title()));
                    continue;
                }
            }
        }
        if entry.with_oids {
            faults.push(format!("{} (tables with oids ended with PostgreSQL 12)", entry.title()));
            continue;
        }
        choice.entries.push(entry);
    }
    if faults.is_empty() {
        return Ok(choice);
    }
    Err(Error::Invalid(format!(
        "the archive holds what can't be restored: {}; nothing was touched. To go on without them, list them under `skip`",
        faults.join("; ")
    )))
}

/// Where the rows of an entry go.
fn rows(entry: &Entry) -> Result<CopyTarget, String> {
    match entry.copy.as_deref().map(str::trim).filter(|copy| !copy.is_empty()) {
        None => Err("its rows are INSERT statements; dump without `--inserts`".to_owned()),
        Some(copy) => {
            CopyTarget::parse(copy).map_err(|why| format!("its COPY statement can't be read: {why}"))
        }
    }
}

/// Checks what the archive says of how its statements are to be read: they are sent as they are, under an empty search path
/// and standard strings.
fn settings(toc: &Toc) -> Result<()> {
    let setting = |desc: &str| toc.entries.iter().find(|entry| entry.desc == desc);
    let value = |desc: &str| {
        let definition = setting(desc)?.definition.as_deref()?;
        definition.split('\'').nth(1).map(str::to_owned)
    };
    if value("STDSTRINGS").as_deref() != Some("on") {
        return Err(Error::Invalid(
            "the archive was written with `standard_conforming_strings` off; dump again with \
             `PGOPTIONS='-c standard_conforming_strings=on'`"
                .into(),
        ));
    }
    let path = setting("SEARCHPATH").and_then(|entry| entry.definition.as_deref()).unwrap_or_default();
    if !path.contains("set_config('search_path', ''") {
        return Err(Error::Invalid(
            "the names in the archive aren't qualified by their schemas: an old pg_dump made it; dump again with pg_dump 12 or \
             newer"
                .into(),
        ));
    }
    Ok(())
}

/// A pattern of `skip`.
struct Skip<'a> {
    text: &'a str,
    desc: &'a str,
    name: Option<&'a str>,
}

impl<'a> Skip<'a> {
    fn new(text: &'a str) -> Self {
        match text.split_once(':') {
            Some((desc, name)) => Self { text, desc: desc.trim(), name: Some(name.trim()) },
            None => Self { text, desc: text.trim(), name: None },
        }
    }

    fn admits(&self, entry: &Entry) -> bool {
        self.desc.eq_ignore_ascii_case(&entry.desc)
            && self.name.is_none_or(|name| {
                glob(name, tag(entry)) || glob(name, &format!("{}.{}", namespace(entry), tag(entry)))
            })
    }
}

/// What is left out for its own sake, with the reason.
fn left_out<'a>(toc: &'a Toc, params: &Params) -> Result<BTreeMap<i32, String>> {
    let mut out = BTreeMap::new();
    let skips: Vec<Skip<'_>> = params.skip.iter().map(|text| Skip::new(text)).collect();
    let mut idle: Vec<String> = skips
        .iter()
        .filter(|skip| !toc.entries.iter().any(|entry| skip.admits(entry)))
        .map(|skip| format!("skip `{}`", skip.text))
        .collect();
    idle.extend(idle_patterns(toc, params));
    if !idle.is_empty() {
        return Err(Error::Invalid(format!(
            "these patterns match nothing in the archive: {}; correct them in `with`, or leave them out",
            idle.join(", ")
        )));
    }
    let unwanted_objects = unwanted_objects(toc, params, &skips)?;
    let patterns = Patterns::from(&params.tables);
    let rows = Patterns::from(&params.table_data);
    let of_schemas = Patterns::from(&params.schemas);
    let of_extensions = Patterns::from(&params.extensions);
    let roots = roots(toc);
    let lineage = |entry: &'a Entry| {
        let mut names = vec![(namespace(entry), tag(entry))];
        while let Some(root) = names.last().and_then(|name| roots.get(name)).copied() {
            // A circle is nothing that pg_dump makes.
            if names.contains(&root) {
                break;
            }
            names.push(root);
        }
        names
    };
    for entry in &toc.entries {
        if let Some((_, why)) = NEVER.iter().find(|(desc, _)| *desc == entry.desc) {
            out.insert(entry.dump_id, (*why).to_owned());
        } else if is_privileges(entry) && !params.privileges {
            out.insert(entry.dump_id, "`privileges` is not set".to_owned());
        } else if entry.desc == "SECURITY LABEL" && !params.security_labels {
            out.insert(entry.dump_id, "`security_labels` is not set".to_owned());
        } else if is_said(entry)
            && let Some((_, why)) = FOREIGN_COMMENTS.iter().find(|(object, _)| tag(entry).starts_with(object))
        {
            out.insert(entry.dump_id, (*why).to_owned());
        } else if let Some(why) = unwanted_objects.as_ref().filter(|_| objects::belongs(entry)) {
            out.insert(entry.dump_id, why.clone());
        } else if let Some(skip) = skips.iter().find(|skip| skip.admits(entry)) {
            out.insert(entry.dump_id, format!("`skip` names `{}`", skip.text));
        } else if schema_of(entry).is_some_and(|schema| !of_schemas.admit([("", schema)])) {
            out.insert(entry.dump_id, "`schemas` leaves it out".to_owned());
        } else if extension_of(entry).is_some_and(|name| !of_extensions.admit([("", name)])) {
            out.insert(entry.dump_id, "`extensions` leaves it out".to_owned());
        } else if (is_relation(entry) || entry.desc == "TABLE DATA") && !patterns.admit(lineage(entry)) {
            out.insert(entry.dump_id, "`tables` leaves it out".to_owned());
        } else if entry.desc == "TABLE DATA" && !rows.admit(lineage(entry)) {
            out.insert(entry.dump_id, "`table_data` leaves it out".to_owned());
        } else if entry.desc == "TABLE DATA"
            && params.keep.iter().any(|pattern| matches(pattern, namespace(entry), tag(entry)))
        {
            out.insert(entry.dump_id, "`keep` leaves the target's rows as they are".to_owned());
        }
    }
    Ok(out)
}

/// Why large objects are left out, if they are: all of them, since their bytes are one transfer.
fn unwanted_objects(toc: &Toc, params: &Params, skips: &[Skip<'_>]) -> Result<Option<String>> {
    let named =
        skips.iter().find(|skip| toc.entries.iter().any(|entry| objects::are(entry) && skip.admits(entry)));
    if let Some(skip) = named {
        if skip.name.is_some() {
            return Err(Error::Invalid(format!(
                "`skip` names `{}`, and large objects are restored together; leave all of them out by `BLOBS`",
                skip.text
            )));
        }
        return Ok(Some(format!("`skip` names `{}`", skip.text)));
    }
    let sections = params.sections()?;
    Ok(if !params.schemas.include.is_empty() || !params.tables.include.is_empty() {
        Some("`with` names what is wanted, and large objects lie in no schema".to_owned())
    } else if sections.rows && !sections.before {
        Some("rows go into tables that are there; large objects are no rows of theirs".to_owned())
    } else {
        None
    })
}

/// The patterns that match nothing in the archive.
fn idle_patterns(toc: &Toc, params: &Params) -> Vec<String> {
    type Name<'e> = fn(&'e Entry) -> Option<(&'e str, &'e str)>;
    let relation: Name<'_> =
        |entry| (is_relation(entry) || entry.desc == "TABLE DATA").then(|| (namespace(entry), tag(entry)));
    let schema: Name<'_> = |entry| schema_of(entry).map(|name| ("", name));
    let extension: Name<'_> = |entry| extension_of(entry).map(|name| ("", name));
    let both = |selection: &Selection| [&*selection.include, &*selection.exclude].concat();
    let given = [
        ("schemas", both(&params.schemas), schema),
        ("tables", both(&params.tables), relation),
        ("table_data", both(&params.table_data), relation),
        ("extensions", both(&params.extensions), extension),
        ("keep", params.keep.clone(), relation),
    ];
    let mut idle = Vec::new();
    for (param, patterns, name) in given {
        let is_idle = |pattern: &&String| {
            !toc.entries.iter().filter_map(name).any(|(schema, name)| matches(pattern, schema, name))
        };
        idle.extend(patterns.iter().filter(is_idle).map(|pattern| format!("{param} `{pattern}`")));
    }
    idle
}

/// The schema that an entry makes or lies in.
fn schema_of(entry: &Entry) -> Option<&str> {
    match entry.desc.as_str() {
        "SCHEMA" => Some(tag(entry)),
        // A comment's stands in its tag.
        "COMMENT" | "SECURITY LABEL" if tag(entry).starts_with("SCHEMA ") => {
            tag(entry).strip_prefix("SCHEMA ")
        }
        _ => Some(namespace(entry)).filter(|schema| !schema.is_empty()),
    }
}

/// The extension that an entry makes.
fn extension_of(entry: &Entry) -> Option<&str> {
    (entry.desc == "EXTENSION").then(|| tag(entry))
}

/// The partitioned table of each partition, as far as the archive has entries that attach them (from 14 on).
fn roots(toc: &Toc) -> BTreeMap<(&str, &str), (&str, &str)> {
    let tables: BTreeMap<i32, &Entry> = toc
        .entries
        .iter()
        .filter(|entry| entry.desc == "TABLE")
        .map(|entry| (entry.dump_id, entry))
        .collect();
    let mut roots = BTreeMap::new();
    for attachment in toc.entries.iter().filter(|entry| entry.desc == "TABLE ATTACH") {
        let child = (namespace(attachment), tag(attachment));
        let parent = attachment
            .dependencies
            .iter()
            .filter_map(|id| tables.get(id))
            .map(|table| (namespace(table), tag(table)))
            .find(|table| *table != child);
        roots.extend(parent.map(|parent| (child, parent)));
    }
    roots
}

/// Leaves out what needs something that is left out. A schema or an extension may be the target's own, and what is never
/// restored takes nothing along.
fn cascade(toc: &Toc, out: &mut BTreeMap<i32, String>) {
    let takes_along = |entry: &Entry| {
        !matches!(entry.desc.as_str(), "SCHEMA" | "EXTENSION" | "TABLE DATA" | "SEQUENCE SET")
            && !is_said(entry)
            && !is_privileges(entry)
            && !NEVER.iter().any(|(desc, _)| *desc == entry.desc)
    };
    let titles: BTreeMap<i32, String> = toc
        .entries
        .iter()
        .filter(|entry| takes_along(entry))
        .map(|entry| (entry.dump_id, entry.title()))
        .collect();
    loop {
        let mut more = Vec::new();
        for entry in toc.entries.iter().filter(|entry| !out.contains_key(&entry.dump_id)) {
            let missing = entry
                .dependencies
                .iter()
                .find(|id| out.contains_key(id) && titles.contains_key(id))
                .and_then(|id| titles.get(id));
            more.extend(missing.map(|title| (entry.dump_id, format!("it needs {title}, which is left out"))));
        }
        if more.is_empty() {
            return;
        }
        out.extend(more);
    }
}

/// The section of each entry; one that has none belongs to what it depends on, or else to what stands before it.
pub fn sections_of(entries: &[&Entry]) -> BTreeMap<i32, Section> {
    let mut sections: BTreeMap<i32, Section> = BTreeMap::new();
    let mut current = Section::PreData;
    for entry in entries {
        let section = match entry.section {
            Section::None => {
                entry.dependencies.iter().find_map(|id| sections.get(id).copied()).unwrap_or(current)
            }
            section => {
                current = section;
                section
            }
        };
        sections.insert(entry.dump_id, section);
    }
    sections
}

/// The schemas that the entries put something into.
pub fn schemas(entries: &[&Entry]) -> BTreeSet<String> {
    entries
        .iter()
        .filter(|entry| entry.desc != "EXTENSION" && !is_said(entry) && !is_privileges(entry))
        .map(|entry| if entry.desc == "SCHEMA" { tag(entry) } else { namespace(entry) })
        .filter(|schema| !schema.is_empty())
        .map(str::to_owned)
        .collect()
}
