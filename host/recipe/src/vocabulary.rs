//! What expressions may speak of, and what they may do to secrets.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::diagnostic::{Fault, Report, nearest, suggest};
use crate::input::InputSpec;
use crate::references::{Found, NULL_TEST, Reference, unknown_function};
use crate::template::Template;

/// A step as expressions see it.
#[derive(Clone, Debug)]
pub(crate) struct StepShape {
    pub id: String,
    pub foreach: bool,
    /// The names of its outputs, where its plugin declares them all.
    pub outputs: Option<Vec<String>>,
}

/// Every name of a recipe.
pub(crate) struct Vocabulary<'a> {
    pub inputs: &'a [InputSpec],
    /// Inputs whose declaration is at fault: nothing is said of their uses.
    pub broken_inputs: &'a BTreeSet<String>,
    pub steps: &'a [StepShape],
}

/// Where an expression stands, and so what it may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// For messages: `` `when` of step `copy` ``.
    pub name: &'a str,
    /// Set inside of a step with `foreach`.
    pub item: Option<&'a Taint>,
    /// Why outputs of steps can't be used here; `None` where they can.
    pub no_steps: Option<&'static str>,
    /// Why a secret can't be used here at all; `None` where it can be handed on.
    pub no_secrets: Option<&'static str>,
}

/// Which parts of a `foreach`'s items hold secrets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taint {
    pub whole: bool,
    pub fields: Vec<String>,
}

impl Vocabulary<'_> {
    /// Checks every reference of a template. What is at fault is taken out of it, so that nothing follows from it.
    pub fn check(&self, template: &mut Template, place: Place<'_>, report: &mut Report<'_>) {
        let mut bad: Vec<Range<usize>> = Vec::new();
        template.each_expression(&mut |expression| {
            for found in expression.found() {
                if let Some(fault) = self.fault(found, place) {
                    bad.push(expression.span.clone());
                    report.add(fault);
                }
            }
        });
        template.take_out(&bad);
    }

    fn fault(&self, found: &Found, place: Place<'_>) -> Option<Fault> {
        let span = &found.span;
        match &found.reference {
            Reference::Input { name, deeper } => {
                if self.broken_inputs.contains(name) {
                    return None;
                }
                let Some(spec) = self.inputs.iter().find(|spec| spec.name == *name) else {
                    return Some(
                        Fault::new("recipe::unknown-reference", span, format!("there is no input `{name}`"))
                            .hint_opt(self.input_hint(name)),
                    );
                };
                if !spec.kind.is_confidential() {
                    return None;
                }
                let inside = if *deeper { Some("a field access") } else { found.inside.as_deref() };
                let kind = spec.kind.name();
                misuse(&format!("{kind} input `{name}`"), inside, place, span)
            }
            Reference::Inputs => Some(
                Fault::new("recipe::unknown-reference", span, "`inputs` can't be used as a whole")
                    .hint("name one of them, as in `inputs.name`"),
            ),
            Reference::Item { field } => {
                let Some(taint) = place.item else {
                    return Some(
                        Fault::new(
                            "recipe::unknown-reference",
                            span,
                            format!("there is no `item` in {}", place.name),
                        )
                        .hint("`item` is there within a step that has a `foreach`"),
                    );
                };
                let confidential = match field {
                    Some(field) => taint.whole || taint.fields.contains(field),
                    None => taint.whole || !taint.fields.is_empty(),
                };
                if !confidential {
                    return None;
                }
                let what =
                    field.as_ref().map_or_else(|| "`item`".to_owned(), |field| format!("`item.{field}`"));
                misuse(&format!("{what}, which holds a secret,"), found.inside.as_deref(), place, span)
            }
            Reference::Step { id, path } => self.step_fault(id, path, place, span),
            Reference::Steps => Some(
                Fault::new("recipe::unknown-reference", span, "`steps` can't be used as a whole")
                    .hint("name one of them, as in `steps.copy.outputs.rows`"),
            ),
            Reference::Function(name) => unknown_function(name, span),
            Reference::Unknown(name) => {
                let fault = Fault::new(
                    "recipe::unknown-reference",
                    span,
                    format!("there is nothing called `{name}`"),
                );
                Some(if self.inputs.iter().any(|spec| spec.name == *name) {
                    fault.hint(format!("write `inputs.{name}`"))
                } else if self.steps.iter().any(|step| step.id == *name) {
                    fault.hint(format!("write `steps.{name}.outputs.…`"))
                } else {
                    fault.hint("the names are `inputs`, `steps` and, within a foreach, `item`")
                })
            }
        }
    }

    fn input_hint(&self, name: &str) -> Option<String> {
        // `inputs.source-url` reads as a subtraction.
        let dashed = self.inputs.iter().find(|spec| spec.name.starts_with(&format!("{name}-")));
        match dashed {
            Some(spec) => Some(format!("a name with a dash is written `inputs['{}']`", spec.name)),
            None if self.inputs.is_empty() => {
                Some(format!("declare it: \"inputs\": {{ \"{name}\": {{ \"type\": \"string\" }} }}"))
            }
            None => suggest(name, self.inputs.iter().map(|spec| spec.name.as_str())),
        }
    }

    fn step_fault(&self, id: &str, path: &[String], place: Place<'_>, span: &Range<usize>) -> Option<Fault> {
        if let Some(why) = place.no_steps {
            return Some(Fault::new(
                "recipe::steps-not-allowed",
                span,
                format!("{} can't use outputs of steps: {why}", place.name),
            ));
        }
        let Some(step) = self.steps.iter().find(|step| step.id == id) else {
            let dashed = self.steps.iter().find(|step| step.id.starts_with(&format!("{id}-")));
            let hint = match dashed {
                Some(step) => Some(format!("a name with a dash is written `steps['{}'].outputs`", step.id)),
                None => suggest(id, self.steps.iter().map(|step| step.id.as_str())),
            };
            return Some(
                Fault::new("recipe::unknown-reference", span, format!("there is no step `{id}`"))
                    .hint_opt(hint),
            );
        };
        match path.split_first() {
            None => Some(
                Fault::new(
                    "recipe::unknown-reference",
                    span,
                    format!("`steps.{id}` has to go on with `.outputs`"),
                )
                .hint(format!("write `steps.{id}.outputs.…`")),
            ),
            Some((first, rest)) if first == "outputs" => {
                let fields = step.outputs.as_ref()?;
                // In a foreach, the outputs are a map by key first.
                let field = rest.get(usize::from(step.foreach))?;
                if fields.contains(field) {
                    return None;
                }
                Some(
                    Fault::new(
                        "recipe::unknown-reference",
                        span,
                        format!("step `{id}` has no output `{field}`"),
                    )
                    .hint_opt(suggest(field, fields.iter().map(String::as_str))),
                )
            }
            Some((first, _)) => {
                let fault = Fault::new(
                    "recipe::unknown-reference",
                    span,
                    format!("a step has `outputs`, and no `{first}`"),
                );
                Some(match nearest(first, ["outputs"]) {
                    Some(near) => fault.hint(format!("did you mean `{near}`?")),
                    None => fault.hint(format!("write `steps.{id}.outputs.{first}`")),
                })
            }
        }
    }
}

fn misuse(what: &str, inside: Option<&str>, place: Place<'_>, span: &Range<usize>) -> Option<Fault> {
    let hint =
        "a secret is an opaque token here: use it alone, or put it together with other text by `+` or `${…}`";
    match (place.no_secrets, inside) {
        (_, Some(NULL_TEST)) => None,
        (Some(why), _) => Some(Fault::new(
            "recipe::secret-misuse",
            span,
            format!("{what} can't be used in {}: {why}", place.name),
        )),
        (None, Some(inside)) => Some(
            Fault::new("recipe::secret-misuse", span, format!("{what} can't be used in {inside}")).hint(hint),
        ),
        (None, None) => None,
    }
}
