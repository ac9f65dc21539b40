//! The least that speaks to an S3 server: one blocking connection, requests signed with the payload left out. It is the
//! floor that copies are measured against, and it looks at what arrived.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use sha2::{Digest, Sha256};

/// An endpoint without a path, over plain HTTP, and its credentials.
#[derive(Clone, Debug)]
pub struct Store {
    /// `http://HOST:PORT`
    pub endpoint: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub etag: String,
    pub len: usize,
}

/// How long a server may take nothing and say nothing.
const SILENCE: Duration = Duration::from_secs(30);

/// A connection that stays open, with the signing key of the day on which it was opened.
pub struct Connection<'a> {
    store: &'a Store,
    host: &'a str,
    stream: BufReader<TcpStream>,
    signing_key: Vec<u8>,
    day: String,
}

impl<'a> Connection<'a> {
    pub fn open(store: &'a Store) -> Result<Self, String> {
        let host = store.endpoint.strip_prefix("http://").ok_or("the endpoint is not http://")?;
        let stream = TcpStream::connect(host).map_err(|e| format!("{host}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(SILENCE)).map_err(|e| e.to_string())?;
        stream.set_write_timeout(Some(SILENCE)).map_err(|e| e.to_string())?;
        let now = SystemTime::now();
        let key = generate_signing_key(&store.secret_key, now, &store.region, "s3").as_ref().to_vec();
        let day = stamp(now)[..8].to_owned();
        Ok(Self { store, host, stream: BufReader::new(stream), signing_key: key, day })
    }

    /// Sends a request and reads its answer. `path` and `query` are encoded, `query` sorted, `name=` for a name alone.
    pub fn send(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> Result<Answer, String> {
        let head = self.head(method, path, query, body.len());
        let failed = |e: std::io::Error| format!("{method} {path}: {e}");
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes()).map_err(failed)?;
        stream.write_all(body).map_err(failed)?;
        self.answer(method).map_err(failed)
    }

    fn head(&self, method: &str, path: &str, query: &str, len: usize) -> String {
        const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";
        let Self { host, day, .. } = self;
        let stamp = stamp(SystemTime::now());
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{stamp}\n\n\
             {SIGNED}\nUNSIGNED-PAYLOAD"
        );
        let digest = hex(&Sha256::digest(canonical));
        let scope = format!("{day}/{}/s3/aws4_request", self.store.region);
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}");
        let signature = calculate_signature(&self.signing_key, text.as_bytes());
        let mark = if query.is_empty() { "" } else { "?" };
        format!(
            "{method} {path}{mark}{query} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len}\r\n\
             x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nx-amz-date: {stamp}\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential={}/{scope}, SignedHeaders={SIGNED}, Signature={signature}\r\n\r\n",
            self.store.access_key
        )
    }

    fn answer(&mut self, method: &str) -> std::io::Result<Answer> {
        let status = self.line()?.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let (mut len, mut chunked) = (0, false);
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => len = value.trim().parse().unwrap_or(0),
                "transfer-encoding" => chunked = true,
                _ => {}
            }
        }
        let mut body = Vec::new();
        if method == "HEAD" {
            return Ok(Answer { status, body });
        }
        if !chunked {
            body.resize(len, 0);
            self.stream.read_exact(&mut body)?;
            return Ok(Answer { status, body });
        }
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).unwrap_or(0);
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(&mut body[start..])?;
            self.line()?;
            if size == 0 {
                return Ok(Answer { status, body });
            }
        }
    }

    /// A line without its end; one that doesn't come is an error.
    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// All objects of a bucket. Keys that need no encoding alone.
    pub fn list(&mut self, bucket: &str) -> Result<Vec<Listed>, String> {
        let (mut found, mut token) = (Vec::new(), None::<String>);
        loop {
            let query = match &token {
                None => "list-type=2".to_owned(),
                Some(token) => format!("continuation-token={}&list-type=2", encoded(token)),
            };
            let answer = self.send("GET", &format!("/{bucket}"), &query, &[])?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            if answer.status != 200 {
                return Err(format!("the listing of {bucket} ended with {}: {text}", answer.status));
            }
            for entry in text.split("<Contents>").skip(1) {
                let of = |name: &str| between(entry, name).unwrap_or_default();
                found.push(Listed {
                    key: of("Key").to_owned(),
                    etag: of("ETag").replace("&quot;", "").replace('"', ""),
                    len: of("Size").parse().map_err(|_| format!("a size in the listing: {entry}"))?,
                });
            }
            token = between(&text, "NextContinuationToken").map(str::to_owned);
            if token.is_none() {
                return Ok(found);
            }
        }
    }
}

fn between<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// As a query's value is signed ("Create a canonical request", UriEncode).
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// `20240131T235959Z`, from the days since 1970 (Hinnant, "chrono-compatible low-level date algorithms").
fn stamp(now: SystemTime) -> String {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_stamped() {
        let at = |seconds| stamp(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        assert_eq!(at(1_369_353_600), "20130524T000000Z");
        assert_eq!(at(1_709_251_199), "20240229T235959Z");
        assert_eq!(at(0), "19700101T000000Z");
    }
}
