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
    // Before 18 a table's NOT NULL has no name.
    let unnamed = source.version.min(target.version) < 180_000;
    let there: BTreeMap<(Kind, String), &Node> =
        target.nodes.iter().map(|node| ((node.kind, node.label()), node)).collect();
    let mut found = Vec::new();
    for node in &source.nodes {
        let difference = match there.get(&(node.kind, node.label())) {
            None => Difference::Missing,
            Some(other) => {
                let (source, target) = (definition(node, unnamed), definition(other, unnamed));
                if source == target {
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
fn definition(node: &Node, unnamed: bool) -> String {
    if node.kind == Kind::Extension || node.kind == Kind::Schema {
        // An extension's or schema's own properties are the target's business; that it is there is what counts.
        return String::new();
    }
    let text = normalise(&node.create.join("; "));
    if unnamed && node.kind == Kind::Table { without_names(&text) } else { text }
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

fn is_name(text: &str) -> bool {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(quoted) => !quoted.replace("\"\"", "").contains('"'),
        None => text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$'),
    }
}

/// Takes away in what deparsers of different majors differ without a difference in meaning: white space and
/// parentheses outside of quotes.
pub fn normalise(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut quote = None;
    for c in sql.chars() {
        match quote {
            Some(open) => {
                out.push(c);
                if c == open {
                    quote = None;
                }
            }
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                out.push(c);
            }
            None if c.is_whitespace() || c == '(' || c == ')' => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            None => out.push(c),
        }
    }
    // `( a` and `a` are alike by now, but for a space at an end or before a comma.
    out.trim().replace(" ,", ",").replace(" ;", ";")
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
    fn white_space_and_parentheses_make_no_difference_but_quoted_text_does() {
        let a = graph("CREATE VIEW v AS\n SELECT ((a + b)) , c");
        assert_eq!(compare(&a, &graph("CREATE VIEW v AS SELECT (a + b), c")), []);
        assert_eq!(compare(&graph("SELECT 'a  b'"), &graph("SELECT 'a b'")).len(), 1);
        assert_eq!(
            compare(&a, &Graph::default()),
            [("view public.v".to_owned(), Kind::View, Difference::Missing)]
        );
        let newer = Graph { version: 180_000, ..graph("SELECT t.a") };
        let found = compare(&graph("SELECT a"), &newer);
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
