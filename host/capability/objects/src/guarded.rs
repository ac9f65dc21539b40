//! Writing one object in one request, without overwriting anything but what the effect expects there.
//!
//! `If-None-Match` and `If-Match` do that in the store, where the store honours them. Whether it does is found out at the
//! first write of a small object: the same bytes are put again under `If-None-Match: *`, which has to be refused.
//! Until then, and where it doesn't, HEAD asks first.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use godwit_model::effect::Replaces;
use godwit_model::ids::hex;
use godwit_model::{Error, ErrorKind, Result};
use http::HeaderMap;

use crate::claim::Claim;
use crate::fault;
use crate::http::Turn;
use crate::kept::{Kept, TAGGING};
use crate::source::{Digests, Held, Source, Streaming, Wanted, is_md5};
use crate::store::{Head, Payload, Store, Written, ascii, is_last, patiently, pause};
use crate::vendor::Vendor;

/// The largest content that is sent twice to find out whether conditions are honoured.
const PROBE_LIMIT: u64 = 1 << 20;

/// How long a store that was just written to may want to be left in peace with that key.
const ONE_KEY_PAUSE: Duration = Duration::from_millis(1200);

/// The code of an ETag that isn't the content's.
const ODD_ETAG: &str = "ETag";

/// The code of a conflict with what somebody else has at the sink: nothing there is this effect's.
pub(crate) const TAKEN: &str = "PreconditionFailed";

/// What is known of how one endpoint takes conditions, or checksums, on a PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belief {
    Unknown,
    Honoured,
    Ignored,
}

impl Belief {
    fn of(held: &AtomicU8) -> Self {
        match held.load(Ordering::Relaxed) {
            0 => Self::Unknown,
            1 => Self::Honoured,
            _ => Self::Ignored,
        }
    }
}

/// What a connection has learnt of its endpoint.
pub(crate) struct Beliefs {
    conditions: AtomicU8,
    /// Whether CRCs of bodies are checked.
    checksums: AtomicU8,
    probing: tokio::sync::Mutex<()>,
    refuses_tags: AtomicBool,
    /// An ETag that looked like an MD5 was found to be none of the content's.
    odd_etags: AtomicBool,
    /// Whether a `+` in an encoded listing is a space.
    pub plus: tokio::sync::Mutex<Option<bool>>,
}

impl Beliefs {
    pub fn new(vendor: &Vendor) -> Self {
        Self {
            conditions: AtomicU8::new(if vendor.ignores_conditions { 2 } else { 0 }),
            checksums: AtomicU8::new(if vendor.refuses_checksums { 2 } else { 0 }),
            probing: tokio::sync::Mutex::new(()),
            refuses_tags: AtomicBool::new(false),
            odd_etags: AtomicBool::new(false),
            plus: tokio::sync::Mutex::new(vendor.plus_is_space),
        }
    }

    pub fn conditions(&self) -> Belief {
        Belief::of(&self.conditions)
    }

    /// Whether the store checks the CRC-64/NVME that a PUT names.
    pub fn checksums(&self) -> Belief {
        Belief::of(&self.checksums)
    }

    pub fn learn_checksums(&self, belief: Belief) {
        self.checksums.store(belief as u8, Ordering::Relaxed);
    }

    /// Whether the store has refused tags.
    pub fn refuses_tags(&self) -> bool {
        self.refuses_tags.load(Ordering::Relaxed)
    }

    pub fn etags_are_md5(&self) -> bool {
        !self.odd_etags.load(Ordering::Relaxed)
    }

    pub fn learn_odd_etags(&self) {
        self.odd_etags.store(true, Ordering::Relaxed);
    }

    pub fn learn(&self, belief: Belief) {
        self.conditions.store(belief as u8, Ordering::Relaxed);
    }
}

/// Where a write goes, and what it expects there.
#[derive(Clone, Copy)]
pub(crate) struct Sink<'a> {
    pub store: &'a Store,
    pub bucket: &'a str,
    pub key: &'a str,
    pub replaces: &'a Replaces,
    /// The storage class that is wanted; `None` for the standard one.
    pub class: Option<&'a str>,
    /// Tags are carried over.
    pub tags: bool,
}

/// What a write puts there.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    Held(&'a Held, &'a Kept),
    /// Streamed from there, whole; opened anew at each attempt.
    Streamed(Source<'a>),
}

impl Content<'_> {
    fn is_told(&self) -> bool {
        matches!(self, Self::Held(held, _) if held.is_told())
    }
}

/// An object where the effect wanted it.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub etag: String,
    pub size: u64,
    pub version: Option<String>,
    /// `<algorithm>:<digest>` of the content as sent (see `Digests::told`); empty where it wasn't seen.
    pub digest: String,
    pub notes: Vec<String>,
}

impl Placed {
    /// One that an earlier attempt left.
    pub fn found(head: Head, digest: String) -> Self {
        Self { etag: head.etag, size: head.size, version: head.version, digest, notes: Vec::new() }
    }
}

impl Sink<'_> {
    fn label(&self) -> String {
        format!("{}/{}", self.bucket, self.key)
    }

    /// Whether what HEAD finds is what the write expects there.
    pub fn admits(&self, found: Option<&Head>) -> bool {
        match (self.replaces, found) {
            (Replaces::Nothing, None) => true,
            (Replaces::Object { etag }, Some(head)) => head.etag == *etag,
            _ => false,
        }
    }

    /// The conflict of finding something else there.
    pub fn conflict(&self, found: Option<&Head>) -> Error {
        let what = match (self.replaces, found) {
            (_, None) => "is gone, though it was to be overwritten".to_owned(),
            (Replaces::Nothing, Some(head)) => {
                format!("is already there ({} bytes, ETag {})", head.size, head.etag)
            }
            (Replaces::Object { etag }, Some(head)) => {
                format!("has changed: its ETag is {}, and {etag} was to be overwritten", head.etag)
            }
        };
        Error::conflict(format!("connection `{}`: {} {what}", self.store.endpoint.name, self.label()))
            .code(TAKEN)
            .hint("find out who writes to the target; then move the object away, or start a new run")
    }

    /// Asks HEAD: `None` when the write may go ahead, the object when it is there already as an earlier attempt of
    /// this effect left it, a conflict otherwise.
    pub async fn look(&self, content: Option<Content<'_>>) -> Result<Option<Head>> {
        let found = self.store.head(self.bucket, self.key).await?;
        if self.admits(found.as_ref()) {
            return Ok(None);
        }
        match (found, content) {
            (Some(head), Some(content)) if self.holds(&head, content).await? => Ok(Some(head)),
            (found, _) => Err(self.conflict(found.as_ref())),
        }
    }

    /// Whether the object there has this content.
    async fn holds(&self, head: &Head, content: Content<'_>) -> Result<bool> {
        let here = Source {
            store: self.store,
            bucket: self.bucket,
            key: self.key,
            version: None,
            size: head.size,
            etag: &head.etag,
        };
        let speaks = self.store.endpoint.vendor.md5_etags && is_md5(&head.etag);
        match content {
            Content::Held(held, _) => {
                if head.size != held.len() {
                    return Ok(false);
                }
                // What tells otherwise may be wrong; the content decides.
                if head.checksums.iter().any(|told| told == held.crc64()) {
                    return Ok(true);
                }
                let md5 = held.told().unwrap_or_else(|| held.own_md5());
                if speaks && head.etag == hex(&md5) {
                    return Ok(true);
                }
                Ok(here.digests(Wanted::SHA256).await?.sha256 == Some(held.sha256()))
            }
            Content::Streamed(source) => {
                if head.size != source.size {
                    return Ok(false);
                }
                if speaks
                    && source.store.endpoint.vendor.md5_etags
                    && is_md5(source.etag)
                    && head.etag == source.etag
                {
                    return Ok(true);
                }
                Ok(here.digests(Wanted::SHA256).await? == source.digests(Wanted::SHA256).await?)
            }
        }
    }

    /// Puts the content there. `maybe_ours` says that an earlier attempt of this effect may have done so.
    pub async fn put(&self, content: Content<'_>, mut maybe_ours: bool) -> Result<Placed> {
        let mut attempt = 0;
        loop {
            match self.put_once(content, maybe_ours).await {
                Ok(placed) => return Ok(placed),
                // The digest may be wrong, not the bytes: the caller looks into that first.
                Err(error) if is_bad_digest(&error) && content.is_told() => return Err(error),
                Err(error) if error.is_retryable() && !is_last(attempt) => {
                    // The request may have arrived although no answer came.
                    maybe_ours = true;
                    pause(attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn put_once(&self, content: Content<'_>, maybe_ours: bool) -> Result<Placed> {
        let beliefs = &self.store.beliefs;
        let mut belief = beliefs.conditions();
        let ours = maybe_ours.then_some(content);
        loop {
            // Asked first in any case: an overwrite, since what it destroys is worth a round trip, and a streamed body,
            // which is mostly sent in vain before a refusal is read.
            let asks =
                matches!(self.replaces, Replaces::Object { .. }) || matches!(content, Content::Streamed(_));
            let free = !maybe_ours
                && *self.replaces == Replaces::Nothing
                && self.store.sights.is_free(self.bucket, self.key);
            if (belief != Belief::Honoured || asks)
                && !free
                && let Some(head) = self.look(ours).await?
            {
                return Ok(Placed::found(head, digest_of(content)));
            }
            // The source is opened apart, so that its refusals are not taken for the sink's.
            let streaming = match content {
                Content::Held(..) => None,
                Content::Streamed(source) => {
                    // Nothing but the ETag of the answer may tell what has arrived.
                    let wanted = Wanted { md5: true, ..Wanted::default() };
                    let mut streaming = patiently(|_| source.stream(None, wanted)).await?;
                    streaming.kept = self.dressed(streaming.kept, &source, true).await?;
                    Some(streaming)
                }
            };
            let tagged = match (&content, &streaming) {
                (Content::Held(_, kept), _) => kept.has_tags(),
                (_, streaming) => streaming.as_ref().is_some_and(|streaming| streaming.kept.has_tags()),
            };
            self.store.sights.wrote(self.bucket, self.key);
            let claim = match content {
                Content::Held(held, _) => Some(Claim::of_object(self.store, held)),
                Content::Streamed(_) => None,
            };
            match self.send(content, streaming, claim.as_ref(), belief != Belief::Ignored).await {
                Ok((written, sent, kept)) => {
                    let checked = claim.as_ref().is_some_and(Claim::is_checked);
                    let note = confirm(self.store, &self.label(), &written, &sent, checked)?;
                    if let Some(claim) = &claim {
                        claim.heed(self.store, &written);
                    }
                    let mut placed = Placed {
                        etag: written.etag,
                        size: sent.len,
                        version: written.version,
                        digest: sent.told(),
                        notes: note.into_iter().chain(kept.notes()).collect(),
                    };
                    if kept.has_tags() && beliefs.refuses_tags() {
                        placed.notes.push("the store takes no tags: they are not carried over".to_owned());
                    }
                    if placed.etag.is_empty() {
                        let head = self.store.head(self.bucket, self.key).await?;
                        placed.etag = head.ok_or_else(|| self.conflict(None))?.etag;
                    }
                    if belief == Belief::Unknown {
                        self.probe(content, &mut placed).await;
                    }
                    return Ok(placed);
                }
                // The store knows no such checksum.
                Err(error) if claim.as_ref().is_some_and(|claim| claim.heed_refusal(self.store, &error)) => {}
                // The store has no tags.
                Err(error) if fault::is_not_implemented(&error) && tagged && !beliefs.refuses_tags() => {
                    beliefs.refuses_tags.store(true, Ordering::Relaxed);
                }
                // The store has no such condition.
                Err(error) if belief != Belief::Ignored && fault::is_not_implemented(&error) => {
                    beliefs.learn(Belief::Ignored);
                    belief = Belief::Ignored;
                }
                Err(error) if error.kind == ErrorKind::Conflict => {
                    return match self.look(ours).await? {
                        Some(head) => Ok(Placed::found(head, digest_of(content))),
                        // What stood in the way is gone again: another writer is at work.
                        None => Err(Error::unavailable(error.message)),
                    };
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn send(
        &self,
        content: Content<'_>,
        streaming: Option<Streaming>,
        claim: Option<&Claim>,
        conditional: bool,
    ) -> Result<(Written, Digests, Kept)> {
        let mut condition = HeaderMap::new();
        match self.replaces {
            _ if !conditional => {}
            Replaces::Nothing => _ = condition.insert(http::header::IF_NONE_MATCH, ascii("*")?),
            Replaces::Object { etag } => {
                condition.insert(http::header::IF_MATCH, ascii(&format!("\"{etag}\""))?);
            }
        }
        if let Some(streaming) = streaming {
            self.add_kept(&streaming.kept, &mut condition);
            if let Some(md5) = streaming.md5 {
                condition.insert("content-md5", ascii(&BASE64.encode(md5))?);
            }
            let payload = Payload::Streamed { body: streaming.body, len: streaming.len };
            let written =
                self.store.put(self.bucket, self.key, Vec::new(), condition, payload, Turn::Rides).await;
            // Where the source broke, that is the cause, whatever the sink made of it.
            let digests = Streaming::end_of(&streaming.end)?;
            let written = written?;
            let digests = digests.ok_or_else(|| {
                Error::unavailable(format!("{} was confirmed before all of it was sent", self.label()))
            })?;
            return Ok((written, digests, streaming.kept));
        }
        let (Content::Held(held, kept), Some(claim)) = (content, claim) else {
            return Err(Error::host(format!("{}: no body to send", self.label())));
        };
        self.add_kept(kept, &mut condition);
        claim.add_to(&mut condition)?;
        let payload = claim.payload(held);
        let written =
            self.store.put(self.bucket, self.key, Vec::new(), condition, payload, Turn::Waits).await?;
        Ok((written, claim.digests(), kept.clone()))
    }

    fn add_kept(&self, kept: &Kept, headers: &mut HeaderMap) {
        headers.extend(kept.headers());
        if self.store.beliefs.refuses_tags() {
            headers.remove(TAGGING);
        }
    }

    /// Finds out whether `If-None-Match: *` is honoured, by an object that this effect has just made.
    async fn probe(&self, content: Content<'_>, placed: &mut Placed) {
        let Content::Held(held, kept) = content else { return };
        if *self.replaces != Replaces::Nothing || held.len() > PROBE_LIMIT {
            return;
        }
        let Ok(_turn) = self.store.beliefs.probing.try_lock() else { return };
        if self.store.beliefs.conditions() != Belief::Unknown {
            return;
        }
        let claim = Claim::of_object(self.store, held);
        let again = async || self.send(Content::Held(held, kept), None, Some(&claim), true).await;
        let mut answer = again().await;
        // R2 and Google take about one write of a key in a second ("Limits", "Quotas and limits").
        if answer.as_ref().is_err_and(Error::is_retryable) {
            tokio::time::sleep(ONE_KEY_PAUSE).await;
            answer = again().await;
        }
        match answer {
            Err(error) if error.kind == ErrorKind::Conflict => self.store.beliefs.learn(Belief::Honoured),
            Ok((again, _, _)) => {
                tracing::info!(connection = %self.store.endpoint.name, "the store ignores If-None-Match: HEAD asks first");
                self.store.beliefs.learn(Belief::Ignored);
                // Where versions are kept there is one too many now. A store that only claims versions takes no notice of
                // the one that a DELETE names, and would delete the object.
                if let (Some(first), true) = (&placed.version, again.version.is_some())
                    && again.version != placed.version
                    && self.store.keeps_versions(self.bucket).await.unwrap_or(false)
                    && let Err(error) = self.store.delete(self.bucket, self.key, Some(first)).await
                {
                    placed.notes.push(format!("a spare version {first} could not be deleted: {error}"));
                }
                placed.version = again.version;
                if !again.etag.is_empty() {
                    placed.etag = again.etag;
                }
            }
            // Nothing learnt; the next small object tries again.
            Err(error) => tracing::debug!(%error, "the probe of conditions failed"),
        }
    }
}

/// Whether the store says that what arrived has another digest than was sent with it (S3 API, "List of error codes").
pub(crate) fn is_bad_digest(error: &Error) -> bool {
    matches!(error.code.as_deref(), Some("BadDigest" | "InvalidDigest"))
}

/// Whether the store confirmed another content by its ETag.
pub(crate) fn is_odd_etag(error: &Error) -> bool {
    error.code.as_deref() == Some(ODD_ETAG)
}

fn digest_of(content: Content<'_>) -> String {
    match content {
        Content::Held(held, _) => format!("sha256:{}", hex(&held.sha256())),
        Content::Streamed(_) => String::new(),
    }
}

/// Compares what was answered with what was sent: checksums, and the ETag, where the vendor's ETags mean that. `checked`
/// says that the request carried a digest of its own; without one, a note says where nothing could be compared.
pub(crate) fn confirm(
    store: &Store,
    label: &str,
    written: &Written,
    sent: &Digests,
    checked: bool,
) -> Result<Option<String>> {
    let other = |what: &str, told: &str, right: &str| {
        Error::failed(format!(
            "connection `{}`: {label}: the store confirmed other content than was sent ({what} {told}, not {right})",
            store.endpoint.name
        ))
        .code(ODD_ETAG)
        .hint("resume the run; if it happens again, the store or something in front of it alters content")
    };
    let mut compared = checked;
    for told in &written.checksums {
        let Some(same) = sent.fits(told) else { continue };
        if !same {
            return Err(other(told.algorithm.name(), &told.value, &sent.told()));
        }
        compared = true;
    }
    let md5 =
        sent.md5.filter(|_| !written.opaque_etag && store.endpoint.vendor.md5_etags && is_md5(&written.etag));
    let Some(md5) = md5 else {
        return Ok((!compared).then(|| {
            format!("{label}: the store gave no digest to compare; only the length is known to be right")
        }));
    };
    let md5 = hex(&md5);
    match written.etag.eq_ignore_ascii_case(&md5) {
        true => Ok(None),
        false => Err(other("ETag", &written.etag, &md5)),
    }
}
