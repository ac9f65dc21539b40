//! Two S3 servers, the capability over them, and a journal in memory.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use godwit_lab::s3::{Builder, S3Server};
use godwit_model::capability::{
    Capability as _, Connection, Ledger, Notes, Overlay, Part, Performed, PlannedFile, Progress, StepScope,
    Transforms,
};
use godwit_model::effect::{Action, CopyObject, Done, Effect, Location, Preparation, Replaces};
use godwit_model::plugin::{Access, ConnectionKind, Grant, Mode, Pipe};
use godwit_model::secret::{Secret, Secrets};
use godwit_model::{ConnectionName, EffectKey, Json, Result, RunId, SlotName, StepId};
use godwit_objects::Objects;
use serde_json::json;

/// Keys that a careless client changes on the way.
pub const ODD_KEYS: &[&str] = &[
    "plain.txt",
    "/leading",
    "trailing/",
    "a//b",
    "a/../b",
    "./dot",
    "..",
    "space d + plus.jpg",
    "100%25 %2F.txt",
    "caf\u{e9}.txt",
    "cafe\u{301}.txt",
    "日本語/\u{1f426}.png",
    "q?a=b&c#d",
    "quote'\"<&>;:@=!$*,()[]{}|\\^`~",
    "tab\there",
];

/// The journal of one effect.
#[derive(Default)]
pub struct MemoryLedger {
    pub notes: Mutex<BTreeMap<String, Json>>,
    pub parts: Mutex<Vec<Part>>,
    /// `finish_part` fails once this many parts are done, as if the process died there.
    pub dies_after: Mutex<Option<usize>>,
}

#[async_trait]
impl Notes for MemoryLedger {
    async fn get(&self, name: &str) -> Result<Option<Json>> {
        Ok(self.notes.lock().unwrap().get(name).cloned())
    }

    async fn set(&self, name: &str, value: Json) -> Result<()> {
        self.notes.lock().unwrap().insert(name.to_owned(), value);
        Ok(())
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn parts(&self) -> Result<Vec<Part>> {
        Ok(self.parts.lock().unwrap().clone())
    }

    async fn plan_parts(&self, ranges: Vec<Json>) -> Result<Vec<Part>> {
        let mut parts = self.parts.lock().unwrap();
        assert!(parts.is_empty(), "ranges are journalled once");
        *parts = ranges
            .into_iter()
            .enumerate()
            .map(|(index, range)| Part { index: index as u32, range, outcome: None })
            .collect();
        Ok(parts.clone())
    }

    async fn finish_part(&self, index: u32, outcome: Json) -> Result<()> {
        let mut parts = self.parts.lock().unwrap();
        let done = parts.iter().filter(|part| part.outcome.is_some()).count();
        if self.dies_after.lock().unwrap().is_some_and(|limit| done >= limit) {
            // Unavailable, so that the capability leaves everything for a resume, as a killed process would.
            return Err(godwit_model::Error::unavailable("the journal is gone"));
        }
        parts[index as usize].outcome = Some(outcome);
        Ok(())
    }

    async fn reset_parts(&self) -> Result<()> {
        for part in self.parts.lock().unwrap().iter_mut() {
            part.outcome = None;
        }
        Ok(())
    }
}

#[derive(Default)]
pub struct Counted(pub Mutex<(u64, u64)>);

impl Progress for Counted {
    fn transfer(&self, _label: &str, items: u64, bytes: u64) {
        let mut counted = self.0.lock().unwrap();
        counted.0 += items;
        counted.1 += bytes;
    }
}

struct NoOverlay;

impl Overlay for NoOverlay {
    fn file(&self, _connection: &ConnectionName, _path: &str) -> Option<PlannedFile> {
        None
    }
}

/// A transform for all transfers: each byte by `0x20` away, each chunk held back until the next one.
pub struct Flip(pub bool);

struct FlipPipe(Vec<u8>);

#[async_trait]
impl Transforms for Flip {
    fn applies(&self, _label: &str) -> bool {
        self.0
    }

    async fn open(&self, _label: &str, shape: &Json) -> Result<Vec<Box<dyn Pipe>>> {
        assert_eq!(shape["kind"], "object");
        Ok(if self.0 {
            vec![Box::new(FlipPipe(Vec::new())), Box::new(FlipPipe(Vec::new()))]
        } else {
            Vec::new()
        })
    }
}

#[async_trait]
impl Pipe for FlipPipe {
    async fn push(&mut self, chunk: &[u8]) -> Result<Vec<u8>> {
        let next = chunk.iter().map(|byte| byte.wrapping_add(16)).collect();
        Ok(std::mem::replace(&mut self.0, next))
    }

    async fn finish(&mut self) -> Result<Vec<u8>> {
        Ok(std::mem::take(&mut self.0))
    }
}

pub struct Rig {
    pub source: S3Server,
    pub target: S3Server,
    pub objects: Objects,
    pub scope: StepScope,
    pub moved: Arc<Counted>,
}

pub const SMALL: u64 = 256 << 10;

impl Rig {
    pub async fn new() -> Self {
        Self::with(Objects::new).await
    }

    /// What goes by a single PUT: up to 1 MiB, of which 256 KiB are held; parts of 256 KiB, at most 40.
    pub async fn small() -> Self {
        Self::with(|connections| Objects::with_bounds(connections, SMALL, 4 * SMALL, SMALL, 40)).await
    }

    /// The same onto a target with other habits.
    pub async fn small_onto(habits: impl FnOnce(Builder) -> Builder) -> Self {
        let make = |connections| Objects::with_bounds(connections, SMALL, 4 * SMALL, SMALL, 40);
        Self::onto(habits(S3Server::builder()), make).await
    }

    pub async fn with(make: impl FnOnce(Vec<Connection>) -> Result<Objects>) -> Self {
        Self::onto(S3Server::builder(), make).await
    }

    /// The target has R2's habits, and is not known to be R2.
    pub async fn r2() -> Self {
        Self::onto(S3Server::builder().r2(), Objects::new).await
    }

    /// Both are taken for this vendor's.
    pub async fn of_vendor(vendor: &'static str) -> Self {
        Self::with(|connections| Objects::new(of_vendor(connections, vendor))).await
    }

    /// The same with small bounds.
    pub async fn small_of_vendor(vendor: &'static str) -> Self {
        Self::with(|connections| {
            Objects::with_bounds(of_vendor(connections, vendor), SMALL, 4 * SMALL, SMALL, 40)
        })
        .await
    }

    /// Listings of both come in pages of so many keys.
    pub async fn with_pages(keys: usize, make: impl FnOnce(Vec<Connection>) -> Result<Objects>) -> Self {
        let builder = || S3Server::builder().page_size(keys);
        let source = builder().start().await.expect("the source starts");
        Self::between(source, builder(), make).await
    }

    async fn onto(target: Builder, make: impl FnOnce(Vec<Connection>) -> Result<Objects>) -> Self {
        let source = S3Server::start().await.expect("the source starts");
        Self::between(source, target.page_size(7), make).await
    }

    async fn between(
        source: S3Server,
        target: Builder,
        make: impl FnOnce(Vec<Connection>) -> Result<Objects>,
    ) -> Self {
        let target = target.min_part_size(1).equal_parts().start().await.expect("the target starts");
        source.create_bucket("from").unwrap();
        target.create_bucket("into").unwrap();
        let run = RunId::new("20260101-000000-abcd");
        let mut secrets = Secrets::default();
        let token = secrets.insert(&run, "key", Secret::new(target.secret_key()));
        let secrets = Arc::new(secrets);
        let connections =
            vec![connection("a", &source, None, &secrets), connection("b", &target, Some(&token), &secrets)];
        let moved = Arc::new(Counted::default());
        let scope = StepScope {
            run,
            step: StepId::new("copy"),
            mode: Mode::Apply,
            grants: Arc::new(vec![grant("source", "a", Access::Read), grant("target", "b", Access::Write)]),
            secrets,
            known_values: Arc::new(Vec::new()),
            notes: Arc::new(MemoryLedger::default()),
            transforms: Arc::new(Flip(false)),
            progress: moved.clone(),
            overlay: Arc::new(NoOverlay),
        };
        Self { objects: make(connections).expect("the settings are right"), source, target, scope, moved }
    }

    pub fn grant(&self, slot: &str) -> &Grant {
        self.scope.grant(&SlotName::new(slot)).unwrap()
    }

    /// An effect that copies `from/key` to `into/key`, as it lies at the source now.
    pub fn copy(&self, key: &str) -> Effect {
        let object = self.source.get("from", key).expect("the object is at the source");
        let action = CopyObject {
            source: location("source", "from", key),
            sink: location("target", "into", key),
            size: object.bytes.len() as u64,
            etag: object.etag,
            replaces: Replaces::Nothing,
            storage_class: None,
            tags: true,
        };
        effect(&format!("copy {key}"), Action::CopyObject(action))
    }

    pub async fn perform(&self, effect: &Effect) -> Result<Done> {
        self.perform_with(effect, &MemoryLedger::default(), false).await
    }

    pub async fn perform_with(&self, effect: &Effect, ledger: &MemoryLedger, resumed: bool) -> Result<Done> {
        let preparation = self.objects.prepare(&self.scope, effect).await?;
        self.objects.perform(&self.scope, effect, &preparation, ledger, resumed).await
    }

    /// Performs effects and keeps what the journal would.
    pub async fn all(&self, effects: Vec<Effect>) -> Vec<Performed> {
        let mut performed = Vec::new();
        for (sequence, effect) in effects.into_iter().enumerate() {
            let preparation = self.objects.prepare(&self.scope, &effect).await.unwrap();
            let ledger = MemoryLedger::default();
            let done =
                self.objects.perform(&self.scope, &effect, &preparation, &ledger, false).await.unwrap();
            performed.push(Performed { effect, preparation, done: Some(done), sequence: sequence as u64 });
        }
        performed
    }

    /// Plans and performs the undo.
    pub async fn undo(&self, performed: &[Performed]) -> Vec<godwit_model::capability::UndoAction> {
        let actions = self.objects.plan_undo(&self.scope, &performed).await.unwrap();
        for action in &actions {
            assert_eq!((&action.irreversible, &action.changed), (&None, &None), "{action:?}");
            self.objects.undo(&self.scope, action, false, false).await.unwrap();
        }
        actions
    }

    /// How often the target saw this operation.
    pub fn seen(&self, operation: &str) -> usize {
        self.target.requests().iter().filter(|request| request.operation == operation).count()
    }
}

pub fn of_vendor(mut connections: Vec<Connection>, vendor: &str) -> Vec<Connection> {
    for connection in &mut connections {
        connection.settings.insert("vendor".into(), json!(vendor));
    }
    connections
}

fn connection(name: &str, server: &S3Server, token: Option<&str>, secrets: &Arc<Secrets>) -> Connection {
    let settings = json!({
        "endpoint": server.endpoint(),
        "region": server.region(),
        "access_key_id": server.access_key(),
        "secret_access_key": token.unwrap_or(server.secret_key()),
    });
    Connection {
        name: ConnectionName::new(name),
        kind: ConnectionKind::S3,
        settings: settings.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        secrets: secrets.clone(),
    }
}

pub fn grant(slot: &str, connection: &str, access: Access) -> Grant {
    Grant {
        slot: SlotName::new(slot),
        connection: ConnectionName::new(connection),
        kind: ConnectionKind::S3,
        access,
        database: None,
        secrets: Vec::new(),
    }
}

pub fn location(slot: &str, bucket: &str, key: &str) -> Location {
    Location { slot: SlotName::new(slot), bucket: bucket.to_owned(), key: key.to_owned() }
}

pub fn effect(key: &str, action: Action) -> Effect {
    Effect { key: EffectKey::new(key), after: Vec::new(), action }
}

pub fn prepared(preparation: &Preparation) -> String {
    serde_json::to_string(preparation).unwrap()
}

/// Bytes that no two places of the stream share.
pub fn bytes(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}
