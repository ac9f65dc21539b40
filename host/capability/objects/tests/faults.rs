//! Requests, answers and bodies that go wrong × a copy and its resume: the target ends right, or an error names the object.
//! Once all is well again, both sides compare equal.

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::*;
use futures::StreamExt as _;
use godwit_lab::s3::{Fault, Injection};
use godwit_model::capability::{
    Bucketed, Capability as _, Likeness, ObjectPair, ObjectReads as _, Performed,
};
use godwit_model::effect::Effect;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Source,
    Target,
}

/// What becomes of a copy under a fault that goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// It goes through.
    Right,
    /// It may fail; what it says names the object.
    Named,
    /// One object at least fails, by name.
    Fails,
}

fn faults() -> Vec<(Side, Injection, End)> {
    use Side::{Source, Target};
    let often = 200;
    let mut all: Vec<(Side, Injection, End)> = Vec::new();
    for side in [Source, Target] {
        let operations: &[&'static str] = match side {
            Source => &["GetObject", "HeadObject"],
            Target => &["PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload"],
        };
        for operation in operations {
            all.push((side, Fault::Unavailable { times: 2 }.on(operation), End::Right));
            all.push((side, Fault::InternalError { times: 2 }.on(operation), End::Right));
            all.push((side, Fault::TooManyRequests { times: 2 }.on(operation), End::Right));
            all.push((side, Fault::HalfOpen { millis: Some(50), times: 1 }.on(operation), End::Right));
            all.push((side, Fault::ResetConnection { after_bytes: 0, times: 1 }.on(operation), End::Right));
            all.push((side, Fault::InternalError { times: often }.on(operation), End::Fails));
        }
    }
    all.push((Source, Fault::TruncateBody { after_bytes: 100, times: 2 }.into(), End::Right));
    all.push((Source, Fault::TruncateBody { after_bytes: 100, times: often }.into(), End::Fails));
    all.push((Source, Fault::ResetConnection { after_bytes: 500, times: 2 }.on("GetObject"), End::Right));
    all.push((Source, Fault::ChangeBefore { times: 1 }.into(), End::Fails));
    all.push((Source, Fault::ChangeDuring { after_bytes: 10, times: 1 }.into(), End::Named));
    all.push((Target, Fault::ResetConnection { after_bytes: 500, times: 1 }.on("PutObject"), End::Right));
    all.push((Target, Fault::ResetConnection { after_bytes: 500, times: 1 }.on("UploadPart"), End::Right));
    all.push((Target, Fault::WrongEtag.into(), End::Fails));
    all.push((Target, Fault::WrongChecksum.into(), End::Fails));
    all.push((Source, Fault::WrongChecksum.into(), End::Fails));
    all.push((Target, Fault::LoseCompleteAnswer { times: 1 }.into(), End::Right));
    all.push((Target, Fault::LoseCompleteAnswer { times: 1 }.on("PutObject"), End::Right));
    all.push((Target, Fault::LoseCompleteAnswer { times: 1 }.on("CreateMultipartUpload"), End::Right));
    all.push((Target, Fault::IgnoreConditions.into(), End::Right));
    all.push((Target, Fault::Delay { millis: 30, times: 5 }.into(), End::Right));
    all
}

const SIZES: [(&str, usize); 3] = [("small", 1000), ("streamed", 600 << 10), ("large", 1300 << 10)];

/// The content of a key as it was listed.
fn original(key: &str) -> Vec<u8> {
    bytes(SIZES.iter().find(|(held, _)| *held == key).expect("a key of ours").1)
}

fn crc64nvme(content: &[u8]) -> String {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, content);
    BASE64.encode(sum.to_be_bytes())
}

/// Copies under a fault, then without it.
async fn through(side: Side, fault: Injection, end: End) {
    let rig = Rig::small_of_vendor("minio").await;
    for (key, size) in SIZES {
        // What a store that keeps checksums was given once.
        let crc = crc64nvme(&bytes(size));
        rig.source.put("from", key, bytes(size), &[("x-amz-checksum-crc64nvme", &crc)]).unwrap();
    }
    let effects: Vec<Effect> = SIZES.iter().map(|(key, _)| rig.copy(key)).collect();
    let server = if side == Side::Source { &rig.source } else { &rig.target };
    server.inject(fault.clone());
    let ledgers: Vec<MemoryLedger> = SIZES.iter().map(|_| MemoryLedger::default()).collect();
    let mut left = Vec::new();
    for (effect, ledger) in effects.iter().zip(&ledgers) {
        let key = effect.key.as_str().trim_start_matches("copy ").to_owned();
        match rig.perform_with(effect, ledger, false).await {
            Ok(_) => {
                let there = rig.target.get("into", &key).expect("it was said to be there");
                assert!(there.bytes == original(&key), "{fault:?}: {key} is another one");
            }
            Err(error) => {
                assert_ne!(end, End::Right, "{fault:?}: {key}: {error}");
                assert!(error.message.contains(&key), "{fault:?}: {error} doesn't name {key}");
                if let Some(there) = rig.target.get("into", &key) {
                    assert_eq!(there.bytes.len(), original(&key).len(), "{fault:?}: a short object");
                }
                left.push((effect, ledger, key));
            }
        }
    }
    server.clear_faults();
    assert!(end != End::Fails || !left.is_empty(), "{fault:?} was not felt");
    for (effect, ledger, key) in left {
        match rig.perform_with(effect, ledger, true).await {
            Ok(_) => assert!(rig.target.get("into", &key).unwrap().bytes == original(&key), "{fault:?}"),
            // The object that was listed is there no more.
            Err(error) => {
                assert!(
                    error.message.contains(&key) && error.message.contains("listed"),
                    "{fault:?}: {error}"
                );
                let preparation = rig.objects.prepare(&rig.scope, effect).await.unwrap();
                let performed = Performed { effect: effect.clone(), preparation, done: None, sequence: 0 };
                let actions = rig.objects.plan_undo(&rig.scope, &[performed]).await.unwrap();
                assert!(actions.iter().all(|action| action.changed.is_none()), "{actions:?}");
                continue;
            }
        }
        let pair = ObjectPair {
            left: (rig.grant("source").clone(), Bucketed { bucket: "from".into(), key: key.clone() }),
            right: (rig.grant("target").clone(), Bucketed { bucket: "into".into(), key: key.clone() }),
        };
        let found = rig.objects.compare(&[pair], true).await.remove(0).unwrap();
        assert_eq!(found.likeness, Likeness::Same, "{fault:?}: {key}");
    }
    assert!(rig.target.open_uploads().is_empty(), "{fault:?}: {:?}", rig.target.open_uploads());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_the_target_ends_right_or_the_object_is_named() {
    let runs = faults().into_iter().map(|(side, fault, end)| through(side, fault, end));
    futures::stream::iter(runs).buffer_unordered(16).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn what_is_decoded_on_the_way_is_asked_for_as_it_is_or_refused() {
    let rig = Rig::new().await;
    // Gzip of `hello`, and what stands in front of the store decodes it.
    let packed = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10, 0x36, 5, 0,
        0, 0,
    ];
    rig.source.put("from", "k.gz", packed.to_vec(), &[("content-encoding", "gzip")]).unwrap();
    let effect = rig.copy("k.gz");
    rig.source.inject(Fault::DecodeGzip);
    match rig.perform(&effect).await {
        Ok(_) => assert_eq!(rig.target.get("into", "k.gz").unwrap().bytes, packed.as_slice()),
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
        (packed.as_slice(), "gzip")
    );
}
