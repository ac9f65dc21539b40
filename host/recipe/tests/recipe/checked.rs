//! What a recipe becomes once it is checked, and what is evaluated later.

use std::time::Duration;

use crate::common::{Plugins, check, checked, given, run};
use godwit_model::plugin::Access;
use godwit_model::secret::token;
use godwit_model::{Json, StepId};
use godwit_recipe::{EvalError, Given, GivenValue, InputType, OnFailure, Outputs, Source, inputs_of, lint};
use serde_json::json;

const COPY: &str = r#"{
  "godwit": "1",
  "name": "move",
  "description": "Moves a database.",
  "inputs": {
    "source_url": { "type": "url" },
    "target_url": { "type": "url", "env": "TARGET" },
    "pw": { "type": "secret" },
    "databases": { "type": "array", "default": [ { "name": "users", "rows": 1 }, { "name": "labeler", "rows": 2 } ] },
    "jobs": { "type": "integer", "default": 2 },
    "cut": { "type": "boolean", "default": true }
  },
  "connections": {
    "old": { "kind": "postgres", "url": "${inputs.source_url}" },
    "new": { "kind": "postgres", "url": "${inputs.target_url}", "max_connections": 8 },
    "app": { "kind": "dir", "path": "." }
  },
  "steps": [
    {
      "id": "switch", "plugin": "env-rewrite",
      "grant": { "env": { "connection": "app", "access": "write", "secrets": ["target_url", "pw"] } },
      "with": {
        "path": ".env",
        "set": {
          "DATABASE_URL": "${inputs.target_url}",
          "PASSWORD": "pw=${inputs.pw};",
          "USERS": "${string(steps.copy.outputs.users.rows)}",
          "LITERAL": "$${HOME}"
        }
      },
      "when": "${inputs.cut && steps.copy.outputs['labeler'].rows > 0}",
      "timeout": "1m30s",
      "limits": { "memory": "64MiB", "cpu": "5s", "effects": 10 },
      "retry": { "attempts": 2, "backoff": "250ms" }
    },
    {
      "id": "copy", "plugin": "postgres-copy", "description": "One database.",
      "foreach": { "in": "${inputs.databases}", "key": "${item.name}" },
      "grant": {
        "source": { "connection": "old", "access": "read", "database": "${item.name}" },
        "target": { "connection": "new", "access": "write", "database": "${item.name + '_new'}" }
      },
      "with": { "tables": ["${item.name}.*"], "jobs": "${inputs.jobs + item.rows}" },
      "transforms": [ { "plugin": "mask-columns", "labels": ["public.*"], "with": { "columns": { "${'$'}": 1, "of": "${item.name}" } } } ],
      "on_failure": { "continue": { "max_errors": 3 } }
    }
  ],
  "outputs": { "rows": "${steps.copy.outputs.users.rows + steps.copy.outputs.labeler.rows}" }
}"#;

const VALUES: &[(&str, &str)] = &[
    ("source_url", "postgres://app:fake%2Fsource@db.example.com:5432/app?sslmode=require"),
    ("target_url", "postgres://app:fake-target@127.0.0.1:5433/app?sslpassword=fake-ssl"),
    ("pw", "fake-password"),
];

fn copy_text() -> String {
    // A key can't be an expression; that one is for the diagnostics.
    COPY.replace(r#""${'$'}": 1, "#, "")
}

fn outputs(rows: &[(&str, i64)]) -> Outputs {
    rows.iter().map(|(key, rows)| (StepId::new(format!("copy[{key}]")), json!({ "rows": rows }))).collect()
}

#[test]
fn steps_come_in_order_with_their_items() {
    let checked = checked(&copy_text(), VALUES);
    let ids: Vec<&str> = checked.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["copy[users]", "copy[labeler]", "switch"]);
    let copy = &checked.steps[1];
    assert_eq!(copy.each, Some(("labeler".to_owned(), json!({"name": "labeler", "rows": 2}))));
    assert_eq!(copy.description.as_deref(), Some("One database."));
    assert_eq!(copy.on_failure, OnFailure::Continue { max_errors: 3 });
    let target = copy.grants.iter().find(|grant| grant.slot.as_str() == "target").unwrap();
    assert_eq!((target.connection.as_str(), target.access), ("new", Access::Write));
    assert_eq!(target.database.as_deref(), Some("labeler_new"));
    assert!(copy.transforms[0].applies("public.users") && !copy.transforms[0].applies("audit.users"));
    let switch = &checked.steps[2];
    assert_eq!(switch.needs, [StepId::new("copy[users]"), StepId::new("copy[labeler]")]);
    assert_eq!(switch.timeout, Some(Duration::from_secs(90)));
    assert_eq!((switch.limits.memory, switch.limits.cpu_ms, switch.limits.effects), (64 << 20, 5_000, 10));
    assert_eq!(switch.limits.log, 1 << 20);
    assert_eq!((switch.retry.attempts, switch.retry.backoff), (2, Duration::from_millis(250)));
    assert_eq!(checked.plugins.keys().collect::<Vec<_>>(), ["env-rewrite", "mask-columns", "postgres-copy"]);
}

#[test]
fn params_wait_for_the_outputs_they_use() {
    let checked = checked(&copy_text(), VALUES);
    let (users, switch) = (&checked.steps[0], &checked.steps[2]);
    let none = Outputs::new();
    assert_eq!(checked.params(users, &none).unwrap(), json!({ "tables": ["users.*"], "jobs": 3 }));
    assert_eq!(checked.transform_params(users, 0, &none).unwrap(), json!({ "columns": { "of": "users" } }));
    assert!(checked.transform_params(users, 1, &none).is_err());
    assert!(checked.when(users, &none).unwrap());

    let some = outputs(&[("users", 7)]);
    match checked.params(switch, &some) {
        Err(EvalError::Unknown { step }) => assert_eq!(step.as_str(), "copy[labeler]"),
        other => panic!("{other:?}"),
    }
    let all = outputs(&[("users", 7), ("labeler", 0)]);
    assert!(!checked.when(switch, &all).unwrap());
    let params = checked.params(switch, &all).unwrap();
    assert_eq!(params["set"]["USERS"], "7");
    assert_eq!(params["set"]["LITERAL"], "${HOME}");
    assert_eq!(checked.outputs(&all).unwrap(), json!({ "rows": 7 }));
    assert!(matches!(checked.outputs(&none), Err(EvalError::Unknown { .. })));
}

#[test]
fn what_outputs_make_of_params_is_checked_again() {
    let text = r#"{ "godwit": "1", "name": "t",
  "connections": { "app": { "kind": "dir", "path": "." } },
  "steps": [
    { "id": "a", "plugin": "env-rewrite", "grant": { "env": { "connection": "app", "access": "write" } },
      "with": { "path": "x", "set": {} } },
    { "id": "b", "plugin": "env-rewrite", "grant": { "env": { "connection": "app", "access": "write" } },
      "with": { "path": "${steps.a.outputs.path}", "set": { "A": "${steps.a.outputs.list[1]}" } },
      "when": "${steps.a.outputs.list}" } ] }"#;
    let checked = checked(text, &[]);
    let with = |value: Json| Outputs::from([(StepId::new("a"), value)]);
    let failed = |result: Result<Json, EvalError>| match result {
        Err(EvalError::Failed(error)) => (error.message, error.hint.unwrap_or_default()),
        other => panic!("{other:?}"),
    };
    let b = &checked.steps[1];
    let (message, hint) = failed(checked.params(b, &with(json!({ "path": 5, "list": ["x", "y"] }))));
    assert_eq!(message, "`with.path` of step `b` must be of type string, not a number");
    assert_eq!(hint, "the step stands in line 6 of the recipe");
    let (message, hint) = failed(checked.params(b, &with(json!({ "path": "p", "list": [] }))));
    assert_eq!(
        message,
        "step `b`: `${steps.a.outputs.list[1]}` has no value: the index is outside of the list"
    );
    assert_eq!(hint, "the expression stands in line 7 of the recipe");
    // The outputs of a skipped step are null.
    let (message, _) = failed(checked.params(b, &with(Json::Null)));
    assert_eq!(
        message,
        "step `b`: `${steps.a.outputs.path}` has no value: `steps.a.outputs` is null and has no field `path`"
    );
    match checked.when(b, &with(json!({ "list": [] }))) {
        Err(EvalError::Failed(error)) => {
            assert_eq!(error.message, "`when` of step `b` must be true or false, not a list");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_is_over_tokens() {
    let checked = checked(&copy_text(), VALUES);
    let source = token(&run(), "source_url");
    let target = token(&run(), "target_url");
    let ssl = token(&run(), "target_url.sslpassword");
    let pw = token(&run(), "pw");
    assert_eq!(
        checked.inputs["source_url"],
        format!("postgres://{source}@db.example.com:5432/app?sslmode=require")
    );
    assert_eq!(
        checked.inputs["target_url"],
        format!("postgres://{target}@127.0.0.1:5433/app?sslpassword={ssl}")
    );
    assert_eq!(checked.inputs["pw"], pw);
    assert_eq!(
        checked.plain_inputs,
        json!({
            "source_url": "postgres://db.example.com:5432/app?sslmode=require",
            "target_url": "postgres://127.0.0.1:5433/app?sslpassword=",
            "databases": [ { "name": "users", "rows": 1 }, { "name": "labeler", "rows": 2 } ],
            "jobs": 2,
            "cut": true
        })
    );
    assert_eq!(checked.secret_inputs, ["source_url", "target_url", "pw"]);

    let switch = &checked.steps[2];
    // A url that holds two credentials is granted by one name.
    assert_eq!(switch.grants[0].secrets, ["target_url", "target_url.sslpassword", "pw"]);
    let params = checked.params(switch, &outputs(&[("users", 1), ("labeler", 1)])).unwrap();
    assert_eq!(params["set"]["PASSWORD"], format!("pw={pw};"));
    let revealed = checked
        .secrets
        .reveal(params["set"]["DATABASE_URL"].as_str().unwrap(), Some(&switch.grants[0].secrets));
    assert_eq!(revealed.unwrap(), VALUES[1].1);

    let old = checked.connection(&"old".into()).unwrap();
    assert_eq!(old.reveal("url").unwrap().expose(), VALUES[0].1);
    let new = checked.connection(&"new".into()).unwrap();
    assert_eq!(new.settings["max_connections"], 8);

    let shown = format!("{checked:?} {:?}", given(VALUES));
    for secret in ["fake%2Fsource", "fake/source", "fake-target", "fake-ssl", "fake-password"] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
    // Also the password alone, as a server's message might show it.
    assert_eq!(
        checked.secrets.redact("login of app with fake/source failed"),
        "login of app with *** failed"
    );
    assert!(checked.steps[1].grants.iter().all(|grant| grant.secrets.is_empty()));
}

#[test]
fn no_fault_shows_a_credential() {
    let text = copy_text()
        .replace("\"type\": \"array\"", "\"type\": \"integer\"")
        .replace("inputs.pw}", "inputs.pw.x}");
    let values = [
        ("source_url", "postgres://app:fake/source@db.example.com"),
        ("target_url", "fake-target"),
        ("pw", "fake-password"),
        ("jobs", "many"),
    ];
    let faults = check(&text, &values).unwrap_err();
    assert!(faults.len() >= 4, "{faults:?}");
    let shown = format!("{faults:?}");
    for secret in ["fake/source", "fake-target", "fake-password"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn the_same_secret_has_the_same_token_in_a_resumed_run() {
    let again = checked(&copy_text(), VALUES);
    let first = checked(&copy_text(), VALUES);
    assert_eq!(first.inputs, again.inputs);
}

#[test]
fn given_values_are_brought_to_their_types() {
    let text = r#"{ "godwit": "1", "name": "t",
  "inputs": {
    "i": { "type": "integer" }, "n": { "type": "number" }, "b": { "type": "boolean" }, "s": { "type": "string" },
    "a": { "type": "array" }, "o": { "type": "object" }, "u": { "type": "url" }, "p": { "type": "secret", "default": null },
    "j": { "type": "array" }
  },
  "connections": { "app": { "kind": "dir", "path": "." } },
  "steps": [ { "id": "a", "plugin": "env-rewrite", "grant": { "env": { "connection": "app", "access": "write" } },
    "with": { "path": "x", "set": {} }, "when": "${inputs.p == null}" } ] }"#;
    let values = given(&[
        ("i", " 5 "),
        ("n", "0.5"),
        ("b", "true"),
        ("s", " x "),
        ("a", "[1, \"x\"]"),
        ("o", "{\"k\": {}}"),
        ("u", "http://127.0.0.1:9000"),
    ])
    .with("j", GivenValue::json(json!(["y"]), "file inputs.json"));
    let checked = godwit_recipe::check(&Source::new("r", text), &values, &run(), &Plugins).unwrap();
    assert_eq!(
        Json::Object(checked.inputs.clone()),
        json!({ "i": 5, "n": 0.5, "b": true, "s": " x ", "a": [1, "x"], "o": { "k": {} }, "u": "http://127.0.0.1:9000",
            "p": null, "j": ["y"] })
    );
    // A url without a credential is remembered as it is.
    assert!(checked.secret_inputs.is_empty());
    assert_eq!(checked.plain_inputs["u"], "http://127.0.0.1:9000");
    assert!(checked.when(&checked.steps[0], &Outputs::new()).unwrap());
}

#[test]
fn a_cutover_waits_for_all_before_it() {
    let step = |id: &str, more: &str| {
        format!(
            r#"{{ "id": "{id}", "plugin": "env-rewrite", "with": {{ "path": "x", "set": {{}} }},
                 "grant": {{ "env": {{ "connection": "app", "access": "write" }} }}{more} }}"#
        )
    };
    let text = format!(
        r#"{{ "godwit": "1", "name": "t", "connections": {{ "app": {{ "kind": "dir", "path": "." }} }},
             "steps": [ {}, {}, {}, {} ] }}"#,
        step("a", ""),
        step("b", ""),
        step("cut", r#", "cutover": true"#),
        step("after", r#", "needs": ["cut"]"#)
    );
    let checked = checked(&text, &[]);
    assert_eq!(checked.steps[2].needs, [StepId::new("a"), StepId::new("b")]);
    assert!(checked.steps[2].cutover);
    assert_eq!(checked.steps[3].needs, [StepId::new("cut")]);
}

#[test]
fn params_of_a_step_that_is_not_done_are_not_looked_at() {
    let text = r#"{ "godwit": "1", "name": "t",
  "inputs": { "list": { "type": "array", "default": [] } },
  "connections": { "app": { "kind": "dir", "path": "." } },
  "steps": [ { "id": "a", "plugin": "env-rewrite", "grant": { "env": { "connection": "app", "access": "write" } },
    "when": "${size(inputs.list) > 0}", "with": { "path": "${inputs.list[0]}", "set": {} } } ] }"#;
    let checked = checked(text, &[]);
    assert!(!checked.when(&checked.steps[0], &Outputs::new()).unwrap());
}

#[test]
fn an_outline_needs_no_inputs() {
    let text = copy_text()
        .replace(r#", "default": [ { "name": "users", "rows": 1 }, { "name": "labeler", "rows": 2 } ]"#, "");
    let (outline, faults) = lint(&Source::new("r", &text), &Given::default(), &Plugins);
    // What is known of a foreach only at the run, an expression can't name.
    assert_eq!(faults, []);
    let outline = outline.unwrap();
    assert_eq!((outline.name.as_str(), outline.description.as_deref()), ("move", Some("Moves a database.")));
    let steps: Vec<(&str, Vec<&str>)> =
        outline.steps.iter().map(|s| (s.id.as_str(), s.needs.iter().map(String::as_str).collect())).collect();
    assert_eq!(steps, [("copy[*]", vec![]), ("switch", vec!["copy[*]"])]);
    assert_eq!(outline.inputs.len(), 6);
}

#[test]
fn inputs_are_known_before_they_are_gathered() {
    let inputs = inputs_of(&Source::new("r", COPY)).unwrap();
    let named: Vec<(&str, InputType, &str, bool)> =
        inputs.iter().map(|i| (i.name.as_str(), i.kind, i.env.as_str(), i.required())).collect();
    assert_eq!(
        named[..3],
        [
            ("source_url", InputType::Url, "GODWIT_INPUT_SOURCE_URL", true),
            ("target_url", InputType::Url, "TARGET", true),
            ("pw", InputType::Secret, "GODWIT_INPUT_PW", true),
        ]
    );
    assert!(!inputs[3].required());
    assert_eq!(inputs_of(&Source::new("r", "{")).unwrap_err()[0].code, "recipe::syntax");
    assert_eq!(inputs_of(&Source::new("r", "5")), Ok(vec![]));
}
