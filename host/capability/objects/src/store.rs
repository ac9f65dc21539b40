//! One connection at work: the requests of the bulk path.
//!
//! These go by hyper and our own signature: a small PUT costs a fraction of the SDK's, and keys and header values stay
//! bytes. The control plane is in `control`.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use godwit_model::{Error, Result};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt as _, Empty, Full};
use sha2::{Digest as _, Sha256};

use crate::buffers::Buffers;
use crate::checksum::{self, Algorithm, Checksum};
use crate::control::Versioning;
use crate::endpoint::{Endpoint, encode};
use crate::fault;
use crate::guarded::Beliefs;
use crate::http::{Body, Http, Patience, Reply, Turn};
use crate::kept::Kept;
use crate::listing::special_class;
use crate::patience;
use crate::sights::Sights;
use crate::sign::{Signed, Signer, UNSIGNED};

/// The SHA-256 of nothing.
const NO_BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const USER_AGENT: &str = concat!("godwit/", env!("CARGO_PKG_VERSION"));
/// How often one request is tried before its error is handed on; the engine tries the whole effect again. See also
/// `patience`.
const ATTEMPTS: u32 = 5;

/// A connection with its client.
pub(crate) struct Store {
    pub endpoint: Arc<Endpoint>,
    pub http: Http,
    signer: Signer,
    pub sdk: aws_sdk_s3::Client,
    pub beliefs: Beliefs,
    pub versioning: Versioning,
    pub sights: Sights,
    /// For what is read from here.
    pub buffers: Arc<Buffers>,
}

/// The body of a request.
pub(crate) enum Payload {
    Empty,
    /// With its SHA-256 in hexadecimal, where that is signed.
    Held {
        bytes: Bytes,
        sha256: Option<String>,
    },
    Streamed {
        body: Body,
        len: u64,
    },
}

impl Payload {
    pub fn held(bytes: Bytes) -> Self {
        Self::Held { sha256: Some(godwit_model::ids::hex(&Sha256::digest(&bytes))), bytes }
    }
}

/// One request.
pub(crate) struct Call<'a> {
    pub method: Method,
    pub bucket: &'a str,
    pub key: Option<&'a str>,
    pub query: Vec<(&'static str, String)>,
    pub headers: HeaderMap,
    pub payload: Payload,
    pub turn: Turn,
    pub signed: bool,
    /// The encodings that are taken; not signed, since what stands in front of a store may change them.
    pub encoding: Option<&'static str>,
}

impl<'a> Call<'a> {
    pub fn new(method: Method, bucket: &'a str, key: Option<&'a str>) -> Self {
        Self {
            method,
            bucket,
            key,
            query: Vec::new(),
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            turn: Turn::Waits,
            signed: true,
            encoding: None,
        }
    }

    fn doing(&self) -> String {
        match self.key {
            Some(key) => format!("{} {}/{key}", self.method, self.bucket),
            None => format!("{} bucket {}", self.method, self.bucket),
        }
    }
}

/// What HEAD says of an object.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Without quotes.
    pub etag: String,
    pub size: u64,
    /// Seconds since the Unix epoch.
    pub modified: i64,
    pub kept: Kept,
    pub version: Option<String>,
    /// `None` for the standard one.
    pub storage_class: Option<String>,
    /// Those of the whole object, where the store was asked for them.
    pub checksums: Vec<Checksum>,
    /// The ETag doesn't stand for the content.
    pub opaque_etag: bool,
}

/// What the store answered to a write.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// Without quotes; empty where none was given.
    pub etag: String,
    pub version: Option<String>,
    /// The ETag doesn't stand for the content: the store encrypts by a key of its own service.
    pub opaque_etag: bool,
    /// Of the whole content, as the store has it.
    pub checksums: Vec<Checksum>,
}

impl Store {
    pub fn new(endpoint: Arc<Endpoint>, patience: Patience) -> Result<Self> {
        let http = Http::new(&endpoint, patience)?;
        Ok(Self {
            sdk: crate::control::sdk(&endpoint, &http, patience),
            beliefs: Beliefs::new(endpoint.vendor),
            http,
            signer: Signer::default(),
            endpoint,
            versioning: Versioning::default(),
            sights: Sights::default(),
            buffers: Arc::default(),
        })
    }

    /// Sends one request, once; any answer is an `Ok`.
    pub async fn call(&self, call: Call<'_>) -> Result<Reply> {
        let doing = call.doing();
        let (authority, path) = self.endpoint.place(call.bucket, call.key);
        let mut query: Vec<(String, String)> =
            call.query.iter().map(|(name, value)| (encode(name, false), encode(value, false))).collect();
        query.sort();
        let query = query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");

        let mut headers = call.headers;
        let (digest, len, body) = match call.payload {
            Payload::Empty => (Cow::Borrowed(NO_BODY), 0, whole(Bytes::new())),
            Payload::Held { bytes, sha256 } => {
                let digest = sha256.map_or(Cow::Borrowed(UNSIGNED), Cow::Owned);
                (digest, bytes.len() as u64, whole(bytes))
            }
            Payload::Streamed { body, len } => (Cow::Borrowed(UNSIGNED), len, body),
        };
        let invalid =
            |what: &str| Error::invalid(format!("connection `{}`: {doing}: {what}", self.endpoint.name));
        let host = HeaderValue::from_str(&authority).map_err(|_| invalid("the host is no header value"))?;
        headers.insert(http::header::HOST, host);
        if call.signed && !self.endpoint.anonymous {
            let signed = Signed { method: &call.method, path: &path, query: &query, payload: &digest };
            self.signer.sign(&self.endpoint, &signed, &mut headers, SystemTime::now());
        }
        headers.insert(http::header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if let Some(encoding) = call.encoding {
            headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        }
        if matches!(call.method, Method::PUT | Method::POST) {
            headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(len));
        }

        let question = if query.is_empty() { String::new() } else { format!("?{query}") };
        let uri = format!("{}://{authority}{path}{question}", self.endpoint.scheme);
        let mut request = http::Request::new(body);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() =
            uri.parse().map_err(|e| invalid(&format!("the key makes no valid address: {e}")))?;
        *request.headers_mut() = headers;
        self.http.send(&self.endpoint, &doing, request, len, call.turn).await
    }

    /// Sends one request, once; an answer that isn't a success is an error.
    pub async fn ask(&self, call: Call<'_>) -> Result<Reply> {
        let doing = call.doing();
        let mut reply = self.call(call).await?;
        if (200..300).contains(&reply.status) {
            return Ok(reply);
        }
        // An error document that breaks off leaves the status to go by.
        let document = reply.text(&self.endpoint, &doing, 16 << 10).await.unwrap_or_default();
        let code = fault::element(&document, "Code");
        let message = fault::element(&document, "Message");
        Err(fault::of_answer(&self.endpoint, &doing, reply.status, code.as_deref(), message.as_deref()))
    }

    /// The text of an answer that is a success, asked once; more than `most` bytes are an error.
    pub async fn document(&self, call: Call<'_>, doing: &str, most: usize) -> Result<String> {
        let mut reply = self.ask(call).await?;
        let text = reply.text(&self.endpoint, doing, most).await?;
        if text.len() >= most {
            return Err(Error::failed(format!(
                "connection `{}`: {doing}: the answer is longer than {most} bytes",
                self.endpoint.name
            )));
        }
        Ok(text)
    }

    /// HEAD of an object; `None` when it isn't there.
    pub async fn head(&self, bucket: &str, key: &str) -> Result<Option<Head>> {
        self.head_of(bucket, key, None).await
    }

    /// HEAD of one version of an object; `None` stands for the current one.
    pub async fn head_of(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Option<Head>> {
        patiently(|_| async {
            let mut call = Call::new(Method::HEAD, bucket, Some(key));
            if let Some(id) = version_id {
                call.query.push(("versionId", id.to_owned()));
            }
            self.ask_checksums(&mut call.headers);
            let reply = match self.ask(call).await {
                Err(error) if error.kind == godwit_model::ErrorKind::Missing => return Ok(None),
                other => other?,
            };
            Ok(Some(Head {
                etag: bare(&reply.header("etag").unwrap_or_default()),
                size: reply.header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0),
                modified: http_date(reply.header("last-modified")).unwrap_or(0),
                kept: Kept::of(&reply.headers),
                version: version(&reply),
                storage_class: reply.header("x-amz-storage-class").and_then(special_class),
                checksums: checksum::whole(&reply.headers),
                opaque_etag: encrypted(&reply),
            }))
        })
        .await
    }

    /// Begins a GET, once. `range` is first and last byte; `etag` makes it fail where the object has another one.
    pub async fn get(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        range: Option<(u64, u64)>,
        etag: Option<&str>,
        encoding: &'static str,
    ) -> Result<Reply> {
        let mut call = Call::new(Method::GET, bucket, Some(key));
        call.encoding = Some(encoding);
        if let Some(id) = version_id {
            call.query.push(("versionId", id.to_owned()));
        }
        if range.is_none() {
            self.ask_checksums(&mut call.headers);
        }
        if let Some((first, last)) = range {
            call.headers.insert(http::header::RANGE, ascii(&format!("bytes={first}-{last}"))?);
        }
        if let Some(etag) = etag {
            call.headers.insert(http::header::IF_MATCH, ascii(&format!("\"{etag}\""))?);
        }
        self.ask(call).await
    }

    /// One PUT of an object or, with `query`, of a part.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        query: Vec<(&'static str, String)>,
        headers: HeaderMap,
        payload: Payload,
        turn: Turn,
    ) -> Result<Written> {
        let call = Call { query, headers, payload, turn, ..Call::new(Method::PUT, bucket, Some(key)) };
        let reply = self.ask(call).await?;
        Ok(Written {
            etag: bare(&reply.header("etag").unwrap_or_default()),
            version: version(&reply),
            opaque_etag: encrypted(&reply),
            checksums: checksum::whole(&reply.headers),
        })
    }

    fn ask_checksums(&self, headers: &mut HeaderMap) {
        if self.endpoint.vendor.checksums {
            headers.insert("x-amz-checksum-mode", HeaderValue::from_static("ENABLED"));
        }
    }

    /// Deletes an object, or with `version` that version of it. Returns the delete marker's version, if one was made.
    pub async fn delete(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Option<String>> {
        patiently(|_| self.delete_of(bucket, key, version_id)).await
    }

    /// The same for the current version, asked once: each request makes a delete marker of its own.
    pub async fn delete_once(&self, bucket: &str, key: &str) -> Result<Option<String>> {
        self.delete_of(bucket, key, None).await
    }

    async fn delete_of(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Option<String>> {
        let mut call = Call::new(Method::DELETE, bucket, Some(key));
        if let Some(id) = version_id {
            call.query.push(("versionId", id.to_owned()));
        }
        let reply = self.ask(call).await?;
        Ok(reply
            .header("x-amz-delete-marker")
            .filter(|marker| marker == "true")
            .and_then(|_| version(&reply)))
    }

    /// Starts a multipart upload, once, and returns its id.
    /// `crc` is the one that the joined object shall have.
    pub async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        kept: &Kept,
        crc: Option<Algorithm>,
    ) -> Result<String> {
        let mut call = Call::new(Method::POST, bucket, Some(key));
        call.query.push(("uploads", String::new()));
        call.headers = kept.headers();
        if let Some(crc) = crc {
            call.headers.insert("x-amz-checksum-algorithm", ascii(&crc.name().to_ascii_uppercase())?);
            call.headers.insert("x-amz-checksum-type", HeaderValue::from_static("FULL_OBJECT"));
        }
        let doing = format!("start of a multipart upload of {bucket}/{key}");
        let document = self.ask(call).await?.text(&self.endpoint, &doing, 64 << 10).await?;
        fault::element(&document, "UploadId").filter(|id| !id.is_empty()).ok_or_else(|| {
            Error::failed(format!("connection `{}`: {doing}: the answer names no upload", self.endpoint.name))
        })
    }
}

pub(crate) fn whole(bytes: Bytes) -> Body {
    if bytes.is_empty() {
        Body::new(Empty::new().map_err(|never| match never {}))
    } else {
        Body::new(Full::new(bytes).map_err(|never| match never {}))
    }
}

/// Whether the store encrypts by a key that makes ETags stand for something else than the content.
pub(crate) fn encrypted(reply: &Reply) -> bool {
    reply.header("x-amz-server-side-encryption").is_some_and(|how| how.starts_with("aws:"))
        || reply.headers.contains_key("x-amz-server-side-encryption-customer-algorithm")
}

pub(crate) fn version(reply: &Reply) -> Option<String> {
    reply.header("x-amz-version-id").filter(|id| !id.is_empty())
}

/// A header value of our own making.
pub(crate) fn ascii(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|_| Error::invalid(format!("`{}` can't be sent in a header", text.escape_debug())))
}

/// An ETag without quotes and without the mark of a weak one.
pub(crate) fn bare(etag: &str) -> String {
    etag.trim().trim_start_matches("W/").trim_matches('"').to_owned()
}

fn http_date(text: Option<String>) -> Option<i64> {
    DateTime::from_str(&text?, Format::HttpDate).ok().map(|date| date.secs())
}

/// Tries again, a few times and ever more slowly, what failed for a reason that may pass.
pub(crate) async fn patiently<T, Fut>(mut once: impl FnMut(u32) -> Fut) -> Result<T>
where
    Fut: Future<Output = Result<T>>,
{
    let mut attempt = 0;
    loop {
        match once(attempt).await {
            Err(error) if error.is_retryable() && !is_last(attempt) => {
                tracing::debug!(%error, attempt, "trying again");
                pause(attempt).await;
                attempt += 1;
            }
            other => return other,
        }
    }
}

/// The wait before attempt `attempt + 2`: 100 ms, tripled each time, give or take a half, so that many requests that
/// failed together don't come back together.
pub(crate) async fn pause(attempt: u32) {
    patience::failed();
    let noise = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    let base = 100 * 3u64.pow(attempt.min(4));
    let wait = base / 2 + u64::from(noise / 1000) % base.max(1);
    tokio::time::sleep(Duration::from_millis(wait)).await;
}

/// Whether the last attempt of a series has been made; also where the effect's patience is at its end.
pub(crate) fn is_last(attempt: u32) -> bool {
    attempt + 1 >= ATTEMPTS || patience::is_spent()
}
