//! JSON with the place of every value.

use std::ops::Range;

use godwit_model::Json;
use jsonc_parser::ast;
use jsonc_parser::common::Ranged;

use crate::diagnostic::{Fault, Report, Source};

/// A JSON value and where it stands, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub span: Range<usize>,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(String),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub key: String,
    pub key_span: Range<usize>,
    pub value: Node,
}

impl Node {
    /// Reads a whole text. Strict JSON: no comments, no trailing commas; a key twice in one object is a fault.
    pub fn parse(source: &Source, report: &mut Report<'_>) -> Option<Self> {
        let options = jsonc_parser::ParseOptions {
            allow_comments: false,
            allow_loose_object_property_names: false,
            allow_trailing_commas: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
        };
        let parsed = match jsonc_parser::parse_to_ast(&source.text, &Default::default(), &options) {
            Ok(parsed) => parsed,
            Err(error) => {
                let range = error.range();
                report.add(
                    Fault::new(
                        "recipe::syntax",
                        &(range.start..range.end.max(range.start + 1)),
                        format!("this isn't JSON: {}", lower_first(&error.kind().to_string())),
                    )
                    .hint("a recipe is strict JSON: no comments, no trailing commas, names in double quotes"),
                );
                return None;
            }
        };
        let Some(value) = parsed.value else {
            report.add(
                Fault::new("recipe::syntax", &(0..0), "the recipe is empty")
                    .hint(r#"start with { "godwit": "1", "name": "…", "steps": [] }"#),
            );
            return None;
        };
        Some(convert(value, report))
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value without places.
    pub fn to_json(&self) -> Json {
        match &self.kind {
            Kind::Null => Json::Null,
            Kind::Bool(value) => Json::Bool(*value),
            Kind::Number(value) => Json::Number(value.clone()),
            Kind::String(value) => Json::String(value.clone()),
            Kind::Array(items) => items.iter().map(Node::to_json).collect(),
            Kind::Object(members) => {
                Json::Object(members.iter().map(|m| (m.key.clone(), m.value.to_json())).collect())
            }
        }
    }

    /// The name of the type, as in JSON Schema.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "null",
            Kind::Bool(_) => "boolean",
            Kind::Number(_) => "number",
            Kind::String(_) => "string",
            Kind::Array(_) => "array",
            Kind::Object(_) => "object",
        }
    }

    pub fn member(&self, key: &str) -> Option<&Member> {
        match &self.kind {
            Kind::Object(members) => members.iter().find(|m| m.key == key),
            _ => None,
        }
    }

    /// The place of what stands at `path`, or of the deepest thing above it: an expression has no parts in the text.
    pub fn span_at(&self, path: &[String]) -> Range<usize> {
        self.descend(path).0.span.clone()
    }

    /// The place of `key` of the object at `path`, or of the deepest thing above it.
    pub fn key_span_at(&self, path: &[String], key: &str) -> Range<usize> {
        match self.descend(path) {
            (node, true) => {
                node.member(key).map_or_else(|| node.span.clone(), |member| member.key_span.clone())
            }
            (node, false) => node.span.clone(),
        }
    }

    /// Follows `path` as far as the text goes, and says whether that was to its end.
    fn descend(&self, path: &[String]) -> (&Self, bool) {
        let mut node = self;
        for segment in path {
            let below = match &node.kind {
                Kind::Object(_) => node.member(segment).map(|member| &member.value),
                Kind::Array(items) => segment.parse().ok().and_then(|index: usize| items.get(index)),
                _ => None,
            };
            match below {
                Some(below) => node = below,
                None => return (node, false),
            }
        }
        (node, true)
    }
}

fn convert(value: ast::Value<'_>, report: &mut Report<'_>) -> Node {
    let range = value.range();
    let span = range.start..range.end;
    let kind = match value {
        ast::Value::NullKeyword(_) => Kind::Null,
        ast::Value::BooleanLit(lit) => Kind::Bool(lit.value),
        ast::Value::NumberLit(lit) => match lit.value.parse() {
            Ok(number) => Kind::Number(number),
            Err(_) => {
                report.add(Fault::new(
                    "recipe::syntax",
                    &span,
                    format!("`{}` isn't a JSON number", lit.value),
                ));
                Kind::Null
            }
        },
        ast::Value::StringLit(lit) => Kind::String(lit.value.into_owned()),
        ast::Value::Array(array) => {
            Kind::Array(array.elements.into_iter().map(|element| convert(element, report)).collect())
        }
        ast::Value::Object(object) => {
            let mut members: Vec<Member> = Vec::with_capacity(object.properties.len());
            for property in object.properties {
                let range = match &property.name {
                    ast::ObjectPropName::String(lit) => lit.range,
                    ast::ObjectPropName::Word(lit) => lit.range,
                };
                let key_span = range.start..range.end;
                let key = property.name.into_string();
                let value = convert(property.value, report);
                if members.iter().any(|m| m.key == key) {
                    report.add(
                        Fault::new("recipe::duplicate-key", &key_span, format!("`{key}` is given twice"))
                            .label("the second one")
                            .hint("keep one of the two"),
                    );
                } else {
                    members.push(Member { key, key_span, value });
                }
            }
            Kind::Object(members)
        }
    };
    Node { span, kind }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Where byte `offset` of a string's decoded content stands in the source; `span` is the string with its quotes.
pub(crate) fn source_offset(source: &str, span: &Range<usize>, offset: usize) -> usize {
    let start = span.start + 1;
    let Some(raw) = source.get(start..span.end.saturating_sub(1).max(start)) else { return span.start };
    let mut decoded = 0;
    let mut at = 0;
    let bytes = raw.as_bytes();
    while at < bytes.len() && decoded < offset {
        let (raw_len, decoded_len) = match (bytes[at], bytes.get(at + 1)) {
            (b'\\', Some(b'u')) => escape_lengths(raw, at),
            (b'\\', Some(_)) => (2, 1),
            _ => {
                let len = raw[at..].chars().next().map_or(1, char::len_utf8);
                (len, len)
            }
        };
        at += raw_len;
        decoded += decoded_len;
    }
    start + at.min(raw.len())
}

/// The lengths of a `\uXXXX` escape (or of a surrogate pair) as written and as UTF-8.
fn escape_lengths(raw: &str, at: usize) -> (usize, usize) {
    let unit = |at: usize| raw.get(at + 2..at + 6).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    match unit(at) {
        Some(0xD800..=0xDBFF) => (12, 4),
        Some(code) => (6, char::from_u32(code).map_or(3, char::len_utf8)),
        None => (2, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        let source = Source::new("t.json", text);
        let mut report = Report::new(&source);
        let node = Node::parse(&source, &mut report);
        assert!(report.is_empty(), "{:?}", report.finish());
        node.unwrap()
    }

    #[test]
    fn places_follow_paths() {
        let text = r#"{"a": [1, {"b": "x"}]}"#;
        let root = node(text);
        let path = |p: &[&str]| p.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(&text[root.span_at(&path(&["a", "1", "b"]))], "\"x\"");
        assert_eq!(&text[root.span_at(&path(&["a", "1", "b", "deeper"]))], "\"x\"");
        assert_eq!(&text[root.span_at(&path(&["a", "0"]))], "1");
        assert_eq!(&text[root.key_span_at(&path(&["a", "1"]), "b")], "\"b\"");
    }

    #[test]
    fn offsets_pass_over_escapes() {
        let text = r#""a\n\u00e9\ud83d\ude00é${x}""#;
        let root = node(text);
        let decoded = root.as_str().unwrap();
        let at = decoded.find('$').unwrap();
        assert_eq!(source_offset(text, &root.span, at), text.find('$').unwrap());
    }
}
