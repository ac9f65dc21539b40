//! The JSON Schema of recipes, for editors.

use godwit_model::Json;
use serde_json::json;

use crate::connections::{self, Field, FieldType};
use crate::input::InputType;

const NAME: &str = "^[A-Za-z_][A-Za-z0-9_-]{0,63}$";
const DURATION: &str = "^([0-9]+(ms|s|m|h|d))+$";
const SIZE: &str = "^[0-9]+ ?(B|KiB|MiB|GiB|[kK]B|MB|GB)?$";
const EXPRESSION: &str = "\\$\\{";

/// A recipe as a whole.
pub(crate) fn recipe() -> Json {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Godwit recipe",
        "description": "A migration: inputs, connections, and steps that plugins decide and the host carries out.",
        "type": "object",
        "required": ["godwit", "name", "steps"],
        "additionalProperties": false,
        "properties": {
            "$schema": { "type": "string", "description": "This schema, for completion in an editor." },
            "godwit": { "const": crate::raw::FORMAT, "description": "The version of the recipe language." },
            "name": { "type": "string", "pattern": NAME, "description": "The recipe's name in reports and lists." },
            "description": { "type": "string" },
            "inputs": {
                "type": "object",
                "description": "What a run is given from outside: by -i, --inputs, the environment or --env-file.",
                "propertyNames": { "pattern": NAME },
                "additionalProperties": { "$ref": "#/$defs/input" }
            },
            "connections": {
                "type": "object",
                "description": "Outside things with their credentials. Only the host sees them whole.",
                "propertyNames": { "pattern": NAME },
                "additionalProperties": { "$ref": "#/$defs/connection" }
            },
            "steps": {
                "type": "array",
                "description": "Uses of plugins. The order is given by what they need; independent steps run at once.",
                "minItems": 1,
                "items": { "$ref": "#/$defs/step" }
            },
            "outputs": { "type": "object", "description": "What the report shows at the end; strings may hold ${…}." }
        },
        "$defs": {
            "input": input(),
            "connection": { "oneOf": connections::KINDS.map(|kind| connection(kind.name(), connections::fields(kind))) },
            "grant": {
                "type": "object",
                "required": ["connection", "access"],
                "additionalProperties": false,
                "properties": {
                    "connection": { "type": "string", "description": "The name of a connection; may hold ${item.…}." },
                    "access": { "enum": ["read", "write"], "description": "Write includes reading." },
                    "database": {
                        "type": "string",
                        "description": "A database other than the one in the connection; may hold ${item.…}."
                    },
                    "secrets": {
                        "type": "array",
                        "items": { "type": "string" },
                        "description": "Secrets whose values may be written through this slot."
                    }
                }
            },
            "transform": {
                "type": "object",
                "required": ["plugin", "labels"],
                "additionalProperties": false,
                "properties": {
                    "plugin": { "type": "string" },
                    "labels": {
                        "type": "array",
                        "items": { "type": "string", "minLength": 1 },
                        "minItems": 1,
                        "description": "Which transfers it sits in: \"public.users\", \"public.*\", an object's key."
                    },
                    "with": { "type": "object", "description": "The transform's params." }
                }
            },
            "duration": { "type": "string", "pattern": DURATION, "examples": ["500ms", "30s", "5m", "1h30m"] },
            "size": {
                "oneOf": [
                    { "type": "integer", "minimum": 1 },
                    { "type": "string", "pattern": SIZE, "examples": ["64KiB", "256MiB", "1GiB"] }
                ]
            },
            "step": step()
        }
    })
}

fn input() -> Json {
    json!({
        "type": "object",
        "required": ["type"],
        "additionalProperties": false,
        "properties": {
            "type": {
                "enum": InputType::ALL.map(InputType::name),
                "description": "A secret is never shown or stored; a url hides its user information."
            },
            "description": { "type": "string" },
            "default": { "description": "The value where none is given; null makes the input optional." },
            "env": {
                "type": "string",
                "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
                "description": "The environment variable it may come from; GODWIT_INPUT_<NAME> unless given."
            },
            "enum": { "type": "array", "description": "The values that are admitted." }
        }
    })
}

fn connection(kind: &str, fields: &[Field]) -> Json {
    let mut properties = serde_json::Map::new();
    properties.insert("kind".to_owned(), json!({ "const": kind }));
    let mut required = vec!["kind"];
    for field in fields {
        let mut schema = match field.kind {
            FieldType::Text | FieldType::Url(_) => json!({ "type": "string" }),
            FieldType::Secret => json!({ "type": "string", "pattern": EXPRESSION }),
            FieldType::Whole { least, most } => json!({ "oneOf": [
                { "type": "integer", "minimum": least, "maximum": most },
                { "type": "string" }
            ] }),
            FieldType::Size => json!({ "anyOf": [
                { "$ref": "#/$defs/size" },
                { "type": "string", "pattern": EXPRESSION }
            ] }),
            FieldType::OneOf(choices) => {
                json!({ "anyOf": [{ "enum": choices }, { "type": "string", "pattern": EXPRESSION }] })
            }
        };
        schema["description"] = json!(field.summary);
        properties.insert(field.name.to_owned(), schema);
        if field.required {
            required.push(field.name);
        }
    }
    json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties })
}

fn step() -> Json {
    json!({
        "type": "object",
        "required": ["id", "plugin"],
        "additionalProperties": false,
        "properties": {
            "id": { "type": "string", "pattern": NAME, "description": "The step's name in plans and reports." },
            "plugin": { "type": "string", "description": "A bundled plugin's name, or a path to a component." },
            "description": { "type": "string" },
            "grant": {
                "type": "object",
                "description": "What the plugin may touch: its slots, each with a connection and an access.",
                "additionalProperties": { "$ref": "#/$defs/grant" }
            },
            "with": { "type": "object", "description": "The plugin's params; strings may hold ${…}." },
            "needs": {
                "type": "array",
                "items": { "type": "string" },
                "description": "Steps that have to be complete before; those whose outputs are used are needed anyway."
            },
            "when": {
                "anyOf": [{ "type": "boolean" }, { "type": "string", "pattern": EXPRESSION }],
                "description": "The step is skipped where this is false."
            },
            "foreach": {
                "type": "object",
                "description": "Makes one step for each item of a list that is known before the run.",
                "required": ["in", "key"],
                "additionalProperties": false,
                "properties": {
                    "in": { "anyOf": [{ "type": "array" }, { "type": "string", "pattern": EXPRESSION }] },
                    "key": { "type": "string", "description": "Makes the step's id unique: \"${item.name}\"." }
                }
            },
            "retry": {
                "type": "object",
                "description": "How often an effect is tried while the other side is unavailable.",
                "additionalProperties": false,
                "properties": {
                    "attempts": { "type": "integer", "minimum": 1, "default": 5 },
                    "backoff": { "$ref": "#/$defs/duration", "default": "1s" }
                }
            },
            "timeout": { "$ref": "#/$defs/duration", "description": "Wall time of the step; none unless given." },
            "limits": {
                "type": "object",
                "description": "Bounds of the plugin itself; passing one ends the step.",
                "additionalProperties": false,
                "properties": {
                    "memory": { "$ref": "#/$defs/size", "default": "256MiB" },
                    "cpu": { "$ref": "#/$defs/duration", "default": "60s" },
                    "log": { "$ref": "#/$defs/size", "default": "1MiB" },
                    "output": { "$ref": "#/$defs/size", "default": "16MiB" },
                    "effects": { "type": "integer", "minimum": 1, "default": 1_000_000 }
                }
            },
            "transforms": {
                "type": "array",
                "items": { "$ref": "#/$defs/transform" },
                "description": "Plugins that change the bytes of this step's transfers, in this order."
            },
            "on_failure": {
                "oneOf": [
                    { "const": "stop" },
                    {
                        "type": "object",
                        "required": ["continue"],
                        "additionalProperties": false,
                        "properties": {
                            "continue": {
                                "type": "object",
                                "required": ["max_errors"],
                                "additionalProperties": false,
                                "properties": { "max_errors": { "type": "integer", "minimum": 0 } }
                            }
                        }
                    }
                ],
                "default": "stop"
            },
            "cutover": {
                "type": "boolean",
                "default": false,
                "description": "The step that switches over: every step before it has to be verified, and it is asked about by itself."
            }
        }
    })
}
