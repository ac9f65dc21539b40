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
    assert_eq!(checks.len(), 3);
}

#[test]
fn a_plan_lists_the_copies_and_performs_none() {
    let host = host(&["a", "b"]);
    let outputs = mock::plan::<S3ToR2>(&host, &params()).unwrap();
    assert_eq!(outputs.objects, 2);
    // Two copies and the probe.
    assert_eq!((host.submitted().len(), host.performed()), (3, 0));
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
    // And the probe.
    assert_eq!(before + host.performed(), 2501);
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
    let Request::CopyObject { copy, .. } = &host.submitted()[1].request else { panic!() };
    assert_eq!(copy.replaces, Replaces::Object(MockObject::new("something older").etag));
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
    assert!(failed(&checks).is_empty() && checks.len() == 5, "{checks:?}");
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
        (json!({ "buckets": ["datasets"], "max_age": "3 weeks" }), "`max_age`"),
        (json!({ "buckets": ["datasets"], "sample_percent": 0 }), "`sample_percent`"),
        (json!({ "buckets": ["datasets"], "rename": [{ "from": "a/*", "to": "$2" }] }), "there is no `$2`"),
        (
            json!({ "buckets": ["datasets"], "rename": [{ "from": "a/*", "to": "b/$1" }],
                "mirror": { "max_delete": 1 } }),
            "can't stand together",
        ),
    ] {
        let error = mock::apply::<S3ToR2>(&host, &params).unwrap_err();
        assert!(error.to_string().contains(needle), "{error}");
    }
}

/// An object of this content, class and time.
fn object(content: &str, class: Option<&str>, modified: i64) -> MockObject {
    MockObject { storage_class: class.map(str::to_owned), modified, ..MockObject::new(content) }
}

#[test]
fn keys_get_other_names_and_are_found_under_them() {
    let host = host(&["datasets/7/img/a.jpg", "datasets/8/img/b/c.jpg", "other"]);
    let params = json!({
        "buckets": ["datasets"],
        "rename": [{ "from": "datasets/*/img/**", "to": "data/$2/$1" }],
        "verify": "full",
    });
    let outputs = mock::apply::<S3ToR2>(&host, &params).unwrap();
    assert_eq!(outputs.objects, 3);
    for key in ["data/a.jpg/7", "data/b/c.jpg/8", "other"] {
        assert!(host.object(TARGET, "datasets", key).is_some(), "{key}");
    }
    let checks = mock::verify::<S3ToR2>(&host, &params, &outputs).unwrap();
    assert!(failed(&checks).is_empty(), "{checks:?}");
    // A second step finds all of it there.
    let again = MockHost::new();
    let again = ["data/a.jpg/7", "data/b/c.jpg/8", "other"].iter().fold(again, |again, key| {
        again.with_object(TARGET, "datasets", key, host.object(TARGET, "datasets", key).unwrap())
    });
    let again = ["datasets/7/img/a.jpg", "datasets/8/img/b/c.jpg", "other"]
        .iter()
        .fold(again, |again, key| again.with_object(SOURCE, "datasets", key, MockObject::new(*key)));
    let outputs = mock::apply::<S3ToR2>(&again, &params).unwrap();
    assert_eq!((outputs.objects, outputs.already_there), (0, 3));
    let checks = mock::verify::<S3ToR2>(&again, &params, &outputs).unwrap();
    assert!(failed(&checks).is_empty(), "{checks:?}");
}

#[test]
fn a_mirror_deletes_last_and_no_more_than_allowed() {
    let extra = |host: MockHost| {
        ["a/gone", "z", "z.tmp"]
            .iter()
            .fold(host, |host, key| host.with_object(TARGET, "datasets", key, MockObject::new("extra")))
    };
    let with = |most: u64| json!({ "buckets": ["datasets"], "exclude": ["**.tmp"], "mirror": { "max_delete": most } });
    let there = extra(host(&["a", "b"]));
    let error = mock::apply::<S3ToR2>(&there, &with(1)).unwrap_err();
    assert!(error.to_string().contains("2 objects that only the target has"), "{error}");
    assert_eq!(there.performed(), 0);

    let there = extra(host(&["a", "b"]));
    let outputs = mock::apply::<S3ToR2>(&there, &with(2)).unwrap();
    assert_eq!((outputs.objects, outputs.deleted), (2, 2));
    assert!(there.object(TARGET, "datasets", "z").is_none());
    // What the patterns leave out is left alone.
    assert!(there.object(TARGET, "datasets", "z.tmp").is_some());
    let last = there.submitted().last().unwrap().key.clone();
    assert!(last.starts_with("delete "), "{last}");
    let checks = mock::verify::<S3ToR2>(&there, &with(2), &outputs).unwrap();
    assert!(failed(&checks).is_empty(), "{checks:?}");
    there.set_object(TARGET, "datasets", "z", MockObject::new("back"));
    let checks = mock::verify::<S3ToR2>(&there, &with(2), &outputs).unwrap();
    assert_eq!(failed(&checks).len(), 1, "{checks:?}");

    // A copy that fails keeps everything.
    let there = extra(host(&["a", "b"])).with_outcome("copy datasets/b", Err(Error::Failed("no".into())));
    mock::apply::<S3ToR2>(&there, &with(2)).unwrap_err();
    assert!(there.object(TARGET, "datasets", "z").is_some());
}

#[test]
fn newer_objects_at_the_target_are_left() {
    let host = MockHost::new()
        .with_object(SOURCE, "datasets", "old", object("new content", None, 50))
        .with_object(TARGET, "datasets", "old", object("old content!", None, 10))
        .with_object(SOURCE, "datasets", "young", object("older", None, 50))
        .with_object(TARGET, "datasets", "young", object("the newer one", None, 60));
    let params = json!({ "buckets": ["datasets"], "overwrite": "newer" });
    let outputs = mock::apply::<S3ToR2>(&host, &params).unwrap();
    assert_eq!(
        (outputs.objects, outputs.buckets[0].newer_at_target, outputs.buckets[0].overwritten),
        (1, 1, 1)
    );
    assert_eq!(host.object(TARGET, "datasets", "young").unwrap().content, b"the newer one");
    assert_eq!(host.object(TARGET, "datasets", "old").unwrap().content, b"new content");
    let checks = mock::verify::<S3ToR2>(&host, &params, &outputs).unwrap();
    assert!(failed(&checks).is_empty(), "{checks:?}");
}

#[test]
fn sizes_choose_and_classes_are_mapped_or_kept() {
    let host = MockHost::new()
        .with_bucket(TARGET, "b")
        .with_object(SOURCE, "b", "cold", object("0123456789", Some("STANDARD_IA"), 1))
        .with_object(SOURCE, "b", "large", object("0123456789012345", None, 1))
        .with_object(SOURCE, "b", "rare", object("0123456789", Some("ONEZONE_IA"), 1))
        .with_object(SOURCE, "b", "small", object("0", None, 1));
    let params = json!({ "buckets": ["b"], "min_size": 5, "max_size": 12,
        "storage_classes": { "ONEZONE_IA": "STANDARD" } });
    let outputs = mock::apply::<S3ToR2>(&host, &params).unwrap();
    assert_eq!(outputs.objects, 2);
    assert_eq!(host.object(TARGET, "b", "cold").unwrap().storage_class.as_deref(), Some("STANDARD_IA"));
    assert_eq!(host.object(TARGET, "b", "rare").unwrap().storage_class, None);
    let said = host.logs();
    assert!(said.iter().any(|(_, line)| line.contains("1 STANDARD, 1 STANDARD_IA")), "{said:?}");
}

fn endpoint(vendor: &str) -> Endpoint {
    Endpoint {
        vendor: vendor.into(),
        tags: true,
        versions: true,
        storage_classes: true,
        max_object: 5 << 40,
        max_key: 1024,
        cors: vendor != "minio",
        folds_unicode: vendor == "r2",
        path_keys: vendor == "minio",
    }
}

#[test]
fn keys_that_the_target_takes_for_one_are_named_before_anything_is_copied() {
    let pair = |vendor: &str| {
        let mut host = MockHost::new().with_bucket(TARGET, "b").with_endpoint(TARGET, endpoint(vendor));
        for key in ["cafe", "cafe\u{301}", "caf\u{e9}", "273 K", "273 \u{212a}", "na\u{ef}ve"] {
            host = host.with_object(SOURCE, "b", key, object("x", None, 1));
        }
        host
    };
    let host = pair("r2");
    let error = mock::plan::<S3ToR2>(&host, &json!({ "buckets": ["b"] })).unwrap_err();
    for part in ["2 keys of the source", "b/caf\\u{e9}", "b/273 \\u{212a}", "`exclude`"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert!(mock::apply::<S3ToR2>(&host, &json!({ "buckets": ["b"] })).is_err());
    assert!(host.object(TARGET, "b", "cafe").is_none(), "nothing was copied");
    // One of each left out, or another target: they are keys like others.
    let params = json!({ "buckets": ["b"], "exclude": ["cafe\u{301}", "273 K"] });
    mock::apply::<S3ToR2>(&pair("r2"), &params).unwrap();
    mock::apply::<S3ToR2>(&pair("garage"), &json!({ "buckets": ["b"] })).unwrap();
}

#[test]
fn keys_that_are_no_paths_are_named_where_the_target_keeps_files() {
    let pair = |vendor: &str| {
        let mut host = MockHost::new()
            .with_bucket(TARGET, "b")
            .with_object(TARGET, "b", "theirs", object("x", None, 1))
            .with_endpoint(TARGET, endpoint(vendor));
        for key in ["a", "a-b", "a/x", "b//c", "d/../e", "theirs/x", "z/"] {
            host = host.with_object(SOURCE, "b", key, object("x", None, 1));
        }
        host
    };
    let host = pair("minio");
    let error = mock::plan::<S3ToR2>(&host, &json!({ "buckets": ["b"] })).unwrap_err().to_string();
    for part in [
        "can't take 2 objects",
        "b/b//c (it holds `//`)",
        "b/d/../e (a part of it is `.` or `..`)",
        "2 keys need a folder",
        "a/x (below a)",
        "theirs/x (below theirs)",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(mock::apply::<S3ToR2>(&host, &json!({ "buckets": ["b"] })).is_err());
    assert!(host.object(TARGET, "b", "z/").is_none(), "nothing was copied");
    let all = json!({ "buckets": ["b"], "versions": "all" });
    let versions = ["a", "a/x", "b//c"].map(|key| version(key, "1", 1, true, false)).to_vec();
    let error =
        mock::plan::<S3ToR2>(&host.with_versions(SOURCE, "b", versions), &all).unwrap_err().to_string();
    for part in ["can't take 1 objects", "b/b//c (it holds `//`)", "a/x (below a)"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let params = json!({ "buckets": ["b"], "exclude": ["a/x", "b//c", "d/../e", "theirs/x"] });
    mock::apply::<S3ToR2>(&pair("minio"), &params).unwrap();
    mock::apply::<S3ToR2>(&pair("garage"), &json!({ "buckets": ["b"] })).unwrap();
}

#[test]
fn cors_rules_that_the_target_cannot_have_are_said_and_not_set() {
    let host = MockHost::new().with_bucket(TARGET, "b").with_endpoint(TARGET, endpoint("minio")).with_object(
        SOURCE,
        "b",
        "a",
        object("x", None, 1),
    );
    let rule = json!({ "allowed_origins": ["*"], "allowed_methods": ["GET"] });
    let params = json!({ "buckets": ["b"], "cors": [rule], "check_origins": [] });
    mock::plan::<S3ToR2>(&host, &params).unwrap();
    let said = host.logs().into_iter().any(|(_, line)| line.contains("cors of bucket b can't be set"));
    assert!(said, "{:?}", host.logs());
    let outputs = mock::apply::<S3ToR2>(&host, &params).unwrap();
    assert!(host.submitted().iter().all(|one| !matches!(one.request, Request::SetCors { .. })));
    assert!(!outputs.buckets[0].cors_set && outputs.buckets[0].settings_lacking.contains_key("cors"));
    let checks = mock::verify::<S3ToR2>(&host, &params, &outputs).unwrap();
    assert!(failed(&checks).is_empty(), "{checks:?}");
    assert!(checks.iter().any(|check| check.name == "cors of b"), "{checks:?}");
}

#[test]
fn what_the_target_or_the_source_cannot_do_is_said_before_anything_is_copied() {
    let small = Endpoint {
        vendor: "tiny".into(),
        tags: false,
        versions: false,
        storage_classes: false,
        max_object: 8,
        max_key: 6,
        cors: true,
        folds_unicode: false,
        path_keys: false,
    };
    let host = MockHost::new()
        .with_bucket(TARGET, "b")
        .with_endpoint(TARGET, small)
        .with_object(SOURCE, "b", "a", object("0123456789", None, 1))
        .with_object(SOURCE, "b", "frozen", object("0", Some("DEEP_ARCHIVE"), 1))
        .with_object(SOURCE, "b", "long-key", object("0", None, 1))
        .with_setting(SOURCE, "b", BucketSetting::Versioning, "<VersioningConfiguration/>");
    let error = mock::apply::<S3ToR2>(&host, &json!({ "buckets": ["b"] })).unwrap_err().to_string();
    for needle in ["can't take 2 objects", "b/a (10 bytes", "long-key", "1 objects are archived", "b/frozen"]
    {
        assert!(error.contains(needle), "{needle}: {error}");
    }
    assert_eq!(host.performed(), 0);

    let params = json!({ "buckets": ["b"], "include": ["nothing"], "settings": { "versioning": "source" } });
    let outputs = mock::apply::<S3ToR2>(&host, &params).unwrap();
    assert!(outputs.buckets[0].settings_lacking["versioning"].contains("tiny"), "{outputs:?}");
    let checks = mock::verify::<S3ToR2>(&host, &params, &outputs).unwrap();
    assert!(failed(&checks).is_empty(), "{checks:?}");
    assert!(checks.iter().any(|check| matches!(check.verdict, Verdict::NotComparable(_))));
}

#[test]
fn settings_and_rules_are_carried_over_or_set() {
    let host = MockHost::new().with_object(SOURCE, "b", "a", MockObject::new("a")).with_setting(
        SOURCE,
        "b",
        BucketSetting::Lifecycle,
        "<LifecycleConfiguration/>",
    );
    let params = json!({ "buckets": ["b"], "create_buckets": true, "carry_cors": true,
        "settings": { "lifecycle": "source", "tagging": "<Tagging/>", "policy": "source" } });
    let outputs = mock::apply::<S3ToR2>(&host, &params).unwrap();
    assert_eq!(outputs.buckets[0].settings_set, [BucketSetting::Lifecycle, BucketSetting::Tagging]);
    assert_eq!(host.setting(TARGET, "b", BucketSetting::Tagging).as_deref(), Some("<Tagging/>"));
    // Objects wait for the settings: a lifecycle or versions concern them from the first.
    let submitted = host.submitted();
    let copy = submitted.iter().find(|effect| effect.key == "copy b/a").unwrap();
    assert_eq!(copy.after, ["bucket b", "lifecycle b", "tagging b"]);
    // Called again it decides the same.
    assert_eq!(mock::apply::<S3ToR2>(&host, &params).unwrap(), outputs);
    assert_eq!(host.performed(), 0);
}

fn version(key: &str, version: &str, size: u64, latest: bool, deleted: bool) -> ObjectVersion {
    ObjectVersion {
        info: ObjectInfo {
            key: key.to_owned(),
            size,
            etag: if deleted { String::new() } else { format!("etag-{version}") },
            modified: 1,
            storage_class: None,
        },
        version: version.to_owned(),
        latest,
        deleted,
    }
}

#[test]
fn versions_arrive_oldest_first_and_are_one_effect_an_object() {
    let host = MockHost::new().with_bucket(TARGET, "b").with_object(SOURCE, "b", "a", MockObject::new("a"));
    let host = host.with_versions(
        SOURCE,
        "b",
        vec![
            version("a", "3", 1, true, false),
            version("a", "2", 0, false, true),
            version("a", "1", 9, false, false),
            version("gone", "5", 0, true, true),
            version("gone", "4", 7, false, false),
        ],
    );
    let params = json!({ "buckets": ["b"], "versions": "all" });
    let outputs = mock::apply::<S3ToR2>(&host, &params).unwrap();
    assert_eq!((outputs.objects, outputs.buckets[0].versions, outputs.bytes), (2, 5, 17));
    let submitted = host.submitted();
    let sent: Vec<Vec<&str>> = submitted
        .iter()
        .filter_map(|effect| match &effect.request {
            Request::CopyVersions { versions, .. } => {
                Some(versions.iter().map(|version| version.version.as_str()).collect())
            }
            _ => None,
        })
        .collect();
    assert_eq!(sent, [vec!["1", "2", "3"], vec!["4", "5"]]);
    assert_eq!(mock::apply::<S3ToR2>(&host, &params).unwrap(), outputs);
    assert_eq!(host.performed(), 0, "called again it asks for the same");
    let error = mock::apply::<S3ToR2>(
        &host,
        &json!({ "buckets": ["b"], "versions": "all", "mirror": { "max_delete": 1 } }),
    )
    .unwrap_err();
    assert!(error.to_string().contains("`mirror`"), "{error}");
}

#[test]
fn browsers_are_asked_for() {
    let host = host(&["a"]);
    let rule = json!({ "allowed_origins": ["https://app.example.com"], "allowed_methods": ["GET"] });
    let params = json!({ "buckets": ["datasets"], "cors": [rule],
        "check_origins": ["https://app.example.com", "https://other.example.com"] });
    let outputs = mock::apply::<S3ToR2>(&host, &params).unwrap();
    let checks = mock::verify::<S3ToR2>(&host, &params, &outputs).unwrap();
    let wrong = failed(&checks);
    assert_eq!(wrong.len(), 1, "{checks:?}");
    assert!(wrong[0].name.contains("other.example.com"), "{wrong:?}");
}
