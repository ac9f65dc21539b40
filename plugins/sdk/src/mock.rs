//! A host in memory, so that a plugin's logic is tested natively.
//!
//! [`MockHost`] keeps the contract where a plugin can notice: a key has one request, `after` names known effects, a
//! failed predecessor cancels, a plan performs nothing and answers `pending`, a resumed call is answered from what the
//! first one did. Files and objects are really changed; SQL is only recorded, and queries are answered by a script; a
//! dumped table is an empty file.

mod capabilities;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;
use serde_json::Value;

use crate::types::*;
use crate::{Step, Transform, open_pipe, run_apply, run_selects, run_verify};

/// A query as a script sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    pub slot: &'a str,
    pub sql: &'a str,
    pub params: Vec<Option<&'a str>>,
}

type Script = Box<dyn Fn(&Query<'_>) -> Option<Result<Vec<Value>>>>;

/// An effect's request as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    WriteFile { slot: String, path: String, content: Vec<u8> },
    DeleteFile { slot: String, path: String },
    Execute { slot: String, request: Execute },
    CopyTable { source: Table, sink: Table, options: CopyOptions },
    CopySequences { source: String, sink: String, sequences: Vec<(String, String)> },
    CreateDatabase { slot: String, options: DatabaseOptions },
    DumpTable { source: Table, sink: RowsFile, options: CopyOptions },
    LoadTable { source: RowsFile, block: Option<Block>, encoding: Option<String>, sink: Table },
    LoadObjects { sources: Vec<ObjectsFile>, slot: String },
    SealArchive { slot: String, path: String, pieces: Vec<Piece> },
    CopyObject { source: Location, sink: Location, size: u64, etag: String, copy: ObjectCopy },
    CopyVersions { source: Location, sink: Location, versions: Vec<VersionCopy>, tags: bool },
    PutObject { sink: Location, content: Vec<u8>, content_type: Option<String>, replaces: Replaces },
    DeleteObject { sink: Location, etag: String },
    CreateBucket { slot: String, bucket: String },
    SetCors { slot: String, bucket: String, rules: Vec<CorsRule> },
    SetBucketSetting { slot: String, bucket: String, name: BucketSetting, document: Option<String> },
    ProbeBucket { slot: String, bucket: String, prefix: String },
}

/// An effect as it was submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Submitted {
    pub key: String,
    pub after: Vec<String>,
    pub request: Request,
}

/// An object of the mock's buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MockObject {
    pub content: Vec<u8>,
    pub etag: String,
    pub modified: i64,
    pub headers: Vec<(String, String)>,
    pub metadata: Vec<(String, String)>,
    pub storage_class: Option<String>,
}

impl MockObject {
    /// An object whose ETag follows from its content.
    pub fn new(content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        let etag = etag(&content);
        Self { content, etag, modified: 0, headers: Vec::new(), metadata: Vec::new(), storage_class: None }
    }
}

/// FNV-1a: stands for the MD5 of a real store.
fn etag(content: &[u8]) -> String {
    let hash = content.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, MockObject>,
    cors: Option<String>,
    settings: BTreeMap<BucketSetting, String>,
    /// As a listing gives them.
    versions: Vec<ObjectVersion>,
}

/// What the journal knows of an effect.
struct Journalled {
    request: Request,
    outcome: Result<String>,
}

#[derive(Default)]
struct World {
    files: BTreeMap<(String, String), Vec<u8>>,
    /// Planned states of files; `None` is a planned deletion.
    overlay: BTreeMap<(String, String), Option<Vec<u8>>>,
    buckets: BTreeMap<(String, String), Bucket>,
    endpoints: BTreeMap<String, Endpoint>,
    memos: BTreeMap<String, String>,
    /// `None`: the slot isn't granted. A slot without an entry is granted for writing.
    grants: BTreeMap<String, Option<Granted>>,
    scripts: Vec<Script>,
    outcomes: BTreeMap<String, Result<String>>,
    evidence: BTreeMap<String, Evidence>,
    observed: BTreeMap<String, Evidence>,
    journal: BTreeMap<String, Journalled>,
    /// Of this call, in the order of submission.
    submitted: Vec<Submitted>,
    queue: VecDeque<Outcome>,
    queries: Vec<String>,
    blocks: BTreeMap<(String, String), Vec<Block>>,
    logs: Vec<(Level, String)>,
    performed: usize,
}

/// A host in memory. Granted slots: all, for writing, unless told otherwise.
pub struct MockHost {
    mode: Cell<Mode>,
    page: usize,
    crash_after: Cell<Option<usize>>,
    world: RefCell<World>,
}

impl Default for MockHost {
    fn default() -> Self {
        Self::new()
    }
}

impl MockHost {
    /// An empty world in mode `apply`.
    pub fn new() -> Self {
        Self {
            mode: Cell::new(Mode::Apply),
            page: 100,
            crash_after: Cell::new(None),
            world: RefCell::new(World::default()),
        }
    }

    /// Sets the mode of the next call.
    pub fn with_mode(self, mode: Mode) -> Self {
        self.mode.set(mode);
        self
    }

    /// Rows and objects per page.
    pub fn with_page_size(mut self, page: usize) -> Self {
        self.page = page.max(1);
        self
    }

    /// Puts a file into a slot's folder.
    pub fn with_file(self, slot: &str, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.set_file(slot, path, content);
        self
    }

    /// Grants a slot like this.
    pub fn with_grant(self, slot: &str, granted: Granted) -> Self {
        self.world.borrow_mut().grants.insert(slot.to_owned(), Some(granted));
        self
    }

    /// Doesn't grant a slot.
    pub fn without_grant(self, slot: &str) -> Self {
        self.world.borrow_mut().grants.insert(slot.to_owned(), None);
        self
    }

    /// Makes a bucket.
    pub fn with_bucket(self, slot: &str, bucket: &str) -> Self {
        self.world.borrow_mut().buckets.entry((slot.to_owned(), bucket.to_owned())).or_default();
        self
    }

    /// Puts an object, and its bucket where it isn't there.
    pub fn with_object(self, slot: &str, bucket: &str, key: &str, object: MockObject) -> Self {
        self.set_object(slot, bucket, key, object);
        self
    }

    /// Answers queries: the first script that returns `Some` is the answer. Rows are JSON objects.
    pub fn on_query(self, script: impl Fn(&Query<'_>) -> Option<Result<Vec<Value>>> + 'static) -> Self {
        self.world.borrow_mut().scripts.push(Box::new(script));
        self
    }

    /// Scripts the outcome of an effect, which is then not performed.
    pub fn with_outcome(self, key: &str, outcome: Result<String>) -> Self {
        self.world.borrow_mut().outcomes.insert(key.to_owned(), outcome);
        self
    }

    /// Scripts the data blocks of a file of the custom format.
    pub fn with_blocks(self, slot: &str, path: &str, blocks: Vec<Block>) -> Self {
        self.world.borrow_mut().blocks.insert((slot.to_owned(), path.to_owned()), blocks);
        self
    }

    /// Scripts the journalled evidence of a transfer.
    pub fn with_evidence(self, key: &str, evidence: Evidence) -> Self {
        self.world.borrow_mut().evidence.insert(key.to_owned(), evidence);
        self
    }

    /// Scripts what `observe` finds; without, it finds what was journalled.
    pub fn with_observed(self, key: &str, evidence: Evidence) -> Self {
        self.world.borrow_mut().observed.insert(key.to_owned(), evidence);
        self
    }

    /// Lets the host die once this many effects were performed: `submit` then fails. [`MockHost::begin`] revives it.
    pub fn with_crash_after(self, effects: usize) -> Self {
        self.crash_after.set(Some(effects));
        self
    }

    /// Changes a file behind the plugin's back.
    pub fn set_file(&self, slot: &str, path: &str, content: impl AsRef<[u8]>) {
        let at = (slot.to_owned(), path.to_owned());
        self.world.borrow_mut().files.insert(at, content.as_ref().to_vec());
    }

    /// Changes an object behind the plugin's back.
    pub fn set_object(&self, slot: &str, bucket: &str, key: &str, object: MockObject) {
        let mut world = self.world.borrow_mut();
        let bucket = world.buckets.entry((slot.to_owned(), bucket.to_owned())).or_default();
        bucket.objects.insert(key.to_owned(), object);
    }

    /// Begins another call in the same run: memos and the journal stay, the queue is new.
    pub fn begin(&self, mode: Mode) {
        self.mode.set(mode);
        let mut world = self.world.borrow_mut();
        world.submitted.clear();
        world.queue.clear();
        world.overlay.clear();
        world.performed = 0;
    }

    /// The real content of a file; a plan doesn't change it.
    pub fn file(&self, slot: &str, path: &str) -> Option<Vec<u8>> {
        self.world.borrow().files.get(&(slot.to_owned(), path.to_owned())).cloned()
    }

    /// Sets a setting of a bucket, and makes the bucket where it isn't there.
    pub fn with_setting(self, slot: &str, bucket: &str, name: BucketSetting, document: &str) -> Self {
        let mut world = self.world.borrow_mut();
        let held = world.buckets.entry((slot.to_owned(), bucket.to_owned())).or_default();
        held.settings.insert(name, document.to_owned());
        drop(world);
        self
    }

    /// The versions that a listing of a bucket gives, in this order; makes the bucket where it isn't there.
    pub fn with_versions(self, slot: &str, bucket: &str, versions: Vec<ObjectVersion>) -> Self {
        let mut world = self.world.borrow_mut();
        world.buckets.entry((slot.to_owned(), bucket.to_owned())).or_default().versions = versions;
        drop(world);
        self
    }

    /// What is known of the endpoint behind a slot; without it, one that can do everything.
    pub fn with_endpoint(self, slot: &str, endpoint: Endpoint) -> Self {
        self.world.borrow_mut().endpoints.insert(slot.to_owned(), endpoint);
        self
    }

    /// A bucket's setting.
    pub fn setting(&self, slot: &str, bucket: &str, name: BucketSetting) -> Option<String> {
        let world = self.world.borrow();
        world.buckets.get(&(slot.to_owned(), bucket.to_owned()))?.settings.get(&name).cloned()
    }

    /// The object at a key.
    pub fn object(&self, slot: &str, bucket: &str, key: &str) -> Option<MockObject> {
        let world = self.world.borrow();
        world.buckets.get(&(slot.to_owned(), bucket.to_owned()))?.objects.get(key).cloned()
    }

    /// What this call submitted, in order.
    pub fn submitted(&self) -> Vec<Submitted> {
        self.world.borrow().submitted.clone()
    }

    /// How many effects this call performed, not answered from the journal.
    pub fn performed(&self) -> usize {
        self.world.borrow().performed
    }

    /// The queries that were asked, in order.
    pub fn queries(&self) -> Vec<String> {
        self.world.borrow().queries.clone()
    }

    /// The log, in order.
    pub fn logs(&self) -> Vec<(Level, String)> {
        self.world.borrow().logs.clone()
    }

    /// A kept memo, as JSON text.
    pub fn memo(&self, key: &str) -> Option<String> {
        self.world.borrow().memos.get(key).cloned()
    }
}

/// Calls a step's `apply` as the host does, in the mode the host is in: a new call from the top, through JSON.
///
/// Fails, as the host does, when a resumed call doesn't ask again for an effect that the journal knows.
pub fn apply<S: Step>(host: &MockHost, params: &Value) -> Result<S::Outputs> {
    host.begin(host.mode.get());
    let outputs = run_apply::<S, _>(host, &params.to_string())?;
    let world = host.world.borrow();
    let asked: BTreeSet<&str> = world.submitted.iter().map(|effect| effect.key.as_str()).collect();
    if let Some(forgotten) = world.journal.keys().find(|key| !asked.contains(key.as_str())) {
        return Err(Error::Conflict(format!(
            "the journal knows effect `{forgotten}`, which wasn't asked for again"
        )));
    }
    serde_json::from_str(&outputs).map_err(|e| Error::Failed(format!("the outputs can't be read back: {e}")))
}

/// Calls a step's `apply` to plan, on the same host.
pub fn plan<S: Step>(host: &MockHost, params: &Value) -> Result<S::Outputs> {
    host.begin(Mode::Plan);
    let outputs = run_apply::<S, _>(host, &params.to_string());
    host.mode.set(Mode::Apply);
    serde_json::from_str(&outputs?).map_err(|e| Error::Failed(format!("the outputs can't be read back: {e}")))
}

/// Calls a step's `verify` as the host does, and leaves the host in mode `apply`.
pub fn verify<S: Step>(host: &MockHost, params: &Value, outputs: &S::Outputs) -> Result<Vec<Check>> {
    let outputs = serde_json::to_string(outputs)
        .map_err(|e| Error::Failed(format!("the outputs can't be written as JSON: {e}")))?;
    host.begin(Mode::Verify);
    let checks = run_verify::<S, _>(host, &params.to_string(), &outputs);
    host.mode.set(Mode::Apply);
    checks
}

/// Asks a transform for the selectors that params name.
pub fn selects<T: Transform>(params: &Value) -> Result<Vec<String>> {
    run_selects::<T>(&params.to_string())
}

/// Sends chunks through a transform and returns all that comes out.
pub fn transform<T: Transform>(params: &Value, shape: &Value, chunks: &[&[u8]]) -> Result<Vec<u8>> {
    let mut pipe = open_pipe::<T>(&params.to_string(), &shape.to_string())?;
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend(pipe.push(chunk)?);
    }
    out.extend(pipe.finish()?);
    Ok(out)
}
