//! A step plugin as a Rust type.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::types::{Access, Check, ConnectionKind, Error, Result, Slot, Verdict};

/// A step plugin: a struct without data and three functions.
///
/// `apply` is called to plan, to apply and to resume, each time from the top; see the crate's documentation for what
/// that asks of it. Both functions are generic over the host, so that a component imports only what it calls.
pub trait Step {
    /// Lower-case letters, digits and `-`; what a recipe's `plugin` says.
    const NAME: &str;
    /// Semantic version.
    const VERSION: &str;
    /// One line for people.
    const SUMMARY: &str;

    /// The recipe's `with`. Its JSON Schema is published, and the host checks params by it before any call.
    type Params: DeserializeOwned + JsonSchema;
    /// What later steps may use, and what `verify` gets back.
    type Outputs: Serialize + DeserializeOwned + JsonSchema;

    /// The slots that a recipe grants connections to.
    fn slots() -> Vec<Slot>;

    /// Does the step's work by effects.
    fn apply<H: Host>(host: &H, params: Self::Params) -> Result<Self::Outputs>;

    /// Checks the step's work; reads only. A step without a failed check is complete.
    fn verify<H: Host>(host: &H, params: Self::Params, outputs: Self::Outputs) -> Result<Vec<Check>>;
}

impl Slot {
    /// A slot that a recipe has to grant.
    pub fn new(
        name: impl Into<String>,
        kind: ConnectionKind,
        access: Access,
        summary: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), kind, access, required: true, summary: summary.into() }
    }

    /// A slot that a recipe may leave out.
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }
}

impl Check {
    /// A check that passed.
    pub fn passed(name: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Passed, detail: None }
    }

    /// A check that failed.
    pub fn failed(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Failed(why.into()), detail: None }
    }

    /// A check that found nothing wrong, but could not prove anything either.
    pub fn not_comparable(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::NotComparable(why.into()), detail: None }
    }

    /// Passed where `holds`, else failed.
    pub fn that(name: impl Into<String>, holds: bool, why_not: impl Into<String>) -> Self {
        if holds { Self::passed(name) } else { Self::failed(name, why_not) }
    }

    /// Says what was compared.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// What a plugin says of itself: `types.manifest` of the WIT.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub name: &'static str,
    pub version: &'static str,
    pub summary: &'static str,
    pub slots: Vec<Slot>,
    /// JSON Schema 2020-12.
    pub params_schema: serde_json::Value,
    /// JSON Schema 2020-12; `null` for a transform.
    pub outputs_schema: serde_json::Value,
}

impl Manifest {
    /// The manifest of a step plugin.
    pub fn of_step<S: Step>() -> Self {
        Self {
            name: S::NAME,
            version: S::VERSION,
            summary: S::SUMMARY,
            slots: S::slots(),
            params_schema: schemars::schema_for!(S::Params).to_value(),
            outputs_schema: schemars::schema_for!(S::Outputs).to_value(),
        }
    }

    /// The manifest of a transform plugin.
    pub fn of_transform<T: crate::Transform>() -> Self {
        Self {
            name: T::NAME,
            version: T::VERSION,
            summary: T::SUMMARY,
            slots: Vec::new(),
            params_schema: schemars::schema_for!(T::Params).to_value(),
            outputs_schema: serde_json::Value::Null,
        }
    }
}

/// Calls `apply` of a step as the host does: params and outputs are JSON texts.
pub fn run_apply<S: Step, H: Host>(host: &H, params: &str) -> Result<String> {
    let outputs = S::apply(host, read_json::<S::Params>(S::NAME, "params", params)?)?;
    serde_json::to_string(&outputs).map_err(|e| {
        Error::Failed(format!("the outputs of plugin `{}` can't be written as JSON: {e}", S::NAME))
    })
}

/// Calls `verify` of a step as the host does: params and outputs are JSON texts.
pub fn run_verify<S: Step, H: Host>(host: &H, params: &str, outputs: &str) -> Result<Vec<Check>> {
    let params = read_json::<S::Params>(S::NAME, "params", params)?;
    let outputs = read_json::<S::Outputs>(S::NAME, "outputs", outputs)?;
    S::verify(host, params, outputs)
}

/// Reads JSON that the host handed over; the message names the plugin and the field.
pub(crate) fn read_json<'a, T: Deserialize<'a>>(plugin: &str, what: &str, text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| {
        let at = near(text, &e);
        Error::Invalid(format!("the {what} of plugin `{plugin}` don't fit its schema: {e}{at}"))
    })
}

/// The last object key before the place of a JSON error: serde names missing and unknown fields, but not the field
/// whose value has the wrong type. Values are not shown, as they may be anything.
fn near(text: &str, error: &serde_json::Error) -> String {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let before = line.get(..error.column().min(line.len())).unwrap_or_default();
    let key = before.rmatch_indices("\":").next().and_then(|(end, _)| {
        let start = before[..end].rfind('"')?;
        Some(&before[start + 1..end])
    });
    key.map(|key| format!(" (near `{key}`)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Params {
        #[allow(dead_code)]
        path: String,
        #[allow(dead_code)]
        port: u16,
    }

    fn message(text: &str) -> String {
        read_json::<Params>("p", "params", text).unwrap_err().to_string()
    }

    #[test]
    fn errors_of_params_name_the_field() {
        assert!(message(r#"{"path":"a"}"#).contains("missing field `port`"));
        assert!(message(r#"{"path":"a","port":1,"x":2}"#).contains("unknown field `x`"));
        let wrong = message(r#"{"path":"a","port":"many"}"#);
        assert!(wrong.contains("near `port`"), "{wrong}");
    }
}
