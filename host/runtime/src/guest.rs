//! The data of one store: what the host keeps for one call of a guest.

use std::sync::Arc;

use godwit_model::effect::{Action, Effect};
use godwit_model::plugin::{Limits, StepHost};
use godwit_model::{EffectKey, Error};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::clock::{Clock, HostCall};
use crate::failure::{Broke, Told, Trouble, explain};
use crate::limits::{Bounds, HANDLES, LogBudget, OPEN_PAGES, PENDING_EFFECTS, Passed};
use crate::stdio::Capture;

/// Bytes that one call of the host may copy out of the guest, at least: a file may have 64 MiB.
const HOST_CALL_BYTES: u64 = 128 << 20;

/// An effect that a guest has made and not yet submitted.
pub struct Pending {
    pub(crate) effect: Effect,
    bytes: u64,
}

/// What belongs to one store.
pub(crate) struct Guest {
    plugin: Arc<str>,
    /// `None` while a plugin describes itself, and for transforms.
    host: Option<Arc<dyn StepHost>>,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<Clock>,
    pub(crate) told: Told,
    pub(crate) table: ResourceTable,
    pub(crate) log_budget: LogBudget,
    bounds: Bounds,
    stdout: Capture,
    stderr: Capture,
    wasi: WasiCtx,
    /// Effects and memos asked for so far.
    asked: u64,
    pending: u64,
    pending_bytes: u64,
    abandoned: u64,
    open_pages: u64,
}

impl Guest {
    /// A fresh store with every bound in place.
    pub(crate) fn store(
        engine: &Engine,
        plugin: Arc<str>,
        host: Option<Arc<dyn StepHost>>,
        limits: &Limits,
    ) -> Store<Self> {
        let log_budget = LogBudget::new(limits.log);
        let (stdout, stderr) = (Capture::new(log_budget.clone()), Capture::new(log_budget.clone()));
        // No environment, no arguments, no folders, no network: the builder starts empty.
        let wasi = WasiCtx::builder().stdout(stdout.clone()).stderr(stderr.clone()).build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let guest = Self {
            plugin,
            host,
            limits: limits.clone(),
            clock: Arc::default(),
            told: Told::default(),
            table,
            log_budget,
            bounds: Bounds::new(limits),
            stdout,
            stderr,
            wasi,
            asked: 0,
            pending: 0,
            pending_bytes: 0,
            abandoned: 0,
            open_pages: 0,
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.bounds);
        let fuel = HOST_CALL_BYTES.max(limits.output.saturating_mul(2));
        store.set_hostcall_fuel(usize::try_from(fuel).unwrap_or(usize::MAX));
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            let guest = context.data();
            let limit_ms = guest.limits.cpu_ms;
            if guest.clock.spent().as_millis() > u128::from(limit_ms) {
                return Err(Passed::Cpu { limit_ms }.into());
            }
            // Yielding lets the executor look at time-outs, and other steps run.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store
    }

    /// Enters a host function: stops the guest's clock, and gives the host of this call.
    pub(crate) fn enter(&self) -> wasmtime::Result<(HostCall, Arc<dyn StepHost>)> {
        let call = self.clock.host_call();
        let host = self.host.clone().ok_or_else(|| {
            Broke("it called the host while it described itself; `describe` is pure".to_owned())
        })?;
        Ok((call, host))
    }

    /// Refuses a value that is longer than the output limit. `what` begins a clause: «the memo `x`».
    pub(crate) fn bound(&self, len: usize, what: impl FnOnce() -> String) -> Result<(), Passed> {
        let (len, limit) = (len as u64, self.limits.output);
        if len > limit { Err(Passed::Output { what: what(), len, limit }) } else { Ok(()) }
    }

    /// Counts one effect or memo.
    pub(crate) fn ask(&mut self) -> Result<(), Passed> {
        self.asked += 1;
        let limit = self.limits.effects;
        if self.asked > limit { Err(Passed::Effects { limit }) } else { Ok(()) }
    }

    /// Makes an effect: admitted by the host, bounded, and kept until it is submitted.
    pub(crate) fn make(&mut self, key: String, action: Action) -> Result<Resource<Pending>, Trouble> {
        let (_call, host) = self.enter()?;
        self.ask()?;
        if key.is_empty() {
            return Err(Error::invalid("an effect needs a key").fault(godwit_model::Fault::Plugin).into());
        }
        host.admit(&action)?;
        let bytes = held(&key, &action);
        if self.pending == PENDING_EFFECTS {
            return Err(Passed::Pending.into());
        }
        if self.pending_bytes.saturating_add(bytes) > self.limits.memory {
            return Err(Passed::Content { limit: self.limits.memory }.into());
        }
        let effect = Effect { key: EffectKey::new(key), after: Vec::new(), action };
        let resource = self.table.push(Pending { effect, bytes })?;
        self.pending += 1;
        self.pending_bytes += bytes;
        Ok(resource)
    }

    /// Puts effects after others; see `effects.effect.after` in the WIT.
    pub(crate) fn after(&mut self, effect: &Resource<Pending>, keys: Vec<String>) -> wasmtime::Result<()> {
        let _call = self.clock.host_call();
        let bytes = keys.iter().map(|key| key.len() as u64 + 24).sum::<u64>();
        if self.pending_bytes.saturating_add(bytes) > self.limits.memory {
            return Err(Passed::Content { limit: self.limits.memory }.into());
        }
        let pending = self.table.get_mut(effect)?;
        for key in keys.into_iter().map(EffectKey::new) {
            if !pending.effect.after.contains(&key) {
                pending.effect.after.push(key);
            }
        }
        pending.bytes += bytes;
        self.pending_bytes += bytes;
        Ok(())
    }

    /// Takes an effect out of the table to submit it.
    pub(crate) fn take(&mut self, effect: Resource<Pending>) -> wasmtime::Result<Effect> {
        let pending = self.table.delete(effect)?;
        self.pending -= 1;
        self.pending_bytes -= pending.bytes;
        Ok(pending.effect)
    }

    /// The guest let go of an effect that it never submitted.
    pub(crate) fn abandon(&mut self, effect: Resource<Pending>) -> wasmtime::Result<()> {
        self.take(effect)?;
        self.abandoned += 1;
        Ok(())
    }

    /// Effects that were made and never submitted, for a warning.
    pub(crate) fn unsubmitted(&self) -> u64 {
        self.abandoned + self.pending
    }

    /// Keeps a cursor or listing open.
    pub(crate) fn open<T: Send + 'static>(&mut self, pages: T) -> Result<Resource<T>, Trouble> {
        if self.open_pages == OPEN_PAGES {
            return Err(Passed::OpenPages.into());
        }
        let resource = self.table.push(pages)?;
        self.open_pages += 1;
        Ok(resource)
    }

    pub(crate) fn close<T: 'static>(&mut self, pages: Resource<T>) -> wasmtime::Result<()> {
        drop(self.table.delete(pages)?);
        self.open_pages -= 1;
        Ok(())
    }

    /// Why a call ended early.
    pub(crate) fn explain(&self, error: &wasmtime::Error) -> Error {
        explain(&self.plugin, error, &self.stderr.take())
    }

    /// What the guest wrote to stdout and stderr since it was last asked for.
    pub(crate) fn written(&self) -> String {
        self.stdout.take() + &self.stderr.take()
    }
}

/// Bytes that an unsubmitted effect holds of the host's memory, roughly.
fn held(key: &str, action: &Action) -> u64 {
    let texts = |texts: &[String]| texts.iter().map(|text| text.len() as u64 + 24).sum::<u64>();
    let action = match action {
        Action::WriteFile(a) => a.content.len,
        Action::PutObject(a) => a.content.len,
        Action::ExecuteSql(a) => {
            let undo = match &a.undo {
                godwit_model::effect::SqlUndo::Statements { statements } => texts(statements),
                _ => 0,
            };
            let repair = match &a.execution {
                godwit_model::effect::Execution::Standalone { probe, repair } => {
                    texts(repair) + probe.as_ref().map_or(0, |probe| probe.len() as u64)
                }
                godwit_model::effect::Execution::Atomic => 0,
            };
            texts(&a.statements) + undo + repair
        }
        Action::CopyTable(a) => {
            texts(&a.source.columns)
                + texts(&a.sink.columns)
                + a.filter.as_ref().map_or(0, |filter| filter.len() as u64)
        }
        Action::DumpTable(a) => {
            texts(&a.source.columns)
                + a.sink.path.len() as u64
                + a.filter.as_ref().map_or(0, |filter| filter.len() as u64)
        }
        Action::LoadTable(a) => {
            texts(&a.sink.columns)
                + a.encoding.as_ref().map_or(0, |encoding| encoding.len() as u64)
                + a.sources().map(|(file, _)| file.path.len() as u64 + 64).sum::<u64>()
        }
        Action::SealArchive(a) => a
            .pieces
            .iter()
            .map(|piece| match piece {
                godwit_model::effect::Piece::Text { bytes } => bytes.len() as u64 + 24,
                godwit_model::effect::Piece::Dumped { path }
                | godwit_model::effect::Piece::Block { path, .. }
                | godwit_model::effect::Piece::Objects { path, .. }
                | godwit_model::effect::Piece::ObjectScript { path }
                | godwit_model::effect::Piece::ObjectFiles { path, .. } => path.len() as u64 + 24,
            })
            .sum(),
        Action::CopySequences(a) => {
            a.sequences.iter().map(|(schema, name)| (schema.len() + name.len()) as u64 + 48).sum()
        }
        Action::SetCors(a) => a
            .rules
            .iter()
            .map(|rule| {
                texts(&rule.allowed_origins)
                    + texts(&rule.allowed_methods)
                    + texts(&rule.allowed_headers)
                    + texts(&rule.expose_headers)
            })
            .sum(),
        Action::CopyObject(a) => (a.source.key.len() + a.sink.key.len()) as u64,
        Action::CopyVersions(a) => {
            let versions: usize = a.versions.iter().map(|v| v.version.len() + v.etag.len() + 96).sum();
            (a.source.key.len() + a.sink.key.len() + versions) as u64
        }
        Action::SetBucketSetting(a) => a.document.as_ref().map_or(0, |text| text.len() as u64),
        Action::ProbeBucket(a) => a.prefix.len() as u64,
        Action::DeleteFile(_)
        | Action::CreateDatabase(_)
        | Action::DeleteObject(_)
        | Action::CreateBucket(_) => 0,
    };
    action + key.len() as u64 + 256
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
