//! A connection's settings, parsed once: where the endpoint is and how it wants to be asked.

use std::net::IpAddr;
use std::sync::Arc;

use godwit_model::capability::Connection;
use godwit_model::secret::Secret;
use godwit_model::{Error, Json, Result};
use url::{Host, Url};

use crate::credentials::{Found, Surroundings};
use crate::vendor::{self, Vendor};

/// How a request names its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressing {
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    Virtual,
}

/// The settings of an `s3` connection.
pub const SETTINGS: &[&str] = &[
    "endpoint",
    "region",
    "credentials",
    "profile",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "addressing",
    "vendor",
    "max_connections",
    "max_bandwidth",
    "max_requests_per_second",
];

const DEFAULT_CONNECTIONS: u64 = 32;

/// A checked connection.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The connection's name in the recipe.
    pub name: String,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// Host, with the port where it isn't the scheme's own.
    pub authority: String,
    /// A path in front of every bucket, without a trailing slash; mostly empty.
    pub base: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: Secret,
    pub session_token: Option<Secret>,
    pub addressing: Addressing,
    pub vendor: &'static Vendor,
    /// Nobody on the way can alter a body: it goes through TLS, or doesn't leave this machine.
    pub unaltered: bool,
    pub max_connections: usize,
    /// Requests go unsigned.
    pub anonymous: bool,
    /// Bytes a second, of bodies in both directions.
    pub max_bandwidth: Option<u64>,
    pub max_requests: Option<u64>,
    /// `s3://host:port/`, or the setting's masked text where that holds a secret.
    pub identity: String,
}

impl Endpoint {
    pub fn parse(connection: &Connection) -> Result<Self> {
        Self::parse_in(connection, &Surroundings::real())
    }

    fn parse_in(connection: &Connection, surroundings: &Surroundings) -> Result<Self> {
        let name = connection.name.as_str();
        let wrong = |field: &str, why: &str| Error::invalid(format!("connection `{name}`: `{field}` {why}"));
        if let Some(unknown) =
            connection.settings.keys().find(|key| !SETTINGS.contains(&key.as_str()) && *key != "kind")
        {
            return Err(wrong(unknown, "is no setting of an s3 connection")
                .hint(format!("the settings are: {}", SETTINGS.join(", "))));
        }
        let text = |field: &str| -> Result<Option<String>> {
            match connection.settings.get(field) {
                None | Some(Json::Null) => Ok(None),
                Some(Json::String(text)) if text.is_empty() => Ok(None),
                Some(Json::String(_)) => {
                    Ok(connection.reveal(field).map(|secret| secret.expose().to_owned()))
                }
                Some(_) => Err(wrong(field, "has to be a text")),
            }
        };

        let given = text("access_key_id")?;
        let found = match text("credentials")?.as_deref() {
            None | Some("keys") => {
                let required = |field: &str, value: Option<String>| {
                    value.ok_or_else(|| {
                        wrong(field, "is missing").hint(
                            "give the access key of the store, as an input of type `secret`, or `credentials`: \
                             `environment`, `profile` or `anonymous`",
                        )
                    })
                };
                Found {
                    access_key: required("access_key_id", given)?,
                    secret_key: Some(Secret::new(required("secret_access_key", text("secret_access_key")?)?)),
                    session_token: text("session_token")?.map(Secret::new),
                    ..Found::default()
                }
            }
            Some(other) if given.is_some() => {
                return Err(wrong("access_key_id", &format!("is given beside `credentials`: `{other}`"))
                    .hint("give the one or the other"));
            }
            Some("environment") => surroundings.environment(name)?,
            Some("profile") => surroundings.profile(name, text("profile")?.as_deref())?,
            Some("anonymous") => Found::default(),
            Some(other) => {
                let choices = "`keys`, `environment`, `profile` or `anonymous`";
                return Err(wrong("credentials", &format!("is `{other}`; it can be {choices}")));
            }
        };
        let chosen = text("vendor")?
            .map(|vendor| {
                vendor::named(&vendor).ok_or_else(|| {
                    let names: Vec<_> = vendor::VENDORS.iter().map(|v| v.name).collect();
                    wrong("vendor", &format!("is `{vendor}`, which is not known"))
                        .hint(format!("leave it out, or use one of: {}", names.join(", ")))
                })
            })
            .transpose()?;
        let region = text("region")?.or(found.region);
        let endpoint = match (text("endpoint")?.or(found.endpoint), &region) {
            (Some(endpoint), _) => endpoint,
            (None, Some(region)) if chosen.is_none_or(|v| v.name == "aws") && region != "auto" => {
                format!("https://s3.{region}.amazonaws.com")
            }
            (None, _) => {
                return Err(wrong("endpoint", "is missing").hint(
                    "give the URL of the store, such as `https://<account>.r2.cloudflarestorage.com`",
                ));
            }
        };
        let bad_url = |why: &str| {
            wrong("endpoint", why)
                .hint("it has to look like `https://storage.example.com` or `http://127.0.0.1:9000`")
        };
        let url = Url::parse(&endpoint).map_err(|e| bad_url(&format!("is not a URL: {e}")))?;
        let scheme = match url.scheme() {
            "https" => "https",
            "http" => "http",
            _ => return Err(bad_url("is neither http nor https")),
        };
        let host = url.host().ok_or_else(|| bad_url("names no host"))?;
        if url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err(bad_url("has a user, a query or a fragment"));
        }
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let here = match host {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(ip) => ip.is_loopback(),
            Host::Ipv6(ip) => ip.is_loopback(),
        };
        let vendor = chosen.unwrap_or_else(|| vendor::of_host(&host.to_string()));
        let addressing = match text("addressing")?.as_deref() {
            None => default_addressing(&host, vendor),
            Some("path") => Addressing::Path,
            Some("virtual") => Addressing::Virtual,
            Some(other) => {
                return Err(wrong("addressing", &format!("is `{other}`; it can be `path` or `virtual`")));
            }
        };
        let whole = |field: &str, most: u64| match connection.settings.get(field) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => value
                .as_u64()
                .or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n > 0.0).map(|n| n as u64))
                .or_else(|| value.as_str()?.parse().ok())
                .filter(|n| (1..=most).contains(n))
                .map(Some)
                .ok_or_else(|| wrong(field, &format!("has to be a whole number from 1 to {most}"))),
        };
        let max_connections = whole("max_connections", 1024)?.unwrap_or(DEFAULT_CONNECTIONS);
        let hidden = connection.shown("endpoint").is_some_and(|shown| connection.secrets.holds_token(shown));
        Ok(Self {
            name: name.to_owned(),
            scheme,
            identity: match connection.shown("endpoint") {
                Some(shown) if hidden => format!("s3://{shown}"),
                _ => {
                    format!("s3://{}:{}{}/", host, url.port_or_known_default().unwrap_or(443), base_of(&url))
                }
            },
            authority,
            unaltered: scheme == "https" || here,
            base: base_of(&url),
            region: region.unwrap_or_else(|| region_of(&host.to_string(), vendor)),
            anonymous: found.secret_key.is_none(),
            access_key: found.access_key,
            secret_key: found.secret_key.unwrap_or_else(|| Secret::new("")),
            session_token: found.session_token,
            max_bandwidth: whole("max_bandwidth", u64::MAX)?,
            max_requests: whole("max_requests_per_second", 1_000_000)?,
            addressing,
            vendor,
            max_connections: max_connections as usize,
        })
    }

    /// Authority and path of a bucket or of an object in it. A bucket whose name has dots is named in the path,
    /// since no wildcard certificate covers it.
    pub fn place(&self, bucket: &str, key: Option<&str>) -> (String, String) {
        let mut path = self.base.clone();
        let mut authority = self.authority.clone();
        match self.addressing {
            Addressing::Virtual if !bucket.contains('.') => authority = format!("{bucket}.{authority}"),
            _ => {
                path.push('/');
                path.push_str(&encode(bucket, false));
            }
        }
        path.push('/');
        if let Some(key) = key {
            path.push_str(&encode(key, true));
        }
        (authority, path)
    }

    /// Whether one request to `self` may read from `other` too: same endpoint, same credentials.
    pub fn is_same_account(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.authority == other.authority
            && self.base == other.base
            && self.access_key == other.access_key
            && self.secret_key == other.secret_key
    }

    /// A store's words without the keys: some of those come from where the run's own masking doesn't know them.
    pub fn masked(&self, text: &str) -> String {
        let secrets = [Some(&self.secret_key), self.session_token.as_ref()];
        secrets
            .into_iter()
            .flatten()
            .map(Secret::expose)
            .filter(|secret| secret.len() >= 4)
            .fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }

    /// The URL of the endpoint itself.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.base)
    }
}

fn base_of(url: &Url) -> String {
    url.path().trim_end_matches('/').to_owned()
}

fn default_addressing(host: &Host<&str>, vendor: &Vendor) -> Addressing {
    match host {
        Host::Domain(name) if name.parse::<IpAddr>().is_err() && vendor.name == "aws" => Addressing::Virtual,
        // Every store but AWS takes the path form, and the other one needs a wildcard in DNS and certificate.
        _ => Addressing::Path,
    }
}

/// `s3.eu-central-1.amazonaws.com` names its region, in one of several places; elsewhere the vendor's row counts.
fn region_of(host: &str, vendor: &Vendor) -> String {
    if vendor.name == "aws" {
        let region = host.split('.').find(|label| label.split('-').count() >= 3 && !label.starts_with("s3-"));
        if let Some(region) = region {
            return region.to_owned();
        }
    }
    vendor.region_in(host).unwrap_or(vendor.region).to_owned()
}

/// Percent-encodes all bytes but the unreserved ones (AWS Signature Version 4, "UriEncode"); `/` stays in a key.
pub(crate) fn encode(text: &str, keep_slash: bool) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len() + 8);
    for &byte in text.as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            b'/' if keep_slash => out.push('/'),
            _ => {
                out.push('%');
                out.push(HEX[usize::from(byte >> 4)] as char);
                out.push(HEX[usize::from(byte & 15)] as char);
            }
        }
    }
    out
}

/// All connections of kind `s3`, checked.
pub(crate) fn parse_all(connections: &[Connection]) -> Result<Vec<Arc<Endpoint>>> {
    connections
        .iter()
        .filter(|connection| connection.kind == godwit_model::plugin::ConnectionKind::S3)
        .map(|connection| Endpoint::parse(connection).map(Arc::new))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use godwit_model::ConnectionName;
    use godwit_model::plugin::ConnectionKind;
    use godwit_model::secret::Secrets;
    use serde_json::json;

    use super::*;

    fn connection(settings: Json) -> Connection {
        let settings: BTreeMap<String, Json> =
            settings.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        Connection {
            name: ConnectionName::new("store"),
            kind: ConnectionKind::S3,
            settings,
            secrets: Arc::new(Secrets::default()),
        }
    }

    fn parse(mut settings: Json) -> Result<Endpoint> {
        settings["access_key_id"] = json!("key");
        settings["secret_access_key"] = json!("not-a-real-secret");
        Endpoint::parse(&connection(settings))
    }

    #[test]
    fn defaults_come_from_the_host() {
        let r2 = parse(json!({ "endpoint": "https://0123.r2.cloudflarestorage.com" })).unwrap();
        assert_eq!((r2.region.as_str(), r2.addressing), ("auto", Addressing::Path));
        assert_eq!(r2.identity, "s3://0123.r2.cloudflarestorage.com:443/");
        let aws = parse(json!({ "region": "eu-central-1" })).unwrap();
        assert_eq!(aws.place("b", Some("k")), ("b.s3.eu-central-1.amazonaws.com".into(), "/k".into()));
        assert_eq!(aws.place("b.c", None).1, "/b.c/");
        let regional = parse(json!({ "endpoint": "https://s3.eu-west-1.amazonaws.com" })).unwrap();
        assert_eq!(regional.region, "eu-west-1");
        let local = parse(json!({ "endpoint": "http://127.0.0.1:9000/", "max_connections": "4" })).unwrap();
        assert_eq!(local.addressing, Addressing::Path);
        assert_eq!(local.place("b", Some("/a//b c+ü")).1, "/b//a//b%20c%2B%C3%BC");
        assert_eq!(local.max_connections, 4);
        assert_eq!(local.identity, "s3://127.0.0.1:9000/");
    }

    #[test]
    fn faults_name_connection_and_field() {
        for (settings, needle) in [
            (json!({ "endpoint": "storage.example.com" }), "`endpoint`"),
            (json!({ "endpoint": "ftp://storage.example.com" }), "neither http nor https"),
            (json!({}), "`endpoint` is missing"),
            (json!({ "endpoint": "https://storage.example.com", "endpiont": 1 }), "`endpiont` is no setting"),
            (json!({ "endpoint": "https://storage.example.com", "vendor": "acme" }), "`vendor` is `acme`"),
            (json!({ "endpoint": "https://storage.example.com", "addressing": "dns" }), "`addressing`"),
            (json!({ "endpoint": "https://storage.example.com", "max_connections": 0 }), "`max_connections`"),
        ] {
            let error = parse(settings).unwrap_err();
            assert!(error.message.contains(needle) && error.message.contains("`store`"), "{error}");
        }
        let missing =
            Endpoint::parse(&connection(json!({ "endpoint": "https://storage.example.com" }))).unwrap_err();
        assert!(missing.message.contains("`access_key_id` is missing"), "{missing}");
    }

    #[test]
    fn keys_may_be_none_but_not_two() {
        let endpoint = "https://storage.example.com";
        let open = connection(json!({ "endpoint": endpoint, "credentials": "anonymous" }));
        let open = Endpoint::parse(&open).unwrap();
        assert!(open.anonymous && open.access_key.is_empty());
        let both = parse(json!({ "endpoint": endpoint, "credentials": "profile" })).unwrap_err();
        assert!(both.message.contains("`access_key_id` is given beside"), "{both}");
        let odd = connection(json!({ "endpoint": endpoint, "credentials": "guess" }));
        assert!(Endpoint::parse(&odd).unwrap_err().message.contains("`credentials` is `guess`"));
    }

    #[test]
    fn what_a_store_says_is_shown_without_the_keys() {
        let endpoint =
            parse(json!({ "endpoint": "https://storage.example.com", "max_bandwidth": 1e6 })).unwrap();
        assert_eq!(endpoint.masked("not with not-a-real-secret"), "not with ***");
        assert_eq!((endpoint.max_bandwidth, endpoint.max_requests), (Some(1_000_000), None));
    }

    #[test]
    fn debug_hides_the_secret_key() {
        let endpoint = parse(json!({ "endpoint": "https://storage.example.com" })).unwrap();
        assert!(!format!("{endpoint:?}").contains("not-a-real-secret"));
    }
}
