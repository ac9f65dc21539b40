//! What a run asks of a checked recipe once outputs are there.

use std::collections::BTreeMap;

use godwit_model::{Error, Json, StepId};

use crate::checked::{Checked, EvalError, Outputs, Step};
use crate::expression::{Scope, describe};
use crate::params::Schema;
use crate::resolve::Family;
use crate::steps::misfit_message;
use crate::template::Template;

/// The part of a checked recipe that is evaluated later.
#[derive(Debug)]
pub(crate) struct Program {
    /// An object, over tokens.
    pub inputs: Json,
    pub outputs: Option<Template>,
    /// By the id in the recipe.
    pub families: BTreeMap<String, Family>,
    pub schemas: BTreeMap<String, Schema>,
}

impl Checked {
    /// The params of a step: `with`, evaluated over tokens, valid by the plugin's schema.
    pub fn params(&self, step: &Step, outputs: &Outputs) -> Result<Json, EvalError> {
        let value = self.evaluate(&step.body.with, Some(step), outputs)?;
        self.fit(&step.plugin, value, &format!("of step `{}`", step.id), step.line)
    }

    /// The params of the step's transform with this index, valid by that plugin's schema.
    pub fn transform_params(&self, step: &Step, index: usize, outputs: &Outputs) -> Result<Json, EvalError> {
        let (Some(transform), Some(template)) = (step.transforms.get(index), step.body.transforms.get(index))
        else {
            return Err(EvalError::Failed(Error::host(format!(
                "step `{}` has no transform {index}",
                step.id
            ))));
        };
        let value = self.evaluate(template, Some(step), outputs)?;
        let whose = format!("of transform `{}` of step `{}`", transform.plugin, step.id);
        self.fit(&transform.plugin, value, &whose, step.line)
    }

    /// Whether the step is to be done: its `when`, true where there is none.
    pub fn when(&self, step: &Step, outputs: &Outputs) -> Result<bool, EvalError> {
        let Some(when) = &step.body.when else { return Ok(true) };
        match self.evaluate(when, Some(step), outputs)? {
            Json::Bool(value) => Ok(value),
            other => Err(EvalError::Failed(
                Error::invalid(format!(
                    "`when` of step `{}` must be true or false, not {}",
                    step.id,
                    describe(&other)
                ))
                .hint(format!("the step stands in line {} of the recipe", step.line)),
            )),
        }
    }

    /// The outputs of the recipe, an object.
    pub fn outputs(&self, outputs: &Outputs) -> Result<Json, EvalError> {
        match &self.program.outputs {
            Some(template) => self.evaluate(template, None, outputs),
            None => Ok(Json::Object(serde_json::Map::new())),
        }
    }

    fn evaluate(
        &self,
        template: &Template,
        step: Option<&Step>,
        outputs: &Outputs,
    ) -> Result<Json, EvalError> {
        let steps = self.steps_seen(template, outputs)?;
        let scope = Scope {
            inputs: &self.program.inputs,
            item: step.and_then(|step| step.each.as_ref()).map(|(_, item)| item),
            steps: &steps,
        };
        let evaluated = template.evaluate(scope, &|_| false);
        if let Some(failure) = evaluated.failures.first() {
            let whose = step.map_or_else(|| "the recipe's outputs".to_owned(), |step| step.body.what.clone());
            return Err(EvalError::Failed(
                Error::invalid(format!("{whose}: `${{{}}}` has no value: {}", failure.text, failure.why))
                    .hint(format!(
                        "the expression stands in line {} of the recipe",
                        self.line_of(failure.span.start)
                    )),
            ));
        }
        Ok(evaluated.value)
    }

    /// The outputs that a template uses, as expressions see them.
    fn steps_seen(&self, template: &Template, outputs: &Outputs) -> Result<Json, EvalError> {
        let known =
            |id: &StepId| outputs.get(id).cloned().ok_or_else(|| EvalError::Unknown { step: id.clone() });
        let mut seen = serde_json::Map::new();
        for name in template.uses().steps {
            let Some(family) = self.program.families.get(&name) else { continue };
            let value = if family.foreach {
                let mut by_key = serde_json::Map::new();
                for (key, id) in &family.members {
                    by_key.insert(key.clone().unwrap_or_default(), known(id)?);
                }
                Json::Object(by_key)
            } else {
                match family.members.first() {
                    Some((_, id)) => known(id)?,
                    None => continue,
                }
            };
            seen.insert(name, Json::Object([("outputs".to_owned(), value)].into_iter().collect()));
        }
        Ok(Json::Object(seen))
    }

    fn fit(&self, plugin: &str, value: Json, whose: &str, line: usize) -> Result<Json, EvalError> {
        let Some(schema) = self.program.schemas.get(plugin) else { return Ok(value) };
        let misfits = schema.misfits(&value, &[]);
        if misfits.is_empty() {
            return Ok(value);
        }
        let messages: Vec<String> = misfits.iter().map(|misfit| misfit_message(misfit, whose)).collect();
        let hint = misfits.iter().find_map(|misfit| misfit.hint.clone());
        let place = format!("the step stands in line {line} of the recipe");
        Err(EvalError::Failed(
            Error::invalid(messages.join("; "))
                .hint(hint.map_or_else(|| place.clone(), |hint| format!("{hint}; {place}"))),
        ))
    }

    fn line_of(&self, byte: usize) -> usize {
        self.text[..self.text.floor_char_boundary(byte)].matches('\n').count() + 1
    }
}
