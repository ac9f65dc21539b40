//! The mock host keeps the contract where a plugin can notice.

use godwit_sdk::mock::{self, MockHost, MockObject, Request};
use godwit_sdk::prelude::*;
use serde_json::json;

/// Writes a file, then another one after it, then copies all objects.
struct Probe;

#[derive(Deserialize, JsonSchema)]
struct Params {
    text: String,
    #[serde(default)]
    only_first: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Outputs {
    names: Vec<String>,
    copied: usize,
}

#[derive(Debug, Deserialize)]
struct Row {
    name: String,
}

impl Step for Probe {
    const NAME: &str = "probe";
    const VERSION: &str = "0.1.0";
    const SUMMARY: &str = "asks the mock host for everything";
    type Params = Params;
    type Outputs = Outputs;

    fn slots() -> Vec<Slot> {
        vec![
            Slot::new("files", ConnectionKind::Dir, Access::Write, "files"),
            Slot::new("store", ConnectionKind::S3, Access::Write, "objects").optional(),
        ]
    }

    fn apply<H: Host>(host: &H, params: Params) -> Result<Outputs> {
        let rows: Vec<Row> = host.select("db", "SELECT name", &[Some("x")])?;
        let names: Vec<String> = host.memo("names", || Ok(rows.into_iter().map(|row| row.name).collect()))?;
        let mut batch = vec![host.write_file("files", "one", "one.txt", params.text.as_bytes())?];
        if !params.only_first {
            batch.push(host.write_file("files", "two", "two.txt", b"2")?.after(["one"]));
        }
        host.submit(batch)?;
        let mut copied = 0;
        let mut listing = host.list_objects("store", "from", "a/", None)?;
        loop {
            let page = listing.next_page()?;
            if page.is_empty() {
                break;
            }
            for object in page {
                let at = |bucket: &str| Location {
                    slot: "store".into(),
                    bucket: bucket.into(),
                    key: object.key.clone(),
                };
                let key = format!("copy:{}", object.key);
                let effect = host.copy_object(
                    &key,
                    at("from"),
                    at("to"),
                    object.size,
                    &object.etag,
                    ObjectCopy::onto(Replaces::Nothing),
                )?;
                host.submit(vec![effect])?;
                copied += 1;
            }
        }
        host.settle()?;
        Ok(Outputs { names, copied })
    }

    fn verify<H: Host>(host: &H, _: Params, outputs: Outputs) -> Result<Vec<Check>> {
        let head = host.head_object("store", "to", "a/1")?;
        let evidence = (host.evidence("copy:a/1")?, host.observe_one("copy:a/1").ok());
        Ok(vec![
            Check::that("object", head.is_some(), "not copied").detail(format!("{} copied", outputs.copied)),
            Check::that("evidence", evidence.0 == evidence.1, "differs"),
        ])
    }
}

fn host() -> MockHost {
    let mut host = MockHost::new().with_page_size(2).with_bucket("store", "to").on_query(|query| {
        assert_eq!(query.params, [Some("x")]);
        (query.sql == "SELECT name").then(|| Ok((0..3).map(|n| json!({ "name": format!("n{n}") })).collect()))
    });
    for key in ["a/1", "a/2", "a/3", "b/1"] {
        host = host.with_object("store", "from", key, MockObject::new(key));
    }
    host
}

#[test]
fn performs_files_and_objects_and_answers_queries() {
    let host = host();
    let outputs = mock::apply::<Probe>(&host, &json!({ "text": "hello" })).unwrap();
    assert_eq!(outputs, Outputs { names: vec!["n0".into(), "n1".into(), "n2".into()], copied: 3 });
    assert_eq!(host.file("files", "one.txt").unwrap(), b"hello");
    assert_eq!(host.object("store", "to", "a/3").unwrap().content, b"a/3");
    assert!(host.object("store", "to", "b/1").is_none());
    assert_eq!(host.submitted()[1].after, ["one"]);
    let checks = mock::verify::<Probe>(&host, &json!({ "text": "hello" }), &outputs).unwrap();
    assert!(checks.iter().all(|check| check.verdict == Verdict::Passed), "{checks:?}");
}

#[test]
fn a_plan_performs_nothing_and_answers_pending() {
    let host = host();
    let error = mock::plan::<Probe>(&host, &json!({ "text": "hello" })).unwrap_err();
    assert!(matches!(error, Error::Pending(_)));
    assert!(host.file("files", "one.txt").is_none() && host.object("store", "to", "a/1").is_none());
    assert_eq!(host.submitted().len(), 5);
    assert_eq!(host.performed(), 0);
}

#[test]
fn a_resumed_call_is_answered_from_the_journal() {
    for died_after in 0..5 {
        let host = host().with_crash_after(died_after);
        assert!(mock::apply::<Probe>(&host, &json!({ "text": "hello" })).is_err());
        let outputs = mock::apply::<Probe>(&host, &json!({ "text": "hello" })).unwrap();
        assert_eq!(host.performed(), 5 - died_after);
        assert_eq!(outputs.copied, 3);
    }
}

#[test]
fn another_request_under_a_known_key_is_a_conflict() {
    let host = host();
    mock::apply::<Probe>(&host, &json!({ "text": "hello" })).unwrap();
    let error = mock::apply::<Probe>(&host, &json!({ "text": "other" })).unwrap_err();
    assert!(matches!(&error, Error::Conflict(m) if m.contains("`one`")), "{error}");
    let error = mock::apply::<Probe>(&host, &json!({ "text": "hello", "only_first": true })).unwrap_err();
    assert!(matches!(&error, Error::Conflict(m) if m.contains("`two`")), "{error}");
}

#[test]
fn a_failed_predecessor_cancels() {
    let host = host().with_outcome("one", Err(Error::Failed("disk full".into())));
    let error = mock::apply::<Probe>(&host, &json!({ "text": "hello" })).unwrap_err();
    assert_eq!(error.to_string(), "disk full");
    assert!(host.file("files", "two.txt").is_none());
}

#[test]
fn what_is_not_granted_is_denied() {
    let host = host().without_grant("files");
    assert!(matches!(mock::apply::<Probe>(&host, &json!({ "text": "" })), Err(Error::Denied(_))));
    let reader = Granted { write: false, identity: "dir:/x".into(), secrets: Vec::new() };
    let host = self::host().with_grant("files", reader);
    assert!(matches!(mock::apply::<Probe>(&host, &json!({ "text": "" })), Err(Error::Denied(_))));
    assert!(
        matches!(mock::apply::<Probe>(&host, &json!({})), Err(Error::Invalid(m)) if m.contains("`text`"))
    );
}

#[test]
fn queries_without_a_script_and_unknown_predecessors_are_named() {
    let host = MockHost::new();
    let error = host.select::<Row>("db", "SELECT 1", &[]).unwrap_err();
    assert!(error.to_string().contains("SELECT 1"));
    let effect = host.write_file("files", "b", "b", b"").unwrap().after(["a"]);
    assert!(matches!(host.submit(vec![effect]), Err(Error::Invalid(m)) if m.contains("`a`")));
    host.begin(Mode::Verify);
    let effect = host.write_file("files", "b", "b", b"").unwrap();
    assert!(matches!(host.submit(vec![effect]), Err(Error::Denied(_))));
}

#[test]
fn sql_is_recorded() {
    let host = MockHost::new();
    let request =
        Execute::atomic(vec!["CREATE TABLE t ()".into()], Undo::Statements(vec!["DROP TABLE t".into()]));
    host.submit(vec![host.execute("db", "ddl", request.clone()).unwrap()]).unwrap();
    assert_eq!(host.submitted()[0].request, Request::Execute { slot: "db".into(), request });
    let json = serde_json::to_value(host.submitted()).unwrap();
    assert_eq!(json[0]["request"]["do"], "execute");
    assert_eq!(host.settle().unwrap(), [("ddl".to_owned(), "null".to_owned())]);
}

#[test]
fn a_folder_is_there_as_long_as_something_is_in_it() {
    let host = MockHost::new().with_file("files", "a/b", b"x");
    let folder = host.stat_file("files", "a").unwrap().unwrap();
    assert_eq!((folder.path.as_str(), folder.is_dir), ("a", true));
    assert!(!host.stat_file("files", "a/b").unwrap().unwrap().is_dir);
    assert_eq!(host.stat_file("files", "b").unwrap(), None);
}
