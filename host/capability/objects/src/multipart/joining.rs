//! Joining the parts: once, with the answer perhaps lost, and never over what somebody else has put there meanwhile.

use godwit_model::effect::Replaces;
use godwit_model::{Error, ErrorKind, Json, Result};

use super::arrived::{Arrived, digest, joined_crc, joined_etag, number};
use super::sending::Sequence;
use super::{Noted, UPLOAD, Upload};
use crate::fault::is_concurrent_write;
use crate::guarded::{Belief, Placed};
use crate::kept::Kept;
use crate::source::{Source, Wanted};
use crate::store::{Head, is_last, pause};

impl Upload<'_> {
    /// Whether the object there is the one that this upload's parts make.
    pub(super) async fn is_joined(&self, noted: &Noted, head: &Head) -> Result<bool> {
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

    /// Joins the parts. Where the answer is lost, HEAD decides.
    pub(super) async fn join(
        &self,
        noted: &Noted,
        arrived: &[Arrived],
        size: u64,
        kept: &Kept,
    ) -> Result<Placed> {
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
                    let unproven = self.unproven(arrived, part, size, &head);
                    let mut placed = Placed::found(head, digest(arrived, part, size));
                    placed.notes.extend(kept.notes().into_iter().chain(unproven));
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
                // API reference, CompleteMultipartUpload, `If-None-Match`: after a write at the same time, all parts are to be
                // uploaded again.
                (_, Some(error)) if is_concurrent_write(&error) => {
                    self.give_up_former().await?;
                    return Err(Error::unavailable(format!(
                        "the upload of {} has to be begun anew: {error}",
                        copy.label()
                    )));
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

    /// What is to be said of parts that nothing has proven: the joined ETag is that of whatever arrived.
    fn unproven(&self, arrived: &[Arrived], part: u64, size: u64, head: &Head) -> Option<String> {
        let count = arrived.iter().filter(|arrived| arrived.unproven).count();
        let proven = joined_crc(arrived, part, size).is_some_and(|crc| head.checksums.contains(&crc));
        (count > 0 && !proven).then(|| {
            format!(
                "{}: the store gave no digest to compare of {count} of {} parts; only their lengths are known to be right",
                self.copy.label(),
                arrived.len()
            )
        })
    }

    fn differs(&self, head: &Head) -> Error {
        let sink = self.copy.sink();
        Error::failed(format!(
            "connection `{}`: {}/{} is not what was sent: {} bytes, ETag {}",
            self.copy.to.endpoint.name, sink.bucket, sink.key, head.size, head.etag
        ))
        .code("ETag")
    }

    /// Joins the parts of a sequence.
    pub async fn complete_sequence(&self, sequence: Sequence, kept: &Kept) -> Result<Placed> {
        let Some(noted) = &sequence.upload else {
            return Err(Error::host(format!("{}: nothing was sent", self.copy.label())));
        };
        self.join(noted, &sequence.arrived, sequence.size, kept).await
    }
}
