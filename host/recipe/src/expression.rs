//! One CEL expression: compiled once, asked what it refers to, evaluated against a scope.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use cel::{Context, Env, Program};
use godwit_model::Json;

use crate::convert::{from_cel, to_cel};
use crate::diagnostic::{Fault, nearest};
use crate::references::{Found, Reference, literal_path, references};

/// The longest expression that is parsed. A longer one belongs in a plugin.
const MAX_LENGTH: usize = 4096;

/// The environment of every expression: CEL's own functions and the string and list extensions.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for extension in [cel::extensions::strings, cel::extensions::lists] {
        // A fresh standard environment declares none of what these two add.
        let added = env.add_extension(extension);
        debug_assert!(added.is_ok(), "{added:?}");
    }
    Arc::new(env)
});

/// Where a name may come from, for an evaluation.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// An object.
    pub inputs: &'a Json,
    pub item: Option<&'a Json>,
    /// An object by step id, each `{ "outputs": … }`.
    pub steps: &'a Json,
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    /// As written, without `${` and `}`.
    pub text: String,
    /// With `${` and `}`, in bytes of the recipe.
    pub span: Range<usize>,
    program: Arc<Program>,
    found: Vec<Found>,
    /// Set when it is nothing but a path such as `inputs.a.b`.
    path: Option<Vec<String>>,
}

/// What an expression needs before it can be evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    pub inputs: BTreeSet<String>,
    pub steps: BTreeSet<String>,
    pub item: bool,
}

impl Uses {
    pub fn extend(&mut self, other: Uses) {
        self.inputs.extend(other.inputs);
        self.steps.extend(other.steps);
        self.item |= other.item;
    }
}

impl Expression {
    /// Compiles `text`, whose byte `n` stands at `place(n)` of the recipe.
    pub fn compile(text: &str, span: Range<usize>, place: &dyn Fn(usize) -> usize) -> Result<Self, Fault> {
        if text.trim().is_empty() {
            return Err(Fault::new("recipe::expression", &span, "the expression is empty")
                .hint("write `$${` for the two characters `${`"));
        }
        if text.len() > MAX_LENGTH {
            let message = format!("the expression is longer than {MAX_LENGTH} bytes");
            return Err(Fault::new("recipe::expression", &span, message));
        }
        let program = ENV.compile(text).map_err(|errors| syntax_fault(&errors, text, &span, place))?;
        let found = references(&program, text, &span, place);
        let path = literal_path(program.expression());
        Ok(Self { text: text.to_owned(), span, program: Arc::new(program), found, path })
    }

    /// Every reference, in the order of the text.
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    pub fn uses(&self) -> Uses {
        let mut uses = Uses::default();
        for found in &self.found {
            match &found.reference {
                Reference::Input { name, .. } => {
                    uses.inputs.insert(name.clone());
                }
                Reference::Step { id, .. } => {
                    uses.steps.insert(id.clone());
                }
                Reference::Item { .. } => uses.item = true,
                Reference::Inputs | Reference::Steps | Reference::Function(_) | Reference::Unknown(_) => {}
            }
        }
        uses
    }

    /// The value; the error says why there is none.
    pub fn evaluate(&self, scope: Scope<'_>) -> Result<Json, String> {
        if let Some(path) = &self.path {
            return follow(path, scope);
        }
        let uses = self.uses();
        let mut context = Context::with_env(ENV.clone());
        if !uses.inputs.is_empty() {
            let used = pick(scope.inputs, &uses.inputs);
            context.add_variable_from_value("inputs", to_cel(&used));
        }
        if !uses.steps.is_empty() {
            let used = pick(scope.steps, &uses.steps);
            context.add_variable_from_value("steps", to_cel(&used));
        }
        if let Some(item) = scope.item {
            context.add_variable_from_value("item", to_cel(item));
        }
        let value = self.program.execute(&context).map_err(|error| explain(&error))?;
        from_cel(&value)
    }
}

/// The members of `from` with these names.
fn pick(from: &Json, names: &BTreeSet<String>) -> Json {
    let members = names.iter().filter_map(|name| Some((name.clone(), from.get(name)?.clone())));
    Json::Object(members.collect())
}

/// Looks a path up without CEL, so that objects keep their order and numbers their form.
fn follow(path: &[String], scope: Scope<'_>) -> Result<Json, String> {
    let Some((root, rest)) = path.split_first() else { return Err("the expression is empty".to_owned()) };
    let mut at = match root.as_str() {
        "inputs" => scope.inputs,
        "steps" => scope.steps,
        "item" => scope.item.ok_or("there is no `item` outside of a foreach")?,
        other => return Err(format!("there is nothing called `{other}`")),
    };
    let mut walked = root.clone();
    for segment in rest {
        at = match at {
            Json::Object(members) => members.get(segment).ok_or_else(|| {
                let near = nearest(segment, members.keys().map(String::as_str));
                let hint = near.map_or_else(String::new, |near| format!("; it has `{near}`"));
                format!("`{walked}` has no field `{segment}`{hint}")
            })?,
            other => return Err(format!("`{walked}` is {} and has no field `{segment}`", describe(other))),
        };
        walked = format!("{walked}.{segment}");
    }
    Ok(at.clone())
}

pub(crate) fn describe(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

fn explain(error: &cel::ExecutionError) -> String {
    match error {
        cel::ExecutionError::NoSuchKey(key) => format!("there is no field `{key}`"),
        cel::ExecutionError::UndeclaredReference(name) => format!("there is nothing called `{name}`"),
        cel::ExecutionError::IndexOutOfBounds(_) => "the index is outside of the list".to_owned(),
        cel::ExecutionError::DivisionByZero(_) | cel::ExecutionError::RemainderByZero(_) => {
            "division by zero".to_owned()
        }
        cel::ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
            let sign = match *operator {
                "add" => "+",
                "sub" => "-",
                "mul" => "*",
                "div" => "/",
                "rem" => "%",
                other => other,
            };
            format!("`{sign}` can't be applied to {}, {}", left.type_of(), right.type_of())
        }
        cel::ExecutionError::ValuesNotComparable(left, right) => {
            format!("{} and {} can't be compared", left.type_of(), right.type_of())
        }
        cel::ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types().join(", ");
            match overload.function().trim_matches('_') {
                operator if !operator.is_empty() && !operator.starts_with(char::is_alphanumeric) => {
                    format!("`{}` can't be applied to {types}", operator.trim_matches('@'))
                }
                function => format!("`{function}` can't be called with {types}"),
            }
        }
        other => other.to_string(),
    }
}

/// The first fault: what follows it in the same expression is mostly its echo.
fn syntax_fault(
    errors: &cel::ParseErrors,
    text: &str,
    span: &Range<usize>,
    place: &dyn Fn(usize) -> usize,
) -> Fault {
    let Some(error) = errors.errors.first() else {
        return Fault::new("recipe::expression", span, format!("`{text}` isn't an expression"));
    };
    let (line, column) = error.pos;
    let line_start: usize = text
        .split_inclusive('\n')
        .take(usize::try_from(line).unwrap_or(1).saturating_sub(1))
        .map(str::len)
        .sum();
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let rest = text.get(line_start..).unwrap_or_default();
    let at = line_start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
    let start = place(at).clamp(span.start, span.end.saturating_sub(1).max(span.start));
    let message = shorten(error.msg.trim().trim_start_matches("Syntax error: "));
    let fault = format!("`{text}` isn't an expression: {message}");
    Fault::new("recipe::expression", &(start..start + 1), fault).label("here")
}

/// ANTLR speaks of tokens and lists every one it would have taken; a person needs half a sentence.
fn shorten(message: &str) -> String {
    let input = ["mismatched input '", "extraneous input '", "no viable alternative at input '"]
        .iter()
        .find_map(|start| message.strip_prefix(start))
        .and_then(|rest| rest.split('\'').next());
    match input {
        Some("<EOF>") => "it ends where more is expected".to_owned(),
        Some(token) => format!("`{token}` doesn't belong here"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::references::{FUNCTIONS, NULL_TEST};
    use serde_json::json;

    fn compile(text: &str) -> Expression {
        Expression::compile(text, 0..text.len(), &|at| at).unwrap()
    }

    fn evaluate(text: &str) -> Result<Json, String> {
        let inputs = json!({"n": 4, "big": u64::MAX, "s": "text", "list": [1, 2], "o": {"z": 1, "a": 2}});
        let steps = json!({"copy": {"outputs": {"rows": 7}}, "all": {"outputs": {"x": {"rows": 1}}}});
        compile(text).evaluate(Scope { inputs: &inputs, item: Some(&json!({"name": "i"})), steps: &steps })
    }

    #[test]
    fn values_keep_their_types() {
        for (text, value) in [
            ("inputs.n", json!(4)),
            ("inputs.n + 1", json!(5)),
            ("inputs.big", json!(u64::MAX)),
            ("inputs.s + '!'", json!("text!")),
            ("inputs['s']", json!("text")),
            ("inputs.list.map(x, x * 2)", json!([2, 4])),
            ("inputs.o", json!({"z": 1, "a": 2})),
            ("{'b': 1, 'a': [true, null]}", json!({"a": [true, null], "b": 1})),
            ("steps.copy.outputs.rows > 3 ? 'many' : 'few'", json!("many")),
            ("steps.all.outputs['x'].rows", json!(1)),
            ("item.name.upperAscii()", json!("I")),
            ("'a,b'.split(',')", json!(["a", "b"])),
            ("['b', 'a'].sort().join('-')", json!("a-b")),
            ("has(inputs.o.z) && size(inputs.list) == 2", json!(true)),
            ("lists.range(3)", json!([0, 1, 2])),
            ("string(1.5)", json!("1.5")),
            ("type(inputs.s) == string", json!(true)),
        ] {
            assert_eq!(evaluate(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn failures_are_said_in_words() {
        for (text, message) in [
            ("inputs.zist.y", "`inputs` has no field `zist`; it has `list`"),
            ("inputs.n.x", "`inputs.n` is a number and has no field `x`"),
            ("inputs.n + 'x'", "`+` can't be applied to int, string"),
            ("inputs.list[9]", "the index is outside of the list"),
            ("1 / 0", "division by zero"),
            ("b'x'", "a value of type bytes can't stand in JSON; turn it into a text with `string(…)`"),
        ] {
            assert_eq!(evaluate(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn references_know_what_is_done_to_them() {
        let of = |text: &str| -> Vec<(Reference, Option<String>)> {
            compile(text).found().iter().map(|f| (f.reference.clone(), f.inside.clone())).collect()
        };
        let input = |name: &str| Reference::Input { name: name.into(), deeper: false };
        assert_eq!(of("'a' + inputs.pw + 'b'"), vec![(input("pw"), None)]);
        assert_eq!(
            of("inputs.a ? inputs.b : 'x'"),
            vec![(input("a"), Some("a condition".into())), (input("b"), None)]
        );
        assert_eq!(of("inputs.pw == 'x'"), vec![(input("pw"), Some("operator `==`".into()))]);
        assert_eq!(of("inputs.pw != null"), vec![(input("pw"), Some(NULL_TEST.into()))]);
        assert_eq!(of("[1].map(x, inputs.pw + 'x')"), vec![(input("pw"), None)]);
        assert_eq!(of("[1].exists(item, item == 1)"), vec![]);
        assert_eq!(
            of("steps['a-b'].outputs.x[0]"),
            vec![(Reference::Step { id: "a-b".into(), path: vec!["outputs".into(), "x".into()] }, None)]
        );
        assert_eq!(of("inputs"), vec![(Reference::Inputs, None)]);
    }

    #[test]
    fn places_count_bytes_of_the_recipe() {
        let text = "'é' + inputs.name";
        let found = compile(text).found().to_vec();
        assert_eq!(&text[found[0].span.clone()], "inputs.name");
    }

    #[test]
    fn every_listed_function_exists() {
        for name in FUNCTIONS {
            let calls = [
                format!("{name}()"),
                format!("{name}('1')"),
                format!("'1'.{name}()"),
                format!("'1'.{name}('1')"),
                format!("[1].{name}()"),
                format!("{name}(1)"),
                format!("{name}(1, 2)"),
                format!("timestamp('2024-01-01T00:00:00Z').{name}()"),
            ];
            let unknown = |call: &String| match Expression::compile(call, 0..call.len(), &|at| at) {
                Ok(expression) => {
                    let none = json!({});
                    let value = expression.evaluate(Scope { inputs: &none, item: None, steps: &none });
                    value.is_err_and(|why| why.starts_with("there is nothing called"))
                }
                Err(_) => true,
            };
            assert!(!calls.iter().all(unknown), "{name} isn't there");
        }
    }
}
