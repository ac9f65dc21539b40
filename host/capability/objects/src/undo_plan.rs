//! What undo has to do: each effect's thing is looked at as it is now, and nothing is changed.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::BuildHasher as _;

use futures::{StreamExt as _, TryStreamExt as _};
use godwit_model::capability::{History, Performed, StepScope, UndoAction};
use godwit_model::effect::{Action, Replaces};
use godwit_model::{EffectKey, Error, ErrorKind, Json, Result, SlotName};

use crate::control::{BucketState, NamedCorsRule};
use crate::listing::Begin;
use crate::source::{Source, Wanted, is_md5};
use crate::store::{Head, Store};
use crate::undo::{AT_ONCE, OpenOne, Request, Target, is_taken_back, named, same_rules};
use crate::{Objects, refused};

/// Objects that one action deletes.
const GROUP: usize = 500;

/// What undo has to do about one object.
#[derive(Default)]
struct Verdict {
    target: Option<Target>,
    uploads: Vec<OpenOne>,
    changed: Option<String>,
    irreversible: Option<String>,
}

impl Objects {
    pub(crate) async fn undo_actions(
        &self,
        scope: &StepScope,
        performed: &dyn History,
    ) -> Result<Vec<UndoAction>> {
        let mut actions = Vec::new();
        let mut group: Option<Group> = None;
        let mut ours = Ours::default();
        let mut before = None;
        loop {
            let page = performed.before(before).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.sequence);
            page.iter().for_each(|one| ours.note(one));
            let mut verdicts = self.verdicts(scope, &page).await?;
            for one in &page {
                let key = &one.effect.key;
                if let Some(verdict) = verdicts.remove(key.as_str()) {
                    let slot = one.effect.action.sink().clone();
                    if group.as_ref().is_some_and(|group| group.slot != slot || group.seen >= GROUP) {
                        actions.extend(group.take().and_then(Group::close));
                    }
                    let open = group.get_or_insert_with(|| Group::new(slot.clone(), key));
                    open.seen += 1;
                    if verdict.changed.is_none() && verdict.irreversible.is_none() {
                        open.add(key, verdict);
                    } else {
                        actions.push(alone(one, slot, verdict));
                    }
                    continue;
                }
                actions.extend(group.take().and_then(Group::close));
                actions.extend(self.undo_of_setting(scope, one, &ours).await?);
            }
        }
        actions.extend(group.take().and_then(Group::close));
        Ok(actions)
    }

    /// What undo has to do about the objects among these effects, by the effects' keys.
    async fn verdicts<'a>(
        &self,
        scope: &StepScope,
        page: &'a [Performed],
    ) -> Result<HashMap<&'a str, Verdict>> {
        let looks: Vec<_> =
            page.iter().filter(|one| writes_object(one)).map(|one| self.verdict(scope, one)).collect();
        futures::stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Looks at the object that a copy or a put may have left.
    async fn verdict<'a>(&self, scope: &StepScope, one: &'a Performed) -> Result<(&'a str, Verdict)> {
        Ok((one.effect.key.as_str(), self.look(scope, one).await?))
    }

    async fn look(&self, scope: &StepScope, one: &Performed) -> Result<Verdict> {
        let (sink, replaces) = match &one.effect.action {
            Action::CopyObject(action) => (&action.sink, &action.replaces),
            Action::PutObject(action) => (&action.sink, &action.replaces),
            _ => return Ok(Verdict::default()),
        };
        let store = self.store(&scope.grant(&sink.slot)?.connection)?;
        let mut verdict = Verdict::default();
        let found = match store.head(&sink.bucket, &sink.key).await {
            Err(error) if error.kind == ErrorKind::Missing => None,
            other => other?,
        };
        let target = |etag: &str, version: Option<String>| Target {
            bucket: sink.bucket.clone(),
            key: sink.key.clone(),
            etag: etag.to_owned(),
            version,
        };
        let place = format!("{}/{}", sink.bucket, sink.key);
        let Some(done) = &one.done else {
            if scope.notes.get(&refused(&one.effect)).await?.is_some_and(|noted| noted == true) {
                return Ok(verdict);
            }
            if let Action::CopyObject(action) = &one.effect.action
                && action.size > self.sizes().single
            {
                let uploads = store.open_uploads(&sink.bucket, &sink.key).await?;
                verdict.uploads = uploads
                    .into_iter()
                    .map(|upload| OpenOne {
                        bucket: sink.bucket.clone(),
                        key: sink.key.clone(),
                        id: upload.id,
                    })
                    .collect();
            }
            let Some(head) = found else { return Ok(verdict) };
            if matches!(replaces, Replaces::Object { etag } if *etag == head.etag) {
                return Ok(verdict);
            }
            if !may_have_written(self, scope, one, store, &head).await? {
                verdict.changed =
                    Some(format!("{place} is there, but it is not what the run was going to write"));
            } else if *replaces != Replaces::Nothing && head.version.is_none() {
                verdict.irreversible =
                    Some(format!("{place} was overwritten, and its bucket keeps no versions"));
            }
            verdict.target = Some(target(&head.etag, head.version));
            return Ok(verdict);
        };
        let text = |name: &str| done.fingerprint.get(name).and_then(Json::as_str);
        let written = text("etag").unwrap_or_default();
        let version = text("version").map(str::to_owned);
        match found {
            // Gone already: nothing to delete. What was overwritten is gone too.
            None if *replaces == Replaces::Nothing => {}
            None => verdict.changed = Some(format!("{place} has been deleted since")),
            Some(head)
                if is_taken_back(store, &sink.bucket, &sink.key, version.as_deref(), &head).await? => {}
            Some(head) if head.etag != written => {
                verdict.changed =
                    Some(format!("{place} has been written since: ETag {written} became {}", head.etag));
                verdict.target = Some(target(written, version));
            }
            Some(_) if *replaces != Replaces::Nothing && version.is_none() => {
                verdict.irreversible =
                    Some(format!("{place} was overwritten, and its bucket keeps no versions"));
            }
            Some(_) => verdict.target = Some(target(written, version)),
        }
        Ok(verdict)
    }

    /// What undo has to do about a bucket, its CORS rules, or a deleted object.
    async fn undo_of_setting(
        &self,
        scope: &StepScope,
        one: &Performed,
        ours: &Ours,
    ) -> Result<Option<UndoAction>> {
        let key = &one.effect.key;
        let action =
            |title: String, request: Request, changed: Option<String>, irreversible: Option<String>| {
                Ok(Some(UndoAction {
                    key: EffectKey::new(format!("undo {key}")),
                    title,
                    takes_back: vec![key.clone()],
                    irreversible,
                    changed,
                    details: Vec::new(),
                    request: to_json(&request)?,
                }))
            };
        match &one.effect.action {
            Action::DeleteObject(deleted) => {
                let store = self.store(&scope.grant(&deleted.sink.slot)?.connection)?;
                let (bucket, name) = (&deleted.sink.bucket, &deleted.sink.key);
                let title = format!("bring back {bucket}/{name}");
                let marker = one.done.as_ref().and_then(|done| done.fingerprint.get("marker")?.as_str());
                let found = store.head(bucket, name).await?;
                match (marker, found) {
                    (_, Some(head)) if head.etag == deleted.etag => Ok(None),
                    (Some(marker), found) => {
                        let request = Request::RemoveMarker {
                            slot: deleted.sink.slot.clone(),
                            bucket: bucket.clone(),
                            key: name.clone(),
                            marker: marker.to_owned(),
                        };
                        let changed = found.map(|_| format!("{bucket}/{name} has been written since"));
                        action(title, request, changed, None)
                    }
                    (None, _) => {
                        let why = format!("{bucket}/{name} was deleted, and its bucket keeps no versions");
                        action(title, Request::Refuse, None, Some(why))
                    }
                }
            }
            Action::SetCors(set) => {
                let store = self.store(&scope.grant(&set.slot)?.connection)?;
                let before = former_cors(&one.preparation.before);
                let rules = named(&set.rules);
                let current = match store.cors(&set.bucket).await {
                    Err(error) if error.kind == ErrorKind::Missing => return Ok(None),
                    other => other?.unwrap_or_default(),
                };
                if same_rules(&current, &before) {
                    return Ok(None);
                }
                let changed = (!same_rules(&current, &rules))
                    .then(|| format!("the CORS rules of bucket {} have been changed since", set.bucket));
                let request = Request::RestoreCors {
                    slot: set.slot.clone(),
                    bucket: set.bucket.clone(),
                    before,
                    set: rules,
                };
                action(
                    format!("put the former CORS rules of bucket {} back", set.bucket),
                    request,
                    changed,
                    None,
                )
            }
            Action::CreateBucket(created) => {
                let store = self.store(&scope.grant(&created.slot)?.connection)?;
                let made = match &one.done {
                    Some(done) => done.fingerprint.get("created") == Some(&Json::Bool(true)),
                    None => one.preparation.before.get("exists") == Some(&Json::Bool(false)),
                };
                if !made || store.bucket(&created.bucket).await? != BucketState::Usable {
                    return Ok(None);
                }
                let changed = self.foreign_key(store, &created.bucket, ours).await?.map(|foreign| {
                    format!(
                        "bucket {} holds {foreign}, which this run didn't put there; the bucket stays",
                        created.bucket
                    )
                });
                let request =
                    Request::DeleteBucket { slot: created.slot.clone(), bucket: created.bucket.clone() };
                action(format!("delete bucket {}", created.bucket), request, changed, None)
            }
            _ => match self.plan_further(scope, one).await? {
                Some((title, request, changed)) => action(title, request, changed, None),
                None => Ok(None),
            },
        }
    }

    /// The first key of a bucket that isn't among `ours`.
    async fn foreign_key(&self, store: &Store, bucket: &str, ours: &Ours) -> Result<Option<String>> {
        let mut token: Option<String> = None;
        loop {
            let begin = token.as_deref().map_or(Begin::First, Begin::Token);
            let page = store.list_page(bucket, "", begin).await?;
            for object in page.objects {
                // In an encoded listing a `+` may be read in two ways; either one may be ours.
                let readings = match page.encoded {
                    true => [true, false].map(|plus| crate::reads::decode(&object.key, plus)),
                    false => [Some(object.key.clone()), None],
                };
                if !readings.iter().flatten().any(|key| ours.has(bucket, key)) {
                    return Ok(Some(readings.into_iter().flatten().next().unwrap_or(object.key)));
                }
            }
            match page.next {
                Some(next) => token = Some(next),
                None => return Ok(None),
            }
        }
    }
}

/// Whether an effect without an outcome wrote what is there now.
async fn may_have_written(
    objects: &Objects,
    scope: &StepScope,
    one: &Performed,
    store: &Store,
    head: &Head,
) -> Result<bool> {
    match &one.effect.action {
        Action::CopyObject(copy) => {
            if head.size != copy.size {
                return Ok(false);
            }
            if head.etag == copy.etag {
                return Ok(true);
            }
            let from = objects.store(&scope.grant(&copy.source.slot)?.connection)?;
            if is_md5(&head.etag)
                && is_md5(&copy.etag)
                && store.endpoint.vendor.md5_etags
                && from.endpoint.vendor.md5_etags
            {
                return Ok(false);
            }
            let there = Source {
                store,
                bucket: &copy.sink.bucket,
                key: &copy.sink.key,
                version: None,
                size: head.size,
                etag: &head.etag,
            };
            let here = Source {
                store: from,
                bucket: &copy.source.bucket,
                key: &copy.source.key,
                version: None,
                size: copy.size,
                etag: &copy.etag,
            };
            Ok(there.digests(Wanted::SHA256).await? == here.digests(Wanted::SHA256).await?)
        }
        Action::PutObject(put) => {
            if head.size != put.content.len {
                return Ok(false);
            }
            let there = Source {
                store,
                bucket: &put.sink.bucket,
                key: &put.sink.key,
                version: None,
                size: head.size,
                etag: &head.etag,
            };
            Ok(there.digests(Wanted::SHA256).await?.sha256_hex() == put.content.sha256.as_str())
        }
        _ => Ok(false),
    }
}

/// Deletions of one slot that are done together.
struct Group {
    slot: SlotName,
    key: EffectKey,
    /// Effects looked at, whether or not there is something to do about them: groups stay the same when undo resumes.
    seen: usize,
    takes_back: Vec<EffectKey>,
    objects: Vec<Target>,
    uploads: Vec<OpenOne>,
}

impl Group {
    fn new(slot: SlotName, first: &EffectKey) -> Self {
        let key = EffectKey::new(format!("undo from {first}"));
        Self { slot, key, seen: 0, takes_back: Vec::new(), objects: Vec::new(), uploads: Vec::new() }
    }

    fn add(&mut self, key: &EffectKey, verdict: Verdict) {
        self.takes_back.push(key.clone());
        self.objects.extend(verdict.target);
        self.uploads.extend(verdict.uploads);
    }

    fn close(self) -> Option<UndoAction> {
        if self.objects.is_empty() && self.uploads.is_empty() {
            return None;
        }
        let buckets: BTreeSet<&str> = self
            .objects
            .iter()
            .map(|target| target.bucket.as_str())
            .chain(self.uploads.iter().map(|open| open.bucket.as_str()))
            .collect();
        let mut title = match self.objects.as_slice() {
            [] => format!("give up {} open uploads", self.uploads.len()),
            [one] => format!("delete {}/{}", one.bucket, one.key),
            many => format!(
                "delete {} objects that the run wrote to {}",
                many.len(),
                buckets.into_iter().collect::<Vec<_>>().join(", ")
            ),
        };
        if !self.objects.is_empty() && !self.uploads.is_empty() {
            title.push_str(&format!(", give up {} open uploads", self.uploads.len()));
        }
        let request =
            Request::DeleteObjects { slot: self.slot, objects: self.objects, uploads: self.uploads };
        Some(UndoAction {
            key: self.key,
            title,
            takes_back: self.takes_back,
            irreversible: None,
            changed: None,
            details: Vec::new(),
            request: to_json(&request).ok()?,
        })
    }
}

/// An action of its own for an object that needs a person's word.
fn alone(one: &Performed, slot: SlotName, verdict: Verdict) -> UndoAction {
    let sink = match &one.effect.action {
        Action::CopyObject(action) => Some(&action.sink),
        Action::PutObject(action) => Some(&action.sink),
        _ => None,
    };
    let place = sink.map_or_else(String::new, |sink| format!("{}/{}", sink.bucket, sink.key));
    let request = match verdict.irreversible {
        Some(_) => Request::Refuse,
        None => Request::DeleteObjects {
            slot,
            objects: verdict.target.into_iter().collect(),
            uploads: verdict.uploads,
        },
    };
    UndoAction {
        key: EffectKey::new(format!("undo {}", one.effect.key)),
        title: format!("delete {place}"),
        takes_back: vec![one.effect.key.clone()],
        irreversible: verdict.irreversible,
        changed: verdict.changed,
        details: Vec::new(),
        request: to_json(&request).unwrap_or_default(),
    }
}

fn writes_object(one: &Performed) -> bool {
    matches!(one.effect.action, Action::CopyObject(_) | Action::PutObject(_))
}

/// Where the step has written, by hashes: a bucket that it made is made before anything is written there, and looked at
/// after all of that. A key of somebody else's that has the hash of one of ten million has it with a probability of 10⁻¹²;
/// then the bucket isn't empty when it is to be deleted, which is an error, too.
#[derive(Default)]
struct Ours {
    hasher: RandomState,
    hashes: HashSet<u64>,
}

impl Ours {
    fn note(&mut self, one: &Performed) {
        let sink = match &one.effect.action {
            Action::CopyObject(action) => &action.sink,
            Action::PutObject(action) => &action.sink,
            Action::CopyVersions(action) => &action.sink,
            _ => return,
        };
        self.hashes.insert(self.hash(&sink.bucket, &sink.key));
    }

    fn has(&self, bucket: &str, key: &str) -> bool {
        self.hashes.contains(&self.hash(bucket, key))
    }

    fn hash(&self, bucket: &str, key: &str) -> u64 {
        self.hasher.hash_one((bucket, key))
    }
}

/// The rules noted by `prepare`.
fn former_cors(before: &Json) -> Vec<NamedCorsRule> {
    before.get("rules").and_then(|rules| serde_json::from_value(rules.clone()).ok()).unwrap_or_default()
}

fn to_json(request: &Request) -> Result<Json> {
    serde_json::to_value(request).map_err(|e| Error::host(format!("an undo request makes no JSON: {e}")))
}
