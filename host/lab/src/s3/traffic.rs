//! What passes the server's door: each request named by its S3 operation, logged, and met by the faults that
//! were injected for it.

use http::{HeaderMap, Method, Uri};

/// A request as the server saw it, before its signature was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// As sent: percent-encoded.
    pub path: String,
    /// As sent, without `?`; a presigned URL's signature is cut out.
    pub query: String,
    /// The S3 operation (`PutObject`, `ListObjectsV2`, …; `Preflight` for OPTIONS, else `Unknown`).
    pub operation: &'static str,
    pub bucket: Option<String>,
    /// Decoded, byte for byte.
    pub key: Option<String>,
    /// Names in lower case, without `authorization`.
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub(super) fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Self {
        let (bucket, key) = place(uri.path());
        let query = uri.query().unwrap_or_default();
        let shown = query
            .split('&')
            .filter(|pair| !pair.starts_with("X-Amz-Signature=") && !pair.starts_with("X-Amz-Credential="));
        let listed = headers.iter().filter(|(name, _)| *name != http::header::AUTHORIZATION);
        Self {
            method: method.to_string(),
            path: uri.path().to_owned(),
            query: shown.collect::<Vec<_>>().join("&"),
            operation: operation(method, query, headers, bucket.is_some(), key.is_some()),
            bucket,
            key,
            headers: listed
                .map(|(name, value)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                })
                .collect(),
        }
    }

    /// Whether this operation changes what the server holds.
    pub fn writes(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    /// A header's value by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }
}

/// Bucket and key of a path-style request.
fn place(path: &str) -> (Option<String>, Option<String>) {
    let rest = path.strip_prefix('/').unwrap_or(path);
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let full = |text: &str| (!text.is_empty()).then(|| decoded(text));
    (full(bucket), full(key))
}

pub(super) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The operation by method, place and marking query parameter or header (S3 API reference). Each place's operation
/// without a mark comes last.
const OPERATIONS: [(&str, Place, &str, &str); 48] = [
    ("GET", Place::Root, "", "ListBuckets"),
    ("GET", Place::Bucket, "list-type", "ListObjectsV2"),
    ("GET", Place::Bucket, "cors", "GetBucketCors"),
    ("GET", Place::Bucket, "uploads", "ListMultipartUploads"),
    ("GET", Place::Bucket, "location", "GetBucketLocation"),
    ("GET", Place::Bucket, "versioning", "GetBucketVersioning"),
    ("GET", Place::Bucket, "versions", "ListObjectVersions"),
    ("GET", Place::Bucket, "lifecycle", "GetBucketLifecycleConfiguration"),
    ("GET", Place::Bucket, "tagging", "GetBucketTagging"),
    ("GET", Place::Bucket, "policy", "GetBucketPolicy"),
    ("GET", Place::Bucket, "encryption", "GetBucketEncryption"),
    ("GET", Place::Bucket, "acl", "GetBucketAcl"),
    ("GET", Place::Bucket, "", "ListObjects"),
    ("HEAD", Place::Bucket, "", "HeadBucket"),
    ("PUT", Place::Bucket, "cors", "PutBucketCors"),
    ("PUT", Place::Bucket, "versioning", "PutBucketVersioning"),
    ("PUT", Place::Bucket, "lifecycle", "PutBucketLifecycleConfiguration"),
    ("PUT", Place::Bucket, "tagging", "PutBucketTagging"),
    ("PUT", Place::Bucket, "policy", "PutBucketPolicy"),
    ("PUT", Place::Bucket, "encryption", "PutBucketEncryption"),
    ("PUT", Place::Bucket, "acl", "PutBucketAcl"),
    ("PUT", Place::Bucket, "", "CreateBucket"),
    ("POST", Place::Bucket, "delete", "DeleteObjects"),
    ("DELETE", Place::Bucket, "cors", "DeleteBucketCors"),
    ("DELETE", Place::Bucket, "lifecycle", "DeleteBucketLifecycle"),
    ("DELETE", Place::Bucket, "tagging", "DeleteBucketTagging"),
    ("DELETE", Place::Bucket, "policy", "DeleteBucketPolicy"),
    ("DELETE", Place::Bucket, "encryption", "DeleteBucketEncryption"),
    ("DELETE", Place::Bucket, "", "DeleteBucket"),
    ("GET", Place::Object, "uploadId", "ListParts"),
    ("GET", Place::Object, "tagging", "GetObjectTagging"),
    ("GET", Place::Object, "acl", "GetObjectAcl"),
    ("GET", Place::Object, "attributes", "GetObjectAttributes"),
    ("GET", Place::Object, "", "GetObject"),
    ("HEAD", Place::Object, "", "HeadObject"),
    ("PUT", Place::Object, "partNumber", "UploadPart"),
    ("PUT", Place::Object, "tagging", "PutObjectTagging"),
    ("PUT", Place::Object, "acl", "PutObjectAcl"),
    ("PUT", Place::Object, "", "PutObject"),
    ("POST", Place::Object, "uploads", "CreateMultipartUpload"),
    ("POST", Place::Object, "uploadId", "CompleteMultipartUpload"),
    ("DELETE", Place::Object, "uploadId", "AbortMultipartUpload"),
    ("DELETE", Place::Object, "tagging", "DeleteObjectTagging"),
    ("DELETE", Place::Object, "", "DeleteObject"),
    ("OPTIONS", Place::Root, "", "Preflight"),
    ("OPTIONS", Place::Bucket, "", "Preflight"),
    ("OPTIONS", Place::Object, "", "Preflight"),
    ("HEAD", Place::Root, "", "Unknown"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Bucket,
    Object,
}

fn operation(method: &Method, query: &str, headers: &HeaderMap, bucket: bool, key: bool) -> &'static str {
    let place = match (bucket, key) {
        (_, true) => Place::Object,
        (true, false) => Place::Bucket,
        (false, false) => Place::Root,
    };
    let names: Vec<&str> = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default()).collect();
    let found = OPERATIONS.iter().find(|(held, at, mark, _)| {
        *held == method.as_str() && *at == place && (mark.is_empty() || names.contains(mark))
    });
    let copies = headers.contains_key("x-amz-copy-source");
    match found.map_or("Unknown", |row| row.3) {
        "PutObject" if copies => "CopyObject",
        "UploadPart" if copies => "UploadPartCopy",
        name => name,
    }
}

/// Something that goes wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 503 SlowDown; the request has no effect.
    Unavailable { times: u32 },
    /// 429 TooManyRequests; the request has no effect.
    TooManyRequests { times: u32 },
    /// 503 or another status with the code SlowDown and so many seconds as Retry-After; the request has no effect.
    RetryAfter { status: u16, seconds: u32, times: u32 },
    /// 500 InternalError; the request has no effect.
    InternalError { times: u32 },
    /// The request is read and never answered. With a time, the connection is closed after it; without one, the other
    /// side hears nothing for as long as it waits. The request has no effect.
    HalfOpen { millis: Option<u64>, times: u32 },
    /// The operation is performed and nobody hears of it: the connection stays open, and no answer comes.
    SwallowAnswer { times: u32 },
    /// 409 ConditionalRequestConflict, as S3 answers a conditional write beside another one of the same key; the request
    /// has no effect.
    ConcurrentWrite { times: u32 },
    /// The answer's body ends after so many bytes though its length promised more. Meant for GetObject.
    TruncateBody { after_bytes: u64, times: u32 },
    /// The first byte of the answer's body is another one. Of GetObject.
    CorruptBody { times: u32 },
    /// A TCP reset after so many bytes of the request's body, or of the answer's where the request has none. A
    /// request cut off this way has no effect.
    ResetConnection { after_bytes: u64, times: u32 },
    /// The answer's ETag header names another content. Unless said otherwise: of PutObject and UploadPart.
    WrongEtag,
    /// The answer's checksum headers name another content. Unless said otherwise: of GetObject, HeadObject, PutObject
    /// and UploadPart.
    WrongChecksum,
    /// An object that was written so shortly ago isn't listed yet.
    StaleListing { millis: u64 },
    /// Whoever asks for the next page of ListObjectsV2 gets the first one once more.
    RepeatPage { times: u32 },
    /// A continuation token of ListObjectsV2 isn't known any more.
    RefuseToken { times: u32 },
    /// An object with the content encoding gzip arrives decoded, without its length and its encoding, as from a service
    /// that means it well. Of GetObject.
    DecodeGzip,
    /// The object gets another content of the same length just before it is read: after the listing. Of GetObject.
    ChangeBefore { times: u32 },
    /// The object gets another content of the same length when so many bytes of the former one have been sent; the
    /// answer goes on with the former one, as S3's do. Of GetObject.
    ChangeDuring { after_bytes: u64, times: u32 },
    /// If-Match and If-None-Match of writing requests are ignored, as some servers do.
    IgnoreConditions,
    /// The operation is performed and its answer lost. Unless said otherwise: CompleteMultipartUpload.
    LoseCompleteAnswer { times: u32 },
    /// The answer comes so much later.
    Delay { millis: u64, times: u32 },
}

impl Fault {
    /// Only for one operation, by its S3 name.
    pub fn on(self, operation: &'static str) -> Injection {
        Injection::from(self).on(operation)
    }

    /// Only for requests on one key.
    pub fn key(self, key: impl Into<String>) -> Injection {
        Injection::from(self).key(key)
    }

    fn usual_operations(self) -> &'static [&'static str] {
        match self {
            Self::TruncateBody { .. }
            | Self::CorruptBody { .. }
            | Self::DecodeGzip
            | Self::ChangeBefore { .. }
            | Self::ChangeDuring { .. } => &["GetObject"],
            Self::WrongEtag => &["PutObject", "UploadPart"],
            Self::WrongChecksum => &["GetObject", "HeadObject", "PutObject", "UploadPart"],
            Self::LoseCompleteAnswer { .. } => &["CompleteMultipartUpload"],
            Self::StaleListing { .. } => &["ListObjectsV2", "ListObjects"],
            Self::RepeatPage { .. } | Self::RefuseToken { .. } => &["ListObjectsV2"],
            Self::Unavailable { .. }
            | Self::TooManyRequests { .. }
            | Self::RetryAfter { .. }
            | Self::InternalError { .. }
            | Self::HalfOpen { .. }
            | Self::SwallowAnswer { .. }
            | Self::ConcurrentWrite { .. }
            | Self::ResetConnection { .. }
            | Self::IgnoreConditions
            | Self::Delay { .. } => &[],
        }
    }

    /// Whether it is for requests of a page behind the first alone.
    fn is_of_next_pages(self) -> bool {
        matches!(self, Self::RepeatPage { .. } | Self::RefuseToken { .. })
    }

    fn times(&mut self) -> Option<&mut u32> {
        match self {
            Self::Unavailable { times }
            | Self::TooManyRequests { times }
            | Self::RetryAfter { times, .. }
            | Self::InternalError { times }
            | Self::HalfOpen { times, .. }
            | Self::SwallowAnswer { times }
            | Self::ConcurrentWrite { times }
            | Self::TruncateBody { times, .. }
            | Self::CorruptBody { times }
            | Self::ResetConnection { times, .. }
            | Self::LoseCompleteAnswer { times }
            | Self::RepeatPage { times }
            | Self::RefuseToken { times }
            | Self::ChangeBefore { times }
            | Self::ChangeDuring { times, .. }
            | Self::Delay { times, .. } => Some(times),
            Self::WrongEtag
            | Self::WrongChecksum
            | Self::StaleListing { .. }
            | Self::DecodeGzip
            | Self::IgnoreConditions => None,
        }
    }
}

/// A fault and the requests it is meant for: those of one operation, on one key, with one header, or all that it can hit.
#[derive(Debug, Clone)]
pub struct Injection {
    fault: Fault,
    operation: Option<&'static str>,
    key: Option<String>,
    /// A header's name in lower case, and its value.
    header: Option<(&'static str, String)>,
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Self { fault, operation: None, key: None, header: None }
    }
}

impl Injection {
    pub fn on(mut self, operation: &'static str) -> Self {
        self.operation = Some(operation);
        self
    }

    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Only for requests with this header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    fn meets(&self, request: &Request) -> bool {
        let usual = self.fault.usual_operations();
        let operation = match self.operation {
            Some(name) => name == request.operation,
            None => usual.is_empty() || usual.contains(&request.operation),
        };
        let page = !self.fault.is_of_next_pages() || request.query.contains("continuation-token=");
        let header = self.header.as_ref().is_none_or(|(name, value)| request.header(name) == Some(value));
        operation && page && header && self.key.as_ref().is_none_or(|key| request.key.as_ref() == Some(key))
    }

    /// Takes one use; `None` when they are used up.
    fn take(&mut self) -> Option<Fault> {
        let fault = self.fault;
        if let Some(times) = self.fault.times() {
            *times = times.checked_sub(1)?;
        }
        Some(fault)
    }
}

/// The faults in wait and the requests seen.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub requests: Vec<Request>,
    pub injections: Vec<Injection>,
    unlogged: bool,
}

impl Traffic {
    pub fn new(logged: bool) -> Self {
        Self { unlogged: !logged, ..Self::default() }
    }

    /// Logs a request; gives the faults it meets, one use of each.
    pub fn meet(&mut self, request: Request) -> Vec<Fault> {
        let matching = self.injections.iter_mut().filter(|injection| injection.meets(&request));
        let faults = matching.filter_map(Injection::take).collect();
        if !self.unlogged {
            self.requests.push(request);
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str) -> Request {
        let method = Method::from_bytes(method.as_bytes()).expect("method");
        Request::of(&method, &uri.parse().expect("uri"), &HeaderMap::new())
    }

    #[test]
    fn requests_are_named() {
        let table = [
            ("GET /", "ListBuckets"),
            ("GET /b?list-type=2&prefix=x", "ListObjectsV2"),
            ("GET /b/", "ListObjects"),
            ("PUT /b", "CreateBucket"),
            ("PUT /b?cors", "PutBucketCors"),
            ("POST /b?delete=", "DeleteObjects"),
            ("PUT /b/k", "PutObject"),
            ("PUT /b//", "PutObject"),
            ("PUT /b?lifecycle", "PutBucketLifecycleConfiguration"),
            ("GET /b?versions&prefix=x", "ListObjectVersions"),
            ("DELETE /b/k?tagging&versionId=v", "DeleteObjectTagging"),
            ("GET /b/k?versionId=v", "GetObject"),
            ("PUT /b/k?partNumber=1&uploadId=u", "UploadPart"),
            ("POST /b/k?uploads", "CreateMultipartUpload"),
            ("POST /b/k?uploadId=u", "CompleteMultipartUpload"),
            ("GET /b/k?uploadId=u", "ListParts"),
            ("DELETE /b/k?uploadId=u", "AbortMultipartUpload"),
            ("HEAD /b/k", "HeadObject"),
            ("OPTIONS /b/k", "Preflight"),
            ("PATCH /b/k", "Unknown"),
        ];
        for (line, expected) in table {
            let (method, uri) = line.split_once(' ').expect("two words");
            assert_eq!(request(method, uri).operation, expected, "{line}");
        }
    }

    #[test]
    fn keys_are_decoded_byte_for_byte() {
        assert_eq!(request("GET", "/b//a%20b+c%2F%25/").key.as_deref(), Some("/a b+c/%/"));
        assert_eq!(request("GET", "/b/%C3%A9").key.as_deref(), Some("é"));
    }

    #[test]
    fn a_signature_is_not_logged() {
        let seen = request("GET", "/b/k?X-Amz-Expires=9&X-Amz-Signature=abc&X-Amz-Credential=id");
        assert_eq!(seen.query, "X-Amz-Expires=9");
    }

    #[test]
    fn faults_meet_their_requests_and_run_out() {
        let mut traffic = Traffic::default();
        traffic.injections.push(Fault::Unavailable { times: 1 }.on("PutObject").key("k"));
        traffic.injections.push(Fault::WrongEtag.into());
        assert_eq!(traffic.meet(request("GET", "/b/k")), []);
        assert_eq!(traffic.meet(request("PUT", "/b/k")), [Fault::Unavailable { times: 1 }, Fault::WrongEtag]);
        assert_eq!(traffic.meet(request("PUT", "/b/k")), [Fault::WrongEtag]);
        assert_eq!(traffic.requests.len(), 3);
    }
}
