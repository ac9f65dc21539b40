//! Requests, answers and bodies that go wrong × a copy, its resume, and the reads by which both sides are verified: the
//! target ends right, or an error names the object. Once all is well again, the copy goes on, and both sides compare equal.
//!
//! What the plugin makes of listings that go wrong is in `tests/tests/objects.rs`.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::*;
use futures::StreamExt as _;
use futures::future::join_all;
use godwit_lab::s3::{Fault, Injection};
use godwit_model::Result;
use godwit_model::capability::{
    Bucketed, Capability as _, Connection, Likeness, ObjectPair, ObjectReads as _, Performed,
};
use godwit_model::effect::Effect;
use godwit_objects::Objects;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Source,
    Target,
}
use Side::{Source, Target};

/// What becomes of the work under a fault that goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// It goes through.
    Right,
    /// It may fail; what it says names the object.
    Named,
    /// One object at least fails, by name.
    Fails,
}

type Row = (Side, Injection, End);

const OFTEN: u32 = 200;

/// What may befall any request: bursts of refusals with and without `Retry-After`, silence, resets; each passes, or goes
/// on and ends in an error.
fn of_any(side: Side, operations: &[&'static str]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for operation in operations {
        for fault in [
            Fault::Unavailable { times: 2 },
            Fault::InternalError { times: 2 },
            Fault::TooManyRequests { times: 2 },
            Fault::RetryAfter { status: 503, seconds: 1, times: 1 },
            Fault::RetryAfter { status: 429, seconds: 1, times: 1 },
            Fault::HalfOpen { millis: Some(50), times: 1 },
            Fault::HalfOpen { millis: None, times: 1 },
            Fault::ResetConnection { after_bytes: 0, times: 1 },
        ] {
            rows.push((side, fault.on(operation), End::Right));
        }
        rows.push((side, Fault::InternalError { times: OFTEN }.on(operation), End::Fails));
        // The joining of parts may take a store minutes, so that its silence is borne for longer than a test lasts.
        if *operation != "CompleteMultipartUpload" {
            rows.push((side, Fault::HalfOpen { millis: None, times: OFTEN }.on(operation), End::Fails));
        }
    }
    rows
}

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
        (Target, Fault::LoseCompleteAnswer { times: 1 }.into(), End::Right),
        (Target, Fault::LoseCompleteAnswer { times: 1 }.on("PutObject"), End::Right),
        (Target, Fault::LoseCompleteAnswer { times: 1 }.on("UploadPart"), End::Right),
        (Target, Fault::LoseCompleteAnswer { times: 1 }.on("CreateMultipartUpload"), End::Right),
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
    rows.extend(of_writing());
    rows
}

fn of_resumes() -> Vec<Row> {
    let bookkeeping = ["ListParts", "ListMultipartUploads", "AbortMultipartUpload"];
    let mut rows = of_copies();
    rows.extend(of_any(Target, &bookkeeping));
    rows.push((Target, Fault::LoseCompleteAnswer { times: 1 }.on("AbortMultipartUpload"), End::Right));
    rows
}

/// Nothing is written, so that no answer to a write is lost and no condition of a write ignored; a read whose answer is
/// lost is a half-open one. A stale listing is no fault that a read could know: what the plugin makes of it is elsewhere.
fn of_verification() -> Vec<Row> {
    let reads = ["HeadObject", "GetObject", "ListObjectsV2"];
    let mut rows = Vec::new();
    for side in [Source, Target] {
        rows.extend(of_any(side, &reads));
        for operation in ["GetObject", "ListObjectsV2"] {
            for (times, end) in [(2, End::Right), (OFTEN, End::Fails)] {
                rows.push((side, Fault::TruncateBody { after_bytes: 100, times }.on(operation), end));
            }
            rows.push((
                side,
                Fault::ResetConnection { after_bytes: 500, times: 2 }.on(operation),
                End::Right,
            ));
        }
        rows.push((side, Fault::WrongEtag.on("HeadObject"), End::Fails));
        rows.push((side, Fault::WrongEtag.on("GetObject"), End::Fails));
        rows.push((side, Fault::WrongChecksum.on("HeadObject"), End::Fails));
        rows.push((side, Fault::CorruptBody { times: OFTEN }.into(), End::Fails));
        rows.push((side, Fault::DecodeGzip.into(), End::Fails));
        rows.push((side, Fault::ChangeBefore { times: 1 }.into(), End::Fails));
        // What was read is still what was there.
        rows.push((side, Fault::ChangeDuring { after_bytes: 10, times: 1 }.into(), End::Named));
        rows.push((side, Fault::RepeatPage { times: 1 }.into(), End::Fails));
        rows.push((side, Fault::RefuseToken { times: 1 }.into(), End::Fails));
    }
    rows
}

/// Two servers, and a capability over them that can be made anew, as in another process.
struct Lab {
    rig: Rig,
    connections: Vec<Connection>,
}

impl Lab {
    async fn new() -> Self {
        let mut connections = Vec::new();
        let make = |given: Vec<Connection>| {
            connections = of_vendor(given, "aws");
            Self::objects(&connections, Duration::from_secs(60))
        };
        let rig = Rig::with_pages(5, make).await;
        Self { rig, connections }
    }

    fn objects(connections: &[Connection], silence: Duration) -> Result<Objects> {
        Objects::with_patience(connections.to_vec(), [HELD, 2 * HELD, HELD, 40], silence)
    }

    /// As in another process. Where a server falls silent for good, nobody waits for a minute.
    fn restart(&mut self, under: Option<&Injection>) {
        let millis = match under.map(|fault| format!("{fault:?}")) {
            Some(fault) if fault.contains("HalfOpen { millis: None, times: 1 }") => 800,
            Some(fault) if fault.contains("HalfOpen { millis: None") => 200,
            _ => 60_000,
        };
        self.rig.objects = Self::objects(&self.connections, Duration::from_millis(millis)).unwrap();
    }

    fn fill(&self, key: &str, content: &[u8]) {
        // What a store that keeps checksums was given once.
        let crc = crc64nvme(content);
        self.rig.source.put("from", key, content.to_vec(), &[("x-amz-checksum-crc64nvme", &crc)]).unwrap();
    }

    fn inject(&self, side: Side, fault: Injection) {
        match side {
            Source => self.rig.source.inject(fault),
            Target => self.rig.target.inject(fault),
        }
    }

    fn clear(&self) {
        self.rig.source.clear_faults();
        self.rig.target.clear_faults();
    }

    fn pair(&self, key: &str) -> ObjectPair {
        let at = |bucket: &str| Bucketed { bucket: bucket.into(), key: key.to_owned() };
        ObjectPair {
            left: (self.rig.grant("source").clone(), at("from")),
            right: (self.rig.grant("target").clone(), at("into")),
        }
    }
}

/// What one request holds; twice as much goes by a single PUT.
const HELD: u64 = 64 << 10;

const SIZES: [(&str, usize); 3] = [("small", 1000), ("streamed", 100 << 10), ("large", 350 << 10)];

/// The content of a key as it was listed. What stands before a dot tells its size.
fn original(key: &str) -> Vec<u8> {
    let kind = key.split('.').next().unwrap_or_default();
    bytes(SIZES.iter().find(|(held, _)| *held == kind).expect("a key of ours").1)
}

fn crc64nvme(content: &[u8]) -> String {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, content);
    BASE64.encode(sum.to_be_bytes())
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

/// Gzip of `hello`.
const PACKED: [u8; 25] = [
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10, 0x36, 5, 0, 0,
    0,
];

/// What the reads say, each by what it is asked of and how.
async fn reads(rig: &Rig, performed: &[Performed], pairs: &[ObjectPair]) -> BTreeMap<String, Result<String>> {
    let keys: Vec<String> = pairs.iter().map(|pair| pair.right.1.key.clone()).collect();
    let (target, keys) = (rig.grant("target"), &keys);
    // Nothing that fails waits for the attempts of the one before it.
    let alike = async |deep| {
        let found = rig.objects.compare(pairs, deep).await.into_iter();
        let told = found.map(|found| found.map(|found| format!("{:?}", found.likeness)));
        labelled(keys, &format!("compared, deep: {deep}"), told.collect())
    };
    let observed = async {
        let found = join_all(performed.iter().map(|one| rig.objects.observe(&rig.scope, one))).await;
        labelled(keys, "observed", found.into_iter().map(told).collect())
    };
    let looked_up = async {
        let found = rig.objects.stat(target, "into", keys).await;
        labelled(keys, "looked up", found.into_iter().map(told).collect())
    };
    let asked_for = async {
        let found = join_all(pairs.iter().map(|pair| rig.objects.head(target, &pair.right.1))).await;
        labelled(keys, "asked for", found.into_iter().map(told).collect())
    };
    let fetched = async {
        let found = join_all(pairs.iter().map(|pair| rig.objects.presigned_get(target, &pair.right.1))).await;
        labelled(keys, "fetched", found.into_iter().map(told).collect())
    };
    let listed = async {
        let (from, into) = tokio::join!(listed(rig, "source", "from"), listed(rig, "target", "into"));
        labelled(&["from".to_owned(), "into".to_owned()], "listed", vec![told(from), told(into)])
    };
    let all = tokio::join!(alike(false), alike(true), observed, looked_up, asked_for, fetched, listed);
    let all = [all.0, all.1, all.2, all.3, all.4, all.5, all.6];
    all.into_iter().flatten().collect()
}

fn labelled(of: &[String], how: &str, said: Vec<Result<String>>) -> Vec<(String, Result<String>)> {
    assert_eq!(of.len(), said.len(), "{how}");
    of.iter().zip(said).map(|(of, said)| (format!("{of} {how}"), said)).collect()
}

fn told<T: std::fmt::Debug>(found: Result<T>) -> Result<String> {
    found.map(|found| format!("{found:?}"))
}

async fn listed(rig: &Rig, slot: &str, bucket: &str) -> Result<Vec<String>> {
    let mut listing = rig.objects.list(rig.grant(slot), bucket, "", None).await?;
    let mut keys = Vec::new();
    loop {
        let page = listing.next().await?;
        if page.is_empty() {
            return Ok(keys);
        }
        keys.extend(page.into_iter().map(|object| object.key));
    }
}

/// Reads a finished copy on both sides under a fault, then without it.
async fn verify_through((side, fault, end): Row) {
    let mut lab = Lab::new().await;
    let mut keys: Vec<String> = SIZES.iter().map(|(key, _)| (*key).to_owned()).collect();
    for key in &keys {
        lab.fill(key, &original(key));
    }
    lab.rig.source.put("from", "packed.gz", PACKED.to_vec(), &[("content-encoding", "gzip")]).unwrap();
    keys.push("packed.gz".to_owned());
    let performed = lab.rig.all(keys.iter().map(|key| lab.rig.copy(key)).collect()).await;
    // So that there are pages to turn.
    for number in 0..12 {
        let key = format!("beside {number:02}");
        for (server, bucket) in [(&lab.rig.source, "from"), (&lab.rig.target, "into")] {
            server.put(bucket, &key, b"x".to_vec(), &[]).unwrap();
        }
    }
    let pairs: Vec<ObjectPair> = keys.iter().map(|key| lab.pair(key)).collect();
    let right = reads(&lab.rig, &performed, &pairs).await;
    for (what, said) in &right {
        let said = said.as_ref().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(!what.contains("compared") || said == "Same", "{what}: {said}");
    }
    lab.restart(Some(&fault));
    lab.inject(side, fault.clone());
    let mut felt = 0;
    for (what, said) in reads(&lab.rig, &performed, &pairs).await {
        let named = what.split(' ').next().unwrap_or_default();
        match said {
            Ok(said) if Ok(&said) == right[&what].as_ref() => {}
            Ok(said) => {
                assert_ne!(end, End::Right, "{fault:?}: {what}: {said}");
                // What is there now, or is said to be: the plugin finds that it isn't what was sent, and names it.
                felt += 1;
            }
            Err(error) => {
                assert_ne!(end, End::Right, "{fault:?}: {what}: {error}");
                assert!(error.message.contains(named), "{fault:?}: {error} doesn't name {named}");
                felt += 1;
            }
        }
    }
    assert!(end != End::Fails || felt > 0, "{fault:?} was not felt");
    lab.clear();
    if !format!("{fault:?}").contains("Change") {
        lab.restart(None);
        assert_eq!(reads(&lab.rig, &performed, &pairs).await, right, "{fault:?}: it is over");
    }
}

/// Most of a run is waiting for another attempt.
const RUNS_AT_ONCE: usize = 128;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_ends_right_or_the_object_is_named() {
    let runs = of_copies().into_iter().map(|row| copy_through(row, COPIES));
    futures::stream::iter(runs).buffer_unordered(RUNS_AT_ONCE).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_ends_right_or_the_object_is_named() {
    let runs = of_resumes().into_iter().map(|row| copy_through(row, RESUMES));
    futures::stream::iter(runs).buffer_unordered(RUNS_AT_ONCE).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_is_right_or_the_object_is_named() {
    let runs = of_verification().into_iter().map(verify_through);
    futures::stream::iter(runs).buffer_unordered(RUNS_AT_ONCE).collect::<Vec<()>>().await;
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
