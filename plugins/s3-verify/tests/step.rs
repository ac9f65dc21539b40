//! The step against a host in memory.

use std::collections::BTreeMap;

use godwit_plugin_s3_verify::{Class, REPORT, S3Verify, SOURCE, TARGET};
use godwit_sdk::Manifest;
use godwit_sdk::mock::{self, MockHost, MockObject};
use godwit_sdk::prelude::*;
use serde_json::{Value, json};

const ODD: [&str; 8] =
    ["a,b", "c \"d\"", "line\nend", "cr\rlf\r\n", "bell\u{7}", "u\u{308}ü", "x//y", " spaces /"];

/// Both sides have these keys in bucket `data`, each with its key as content.
fn host(keys: &[&str]) -> MockHost {
    keys.iter().fold(MockHost::new().with_bucket(SOURCE, "data").with_bucket(TARGET, "data"), |host, key| {
        host.with_object(SOURCE, "data", key, MockObject::new(*key)).with_object(
            TARGET,
            "data",
            key,
            MockObject::new(*key),
        )
    })
}

/// Of `keys`, one of each class: `differ`, `gone` (at the target) and `extra`, beside them.
fn apart(keys: &[&str]) -> MockHost {
    host(keys)
        .with_object(SOURCE, "data", "differ", MockObject::new("one"))
        .with_object(TARGET, "data", "differ", MockObject::new("two"))
        .with_object(SOURCE, "data", "gone", MockObject::new("gone"))
        .with_object(TARGET, "data", "extra", MockObject::new("extra"))
}

fn params() -> Value {
    json!({ "buckets": ["data"] })
}

fn failed(checks: &[Check]) -> Vec<&Check> {
    checks.iter().filter(|check| matches!(check.verdict, Verdict::Failed(_))).collect()
}

fn json_of(host: &MockHost, path: &str) -> Value {
    let content = host.file(REPORT, path).unwrap_or_else(|| panic!("{path} is missing"));
    serde_json::from_slice(&content)
        .unwrap_or_else(|e| panic!("{path}: {e}: {}", String::from_utf8_lossy(&content)))
}

/// The records of a CSV file (RFC 4180), the header among them.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\r' if !quoted => {
                assert_eq!(chars.next(), Some('\n'), "a lone carriage return");
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    assert!(!quoted && record.is_empty() && field.is_empty(), "the last line is whole");
    records
}

/// Key and class of every row of the CSV files.
fn rows(host: &MockHost, paths: &[String]) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for path in paths.iter().filter(|path| path.ends_with(".csv")) {
        let content = host.file(REPORT, path).unwrap();
        let records = records(std::str::from_utf8(&content).unwrap());
        assert_eq!(records[0][1], "key");
        for record in &records[1..] {
            assert_eq!(record.len(), 11, "{record:?}");
            assert!(rows.insert(record[1].to_owned(), record[2].to_owned()).is_none(), "{record:?}");
        }
    }
    rows
}

/// The same of the JSON files.
fn entries(host: &MockHost, paths: &[String]) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for path in paths.iter().filter(|path| path.ends_with(".json")) {
        for entry in json_of(host, path)["entries"].as_array().unwrap() {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            assert!(rows.insert(text("key"), text("class")).is_none(), "{entry}");
        }
    }
    rows
}

#[test]
fn the_manifest_is_what_a_recipe_is_checked_by() {
    let manifest = Manifest::of_step::<S3Verify>();
    let required: Vec<bool> = manifest.slots.iter().map(|slot| slot.required).collect();
    assert_eq!(required, [true, true, false]);
    assert!(manifest.slots[..2].iter().all(|slot| slot.access == Access::Read));
    assert_eq!(manifest.params_schema["required"], json!(["buckets"]));
}

#[test]
fn identical_buckets_are_equal() {
    let host = host(&ODD);
    let outputs = mock::apply::<S3Verify>(&host, &params()).unwrap();
    assert!(outputs.equal);
    assert_eq!(outputs.counts.matching, ODD.len() as u64);
    assert_eq!(outputs.counts.matching_by, BTreeMap::from([("etag".to_owned(), 8)]));
    assert_eq!(outputs.report, ["s3-verify.json", "s3-verify.csv"]);
    assert!(rows(&host, &outputs.report).is_empty() && entries(&host, &outputs.report).is_empty());
    assert_eq!(json_of(&host, "s3-verify.json")["counts"]["match"], 8);
}

#[test]
fn every_class_is_reported_and_fails_the_step() {
    let host = apart(&ODD);
    let outputs = mock::apply::<S3Verify>(&host, &params()).unwrap();
    assert!(!outputs.equal);
    let expected: BTreeMap<String, String> =
        [("differ", "differ"), ("gone", "missing_on_target"), ("extra", "missing_on_source")]
            .map(|(key, class)| (key.to_owned(), class.to_owned()))
            .into();
    assert_eq!(rows(&host, &outputs.report), expected);
    assert_eq!(entries(&host, &outputs.report), expected);
    assert_eq!(outputs.buckets[0].first[&Class::MissingOnTarget], ["gone"]);

    let without = apart(&ODD).without_grant(REPORT);
    let outputs = mock::apply::<S3Verify>(&without, &params()).unwrap();
    let checks = mock::verify::<S3Verify>(&without, &params(), &outputs).unwrap();
    let [check] = failed(&checks)[..] else { panic!("{checks:?}") };
    let Verdict::Failed(why) = &check.verdict else { panic!() };
    for part in ["1 differ: differ", "1 are missing on the target: gone", "missing on the source: extra"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert!(outputs.report.is_empty());
}

#[test]
fn matches_are_listed_where_asked_for_and_odd_keys_survive() {
    let host = apart(&ODD);
    let params = json!({ "buckets": ["data"], "report": "all", "report_path": "deep/all" });
    let outputs = mock::apply::<S3Verify>(&host, &params).unwrap();
    let rows = rows(&host, &outputs.report);
    assert_eq!(rows, entries(&host, &outputs.report));
    assert_eq!(rows.len(), ODD.len() + 3);
    for key in ODD {
        assert_eq!(rows[key], "match", "{key:?}");
    }
    assert_eq!(json_of(&host, "deep/all.json")["files"], json!(["deep/all.json", "deep/all.csv"]));
}

#[test]
fn extra_objects_are_tolerated_where_the_recipe_says_so() {
    let host = host(&["a"]).with_object(TARGET, "data", "extra", MockObject::new("x")).without_grant(REPORT);
    for (extra, fails) in [("fail", 1), ("report", 0)] {
        let params = json!({ "buckets": ["data"], "extra": extra });
        let outputs = mock::apply::<S3Verify>(&host, &params).unwrap();
        assert_eq!((outputs.equal, outputs.counts.missing_on_source), (fails == 0, 1));
        let checks = mock::verify::<S3Verify>(&host, &params, &outputs).unwrap();
        assert_eq!(failed(&checks).len(), fails, "{checks:?}");
        host.begin(Mode::Apply);
    }
}

#[test]
fn a_large_report_goes_into_several_files_and_a_resumed_call_writes_the_same() {
    let keys: Vec<String> = (0..3300).map(|number| format!("key/{number:05}")).collect();
    let host = keys.iter().fold(
        MockHost::new().with_bucket(TARGET, "data").with_page_size(400).with_crash_after(3),
        |host, key| host.with_object(SOURCE, "data", key, MockObject::new(key.as_str())),
    );
    let params = json!({ "buckets": ["data"], "report_file_bytes": 100_000 });
    mock::apply::<S3Verify>(&host, &params).unwrap_err();
    let before = host.performed();
    // The world moves on meanwhile: the verdicts stand.
    host.set_object(TARGET, "data", &keys[7], MockObject::new(keys[7].as_str()));
    host.set_object(SOURCE, "data", "key/00000-new", MockObject::new("new"));
    let outputs = mock::apply::<S3Verify>(&host, &params).unwrap();
    assert_eq!(before + host.performed(), outputs.report.len());
    assert!(outputs.report.len() > 6, "{:?}", outputs.report);
    assert!(outputs.report.contains(&"s3-verify-3.csv".to_owned()), "{:?}", outputs.report);
    let rows = rows(&host, &outputs.report);
    assert!(rows.len() == 3300 && rows.values().all(|class| class == "missing_on_target"));
    assert_eq!(entries(&host, &outputs.report), rows);
    assert_eq!(host.submitted().last().unwrap().key, "report s3-verify.json", "the totals come last");
    for path in &outputs.report {
        assert!(host.file(REPORT, path).unwrap().len() < 104_000, "{path}");
    }
}

#[test]
fn contents_are_compared_where_etags_do_not_compare() {
    let parts = |content: &str, etag: &str| MockObject { etag: etag.to_owned(), ..MockObject::new(content) };
    let host = || {
        host(&["plain"])
            .without_grant(REPORT)
            .with_object(SOURCE, "data", "same", parts("same", "x-2"))
            .with_object(TARGET, "data", "same", parts("same", "y-3"))
            .with_object(SOURCE, "data", "swap", parts("swap", "x-2"))
            .with_object(TARGET, "data", "swap", parts("pwas", "y-3"))
    };
    for (verify, counts, by) in [
        ("checksum", (2, 1), json!({ "etag": 1, "fnv": 1 })),
        ("full", (2, 1), json!({ "content": 2 })),
        ("list", (3, 0), json!({ "etag": 1, "size": 2 })),
        ("head", (3, 0), json!({ "etag": 1, "size": 2 })),
    ] {
        let params = json!({ "buckets": ["data"], "verify": verify });
        let host = host();
        let outputs = mock::apply::<S3Verify>(&host, &params).unwrap();
        assert_eq!((outputs.counts.matching, outputs.counts.differ), counts, "{verify}");
        assert_eq!(serde_json::to_value(&outputs.counts.matching_by).unwrap(), by, "{verify}");
        let checks = mock::verify::<S3Verify>(&host, &params, &outputs).unwrap();
        // Of what size alone compared, nothing is proven.
        let unproven = checks.iter().any(|check| matches!(check.verdict, Verdict::NotComparable(_)));
        assert_eq!(unproven, by["size"] == 2, "{verify} {checks:?}");
    }
}

#[test]
fn a_plan_lists_and_compares_no_content() {
    let host = apart(&["a"]);
    let params = json!({ "buckets": ["data"], "verify": "full" });
    let outputs = mock::plan::<S3Verify>(&host, &params).unwrap();
    assert_eq!((host.performed(), host.submitted().len()), (0, 2));
    assert_eq!(outputs.counts.missing_on_target, 1);
    let said: Vec<String> = host.logs().into_iter().map(|(_, line)| line).collect();
    assert!(said[0].contains("to compare by their contents"), "{said:?}");
    assert!(said[1].contains("s3-verify.json"), "{said:?}");
    assert!(host.file(REPORT, "s3-verify.json").is_none() && host.memo("page/0/0").is_none());
}

#[test]
fn prefixes_patterns_sizes_and_names_choose() {
    let host = MockHost::new()
        .without_grant(REPORT)
        .with_object(SOURCE, "data", "in/a.jpg", MockObject::new("a"))
        .with_object(SOURCE, "data", "in/b.tmp", MockObject::new("b"))
        .with_object(SOURCE, "data", "else", MockObject::new("else"))
        .with_object(TARGET, "copy", "out/a.jpg", MockObject::new("a"))
        .with_object(TARGET, "copy", "out/tiny", MockObject::new(""))
        .with_object(TARGET, "copy", "out/other.tmp", MockObject::new("?"));
    let entry = json!({ "source": "data", "target": "copy", "prefix": "in/", "target_prefix": "out/" });
    let outputs =
        mock::apply::<S3Verify>(&host, &json!({ "buckets": [entry], "exclude": ["**.tmp"], "min_size": 1 }))
            .unwrap();
    assert!(outputs.equal && outputs.counts.keys() == 1, "{outputs:?}");

    let host = MockHost::new()
        .without_grant(REPORT)
        .with_object(SOURCE, "data", "img/a", MockObject::new("a"))
        .with_object(SOURCE, "data", "img/b", MockObject::new("b"))
        .with_object(TARGET, "data", "a/img", MockObject::new("a"));
    let params = json!({ "buckets": ["data"], "rename": [{ "from": "img/*", "to": "$1/img" }] });
    let outputs = mock::apply::<S3Verify>(&host, &params).unwrap();
    assert_eq!((outputs.counts.matching, outputs.counts.missing_on_target), (1, 1));
    let checks = mock::verify::<S3Verify>(&host, &params, &outputs).unwrap();
    assert!(checks.iter().any(|check| check.name == "further objects of data"), "{checks:?}");
}

#[test]
fn a_later_check_compares_again() {
    let host = host(&["a", "b"]).without_grant(REPORT);
    let outputs = mock::apply::<S3Verify>(&host, &params()).unwrap();
    host.set_object(TARGET, "data", "b", MockObject::new("other"));
    let checks = mock::verify::<S3Verify>(&host, &params(), &outputs).unwrap();
    assert!(failed(&checks).is_empty(), "right after an apply it isn't read again");
    host.begin(Mode::Recheck);
    let params = serde_json::from_value(params()).unwrap();
    let checks = S3Verify::verify(&host, params, outputs).unwrap();
    assert_eq!(failed(&checks).len(), 1, "{checks:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let with = |more: Value| {
        let mut params = params();
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    for (params, needle) in [
        (json!({ "buckets": [] }), "`buckets` is empty"),
        (json!({ "buckets": ["nowhere"] }), "bucket `nowhere` isn't at the source"),
        (with(json!({ "sample_percent": 0 })), "`sample_percent`"),
        (with(json!({ "max_age": "soon" })), "`max_age`"),
        (with(json!({ "report_path": "a.csv" })), "without its ending"),
        (with(json!({ "report_path": "a/" })), "give a path below the folder"),
        (with(json!({ "report_path": "../a" })), "`report_path` is `../a`"),
        (with(json!({ "report_file_bytes": 1 })), "`report_file_bytes`"),
        (with(json!({ "extra": "fail", "rename": [{ "from": "a", "to": "b" }] })), "can't stand together"),
        (with(json!({ "report_path": "old/there" })), "`old/there-2.csv` is there already"),
        (with(json!({ "sampel": 1 })), "sampel"),
    ] {
        let host = host(&["a"]).with_file(REPORT, "old/there-2.csv", "x");
        let error = mock::apply::<S3Verify>(&host, &params).unwrap_err();
        assert!(error.to_string().contains(needle), "{needle}: {error}");
        assert_eq!(host.performed(), 0);
    }
    let error =
        mock::apply::<S3Verify>(&host(&["a"]).without_grant(REPORT), &with(json!({ "report": "all" })))
            .unwrap_err();
    assert!(error.to_string().contains("grant it slot `report`"), "{error}");
    let one = |_| Granted { write: false, identity: "s3://127.0.0.1:9000/".into(), secrets: Vec::new() };
    let host = host(&["a"]).with_grant(SOURCE, one(())).with_grant(TARGET, one(()));
    let error = mock::apply::<S3Verify>(&host, &params()).unwrap_err();
    assert!(error.to_string().contains("compared with itself"), "{error}");
}
