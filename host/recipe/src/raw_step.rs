//! The raw form of a step.

use std::ops::Range;
use std::time::Duration;

use godwit_model::plugin::{Access, Limits};

use crate::checked::{OnFailure, Retry};
use crate::diagnostic::{Fault, Report};
use crate::document::{Kind, Node};
use crate::reader::{Fields, Text, check_name, items, members, opening, texts, wrong_type};
use crate::units;

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

pub(crate) fn read_step<'n>(
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
