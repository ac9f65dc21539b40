//! One page of a bucket's listing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use s3s::dto::{CommonPrefix, ETag, EncodingType, ListObjectsV2Input, Object, ObjectStorageClass};

use super::backend::length;
use super::store::StoredObject;

/// One page of a listing.
#[derive(Default)]
pub struct Page {
    pub contents: Vec<Object>,
    pub prefixes: Vec<CommonPrefix>,
    pub truncated: bool,
    /// The last key or common prefix on it, as it is.
    pub last: Option<String>,
}

fn ends_group(after: &str, prefix: &str, delimiter: Option<&str>) -> bool {
    delimiter.is_some_and(|d| after.len() > prefix.len() && after.ends_with(d))
}

/// The page of `objects` (by key) that a request asks for: of at most `limit` entries, behind `after`, none of them
/// modified after `hidden`.
pub fn page(
    objects: &BTreeMap<String, Arc<StoredObject>>,
    input: &ListObjectsV2Input,
    after: Option<&str>,
    limit: usize,
    hidden: Option<SystemTime>,
) -> Page {
    let encode = encodes(input.encoding_type.as_ref());
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let delimiter = input.delimiter.as_deref().filter(|text| !text.is_empty());
    let mut page = Page::default();
    if limit == 0 {
        return page;
    }
    let start = match after.filter(|after| *after >= prefix) {
        Some(after) => Bound::Excluded(after),
        None => Bound::Included(prefix),
    };
    for (key, object) in objects.range::<str, _>((start, Bound::Unbounded)) {
        let Some(rest) = key.strip_prefix(prefix) else { break };
        if hidden.is_some_and(|since| object.modified > since) {
            continue;
        }
        // A page that ended in a common prefix goes on behind all of its keys.
        if after.is_some_and(|after| ends_group(after, prefix, delimiter) && key.starts_with(after)) {
            continue;
        }
        let group = delimiter.and_then(|d| rest.find(d).map(|at| &key[..prefix.len() + at + d.len()]));
        if group.is_some() && page.last.as_deref() == group {
            continue;
        }
        if page.contents.len() + page.prefixes.len() == limit {
            page.truncated = true;
            break;
        }
        page.last = Some(group.unwrap_or(key).to_owned());
        match group {
            Some(group) => page.prefixes.push(CommonPrefix { prefix: Some(listed(group, encode)) }),
            None => page.contents.push(Object {
                e_tag: Some(ETag::Strong(object.etag.clone())),
                key: Some(listed(key, encode)),
                last_modified: Some(object.modified.into()),
                size: Some(length(object.bytes.len())),
                storage_class: Some(ObjectStorageClass::from(object.storage_class().to_owned())),
                ..Object::default()
            }),
        }
    }
    page
}

/// Whether keys are to be encoded in the answer.
pub fn encodes(kind: Option<&EncodingType>) -> bool {
    kind.is_some_and(|kind| kind.as_str() == EncodingType::URL)
}

/// A key in a listing: as it is, or with `encoding-type=url` as S3 encodes it (form encoding: a space is `+`;
/// `/` and `*` stay).
pub fn listed(key: &str, encode: bool) -> String {
    if !encode {
        return key.to_owned();
    }
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' | b'*' => {
                out.push(char::from(byte))
            }
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

pub fn unhex(token: &str) -> Option<String> {
    let digits = token.as_bytes();
    let bytes = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::store::hex;

    #[test]
    fn keys_are_encoded_as_s3_does_it() {
        assert_eq!(listed("a b+c/é*~", true), "a+b%2Bc/%C3%A9*%7E");
        assert_eq!(listed("a b", false), "a b");
    }

    #[test]
    fn tokens_come_back() {
        assert_eq!(unhex(&hex("/ü".as_bytes())).as_deref(), Some("/ü"));
        assert_eq!((unhex("zz"), unhex("ff")), (None, None));
    }
}
