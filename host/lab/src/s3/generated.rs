//! Buckets of millions of objects that nobody stores: a page of their listing, and each object, is made of its index when
//! it is asked for. Answered at the door, without a look at the signature, so that a listing costs the server little.

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use md5::{Digest, Md5};
use s3s::{Body, HttpResponse};

use super::listing::{listed, unhex};
use super::store::hex;
use super::traffic::{Request, decoded};

/// A bucket of so many keys in the order of their numbers. Two of them differ in known places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generated {
    pub count: u64,
    /// Every so many-th key (counted from 0) has another content of the same length.
    pub differs_every: Option<u64>,
    /// Every so many-th key is not there.
    pub missing_every: Option<u64>,
}

const PREFIX: &str = "generated-";
const DIGITS: usize = 12;
const MODIFIED: (&str, &str) = ("2024-01-31T12:00:00.000Z", "Wed, 31 Jan 2024 12:00:00 GMT");

impl Generated {
    pub fn new(count: u64) -> Self {
        Self { count, ..Self::default() }
    }

    pub fn differs_every(mut self, every: u64) -> Self {
        self.differs_every = Some(every);
        self
    }

    pub fn missing_every(mut self, every: u64) -> Self {
        self.missing_every = Some(every);
        self
    }

    /// The key of a number; the order of keys is that of numbers.
    pub fn key(number: u64) -> String {
        format!("{PREFIX}{number:0DIGITS$}")
    }

    /// The content of a number that is there; its MD5 is the ETag.
    pub fn content(&self, number: u64) -> Option<Vec<u8>> {
        let hit = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every.max(1)));
        if number >= self.count || hit(self.missing_every) {
            return None;
        }
        let kind = if hit(self.differs_every) { "other" } else { "usual" };
        // Of several lengths, and within one block of MD5.
        let tail = &"........"[..usize::try_from(number % 8).unwrap_or(0)];
        Some(format!("{kind} {number}{tail}").into_bytes())
    }

    /// The answer to a request that reads; `None` for one that is somebody else's to answer.
    pub fn answer(&self, request: &Request, page_size: usize) -> Option<HttpResponse> {
        match (request.operation, &request.key) {
            ("ListObjectsV2", _) => Some(self.page(request, page_size)),
            ("GetObject" | "HeadObject", Some(key)) => Some(self.object(request, key)),
            _ => None,
        }
    }

    fn object(&self, request: &Request, key: &str) -> HttpResponse {
        let number = key.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS);
        let content = number.and_then(|digits| digits.parse().ok()).and_then(|number| self.content(number));
        let Some(content) = content else {
            let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>NoSuchKey</Code></Error>";
            return answer(StatusCode::NOT_FOUND, "application/xml", text.to_owned());
        };
        let etag = format!("\"{}\"", hex(&Md5::digest(&content)));
        if request.header("if-match").is_some_and(|wanted| wanted != etag && wanted != "*") {
            let text =
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>PreconditionFailed</Code></Error>";
            return answer(StatusCode::PRECONDITION_FAILED, "application/xml", text.to_owned());
        }
        // Ranges are ignored, as a server may (RFC 9110, 14.2): the objects are of a few bytes.
        let mut response = answer(StatusCode::OK, "text/plain", content);
        let headers = [(header::ETAG, etag.as_str()), (header::LAST_MODIFIED, MODIFIED.1)];
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn page(&self, request: &Request, page_size: usize) -> HttpResponse {
        let mut asked = Asked::of(&request.query);
        asked.limit = asked.limit.min(page_size);
        if asked.token_unknown {
            let text =
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>InvalidArgument</Code></Error>";
            return answer(StatusCode::BAD_REQUEST, "application/xml", text.to_owned());
        }
        // Keys are in the order of numbers, so the first one of a page is found by halving.
        let mut number = match &asked.after {
            Some(after) if *after >= asked.prefix => self.first(|key| key > after.as_str()),
            _ => self.first(|key| key >= asked.prefix.as_str()),
        };
        let bucket = request.bucket.as_deref().unwrap_or_default();
        let mut body = String::with_capacity(400 + asked.limit * 260);
        let (mut found, mut last) = (0, None);
        let mut entries = String::with_capacity(asked.limit * 260);
        while found < asked.limit && number < self.count {
            let key = Self::key(number);
            if !key.starts_with(&asked.prefix) {
                number = self.count;
                break;
            }
            if let Some(content) = self.content(number) {
                entries.push_str("<Contents><Key>");
                entries.push_str(&key);
                entries.push_str("</Key><LastModified>");
                entries.push_str(MODIFIED.0);
                entries.push_str("</LastModified><ETag>&quot;");
                push_hex(&mut entries, &Md5::digest(&content));
                entries.push_str("&quot;</ETag><Size>");
                entries.push_str(&content.len().to_string());
                entries.push_str("</Size><StorageClass>STANDARD</StorageClass></Contents>");
                found += 1;
                last = Some(key);
            }
            number += 1;
        }
        let more = number < self.count && Self::key(number).starts_with(&asked.prefix);
        body.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>");
        body.push_str(bucket);
        body.push_str("</Name><Prefix>");
        body.push_str(&listed(&asked.prefix, true));
        body.push_str(&format!("</Prefix><MaxKeys>{}</MaxKeys><KeyCount>{found}</KeyCount>", asked.limit));
        if asked.encoded {
            body.push_str("<EncodingType>url</EncodingType>");
        }
        body.push_str(&format!("<IsTruncated>{more}</IsTruncated>"));
        if let (true, Some(last)) = (more, &last) {
            body.push_str(&format!(
                "<NextContinuationToken>{}</NextContinuationToken>",
                hex(last.as_bytes())
            ));
        }
        body.push_str(&entries);
        body.push_str("</ListBucketResult>");
        answer(StatusCode::OK, "application/xml", body)
    }

    /// The first number whose key is so, where all behind it are so, too.
    fn first(&self, so: impl Fn(&str) -> bool) -> u64 {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if so(&Self::key(middle)) { high = middle } else { low = middle + 1 }
        }
        low
    }
}

/// What a listing asks for. A delimiter doesn't matter: no key has one behind any prefix of its own.
struct Asked {
    prefix: String,
    after: Option<String>,
    limit: usize,
    encoded: bool,
    token_unknown: bool,
}

impl Asked {
    fn of(query: &str) -> Self {
        let mut asked =
            Self { prefix: String::new(), after: None, limit: 1000, encoded: false, token_unknown: false };
        let mut token = None;
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            match name {
                "prefix" => asked.prefix = value,
                "start-after" if !value.is_empty() => asked.after = Some(value),
                "continuation-token" if !value.is_empty() => token = Some(value),
                "max-keys" => asked.limit = value.parse().unwrap_or(1000).min(1000),
                "encoding-type" => asked.encoded = value == "url",
                _ => {}
            }
        }
        if let Some(token) = token {
            asked.after = unhex(&token);
            asked.token_unknown = asked.after.is_none();
        }
        asked
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Vec<u8>>) -> HttpResponse {
    let body: Vec<u8> = body.into();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    *response.body_mut() = Body::from(body);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_keys() {
        let held = Generated::new(1000);
        assert_eq!(held.first(|key| key > Generated::key(41).as_str()), 42);
        assert_eq!(held.first(|key| key >= "generated-00000000001"), 10);
        assert_eq!(held.first(|key| key >= "z"), 1000);
    }

    #[test]
    fn two_differ_where_they_were_told_to() {
        let (one, other) = (Generated::new(100), Generated::new(100).differs_every(10).missing_every(25));
        let differing: Vec<u64> = (0..100).filter(|n| one.content(*n) != other.content(*n)).collect();
        assert_eq!(differing, [0, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90]);
        assert_eq!(other.content(75), None);
        assert_eq!(one.content(10).map(|c| c.len()), other.content(10).map(|c| c.len()));
        assert_eq!(one.content(100), None);
    }
}
