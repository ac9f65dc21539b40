//! What is found in the archive and the target before anything is touched.

use godwit_pg_archive::Entry;
use godwit_pg_catalog::facts::Facts;
use godwit_pg_catalog::preflight::{Finding, of_target};
use godwit_pg_catalog::tablespaces::{Dropped, of_dropped};
use godwit_pg_catalog::{Catalog, Kind, Node, Target, TargetMemo, clean};
use godwit_sdk::prelude::*;

use crate::TARGET;
use crate::archive::Archive;
use crate::choice::{Choice, schemas};
use crate::params::Params;
use crate::rights::roles;

/// What the target had when the step began, once it is known that nothing stands in the way.
pub fn target<H: Host>(
    host: &H,
    archive: &Archive,
    choice: &Choice<'_>,
    unplaced: &Dropped,
    params: &Params,
) -> Result<TargetMemo> {
    let sections = params.sections()?;
    TargetMemo::take(
        host,
        TARGET,
        || Ok(Vec::new()),
        |target, memo| {
            let facts = Facts::read(host, TARGET, target.version)?;
            let mut findings = of_target(&facts, sections.makes());
            findings.extend(of_versions(archive, target.version));
            let extensions = choice.entries.iter().filter(|entry| entry.desc == "EXTENSION");
            findings.extend(
                extensions
                    .filter_map(|entry| target.extension(entry.tag.as_deref().unwrap_or_default(), None)),
            );
            let named = roles(&choice.entries, params.rights());
            let named = named.iter().map(|role| (role.as_str(), "the archive".to_owned()));
            findings.extend(target.missing_roles(named, params.missing_roles(), &facts, memo));
            if sections.makes() {
                let named = choice.entries.iter().filter_map(|entry| entry.tablespace.as_deref());
                findings.extend(of_dropped(unplaced));
                findings.extend(target.tablespaces(named));
            }
            findings.extend(of_labels(&choice.entries));
            let objects = choice.entries.iter().any(|entry| entry.desc == "BLOBS");
            findings.extend(target.large_objects(objects));
            if params.clean {
                let there = Catalog::read(host, TARGET)?;
                let cleaning =
                    clean::clean(&there, |node| choice.entries.iter().any(|entry| makes(entry, node)));
                findings.extend(cleaning.findings());
                memo.clean = cleaning.statements;
            } else if sections.before {
                findings.extend(contents(target, &choice.entries));
            }
            Ok(findings)
        },
        |why| {
            format!(
                "the target can't take the archive: {why}; nothing was touched. Restore into an empty database, into a schema \
                 that is there by `data_only`, or over what is there by `clean`; or leave entries out by `skip`"
            )
        },
    )
}

/// What is to be known of security labels: a server doesn't tell which providers it has.
fn of_labels(entries: &[&Entry]) -> Option<Finding> {
    let count = entries.iter().filter(|entry| entry.desc == "SECURITY LABEL").count();
    (count > 0).then(|| {
        Finding::warning(
            "security labels",
            format!(
                "are to be made, {count} of them: that fails where the target hasn't loaded their provider"
            ),
            "load it there by `shared_preload_libraries`, or leave `security_labels` out",
        )
    })
}

/// What the target has in the schemas that the entries put something into.
fn contents(target: &Target, entries: &[&Entry]) -> Option<Finding> {
    const SHOWN: usize = 10;
    let used = schemas(entries);
    let there: Vec<&str> = target.contents(&used).collect();
    let more = match there.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown = there.get(..SHOWN).unwrap_or(&there);
    let why = format!("isn't empty: it has {}{more}", shown.join(", "));
    (!there.is_empty()).then(|| Finding::error("the target", why, ""))
}

/// An archive of a newer server may use what the target lacks; only the target knows.
fn of_versions(archive: &Archive, target: u32) -> Option<Finding> {
    let text = archive.toc.server_version.as_deref()?;
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let source: u32 = digits.parse().ok()?;
    (source > target / 10_000).then(|| {
        Finding::note(
            "the target",
            format!(
                "is older (PostgreSQL {}) than the server that was dumped ({text}): a statement that it doesn't know fails \
                 the step by its entry's name",
                target / 10_000
            ),
        )
    })
}

/// Whether an entry makes what a node of the target is in the place of.
fn makes(entry: &Entry, node: &Node) -> bool {
    let (desc, tag) = node.archive_name();
    let ours = entry.tag.as_deref().unwrap_or_default();
    if entry.desc != desc || entry.namespace.as_deref().unwrap_or_default() != node.schema {
        return false;
    }
    match node.kind {
        Kind::Function | Kind::Procedure | Kind::Aggregate => alike(ours, &tag),
        _ => ours == tag,
    }
}

/// Whether two signatures are of one routine: pg_dump leaves out of its own the names of arguments, and what only comes
/// out.
fn alike(ours: &str, theirs: &str) -> bool {
    let cut = |text: &str| -> Option<(String, Vec<String>)> {
        let (name, rest) = text.split_once('(')?;
        let arguments = rest.strip_suffix(')')?;
        let comes_in = |argument: &&str| !argument.is_empty() && !argument.starts_with("OUT ");
        let arguments = arguments.split(", ").filter(comes_in);
        Some((name.to_owned(), arguments.map(str::to_owned).collect()))
    };
    match (cut(ours), cut(theirs)) {
        (Some((name, ours)), Some((other, theirs))) => {
            name == other
                && ours.len() == theirs.len()
                && ours.iter().zip(&theirs).all(|(a, b)| a == b || b.ends_with(&format!(" {a}")))
        }
        _ => ours == theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::alike;

    #[test]
    fn names_of_arguments_make_no_difference() {
        assert!(alike("f(integer, text)", "f(a integer, VARIADIC b text)"));
        assert!(alike("f(a integer)", "f(a integer)"));
        assert!(alike("f()", "f()"));
        assert!(alike("f()", "f(OUT a integer)"));
        assert!(!alike("f(integer)", "f(a bigint)"));
        assert!(!alike("f(integer)", "f(a integer, b integer)"));
        assert!(!alike("f(integer)", "g(a integer)"));
    }
}
