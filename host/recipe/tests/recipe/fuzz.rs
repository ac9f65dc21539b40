//! Whatever the text is, the checks end in faults with places in it, and never in a panic.

use crate::common::{Plugins, given, run};
use godwit_recipe::{Diagnostic, Source};
use proptest::prelude::*;
use serde_json::{Value, json};

fn hold(text: &str, values: &[(&str, &str)]) -> Result<(), TestCaseError> {
    let source = Source::new("fuzz.json", text);
    let given = given(values);
    let faults = godwit_recipe::check(&source, &given, &run(), &Plugins).err().unwrap_or_default();
    let (_, lint) = godwit_recipe::lint(&source, &given, &Plugins);
    let inputs = godwit_recipe::inputs_of(&source).err().unwrap_or_default();
    for Diagnostic { span, line, column, message, .. } in faults.iter().chain(&lint).chain(&inputs) {
        prop_assert!(text.get(span.clone()).is_some(), "{span:?}: {message}");
        prop_assert!(*line >= 1 && *column >= 1 && !message.is_empty());
    }
    Ok(())
}

fn expression() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("inputs.a"),
        Just("inputs"),
        Just("item"),
        Just("steps.s.outputs.x"),
        Just("'x'"),
        Just("\""),
        Just("1"),
        Just(" + "),
        Just("("),
        Just(")"),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just("${"),
        Just("$${"),
        Just("size("),
        Just(".map(x, x)"),
        Just("é"),
        Just(" ? "),
        Just(" : "),
        Just("\\"),
        Just("r'"),
        Just("-"),
        Just("inputs.secret"),
        Just("=="),
        Just("null"),
        Just("⟦gws_"),
        Just("0x"),
        Just("9223372036854775808"),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("${{{}}}", pieces.concat()))
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        expression().prop_map(Value::from),
        prop_oneof![
            Just("postgres"),
            Just("s3"),
            Just("dir"),
            Just("read"),
            Just("write"),
            Just("postgres-copy"),
            Just("env-rewrite"),
            Just("mask-columns"),
            Just("a"),
            Just("s"),
            Just("5m"),
            Just("1GiB"),
            Just("postgres://u:p@h/db?password=x"),
            Just("secret"),
            Just("url"),
            Just("array"),
        ]
        .prop_map(Value::from),
    ]
}

/// JSON whose keys are mostly the recipe language's own.
fn recipe_like() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("id"),
        Just("plugin"),
        Just("grant"),
        Just("source"),
        Just("target"),
        Just("env"),
        Just("connection"),
        Just("access"),
        Just("database"),
        Just("secrets"),
        Just("with"),
        Just("needs"),
        Just("when"),
        Just("foreach"),
        Just("in"),
        Just("key"),
        Just("retry"),
        Just("timeout"),
        Just("limits"),
        Just("memory"),
        Just("transforms"),
        Just("labels"),
        Just("on_failure"),
        Just("continue"),
        Just("cutover"),
        Just("type"),
        Just("default"),
        Just("enum"),
        Just("kind"),
        Just("url"),
        Just("path"),
        Just("set"),
        Just("a"),
        Just("é\n"),
    ]
    .prop_map(str::to_owned);
    leaf().prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..7)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        hold(&text, &[])?;
    }

    #[test]
    fn any_piece_of_json(text in "[\\[\\]{}\",:\\\\u0-9a-f\u{feff} \n.eE+-]{0,60}") {
        hold(&text, &[])?;
    }

    #[test]
    fn any_recipe(
        inputs in recipe_like(), connections in recipe_like(), step in recipe_like(), second in recipe_like(),
        outputs in recipe_like()
    ) {
        let recipe = json!({
            "godwit": "1", "name": "t", "inputs": inputs, "connections": connections, "steps": [step, second],
            "outputs": outputs,
        });
        hold(&serde_json::to_string_pretty(&recipe).unwrap(), &[("a", "postgres://u:p@h/d")])?;
    }

    #[test]
    fn any_expression_in_a_good_recipe(path in expression(), when in expression(), key in expression(), url in "\\PC{0,40}") {
        let recipe = json!({
            "godwit": "1", "name": "t",
            "inputs": { "a": { "type": "url" }, "secret": { "type": "secret" } },
            "connections": { "app": { "kind": "dir", "path": "." }, "db": { "kind": "postgres", "url": "${inputs.a}" } },
            "steps": [
                { "id": "s", "plugin": "env-rewrite", "with": { "path": path, "set": { "K": key } }, "when": when,
                  "foreach": { "in": [ { "n": "${inputs.secret}" }, 1 ], "key": key },
                  "grant": { "env": { "connection": "app", "access": "write", "database": key } } }
            ],
        });
        hold(&recipe.to_string(), &[("a", &url), ("secret", "fake")])?;
    }

    #[test]
    fn a_good_recipe_cut_short(at in 0_usize..400) {
        let text = r#"{ "godwit": "1", "name": "t", "inputs": { "a": { "type": "url" } },
            "connections": { "app": { "kind": "dir", "path": "é${inputs.a}" } },
            "steps": [ { "id": "s", "plugin": "env-rewrite", "with": { "path": "x", "set": { "K": "\u00e9${1 + 1}" } } } ] }"#;
        let cut = &text[..text.floor_char_boundary(at)];
        hold(cut, &[])?;
    }
}

#[test]
fn deep_nesting_ends_in_a_fault() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(godwit_recipe::inputs_of(&Source::new("r", deep)).unwrap_err()[0].code, "recipe::syntax");
    let expression = format!("${{{}1{}}}", "(".repeat(1500), ")".repeat(1500));
    let text = json!({ "godwit": "1", "name": "t", "steps": [{ "id": "a", "plugin": "liar", "with": { "x": expression } }] });
    assert!(
        crate::common::check(&text.to_string(), &[])
            .unwrap_err()
            .iter()
            .any(|fault| fault.code == "recipe::expression")
    );
    let minus = format!("${{{}1}}", "-".repeat(3000));
    let text = json!({ "godwit": "1", "name": "t", "steps": [{ "id": "a", "plugin": "liar", "with": { "x": minus } }] });
    assert!(crate::common::check(&text.to_string(), &[]).is_err());
}
