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
            .env("GODWIT_INPUT_SOURCE_ENDPOINT", &self.source.endpoint())
            .env("GODWIT_INPUT_SOURCE_ACCESS_KEY_ID", self.source.access_key())
            .env("GODWIT_INPUT_SOURCE_SECRET_ACCESS_KEY", self.source.secret_key())
            .env("GODWIT_INPUT_TARGET_ENDPOINT", &self.target.endpoint())
            .env("GODWIT_INPUT_TARGET_ACCESS_KEY_ID", self.target.access_key())
            .env("GODWIT_INPUT_TARGET_SECRET_ACCESS_KEY", self.target.secret_key())
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

#[test]
fn faults_are_borne_or_named() {
    for (name, fault) in [
        ("503", Fault::Unavailable { times: 3 }),
        ("truncated", Fault::TruncateBody { after_bytes: 100, times: 2 }),
        ("reset", Fault::ResetConnection { after_bytes: 100, times: 2 }),
        ("lost complete", Fault::LoseCompleteAnswer { times: 1 }),
    ] {
        let pair = Pair::start();
        let operation = match name {
            "lost complete" => "CompleteMultipartUpload",
            "503" => "PutObject",
            _ => "GetObject",
        };
        let server = if operation == "GetObject" { &pair.source } else { &pair.target };
        server.inject(fault.on(operation));
        let godwit = pair.godwit();
        godwit.ok(&["run", "minio-to-r2", "--yes"]);
        pair.assert_equal(name);
    }
}
