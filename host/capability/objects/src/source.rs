//! Reading an object: whole, in ranges, held or streamed, and never anything but the object that was listed.

use std::sync::{Arc, Mutex, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use godwit_model::ids::hex;
use godwit_model::{Error, ErrorKind, Result};
use http_body_util::StreamBody;
use hyper::body::Frame;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::buffers::Buffers;
use crate::checksum::{self, Algorithm, Checksum, CrcFold};
use crate::http::{Body, BoxError, Reply};
use crate::kept::Kept;
use crate::store::{Store, bare, encrypted, patiently};

/// Which digests are folded: each costs a pass over the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub md5: bool,
    pub sha256: bool,
    pub crc: Option<Algorithm>,
}

impl Wanted {
    pub const SHA256: Self = Self { md5: false, sha256: true, crc: None };

    /// What it takes to compare with this.
    fn and(self, told: Option<&Checksum>) -> Self {
        match told.map(|told| told.algorithm) {
            None => self,
            Some(Algorithm::Sha256) => Self { sha256: true, ..self },
            Some(algorithm) => Self { crc: Some(algorithm), ..self },
        }
    }
}

/// Digests folded while bytes pass.
#[derive(Clone, Default)]
pub(crate) struct Fold {
    md5: Option<Md5>,
    sha256: Option<Sha256>,
    crc: Option<CrcFold>,
    len: u64,
}

/// What a fold came to: what was wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digests {
    pub md5: Option<[u8; 16]>,
    pub sha256: Option<[u8; 32]>,
    pub crc: Option<Checksum>,
    pub len: u64,
}

impl Fold {
    pub fn of(wanted: Wanted) -> Self {
        Self {
            md5: wanted.md5.then(Md5::new),
            sha256: wanted.sha256.then(Sha256::new),
            crc: wanted.crc.and_then(CrcFold::new),
            len: 0,
        }
    }

    pub fn push(&mut self, chunk: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(chunk);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(chunk);
        }
        if let Some(crc) = &mut self.crc {
            crc.push(chunk);
        }
        self.len += chunk.len() as u64;
    }

    pub fn finish(self) -> Digests {
        Digests {
            md5: self.md5.map(|md5| md5.finalize().into()),
            sha256: self.sha256.map(|sha256| sha256.finalize().into()),
            crc: self.crc.map(|crc| crc.finish()),
            len: self.len,
        }
    }
}

impl Digests {
    /// Empty where none was wanted.
    pub fn sha256_hex(&self) -> String {
        self.sha256.map(|sha256| hex(&sha256)).unwrap_or_default()
    }

    /// Whether this is the content that a checksum tells; `None` where nothing was folded to compare.
    pub fn fits(&self, told: &Checksum) -> Option<bool> {
        match (told.algorithm, &self.crc, self.sha256) {
            (Algorithm::Sha256, _, Some(sha256)) => Some(told.value == BASE64.encode(sha256)),
            (algorithm, Some(crc), _) if crc.algorithm == algorithm => Some(crc.value == told.value),
            _ => None,
        }
    }

    /// `<algorithm>:<digest>`, the strongest there is; a CRC in base64, the others in hexadecimal.
    pub fn told(&self) -> String {
        match (self.sha256, self.md5, &self.crc) {
            (Some(sha256), ..) => format!("sha256:{}", hex(&sha256)),
            (_, Some(md5), _) => format!("md5:{}", hex(&md5)),
            (.., Some(crc)) => format!("{}:{}", crc.algorithm.name(), crc.value),
            _ => String::new(),
        }
    }
}

/// Bytes in memory, with those of their digests that somebody asked for.
pub(crate) struct Held {
    pub bytes: Bytes,
    /// What the source says that the MD5 is. The sink compares it with what arrives, so that the source's word is checked
    /// at the far end, and here no MD5 is computed.
    told: Option<[u8; 16]>,
    md5: OnceLock<[u8; 16]>,
    sha256: OnceLock<[u8; 32]>,
    crc64: OnceLock<Checksum>,
    /// Where the memory goes afterwards.
    home: Option<Arc<Buffers>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            home.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

impl Held {
    pub fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            told: None,
            md5: OnceLock::new(),
            sha256: OnceLock::new(),
            crc64: OnceLock::new(),
            home: None,
        }
    }

    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The MD5 as the source tells it.
    pub fn told(&self) -> Option<[u8; 16]> {
        self.told
    }

    pub fn sha256(&self) -> [u8; 32] {
        *self.sha256.get_or_init(|| Sha256::digest(&self.bytes).into())
    }

    /// The CRC-64/NVME of these bytes.
    pub fn crc64(&self) -> &Checksum {
        self.crc64.get_or_init(|| CrcFold::crc64(&self.bytes))
    }

    /// A CRC of these bytes.
    pub fn crc(&self, algorithm: Algorithm) -> Option<Checksum> {
        if algorithm == Algorithm::Crc64Nvme {
            return Some(self.crc64().clone());
        }
        let mut fold = CrcFold::new(algorithm)?;
        fold.push(&self.bytes);
        Some(fold.finish())
    }

    /// Whether these bytes are what a checksum tells.
    fn fits(&self, told: &Checksum) -> bool {
        match self.crc(told.algorithm) {
            Some(crc) => crc == *told,
            None => told.value == BASE64.encode(self.sha256()),
        }
    }

    /// The MD5 of these bytes.
    pub fn own_md5(&self) -> [u8; 16] {
        *self.md5.get_or_init(|| Md5::digest(&self.bytes).into())
    }

    pub fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// Whether the source tells another MD5 than that of these bytes.
    pub fn is_mistold(&self) -> bool {
        self.told.is_some_and(|told| told != self.own_md5())
    }

    /// Believes the bytes instead of the source.
    pub fn distrust(&mut self) {
        self.told = None;
    }
}

/// First and last byte.
pub(crate) type Range = (u64, u64);

/// One object as it was listed.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub store: &'a Store,
    pub bucket: &'a str,
    pub key: &'a str,
    /// This version; `None` stands for the current one.
    pub version: Option<&'a str>,
    pub size: u64,
    pub etag: &'a str,
}

/// A streamed body on its way into another request.
pub(crate) struct Streaming {
    pub body: Body,
    pub len: u64,
    pub kept: Kept,
    /// As the source tells it.
    pub md5: Option<[u8; 16]>,
    pub end: Arc<Mutex<End>>,
}

/// How far a streamed body has come.
pub(crate) enum End {
    Open,
    Whole(Digests),
    Broken(Error),
}

impl Source<'_> {
    fn doing(&self) -> String {
        format!("GET {}/{}", self.bucket, self.key)
    }

    fn error(&self, make: impl Fn(String) -> Error, why: &str) -> Error {
        make(format!("connection `{}`: {}: {why}", self.store.endpoint.name, self.doing()))
    }

    fn changed(&self) -> Error {
        self.error(
            Error::conflict,
            &format!("the object is no longer the one that was listed (ETag {})", self.etag),
        )
        .hint("stop what writes to the source, then start a new run")
    }

    /// Begins to read, once, and makes sure that it is this object and this range that comes.
    pub async fn open(&self, range: Option<Range>) -> Result<(Reply, u64)> {
        let etag = (!self.etag.is_empty()).then_some(self.etag);
        let len = match range {
            Some((first, last)) => last - first + 1,
            None => self.size,
        };
        let announced =
            |reply: &Reply| reply.header("content-length").and_then(|text| text.parse::<u64>().ok());
        let get = async |encoding| match self
            .store
            .get(self.bucket, self.key, self.version, range, etag, encoding)
            .await
        {
            Err(error) if error.kind == ErrorKind::Conflict => Err(self.changed()),
            other => other,
        };
        // Something on the way decodes what is asked for as it is, or encodes what needn't be: the other word may help.
        let words = match self.store.endpoint.vendor.decodes_gzip {
            true => ["gzip", "identity"],
            false => ["identity", "gzip"],
        };
        let mut reply = get(words[0]).await?;
        if announced(&reply) != Some(len) {
            reply = get(words[1]).await?;
        }
        if let Some(seen) = reply.header("etag")
            && etag.is_some_and(|etag| bare(&seen) != etag)
        {
            return Err(self.changed());
        }
        if range.is_some() && reply.status != 206 {
            return Err(self.error(Error::failed, "the store ignored the range that was asked for"));
        }
        let coming = announced(&reply);
        let encoded = reply.header("content-encoding");
        if coming.is_some_and(|coming| coming != len) || (coming.is_none() && len > 0) {
            let why = match (coming, encoded) {
                (Some(coming), _) => format!("{coming} bytes come instead of {len}"),
                (None, Some(how)) => format!("a body of unknown length comes ({how}) instead of {len} bytes"),
                (None, None) => format!("a body of unknown length comes instead of {len} bytes"),
            };
            return Err(self.error(Error::failed, &why).code("Encoding").hint(
                "something in front of the store decodes or encodes contents on the way: reach the store without it",
            ));
        }
        Ok((reply, len))
    }

    /// Reads a range, or all, into memory. `range` must fit there.
    pub async fn hold(&self, range: Option<Range>) -> Result<(Held, Kept)> {
        patiently(|_| async {
            let (mut reply, len) = self.open(range).await?;
            let (kept, told) = (Kept::of(&reply.headers), self.told_md5(range, &reply));
            let mut bytes = self.store.buffers.take(usize::try_from(len).unwrap_or(0));
            while let Some(chunk) = reply.chunk(&self.store.endpoint, &self.doing()).await? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() as u64 > len {
                    break;
                }
            }
            self.whole(bytes.len() as u64, len)?;
            let mut held = Held::new(bytes.freeze());
            held.told = told;
            held.home = Some(self.store.buffers.clone());
            let told = checksum::whole(&reply.headers).into_iter().next().filter(|_| range.is_none());
            match told {
                Some(told) if !held.fits(&told) => Err(self.other_content(&told)),
                _ => Ok((held, kept)),
            }
        })
        .await
    }

    /// The MD5 of the whole object by its ETag, where that means it.
    fn told_md5(&self, range: Option<Range>, reply: &Reply) -> Option<[u8; 16]> {
        let means_it = range.is_none()
            && self.store.endpoint.vendor.md5_etags
            && self.store.beliefs.etags_are_md5()
            && !encrypted(reply)
            && is_md5(self.etag);
        let bytes = unhex(self.etag).filter(|_| means_it)?;
        bytes.as_ref().try_into().ok()
    }

    /// What was read is not what the source says that it has.
    fn other_content(&self, told: &Checksum) -> Error {
        let why = format!("what was read hasn't the {} that the store tells", told.algorithm.name());
        self.error(Error::unavailable, &why)
            .code("Checksum")
            .hint("resume the run; if it happens again, the object is damaged at the source or on the way")
    }

    /// A short body is never a short object.
    fn whole(&self, got: u64, len: u64) -> Result<()> {
        if got == len {
            return Ok(());
        }
        Err(self.error(Error::unavailable, &format!("the body ended after {got} of {len} bytes")))
    }

    /// Begins to read, once, as the body of another request. The digests stand in `end` once all has passed.
    /// Of an object that is read whole also the checksum is folded that the store tells, and compared.
    pub async fn stream(&self, range: Option<Range>, wanted: Wanted) -> Result<Streaming> {
        let (reply, len) = self.open(range).await?;
        let (kept, md5) = (Kept::of(&reply.headers), self.told_md5(range, &reply));
        let told = checksum::whole(&reply.headers).into_iter().next().filter(|_| range.is_none());
        let end = Arc::new(Mutex::new(End::Open));
        let refusal = told.as_ref().map(|told| self.other_content(told));
        let state = State {
            reply,
            fold: Some(Fold::of(Wanted { md5: wanted.md5 && md5.is_none(), ..wanted.and(told.as_ref()) })),
            md5,
            told: told.zip(refusal),
            len,
            end: end.clone(),
            endpoint: self.store.endpoint.clone(),
            doing: self.doing(),
        };
        let body = Body::new(StreamBody::new(futures::stream::unfold(state, State::step)));
        Ok(Streaming { body, len, kept, md5, end })
    }

    /// Reads all of it and folds it.
    pub async fn digests(&self, wanted: Wanted) -> Result<Digests> {
        patiently(|_| async {
            let (mut reply, len) = self.open(None).await?;
            let mut fold = Fold::of(wanted);
            while let Some(chunk) = reply.chunk(&self.store.endpoint, &self.doing()).await? {
                fold.push(&chunk);
            }
            let digests = fold.finish();
            self.whole(digests.len, len)?;
            Ok(digests)
        })
        .await
    }
}

struct State {
    reply: Reply,
    /// Gone once the end is known.
    fold: Option<Fold>,
    /// As the source tells it; so none is folded.
    md5: Option<[u8; 16]>,
    /// The checksum that the source tells, and what to say where it doesn't fit.
    told: Option<(Checksum, Error)>,
    len: u64,
    end: Arc<Mutex<End>>,
    endpoint: Arc<crate::endpoint::Endpoint>,
    doing: String,
}

impl State {
    async fn step(mut self) -> Option<(Result<Frame<Bytes>, BoxError>, Self)> {
        let mut fold = self.fold.take()?;
        let end = match self.reply.chunk(&self.endpoint, &self.doing).await {
            Ok(Some(chunk)) => {
                fold.push(&chunk);
                if fold.len < self.len {
                    self.fold = Some(fold);
                    return Some((Ok(Frame::data(chunk)), self));
                }
                // The last bytes: note the digests now, since nobody asks for more once the length is reached.
                let end = self.ended(fold);
                let broken = matches!(end, End::Broken(_));
                if !broken {
                    self.settle(end);
                    return Some((Ok(Frame::data(chunk)), self));
                }
                // The last bytes are held back, so that the other side gets no whole body.
                end
            }
            Ok(None) if fold.len == self.len => self.ended(fold),
            Ok(None) => End::Broken(Error::unavailable(format!(
                "connection `{}`: {}: the body ended after {} of {} bytes",
                self.endpoint.name, self.doing, fold.len, self.len
            ))),
            Err(error) => End::Broken(error),
        };
        let failure = match &end {
            End::Broken(error) => Some(error.to_string()),
            _ => None,
        };
        self.settle(end);
        failure.map(|text| (Err(BoxError::from(text)), self))
    }

    fn ended(&self, fold: Fold) -> End {
        let mut digests = fold.finish();
        digests.md5 = digests.md5.or(self.md5);
        match &self.told {
            _ if digests.len != self.len => End::Broken(Error::unavailable(format!(
                "connection `{}`: {}: more than {} bytes came",
                self.endpoint.name, self.doing, self.len
            ))),
            Some((told, refusal)) if digests.fits(told) == Some(false) => End::Broken(refusal.clone()),
            _ => End::Whole(digests),
        }
    }

    fn settle(&self, end: End) {
        *self.end.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = end;
    }
}

impl Streaming {
    /// The digests, if all has passed; why not, if the source broke.
    pub fn end_of(end: &Mutex<End>) -> Result<Option<Digests>> {
        match &*end.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            End::Open => Ok(None),
            End::Whole(digests) => Ok(Some(digests.clone())),
            End::Broken(error) => Err(error.clone()),
        }
    }
}

/// Bytes written in hexadecimal.
pub(crate) fn unhex(text: &str) -> Option<Bytes> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect::<Option<Vec<u8>>>()
        .map(Bytes::from)
}

/// Whether this ETag can be the MD5 of a whole content.
pub(crate) fn is_md5(etag: &str) -> bool {
    etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_the_known_digests() {
        let held = Held::new(Bytes::from_static(b"abc"));
        assert_eq!(hex(&held.own_md5()), "900150983cd24fb0d6963f7d28e17f72");
        assert!(hex(&held.sha256()).starts_with("ba7816bf"));
        let mut fold = Fold::of(Wanted { md5: true, sha256: true, crc: Some(Algorithm::Crc64Nvme) });
        fold.push(b"a");
        fold.push(b"bc");
        let digests = fold.finish();
        assert_eq!((digests.md5, digests.sha256), (Some(held.own_md5()), Some(held.sha256())));
        assert_eq!(digests.crc.as_ref(), Some(held.crc64()));
        assert!(is_md5("900150983cd24fb0d6963f7d28e17f72") && !is_md5("900150983cd24fb0d6963f7d28e17f72-3"));
    }
}
