//! Reading members of objects, with a fault for each that isn't as it should be.

use std::ops::Range;

use crate::diagnostic::{Fault, Report, suggest};
use crate::document::{Kind, Member, Node};

/// A text with its place.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub value: String,
    pub span: Range<usize>,
}

/// An object whose keys are all known.
pub(crate) struct Fields<'n> {
    /// What the object is, for messages: ``step `copy` ``.
    pub what: String,
    pub node: &'n Node,
    members: &'n [Member],
}

/// The members of an object of free keys.
pub(crate) fn members<'n>(node: &'n Node, what: &str, report: &mut Report<'_>) -> &'n [Member] {
    match &node.kind {
        Kind::Object(members) => members,
        _ => {
            report.add(wrong_type(node, what, "an object"));
            &[]
        }
    }
}

/// The items of an array.
pub(crate) fn items<'n>(node: &'n Node, what: &str, report: &mut Report<'_>) -> &'n [Node] {
    match &node.kind {
        Kind::Array(items) => items,
        _ => {
            report.add(wrong_type(node, what, "an array"));
            &[]
        }
    }
}

/// A list of texts.
pub(crate) fn texts(node: &Node, what: &str, report: &mut Report<'_>) -> Vec<Text> {
    let mut out = Vec::new();
    for item in items(node, what, report) {
        match item.as_str() {
            Some(value) => out.push(Text { value: value.to_owned(), span: item.span.clone() }),
            None => report.add(wrong_type(item, &format!("an item of {what}"), "a string")),
        }
    }
    out
}

pub(crate) fn wrong_type(node: &Node, what: &str, wanted: &str) -> Fault {
    Fault::new(
        "recipe::type",
        &node.span,
        format!("{what} must be {wanted}, not {}", with_article(node.type_name())),
    )
}

fn with_article(type_name: &str) -> String {
    match type_name {
        "null" => "null".to_owned(),
        "array" | "object" | "integer" => format!("an {type_name}"),
        _ => format!("a {type_name}"),
    }
}

impl<'n> Fields<'n> {
    /// Opens an object; keys that aren't `known` are faults.
    pub fn open(
        node: &'n Node,
        what: impl Into<String>,
        known: &[&str],
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let what = what.into();
        let Kind::Object(members) = &node.kind else {
            report.add(wrong_type(node, &what, "an object"));
            return None;
        };
        for member in members {
            if !known.contains(&member.key.as_str()) {
                report.add(
                    Fault::new(
                        "recipe::unknown-key",
                        &member.key_span,
                        format!("{what} has no field `{}`", member.key),
                    )
                    .hint_opt(suggest(&member.key, known.iter().copied())),
                );
            }
        }
        Some(Self { what, node, members })
    }

    pub fn get(&self, key: &str) -> Option<&'n Member> {
        self.members.iter().find(|m| m.key == key)
    }

    /// The value of a member that has to be there.
    pub fn require(&self, key: &str, hint: &str, report: &mut Report<'_>) -> Option<&'n Node> {
        let found = self.get(key).map(|m| &m.value);
        if found.is_none() {
            report.add(
                Fault::new(
                    "recipe::missing-key",
                    &opening(self.node),
                    format!("{} has no `{key}`", self.what),
                )
                .hint(hint),
            );
        }
        found
    }

    pub fn text(&self, key: &str, report: &mut Report<'_>) -> Option<Text> {
        let node = &self.get(key)?.value;
        match node.as_str() {
            Some(value) => Some(Text { value: value.to_owned(), span: node.span.clone() }),
            None => {
                report.add(wrong_type(node, &format!("`{key}` of {}", self.what), "a string"));
                None
            }
        }
    }

    pub fn require_text(&self, key: &str, hint: &str, report: &mut Report<'_>) -> Option<Text> {
        self.require(key, hint, report)?;
        self.text(key, report)
    }

    pub fn bool(&self, key: &str, report: &mut Report<'_>) -> Option<bool> {
        let node = &self.get(key)?.value;
        match node.kind {
            Kind::Bool(value) => Some(value),
            _ => {
                report.add(wrong_type(node, &format!("`{key}` of {}", self.what), "true or false"));
                None
            }
        }
    }

    /// A whole number of at least `least`.
    pub fn count(&self, key: &str, least: u64, report: &mut Report<'_>) -> Option<u64> {
        let node = &self.get(key)?.value;
        let value = match &node.kind {
            Kind::Number(number) => number.as_u64().filter(|value| *value >= least),
            _ => None,
        };
        if value.is_none() {
            let wanted = format!("a whole number of at least {least}");
            let what = format!("`{key}` of {}", self.what);
            report.add(match node.kind {
                Kind::Number(_) => Fault::new("recipe::type", &node.span, format!("{what} must be {wanted}")),
                _ => wrong_type(node, &what, &wanted),
            });
        }
        value
    }
}

/// The opening brace of an object: where a missing member is shown.
pub(crate) fn opening(node: &Node) -> Range<usize> {
    node.span.start..(node.span.start + 1).min(node.span.end)
}

/// A name of the recipe's own: `[A-Za-z_][A-Za-z0-9_-]*`, at most 64 long.
pub(crate) fn check_name(text: &str, span: &Range<usize>, what: &str, report: &mut Report<'_>) -> bool {
    let mut chars = text.chars();
    let good = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && text.len() <= 64;
    if !good {
        report
            .add(Fault::new("recipe::name", span, format!("`{text}` can't be the name of {what}")).hint(
                "a name is letters, digits, `_` and `-`, begins with a letter, and is at most 64 long",
            ));
    }
    good
}
