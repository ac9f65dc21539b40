//! A small catalogue of plugins, and diagnostics as plain text.

use godwit_model::plugin::{Access, ConnectionKind, Manifest, PluginKind, SlotSpec};
use godwit_model::{Digest, RunId};
use godwit_recipe::{Catalogue, Checked, Diagnostic, Given, GivenValue, PluginInfo, Source};
use serde_json::json;

pub struct Plugins;

fn slot(name: &str, kind: ConnectionKind, access: Access, required: bool, summary: &str) -> SlotSpec {
    SlotSpec { name: name.into(), kind, access, required, summary: summary.into() }
}

impl Catalogue for Plugins {
    fn plugin(&self, name: &str) -> Result<PluginInfo, String> {
        use ConnectionKind::{Dir, Postgres, S3};
        let mut kind = PluginKind::Step;
        let mut outputs = json!({ "type": "object" });
        let (slots, params, needs_kinds) = match name {
            "postgres-copy" => {
                outputs = json!({ "type": "object", "properties": { "tables": { "type": "array" }, "rows": { "type": "integer" } } });
                (
                    vec![
                        slot("source", Postgres, Access::Read, true, "the database to copy"),
                        slot("target", Postgres, Access::Write, true, "where it goes"),
                    ],
                    json!({
                        "type": "object",
                        "additionalProperties": false,
                        "properties": {
                            "consistency": { "enum": ["snapshot", "frozen"] },
                            "tables": { "type": "array", "items": { "type": "string" } },
                            "jobs": { "type": "integer", "minimum": 1 }
                        }
                    }),
                    vec![Postgres],
                )
            }
            "env-rewrite" => (
                vec![slot("env", Dir, Access::Write, true, "the folder of the files")],
                json!({
                    "type": "object",
                    "required": ["path", "set"],
                    "additionalProperties": false,
                    "properties": {
                        "path": { "type": "string", "description": "The file. Relative to the slot." },
                        "set": { "type": "object", "additionalProperties": { "type": "string", "maxLength": 200 } }
                    }
                }),
                vec![Dir],
            ),
            "s3-to-r2" => (
                vec![
                    slot("source", S3, Access::Read, true, "the buckets to copy"),
                    slot("target", S3, Access::Write, true, "where they go"),
                ],
                json!({ "type": "object", "required": ["buckets"], "properties": { "buckets": { "type": "array", "items": { "type": "string" } } } }),
                vec![S3],
            ),
            "mask-columns" => {
                kind = PluginKind::Transform;
                (
                    vec![],
                    json!({ "type": "object", "required": ["columns"], "additionalProperties": false, "properties": { "columns": { "type": "object" } } }),
                    vec![],
                )
            }
            "liar" => (vec![], json!({ "type": "object" }), vec![S3]),
            "broken" => (vec![], json!({ "type": 7 }), vec![]),
            _ => return Err("there is no such plugin".to_owned()),
        };
        Ok(PluginInfo {
            kind,
            digest: Digest::of(name.as_bytes()),
            manifest: Manifest {
                name: name.into(),
                version: "0.1.0".into(),
                summary: String::new(),
                slots,
                params_schema: params,
                outputs_schema: if kind == PluginKind::Step { outputs } else { serde_json::Value::Null },
            },
            needs_kinds,
        })
    }

    fn names(&self) -> Vec<String> {
        ["postgres-copy", "env-rewrite", "s3-to-r2", "mask-columns"].map(str::to_owned).to_vec()
    }
}

pub fn run() -> RunId {
    RunId::new("20260101-000000-abcd")
}

pub fn given(values: &[(&str, &str)]) -> Given {
    values
        .iter()
        .fold(Given::default(), |given, (name, text)| given.with(*name, GivenValue::text(*text, "-i")))
}

pub fn check(text: &str, values: &[(&str, &str)]) -> Result<Checked, Vec<Diagnostic>> {
    godwit_recipe::check(&Source::new("recipe.json", text), &given(values), &run(), &Plugins)
}

/// A recipe that has to be without fault.
pub fn checked(text: &str, values: &[(&str, &str)]) -> Checked {
    check(text, values).unwrap_or_else(|faults| panic!("{}", render(text, &faults)))
}

/// The faults of a recipe, with all inputs there.
pub fn faults(text: &str, values: &[(&str, &str)]) -> String {
    match check(text, values) {
        Ok(_) => "no fault\n".to_owned(),
        Err(faults) => render(text, &faults),
    }
}

/// The faults of a recipe without its inputs.
pub fn lint(text: &str) -> String {
    let (_, faults) = godwit_recipe::lint(&Source::new("recipe.json", text), &Given::default(), &Plugins);
    if faults.is_empty() { "no fault\n".to_owned() } else { render(text, &faults) }
}

pub fn render(text: &str, faults: &[Diagnostic]) -> String {
    let mut out = String::new();
    for fault in faults {
        let start = text[..fault.span.start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[start..].lines().next().unwrap_or_default();
        let shown = line.trim_start();
        let indent = line.len() - shown.len();
        let before = text[start + indent.min(fault.span.start - start)..fault.span.start].chars().count();
        let marked = text[fault.span.clone()].chars().count().max(1);
        out.push_str(&format!("{}: {}\n", fault.code, fault.message));
        out.push_str(&format!("  {}:{}:{}\n  | {shown}\n", fault.file, fault.line, fault.column));
        out.push_str(&format!("  | {}{}", " ".repeat(before), "^".repeat(marked)));
        if let Some(label) = &fault.label {
            out.push_str(&format!(" {label}"));
        }
        out.push('\n');
        if let Some(hint) = &fault.hint {
            out.push_str(&format!("  = {hint}\n"));
        }
    }
    out
}
