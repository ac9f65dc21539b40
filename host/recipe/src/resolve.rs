//! From the raw form to the checked one: everything that refers to something else.

use std::collections::BTreeMap;
use std::sync::Arc;

use godwit_model::plugin::{ConnectionKind, PluginKind};
use godwit_model::{Json, RunId, StepId};

use crate::checked::{
    Catalogue, Checked, OnFailure, Outline, OutlineStep, PluginInfo, Program, Step, TransformUse,
};
use crate::connections;
use crate::diagnostic::{Diagnostic, Fault, Report, Source, suggest};
use crate::document::Node;
use crate::expression::{Scope, Uses};
use crate::graph;
use crate::input::{Given, InputSpec};
use crate::params::Schema;
use crate::raw::{RawConnection, RawRecipe, read_inputs};
use crate::raw_step::{RawStep, step_span};
use crate::reader::Text;
use crate::steps::{Plan, World};
use crate::template::Template;
use crate::values;
use crate::vocabulary::{Place, StepShape, Vocabulary};

/// What a check found out.
pub(crate) struct Resolved {
    pub checked: Checked,
    pub outline: Outline,
}

/// Checks everything. With `complete`, a missing input is a fault; without it, what depends on it stays unknown.
pub(crate) fn resolve(
    source: &Source,
    given: &Given,
    run: &RunId,
    catalogue: &dyn Catalogue,
    complete: bool,
) -> (Option<Resolved>, Vec<Diagnostic>) {
    let mut report = Report::new(source);
    let resolved = resolve_into(source, given, run, catalogue, complete, &mut report);
    (resolved, report.finish())
}

/// The inputs that are declared without fault.
pub(crate) fn inputs(source: &Source) -> Result<Vec<InputSpec>, Vec<Diagnostic>> {
    let mut report = Report::new(source);
    let Some(root) = Node::parse(source, &mut report) else { return Err(report.finish()) };
    Ok(read_inputs(&root, &mut report).0)
}

fn resolve_into(
    source: &Source,
    given: &Given,
    run: &RunId,
    catalogue: &dyn Catalogue,
    complete: bool,
    report: &mut Report<'_>,
) -> Option<Resolved> {
    let root = Node::parse(source, report)?;
    let raw = RawRecipe::read(&root, report)?;
    let values = values::gather(&raw.inputs, &raw.broken_inputs, given, run, complete, report);
    let secrets = Arc::new(values.secrets.clone());
    let inputs = Json::Object(values.known.clone());

    let (plugins, schemas) = load_plugins(&raw, catalogue, report);
    let shapes: Vec<StepShape> = raw.steps.iter().filter_map(|step| shape(step, &plugins)).collect();
    let kinds: Vec<(String, Option<ConnectionKind>)> =
        raw.connections.iter().map(|connection| (connection.name.clone(), connection.kind)).collect();
    let world = World {
        source,
        run,
        vocabulary: Vocabulary { inputs: &raw.inputs, broken_inputs: &raw.broken_inputs, steps: &shapes },
        specs: &raw.inputs,
        values: &values,
        inputs: &inputs,
        connections: &kinds,
        plugins: &plugins,
        schemas: &schemas,
    };
    let connections = raw
        .connections
        .iter()
        .filter_map(|connection| make_connection(&world, connection, &secrets, report))
        .collect();
    let plans: Vec<Plan> = raw.steps.iter().map(|step| world.step(step, report)).collect();
    let outputs = raw.outputs.map(|node| {
        let mut template = Template::compile(node, source, report);
        let place =
            Place { name: "`outputs`", item: None, no_steps: None, no_secrets: Some("outputs are shown") };
        world.vocabulary.check(&mut template, place, report);
        template
    });
    let needs = needs(&raw.steps, &plans, report);
    let order = match graph::order(&needs) {
        Ok(order) => order,
        Err(cycle) => {
            report.add(cycle_fault(&raw.steps, &cycle));
            (0..raw.steps.len()).collect()
        }
    };

    let ids: Vec<Vec<StepId>> =
        raw.steps.iter().zip(&plans).map(|(step, plan)| instance_ids(step, plan)).collect();
    let mut steps = Vec::new();
    let mut outline_steps = Vec::new();
    for &index in &order {
        let (raw_step, plan) = (&raw.steps[index], &plans[index]);
        let needs: Vec<StepId> = needs[index].iter().flat_map(|&need| ids[need].iter().cloned()).collect();
        for (instance, id) in plan.instances.iter().zip(&ids[index]) {
            let step = Step {
                id: id.clone(),
                each: instance.key.clone().zip(instance.item.clone()),
                plugin: raw_step.plugin.as_ref().map(|plugin| plugin.value.clone()).unwrap_or_default(),
                description: raw_step.description.clone(),
                grants: instance.grants.clone(),
                needs: needs.clone(),
                retry: raw_step.retry,
                timeout: raw_step.timeout,
                limits: raw_step.limits.clone(),
                transforms: raw_step
                    .transforms
                    .iter()
                    .map(|transform| TransformUse {
                        plugin: transform
                            .plugin
                            .as_ref()
                            .map(|plugin| plugin.value.clone())
                            .unwrap_or_default(),
                        labels: transform.labels.iter().map(|label| label.value.clone()).collect(),
                    })
                    .collect(),
                on_failure: raw_step.on_failure,
                cutover: raw_step.cutover.is_some(),
                line: source.position(raw_step.node.span.start).0,
                body: plan.body.clone(),
            };
            outline_steps.push(OutlineStep {
                id: step.id.to_string(),
                plugin: step.plugin.clone(),
                description: step.description.clone(),
                grants: step.grants.clone(),
                needs: needs.iter().map(StepId::to_string).collect(),
                cutover: step.cutover,
            });
            steps.push(step);
        }
    }
    let families = raw
        .steps
        .iter()
        .zip(&plans)
        .zip(&ids)
        .filter_map(|((step, plan), ids)| {
            let keys = plan.instances.iter().map(|instance| instance.key.clone());
            Some((
                step.id.as_ref()?.value.clone(),
                Family { foreach: step.foreach.is_some(), members: keys.zip(ids.iter().cloned()).collect() },
            ))
        })
        .collect();
    let outline = Outline {
        name: raw.name.clone(),
        description: raw.description.clone(),
        inputs: raw.inputs.clone(),
        steps: outline_steps,
    };
    let checked = Checked {
        name: raw.name,
        description: raw.description,
        text: source.text.clone(),
        run: run.clone(),
        inputs: values.known.clone(),
        plain_inputs: Json::Object(values.plain.clone()),
        secret_inputs: values.given_again.clone(),
        secrets,
        connections,
        steps,
        plugins,
        program: Arc::new(Program { inputs, outputs, families, schemas }),
    };
    Some(Resolved { checked, outline })
}

/// The steps that one entry of `steps` stands for.
#[derive(Debug)]
pub(crate) struct Family {
    pub foreach: bool,
    /// The key of a foreach, and the id.
    pub members: Vec<(Option<String>, StepId)>,
}

fn instance_ids(step: &RawStep<'_>, plan: &Plan) -> Vec<StepId> {
    let base = step.id.as_ref().map_or("?", |id| id.value.as_str());
    plan.instances
        .iter()
        .map(|instance| match (&instance.key, &step.foreach) {
            (Some(key), _) => StepId::new(format!("{base}[{key}]")),
            (None, Some(_)) => StepId::new(format!("{base}[*]")),
            (None, None) => StepId::new(base),
        })
        .collect()
}

/// Every plugin that the recipe names, with its compiled schema; one fault for each place that names none.
fn load_plugins(
    raw: &RawRecipe<'_>,
    catalogue: &dyn Catalogue,
    report: &mut Report<'_>,
) -> (BTreeMap<String, PluginInfo>, BTreeMap<String, Schema>) {
    let mut plugins = BTreeMap::new();
    let mut schemas = BTreeMap::new();
    let mut failed: BTreeMap<String, String> = BTreeMap::new();
    let named = raw.steps.iter().flat_map(|step| {
        step.plugin.iter().chain(step.transforms.iter().filter_map(|transform| transform.plugin.as_ref()))
    });
    for name in named {
        if plugins.contains_key(&name.value) {
            continue;
        }
        let why = match failed.get(&name.value) {
            Some(why) => why.clone(),
            None => match catalogue.plugin(&name.value) {
                Ok(plugin) => {
                    match Schema::new(&plugin.manifest.params_schema) {
                        Ok(schema) => {
                            schemas.insert(name.value.clone(), schema);
                        }
                        Err(why) => report.add(broken_schema(name, &why)),
                    }
                    check_transform(name, &plugin, report);
                    plugins.insert(name.value.clone(), plugin);
                    continue;
                }
                Err(why) => why,
            },
        };
        let names = catalogue.names();
        // A plugin that is there, but damaged or too old, isn't mended by another name.
        let hint = (!names.contains(&name.value))
            .then(|| suggest(&name.value, names.iter().map(String::as_str)))
            .flatten();
        report.add(
            Fault::new(
                "recipe::unknown-plugin",
                &name.span,
                format!("plugin `{}` can't be used: {why}", name.value),
            )
            .hint_opt(hint),
        );
        failed.insert(name.value.clone(), why);
    }
    (plugins, schemas)
}

fn broken_schema(name: &Text, why: &str) -> Fault {
    Fault::new(
        "recipe::plugin-schema",
        &name.span,
        format!("the schema of the params of plugin `{}` is broken: {why}", name.value),
    )
    .hint("the plugin has to be mended")
}

/// A transform is granted nothing, so it must not ask for anything.
fn check_transform(name: &Text, plugin: &PluginInfo, report: &mut Report<'_>) {
    if plugin.kind == PluginKind::Transform
        && (!plugin.needs_kinds.is_empty() || !plugin.manifest.slots.is_empty())
    {
        report.add(
            Fault::new(
                "recipe::ungranted-import",
                &name.span,
                format!("transform `{}` asks for connections, and a transform is granted none", name.value),
            )
            .hint("the plugin has to be mended"),
        );
    }
}

fn shape(step: &RawStep<'_>, plugins: &BTreeMap<String, PluginInfo>) -> Option<StepShape> {
    let schema =
        step.plugin.as_ref().and_then(|name| plugins.get(&name.value)).map(|p| &p.manifest.outputs_schema);
    let outputs = schema.and_then(|schema| {
        // Only a schema that lists its properties and nothing else says what isn't there.
        let open = schema.get("additionalProperties").is_some_and(|more| *more != Json::Bool(false))
            || ["$ref", "anyOf", "oneOf", "allOf", "patternProperties"]
                .iter()
                .any(|key| schema.get(key).is_some());
        let properties = schema.get("properties")?.as_object()?;
        (!open).then(|| properties.keys().cloned().collect())
    });
    Some(StepShape { id: step.id.as_ref()?.value.clone(), foreach: step.foreach.is_some(), outputs })
}

fn make_connection(
    world: &World<'_>,
    raw: &RawConnection<'_>,
    secrets: &Arc<godwit_model::secret::Secrets>,
    report: &mut Report<'_>,
) -> Option<godwit_model::capability::Connection> {
    let name = format!("connection `{}`", raw.name);
    let mut template = Template::compile(raw.node, world.source, report);
    let no_steps = Some("connections are known before the first step");
    world.vocabulary.check(
        &mut template,
        Place { name: &name, item: None, no_steps, no_secrets: None },
        report,
    );
    let kind = raw.kind?;
    let unknown = |uses: &Uses| uses.inputs.iter().any(|input| !world.values.known.contains_key(input));
    let scope = Scope { inputs: world.inputs, item: None, steps: &Json::Null };
    let evaluated = template.evaluate(scope, &unknown);
    evaluated.failures.iter().for_each(|failure| report.add(failure.fault()));
    Some(connections::make(&raw.name, kind, raw.node, &evaluated, secrets, report))
}

/// What each step needs, as indices: what it says, what its expressions use, and for a cut-over all that is before it.
fn needs(steps: &[RawStep<'_>], plans: &[Plan], report: &mut Report<'_>) -> Vec<Vec<usize>> {
    let index_of =
        |id: &str| steps.iter().position(|step| step.id.as_ref().is_some_and(|known| known.value == id));
    let mut all = Vec::with_capacity(steps.len());
    for (index, (step, plan)) in steps.iter().zip(plans).enumerate() {
        let mut needs = Vec::new();
        for need in &step.needs {
            match index_of(&need.value) {
                Some(found) => needs.push(found),
                None => {
                    let ids: Vec<&str> = steps
                        .iter()
                        .filter_map(|step| step.id.as_ref())
                        .map(|id| id.value.as_str())
                        .collect();
                    report.add(
                        Fault::new(
                            "recipe::unknown-step",
                            &need.span,
                            format!("{} needs a step `{}`, which isn't there", step.what, need.value),
                        )
                        .hint_opt(suggest(&need.value, ids)),
                    );
                }
            }
        }
        needs.extend(plan.uses_steps.iter().filter_map(|id| index_of(id)));
        if let Some(cutover) = &step.cutover {
            needs.extend(0..index);
            check_cutover(step, index, cutover, report);
        }
        needs.sort_unstable();
        needs.dedup();
        all.push(needs);
    }
    all
}

fn check_cutover(step: &RawStep<'_>, index: usize, span: &std::ops::Range<usize>, report: &mut Report<'_>) {
    if index == 0 {
        report.add(
            Fault::new(
                "recipe::cutover",
                span,
                format!("{} is the cut-over, but nothing comes before it that could be verified", step.what),
            )
            .hint("put the cut-over after the steps that it relies on"),
        );
    }
    if step.on_failure != OnFailure::Stop {
        report.add(
            Fault::new(
                "recipe::cutover",
                span,
                format!("{} is the cut-over and can't go on after a failure", step.what),
            )
            .hint("\"on_failure\": \"stop\""),
        );
    }
}

fn cycle_fault(steps: &[RawStep<'_>], cycle: &[usize]) -> Fault {
    let name = |index: usize| steps[index].id.as_ref().map_or("?", |id| id.value.as_str());
    let mut shown: Vec<&str> = cycle.iter().map(|&index| name(index)).collect();
    shown.extend(cycle.first().map(|&index| name(index)));
    let at = cycle.first().map_or(0..0, |&index| step_span(&steps[index]));
    Fault::new("recipe::cycle", &at, format!("these steps wait for each other: {}", shown.join(" → ")))
        .label("needs itself in the end")
        .hint("take one of them out of `needs`, or don't use its outputs")
}
