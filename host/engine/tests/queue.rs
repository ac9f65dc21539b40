//! The promises of the effect queue, on a journal in memory, a plugin of closures and a capability that counts.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use godwit_engine::{
    Answer, Capabilities, Engine, Event, NewRun, Observer, Plugins, Question, Rooms, RunEnd, StepPlanStatus,
    Stop,
};
use godwit_journal::MemoryJournal;
use godwit_model::capability::{
    ArchiveReads, Bucketed, Capability, Comparison, Cursor, EndpointInfo, FileReads, FileStat, History,
    Ledger, Listing, ObjectHead, ObjectInfo, ObjectPair, ObjectReads, Performed, PostgresReads, Preflight,
    PreflightAsk, PresignedGet, SettingState, StepScope, UndoAction, VersionListing,
};
use godwit_model::check::Check;
use godwit_model::effect::{
    Action, Block, BucketSetting, Class, Consistency, Content, CopyTable, Done, Effect, Evidence,
    Preparation, Table, WriteFile,
};
use godwit_model::journal::{EffectStatus, Journal, RunStatus};
use godwit_model::plugin::{
    Access, ConnectionKind, Grant, HostError, Limits, Manifest, Pipe, Plugin, PluginKind, SlotSpec, StepHost,
};
use godwit_model::{Digest, EffectKey, Error, ErrorKind, Json, Result, RunId, SlotName, StepId};
use godwit_recipe::{Catalogue, Checked, Given, PluginInfo, Source};
use serde_json::json;

const RECIPE: &str = r#"{
  "godwit": "1",
  "name": "queue",
  "connections": {
    "here": { "kind": "dir", "path": "/nowhere" },
    "rows": { "kind": "postgres", "host": "db.example.com" }
  },
  "steps": [
    {
      "id": "s",
      "plugin": "closure",
      "grant": {
        "out": { "connection": "here", "access": "write" },
        "rows": { "connection": "rows", "access": "write" }
      },
      "transforms": TRANSFORMS,
      "retry": { "attempts": 3, "backoff": "1ms" },
      "on_failure": ON_FAILURE
    }
  ]
}"#;

/// An effect that writes `content` to a file named like its key.
fn effect(key: &str, after: &[&str], content: &str) -> Effect {
    Effect {
        key: EffectKey::new(key),
        after: after.iter().copied().map(EffectKey::new).collect(),
        action: Action::WriteFile(WriteFile {
            slot: SlotName::new("out"),
            path: key.to_owned(),
            content: Content::new(content.as_bytes().to_vec()),
        }),
    }
}

/// An effect that copies the partition `public.KEY` of `public.whole`.
fn copy(key: &str) -> Effect {
    let table =
        Table { slot: SlotName::new("rows"), schema: "public".into(), name: key.into(), columns: Vec::new() };
    Effect {
        key: EffectKey::new(key),
        after: Vec::new(),
        action: Action::CopyTable(CopyTable {
            source: table.clone(),
            sink: Table { schema: "elsewhere".into(), ..table },
            consistency: Consistency::Snapshot,
            only: false,
            filter: None,
        }),
    }
}

/// A step plugin that submits batches, waits for all, and hands on the first error with `words` before it.
struct Closure {
    digest: Digest,
    manifest: Manifest,
    batches: Mutex<Vec<Vec<Effect>>>,
    words: Option<&'static str>,
}

impl Closure {
    fn new(batches: Vec<Vec<Effect>>, words: Option<&'static str>) -> Arc<Self> {
        let slot = |name: &str, kind| SlotSpec {
            name: SlotName::new(name),
            kind,
            access: Access::Write,
            required: true,
            summary: String::new(),
        };
        let manifest = Manifest {
            name: "closure".into(),
            version: "0.1.0".to_owned(),
            summary: String::new(),
            slots: vec![slot("out", ConnectionKind::Dir), slot("rows", ConnectionKind::Postgres)],
            params_schema: Json::Bool(true),
            outputs_schema: Json::Bool(true),
        };
        Arc::new(Self { digest: Digest::of(b"closure"), manifest, batches: Mutex::new(batches), words })
    }

    fn info(&self) -> PluginInfo {
        PluginInfo {
            kind: PluginKind::Step,
            digest: self.digest.clone(),
            manifest: self.manifest.clone(),
            needs_kinds: vec![ConnectionKind::Dir, ConnectionKind::Postgres],
        }
    }
}

fn from_host(error: HostError) -> Error {
    match error {
        HostError::Guest(error) | HostError::Stop(error) => error,
    }
}

#[async_trait]
impl Plugin for Closure {
    fn digest(&self) -> &Digest {
        &self.digest
    }

    fn kind(&self) -> PluginKind {
        PluginKind::Step
    }

    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn apply(&self, host: Arc<dyn StepHost>, _params: &Json, _limits: &Limits) -> Result<Json> {
        let batches = self.batches.lock().unwrap().clone();
        for batch in batches {
            host.submit(batch).await.map_err(from_host)?;
        }
        let mut first = None;
        loop {
            let outcomes = host.next(8).await.map_err(from_host)?;
            if outcomes.is_empty() {
                let Some(error) = first else { return Ok(Json::Null) };
                return Err(self.words.iter().fold(error, |error: Error, words| error.context(words)));
            }
            for outcome in outcomes {
                if let Err(error) = outcome.result {
                    first.get_or_insert(error);
                }
            }
        }
    }

    async fn verify(&self, _: Arc<dyn StepHost>, _: &Json, _: &Json, _: &Limits) -> Result<Vec<Check>> {
        Ok(Vec::new())
    }

    async fn selects(&self, _: &Json, _: &Limits) -> Result<Vec<String>> {
        Err(Error::invalid("not a transform"))
    }

    async fn pipe(&self, _: &Json, _: &Json, _: &Limits) -> Result<Box<dyn Pipe>> {
        Err(Error::invalid("not a transform"))
    }
}

/// A transform plugin whose params are the selectors; nothing ever flows through it here.
struct Selecting(Manifest);

impl Selecting {
    fn new() -> Arc<Self> {
        let Manifest { version, summary, params_schema, .. } =
            Closure::new(Vec::new(), None).manifest.clone();
        let (name, outputs_schema) = ("selecting".into(), Json::Null);
        Arc::new(Self(Manifest { name, version, summary, slots: Vec::new(), params_schema, outputs_schema }))
    }

    fn info(&self) -> PluginInfo {
        PluginInfo {
            kind: PluginKind::Transform,
            digest: Digest::of(b"selecting"),
            manifest: self.0.clone(),
            needs_kinds: Vec::new(),
        }
    }
}

#[async_trait]
impl Plugin for Selecting {
    fn digest(&self) -> &Digest {
        static DIGEST: LazyLock<Digest> = LazyLock::new(|| Digest::of(b"selecting"));
        &DIGEST
    }

    fn kind(&self) -> PluginKind {
        PluginKind::Transform
    }

    fn manifest(&self) -> &Manifest {
        &self.0
    }

    async fn apply(&self, _: Arc<dyn StepHost>, _: &Json, _: &Limits) -> Result<Json> {
        Err(Error::invalid("not a step"))
    }

    async fn verify(&self, _: Arc<dyn StepHost>, _: &Json, _: &Json, _: &Limits) -> Result<Vec<Check>> {
        Err(Error::invalid("not a step"))
    }

    async fn selects(&self, params: &Json, _: &Limits) -> Result<Vec<String>> {
        let selectors = params["selects"].as_array().ok_or_else(|| Error::invalid("no selectors"))?;
        Ok(selectors.iter().filter_map(Json::as_str).map(str::to_owned).collect())
    }

    async fn pipe(&self, _: &Json, _: &Json, _: &Limits) -> Result<Box<dyn Pipe>> {
        Err(Error::invalid("nothing flows here"))
    }
}

/// Performs nothing, remembers the order, and fails as it is told.
#[derive(Default)]
struct Counting {
    performed: Mutex<Vec<(String, bool)>>,
    prepared: Mutex<Vec<String>>,
    /// Errors to answer with, in turn, by key.
    errors: Mutex<HashMap<String, Vec<Error>>>,
    /// Keys whose effects overwrite.
    overwrites: Vec<String>,
}

impl Counting {
    fn keys(&self) -> Vec<String> {
        self.performed.lock().unwrap().iter().map(|(key, _)| key.clone()).collect()
    }

    fn fail(self, key: &str, errors: Vec<Error>) -> Self {
        self.errors.lock().unwrap().insert(key.to_owned(), errors);
        self
    }
}

#[async_trait]
impl Capability for Counting {
    fn identity(&self, grant: &Grant) -> Result<String> {
        Ok(format!("dir:{}", grant.connection))
    }

    async fn open_step(&self, _: &StepScope, _: &dyn History) -> Result<Vec<EffectKey>> {
        Ok(Vec::new())
    }

    async fn close_step(&self, _: &StepScope) -> Result<()> {
        Ok(())
    }

    async fn prepare(&self, _: &StepScope, effect: &Effect) -> Result<Preparation> {
        self.prepared.lock().unwrap().push(effect.key.to_string());
        let overwrites = self.overwrites.iter().any(|key| *key == effect.key.as_str());
        Ok(Preparation {
            class: if overwrites { Class::Overwrites } else { Class::Creates },
            irreversible: None,
            title: effect.key.to_string(),
            details: Vec::new(),
            diff: None,
            estimate: None,
            before: match &effect.action {
                Action::CopyTable(_) => Json::from("public.whole"),
                _ => Json::Null,
            },
        })
    }

    /// Told by what `prepare` left in the journal, of keys with `late` by what `perform` did.
    fn names(&self, effect: &Effect, preparation: &Preparation, done: Option<&Done>) -> Option<Vec<String>> {
        let told =
            if effect.key.as_str().contains("late") { &done?.fingerprint } else { &preparation.before };
        Some(told.as_str().map(str::to_owned).into_iter().collect())
    }

    async fn perform(
        &self,
        _: &StepScope,
        effect: &Effect,
        _: &Preparation,
        _: &dyn Ledger,
        resumed: bool,
    ) -> Result<Done> {
        self.performed.lock().unwrap().push((effect.key.to_string(), resumed));
        let mut errors = self.errors.lock().unwrap();
        if let Some(errors) = errors.get_mut(effect.key.as_str())
            && !errors.is_empty()
        {
            return Err(errors.remove(0));
        }
        let fingerprint = match &effect.action {
            Action::CopyTable(_) => Json::from("public.whole"),
            _ => Json::Null,
        };
        Ok(Done { result: Json::Null, evidence: None, fingerprint, notes: Vec::new() })
    }

    async fn observe(&self, _: &StepScope, _: &Performed) -> Result<Evidence> {
        Err(Error::missing("nothing to observe"))
    }

    async fn plan_undo(&self, _: &StepScope, _: &dyn History) -> Result<Vec<UndoAction>> {
        Ok(Vec::new())
    }

    async fn undo(&self, _: &StepScope, _: &UndoAction, _: bool, _: bool) -> Result<Json> {
        Ok(Json::Null)
    }

    async fn cleanup(&self, _: &RunId, _: &Grant) -> Result<Option<String>> {
        Ok(None)
    }
}

struct NoReads;

fn nothing<T>() -> Result<T> {
    Err(Error::missing("nothing here"))
}

#[async_trait]
impl FileReads for NoReads {
    async fn read(&self, _: &Grant, _: &str) -> Result<Vec<u8>> {
        nothing()
    }
    async fn read_range(&self, _: &Grant, _: &str, _: u64, _: u32) -> Result<Vec<u8>> {
        nothing()
    }
    async fn stat(&self, _: &Grant, _: &str) -> Result<Option<FileStat>> {
        nothing()
    }
    async fn list(&self, _: &Grant, _: &str) -> Result<Vec<FileStat>> {
        nothing()
    }
}

#[async_trait]
impl PostgresReads for NoReads {
    async fn query(
        &self,
        _: &StepScope,
        _: &Grant,
        _: &str,
        _: &[Option<String>],
    ) -> Result<Box<dyn Cursor>> {
        nothing()
    }
    async fn answer(&self, _: &StepScope, _: &Grant, _: &str, _: &[Option<String>]) -> Result<Vec<String>> {
        nothing()
    }
}

#[async_trait]
impl ArchiveReads for NoReads {
    async fn blocks(&self, _: &Grant, _: &str, _: u64) -> Result<Vec<Block>> {
        nothing()
    }
}

#[async_trait]
impl ObjectReads for NoReads {
    fn endpoint(&self, _: &Grant) -> Result<EndpointInfo> {
        nothing()
    }
    async fn list(&self, _: &Grant, _: &str, _: &str, _: Option<&str>) -> Result<Box<dyn Listing>> {
        nothing()
    }
    async fn versions(&self, _: &Grant, _: &str, _: &str) -> Result<Box<dyn VersionListing>> {
        nothing()
    }
    async fn stat(&self, _: &Grant, _: &str, _: &[String]) -> Vec<Result<Option<ObjectInfo>>> {
        Vec::new()
    }
    async fn compare(&self, _: &[ObjectPair], _: bool) -> Vec<Result<Comparison>> {
        Vec::new()
    }
    async fn setting(&self, _: &Grant, _: &str, _: BucketSetting) -> Result<SettingState> {
        nothing()
    }
    async fn cors_preflight(&self, _: &Grant, _: &Bucketed, _: &PreflightAsk) -> Result<Preflight> {
        nothing()
    }
    async fn head(&self, _: &Grant, _: &Bucketed) -> Result<Option<ObjectHead>> {
        nothing()
    }
    async fn bucket_exists(&self, _: &Grant, _: &str) -> Result<bool> {
        nothing()
    }
    async fn cors(&self, _: &Grant, _: &str) -> Result<Option<Json>> {
        nothing()
    }
    async fn presigned_get(&self, _: &Grant, _: &Bucketed) -> Result<PresignedGet> {
        nothing()
    }
}

struct Only(Arc<Closure>);

#[async_trait]
impl Plugins for Only {
    async fn load(&self, name: &str) -> Result<Arc<dyn Plugin>> {
        if name == "selecting" { Ok(Selecting::new()) } else { Ok(self.0.clone()) }
    }
}

impl Catalogue for Only {
    fn plugin(&self, name: &str) -> std::result::Result<PluginInfo, String> {
        match name {
            "closure" => Ok(self.0.info()),
            "selecting" => Ok(Selecting::new().info()),
            _ => Err(format!("no plugin {name}")),
        }
    }
    fn names(&self) -> Vec<String> {
        vec!["closure".to_owned(), "selecting".to_owned()]
    }
}

struct Says(Answer);

#[async_trait]
impl Observer for Says {
    fn event(&self, _: Event) {}
    async fn ask(&self, _: &Question) -> Answer {
        self.0
    }
}

struct Bench {
    journal: Arc<MemoryJournal>,
    counting: Arc<Counting>,
    run: RunId,
    on_failure: &'static str,
    words: Option<&'static str>,
    transforms: Json,
    answer: Answer,
}

impl Bench {
    fn new(counting: Counting) -> Self {
        Self {
            journal: Arc::new(MemoryJournal::new()),
            counting: Arc::new(counting),
            run: RunId::new("20261120-000000-test"),
            on_failure: "\"stop\"",
            words: None,
            transforms: json!([]),
            answer: Answer::No,
        }
    }

    fn engine(&self, batches: Vec<Vec<Effect>>) -> Engine {
        let plugins = Only(Closure::new(batches, self.words));
        let text = RECIPE.replace("ON_FAILURE", self.on_failure);
        let text = text.replace("TRANSFORMS", &self.transforms.to_string());
        let source = Source::new("queue.json", text);
        let checked: Checked = match godwit_recipe::check(&source, &Given::default(), &self.run, &plugins) {
            Ok(checked) => checked,
            Err(faults) => panic!("{faults:#?}"),
        };
        let reads = Arc::new(NoReads);
        let capability = self.counting.clone() as Arc<dyn Capability>;
        let capabilities = Capabilities {
            files: capability.clone(),
            postgres: capability.clone(),
            objects: capability,
            file_reads: reads.clone(),
            postgres_reads: reads.clone(),
            archive_reads: reads.clone(),
            object_reads: reads,
        };
        let rooms = Rooms {
            journal: self.journal.clone(),
            capabilities,
            plugins: Arc::new(plugins),
            observer: Arc::new(Says(self.answer)),
        };
        Engine::new(Arc::new(checked), rooms, Stop::default())
    }

    async fn start(&self, batches: Vec<Vec<Effect>>) -> RunEnd {
        let new = NewRun { owner: "a:1:1".to_owned(), ..NewRun::default() };
        self.engine(batches).start(new).await.unwrap()
    }

    async fn resume(&self, batches: Vec<Vec<Effect>>) -> RunEnd {
        self.engine(batches).resume("a:1:1").await.unwrap()
    }

    async fn status(&self, key: &str) -> EffectStatus {
        let record = self.journal.effect(&self.run, &StepId::new("s"), &EffectKey::new(key)).await.unwrap();
        record.unwrap_or_else(|| panic!("no effect {key}")).status
    }
}

fn failure(end: &RunEnd) -> &Error {
    &end.failed.as_ref().expect("the run failed").1
}

#[tokio::test]
async fn predecessors_come_first_even_later_in_the_batch() {
    let bench = Bench::new(Counting::default());
    let batch = vec![effect("c", &["a", "b"], ""), effect("b", &["a"], ""), effect("a", &[], "")];
    let end = bench.start(vec![batch]).await;
    assert_eq!(end.status, RunStatus::Done, "{end:?}");
    assert_eq!(bench.counting.keys(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_failed_predecessor_cancels_what_comes_after_and_the_journal_says_so() {
    let mut bench = Bench::new(Counting::default().fail("a", vec![Error::failed("broken")]));
    bench.on_failure = r#"{ "continue": { "max_errors": 5 } }"#;
    let batch = vec![
        effect("a", &[], ""),
        effect("b", &["a"], ""),
        effect("c", &["b"], ""),
        effect("other", &[], ""),
    ];
    let end = bench.start(vec![batch]).await;
    assert_eq!(end.status, RunStatus::Failed);
    assert!(failure(&end).message.contains("broken"), "{end:?}");
    assert!(matches!(bench.status("a").await, EffectStatus::Failed { .. }));
    assert!(matches!(bench.status("b").await, EffectStatus::Cancelled { .. }));
    assert!(matches!(bench.status("c").await, EffectStatus::Cancelled { .. }));
    assert!(matches!(bench.status("other").await, EffectStatus::Done { .. }));
    // A resume tries the failed one again and does not repeat the done one.
    let batch = vec![
        effect("a", &[], ""),
        effect("b", &["a"], ""),
        effect("c", &["b"], ""),
        effect("other", &[], ""),
    ];
    let end = bench.resume(vec![batch]).await;
    assert_eq!(end.status, RunStatus::Done, "{end:?}");
    let performed = bench.counting.performed.lock().unwrap().clone();
    assert_eq!(performed.iter().filter(|(key, _)| key == "other").count(), 1);
    assert!(performed.contains(&("a".to_owned(), true)), "a failed effect may have happened: {performed:?}");
    assert!(performed.contains(&("b".to_owned(), false)), "a cancelled one has not: {performed:?}");
}

#[tokio::test]
async fn a_step_fails_in_the_words_of_its_plugin_or_under_the_key_of_the_effect() {
    let refused =
        || Counting::default().fail("a", vec![Error::failed("no such type").hint("make it").code("42704")]);
    let mut bench = Bench::new(refused());
    let end = bench.start(vec![vec![effect("a", &[], "")]]).await;
    assert_eq!(failure(&end).message, "effect `a`: no such type");
    bench = Bench::new(refused());
    bench.words = Some("TABLE newer can't be restored");
    let end = bench.start(vec![vec![effect("a", &[], "")]]).await;
    let error = failure(&end);
    assert_eq!(error.message, "TABLE newer can't be restored: no such type");
    assert_eq!((error.hint.as_deref(), error.code.as_deref()), (Some("make it"), Some("42704")));
}

#[tokio::test]
async fn unavailable_is_tried_again_and_other_errors_are_not() {
    let down = || Error::unavailable("down");
    let counting = Counting::default().fail("a", vec![down(), down()]).fail("b", vec![Error::failed("no")]);
    let bench = Bench::new(counting);
    let end = bench.start(vec![vec![effect("a", &[], "")], vec![effect("b", &["a"], "")]]).await;
    assert_eq!(end.status, RunStatus::Failed);
    assert_eq!(bench.counting.keys(), ["a", "a", "a", "b"]);
}

#[tokio::test]
async fn another_request_under_a_known_key_is_a_conflict_that_shows_both() {
    let bench = Bench::new(Counting::default().fail("b", vec![Error::failed("no")]));
    let end = bench.start(vec![vec![effect("a", &[], "one")], vec![effect("b", &["a"], "")]]).await;
    assert_eq!(end.status, RunStatus::Failed);
    let end = bench.resume(vec![vec![effect("a", &[], "two")], vec![effect("b", &["a"], "")]]).await;
    let error = failure(&end);
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.message.contains("before:") && error.message.contains("now:"), "{error}");
    assert_eq!(bench.counting.keys(), ["a", "b"], "nothing more was done");
}

#[tokio::test]
async fn an_effect_that_is_never_asked_for_again_fails_the_step() {
    let bench = Bench::new(Counting::default().fail("b", vec![Error::failed("no")]));
    bench.start(vec![vec![effect("a", &[], "")], vec![effect("b", &["a"], "")]]).await;
    let end = bench.resume(vec![vec![effect("a", &[], "")]]).await;
    assert_eq!(end.status, RunStatus::Failed);
    assert!(failure(&end).message.contains("`b`"), "{end:?}");
}

#[tokio::test]
async fn the_same_key_twice_ends_the_step() {
    let bench = Bench::new(Counting::default());
    let end = bench.start(vec![vec![effect("a", &[], "")], vec![effect("a", &[], "")]]).await;
    assert_eq!(failure(&end).kind, ErrorKind::Conflict, "{end:?}");
}

#[tokio::test]
async fn what_was_not_in_the_plan_asks_and_no_stops_the_run() {
    let overwriting = || Counting { overwrites: vec!["a".to_owned()], ..Counting::default() };
    let bench = Bench::new(overwriting());
    let end = bench.start(vec![vec![effect("a", &[], "")]]).await;
    assert_eq!(end.status, RunStatus::Stopped, "{end:?}");
    assert_eq!(bench.counting.keys(), Vec::<String>::new());

    let mut bench = Bench::new(overwriting());
    bench.answer = Answer::Yes;
    let end = bench.start(vec![vec![effect("a", &[], "")]]).await;
    assert_eq!(end.status, RunStatus::Done, "{end:?}");
    let record = bench.journal.run(&bench.run).await.unwrap().unwrap();
    assert_eq!(record.accepted.len(), 1, "the answer is journalled");

    // What the plan showed is not asked about again.
    let bench = Bench::new(overwriting());
    let engine = bench.engine(vec![vec![effect("a", &[], "")]]);
    let plan = engine.plan().await.unwrap();
    assert_eq!(plan.gated().len(), 1);
    assert_eq!(bench.counting.keys(), Vec::<String>::new(), "a plan performs nothing");
    let end = engine.start(NewRun { accepted: plan.gated(), ..NewRun::default() }).await.unwrap();
    assert_eq!(end.status, RunStatus::Done, "{end:?}");
}

#[tokio::test]
async fn no_effect_happens_when_its_intent_can_not_be_journalled() {
    // Whichever write fails, an effect that was performed has its intent in the journal.
    for writes in 0..12 {
        let bench = Bench::new(Counting::default());
        bench.journal.fail_writes_after(writes);
        let new = NewRun { owner: "a:1:1".to_owned(), ..NewRun::default() };
        let result =
            bench.engine(vec![vec![effect("a", &[], "")], vec![effect("b", &[], "")]]).start(new).await;
        bench.journal.heal();
        for key in bench.counting.keys() {
            let record = bench
                .journal
                .effect(&bench.run, &StepId::new("s"), &EffectKey::new(key.as_str()))
                .await
                .unwrap();
            assert!(record.is_some(), "{key} was performed without an intent ({writes} writes): {result:?}");
        }
        if result.as_ref().is_ok_and(|end| end.status == RunStatus::Done) {
            assert_eq!(bench.counting.keys().len(), 2);
            return;
        }
    }
    panic!("the run never had enough writes");
}

#[tokio::test]
async fn ten_thousand_effects_end() {
    let bench = Bench::new(Counting::default());
    let batches =
        (0..10).map(|batch| (0..1000).map(|n| effect(&format!("{batch}/{n}"), &[], "")).collect()).collect();
    let end = bench.start(batches).await;
    assert_eq!(end.status, RunStatus::Done);
    assert_eq!(bench.counting.keys().len(), 10_000);
}

fn selecting(labels: &[&str], selects: &[&str]) -> Json {
    json!([{ "plugin": "selecting", "labels": labels, "with": { "selects": selects } }])
}

#[tokio::test]
async fn a_rule_of_a_transform_that_no_transfer_fits_fails_plan_and_run_by_name() {
    let batches = || vec![vec![copy("one"), copy("two")]];
    for (labels, selects, missed) in [
        (&["*"][..], &["public.one", "public.whole"][..], None),
        (&["public.two"], &["public.whole"], None),
        (&["*"], &[], None),
        (&["*"], &["public.one", "public.three"], Some("public.three")),
        (&["public.two"], &["public.one", "public.two"], Some("public.one")),
    ] {
        let mut bench = Bench::new(Counting::default());
        bench.transforms = selecting(labels, selects);
        let plan = bench.engine(batches()).plan().await.unwrap();
        let end = bench.start(batches()).await;
        let Some(missed) = missed else {
            assert!(!matches!(plan.steps[0].status, StepPlanStatus::Failed { .. }), "{plan:?}");
            assert_eq!(end.status, RunStatus::Done, "{end:?}");
            continue;
        };
        let StepPlanStatus::Failed { error: planned } = &plan.steps[0].status else { panic!("{plan:?}") };
        for error in [planned, failure(&end)] {
            let named = format!("transform `selecting` of step `s` has rules for `{missed}`,");
            assert!(error.message.contains(&named) && error.hint.is_some(), "{error}");
        }
        assert_eq!(end.status, RunStatus::Failed);
    }
}

#[tokio::test]
async fn a_plan_that_got_no_further_than_its_first_read_blames_no_transform() {
    let mut bench = Bench::new(Counting::default());
    bench.transforms = selecting(&["*"], &["public.whole"]);
    let batches = || vec![vec![effect("first", &[], "")]];
    let plan = bench.engine(batches()).plan().await.unwrap();
    assert!(matches!(plan.steps[0].status, StepPlanStatus::Partly { .. }), "{plan:?}");
    // A run that moved nothing knows better.
    let end = bench.start(batches()).await;
    assert!(failure(&end).message.contains("match no transfer"), "{end:?}");
}

#[tokio::test]
async fn a_resume_knows_the_names_of_transfers_that_are_done() {
    let down = vec![Error::failed("broken")];
    let mut bench = Bench::new(Counting::default().fail("later", down));
    bench.transforms = selecting(&["*"], &["public.whole"]);
    let batches = || vec![vec![copy("one")], vec![effect("later", &["one"], "")]];
    assert_eq!(bench.start(batches()).await.status, RunStatus::Failed);
    let end = bench.resume(batches()).await;
    assert_eq!(end.status, RunStatus::Done, "{end:?}");
    let prepared = bench.counting.prepared.lock().unwrap().clone();
    assert_eq!(prepared, ["one", "later"], "what is done is not prepared again");
}

#[tokio::test]
async fn names_that_only_an_outcome_tells_are_awaited_and_then_counted() {
    let batches = || vec![vec![copy("late_one")], vec![copy("late_two"), effect("last", &["late_two"], "")]];
    for (selects, end) in [("public.whole", RunStatus::Done), ("public.nothing", RunStatus::Failed)] {
        let down = vec![Error::failed("broken")];
        let mut bench = Bench::new(Counting::default().fail("last", down));
        bench.transforms = selecting(&["public.late*"], &[selects]);
        let plan = bench.engine(batches()).plan().await.unwrap();
        assert!(!matches!(plan.steps[0].status, StepPlanStatus::Failed { .. }), "{plan:?}");
        assert!(failure(&bench.start(batches()).await).message.contains("broken"));
        // The resume knows them from the journal.
        let resumed = bench.resume(batches()).await;
        assert_eq!(resumed.status, end, "{resumed:?}");
        if end == RunStatus::Failed {
            assert!(failure(&resumed).message.contains("rules for `public.nothing`"), "{resumed:?}");
        }
        // And a run that wasn't cut off, from the outcomes.
        let mut whole = Bench::new(Counting::default());
        whole.transforms = selecting(&["public.late*"], &[selects]);
        assert_eq!(whole.start(batches()).await.status, end);
    }
}

#[tokio::test]
async fn what_a_transform_says_of_bad_params_ends_the_step_before_anything_is_done() {
    let mut bench = Bench::new(Counting::default());
    bench.transforms = json!([{ "plugin": "selecting", "labels": ["*"], "with": {} }]);
    let end = bench.start(vec![vec![copy("one")]]).await;
    assert!(failure(&end).message.contains("no selectors"), "{end:?}");
    assert!(bench.counting.keys().is_empty());
}
