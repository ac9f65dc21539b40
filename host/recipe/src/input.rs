//! Inputs: how a recipe declares them, and what was given for them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use godwit_model::Json;

/// The type of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputType {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
    /// Never shown, stored or handed to a guest: everything sees a token.
    Secret,
    /// A URL whose user information and secret parameters are treated like a secret.
    Url,
}

impl InputType {
    pub(crate) const ALL: [Self; 8] = [
        Self::String,
        Self::Integer,
        Self::Number,
        Self::Boolean,
        Self::Array,
        Self::Object,
        Self::Secret,
        Self::Url,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
            Self::Secret => "secret",
            Self::Url => "url",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether a value of this type may hold a token.
    pub fn is_confidential(self) -> bool {
        matches!(self, Self::Secret | Self::Url)
    }
}

/// An input as the recipe declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSpec {
    pub name: String,
    pub kind: InputType,
    pub description: Option<String>,
    pub default: Option<Json>,
    /// The environment variable it may come from; `GODWIT_INPUT_<NAME>` unless the recipe says otherwise.
    pub env: String,
    /// The admitted values; empty: any.
    pub choices: Vec<Json>,
    /// Where its name stands, in bytes of the recipe.
    pub span: Range<usize>,
}

impl InputSpec {
    /// Whether a run can't do without a given value.
    pub fn required(&self) -> bool {
        self.default.is_none()
    }
}

/// One value that was given for an input. `Debug` doesn't show the value.
#[derive(Clone, PartialEq)]
pub enum GivenValue {
    /// From the command line or the environment: parsed to the input's type.
    Text { text: String, origin: String },
    /// From a file of inputs.
    Json { value: Json, origin: String },
}

impl GivenValue {
    /// `origin` is for messages: `-i`, `environment variable X`, `file .env`.
    pub fn text(text: impl Into<String>, origin: impl Into<String>) -> Self {
        Self::Text { text: text.into(), origin: origin.into() }
    }

    pub fn json(value: Json, origin: impl Into<String>) -> Self {
        Self::Json { value, origin: origin.into() }
    }

    pub fn origin(&self) -> &str {
        match self {
            Self::Text { origin, .. } | Self::Json { origin, .. } => origin,
        }
    }
}

impl fmt::Debug for GivenValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GivenValue(*** from {})", self.origin())
    }
}

/// The values that were gathered for a recipe's inputs, by input name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    pub values: BTreeMap<String, GivenValue>,
}

impl Given {
    pub fn with(mut self, name: impl Into<String>, value: GivenValue) -> Self {
        self.values.insert(name.into(), value);
        self
    }
}
