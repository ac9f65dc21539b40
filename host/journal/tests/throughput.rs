//! What ten thousand effects cost. Alone in its binary, as it measures the process.

use std::sync::Arc;
use std::time::Instant;

use godwit_journal::SqliteJournal;
use godwit_journal::conformance::{a_run, an_intent, done};
use godwit_model::journal::{EffectStatus, Journal as _};
use godwit_model::{EffectKey, RunId, StepId};
use serde_json::json;

const EFFECTS: u64 = 10_000;
const BATCH: u64 = 1000;

/// CPU seconds of this process so far: `utime` and `stime` of proc_pid_stat(5), in ticks of 10 ms.
#[cfg(target_os = "linux")]
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let fields: Vec<&str> = stat[stat.rfind(')').expect("the command") + 2..].split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}

/// Elsewhere the wall clock is an upper bound for a process that has a core for itself.
#[cfg(not(target_os = "linux"))]
fn cpu_seconds() -> f64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    START.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_effects_are_cheap() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = Arc::new(SqliteJournal::open(dir.path()).await.expect("opens"));
    let (run, step) = (RunId::from("r"), StepId::from("copy-objects"));
    journal.insert_run(&a_run("r")).await.expect("insert");
    let batches: Vec<Vec<_>> = (0..EFFECTS / BATCH)
        .map(|batch| {
            let keys = (batch * BATCH..(batch + 1) * BATCH)
                .map(|n| (n, format!("uploads/2024/05/06/some-object-with-a-name-{n:06}.jpeg")));
            keys.map(|(n, key)| an_intent(&key, &key, n)).collect()
        })
        .collect();

    let (cpu, wall, commits) = (cpu_seconds(), Instant::now(), journal.commits());
    for batch in &batches {
        journal.intend(&run, &step, batch).await.expect("intend");
    }
    let intended = (cpu_seconds() - cpu, wall.elapsed(), journal.commits() - commits);

    let (cpu, wall, commits) = (cpu_seconds(), Instant::now(), journal.commits());
    let mut tasks = tokio::task::JoinSet::new();
    for intent in batches.iter().flatten() {
        let (journal, run, step) = (journal.clone(), run.clone(), step.clone());
        let key: EffectKey = intent.effect.key.clone();
        tasks.spawn(async move {
            journal.settle(&run, &step, &key, &done(json!({ "etag": "0123456789abcdef" }))).await
        });
    }
    for settled in tasks.join_all().await {
        settled.expect("settle");
    }
    let settled = (cpu_seconds() - cpu, wall.elapsed(), journal.commits() - commits);

    let (cpu, wall) = (cpu_seconds(), Instant::now());
    let records = journal.effects(&run, &step).await.expect("read");
    assert_eq!(records.len() as u64, EFFECTS);
    assert!(records.iter().all(|record| matches!(record.status, EffectStatus::Done { .. })));
    println!("intend: {:.2} s CPU, {:?}, {} commits", intended.0, intended.1, intended.2);
    println!("settle: {:.2} s CPU, {:?}, {} commits", settled.0, settled.1, settled.2);
    println!("read:   {:.2} s CPU, {:?}", cpu_seconds() - cpu, wall.elapsed());
    assert_eq!(intended.2, EFFECTS / BATCH);
    assert!(settled.2 < 100, "{} commits for {EFFECTS} settlements at once", settled.2);
    // Twice the target of one second, so that a busy machine doesn't fail the test.
    assert!(intended.0 + settled.0 < 2.0, "{} s of CPU", intended.0 + settled.0);
    journal.close().await;
}
