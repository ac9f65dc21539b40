//! A copy, and its resume.

use futures::future::join_all;
use godwit_lab::s3::Fault;
use godwit_model::capability::{Capability as _, Likeness, ObjectReads as _, Performed};
use godwit_model::effect::Effect;

use super::common::*;
use super::lab::{self, Lab, PACKED, original};
use super::rows::{End, OFTEN, Row, Side::*, of_answers, of_any};

/// Of bodies and digests, the same for a copy and for its resume.
fn of_writing() -> Vec<Row> {
    vec![
        (Source, Fault::TruncateBody { after_bytes: 100, times: 2 }.into(), End::Right),
        (Source, Fault::TruncateBody { after_bytes: 100, times: OFTEN }.into(), End::Fails),
        (Source, Fault::ResetConnection { after_bytes: 500, times: 2 }.on("GetObject"), End::Right),
        (Source, Fault::CorruptBody { times: 1 }.into(), End::Named),
        (Source, Fault::CorruptBody { times: OFTEN }.into(), End::Fails),
        (Source, Fault::ChangeBefore { times: 1 }.into(), End::Fails),
        (Source, Fault::ChangeDuring { after_bytes: 10, times: 1 }.into(), End::Named),
        (Source, Fault::WrongEtag.on("GetObject"), End::Fails),
        (Source, Fault::WrongEtag.on("HeadObject"), End::Fails),
        (Source, Fault::WrongChecksum.into(), End::Fails),
        (Target, Fault::ResetConnection { after_bytes: 500, times: 1 }.on("PutObject"), End::Right),
        (Target, Fault::ResetConnection { after_bytes: 500, times: 1 }.on("UploadPart"), End::Right),
        (Target, Fault::WrongEtag.into(), End::Fails),
        (Target, Fault::WrongChecksum.into(), End::Fails),
        (Target, Fault::ConcurrentWrite { times: 2 }.on("PutObject"), End::Right),
        // The upload is given up, and begun anew by the next attempt of the whole effect.
        (Target, Fault::ConcurrentWrite { times: 1 }.on("CompleteMultipartUpload"), End::Fails),
        (Target, Fault::IgnoreConditions.into(), End::Right),
        (Target, Fault::Delay { millis: 30, times: 5 }.into(), End::Right),
    ]
}

/// Neither lists, so that no listing goes wrong under a copy or its resume; gzip has a test of its own below.
fn of_copies() -> Vec<Row> {
    let writes =
        ["HeadObject", "PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload"];
    let mut rows = of_any(Source, &["GetObject", "HeadObject"]);
    rows.extend(of_any(Target, &writes));
    rows.extend(of_answers(Target, &writes[1..]));
    rows.extend(of_writing());
    rows
}

fn of_resumes() -> Vec<Row> {
    let bookkeeping = ["ListParts", "ListMultipartUploads", "AbortMultipartUpload"];
    let mut rows = of_copies();
    rows.extend(of_any(Target, &bookkeeping));
    rows.extend(of_answers(Target, &["AbortMultipartUpload"]));
    rows
}

/// How far an attempt came before the process died.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// The copy has not been tried.
    Never,
    /// Nothing had been written, but the intent was journalled.
    Before,
    /// The object was there, and the outcome not journalled.
    Written,
    /// Two parts were journalled, a third was perhaps there.
    Between,
    /// An upload had been begun, and its id not journalled.
    Unnoted,
}

const COPIES: &[(&str, Cut)] = &[("small", Cut::Never), ("streamed", Cut::Never), ("large", Cut::Never)];

const RESUMES: &[(&str, Cut)] = &[
    ("small.before", Cut::Before),
    ("small.written", Cut::Written),
    ("streamed.before", Cut::Before),
    ("streamed.written", Cut::Written),
    ("large.before", Cut::Before),
    ("large.written", Cut::Written),
    ("large.between", Cut::Between),
    ("large.unnoted", Cut::Unnoted),
];

/// Leaves what a process leaves that dies there.
async fn cut_off(lab: &Lab, effect: &Effect, cut: Cut) -> MemoryLedger {
    let ledger = MemoryLedger::default();
    let dies_after = match cut {
        Cut::Never | Cut::Before => return ledger,
        Cut::Written => None,
        Cut::Between => Some(2),
        Cut::Unnoted => Some(0),
    };
    *ledger.dies_after.lock().unwrap() = dies_after;
    let ended = lab.rig.perform_with(effect, &ledger, false).await;
    assert_eq!(ended.is_ok(), cut == Cut::Written, "{cut:?}: {ended:?}");
    *ledger.dies_after.lock().unwrap() = None;
    if cut == Cut::Unnoted {
        assert!(ledger.notes.lock().unwrap().remove("upload").is_some());
    }
    ledger
}

/// Copies or goes on with copies under a fault, then without it.
async fn copy_through((side, fault, end): Row, keys: &[(&str, Cut)]) {
    let mut lab = Lab::new().await;
    let mut work = Vec::new();
    for (key, cut) in keys {
        lab.fill(key, &original(key));
        let effect = lab.rig.copy(key);
        let ledger = cut_off(&lab, &effect, *cut).await;
        work.push((*key, *cut != Cut::Never, effect, ledger));
    }
    lab.restart(Some(&fault));
    lab.inject(side, fault.clone());
    let there = |lab: &Lab, key: &str| lab.rig.target.get("into", key);
    let attempts =
        work.iter().map(|(_, resumed, effect, ledger)| lab.rig.perform_with(effect, ledger, *resumed));
    let mut left = Vec::new();
    for ((key, _, effect, ledger), ended) in work.iter().zip(join_all(attempts).await) {
        match ended {
            Ok(_) => {
                let there = there(&lab, key).expect("it was said to be there");
                assert!(there.bytes == original(key), "{fault:?}: {key} is another one");
            }
            Err(error) => {
                assert_ne!(end, End::Right, "{fault:?}: {key}: {error}");
                assert!(error.message.contains(key), "{fault:?}: {error} doesn't name {key}");
                if let Some(there) = there(&lab, key) {
                    assert_eq!(there.bytes.len(), original(key).len(), "{fault:?}: a short object");
                }
                left.push((*key, effect, ledger));
            }
        }
    }
    lab.clear();
    assert!(end != End::Fails || !left.is_empty(), "{fault:?} was not felt");
    lab.restart(None);
    for (key, effect, ledger) in left {
        match lab.rig.perform_with(effect, ledger, true).await {
            Ok(_) => assert!(there(&lab, key).unwrap().bytes == original(key), "{fault:?}: {key}"),
            // The object that was listed is there no more.
            Err(error) => {
                assert!(
                    error.message.contains(key) && error.message.contains("listed"),
                    "{fault:?}: {key}: {error}"
                );
                let preparation = lab.rig.objects.prepare(&lab.rig.scope, effect).await.unwrap();
                let performed = Performed { effect: effect.clone(), preparation, done: None, sequence: 0 };
                let actions = lab.rig.objects.plan_undo(&lab.rig.scope, &[performed]).await.unwrap();
                assert!(actions.iter().all(|action| action.changed.is_none()), "{actions:?}");
                continue;
            }
        }
        let found = lab.rig.objects.compare(&[lab.pair(key)], true).await.remove(0).unwrap();
        assert_eq!(found.likeness, Likeness::Same, "{fault:?}: {key}");
    }
    let uploads = lab.rig.target.open_uploads();
    assert!(uploads.is_empty(), "{fault:?}: {uploads:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_ends_right_or_the_object_is_named() {
    let runs = of_copies().into_iter().map(|row| copy_through(row, COPIES));
    lab::all(runs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_ends_right_or_the_object_is_named() {
    let runs = of_resumes().into_iter().map(|row| copy_through(row, RESUMES));
    lab::all(runs).await;
}

#[tokio::test]
async fn what_is_decoded_on_the_way_is_asked_for_as_it_is_or_refused() {
    let rig = Rig::new().await;
    // What stands in front of the store decodes it.
    rig.source.put("from", "k.gz", PACKED.to_vec(), &[("content-encoding", "gzip")]).unwrap();
    let effect = rig.copy("k.gz");
    rig.source.inject(Fault::DecodeGzip);
    match rig.perform(&effect).await {
        Ok(_) => assert_eq!(rig.target.get("into", "k.gz").unwrap().bytes, PACKED.as_slice()),
        Err(error) => {
            assert!(error.message.contains("k.gz") && error.hint.is_some(), "{error:?}");
            assert!(rig.target.get("into", "k.gz").is_none());
        }
    }
    rig.source.clear_faults();
    rig.perform(&effect).await.unwrap();
    let there = rig.target.get("into", "k.gz").unwrap();
    assert_eq!(
        (there.bytes.as_ref(), there.headers["content-encoding"].as_str()),
        (PACKED.as_slice(), "gzip")
    );
}
