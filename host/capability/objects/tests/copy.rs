//! Copies of one object between two real servers.

mod common;

use std::sync::Arc;

use common::*;
use godwit_lab::s3::Fault;
use godwit_model::ErrorKind;
use godwit_model::capability::{Bucketed, Capability as _, ObjectReads as _, Performed};
use godwit_model::effect::{Action, Class, Replaces};
use godwit_model::plugin::Access;

#[tokio::test]
async fn odd_keys_arrive_byte_for_byte() {
    let rig = Rig::new().await;
    for (index, key) in ODD_KEYS.iter().enumerate() {
        rig.source.put("from", key, format!("content {index}").into_bytes(), &[]).unwrap();
        rig.perform(&rig.copy(key)).await.unwrap_or_else(|error| panic!("{key:?}: {error}"));
        let copied = rig.target.get("into", key).unwrap_or_else(|| panic!("{key:?} is missing"));
        assert_eq!(copied.bytes, format!("content {index}").as_bytes());
    }
    assert_eq!(rig.target.keys("into"), rig.source.keys("from"));

    // The listing reads them back, page by page, in the order of their bytes.
    let mut listing = rig.objects.list(rig.grant("target"), "into", "", None).await.unwrap();
    let (mut keys, mut pages) = (Vec::new(), 0);
    loop {
        let page = listing.next().await.unwrap();
        if page.is_empty() {
            break;
        }
        pages += 1;
        keys.extend(page.into_iter().map(|object| object.key));
    }
    assert_eq!(keys, rig.source.keys("from"));
    assert!(pages >= 2, "the server's pages hold seven keys");
}

#[tokio::test]
async fn headers_metadata_and_nothing_else_travel() {
    let rig = Rig::new().await;
    let headers = [
        ("content-type", "image/jpeg"),
        ("content-encoding", "gzip"),
        ("content-disposition", "attachment; filename=\"a  b.jpg\""),
        ("content-language", "de"),
        ("cache-control", "max-age=60"),
        ("expires", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("x-amz-meta-dataset", "d-17"),
        ("x-amz-meta-two-words", "a  b"),
    ];
    rig.source.put("from", "k", b"body".to_vec(), &headers).unwrap();
    let done = rig.perform(&rig.copy("k")).await.unwrap();
    let (before, after) = (rig.source.get("from", "k").unwrap(), rig.target.get("into", "k").unwrap());
    assert_eq!((before.headers, before.etag.clone()), (after.headers, after.etag));

    let at = Bucketed { bucket: "into".into(), key: "k".into() };
    let head = rig.objects.head(rig.grant("target"), &at).await.unwrap().unwrap();
    assert_eq!(head.headers["content-language"], "de");
    assert_eq!(head.metadata["two-words"], "a  b");
    let evidence = done.evidence.unwrap();
    assert_eq!((evidence.items, evidence.bytes, evidence.digest), (1, 4, format!("etag:{}", before.etag)));
    assert_eq!(done.result["digest"], format!("md5:{}", before.etag));
    assert_eq!(*rig.moved.0.lock().unwrap(), (1, 4));
}

#[tokio::test]
async fn an_empty_object_is_an_object() {
    let rig = Rig::new().await;
    rig.source.put("from", "empty", Vec::new(), &[("x-amz-meta-a", "b")]).unwrap();
    rig.perform(&rig.copy("empty")).await.unwrap();
    let copied = rig.target.get("into", "empty").unwrap();
    assert!(copied.bytes.is_empty());
    assert_eq!(copied.headers["x-amz-meta-a"], "b");
}

#[tokio::test]
async fn preparing_a_copy_asks_nobody() {
    let rig = Rig::new().await;
    rig.source.put("from", "k", b"body".to_vec(), &[]).unwrap();
    let preparation = rig.objects.prepare(&rig.scope, &rig.copy("k")).await.unwrap();
    assert_eq!(preparation.class, Class::Creates);
    assert_eq!(preparation.estimate.unwrap().bytes, 4);
    assert!(rig.source.requests().is_empty() && rig.target.requests().is_empty());
}

#[tokio::test]
async fn what_is_there_is_never_overwritten_unasked() {
    for ignored in [false, true] {
        let rig = Rig::new().await;
        if ignored {
            rig.target.inject(Fault::IgnoreConditions);
        }
        for key in ["first", "second", "taken"] {
            rig.source.put("from", key, key.as_bytes().to_vec(), &[]).unwrap();
        }
        rig.target.put("into", "taken", b"somebody else's".to_vec(), &[]).unwrap();
        rig.perform(&rig.copy("first")).await.unwrap();
        rig.target.forget_requests();
        rig.perform(&rig.copy("second")).await.unwrap();
        // Once the store is known to honour conditions, a copy costs one request; else HEAD asks first.
        assert_eq!((rig.seen("HeadObject"), rig.seen("PutObject")), (usize::from(ignored), 1));
        let error = rig.perform(&rig.copy("taken")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        assert!(error.message.contains("into/taken is already there"), "{error}");
        assert_eq!(rig.target.get("into", "taken").unwrap().bytes, "somebody else's".as_bytes());
    }
}

#[tokio::test]
async fn an_overwrite_wants_the_object_it_named() {
    let rig = Rig::new().await;
    rig.source.put("from", "k", b"new".to_vec(), &[]).unwrap();
    rig.target.put("into", "k", b"old".to_vec(), &[]).unwrap();
    let mut effect = rig.copy("k");
    let Action::CopyObject(action) = &mut effect.action else { unreachable!() };
    action.replaces = Replaces::Object { etag: rig.target.get("into", "k").unwrap().etag };
    let preparation = rig.objects.prepare(&rig.scope, &effect).await.unwrap();
    assert_eq!(preparation.class, Class::Overwrites);
    assert!(preparation.irreversible.unwrap().contains("keeps no versions"));

    rig.target.put("into", "k", b"changed meanwhile".to_vec(), &[]).unwrap();
    let error = rig.perform(&effect).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    rig.target.put("into", "k", b"old".to_vec(), &[]).unwrap();
    let done = rig.perform(&effect).await.unwrap();
    assert_eq!(rig.target.get("into", "k").unwrap().bytes, "new".as_bytes());

    let performed =
        Performed { effect, preparation: preparation_of(&rig).await, done: Some(done), sequence: 0 };
    let actions = rig.objects.plan_undo(&rig.scope, &[performed]).await.unwrap();
    assert!(actions[0].irreversible.is_some(), "{actions:?}");
}

async fn preparation_of(rig: &Rig) -> godwit_model::effect::Preparation {
    rig.objects.prepare(&rig.scope, &rig.copy("k")).await.unwrap()
}

#[tokio::test]
async fn a_source_that_changed_is_a_conflict() {
    for len in [10, 700 << 10, 2 << 20] {
        let rig = Rig::small().await;
        rig.source.put("from", "k", bytes(len), &[]).unwrap();
        let effect = rig.copy("k");
        let mut other = bytes(len);
        other[0] ^= 1;
        rig.source.put("from", "k", other, &[]).unwrap();
        let error = rig.perform(&effect).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        assert!(rig.target.keys("into").is_empty() && rig.target.open_uploads().is_empty());
        rig.source.remove("from", "k").unwrap();
        assert_eq!(rig.perform(&effect).await.unwrap_err().kind, ErrorKind::Missing);
    }
}

#[tokio::test]
async fn passing_faults_are_ridden_out() {
    // Held, streamed, in parts.
    for len in [1000, 700 << 10, 2 << 20] {
        for fault in [
            Fault::Unavailable { times: 2 },
            Fault::ResetConnection { after_bytes: 100, times: 2 },
            Fault::Delay { millis: 20, times: 3 },
        ] {
            let rig = Rig::small().await;
            rig.source.put("from", "k", bytes(len), &[]).unwrap();
            rig.source.inject(fault.on("GetObject"));
            rig.target.inject(fault.on("PutObject"));
            rig.target.inject(fault.on("UploadPart"));
            rig.perform(&rig.copy("k")).await.unwrap_or_else(|error| panic!("{len} {fault:?}: {error}"));
            assert_eq!(rig.target.get("into", "k").unwrap().bytes, bytes(len), "{len} {fault:?}");
            assert!(rig.target.open_uploads().is_empty());
        }
    }
}

#[tokio::test]
async fn a_body_that_is_cut_short_never_becomes_an_object() {
    for len in [100 << 10, 700 << 10, 2 << 20] {
        let rig = Rig::small().await;
        rig.source.put("from", "k", bytes(len), &[]).unwrap();
        rig.source.inject(Fault::TruncateBody { after_bytes: 5000, times: 1 });
        rig.perform(&rig.copy("k")).await.unwrap();
        assert_eq!(rig.target.get("into", "k").unwrap().bytes, bytes(len));

        let rig = Rig::small().await;
        rig.source.put("from", "k", bytes(len), &[]).unwrap();
        rig.source.inject(Fault::TruncateBody { after_bytes: 5000, times: 1000 });
        let error = rig.perform(&rig.copy("k")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(rig.target.keys("into").is_empty());
    }
}

#[tokio::test]
async fn a_lost_answer_is_recognised_as_our_own_write() {
    for ignored in [false, true] {
        for len in [1000, 700 << 10] {
            let rig = Rig::small().await;
            if ignored {
                rig.target.inject(Fault::IgnoreConditions);
            }
            rig.source.put("from", "k", bytes(len), &[]).unwrap();
            rig.target.inject(Fault::LoseCompleteAnswer { times: 1 }.on("PutObject"));
            let done = rig.perform(&rig.copy("k")).await.unwrap();
            assert_eq!(done.fingerprint["etag"], rig.target.get("into", "k").unwrap().etag);

            // A process that died after the write and before the journal: the effect is resumed.
            let done = rig.perform_with(&rig.copy("k"), &MemoryLedger::default(), true).await.unwrap();
            assert_eq!(done.evidence.unwrap().bytes, len as u64);
        }
    }
}

#[tokio::test]
async fn resuming_does_not_adopt_what_others_wrote() {
    let rig = Rig::new().await;
    rig.source.put("from", "k", b"mine".to_vec(), &[]).unwrap();
    rig.target.put("into", "k", b"your".to_vec(), &[]).unwrap();
    let error = rig.perform_with(&rig.copy("k"), &MemoryLedger::default(), true).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(rig.target.get("into", "k").unwrap().bytes, "your".as_bytes());
}

#[tokio::test]
async fn an_equal_object_of_somebody_else_is_neither_adopted_nor_taken_back() {
    let rig = Rig::new().await;
    rig.source.put("from", "k", b"alike".to_vec(), &[]).unwrap();
    rig.target.put("into", "k", b"alike".to_vec(), &[]).unwrap();
    let (effect, ledger) = (rig.copy("k"), MemoryLedger::default());
    for resumed in [false, true, true] {
        let error = rig.perform_with(&effect, &ledger, resumed).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        let preparation = rig.objects.prepare(&rig.scope, &effect).await.unwrap();
        let performed = Performed { effect: effect.clone(), preparation, done: None, sequence: 0 };
        let actions = rig.objects.plan_undo(&rig.scope, &[performed]).await.unwrap();
        assert!(actions.is_empty(), "{actions:?}");
    }
    rig.target.remove("into", "k").unwrap();
    rig.perform_with(&effect, &ledger, true).await.unwrap();
    // From here on it is this effect's own, whether or not the journal was told.
    rig.perform_with(&effect, &ledger, true).await.unwrap();
}

#[tokio::test]
async fn other_content_than_was_sent_is_not_believed() {
    let rig = Rig::small().await;
    for (key, len) in [("held", 1000), ("streamed", 700 << 10), ("parts", 2 << 20)] {
        rig.source.put("from", key, bytes(len), &[]).unwrap();
        rig.target.inject(Fault::WrongEtag);
        let ledger = MemoryLedger::default();
        let error = rig.perform_with(&rig.copy(key), &ledger, false).await.unwrap_err();
        // Of a part, only the store itself can tell that this is not its ETag: when the parts are joined. Those are sent
        // again.
        let said = if key == "parts" { "InvalidPart" } else { "confirmed other content" };
        let text = error.to_string();
        assert!(text.contains(said) && text.contains(key), "{error}");
        if key == "parts" {
            rig.target.clear_faults();
            rig.perform_with(&rig.copy(key), &ledger, true).await.unwrap();
            assert_eq!(rig.target.get("into", key).unwrap().bytes, bytes(len));
        }
    }
    assert!(rig.target.open_uploads().is_empty());
}

#[tokio::test]
async fn within_one_store_the_store_copies() {
    let mut rig = Rig::new().await;
    rig.target.create_bucket("from").unwrap();
    for (key, len) in [("a b+c/ü", 10), ("large", 20 << 20)] {
        rig.target
            .put("from", key, bytes(len), &[("x-amz-meta-a", "b"), ("content-type", "image/png")])
            .unwrap();
        rig.source.put("from", key, bytes(len), &[]).unwrap();
    }
    // Source and target are one connection.
    rig.scope.grants =
        Arc::new(vec![grant("source", "b", Access::Read), grant("target", "b", Access::Write)]);
    for key in ["a b+c/ü", "large"] {
        let done = rig.perform(&rig.copy(key)).await.unwrap();
        let copied = rig.target.get("into", key).unwrap();
        assert_eq!(copied.bytes, rig.source.get("from", key).unwrap().bytes);
        assert_eq!(
            (copied.headers["x-amz-meta-a"].as_str(), copied.headers["content-type"].as_str()),
            ("b", "image/png")
        );
        assert_eq!(done.fingerprint["etag"], copied.etag);
        rig.perform_with(&rig.copy(key), &MemoryLedger::default(), true).await.unwrap();
        let again = rig.perform(&rig.copy(key)).await.unwrap_err();
        assert_eq!(again.kind, ErrorKind::Conflict, "{again}");
    }
    assert_eq!((rig.seen("GetObject"), rig.seen("CopyObject")), (0, 2));
}

#[tokio::test]
async fn transforms_change_what_arrives() {
    for len in [0, 1000, 3 << 20] {
        let mut rig = Rig::small().await;
        rig.scope.transforms = Arc::new(Flip(true));
        rig.source.put("from", "k", bytes(len), &[("x-amz-meta-a", "b")]).unwrap();
        let effect = rig.copy("k");
        let ledger = MemoryLedger::default();
        rig.source.inject(Fault::TruncateBody { after_bytes: 900, times: 1 });
        let done = rig.perform_with(&effect, &ledger, false).await.unwrap();
        let expected: Vec<u8> = bytes(len).iter().map(|byte| byte.wrapping_add(32)).collect();
        let copied = rig.target.get("into", "k").unwrap();
        assert!(copied.bytes == expected, "{len}");
        assert_eq!(copied.headers["x-amz-meta-a"], "b");
        assert_eq!(done.evidence.as_ref().unwrap().digest, format!("etag:{}", copied.etag));
        assert!(rig.target.open_uploads().is_empty());
        let preparation = rig.objects.prepare(&rig.scope, &effect).await.unwrap();
        let performed = Performed { effect, preparation, done: Some(done.clone()), sequence: 0 };
        assert_eq!(rig.objects.observe(&rig.scope, &performed).await.unwrap(), done.evidence.unwrap());
    }
}

#[tokio::test]
async fn many_copies_run_at_once() {
    let rig = Arc::new(Rig::new().await);
    let keys: Vec<String> = (0..400).map(|index| format!("{index:04}.bin")).collect();
    for key in &keys {
        rig.source.put("from", key, format!("content of {key}").into_bytes(), &[]).unwrap();
    }
    let tasks: Vec<_> = keys
        .iter()
        .map(|key| {
            let (rig, key) = (rig.clone(), key.clone());
            tokio::spawn(async move { rig.perform(&rig.copy(&key)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(rig.target.keys("into"), keys);
}

#[tokio::test]
async fn errors_name_connection_and_cause_and_hide_the_key() {
    let rig = Rig::new().await;
    rig.source.put("from", "k", b"body".to_vec(), &[]).unwrap();
    let mut effect = rig.copy("k");
    let Action::CopyObject(action) = &mut effect.action else { unreachable!() };
    action.sink.bucket = "nowhere".into();
    let error = rig.perform(&effect).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Missing, Some("NoSuchBucket")));
    assert!(error.message.contains("connection `b`") && error.hint.is_some(), "{error}");
    assert!(!format!("{error:?}").contains(rig.target.secret_key()));
}

#[tokio::test]
async fn an_etag_that_is_no_digest_is_found_out_by_reading_twice() {
    let rig = Rig::small().await;
    // They look like MD5s, and are none of the contents'.
    for (key, etag) in
        [("first", "0123456789abcdef0123456789abcdef"), ("second", "fedcba9876543210fedcba9876543210")]
    {
        rig.source.put_uploaded("from", key, key.as_bytes().to_vec().into(), etag).unwrap();
    }
    let done = rig.perform(&rig.copy("first")).await.unwrap();
    assert_eq!(rig.target.get("into", "first").unwrap().bytes, "first".as_bytes());
    assert!(done.notes.iter().any(|note| note.contains("ETag is not the MD5")), "{:?}", done.notes);
    // From then on it is known.
    rig.source.forget_requests();
    rig.perform(&rig.copy("second")).await.unwrap();
    assert_eq!(rig.target.get("into", "second").unwrap().bytes, "second".as_bytes());
    assert_eq!(rig.source.seen("GetObject"), 1);
}

#[tokio::test]
async fn bytes_that_were_damaged_on_their_way_are_read_again() {
    // Held and streamed; the source tells nothing but its ETag.
    for len in [1000, 700 << 10] {
        let rig = Rig::small().await;
        rig.source.put("from", "k", bytes(len), &[]).unwrap();
        rig.source.inject(Fault::CorruptBody { times: 1 });
        let done = rig.perform(&rig.copy("k")).await.unwrap();
        assert!(rig.target.get("into", "k").unwrap().bytes == bytes(len), "{len}");
        assert!(done.notes.is_empty(), "{:?}", done.notes);
        assert_eq!(rig.source.seen("GetObject"), 2);
    }
}
