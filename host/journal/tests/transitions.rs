//! Properties of the state machines, and both journals side by side through any history.

use std::sync::LazyLock;

use godwit_journal::conformance::{a_run, a_step, an_intent, done};
use godwit_journal::transition::{
    EffectEvent, EffectState, RunEvent, StepEvent, next_effect, next_run, next_step,
};
use godwit_journal::{MemoryJournal, SqliteJournal};
use godwit_model::capability::UndoAction;
use godwit_model::journal::{Accepted, EffectStatus, Journal, RunStatus, StepStatus, UndoRecord};
use godwit_model::{Digest, EffectKey, Error, Json, RunId, StepId};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Runtime::new().expect("a runtime"));

const RUN_STATUSES: [RunStatus; 5] =
    [RunStatus::Running, RunStatus::Stopped, RunStatus::Failed, RunStatus::Done, RunStatus::Undone];

const STEP_STATUSES: [StepStatus; 6] = [
    StepStatus::Waiting,
    StepStatus::Applying,
    StepStatus::Verifying,
    StepStatus::Complete,
    StepStatus::Failed,
    StepStatus::Skipped,
];

/// A failure prints its smallest case; nothing is written beside the sources.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn an_event_leads_where_its_name_says_or_nowhere() {
    for to in RUN_STATUSES {
        for from in RUN_STATUSES {
            let next = next_run(from, RunEvent::to(to));
            assert!(next.is_err() || next == Ok(to));
            assert!(from != to || next == Ok(to), "repeating {to:?} is legal");
        }
    }
    for to in STEP_STATUSES {
        for from in STEP_STATUSES.map(Some).into_iter().chain([None]) {
            let next = next_step(from, StepEvent::to(to));
            assert!(next.is_err() || next == Ok(to));
            assert!(from != Some(to) || next == Ok(to), "repeating {to:?} is legal");
        }
    }
    for to in EffectState::ALL {
        for from in EffectState::ALL.map(Some).into_iter().chain([None]) {
            let next = next_effect(from, EffectEvent::to(to));
            assert!(next.is_err() || next == Ok(to));
        }
        assert_eq!(EffectState::by_name(to.name()), Some(to));
    }
}

#[test]
fn a_refusal_says_what_was_tried() {
    let refusal = next_run(RunStatus::Undone, RunEvent::Start).expect_err("it stays undone");
    assert_eq!(refusal.to_string(), "a run that is undone can't start");
    let refusal = next_step(None, StepEvent::Complete).expect_err("it was never applied");
    assert_eq!(refusal.to_string(), "a step that is not begun can't complete");
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn a_run_is_done_only_from_running_and_undone_for_good(events in vec(prop::sample::select(RunEvent::ALL.to_vec()), 0..40)) {
        let mut status = RunStatus::Running;
        for event in events {
            let Ok(next) = next_run(status, event) else { continue };
            if next == RunStatus::Done {
                prop_assert!(matches!(status, RunStatus::Running | RunStatus::Done));
            }
            if status == RunStatus::Done {
                prop_assert!(matches!(next, RunStatus::Done | RunStatus::Undone));
            }
            prop_assert!(status != RunStatus::Undone || next == RunStatus::Undone);
            status = next;
        }
    }

    #[test]
    fn a_step_completes_only_when_verified(events in vec(prop::sample::select(StepEvent::ALL.to_vec()), 0..40)) {
        let mut history = Vec::new();
        for event in events {
            let Ok(next) = next_step(history.last().copied(), event) else { continue };
            history.push(next);
        }
        history.dedup();
        for pair in history.windows(2) {
            prop_assert!(pair[1] != StepStatus::Complete || pair[0] == StepStatus::Verifying);
            prop_assert!(pair[1] != StepStatus::Skipped || pair[0] == StepStatus::Waiting);
        }
    }

    #[test]
    fn an_outcome_follows_an_intent(events in vec(prop::sample::select(EffectEvent::ALL.to_vec()), 0..40)) {
        let mut history = Vec::new();
        for event in events {
            let Ok(next) = next_effect(history.last().copied(), event) else { continue };
            history.push(next);
        }
        prop_assert!(history.first().is_none_or(|first| *first == EffectState::Intended));
        for pair in history.windows(2) {
            prop_assert!(pair.contains(&EffectState::Intended), "{pair:?}");
        }
    }
}

/// One call with small domains, so that calls meet.
#[derive(Clone, Debug)]
enum Call {
    InsertRun,
    SetRunStatus(RunStatus, bool),
    OwnRun(String),
    Accept(u8),
    Forget,
    PutStep(StepStatus),
    Memo(u8, Json),
    Intend(Vec<(u8, u8)>),
    Settle(u8, EffectStatus),
    PlanParts(u8, u8),
    FinishPart(u8, u8),
    ResetParts(u8),
    SetNote(Option<u8>, Json),
    PlanUndo(Vec<u8>),
    FinishUndo(u8),
}

fn any_call() -> impl Strategy<Value = Call> {
    let key = || 0_u8..3;
    let value = || {
        prop_oneof![Just(Json::Null), any::<f64>().prop_map(|n| json!([n])), "\\PC{0,3}".prop_map(Json::from)]
    };
    let status = prop_oneof![
        Just(EffectStatus::Intended),
        (0_u8..2).prop_map(|n| done(json!(n))),
        (0_u8..2).prop_map(|n| EffectStatus::Failed { error: Error::failed(n.to_string()) }),
        Just(EffectStatus::Cancelled { why: "`a` failed".into() }),
    ];
    prop_oneof![
        2 => Just(Call::InsertRun),
        3 => (prop::sample::select(RUN_STATUSES.to_vec()), any::<bool>()).prop_map(|(s, e)| Call::SetRunStatus(s, e)),
        1 => "[a-z]{0,3}".prop_map(Call::OwnRun),
        1 => key().prop_map(Call::Accept),
        1 => Just(Call::Forget),
        3 => prop::sample::select(STEP_STATUSES.to_vec()).prop_map(Call::PutStep),
        2 => (key(), value()).prop_map(|(k, v)| Call::Memo(k, v)),
        6 => vec((key(), 0_u8..2), 0..4).prop_map(Call::Intend),
        8 => (key(), status).prop_map(|(k, s)| Call::Settle(k, s)),
        2 => (key(), 0_u8..3).prop_map(|(k, n)| Call::PlanParts(k, n)),
        2 => (key(), 0_u8..3).prop_map(|(k, n)| Call::FinishPart(k, n)),
        1 => key().prop_map(Call::ResetParts),
        2 => (prop::option::of(key()), value()).prop_map(|(k, v)| Call::SetNote(k, v)),
        1 => vec(key(), 0..3).prop_map(Call::PlanUndo),
        1 => key().prop_map(Call::FinishUndo),
    ]
}

const KEYS: [&str; 3] = ["a", "a\0", "ü"];

fn key_of(n: u8) -> EffectKey {
    EffectKey::from(KEYS[usize::from(n)])
}

async fn call(journal: &dyn Journal, run: &RunId, step: &StepId, call: &Call) -> Result<Json, Error> {
    match call {
        Call::InsertRun => journal.insert_run(&a_run(run.as_str())).await?,
        Call::SetRunStatus(status, error) => {
            let error = error.then(|| Error::failed("why").code("1"));
            journal.set_run_status(run, *status, error.as_ref()).await?;
        }
        Call::OwnRun(owner) => journal.own_run(run, owner).await?,
        Call::Accept(key) => {
            let one = Accepted { step: step.clone(), key: key_of(*key), request: Digest::of(b"r") };
            journal.accept(run, &[one]).await?;
        }
        Call::Forget => journal.forget(run).await?,
        Call::PutStep(status) => journal.put_step(run, &a_step(step.as_str(), *status)).await?,
        Call::Memo(key, value) => return journal.memo(run, step, key_of(*key).as_str(), value).await,
        Call::Intend(batch) => {
            let intents: Vec<_> = (0..)
                .zip(batch)
                .map(|(n, (key, path))| an_intent(key_of(*key).as_str(), &path.to_string(), n))
                .collect();
            journal.intend(run, step, &intents).await?;
        }
        Call::Settle(key, status) => journal.settle(run, step, &key_of(*key), status).await?,
        Call::PlanParts(key, count) => {
            let ranges: Vec<_> = (0..*count).map(|n| json!(n)).collect();
            journal.plan_parts(run, step, &key_of(*key), &ranges).await?;
        }
        Call::FinishPart(key, index) => {
            journal.finish_part(run, step, &key_of(*key), u32::from(*index), &json!(index)).await?;
        }
        Call::ResetParts(key) => journal.reset_parts(run, step, &key_of(*key)).await?,
        Call::SetNote(key, value) => {
            journal.set_note(run, step, key.map(key_of).as_ref(), "n", value).await?;
        }
        Call::PlanUndo(keys) => {
            let actions: Vec<_> = (0..).zip(keys).map(|(n, key)| undo(step, &key_of(*key), n)).collect();
            journal.plan_undo(run, actions).await?;
        }
        Call::FinishUndo(key) => journal.finish_undo(run, step, &key_of(*key), &json!("ok")).await?,
    }
    Ok(Json::Null)
}

fn undo(step: &StepId, key: &EffectKey, sequence: u64) -> UndoRecord {
    let action = UndoAction {
        key: key.clone(),
        title: "take back".into(),
        takes_back: Vec::new(),
        irreversible: None,
        changed: None,
        details: Vec::new(),
        request: Json::Null,
    };
    UndoRecord { step: step.clone(), action, sequence, done: None }
}

/// All that a journal says, without the times of writes.
async fn everything(journal: &dyn Journal, steps: &[StepId]) -> Json {
    let mut all = Vec::new();
    for mut run in journal.runs().await.expect("read") {
        let id = run.id.clone();
        let has_ended = run.ended_at.take().is_some();
        all.push(json!([run, has_ended, journal.steps(&id).await.expect("read")]));
        all.push(json!(journal.undo_actions(&id).await.expect("read")));
        for step in steps {
            all.push(json!(journal.memos(&id, step).await.expect("read")));
            all.push(json!(journal.note(&id, step, None, "n").await.expect("read")));
            let mut effects = journal.effects(&id, step).await.expect("read");
            // Here two effects may have one sequence, which has no order then.
            effects.sort_by(|a, b| (a.sequence, &a.effect.key).cmp(&(b.sequence, &b.effect.key)));
            for mut effect in effects {
                effect.at.clear();
                all.push(json!(effect));
            }
            for key in (0..3).map(key_of) {
                all.push(json!(journal.parts(&id, step, &key).await.expect("read")));
                all.push(json!(journal.note(&id, step, Some(&key), "n").await.expect("read")));
            }
        }
    }
    Json::Array(all)
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn both_journals_tell_the_same_story(calls in vec((0_usize..2, 0_usize..2, any_call()), 1..80)) {
        let dir = tempfile::tempdir().expect("a folder");
        RUNTIME.block_on(async {
            let sqlite = SqliteJournal::open(dir.path()).await.expect("opens");
            let memory = MemoryJournal::new();
            let runs = [RunId::from("one"), RunId::from("two")];
            let steps = [StepId::from("s\0\\"), StepId::from("t")];
            for journal in [&sqlite as &dyn Journal, &memory] {
                journal.insert_run(&a_run("one")).await.expect("insert");
            }
            for (run, step, what) in &calls {
                let durable = call(&sqlite, &runs[*run], &steps[*step], what).await;
                let fleeting = call(&memory, &runs[*run], &steps[*step], what).await;
                prop_assert_eq!(durable, fleeting, "{:?}", what);
            }
            prop_assert_eq!(everything(&sqlite, &steps).await, everything(&memory, &steps).await);
            sqlite.close().await;
            let again = SqliteJournal::open_existing(dir.path()).await.expect("opens").expect("is there");
            prop_assert_eq!(everything(&again, &steps).await, everything(&memory, &steps).await);
            again.close().await;
            Ok(())
        })?;
    }
}
