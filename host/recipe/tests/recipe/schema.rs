//! The published JSON Schema says what the checker says, as far as a schema can.

use godwit_model::Json;
use serde_json::json;

fn validator() -> jsonschema::Validator {
    let schema = godwit_recipe::json_schema();
    jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{error}"));
    jsonschema::draft202012::new(&schema).unwrap()
}

fn recipe() -> Json {
    json!({
        "$schema": "./godwit.schema.json", "godwit": "1", "name": "t", "description": "d",
        "inputs": {
            "url": { "type": "url", "env": "URL", "description": "x" },
            "key": { "type": "secret" },
            "mode": { "type": "string", "default": "a", "enum": ["a"] }
        },
        "connections": {
            "db": { "kind": "postgres", "url": "${inputs.url}", "max_connections": 2 },
            "db2": { "kind": "postgres", "host": "h", "port": 5432, "database": "d", "user": "u",
                     "password": "${inputs.key}", "sslmode": "require", "sslrootcert": "ca.pem" },
            "s3": { "kind": "s3", "endpoint": "https://example.com", "region": "auto", "access_key_id": "a",
                    "secret_access_key": "${inputs.key}", "addressing": "path", "vendor": "r2" },
            "app": { "kind": "dir", "path": "." }
        },
        "steps": [
            { "id": "a", "plugin": "env-rewrite", "description": "d",
              "grant": { "env": { "connection": "app", "access": "write", "secrets": ["url"] } },
              "with": { "path": "x", "set": { "A": "${inputs.url}" } } },
            { "id": "b", "plugin": "postgres-copy", "needs": ["a"], "when": "${inputs.mode == 'a'}",
              "foreach": { "in": [1, 2], "key": "k${item}" },
              "grant": { "source": { "connection": "db", "access": "read", "database": "d${item}" },
                         "target": { "connection": "db2", "access": "write" } },
              "retry": { "attempts": 3, "backoff": "500ms" }, "timeout": "1h30m",
              "limits": { "memory": "1GiB", "cpu": "2m", "log": 1000, "output": "1MiB", "effects": 5 },
              "transforms": [{ "plugin": "mask-columns", "labels": ["public.*"], "with": { "columns": {} } }],
              "on_failure": { "continue": { "max_errors": 0 } } },
            { "id": "c", "plugin": "env-rewrite", "cutover": true, "on_failure": "stop",
              "grant": { "env": { "connection": "app", "access": "write" } }, "with": { "path": "x", "set": {} } }
        ],
        "outputs": { "x": "${steps.c.outputs}" }
    })
}

const VALUES: &[(&str, &str)] = &[("url", "postgres://a:fake-one@127.0.0.1/x"), ("key", "fake-two")];

#[test]
fn a_recipe_with_every_field_fits_both() {
    let recipe = recipe();
    let validator = validator();
    let errors: Vec<String> =
        validator.iter_errors(&recipe).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(errors, Vec::<String>::new());
    crate::common::checked(&serde_json::to_string_pretty(&recipe).unwrap(), VALUES);
}

#[test]
fn what_the_schema_refuses_the_checker_refuses() {
    let validator = validator();
    for (pointer, value) in [
        ("/godwit", json!("2")),
        ("/name", json!("a b")),
        ("/steps", json!([])),
        ("/stepz", json!([])),
        ("/inputs/mode/type", json!("text")),
        ("/inputs/mode/defualt", json!(1)),
        ("/inputs/url/env", json!("A-B")),
        ("/connections/db/kind", json!("mysql")),
        ("/connections/db2/sslmode", json!("sometimes")),
        ("/connections/db2/port", json!(70_000)),
        ("/connections/s3/secret_access_key", json!("in the open")),
        ("/connections/app/path", json!(5)),
        ("/steps/0/grant/env", json!("app")),
        ("/steps/0/grant/env/access", json!("all")),
        ("/steps/0/with", json!([])),
        ("/steps/1/timeout", json!("soon")),
        ("/steps/1/retry/attempts", json!(0)),
        ("/steps/1/limits/memory", json!("lots")),
        ("/steps/1/on_failure", json!("ignore")),
        ("/steps/1/foreach", json!({ "in": [] })),
        ("/steps/1/transforms/0/labels", json!([])),
        ("/steps/2/cutover", json!("yes")),
        ("/outputs", json!([])),
    ] {
        let mut recipe = recipe();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        recipe.pointer_mut(parent).unwrap()[key] = value;
        assert!(!validator.is_valid(&recipe), "the schema takes {pointer}");
        let text = serde_json::to_string_pretty(&recipe).unwrap();
        assert!(crate::common::check(&text, VALUES).is_err(), "the checker takes {pointer}");
    }
}
