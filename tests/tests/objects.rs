//! `s3-to-r2` end to end on real servers: plan, run, SIGKILL, faults, resume, verify, undo.

use std::time::{Duration, Instant};

use godwit_lab::s3::{Fault, S3Server};
use godwit_lab::sample;
use godwit_tests::killed::{self, Trial, seed};
use godwit_tests::process::Godwit;

const PROGRAM: &str = env!("CARGO_BIN_EXE_godwit-under-test");
const IMAGES: u32 = 60;

struct Pair {
    source: S3Server,
    target: S3Server,
}

impl Pair {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let source = S3Server::start().await.unwrap();
            let target = S3Server::builder().region("auto").equal_parts().start().await.unwrap();
            sample::fill_buckets_with(&source, IMAGES).await.unwrap();
            for key in
                ["ünïcode/u\u{308}.txt", "a b+c%20d.txt", "x//y", "../up", "/leading", "trailing/", "zero"]
            {
                let body = if key == "zero" { Vec::new() } else { key.as_bytes().to_vec() };
                source
                    .put("annotations", key, body, &[("content-type", "text/plain"), ("x-amz-meta-k", "v")])
                    .unwrap();
            }
            Self { source, target }
        })
    }

    fn godwit(&self) -> Godwit {
        Godwit::new(PROGRAM)
            .between(&self.source, &self.target)
            .env("GODWIT_INPUT_BUCKETS", r#"["datasets", "annotations"]"#)
            .env("GODWIT_INPUT_ALLOWED_ORIGINS", r#"["https://labeler.example.com"]"#)
    }

    fn assert_equal(&self, context: &str) {
        for bucket in sample::BUCKETS {
            let keys = self.source.keys(bucket);
            assert_eq!(keys, self.target.keys(bucket), "keys of {bucket}: {context}");
            for key in keys {
                let (from, to) =
                    (self.source.get(bucket, &key).unwrap(), self.target.get(bucket, &key).unwrap());
                assert!(from.bytes == to.bytes, "{bucket}/{key} has other bytes: {context}");
                assert_eq!(from.headers, to.headers, "headers and metadata of {bucket}/{key}: {context}");
            }
            assert!(self.target.cors(bucket).is_some(), "CORS of {bucket}: {context}");
        }
        assert!(self.target.open_uploads().is_empty(), "an upload is left: {context}");
        let writes: Vec<_> = self.source.requests().into_iter().filter(|request| request.writes()).collect();
        assert!(writes.is_empty(), "the source was written: {context}: {writes:#?}");
    }

    fn assert_empty(&self, context: &str) {
        for bucket in self.target.buckets() {
            assert_eq!(self.target.keys(&bucket), Vec::<String>::new(), "{context}");
        }
        assert!(self.target.buckets().is_empty(), "{context}: {:?}", self.target.buckets());
        assert!(self.target.open_uploads().is_empty(), "an upload is left: {context}");
    }
}

#[test]
fn plan_only_reads() {
    let pair = Pair::start();
    let godwit = pair.godwit();
    let plan = godwit.ok(&["plan", "minio-to-r2"]);
    assert!(plan.stdout.contains("datasets"), "{plan}");
    assert!(!plan.stdout.contains(pair.source.secret_key()), "{plan}");
    for server in [&pair.source, &pair.target] {
        let writes: Vec<_> = server.requests().into_iter().filter(|request| request.writes()).collect();
        assert!(writes.is_empty(), "{writes:#?}");
    }
    assert!(!godwit.path(".godwit").exists());
}

#[test]
fn copies_verifies_copies_nothing_twice_and_undoes() {
    let pair = Pair::start();
    let godwit = pair.godwit();
    godwit.ok(&["run", "minio-to-r2", "--yes"]);
    pair.assert_equal("after a run");
    let (run, _) = godwit.newest_run().unwrap();
    godwit.ok(&["verify", &run]);

    pair.target.forget_requests();
    godwit.ok(&["run", "minio-to-r2", "--yes"]);
    let copied: Vec<_> = pair
        .target
        .requests()
        .into_iter()
        .filter(|request| ["PutObject", "UploadPart", "CreateMultipartUpload"].contains(&request.operation))
        .collect();
    assert!(copied.is_empty(), "a second run over a finished copy only lists: {copied:#?}");

    let (second, _) = godwit.newest_run().unwrap();
    godwit.ok(&["undo", &second, "--yes"]);
    godwit.ok(&["undo", &run, "--yes"]);
    pair.assert_empty("undone");
}

#[test]
fn verify_and_undo_notice_a_changed_object() {
    let pair = Pair::start();
    let godwit = pair.godwit();
    godwit.ok(&["run", "minio-to-r2", "--yes"]);
    let (run, _) = godwit.newest_run().unwrap();
    pair.target.put("annotations", "x//y", b"changed".to_vec(), &[]).unwrap();
    let verified = godwit.run(&["verify", &run]);
    assert_eq!(verified.code, Some(3), "{verified}");
    assert!(verified.stdout.contains("x//y"), "{verified}");
    let refused = godwit.run(&["undo", &run, "--yes"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("x//y"), "{refused}");
    assert!(pair.target.get("annotations", "zero").is_some(), "nothing was undone");
    godwit.ok(&["undo", &run, "--yes", "--discard-later-changes", "all"]);
    pair.assert_empty("undone");
}

#[test]
fn an_object_with_other_content_at_the_target_is_a_conflict_before_anything_is_copied() {
    let pair = Pair::start();
    let godwit = pair.godwit();
    pair.target.create_bucket("annotations").unwrap();
    pair.target.put("annotations", "x//y", b"somebody else's".to_vec(), &[]).unwrap();
    let ran = godwit.run(&["run", "minio-to-r2", "--yes"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("x//y"), "{ran}");
    assert_eq!(pair.target.keys("annotations"), ["x//y"]);
}

#[test]
fn killed_then_resumed_then_undone() {
    let whole = {
        let pair = Pair::start();
        let godwit = pair.godwit();
        let began = Instant::now();
        godwit.ok(&["run", "minio-to-r2", "--yes"]);
        began.elapsed()
    };
    for number in 0..18u32 {
        let pair = Pair::start();
        let godwit = pair.godwit();
        // In the middle of a large object for some, between journal and effect for others.
        let context = if number < 12 {
            let moment = whole * (number + 1) / 13;
            godwit.killed_after(moment, &["run", "minio-to-r2", "--yes"]);
            format!("killed after {moment:?} of {whole:?}")
        } else {
            let moment = format!("after:{}", 3 + (number - 12) * 9);
            godwit.killed_at(&moment, &["run", "minio-to-r2", "--yes"]);
            format!("killed {moment}")
        };
        let Some((run, status)) = godwit.newest_run() else {
            pair.assert_empty(&context);
            continue;
        };
        if status != "done" {
            let resumed = godwit.run(&["resume", &run, "--yes"]);
            assert_eq!(resumed.code, Some(0), "{context}: {resumed}");
        }
        pair.assert_equal(&context);
        godwit.undo_cut_off(&run, Duration::from_millis(u64::from(number) * 10));
        pair.assert_empty(&context);
    }
}

/// A smaller one than `cargo xtask killed`.
#[test]
fn killed_again_and_again_nothing_that_is_done_is_moved_twice() {
    let trial = Trial { small: 996, kills: 20, seed: seed() };
    match killed::run(PROGRAM, trial) {
        Ok(figures) => assert!(figures.amid >= trial.kills / 2, "seed {}: {figures}", trial.seed),
        Err(why) => panic!("{why}"),
    }
}

/// Each is borne by the capability, or by the engine's next attempt; undo then finds all that is the run's own.
#[test]
fn faults_are_borne_and_taken_back() {
    let lost = |operation| Fault::LoseCompleteAnswer { times: 1 }.on(operation);
    for (side, fault) in [
        ("target", Fault::Unavailable { times: 3 }.on("PutObject")),
        ("source", Fault::TruncateBody { after_bytes: 100, times: 2 }.on("GetObject")),
        ("source", Fault::ResetConnection { after_bytes: 100, times: 2 }.on("GetObject")),
        ("target", lost("CompleteMultipartUpload")),
        ("target", Fault::ConcurrentWrite { times: 1 }.on("CompleteMultipartUpload")),
        ("target", lost("CreateBucket")),
        ("target", Fault::InternalError { times: 7 }.on("CreateBucket")),
        ("target", lost("PutBucketCors")),
        ("target", Fault::InternalError { times: 7 }.on("PutBucketCors")),
        // The probe's object.
        ("target", lost("DeleteObject")),
        ("target", Fault::Unavailable { times: 7 }.on("DeleteObject")),
    ] {
        let context = format!("{fault:?} of the {side}");
        let pair = Pair::start();
        let server = if side == "source" { &pair.source } else { &pair.target };
        server.inject(fault);
        let godwit = pair.godwit();
        let ran = godwit.run(&["run", "minio-to-r2", "--yes"]);
        assert_eq!(ran.code, Some(0), "{context}: {ran}");
        pair.assert_equal(&context);
        let (run, _) = godwit.newest_run().unwrap();
        server.clear_faults();
        godwit.ok(&["undo", &run, "--yes"]);
        pair.assert_empty(&context);
    }
}

/// A listing that goes wrong, under a run, its resume, and a verification.
#[test]
fn listings_that_go_wrong_are_borne_or_named() {
    let lags = Fault::StaleListing { millis: 600_000 };
    for (name, side, fault, borne) in [
        // What was copied is found by HEAD where the listing lacks it yet.
        ("stale", "none of the target", lags, true),
        // What was there before is found by the write itself, at the latest: a conflict, and for a new run.
        ("stale", "target", lags, false),
        ("repeated page", "source", Fault::RepeatPage { times: 1 }, false),
        ("repeated page", "target", Fault::RepeatPage { times: 1 }, false),
        ("refused token", "source", Fault::RefuseToken { times: 1 }, false),
        ("refused token", "target", Fault::RefuseToken { times: 1 }, false),
    ] {
        let pair = Paged::start(!borne);
        let godwit = pair.godwit();
        let server = if side == "source" { &pair.source } else { &pair.target };
        let context = format!("{name} of the {side}");
        let check = |ran: &godwit_tests::process::Ran, what: &str| match ran.code {
            Some(0) => {}
            _ => {
                assert!(!borne, "{context}, {what}: {ran}");
                let names = |told: &str| told.contains("bucket data") || told.contains("data/");
                assert!(names(&ran.stderr) || names(&ran.stdout), "{context}, {what}: {ran}");
            }
        };
        server.inject(fault);
        let ran = godwit.run(&["run", "minio-to-r2", "--yes"]);
        check(&ran, "run");
        server.clear_faults();
        if ran.code != Some(0) && fault == lags {
            // The verdicts rest on a listing that was wrong: a new run reads it anew.
            godwit.ok(&["run", "minio-to-r2", "--yes"]);
        } else if ran.code != Some(0) {
            // It was refused while it was planned. Another one is cut off before anything is compared.
            assert_eq!(godwit.newest_run(), None, "{context}");
            assert_eq!(godwit.killed_at("after:memo:1", &["run", "minio-to-r2", "--yes"]).code, None);
            let (run, _) = godwit.newest_run().expect("it is journalled");
            server.inject(fault);
            let resumed = godwit.run(&["resume", &run, "--yes"]);
            assert_ne!(resumed.code, Some(0), "{context} was not felt: {resumed}");
            check(&resumed, "resume");
            server.clear_faults();
            godwit.resume_newest(&context);
        }
        pair.assert_equal(&context);
        let (run, status) = godwit.newest_run().expect("it is journalled");
        assert_eq!(status, "done", "{context}");
        server.inject(fault);
        check(&godwit.run(&["verify", &run]), "verify");
        server.clear_faults();
        godwit.ok(&["verify", &run]);
    }
}

/// Two stores that list in small pages.
struct Paged {
    source: S3Server,
    target: S3Server,
}

impl Paged {
    /// `shared`: every other object is at the target too.
    fn start(shared: bool) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (source, target) = runtime.block_on(async {
            let small_pages = || S3Server::builder().page_size(5);
            (small_pages().start().await.unwrap(), small_pages().start().await.unwrap())
        });
        source.create_bucket("data").unwrap();
        target.create_bucket("data").unwrap();
        for number in 0..24 {
            let key = format!("{number:02}");
            source.put("data", &key, key.clone().into_bytes(), &[]).unwrap();
            if shared && number % 2 == 0 {
                target.put("data", &key, key.clone().into_bytes(), &[]).unwrap();
            }
        }
        Self { source, target }
    }

    fn godwit(&self) -> Godwit {
        Godwit::new(PROGRAM).between(&self.source, &self.target).env("GODWIT_INPUT_BUCKETS", r#"["data"]"#)
    }

    fn assert_equal(&self, context: &str) {
        assert_eq!(self.source.keys("data"), self.target.keys("data"), "{context}");
        for key in self.source.keys("data") {
            let (from, to) = (self.source.get("data", &key).unwrap(), self.target.get("data", &key).unwrap());
            assert_eq!(from.bytes, to.bytes, "{key}: {context}");
        }
    }
}

/// Keys from AWS's variables and files, a session token, and a source that anybody may read.
#[test]
fn credentials_come_from_the_environment_from_profiles_or_from_nowhere() {
    const TOKEN: &str = "a-session-token-for-tests-only";
    let recipe = |source: &str, target: &str| {
        format!(
            r#"{{
  "godwit": "1",
  "name": "credentials",
  "inputs": {{ "from": {{ "type": "string" }}, "to": {{ "type": "string" }} }},
  "connections": {{
    "source": {{ "kind": "s3", "endpoint": "${{inputs.from}}", {source} }},
    "target": {{ "kind": "s3", "endpoint": "${{inputs.to}}", {target} }}
  }},
  "steps": [
    {{
      "id": "copy",
      "plugin": "s3-to-r2",
      "grant": {{
        "source": {{ "connection": "source", "access": "read" }},
        "target": {{ "connection": "target", "access": "write" }}
      }},
      "with": {{ "buckets": ["data"] }}
    }}
  ]
}}"#
        )
    };
    let environment = r#""credentials": "environment""#;
    let profile = r#""credentials": "profile", "profile": "work""#;
    let anonymous = r#""credentials": "anonymous""#;
    for (source, target) in [(anonymous, environment), (environment, profile), (profile, environment)] {
        let context = format!("{source} to {target}");
        let pair = Paged::start(true);
        pair.source.make_public("data").unwrap();
        let (access, secret) = (pair.source.access_key(), pair.source.secret_key());
        let godwit = Godwit::new(PROGRAM)
            .env("GODWIT_INPUT_FROM", &pair.source.endpoint())
            .env("GODWIT_INPUT_TO", &pair.target.endpoint())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", access)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_SESSION_TOKEN", TOKEN);
        godwit.write("credentials.json", recipe(source, target));
        let keys = format!("aws_access_key_id = {access}\naws_secret_access_key = {secret}\n");
        godwit.write("aws/credentials", format!("[default]\n{keys}[work]\n{keys}"));
        let file = godwit.path("aws/credentials").to_string_lossy().into_owned();
        let godwit = godwit.env("AWS_SHARED_CREDENTIALS_FILE", &file).env("AWS_CONFIG_FILE", "/nonexistent");
        let ran = godwit.ok(&["run", "credentials.json", "--yes"]);
        pair.assert_equal(&context);
        let (run, _) = godwit.newest_run().unwrap();
        let report = godwit.ok(&["report", &run, "--json"]);
        for told in [&ran.stdout, &ran.stderr, &report.stdout] {
            assert!(!told.contains(secret) && !told.contains(TOKEN), "{context}: {told}");
        }
        for (server, how) in [(&pair.source, source), (&pair.target, target)] {
            let token = |request: &godwit_lab::s3::Request| {
                request
                    .header("x-amz-security-token")
                    .map(str::to_owned)
                    .or_else(|| request.query.contains("X-Amz-Security-Token").then(|| TOKEN.to_owned()))
            };
            let sent: Vec<_> = server.requests().iter().map(token).collect();
            assert!(!sent.is_empty(), "{context}");
            let expected = (how == environment).then(|| TOKEN.to_owned());
            assert!(sent.iter().all(|token| *token == expected), "{context}: {sent:?}");
            let signed = server.requests().iter().any(|request| request.header("x-amz-date").is_some());
            assert_eq!(signed, how != anonymous, "{context}");
        }
    }
    // A profile that isn't there is named, with those that are.
    let pair = Paged::start(true);
    let godwit = Godwit::new(PROGRAM)
        .env("GODWIT_INPUT_FROM", &pair.source.endpoint())
        .env("GODWIT_INPUT_TO", &pair.target.endpoint())
        .env("AWS_CONFIG_FILE", "/nonexistent");
    godwit
        .write("aws/credentials", "[default]\naws_access_key_id = a\naws_secret_access_key = not-a-secret\n");
    let file = godwit.path("aws/credentials").to_string_lossy().into_owned();
    let godwit = godwit.env("AWS_SHARED_CREDENTIALS_FILE", &file);
    godwit.write("credentials.json", recipe(anonymous, profile));
    let ran = godwit.run(&["run", "credentials.json", "--yes"]);
    assert_ne!(ran.code, Some(0), "{ran}");
    assert!(ran.stderr.contains("no AWS profile `work`") && ran.stderr.contains("default"), "{ran}");
}
