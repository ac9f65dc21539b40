//! Copying one object: within a store, in one request, through transforms, or (in `multipart`) in parts.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use godwit_model::capability::{Ledger, StepScope};
use godwit_model::effect::{CopyObject, Done, Evidence, Replaces};
use godwit_model::{Error, ErrorKind, Result};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::fault;
use crate::guarded::{Content, Placed, Sink, is_bad_digest, is_odd_etag};
use crate::kept::Kept;
use crate::multipart;
use crate::source::{Held, Source};
use crate::store::{Store, is_last, pause};

/// What a copy holds, sends at once and splits, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// The most that one request holds in memory; larger bodies are streamed.
    pub held: u64,
    /// The most that goes by a single PUT.
    pub single: u64,
    /// A part of a multipart upload. All parts but the last have one size, which R2 insists on.
    pub part: u64,
    pub max_parts: u64,
    /// Parts of one object under way at once.
    pub parts_at_once: usize,
    /// All that is held in memory, over all objects.
    pub memory: u64,
    /// The largest object that one request copies within a store (S3 API, CopyObject).
    pub within: u64,
    /// A part that one request copies within a store: 5 GiB at most, and a request should end in minutes.
    pub within_part: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            held: 8 << 20,
            single: 16 << 20,
            part: 8 << 20,
            // S3 API, "Multipart upload limits".
            max_parts: 10_000,
            parts_at_once: 4,
            memory: 64 << 20,
            within: 5 << 30,
            within_part: 1 << 30,
        }
    }
}

impl Sizes {
    /// The size of all parts but the last: a multiple of `part` that keeps their number within bounds.
    pub fn part_of(&self, size: u64) -> u64 {
        Self::equal(self.part, size, self.max_parts)
    }

    /// The same within a store.
    pub fn within_part_of(&self, size: u64) -> u64 {
        Self::equal(self.within_part, size, self.max_parts)
    }

    fn equal(part: u64, size: u64, most: u64) -> u64 {
        part * size.div_ceil(part * most).max(1)
    }
}

/// The unit in which memory is handed out.
const MEMORY_UNIT: u64 = 64 << 10;

/// What is up to this many bytes is small.
const SMALL: u64 = 1 << 20;

/// The memory that copies may hold, for small bodies and for large ones apart: a few large objects would otherwise take
/// all of it, and no small one would move while they do.
pub(crate) struct Memory {
    small: Pool,
    large: Pool,
}

struct Pool {
    units: Semaphore,
    total: u32,
}

impl Memory {
    /// Three eighths of all memory for what is small, the rest for what is large.
    pub fn new(sizes: &Sizes) -> Self {
        let small = sizes.memory / 8 * 3;
        Self { small: Pool::new(small), large: Pool::new(sizes.memory - small) }
    }

    /// Waits for room for `len` bytes. What holds a permit waits for no second one.
    pub async fn take(&self, len: u64) -> SemaphorePermit<'_> {
        if len <= SMALL { self.small.take(len).await } else { self.large.take(len).await }
    }
}

impl Pool {
    fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes.div_ceil(MEMORY_UNIT)).unwrap_or(u32::MAX).max(1);
        Self { units: Semaphore::new(total as usize), total }
    }

    async fn take(&self, len: u64) -> SemaphorePermit<'_> {
        let units = u32::try_from(len.div_ceil(MEMORY_UNIT)).unwrap_or(u32::MAX).clamp(1, self.total);
        self.units.acquire_many(units).await.expect("the semaphore stays open")
    }
}

/// One copy under way.
pub(crate) struct Copy<'a> {
    pub scope: &'a StepScope,
    pub action: &'a CopyObject,
    pub from: &'a Arc<Store>,
    pub to: &'a Arc<Store>,
    pub ledger: &'a dyn Ledger,
    pub sizes: &'a Sizes,
    pub memory: &'a Memory,
}

impl<'a> Copy<'a> {
    pub fn label(&self) -> String {
        format!("{}/{}", self.action.source.bucket, self.action.source.key)
    }

    pub fn source(&self) -> Source<'a> {
        Source {
            store: self.from,
            bucket: &self.action.source.bucket,
            key: &self.action.source.key,
            version: None,
            size: self.action.size,
            etag: &self.action.etag,
        }
    }

    pub fn sink(&self) -> Sink<'a> {
        Sink {
            store: self.to,
            bucket: &self.action.sink.bucket,
            key: &self.action.sink.key,
            replaces: &self.action.replaces,
            class: self.action.storage_class.as_deref(),
            tags: self.action.tags,
        }
    }

    /// Counts bytes that arrived.
    pub fn moved(&self, bytes: u64) {
        self.scope.progress.transfer(&self.label(), 0, bytes);
    }

    /// Copies the object. `maybe_ours`: an earlier attempt may have done so, wholly or in part.
    pub async fn run(&self, maybe_ours: bool) -> Result<Done> {
        let placed = if self.scope.transforms.applies(&self.label()) {
            self.transformed(maybe_ours).await?
        } else if let Some(placed) = self.within(maybe_ours).await? {
            self.moved(placed.size);
            placed
        } else if self.action.size > self.sizes.single {
            let within = self.is_within() && self.action.size > self.sizes.within;
            multipart::Upload { copy: self, within }.run(maybe_ours).await?
        } else {
            let placed = self.single(maybe_ours).await?;
            self.moved(placed.size);
            placed
        };
        self.scope.progress.transfer(&self.label(), 1, 0);
        Ok(done(placed))
    }

    async fn single(&self, maybe_ours: bool) -> Result<Placed> {
        if self.action.size > self.sizes.held {
            return self.sink().put(Content::Streamed(self.source()), maybe_ours).await;
        }
        let _room = self.memory.take(self.action.size).await;
        let (mut held, kept) = self.source().hold(None).await?;
        let mut kept = self.sink().dressed(kept, &self.source(), true).await?;
        match self.sink().put(Content::Held(&held, &kept), maybe_ours).await {
            Err(error)
                if held.is_told() && (is_bad_digest(&error) || is_odd_etag(&error) && held.is_mistold()) =>
            {
                self.settle_digest(&mut held, &mut kept).await?;
                self.sink().put(Content::Held(&held, &kept), true).await
            }
            other => other,
        }
    }

    /// The sink says that what arrived hasn't the MD5 that the source told: the bytes were damaged on their way here or
    /// there, or the source's ETags are something else. What is read twice the same is what the source has.
    async fn settle_digest(&self, held: &mut Held, kept: &mut Kept) -> Result<()> {
        if !held.is_mistold() {
            held.distrust();
            return Ok(());
        }
        let (again, _) = self.source().hold(None).await?;
        if again.bytes == held.bytes {
            self.from.beliefs.learn_odd_etags();
            kept.remark("the source's ETag is not the MD5 of what was read, twice the same".to_owned());
            held.distrust();
        } else {
            *held = again;
        }
        Ok(())
    }

    /// Whether source and sink are one store under one account.
    fn is_within(&self) -> bool {
        self.to.endpoint.is_same_account(&self.from.endpoint)
    }

    /// By one request, where source and sink are one store under one account. `None` where that can't be.
    async fn within(&self, mut maybe_ours: bool) -> Result<Option<Placed>> {
        if !self.is_within() || self.action.size > self.sizes.within {
            return Ok(None);
        }
        let mut notes = Vec::new();
        let class = self.action.storage_class.as_deref().map(|wanted| {
            let class = self.to.endpoint.vendor.class_for(wanted);
            if class != wanted {
                let vendor = self.to.endpoint.vendor.name;
                notes.push(format!("{vendor} has no storage class {wanted}: the object goes to {class}"));
            }
            class
        });
        let class = class.filter(|class| *class != "STANDARD");
        let (source, sink) = (self.source(), self.sink());
        let mut attempt = 0;
        loop {
            let content = Content::Streamed(source);
            if let Some(head) = sink.look(maybe_ours.then_some(content)).await? {
                return Ok(Some(Placed::found(head, String::new())));
            }
            let places = ((source.bucket, source.key), (sink.bucket, sink.key));
            match self.to.copy_within(places.0, source.etag, places.1, class, self.action.tags).await {
                Ok((etag, version)) => {
                    let etag = match etag.is_empty() {
                        false => etag,
                        true => self
                            .to
                            .head(sink.bucket, sink.key)
                            .await?
                            .map(|head| head.etag)
                            .unwrap_or_default(),
                    };
                    let digest = String::new();
                    return Ok(Some(Placed { etag, size: source.size, version, digest, notes }));
                }
                Err(error) if fault::is_not_implemented(&error) => return Ok(None),
                Err(error) if error.kind == ErrorKind::Conflict => {
                    return Err(error.hint("the source changed after it was listed: start a new run"));
                }
                Err(error) if error.is_retryable() && !is_last(attempt) => {
                    maybe_ours = true;
                    pause(attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Through the transforms of the step. What comes out has no known length, so it is held up to one part, then sent
    /// in parts, one after the other. A resumed one begins anew.
    async fn transformed(&self, maybe_ours: bool) -> Result<Placed> {
        let upload = multipart::Upload { copy: self, within: false };
        upload.give_up_former().await?;
        let mut attempt = 0;
        let mut maybe_ours = maybe_ours;
        loop {
            match self.transform_once(&upload, maybe_ours).await {
                Err(error) if error.is_retryable() && !is_last(attempt) => {
                    upload.give_up_former().await?;
                    maybe_ours = true;
                    pause(attempt).await;
                    attempt += 1;
                }
                Err(error) => {
                    if !error.is_retryable() {
                        upload.give_up_former().await?;
                    }
                    return Err(error);
                }
                Ok(placed) => return Ok(placed),
            }
        }
    }

    async fn transform_once(&self, upload: &multipart::Upload<'_>, maybe_ours: bool) -> Result<Placed> {
        let label = self.label();
        let part = self.sizes.part_of(self.action.size.saturating_mul(2));
        let _room = self.memory.take(part * 2).await;
        let (mut reply, len) = self.source().open(None).await?;
        reply.release();
        let kept = self.sink().dressed(Kept::of(&reply.headers), &self.source(), true).await?;
        let shape = json!({
            "kind": "object",
            "bucket": self.action.source.bucket,
            "key": self.action.source.key,
            "content_type": kept.standard().get("content-type"),
        });
        let mut pipes = self.scope.transforms.open(&label, &shape).await?;
        let mut gathered = BytesMut::new();
        let mut parts = multipart::Sequence::default();
        let mut read = 0;
        loop {
            let chunk = reply.chunk(&self.from.endpoint, &label).await?;
            let ended = chunk.is_none();
            if let Some(chunk) = chunk {
                read += chunk.len() as u64;
                let mut bytes = chunk.to_vec();
                for pipe in &mut pipes {
                    bytes = pipe.push(&bytes).await.map_err(|e| e.context(&label))?;
                }
                gathered.extend_from_slice(&bytes);
            } else {
                if read != len {
                    return Err(Error::unavailable(format!(
                        "{label}: the body ended after {read} of {len} bytes"
                    )));
                }
                // What one pipe holds back goes through all that come after it.
                for first in 0..pipes.len() {
                    let mut bytes = pipes[first].finish().await.map_err(|e| e.context(&label))?;
                    for pipe in &mut pipes[first + 1..] {
                        bytes = pipe.push(&bytes).await.map_err(|e| e.context(&label))?;
                    }
                    gathered.extend_from_slice(&bytes);
                }
            }
            while gathered.len() as u64 > part || (ended && parts.begun() && !gathered.is_empty()) {
                let take = gathered.len().min(usize::try_from(part).unwrap_or(usize::MAX));
                let held = Held::new(gathered.split_to(take).freeze());
                self.moved(held.len());
                upload.append(&mut parts, held, &kept).await?;
            }
            if !ended {
                continue;
            }
            if parts.begun() {
                return upload.complete_sequence(parts, &kept).await;
            }
            let held = Held::new(gathered.freeze());
            self.moved(held.len());
            return self.sink().put(Content::Held(&held, &kept), maybe_ours).await;
        }
    }
}

/// The outcome of a write. `evidence` is what HEAD will say of the object while it is the one that was written: the
/// store has checked the content against an MD5 on arrival, and an ETag changes with the object.
pub(crate) fn done(placed: Placed) -> Done {
    Done {
        result: json!({ "bytes": placed.size, "etag": placed.etag, "digest": placed.digest }),
        evidence: Some(Evidence { items: 1, bytes: placed.size, digest: format!("etag:{}", placed.etag) }),
        fingerprint: match &placed.version {
            Some(version) => json!({ "etag": placed.etag, "size": placed.size, "version": version }),
            None => json!({ "etag": placed.etag, "size": placed.size }),
        },
        notes: placed.notes,
    }
}

/// Puts bytes of the plugin's own.
pub(crate) async fn put_bytes(
    sink: Sink<'_>,
    bytes: Vec<u8>,
    content_type: Option<&str>,
    maybe_ours: bool,
) -> Result<Done> {
    let kept = Kept::content_type(content_type).ok_or_else(|| {
        Error::invalid(format!("{}/{}: the content type is no header value", sink.bucket, sink.key))
    })?;
    let held = Held::new(Bytes::from(bytes));
    Ok(done(sink.put(Content::Held(&held, &kept), maybe_ours).await?))
}

/// `a → b`, or the place alone where both are called the same.
pub(crate) fn title(action: &CopyObject) -> String {
    let from = format!("{}/{}", action.source.bucket, action.source.key);
    let to = format!("{}/{}", action.sink.bucket, action.sink.key);
    let verb = match action.replaces {
        Replaces::Nothing => "copy",
        Replaces::Object { .. } => "overwrite",
    };
    match action.replaces {
        Replaces::Nothing => format!("{verb} {from} → {to}"),
        Replaces::Object { .. } => format!("{verb} {to} by {from}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn large_bodies_leave_room_for_small_ones() {
        let memory = Memory::new(&Sizes::default());
        let mut large = Vec::new();
        while let Ok(permit) = tokio::time::timeout(Duration::from_millis(50), memory.take(8 << 20)).await {
            large.push(permit);
        }
        assert_eq!(large.len(), 5);
        let small = tokio::time::timeout(Duration::from_secs(5), memory.take(16 << 10)).await;
        assert!(small.is_ok(), "a small body waits for large ones");
    }

    #[test]
    fn parts_grow_with_the_object_and_stay_equal() {
        let sizes = Sizes::default();
        assert_eq!(sizes.part_of(17 << 20), 8 << 20);
        assert_eq!(sizes.part_of(10_000 * (8 << 20)), 8 << 20);
        assert_eq!(sizes.part_of(10_000 * (8 << 20) + 1), 16 << 20);
        let largest = 5u64 << 40;
        assert!(largest.div_ceil(sizes.part_of(largest)) <= sizes.max_parts);
    }
}
