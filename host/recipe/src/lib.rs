//! Recipes: from text to a checked value.
//!
//! No network, no file system, no environment: everything comes in as arguments. Every fault is found at once, each
//! with its place in the text.

mod checked;
mod connections;
mod convert;
mod credentials;
mod diagnostic;
mod document;
mod eval;
mod expression;
mod grants;
mod graph;
mod input;
mod label;
mod params;
mod raw;
mod raw_step;
mod reader;
mod references;
mod resolve;
mod schema;
mod steps;
mod template;
mod units;
mod values;
mod vocabulary;

use godwit_model::{Json, RunId};

pub use checked::{
    Catalogue, Checked, EvalError, OnFailure, Outline, OutlineStep, Outputs, PluginInfo, Retry, Step,
    TransformUse,
};
pub use diagnostic::{Diagnostic, Source};
pub use input::{Given, GivenValue, InputSpec, InputType};
pub use label::label_matches;

/// Checks a recipe with all that a run of it needs. Every fault at once, in the order of the text.
///
/// Tokens of secrets are made for `run`: for a resume, that of the run that is resumed.
pub fn check(
    source: &Source,
    given: &Given,
    run: &RunId,
    catalogue: &dyn Catalogue,
) -> Result<Checked, Vec<Diagnostic>> {
    match resolve::resolve(source, given, run, catalogue, true) {
        (Some(resolved), faults) if faults.is_empty() => Ok(resolved.checked),
        (_, faults) => Err(faults),
    }
}

/// Checks a recipe whose inputs may be missing: what isn't known fits everywhere.
///
/// There is an outline as long as the text is a recipe at all, whatever its faults.
pub fn lint(source: &Source, given: &Given, catalogue: &dyn Catalogue) -> (Option<Outline>, Vec<Diagnostic>) {
    let (resolved, faults) = resolve::resolve(source, given, &RunId::new("lint"), catalogue, false);
    (resolved.map(|resolved| resolved.outline), faults)
}

/// The inputs that a recipe declares, in its order, so that their values can be gathered.
///
/// An input whose declaration is at fault is left out: [`check`] and [`lint`] report it among all other faults. An
/// error means that the text isn't JSON.
pub fn inputs_of(source: &Source) -> Result<Vec<InputSpec>, Vec<Diagnostic>> {
    resolve::inputs(source)
}

/// The published JSON Schema (2020-12) of recipes.
pub fn json_schema() -> Json {
    schema::recipe()
}
