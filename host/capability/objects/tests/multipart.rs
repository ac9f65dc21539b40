//! Large objects: parts, resumption, lost answers, and what is left when a copy is given up.

mod common;

use common::*;
use godwit_lab::s3::Fault;
use godwit_model::ErrorKind;
use godwit_model::capability::{Capability as _, Performed};

#[tokio::test]
async fn forty_mebibytes_go_in_equal_parts() {
    let rig = Rig::new().await;
    rig.source
        .put(
            "from",
            "large.bin",
            bytes((40 << 20) + 77),
            &[("content-type", "video/mp4"), ("x-amz-meta-a", "b")],
        )
        .unwrap();
    let effect = rig.copy("large.bin");
    let done = rig.perform(&effect).await.unwrap();
    let copied = rig.target.get("into", "large.bin").unwrap();
    assert!(copied.bytes == bytes((40 << 20) + 77));
    assert_eq!(
        (copied.headers["content-type"].as_str(), copied.headers["x-amz-meta-a"].as_str()),
        ("video/mp4", "b")
    );
    assert!(copied.etag.ends_with("-6"), "{}", copied.etag);
    assert!(done.result["digest"].as_str().unwrap().starts_with("crc64nvme:"));
    assert_eq!(*rig.moved.0.lock().unwrap(), (1, (40 << 20) + 77));
    let preparation = rig.objects.prepare(&rig.scope, &effect).await.unwrap();
    let performed = Performed { effect, preparation, done: Some(done.clone()), sequence: 0 };
    assert_eq!(rig.objects.observe(&rig.scope, &performed).await.unwrap(), done.evidence.unwrap());
}

#[tokio::test]
async fn parts_larger_than_what_is_held_are_streamed() {
    let rig = Rig::small().await;
    // 40 parts at most of a multiple of 256 KiB each: parts of 512 KiB, which exceeds what is held.
    let len = 41 * SMALL as usize + 5;
    rig.source.put("from", "k", bytes(len), &[]).unwrap();
    rig.source.inject(Fault::TruncateBody { after_bytes: 300_000, times: 3 });
    rig.target.inject(Fault::Unavailable { times: 2 }.on("UploadPart"));
    rig.perform(&rig.copy("k")).await.unwrap();
    let copied = rig.target.get("into", "k").unwrap();
    assert!(copied.bytes == bytes(len));
    assert!(copied.etag.ends_with("-21"), "{}", copied.etag);
}

#[tokio::test]
async fn a_resumed_copy_sends_only_what_is_missing() {
    let rig = Rig::small().await;
    let len = 20 * SMALL as usize;
    rig.source.put("from", "k", bytes(len), &[]).unwrap();
    let (effect, ledger) = (rig.copy("k"), MemoryLedger::default());
    *ledger.dies_after.lock().unwrap() = Some(12);
    rig.perform_with(&effect, &ledger, false).await.unwrap_err();
    assert_eq!(rig.target.open_uploads().len(), 1);
    *ledger.dies_after.lock().unwrap() = None;
    rig.target.forget_requests();
    rig.perform_with(&effect, &ledger, true).await.unwrap();
    assert!(rig.target.get("into", "k").unwrap().bytes == bytes(len));
    // Eight of twenty were missing; up to three more were on their way when the first attempt ended.
    assert!((8..=11).contains(&rig.seen("UploadPart")), "{}", rig.seen("UploadPart"));
    assert_eq!(rig.seen("CreateMultipartUpload"), 0);
    assert!(rig.target.open_uploads().is_empty());
}

/// API reference, CompleteMultipartUpload, `If-None-Match`: on a 409 all parts are to be uploaded again.
#[tokio::test]
async fn a_joining_beside_another_write_begins_anew() {
    let rig = Rig::small_of_vendor("aws").await;
    rig.source.put("from", "k", bytes(3 << 20), &[]).unwrap();
    let (effect, ledger) = (rig.copy("k"), MemoryLedger::default());
    rig.target.inject(Fault::ConcurrentWrite { times: 1 }.on("CompleteMultipartUpload"));
    let error = rig.perform_with(&effect, &ledger, false).await.unwrap_err();
    assert!(error.is_retryable() && error.message.contains("from/k"), "{error}");
    assert!(error.message.contains("begun anew"), "{error}");
    assert!(rig.target.open_uploads().is_empty(), "its parts would be paid for");
    let conditional = |request: &godwit_lab::s3::Request| {
        request.operation == "CompleteMultipartUpload" && request.header("if-none-match") == Some("*")
    };
    assert!(rig.target.requests().iter().any(conditional));
    // As the engine goes on.
    rig.perform_with(&effect, &ledger, true).await.unwrap();
    assert!(rig.target.get("into", "k").unwrap().bytes == bytes(3 << 20));
    assert_eq!((rig.seen("CreateMultipartUpload"), rig.seen("UploadPart")), (2, 24));
    assert!(rig.target.open_uploads().is_empty());

    // What the other one wrote is not overwritten.
    rig.source.put("from", "l", bytes(3 << 20), &[]).unwrap();
    rig.target.inject(Fault::ConcurrentWrite { times: 1 }.on("CompleteMultipartUpload"));
    let effect = rig.copy("l");
    rig.perform(&effect).await.unwrap_err();
    rig.target.put("into", "l", b"another one's".to_vec(), &[]).unwrap();
    let error = rig.perform(&effect).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
}

#[tokio::test]
async fn what_a_store_proves_nothing_of_is_said() {
    // It encrypts by a key of its own service, so that its ETags are no digests, and names no checksums of streams.
    let encrypts = |builder: godwit_lab::s3::Builder| builder.encrypts();
    for (made, said) in [(Rig::small().await, false), (Rig::small_onto(encrypts).await, true)] {
        // Parts of 512 KiB, which exceeds what is held, so that they are streamed.
        made.source.put("from", "k", bytes(41 * SMALL as usize + 5), &[]).unwrap();
        let done = made.perform(&made.copy("k")).await.unwrap();
        let notes: Vec<_> = done.notes.iter().filter(|note| note.contains("only their lengths")).collect();
        assert_eq!(notes.len(), usize::from(said), "{:?}", done.notes);
        assert!(
            notes.iter().all(|note| note.contains("21 of 21 parts") && note.contains("from/k")),
            "{notes:?}"
        );
    }
}

#[tokio::test]
async fn a_lost_answer_to_the_joining_is_settled_by_head() {
    let rig = Rig::small().await;
    rig.source.put("from", "k", bytes(3 << 20), &[]).unwrap();
    let (effect, ledger) = (rig.copy("k"), MemoryLedger::default());
    rig.target.inject(Fault::LoseCompleteAnswer { times: 1 });
    let done = rig.perform_with(&effect, &ledger, false).await.unwrap();
    assert_eq!(done.fingerprint["etag"], rig.target.get("into", "k").unwrap().etag);

    // The process died after the joining and before its outcome was journalled.
    rig.target.forget_requests();
    let again = rig.perform_with(&effect, &ledger, true).await.unwrap();
    assert_eq!((again.evidence, again.result), (done.evidence, done.result));
    assert_eq!((rig.seen("UploadPart"), rig.seen("CreateMultipartUpload")), (0, 0));
}

#[tokio::test]
async fn an_upload_whose_id_was_lost_is_given_up() {
    let rig = Rig::small().await;
    rig.source.put("from", "k", bytes(3 << 20), &[]).unwrap();
    let (effect, ledger) = (rig.copy("k"), MemoryLedger::default());
    rig.target.inject(Fault::LoseCompleteAnswer { times: 1 }.on("CreateMultipartUpload"));
    rig.perform_with(&effect, &ledger, false).await.unwrap();
    assert!(rig.target.open_uploads().is_empty());

    // Killed between the answer and the note.
    let rig = Rig::small().await;
    rig.source.put("from", "k", bytes(3 << 20), &[]).unwrap();
    rig.target.inject(Fault::LoseCompleteAnswer { times: 5 }.on("CreateMultipartUpload"));
    let ledger = MemoryLedger::default();
    rig.perform_with(&effect, &ledger, false).await.unwrap_err();
    assert!(!rig.target.open_uploads().is_empty());
    rig.target.clear_faults();
    rig.perform_with(&effect, &ledger, true).await.unwrap();
    assert!(rig.target.open_uploads().is_empty());
    assert!(rig.target.get("into", "k").unwrap().bytes == bytes(3 << 20));
}

#[tokio::test]
async fn an_upload_that_somebody_gave_up_is_begun_again() {
    let rig = Rig::small().await;
    rig.source.put("from", "k", bytes(3 << 20), &[]).unwrap();
    let (effect, ledger) = (rig.copy("k"), MemoryLedger::default());
    *ledger.dies_after.lock().unwrap() = Some(5);
    rig.perform_with(&effect, &ledger, false).await.unwrap_err();
    *ledger.dies_after.lock().unwrap() = None;
    let noted = ledger.notes.lock().unwrap()["upload"].clone();
    ledger
        .notes
        .lock()
        .unwrap()
        .insert("upload".into(), serde_json::json!({ "id": "gone", "part": noted["part"] }));
    rig.perform_with(&effect, &ledger, true).await.unwrap();
    assert!(rig.target.get("into", "k").unwrap().bytes == bytes(3 << 20));
}

#[tokio::test]
async fn a_copy_that_failed_for_good_leaves_no_parts() {
    let rig = Rig::small().await;
    rig.source.put("from", "k", bytes(3 << 20), &[]).unwrap();
    let (effect, ledger) = (rig.copy("k"), MemoryLedger::default());
    *ledger.dies_after.lock().unwrap() = Some(5);
    rig.perform_with(&effect, &ledger, false).await.unwrap_err();
    *ledger.dies_after.lock().unwrap() = None;
    rig.source.put("from", "k", bytes(4 << 20), &[]).unwrap();
    let error = rig.perform_with(&effect, &ledger, true).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(rig.target.open_uploads().is_empty() && rig.target.keys("into").is_empty());
}

#[tokio::test]
async fn what_appears_meanwhile_is_not_overwritten() {
    let rig = Rig::small().await;
    rig.source.put("from", "k", bytes(3 << 20), &[]).unwrap();
    let (effect, ledger) = (rig.copy("k"), MemoryLedger::default());
    *ledger.dies_after.lock().unwrap() = Some(5);
    rig.perform_with(&effect, &ledger, false).await.unwrap_err();
    *ledger.dies_after.lock().unwrap() = None;
    rig.target.put("into", "k", b"somebody else's".to_vec(), &[]).unwrap();
    let error = rig.perform_with(&effect, &ledger, true).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(rig.target.get("into", "k").unwrap().bytes, "somebody else's".as_bytes());
    assert!(rig.target.open_uploads().is_empty());
}

#[tokio::test]
async fn undo_gives_up_what_was_cut_off() {
    let rig = Rig::small().await;
    rig.source.put("from", "k", bytes(3 << 20), &[]).unwrap();
    let (effect, ledger) = (rig.copy("k"), MemoryLedger::default());
    *ledger.dies_after.lock().unwrap() = Some(5);
    rig.perform_with(&effect, &ledger, false).await.unwrap_err();
    assert_eq!(rig.target.open_uploads().len(), 1);
    let preparation = rig.objects.prepare(&rig.scope, &effect).await.unwrap();
    rig.undo(&[Performed { effect, preparation, done: None, sequence: 0 }]).await;
    assert!(rig.target.open_uploads().is_empty());
}
