//! What a request says of its body, so that the store checks what arrives: the cheapest digest that it is known to check.
//!
//! In this order: the MD5 that the source told (its word is checked at the far end, and nothing is computed here), a
//! CRC-64/NVME, SHA-256 in the signature. Every store has to check the last one (AWS Signature Version 4); whether it
//! checks CRCs is found out: one that does names them in its answer. Where somebody on the way could alter the body and the
//! CRC with it, that is without TLS and beyond this machine, the signature covers the body in any case.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use godwit_model::{Error, Result};
use http::HeaderMap;

use crate::checksum::{Algorithm, Checksum};
use crate::fault;
use crate::guarded::{Belief, confirm};
use crate::http::Turn;
use crate::source::{Digests, Held};
use crate::store::{Payload, Store, Written, ascii};

/// A held body on its way to a key, or to a part of an upload.
pub(crate) struct Put<'a> {
    pub store: &'a Store,
    pub bucket: &'a str,
    pub key: &'a str,
    /// What errors call it.
    pub label: &'a str,
    pub held: &'a Held,
}

impl Put<'_> {
    /// Puts it whole, once; again only without a CRC that the store refuses. What was answered fits what was sent; the
    /// text says where nothing could be compared.
    pub async fn object(&self, headers: HeaderMap) -> Result<(Written, Option<String>)> {
        self.send(&[], headers, || Claim::of_object(self.store, self.held)).await
    }

    /// The same of part `number`, from 1 on. `crc` as in [`Claim::of_part`].
    pub async fn part(&self, upload: &str, number: i32, crc: bool) -> Result<(Written, Option<String>)> {
        let query = [("partNumber", number.to_string()), ("uploadId", upload.to_owned())];
        self.send(&query, HeaderMap::new(), || Claim::of_part(self.store, self.held, crc)).await
    }

    async fn send(
        &self,
        query: &[(&'static str, String)],
        headers: HeaderMap,
        claim: impl Fn() -> Claim,
    ) -> Result<(Written, Option<String>)> {
        loop {
            let claim = claim();
            let mut headers = headers.clone();
            claim.add_to(&mut headers)?;
            let (query, payload) = (query.to_vec(), claim.payload(self.held));
            let put = self.store.put(self.bucket, self.key, query, headers, payload, Turn::Waits).await;
            let written = match put {
                Err(error) if claim.heed_refusal(self.store, &error) => continue,
                other => other?,
            };
            claim.heed(self.store, &written);
            let note = confirm(self.store, self.label, &written, &claim.digests(), claim.is_checked())?;
            return Ok((written, note));
        }
    }
}

/// What is claimed of one held body.
pub(crate) struct Claim {
    md5: Option<[u8; 16]>,
    crc: Option<Checksum>,
    sha256: Option<[u8; 32]>,
    len: u64,
}

impl Claim {
    /// Of a body that is put whole.
    pub fn of_object(store: &Store, held: &Held) -> Self {
        let belief = store.beliefs.checksums();
        let proven = held.told().is_some() || belief == Belief::Honoured;
        Self {
            md5: held.told(),
            crc: (belief != Belief::Ignored).then(|| held.crc64().clone()),
            sha256: (!proven || !store.endpoint.unaltered).then(|| held.sha256()),
            len: held.len(),
        }
    }

    /// Of a part. `crc`: the upload was begun with the CRC of the whole object, to which this part's belongs.
    pub fn of_part(store: &Store, held: &Held, crc: bool) -> Self {
        let crc = crc && store.beliefs.checksums() != Belief::Ignored;
        let proven = crc && store.beliefs.checksums() == Belief::Honoured;
        Self {
            md5: None,
            crc: crc.then(|| held.crc64().clone()),
            sha256: (!proven || !store.endpoint.unaltered).then(|| held.sha256()),
            len: held.len(),
        }
    }

    pub fn add_to(&self, headers: &mut HeaderMap) -> Result<()> {
        if let Some(md5) = self.md5 {
            headers.insert("content-md5", ascii(&BASE64.encode(md5))?);
        }
        if let Some(crc) = &self.crc {
            headers.insert(crc.algorithm.header(), ascii(&crc.value)?);
        }
        Ok(())
    }

    pub fn payload(&self, held: &Held) -> Payload {
        Payload::Held {
            bytes: held.bytes.clone(),
            sha256: self.sha256.map(|sha256| godwit_model::ids::hex(&sha256)),
        }
    }

    /// Goes by the answer: a store that takes no notice of the CRC doesn't name it, and gets signatures from then on.
    pub fn heed(&self, store: &Store, written: &Written) {
        if self.crc.is_some() {
            let named = written.checksums.iter().any(|told| told.algorithm == Algorithm::Crc64Nvme);
            store.beliefs.learn_checksums(if named { Belief::Honoured } else { Belief::Ignored });
        }
    }

    /// Goes by an error: whether the store refused a CRC that it doesn't know. The next claim goes without.
    pub fn heed_refusal(&self, store: &Store, error: &Error) -> bool {
        let refused = self.crc.is_some()
            && store.beliefs.checksums() != Belief::Honoured
            && (fault::is_not_implemented(error) || fault::is_refused_argument(error));
        if refused {
            store.beliefs.learn_checksums(Belief::Ignored);
        }
        refused
    }

    /// Whether the request carries a digest that every store checks.
    pub fn is_checked(&self) -> bool {
        self.md5.is_some() || self.sha256.is_some()
    }

    /// For the comparison with what the store answers.
    pub fn digests(&self) -> Digests {
        Digests { md5: self.md5, sha256: self.sha256, crc: self.crc.clone(), len: self.len }
    }
}
