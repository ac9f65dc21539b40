//! Copies to and from Garage, a server that no one here wrote.

mod common;

use common::*;
use godwit_lab::Garage;
use godwit_model::ErrorKind;
use godwit_model::capability::{
    Bucketed, Capability as _, Likeness, ObjectPair, ObjectReads as _, Performed,
};
use godwit_model::effect::{Action, Class, Effect};
use godwit_model::plugin::Access;
use godwit_objects::Objects;
use serde_json::json;

/// The lab's server as `a`, Garage as `b`, with a bucket each.
struct Pair {
    rig: Rig,
    /// It ends when it is dropped.
    _garage: Garage,
}

impl Pair {
    async fn new() -> Self {
        let garage = Garage::start().await.expect("Garage starts");
        garage.create_bucket("into").await.unwrap();
        garage.create_bucket("from").await.unwrap();
        let rig = Rig::with(|mut connections| {
            let settings = &mut connections[1].settings;
            settings.insert("endpoint".into(), json!(garage.endpoint()));
            settings.insert("region".into(), json!(garage.region()));
            settings.insert("access_key_id".into(), json!(garage.access_key()));
            settings.insert("secret_access_key".into(), json!(garage.secret_key()));
            // By its host name it can't be told; what it ignores is found out. Parts of 5 MiB are the least that it takes.
            Objects::with_bounds(connections, 5 << 20, 6 << 20, 5 << 20, 40)
        })
        .await;
        Self { rig, _garage: garage }
    }

    /// From here on, Garage is the source and the lab's server the target.
    fn turned(mut self) -> Self {
        self.rig.scope.grants = std::sync::Arc::new(vec![
            grant("source", "b", Access::Read),
            grant("target", "a", Access::Write),
        ]);
        self
    }

    /// Compares the contents of both sides by reading them.
    async fn assert_same(&self, from: &str, into: &str, key: &str) {
        let at = |bucket: &str| Bucketed { bucket: bucket.into(), key: key.to_owned() };
        let pair = ObjectPair {
            left: (self.rig.grant("source").clone(), at(from)),
            right: (self.rig.grant("target").clone(), at(into)),
        };
        let found = self.rig.objects.compare(&[pair], true).await.remove(0).unwrap();
        assert_eq!(found.likeness, Likeness::Same, "{key:?}: {found:?}");
    }

    async fn keys(&self, slot: &str, bucket: &str) -> Vec<String> {
        let mut listing = self.rig.objects.list(self.rig.grant(slot), bucket, "", None).await.unwrap();
        let mut keys = Vec::new();
        loop {
            let page = listing.next().await.unwrap();
            if page.is_empty() {
                return keys;
            }
            keys.extend(page.into_iter().map(|object| object.key));
        }
    }
}

/// Garage drops a leading slash of a key.
fn odd_keys() -> impl Iterator<Item = &'static str> {
    ODD_KEYS.iter().copied().filter(|key| !key.starts_with('/'))
}

const HEADERS: [(&str, &str); 3] =
    [("content-type", "image/jpeg"), ("cache-control", "max-age=60"), ("x-amz-meta-two-words", "a b")];

#[tokio::test]
async fn small_and_large_objects_go_there_and_are_taken_back() {
    let pair = Pair::new().await;
    let rig = &pair.rig;
    let sizes = [("empty", 0), ("small", 1000), ("streamed", (5 << 20) + 3), ("large", (16 << 20) + 77)];
    for (key, len) in sizes {
        rig.source.put("from", key, bytes(len), &HEADERS).unwrap();
    }
    let performed = rig.all(sizes.iter().map(|(key, _)| rig.copy(key)).collect()).await;
    for ((key, len), one) in sizes.iter().zip(&performed) {
        pair.assert_same("from", "into", key).await;
        let at = Bucketed { bucket: "into".into(), key: (*key).to_owned() };
        let head = rig.objects.head(rig.grant("target"), &at).await.unwrap().unwrap();
        assert_eq!(head.info.size, *len as u64);
        assert_eq!(head.headers["cache-control"], "max-age=60", "{key}");
        assert_eq!(head.metadata["two-words"], "a b", "{key}");
        let seen = rig.objects.observe(&rig.scope, one).await.unwrap();
        assert_eq!(Some(seen), one.done.as_ref().and_then(|done| done.evidence.clone()), "{key}");
    }
    // What is there is not overwritten, though Garage itself would.
    for (key, _) in sizes {
        rig.source.put("from", key, b"another one".to_vec(), &[]).unwrap();
        let error = rig.perform(&rig.copy(key)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{key}: {error}");
        assert!(error.message.contains(&format!("into/{key} is already there")), "{error}");
    }
    rig.undo(&performed).await;
    assert_eq!(pair.keys("target", "into").await, Vec::<String>::new());
}

#[tokio::test]
async fn odd_keys_arrive_and_are_listed_byte_for_byte_both_ways() {
    let pair = Pair::new().await;
    for (index, key) in odd_keys().enumerate() {
        let content = format!("content {index}");
        pair.rig.source.put("from", key, content.into_bytes(), &[]).unwrap();
        let there = pair.rig.perform(&pair.rig.copy(key)).await;
        there.unwrap_or_else(|error| panic!("{key:?}: {error}"));
    }
    let keys = pair.rig.source.keys("from");
    assert_eq!(pair.keys("target", "into").await, keys);

    // And back, into another bucket of the lab's server.
    let pair = pair.turned();
    pair.rig.source.create_bucket("back").unwrap();
    for key in &keys {
        let effect = copy_back(&pair, key).await;
        pair.rig.perform(&effect).await.unwrap_or_else(|error| panic!("{key:?}: {error}"));
        let (before, after) = (pair.rig.source.get("from", key), pair.rig.source.get("back", key));
        assert_eq!(before.map(|one| one.bytes), after.map(|one| one.bytes), "{key:?}");
    }
    assert_eq!(pair.rig.source.keys("back"), keys);
}

/// An effect that copies `into/key` of Garage to `back/key` of the lab's server, as it lies there now.
async fn copy_back(pair: &Pair, key: &str) -> Effect {
    let at = Bucketed { bucket: "into".into(), key: key.to_owned() };
    let head = pair.rig.objects.head(pair.rig.grant("source"), &at).await.unwrap().unwrap();
    let mut effect = pair.rig.copy(key);
    let Action::CopyObject(action) = &mut effect.action else { unreachable!() };
    action.source = location("source", "into", key);
    action.sink = location("target", "back", key);
    (action.size, action.etag) = (head.info.size, head.info.etag);
    effect
}

#[tokio::test]
async fn an_upload_that_was_cut_off_goes_on_with_the_parts_that_garage_has() {
    let pair = Pair::new().await;
    let rig = &pair.rig;
    let len = (31 << 20) + 5;
    rig.source.put("from", "large", bytes(len), &HEADERS).unwrap();
    let (effect, ledger) = (rig.copy("large"), MemoryLedger::default());
    *ledger.dies_after.lock().unwrap() = Some(3);
    rig.perform_with(&effect, &ledger, false).await.unwrap_err();
    *ledger.dies_after.lock().unwrap() = None;
    rig.source.forget_requests();
    let done = rig.perform_with(&effect, &ledger, true).await.unwrap();
    let gets = rig.source.requests().iter().filter(|one| one.operation == "GetObject").count();
    assert_eq!(gets, 7 - 3, "what is journalled isn't read again");
    pair.assert_same("from", "into", "large").await;

    // The join had arrived, and its outcome wasn't journalled.
    let again = rig.perform_with(&effect, &ledger, true).await.unwrap();
    assert_eq!(again.fingerprint["etag"], done.fingerprint["etag"]);

    // An upload that nobody goes on with is given up by undo.
    rig.source.put("from", "given up", bytes(len), &[]).unwrap();
    let (effect, ledger) = (rig.copy("given up"), MemoryLedger::default());
    *ledger.dies_after.lock().unwrap() = Some(2);
    rig.perform_with(&effect, &ledger, false).await.unwrap_err();
    let preparation = rig.objects.prepare(&rig.scope, &effect).await.unwrap();
    assert_eq!(preparation.class, Class::Creates);
    rig.undo(&[Performed { effect, preparation, done: None, sequence: 0 }]).await;
    assert_eq!(pair.keys("target", "into").await, ["large"]);
}

#[tokio::test]
async fn a_large_object_comes_from_garage_in_parts() {
    let pair = Pair::new().await;
    let len = (17 << 20) + 9;
    pair.rig.source.put("from", "large", bytes(len), &HEADERS).unwrap();
    pair.rig.perform(&pair.rig.copy("large")).await.unwrap();
    let pair = pair.turned();
    pair.rig.source.create_bucket("back").unwrap();
    pair.rig.perform(&copy_back(&pair, "large").await).await.unwrap();
    let back = pair.rig.source.get("back", "large").unwrap();
    assert!(back.bytes == bytes(len));
    assert_eq!(back.headers["x-amz-meta-two-words"], "a b");
    assert!(pair.rig.source.open_uploads().is_empty());
}
