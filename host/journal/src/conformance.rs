//! What every journal has to keep, as one suite over the trait.
//!
//! A check that fails panics with what it found, as a test does. Each check works on runs of its own, so that the
//! suite can be run on a journal in use, but not twice on the same one.

use std::sync::Arc;

use godwit_model::capability::UndoAction;
use godwit_model::check::{Check, Verdict};
use godwit_model::effect::{
    Action, Class, Content, DeleteFile, Done, Effect, Evidence, Preparation, WriteFile,
};
use godwit_model::journal::{
    Accepted, EffectStatus, Intent, Journal, RunKind, RunRecord, RunStatus, StepRecord, StepStatus,
    UndoRecord,
};
use godwit_model::{Digest, EffectKey, Error, ErrorKind, Fault, Json, RunId, StepId};
use serde_json::json;

use crate::owner::Owner;

/// Runs every check on a journal.
pub async fn check(journal: Arc<dyn Journal>) {
    let journal = journal.as_ref();
    runs_come_back_whole_and_newest_first(journal).await;
    a_run_is_inserted_once(journal).await;
    run_statuses_move_as_they_may(journal).await;
    a_live_process_keeps_its_run(journal).await;
    steps_keep_their_order(journal).await;
    the_first_memo_wins(journal).await;
    effects_come_back_whole_in_order(journal).await;
    contents_are_not_journalled(journal).await;
    a_done_effect_is_not_intended_again(journal).await;
    a_batch_stands_or_falls_whole(journal).await;
    outcomes_come_from_intents(journal).await;
    another_request_starts_from_nothing(journal).await;
    ranges_are_planned_once(journal).await;
    notes_are_apart(journal).await;
    keys_are_any_text(journal).await;
    an_undo_has_one_plan(journal).await;
    what_is_unknown_is_missing(journal).await;
    forgetting_takes_everything(journal).await;
}

/// A running run of this process with that id.
pub fn a_run(id: &str) -> RunRecord {
    RunRecord {
        id: RunId::from(id),
        kind: RunKind::Apply,
        of: None,
        recipe: "copy".into(),
        recipe_path: Some("recipes/copy.json".into()),
        recipe_text: "{ \"name\": \"copy\" }\n".into(),
        inputs: json!({ "host": "db.example.com", "rows": 1.1, "large": u64::MAX }),
        secret_inputs: vec!["password".into()],
        plugins: json!({ "copy": Digest::of(b"plugin") }),
        accepted: Vec::new(),
        status: RunStatus::Running,
        started_at: "2024-05-06T07:08:09.123Z".into(),
        ended_at: None,
        error: None,
        owner: Owner::current().to_string(),
    }
}

/// A step of that status.
pub fn a_step(id: &str, status: StepStatus) -> StepRecord {
    StepRecord {
        step: StepId::from(id),
        plugin: "copy".into(),
        plugin_digest: Digest::of(b"plugin"),
        status,
        params: json!({ "tables": ["public.users"] }),
        outputs: Json::Null,
        checks: Vec::new(),
        error: None,
        started_at: Some("2024-05-06T07:08:10Z".into()),
        ended_at: None,
    }
}

/// An intent to delete the file named by `path`.
pub fn an_intent(key: &str, path: &str, sequence: u64) -> Intent {
    let action = Action::DeleteFile(DeleteFile { slot: "out".into(), path: path.into() });
    let effect = Effect { key: EffectKey::from(key), after: vec![EffectKey::from("before")], action };
    Intent {
        request: effect.request_digest(),
        effect,
        preparation: Preparation {
            class: Class::Destroys,
            irreversible: None,
            title: format!("delete {path}"),
            details: vec!["a line".into()],
            diff: None,
            estimate: None,
            before: json!({ "image": "0001" }),
        },
        sequence,
    }
}

/// A done status with that result.
pub fn done(result: Json) -> EffectStatus {
    EffectStatus::Done {
        done: Done {
            result,
            evidence: Some(Evidence { items: 3, bytes: 4096, digest: "sum:00ff".into() }),
            fingerprint: json!({ "rows": 3 }),
            notes: vec!["by the way".into()],
        },
    }
}

fn failed(message: &str) -> EffectStatus {
    EffectStatus::Failed { error: Error::failed(message).code("42P01").hint("create it") }
}

fn an_undo(step: &str, key: &str, sequence: u64) -> UndoRecord {
    UndoRecord {
        step: StepId::from(step),
        action: UndoAction {
            key: EffectKey::from(key),
            title: format!("take back {key}"),
            takes_back: vec![EffectKey::from("a"), EffectKey::from("b")],
            irreversible: None,
            changed: None,
            details: Vec::new(),
            request: json!({ "path": key }),
        },
        sequence,
        done: None,
    }
}

/// Compares by JSON, as not every record knows equality.
#[track_caller]
fn assert_same<T: serde::Serialize>(found: &T, expected: &T) {
    let json = |value: &T| serde_json::to_value(value).expect("records are plain data");
    assert_eq!(json(found), json(expected));
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(found: Result<T, Error>, kind: ErrorKind, names: &[&str]) {
    let error = found.expect_err("it must be refused");
    assert_eq!(error.kind, kind, "{error}");
    for name in names {
        assert!(error.message.contains(name), "`{error}` doesn't name `{name}`");
    }
}

async fn begin(journal: &dyn Journal, id: &str) -> (RunId, StepId) {
    journal.insert_run(&a_run(id)).await.expect("a new run");
    (RunId::from(id), StepId::from("step"))
}

async fn runs_come_back_whole_and_newest_first(journal: &dyn Journal) {
    let mut old = a_run("runs-old");
    old.status = RunStatus::Failed;
    old.error = Some(Error::failed("it broke").fault(Fault::Plugin).code("XX000").hint("mend it"));
    old.ended_at = Some("2024-05-06T08:00:00Z".into());
    old.accepted = vec![
        Accepted { step: "z".into(), key: "k".into(), request: Digest::of(b"z") },
        Accepted { step: "a".into(), key: "k".into(), request: Digest::of(b"a") },
    ];
    let mut new = a_run("runs-new");
    new.kind = RunKind::Undo;
    new.of = Some(old.id.clone());
    new.recipe_path = None;
    new.started_at = "2024-05-06T09:00:00.000Z".into();
    journal.insert_run(&new).await.expect("insert");
    journal.insert_run(&old).await.expect("insert");
    assert_same(&journal.run(&old.id).await.expect("read"), &Some(old.clone()));
    assert_same(&journal.run(&new.id).await.expect("read"), &Some(new.clone()));

    let more = Accepted { step: "b".into(), key: "k".into(), request: Digest::of(b"b") };
    journal.accept(&old.id, &[old.accepted[0].clone(), more.clone()]).await.expect("accept");
    old.accepted.push(more);
    let mut runs = journal.runs().await.expect("read");
    runs.retain(|run| run.id.as_str().starts_with("runs-"));
    assert_same(&runs, &vec![new, old]);
}

async fn a_run_is_inserted_once(journal: &dyn Journal) {
    begin(journal, "once").await;
    assert_refused(journal.insert_run(&a_run("once")).await, ErrorKind::Conflict, &["once"]);
}

async fn run_statuses_move_as_they_may(journal: &dyn Journal) {
    let (run, _) = begin(journal, "statuses").await;
    let read = async || journal.run(&run).await.expect("read").expect("is there");
    let why = Error::unavailable("db.example.com is away");
    journal.set_run_status(&run, RunStatus::Failed, Some(&why)).await.expect("fail");
    let record = read().await;
    assert_eq!((record.status, record.error), (RunStatus::Failed, Some(why.clone())));
    assert!(record.ended_at.is_some_and(|at| at.ends_with('Z')));

    assert_refused(
        journal.set_run_status(&run, RunStatus::Done, None).await,
        ErrorKind::Conflict,
        &["statuses", "failed"],
    );
    assert_eq!(read().await.status, RunStatus::Failed);
    journal.set_run_status(&run, RunStatus::Running, None).await.expect("resume");
    let record = read().await;
    assert_eq!((record.status, record.error, record.ended_at), (RunStatus::Running, None, None));
    journal.set_run_status(&run, RunStatus::Running, None).await.expect("again, after a crash");
    journal.set_run_status(&run, RunStatus::Failed, Some(&why)).await.expect("fail");
    let ended = read().await.ended_at;
    journal.set_run_status(&run, RunStatus::Undone, None).await.expect("undo");
    let record = read().await;
    assert_eq!((record.status, record.error, record.ended_at), (RunStatus::Undone, Some(why), ended));
    assert_refused(
        journal.set_run_status(&run, RunStatus::Running, None).await,
        ErrorKind::Conflict,
        &["undone"],
    );
}

async fn a_live_process_keeps_its_run(journal: &dyn Journal) {
    let (run, _) = begin(journal, "owned").await;
    let me = Owner::current();
    journal.own_run(&run, &me.to_string()).await.expect("it is ours");
    let other = Owner { pid: u32::MAX, ..me.clone() }.to_string();
    assert_refused(journal.own_run(&run, &other).await, ErrorKind::Conflict, &["owned", &me.pid.to_string()]);
    // The number used again, another machine, and no owner at all.
    let ended = Owner { start: "0".into(), ..me.clone() }.to_string();
    let elsewhere = Owner { host: "elsewhere.example.com".into(), ..me.clone() }.to_string();
    for gone in [ended, elsewhere, "nobody".into()] {
        let mut record = a_run(&format!("owned by {gone}"));
        record.owner = gone;
        journal.insert_run(&record).await.expect("insert");
        journal.own_run(&record.id, &me.to_string()).await.expect("nobody holds it");
        assert_eq!(journal.run(&record.id).await.expect("read").expect("there").owner, me.to_string());
        journal.forget(&record.id).await.expect("ours to forget");
    }
}

async fn steps_keep_their_order(journal: &dyn Journal) {
    let (run, _) = begin(journal, "steps").await;
    for id in ["z", "a", "m[x]"] {
        journal.put_step(&run, &a_step(id, StepStatus::Waiting)).await.expect("put");
    }
    let mut complete = a_step("z", StepStatus::Applying);
    journal.put_step(&run, &complete).await.expect("apply");
    assert_refused(
        journal.put_step(&run, &a_step("z", StepStatus::Complete)).await,
        ErrorKind::Conflict,
        &["`z`", "applying"],
    );
    complete.status = StepStatus::Verifying;
    journal.put_step(&run, &complete).await.expect("verify");
    complete.status = StepStatus::Complete;
    complete.outputs = json!({ "rows": 3 });
    complete.checks = vec![
        Check { name: "rows".into(), verdict: Verdict::Passed, detail: Some("3 rows".into()) },
        Check { name: "digest".into(), verdict: Verdict::NotComparable("text".into()), detail: None },
    ];
    complete.ended_at = Some("2024-05-06T07:09:00Z".into());
    journal.put_step(&run, &complete).await.expect("complete");
    assert_same(
        &journal.steps(&run).await.expect("read"),
        &vec![complete, a_step("a", StepStatus::Waiting), a_step("m[x]", StepStatus::Waiting)],
    );
}

async fn the_first_memo_wins(journal: &dyn Journal) {
    let (run, step) = begin(journal, "memos").await;
    let value = json!({ "empty": true, "share": 0.1 + 0.2, "tiny": 5e-324, "big": u64::MAX, "b": 1, "a": 2 });
    let first = journal.memo(&run, &step, "inventory", &value).await.expect("keep");
    let second = journal.memo(&run, &step, "inventory", &json!("later")).await.expect("read");
    assert_eq!(first.to_string(), value.to_string());
    assert_eq!(second.to_string(), value.to_string());
    journal.memo(&run, &"other".into(), "inventory", &Json::Null).await.expect("keep");
    journal.memo(&run, &step, "b", &json!([])).await.expect("keep");
    let memos = journal.memos(&run, &step).await.expect("read");
    assert_eq!(memos, [("b".to_owned(), json!([])), ("inventory".to_owned(), value)]);
    assert_eq!(journal.memos(&run, &"other".into()).await.expect("read").len(), 1);
}

async fn effects_come_back_whole_in_order(journal: &dyn Journal) {
    let (run, step) = begin(journal, "effects").await;
    let batch = [an_intent("c", "c", 2), an_intent("a", "a", 1), an_intent("b", "b", 0)];
    journal.intend(&run, &step, &batch).await.expect("intend");
    journal.settle(&run, &step, &"b".into(), &done(json!({ "n": 1 }))).await.expect("settle");
    journal.settle(&run, &step, &"a".into(), &failed("gone")).await.expect("settle");
    let cancelled = EffectStatus::Cancelled { why: "`a` failed".into() };
    journal.settle(&run, &step, &"c".into(), &cancelled).await.expect("settle");
    let records = journal.effects(&run, &step).await.expect("read");
    let statuses: Vec<_> = records.iter().map(|record| record.status.clone()).collect();
    assert_eq!(statuses, [done(json!({ "n": 1 })), failed("gone"), cancelled]);
    for (record, intent) in records.iter().zip([&batch[2], &batch[1], &batch[0]]) {
        assert_eq!(record.effect, intent.effect);
        assert_eq!(record.preparation, intent.preparation);
        assert_eq!((&record.request, record.sequence), (&intent.request, intent.sequence));
        assert!(record.at.starts_with("20") && record.at.ends_with('Z'), "{}", record.at);
        let one = journal.effect(&run, &step, &record.effect.key).await.expect("read");
        assert_same(&one.as_ref(), &Some(record));
    }
    let mut keys: Vec<EffectKey> = records.iter().map(|record| record.effect.key.clone()).collect();
    keys.sort();
    for (first, limit, expected) in [(0, 9, &keys[..]), (1, 1, &keys[1..2]), (2, 2, &keys[2..]), (0, 0, &[])]
    {
        let page = journal.effects_from(&run, &step, &keys[first], limit).await.expect("read");
        let found: Vec<EffectKey> = page.iter().map(|record| record.effect.key.clone()).collect();
        assert_eq!(found, expected, "{limit} from {}", keys[first]);
        for record in &page {
            let one = journal.effect(&run, &step, &record.effect.key).await.expect("read");
            assert_same(&one.as_ref(), &Some(record));
        }
    }
    let order: Vec<(u64, EffectKey)> =
        records.iter().rev().map(|record| (record.sequence, record.effect.key.clone())).collect();
    for (before, limit, expected) in
        [(None, 9, &order[..]), (None, 2, &order[..2]), (Some(order[0].0), 1, &order[1..2])]
    {
        let page = journal.effects_before(&run, &step, before, limit).await.expect("read");
        let found: Vec<_> = page.iter().map(|record| (record.sequence, record.effect.key.clone())).collect();
        assert_eq!(found, expected, "{limit} before {before:?}");
    }
    assert!(journal.effects_before(&run, &step, Some(order[2].0), 1).await.expect("read").is_empty());
    assert_eq!(journal.effect_count(&run, &step).await.expect("read"), 3);
    let asked = [keys[2].clone(), "nobody's".into(), keys[0].clone()];
    let found = journal.effects_of(&run, &step, &asked).await.expect("read");
    let mut found: Vec<EffectKey> = found.into_iter().map(|record| record.effect.key).collect();
    found.sort();
    assert_eq!(found, [keys[0].clone(), keys[2].clone()]);
    let between = format!("{}0", keys[0]).as_str().into();
    let page = journal.effects_from(&run, &step, &between, 1).await.expect("read");
    assert_eq!(page[0].effect.key, keys[1], "a key that isn't there");
}

async fn contents_are_not_journalled(journal: &dyn Journal) {
    let (run, step) = begin(journal, "contents").await;
    let content = Content::new(b"PASSWORD=not-a-real-one".to_vec());
    let mut intent = an_intent("write", "x", 0);
    intent.effect.action =
        Action::WriteFile(WriteFile { slot: "out".into(), path: ".env".into(), content: content.clone() });
    intent.request = intent.effect.request_digest();
    journal.intend(&run, &step, &[intent]).await.expect("intend");
    let record = journal.effect(&run, &step, &"write".into()).await.expect("read").expect("there");
    let Action::WriteFile(write) = record.effect.action else { panic!("another action came back") };
    assert_eq!(
        (write.content.bytes, write.content.len, write.content.sha256),
        (None, content.len, content.sha256)
    );
}

async fn a_done_effect_is_not_intended_again(journal: &dyn Journal) {
    let (run, step) = begin(journal, "done").await;
    let key = EffectKey::from("a");
    journal.intend(&run, &step, &[an_intent("a", "a", 0)]).await.expect("intend");
    journal.settle(&run, &step, &key, &done(json!(1))).await.expect("settle");
    journal.intend(&run, &step, &[an_intent("a", "a", 7)]).await.expect("the same request");
    let record = journal.effect(&run, &step, &key).await.expect("read").expect("there");
    assert_eq!((record.status, record.sequence), (done(json!(1)), 0));
    assert_refused(
        journal.intend(&run, &step, &[an_intent("a", "another", 0)]).await,
        ErrorKind::Conflict,
        &["`a`", "`step`"],
    );
    // What it did was lost: it is done again.
    journal.settle(&run, &step, &key, &EffectStatus::Intended).await.expect("reset");
    let record = journal.effect(&run, &step, &key).await.expect("read").expect("there");
    assert_eq!(record.status, EffectStatus::Intended);
    journal.settle(&run, &step, &key, &done(json!(2))).await.expect("settle");
}

async fn a_batch_stands_or_falls_whole(journal: &dyn Journal) {
    let (run, step) = begin(journal, "batch").await;
    journal.intend(&run, &step, &[an_intent("a", "a", 0)]).await.expect("intend");
    journal.settle(&run, &step, &"a".into(), &done(Json::Null)).await.expect("settle");
    let batch = [an_intent("b", "b", 1), an_intent("a", "another", 2), an_intent("c", "c", 3)];
    assert_refused(journal.intend(&run, &step, &batch).await, ErrorKind::Conflict, &["`a`"]);
    assert_eq!(journal.effects(&run, &step).await.expect("read").len(), 1);
    journal.intend(&run, &step, &[]).await.expect("an empty batch");
}

async fn outcomes_come_from_intents(journal: &dyn Journal) {
    let (run, step) = begin(journal, "outcomes").await;
    let key = EffectKey::from("a");
    assert_refused(
        journal.settle(&run, &step, &key, &done(Json::Null)).await,
        ErrorKind::Missing,
        &["`a`", "`step`"],
    );
    journal.intend(&run, &step, &[an_intent("a", "a", 0)]).await.expect("intend");
    journal.settle(&run, &step, &key, &EffectStatus::Intended).await.expect("says nothing new");
    journal.settle(&run, &step, &key, &failed("once")).await.expect("settle");
    journal.settle(&run, &step, &key, &failed("once")).await.expect("says nothing new");
    for other in [failed("twice"), done(Json::Null), EffectStatus::Cancelled { why: "late".into() }] {
        assert_refused(journal.settle(&run, &step, &key, &other).await, ErrorKind::Conflict, &["`a`"]);
    }
    journal.intend(&run, &step, &[an_intent("a", "a", 5)]).await.expect("a retry");
    let record = journal.effect(&run, &step, &key).await.expect("read").expect("there");
    assert_eq!((record.status, record.sequence), (EffectStatus::Intended, 5));
}

async fn another_request_starts_from_nothing(journal: &dyn Journal) {
    let (run, step) = begin(journal, "another").await;
    let key = EffectKey::from("a");
    journal.intend(&run, &step, &[an_intent("a", "a", 0)]).await.expect("intend");
    journal.plan_parts(&run, &step, &key, &[json!(1)]).await.expect("plan");
    journal.set_note(&run, &step, Some(&key), "upload", &json!("u1")).await.expect("note");
    journal.set_note(&run, &step, None, "upload", &json!("step")).await.expect("note");
    journal.settle(&run, &step, &key, &failed("cut off")).await.expect("settle");
    journal.intend(&run, &step, &[an_intent("a", "a", 0)]).await.expect("a retry");
    assert_eq!(journal.parts(&run, &step, &key).await.expect("read").len(), 1, "a retry goes on");
    assert_eq!(journal.note(&run, &step, Some(&key), "upload").await.expect("read"), Some(json!("u1")));
    journal.intend(&run, &step, &[an_intent("a", "other", 0)]).await.expect("another request");
    assert!(journal.parts(&run, &step, &key).await.expect("read").is_empty());
    assert_eq!(journal.note(&run, &step, Some(&key), "upload").await.expect("read"), None);
    assert_eq!(journal.note(&run, &step, None, "upload").await.expect("read"), Some(json!("step")));
}

async fn ranges_are_planned_once(journal: &dyn Journal) {
    let (run, step) = begin(journal, "parts").await;
    let key = EffectKey::from("a");
    assert_refused(journal.plan_parts(&run, &step, &key, &[json!(0)]).await, ErrorKind::Missing, &["`a`"]);
    journal.intend(&run, &step, &[an_intent("a", "a", 0)]).await.expect("intend");
    assert!(journal.parts(&run, &step, &key).await.expect("read").is_empty());
    let ranges = [json!({ "to": 10 }), json!({ "from": 10, "to": 20 }), json!({ "from": 20 })];
    journal.plan_parts(&run, &step, &key, &ranges).await.expect("plan");
    journal.plan_parts(&run, &step, &key, &[json!("later")]).await.expect("the first plan stands");
    journal.finish_part(&run, &step, &key, 2, &json!({ "rows": 9 })).await.expect("finish");
    journal.finish_part(&run, &step, &key, 0, &Json::Null).await.expect("finish");
    assert_refused(
        journal.finish_part(&run, &step, &key, 3, &Json::Null).await,
        ErrorKind::Missing,
        &["part 3", "`a`"],
    );
    let read = async || journal.parts(&run, &step, &key).await.expect("read");
    let parts = read().await;
    assert_eq!(parts.iter().map(|part| part.index).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(parts.iter().map(|part| part.range.clone()).collect::<Vec<_>>(), ranges);
    let outcomes: Vec<_> = parts.into_iter().map(|part| part.outcome).collect();
    assert_eq!(outcomes, [Some(Json::Null), None, Some(json!({ "rows": 9 }))]);
    journal.reset_parts(&run, &step, &key).await.expect("reset");
    let parts = read().await;
    assert!(parts.len() == 3 && parts.iter().all(|part| part.outcome.is_none()));
}

async fn notes_are_apart(journal: &dyn Journal) {
    let (run, step) = begin(journal, "notes").await;
    let (empty, a) = (EffectKey::from(""), EffectKey::from("a"));
    let owners = [(step.clone(), None), (step.clone(), Some(&empty)), (step.clone(), Some(&a))];
    for (step, key) in &owners {
        assert_eq!(journal.note(&run, step, *key, "n").await.expect("read"), None);
        journal.set_note(&run, step, *key, "n", &json!("first")).await.expect("note");
    }
    for (index, (step, key)) in owners.iter().enumerate() {
        journal.set_note(&run, step, *key, "n", &json!(index)).await.expect("replace");
    }
    for (index, (step, key)) in owners.iter().enumerate() {
        assert_eq!(journal.note(&run, step, *key, "n").await.expect("read"), Some(json!(index)));
    }
    assert_eq!(journal.note(&run, &"other".into(), None, "n").await.expect("read"), None);
    journal.set_note(&run, &step, None, "null", &Json::Null).await.expect("note");
    assert_eq!(journal.note(&run, &step, None, "null").await.expect("read"), Some(Json::Null));
}

async fn keys_are_any_text(journal: &dyn Journal) {
    let (run, _) = begin(journal, "keys").await;
    let step = StepId::from("copy[\"ü\\'\0]");
    let keys = ["", "a", "a\0", "a\0b", "a\\0b", "\\", "\\\\", "'\"$[0]%_", "🪶/ü", "A", "a ", "\u{1}\n"];
    let batch: Vec<_> = (0..).zip(keys).map(|(n, key)| an_intent(key, key, n)).collect();
    journal.intend(&run, &step, &batch).await.expect("intend");
    for (n, key) in keys.into_iter().enumerate() {
        let key = EffectKey::from(key);
        journal.settle(&run, &step, &key, &done(json!(key.as_str()))).await.expect("settle");
        journal.plan_parts(&run, &step, &key, &[json!(n)]).await.expect("plan");
        journal.finish_part(&run, &step, &key, 0, &json!(n)).await.expect("finish");
        journal.set_note(&run, &step, Some(&key), "n", &json!(n)).await.expect("note");
    }
    let records = journal.effects(&run, &step).await.expect("read");
    assert_eq!(records.len(), keys.len());
    for (n, (record, key)) in records.into_iter().zip(keys).enumerate() {
        let key = EffectKey::from(key);
        assert_eq!((&record.effect.key, record.status), (&key, done(json!(key.as_str()))));
        let parts = journal.parts(&run, &step, &key).await.expect("read");
        assert_eq!(parts[0].outcome, Some(json!(n)));
        assert_eq!(journal.note(&run, &step, Some(&key), "n").await.expect("read"), Some(json!(n)));
    }
}

async fn an_undo_has_one_plan(journal: &dyn Journal) {
    let (run, _) = begin(journal, "undo").await;
    let plan = [an_undo("b", "x", 1), an_undo("a", "x", 0), an_undo("b", "y", 2)];
    assert_refused(
        journal.plan_undo(&run, vec![plan[0].clone(), plan[0].clone()]).await,
        ErrorKind::Conflict,
        &["`x`"],
    );
    assert!(journal.undo_actions(&run).await.expect("read").is_empty());
    journal.plan_undo(&run, plan.to_vec()).await.expect("plan");
    journal.finish_undo(&run, &"b".into(), &"x".into(), &json!({ "restored": 1 })).await.expect("finish");
    journal.plan_undo(&run, plan.to_vec()).await.expect("the same plan");
    assert_refused(journal.plan_undo(&run, plan[..1].to_vec()).await, ErrorKind::Conflict, &["undo"]);
    let mut expected = vec![plan[1].clone(), plan[0].clone(), plan[2].clone()];
    expected[1].done = Some(json!({ "restored": 1 }));
    assert_same(&journal.undo_actions(&run).await.expect("read"), &expected);
    assert_refused(
        journal.finish_undo(&run, &"a".into(), &"y".into(), &Json::Null).await,
        ErrorKind::Missing,
        &["`y`"],
    );
}

async fn what_is_unknown_is_missing(journal: &dyn Journal) {
    let (run, step, key) = (RunId::from("never"), StepId::from("step"), EffectKey::from("a"));
    let missing = |found: Result<(), Error>| assert_refused(found, ErrorKind::Missing, &["never"]);
    missing(journal.set_run_status(&run, RunStatus::Done, None).await);
    missing(journal.own_run(&run, "h:1:1").await);
    missing(journal.accept(&run, &[]).await);
    missing(journal.forget(&run).await);
    missing(journal.put_step(&run, &a_step("step", StepStatus::Waiting)).await);
    missing(journal.memo(&run, &step, "k", &Json::Null).await.map(|_| ()));
    missing(journal.intend(&run, &step, &[an_intent("a", "a", 0)]).await);
    missing(journal.settle(&run, &step, &key, &EffectStatus::Intended).await);
    missing(journal.plan_parts(&run, &step, &key, &[]).await);
    missing(journal.finish_part(&run, &step, &key, 0, &Json::Null).await);
    missing(journal.reset_parts(&run, &step, &key).await);
    missing(journal.set_note(&run, &step, None, "n", &Json::Null).await);
    missing(journal.plan_undo(&run, Vec::new()).await);
    missing(journal.finish_undo(&run, &step, &key, &Json::Null).await);
    assert!(journal.run(&run).await.expect("read").is_none());
    assert!(journal.steps(&run).await.expect("read").is_empty());
    assert!(journal.memos(&run, &step).await.expect("read").is_empty());
    assert!(journal.effects(&run, &step).await.expect("read").is_empty());
    assert!(journal.effect(&run, &step, &key).await.expect("read").is_none());
    assert!(journal.parts(&run, &step, &key).await.expect("read").is_empty());
    assert!(journal.note(&run, &step, None, "n").await.expect("read").is_none());
    assert!(journal.undo_actions(&run).await.expect("read").is_empty());
}

async fn forgetting_takes_everything(journal: &dyn Journal) {
    let (kept, step) = begin(journal, "kept").await;
    let (run, _) = begin(journal, "forgotten").await;
    let key = EffectKey::from("a");
    for run in [&kept, &run] {
        journal.put_step(run, &a_step("step", StepStatus::Applying)).await.expect("put");
        journal.memo(run, &step, "m", &json!(1)).await.expect("keep");
        journal.intend(run, &step, &[an_intent("a", "a", 0)]).await.expect("intend");
        journal.plan_parts(run, &step, &key, &[json!(1)]).await.expect("plan");
        journal.set_note(run, &step, Some(&key), "n", &json!(1)).await.expect("note");
        journal.plan_undo(run, vec![an_undo("step", "a", 0)]).await.expect("plan");
    }
    journal.forget(&run).await.expect("forget");
    assert!(journal.run(&run).await.expect("read").is_none());
    // A run of the same id finds nothing of the old one.
    journal.insert_run(&a_run("forgotten")).await.expect("insert");
    for (run, expected) in [(&run, 0), (&kept, 1)] {
        assert_eq!(journal.steps(run).await.expect("read").len(), expected);
        assert_eq!(journal.memos(run, &step).await.expect("read").len(), expected);
        assert_eq!(journal.effects(run, &step).await.expect("read").len(), expected);
        assert_eq!(journal.parts(run, &step, &key).await.expect("read").len(), expected);
        let note = journal.note(run, &step, Some(&key), "n").await.expect("read");
        assert_eq!(note.is_some(), expected == 1);
        assert_eq!(journal.undo_actions(run).await.expect("read").len(), expected);
    }
}
