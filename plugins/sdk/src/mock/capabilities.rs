//! What the mock answers: [`Host`] over the world in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::{Journalled, MockHost, MockObject, Query, Request, Submitted, World};
use crate::host::{EffectHandle, Host, ObjectSource, RowSource, VersionSource};
use crate::types::*;

/// An effect that was made on the mock.
pub struct MockEffect(Submitted);

impl EffectHandle for MockEffect {
    fn after<K: AsRef<str>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.0.after.extend(keys.into_iter().map(|key| key.as_ref().to_owned()));
        self
    }
}

/// Pages of an answer.
pub struct MockPages<T> {
    pages: std::vec::IntoIter<Vec<T>>,
}

impl<T: Clone> MockPages<T> {
    fn new(all: &[T], page: usize) -> Self {
        Self { pages: all.chunks(page).map(<[T]>::to_vec).collect::<Vec<_>>().into_iter() }
    }
}

impl RowSource for MockPages<String> {
    fn next_page(&mut self) -> Result<Vec<String>> {
        Ok(self.pages.next().unwrap_or_default())
    }
}

impl ObjectSource for MockPages<ObjectInfo> {
    fn next_page(&mut self) -> Result<Vec<ObjectInfo>> {
        Ok(self.pages.next().unwrap_or_default())
    }
}

impl VersionSource for MockPages<ObjectVersion> {
    fn next_page(&mut self) -> Result<Vec<ObjectVersion>> {
        Ok(self.pages.next().unwrap_or_default())
    }
}

impl World {
    /// The rows that a script answers a query with.
    fn scripted(&mut self, slot: &str, sql: &str, params: &[Option<&str>]) -> Result<Vec<String>> {
        self.may(slot, false)?;
        self.queries.push(sql.to_owned());
        let query = Query { slot, sql, params: params.to_vec() };
        let answer = self.scripts.iter().find_map(|script| script(&query)).unwrap_or_else(|| {
            Err(Error::Failed(format!(
                "no script of the mock host answers the query on slot `{slot}`: {sql}"
            )))
        })?;
        Ok(answer.iter().map(ToString::to_string).collect())
    }

    fn granted(&self, slot: &str) -> Option<Granted> {
        match self.grants.get(slot) {
            Some(granted) => granted.clone(),
            None => Some(Granted { write: true, identity: format!("mock:{slot}"), secrets: Vec::new() }),
        }
    }

    fn may(&self, slot: &str, write: bool) -> Result<()> {
        match self.granted(slot) {
            None => Err(Error::Denied(format!("slot `{slot}` is not granted"))),
            Some(granted) if write && !granted.write => {
                Err(Error::Denied(format!("slot `{slot}` is granted for reading only")))
            }
            Some(_) => Ok(()),
        }
    }

    fn read(&self, slot: &str, path: &str) -> Result<Vec<u8>> {
        self.may(slot, false)?;
        let at = (slot.to_owned(), path.to_owned());
        self.overlay
            .get(&at)
            .cloned()
            .unwrap_or_else(|| self.files.get(&at).cloned())
            .ok_or_else(|| Error::Missing(format!("there is no file `{path}` in slot `{slot}`")))
    }

    fn create(&mut self, slot: &str, path: &str, content: Vec<u8>) -> Result<()> {
        let at = (slot.to_owned(), path.to_owned());
        if self.files.contains_key(&at) {
            return Err(Error::Conflict(format!("file `{path}` is there already in slot `{slot}`")));
        }
        self.files.insert(at, content);
        Ok(())
    }

    fn bucket(&self, slot: &str, bucket: &str) -> Result<&super::Bucket> {
        self.may(slot, false)?;
        self.buckets
            .get(&(slot.to_owned(), bucket.to_owned()))
            .ok_or_else(|| Error::Missing(format!("there is no bucket `{bucket}` behind slot `{slot}`")))
    }

    fn bucket_mut(&mut self, slot: &str, bucket: &str) -> Result<&mut super::Bucket> {
        self.buckets
            .get_mut(&(slot.to_owned(), bucket.to_owned()))
            .ok_or_else(|| Error::Missing(format!("there is no bucket `{bucket}` behind slot `{slot}`")))
    }

    fn put(&mut self, sink: &Location, object: MockObject, replaces: &Replaces) -> Result<()> {
        let bucket = self.bucket_mut(&sink.slot, &sink.bucket)?;
        let there = bucket.objects.get(&sink.key).map(|object| object.etag.as_str());
        let expected = match replaces {
            Replaces::Nothing => None,
            Replaces::Object(etag) => Some(etag.as_str()),
        };
        if there != expected {
            return Err(Error::Conflict(format!(
                "object `{}` isn't what was expected at the sink",
                sink.key
            )));
        }
        bucket.objects.insert(sink.key.clone(), object);
        Ok(())
    }

    /// Performs an effect; SQL is only recorded.
    fn perform(&mut self, key: &str, request: &Request) -> Result<String> {
        match request {
            Request::WriteFile { slot, path, content } => {
                self.files.insert((slot.clone(), path.clone()), content.clone());
            }
            Request::DeleteFile { slot, path } => {
                self.files
                    .remove(&(slot.clone(), path.clone()))
                    .ok_or_else(|| Error::Missing(format!("there is no file `{path}` in slot `{slot}`")))?;
            }
            Request::CopyObject { source, sink, size, etag, copy } => {
                let object = self.bucket(&source.slot, &source.bucket)?.objects.get(&source.key).cloned();
                let object = object.filter(|object| object.etag == *etag).ok_or_else(|| {
                    Error::Conflict(format!("object `{}` has changed since it was listed", source.key))
                })?;
                self.evidence.entry(key.to_owned()).or_insert(Evidence {
                    items: 1,
                    bytes: *size,
                    digest: format!("fnv:{}", object.etag),
                });
                let object = MockObject { storage_class: copy.storage_class.clone(), ..object };
                self.put(sink, object, &copy.replaces)?;
            }
            Request::CopyVersions { source, sink, versions, .. } => {
                let newest = versions.last().filter(|version| !version.deleted);
                let bytes = newest.map_or(0, |version| version.size);
                let digest = newest.map_or_else(String::new, |version| format!("fnv:{}", version.etag));
                self.evidence.entry(key.to_owned()).or_insert(Evidence { items: 1, bytes, digest });
                let object = self.bucket(&source.slot, &source.bucket)?.objects.get(&source.key).cloned();
                if let Some(object) = object {
                    self.put(sink, object, &Replaces::Nothing)?;
                }
            }
            Request::SetBucketSetting { slot, bucket, name, document } => {
                let settings = &mut self.bucket_mut(slot, bucket)?.settings;
                match document {
                    Some(document) => settings.insert(*name, document.clone()),
                    None => settings.remove(name),
                };
            }
            Request::ProbeBucket { slot, bucket, .. } => {
                self.bucket(slot, bucket)?;
                return Ok(r#"{"presigned_put":200,"presigned_get":200,"content_kept":true,"conditions_honoured":true}"#
                    .to_owned());
            }
            Request::PutObject { sink, content, content_type, replaces } => {
                let mut object = MockObject::new(content.clone());
                object.headers.extend(content_type.iter().map(|t| ("content-type".to_owned(), t.clone())));
                self.put(sink, object, replaces)?;
            }
            Request::DeleteObject { sink, etag } => {
                let bucket = self.bucket_mut(&sink.slot, &sink.bucket)?;
                if bucket.objects.get(&sink.key).is_none_or(|object| object.etag != *etag) {
                    return Err(Error::Conflict(format!(
                        "object `{}` has changed since it was listed",
                        sink.key
                    )));
                }
                bucket.objects.remove(&sink.key);
            }
            Request::CreateBucket { slot, bucket } => {
                self.buckets.entry((slot.clone(), bucket.clone())).or_default();
            }
            Request::SetCors { slot, bucket, rules } => {
                let rules = serde_json::to_string(rules)
                    .map_err(|e| Error::Failed(format!("CORS rules can't be written as JSON: {e}")))?;
                self.bucket_mut(slot, bucket)?.cors = Some(rules);
            }
            Request::DumpTable { sink, .. } => self.create(&sink.slot, &sink.path, Vec::new())?,
            Request::SealArchive { slot, path, pieces } => {
                let mut whole = Vec::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => whole.extend_from_slice(text),
                        Piece::Dumped(path)
                        | Piece::Block { path, .. }
                        | Piece::Objects { path, .. }
                        | Piece::ObjectScript(path)
                        | Piece::ObjectFiles { path, .. } => {
                            whole.extend(self.files.remove(&(slot.clone(), path.clone())).ok_or_else(
                                || Error::Missing(format!("there is no file `{path}` in slot `{slot}`")),
                            )?);
                        }
                    }
                }
                self.create(slot, path, whole)?;
            }
            Request::LoadTable { source, .. } => {
                self.read(&source.slot, &source.path)?;
            }
            Request::LoadObjects { sources, .. } => {
                for source in sources {
                    self.read(&source.file.slot, &source.file.path)?;
                }
            }
            Request::Execute { .. }
            | Request::CopyTable { .. }
            | Request::CopySequences { .. }
            | Request::CreateDatabase { .. } => {}
        }
        Ok("null".to_owned())
    }

    /// Keeps what a planned effect would do to files.
    fn overlay(&mut self, request: &Request) {
        match request {
            Request::WriteFile { slot, path, content } => {
                self.overlay.insert((slot.clone(), path.clone()), Some(content.clone()));
            }
            Request::DeleteFile { slot, path } => {
                self.overlay.insert((slot.clone(), path.clone()), None);
            }
            _ => {}
        }
    }
}

impl MockHost {
    fn effect(&self, slots: &[(&str, bool)], key: &str, request: Request) -> Result<MockEffect> {
        for (slot, write) in slots {
            self.world.borrow().may(slot, *write)?;
        }
        Ok(MockEffect(Submitted { key: key.to_owned(), after: Vec::new(), request }))
    }
}

impl Host for MockHost {
    type Effect = MockEffect;
    type Rows = MockPages<String>;
    type Objects = MockPages<ObjectInfo>;
    type Versions = MockPages<ObjectVersion>;

    fn mode(&self) -> Mode {
        self.mode.get()
    }

    fn log(&self, level: Level, message: &str) {
        self.world.borrow_mut().logs.push((level, message.to_owned()));
    }

    fn progress(&self, _label: &str, _done: u64, _total: Option<u64>, _unit: &str) {}

    fn memo_json(&self, key: &str, value: Option<String>) -> Option<String> {
        let mut world = self.world.borrow_mut();
        // A plan remembers nothing: its decisions are taken anew at apply.
        if self.mode.get() == Mode::Plan {
            return value.or_else(|| world.memos.get(key).cloned());
        }
        match value {
            Some(value) => Some(world.memos.entry(key.to_owned()).or_insert(value).clone()),
            None => world.memos.get(key).cloned(),
        }
    }

    fn granted(&self, slot: &str) -> Option<Granted> {
        self.world.borrow().granted(slot)
    }

    fn submit(&self, batch: Vec<MockEffect>) -> Result<()> {
        let world = &mut *self.world.borrow_mut();
        if matches!(self.mode.get(), Mode::Verify | Mode::Recheck) {
            return Err(Error::Denied("verify reads only: an effect was submitted".to_owned()));
        }
        let known: BTreeSet<String> = world.submitted.iter().map(|effect| effect.key.clone()).collect();
        let in_batch: BTreeSet<String> = batch.iter().map(|effect| effect.0.key.clone()).collect();
        let mut failed: BTreeMap<String, String> = world
            .submitted
            .iter()
            .filter_map(|effect| match &world.journal.get(&effect.key)?.outcome {
                Err(error) => Some((effect.key.clone(), error.to_string())),
                Ok(_) => None,
            })
            .collect();
        for MockEffect(effect) in batch {
            if let Some(unknown) =
                effect.after.iter().find(|key| !known.contains(*key) && !in_batch.contains(*key))
            {
                return Err(Error::Invalid(format!(
                    "effect `{}` comes after `{unknown}`, which is not known",
                    effect.key
                )));
            }
            if world.submitted.iter().any(|earlier| earlier.key == effect.key) {
                return Err(Error::Conflict(format!("effect `{}` was submitted twice", effect.key)));
            }
            world.submitted.push(effect.clone());
            if self.mode.get() == Mode::Plan {
                world.overlay(&effect.request);
                let result = Err(Error::Pending(format!("effect `{}` was only recorded", effect.key)));
                world.queue.push_back(Outcome { key: effect.key, result });
                continue;
            }
            let outcome = match world.journal.get(&effect.key) {
                Some(journalled) if journalled.request != effect.request => {
                    return Err(Error::Conflict(format!(
                        "the journal knows effect `{}` with another request",
                        effect.key
                    )));
                }
                Some(Journalled { outcome: Ok(outcome), .. }) => Ok(outcome.clone()),
                _ => {
                    if self.crash_after.get().is_some_and(|crash| world.performed >= crash) {
                        self.crash_after.set(None);
                        return Err(Error::Failed("the mock host died here".to_owned()));
                    }
                    let predecessor = effect.after.iter().find(|key| failed.contains_key(*key));
                    if let Some(predecessor) = predecessor {
                        Err(Error::Failed(format!("cancelled: effect `{predecessor}` failed")))
                    } else if let Some(scripted) = world.outcomes.get(&effect.key) {
                        scripted.clone()
                    } else {
                        world.performed += 1;
                        world.perform(&effect.key, &effect.request)
                    }
                }
            };
            if let Err(error) = &outcome {
                failed.insert(effect.key.clone(), error.to_string());
            }
            let journalled = Journalled { request: effect.request, outcome: outcome.clone() };
            world.journal.insert(effect.key.clone(), journalled);
            world.queue.push_back(Outcome { key: effect.key, result: outcome });
        }
        Ok(())
    }

    fn next(&self, max: u32) -> Result<Vec<Outcome>> {
        let mut world = self.world.borrow_mut();
        let count = world.queue.len().min(max.max(1) as usize);
        Ok(world.queue.drain(..count).collect())
    }

    fn evidence(&self, key: &str) -> Result<Option<Evidence>> {
        Ok(self.world.borrow().evidence.get(key).cloned())
    }

    fn observe(&self, keys: &[&str]) -> Vec<Result<Evidence>> {
        let world = self.world.borrow();
        let missing =
            |key: &str| Error::Missing(format!("effect `{key}` is not a done transfer of this step"));
        keys.iter()
            .map(|key| {
                let found = world.observed.get(*key).or_else(|| world.evidence.get(*key));
                found.cloned().ok_or_else(|| missing(key))
            })
            .collect()
    }

    fn read_file(&self, slot: &str, path: &str) -> Result<Vec<u8>> {
        self.world.borrow().read(slot, path)
    }

    fn read_file_range(&self, slot: &str, path: &str, offset: u64, length: u32) -> Result<Vec<u8>> {
        let content = self.world.borrow().read(slot, path)?;
        let from = usize::try_from(offset).map_or(content.len(), |from| from.min(content.len()));
        let to = content.len().min(from.saturating_add(length as usize));
        Ok(content[from..to].to_vec())
    }

    fn stat_file(&self, slot: &str, path: &str) -> Result<Option<FileStat>> {
        match self.world.borrow().read(slot, path) {
            Ok(content) => {
                Ok(Some(FileStat { path: path.to_owned(), size: content.len() as u64, is_dir: false }))
            }
            // A folder is there as long as something is in it.
            Err(Error::Missing(_)) => Ok((!self.list_files(slot, path)?.is_empty()).then(|| FileStat {
                path: path.to_owned(),
                size: 0,
                is_dir: true,
            })),
            Err(error) => Err(error),
        }
    }

    fn list_files(&self, slot: &str, path: &str) -> Result<Vec<FileStat>> {
        let world = self.world.borrow();
        world.may(slot, false)?;
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let paths: BTreeSet<&String> = world
            .files
            .keys()
            .chain(world.overlay.keys())
            .filter(|(at, _)| at == slot)
            .map(|(_, path)| path)
            .collect();
        let mut entries = BTreeMap::new();
        for path in paths {
            let Some(rest) = path.strip_prefix(&prefix) else { continue };
            if let Some((folder, _)) = rest.split_once('/') {
                let path = format!("{prefix}{folder}");
                entries.insert(path.clone(), FileStat { path, size: 0, is_dir: true });
            } else if let Ok(content) = world.read(slot, path) {
                let stat = FileStat { path: path.clone(), size: content.len() as u64, is_dir: false };
                entries.insert(path.clone(), stat);
            }
        }
        Ok(entries.into_values().collect())
    }

    fn write_file(&self, slot: &str, key: &str, path: &str, content: &[u8]) -> Result<MockEffect> {
        let request =
            Request::WriteFile { slot: slot.to_owned(), path: path.to_owned(), content: content.to_vec() };
        self.effect(&[(slot, true)], key, request)
    }

    fn delete_file(&self, slot: &str, key: &str, path: &str) -> Result<MockEffect> {
        let request = Request::DeleteFile { slot: slot.to_owned(), path: path.to_owned() };
        self.effect(&[(slot, true)], key, request)
    }

    fn query(&self, slot: &str, sql: &str, params: &[Option<&str>]) -> Result<MockPages<String>> {
        let rows = self.world.borrow_mut().scripted(slot, sql, params)?;
        Ok(MockPages::new(&rows, self.page))
    }

    fn answers(&self, questions: &[Question]) -> Vec<Result<Vec<String>>> {
        let mut world = self.world.borrow_mut();
        let answer = |question: &Question| {
            let params: Vec<Option<&str>> = question.params.iter().map(Option::as_deref).collect();
            world.scripted(&question.slot, &question.sql, &params)
        };
        questions.iter().map(answer).collect()
    }

    fn execute(&self, slot: &str, key: &str, request: Execute) -> Result<MockEffect> {
        self.effect(&[(slot, true)], key, Request::Execute { slot: slot.to_owned(), request })
    }

    fn copy_table(&self, key: &str, source: Table, sink: Table, options: CopyOptions) -> Result<MockEffect> {
        let slots = [(source.slot.clone(), false), (sink.slot.clone(), true)];
        let slots = slots.each_ref().map(|(slot, write)| (slot.as_str(), *write));
        self.effect(&slots, key, Request::CopyTable { source, sink, options })
    }

    fn copy_sequences(
        &self,
        key: &str,
        source_slot: &str,
        sink_slot: &str,
        sequences: &[(String, String)],
    ) -> Result<MockEffect> {
        let request = Request::CopySequences {
            source: source_slot.to_owned(),
            sink: sink_slot.to_owned(),
            sequences: sequences.to_vec(),
        };
        self.effect(&[(source_slot, false), (sink_slot, true)], key, request)
    }

    fn create_database(&self, slot: &str, key: &str, options: DatabaseOptions) -> Result<MockEffect> {
        self.effect(&[(slot, true)], key, Request::CreateDatabase { slot: slot.to_owned(), options })
    }

    fn dump_table(
        &self,
        key: &str,
        source: Table,
        sink: RowsFile,
        options: CopyOptions,
    ) -> Result<MockEffect> {
        let slots = [(source.slot.clone(), false), (sink.slot.clone(), true)];
        let slots = slots.each_ref().map(|(slot, write)| (slot.as_str(), *write));
        self.effect(&slots, key, Request::DumpTable { source, sink, options })
    }

    fn load_table(
        &self,
        key: &str,
        source: RowsFile,
        block: Option<Block>,
        encoding: Option<&str>,
        sink: Table,
    ) -> Result<MockEffect> {
        let slots = [(source.slot.clone(), false), (sink.slot.clone(), true)];
        let slots = slots.each_ref().map(|(slot, write)| (slot.as_str(), *write));
        let encoding = encoding.map(str::to_owned);
        self.effect(&slots, key, Request::LoadTable { source, block, encoding, sink })
    }

    fn load_objects(&self, key: &str, sources: Vec<ObjectsFile>, slot: &str) -> Result<MockEffect> {
        let mut slots: Vec<(String, bool)> =
            sources.iter().map(|source| (source.file.slot.clone(), false)).collect();
        slots.push((slot.to_owned(), true));
        let slots: Vec<(&str, bool)> = slots.iter().map(|(slot, write)| (slot.as_str(), *write)).collect();
        let slot = slot.to_owned();
        self.effect(&slots, key, Request::LoadObjects { sources, slot })
    }

    fn archive_blocks(&self, slot: &str, path: &str, start: u64) -> Result<Vec<Block>> {
        let world = self.world.borrow();
        world.read(slot, path)?;
        let blocks = world.blocks.get(&(slot.to_owned(), path.to_owned()));
        let blocks = blocks.map(Vec::as_slice).unwrap_or_default();
        Ok(blocks.iter().filter(|block| block.offset >= start).copied().collect())
    }

    fn seal_archive(&self, slot: &str, key: &str, path: &str, pieces: Vec<Piece>) -> Result<MockEffect> {
        let request = Request::SealArchive { slot: slot.to_owned(), path: path.to_owned(), pieces };
        self.effect(&[(slot, true)], key, request)
    }

    fn describe_endpoint(&self, slot: &str) -> Result<Endpoint> {
        let world = self.world.borrow();
        world.may(slot, false)?;
        Ok(world.endpoints.get(slot).cloned().unwrap_or_else(|| Endpoint {
            vendor: "generic".to_owned(),
            tags: true,
            versions: true,
            storage_classes: true,
            max_object: 5 << 40,
            max_key: 1024,
            cors: true,
            folds_unicode: false,
            path_keys: false,
        }))
    }

    fn list_versions(&self, slot: &str, bucket: &str, prefix: &str) -> Result<MockPages<ObjectVersion>> {
        let world = self.world.borrow();
        let versions = &world.bucket(slot, bucket)?.versions;
        let below: Vec<ObjectVersion> =
            versions.iter().filter(|version| version.info.key.starts_with(prefix)).cloned().collect();
        Ok(MockPages::new(&below, self.page))
    }

    fn stat_objects(&self, slot: &str, bucket: &str, keys: &[&str]) -> Vec<Result<Option<ObjectInfo>>> {
        let world = self.world.borrow();
        keys.iter()
            .map(|key| {
                let objects = &world.bucket(slot, bucket)?.objects;
                Ok(objects.get(*key).map(|object| info(key, object)))
            })
            .collect()
    }

    fn compare_objects(&self, pairs: &[(Location, Location)], deep: bool) -> Vec<Result<Comparison>> {
        let world = self.world.borrow();
        let object = |at: &Location| -> Result<Option<MockObject>> {
            Ok(world.bucket(&at.slot, &at.bucket)?.objects.get(&at.key).cloned())
        };
        let by = if deep { "content" } else { "fnv" };
        let compare = |left: &Location, right: &Location| -> Result<Comparison> {
            let (likeness, detail) = match (object(left)?, object(right)?) {
                (None, _) => (Likeness::MissingLeft, None),
                (_, None) => (Likeness::MissingRight, None),
                (Some(left), Some(right)) if left.content == right.content => (Likeness::Same, None),
                (Some(left), Some(right)) => {
                    (Likeness::Differs, Some(format!("{} and {}", left.etag, right.etag)))
                }
            };
            Ok(Comparison { likeness, by: by.to_owned(), detail })
        };
        pairs.iter().map(|(left, right)| compare(left, right)).collect()
    }

    fn bucket_setting(&self, slot: &str, bucket: &str, name: BucketSetting) -> Result<Setting> {
        let world = self.world.borrow();
        let document = world.bucket(slot, bucket)?.settings.get(&name).cloned();
        Ok(document.map_or(Setting::Absent, Setting::Document))
    }

    /// Allows what the first fitting rule of the bucket allows, as far as origins and methods go.
    fn cors_preflight(&self, slot: &str, bucket: &str, _key: &str, ask: &PreflightAsk) -> Result<Preflight> {
        let world = self.world.borrow();
        let rules: Vec<CorsRule> = match &world.bucket(slot, bucket)?.cors {
            None => Vec::new(),
            Some(rules) => serde_json::from_str(rules)
                .map_err(|e| Error::Failed(format!("the mock's CORS rules can't be read: {e}")))?,
        };
        let fits = |rule: &&CorsRule| {
            rule.allowed_origins.iter().any(|origin| origin == "*" || *origin == ask.origin)
                && rule.allowed_methods.contains(&ask.method)
        };
        Ok(match rules.iter().find(fits) {
            None => Preflight { status: 403, headers: Vec::new() },
            Some(rule) => Preflight {
                status: 200,
                headers: vec![
                    ("access-control-allow-origin".to_owned(), ask.origin.clone()),
                    ("access-control-allow-methods".to_owned(), rule.allowed_methods.join(", ")),
                ],
            },
        })
    }

    fn list_objects(
        &self,
        slot: &str,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<MockPages<ObjectInfo>> {
        let world = self.world.borrow();
        let objects: Vec<ObjectInfo> = world
            .bucket(slot, bucket)?
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after))
            .map(|(key, object)| info(key, object))
            .collect();
        Ok(MockPages::new(&objects, self.page))
    }

    fn head_object(&self, slot: &str, bucket: &str, key: &str) -> Result<Option<ObjectHead>> {
        let world = self.world.borrow();
        Ok(world.bucket(slot, bucket)?.objects.get(key).map(|object| ObjectHead {
            info: info(key, object),
            headers: object.headers.clone(),
            metadata: object.metadata.clone(),
        }))
    }

    fn bucket_exists(&self, slot: &str, bucket: &str) -> Result<bool> {
        let world = self.world.borrow();
        world.may(slot, false)?;
        Ok(world.buckets.contains_key(&(slot.to_owned(), bucket.to_owned())))
    }

    fn bucket_cors(&self, slot: &str, bucket: &str) -> Result<Option<String>> {
        Ok(self.world.borrow().bucket(slot, bucket)?.cors.clone())
    }

    fn presigned_get(&self, slot: &str, bucket: &str, key: &str) -> Result<Presigned> {
        let world = self.world.borrow();
        // The mock has no SHA-256: its digest is the ETag, so that two equal contents compare as equal.
        Ok(match world.bucket(slot, bucket)?.objects.get(key) {
            Some(object) => {
                Presigned { status: 200, bytes: object.content.len() as u64, sha256: object.etag.clone() }
            }
            None => Presigned { status: 404, bytes: 0, sha256: super::etag(b"") },
        })
    }

    fn copy_object(
        &self,
        key: &str,
        source: Location,
        sink: Location,
        size: u64,
        etag: &str,
        copy: ObjectCopy,
    ) -> Result<MockEffect> {
        let slots = [(source.slot.clone(), false), (sink.slot.clone(), true)];
        let slots = slots.each_ref().map(|(slot, write)| (slot.as_str(), *write));
        self.effect(&slots, key, Request::CopyObject { source, sink, size, etag: etag.to_owned(), copy })
    }

    fn copy_versions(
        &self,
        key: &str,
        source: Location,
        sink: Location,
        versions: Vec<VersionCopy>,
        tags: bool,
    ) -> Result<MockEffect> {
        let slots = [(source.slot.clone(), false), (sink.slot.clone(), true)];
        let slots = slots.each_ref().map(|(slot, write)| (slot.as_str(), *write));
        self.effect(&slots, key, Request::CopyVersions { source, sink, versions, tags })
    }

    fn set_bucket_setting(
        &self,
        slot: &str,
        key: &str,
        bucket: &str,
        name: BucketSetting,
        document: Option<&str>,
    ) -> Result<MockEffect> {
        let (at, bucket) = (slot.to_owned(), bucket.to_owned());
        let document = document.map(str::to_owned);
        self.effect(&[(slot, true)], key, Request::SetBucketSetting { slot: at, bucket, name, document })
    }

    fn probe_bucket(&self, slot: &str, key: &str, bucket: &str, prefix: &str) -> Result<MockEffect> {
        let (at, bucket, prefix) = (slot.to_owned(), bucket.to_owned(), prefix.to_owned());
        self.effect(&[(slot, true)], key, Request::ProbeBucket { slot: at, bucket, prefix })
    }

    fn put_object(
        &self,
        key: &str,
        sink: Location,
        content: &[u8],
        content_type: Option<&str>,
        replaces: Replaces,
    ) -> Result<MockEffect> {
        let slot = sink.slot.clone();
        let content_type = content_type.map(str::to_owned);
        let request = Request::PutObject { sink, content: content.to_vec(), content_type, replaces };
        self.effect(&[(&slot, true)], key, request)
    }

    fn delete_object(&self, key: &str, sink: Location, etag: &str) -> Result<MockEffect> {
        let slot = sink.slot.clone();
        self.effect(&[(&slot, true)], key, Request::DeleteObject { sink, etag: etag.to_owned() })
    }

    fn create_bucket(&self, slot: &str, key: &str, bucket: &str) -> Result<MockEffect> {
        let request = Request::CreateBucket { slot: slot.to_owned(), bucket: bucket.to_owned() };
        self.effect(&[(slot, true)], key, request)
    }

    fn set_cors(&self, slot: &str, key: &str, bucket: &str, rules: &[CorsRule]) -> Result<MockEffect> {
        let request =
            Request::SetCors { slot: slot.to_owned(), bucket: bucket.to_owned(), rules: rules.to_vec() };
        self.effect(&[(slot, true)], key, request)
    }
}

fn info(key: &str, object: &MockObject) -> ObjectInfo {
    ObjectInfo {
        key: key.to_owned(),
        size: object.content.len() as u64,
        etag: object.etag.clone(),
        modified: object.modified,
        storage_class: object.storage_class.clone(),
    }
}
