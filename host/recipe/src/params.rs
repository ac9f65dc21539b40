//! Values against a plugin's JSON Schema, with faults that a person can act on.

use std::sync::Arc;

use godwit_model::Json;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, ValidationError, Validator};

use crate::diagnostic::suggest;
use crate::expression::describe;
use crate::template::Hole;

/// A compiled schema.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    json: Arc<Json>,
    validator: Arc<Validator>,
}

/// What doesn't fit, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub path: Vec<String>,
    /// The key below the path at which it is shown.
    pub key: Option<String>,
    /// What to say of the value at the path: «must be of type integer».
    pub message: String,
    pub hint: Option<String>,
    /// What the plugin says of a parameter that is missing.
    pub summary: Option<String>,
}

impl Misfit {
    /// The path as people write it: `tables[0].name`.
    pub fn shown_path(&self) -> String {
        show_path(&self.path)
    }
}

fn show_path(path: &[String]) -> String {
    let mut out = String::new();
    for segment in path {
        if !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()) {
            out.push_str(&format!("[{segment}]"));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(segment);
        }
    }
    out
}

impl Schema {
    /// Compiles a schema of a plugin. References to other documents aren't followed.
    pub fn new(json: &Json) -> Result<Self, String> {
        // No schema at all admits everything.
        let json = if json.is_null() { &Json::Bool(true) } else { json };
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .build(json)
            .map_err(|error| error.to_string())?;
        Ok(Self { json: Arc::new(json.clone()), validator: Arc::new(validator) })
    }

    /// Everything that doesn't fit; what stands in a hole fits.
    pub fn misfits(&self, value: &Json, holes: &[Hole]) -> Vec<Misfit> {
        let mut out = Vec::new();
        for error in self.validator.iter_errors(value) {
            self.explain(&error, value, holes, &mut out);
        }
        out.dedup();
        out
    }

    fn explain(&self, error: &ValidationError<'_>, root: &Json, holes: &[Hole], out: &mut Vec<Misfit>) {
        let path = segments(error);
        if excused(error, &path, holes) {
            return;
        }
        let misfit = |message: String, hint: Option<String>| Misfit {
            path: path.clone(),
            key: None,
            message,
            hint,
            summary: None,
        };
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let schema = self.schema_above(error).and_then(|s| s.get("properties")?.get(name));
                let hint = format!("\"{name}\": {}", sample(&self.json, schema));
                let summary = schema.and_then(|s| s.get("description")).and_then(Json::as_str);
                out.push(Misfit {
                    summary: summary.map(|text| first_sentence(text).to_owned()),
                    ..misfit(format!("lacks `{name}`"), Some(hint))
                });
            }
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let known: Vec<&str> = self
                    .schema_above(error)
                    .and_then(|schema| schema.get("properties")?.as_object())
                    .map(|properties| properties.keys().map(String::as_str).collect())
                    .unwrap_or_default();
                for name in unexpected {
                    out.push(Misfit {
                        path: path.clone(),
                        key: Some(name.clone()),
                        message: format!("has no parameter `{name}`"),
                        hint: suggest(name, known.iter().copied()),
                        summary: None,
                    });
                }
            }
            ValidationErrorKind::Type { kind } => {
                let wanted = match kind {
                    TypeKind::Single(one) => one.to_string(),
                    TypeKind::Multiple(set) => set
                        .iter()
                        .map(|one| one.to_string())
                        .filter(|one| one != "null")
                        .collect::<Vec<_>>()
                        .join(" or "),
                };
                out.push(misfit(
                    format!("must be of type {wanted}, not {}", describe(error.instance())),
                    None,
                ));
            }
            ValidationErrorKind::Enum { options } => {
                let options: Vec<String> = match options.as_array() {
                    Some(options) => options.iter().map(plain).collect(),
                    None => vec![options.to_string()],
                };
                let hint = error
                    .instance()
                    .as_str()
                    .and_then(|text| suggest(text, options.iter().map(String::as_str)))
                    .filter(|hint| hint.starts_with("did you"));
                out.push(misfit(format!("must be one of {}", options.join(", ")), hint));
            }
            ValidationErrorKind::Constant { expected_value } => {
                out.push(misfit(format!("must be {expected_value}"), None));
            }
            ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
                self.explain_choice(context, &path, root, holes, out);
            }
            ValidationErrorKind::Referencing(error) => {
                out.push(misfit(
                    format!("can't be checked: {error}"),
                    Some("the plugin's schema is broken".into()),
                ));
            }
            // The value itself isn't repeated: it may be long, and the place shows it.
            _ => out.push(misfit(predicate(error), None)),
        }
    }

    /// Of several forms, the one that was meant: the only one that isn't ruled out by a type or a tag.
    fn explain_choice(
        &self,
        branches: &[Vec<ValidationError<'static>>],
        path: &[String],
        root: &Json,
        holes: &[Hole],
        out: &mut Vec<Misfit>,
    ) {
        let ruled_out = |branch: &Vec<ValidationError<'static>>| {
            branch.iter().any(|error| {
                let here = error.instance_path().segments().count();
                match error.kind() {
                    ValidationErrorKind::Type { .. } => here == path.len(),
                    ValidationErrorKind::Constant { .. } => here <= path.len() + 1,
                    ValidationErrorKind::Enum { .. } => here == path.len(),
                    _ => false,
                }
            })
        };
        let open: Vec<_> = branches.iter().filter(|branch| !ruled_out(branch)).collect();
        if let [meant] = open.as_slice() {
            for error in meant.iter() {
                self.explain(error, root, holes, out);
            }
            return;
        }
        // Names of a choice, as schemars writes them: `enum` or `const` in each branch.
        let mut names = Vec::new();
        for error in branches.iter().flatten() {
            match error.kind() {
                ValidationErrorKind::Constant { expected_value } => names.push(plain(expected_value)),
                ValidationErrorKind::Enum { options } => {
                    names.extend(options.as_array().into_iter().flatten().map(plain));
                }
                _ => {}
            }
        }
        names.dedup();
        let message = if names.is_empty() {
            let wanted: Vec<String> = branches.iter().flatten().map(predicate).collect();
            format!("fits none of its forms: {}", wanted.join("; or "))
        } else {
            format!("must be one of {}", names.join(", "))
        };
        out.push(Misfit { path: path.to_vec(), key: None, message, hint: None, summary: None });
    }

    /// The schema object that holds the keyword of an error.
    fn schema_above(&self, error: &ValidationError<'_>) -> Option<&Json> {
        let pointer = error.schema_path().as_str();
        let (above, _) = pointer.rsplit_once('/')?;
        self.json.pointer(above)
    }
}

/// The library's own message as a predicate.
fn predicate(error: &ValidationError<'_>) -> String {
    let message = error.masked_with("the value").to_string();
    match message.strip_prefix("the value ") {
        Some(predicate) => predicate.to_owned(),
        None => format!("doesn't fit: {message}"),
    }
}

/// A value as a person would type it: texts without quotes.
fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.')
}

/// What a value of a schema might look like.
fn sample(root: &Json, schema: Option<&Json>) -> String {
    let Some(schema) = schema else { return "…".to_owned() };
    if let Some(target) =
        schema.get("$ref").and_then(Json::as_str).and_then(|r| root.pointer(r.strip_prefix('#')?))
    {
        return if target.get("$ref").is_some() { "…".to_owned() } else { sample(root, Some(target)) };
    }
    if let Some(first) = schema.get("enum").and_then(|options| options.get(0)) {
        return first.to_string();
    }
    let kind = match schema.get("type") {
        Some(Json::Array(kinds)) => kinds.first().and_then(Json::as_str),
        Some(kind) => kind.as_str(),
        None => None,
    };
    match kind {
        Some("string") => "\"…\"",
        Some("integer" | "number") => "1",
        Some("boolean") => "true",
        Some("array") => "[…]",
        Some("object") => "{ … }",
        _ => "…",
    }
    .to_owned()
}

fn segments(error: &ValidationError<'_>) -> Vec<String> {
    let pointer = error.instance_path().as_str();
    pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()
}

/// Whether a misfit may come only from what isn't known yet.
fn excused(error: &ValidationError<'_>, path: &[String], holes: &[Hole]) -> bool {
    let within = |hole: &Hole| path.starts_with(&hole.path);
    let below = |hole: &Hole| hole.path.starts_with(path);
    let sure_of_text = matches!(error.kind(), ValidationErrorKind::Type { .. });
    if holes.iter().any(|hole| within(hole) && !(hole.text && sure_of_text)) {
        return true;
    }
    let depends_on_content = matches!(
        error.kind(),
        ValidationErrorKind::AnyOf { .. }
            | ValidationErrorKind::OneOfNotValid { .. }
            | ValidationErrorKind::OneOfMultipleValid { .. }
            | ValidationErrorKind::Not { .. }
            | ValidationErrorKind::Constant { .. }
            | ValidationErrorKind::Enum { .. }
            | ValidationErrorKind::Contains
            | ValidationErrorKind::UniqueItems
    ) || ["/if/", "/then/", "/else/", "/dependentSchemas/"]
        .iter()
        .any(|keyword| error.schema_path().as_str().contains(keyword));
    depends_on_content && holes.iter().any(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn misfits(value: Json, holes: &[Hole]) -> Vec<String> {
        let schema = Schema::new(&json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "required": ["tables"],
            "additionalProperties": false,
            "properties": {
                "tables": { "type": "array", "items": { "$ref": "#/$defs/Table" }, "description": "What to copy. All of it." },
                "consistency": { "enum": ["snapshot", "frozen"] },
                "limit": { "type": ["integer", "null"], "minimum": 1 },
                "index": { "oneOf": [
                    { "type": "object", "properties": { "method": { "const": "hnsw" }, "m": { "type": "integer" } },
                      "required": ["method", "m"] },
                    { "type": "object", "properties": { "method": { "const": "ivfflat" }, "lists": { "type": "integer" } },
                      "required": ["method", "lists"] } ] },
                "maybe": { "anyOf": [ { "$ref": "#/$defs/Table" }, { "type": "null" } ] }
            },
            "$defs": { "Table": { "type": "object", "required": ["name"], "additionalProperties": false,
                "properties": { "name": { "type": "string", "minLength": 2 } } } }
        }))
        .unwrap();
        schema
            .misfits(&value, holes)
            .into_iter()
            .map(|m| {
                let hint = m.hint.clone().map(|h| format!(" ({h})")).unwrap_or_default();
                let summary = m.summary.clone().map(|s| format!(" — {s}")).unwrap_or_default();
                format!("{}: {}{hint}{summary}", m.shown_path(), m.message)
            })
            .collect()
    }

    #[test]
    fn misfits_name_the_place_and_the_way_out() {
        for (value, expected) in [
            (json!({"tables": []}), vec![]),
            (json!({}), vec![": lacks `tables` (\"tables\": […]) — What to copy"]),
            (
                json!({"tables": [], "tabels": 1}),
                vec![": has no parameter `tabels` (did you mean `tables`?)"],
            ),
            (
                json!({"tables": [{"nam": "x"}]}),
                vec![
                    "tables[0]: has no parameter `nam` (did you mean `name`?)",
                    "tables[0]: lacks `name` (\"name\": \"…\")",
                ],
            ),
            (json!({"tables": "x"}), vec!["tables: must be of type array, not a string"]),
            (json!({"tables": [], "limit": "x"}), vec!["limit: must be of type integer, not a string"]),
            (json!({"tables": [], "limit": 0}), vec!["limit: is less than the minimum of 1"]),
            (
                json!({"tables": [], "consistency": "frosen"}),
                vec!["consistency: must be one of snapshot, frozen (did you mean `frozen`?)"],
            ),
            (json!({"tables": [], "index": {"method": "hnsw"}}), vec!["index: lacks `m` (\"m\": 1)"]),
            (
                json!({"tables": [], "index": {"method": "btree"}}),
                vec!["index: must be one of hnsw, ivfflat"],
            ),
            (
                json!({"tables": [], "maybe": {"name": 1}}),
                vec!["maybe.name: must be of type string, not a number"],
            ),
        ] {
            let mut found = misfits(value.clone(), &[]);
            found.sort();
            let mut expected = expected;
            expected.sort_unstable();
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn what_is_unknown_fits() {
        let hole = |path: &[&str], text| Hole { path: path.iter().map(|s| (*s).to_owned()).collect(), text };
        assert_eq!(misfits(json!({"tables": null}), &[hole(&["tables"], false)]), Vec::<String>::new());
        assert_eq!(
            misfits(json!({"tables": [{"name": ""}]}), &[hole(&["tables", "0", "name"], true)]),
            Vec::<String>::new()
        );
        // It will be a string, and a list is wanted.
        assert_eq!(misfits(json!({"tables": ""}), &[hole(&["tables"], true)]).len(), 1);
        let choice = json!({"tables": [], "index": {"method": null}});
        assert_eq!(misfits(choice, &[hole(&["index", "method"], false)]), Vec::<String>::new());
        assert_eq!(misfits(json!({"tables": null, "x": 1}), &[hole(&["tables"], false)]).len(), 1);
    }
}
