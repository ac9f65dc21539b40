//! The reads by which both sides are verified.

use std::collections::BTreeMap;

use futures::future::join_all;
use godwit_lab::s3::Fault;
use godwit_model::Result;
use godwit_model::capability::{Capability as _, ObjectPair, ObjectReads as _, Performed};

use super::common::*;
use super::lab::{self, Lab, PACKED, SIZES, original};
use super::rows::{End, OFTEN, Row, Side::*, of_any};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_is_right_or_the_object_is_named() {
    let runs = of_verification().into_iter().map(verify_through);
    lab::all(runs).await;
}
