//! What travels with an object: standard headers and user metadata, byte for byte.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::checksum::Checksum;

/// The standard headers that an object keeps.
pub(crate) const STANDARD: &[&str] = &[
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-language",
    "cache-control",
    "expires",
];

const USER: &str = "x-amz-meta-";

/// The header that sets an object's tags (S3 API, PutObject).
pub(crate) const TAGGING: &str = "x-amz-tagging";

/// Headers and user metadata of one object, as they are sent again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    headers: HeaderMap,
    /// How many tags the object has, as far as the store tells.
    pub tags: u32,
    /// The source's checksum of the whole object, where it tells one.
    pub checksum: Option<Checksum>,
    /// What a person should know is not carried over, or is another thing there.
    notes: Vec<String>,
}

impl Kept {
    /// Those of an answer to GET or HEAD.
    pub fn of(answer: &HeaderMap) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in answer {
            if name == "content-encoding" {
                if let Some(value) = without_chunking(value) {
                    headers.append(name.clone(), value);
                }
            } else if STANDARD.contains(&name.as_str()) || name.as_str().starts_with(USER) {
                headers.append(name.clone(), value.clone());
            }
        }
        let tags = answer.get("x-amz-tagging-count").and_then(|v| v.to_str().ok()?.parse().ok()).unwrap_or(0);
        Self { headers, tags, ..Self::default() }
    }

    /// A content type alone.
    pub fn content_type(value: Option<&str>) -> Option<Self> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_bytes(value.as_bytes()).ok()?);
        }
        Some(Self { headers, ..Self::default() })
    }

    /// The headers for a PUT or for the start of a multipart upload.
    pub fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    /// Adds a header that goes with the object.
    pub fn set(&mut self, name: &'static str, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Whether tags go with the object.
    pub fn has_tags(&self) -> bool {
        self.headers.contains_key(TAGGING)
    }

    pub fn remark(&mut self, note: String) {
        self.notes.push(note);
    }

    /// What a person should know is not carried over, or is another thing there.
    pub fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// The standard headers by lower-case name.
    pub fn standard(&self) -> BTreeMap<String, String> {
        self.pick(|name| STANDARD.contains(&name.as_str()).then(|| name.as_str().to_owned()))
    }

    /// User metadata, names without `x-amz-meta-`.
    pub fn user(&self) -> BTreeMap<String, String> {
        self.pick(|name| name.as_str().strip_prefix(USER).map(str::to_owned))
    }

    fn pick(&self, name: impl Fn(&HeaderName) -> Option<String>) -> BTreeMap<String, String> {
        self.headers
            .iter()
            .filter_map(|(key, value)| {
                Some((name(key)?, String::from_utf8_lossy(value.as_bytes()).into_owned()))
            })
            .collect()
    }
}

/// Some stores keep the `aws-chunked` of the request that wrote the object; sent again, it would announce a framing
/// that isn't there.
fn without_chunking(value: &HeaderValue) -> Option<HeaderValue> {
    let Ok(text) = value.to_str() else { return Some(value.clone()) };
    if !text.contains("aws-chunked") {
        return Some(value.clone());
    }
    let rest: Vec<&str> = text.split(',').map(str::trim).filter(|part| *part != "aws-chunked").collect();
    if rest.is_empty() { None } else { HeaderValue::from_str(&rest.join(",")).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_belongs_to_the_object_is_kept() {
        let mut answer = HeaderMap::new();
        answer.insert("content-type", HeaderValue::from_static("image/jpeg"));
        answer.insert("content-length", HeaderValue::from_static("7"));
        answer.insert("content-encoding", HeaderValue::from_static("aws-chunked,gzip"));
        answer.insert("x-amz-meta-owner", HeaderValue::from_bytes("Zoë".as_bytes()).unwrap());
        answer.insert("x-amz-tagging-count", HeaderValue::from_static("2"));
        answer.insert("x-amz-request-id", HeaderValue::from_static("1"));
        let kept = Kept::of(&answer);
        assert_eq!(kept.headers().len(), 3);
        assert_eq!(kept.standard()["content-encoding"], "gzip");
        assert_eq!(kept.user()["owner"], "Zoë");
        assert_eq!(kept.tags, 2);
    }
}
