//! How long it takes until something is ready: a whole `godwit check`, and a plugin whose compiled code is in the cache.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use godwit_model::plugin::{Limits, PluginKind};
use godwit_runtime::Runtime;
use serde_json::Value;

use super::calls::NoHost;
use super::{Effort, median};
use crate::cpu;
use crate::process::Godwit;

/// Seconds until something is ready.
#[derive(Clone, Debug)]
pub struct Start {
    pub name: String,
    /// Wall time: the least and the median.
    pub least: f64,
    pub median: f64,
    /// CPU time, the median: what remains of it where nobody else is at work.
    pub cpu: f64,
    pub goal: Option<f64>,
}

/// Wall time and CPU time of one start, in seconds.
type Times = (f64, f64);

impl Start {
    fn of(name: impl Into<String>, times: &[Times], goal: Option<f64>) -> Self {
        let wall = || times.iter().map(|times| times.0);
        let cpu = median(times.iter().map(|times| times.1));
        Self {
            name: name.into(),
            least: wall().fold(f64::INFINITY, f64::min),
            median: median(wall()),
            cpu,
            goal,
        }
    }
}

/// A large plugin and a small one.
const LOADED: [&str; 2] = ["postgres-copy", "mask-columns"];

pub async fn measure(program: &str, effort: Effort) -> Vec<Start> {
    let cache = tempfile::tempdir().expect("a temporary folder can be made");
    let mut figures = vec![check(program, cache.path(), effort)];
    figures.extend(loads(&cache.path().join("plugins"), effort).await);
    figures
}

/// A whole process that checks a bundled recipe of two plugins.
fn check(program: &str, cache: &Path, effort: Effort) -> Start {
    let godwit = Godwit::new(program).env("GODWIT_CACHE", cache.to_str().expect("its path is UTF-8"));
    let args = ["check", "copy-postgres"];
    // The first one compiles the plugins.
    godwit.ok(&args);
    let times: Vec<Times> = (0..effort.starts)
        .map(|_| {
            let (began, before) = (Instant::now(), cpu::of_children());
            godwit.ok(&args);
            (began.elapsed().as_secs_f64(), (cpu::of_children() - before).as_secs_f64())
        })
        .collect();
    Start::of("godwit check copy-postgres, warm", &times, Some(0.05))
}

async fn loads(cache: &Path, effort: Effort) -> Vec<Start> {
    let mut engines = Vec::new();
    let mut figures = Vec::new();
    for name in LOADED {
        let bytes = godwit_bundle::plugin(name).expect("it is bundled").bytes;
        load(cache, name, bytes).await;
        let mut times = Vec::new();
        for _ in 0..effort.starts {
            let (engine, known, ready) = load(cache, name, bytes).await;
            engines.push(engine);
            times.push((known, ready));
        }
        let known: Vec<Times> = times.iter().map(|(known, _)| *known).collect();
        let ready: Vec<Times> = times.iter().map(|(_, ready)| *ready).collect();
        figures.push(Start::of(format!("{name} from the cache: described"), &known, None));
        figures.push(Start::of(format!("{name} from the cache: first call ended"), &ready, Some(0.003)));
    }
    figures.insert(0, Start::of("the engine alone", &engines, None));
    figures
}

/// What it takes until the engine is there; from then on, until the plugin is described; until it has answered a call.
async fn load(cache: &Path, name: &str, bytes: &[u8]) -> (Times, Times, Times) {
    let since = |(wall, cpu): (Instant, Duration)| {
        (wall.elapsed().as_secs_f64(), (cpu::of_process() - cpu).as_secs_f64())
    };
    let began = (Instant::now(), cpu::of_process());
    let runtime = Runtime::new(Some(cache.to_owned())).expect("the runtime starts");
    let engine = since(began);
    let began = (Instant::now(), cpu::of_process());
    let plugin = runtime.load(name, bytes).await.expect("a bundled plugin loads");
    let known = since(began);
    // Params that it refuses at once: its code is mapped, bound, instantiated and run, and no more.
    let refused = match plugin.kind() {
        PluginKind::Step => {
            plugin.verify(Arc::new(NoHost), &Value::Null, &Value::Null, &Limits::default()).await.is_err()
        }
        PluginKind::Transform => plugin.selects(&Value::Null, &Limits::default()).await.is_err(),
    };
    let ready = since(began);
    assert!(refused, "`{name}` takes null for its params");
    (engine, known, ready)
}
