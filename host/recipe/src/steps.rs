//! One step of a recipe: its plugin, its items, its grants, its params.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use godwit_model::plugin::{Access, ConnectionKind, Grant, PluginKind};
use godwit_model::secret::token;
use godwit_model::{Json, RunId};

use crate::checked::PluginInfo;
use crate::credentials::{holds_token, json_holds_token};
use crate::diagnostic::{Fault, Report, Source};
use crate::expression::{Scope, Uses, describe};
use crate::grants::GrantTemplate;
use crate::input::InputSpec;
use crate::params::{Misfit, Schema};
use crate::raw_step::{RawStep, RawTransform, step_span};
use crate::template::{Evaluated, Template};
use crate::values::Values;
use crate::vocabulary::{Place, Taint, Vocabulary};

/// What all steps of one recipe are checked against.
pub(crate) struct World<'a> {
    pub source: &'a Source,
    pub run: &'a RunId,
    pub vocabulary: Vocabulary<'a>,
    pub specs: &'a [InputSpec],
    pub values: &'a Values,
    /// The known inputs as one object.
    pub inputs: &'a Json,
    /// Each declared connection; `None` where its kind is at fault.
    pub connections: &'a [(String, Option<ConnectionKind>)],
    pub plugins: &'a BTreeMap<String, PluginInfo>,
    pub schemas: &'a BTreeMap<String, Schema>,
}

/// What a step is evaluated from, shared by its items.
#[derive(Debug)]
pub(crate) struct Body {
    pub what: String,
    pub with: Template,
    pub when: Option<Template>,
    pub transforms: Vec<Template>,
}

/// A checked step, before it is put in order.
pub(crate) struct Plan {
    pub body: Arc<Body>,
    pub instances: Vec<Instance>,
    /// Steps whose outputs it uses.
    pub uses_steps: BTreeSet<String>,
}

/// A step for one item, or the only one.
pub(crate) struct Instance {
    pub key: Option<String>,
    pub item: Option<Json>,
    pub grants: Vec<Grant>,
}

/// An item of a foreach: known or not.
enum Item {
    /// The step has no foreach.
    Alone,
    Known(String, Json),
    Unknown,
}

impl World<'_> {
    pub fn step(&self, raw: &RawStep<'_>, report: &mut Report<'_>) -> Plan {
        let what = raw.what.as_str();
        let (items, taint) = self.items(raw, report);
        let item = raw.foreach.as_ref().map(|_| &taint);
        let compile = |node, name: String, no_secrets, report: &mut Report<'_>| {
            let mut template = Template::compile(node, self.source, report);
            let place = Place { name: &name, item, no_steps: None, no_secrets };
            self.vocabulary.check(&mut template, place, report);
            template
        };
        let with = match raw.with {
            Some(node) => compile(node, format!("`with` of {what}"), None, report),
            None => Template::Plain(Json::Object(serde_json::Map::new())),
        };
        let when = raw.when.map(|node| {
            compile(
                node,
                format!("`when` of {what}"),
                Some("what is done must not depend on a secret"),
                report,
            )
        });
        let transforms: Vec<Template> = raw
            .transforms
            .iter()
            .map(|transform| match transform.with {
                Some(node) => compile(node, format!("`with` of a transform of {what}"), None, report),
                None => Template::Plain(Json::Object(serde_json::Map::new())),
            })
            .collect();
        let mut uses = with.uses();
        when.iter().chain(&transforms).for_each(|template| uses.extend(template.uses()));
        let body = Arc::new(Body { what: what.to_owned(), with, when, transforms });

        let plugin = raw.plugin.as_ref().and_then(|name| self.plugins.get(&name.value));
        let step_plugin = plugin.filter(|plugin| self.is_step(raw, plugin, report));
        if let Some(plugin) = step_plugin {
            self.slots(raw, plugin, report);
        }
        self.transforms(raw, step_plugin, report);
        let granted: Vec<GrantTemplate<'_>> =
            raw.grants.iter().map(|grant| self.grant_template(raw, grant, item, report)).collect();

        let mut instances = Vec::new();
        for each in items {
            let (key, item) = match &each {
                Item::Alone | Item::Unknown => (None, None),
                Item::Known(key, item) => (Some(key.clone()), Some(item.clone())),
            };
            let unknown_item = matches!(each, Item::Unknown);
            let grants = granted
                .iter()
                .filter_map(|grant| self.grant(grant, step_plugin, item.as_ref(), unknown_item, report))
                .collect();
            let instance = Instance { key, item, grants };
            self.instance(raw, &body, step_plugin, &instance, unknown_item, report);
            instances.push(instance);
        }
        Plan { body, instances, uses_steps: uses.steps }
    }

    fn scope<'s>(&'s self, item: Option<&'s Json>) -> Scope<'s> {
        const NONE: &Json = &Json::Null;
        Scope { inputs: self.inputs, item, steps: NONE }
    }

    /// Evaluates what is known before the run.
    pub fn evaluate(&self, template: &Template, item: Option<&Json>, unknown_item: bool) -> Evaluated {
        let unknown = |uses: &Uses| {
            !uses.steps.is_empty()
                || (uses.item && unknown_item)
                || uses.inputs.iter().any(|name| !self.values.known.contains_key(name))
        };
        template.evaluate(self.scope(item), &unknown)
    }

    fn items(&self, raw: &RawStep<'_>, report: &mut Report<'_>) -> (Vec<Item>, Taint) {
        let Some(foreach) = &raw.foreach else { return (vec![Item::Alone], Taint::default()) };
        let name = format!("`in` of `foreach` of {}", raw.what);
        let mut list = Template::compile(foreach.list, self.source, report);
        let no_steps = Some("the list has to be known before the run");
        self.vocabulary.check(
            &mut list,
            Place { name: &name, item: None, no_steps, no_secrets: None },
            report,
        );
        let list = self.evaluate(&list, None, false);
        list.failures.iter().for_each(|failure| report.add(failure.fault()));
        let items = match list.known() {
            Some(Json::Array(items)) => items.clone(),
            Some(other) => {
                report.add(Fault::new(
                    "recipe::foreach",
                    &foreach.list.span,
                    format!("{name} must be a list, not {}", describe(other)),
                ));
                return (vec![Item::Unknown], Taint::default());
            }
            None => Vec::new(),
        };
        let mut taint = Taint::default();
        for item in &items {
            match item {
                Json::Object(members) => {
                    let tainted = members.iter().filter(|(_, value)| json_holds_token(value));
                    taint.fields.extend(tainted.map(|(key, _)| key.clone()));
                }
                other => taint.whole |= json_holds_token(other),
            }
        }
        let name = format!("`key` of `foreach` of {}", raw.what);
        let mut key = Template::compile(foreach.key, self.source, report);
        let no_secrets = Some("it becomes a part of the step's id, which is shown");
        self.vocabulary.check(
            &mut key,
            Place { name: &name, item: Some(&taint), no_steps, no_secrets },
            report,
        );
        if list.known().is_none() {
            return (vec![Item::Unknown], taint);
        }
        let mut out: Vec<Item> = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let evaluated = self.evaluate(&key, Some(&item), false);
            evaluated.failures.iter().for_each(|failure| report.add(failure.fault()));
            let text = match evaluated.known() {
                Some(Json::String(text)) => text.clone(),
                Some(Json::Number(number)) => number.to_string(),
                Some(other) => {
                    report.add(Fault::new(
                        "recipe::foreach",
                        &foreach.key.span,
                        format!("{name} must be a string, and is {} for item {}", describe(other), index + 1),
                    ));
                    continue;
                }
                None => continue,
            };
            if text.is_empty()
                || text.len() > 128
                || text.contains(|c: char| c.is_control() || "[]".contains(c))
            {
                report.add(
                    Fault::new("recipe::foreach", &foreach.key.span, format!("{name} can't be `{text}`"))
                        .hint("a key is 1 to 128 bytes long, without `[`, `]` and control characters"),
                );
                continue;
            }
            if out.iter().any(|before| matches!(before, Item::Known(key, _) if *key == text)) {
                report.add(
                    Fault::new(
                        "recipe::foreach",
                        &foreach.key.span,
                        format!("{name} is `{text}` for two items"),
                    )
                    .hint("the key has to tell the items apart; put two of their fields together"),
                );
                continue;
            }
            out.push(Item::Known(text, item));
        }
        (out, taint)
    }

    fn is_step(&self, raw: &RawStep<'_>, plugin: &PluginInfo, report: &mut Report<'_>) -> bool {
        if plugin.kind == PluginKind::Step {
            return true;
        }
        if let Some(name) = &raw.plugin {
            report.add(
                Fault::new(
                    "recipe::plugin-kind",
                    &name.span,
                    format!("plugin `{}` is a transform and can't be a step", name.value),
                )
                .hint(format!(
                    "put it into a step that moves bytes: \"transforms\": [{{ \"plugin\": \"{}\", \"labels\": [\"…\"] }}]",
                    name.value
                )),
            );
        }
        false
    }

    /// Transforms against their plugins, without regard to their params.
    fn transforms(&self, raw: &RawStep<'_>, step: Option<&PluginInfo>, report: &mut Report<'_>) {
        let tables_only = step.is_some_and(|plugin| {
            !plugin.manifest.slots.is_empty()
                && plugin.manifest.slots.iter().all(|slot| slot.kind == ConnectionKind::Postgres)
        });
        for transform in &raw.transforms {
            if let Some(name) = &transform.plugin
                && let Some(plugin) = self.plugins.get(&name.value)
                && plugin.kind == PluginKind::Step
            {
                report.add(
                    Fault::new(
                        "recipe::plugin-kind",
                        &name.span,
                        format!("plugin `{}` is a step and can't be a transform", name.value),
                    )
                    .hint_opt(self.some_transform()),
                );
            }
            for label in &transform.labels {
                if label.value.trim() != label.value || label.value.is_empty() {
                    report.add(
                        Fault::new(
                            "recipe::label",
                            &label.span,
                            "a label can't be empty or begin or end with a space",
                        )
                        .hint("\"public.users\", or \"public.*\""),
                    );
                } else if tables_only && !label.value.contains('.') && !label.value.starts_with('*') {
                    report.add(
                        Fault::new(
                            "recipe::label",
                            &label.span,
                            format!("label `{}` names no schema, so it would fit no table", label.value),
                        )
                        .hint(format!("\"public.{}\", or \"*.{}\" in any schema", label.value, label.value)),
                    );
                }
            }
        }
    }

    fn some_transform(&self) -> Option<String> {
        let names: Vec<&str> = self
            .plugins
            .iter()
            .filter(|(_, plugin)| plugin.kind == PluginKind::Transform)
            .map(|(name, _)| name.as_str())
            .collect();
        (!names.is_empty()).then(|| format!("transforms are {}", names.join(", ")))
    }

    /// What depends on the item: `when`, the params, the transforms' params.
    fn instance(
        &self,
        raw: &RawStep<'_>,
        body: &Body,
        plugin: Option<&PluginInfo>,
        instance: &Instance,
        unknown_item: bool,
        report: &mut Report<'_>,
    ) {
        let item = instance.item.as_ref();
        if let (Some(when), Some(node)) = (&body.when, raw.when) {
            let when = self.evaluate(when, item, unknown_item);
            when.failures.iter().for_each(|failure| report.add(failure.fault()));
            match when.known() {
                Some(Json::Bool(true)) | None => {}
                // What isn't done may well have no params: `when` guards them.
                Some(Json::Bool(false)) => return,
                Some(other) => report.add(
                    Fault::new(
                        "recipe::type",
                        &node.span,
                        format!("`when` of {} must be true or false, not {}", raw.what, describe(other)),
                    )
                    .hint("compare it with something: \"${inputs.x == 'y'}\""),
                ),
            }
        }
        let with = self.evaluate(&body.with, item, unknown_item);
        with.failures.iter().for_each(|failure| report.add(failure.fault()));
        if let (Some(_), Some(name)) = (plugin, &raw.plugin) {
            self.fit(&name.value, &with, raw.with, &step_span(raw), &format!("of {}", raw.what), report);
        }
        self.secrets_granted(raw, &with, instance, report);
        for (transform, template) in raw.transforms.iter().zip(&body.transforms) {
            self.transform_params(raw, transform, template, item, unknown_item, report);
        }
    }

    fn transform_params(
        &self,
        raw: &RawStep<'_>,
        transform: &RawTransform<'_>,
        template: &Template,
        item: Option<&Json>,
        unknown_item: bool,
        report: &mut Report<'_>,
    ) {
        let with = self.evaluate(template, item, unknown_item);
        with.failures.iter().for_each(|failure| report.add(failure.fault()));
        let Some(name) = &transform.plugin else { return };
        if self.plugins.get(&name.value).is_some_and(|plugin| plugin.kind == PluginKind::Transform) {
            let at = crate::reader::opening(transform.node);
            let whose = format!("of transform `{}` of {}", name.value, raw.what);
            self.fit(&name.value, &with, transform.with, &at, &whose, report);
        }
    }

    /// Params against the plugin's schema.
    fn fit(
        &self,
        plugin: &str,
        with: &Evaluated,
        node: Option<&crate::document::Node>,
        otherwise: &std::ops::Range<usize>,
        whose: &str,
        report: &mut Report<'_>,
    ) {
        let Some(schema) = self.schemas.get(plugin) else { return };
        for misfit in schema.misfits(&with.value, &with.holes) {
            let span = match node {
                Some(node) => match &misfit.key {
                    Some(key) => node.key_span_at(&misfit.path, key),
                    None => node.span_at(&misfit.path),
                },
                None => otherwise.clone(),
            };
            let hint = misfit.hint.clone().map(|hint| match node {
                // There is no `with` yet to put it into.
                None if misfit.key.is_none() => format!("\"with\": {{ {hint} }}"),
                _ => hint,
            });
            let fault = Fault::new("recipe::params", &span, misfit_message(&misfit, whose)).hint_opt(hint);
            report.add(match &misfit.summary {
                Some(summary) => fault.label(summary.as_str()),
                None => fault,
            });
        }
    }

    /// A token that no slot may turn into its value would end up as it is in a file, or fail the step half-way.
    fn secrets_granted(
        &self,
        raw: &RawStep<'_>,
        with: &Evaluated,
        instance: &Instance,
        report: &mut Report<'_>,
    ) {
        let Some(node) = raw.with else { return };
        let mut found = Vec::new();
        tokens(&with.value, &mut Vec::new(), &mut found);
        for (path, text) in found {
            let parts = self.values.parts.values().flatten();
            for part in parts.filter(|part| text.contains(&token(self.run, part))) {
                if instance.grants.iter().any(|grant| grant.secrets.contains(part)) {
                    continue;
                }
                let input = self.values.input_of_secret(part).unwrap_or(part);
                let slot = instance.grants.iter().find(|grant| grant.access == Access::Write);
                let hint = match slot {
                    Some(grant) => format!(
                        "\"{}\": {{ \"connection\": \"{}\", \"access\": \"write\", \"secrets\": [\"{input}\"] }}",
                        grant.slot, grant.connection
                    ),
                    None => "a secret can be written only through a slot with access `write`".to_owned(),
                };
                report.add(
                    Fault::new(
                        "recipe::secret-not-granted",
                        &node.span_at(&path),
                        format!("{} uses secret `{input}`, but no grant of it names that secret", raw.what),
                    )
                    .hint(hint),
                );
            }
        }
    }
}

/// What doesn't fit as a sentence; `whose` is ``of step `copy` ``.
pub(crate) fn misfit_message(misfit: &Misfit, whose: &str) -> String {
    let path = misfit.shown_path();
    let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
    format!("`with{dot}{path}` {whose} {}", misfit.message)
}

/// Every text that holds a token, with its path.
fn tokens(value: &Json, path: &mut Vec<String>, out: &mut Vec<(Vec<String>, String)>) {
    match value {
        Json::String(text) if holds_token(text) => out.push((path.clone(), text.clone())),
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                tokens(item, path, out);
                path.pop();
            }
        }
        Json::Object(members) => {
            for (key, value) in members {
                path.push(key.clone());
                tokens(value, path, out);
                path.pop();
            }
        }
        _ => {}
    }
}
