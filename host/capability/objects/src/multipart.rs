//! Copying one object in parts: begun, cut off and taken up again without sending twice what has arrived.
//!
//! The journal has, in this order: the ranges, this machine's time before the upload is begun (`opening`), its id
//! (`upload`), and each part's ETag and CRC. A resumed copy asks ListParts which of its parts are there. Where the
//! upload is gone, it was either joined, with the answer lost, or given up; the object at the key tells which.

use crate::checksum::{Algorithm, Checksum, joined};
use crate::claim::Put;
use crate::copy::Copy;
use crate::fault::{is_not_implemented, is_refused_argument};
use crate::guarded::{Belief, Placed, confirm};
use crate::http::Turn;
use crate::kept::Kept;
use crate::source::{Held, Source, Streaming, Wanted, is_md5, unhex};
use crate::store::{Head, Payload, Written, is_last, patiently, pause};
use futures::StreamExt as _;
use godwit_model::capability::Part;
use godwit_model::effect::Replaces;
use godwit_model::ids::hex;
use godwit_model::{Error, ErrorKind, Json, Result};
use http::HeaderMap;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use serde_json::json;

const OPENING: &str = "opening";
const UPLOAD: &str = "upload";

/// A multipart copy under way.
pub(crate) struct Upload<'a> {
    pub copy: &'a Copy<'a>,
    /// The store copies each part by itself: the object stays within it.
    pub within: bool,
}

/// What `upload` notes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Noted {
    id: String,
    /// Bytes of all parts but the last.
    part: u64,
    /// The sink makes a CRC-64/NVME of the whole object, and compares it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    crc: bool,
}

/// A part's range: first and last byte.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Span {
    first: u64,
    last: u64,
}

/// A part that has arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Arrived {
    etag: String,
    /// Of the algorithm in which the source tells one of the whole object, else CRC-64/NVME. `None` for what the store
    /// copied by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc: Option<Checksum>,
}

/// Parts sent one after the other, as they come.
#[derive(Default)]
pub(crate) struct Sequence {
    upload: Option<Noted>,
    arrived: Vec<Arrived>,
    size: u64,
}

impl Sequence {
    pub fn begun(&self) -> bool {
        self.upload.is_some()
    }
}

impl Upload<'_> {
    /// Copies the object in parts.
    pub async fn run(&self, maybe_ours: bool) -> Result<Placed> {
        match self.parts(maybe_ours).await {
            // What may pass is resumed; what will not would leave parts behind that somebody pays for.
            Err(error) if !error.is_retryable() => {
                if let Err(also) = self.give_up_former().await {
                    return Err(error.hint(format!("open uploads could not be given up: {also}")));
                }
                Err(error)
            }
            other => other,
        }
    }

    async fn parts(&self, maybe_ours: bool) -> Result<Placed> {
        let copy = self.copy;
        let size = copy.action.size;
        let noted = if maybe_ours { self.noted().await? } else { None };
        let sent = match &noted {
            Some(noted) => self.still_there(noted).await?,
            None => None,
        };
        // What was joined needs nothing of the source any more, whatever has become of that.
        if let (Some(noted), None) = (&noted, &sent)
            && let Some(head) = copy.to.head(copy.sink().bucket, copy.sink().key).await?
            && self.is_joined(noted, &head).await?
        {
            let arrived = self.all_arrived().await?.unwrap_or_default();
            return Ok(Placed::found(head, digest(&arrived, noted.part, size)));
        }
        let kept = self.source_head().await?;
        match (&noted, sent) {
            (Some(noted), Some(sent)) => return self.send_and_join(noted, sent, &kept).await,
            (Some(_), None) => {
                copy.ledger.reset_parts().await?;
                copy.ledger.set(UPLOAD, Json::Null).await?;
            }
            (None, _) if maybe_ours => self.give_up_former().await?,
            (None, _) => {}
        }
        copy.sink().look(None).await?;
        let part = match self.within {
            true => copy.sizes.within_part_of(size),
            false => copy.sizes.part_of(size),
        };
        if copy.ledger.parts().await?.is_empty() {
            let ranges = (0..size.div_ceil(part))
                .map(|index| json!({ "first": index * part, "last": ((index + 1) * part).min(size) - 1 }))
                .collect();
            copy.ledger.plan_parts(ranges).await?;
        }
        let noted = self.begin(&kept, part).await?;
        self.send_and_join(&noted, Vec::new(), &kept).await
    }

    /// The source's headers, from the object that was listed and no other.
    async fn source_head(&self) -> Result<Kept> {
        let source = self.copy.source();
        let head = source.store.head(source.bucket, source.key).await?;
        match head {
            Some(head) if head.etag == source.etag && head.size == source.size => {
                let told = head.checksums.into_iter().next();
                let mut kept = self.copy.sink().dressed(head.kept, &source, false).await?;
                kept.checksum = told;
                Ok(kept)
            }
            Some(head) => Err(Error::conflict(format!(
                "{} has changed since it was listed: {} bytes with ETag {} became {} bytes with ETag {}",
                self.copy.label(),
                source.size,
                source.etag,
                head.size,
                head.etag
            ))
            .hint("stop what writes to the source, then start a new run")),
            None => Err(Error::missing(format!("{} is gone since it was listed", self.copy.label()))),
        }
    }

    async fn noted(&self) -> Result<Option<Noted>> {
        let noted = self.copy.ledger.get(UPLOAD).await?.filter(|noted| !noted.is_null());
        noted
            .map(serde_json::from_value)
            .transpose()
            .map_err(|e| Error::host(format!("the journal's note of an upload can't be read: {e}")))
    }

    /// Begins an upload and notes its id. The time noted before tells a later attempt which uploads of this key are
    /// ours, should the id be lost.
    async fn begin(&self, kept: &Kept, part: u64) -> Result<Noted> {
        let (copy, sink) = (self.copy, self.copy.sink());
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs());
        copy.ledger.set(OPENING, json!({ "at": now })).await?;
        // A streamed part can't name its CRC before it is sent.
        let mut crc =
            !self.within && part <= copy.sizes.held && copy.to.beliefs.checksums() != Belief::Ignored;
        let mut attempt = 0;
        let id = loop {
            let wanted = crc.then_some(Algorithm::Crc64Nvme);
            match copy.to.create_upload(sink.bucket, sink.key, kept, wanted).await {
                Err(error) if error.is_retryable() && !is_last(attempt) => {
                    pause(attempt).await;
                    self.give_up_unknown().await?;
                    attempt += 1;
                }
                // The store knows no such checksum.
                Err(error) if crc && (is_not_implemented(&error) || is_refused_argument(&error)) => {
                    copy.to.beliefs.learn_checksums(Belief::Ignored);
                    crc = false;
                }
                other => break other?,
            }
        };
        let noted = Noted { id, part, crc };
        let json = serde_json::to_value(&noted)
            .map_err(|e| Error::host(format!("an upload can't be noted: {e}")))?;
        copy.ledger.set(UPLOAD, json).await?;
        Ok(noted)
    }

    /// Gives up what earlier attempts of this effect began.
    pub async fn give_up_former(&self) -> Result<()> {
        let (copy, sink) = (self.copy, self.copy.sink());
        if let Some(noted) = self.noted().await? {
            patiently(|_| copy.to.abort_upload(sink.bucket, sink.key, &noted.id)).await?;
            copy.ledger.reset_parts().await?;
            copy.ledger.set(UPLOAD, Json::Null).await?;
        }
        self.give_up_unknown().await
    }

    /// Gives up uploads of this key that were begun since this effect first tried: their ids were never noted.
    async fn give_up_unknown(&self) -> Result<()> {
        let (copy, sink) = (self.copy, self.copy.sink());
        let Some(opening) = copy.ledger.get(OPENING).await? else { return Ok(()) };
        let since = opening.get("at").and_then(Json::as_i64).unwrap_or(i64::MAX);
        for upload in copy.to.open_uploads(sink.bucket, sink.key).await? {
            if upload.initiated + CLOCKS_APART >= since {
                patiently(|_| copy.to.abort_upload(sink.bucket, sink.key, &upload.id)).await?;
            }
        }
        Ok(())
    }

    /// The parts of an upload that needn't be sent again; `None` when the upload is gone.
    async fn still_there(&self, noted: &Noted) -> Result<Option<Vec<(u32, Arrived)>>> {
        let (copy, sink) = (self.copy, self.copy.sink());
        let listed = match copy.to.list_parts(sink.bucket, sink.key, &noted.id).await {
            Err(error) if error.kind == ErrorKind::Missing => return Ok(None),
            other => other?,
        };
        let mut sent = Vec::new();
        for part in copy.ledger.parts().await? {
            let (span, Some(arrived)) = (span(&part)?, arrived(&part)?) else { continue };
            let there = listed.get(&number(part.index)?);
            if there.is_some_and(|(etag, size)| *etag == arrived.etag && *size == span.last - span.first + 1)
            {
                sent.push((part.index, arrived));
            }
        }
        Ok(Some(sent))
    }

    /// Every part as journalled; `None` while one is missing.
    async fn all_arrived(&self) -> Result<Option<Vec<Arrived>>> {
        self.copy.ledger.parts().await?.iter().map(arrived).collect::<Result<Option<Vec<_>>>>()
    }

    /// Whether the object there is the one that this upload's parts make.
    async fn is_joined(&self, noted: &Noted, head: &Head) -> Result<bool> {
        let Some(arrived) = self.all_arrived().await?.filter(|all| !all.is_empty()) else { return Ok(false) };
        self.is_made_of(&arrived, noted.part, self.copy.action.size, head).await
    }

    async fn is_made_of(&self, arrived: &[Arrived], part: u64, size: u64, head: &Head) -> Result<bool> {
        if head.size != size {
            return Ok(false);
        }
        if joined_etag(arrived).is_some_and(|etag| etag == head.etag) {
            return Ok(true);
        }
        let sink = self.copy.sink();
        let there = Source {
            store: sink.store,
            bucket: sink.bucket,
            key: sink.key,
            version: None,
            size,
            etag: &head.etag,
        };
        if self.within {
            let source = self.copy.source();
            let both = (there.digests(Wanted::SHA256), source.digests(Wanted::SHA256));
            let (there, here) = futures::future::try_join(both.0, both.1).await?;
            return Ok(there == here);
        }
        let Some(crc) = joined_crc(arrived, part, size) else { return Ok(false) };
        if head.checksums.contains(&crc) {
            return Ok(true);
        }
        let wanted = Wanted { crc: Some(crc.algorithm), ..Wanted::default() };
        Ok(there.digests(wanted).await?.crc == Some(crc))
    }

    async fn send_and_join(&self, noted: &Noted, sent: Vec<(u32, Arrived)>, kept: &Kept) -> Result<Placed> {
        let copy = self.copy;
        // The source's CRC of the whole object; a SHA-256 can't be put together from those of parts.
        let told = kept.checksum.clone().filter(|told| told.algorithm != Algorithm::Sha256 && !self.within);
        let told = told.filter(|told| !noted.crc || told.algorithm == Algorithm::Crc64Nvme);
        let crc = match &told {
            Some(told) if !noted.crc => told.algorithm,
            _ => Algorithm::Crc64Nvme,
        };
        let parts = copy.ledger.parts().await?;
        let due: Vec<&Part> =
            parts.iter().filter(|part| sent.iter().all(|(index, _)| *index != part.index)).collect();
        let mut all = sent;
        let due: Vec<_> = due.into_iter().map(|part| self.send_part(noted, part, crc)).collect();
        let mut sending = futures::stream::iter(due).buffer_unordered(copy.sizes.parts_at_once.max(1));
        while let Some(result) = sending.next().await {
            all.push(result?);
        }
        drop(sending);
        all.sort_by_key(|(index, _)| *index);
        let arrived: Vec<Arrived> = all.into_iter().map(|(_, arrived)| arrived).collect();
        if let Some(told) = told {
            self.compare_with_source(&told, &parts, &arrived)?;
        }
        self.join(noted, &arrived, copy.action.size, kept).await
    }

    /// What was read, put together, has to be what the source tells of the whole object.
    fn compare_with_source(&self, told: &Checksum, parts: &[Part], arrived: &[Arrived]) -> Result<()> {
        let mut read = Vec::with_capacity(parts.len());
        for (part, arrived) in parts.iter().zip(arrived) {
            let span = span(part)?;
            // A part that an older attempt sent may lack it.
            let Some(crc) = &arrived.crc else { return Ok(()) };
            read.push((crc.clone(), span.last - span.first + 1));
        }
        match joined(&read) {
            Some(sum) if sum.algorithm == told.algorithm && sum.value != told.value => Err(Error::failed(
                format!(
                    "{}: what was read hasn't the {} that the source tells ({}, not {})",
                    self.copy.label(),
                    told.algorithm.name(),
                    sum.value,
                    told.value
                ),
            )
            .code("Checksum")
            .hint("start a new run; if it happens again, the object is damaged at the source or on the way")),
            _ => Ok(()),
        }
    }

    /// Sends one part and journals that it arrived.
    async fn send_part(&self, noted: &Noted, part: &Part, crc: Algorithm) -> Result<(u32, Arrived)> {
        let copy = self.copy;
        let span = span(part)?;
        let range = Some((span.first, span.last));
        let len = span.last - span.first + 1;
        let arrived = if self.within {
            self.copy_part(noted, part.index, (span.first, span.last)).await?
        } else if len <= copy.sizes.held {
            let _room = copy.memory.take(len).await;
            let (held, _) = copy.source().hold(range).await?;
            self.put_held(noted, number(part.index)?, &held, crc).await?
        } else {
            let (sink, number) = (copy.sink(), number(part.index)?);
            patiently(|_| async {
                // Nothing but the ETag of the answer may tell what has arrived.
                let wanted = Wanted { md5: true, sha256: false, crc: Some(crc) };
                let streaming = copy.source().stream(range, wanted).await?;
                let payload = Payload::Streamed { body: streaming.body, len: streaming.len };
                let query = vec![("partNumber", number.to_string()), ("uploadId", noted.id.clone())];
                let headers = HeaderMap::new();
                let answer = copy.to.put(sink.bucket, sink.key, query, headers, payload, Turn::Rides).await;
                // Where the source broke, that is the cause, whatever the sink made of it.
                let digests = Streaming::end_of(&streaming.end)?;
                let written = answer?;
                let label = self.part_label();
                let digests = digests.ok_or_else(|| Error::unavailable(format!("{label} was cut short")))?;
                confirm(copy.to, &label, &written, &digests, false)?;
                self.arrived_as(written, digests.crc)
            })
            .await?
        };
        let outcome =
            serde_json::to_value(&arrived).map_err(|e| Error::host(format!("a part can't be noted: {e}")))?;
        copy.ledger.finish_part(part.index, outcome).await?;
        copy.moved(len);
        Ok((part.index, arrived))
    }

    /// One part by the store itself. Its ETag is the MD5 of the part, where the vendor's are.
    async fn copy_part(&self, noted: &Noted, index: u32, range: (u64, u64)) -> Result<Arrived> {
        let (source, sink) = (self.copy.source(), self.copy.sink());
        let number = number(index)?;
        let etag = patiently(|_| {
            self.copy.to.copy_part_within(
                (source.bucket, source.key),
                source.etag,
                range,
                (sink.bucket, sink.key),
                &noted.id,
                number,
            )
        })
        .await?;
        if etag.is_empty() {
            return Err(Error::failed(format!("a part of {} was copied without an ETag", self.copy.label())));
        }
        Ok(Arrived { etag, crc: None })
    }

    async fn put_held(&self, noted: &Noted, number: i32, held: &Held, crc: Algorithm) -> Result<Arrived> {
        let (sink, label) = (self.copy.sink(), self.part_label());
        let put = Put { store: self.copy.to, bucket: sink.bucket, key: sink.key, label: &label, held };
        let (written, _) = patiently(|_| put.part(&noted.id, number, noted.crc)).await?;
        self.arrived_as(written, held.crc(crc))
    }

    fn part_label(&self) -> String {
        format!("a part of {}", self.copy.label())
    }

    fn arrived_as(&self, written: Written, crc: Option<Checksum>) -> Result<Arrived> {
        if written.etag.is_empty() {
            return Err(Error::failed(format!("{} was taken without an ETag", self.part_label())));
        }
        Ok(Arrived { etag: written.etag, crc })
    }

    /// Joins the parts. Where the answer is lost, HEAD decides.
    async fn join(&self, noted: &Noted, arrived: &[Arrived], size: u64, kept: &Kept) -> Result<Placed> {
        let (copy, sink) = (self.copy, self.copy.sink());
        let (upload, part) = (noted.id.as_str(), noted.part);
        let crc = joined_crc(arrived, part, size)
            .filter(|_| noted.crc && copy.to.beliefs.checksums() == Belief::Honoured);
        // Large objects take a while: what was free at the start may be taken by now.
        if let Some(found) = copy.to.head(sink.bucket, sink.key).await?
            && !sink.admits(Some(&found))
        {
            return if self.is_made_of(arrived, part, size, &found).await? {
                Ok(Placed::found(found, digest(arrived, part, size)))
            } else {
                Err(sink.conflict(Some(&found)))
            };
        }
        let numbered = arrived
            .iter()
            .enumerate()
            .map(|(index, arrived)| Ok((number(index as u32)?, arrived.etag.clone())))
            .collect::<Result<Vec<_>>>()?;
        let conditional = copy.to.endpoint.vendor.conditional_complete
            && copy.to.beliefs.conditions() != Belief::Ignored
            && copy.action.replaces == Replaces::Nothing;
        let mut attempt = 0;
        loop {
            let crc = crc.as_ref().map(|crc| crc.value.as_str());
            let answer =
                copy.to.complete_upload(sink.bucket, sink.key, upload, &numbered, crc, conditional).await;
            let error = answer.err();
            let head = copy.to.head(sink.bucket, sink.key).await?;
            let made = match &head {
                Some(head) => self.is_made_of(arrived, part, size, head).await?,
                None => false,
            };
            match (head, error) {
                (Some(head), _) if made => {
                    let mut placed = Placed::found(head, digest(arrived, part, size));
                    placed.notes.extend(kept.notes());
                    return Ok(placed);
                }
                (Some(head), None) => return Err(self.differs(&head)),
                (None, None) => {
                    return Err(Error::unavailable(format!(
                        "{}/{} was joined, but isn't there yet",
                        sink.bucket, sink.key
                    )));
                }
                (head, Some(error)) if error.kind == ErrorKind::Conflict => {
                    return Err(head.map_or(error, |head| sink.conflict(Some(&head))));
                }
                (_, Some(error)) if error.is_retryable() && !is_last(attempt) => {
                    pause(attempt).await;
                    attempt += 1;
                }
                // Gone without an object: given up by a lifecycle rule, or by a person. Begun anew when resumed.
                (_, Some(error)) if error.kind == ErrorKind::Missing => {
                    copy.ledger.reset_parts().await?;
                    copy.ledger.set(UPLOAD, Json::Null).await?;
                    return Err(Error::unavailable(format!(
                        "the upload of {} is gone: {error}",
                        copy.label()
                    )));
                }
                (_, Some(error)) => return Err(error),
            }
        }
    }

    fn differs(&self, head: &Head) -> Error {
        let sink = self.copy.sink();
        Error::failed(format!(
            "connection `{}`: {}/{} is not what was sent: {} bytes, ETag {}",
            self.copy.to.endpoint.name, sink.bucket, sink.key, head.size, head.etag
        ))
        .code("ETag")
    }

    /// Sends the next part of a sequence, and begins its upload before the first one.
    pub async fn append(&self, sequence: &mut Sequence, held: Held, kept: &Kept) -> Result<()> {
        let noted = match &sequence.upload {
            Some(noted) => noted.clone(),
            None => {
                self.copy.sink().look(None).await?;
                let noted = self.begin(kept, held.len()).await?;
                sequence.upload.insert(noted).clone()
            }
        };
        let next = number(sequence.arrived.len() as u32)?;
        sequence.arrived.push(self.put_held(&noted, next, &held, Algorithm::Crc64Nvme).await?);
        sequence.size += held.len();
        Ok(())
    }

    /// Joins the parts of a sequence.
    pub async fn complete_sequence(&self, sequence: Sequence, kept: &Kept) -> Result<Placed> {
        let Some(noted) = &sequence.upload else {
            return Err(Error::host(format!("{}: nothing was sent", self.copy.label())));
        };
        self.join(noted, &sequence.arrived, sequence.size, kept).await
    }
}

/// How far the store's clock may be from ours, in seconds.
const CLOCKS_APART: i64 = 300;

fn number(index: u32) -> Result<i32> {
    i32::try_from(index + 1).map_err(|_| Error::host("too many parts"))
}

fn span(part: &Part) -> Result<Span> {
    serde_json::from_value(part.range.clone())
        .map_err(|e| Error::host(format!("the journal's range of part {} can't be read: {e}", part.index)))
}

fn arrived(part: &Part) -> Result<Option<Arrived>> {
    part.outcome
        .clone()
        .map(serde_json::from_value)
        .transpose()
        .map_err(|e| Error::host(format!("the journal's note of part {} can't be read: {e}", part.index)))
}

/// The ETag of an object that AWS, R2 and MinIO join from these parts: the MD5 of the parts' MD5s, which are their ETags,
/// and their number.
fn joined_etag(arrived: &[Arrived]) -> Option<String> {
    let mut fold = Md5::new();
    for part in arrived {
        fold.update(unhex(&part.etag).filter(|_| is_md5(&part.etag))?);
    }
    Some(format!("{}-{}", hex(&fold.finalize()), arrived.len()))
}

/// The CRC of the object that these parts make, all of one size but the last; `None` where one lacks its own.
fn joined_crc(arrived: &[Arrived], part: u64, size: u64) -> Option<Checksum> {
    let parts: Option<Vec<_>> = arrived
        .iter()
        .enumerate()
        .map(|(index, arrived)| {
            Some((arrived.crc.clone()?, part.min(size.checked_sub(index as u64 * part)?)))
        })
        .collect();
    joined(&parts?)
}

/// `<algorithm>:<value>` of the CRC; empty for what a store copied by itself, which was never seen.
fn digest(arrived: &[Arrived], part: u64, size: u64) -> String {
    joined_crc(arrived, part, size)
        .map(|crc| format!("{}:{}", crc.algorithm.name(), crc.value))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_joined_etag_is_that_of_the_parts() {
        let part = |text: &[u8]| {
            let held = Held::new(text.to_vec().into());
            Arrived { etag: hex(&held.own_md5()), crc: Some(held.crc64().clone()) }
        };
        let expected = hex(&Md5::digest([Md5::digest(b"a"), Md5::digest(b"b")].concat()));
        assert_eq!(joined_etag(&[part(b"a"), part(b"b")]).unwrap(), format!("{expected}-2"));
        let whole = Held::new(b"ab".to_vec().into());
        assert_eq!(digest(&[part(b"a"), part(b"b")], 1, 2), format!("crc64nvme:{}", whole.crc64().value));
        assert_eq!(joined_etag(&[Arrived { etag: "odd".into(), crc: None }]), None);
    }
}
