//! Comparing two databases by the definitions of their objects.

use std::collections::BTreeMap;

use crate::graph::{Graph, Node};
use crate::kind::Kind;

/// How an object of the source fares in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    Missing,
    /// Both definitions, normalised.
    Differs {
        source: String,
        target: String,
    },
    /// Likewise, between two majors of PostgreSQL that may only have put the same into other words.
    Reworded {
        source: String,
        target: String,
    },
}

impl Difference {
    /// The difference as a sentence about the object of this title.
    pub fn sentence(&self, title: &str) -> String {
        match self {
            Self::Missing => format!("{title} is missing in the target"),
            Self::Differs { source, target } | Self::Reworded { source, target } => {
                format!("{title} is `{source}` in the source and `{target}` in the target")
            }
        }
    }
}

/// Every object of the source that is missing in the target, or defined in another way there, by title. What only the
/// target has is not looked at.
pub fn compare(source: &Graph, target: &Graph) -> Vec<(String, Kind, Difference)> {
    let same_major = source.version / 10_000 == target.version / 10_000;
    let source_is_older = source.version < target.version;
    let oldest = source.version.min(target.version);
    let there: BTreeMap<(Kind, String), &Node> =
        target.nodes.iter().map(|node| ((node.kind, node.label()), node)).collect();
    let mut found = Vec::new();
    for node in &source.nodes {
        let difference = match there.get(&(node.kind, node.label())) {
            None => Difference::Missing,
            Some(other) => {
                let (source, target) = (definition(node, oldest), definition(other, oldest));
                let (older, newer) = if source_is_older { (&source, &target) } else { (&target, &source) };
                // Where nothing is said, it lies where the database does, wherever that is.
                if node.tablespace.is_some() && node.tablespace != other.tablespace {
                    let place = |node: &Node| {
                        format!("in tablespace {}", node.tablespace.as_deref().unwrap_or("of the database"))
                    };
                    found.push((
                        node.title(),
                        node.kind,
                        Difference::Differs { source: place(node), target: place(other) },
                    ));
                    continue;
                }
                if source == target
                    || !same_major && node.kind.is_worded() && alike_but_for_qualifiers(older, newer)
                {
                    continue;
                }
                if node.kind.is_worded() && !same_major {
                    Difference::Reworded { source, target }
                } else {
                    Difference::Differs { source, target }
                }
            }
        };
        found.push((node.title(), node.kind, difference));
    }
    found
}

/// An object's definition in a form that two servers write alike.
fn definition(node: &Node, oldest: u32) -> String {
    if node.kind == Kind::Extension || node.kind == Kind::Schema {
        // An extension's or schema's own properties are the target's business; that it is there is what counts.
        return String::new();
    }
    let statements: Vec<&str> = node.common(oldest).map(String::as_str).collect();
    let text = normalise(&statements.join("; "));
    match node.kind {
        // Before 18 a table's NOT NULL has no name.
        Kind::Table | Kind::ForeignTable if oldest < 180_000 => without_names(&text),
        // Before 14 a range has no multirange.
        Kind::Range if oldest < 140_000 => text
            .split(", ")
            .filter(|part| !part.starts_with("multirange_type_name ="))
            .collect::<Vec<_>>()
            .join(", "),
        // An owner's own, where there are others; nobody else's gets this far.
        Kind::Privileges | Kind::SystemPrivileges | Kind::DefaultPrivileges if oldest < 170_000 => {
            text.replace(", MAINTAIN", "")
        }
        Kind::Subscription if oldest < 160_000 => {
            // See `Node::since`.
            let text = text.replace(", run_as_owner = true", "");
            if oldest < 140_000 { text.replace(", streaming = off", "") } else { text }
        }
        // Before 14 all that CREATE OPERATOR CLASS names belongs to the class; from then on the server gives some of it
        // to the family.
        Kind::OperatorClass | Kind::OperatorFamily if oldest < 140_000 => text
            .split([';', ','])
            .next()
            .unwrap_or_default()
            .split(" OPERATOR ")
            .next()
            .unwrap_or_default()
            .to_owned(),
        _ => text,
    }
}

/// `NOT NULL` for each `CONSTRAINT name NOT NULL`.
fn without_names(text: &str) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some(at) = rest.find(" NOT NULL") {
        let (before, after) = rest.split_at(at);
        match before.rfind(" CONSTRAINT ") {
            // A name has a space only inside of quotes.
            Some(start) if is_name(&before[start + " CONSTRAINT ".len()..]) => out.push_str(&before[..start]),
            _ => out.push_str(before),
        }
        out.push_str(" NOT NULL");
        rest = &after[" NOT NULL".len()..];
    }
    out + rest
}

/// Whether two definitions differ only in that the older one names the relation of a column where the newer one doesn't:
/// up to 15 the deparser does so in every view, from 16 on only where a query reads more than one relation.
fn alike_but_for_qualifiers(older: &str, newer: &str) -> bool {
    let (older, newer) = (tokens(older), tokens(newer));
    let is_name = |token: &str| token.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"');
    let (mut i, mut j) = (0, 0);
    while i < older.len() {
        let qualifies = is_name(older[i]) && older.get(i + 1) == Some(&".");
        if qualifies && newer.get(j + 1) != Some(&".") {
            i += 2;
        } else if newer.get(j) == Some(&older[i]) {
            i += 1;
            j += 1;
        } else {
            return false;
        }
    }
    j == newer.len()
}

/// Words, quoted texts and symbols, without the space between them.
fn tokens(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first == '\'' || first == '"' {
            rest[1..].find(first).map_or(rest.len(), |end| end + 2)
        } else if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

fn is_name(text: &str) -> bool {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(quoted) => !quoted.replace("\"\"", "").contains('"'),
        None => text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$'),
    }
}

/// Takes away in what deparsers of different majors, or the same text read in again, differ without a difference in
/// meaning: space and parentheses outside of quotes, and casts among the string types. Of these,
/// `(ARRAY['a'::character varying])::text[]` becomes `ARRAY[('a'::character varying)::text]` when it is read in again.
pub fn normalise(sql: &str) -> String {
    const CASTS: &[&[&str]] = &[
        &["::", "character", "varying", "[", "]"],
        &["::", "character", "varying"],
        &["::", "text", "[", "]"],
        &["::", "text"],
    ];
    let tokens: Vec<&str> = tokens(sql).into_iter().filter(|token| !matches!(*token, "(" | ")")).collect();
    let mut out = String::with_capacity(sql.len());
    let mut rest = &tokens[..];
    while let Some(token) = rest.first() {
        match CASTS.iter().find(|cast| rest.starts_with(cast)) {
            Some(cast) => rest = &rest[cast.len()..],
            None => {
                let tight = matches!(*token, "," | "." | "]" | ";" | "::") || out.ends_with(['.', '[', ':']);
                if !tight && !out.is_empty() {
                    out.push(' ');
                }
                out.push_str(token);
                rest = &rest[1..];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(create: &str) -> Graph {
        let mut node = Node::new(Kind::View, 1, "public", "v");
        node.create.push(create.to_owned());
        Graph { nodes: vec![node], version: 160_000, ..Graph::default() }
    }

    #[test]
    fn casts_that_wander_into_an_array_make_no_difference() {
        let before = "CHECK (((action)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))";
        let after = "CHECK (((action)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))";
        assert_eq!(normalise(before), normalise(after));
        assert_ne!(normalise(before), normalise(&after.replace("'b'", "'c'")));
    }

    #[test]
    fn white_space_and_parentheses_make_no_difference_but_quoted_text_does() {
        let a = graph("CREATE VIEW v AS\n SELECT ((a + b)) , c");
        assert_eq!(compare(&a, &graph("CREATE VIEW v AS SELECT (a + b), c")), []);
        assert_eq!(compare(&graph("SELECT 'a  b'"), &graph("SELECT 'a b'")).len(), 1);
        assert_eq!(
            compare(&a, &Graph::default()),
            [("view public.v".to_owned(), Kind::View, Difference::Missing)]
        );
        let newer = Graph { version: 180_000, ..graph("SELECT a, s.f(b) FROM s.t") };
        assert_eq!(compare(&graph("SELECT t.a, s.f(t.b) FROM s.t"), &newer), []);
        assert_eq!(compare(&newer, &graph("SELECT t.a, s.f(t.b) FROM s.t")), []);
        let found = compare(&graph("SELECT u.a, s.f(t.b) FROM s.u"), &newer);
        assert!(matches!(found[0].2, Difference::Reworded { .. }), "{found:?}");
    }

    #[test]
    fn names_of_not_null_are_taken_away() {
        assert_eq!(
            without_names("a int CONSTRAINT x NOT NULL, b CONSTRAINT \"b c\" NOT NULL, c NOT NULL"),
            "a int NOT NULL, b NOT NULL, c NOT NULL"
        );
        assert_eq!(without_names("CONSTRAINT k CHECK a IS NOT NULL"), "CONSTRAINT k CHECK a IS NOT NULL");
    }
}
