//! JSON with expressions in its strings.

use std::ops::Range;

use godwit_model::Json;

use crate::convert::to_text;
use crate::diagnostic::{Fault, Report, Source};
use crate::document::{Kind, Node, source_offset};
use crate::expression::{Expression, Scope, Uses};

/// JSON whose strings may hold `${…}`. A string that is one `${…}` and nothing else keeps the value's type.
#[derive(Clone, Debug)]
pub(crate) enum Template {
    Plain(Json),
    Whole(Expression),
    Text(Vec<Piece>),
    List(Vec<Template>),
    Map(Vec<(String, Template)>),
    /// Could not be compiled, which the report says; it stays unknown, so that no second fault follows.
    Broken,
}

#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Text(String),
    Expression(Expression),
}

/// A place in an evaluated value that isn't known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub path: Vec<String>,
    /// It will be a string, whatever its content.
    pub text: bool,
}

/// An expression that has no value, and why.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub text: String,
    pub span: Range<usize>,
    pub why: String,
}

impl Failure {
    pub fn fault(&self) -> Fault {
        Fault::new(
            "recipe::evaluation",
            &self.span,
            format!("`${{{}}}` has no value: {}", self.text, self.why),
        )
    }
}

/// What an evaluation gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evaluated {
    /// `null` at every hole, an empty string where the hole is a text.
    pub value: Json,
    pub holes: Vec<Hole>,
    pub failures: Vec<Failure>,
}

impl Evaluated {
    /// The value, if all of it is known.
    pub fn known(&self) -> Option<&Json> {
        (self.holes.is_empty() && self.failures.is_empty()).then_some(&self.value)
    }
}

impl Template {
    /// Compiles every expression below `node`; faults are added to the report.
    pub fn compile(node: &Node, source: &Source, report: &mut Report<'_>) -> Self {
        match &node.kind {
            Kind::String(text) => compile_text(text, node, source, report),
            Kind::Array(items) => {
                let items: Vec<Self> = items.iter().map(|item| Self::compile(item, source, report)).collect();
                if items.iter().all(|item| matches!(item, Self::Plain(_))) {
                    // Texts may have been unescaped, so this isn't the node's own value.
                    return Self::Plain(items.into_iter().map(Self::plain).collect());
                }
                Self::List(items)
            }
            Kind::Object(members) => {
                let mut out = Vec::with_capacity(members.len());
                for member in members {
                    if member.key.contains("${") {
                        report.add(
                            Fault::new(
                                "recipe::expression",
                                &member.key_span,
                                "a key can't hold an expression",
                            )
                            .hint("make the whole object by an expression: \"${{inputs.name: 1}}\""),
                        );
                    }
                    out.push((member.key.clone(), Self::compile(&member.value, source, report)));
                }
                if out.iter().all(|(_, value)| matches!(value, Self::Plain(_))) {
                    return Self::Plain(Json::Object(out.into_iter().map(|(k, v)| (k, v.plain())).collect()));
                }
                Self::Map(out)
            }
            _ => Self::Plain(node.to_json()),
        }
    }

    fn plain(self) -> Json {
        match self {
            Self::Plain(value) => value,
            _ => Json::Null,
        }
    }

    /// Calls `visit` with each expression.
    pub fn each_expression<'t>(&'t self, visit: &mut dyn FnMut(&'t Expression)) {
        match self {
            Self::Plain(_) | Self::Broken => {}
            Self::Whole(expression) => visit(expression),
            Self::Text(pieces) => {
                for piece in pieces {
                    if let Piece::Expression(expression) = piece {
                        visit(expression);
                    }
                }
            }
            Self::List(items) => items.iter().for_each(|item| item.each_expression(visit)),
            Self::Map(members) => members.iter().for_each(|(_, value)| value.each_expression(visit)),
        }
    }

    /// Takes the expressions at these places out: they stay unknown.
    pub fn take_out(&mut self, places: &[Range<usize>]) {
        if places.is_empty() {
            return;
        }
        match self {
            Self::Whole(expression) if places.contains(&expression.span) => *self = Self::Broken,
            Self::Text(pieces) => {
                let bad = |piece: &Piece| matches!(piece, Piece::Expression(e) if places.contains(&e.span));
                if pieces.iter().any(bad) {
                    *self = Self::Broken;
                }
            }
            Self::List(items) => items.iter_mut().for_each(|item| item.take_out(places)),
            Self::Map(members) => members.iter_mut().for_each(|(_, value)| value.take_out(places)),
            Self::Plain(_) | Self::Whole(_) | Self::Broken => {}
        }
    }

    /// All that its expressions need.
    pub fn uses(&self) -> Uses {
        let mut uses = Uses::default();
        self.each_expression(&mut |expression| uses.extend(expression.uses()));
        uses
    }

    /// Evaluates everything that `unknown` doesn't hold back.
    pub fn evaluate(&self, scope: Scope<'_>, unknown: &dyn Fn(&Uses) -> bool) -> Evaluated {
        let mut out = Evaluated::default();
        let mut path = Vec::new();
        out.value = self.evaluate_at(scope, unknown, &mut path, &mut out.holes, &mut out.failures);
        out
    }

    fn evaluate_at(
        &self,
        scope: Scope<'_>,
        unknown: &dyn Fn(&Uses) -> bool,
        path: &mut Vec<String>,
        holes: &mut Vec<Hole>,
        failures: &mut Vec<Failure>,
    ) -> Json {
        let mut one = |expression: &Expression, into_text: bool| -> Option<Json> {
            if unknown(&expression.uses()) {
                return None;
            }
            let value = expression.evaluate(scope);
            let value =
                if into_text { value.and_then(|value| to_text(&value).map(Json::String)) } else { value };
            value
                .map_err(|why| {
                    failures.push(Failure {
                        text: expression.text.clone(),
                        span: expression.span.clone(),
                        why,
                    });
                })
                .ok()
        };
        match self {
            Self::Plain(value) => value.clone(),
            Self::Broken => {
                holes.push(Hole { path: path.clone(), text: false });
                Json::Null
            }
            Self::Whole(expression) => one(expression, false).unwrap_or_else(|| {
                holes.push(Hole { path: path.clone(), text: false });
                Json::Null
            }),
            Self::Text(pieces) => {
                let mut text = String::new();
                let mut known = true;
                for piece in pieces {
                    match piece {
                        Piece::Text(piece) => text.push_str(piece),
                        Piece::Expression(expression) => match one(expression, true) {
                            Some(Json::String(piece)) => text.push_str(&piece),
                            _ => known = false,
                        },
                    }
                }
                if known {
                    return Json::String(text);
                }
                holes.push(Hole { path: path.clone(), text: true });
                Json::String(String::new())
            }
            Self::List(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    out.push(item.evaluate_at(scope, unknown, path, holes, failures));
                    path.pop();
                }
                Json::Array(out)
            }
            Self::Map(members) => {
                let mut out = serde_json::Map::with_capacity(members.len());
                for (key, value) in members {
                    path.push(key.clone());
                    out.insert(key.clone(), value.evaluate_at(scope, unknown, path, holes, failures));
                    path.pop();
                }
                Json::Object(out)
            }
        }
    }
}

fn compile_text(text: &str, node: &Node, source: &Source, report: &mut Report<'_>) -> Template {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut plain = String::new();
    let mut rest = 0;
    let place = |offset: usize| source_offset(&source.text, &node.span, offset);
    while let Some(found) = text[rest..].find("${") {
        let at = rest + found;
        if text[rest..at].ends_with('$') {
            plain.push_str(&text[rest..at]);
            plain.push('{');
            rest = at + 2;
            continue;
        }
        plain.push_str(&text[rest..at]);
        let Some(end) = closing(text, at + 2) else {
            report.add(
                Fault::new("recipe::expression", &(place(at)..place(at + 2)), "this `${` is never closed")
                    .hint("close it with `}`, or write `$${` for the two characters `${`"),
            );
            return Template::Broken;
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        let inner = &text[at + 2..end];
        let start = at + 2;
        match Expression::compile(inner, place(at)..place(end + 1), &|offset| place(start + offset)) {
            Ok(expression) => pieces.push(Piece::Expression(expression)),
            Err(fault) => {
                report.add(fault);
                return Template::Broken;
            }
        }
        rest = end + 1;
    }
    plain.push_str(&text[rest..]);
    if pieces.is_empty() {
        return Template::Plain(Json::String(plain));
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    match pieces.as_slice() {
        [Piece::Expression(expression)] => Template::Whole(expression.clone()),
        _ => Template::Text(pieces),
    }
}

/// The byte of the `}` that closes an expression beginning at `from`; braces in CEL's strings don't count.
fn closing(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            b'{' => depth += 1,
            quote @ (b'\'' | b'"') => {
                let raw = at > from
                    && matches!(bytes[at - 1], b'r' | b'R')
                    && (at < from + 2
                        || !bytes[at - 2].is_ascii_alphanumeric()
                        || matches!(bytes[at - 2], b'b' | b'B'));
                at = skip_string(bytes, at, quote, raw)?;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The byte after the string literal that begins at `at`.
fn skip_string(bytes: &[u8], at: usize, quote: u8, raw: bool) -> Option<usize> {
    let triple = [quote; 3];
    let long = bytes[at..].starts_with(&triple);
    let end: &[u8] = if long { &triple } else { &triple[..1] };
    let mut at = at + end.len();
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 2;
        } else if bytes[at..].starts_with(end) {
            return Some(at + end.len());
        } else {
            at += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn evaluate(json: &Json) -> (Json, Vec<String>) {
        let source = Source::new("t", json.to_string());
        let mut report = Report::new(&source);
        let node = Node::parse(&source, &mut report).unwrap();
        let template = Template::compile(&node, &source, &mut report);
        let inputs = json!({"n": 4, "s": "x}y", "list": [1]});
        let none = json!({});
        let out = template
            .evaluate(Scope { inputs: &inputs, item: None, steps: &none }, &|uses| !uses.steps.is_empty());
        let mut problems: Vec<String> = report.finish().into_iter().map(|d| d.message).collect();
        problems.extend(out.failures.iter().map(|f| f.why.clone()));
        problems.extend(out.holes.iter().map(|h| format!("hole {} {}", h.path.join("/"), h.text)));
        (out.value, problems)
    }

    #[test]
    fn one_expression_keeps_its_type_and_more_make_a_text() {
        for (template, value) in [
            (json!("${inputs.n}"), json!(4)),
            (json!("n is ${inputs.n}"), json!("n is 4")),
            (json!("${inputs.n}${inputs.s}"), json!("4x}y")),
            (json!("$${inputs.n}"), json!("${inputs.n}")),
            (json!("a $${b} ${inputs.n}"), json!("a ${b} 4")),
            (json!("cost: 5$"), json!("cost: 5$")),
            (json!("${'}' + \"}\" + r'\\' + '''}'''}"), json!("}}\\}")),
            (json!("${ {'a': {'b': inputs.n}} }"), json!({"a": {"b": 4}})),
            (json!({"a": ["${inputs.list}", 1], "b": "$${"}), json!({"a": [[1], 1], "b": "${"})),
            (json!(["$${", "x"]), json!(["${", "x"])),
        ] {
            assert_eq!(evaluate(&template), (value, vec![]), "{template}");
        }
    }

    #[test]
    fn what_is_not_known_leaves_a_hole() {
        let (value, problems) =
            evaluate(&json!({"a": "${steps.x.outputs.y}", "b": ["n${steps.x.outputs.y}"]}));
        assert_eq!(value, json!({"a": null, "b": [""]}));
        assert_eq!(problems, ["hole a false", "hole b/0 true"]);
    }

    #[test]
    fn what_fails_says_so() {
        for (template, message) in [
            (json!("${inputs.n"), "this `${` is never closed"),
            (json!("${}"), "the expression is empty"),
            (json!("x${inputs.list}"), "a list can't be put into a text; join it with `.join(\",\")`"),
            (json!({"${inputs.n}": 1}), "a key can't hold an expression"),
        ] {
            let (_, problems) = evaluate(&template);
            assert_eq!(problems.first().map(String::as_str), Some(message), "{template}");
        }
    }
}
