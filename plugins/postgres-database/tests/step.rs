//! What the step asks of its host, and what it makes of the answers.

use godwit_plugin_postgres_database::{Outputs, PostgresDatabase, TARGET};
use godwit_sdk::mock::{self, MockHost, Request};
use godwit_sdk::types::*;
use serde_json::{Value, json};

/// A host whose server has the database, or makes it.
fn host(created: bool) -> MockHost {
    MockHost::new().with_outcome("database", Ok(json!({ "created": created }).to_string())).on_query(
        |query| {
            let asked = query.params.first().copied().flatten().unwrap_or("UTF8");
            let fits = ["UTF8", "unicode"].contains(&asked);
            query.sql.contains("current_database()").then(|| {
                Ok(vec![json!({
                    "name": "users", "owner": "admin", "encoding": "UTF8",
                    "encoding_fits": fits, "collate": "C", "ctype": "C", "provider": "c", "own_locale": null,
                    "connection_limit": -1,
                })])
            })
        },
    )
}

fn failures(host: &MockHost, params: &Value) -> Vec<String> {
    let checks = mock::verify::<PostgresDatabase>(host, params, &Outputs { created: true }).unwrap();
    assert!(!checks.is_empty());
    checks
        .into_iter()
        .filter_map(|check| match check.verdict {
            Verdict::Failed(why) => Some(format!("{}: {why}", check.name)),
            _ => None,
        })
        .collect()
}

#[test]
fn one_effect_says_whether_the_database_was_made() {
    for created in [true, false] {
        let host = host(created);
        let params = json!({ "owner": "admin", "encoding": "UTF8", "locale": "C" });
        assert_eq!(mock::apply::<PostgresDatabase>(&host, &params).unwrap(), Outputs { created });
        let some = |text: &str| Some(text.to_owned());
        let options = DatabaseOptions {
            owner: some("admin"),
            encoding: some("UTF8"),
            locale: some("C"),
            ..DatabaseOptions::default()
        };
        let submitted = host.submitted();
        assert_eq!(submitted.len(), 1);
        assert_eq!(submitted[0].request, Request::CreateDatabase { slot: TARGET.to_owned(), options });
        assert!(failures(&host, &params).is_empty());
    }
}

#[test]
fn providers_templates_and_limits_are_handed_on() {
    let host = host(true);
    let params = json!({
        "locale_provider": "icu", "locale": "de-DE", "template": "template0", "connection_limit": 5
    });
    mock::apply::<PostgresDatabase>(&host, &params).unwrap();
    let Request::CreateDatabase { options, .. } = &host.submitted()[0].request else { panic!("no database") };
    assert_eq!((options.locale_provider.as_deref(), options.locale.as_deref()), (Some("icu"), Some("de-DE")));
    assert_eq!((options.template.as_deref(), options.connection_limit), (Some("template0"), Some(5)));
    let found = failures(&host, &params);
    assert_eq!(
        found,
        [
            "locale provider: users has another locale provider than icu (`c`)",
            "locale: users has LC_COLLATE C and LC_CTYPE C, not de-DE",
            "connection limit: users may have -1 sessions, not 5",
        ]
    );
}

#[test]
fn a_plan_doesnt_know_yet_whether_it_will_be_made() {
    let host = host(true);
    let error = mock::plan::<PostgresDatabase>(&host, &json!({})).unwrap_err();
    assert!(matches!(error, Error::Pending(_)), "{error:?}");
    assert_eq!(host.performed(), 0);
}

#[test]
fn a_resumed_call_is_answered_from_the_journal() {
    let host = host(true);
    mock::apply::<PostgresDatabase>(&host, &json!({})).unwrap();
    assert_eq!(mock::apply::<PostgresDatabase>(&host, &json!({})).unwrap(), Outputs { created: true });
}

#[test]
fn a_database_that_was_there_but_is_another_one_fails_verification() {
    let host = host(false);
    let found = failures(&host, &json!({ "owner": "app", "encoding": "LATIN1", "locale": "de_DE.UTF-8" }));
    assert_eq!(
        found,
        [
            "owner: users belongs to `admin`, not to `app`",
            "encoding: users is encoded in UTF8, not in LATIN1",
            "locale: users has LC_COLLATE C and LC_CTYPE C, not de_DE.UTF-8",
        ]
    );
    assert!(failures(&host, &json!({ "encoding": "unicode" })).is_empty());
}

#[test]
fn a_database_that_is_gone_fails_verification() {
    let gone =
        MockHost::new().on_query(|_| Some(Err(Error::Missing("database \"users\" does not exist".into()))));
    assert_eq!(failures(&gone, &json!({})), ["database: database \"users\" does not exist"]);
    let cut = MockHost::new().on_query(|_| Some(Err(Error::Unavailable("connection refused".into()))));
    let error = mock::verify::<PostgresDatabase>(&cut, &json!({}), &Outputs { created: true }).unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "an unreachable server proves nothing: {error:?}");
}

#[test]
fn empty_and_unknown_params_are_refused() {
    for params in [
        json!({ "owner": " " }),
        json!({ "tablespace": "fast" }),
        json!({ "locale_provider": "icu" }),
        json!({ "connection_limit": -2 }),
    ] {
        let host = host(true);
        let error = mock::apply::<PostgresDatabase>(&host, &params).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        assert!(host.submitted().is_empty());
    }
}
