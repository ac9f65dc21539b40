//! A host for tests: grants the slots `db`, `files` and `store`, answers every read, and does every effect but one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use godwit_model::capability::{
    Bucketed, Comparison, Cursor, EndpointInfo, FileStat, Likeness, Listing, ObjectHead, ObjectInfo,
    ObjectVersion, Preflight, PreflightAsk, PresignedGet, SettingState, VersionListing,
};
use godwit_model::effect::{Action, Block, BucketSetting, Effect, Evidence, Outcome};
use godwit_model::plugin::{
    Access, ConnectionKind, Grant, HostError, HostResult, Level, Mode, Question, StepHost,
};
use godwit_model::{EffectKey, Error, Json, Result};
use serde_json::json;

pub struct MockHost {
    mode: Mode,
    /// `submit` stops the call with this.
    stop: Option<Error>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    logged: Vec<(Level, String)>,
    progressed: Vec<String>,
    queries: Vec<(String, Vec<Option<String>>)>,
    memos: BTreeMap<String, Json>,
    effects: Vec<Effect>,
    waiting: VecDeque<EffectKey>,
}

impl MockHost {
    pub fn new() -> Arc<Self> {
        Self::in_mode(Mode::Apply)
    }

    pub fn in_mode(mode: Mode) -> Arc<Self> {
        Arc::new(Self { mode, stop: None, state: Mutex::default() })
    }

    pub fn stopping(error: Error) -> Arc<Self> {
        Arc::new(Self { mode: Mode::Apply, stop: Some(error), state: Mutex::default() })
    }

    pub fn effects(&self) -> Vec<Effect> {
        self.state.lock().unwrap().effects.clone()
    }

    pub fn logged(&self) -> Vec<(Level, String)> {
        self.state.lock().unwrap().logged.clone()
    }

    pub fn progressed(&self) -> Vec<String> {
        self.state.lock().unwrap().progressed.clone()
    }

    pub fn queries(&self) -> Vec<(String, Vec<Option<String>>)> {
        self.state.lock().unwrap().queries.clone()
    }

    fn check(&self, slot: &str) -> HostResult<()> {
        if self.grant(slot).is_some() {
            return Ok(());
        }
        let hint = format!("\"grant\": {{ \"{slot}\": {{ \"connection\": \"…\", \"access\": \"read\" }} }}");
        Err(Error::denied(format!("slot `{slot}` is not granted")).hint(hint).into())
    }
}

#[async_trait]
impl StepHost for MockHost {
    fn mode(&self) -> Mode {
        self.mode
    }

    fn grant(&self, slot: &str) -> Option<Grant> {
        let (kind, secrets) = match slot {
            "db" => (ConnectionKind::Postgres, vec!["password".to_owned()]),
            "files" => (ConnectionKind::Dir, Vec::new()),
            "store" => (ConnectionKind::S3, Vec::new()),
            _ => return None,
        };
        Some(Grant {
            slot: slot.into(),
            connection: "main".into(),
            kind,
            access: Access::Write,
            database: None,
            secrets,
        })
    }

    fn identity(&self, slot: &str) -> Option<String> {
        self.grant(slot).map(|_| "postgres://db.example.com:5432/app".to_owned())
    }

    async fn log(&self, level: Level, message: &str) -> HostResult<()> {
        self.state.lock().unwrap().logged.push((level, message.to_owned()));
        Ok(())
    }

    fn progress(&self, label: &str, done: u64, total: Option<u64>, unit: &str) {
        self.state.lock().unwrap().progressed.push(format!("{label} {done}/{total:?} {unit}"));
    }

    async fn memo(&self, key: &str, value: Option<Json>) -> HostResult<Option<Json>> {
        let memos = &mut self.state.lock().unwrap().memos;
        if let Some(value) = value {
            memos.entry(key.to_owned()).or_insert(value);
        }
        Ok(memos.get(key).cloned())
    }

    fn admit(&self, action: &Action) -> HostResult<()> {
        self.check(action.sink().as_str())?;
        action.sources().into_iter().try_for_each(|source| self.check(source.as_str()))
    }

    async fn submit(&self, batch: Vec<Effect>) -> HostResult<()> {
        if let Some(stop) = &self.stop {
            return Err(HostError::Stop(stop.clone()));
        }
        let mut state = self.state.lock().unwrap();
        state.waiting.extend(batch.iter().map(|effect| effect.key.clone()));
        state.effects.extend(batch);
        Ok(())
    }

    async fn next(&self, max: u32) -> HostResult<Vec<Outcome>> {
        let waiting = &mut self.state.lock().unwrap().waiting;
        let count = waiting.len().min(max as usize);
        let outcome = |key: EffectKey| {
            let result = match key.as_str() {
                "delete" => Err(Error::unavailable("the disk is away").code("EIO").hint("plug it in")),
                key => Ok(json!({ "did": key })),
            };
            Outcome { key, result }
        };
        Ok(waiting.drain(..count).map(outcome).collect())
    }

    async fn evidence(&self, _key: &EffectKey) -> HostResult<Option<Evidence>> {
        Ok(Some(Evidence { items: 3, bytes: 30, digest: "xxh3:00".to_owned() }))
    }

    async fn observe(&self, keys: &[EffectKey]) -> HostResult<Vec<Result<Evidence>>> {
        Ok(keys.iter().map(|_| Ok(Evidence { items: 4, bytes: 40, digest: "xxh3:01".to_owned() })).collect())
    }

    async fn query(&self, slot: &str, sql: &str, params: &[Option<String>]) -> HostResult<Box<dyn Cursor>> {
        self.check(slot)?;
        self.state.lock().unwrap().queries.push((sql.to_owned(), params.to_vec()));
        Ok(Box::new(Pages(vec![vec![json!({"a": 1}).to_string()]])))
    }

    async fn answers(&self, questions: &[Question]) -> HostResult<Vec<Result<Vec<String>>>> {
        let answer = |question: &Question| {
            if question.sql.contains("denied") {
                return Err(Error::denied("not this one"));
            }
            Ok(vec![json!({ "asked": question.sql }).to_string()])
        };
        Ok(questions.iter().map(answer).collect())
    }

    async fn read_file(&self, slot: &str, path: &str) -> HostResult<Vec<u8>> {
        self.check(slot)?;
        if path == "missing.txt" {
            return Err(Error::missing(format!("`{path}` isn't there"))
                .code("ENOENT")
                .hint("write it")
                .into());
        }
        Ok(format!("content of {path}").into_bytes())
    }

    async fn read_file_range(&self, slot: &str, path: &str, offset: u64, length: u32) -> HostResult<Vec<u8>> {
        let whole = self.read_file(slot, path).await?;
        Ok(whole.into_iter().skip(offset as usize).take(length as usize).collect())
    }

    async fn archive_blocks(&self, slot: &str, _path: &str, start: u64) -> HostResult<Vec<Block>> {
        self.check(slot)?;
        Ok(vec![Block { dump_id: 7, offset: start }])
    }

    async fn stat_file(&self, slot: &str, path: &str) -> HostResult<Option<FileStat>> {
        self.check(slot)?;
        Ok(Some(FileStat { path: path.to_owned(), size: 7, is_dir: false }))
    }

    async fn list_files(&self, slot: &str, path: &str) -> HostResult<Vec<FileStat>> {
        Ok(self.stat_file(slot, path).await?.into_iter().collect())
    }

    fn describe_endpoint(&self, slot: &str) -> HostResult<EndpointInfo> {
        self.check(slot)?;
        Ok(EndpointInfo {
            vendor: "generic".to_owned(),
            tags: true,
            versions: true,
            storage_classes: true,
            max_object: 5 << 40,
            max_key: 1024,
            cors: true,
            folds_unicode: false,
            path_keys: false,
        })
    }

    async fn list_versions(
        &self,
        slot: &str,
        _bucket: &str,
        _prefix: &str,
    ) -> HostResult<Box<dyn VersionListing>> {
        self.check(slot)?;
        let version =
            ObjectVersion { info: object(), version: "v1".to_owned(), latest: true, deleted: false };
        Ok(Box::new(Pages(vec![vec![version]])))
    }

    async fn stat_objects(
        &self,
        slot: &str,
        _bucket: &str,
        keys: &[String],
    ) -> HostResult<Vec<Result<Option<ObjectInfo>>>> {
        self.check(slot)?;
        let stat = |key: &String| match key.as_str() {
            "key" => Ok(Some(object())),
            _ => Err(Error::missing("not this one")),
        };
        Ok(keys.iter().map(stat).collect())
    }

    async fn compare_objects(
        &self,
        pairs: &[((String, Bucketed), (String, Bucketed))],
        deep: bool,
    ) -> HostResult<Vec<Result<Comparison>>> {
        let compare = |((_, left), (_, right)): &((String, Bucketed), (String, Bucketed))| Comparison {
            likeness: Likeness::Differs,
            by: if deep { "content" } else { "size" }.to_owned(),
            detail: Some(format!("{} and {}", left.key, right.key)),
        };
        Ok(pairs.iter().map(|pair| Ok(compare(pair))).collect())
    }

    async fn bucket_setting(
        &self,
        slot: &str,
        _bucket: &str,
        name: BucketSetting,
    ) -> HostResult<SettingState> {
        self.check(slot).map(|()| SettingState::Unsupported(name.name().to_owned()))
    }

    async fn cors_preflight(&self, slot: &str, _at: &Bucketed, ask: &PreflightAsk) -> HostResult<Preflight> {
        self.check(slot)?;
        let headers = vec![("access-control-allow-origin".to_owned(), ask.origin.clone())];
        Ok(Preflight { status: 200, headers })
    }

    async fn list_objects(
        &self,
        slot: &str,
        _bucket: &str,
        _prefix: &str,
        _after: Option<&str>,
    ) -> HostResult<Box<dyn Listing>> {
        self.check(slot)?;
        Ok(Box::new(Pages(vec![vec![object()]])))
    }

    async fn head_object(&self, slot: &str, _at: &Bucketed) -> HostResult<Option<ObjectHead>> {
        self.check(slot)?;
        Ok(Some(ObjectHead {
            info: object(),
            headers: [("content-type".to_owned(), "text/plain".to_owned())].into(),
            metadata: [("owner".to_owned(), "me".to_owned())].into(),
        }))
    }

    async fn bucket_exists(&self, slot: &str, _bucket: &str) -> HostResult<bool> {
        self.check(slot).map(|()| true)
    }

    async fn bucket_cors(&self, slot: &str, _bucket: &str) -> HostResult<Option<Json>> {
        self.check(slot).map(|()| Some(json!([])))
    }

    async fn presigned_get(&self, slot: &str, _at: &Bucketed) -> HostResult<PresignedGet> {
        self.check(slot)?;
        Ok(PresignedGet { status: 200, bytes: 5, sha256: "abc".into() })
    }
}

fn object() -> ObjectInfo {
    ObjectInfo { key: "key".to_owned(), size: 5, etag: "etag".to_owned(), modified: -1, storage_class: None }
}

/// Pages that are there already.
struct Pages<T>(Vec<Vec<T>>);

#[async_trait]
impl VersionListing for Pages<ObjectVersion> {
    async fn next(&mut self) -> Result<Vec<ObjectVersion>> {
        Ok(self.0.pop().unwrap_or_default())
    }
}

#[async_trait]
impl Cursor for Pages<String> {
    async fn next(&mut self) -> Result<Vec<String>> {
        Ok(self.0.pop().unwrap_or_default())
    }
}

#[async_trait]
impl Listing for Pages<ObjectInfo> {
    async fn next(&mut self) -> Result<Vec<ObjectInfo>> {
        Ok(self.0.pop().unwrap_or_default())
    }
}
