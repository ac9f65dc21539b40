//! The step against a host in memory: plan, apply, resume, verify.

use godwit_plugin_env_rewrite::EnvRewrite;
use godwit_sdk::Step;
use godwit_sdk::mock::{self, MockHost, Request};
use godwit_sdk::types::{Check, Error, Verdict};
use serde_json::{Value, json};

const TOKEN: &str = "⟦gws_target_password_0123456789ab⟧";
const ENV: &str = "# database\nDB_HOST=localhost # here\nDB_PORT=5435\nDB_PASSWORD=local-dev\nOLD_URL=x\n";
const EXAMPLE: &str =
    "# database\nDB_HOST=localhost # hosted: a host | local: localhost\nDB_PASSWORD=change_me\n";

fn params() -> Value {
    json!({
        "path": ".env",
        "set": {
            "DB_HOST": "db.example.com",
            "DB_PORT": 16543,
            "DB_PASSWORD": TOKEN,
            "DATABASE_URL": format!("postgres://app:{TOKEN}@db.example.com:16543/app"),
        },
        "unset": ["OLD_URL"],
        "example": { "path": ".env.example" },
    })
}

fn host() -> MockHost {
    MockHost::new().with_file("env", ".env", ENV).with_file("env", ".env.example", EXAMPLE)
}

fn failed(checks: &[Check]) -> Vec<&str> {
    checks.iter().filter(|c| !matches!(c.verdict, Verdict::Passed)).map(|c| c.name.as_str()).collect()
}

/// Puts the value in the token's place, as the host does when it writes.
fn reveal(host: &MockHost) {
    let text = String::from_utf8(host.file("env", ".env").unwrap()).unwrap();
    host.set_file("env", ".env", text.replace(TOKEN, "s3cret-Value"));
}

#[test]
fn rewrites_a_file_and_its_example() {
    let host = host();
    let outputs = mock::apply::<EnvRewrite>(&host, &params()).unwrap();
    let env = String::from_utf8(host.file("env", ".env").unwrap()).unwrap();
    assert_eq!(
        env,
        format!(
            "# database\nDB_HOST=db.example.com # here\nDB_PORT=16543\nDB_PASSWORD={TOKEN}\n\
             DATABASE_URL=postgres://app:{TOKEN}@db.example.com:16543/app\n"
        )
    );
    let example = String::from_utf8(host.file("env", ".env.example").unwrap()).unwrap();
    assert_eq!(
        example,
        "# database\nDB_HOST=db.example.com # hosted: a host | local: localhost\nDB_PASSWORD=change_me\n\
         DB_PORT=16543\nDATABASE_URL=postgres://app:change_me@db.example.com:16543/app\n"
    );
    assert_eq!(outputs.files[0].added, ["DATABASE_URL"]);
    assert_eq!(outputs.files[1].absent, ["OLD_URL"]);
    reveal(&host);
    let checks = mock::verify::<EnvRewrite>(&host, &params(), &outputs).unwrap();
    assert_eq!(checks.len(), 10);
    assert!(failed(&checks).is_empty(), "{checks:?}");
}

#[test]
fn a_plan_writes_nothing_and_knows_its_outputs() {
    let host = host();
    let planned = mock::plan::<EnvRewrite>(&host, &params()).unwrap();
    assert_eq!(host.file("env", ".env").unwrap(), ENV.as_bytes());
    assert_eq!(host.submitted().len(), 2);
    assert_eq!(mock::apply::<EnvRewrite>(&host, &params()).unwrap(), planned);
}

#[test]
fn a_resumed_call_asks_for_the_same() {
    for died_after in 0..2 {
        let host = host().with_crash_after(died_after);
        assert!(mock::apply::<EnvRewrite>(&host, &params()).is_err());
        let first = host.submitted();
        reveal(&host);
        let outputs = mock::apply::<EnvRewrite>(&host, &params()).unwrap();
        assert_eq!(host.submitted()[..first.len()], first[..]);
        assert_eq!(host.performed(), 2 - died_after);
        assert!(outputs.files.iter().all(|file| file.changed));
        reveal(&host);
        assert!(failed(&mock::verify::<EnvRewrite>(&host, &params(), &outputs).unwrap()).is_empty());
    }
}

#[test]
fn verify_tells_which_key_is_wrong_and_no_value() {
    let host = host();
    let outputs = mock::apply::<EnvRewrite>(&host, &params()).unwrap();
    reveal(&host);
    let text = String::from_utf8(host.file("env", ".env").unwrap()).unwrap();
    host.set_file(
        "env",
        ".env",
        text.replace("16543\n", "1\n").replace("db.example.com:", "other.example.com:"),
    );
    let checks = mock::verify::<EnvRewrite>(&host, &params(), &outputs).unwrap();
    assert_eq!(failed(&checks), [".env: DB_PORT", ".env: DATABASE_URL"]);
    assert!(!format!("{checks:?}").contains("s3cret"));
}

#[test]
fn nothing_to_change_is_no_effect() {
    let host = MockHost::new().with_file("env", ".env", "A=1\n");
    let outputs = mock::apply::<EnvRewrite>(&host, &json!({ "path": ".env", "set": { "A": "1" } })).unwrap();
    assert!(host.submitted().is_empty() && !outputs.files[0].changed);
}

#[test]
fn a_missing_file_is_an_error_unless_it_may_be_made() {
    let host = MockHost::new();
    let error =
        mock::apply::<EnvRewrite>(&host, &json!({ "path": ".env", "set": { "A": "1" } })).unwrap_err();
    assert!(matches!(&error, Error::Missing(m) if m.contains(".env") && m.contains("create")), "{error}");
    let params =
        json!({ "files": [{ "path": ".env", "set": { "A": true, "B": "two words" }, "create": true }] });
    let outputs = mock::apply::<EnvRewrite>(&host, &params).unwrap();
    assert!(outputs.files[0].created);
    assert!(matches!(&host.submitted()[0].request,
        Request::WriteFile { content, .. } if content == b"A=true\nB='two words'\n"));
}

#[test]
fn params_that_contradict_themselves_are_refused() {
    let cases = [
        (json!({ "set": { "A": "1" } }), "`path` is missing"),
        (json!({ "path": ".env" }), "nothing to change"),
        (json!({ "path": ".env", "set": { "A": null } }), "a value is a text"),
        (json!({ "path": ".env", "set": { "A B": "1" } }), "can't be a key"),
        (json!({ "path": ".env", "sets": {} }), "unknown field `sets`"),
        (json!({ "path": ".env", "set": { "A": "1" }, "unset": ["A"] }), "`A` is set, but also unset"),
        (
            json!({ "path": ".env", "rename": { "A": "B", "B": "C" } }),
            "`B` is the new name of a key, but also renamed",
        ),
        (json!({ "path": ".env", "rename": { "A": "C", "B": "C" } }), "the new name of two keys"),
        (json!({ "path": ".env", "map": { "A": { "1": "2", "2": "3" } } }), "maps a value twice"),
        (json!({ "path": ".env", "map": { "A": { "1": TOKEN } } }), "holds a secret"),
        (json!({ "path": ".env", "files": [] }), "not both"),
        (json!({ "path": ".env", "set": { "A": "1" }, "example": { "path": ".env" } }), "named twice"),
    ];
    for (params, expected) in cases {
        let error = mock::apply::<EnvRewrite>(&host(), &params).unwrap_err();
        assert!(matches!(&error, Error::Invalid(m) if m.contains(expected)), "{params}: {error}");
    }
}

#[test]
fn the_schema_of_the_params_is_closed() {
    let schema = godwit_sdk::Manifest::of_step::<EnvRewrite>().params_schema;
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(schema["properties"]["set"]["type"], json!("object"));
    assert_eq!(EnvRewrite::NAME, "env-rewrite");
}
