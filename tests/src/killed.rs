//! One copy of many objects by `minio-to-r2`, ended by SIGKILL at random moments and resumed after each: what it comes to,
//! and whether anything was moved again that the journal had as done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use godwit_journal::SqliteJournal;
use godwit_lab::s3::{Request, S3Server};
use godwit_model::effect::Action;
use godwit_model::journal::{EffectStatus, Journal as _};
use godwit_model::{RunId, StepId};

use crate::process::{Godwit, Ran};

const BUCKET: &str = "data";
const RECIPE: &str = "minio-to-r2";
/// The step of the recipe.
const STEP: &str = "buckets";
/// Bytes of the objects that go in parts; the last part of each has another size.
const LARGE: [usize; 4] = [17 << 20, (19 << 20) + 1, 24 << 20, (26 << 20) + 77];
/// The longest that a process may take to make as many requests as it is to be killed after.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is to be copied, and how often that is cut off.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Objects of up to 4 KiB, beside four that go in parts.
    pub small: usize,
    pub kills: u32,
    /// The moments follow from it, as far as a machine's pace allows.
    pub seed: u64,
}

/// How a trial went.
#[derive(Clone, Debug)]
pub struct Figures {
    pub objects: usize,
    pub kills: u32,
    /// Kills in whose wake some effects were done and some weren't.
    pub amid: u32,
    /// Kills that left an upload open.
    pub with_uploads: u32,
    /// GETs at the source, which a copy that nobody cuts off makes once for each object and part.
    pub gets: usize,
    pub needed: usize,
    pub took: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} objects, {} kills ({} amid the copies, {} with an open upload), {} GETs where {} were needed, {:.1} s",
            self.objects,
            self.kills,
            self.amid,
            self.with_uploads,
            self.gets,
            self.needed,
            self.took.as_secs_f64()
        )
    }
}

/// What the journal has as done: objects, and of others the first bytes of parts.
#[derive(Default)]
struct Settled {
    objects: BTreeSet<String>,
    parts: BTreeMap<String, BTreeSet<u64>>,
}

/// Runs a trial. What goes wrong is told with the seed.
pub fn run(program: &str, trial: Trial) -> Result<Figures, String> {
    run_seeded(program, trial).map_err(|why| format!("seed {}: {why}", trial.seed))
}

fn run_seeded(program: &str, trial: Trial) -> Result<Figures, String> {
    let began = Instant::now();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let (source, target) = runtime
        .block_on(async {
            let target = S3Server::builder().region("auto").equal_parts().start().await?;
            Ok::<_, godwit_lab::LabError>((S3Server::start().await?, target))
        })
        .map_err(|error| error.to_string())?;
    fill(&source, trial.small).map_err(|error| error.to_string())?;
    let godwit = godwit(program, &source, &target);
    let mut random = Random(trial.seed);
    let mut figures = Figures {
        objects: trial.small + LARGE.len(),
        kills: 0,
        amid: 0,
        with_uploads: 0,
        gets: 0,
        needed: trial.small + LARGE.iter().map(|size| size.div_ceil(8 << 20)).sum::<usize>(),
        took: Duration::ZERO,
    };
    let (mut known, mut settled) = (None, Settled::default());
    while figures.kills < trial.kills {
        let moved = settled.objects.len() + settled.parts.values().map(BTreeSet::len).sum::<usize>();
        let share = figures.needed.saturating_sub(moved) / (trial.kills - figures.kills + 1) as usize;
        // Some die before anything is copied: while the run begins, while the journal is read back.
        let after =
            if random.below(10) == 0 { 0 } else { 1 + random.below(share.max(1) as u64 * 3 / 2) as usize };
        let pause = Duration::from_micros(random.below(12_000));
        let context = format!("kill {} after {after} GETs and {pause:?}", figures.kills + 1);
        let ended = killed(&godwit, known.as_deref(), (&source, &target), after, pause);
        figures.kills += 1;
        if let Some(ran) = ended.map_err(|why| format!("{context}: {why}"))? {
            return Err(format!("{context}: it ended before it could be killed: {ran}"));
        }
        figures.gets +=
            nothing_again(&source, &target, &settled).map_err(|why| format!("{context}: {why}"))?;
        let (run, now) = runtime.block_on(journalled(&godwit.path(".godwit")))?;
        if let Some(lost) = settled.objects.difference(&now.objects).next() {
            return Err(format!("{context}: {lost} was journalled as done, and isn't any more"));
        }
        (known, settled) = (run, now);
        figures.amid += u32::from(!settled.objects.is_empty() && settled.objects.len() < figures.objects);
        figures.with_uploads += u32::from(!target.open_uploads().is_empty());
    }
    source.forget_requests();
    target.forget_requests();
    let ran = godwit.run(&arguments(known.as_deref()));
    if ran.code != Some(0) {
        return Err(format!("the last resume failed: {ran}"));
    }
    figures.gets +=
        nothing_again(&source, &target, &settled).map_err(|why| format!("the last resume: {why}"))?;
    equal(&source, &target)?;
    figures.took = began.elapsed();
    Ok(figures)
}

fn fill(source: &S3Server, small: usize) -> godwit_lab::Result<()> {
    source.create_bucket(BUCKET)?;
    for number in 0..small {
        let key = format!("dir {}/{number:05}", number % 7);
        let body = key.as_bytes().repeat(1 + number * 31 % 340);
        source.put(
            BUCKET,
            &key,
            body,
            &[("content-type", "text/plain"), ("x-amz-meta-number", &number.to_string())],
        )?;
    }
    for (number, size) in LARGE.into_iter().enumerate() {
        let mut random = Random(number as u64);
        let body: Vec<u8> =
            std::iter::repeat_with(|| random.next().to_le_bytes()).flatten().take(size).collect();
        // Between the small ones, so that parts are under way beside them.
        source.put(BUCKET, &format!("dir {number}/00100 large"), body, &[("x-amz-meta-large", "yes")])?;
    }
    Ok(())
}

fn godwit(program: &str, source: &S3Server, target: &S3Server) -> Godwit {
    Godwit::new(program).between(source, target).env("GODWIT_INPUT_BUCKETS", &format!("[\"{BUCKET}\"]"))
}

/// A resume of the run, where there is one by now.
fn arguments(run: Option<&str>) -> [&str; 3] {
    match run {
        Some(run) => ["resume", run, "--yes"],
        None => ["run", RECIPE, "--yes"],
    }
}

/// Starts or resumes, and kills once so many objects and parts have been asked for and a moment has passed. How it ended,
/// where it did so by itself.
fn killed(
    godwit: &Godwit,
    run: Option<&str>,
    (source, target): (&S3Server, &S3Server),
    after: usize,
    pause: Duration,
) -> Result<Option<Ran>, String> {
    source.forget_requests();
    target.forget_requests();
    let mut child = godwit.spawn(&arguments(run));
    let began = Instant::now();
    let mut alive = true;
    while alive && source.seen("GetObject") < after {
        std::thread::sleep(Duration::from_millis(1));
        alive = child.try_wait().map_err(|error| error.to_string())?.is_none();
        if began.elapsed() > PATIENCE {
            // What it has printed tells more than the time.
            break;
        }
    }
    // With no GET to wait for, anywhere in the first tenths of a second.
    std::thread::sleep(if after == 0 { pause * 40 } else { pause });
    alive = alive && child.try_wait().map_err(|error| error.to_string())?.is_none();
    // It may have ended in between; then there is nothing to kill.
    let _ = child.kill();
    let ran = Ran::from(child.wait_with_output().map_err(|error| error.to_string())?);
    match () {
        () if began.elapsed() > PATIENCE => Err(format!("it took longer than {PATIENCE:?}: {ran}")),
        () if alive => Ok(None),
        () => Ok(Some(ran)),
    }
}

/// Holds what was asked for since the last kill against what the journal had then. Gives the number of GETs.
fn nothing_again(source: &S3Server, target: &S3Server, settled: &Settled) -> Result<usize, String> {
    let (read, written) = (source.requests(), target.requests());
    if let Some(request) = read.iter().find(|request| request.writes()) {
        return Err(format!("the source was written: {request:?}"));
    }
    let gets: Vec<&Request> = read.iter().filter(|request| request.operation == "GetObject").collect();
    let moving = ["PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload"];
    let puts = written.iter().filter(|request| moving.contains(&request.operation));
    for request in gets.iter().copied().chain(puts) {
        let key = request.key.as_deref().unwrap_or_default();
        if settled.objects.contains(key) {
            return Err(format!("{key} was done, and there is a {} of it again", request.operation));
        }
        let Some(parts) = settled.parts.get(key) else { continue };
        let again = match request.operation {
            "GetObject" => first_byte(request),
            "UploadPart" => part_number(request).map(|number| (number - 1) * (8 << 20)),
            _ => None,
        };
        if let Some(first) = again.filter(|first| parts.contains(first)) {
            return Err(format!(
                "the part of {key} at {first} was done, and there is a {} of it again",
                request.operation
            ));
        }
    }
    Ok(gets.len())
}

/// Where a GET of a part begins.
fn first_byte(request: &Request) -> Option<u64> {
    request.header("range")?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
}

fn part_number(request: &Request) -> Option<u64> {
    request.query.split('&').find_map(|pair| pair.strip_prefix("partNumber="))?.parse().ok()
}

/// The run that a killed process left, and what its journal has as done.
async fn journalled(state: &Path) -> Result<(Option<String>, Settled), String> {
    let words = |error: godwit_model::Error| format!("the journal: {error}");
    let mut settled = Settled::default();
    let Some(journal) = SqliteJournal::open_existing(state).await.map_err(words)? else {
        return Ok((None, settled));
    };
    let runs = journal.runs().await.map_err(words)?;
    let Some(run) = runs.first().map(|run| run.id.clone()) else { return Ok((None, settled)) };
    read_back(&journal, &run, &mut settled).await.map_err(words)?;
    journal.close().await;
    Ok((Some(run.to_string()), settled))
}

async fn read_back(journal: &SqliteJournal, run: &RunId, settled: &mut Settled) -> godwit_model::Result<()> {
    let step = StepId::new(STEP);
    for record in journal.effects(run, &step).await? {
        let Action::CopyObject(action) = &record.effect.action else { continue };
        let key = action.source.key.clone();
        if matches!(record.status, EffectStatus::Done { .. }) {
            settled.objects.insert(key);
        } else if action.size > LARGE[0] as u64 - 1 {
            let parts = journal.parts(run, &step, &record.effect.key).await?;
            let done = parts.iter().filter(|part| part.outcome.is_some());
            settled.parts.insert(key, done.filter_map(|part| part.range["first"].as_u64()).collect());
        }
    }
    Ok(())
}

/// Both buckets have the same objects, and nothing is left beside them.
fn equal(source: &S3Server, target: &S3Server) -> Result<(), String> {
    let (from, into) = (source.keys(BUCKET), target.keys(BUCKET));
    if from != into {
        return Err(format!("{} keys became {} keys, or others", from.len(), into.len()));
    }
    for key in from {
        let (Some(one), Some(other)) = (source.get(BUCKET, &key), target.get(BUCKET, &key)) else {
            return Err(format!("{key} is gone"));
        };
        if one.bytes != other.bytes || one.headers != other.headers {
            return Err(format!("{key} is another one at the target"));
        }
    }
    match target.open_uploads() {
        open if open.is_empty() => Ok(()),
        open => Err(format!("uploads are left: {open:?}")),
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `most` - 1.
    fn below(&mut self, most: u64) -> u64 {
        self.next() % most.max(1)
    }
}

/// A seed that no earlier trial had, unless GODWIT_TEST_SEED tells one.
pub fn seed() -> u64 {
    let told = std::env::var("GODWIT_TEST_SEED").ok();
    let told = told.map(|text| text.parse().expect("GODWIT_TEST_SEED is a number"));
    told.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| u64::from(now.subsec_nanos()))
    })
}
