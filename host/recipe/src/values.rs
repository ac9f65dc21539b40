//! What was given for the inputs, brought to their types; credentials become tokens on the way.

use std::collections::{BTreeMap, BTreeSet};

use godwit_model::secret::{Secret, Secrets};
use godwit_model::{Json, RunId};

use crate::credentials::{self, Credentials};
use crate::diagnostic::{Fault, Report, suggest};
use crate::input::{Given, GivenValue, InputSpec, InputType};

/// The inputs of one check.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// Over tokens, an object; what isn't known is left out.
    pub known: serde_json::Map<String, Json>,
    /// Without anything confidential.
    pub plain: serde_json::Map<String, Json>,
    pub secrets: Secrets,
    /// Which secrets stand behind an input: its own name, and one for each further part of a url.
    pub parts: BTreeMap<String, Vec<String>>,
    /// Inputs to be given again for a resume.
    pub given_again: Vec<String>,
}

/// Brings the inputs to their types. With `complete`, one that is missing is a fault; without it, it stays unknown.
///
/// Nothing more is said of what is `broken` already in its declaration.
pub(crate) fn gather(
    specs: &[InputSpec],
    broken: &BTreeSet<String>,
    given: &Given,
    run: &RunId,
    complete: bool,
    report: &mut Report<'_>,
) -> Values {
    let mut values = Values::default();
    for (name, value) in &given.values {
        if !specs.iter().any(|spec| spec.name == *name) && !broken.contains(name) {
            let at = specs.first().map_or(0..0, |spec| spec.span.clone());
            report.add(
                Fault::new(
                    "recipe::unknown-input",
                    &at,
                    format!("the recipe has no input `{name}`, which came from {}", value.origin()),
                )
                .hint_opt(suggest(name, specs.iter().map(|spec| spec.name.as_str()))),
            );
        }
    }
    for spec in specs {
        let typed = match (given.values.get(&spec.name), &spec.default) {
            (Some(value), _) => match typed(spec, value) {
                Ok(value) => Some(value),
                Err(fault) => {
                    report.add(*fault);
                    None
                }
            },
            (None, Some(default)) => Some(default.clone()),
            (None, None) if broken.contains(&spec.name) => None,
            (None, None) if complete => {
                report.add(missing(spec));
                None
            }
            // The token doesn't depend on the value.
            (None, None) if spec.kind == InputType::Secret => Some(Json::String(String::new())),
            (None, None) => None,
        };
        if let Some(value) = typed {
            values.keep(spec, value, run, report);
        }
    }
    values
}

impl Values {
    fn keep(&mut self, spec: &InputSpec, value: Json, run: &RunId, report: &mut Report<'_>) {
        let name = spec.name.clone();
        let over_tokens = match (spec.kind, &value) {
            (InputType::Secret, Json::String(text)) => {
                self.given_again.push(name.clone());
                self.parts.insert(name.clone(), vec![name.clone()]);
                Json::String(self.secrets.insert(run, &name, Secret::new(text)))
            }
            (InputType::Url, Json::String(text)) => {
                let split = match credentials::split(text) {
                    Ok(split) => split,
                    Err(why) => {
                        report.add(
                            Fault::new(
                                "recipe::input",
                                &spec.span,
                                format!("what is given for input `{name}` is no url: {why}"),
                            )
                            .hint(format!("one that fits: -i {name}={}", example(spec))),
                        );
                        return;
                    }
                };
                self.plain.insert(name.clone(), Json::String(split.without()));
                let url = self.tokenise(&name, &split, run);
                Json::String(url)
            }
            (_, value) => {
                if let Some(found) = credentials::find_in(value) {
                    report.add(
                        Fault::new(
                            "recipe::plain-credential",
                            &spec.span,
                            format!("the value of input `{name}` holds {found}, but the input isn't confidential"),
                        )
                        .hint(format!(
                            "declare it so that the journal doesn't keep it: \"{name}\": {{ \"type\": \"url\" }}"
                        )),
                    );
                    return;
                }
                self.plain.insert(name.clone(), value.clone());
                value.clone()
            }
        };
        self.known.insert(name, over_tokens);
    }

    /// The url with a token in the place of each credential.
    fn tokenise(&mut self, name: &str, split: &Credentials, run: &RunId) -> String {
        if split.is_empty() {
            return split.without();
        }
        let mut parts = Vec::new();
        let url = split.replace(|part, value| {
            // The first one bears the input's own name: that is the one that grants speak of.
            let secret = if parts.is_empty() { name.to_owned() } else { format!("{name}.{part}") };
            parts.push(secret.clone());
            self.secrets.insert_url_part(run, &secret, Secret::new(value))
        });
        if let Some(password) = split.password() {
            // Never granted: it is there so that redaction knows the password also when it stands alone.
            self.secrets.insert(run, &format!("{name}:password"), Secret::new(password));
        }
        self.given_again.push(name.to_owned());
        self.parts.insert(name.to_owned(), parts);
        url
    }

    /// The input behind a secret's name, if it is one of this run.
    pub fn input_of_secret(&self, secret: &str) -> Option<&str> {
        self.parts
            .iter()
            .find(|(_, parts)| parts.iter().any(|part| part == secret))
            .map(|(input, _)| input.as_str())
    }
}

fn missing(spec: &InputSpec) -> Fault {
    let mut hint = match spec.kind {
        InputType::Secret => {
            format!("set the environment variable {}, or name it in an --env-file", spec.env)
        }
        _ => format!(
            "give it with -i {}={}, or set the environment variable {}",
            spec.name,
            example(spec),
            spec.env
        ),
    };
    if let Some(description) = &spec.description {
        hint = format!("{hint} ({description})");
    }
    Fault::new("recipe::missing-input", &spec.span, format!("input `{}` isn't given", spec.name)).hint(hint)
}

fn example(spec: &InputSpec) -> &'static str {
    match spec.kind {
        InputType::Array => "'[\"a\", \"b\"]'",
        InputType::Object => "'{\"key\": \"value\"}'",
        InputType::Boolean => "true",
        InputType::Integer => "5",
        InputType::Number => "0.5",
        InputType::Url => "postgres://user:password@host:5432/database",
        InputType::String | InputType::Secret => "…",
    }
}

/// A given value by its declared type.
fn typed(spec: &InputSpec, given: &GivenValue) -> Result<Json, Box<Fault>> {
    let wrong = |found: &str| {
        let shown = if spec.kind.is_confidential() { String::new() } else { format!(": {found}") };
        Box::new(
            Fault::new(
                "recipe::input",
                &spec.span,
                format!(
                    "what {} gives for input `{}` is no {}{shown}",
                    given.origin(),
                    spec.name,
                    spec.kind.name()
                ),
            )
            .hint(format!("one that fits: -i {}={}", spec.name, example(spec))),
        )
    };
    let value = match given {
        GivenValue::Text { text, .. } => from_text(spec.kind, text).ok_or_else(|| wrong(&quoted(text)))?,
        GivenValue::Json { value, .. } => {
            let fits = value.is_null() && spec.default == Some(Json::Null) || has_type(spec.kind, value);
            if !fits {
                return Err(wrong(&quoted(&value.to_string())));
            }
            value.clone()
        }
    };
    check_choice(spec, &value)?;
    Ok(value)
}

fn quoted(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() { format!("`{short}…`") } else { format!("`{short}`") }
}

fn from_text(kind: InputType, text: &str) -> Option<Json> {
    let trimmed = text.trim();
    match kind {
        InputType::String | InputType::Secret => Some(Json::String(text.to_owned())),
        InputType::Url => Some(Json::String(trimmed.to_owned())),
        InputType::Integer => trimmed.parse::<i64>().ok().map(Json::from),
        InputType::Number => {
            if let Ok(int) = trimmed.parse::<i64>() {
                return Some(Json::from(int));
            }
            let number = trimmed.parse::<f64>().ok()?;
            serde_json::Number::from_f64(number).map(Json::Number)
        }
        InputType::Boolean => match trimmed {
            "true" => Some(Json::Bool(true)),
            "false" => Some(Json::Bool(false)),
            _ => None,
        },
        InputType::Array | InputType::Object => {
            serde_json::from_str(trimmed).ok().filter(|value| has_type(kind, value))
        }
    }
}

/// Whether a JSON value fits a type.
pub(crate) fn has_type(kind: InputType, value: &Json) -> bool {
    match kind {
        InputType::String | InputType::Secret | InputType::Url => value.is_string(),
        InputType::Integer => value.is_i64() || value.is_u64(),
        InputType::Number => value.is_number(),
        InputType::Boolean => value.is_boolean(),
        InputType::Array => value.is_array(),
        InputType::Object => value.is_object(),
    }
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn check_choice(spec: &InputSpec, value: &Json) -> Result<(), Box<Fault>> {
    if spec.choices.is_empty() || spec.choices.contains(value) {
        return Ok(());
    }
    let choices: Vec<String> = spec.choices.iter().map(Json::to_string).collect();
    let shown = if spec.kind.is_confidential() { "its value".to_owned() } else { quoted(&value.to_string()) };
    Err(Box::new(
        Fault::new(
            "recipe::input",
            &spec.span,
            format!("input `{}` must be one of {}, and {shown} isn't", spec.name, choices.join(", ")),
        )
        .hint(format!(
            "one that fits: -i {}={}",
            spec.name,
            spec.choices.first().map_or_else(String::new, plain)
        )),
    ))
}
