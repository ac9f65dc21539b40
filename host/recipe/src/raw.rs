//! The raw form of a recipe: its shape is right, its references aren't looked at yet.

use std::collections::BTreeSet;
use std::ops::Range;

use godwit_model::plugin::ConnectionKind;

use crate::connections;
use crate::credentials;
use crate::diagnostic::{Fault, Report, suggest};
use crate::document::{Kind, Node};
use crate::input::{InputSpec, InputType};
use crate::raw_step::{RawStep, read_step};
use crate::reader::{Fields, check_name, items, members, wrong_type};
use crate::values::has_type;

/// The version of the recipe language.
pub(crate) const FORMAT: &str = "1";

const TOP: &[&str] =
    &["$schema", "godwit", "name", "description", "inputs", "connections", "steps", "outputs"];
const INPUT: &[&str] = &["type", "description", "default", "env", "enum"];

#[derive(Debug)]
pub(crate) struct RawRecipe<'n> {
    pub name: String,
    pub description: Option<String>,
    pub inputs: Vec<InputSpec>,
    /// Names of inputs whose declaration is at fault; those whose type isn't known are missing in `inputs`.
    pub broken_inputs: BTreeSet<String>,
    pub connections: Vec<RawConnection<'n>>,
    pub steps: Vec<RawStep<'n>>,
    pub outputs: Option<&'n Node>,
}

#[derive(Debug)]
pub(crate) struct RawConnection<'n> {
    pub name: String,
    pub kind: Option<ConnectionKind>,
    pub node: &'n Node,
}

impl<'n> RawRecipe<'n> {
    pub fn read(root: &'n Node, report: &mut Report<'_>) -> Option<Self> {
        let top = Fields::open(root, "the recipe", TOP, report)?;
        top.text("$schema", report);
        if let Some(format) =
            top.require_text("godwit", "\"godwit\": \"1\" is the format this Godwit reads", report)
            && format.value != FORMAT
        {
            report.add(
                Fault::new(
                    "recipe::format",
                    &format.span,
                    format!("this Godwit reads recipes of format {FORMAT}, not `{}`", format.value),
                )
                .hint("a newer format wants a newer Godwit"),
            );
        }
        let name = top.require_text("name", "\"name\": \"…\"", report);
        if let Some(name) = &name {
            check_name(&name.value, &name.span, "a recipe", report);
        }
        let description = top.text("description", report).map(|text| text.value);
        let (inputs, broken_inputs) = read_inputs(root, report);
        let connections = match top.get("connections") {
            Some(member) => members(&member.value, "`connections`", report)
                .iter()
                .filter(|member| check_name(&member.key, &member.key_span, "a connection", report))
                .map(|member| RawConnection { name: member.key.clone(), kind: None, node: &member.value })
                .collect(),
            None => Vec::new(),
        };
        let mut recipe = Self {
            name: name.map(|name| name.value).unwrap_or_default(),
            description,
            inputs,
            broken_inputs,
            connections,
            steps: Vec::new(),
            outputs: top.get("outputs").map(|member| &member.value),
        };
        for connection in &mut recipe.connections {
            read_connection(connection, report);
        }
        if let Some(steps) =
            top.require("steps", "\"steps\": [ { \"id\": \"…\", \"plugin\": \"…\" } ]", report)
        {
            let steps_at = items(steps, "`steps`", report);
            if steps_at.is_empty() && matches!(steps.kind, Kind::Array(_)) {
                report.add(
                    Fault::new("recipe::no-steps", &steps.span, "the recipe has no steps")
                        .hint("{ \"id\": \"…\", \"plugin\": \"…\" }"),
                );
            }
            for (index, node) in steps_at.iter().enumerate() {
                if let Some(step) = read_step(node, index, &recipe.steps, report) {
                    recipe.steps.push(step);
                }
            }
        }
        if let Some(outputs) = recipe.outputs {
            members(outputs, "`outputs`", report);
        }
        Some(recipe)
    }
}

/// The inputs, and the names of those whose declaration is at fault.
pub(crate) fn read_inputs(root: &Node, report: &mut Report<'_>) -> (Vec<InputSpec>, BTreeSet<String>) {
    let mut specs = Vec::new();
    let mut broken = BTreeSet::new();
    let Some(declared) = root.member("inputs") else { return (specs, broken) };
    for member in members(&declared.value, "`inputs`", report) {
        let spec = check_name(&member.key, &member.key_span, "an input", report)
            .then(|| read_input(&member.key, &member.key_span, &member.value, report))
            .flatten();
        let bad_default =
            |spec: &InputSpec| spec.default.is_none() && member.value.member("default").is_some();
        if spec.as_ref().is_none_or(bad_default) {
            broken.insert(member.key.clone());
        }
        specs.extend(spec);
    }
    (specs, broken)
}

fn read_input(name: &str, span: &Range<usize>, node: &Node, report: &mut Report<'_>) -> Option<InputSpec> {
    let fields = Fields::open(node, format!("input `{name}`"), INPUT, report)?;
    let types = InputType::ALL.map(InputType::name);
    let kind = fields.require_text("type", &format!("\"type\": one of {}", types.join(", ")), report)?;
    let Some(input_type) = InputType::from_name(&kind.value) else {
        report.add(
            Fault::new("recipe::input-type", &kind.span, format!("there is no type called `{}`", kind.value))
                .hint_opt(suggest(&kind.value, types)),
        );
        return None;
    };
    let description = fields.text("description", report).map(|text| text.value);
    let env = match fields.text("env", report) {
        Some(env) => {
            let good = env.value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && env.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !good {
                report.add(Fault::new(
                    "recipe::name",
                    &env.span,
                    format!("`{}` can't be the name of an environment variable", env.value),
                ));
            }
            env.value
        }
        None => format!("GODWIT_INPUT_{}", name.to_ascii_uppercase().replace('-', "_")),
    };
    let default = fields.get("default").and_then(|member| {
        let value = member.value.to_json();
        match default_fault(name, input_type, &member.value) {
            Some(fault) => {
                report.add(fault);
                None
            }
            None => Some(value),
        }
    });
    let mut choices = Vec::new();
    if let Some(member) = fields.get("enum") {
        for item in items(&member.value, &format!("`enum` of input `{name}`"), report) {
            let value = item.to_json();
            if has_type(input_type, &value) {
                choices.push(value);
            } else {
                report.add(wrong_type(
                    item,
                    &format!("an item of `enum` of input `{name}`"),
                    input_type.name(),
                ));
            }
        }
        if let (Some(value), Some(at)) = (&default, fields.get("default"))
            && !choices.is_empty()
            && !value.is_null()
            && !choices.contains(value)
        {
            report.add(Fault::new(
                "recipe::default",
                &at.value.span,
                format!("the default of input `{name}` is none of its `enum`"),
            ));
        }
    }
    Some(InputSpec {
        name: name.to_owned(),
        kind: input_type,
        description,
        default,
        env,
        choices,
        span: span.clone(),
    })
}

fn default_fault(name: &str, kind: InputType, node: &Node) -> Option<Fault> {
    let value = node.to_json();
    if value.is_null() {
        return None;
    }
    if kind == InputType::Secret {
        return Some(
            Fault::new(
                "recipe::plain-credential",
                &node.span,
                format!("secret input `{name}` has a default"),
            )
            .hint("a recipe holds no credentials; for an optional one, write \"default\": null"),
        );
    }
    if let Some(found) = credentials::find_in(&value) {
        return Some(
            Fault::new(
                "recipe::plain-credential",
                &node.span,
                format!("the default of input `{name}` holds {found} in the open"),
            )
            .hint("leave the credential out of the recipe; it comes from the environment or an --env-file"),
        );
    }
    if !has_type(kind, &value) {
        return Some(wrong_type(
            node,
            &format!("the default of input `{name}`"),
            &format!("of type {}", kind.name()),
        ));
    }
    if value.as_str().is_some_and(|text| text.contains("${")) {
        return Some(
            Fault::new(
                "recipe::default",
                &node.span,
                format!("the default of input `{name}` can't be an expression"),
            )
            .hint("put the expression where the input is used"),
        );
    }
    None
}

fn read_connection(connection: &mut RawConnection<'_>, report: &mut Report<'_>) {
    let what = format!("connection `{}`", connection.name);
    if !matches!(connection.node.kind, Kind::Object(_)) {
        report.add(
            wrong_type(connection.node, &what, "an object")
                .hint("{ \"kind\": \"postgres\", \"url\": \"${inputs.…}\" }"),
        );
        return;
    }
    connection.kind = connections::read_kind(&connection.name, connection.node, report);
    if let Some(kind) = connection.kind {
        let known: Vec<&str> =
            std::iter::once("kind").chain(connections::fields(kind).iter().map(|field| field.name)).collect();
        Fields::open(connection.node, format!("{what} of kind {}", kind.name()), &known, report);
    }
}
