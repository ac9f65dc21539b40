//! What is done to a bucket as a whole: its creation, its CORS rules and settings, the probe.

use godwit_lab::s3::Fault;
use godwit_model::capability::{Bucketed, Capability as _, ObjectReads as _, Performed, PreflightAsk};
use godwit_model::effect::{
    Action, BucketSetting, CorsRule, CreateBucket, Effect, ProbeBucket, SetBucketSetting, SetCors,
};
use godwit_model::{Json, Result, SlotName};
use serde_json::json;

use super::common::*;
use super::lab::{self, Lab};
use super::rows::{End, Row, Side::Target, of_answers, of_any};

const ORIGIN: &str = "https://app.example.com";
const LIFECYCLE: &str = "<LifecycleConfiguration><Rule><ID>old</ID><Filter><Prefix>logs/</Prefix></Filter>\
                         <Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>";

/// An effect on a bucket, by the requests that it makes.
struct Work {
    effect: fn() -> Effect,
    bucket: &'static str,
    reads: &'static [&'static str],
    writes: &'static [&'static str],
}

const WORKS: [Work; 4] = [
    Work { effect: create, bucket: "fresh", reads: &["HeadBucket"], writes: &["CreateBucket"] },
    Work { effect: cors, bucket: "into", reads: &["GetBucketCors"], writes: &["PutBucketCors"] },
    Work {
        effect: lifecycle,
        bucket: "into",
        reads: &["GetBucketLifecycleConfiguration"],
        writes: &["PutBucketLifecycleConfiguration"],
    },
    Work {
        effect: probe,
        bucket: "into",
        reads: &["GetObject", "GetBucketVersioning"],
        writes: &["PutObject", "DeleteObject"],
    },
];

fn slot() -> SlotName {
    SlotName::new("target")
}

fn create() -> Effect {
    effect("bucket fresh", Action::CreateBucket(CreateBucket { slot: slot(), bucket: "fresh".into() }))
}

fn cors() -> Effect {
    let rule = CorsRule {
        allowed_origins: vec![ORIGIN.into()],
        allowed_methods: vec!["GET".into()],
        allowed_headers: Vec::new(),
        expose_headers: Vec::new(),
        max_age: Some(60),
    };
    let action = SetCors { slot: slot(), bucket: "into".into(), rules: vec![rule] };
    effect("cors into", Action::SetCors(action))
}

fn lifecycle() -> Effect {
    let action = SetBucketSetting {
        slot: slot(),
        bucket: "into".into(),
        name: BucketSetting::Lifecycle,
        document: Some(LIFECYCLE.to_owned()),
    };
    effect("lifecycle into", Action::SetBucketSetting(action))
}

fn probe() -> Effect {
    let action = ProbeBucket { slot: slot(), bucket: "into".into(), prefix: "some/".into() };
    effect("probe into", Action::ProbeBucket(action))
}

fn rows(work: &Work) -> Vec<Row> {
    let mut rows = of_any(Target, work.reads);
    rows.extend(of_any(Target, work.writes));
    rows.extend(of_answers(Target, work.writes));
    if work.reads.contains(&"GetObject") {
        rows.push((Target, Fault::TruncateBody { after_bytes: 5, times: 2 }.into(), End::Right));
    }
    rows
}

/// What the work is for is as it should be, and nothing else is there.
fn assert_right(lab: &Lab, work: &Work, result: &Json, context: &str) {
    let target = &lab.rig.target;
    match work.effect {
        _ if work.bucket == "fresh" => {
            assert!(target.buckets().contains(&"fresh".to_owned()), "{context}");
            assert_eq!(*result, json!({ "created": true }), "{context}: undo would leave it");
        }
        _ if work.writes.contains(&"PutBucketCors") => {
            let rules = target.cors("into").unwrap_or_default();
            assert_eq!(rules.len(), 1, "{context}");
            assert_eq!(rules[0].allowed_origins, [ORIGIN], "{context}");
        }
        _ if work.writes.contains(&"PutObject") => {
            let right = json!({
                "presigned_put": 200, "presigned_get": 200, "content_kept": true, "conditions_honoured": true,
            });
            assert_eq!(*result, right, "{context}");
        }
        _ => assert!(target.settings("into").unwrap().lifecycle.is_some(), "{context}"),
    }
    assert!(target.keys("into").is_empty(), "{context}: {:?}", target.keys("into"));
}

/// Does the work, or goes on with it after it was done and not journalled, under a fault, then without it; then takes it
/// back.
async fn do_through(work: &Work, (side, fault, end): Row, resumed: bool) {
    let mut lab = Lab::new().await;
    let context = format!("{fault:?}, resumed: {resumed}");
    let effect = (work.effect)();
    let ledger = MemoryLedger::default();
    // The state before is part of the intent.
    let preparation = lab.rig.objects.prepare(&lab.rig.scope, &effect).await.unwrap();
    if resumed {
        lab.rig.objects.perform(&lab.rig.scope, &effect, &preparation, &ledger, false).await.unwrap();
    }
    lab.restart(Some(&fault));
    lab.inject(side, fault.clone());
    // A plan of the same meets it, too.
    if let Err(error) = lab.rig.objects.prepare(&lab.rig.scope, &effect).await {
        assert_ne!(end, End::Right, "{context}: {error}");
        assert!(error.message.contains(work.bucket), "{context}: {error} doesn't name {}", work.bucket);
    }
    lab.clear();
    lab.inject(side, fault.clone());
    let ended = lab.rig.objects.perform(&lab.rig.scope, &effect, &preparation, &ledger, resumed).await;
    lab.clear();
    lab.restart(None);
    let done = match ended {
        Ok(done) => done,
        Err(error) => {
            assert_ne!(end, End::Right, "{context}: {error}");
            assert!(error.message.contains(work.bucket), "{context}: {error} doesn't name {}", work.bucket);
            lab.rig.objects.perform(&lab.rig.scope, &effect, &preparation, &ledger, true).await.unwrap()
        }
    };
    assert_right(&lab, work, &done.result, &context);
    let performed = Performed { effect, preparation, done: Some(done), sequence: 0 };
    lab.rig.undo(std::slice::from_ref(&performed)).await;
    let target = &lab.rig.target;
    assert_eq!(target.buckets(), ["into"], "{context}");
    assert!(
        target.cors("into").is_none() && target.settings("into").unwrap().lifecycle.is_none(),
        "{context}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_on_a_bucket_ends_right_or_the_bucket_is_named() {
    let runs = WORKS.iter().flat_map(|work| {
        let both = [false, true].into_iter();
        both.flat_map(move |resumed| rows(work).into_iter().map(move |row| do_through(work, row, resumed)))
    });
    lab::all(runs).await;
}

/// What a verification asks of a bucket.
async fn reads(rig: &Rig) -> [Result<String>; 4] {
    let target = rig.grant("target");
    let at = Bucketed { bucket: "into".into(), key: "k".into() };
    let ask = PreflightAsk { origin: ORIGIN.into(), method: "GET".into(), headers: vec!["range".into()] };
    let exists = rig.objects.bucket_exists(target, "into");
    let cors = rig.objects.cors(target, "into");
    let setting = rig.objects.setting(target, "into", BucketSetting::Lifecycle);
    let preflight = rig.objects.cors_preflight(target, &at, &ask);
    let (exists, cors, setting, preflight) = tokio::join!(exists, cors, setting, preflight);
    [
        exists.map(|found| found.to_string()),
        cors.map(|found| format!("{found:?}")),
        setting.map(|found| format!("{found:?}")),
        preflight.map(|found| format!("{} {:?}", found.status, found.headers)),
    ]
}

async fn verify_through((side, fault, end): Row) {
    let mut lab = Lab::new().await;
    lab.rig.all(vec![cors(), lifecycle()]).await;
    let right: Vec<String> = reads(&lab.rig).await.into_iter().map(|said| said.unwrap()).collect();
    lab.restart(Some(&fault));
    lab.inject(side, fault.clone());
    let mut felt = false;
    for (said, right) in reads(&lab.rig).await.into_iter().zip(&right) {
        match said {
            Ok(said) => assert_eq!(said, *right, "{fault:?}"),
            Err(error) => {
                assert_ne!(end, End::Right, "{fault:?}: {error}");
                assert!(error.message.contains("into"), "{fault:?}: {error} doesn't name the bucket");
                felt = true;
            }
        }
    }
    assert!(felt || end != End::Fails, "{fault:?} was not felt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_of_a_bucket_is_right_or_the_bucket_is_named() {
    let asked = ["HeadBucket", "GetBucketCors", "GetBucketLifecycleConfiguration", "Preflight"];
    lab::all(of_any(Target, &asked).into_iter().map(verify_through)).await;
}

#[tokio::test]
async fn a_probe_tells_what_a_bucket_does_wrong() {
    for (fault, wrong) in
        [(Fault::CorruptBody { times: 1 }, "content_kept"), (Fault::IgnoreConditions, "conditions_honoured")]
    {
        let lab = Lab::new().await;
        lab.rig.target.inject(fault);
        let done = lab.rig.perform(&probe()).await.unwrap();
        assert_eq!(done.result[wrong], json!(false), "{fault:?}: {}", done.result);
        assert!(lab.rig.target.keys("into").is_empty());
    }
}
