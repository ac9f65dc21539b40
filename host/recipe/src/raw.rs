//! The raw form of a recipe: its shape is right, its references aren't looked at yet.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use godwit_model::plugin::{Access, ConnectionKind, Limits};

use crate::checked::{OnFailure, Retry};
use crate::connections;
use crate::credentials;
use crate::diagnostic::{Fault, Report, suggest};
use crate::document::{Kind, Node};
use crate::input::{InputSpec, InputType};
use crate::reader::{Fields, Text, check_name, items, members, opening, texts, wrong_type};
use crate::units;
use crate::values::has_type;

/// The version of the recipe language.
pub(crate) const FORMAT: &str = "1";

const TOP: &[&str] =
    &["$schema", "godwit", "name", "description", "inputs", "connections", "steps", "outputs"];
const INPUT: &[&str] = &["type", "description", "default", "env", "enum"];
const STEP: &[&str] = &[
    "id",
    "plugin",
    "description",
    "grant",
    "with",
    "needs",
    "when",
    "foreach",
    "retry",
    "timeout",
    "limits",
    "transforms",
    "on_failure",
    "cutover",
];
const GRANT: &[&str] = &["connection", "access", "database", "secrets"];

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

#[derive(Debug)]
pub(crate) struct RawStep<'n> {
    /// ``step `copy` ``, or `step 3` where it has no id.
    pub what: String,
    pub node: &'n Node,
    /// `None` where it is missing, malformed or taken.
    pub id: Option<Text>,
    pub plugin: Option<Text>,
    pub description: Option<String>,
    pub grants: Vec<RawGrant<'n>>,
    pub with: Option<&'n Node>,
    pub needs: Vec<Text>,
    pub when: Option<&'n Node>,
    pub foreach: Option<RawForeach<'n>>,
    pub retry: Retry,
    pub timeout: Option<Duration>,
    pub limits: Limits,
    pub transforms: Vec<RawTransform<'n>>,
    pub on_failure: OnFailure,
    pub cutover: Option<Range<usize>>,
}

#[derive(Debug)]
pub(crate) struct RawGrant<'n> {
    pub slot: Text,
    pub connection: Option<&'n Node>,
    pub access: Option<(Access, Range<usize>)>,
    pub database: Option<&'n Node>,
    pub secrets: Vec<Text>,
}

#[derive(Debug)]
pub(crate) struct RawForeach<'n> {
    pub list: &'n Node,
    pub key: &'n Node,
}

#[derive(Debug)]
pub(crate) struct RawTransform<'n> {
    pub node: &'n Node,
    pub plugin: Option<Text>,
    pub labels: Vec<Text>,
    pub with: Option<&'n Node>,
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

fn read_step<'n>(
    node: &'n Node,
    index: usize,
    before: &[RawStep<'n>],
    report: &mut Report<'_>,
) -> Option<RawStep<'n>> {
    let named = node.member("id").and_then(|member| member.value.as_str());
    let what = named.map_or_else(|| format!("step {}", index + 1), |id| format!("step `{id}`"));
    let fields = Fields::open(node, what.clone(), STEP, report)?;
    let id = fields
        .require_text("id", "\"id\": \"…\": by this name it is known in plans and reports", report)
        .filter(|id| {
            if let Some(first) =
                before.iter().filter_map(|step| step.id.as_ref()).find(|first| first.value == id.value)
            {
                let (line, _) = report.source().position(first.span.start);
                report.add(
                    Fault::new(
                        "recipe::duplicate-id",
                        &id.span,
                        format!("there are two steps `{}`", id.value),
                    )
                    .label("the second one")
                    .hint(format!("the first one stands in line {line}; give this one another id")),
                );
                return false;
            }
            check_name(&id.value, &id.span, "a step", report)
        });
    let plugin = fields.require_text("plugin", "\"plugin\": \"…\"; `godwit plugin list` shows them", report);
    let description = fields.text("description", report).map(|text| text.value);
    let grants =
        fields.get("grant").map_or_else(Vec::new, |member| read_grants(&member.value, &what, report));
    let with = fields.get("with").map(|member| &member.value).filter(|node| {
        let object = matches!(node.kind, Kind::Object(_));
        if !object {
            report.add(wrong_type(node, &format!("`with` of {what}"), "an object"));
        }
        object
    });
    let needs = fields
        .get("needs")
        .map_or_else(Vec::new, |member| texts(&member.value, &format!("`needs` of {what}"), report));
    let when = fields.get("when").map(|member| &member.value).filter(|node| read_when(node, &what, report));
    let foreach = fields.get("foreach").and_then(|member| {
        let each = Fields::open(&member.value, format!("`foreach` of {what}"), &["in", "key"], report)?;
        let list = each.require("in", "\"in\": \"${inputs.…}\", a list", report);
        let key = each.require("key", "\"key\": \"${item.name}\": it makes the step's id unique", report)?;
        if key.as_str().is_none() {
            report.add(wrong_type(key, &format!("`key` of `foreach` of {what}"), "a string"));
            return None;
        }
        Some(RawForeach { list: list?, key })
    });
    let retry =
        fields.get("retry").map_or_else(Retry::default, |member| read_retry(&member.value, &what, report));
    let timeout = fields.text("timeout", report).and_then(|text| {
        let timeout = units::duration(&text.value).filter(|duration| !duration.is_zero());
        if timeout.is_none() {
            report.add(not_a_duration(&text, &format!("`timeout` of {what}")));
        }
        timeout
    });
    let limits =
        fields.get("limits").map_or_else(Limits::default, |member| read_limits(&member.value, &what, report));
    let transforms = fields.get("transforms").map_or_else(Vec::new, |member| {
        items(&member.value, &format!("`transforms` of {what}"), report)
            .iter()
            .filter_map(|node| read_transform(node, &what, report))
            .collect()
    });
    let on_failure = fields
        .get("on_failure")
        .map_or(OnFailure::Stop, |member| read_on_failure(&member.value, &what, report));
    let cutover = fields
        .bool("cutover", report)
        .filter(|cutover| *cutover)
        .and_then(|_| fields.get("cutover"))
        .map(|member| member.key_span.start..member.value.span.end);
    Some(RawStep {
        what,
        node,
        id,
        plugin,
        description,
        grants,
        with,
        needs,
        when,
        foreach,
        retry,
        timeout,
        limits,
        transforms,
        on_failure,
        cutover,
    })
}

fn read_when(node: &Node, what: &str, report: &mut Report<'_>) -> bool {
    match &node.kind {
        Kind::Bool(_) => true,
        Kind::String(text) if text.contains("${") => true,
        Kind::String(text) => {
            report.add(
                Fault::new("recipe::type", &node.span, format!("`when` of {what} is no expression"))
                    .hint(format!("\"when\": \"${{{text}}}\"")),
            );
            false
        }
        _ => {
            report.add(wrong_type(node, &format!("`when` of {what}"), "an expression or a boolean"));
            false
        }
    }
}

fn read_grants<'n>(node: &'n Node, what: &str, report: &mut Report<'_>) -> Vec<RawGrant<'n>> {
    let mut grants = Vec::new();
    for member in members(node, &format!("`grant` of {what}"), report) {
        let slot = Text { value: member.key.clone(), span: member.key_span.clone() };
        if let Some(connection) = member.value.as_str() {
            report.add(
                Fault::new(
                    "recipe::grant",
                    &member.value.span,
                    format!("the grant of slot `{}` doesn't say which access it gives", slot.value),
                )
                .hint(format!(
                    "\"{}\": {{ \"connection\": \"{connection}\", \"access\": \"read\" }}, or \"write\"",
                    slot.value
                )),
            );
            continue;
        }
        let name = format!("the grant of slot `{}`", slot.value);
        let Some(fields) = Fields::open(&member.value, name.as_str(), GRANT, report) else { continue };
        let connection = fields.require("connection", "\"connection\": \"…\"", report);
        let connection = connection.filter(|node| {
            let text = node.as_str().is_some();
            if !text {
                report.add(wrong_type(node, &format!("`connection` of {name}"), "a string"));
            }
            text
        });
        let access =
            fields.require_text("access", "\"access\": \"read\", or \"write\"", report).and_then(|text| {
                let access =
                    [Access::Read, Access::Write].into_iter().find(|access| access.name() == text.value);
                if access.is_none() {
                    report.add(
                        Fault::new(
                            "recipe::grant",
                            &text.span,
                            format!("there is no access `{}`", text.value),
                        )
                        .hint("\"read\" or \"write\""),
                    );
                }
                Some((access?, text.span))
            });
        let database = fields.get("database").map(|member| &member.value).filter(|node| {
            let text = node.as_str().is_some();
            if !text {
                report.add(wrong_type(node, &format!("`database` of {name}"), "a string"));
            }
            text
        });
        let secrets = fields
            .get("secrets")
            .map_or_else(Vec::new, |member| texts(&member.value, &format!("`secrets` of {name}"), report));
        grants.push(RawGrant { slot, connection, access, database, secrets });
    }
    grants
}

fn not_a_duration(text: &Text, what: &str) -> Fault {
    Fault::new("recipe::duration", &text.span, format!("{what} can't be `{}`", text.value))
        .hint("write it as \"500ms\", \"30s\", \"5m\", \"2h\" or \"1h30m\"")
}

fn read_retry(node: &Node, what: &str, report: &mut Report<'_>) -> Retry {
    let mut retry = Retry::default();
    let Some(fields) = Fields::open(node, format!("`retry` of {what}"), &["attempts", "backoff"], report)
    else {
        return retry;
    };
    if let Some(attempts) = fields.count("attempts", 1, report) {
        retry.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    }
    if let Some(text) = fields.text("backoff", report) {
        match units::duration(&text.value) {
            Some(backoff) => retry.backoff = backoff,
            None => report.add(not_a_duration(&text, &format!("`backoff` of {what}"))),
        }
    }
    retry
}

/// The most memory that a 32-bit guest can have.
const MOST_MEMORY: u64 = 4 << 30;

fn read_limits(node: &Node, what: &str, report: &mut Report<'_>) -> Limits {
    let mut limits = Limits::default();
    let names = ["memory", "cpu", "log", "output", "effects"];
    let Some(fields) = Fields::open(node, format!("`limits` of {what}"), &names, report) else {
        return limits;
    };
    for (name, limit) in
        [("memory", &mut limits.memory), ("log", &mut limits.log), ("output", &mut limits.output)]
    {
        let Some(member) = fields.get(name) else { continue };
        let size = match &member.value.kind {
            Kind::Number(number) => number.as_u64(),
            Kind::String(text) => units::size(text),
            _ => None,
        };
        match size.filter(|size| *size > 0 && (name != "memory" || *size <= MOST_MEMORY)) {
            Some(size) => *limit = size,
            None => report.add(
                Fault::new(
                    "recipe::size",
                    &member.value.span,
                    format!("`{name}` of `limits` of {what} is no size"),
                )
                .hint(if name == "memory" {
                    "write it as \"64KiB\", \"256MiB\" or \"1GiB\", or in bytes; at most \"4GiB\""
                } else {
                    "write it as \"64KiB\", \"256MiB\" or \"1GiB\", or in bytes"
                }),
            ),
        }
    }
    if let Some(text) = fields.text("cpu", report) {
        match units::duration(&text.value).filter(|cpu| !cpu.is_zero()) {
            Some(cpu) => limits.cpu_ms = u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX),
            None => report.add(not_a_duration(&text, &format!("`cpu` of `limits` of {what}"))),
        }
    }
    if let Some(effects) = fields.count("effects", 1, report) {
        limits.effects = effects;
    }
    limits
}

fn read_transform<'n>(node: &'n Node, what: &str, report: &mut Report<'_>) -> Option<RawTransform<'n>> {
    let fields = Fields::open(node, format!("a transform of {what}"), &["plugin", "labels", "with"], report)?;
    let plugin = fields.require_text("plugin", "\"plugin\": \"…\"", report);
    let mut labels = Vec::new();
    if let Some(node) =
        fields.require("labels", "\"labels\": [\"public.*\"]: the transfers it sits in", report)
    {
        labels = texts(node, &format!("`labels` of a transform of {what}"), report);
        if labels.is_empty() && matches!(&node.kind, Kind::Array(items) if items.is_empty()) {
            report.add(
                Fault::new("recipe::label", &node.span, "a transform without labels sits nowhere")
                    .hint("\"labels\": [\"public.users\"]; \"*\" is every transfer of the step"),
            );
        }
    }
    let with = fields.get("with").map(|member| &member.value).filter(|node| {
        let object = matches!(node.kind, Kind::Object(_));
        if !object {
            report.add(wrong_type(node, &format!("`with` of a transform of {what}"), "an object"));
        }
        object
    });
    Some(RawTransform { node, plugin, labels, with })
}

fn read_on_failure(node: &Node, what: &str, report: &mut Report<'_>) -> OnFailure {
    let hint = "\"on_failure\": \"stop\", or { \"continue\": { \"max_errors\": 10 } }";
    match &node.kind {
        Kind::String(text) if text == "stop" => OnFailure::Stop,
        Kind::Object(_) => {
            let what = format!("`on_failure` of {what}");
            let Some(fields) = Fields::open(node, what.as_str(), &["continue"], report) else {
                return OnFailure::Stop;
            };
            let Some(node) = fields.require("continue", hint, report) else { return OnFailure::Stop };
            let what = format!("`continue` of {what}");
            let Some(fields) = Fields::open(node, what, &["max_errors"], report) else {
                return OnFailure::Stop;
            };
            fields.require("max_errors", hint, report);
            match fields.count("max_errors", 0, report) {
                Some(max_errors) => OnFailure::Continue { max_errors },
                None => OnFailure::Stop,
            }
        }
        _ => {
            report.add(
                Fault::new(
                    "recipe::type",
                    &node.span,
                    format!("`on_failure` of {what} is neither of its two forms"),
                )
                .hint(hint),
            );
            OnFailure::Stop
        }
    }
}

/// Where a missing member of a step is shown: at its id, or else at its opening brace.
pub(crate) fn step_span(step: &RawStep<'_>) -> Range<usize> {
    step.id.as_ref().map_or_else(|| opening(step.node), |id| id.span.clone())
}
