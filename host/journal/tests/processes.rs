//! Journals shared with processes that are killed, and with processes that write at the same time.
//!
//! Without a harness of its own, as the test runs itself again as the writer: `processes write DIR RUN ROUNDS`.

use std::collections::HashMap;
use std::io::{BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use godwit_journal::SqliteJournal;
use godwit_journal::conformance::{a_run, a_step, an_intent, done};
use godwit_model::journal::{EffectStatus, Journal as _, StepStatus};
use godwit_model::{EffectKey, RunId, StepId};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

/// Tasks of a writer, each with a step of its own.
const TASKS: usize = 6;
/// Intents of a batch.
const BATCH: u64 = 5;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "write", dir, run, rounds] => {
            let rounds = rounds.parse()?;
            runtime.block_on(write(Path::new(dir), run, rounds))
        }
        _ => runtime.block_on(async {
            what_was_answered_survives_a_kill().await?;
            two_processes_write_one_journal().await?;
            println!("2 tests of processes passed");
            Ok(())
        }),
    }
}

/// Says that a write was answered. One `write` to a pipe, so that a line is there whole or not at all.
fn say(line: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())?;
    Ok(out.flush()?)
}

async fn write(dir: &Path, run: &str, rounds: u64) -> Outcome {
    let journal = Arc::new(SqliteJournal::open(dir).await?);
    let run = RunId::from(run);
    journal.insert_run(&a_run(run.as_str())).await?;
    say("run")?;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        tasks.spawn(write_step(journal.clone(), run.clone(), StepId::from(format!("s{task}")), rounds));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    journal.close().await;
    say("end")
}

async fn write_step(journal: Arc<SqliteJournal>, run: RunId, step: StepId, rounds: u64) -> Outcome {
    journal.put_step(&run, &a_step(step.as_str(), StepStatus::Applying)).await?;
    say(&format!("step {step}"))?;
    for round in 0..rounds {
        let batch: Vec<_> =
            (0..BATCH).map(|n| an_intent(&format!("{round}-{n}"), "path", round * BATCH + n)).collect();
        journal.intend(&run, &step, &batch).await?;
        say(&format!("intents {step} {round}"))?;
        let first = &batch[0].effect.key;
        journal.plan_parts(&run, &step, first, &[json!(0), json!(1)]).await?;
        journal.finish_part(&run, &step, first, 1, &json!({ "round": round })).await?;
        say(&format!("part {step} {first} {round}"))?;
        for intent in &batch {
            journal.settle(&run, &step, &intent.effect.key, &done(json!(round))).await?;
            say(&format!("settled {step} {} {round}", intent.effect.key))?;
        }
        journal.memo(&run, &step, &format!("m{round}"), &json!(round)).await?;
        say(&format!("memo {step} m{round} {round}"))?;
        journal.set_note(&run, &step, None, "round", &json!(round)).await?;
        say(&format!("note {step} {round}"))?;
    }
    Ok(())
}

fn start(dir: &Path, run: &str, rounds: u64) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("write")
        .arg(dir)
        .args([run, &rounds.to_string()])
        .stdout(Stdio::piped())
        .spawn()
}

fn lines_of(child: &mut Child) -> std::io::Result<Vec<String>> {
    let Some(out) = child.stdout.take() else { return Ok(Vec::new()) };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut BufReader::new(out), &mut text)?;
    // A line that was cut off promises nothing.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    Ok(whole.lines().map(str::to_owned).collect())
}

async fn what_was_answered_survives_a_kill() -> Outcome {
    let dir = tempfile::tempdir()?;
    // xorshift64, seeded by the clock: other moments each time, told in every message.
    let mut random = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64 | 1;
    let (mut promises, mut cut_short) = (0, 0);
    for round in 0..15 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let delay = Duration::from_micros(random % 120_000);
        let run = format!("run-{round}");
        let mut child = start(dir.path(), &run, u64::MAX)?;
        wait_for_first_line(&mut child)?;
        std::thread::sleep(delay);
        child.kill()?;
        let lines = lines_of(&mut child)?;
        child.wait()?;
        let journal = SqliteJournal::open_existing(dir.path()).await?.ok_or("the journal is gone")?;
        let (kept, open) = check(&journal, &run, &lines)
            .await
            .map_err(|error| format!("round {round}, killed {delay:?} after its start: {error}"))?;
        promises += kept;
        cut_short += open;
        journal.close().await;
        is_whole(dir.path()).await?;
    }
    assert!(promises > 100, "only {promises} writes were answered: the test proves too little");
    assert!(cut_short > 0, "no kill came between an intent and its outcome");
    println!("{promises} answered writes survived 15 kills, with {cut_short} intents left open");
    Ok(())
}

/// Waits until the run is inserted, so that a slow start is not all that is killed.
fn wait_for_first_line(child: &mut Child) -> Outcome {
    let out = child.stdout.as_mut().ok_or("no pipe")?;
    // Byte by byte, as a buffer would swallow lines that follow.
    let mut byte = [0];
    while byte[0] != b'\n' {
        std::io::Read::read_exact(out, &mut byte)?;
    }
    Ok(())
}

/// Compares the journal with what a writer was answered. How many answers there were, and how many intents are open.
async fn check(
    journal: &SqliteJournal,
    run: &str,
    lines: &[String],
) -> Result<(usize, usize), Box<dyn std::error::Error + Send + Sync>> {
    let run = RunId::from(run);
    assert!(journal.run(&run).await?.is_some());
    let steps = journal.steps(&run).await?;
    let mut effects = HashMap::new();
    let mut open = 0;
    for task in 0..TASKS {
        let step = format!("s{task}");
        let records = journal.effects(&run, &StepId::from(step.as_str())).await?;
        assert_eq!(records.len() as u64 % BATCH, 0, "a batch is there whole or not at all");
        for record in records {
            open += usize::from(record.status == EffectStatus::Intended);
            effects.insert((step.clone(), record.effect.key.as_str().to_owned()), record);
        }
    }
    let settled = |step: &str, key: &str| effects.get(&(step.to_owned(), key.to_owned()));
    for line in lines {
        let kept = match line.split(' ').collect::<Vec<_>>()[..] {
            ["end"] => true,
            ["step", step] => steps.iter().any(|known| known.step.as_str() == step),
            ["intents", step, round] => (0..BATCH).all(|n| settled(step, &format!("{round}-{n}")).is_some()),
            ["settled", step, key, round] => {
                let round: u64 = round.parse()?;
                settled(step, key).is_some_and(|record| record.status == done(json!(round)))
            }
            ["part", step, key, round] => {
                let round: u64 = round.parse()?;
                let parts = journal.parts(&run, &step.into(), &EffectKey::from(key)).await?;
                parts.len() == 2 && parts[1].outcome == Some(json!({ "round": round }))
            }
            ["memo", step, key, round] => {
                let round: u64 = round.parse()?;
                journal.memo(&run, &step.into(), key, &json!("other")).await? == json!(round)
            }
            ["note", step, round] => {
                let round: u64 = round.parse()?;
                let note = journal.note(&run, &step.into(), None, "round").await?;
                note.and_then(|note| note.as_u64()).is_some_and(|last| last >= round)
            }
            _ => return Err(format!("the writer said `{line}`").into()),
        };
        if !kept {
            return Err(format!("`{line}` was answered, but is not in the journal").into());
        }
    }
    Ok((lines.len(), open))
}

async fn two_processes_write_one_journal() -> Outcome {
    let dir = tempfile::tempdir()?;
    // The folder is new: creating the journal is part of the race.
    let mut children = [start(dir.path(), "one", 12)?, start(dir.path(), "two", 12)?];
    let mut said = Vec::new();
    for child in &mut children {
        said.push(lines_of(child)?);
    }
    for (mut child, run) in children.into_iter().zip(["one", "two"]) {
        assert!(child.wait()?.success(), "the writer of run `{run}` failed");
    }
    let journal = SqliteJournal::open_existing(dir.path()).await?.ok_or("the journal is gone")?;
    for (lines, run) in said.iter().zip(["one", "two"]) {
        assert_eq!(lines.last().map(String::as_str), Some("end"));
        let (_, open) = check(&journal, run, &lines[1..]).await?;
        assert_eq!(open, 0);
    }
    assert_eq!(journal.runs().await?.len(), 2);
    journal.close().await;
    is_whole(dir.path()).await
}

/// SQLite's own view of the file.
async fn is_whole(dir: &Path) -> Outcome {
    let mut connection = SqliteConnectOptions::new().filename(dir.join("journal.sqlite")).connect().await?;
    let verdict: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await?;
    assert_eq!(verdict, "ok");
    let orphans: i64 = sqlx::query_scalar("SELECT count(*) FROM pragma_foreign_key_check")
        .fetch_one(&mut connection)
        .await?;
    assert_eq!(orphans, 0);
    Ok(connection.close().await?)
}
