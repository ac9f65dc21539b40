//! The engine's settings, and the ticker that lets a running guest be interrupted.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use godwit_model::{Error, Result};
use wasmtime::{Config, Engine};

/// How often a running guest yields to the executor and has its CPU time looked at.
const TICK: Duration = Duration::from_millis(10);

/// An engine whose compiled code checks for interruption and whose errors carry no wasm backtrace: guests are stripped.
pub(crate) fn engine() -> Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true).wasm_component_model(true).wasm_backtrace_max_frames(None);
    Engine::new(&config).map_err(|e| Error::host(format!("the WebAssembly engine can't start: {e:#}")))
}

/// Increments the engine's epoch while any call runs, and sleeps otherwise.
pub(crate) struct Ticker {
    engine: Engine,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    calls: usize,
    has_thread: bool,
    /// The thread waits for a call; otherwise it finds one by itself, within a tick.
    is_idle: bool,
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticker {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, shared: Arc::default() }
    }

    /// Ticks until the returned value is dropped. The thread starts with the first call.
    pub(crate) fn tick(&self) -> Result<Ticking> {
        let mut state = self.shared.lock();
        if !state.has_thread {
            let (engine, shared) = (self.engine.clone(), self.shared.clone());
            thread::Builder::new()
                .name("godwit-ticker".to_owned())
                .spawn(move || run(&engine, &shared))
                .map_err(|e| Error::host(format!("the thread that limits plugins can't start: {e}")))?;
            state.has_thread = true;
        }
        state.calls += 1;
        if state.is_idle {
            self.shared.wake.notify_one();
        }
        Ok(Ticking(self.shared.clone()))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
    }
}

/// A call that runs.
pub(crate) struct Ticking(Arc<Shared>);

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.lock().calls -= 1;
    }
}

fn run(engine: &Engine, shared: &Shared) {
    loop {
        {
            let mut state = shared.lock();
            while state.calls == 0 && !state.stop {
                state.is_idle = true;
                state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.is_idle = false;
            if state.stop && state.calls == 0 {
                return;
            }
        }
        thread::sleep(TICK);
        engine.increment_epoch();
    }
}
