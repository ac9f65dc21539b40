//! Sending parts: which are there already, the rest from source to sink, each journalled once it has arrived.

use futures::StreamExt as _;
use godwit_model::capability::Part;
use godwit_model::{Error, ErrorKind, Result};
use http::HeaderMap;

use super::arrived::{Arrived, arrived, number, span};
use super::{Noted, Upload};
use crate::checksum::{Algorithm, Checksum, joined};
use crate::claim::Put;
use crate::guarded::{Placed, confirm};
use crate::http::Turn;
use crate::kept::Kept;
use crate::patience;
use crate::source::{Held, Streaming, Wanted};
use crate::store::{Payload, Written, patiently};

/// Parts sent one after the other, as they come.
#[derive(Default)]
pub(crate) struct Sequence {
    pub(super) upload: Option<Noted>,
    pub(super) arrived: Vec<Arrived>,
    pub(super) size: u64,
}

impl Sequence {
    pub fn begun(&self) -> bool {
        self.upload.is_some()
    }
}

impl Upload<'_> {
    /// The parts of an upload that needn't be sent again; `None` when the upload is gone.
    pub(super) async fn still_there(&self, noted: &Noted) -> Result<Option<Vec<(u32, Arrived)>>> {
        let (copy, sink) = (self.copy, self.copy.sink());
        let listed = match copy.to.list_parts(sink.bucket, sink.key, &noted.id).await {
            Err(error) if error.kind == ErrorKind::Missing => return Ok(None),
            other => other?,
        };
        let mut sent = Vec::new();
        for part in copy.ledger.parts().await? {
            let (span, Some(arrived)) = (span(&part)?, arrived(&part)?) else { continue };
            let there = listed.get(&number(part.index)?);
            if there.is_some_and(|(etag, size)| *etag == arrived.etag && *size == span.len()) {
                sent.push((part.index, arrived));
            }
        }
        Ok(Some(sent))
    }

    /// Every part as journalled; `None` while one is missing.
    pub(super) async fn all_arrived(&self) -> Result<Option<Vec<Arrived>>> {
        self.copy.ledger.parts().await?.iter().map(arrived).collect::<Result<Option<Vec<_>>>>()
    }

    /// Sends what is missing, and joins.
    pub(super) async fn send_and_join(
        &self,
        noted: &Noted,
        sent: Vec<(u32, Arrived)>,
        kept: &Kept,
    ) -> Result<Placed> {
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
            read.push((crc.clone(), span.len()));
        }
        match joined(&read) {
            Some(sum) if sum.algorithm == told.algorithm => sum.must_be(told, &self.copy.label()),
            _ => Ok(()),
        }
    }

    /// Sends one part and journals that it arrived.
    async fn send_part(&self, noted: &Noted, part: &Part, crc: Algorithm) -> Result<(u32, Arrived)> {
        let copy = self.copy;
        let span = span(part)?;
        let range = Some((span.first, span.last));
        let len = span.len();
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
                let unproven = confirm(copy.to, &label, &written, &digests, false)?;
                self.arrived_as(written, digests.crc, unproven.is_some())
            })
            .await?
        };
        let outcome =
            serde_json::to_value(&arrived).map_err(|e| Error::host(format!("a part can't be noted: {e}")))?;
        copy.ledger.finish_part(part.index, outcome).await?;
        patience::arrived();
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
        Ok(Arrived { etag, crc: None, unproven: false })
    }

    async fn put_held(&self, noted: &Noted, number: i32, held: &Held, crc: Algorithm) -> Result<Arrived> {
        let (sink, label) = (self.copy.sink(), self.part_label());
        let put = Put { store: self.copy.to, bucket: sink.bucket, key: sink.key, label: &label, held };
        let (written, unproven) = patiently(|_| put.part(&noted.id, number, noted.crc)).await?;
        self.arrived_as(written, held.crc(crc), unproven.is_some())
    }

    fn part_label(&self) -> String {
        format!("a part of {}", self.copy.label())
    }

    fn arrived_as(&self, written: Written, crc: Option<Checksum>, unproven: bool) -> Result<Arrived> {
        if written.etag.is_empty() {
            return Err(Error::failed(format!("{} was taken without an ETag", self.part_label())));
        }
        Ok(Arrived { etag: written.etag, crc, unproven })
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
}
