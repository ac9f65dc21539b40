//! What an expression speaks of, and what it does to it.

use std::ops::Range;

use cel::Program;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use crate::diagnostic::{Fault, nearest};

/// What can be called, beside operators and macros; the names of CEL's specification and of cel-go's extensions.
pub(crate) const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "charAt",
    "contains",
    "distinct",
    "double",
    "dyn",
    "duration",
    "endsWith",
    "flatten",
    "format",
    "indexOf",
    "int",
    "join",
    "lastIndexOf",
    "lists.range",
    "lowerAscii",
    "matches",
    "replace",
    "reverse",
    "size",
    "slice",
    "sort",
    "split",
    "startsWith",
    "string",
    "strings.quote",
    "substring",
    "timestamp",
    "trim",
    "type",
    "uint",
    "upperAscii",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
];
const MACROS: &[&str] = &["has", "all", "exists", "exists_one", "map", "filter"];
const NAMESPACES: &[&str] = &["lists", "strings"];
/// What a comparison with null counts as: it gives nothing away but whether something was given.
pub(crate) const NULL_TEST: &str = "a test for null";
/// Names of types, as `type(x) == string` uses them.
const TYPES: &[&str] =
    &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// What an expression speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// `inputs.x`; `deeper` when something below it is named.
    Input {
        name: String,
        deeper: bool,
    },
    /// `inputs` without a name that can be read from the text.
    Inputs,
    /// `item` and the first field below it.
    Item {
        field: Option<String>,
    },
    /// `steps.x` and the fields below it that can be read from the text.
    Step {
        id: String,
        path: Vec<String>,
    },
    /// `steps` without a name that can be read from the text.
    Steps,
    Function(String),
    Unknown(String),
}

/// A reference, what is done to it, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub reference: Reference,
    /// What the reference sits in, where that is more than a concatenation: ``function `size` ``.
    pub inside: Option<String>,
    /// Bytes of the recipe.
    pub span: Range<usize>,
}

/// Every reference of a program, in the order of its text. Byte `n` of `text` stands at `place(n)` of the recipe, the
/// whole expression at `span`.
pub(crate) fn references(
    program: &Program,
    text: &str,
    span: &Range<usize>,
    place: &dyn Fn(usize) -> usize,
) -> Vec<Found> {
    let mut walk = Walk { program, text, span, place, found: Vec::new(), bound: Vec::new() };
    walk.visit(program.expression(), None);
    walk.found
}

/// The segments of an expression that is only a path from a root.
pub(crate) fn literal_path(expr: &IdedExpr) -> Option<Vec<String>> {
    let (root, _, segments) = chain(expr)?;
    let mut path = vec![root.to_owned()];
    for segment in segments {
        match segment {
            Segment::Field(name) => path.push(name.to_owned()),
            Segment::Dynamic(_) | Segment::Test(_) => return None,
        }
    }
    Some(path)
}

enum Segment<'e> {
    Field(&'e str),
    /// The last segment of `has(…)`.
    Test(&'e str),
    Dynamic(&'e IdedExpr),
}

/// A root name with what is selected below it: `a.b["c"][i]`.
fn chain(expr: &IdedExpr) -> Option<(&str, u64, Vec<Segment<'_>>)> {
    match &expr.expr {
        Expr::Ident(name) => Some((name, expr.id, Vec::new())),
        Expr::Select(select) => {
            let (root, id, mut segments) = chain(&select.operand)?;
            segments.push(if select.test {
                Segment::Test(&select.field)
            } else {
                Segment::Field(&select.field)
            });
            Some((root, id, segments))
        }
        Expr::Call(call) => {
            let (operand, index) = indexing(call)?;
            let (root, id, mut segments) = chain(operand)?;
            segments.push(match &index.expr {
                Expr::Literal(LiteralValue::String(text)) => Segment::Field(text.inner()),
                _ => Segment::Dynamic(index),
            });
            Some((root, id, segments))
        }
        _ => None,
    }
}

fn indexing(call: &CallExpr) -> Option<(&IdedExpr, &IdedExpr)> {
    if call.func_name != operators::INDEX {
        return None;
    }
    match (&call.target, call.args.as_slice()) {
        (None, [operand, index]) => Some((operand, index)),
        (Some(operand), [index]) => Some((operand, index)),
        _ => None,
    }
}

/// Gathers references, with scoping of what macros bind.
struct Walk<'w> {
    program: &'w Program,
    text: &'w str,
    span: &'w Range<usize>,
    place: &'w dyn Fn(usize) -> usize,
    found: Vec<Found>,
    bound: Vec<String>,
}

impl Walk<'_> {
    fn push(&mut self, reference: Reference, inside: Option<&str>, id: u64, shown: &str) {
        let span = self.locate(id, shown);
        self.found.push(Found { reference, inside: inside.map(str::to_owned), span });
    }

    /// The place of the name of a function: CEL keeps that of the parenthesis after it.
    fn locate_call(&self, name: &str) -> Range<usize> {
        match self.text.find(&format!("{name}(")) {
            Some(at) => (self.place)(at)..(self.place)(at + name.len()),
            None => self.span.clone(),
        }
    }

    /// The place of `shown` in the recipe, or else that of the whole expression.
    fn locate(&self, id: u64, shown: &str) -> Range<usize> {
        let root = shown.split(['.', '[', '(']).next().unwrap_or(shown);
        let at = self.program.source_info().offset_for(id).and_then(|(start, _)| {
            let start = usize::try_from(start).ok()?;
            self.text.get(start..).filter(|rest| rest.starts_with(root)).map(|_| start)
        });
        match at {
            Some(at) => {
                let len = if self.text[at..].starts_with(shown) { shown.len() } else { root.len() };
                (self.place)(at)..(self.place)(at + len)
            }
            None => self.span.clone(),
        }
    }

    fn visit(&mut self, expr: &IdedExpr, inside: Option<&str>) {
        if let Some((root, id, segments)) = chain(expr) {
            self.visit_chain(root, id, &segments, inside);
            return;
        }
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => {}
            Expr::Select(select) => self.visit(&select.operand, Some("a field access")),
            Expr::Call(call) => self.visit_call(call, inside),
            Expr::List(list) => list.elements.iter().for_each(|element| self.visit(element, inside)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.visit(&entry.key, Some("a key"));
                        self.visit(&entry.value, inside);
                    }
                }
            }
            Expr::Struct(literal) => {
                self.push(Reference::Unknown(literal.type_name.clone()), inside, expr.id, &literal.type_name);
            }
            Expr::Comprehension(comprehension) => {
                self.visit(&comprehension.iter_range, Some("the range of a macro"));
                self.visit(&comprehension.accu_init, inside);
                let before = self.bound.len();
                self.bound.push(comprehension.iter_var.clone());
                self.bound.extend(comprehension.iter_var2.clone());
                self.bound.push(comprehension.accu_var.clone());
                self.visit(&comprehension.loop_cond, Some("the condition of a macro"));
                self.visit(&comprehension.loop_step, inside);
                self.visit(&comprehension.result, inside);
                self.bound.truncate(before);
            }
        }
    }

    fn visit_chain(&mut self, root: &str, id: u64, segments: &[Segment<'_>], inside: Option<&str>) {
        for segment in segments {
            if let Segment::Dynamic(index) = segment {
                self.visit(index, Some("an index"));
            }
        }
        if self.bound.iter().any(|name| name == root) || root.starts_with('@') {
            return;
        }
        let tested = segments.iter().any(|segment| matches!(segment, Segment::Test(_)));
        let inside = if tested { Some("has()") } else { inside };
        let field = |at: usize| match segments.get(at) {
            Some(Segment::Field(name) | Segment::Test(name)) => Some((*name).to_owned()),
            _ => None,
        };
        match root {
            "inputs" => match field(0) {
                Some(name) => {
                    let deeper = segments.len() > 1;
                    let shown = format!("inputs.{name}");
                    self.push(Reference::Input { name, deeper }, inside, id, &shown);
                }
                None => self.push(Reference::Inputs, inside, id, "inputs"),
            },
            "item" => self.push(Reference::Item { field: field(0) }, inside, id, "item"),
            "steps" => match field(0) {
                Some(step) => {
                    let path = (1..).map_while(field).collect();
                    let shown = format!("steps.{step}");
                    self.push(Reference::Step { id: step, path }, inside, id, &shown);
                }
                None => self.push(Reference::Steps, inside, id, "steps"),
            },
            name if TYPES.contains(&name) && segments.is_empty() => {}
            name => self.push(Reference::Unknown(name.to_owned()), inside, id, name),
        }
    }

    fn visit_call(&mut self, call: &CallExpr, inside: Option<&str>) {
        let name = call.func_name.as_str();
        let parts = call.target.as_deref().into_iter().chain(&call.args);
        match name {
            operators::ADD => parts.for_each(|part| self.visit(part, inside)),
            operators::CONDITIONAL => {
                for (index, part) in parts.enumerate() {
                    self.visit(part, if index == 0 { Some("a condition") } else { inside });
                }
            }
            operators::EQUALS | operators::NOT_EQUALS
                if call.args.iter().any(|arg| matches!(arg.expr, Expr::Literal(LiteralValue::Null))) =>
            {
                parts.for_each(|part| self.visit(part, Some(NULL_TEST)));
            }
            operators::INDEX => parts.for_each(|part| self.visit(part, Some("an index"))),
            _ if !name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                let what = format!("operator `{}`", name.trim_matches(['_', '@']));
                parts.for_each(|part| self.visit(part, Some(&what)));
            }
            _ => {
                let namespace = call.target.as_deref().and_then(|target| match &target.expr {
                    Expr::Ident(name) if NAMESPACES.contains(&name.as_str()) => Some(name),
                    _ => None,
                });
                let what = format!("function `{name}`");
                let full =
                    namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}.{name}"));
                let span = self.locate_call(name);
                self.found.push(Found { reference: Reference::Function(full), inside: None, span });
                if namespace.is_some() {
                    call.args.iter().for_each(|arg| self.visit(arg, Some(&what)));
                } else {
                    parts.for_each(|part| self.visit(part, Some(&what)));
                }
            }
        }
    }
}

/// The fault of a call to something that isn't there.
pub(crate) fn unknown_function(name: &str, span: &Range<usize>) -> Option<Fault> {
    if FUNCTIONS.contains(&name) {
        return None;
    }
    let fault = Fault::new("recipe::unknown-function", span, format!("there is no function `{name}`"));
    if MACROS.contains(&name) {
        return Some(
            fault.hint(format!("the macro `{name}` is written differently, as in `list.map(x, x + 1)`")),
        );
    }
    Some(match nearest(name, FUNCTIONS.iter().chain(MACROS).copied()) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault.hint("CEL's own functions can be called, and its extensions for strings and lists"),
    })
}
