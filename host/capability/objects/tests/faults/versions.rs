//! All versions of an object: their copy, its resume, and the evidence by which they are verified.

use godwit_lab::s3::{Fault, Version, Versioning};
use godwit_model::capability::{Capability as _, ObjectReads as _, Performed};
use godwit_model::effect::{Action, CopyVersions, Effect, VersionCopy};

use super::common::*;
use super::lab::{self, Lab, crc64nvme, original};
use super::rows::{End, OFTEN, Row, Side::*, of_answers, of_any};

const KEY: &str = "some/key";

/// Two contents, a marker, a large content; each at a time of its own, since the server tells times to the millisecond.
async fn fill(lab: &Lab) {
    let source = &lab.rig.source;
    for (server, bucket) in [(source, "from"), (&lab.rig.target, "into")] {
        server.set_versioning(bucket, Versioning::Enabled).unwrap();
    }
    for content in [Some(b"first".to_vec()), Some(b"second".to_vec()), None, Some(original("large"))] {
        match content {
            Some(content) => {
                let crc = crc64nvme(&content);
                source.put("from", KEY, content, &[("x-amz-checksum-crc64nvme", &crc)]).unwrap();
            }
            None => source.remove("from", KEY).unwrap(),
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn effect_of(lab: &Lab) -> Effect {
    let mut listing = lab.rig.objects.versions(lab.rig.grant("source"), "from", "").await.unwrap();
    let mut versions = Vec::new();
    loop {
        let page = listing.next().await.unwrap();
        if page.is_empty() {
            break;
        }
        versions.extend(page.into_iter().map(|one| VersionCopy {
            version: one.version,
            size: one.info.size,
            etag: one.info.etag,
            deleted: one.deleted,
            storage_class: one.info.storage_class,
        }));
    }
    // Listed with the newest first.
    versions.reverse();
    let action = CopyVersions {
        source: location("source", "from", KEY),
        sink: location("target", "into", KEY),
        versions,
        tags: true,
    };
    effect("versions", Action::CopyVersions(action))
}

fn contents(versions: Vec<(String, Version)>) -> Vec<Option<Vec<u8>>> {
    let bytes = |version: Version| version.object.map(|object| object.bytes.to_vec());
    versions.into_iter().map(|(_, version)| bytes(version)).collect()
}

/// Those that came over are the source's oldest, in order, whole, and no other.
fn assert_begun_right(lab: &Lab, context: &str) -> usize {
    let there = contents(lab.rig.target.versions("into"));
    let here = contents(lab.rig.source.versions("from"));
    assert!(here.ends_with(&there), "{context}: {} versions, not the source's oldest", there.len());
    there.len()
}

fn of_copies() -> Vec<Row> {
    let writes =
        ["PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload", "DeleteObject"];
    let mut rows = of_any(Source, &["GetObject", "HeadObject"]);
    rows.extend(of_any(Target, &["GetBucketVersioning", "ListObjectVersions"]));
    rows.extend(of_any(Target, &writes));
    rows.extend(of_answers(Target, &writes));
    rows.extend([
        (Source, Fault::TruncateBody { after_bytes: 3, times: 2 }.into(), End::Right),
        (Source, Fault::TruncateBody { after_bytes: 3, times: OFTEN }.into(), End::Fails),
        (Source, Fault::CorruptBody { times: OFTEN }.into(), End::Fails),
        (Source, Fault::WrongEtag.on("GetObject"), End::Fails),
        (Source, Fault::WrongChecksum.on("HeadObject"), End::Fails),
        (Target, Fault::WrongChecksum.on("PutObject"), End::Fails),
        (Target, Fault::ResetConnection { after_bytes: 500, times: 1 }.on("UploadPart"), End::Right),
        (Target, Fault::TruncateBody { after_bytes: 100, times: 2 }.on("ListObjectVersions"), End::Right),
        (Target, Fault::WrongEtag.into(), End::Fails),
    ]);
    rows
}

/// `cut`: versions that were journalled before the process died, one more being there perhaps.
async fn copy_through((side, fault, end): Row, cut: Option<usize>) {
    let mut lab = Lab::new().await;
    fill(&lab).await;
    let effect = effect_of(&lab).await;
    let preparation = lab.rig.objects.prepare(&lab.rig.scope, &effect).await.unwrap();
    let ledger = MemoryLedger::default();
    let context = format!("{fault:?}, cut off after {cut:?}");
    if let Some(cut) = cut {
        *ledger.dies_after.lock().unwrap() = Some(cut);
        lab.rig.objects.perform(&lab.rig.scope, &effect, &preparation, &ledger, false).await.unwrap_err();
        *ledger.dies_after.lock().unwrap() = None;
    }
    lab.restart(Some(&fault));
    lab.inject(side, fault.clone());
    let ended = lab.rig.objects.perform(&lab.rig.scope, &effect, &preparation, &ledger, cut.is_some()).await;
    lab.clear();
    lab.restart(None);
    let count = assert_begun_right(&lab, &context);
    let done = match ended {
        Ok(done) => {
            assert_ne!(end, End::Fails, "{context} was not felt");
            assert_eq!(count, 4, "{context}");
            done
        }
        Err(error) => {
            assert_ne!(end, End::Right, "{context}: {error}");
            let named = error.message.contains(KEY) || error.message.contains("bucket into");
            assert!(named, "{context}: {error} doesn't name the object");
            lab.rig.objects.perform(&lab.rig.scope, &effect, &preparation, &ledger, true).await.unwrap()
        }
    };
    assert_eq!(assert_begun_right(&lab, &context), 4, "{context}");
    assert!(lab.rig.target.open_uploads().is_empty(), "{context}");
    let performed = Performed { effect, preparation, done: Some(done.clone()), sequence: 0 };
    assert_eq!(Some(lab.rig.objects.observe(&lab.rig.scope, &performed).await.unwrap()), done.evidence);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_end_right_or_the_object_is_named() {
    lab::all(of_copies().into_iter().map(|row| copy_through(row, None))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_of_versions_ends_right_or_the_object_is_named() {
    let mut rows = of_copies();
    rows.extend(of_any(Target, &["ListMultipartUploads"]));
    let runs = rows.into_iter().flat_map(|(side, fault, end)| {
        // After two the large one is still to be made; after three all are there, one of them to be recognised.
        [2, 3].map(|cut| {
            let asked = format!("{fault:?}");
            let over = ["\"PutObject\"", "\"DeleteObject\""].iter().any(|early| asked.contains(early));
            let end = if end == End::Fails && (over || cut == 3) { End::Named } else { end };
            copy_through((side, fault.clone(), end), Some(cut))
        })
    });
    lab::all(runs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_evidence_of_versions_is_right_or_the_object_is_named() {
    let mut rows = of_any(Target, &["ListObjectVersions"]);
    rows.push((
        Target,
        Fault::TruncateBody { after_bytes: 100, times: OFTEN }.on("ListObjectVersions"),
        End::Fails,
    ));
    lab::all(rows.into_iter().map(|(side, fault, end)| async move {
        let mut lab = Lab::new().await;
        fill(&lab).await;
        let performed = lab.rig.all(vec![effect_of(&lab).await]).await;
        let right = performed[0].done.as_ref().unwrap().evidence.clone();
        lab.restart(Some(&fault));
        lab.inject(side, fault.clone());
        match lab.rig.objects.observe(&lab.rig.scope, &performed[0]).await {
            Ok(evidence) => {
                assert_ne!(end, End::Fails, "{fault:?} was not felt");
                assert_eq!(Some(evidence), right, "{fault:?}");
            }
            Err(error) => {
                assert_ne!(end, End::Right, "{fault:?}: {error}");
                assert!(error.message.contains("bucket into"), "{fault:?}: {error}");
            }
        }
    }))
    .await;
}
