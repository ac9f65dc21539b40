//! Buckets, CORS rules, puts and deletions, reads, and taking all of it back.

mod common;

use common::*;
use godwit_model::ErrorKind;
use godwit_model::capability::{
    Bucketed, Capability as _, History, ObjectReads as _, Performed, SettingState,
};
use godwit_model::effect::{
    Action, BucketSetting, Class, Content, CorsRule, CreateBucket, DeleteObject, Effect, PutObject, Replaces,
    SetCors,
};
use godwit_model::{Digest, SlotName};
use serde_json::json;

fn slot() -> SlotName {
    SlotName::new("target")
}

fn create(bucket: &str) -> Effect {
    effect(
        &format!("bucket {bucket}"),
        Action::CreateBucket(CreateBucket { slot: slot(), bucket: bucket.into() }),
    )
}

fn rule(origin: &str) -> CorsRule {
    CorsRule {
        allowed_origins: vec![origin.into()],
        allowed_methods: vec!["GET".into(), "HEAD".into()],
        allowed_headers: vec!["*".into()],
        expose_headers: vec!["ETag".into()],
        max_age: Some(3000),
    }
}

fn cors(bucket: &str, rules: Vec<CorsRule>) -> Effect {
    effect(&format!("cors {bucket}"), Action::SetCors(SetCors { slot: slot(), bucket: bucket.into(), rules }))
}

fn put(key: &str, content: &[u8]) -> Effect {
    let action = PutObject {
        sink: location("target", "into", key),
        content: Content::new(content.to_vec()),
        content_type: Some("text/plain".into()),
        replaces: Replaces::Nothing,
    };
    effect(&format!("put {key}"), Action::PutObject(action))
}

#[tokio::test]
async fn what_a_vendor_lacks_is_told_before_its_bucket_is_asked() {
    let rig = Rig::of_vendor("r2").await;
    let of = |name| rig.objects.setting(rig.grant("target"), "into", name);
    for lacking in [BucketSetting::Policy, BucketSetting::Encryption] {
        let found = of(lacking).await.unwrap();
        assert!(matches!(&found, SettingState::Unsupported(why) if why.contains("r2")), "{found:?}");
    }
    assert!(rig.target.requests().is_empty());
    assert_eq!(of(BucketSetting::Lifecycle).await.unwrap(), SettingState::Absent);
}

#[tokio::test]
async fn a_whole_step_is_taken_back() {
    let rig = Rig::small().await;
    rig.target.create_bucket("there").unwrap();
    let keys: Vec<String> = (0..30).map(|index| format!("k{index:02} +ü")).collect();
    for key in &keys {
        rig.source.put("from", key, key.as_bytes().to_vec(), &[]).unwrap();
    }
    rig.source.put("from", "large", bytes(2 << 20), &[]).unwrap();
    let mut effects =
        vec![create("fresh"), create("there"), cors("fresh", vec![rule("https://app.example.com")])];
    for key in keys.iter().map(String::as_str).chain(["large"]) {
        let mut copy = rig.copy(key);
        let Action::CopyObject(action) = &mut copy.action else { unreachable!() };
        action.sink.bucket = "fresh".into();
        effects.push(copy);
    }
    let performed = rig.all(effects).await;
    assert_eq!(rig.target.keys("fresh").len(), 31);
    assert_eq!(performed[0].done.as_ref().unwrap().result, json!({ "created": true }));
    assert_eq!(performed[1].done.as_ref().unwrap().result, json!({ "created": false }));
    assert_eq!(rig.target.cors("fresh").unwrap().len(), 1);

    // However few effects one reading gives, the actions are the same: groups and buckets span pages.
    let whole = rig.objects.plan_undo(&rig.scope, &performed).await.unwrap();
    for at_once in [1, 7, 33] {
        let paged = Paged { performed: performed.clone(), at_once };
        assert_eq!(rig.objects.plan_undo(&rig.scope, &paged).await.unwrap(), whole, "{at_once}");
    }

    let actions = rig.undo(&performed).await;
    assert_eq!(actions.len(), 3, "{actions:?}");
    assert!(actions[0].title.contains("delete 31 objects"), "{}", actions[0].title);
    assert_eq!(actions[0].takes_back.len(), 31);
    assert_eq!(rig.target.buckets(), ["into", "there"]);

    // Cut off after the last action and resumed: the same actions find nothing left to do.
    for action in &actions[..1] {
        let result = rig.objects.undo(&rig.scope, action, false, true).await.unwrap();
        assert_eq!(result, json!({ "deleted": 0, "gone": 31, "given_up": 0 }));
    }
    assert!(rig.objects.plan_undo(&rig.scope, &performed).await.unwrap().is_empty());
}

/// Effects of which one reading gives a few.
struct Paged {
    performed: Vec<Performed>,
    at_once: usize,
}

#[async_trait::async_trait]
impl History for Paged {
    async fn before(&self, before: Option<u64>) -> godwit_model::Result<Vec<Performed>> {
        let mut page = self.performed.before(before).await?;
        page.truncate(self.at_once);
        Ok(page)
    }
}

#[tokio::test]
async fn what_others_put_into_a_bucket_is_found_whatever_the_pages() {
    let rig = Rig::new().await;
    let mut effects = vec![create("fresh")];
    for key in ["a", "b", "c", "d", "e"] {
        rig.source.put("from", key, key.as_bytes().to_vec(), &[]).unwrap();
        let mut copy = rig.copy(key);
        let Action::CopyObject(action) = &mut copy.action else { unreachable!() };
        action.sink.bucket = "fresh".into();
        effects.push(copy);
    }
    let performed = rig.all(effects).await;
    let said = async |at_once| {
        let paged = Paged { performed: performed.clone(), at_once };
        let actions = rig.objects.plan_undo(&rig.scope, &paged).await.unwrap();
        actions.into_iter().filter_map(|action| action.changed).collect::<Vec<_>>()
    };
    assert_eq!(said(2).await, [] as [String; 0]);
    rig.target.put("fresh", "theirs", b"x".to_vec(), &[]).unwrap();
    for at_once in [1, 2, 6] {
        let said = said(at_once).await;
        assert!(said.len() == 1 && said[0].contains("holds theirs"), "{at_once}: {said:?}");
    }
}

#[tokio::test]
async fn undo_refuses_what_changed_since() {
    let rig = Rig::new().await;
    for key in ["a", "b", "c"] {
        rig.source.put("from", key, key.as_bytes().to_vec(), &[]).unwrap();
    }
    let performed = rig.all(vec![rig.copy("a"), rig.copy("b"), rig.copy("c")]).await;
    rig.target.put("into", "b", b"edited".to_vec(), &[]).unwrap();
    let actions = rig.objects.plan_undo(&rig.scope, &performed).await.unwrap();
    assert_eq!(actions.len(), 2);
    let (changed, same): (Vec<_>, Vec<_>) = actions.iter().partition(|action| action.changed.is_some());
    assert_eq!(changed[0].takes_back[0].as_str(), "copy b");
    let error = rig.objects.undo(&rig.scope, changed[0], false, false).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    rig.objects.undo(&rig.scope, same[0], false, false).await.unwrap();
    assert_eq!(rig.target.keys("into"), ["b"]);
    rig.objects.undo(&rig.scope, changed[0], true, false).await.unwrap();
    assert!(rig.target.keys("into").is_empty());
}

#[tokio::test]
async fn undo_of_an_effect_in_doubt_takes_only_its_own() {
    let rig = Rig::new().await;
    for key in ["never", "written", "foreign"] {
        rig.source.put("from", key, key.as_bytes().to_vec(), &[]).unwrap();
    }
    rig.perform(&rig.copy("written")).await.unwrap();
    rig.target.put("into", "foreign", b"other".to_vec(), &[]).unwrap();
    let mut performed = Vec::new();
    for key in ["never", "written", "foreign"] {
        let effect = rig.copy(key);
        let preparation = rig.objects.prepare(&rig.scope, &effect).await.unwrap();
        performed.push(Performed { effect, preparation, done: None, sequence: performed.len() as u64 });
    }
    let actions = rig.objects.plan_undo(&rig.scope, &performed).await.unwrap();
    let changed: Vec<_> = actions.iter().filter(|action| action.changed.is_some()).collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].takes_back[0].as_str(), "copy foreign");
    for action in actions.iter().filter(|action| action.changed.is_none()) {
        rig.objects.undo(&rig.scope, action, false, false).await.unwrap();
    }
    assert_eq!(rig.target.keys("into"), ["foreign"]);
}

#[tokio::test]
async fn a_bucket_with_other_objects_stays() {
    let rig = Rig::new().await;
    let performed = rig.all(vec![create("fresh")]).await;
    rig.target.put("fresh", "somebody else's", b"x".to_vec(), &[]).unwrap();
    let actions = rig.objects.plan_undo(&rig.scope, &performed).await.unwrap();
    assert!(actions[0].changed.as_deref().unwrap().contains("somebody else's"), "{actions:?}");
    assert_eq!(
        rig.objects.undo(&rig.scope, &actions[0], false, false).await.unwrap_err().kind,
        ErrorKind::Conflict
    );
    rig.objects.undo(&rig.scope, &actions[0], true, false).await.unwrap();
    assert_eq!(rig.target.keys("fresh"), ["somebody else's"]);
}

#[tokio::test]
async fn a_bucket_made_before_a_crash_counts_as_made() {
    let rig = Rig::new().await;
    let effect = create("fresh");
    let preparation = rig.objects.prepare(&rig.scope, &effect).await.unwrap();
    let ledger = MemoryLedger::default();
    rig.objects.perform(&rig.scope, &effect, &preparation, &ledger, false).await.unwrap();
    let done = rig.objects.perform(&rig.scope, &effect, &preparation, &ledger, true).await.unwrap();
    assert_eq!(done.result, json!({ "created": true }));
    rig.undo(&[Performed { effect, preparation, done: None, sequence: 0 }]).await;
    assert_eq!(rig.target.buckets(), ["into"]);
}

#[tokio::test]
async fn cors_rules_are_set_and_put_back() {
    let rig = Rig::new().await;
    assert_eq!(rig.objects.cors(rig.grant("target"), "into").await.unwrap(), None);
    rig.perform(&cors("into", vec![rule("https://old.example.com")])).await.unwrap();

    let performed =
        rig.all(vec![cors("into", vec![rule("https://a.example.com"), rule("https://b.example.com")])]).await;
    assert_eq!(performed[0].preparation.class, Class::Changes);
    assert!(
        performed[0]
            .preparation
            .details
            .iter()
            .any(|line| line.contains("now: GET, HEAD from https://old.example.com"))
    );
    let rules = rig.objects.cors(rig.grant("target"), "into").await.unwrap().unwrap();
    assert_eq!(rules, json!([rule("https://a.example.com"), rule("https://b.example.com")]));
    rig.undo(&performed).await;
    let rules = rig.objects.cors(rig.grant("target"), "into").await.unwrap().unwrap();
    assert_eq!(rules, json!([rule("https://old.example.com")]));

    // Changed by somebody since.
    let performed = rig.all(vec![cors("into", vec![rule("https://a.example.com")])]).await;
    rig.perform(&cors("into", vec![rule("https://c.example.com")])).await.unwrap();
    let actions = rig.objects.plan_undo(&rig.scope, &performed).await.unwrap();
    assert!(actions[0].changed.is_some());
    assert_eq!(
        rig.objects.undo(&rig.scope, &actions[0], false, false).await.unwrap_err().kind,
        ErrorKind::Conflict
    );

    // None at all.
    rig.perform(&cors("into", Vec::new())).await.unwrap();
    assert_eq!(rig.target.cors("into").map(|rules| rules.len()).unwrap_or(0), 0);
}

#[tokio::test]
async fn puts_and_deletions() {
    let rig = Rig::new().await;
    let effect = put("report.txt", b"all is well");
    let performed = rig.all(vec![effect.clone()]).await;
    let stored = rig.target.get("into", "report.txt").unwrap();
    assert_eq!(
        (stored.bytes.as_ref(), stored.headers["content-type"].as_str()),
        (&b"all is well"[..], "text/plain")
    );
    rig.perform_with(&effect, &MemoryLedger::default(), true).await.unwrap();
    assert_eq!(rig.perform(&effect).await.unwrap_err().kind, ErrorKind::Conflict);

    let token = godwit_model::secret::token(&rig.scope.run, "key");
    let leak = rig.perform(&put("leak", token.as_bytes())).await.unwrap_err();
    assert_eq!(leak.kind, ErrorKind::Denied);
    rig.undo(&performed).await;
    assert!(rig.target.keys("into").is_empty());

    rig.target.put("into", "old", b"x".to_vec(), &[]).unwrap();
    let etag = rig.target.get("into", "old").unwrap().etag;
    let delete = |etag: &str| {
        effect_of_deletion(DeleteObject { sink: location("target", "into", "old"), etag: etag.to_owned() })
    };
    assert_eq!(rig.perform(&delete("other")).await.unwrap_err().kind, ErrorKind::Conflict);
    let performed = rig.all(vec![delete(&etag)]).await;
    assert_eq!(performed[0].preparation.class, Class::Destroys);
    assert!(rig.target.keys("into").is_empty());
    assert_eq!(rig.perform(&delete(&etag)).await.unwrap_err().kind, ErrorKind::Missing);
    rig.perform_with(&delete(&etag), &MemoryLedger::default(), true).await.unwrap();
    let actions = rig.objects.plan_undo(&rig.scope, &performed).await.unwrap();
    assert!(actions[0].irreversible.is_some());
}

fn effect_of_deletion(action: DeleteObject) -> Effect {
    effect("delete old", Action::DeleteObject(action))
}

#[tokio::test]
async fn reads_answer_what_is_there() {
    let rig = Rig::new().await;
    for index in 0..20 {
        rig.target.put("into", &format!("datasets/{index:02}"), vec![b'x'; index], &[]).unwrap();
    }
    rig.target.put("into", "other/a", b"x".to_vec(), &[]).unwrap();
    let grant = rig.grant("target");
    let mut listing = rig.objects.list(grant, "into", "datasets/", None).await.unwrap();
    let mut sizes = Vec::new();
    loop {
        let page = listing.next().await.unwrap();
        if page.is_empty() {
            break;
        }
        sizes.extend(page.iter().map(|object| object.size));
    }
    assert_eq!(sizes, (0..20).collect::<Vec<u64>>());
    assert!(listing.next().await.unwrap().is_empty());
    assert_eq!(rig.objects.list(grant, "nowhere", "", None).await.err().unwrap().kind, ErrorKind::Missing);
    assert!(rig.objects.bucket_exists(grant, "into").await.unwrap());
    assert!(!rig.objects.bucket_exists(grant, "nowhere").await.unwrap());

    let at = |key: &str| Bucketed { bucket: "into".into(), key: key.into() };
    assert_eq!(rig.objects.head(grant, &at("nothing")).await.unwrap(), None);
    let got = rig.objects.presigned_get(grant, &at("datasets/19")).await.unwrap();
    assert_eq!((got.status, got.bytes, got.sha256), (200, 19, Digest::of(&[b'x'; 19])));
    assert_eq!(rig.objects.presigned_get(grant, &at("nothing")).await.unwrap().status, 404);
    for len in [(1 << 20) - 1, 1 << 20, (3 << 20) + 5] {
        let content = bytes(len);
        rig.target.put("into", "long", content.clone(), &[]).unwrap();
        let got = rig.objects.presigned_get(grant, &at("long")).await.unwrap();
        let begun = Digest::of(&content[..len.min(1 << 20)]);
        assert_eq!((got.status, got.bytes, got.sha256), (200, len as u64, begun), "{len}");
    }
    assert!(rig.target.requests().iter().all(|request| !request.writes()));
    assert_eq!(rig.objects.identity(grant).unwrap(), format!("s3://127.0.0.1:{}/", rig.target.port()));
    assert_eq!(rig.objects.cleanup(&rig.scope.run, grant).await.unwrap(), None);
}
