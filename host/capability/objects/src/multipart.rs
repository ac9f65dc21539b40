//! Copying one object in parts: begun, cut off and taken up again without sending twice what has arrived.
//!
//! The journal has, in this order: the ranges, this machine's time before the upload is begun (`opening`), its id
//! (`upload`), and each part's ETag and CRC. A resumed copy asks ListParts which of its parts are there. Where the
//! upload is gone, it was either joined, with the answer lost, or given up; the object at the key tells which.
//!
//! Here is an upload's life; its parts are in `arrived` and `sending`, its end in `joining`.

mod arrived;
mod joining;
mod sending;

use godwit_model::{Error, Json, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) use self::sending::Sequence;

use self::arrived::digest;
use crate::checksum::Algorithm;
use crate::copy::Copy;
use crate::fault::{is_not_implemented, is_refused_argument};
use crate::guarded::{Belief, Placed};
use crate::kept::Kept;
use crate::store::{is_last, pause};

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
            copy.to.abort_upload(sink.bucket, sink.key, &noted.id).await?;
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
                copy.to.abort_upload(sink.bucket, sink.key, &upload.id).await?;
            }
        }
        Ok(())
    }
}

/// How far the store's clock may be from ours, in seconds.
const CLOCKS_APART: i64 = 300;
