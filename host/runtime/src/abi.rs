//! The versions of the contract behind one face: found once, at load; no caller ever sees a version.

mod v0_1_0;

use async_trait::async_trait;
use godwit_model::ErrorKind;
use godwit_model::check::Check;
use godwit_model::plugin::PluginKind;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::p2::bindings::{cli, random};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};

use crate::guest::Guest;
use crate::reflect::Version;

/// An error as a guest put it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) kind: ErrorKind,
    pub(crate) text: String,
}

/// Outside: the call ended early. Inside: what the guest answered.
pub(crate) type Answer<T> = wasmtime::Result<Result<T, Reply>>;

/// A manifest as a guest gives it: unchecked, schemas as text.
#[derive(Debug)]
pub(crate) struct RawManifest {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) summary: String,
    pub(crate) slots: Vec<godwit_model::plugin::SlotSpec>,
    pub(crate) params_schema: String,
    pub(crate) outputs_schema: String,
}

/// A step plugin of any version. Every method instantiates it anew in the given store.
#[async_trait]
pub(crate) trait StepAbi: Send + Sync {
    async fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<RawManifest>;
    async fn apply(&self, store: &mut Store<Guest>, params: String) -> Answer<String>;
    async fn verify(&self, store: &mut Store<Guest>, params: String, outputs: String) -> Answer<Vec<Check>>;
}

/// A transform plugin of any version.
#[async_trait]
pub(crate) trait TransformAbi: Send + Sync {
    async fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<RawManifest>;
    async fn selects(&self, store: &mut Store<Guest>, params: String) -> Answer<Vec<String>>;
    /// Instantiates it in the given store, which every later call of the pipe takes.
    async fn open(
        &self,
        store: &mut Store<Guest>,
        params: String,
        shape: String,
    ) -> wasmtime::Result<Box<dyn PipeAbi>>;
}

/// An open pipe of any version.
#[async_trait]
pub(crate) trait PipeAbi: Send {
    async fn push(&self, store: &mut Store<Guest>, chunk: &[u8]) -> Answer<Vec<u8>>;
    async fn finish(&self, store: &mut Store<Guest>) -> Answer<Vec<u8>>;
}

/// A component bound to what it may import.
pub(crate) enum Bound {
    Step(Box<dyn StepAbi>),
    Transform(Box<dyn TransformAbi>),
}

impl Bound {
    pub(crate) async fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<RawManifest> {
        match self {
            Self::Step(step) => step.describe(store).await,
            Self::Transform(transform) => transform.describe(store).await,
        }
    }
}

/// Binds a component whose imports were admitted.
pub(crate) fn bind(component: &Component, version: Version, kind: PluginKind) -> wasmtime::Result<Bound> {
    match (version.major, version.minor, version.patch) {
        (0, 1, 0) => v0_1_0::bind(component, kind),
        _ => Err(wasmtime::format_err!("version {version} of the contract isn't spoken")),
    }
}

/// A linker with what standard libraries import of WASI 0.2, and no more of it.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    // Polling, streams, clocks, random bytes, standard streams.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(l)?;
    random::insecure::add_to_linker::<Guest, WasiRandom>(l, Guest::random)?;
    random::insecure_seed::add_to_linker::<Guest, WasiRandom>(l, Guest::random)?;
    cli::environment::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::exit::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_input::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_output::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_stdin::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_stdout::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    cli::terminal_stderr::add_to_linker::<Guest, WasiCli>(l, Guest::cli)?;
    Ok(linker)
}
