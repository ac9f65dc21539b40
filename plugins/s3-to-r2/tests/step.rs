//! The step against a host in memory.

use godwit_plugin_s3_to_r2::{S3ToR2, SOURCE, TARGET};
use godwit_sdk::Manifest;
use godwit_sdk::mock::{self, MockHost, MockObject, Request};
use godwit_sdk::prelude::*;
use serde_json::{Value, json};

/// A source with these keys in bucket `datasets`, each with its key as content, and an empty target bucket.
fn host(keys: &[&str]) -> MockHost {
    keys.iter()
        .fold(MockHost::new().with_bucket(TARGET, "datasets").with_bucket(SOURCE, "datasets"), |host, key| {
            host.with_object(SOURCE, "datasets", key, MockObject::new(*key))
        })
}

fn params() -> Value {
    json!({ "buckets": ["datasets"] })
}

fn failed(checks: &[Check]) -> Vec<&Check> {
    checks.iter().filter(|check| matches!(check.verdict, Verdict::Failed(_))).collect()
}

#[test]
fn the_manifest_is_what_a_recipe_is_checked_by() {
    let manifest = Manifest::of_step::<S3ToR2>();
    assert_eq!(manifest.slots.len(), 2);
    assert_eq!((manifest.slots[0].access, manifest.slots[1].access), (Access::Read, Access::Write));
    let required = &manifest.params_schema["required"];
    assert_eq!(*required, json!(["buckets"]));
}

#[test]
fn what_is_missing_is_copied_and_what_is_there_is_left() {
    let keys = ["a", "b c", "dir//x", "é", "z/"];
    let host = host(&keys).with_object(TARGET, "datasets", "b c", MockObject::new("b c"));
    let outputs = mock::apply::<S3ToR2>(&host, &params()).unwrap();
    assert_eq!((outputs.objects, outputs.already_there), (4, 1));
    assert_eq!(
        outputs.bytes,
        keys.iter().filter(|key| **key != "b c").map(|key| key.len() as u64).sum::<u64>()
    );
    for key in keys {
        assert_eq!(host.object(TARGET, "datasets", key), host.object(SOURCE, "datasets", key), "{key}");
    }
    let checks = mock::verify::<S3ToR2>(&host, &params(), &outputs).unwrap();
    assert!(failed(&checks).is_empty(), "{checks:?}");
    assert_eq!(checks.len(), 2);
}

#[test]
fn a_plan_lists_the_copies_and_performs_none() {
    let host = host(&["a", "b"]);
    let outputs = mock::plan::<S3ToR2>(&host, &params()).unwrap();
    assert_eq!(outputs.objects, 2);
    assert_eq!((host.submitted().len(), host.performed()), (2, 0));
    assert!(host.object(TARGET, "datasets", "a").is_none());
    assert!(host.memo("page/0/0").is_none());
}

#[test]
fn a_resumed_call_asks_for_the_same_copies() {
    let keys: Vec<String> = (0..2500).map(|index| format!("{index:05}")).collect();
    let refs: Vec<&str> = keys.iter().map(String::as_str).collect();
    let host = host(&refs).with_page_size(700).with_crash_after(1200);
    mock::apply::<S3ToR2>(&host, &params()).unwrap_err();
    let before = host.performed();
    // The world moves on meanwhile: a new object at the source, one that only the target has.
    host.set_object(SOURCE, "datasets", "00000-new", MockObject::new("new"));
    host.set_object(TARGET, "datasets", "other", MockObject::new("other"));
    let outputs = mock::apply::<S3ToR2>(&host, &params()).unwrap();
    assert_eq!(outputs.objects, 2500);
    assert_eq!(before + host.performed(), 2500);
    let checks = mock::verify::<S3ToR2>(&host, &params(), &outputs).unwrap();
    assert!(failed(&checks).is_empty(), "{checks:?}");
}

#[test]
fn other_content_at_the_target_ends_the_step_before_anything_is_copied() {
    let keys: Vec<String> = (0..1500).map(|index| format!("{index:05}")).collect();
    let refs: Vec<&str> = keys.iter().map(String::as_str).collect();
    let host = host(&refs);
    for key in &keys[1100..1115] {
        let mut other = MockObject::new("other");
        other.content.push(b'!');
        host.set_object(TARGET, "datasets", key, other);
    }
    let error = mock::apply::<S3ToR2>(&host, &params()).unwrap_err();
    let Error::Conflict(message) = &error else { panic!("{error:?}") };
    assert!(message.contains("15 objects") && message.contains("datasets/01100"), "{message}");
    assert!(message.contains("and 5 more"), "{message}");
    assert_eq!(host.performed(), 0);

    // With the objects in the way set right, the same run goes on.
    for key in &keys[1100..1115] {
        host.set_object(TARGET, "datasets", key, MockObject::new(key.as_str()));
    }
    let outputs = mock::apply::<S3ToR2>(&host, &params()).unwrap();
    assert_eq!((outputs.objects, outputs.already_there), (1485, 15));
    let checks = mock::verify::<S3ToR2>(&host, &params(), &outputs).unwrap();
    assert!(failed(&checks).is_empty(), "{checks:?}");
}

#[test]
fn overwriting_names_the_object_that_goes() {
    let host = host(&["a"]).with_object(TARGET, "datasets", "a", MockObject::new("something older"));
    let mut params = params();
    params["overwrite"] = json!("changed");
    mock::apply::<S3ToR2>(&host, &params).unwrap();
    let Request::CopyObject { replaces, .. } = &host.submitted()[0].request else { panic!() };
    assert_eq!(*replaces, Replaces::Object(MockObject::new("something older").etag));
    assert_eq!(host.object(TARGET, "datasets", "a").unwrap().content, b"a");
}

#[test]
fn buckets_are_made_and_rules_are_set_before_objects_arrive() {
    let host = MockHost::new().with_object(SOURCE, "datasets", "a", MockObject::new("a"));
    let error = mock::apply::<S3ToR2>(&host, &params()).unwrap_err();
    assert!(error.to_string().contains("create_buckets"), "{error}");

    let host = MockHost::new().with_object(SOURCE, "datasets", "a", MockObject::new("a"));
    let rule = json!({ "allowed_origins": ["https://app.example.com"], "allowed_methods": ["GET", "HEAD"],
        "allowed_headers": ["*"], "max_age": 3000 });
    let params = json!({ "buckets": ["datasets"], "create_buckets": true, "cors": [rule] });
    let outputs = mock::apply::<S3ToR2>(&host, &params).unwrap();
    assert!(outputs.buckets[0].created && outputs.buckets[0].cors_set);
    let submitted = host.submitted();
    assert_eq!(submitted[2].after, ["bucket datasets"]);
    // Called again, it neither forgets what it made nor makes it twice.
    assert_eq!(mock::apply::<S3ToR2>(&host, &params).unwrap(), outputs);
    assert_eq!(host.performed(), 0);
    let checks = mock::verify::<S3ToR2>(&host, &params, &outputs).unwrap();
    assert!(failed(&checks).is_empty() && checks.len() == 3, "{checks:?}");
}

#[test]
fn prefixes_are_exchanged_and_patterns_choose() {
    let host = host(&["datasets/1/a.jpg", "datasets/1/a.tmp", "datasets/2/b.jpg", "else/c.jpg"])
        .with_bucket(TARGET, "archive");
    let params = json!({
        "buckets": [{ "source": "datasets", "target": "archive", "prefix": "datasets/", "target_prefix": "old/" }],
        "include": ["datasets/**"],
        "exclude": ["**.tmp"],
        "verify": "full",
    });
    let outputs = mock::apply::<S3ToR2>(&host, &params).unwrap();
    assert_eq!(outputs.objects, 2);
    assert!(host.object(TARGET, "archive", "old/1/a.jpg").is_some());
    assert!(host.object(TARGET, "archive", "old/2/b.jpg").is_some());
    assert!(host.object(TARGET, "archive", "old/1/a.tmp").is_none());
    let checks = mock::verify::<S3ToR2>(&host, &params, &outputs).unwrap();
    assert!(failed(&checks).is_empty(), "{checks:?}");
}

#[test]
fn what_overlaps_is_refused() {
    let granted = |write| Granted { write, identity: "s3://127.0.0.1:9000/".into(), secrets: Vec::new() };
    let host = host(&["a"]).with_grant(SOURCE, granted(false)).with_grant(TARGET, granted(true));
    let error = mock::apply::<S3ToR2>(&host, &params()).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    let apart = json!({ "buckets": [{ "source": "datasets", "prefix": "a", "target_prefix": "b" }] });
    mock::apply::<S3ToR2>(&host, &apart).unwrap();
    let twice =
        json!({ "buckets": [{ "source": "datasets", "target": "t" }, { "source": "other", "target": "t" }] });
    let error = mock::apply::<S3ToR2>(&host, &twice).unwrap_err();
    assert!(error.to_string().contains("two entries"), "{error}");
}

#[test]
fn verification_finds_what_went_wrong() {
    for how in ["head", "list", "full"] {
        let mut params = params();
        params["verify"] = json!(how);
        let keys = ["a", "b", "c", "there"];
        let host = host(&keys).with_object(TARGET, "datasets", "there", MockObject::new("there"));
        let outputs = mock::apply::<S3ToR2>(&host, &params).unwrap();
        let host =
            host.with_observed("copy datasets/b", Evidence { items: 1, bytes: 9, digest: "etag:x".into() });
        let checks = mock::verify::<S3ToR2>(&host, &params, &outputs).unwrap();
        assert_eq!(failed(&checks).len(), 1, "{how} {checks:?}");

        // What was there before the step is lost.
        let mut gone = MockObject::new("there");
        gone.content.clear();
        host.set_object(TARGET, "datasets", "there", gone);
        let checks = mock::verify::<S3ToR2>(&host, &params, &outputs).unwrap();
        let Verdict::Failed(why) = &failed(&checks)[0].verdict else { panic!() };
        assert!(why.contains("1 of 1 objects"), "{how} {why}");
    }
}

#[test]
fn a_failed_copy_fails_the_step() {
    let host =
        host(&["a", "b", "c"]).with_outcome("copy datasets/b", Err(Error::Unavailable("no answer".into())));
    let error = mock::apply::<S3ToR2>(&host, &params()).unwrap_err();
    assert_eq!(error, Error::Unavailable("no answer".into()));
    assert!(host.object(TARGET, "datasets", "c").is_some());
}

#[test]
fn params_that_make_no_sense_are_refused() {
    let host = host(&["a"]);
    for (params, needle) in [
        (json!({ "buckets": [] }), "`buckets` is empty"),
        (json!({ "buckets": [""] }), "empty name"),
        (json!({ "buckets": ["datasets"], "include": [""] }), "pattern"),
        (json!({ "buckets": ["datasets"], "overwrit": "never" }), "overwrit"),
        (json!({ "buckets": ["nowhere"], "create_buckets": true }), "nowhere"),
    ] {
        let error = mock::apply::<S3ToR2>(&host, &params).unwrap_err();
        assert!(error.to_string().contains(needle), "{error}");
    }
}
