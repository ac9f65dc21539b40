//! `s3-verify` end to end on real servers: each class of difference, the report read back row by row, SIGKILL and resume,
//! undo.

use std::collections::BTreeMap;

use bytes::Bytes;
use godwit_lab::s3::{Fault, Generated, S3Server};
use godwit_tests::process::Godwit;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");

const RECIPE: &str = r#"{
  "godwit": "1", "name": "verify",
  "inputs": {
    "left": { "type": "string" }, "left_id": { "type": "string" }, "left_key": { "type": "secret" },
    "right": { "type": "string" }, "right_id": { "type": "string" }, "right_key": { "type": "secret" }
  },
  "connections": {
    "left": {
      "kind": "s3", "endpoint": "${inputs.left}", "region": "us-east-1",
      "access_key_id": "${inputs.left_id}", "secret_access_key": "${inputs.left_key}"
    },
    "right": {
      "kind": "s3", "endpoint": "${inputs.right}", "region": "us-east-1",
      "access_key_id": "${inputs.right_id}", "secret_access_key": "${inputs.right_key}"
    },
    "here": { "kind": "dir", "path": "." }
  },
  "steps": [{
    "id": "compare", "plugin": "s3-verify",
    "grant": {
      "source": { "connection": "left", "access": "read" }, "target": { "connection": "right", "access": "read" },
      "report": { "connection": "here", "access": "write" }
    },
    "with": WITH
  }]
}"#;

/// Keys that are hard on listings, or on CSV.
const ODD: [&str; 13] = [
    "comma,semi;",
    "quote\"s \"\"",
    "line\nend",
    "cr\r\nlf",
    "tab\tbell\u{7}",
    "u\u{308}",
    "ü",
    "a b+c%20d",
    "x//y",
    "../up",
    "/leading",
    "trailing/",
    " blanks ",
];
/// The class of each key that doesn't match.
const APART: [(&str, &str); 5] = [
    ("altered", "differ"),
    ("swapped,1", "differ"),
    ("swapped,2", "differ"),
    ("only \"there\"\n", "missing_on_source"),
    ("only, here", "missing_on_target"),
];

struct Pair {
    left: S3Server,
    right: S3Server,
}

impl Pair {
    /// Identical buckets, the keys of which are odd; one object was uploaded in parts of another size at the right.
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (left, right) = runtime.block_on(async {
            let small_pages = || S3Server::builder().page_size(5);
            (small_pages().start().await.unwrap(), small_pages().start().await.unwrap())
        });
        for server in [&left, &right] {
            server.create_bucket("data").unwrap();
            for key in ODD {
                server.put("data", key, key.as_bytes().to_vec(), &[]).unwrap();
            }
            server.put("data", "zero", Vec::new(), &[]).unwrap();
        }
        let parts = Bytes::from_static(b"uploaded in parts");
        let etag = |parts: u32| format!("00112233445566778899aabbccddeeff-{parts}");
        left.put_uploaded("data", "parts", parts.clone(), &etag(2)).unwrap();
        right.put_uploaded("data", "parts", parts, &etag(3)).unwrap();
        Self { left, right }
    }

    fn spoil(&self) {
        let put = |server: &S3Server, key: &str, body: &str| {
            server.put("data", key, body.as_bytes().to_vec(), &[]).unwrap();
        };
        put(&self.left, "altered", "content 1");
        put(&self.right, "altered", "content 2");
        for (server, contents) in [(&self.left, ["one", "two"]), (&self.right, ["two", "one"])] {
            put(server, "swapped,1", contents[0]);
            put(server, "swapped,2", contents[1]);
        }
        put(&self.left, "only, here", "here");
        put(&self.right, "only \"there\"\n", "there");
    }

    fn godwit(&self, with: &str) -> Godwit {
        let godwit = Godwit::new(PROGRAM)
            .env("GODWIT_INPUT_LEFT", &self.left.endpoint())
            .env("GODWIT_INPUT_LEFT_ID", self.left.access_key())
            .env("GODWIT_INPUT_LEFT_KEY", self.left.secret_key())
            .env("GODWIT_INPUT_RIGHT", &self.right.endpoint())
            .env("GODWIT_INPUT_RIGHT_ID", self.right.access_key())
            .env("GODWIT_INPUT_RIGHT_KEY", self.right.secret_key());
        godwit.write("verify.json", RECIPE.replace("WITH", with));
        godwit
    }

    fn assert_unwritten(&self) {
        for server in [&self.left, &self.right] {
            let writes: Vec<_> = server.requests().into_iter().filter(|request| request.writes()).collect();
            assert!(writes.is_empty(), "{writes:#?}");
        }
    }

    /// What the report has to say of a key: class, sizes, ETags.
    fn expected(&self, key: &str) -> Vec<String> {
        let class = APART.iter().find(|(apart, _)| *apart == key).map_or("match", |(_, class)| class);
        let (left, right) = (self.left.get("data", key), self.right.get("data", key));
        let size = |found: &Option<godwit_lab::s3::StoredObject>| {
            found.as_ref().map_or_else(String::new, |object| object.bytes.len().to_string())
        };
        let etag = |found: &Option<godwit_lab::s3::StoredObject>| {
            found.as_ref().map_or_else(String::new, |object| object.etag.clone())
        };
        vec![class.to_owned(), size(&left), size(&right), etag(&left), etag(&right)]
    }
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

/// The rows of all CSV files by key: class, sizes, ETags.
fn csv_rows(godwit: &Godwit, files: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut rows = BTreeMap::new();
    for file in files.iter().filter(|file| file.ends_with(".csv")) {
        let records = records(&godwit.read(file));
        assert_eq!(
            records[0].join(","),
            "bucket,key,class,source_size,target_size,source_etag,target_etag,by,reason,target_bucket,target_key"
        );
        for record in &records[1..] {
            assert_eq!(record.len(), records[0].len(), "{record:?}");
            assert_eq!([&record[0], &record[9], &record[10]], ["data", "data", &record[1]]);
            let row = (2..7).map(|column| record[column].to_owned()).collect();
            assert!(rows.insert(record[1].to_owned(), row).is_none(), "{record:?}");
        }
    }
    rows
}

/// The same of all JSON files.
fn json_rows(godwit: &Godwit, files: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut rows = BTreeMap::new();
    for file in files.iter().filter(|file| file.ends_with(".json")) {
        let document: Value = serde_json::from_str(&godwit.read(file)).unwrap();
        assert_eq!(document["format"], "1", "{file}");
        for entry in document["entries"].as_array().unwrap() {
            let text = |name: &str| match &entry[name] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let row = ["class", "source_size", "target_size", "source_etag", "target_etag"].map(text);
            assert!(rows.insert(text("key"), row.to_vec()).is_none(), "{entry}");
        }
    }
    rows
}

fn document(godwit: &Godwit, path: &str) -> (Value, Vec<String>) {
    let document: Value = serde_json::from_str(&godwit.read(path)).unwrap();
    let files = serde_json::from_value(document["files"].clone()).unwrap();
    (document, files)
}

#[test]
fn identical_buckets_pass_and_undo_removes_the_report() {
    let pair = Pair::start();
    let godwit = pair.godwit(r#"{ "buckets": ["data"], "report": "all", "report_path": "reports/now" }"#);
    let plan = godwit.ok(&["plan", "verify.json"]);
    for part in ["14 objects match by the listings", "1 to compare by checksums", "create reports/now.json"] {
        assert!(plan.stdout.contains(part), "{part}: {plan}");
    }
    assert!(!godwit.path("reports").exists() && !godwit.path(".godwit").exists());
    godwit.ok(&["run", "verify.json", "--yes"]);
    let (document, files) = document(&godwit, "reports/now.json");
    assert_eq!(files, ["reports/now.json", "reports/now.csv"]);
    assert_eq!((&document["equal"], &document["counts"]["match"]), (&Value::Bool(true), &15.into()));
    let rows = csv_rows(&godwit, &files);
    assert_eq!(rows, json_rows(&godwit, &files));
    assert_eq!(rows.len(), 15);
    for (key, row) in &rows {
        assert_eq!(*row, pair.expected(key), "{key:?}");
    }
    let (run, _) = godwit.newest_run().unwrap();
    godwit.ok(&["verify", &run]);

    // A later check compares again; another run doesn't write over a report.
    pair.right.put("data", "zero", b"!".to_vec(), &[]).unwrap();
    let verified = godwit.run(&["verify", &run]);
    assert_eq!(verified.code, Some(3), "{verified}");
    assert!(verified.stdout.contains("zero"), "{verified}");
    let again = godwit.run(&["run", "verify.json", "--yes"]);
    assert!(again.code != Some(0) && again.to_string().contains("is there already"), "{again}");

    godwit.ok(&["undo", &run, "--yes"]);
    assert!(!godwit.path("reports").exists(), "undo removes the report with its folder");
    // The lab's own `put` and the test's are no requests.
    pair.assert_unwritten();
}

#[test]
fn each_difference_is_found_named_and_reported() {
    let pair = Pair::start();
    pair.spoil();
    for verify in ["list", "head", "checksum", "full"] {
        let godwit = pair.godwit(&format!(r#"{{ "buckets": ["data"], "verify": "{verify}" }}"#));
        let ran = godwit.run(&["run", "verify.json", "--yes"]);
        assert_eq!(ran.code, Some(3), "{verify}: {ran}");
        for key in ["altered", "swapped,1", "only, here"] {
            assert!(ran.to_string().contains(key), "{verify} {key}: {ran}");
        }
        let (document, files) = document(&godwit, "s3-verify.json");
        let rows = csv_rows(&godwit, &files);
        assert_eq!(rows, json_rows(&godwit, &files), "{verify}");
        assert_eq!(rows.len(), APART.len(), "{verify}: {rows:?}");
        for (key, _) in APART {
            assert_eq!(rows[key], pair.expected(key), "{verify} {key:?}");
        }
        let counts = &document["counts"];
        for (name, count) in
            [("match", 15), ("differ", 3), ("missing_on_source", 1), ("missing_on_target", 1)]
        {
            assert_eq!(counts[name], count, "{verify} {name}: {counts}");
        }
        let (run, _) = godwit.newest_run().unwrap();
        godwit.ok(&["undo", &run, "--yes"]);
        assert!(!godwit.path("s3-verify.json").exists() && !godwit.path("s3-verify.csv").exists());
    }
    pair.assert_unwritten();
}

#[test]
fn killed_and_resumed_it_writes_one_report() {
    const OBJECTS: usize = 40;
    let keys: Vec<String> = (0..OBJECTS).map(|number| format!("{:0>200}", number)).collect();
    for moment in ["after:memo:1", "after:memo:3", "after:intend:1", "before:settle:2", "after:settle:3"] {
        let pair = Pair::start();
        for key in &keys {
            pair.left.put("data", key, key.as_bytes().to_vec(), &[]).unwrap();
        }
        let with = r#"{ "buckets": ["data"], "extra": "report", "report_file_bytes": 4096 }"#;
        let godwit = pair.godwit(with);
        let killed = godwit.killed_at(moment, &["run", "verify.json", "--yes"]);
        assert_eq!(killed.code, None, "{moment} never came: {killed}");
        let (run, _) = godwit.newest_run().unwrap();
        let resumed = godwit.run(&["resume", &run, "--yes"]);
        assert_eq!(resumed.code, Some(3), "{moment}: the check fails: {resumed}");
        let (_, files) = document(&godwit, "s3-verify.json");
        assert!(files.len() > 6, "{moment}: {files:?}");
        let rows = csv_rows(&godwit, &files);
        assert_eq!(rows, json_rows(&godwit, &files), "{moment}");
        assert_eq!(rows.len(), OBJECTS, "{moment}");
        assert!(keys.iter().all(|key| rows[key][0] == "missing_on_target"), "{moment}");
        godwit.ok(&["undo", &run, "--yes"]);
        for file in &files {
            assert!(!godwit.path(file).exists(), "{moment}: {file} is left");
        }
    }
}

/// What a listing lacks, or has no more, is asked for before it counts.
#[test]
fn listings_that_lag_are_not_believed() {
    let lags = Fault::StaleListing { millis: 600_000 };
    for verify in ["list", "head", "checksum", "full"] {
        // Everything was written a moment ago, so that neither listing, or one alone, has any of it.
        for sides in [vec!["left"], vec!["right"], vec!["left", "right"]] {
            let pair = Pair::start();
            pair.spoil();
            for side in &sides {
                let server = if *side == "left" { &pair.left } else { &pair.right };
                server.inject(lags);
            }
            let godwit = pair.godwit(&format!(r#"{{ "buckets": ["data"], "verify": "{verify}" }}"#));
            let ran = godwit.run(&["run", "verify.json", "--yes"]);
            let context = format!("{verify}, {sides:?}: {ran}");
            if sides.len() == 2 {
                // Two empty listings are two empty buckets: nothing tells of another key.
                assert_eq!(ran.code, Some(0), "{context}");
                continue;
            }
            assert_eq!(ran.code, Some(3), "{context}");
            let (document, files) = document(&godwit, "s3-verify.json");
            // What only the side that lags has can't be known; all else is as it is.
            let unseen = if sides == ["left"] { "only, here" } else { "only \"there\"\n" };
            let rows = csv_rows(&godwit, &files);
            let mut expected: Vec<&str> =
                APART.iter().map(|(key, _)| *key).filter(|key| *key != unseen).collect();
            expected.sort_unstable();
            assert_eq!(rows.keys().collect::<Vec<_>>(), expected, "{context}");
            for key in expected {
                assert_eq!(rows[key], pair.expected(key), "{key:?}: {context}");
            }
            assert_eq!(document["counts"]["match"], 15, "{context}");
        }
    }
}

/// An object that changes while it is read is neither a match nor a difference; so many that fail alike are no single
/// objects' fault.
#[test]
fn what_could_not_be_compared_is_said_to_be_so() {
    let pair = Pair::start();
    let with = r#"{ "buckets": ["data"], "report": "all" }"#;
    pair.left.inject(Fault::ChangeBefore { times: 1 }.key("parts"));
    let godwit = pair.godwit(with);
    let ran = godwit.run(&["run", "verify.json", "--yes"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(ran.to_string().contains("could not be compared: parts"), "{ran}");
    let (document, files) = document(&godwit, "s3-verify.json");
    assert_eq!((&document["counts"]["not_compared"], &document["equal"]), (&1.into(), &Value::Bool(false)));
    assert_eq!(csv_rows(&godwit, &files)["parts"][0], "not_compared");
    let entries = document["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["key"] == "parts").unwrap();
    assert!(entry["reason"].as_str().unwrap().contains("no longer the one that was listed"), "{entry}");
    pair.assert_unwritten();

    let pair = Pair::start();
    for number in 0..12 {
        for (server, parts) in [(&pair.left, 2), (&pair.right, 3)] {
            let etag = format!("00112233445566778899aabbccddeeff-{parts}");
            let body = Bytes::from_static(b"uploaded in parts");
            server.put_uploaded("data", &format!("parts/{number:02}"), body, &etag).unwrap();
        }
    }
    pair.left.inject(Fault::WrongEtag.on("GetObject"));
    let godwit = pair.godwit(with);
    let ran = godwit.run(&["run", "verify.json", "--yes"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("data/parts"), "it names one of them: {ran}");
    assert!(!godwit.path("s3-verify.json").exists(), "a report would say nothing");
}

/// A listing is taken at its word where it lacks more than ten thousand keys; each row says which it was.
#[test]
fn so_many_missing_keys_are_not_asked_for_one_by_one() {
    const KEYS: u64 = 12_500;
    const ASKED: usize = 10_000;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (left, right) =
        runtime.block_on(async { (S3Server::start().await.unwrap(), S3Server::start().await.unwrap()) });
    left.generate("data", Generated::new(KEYS)).unwrap();
    right.create_bucket("data").unwrap();
    // The last one is there, and its listing lags: beyond the bound that isn't found out.
    right.put("data", &Generated::key(3), Generated::new(KEYS).content(3).unwrap(), &[]).unwrap();
    right
        .put("data", &Generated::key(KEYS - 1), Generated::new(KEYS).content(KEYS - 1).unwrap(), &[])
        .unwrap();
    right.inject(Fault::StaleListing { millis: 600_000 });
    let pair = Pair { left, right };
    let godwit = pair.godwit(r#"{ "buckets": ["data"] }"#);
    let ran = godwit.run(&["run", "verify.json", "--yes"]);
    assert_eq!(ran.code, Some(3), "{ran}");
    let (document, files) = document(&godwit, "s3-verify.json");
    let counts = &document["counts"];
    assert_eq!((&counts["match"], &counts["missing_on_target"]), (&1.into(), &(KEYS - 1).into()), "{counts}");
    let rows = json_rows(&godwit, &files);
    assert_eq!(rows.len() as u64, KEYS - 1);
    assert!(!rows.contains_key(&Generated::key(3)), "what was asked for is a match");
    let by_listing = |entry: &&Value| entry["reason"] == "by the listings";
    let entries = document["entries"].as_array().unwrap();
    let taken: Vec<&Value> = entries.iter().filter(by_listing).collect();
    // Keys are judged a thousand at a time.
    assert_eq!(pair.right.seen("HeadObject"), KEYS as usize - taken.len());
    assert!((ASKED..=ASKED + 1_000).contains(&(KEYS as usize - taken.len())), "{}", taken.len());
    assert_eq!(taken.last().unwrap()["key"], Generated::key(KEYS - 1));
}
