//! A loaded plugin and its open pipes, as the engine and the capabilities see them.

use std::sync::Arc;

use async_trait::async_trait;
use godwit_model::check::Check;
use godwit_model::plugin::{HostError, Level, Limits, Manifest, Pipe, Plugin, PluginKind, StepHost};
use godwit_model::{Digest, Error, Json, Result};
use wasmtime::Store;

use crate::abi::{Answer, Bound, PipeAbi, Reply, StepAbi, TransformAbi};
use crate::code::{Code, Shared};
use crate::guest::Guest;
use crate::limits::Passed;

/// One use of a component under the name that a recipe calls it.
pub(crate) struct Loaded {
    shared: Arc<Shared>,
    name: Arc<str>,
    code: Arc<Code>,
}

impl Loaded {
    pub(crate) fn new(shared: Arc<Shared>, name: &str, code: Arc<Code>) -> Self {
        Self { shared, name: name.into(), code }
    }

    async fn step(&self) -> Result<&dyn StepAbi> {
        match self.code.bound(&self.shared, &self.name).await? {
            Bound::Step(step) => Ok(step.as_ref()),
            Bound::Transform(_) => {
                Err(Error::invalid(format!("plugin `{}` is a transform, not a step", self.name))
                    .hint("use it in the `transforms` of a step"))
            }
        }
    }

    async fn transform(&self) -> Result<&dyn TransformAbi> {
        match self.code.bound(&self.shared, &self.name).await? {
            Bound::Transform(transform) => Ok(transform.as_ref()),
            Bound::Step(_) => {
                Err(Error::invalid(format!("plugin `{}` is a step, not a transform", self.name))
                    .hint("use it as the `plugin` of a step"))
            }
        }
    }

    fn store(&self, host: Option<Arc<dyn StepHost>>, limits: &Limits) -> Store<Guest> {
        Guest::store(&self.shared.engine, self.name.clone(), host, limits)
    }

    /// Turns the end of a call into its result, and passes on what the guest wrote to stdout and stderr.
    async fn settle<T>(&self, store: &mut Store<Guest>, host: &dyn StepHost, answer: Answer<T>) -> Result<T> {
        let (result, written) = {
            let guest = store.data();
            match answer {
                Ok(Ok(value)) => (Ok(value), guest.written()),
                Ok(Err(reply)) => (Err(guest.told.recall(reply.kind, reply.text)), guest.written()),
                // Explaining takes stderr: the error carries it.
                Err(error) => return Err(guest.explain(&error)),
            }
        };
        let written = written.trim();
        if !written.is_empty() {
            let message = format!("plugin `{}` wrote: {written}", self.name);
            host.log(Level::Debug, &message).await.map_err(inner)?;
        }
        result
    }

    fn output(&self, guest: &Guest, text: &str) -> Result<Json> {
        guest.bound(text.len(), || "the step's outputs".to_owned()).map_err(|p| p.explain(&self.name))?;
        serde_json::from_str(text).map_err(|e| {
            Error::plugin(format!("plugin `{}` returned outputs that are no JSON: {e}", self.name))
                .hint("this is a fault of the plugin: report it to its author")
        })
    }
}

#[async_trait]
impl Plugin for Loaded {
    fn digest(&self) -> &Digest {
        &self.code.digest
    }

    fn kind(&self) -> PluginKind {
        self.code.kind
    }

    fn manifest(&self) -> &Manifest {
        &self.code.manifest
    }

    async fn apply(&self, host: Arc<dyn StepHost>, params: &Json, limits: &Limits) -> Result<Json> {
        let step = self.step().await?;
        let params = params.to_string();
        let mut store = self.store(Some(host.clone()), limits);
        let clock = store.data().clock.clone();
        let _ticking = self.shared.ticker.tick()?;
        let answer = clock.meter(step.apply(&mut store, params)).await;
        let outputs = self.settle(&mut store, host.as_ref(), answer).await?;
        let forgotten = store.data().unsubmitted();
        if forgotten > 0 {
            let message = format!("plugin `{}` made {forgotten} effects that it never submitted", self.name);
            host.log(Level::Warn, &message).await.map_err(inner)?;
        }
        self.output(store.data(), &outputs)
    }

    async fn verify(
        &self,
        host: Arc<dyn StepHost>,
        params: &Json,
        outputs: &Json,
        limits: &Limits,
    ) -> Result<Vec<Check>> {
        let step = self.step().await?;
        let (params, outputs) = (params.to_string(), outputs.to_string());
        let mut store = self.store(Some(host.clone()), limits);
        let clock = store.data().clock.clone();
        let _ticking = self.shared.ticker.tick()?;
        let answer = clock.meter(step.verify(&mut store, params, outputs)).await;
        let checks = self.settle(&mut store, host.as_ref(), answer).await?;
        let len = checks.iter().map(|c| c.name.len() + c.detail.as_ref().map_or(0, String::len)).sum();
        store.data().bound(len, || "the list of checks".to_owned()).map_err(|p| p.explain(&self.name))?;
        Ok(checks)
    }

    async fn selects(&self, params: &Json, limits: &Limits) -> Result<Vec<String>> {
        let transform = self.transform().await?;
        let params = params.to_string();
        let mut store = self.store(None, limits);
        let clock = store.data().clock.clone();
        let _ticking = self.shared.ticker.tick()?;
        let answer = clock.meter(transform.selects(&mut store, params)).await;
        let guest = store.data();
        let selectors = match answer {
            Ok(Ok(selectors)) => selectors,
            Ok(Err(reply)) => return Err(refused(&self.name, guest, reply)),
            Err(error) => return Err(guest.explain(&error)),
        };
        let len = selectors.iter().map(String::len).sum();
        guest.bound(len, || "the list of selectors".to_owned()).map_err(|p| p.explain(&self.name))?;
        Ok(selectors)
    }

    async fn pipe(&self, params: &Json, shape: &Json, limits: &Limits) -> Result<Box<dyn Pipe>> {
        let transform = self.transform().await?;
        let (params, shape) = (params.to_string(), shape.to_string());
        let mut store = self.store(None, limits);
        let clock = store.data().clock.clone();
        let _ticking = self.shared.ticker.tick()?;
        match clock.meter(transform.open(&mut store, params, shape)).await {
            Ok(pipe) => Ok(Box::new(OpenPipe {
                shared: self.shared.clone(),
                name: self.name.clone(),
                live: Some(Live { store, pipe }),
            })),
            Err(error) => Err(store.data().explain(&error)),
        }
    }
}

/// The error itself, where no guest is left to get it.
fn inner(error: HostError) -> Error {
    match error {
        HostError::Guest(error) | HostError::Stop(error) => error,
    }
}

/// What a transform answered, as the error of a call.
fn refused(name: &str, guest: &Guest, reply: Reply) -> Error {
    guest.told.recall(reply.kind, reply.text).context(format!("transform `{name}`"))
}

/// A pipe in a store of its own.
struct OpenPipe {
    shared: Arc<Shared>,
    name: Arc<str>,
    /// `None` after a trap, an error or the end of the stream.
    live: Option<Live>,
}

struct Live {
    store: Store<Guest>,
    pipe: Box<dyn PipeAbi>,
}

impl OpenPipe {
    /// Calls `finish`, or `push` with a chunk. The store lives on only after a `push` that succeeded: it is taken out
    /// for the call, so that one which is cancelled half-way can't be used again either.
    async fn call(&mut self, chunk: Option<&[u8]>) -> Result<Vec<u8>> {
        let mut live = self.live.take().ok_or_else(|| {
            Error::plugin(format!("a pipe of plugin `{}` was used after it had ended or failed", self.name))
        })?;
        let clock = live.store.data().clock.clone();
        // The CPU limit is for one chunk: a stream may be of any length.
        clock.reset();
        let _ticking = self.shared.ticker.tick()?;
        live.store.set_epoch_deadline(1);
        let answer = match chunk {
            Some(chunk) => clock.meter(live.pipe.push(&mut live.store, chunk)).await,
            None => clock.meter(live.pipe.finish(&mut live.store)).await,
        };
        let guest = live.store.data();
        let out = match answer {
            Ok(Ok(out)) => out,
            Ok(Err(reply)) => return Err(refused(&self.name, guest, reply)),
            Err(error) => return Err(guest.explain(&error)),
        };
        // A row may be longer than the limit; what comes of it may then be as long again.
        let limit = guest.limits.output.max(chunk.map_or(0, |chunk| chunk.len() as u64 * 2));
        if out.len() as u64 > limit {
            let what = "a chunk that it returned".to_owned();
            return Err(Passed::Output { what, len: out.len() as u64, limit }.explain(&self.name));
        }
        if chunk.is_some() {
            self.live = Some(live);
        }
        Ok(out)
    }
}

#[async_trait]
impl Pipe for OpenPipe {
    async fn push(&mut self, chunk: &[u8]) -> Result<Vec<u8>> {
        self.call(Some(chunk)).await
    }

    async fn finish(&mut self) -> Result<Vec<u8>> {
        self.call(None).await
    }
}
