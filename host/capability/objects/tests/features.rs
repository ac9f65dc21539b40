//! Versions, tags, storage classes, bucket settings, comparison, preflights, probes.

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::*;
use godwit_lab::s3::{Fault, Versioning};
use godwit_model::capability::{
    Bucketed, Capability as _, Likeness, ObjectPair, ObjectReads as _, Performed, PreflightAsk, SettingState,
};
use godwit_model::effect::{
    Action, BucketSetting, CopyVersions, CorsRule, Effect, ProbeBucket, SetBucketSetting, SetCors,
    VersionCopy,
};
use godwit_model::{ErrorKind, SlotName};
use serde_json::json;

fn at(bucket: &str, key: &str) -> Bucketed {
    Bucketed { bucket: bucket.into(), key: key.into() }
}

fn pair(rig: &Rig, key: &str) -> ObjectPair {
    ObjectPair {
        left: (rig.grant("source").clone(), at("from", key)),
        right: (rig.grant("target").clone(), at("into", key)),
    }
}

fn versioned(rig: &Rig) {
    rig.source.set_versioning("from", Versioning::Enabled).unwrap();
    rig.target.set_versioning("into", Versioning::Enabled).unwrap();
}

/// All versions of a key at the source, the oldest first, as an effect.
async fn versions(rig: &Rig, key: &str) -> Effect {
    let mut listing = rig.objects.versions(rig.grant("source"), "from", "").await.unwrap();
    let mut all = Vec::new();
    loop {
        let page = listing.next().await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page.into_iter().filter(|one| one.info.key == key));
    }
    all.reverse();
    let copies = all
        .into_iter()
        .map(|one| VersionCopy {
            version: one.version,
            size: one.info.size,
            etag: one.info.etag,
            deleted: one.deleted,
            storage_class: one.info.storage_class,
        })
        .collect();
    let action = CopyVersions {
        source: location("source", "from", key),
        sink: location("target", "into", key),
        versions: copies,
        tags: true,
    };
    effect(&format!("versions of {key}"), Action::CopyVersions(action))
}

/// Two contents, a marker, a large content; and a key beside it that has the first one as a prefix.
fn fill(rig: &Rig) {
    // The server tells times to the millisecond, and the markers of a page after its versions.
    let later = || std::thread::sleep(std::time::Duration::from_millis(5));
    rig.source.put("from", "k", b"first".to_vec(), &[("x-amz-meta-n", "1")]).unwrap();
    later();
    rig.source.put("from", "k", b"second".to_vec(), &[("x-amz-meta-n", "2")]).unwrap();
    later();
    rig.source.remove("from", "k").unwrap();
    later();
    rig.source.put("from", "k", bytes(700 << 10), &[("content-type", "image/png")]).unwrap();
    rig.source.put("from", "k/x", b"beside".to_vec(), &[]).unwrap();
}

fn contents(server: &godwit_lab::s3::S3Server, bucket: &str, key: &str) -> Vec<Option<(usize, String)>> {
    let of_key = server.versions(bucket).into_iter().filter(|(held, _)| held == key);
    of_key
        .map(|(_, version)| version.object.map(|object| (object.bytes.len(), object.etag.clone())))
        .collect()
}

#[tokio::test]
async fn versions_arrive_in_order_and_are_taken_back() {
    let rig = Rig::small().await;
    versioned(&rig);
    fill(&rig);
    let effect = versions(&rig, "k").await;
    let performed = rig.all(vec![effect]).await;
    let done = performed[0].done.as_ref().unwrap();
    assert_eq!(done.result["versions"], 4);
    let (there, here) = (contents(&rig.target, "into", "k"), contents(&rig.source, "from", "k"));
    assert_eq!(
        there.iter().map(|one| one.as_ref().map(|one| one.0)).collect::<Vec<_>>(),
        [Some(700 << 10), None, Some(6), Some(5)]
    );
    assert_eq!(there[1..], here[1..]);
    let latest = rig.target.get("into", "k").unwrap();
    assert!(latest.bytes == bytes(700 << 10));
    assert_eq!(latest.headers["content-type"], "image/png");
    let seen = rig.objects.observe(&rig.scope, &performed[0]).await.unwrap();
    assert_eq!(Some(seen), done.evidence);

    // A second copy would mix two histories.
    let again = versions(&rig, "k").await;
    assert_eq!(rig.perform(&again).await.unwrap_err().kind, ErrorKind::Conflict);
    rig.undo(&performed).await;
    assert!(rig.target.versions("into").is_empty());
    assert!(rig.target.open_uploads().is_empty());
    assert!(rig.objects.plan_undo(&rig.scope, &performed).await.unwrap().is_empty());
}

#[tokio::test]
async fn versions_that_were_cut_off_go_on_where_they_were() {
    for dies_after in 0..4 {
        let rig = Rig::small().await;
        versioned(&rig);
        fill(&rig);
        let (effect, ledger) = (versions(&rig, "k").await, MemoryLedger::default());
        *ledger.dies_after.lock().unwrap() = Some(dies_after);
        rig.perform_with(&effect, &ledger, false).await.unwrap_err();
        *ledger.dies_after.lock().unwrap() = None;
        rig.perform_with(&effect, &ledger, true).await.unwrap();
        assert_eq!(contents(&rig.target, "into", "k").len(), 4, "cut off after {dies_after}");
        // Nothing was sent twice: what had arrived without a note was recognised.
        assert_eq!(rig.seen("PutObject"), 2);
        assert!(rig.target.open_uploads().is_empty());
    }
}

#[tokio::test]
async fn undo_of_versions_in_doubt_takes_only_what_fits() {
    let rig = Rig::small().await;
    versioned(&rig);
    fill(&rig);
    let (effect, ledger) = (versions(&rig, "k").await, MemoryLedger::default());
    *ledger.dies_after.lock().unwrap() = Some(2);
    rig.perform_with(&effect, &ledger, false).await.unwrap_err();
    let preparation = rig.objects.prepare(&rig.scope, &effect).await.unwrap();
    let performed = Performed { effect, preparation, done: None, sequence: 0 };
    rig.target.put("into", "k", b"somebody else's".to_vec(), &[]).unwrap();
    let actions = rig.objects.plan_undo(&rig.scope, &std::slice::from_ref(&performed)).await.unwrap();
    assert!(actions[0].changed.is_some(), "{actions:?}");
}

#[tokio::test]
async fn a_bucket_without_versions_takes_none() {
    let rig = Rig::small().await;
    rig.source.set_versioning("from", Versioning::Enabled).unwrap();
    fill(&rig);
    let error = rig.perform(&versions(&rig, "k").await).await.unwrap_err();
    assert!(error.message.contains("keeps no versions"), "{error}");
    assert!(rig.target.keys("into").is_empty());
}

#[tokio::test]
async fn tags_and_classes_travel() {
    let rig = Rig::small().await;
    let headers = [("x-amz-tagging", "team=blue%20sky&empty="), ("x-amz-storage-class", "STANDARD_IA")];
    rig.source.put("from", "small", b"x".to_vec(), &headers).unwrap();
    rig.source.put("from", "streamed", bytes(600 << 10), &headers).unwrap();
    rig.source.put("from", "large", bytes(3 << 20), &headers).unwrap();
    rig.source.put("from", "plain", b"y".to_vec(), &[]).unwrap();
    for key in ["small", "streamed", "large", "plain"] {
        let mut effect = rig.copy(key);
        let Action::CopyObject(action) = &mut effect.action else { unreachable!() };
        action.storage_class = Some("ONEZONE_IA".into());
        rig.perform(&effect).await.unwrap();
        let (before, after) = (rig.source.get("from", key).unwrap(), rig.target.get("into", key).unwrap());
        assert_eq!(before.tags, after.tags, "{key}");
        assert_eq!(after.headers.get("x-amz-storage-class").map(String::as_str), Some("ONEZONE_IA"), "{key}");
        let info = rig.objects.stat(rig.grant("target"), "into", &[key.to_owned()]).await;
        let info = info.into_iter().next().unwrap().unwrap().unwrap();
        assert_eq!(info.storage_class.as_deref(), Some("ONEZONE_IA"));
    }
    // Tags are asked for only where there are any, or where HEAD may not tell.
    let asked = rig.source.requests().iter().filter(|one| one.operation == "GetObjectTagging").count();
    assert_eq!(asked, 3);
}

#[tokio::test]
async fn a_store_that_refuses_tags_gets_none_and_it_is_said() {
    let rig = Rig::r2().await;
    for key in ["a", "b"] {
        rig.source.put("from", key, key.as_bytes().to_vec(), &[("x-amz-tagging", "a=b")]).unwrap();
        let done = rig.perform(&rig.copy(key)).await.unwrap();
        assert!(done.notes.iter().any(|note| note.contains("tags")), "{:?}", done.notes);
        assert!(rig.target.get("into", key).unwrap().tags.is_empty());
    }
}

#[tokio::test]
async fn large_copies_within_a_store_go_by_parts_of_the_store() {
    let rig = Rig::small().await;
    let headers = [("x-amz-tagging", "a=b"), ("content-type", "image/png"), ("x-amz-meta-a", "b")];
    rig.target.create_bucket("beside").unwrap();
    rig.target.put("beside", "k", bytes(5 << 20), &headers).unwrap();
    rig.source.put("from", "k", bytes(5 << 20), &[]).unwrap();
    let mut effect = rig.copy("k");
    let Action::CopyObject(action) = &mut effect.action else { unreachable!() };
    action.source = location("target", "beside", "k");
    rig.perform(&effect).await.unwrap();
    let copied = rig.target.get("into", "k").unwrap();
    assert!(copied.bytes == bytes(5 << 20));
    assert_eq!(
        (copied.headers["content-type"].as_str(), copied.headers["x-amz-meta-a"].as_str()),
        ("image/png", "b")
    );
    assert_eq!(copied.tags, [("a".to_owned(), "b".to_owned())]);
    assert_eq!((rig.seen("UploadPartCopy"), rig.seen("GetObject"), rig.seen("UploadPart")), (5, 0, 0));
}

#[tokio::test]
async fn listings_begin_where_they_are_told() {
    let rig = Rig::new().await;
    for index in 0..20 {
        rig.target.put("into", &format!("k{index:02}"), b"x".to_vec(), &[]).unwrap();
    }
    let mut listing = rig.objects.list(rig.grant("target"), "into", "k", Some("k12")).await.unwrap();
    assert_eq!(listing.next().await.unwrap()[0].key, "k13");
    let keys: Vec<String> = ["k03", "nothing", "k01"].map(str::to_owned).to_vec();
    let found = rig.objects.stat(rig.grant("target"), "into", &keys).await;
    let found: Vec<_> = found.into_iter().map(|one| one.unwrap().map(|info| info.key)).collect();
    assert_eq!(found, [Some("k03".to_owned()), None, Some("k01".to_owned())]);
    let info = rig.objects.endpoint(rig.grant("target")).unwrap();
    assert_eq!((info.vendor.as_str(), info.max_key), ("generic", 1024));
}

#[tokio::test]
async fn a_listing_that_shows_a_free_key_saves_the_question() {
    let rig = Rig::of_vendor("minio").await;
    rig.target.inject(Fault::IgnoreConditions);
    for key in ["first", "second", "third"] {
        rig.source.put("from", key, key.as_bytes().to_vec(), &[]).unwrap();
    }
    rig.target.put("into", "third", b"somebody else's".to_vec(), &[]).unwrap();
    let mut listing = rig.objects.list(rig.grant("target"), "into", "", None).await.unwrap();
    while !listing.next().await.unwrap().is_empty() {}
    rig.target.forget_requests();
    for key in ["first", "second"] {
        rig.perform(&rig.copy(key)).await.unwrap();
    }
    assert_eq!(rig.seen("HeadObject"), 0);
    for key in ["first", "third"] {
        assert_eq!(rig.perform(&rig.copy(key)).await.unwrap_err().kind, ErrorKind::Conflict, "{key}");
    }
    assert_eq!(rig.target.get("into", "third").unwrap().bytes, "somebody else's".as_bytes());
}

#[tokio::test]
async fn objects_are_compared_by_the_best_that_both_sides_tell() {
    let rig = Rig::small().await;
    for key in ["same", "differs", "left", "large"] {
        let content = if key == "large" { bytes(3 << 20) } else { key.as_bytes().to_vec() };
        rig.source.put("from", key, content, &[]).unwrap();
    }
    for key in ["same", "large"] {
        rig.perform(&rig.copy(key)).await.unwrap();
    }
    rig.target.put("into", "differs", b"DIFFERS".to_vec(), &[]).unwrap();
    rig.target.put("into", "right", b"right".to_vec(), &[]).unwrap();
    let keys = ["same", "differs", "left", "right", "large", "neither"];
    let pairs: Vec<ObjectPair> = keys.iter().map(|key| pair(&rig, key)).collect();
    let found = rig.objects.compare(&pairs, false).await;
    let found: Vec<_> = found.into_iter().map(|one| one.map(|one| (one.likeness, one.by))).collect();
    assert_eq!(found[0], Ok((Likeness::Same, "md5".into())));
    assert_eq!(found[1], Ok((Likeness::Differs, "md5".into())));
    assert_eq!(found[2].as_ref().unwrap().0, Likeness::MissingRight);
    assert_eq!(found[3].as_ref().unwrap().0, Likeness::MissingLeft);
    // One is put whole, the other in parts: nothing they tell compares.
    assert_eq!(found[4], Ok((Likeness::Same, "content".into())));
    assert_eq!(found[5].as_ref().unwrap_err().kind, ErrorKind::Missing);
    let deep = rig.objects.compare(&pairs[..2], true).await;
    let by: Vec<_> = deep.into_iter().map(|one| one.unwrap()).map(|one| (one.likeness, one.by)).collect();
    assert_eq!(by, [(Likeness::Same, "content".to_owned()), (Likeness::Differs, "content".to_owned())]);
}

#[tokio::test]
async fn a_preflight_asks_without_credentials() {
    let rig = Rig::new().await;
    let rule = CorsRule {
        allowed_origins: vec!["https://app.example.com".into()],
        allowed_methods: vec!["PUT".into()],
        allowed_headers: vec!["*".into()],
        expose_headers: vec![],
        max_age: Some(60),
    };
    let set = SetCors { slot: SlotName::new("target"), bucket: "into".into(), rules: vec![rule] };
    rig.perform(&effect("cors", Action::SetCors(set))).await.unwrap();
    let ask = |origin: &str| PreflightAsk {
        origin: origin.into(),
        method: "PUT".into(),
        headers: vec!["Content-Type".into()],
    };
    let (grant, at) = (rig.grant("target"), at("into", "any key"));
    let allowed = rig.objects.cors_preflight(grant, &at, &ask("https://app.example.com")).await.unwrap();
    assert_eq!(allowed.status, 200);
    assert!(allowed.headers.iter().any(|(name, _)| name == "access-control-allow-origin"), "{allowed:?}");
    let refused = rig.objects.cors_preflight(grant, &at, &ask("https://other.example.com")).await.unwrap();
    assert!(refused.headers.iter().all(|(name, _)| name != "access-control-allow-origin"), "{refused:?}");
}

fn setting(name: BucketSetting, document: Option<&str>) -> Effect {
    let action = SetBucketSetting {
        slot: SlotName::new("target"),
        bucket: "into".into(),
        name,
        document: document.map(str::to_owned),
    };
    effect(&format!("set {}", name.name()), Action::SetBucketSetting(action))
}

const LIFECYCLE: &str = "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>tmp/</Prefix></Filter>\
                         <Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>";
const TAGGING: &str = "<Tagging><TagSet><Tag><Key>team</Key><Value>blue</Value></Tag></TagSet></Tagging>";
const VERSIONING: &str = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const POLICY: &str = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\
                      \"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::into/*\"}]}";

#[tokio::test]
async fn settings_are_set_and_put_back() {
    let rig = Rig::new().await;
    let grant = rig.grant("target");
    let all = [
        (BucketSetting::Lifecycle, LIFECYCLE),
        (BucketSetting::Tagging, TAGGING),
        (BucketSetting::Versioning, VERSIONING),
        (BucketSetting::Policy, POLICY),
    ];
    for (name, document) in all {
        assert_eq!(rig.objects.setting(grant, "into", name).await.unwrap(), SettingState::Absent, "{name:?}");
        let performed = rig.all(vec![setting(name, Some(document))]).await;
        let SettingState::Document(now) = rig.objects.setting(grant, "into", name).await.unwrap() else {
            panic!("{name:?} is not there");
        };
        assert!(now.contains(if name == BucketSetting::Policy { "s3:GetObject" } else { "</" }), "{now}");
        rig.undo(&performed).await;
        match (name, rig.objects.setting(grant, "into", name).await.unwrap()) {
            (BucketSetting::Versioning, SettingState::Document(text)) => {
                assert!(text.contains("Suspended"), "{text}");
            }
            (_, state) => assert_eq!(state, SettingState::Absent, "{name:?}"),
        }
        assert!(rig.objects.plan_undo(&rig.scope, &performed).await.unwrap().is_empty(), "{name:?}");
    }

    // A former document returns, unless somebody has set another one since.
    rig.perform(&setting(BucketSetting::Tagging, Some(TAGGING))).await.unwrap();
    let performed = rig.all(vec![setting(BucketSetting::Tagging, None)]).await;
    assert_eq!(
        rig.objects.setting(grant, "into", BucketSetting::Tagging).await.unwrap(),
        SettingState::Absent
    );
    rig.perform(&setting(BucketSetting::Tagging, Some(&TAGGING.replace("blue", "red")))).await.unwrap();
    let actions = rig.objects.plan_undo(&rig.scope, &performed).await.unwrap();
    assert!(actions[0].changed.is_some());
    let refused = rig.objects.undo(&rig.scope, &actions[0], false, false).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict);
    rig.objects.undo(&rig.scope, &actions[0], true, false).await.unwrap();
    let state = rig.objects.setting(grant, "into", BucketSetting::Tagging).await.unwrap();
    assert!(matches!(state, SettingState::Document(text) if text.contains("blue")));
}

#[tokio::test]
async fn what_a_store_lacks_is_said() {
    let rig = Rig::r2().await;
    let state = rig.objects.setting(rig.grant("target"), "into", BucketSetting::Policy).await.unwrap();
    assert!(matches!(state, SettingState::Unsupported(_)), "{state:?}");
    let error = rig.perform(&setting(BucketSetting::Policy, Some(POLICY))).await.unwrap_err();
    assert!(error.hint.as_deref().unwrap_or_default().contains("no such setting"), "{error:?}");
    let bad = rig.perform(&setting(BucketSetting::Lifecycle, Some("<Tagging></Tagging>"))).await.unwrap_err();
    assert_eq!(bad.kind, ErrorKind::Invalid);
    let missing = rig.objects.setting(rig.grant("target"), "nowhere", BucketSetting::Lifecycle).await;
    assert_eq!(missing.unwrap_err().kind, ErrorKind::Missing);
}

fn probe() -> Effect {
    let action = ProbeBucket { slot: SlotName::new("target"), bucket: "into".into(), prefix: "p/".into() };
    effect("probe", Action::ProbeBucket(action))
}

#[tokio::test]
async fn a_probe_finds_out_and_leaves_nothing() {
    for (ignored, versions) in [(false, false), (true, false), (false, true), (true, true)] {
        let rig = Rig::new().await;
        if ignored {
            rig.target.inject(Fault::IgnoreConditions);
        }
        if versions {
            rig.target.set_versioning("into", Versioning::Enabled).unwrap();
        }
        let done = rig.perform(&probe()).await.unwrap();
        assert_eq!(
            done.result,
            json!({ "presigned_put": 200, "presigned_get": 200, "content_kept": true, "conditions_honoured": !ignored })
        );
        assert!(rig.target.keys("into").is_empty() && rig.target.versions("into").is_empty());
        // What it learnt spares the first copy its own probe.
        rig.source.put("from", "k", b"x".to_vec(), &[]).unwrap();
        rig.target.forget_requests();
        rig.perform(&rig.copy("k")).await.unwrap();
        assert_eq!((rig.seen("PutObject"), rig.seen("HeadObject")), (1, usize::from(ignored)));
    }
}

#[tokio::test]
async fn a_probe_that_was_cut_off_is_cleared_away() {
    let rig = Rig::new().await;
    rig.target.inject(Fault::Unavailable { times: 9 }.on("DeleteObject"));
    rig.target.inject(Fault::Unavailable { times: 9 }.on("GetObject"));
    let effect = probe();
    rig.perform(&effect).await.unwrap_err();
    rig.target.clear_faults();
    assert_eq!(rig.target.keys("into").len(), 1);
    let preparation = rig.objects.prepare(&rig.scope, &effect).await.unwrap();
    let performed = Performed { effect: effect.clone(), preparation, done: None, sequence: 0 };
    rig.undo(std::slice::from_ref(&performed)).await;
    assert!(rig.target.keys("into").is_empty());
    rig.perform_with(&effect, &MemoryLedger::default(), true).await.unwrap();
    assert!(rig.target.keys("into").is_empty());
}

#[tokio::test]
async fn a_vendor_that_joins_checksums_confirms_the_whole_object() {
    let rig = Rig::small_of_vendor("aws").await;
    rig.source.put("from", "large", bytes(1300 << 10), &[]).unwrap();
    rig.source.put("from", "small", b"x".to_vec(), &[]).unwrap();
    for key in ["large", "small"] {
        rig.perform(&rig.copy(key)).await.unwrap();
    }
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &bytes(1300 << 10));
    let large = rig.target.get("into", "large").unwrap().checksums;
    assert_eq!(large.values["x-amz-checksum-crc64nvme"], BASE64.encode(sum.to_be_bytes()));
    assert!(!large.composite);
    let small = rig.target.get("into", "small").unwrap().checksums;
    assert!(small.values.contains_key("x-amz-checksum-crc64nvme"));

    // Where both sides keep one, they are compared without reading.
    let headers = [("x-amz-checksum-crc64nvme", &*BASE64.encode(sum.to_be_bytes()))];
    rig.source.put("from", "large", bytes(1300 << 10), &headers).unwrap();
    rig.source.forget_requests();
    let found = rig.objects.compare(&[pair(&rig, "large")], false).await.remove(0).unwrap();
    assert_eq!((found.likeness, found.by.as_str()), (Likeness::Same, "crc64nvme"));
    assert!(rig.source.requests().iter().all(|request| request.operation == "HeadObject"));
}

#[tokio::test]
async fn an_anonymous_source_is_read_unsigned() {
    let rig = Rig::with(|mut connections| {
        let settings = &mut connections[0].settings;
        settings.retain(|name, _| !name.contains("key"));
        settings.insert("credentials".into(), json!("anonymous"));
        godwit_objects::Objects::new(connections)
    })
    .await;
    rig.source.put("from", "k", b"open to all".to_vec(), &[]).unwrap();
    let effect = rig.copy("k");
    let refused = rig.perform(&effect).await.unwrap_err();
    assert!(refused.message.contains("from/k"), "{refused}");
    rig.source.make_public("from").unwrap();
    let mut listing = rig.objects.list(rig.grant("source"), "from", "", None).await.unwrap();
    assert_eq!(listing.next().await.unwrap()[0].key, "k");
    rig.perform(&effect).await.unwrap();
    assert_eq!(rig.target.get("into", "k").unwrap().bytes, "open to all".as_bytes());
    let error = rig.objects.presigned_get(rig.grant("source"), &at("from", "k")).await.unwrap_err();
    assert!(error.message.contains("anonymous"), "{error}");
}

#[tokio::test]
async fn limits_are_kept() {
    for (field, limit, least) in [("max_bandwidth", 1_000_000, 400), ("max_requests_per_second", 20, 400)] {
        let rig = Rig::with(|mut connections| {
            connections[0].settings.insert(field.into(), json!(limit));
            godwit_objects::Objects::new(connections)
        })
        .await;
        let begun = std::time::Instant::now();
        for index in 0..12 {
            let key = format!("k{index}");
            rig.source.put("from", &key, bytes(50 << 10), &[]).unwrap();
            rig.perform(&rig.copy(&key)).await.unwrap();
        }
        let took = begun.elapsed().as_millis();
        assert!(took >= least, "{field}: {took} ms");
    }
}
