//! AWS Signature Version 4 in a header, for the requests of the bulk path.
//!
//! Header values enter as bytes, since user metadata may be UTF-8; the signing key is derived once a day.

use std::sync::Mutex;
use std::time::SystemTime;

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use http::{HeaderMap, HeaderValue, Method};
use sha2::{Digest as _, Sha256};

use crate::endpoint::Endpoint;

/// What stands for the body's digest where a body is streamed.
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The signing key of one day.
#[derive(Default)]
pub(crate) struct Signer {
    key: Mutex<Option<(String, Vec<u8>)>>,
}

/// A request as far as it is signed.
pub(crate) struct Signed<'a> {
    pub method: &'a Method,
    /// Encoded, as it is sent.
    pub path: &'a str,
    /// Encoded, sorted by name, as it is sent; `name=` for a name without a value.
    pub query: &'a str,
    /// SHA-256 of the body in hexadecimal, or [`UNSIGNED`].
    pub payload: &'a str,
}

impl Signer {
    /// Adds date, payload digest, token and `authorization` to `headers`, which already name the host.
    /// Everything in `headers` is signed.
    pub fn sign(&self, endpoint: &Endpoint, request: &Signed<'_>, headers: &mut HeaderMap, now: SystemTime) {
        let stamp = stamp(now);
        let day = stamp[..8].to_owned();
        let ascii = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        headers.insert("x-amz-date", ascii(&stamp));
        headers.insert("x-amz-content-sha256", ascii(request.payload));
        if let Some(token) = &endpoint.session_token {
            let mut value = ascii(token.expose());
            value.set_sensitive(true);
            headers.insert("x-amz-security-token", value);
        }

        let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        let signed_names = names.join(";");
        let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, request.query).into_bytes();
        for name in &names {
            canonical.extend_from_slice(name.as_bytes());
            canonical.push(b':');
            collapse(headers[*name].as_bytes(), &mut canonical);
            canonical.push(b'\n');
        }
        canonical.extend_from_slice(format!("\n{signed_names}\n{}", request.payload).as_bytes());

        let scope = format!("{day}/{}/s3/aws4_request", endpoint.region);
        let digest = godwit_model::ids::hex(&Sha256::digest(&canonical));
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}");
        let signature = calculate_signature(self.key_of(endpoint, &day, now), text.as_bytes());
        let mut authorization = ascii(&format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed_names}, Signature={signature}",
            endpoint.access_key
        ));
        authorization.set_sensitive(true);
        headers.insert(http::header::AUTHORIZATION, authorization);
    }

    fn key_of(&self, endpoint: &Endpoint, day: &str, now: SystemTime) -> Vec<u8> {
        let mut kept = self.key.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*kept {
            Some((kept_day, key)) if kept_day == day => key.clone(),
            _ => {
                let key = generate_signing_key(endpoint.secret_key.expose(), now, &endpoint.region, "s3");
                let key = key.as_ref().to_vec();
                *kept = Some((day.to_owned(), key.clone()));
                key
            }
        }
    }
}

/// `20240131T235959Z`.
fn stamp(now: SystemTime) -> String {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let seconds = i64::try_from(seconds).unwrap_or(0);
    DateTime::from_secs(seconds)
        .fmt(Format::DateTime)
        .unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
        .replace(['-', ':'], "")
}

/// Trims a value and makes each run of spaces one ("Create a canonical request", step 4).
fn collapse(value: &[u8], out: &mut Vec<u8>) {
    let mut pending = false;
    let start = out.len();
    for &byte in value {
        if byte == b' ' || byte == b'\t' {
            pending = out.len() > start;
        } else {
            if pending {
                out.push(b' ');
                pending = false;
            }
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example "GET Object" of the S3 API's "Signature calculations for the authorization header".
    #[test]
    fn the_documented_example_is_signed_as_documented() {
        let settings = [
            ("endpoint", "https://s3.amazonaws.com"),
            ("region", "us-east-1"),
            ("access_key_id", "AKIAIOSFODNN7EXAMPLE"),
            ("secret_access_key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ];
        let connection = godwit_model::capability::Connection {
            name: "documented".into(),
            kind: godwit_model::plugin::ConnectionKind::S3,
            settings: settings.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect(),
            secrets: std::sync::Arc::default(),
        };
        let endpoint = Endpoint::parse(&connection).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("examplebucket.s3.amazonaws.com"));
        headers.insert("range", HeaderValue::from_static("bytes=0-9"));
        let request = Signed {
            method: &Method::GET,
            path: "/test.txt",
            query: "",
            payload: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        };
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_369_353_600);
        Signer::default().sign(&endpoint, &request, &mut headers, now);
        let authorization = headers["authorization"].to_str().unwrap();
        assert!(
            authorization
                .ends_with("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            "{authorization}"
        );
    }

    #[test]
    fn stamps_and_values_are_canonical() {
        assert_eq!(
            stamp(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_369_353_600)),
            "20130524T000000Z"
        );
        let mut out = Vec::new();
        collapse(b"  a   b ", &mut out);
        assert_eq!(out, b"a b");
    }
}
