//! Copying the versions of one object, the oldest first, each once.
//!
//! The ledger's parts are the versions; a done part notes the version that the sink made of it. On resume the sink's
//! versions of the key, in their order, say which of those without a note have arrived: the key had nothing before, so
//! all of them are this effect's, or somebody else is at work.

use futures::StreamExt as _;
use godwit_model::capability::{Ledger, ObjectVersion, StepScope};
use godwit_model::effect::{
    Class, CopyVersions, Done, Estimate, Evidence, Preparation, Replaces, VersionCopy,
};
use godwit_model::ids::hex;
use godwit_model::{Error, Json, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::Objects;
use crate::checksum::{Algorithm, Checksum, joined};
use crate::claim::Put;
use crate::guarded::Sink;
use crate::kept::Kept;
use crate::patience;
use crate::source::{Source, Wanted, is_md5};
use crate::store::{Store, is_last, patiently, pause};

/// Parts of a large version under way at once.
const PARTS_AT_ONCE: usize = 4;
/// The upload of a large version that is under way.
const UPLOAD: &str = "upload";

struct VersionsCopy<'a> {
    action: &'a CopyVersions,
    from: &'a Store,
    to: &'a Store,
    ledger: &'a dyn Ledger,
    objects: &'a Objects,
}

impl Objects {
    pub(crate) async fn prepare_versions(
        &self,
        scope: &StepScope,
        action: &CopyVersions,
    ) -> Result<Preparation> {
        let store = self.store_of(scope, &action.sink.slot)?;
        if action.versions.is_empty() {
            return Err(Error::invalid(format!("{}: no versions to copy", action.source.label())));
        }
        if !store.endpoint.vendor.versions {
            return Err(no_versions(store, &action.sink.bucket));
        }
        let title = format!(
            "copy {} versions of {} → {}",
            action.versions.len(),
            action.source.label(),
            action.sink.label()
        );
        let bytes = action.versions.iter().map(|one| one.size).sum();
        let estimate = Estimate { items: action.versions.len() as u64, bytes, exact: true };
        Ok(Preparation { estimate: Some(estimate), ..crate::preparation(Class::Creates, title) })
    }

    pub(crate) async fn copy_versions(
        &self,
        scope: &StepScope,
        action: &CopyVersions,
        ledger: &dyn Ledger,
        maybe_ours: bool,
    ) -> Result<Done> {
        let copy = VersionsCopy {
            action,
            from: self.store_of(scope, &action.source.slot)?,
            to: self.store_of(scope, &action.sink.slot)?,
            ledger,
            objects: self,
        };
        match copy.run(scope, maybe_ours).await {
            // What may pass is resumed; what will not would leave parts behind that somebody pays for.
            Err(error) if !error.is_retryable() => match copy.give_up().await {
                Ok(()) => Err(error),
                Err(also) => Err(error.hint(format!("open uploads could not be given up: {also}"))),
            },
            other => other,
        }
    }

    /// The sink's versions of the key now.
    pub(crate) async fn observe_versions(
        &self,
        scope: &StepScope,
        action: &CopyVersions,
    ) -> Result<Evidence> {
        let store = self.store_of(scope, &action.sink.slot)?;
        Ok(evidence(&store.versions_of(&action.sink.bucket, &action.sink.key).await?))
    }
}

fn no_versions(store: &Store, bucket: &str) -> Error {
    Error::failed(format!(
        "connection `{}`: bucket {bucket} keeps no versions, so several of one object can't be copied into it",
        store.endpoint.name
    ))
    .hint("turn the bucket's versioning on first, or copy the latest versions alone")
}

/// Count, bytes and a digest over ETags, in order; delete markers count as versions.
fn evidence(versions: &[ObjectVersion]) -> Evidence {
    let mut fold = Sha256::new();
    for one in versions {
        let kind = if one.deleted { "deleted" } else { one.info.etag.as_str() };
        fold.update(format!("{} {kind}\n", one.info.size));
    }
    Evidence {
        items: versions.len() as u64,
        bytes: versions.iter().map(|one| one.info.size).sum(),
        digest: format!("versions-sha256:{}", hex(&fold.finalize())),
    }
}

impl VersionsCopy<'_> {
    async fn run(&self, scope: &StepScope, maybe_ours: bool) -> Result<Done> {
        let (action, sink) = (self.action, &self.action.sink);
        if !self.to.keeps_versions(&sink.bucket).await? {
            return Err(no_versions(self.to, &sink.bucket));
        }
        if self.ledger.parts().await?.is_empty() {
            let ranges = action.versions.iter().map(|one| json!({ "version": one.version })).collect();
            self.ledger.plan_parts(ranges).await?;
        }
        if maybe_ours {
            self.give_up().await?;
        }
        let there = self.to.versions_of(&sink.bucket, &sink.key).await?;
        if there.len() > action.versions.len() || (!there.is_empty() && !maybe_ours) {
            return Err(self.foreign(&there));
        }
        let parts = self.ledger.parts().await?;
        let mut notes = Vec::new();
        for (index, version) in action.versions.iter().enumerate() {
            let noted = parts.get(index).and_then(|part| part.outcome.as_ref());
            let noted = noted.and_then(|outcome| outcome.get("version")).and_then(Json::as_str);
            match there.get(index) {
                Some(found) if noted.is_some_and(|noted| noted == found.version) => continue,
                Some(found) if noted.is_none() && self.is_copy_of(version, found).await? => {
                    self.finish(index, &found.version).await?;
                }
                Some(_) => return Err(self.foreign(&there)),
                None if noted.is_some() => return Err(self.foreign(&there)),
                None => {
                    let made = self.copy_one(version, index, &mut notes).await?;
                    self.finish(index, &made).await?;
                }
            }
            scope.progress.transfer(&action.source.label(), 0, version.size);
        }
        scope.progress.transfer(&action.source.label(), 1, 0);
        let there = self.to.versions_of(&sink.bucket, &sink.key).await?;
        if there.len() != action.versions.len() {
            return Err(self.foreign(&there));
        }
        notes.dedup();
        let made: Vec<&str> = there.iter().map(|one| one.version.as_str()).collect();
        Ok(Done {
            result: json!({ "versions": made.len(), "bytes": action.versions.iter().map(|one| one.size).sum::<u64>() }),
            fingerprint: json!({ "versions": made }),
            evidence: Some(evidence(&there)),
            notes,
        })
    }

    fn foreign(&self, there: &[ObjectVersion]) -> Error {
        let sink = &self.action.sink;
        Error::conflict(format!(
            "connection `{}`: {} has {} versions that this copy didn't make",
            self.to.endpoint.name,
            sink.label(),
            there.len()
        ))
        .hint("find out who writes to the target; then move the versions away, or start a new run")
    }

    async fn finish(&self, index: usize, version: &str) -> Result<()> {
        let index = u32::try_from(index).map_err(|_| Error::host("too many versions"))?;
        self.ledger.finish_part(index, json!({ "version": version })).await?;
        patience::arrived();
        Ok(())
    }

    fn source<'a>(&'a self, version: &'a VersionCopy) -> Source<'a> {
        Source {
            store: self.from,
            bucket: &self.action.source.bucket,
            key: &self.action.source.key,
            version: Some(&version.version),
            size: version.size,
            etag: &version.etag,
        }
    }

    /// Whether a version at the sink has the content of one at the source.
    async fn is_copy_of(&self, version: &VersionCopy, found: &ObjectVersion) -> Result<bool> {
        if version.deleted || found.deleted {
            return Ok(version.deleted == found.deleted);
        }
        if version.size != found.info.size {
            return Ok(false);
        }
        if version.etag == found.info.etag && is_md5(&version.etag) {
            return Ok(true);
        }
        let there = Source {
            store: self.to,
            bucket: &self.action.sink.bucket,
            key: &self.action.sink.key,
            version: Some(&found.version),
            size: found.info.size,
            etag: &found.info.etag,
        };
        let here = self.source(version);
        let both = (there.digests(Wanted::SHA256), here.digests(Wanted::SHA256));
        let (there, here) = futures::future::try_join(both.0, both.1).await?;
        Ok(there == here)
    }

    /// Makes one version and returns its id. An attempt whose answer was lost is found among the sink's versions.
    async fn copy_one(&self, version: &VersionCopy, index: usize, notes: &mut Vec<String>) -> Result<String> {
        let sink = &self.action.sink;
        let mut attempt = 0;
        loop {
            match self.copy_once(version, notes).await {
                Err(error) if error.is_retryable() && !is_last(attempt) => {
                    pause(attempt).await;
                    attempt += 1;
                    self.give_up().await?;
                    let there = self.to.versions_of(&sink.bucket, &sink.key).await?;
                    match there.get(index) {
                        None => {}
                        Some(found) if self.is_copy_of(version, found).await? => {
                            return Ok(found.version.clone());
                        }
                        Some(_) => return Err(self.foreign(&there)),
                    }
                }
                other => return other,
            }
        }
    }

    async fn copy_once(&self, version: &VersionCopy, notes: &mut Vec<String>) -> Result<String> {
        let (bucket, key) = (&self.action.sink.bucket, &self.action.sink.key);
        let label = self.action.source.label();
        if version.deleted {
            let marker = self.to.delete_once(bucket, key).await?;
            return marker.ok_or_else(|| no_versions(self.to, bucket));
        }
        let source = self.source(version);
        let sink = Sink {
            store: self.to,
            bucket,
            key,
            replaces: &Replaces::Nothing,
            class: version.storage_class.as_deref(),
            tags: self.action.tags,
        };
        let held = self.objects.sizes().held;
        let (made, kept) = if version.size <= held {
            let _room = self.objects.memory.take(version.size).await;
            let (held, kept) = source.hold(None).await?;
            let kept = sink.dressed(kept, &source, true).await?;
            let put = Put { store: self.to, bucket, key, label: &label, held: &held };
            let (written, note) = put.object(kept.headers()).await?;
            notes.extend(note);
            (written.version, kept)
        } else {
            let head = self.from.head_of(source.bucket, source.key, source.version).await?;
            let head = head.ok_or_else(|| {
                Error::missing(format!("version {} of {label} is gone since it was listed", version.version))
            })?;
            // A SHA-256 can't be put together from those of parts.
            let told = head.checksums.into_iter().find(|told| told.algorithm != Algorithm::Sha256);
            let kept = sink.dressed(head.kept, &source, false).await?;
            (self.large(&source, &kept, told.as_ref()).await?, kept)
        };
        notes.extend(kept.notes());
        made.ok_or_else(|| no_versions(self.to, bucket))
    }

    /// In parts. A cut-off one is given up and begun anew. `told`: the checksum that the source has of it.
    async fn large(
        &self,
        source: &Source<'_>,
        kept: &Kept,
        told: Option<&Checksum>,
    ) -> Result<Option<String>> {
        let (bucket, key) = (&self.action.sink.bucket, &self.action.sink.key);
        let label = self.action.source.label();
        let id = self.to.create_upload(bucket, key, kept, None).await?;
        self.ledger.set(UPLOAD, json!({ "id": id })).await?;
        let size = self.objects.sizes().part_of(source.size);
        let count = source.size.div_ceil(size);
        let (id, label) = (&id, &label);
        let send = |index: u64| async move {
            let (first, last) = (index * size, ((index + 1) * size).min(source.size) - 1);
            let _room = self.objects.memory.take(last - first + 1).await;
            let (held, _) = source.hold(Some((first, last))).await?;
            let number = i32::try_from(index + 1).map_err(|_| Error::host("too many parts"))?;
            let label = format!("a part of {label}");
            let put = Put { store: self.to, bucket, key, label: &label, held: &held };
            let (written, _) = patiently(|_| put.part(id, number, false)).await?;
            let crc = told.and_then(|told| held.crc(told.algorithm)).map(|crc| (crc, held.len()));
            Ok(((number, written.etag), crc))
        };
        let sends: Vec<_> = (0..count).map(send).collect();
        let mut sending = futures::stream::iter(sends).buffered(PARTS_AT_ONCE);
        let (mut parts, mut read) = (Vec::new(), Vec::new());
        while let Some(sent) = sending.next().await {
            let (part, crc) = Result::<_>::from(sent)?;
            parts.push(part);
            read.extend(crc);
        }
        drop(sending);
        if let (Some(told), Some(sum)) = (told, joined(&read)) {
            sum.must_be(told, label)?;
        }
        let made = self.to.complete_upload(bucket, key, id, &parts, None, false).await?;
        self.ledger.set(UPLOAD, Json::Null).await?;
        Ok(made)
    }

    /// Gives up the upload that is noted, and those of this key that were never noted: the key is this effect's own.
    async fn give_up(&self) -> Result<()> {
        let (bucket, key) = (&self.action.sink.bucket, &self.action.sink.key);
        let held = self.objects.sizes().held;
        if self.action.versions.iter().all(|one| one.size <= held) {
            return Ok(());
        }
        for upload in self.to.open_uploads(bucket, key).await? {
            self.to.abort_upload(bucket, key, &upload.id).await?;
        }
        self.ledger.set(UPLOAD, Json::Null).await
    }
}

/// Whether the sink's versions, the oldest first, are a beginning of those that were to be copied, as far as sizes and
/// ETags tell.
pub(crate) fn begins_like(wanted: &[VersionCopy], there: &[ObjectVersion]) -> bool {
    there.len() <= wanted.len()
        && there.iter().zip(wanted).all(|(there, wanted)| {
            there.deleted == wanted.deleted
                && there.info.size == wanted.size
                && (there.info.etag == wanted.etag || !is_md5(&there.info.etag) || !is_md5(&wanted.etag))
        })
}
