//! The host as one step call sees it. The one gate: grants, modes, budgets and the overlay of a plan are checked here,
//! whatever a guest asks for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::{StreamExt as _, future, stream};
use godwit_model::capability::{
    Bucketed, Comparison, Cursor, EndpointInfo, FileStat, Listing, ObjectHead, ObjectInfo, ObjectPair,
    Performed, PlannedFile, Preflight, PreflightAsk, PresignedGet, SettingState, StepScope, VersionListing,
};
use godwit_model::effect::{Action, Block, BucketSetting, Effect, Evidence, Outcome};
use godwit_model::plugin::{
    Access, ConnectionKind, Grant, HostError, HostResult, Level, Limits, Mode, Question, StepHost,
};
use godwit_model::{EffectKey, Error, Fault, Json, Result};

use crate::observer::Event;
use crate::planning::PlannedStep;
use crate::queue::Queue;
use crate::rooms::Rooms;
use crate::scope::{Stop, performed};
use crate::world::{self, PlannedWorld, normal_path};

/// How many sinks are read at once at most. Capabilities have budgets of their own below this.
const AT_ONCE: usize = 64;

/// What stands behind the effects of a call.
pub(crate) enum Backing {
    /// Effects are recorded.
    Plan { world: Arc<PlannedWorld>, step: PlannedStep },
    /// Effects are performed.
    Apply { queue: Arc<Queue> },
    /// There are no effects.
    Verify,
}

/// One step call's host.
pub(crate) struct Session {
    pub rooms: Rooms,
    pub scope: StepScope,
    pub backing: Backing,
    pub stop: Stop,
    limits: Limits,
    asked: AtomicU64,
    logged: AtomicU64,
    /// Memos of a plan, which journals nothing.
    memos: Mutex<HashMap<String, Json>>,
    ahead: tokio::sync::Mutex<Ahead>,
}

impl Session {
    pub fn new(rooms: Rooms, scope: StepScope, backing: Backing, stop: Stop, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            rooms,
            scope,
            backing,
            stop,
            limits,
            asked: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            memos: Mutex::default(),
            ahead: tokio::sync::Mutex::default(),
        })
    }

    /// The grant of `slot` for this kind and access, or the recipe line that would give it.
    fn granted(&self, slot: &str, kind: ConnectionKind, access: Access) -> Result<&Grant> {
        let line = |connection: &str| {
            format!(
                "the recipe line that would allow it, in step `{}`: \"grant\": {{ \"{slot}\": {{ \"connection\": \"{connection}\", \"access\": \"{}\" }} }}",
                self.scope.step,
                access.name()
            )
        };
        let Some(grant) = self.scope.grants.iter().find(|grant| grant.slot.as_str() == slot) else {
            return Err(Error::denied(format!(
                "step `{}` has no grant for slot `{slot}` ({} access to a {} connection)",
                self.scope.step,
                access.name(),
                kind.name()
            ))
            .hint(line("…")));
        };
        if grant.kind != kind {
            return Err(Error::denied(format!(
                "slot `{slot}` of step `{}` is a {} connection, not a {} one",
                self.scope.step,
                grant.kind.name(),
                kind.name()
            )));
        }
        if grant.access < access {
            return Err(Error::denied(format!(
                "slot `{slot}` of step `{}` is granted for reading, but the plugin wants to write",
                self.scope.step
            ))
            .hint(line(grant.connection.as_str())));
        }
        Ok(grant)
    }

    fn identity(&self, grant: &Grant) -> Result<String> {
        self.rooms.capabilities.for_kind(grant.kind).identity(grant)
    }

    /// A grant to read through, `pending` where planned effects have touched what is behind it.
    fn readable(&self, slot: &str, kind: ConnectionKind, bucket: Option<&str>) -> Result<&Grant> {
        let grant = self.granted(slot, kind, Access::Read)?;
        if let Backing::Plan { world, .. } = &self.backing {
            match (kind, bucket) {
                (ConnectionKind::Postgres, _) => world.database(&self.identity(grant)?)?,
                (ConnectionKind::S3, Some(bucket)) => world.bucket(&self.identity(grant)?, bucket)?,
                _ => {}
            }
        }
        Ok(grant)
    }

    fn alive(&self) -> HostResult<()> {
        if self.stop.is_stopped() { Err(HostError::Stop(Stop::error())) } else { Ok(()) }
    }

    fn planned_file(&self, grant: &Grant, path: &str) -> Option<PlannedFile> {
        self.scope.overlay.file(&grant.connection, path)
    }

    async fn performed(&self, key: &EffectKey) -> Result<Option<Performed>> {
        let (journal, run, step) = (&self.rooms.journal, &self.scope.run, &self.scope.step);
        if !matches!(self.backing, Backing::Verify) {
            return Ok(journal.effect(run, step, key).await?.map(performed));
        }
        // Nothing changes while a step is verified.
        let mut ahead = self.ahead.lock().await;
        if !ahead.page.contains_key(key) {
            let count = ahead.next_count(key);
            let records = journal.effects_from(run, step, key, count).await?;
            ahead.page =
                records.into_iter().map(|record| (record.effect.key.clone(), performed(record))).collect();
        }
        ahead.last = Some(key.clone());
        Ok(ahead.page.get(key).cloned())
    }
}

/// Effects that were read from the journal before they were asked for: a step that verifies thousands of objects asks
/// for them in the order of their keys.
#[derive(Default)]
struct Ahead {
    page: HashMap<EffectKey, Performed>,
    count: u32,
    last: Option<EffectKey>,
}

impl Ahead {
    /// The most effects that are kept.
    const MOST: u32 = 256;

    /// How many to read from `key` on: more and more while keys come in order, one where they don't.
    fn next_count(&mut self, key: &EffectKey) -> u32 {
        let in_order = self.last.as_ref().is_some_and(|last| last < key);
        self.count = if in_order { (self.count * 2).clamp(1, Self::MOST) } else { 1 };
        self.count
    }
}

/// Sorts an error of a host call: what the guest may handle, and what ends the call.
/// Results one by one, unless one of them ends the call.
fn each_for_guest<T>(results: Vec<Result<T>>) -> HostResult<Vec<Result<T>>> {
    results
        .into_iter()
        .map(|result| match result.map_err(for_guest) {
            Ok(value) => Ok(Ok(value)),
            Err(HostError::Guest(error)) => Ok(Err(error)),
            Err(stop) => Err(stop),
        })
        .collect()
}

fn for_guest(error: Error) -> HostError {
    match error.fault {
        Fault::Host if !error.is_pending() => HostError::Stop(error),
        _ => HostError::Guest(error),
    }
}

#[async_trait]
impl StepHost for Session {
    fn mode(&self) -> Mode {
        self.scope.mode
    }

    fn grant(&self, slot: &str) -> Option<Grant> {
        self.scope.grants.iter().find(|grant| grant.slot.as_str() == slot).cloned()
    }

    fn identity(&self, slot: &str) -> Option<String> {
        let grant = self.grant(slot)?;
        Session::identity(self, &grant).ok()
    }

    async fn log(&self, level: Level, message: &str) -> HostResult<()> {
        self.alive()?;
        let logged = self.logged.fetch_add(message.len() as u64, Ordering::Relaxed) + message.len() as u64;
        if logged > self.limits.log {
            return Err(HostError::Stop(
                Error::plugin(format!(
                    "the plugin of step `{}` logged more than its limit of {} bytes",
                    self.scope.step, self.limits.log
                ))
                .hint("raise it in the recipe: \"limits\": { \"log\": \"4MiB\" }"),
            ));
        }
        let message = self.scope.secrets.redact(message);
        if let Backing::Plan { step, .. } = &self.backing
            && level >= Level::Info
        {
            step.log(&message);
        }
        self.rooms.observer.event(Event::Log { step: self.scope.step.clone(), level, message });
        Ok(())
    }

    fn progress(&self, label: &str, done: u64, total: Option<u64>, unit: &str) {
        self.rooms.observer.event(Event::Progress {
            step: self.scope.step.clone(),
            label: self.scope.secrets.redact(label),
            done,
            total,
            unit: unit.to_owned(),
        });
    }

    async fn memo(&self, key: &str, value: Option<Json>) -> HostResult<Option<Json>> {
        self.alive()?;
        let journal = &self.rooms.journal;
        let (run, step) = (&self.scope.run, &self.scope.step);
        match (&self.backing, value) {
            (Backing::Apply { .. }, Some(value)) => {
                journal.memo(run, step, key, &value).await.map(Some).map_err(HostError::Stop)
            }
            (Backing::Apply { .. } | Backing::Verify, None) => {
                journal.kept_memo(run, step, key).await.map_err(HostError::Stop)
            }
            (Backing::Plan { .. } | Backing::Verify, value) => {
                let mut memos = self.memos.lock().unwrap_or_else(|p| p.into_inner());
                Ok(match value {
                    Some(value) => Some(memos.entry(key.to_owned()).or_insert(value).clone()),
                    None => memos.get(key).cloned(),
                })
            }
        }
    }

    fn admit(&self, action: &Action) -> HostResult<()> {
        if matches!(self.backing, Backing::Verify) {
            return Err(HostError::Guest(Error::denied(format!(
                "step `{}` asked for an effect while it was verified; verify reads only",
                self.scope.step
            ))));
        }
        self.granted(action.sink().as_str(), action.sink_kind(), Access::Write)?;
        for source in action.sources() {
            self.granted(source.as_str(), action.source_kind(), Access::Read)?;
        }
        Ok(())
    }

    async fn submit(&self, batch: Vec<Effect>) -> HostResult<()> {
        self.alive()?;
        let asked = self.asked.fetch_add(batch.len() as u64, Ordering::Relaxed) + batch.len() as u64;
        if asked > self.limits.effects {
            return Err(HostError::Stop(
                Error::plugin(format!(
                    "the plugin of step `{}` asked for more than its limit of {} effects",
                    self.scope.step, self.limits.effects
                ))
                .hint("raise it in the recipe: \"limits\": { \"effects\": 10000000 }"),
            ));
        }
        for effect in &batch {
            self.admit(&effect.action)?;
        }
        match &self.backing {
            Backing::Plan { world, step } => {
                step.record(&self.rooms, &self.scope, world, batch).await.map_err(for_guest)
            }
            // An error of the queue ends the step: a conflict of keys, a gate that stays shut, a broken journal.
            Backing::Apply { queue } => queue.submit(batch).await.map_err(HostError::Stop),
            Backing::Verify => Err(HostError::Guest(Error::denied("verify has no effects"))),
        }
    }

    async fn next(&self, max: u32) -> HostResult<Vec<Outcome>> {
        self.alive()?;
        match &self.backing {
            Backing::Plan { step, .. } => Ok(step.outcomes(max)),
            Backing::Apply { queue } => queue.next(max).await.map_err(HostError::Stop),
            Backing::Verify => Ok(Vec::new()),
        }
    }

    async fn evidence(&self, key: &EffectKey) -> HostResult<Option<Evidence>> {
        if let Backing::Plan { .. } = self.backing {
            return Err(HostError::Guest(Error::pending(format!("effect `{key}` is only planned"))));
        }
        let performed = self.performed(key).await.map_err(HostError::Stop)?;
        Ok(performed.and_then(|performed| performed.done).and_then(|done| done.evidence))
    }

    async fn observe(&self, keys: &[EffectKey]) -> HostResult<Vec<Result<Evidence>>> {
        self.alive()?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            if let Backing::Plan { .. } = self.backing {
                found.push(Err(Error::pending(format!("effect `{key}` is only planned"))));
                continue;
            }
            let performed = self.performed(key).await.map_err(HostError::Stop)?;
            found.push(performed.filter(|performed| performed.done.is_some()).ok_or_else(|| {
                Error::missing(format!("step `{}` has no effect `{key}` that is done", self.scope.step))
            }));
        }
        let observe = |performed: Result<Performed>| async move {
            let performed = performed?;
            let capability = self.rooms.capabilities.named(performed.effect.action.capability());
            capability.observe(&self.scope, &performed).await
        };
        each_for_guest(stream::iter(found).map(observe).buffered(AT_ONCE).collect().await)
    }

    async fn query(&self, slot: &str, sql: &str, params: &[Option<String>]) -> HostResult<Box<dyn Cursor>> {
        self.alive()?;
        let grant = self.readable(slot, ConnectionKind::Postgres, None)?;
        self.rooms.capabilities.postgres_reads.query(&self.scope, grant, sql, params).await.map_err(for_guest)
    }

    async fn answers(&self, questions: &[Question]) -> HostResult<Vec<Result<Vec<String>>>> {
        self.alive()?;
        let answer = |question: Question| async move {
            let grant = self.readable(&question.slot, ConnectionKind::Postgres, None)?;
            let reads = &self.rooms.capabilities.postgres_reads;
            reads.answer(&self.scope, grant, &question.sql, &question.params).await
        };
        // All of them: a slot's budget of connections bounds how many run, and one slot doesn't hold up another.
        each_for_guest(future::join_all(questions.iter().cloned().map(answer)).await)
    }

    async fn read_file(&self, slot: &str, path: &str) -> HostResult<Vec<u8>> {
        self.alive()?;
        let grant = self.granted(slot, ConnectionKind::Dir, Access::Read)?;
        match self.planned_file(grant, path) {
            Some(PlannedFile::Written(bytes)) => Ok(bytes),
            Some(PlannedFile::Deleted) => Err(HostError::Guest(Error::missing(format!(
                "file `{path}` in slot `{slot}` is deleted by an earlier effect of the plan"
            )))),
            Some(PlannedFile::Made(by)) => Err(HostError::Guest(world::unknown_file(path, &by))),
            None => self.rooms.capabilities.file_reads.read(grant, path).await.map_err(for_guest),
        }
    }

    async fn read_file_range(&self, slot: &str, path: &str, offset: u64, length: u32) -> HostResult<Vec<u8>> {
        self.alive()?;
        let grant = self.granted(slot, ConnectionKind::Dir, Access::Read)?;
        if self.planned_file(grant, path).is_some() {
            let whole = self.read_file(slot, path).await?;
            let from = usize::try_from(offset).map_or(whole.len(), |from| from.min(whole.len()));
            let to = whole.len().min(from.saturating_add(length as usize));
            return Ok(whole[from..to].to_vec());
        }
        let reads = &self.rooms.capabilities.file_reads;
        reads.read_range(grant, path, offset, length).await.map_err(for_guest)
    }

    async fn stat_file(&self, slot: &str, path: &str) -> HostResult<Option<FileStat>> {
        self.alive()?;
        let grant = self.granted(slot, ConnectionKind::Dir, Access::Read)?;
        match self.planned_file(grant, path) {
            Some(PlannedFile::Written(bytes)) => {
                Ok(Some(FileStat { path: normal_path(path), size: bytes.len() as u64, is_dir: false }))
            }
            Some(PlannedFile::Deleted) => Ok(None),
            Some(PlannedFile::Made(by)) => Err(HostError::Guest(world::unknown_file(path, &by))),
            None => {
                let found = self.rooms.capabilities.file_reads.stat(grant, path).await.map_err(for_guest)?;
                if let (None, Backing::Plan { world, .. }) = (&found, &self.backing)
                    && let Some(by) = world.maker_below(&grant.connection, path)
                {
                    return Err(HostError::Guest(world::unknown_file(path, &by)));
                }
                Ok(found)
            }
        }
    }

    async fn list_files(&self, slot: &str, path: &str) -> HostResult<Vec<FileStat>> {
        self.alive()?;
        let grant = self.granted(slot, ConnectionKind::Dir, Access::Read)?;
        if let Backing::Plan { world, .. } = &self.backing
            && let Some(by) = world.maker_below(&grant.connection, path)
        {
            return Err(HostError::Guest(world::unknown_file(path, &by)));
        }
        let mut files = self.rooms.capabilities.file_reads.list(grant, path).await.map_err(for_guest)?;
        if let Backing::Plan { world, .. } = &self.backing {
            for (path, planned) in world.files_under(&grant.connection, path) {
                files.retain(|file| file.path != path);
                if let PlannedFile::Written(bytes) = planned {
                    files.push(FileStat { path, size: bytes.len() as u64, is_dir: false });
                }
            }
            files.sort_by(|a, b| a.path.cmp(&b.path));
        }
        Ok(files)
    }

    async fn archive_blocks(&self, slot: &str, path: &str, start: u64) -> HostResult<Vec<Block>> {
        self.alive()?;
        let grant = self.granted(slot, ConnectionKind::Dir, Access::Read)?;
        if let Some(PlannedFile::Made(by)) = self.planned_file(grant, path) {
            return Err(HostError::Guest(world::unknown_file(path, &by)));
        }
        self.rooms.capabilities.archive_reads.blocks(grant, path, start).await.map_err(for_guest)
    }

    fn describe_endpoint(&self, slot: &str) -> HostResult<EndpointInfo> {
        self.alive()?;
        let grant = self.readable(slot, ConnectionKind::S3, None)?;
        self.rooms.capabilities.object_reads.endpoint(grant).map_err(for_guest)
    }

    async fn list_objects(
        &self,
        slot: &str,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> HostResult<Box<dyn Listing>> {
        self.alive()?;
        let grant = self.readable(slot, ConnectionKind::S3, Some(bucket))?;
        self.rooms.capabilities.object_reads.list(grant, bucket, prefix, after).await.map_err(for_guest)
    }

    async fn list_versions(
        &self,
        slot: &str,
        bucket: &str,
        prefix: &str,
    ) -> HostResult<Box<dyn VersionListing>> {
        self.alive()?;
        let grant = self.readable(slot, ConnectionKind::S3, Some(bucket))?;
        self.rooms.capabilities.object_reads.versions(grant, bucket, prefix).await.map_err(for_guest)
    }

    async fn stat_objects(
        &self,
        slot: &str,
        bucket: &str,
        keys: &[String],
    ) -> HostResult<Vec<Result<Option<ObjectInfo>>>> {
        self.alive()?;
        match self.readable(slot, ConnectionKind::S3, Some(bucket)) {
            Ok(grant) => Ok(self.rooms.capabilities.object_reads.stat(grant, bucket, keys).await),
            Err(error) => Ok(vec![Err(error); keys.len()]),
        }
    }

    async fn compare_objects(
        &self,
        pairs: &[((String, Bucketed), (String, Bucketed))],
        deep: bool,
    ) -> HostResult<Vec<Result<Comparison>>> {
        self.alive()?;
        let place = |(slot, at): &(String, Bucketed)| -> Result<(Grant, Bucketed)> {
            Ok((self.readable(slot, ConnectionKind::S3, Some(&at.bucket))?.clone(), at.clone()))
        };
        let known = pairs
            .iter()
            .map(|(left, right)| Ok(ObjectPair { left: place(left)?, right: place(right)? }))
            .collect::<Result<Vec<_>>>();
        match known {
            Ok(known) => Ok(self.rooms.capabilities.object_reads.compare(&known, deep).await),
            Err(error) => Ok(vec![Err(error); pairs.len()]),
        }
    }

    async fn bucket_setting(
        &self,
        slot: &str,
        bucket: &str,
        name: BucketSetting,
    ) -> HostResult<SettingState> {
        self.alive()?;
        let grant = self.readable(slot, ConnectionKind::S3, Some(bucket))?;
        self.rooms.capabilities.object_reads.setting(grant, bucket, name).await.map_err(for_guest)
    }

    async fn cors_preflight(&self, slot: &str, at: &Bucketed, ask: &PreflightAsk) -> HostResult<Preflight> {
        self.alive()?;
        let grant = self.readable(slot, ConnectionKind::S3, Some(&at.bucket))?;
        self.rooms.capabilities.object_reads.cors_preflight(grant, at, ask).await.map_err(for_guest)
    }

    async fn head_object(&self, slot: &str, at: &Bucketed) -> HostResult<Option<ObjectHead>> {
        self.alive()?;
        let grant = self.readable(slot, ConnectionKind::S3, Some(&at.bucket))?;
        self.rooms.capabilities.object_reads.head(grant, at).await.map_err(for_guest)
    }

    async fn bucket_exists(&self, slot: &str, bucket: &str) -> HostResult<bool> {
        self.alive()?;
        let grant = self.readable(slot, ConnectionKind::S3, Some(bucket))?;
        self.rooms.capabilities.object_reads.bucket_exists(grant, bucket).await.map_err(for_guest)
    }

    async fn bucket_cors(&self, slot: &str, bucket: &str) -> HostResult<Option<Json>> {
        self.alive()?;
        let grant = self.readable(slot, ConnectionKind::S3, Some(bucket))?;
        self.rooms.capabilities.object_reads.cors(grant, bucket).await.map_err(for_guest)
    }

    async fn presigned_get(&self, slot: &str, at: &Bucketed) -> HostResult<PresignedGet> {
        self.alive()?;
        let grant = self.readable(slot, ConnectionKind::S3, Some(&at.bucket))?;
        self.rooms.capabilities.object_reads.presigned_get(grant, at).await.map_err(for_guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_read_ahead_while_keys_come_in_order() {
        let mut ahead = Ahead::default();
        let mut counts = Vec::new();
        for key in ["a", "b", "c", "d", "b", "c"] {
            let key = EffectKey::from(key);
            counts.push(ahead.next_count(&key));
            ahead.last = Some(key);
        }
        assert_eq!(counts, [1, 2, 4, 8, 1, 2]);
        for number in 0..20 {
            let key = EffectKey::new(format!("d{number:02}"));
            assert!(ahead.next_count(&key) <= Ahead::MOST);
            ahead.last = Some(key);
        }
    }
}
