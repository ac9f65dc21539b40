//! One HTTP client for a connection, shared by the bulk path and the SDK: bounded, with timeouts.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector as SdkHttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector,
    http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use godwit_model::{Error, Result};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::endpoint::Endpoint;
use crate::fault;
use crate::pace::{Pace, Permit, asks_to_wait, retry_after};

/// Any error of a body or of the way to the endpoint.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;
/// The body of a request.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// What one read from a connection takes at most, in bytes: every connection keeps a buffer of it.
const READ_AT_ONCE: usize = 128 << 10;

/// A connection's HTTP client.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    pub pace: Arc<Pace>,
    pub patience: Patience,
}

/// How long an endpoint may stay silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Before it answers, and between two pieces of a body.
    pub silence: Duration,
    /// While it moves data on its own side: a copy, the joining of parts.
    pub long_work: Duration,
    /// How long one effect may go on with what comes to nothing (see `patience`).
    pub effect: Duration,
    /// The slowest uplink that a request's time limit allows for, in bytes a second.
    pub slowest: u64,
}

impl Default for Patience {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Self { silence: minutes(1), long_work: minutes(15), effect: minutes(5), slowest: 32 << 10 }
    }
}

/// Whether a request waits for one of the connection's permits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Waits,
    /// The request's body comes from another request that holds a permit: waiting for a second one could deadlock.
    Rides,
}

/// An answer whose body is still to be read.
pub(crate) struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Incoming,
    /// Held until the body has been read.
    permit: Option<Permit>,
    pace: Arc<Pace>,
    silence: Duration,
}

impl Http {
    pub fn new(endpoint: &Endpoint, patience: Patience) -> Result<Self> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_keepalive(Some(Duration::from_secs(60)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(endpoint)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(endpoint.max_connections)
            .http1_max_buf_size(READ_AT_ONCE)
            .build(connector);
        Ok(Self { client, pace: Arc::new(Pace::new(endpoint)), patience })
    }

    /// Sends a request and waits for the head of its answer. `len` is the length of its body.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        doing: &str,
        request: http::Request<Body>,
        len: u64,
        turn: Turn,
    ) -> Result<Reply> {
        let permit = match turn {
            Turn::Waits => Some(self.pace.permit().await),
            Turn::Rides => None,
        };
        self.pace.begin().await;
        if let Some(bytes) = self.pace.bytes.as_ref().filter(|_| len > 0) {
            bytes.take(len).await;
        }
        let limit = self.patience.silence + Duration::from_secs(len / self.patience.slowest);
        match tokio::time::timeout(limit, self.client.request(request)).await {
            Ok(Ok(reply)) => {
                let (head, body) = reply.into_parts();
                let (status, headers) = (head.status.as_u16(), head.headers);
                self.heed(status, &headers);
                let (pace, silence) = (self.pace.clone(), self.patience.silence);
                Ok(Reply { status, headers, body, permit, pace, silence })
            }
            Ok(Err(error)) => Err(fault::of_transport(endpoint, doing, &error)),
            Err(_) => Err(silent(endpoint, doing, limit)),
        }
    }

    /// Goes by what an answer says of the pace.
    fn heed(&self, status: u16, headers: &http::HeaderMap) {
        match asks_to_wait(status) {
            true => self.pace.refused(retry_after(headers)),
            false => self.pace.answered(),
        }
    }

    /// The same client for the SDK.
    pub fn for_sdk(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(Bridge(self.clone()));
        http_client_fn(move |_, _| connector.clone())
    }
}

/// TLS by the system's certificates, or by the bundled ones where the machine has none.
fn tls(endpoint: &Endpoint) -> Result<rustls::ClientConfig> {
    use hyper_rustls::ConfigBuilderExt as _;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = || {
        rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::host(format!("connection `{}`: TLS can't be set up: {e}", endpoint.name)))
    };
    if endpoint.scheme == "https"
        && let Ok(native) = builder()?.with_native_roots()
    {
        return Ok(native.with_no_client_auth());
    }
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

pub(crate) fn silent(endpoint: &Endpoint, doing: &str, limit: Duration) -> Error {
    Error::unavailable(format!(
        "connection `{}`: {doing}: the store was silent for {} s",
        endpoint.name,
        limit.as_secs_f64().ceil()
    ))
}

impl Reply {
    /// Gives the permit back before the body has been read: its reader makes requests of its own meanwhile, and is
    /// bounded by something else.
    pub fn release(&mut self) {
        self.permit = None;
    }

    /// The next piece of the body; `None` at its end. A body that breaks off is an error.
    pub async fn chunk(&mut self, endpoint: &Endpoint, doing: &str) -> Result<Option<Bytes>> {
        loop {
            match tokio::time::timeout(self.silence, self.body.frame()).await {
                Err(_) => return Err(silent(endpoint, doing, self.silence)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(fault::of_transport(endpoint, doing, &error)),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        if let Some(bytes) = &self.pace.bytes {
                            bytes.take(data.len() as u64).await;
                        }
                        return Ok(Some(data));
                    }
                    // Trailers.
                    Err(_) => {}
                },
            }
        }
    }

    /// The whole body, at most `limit` bytes of it: for small answers and error documents.
    pub async fn text(&mut self, endpoint: &Endpoint, doing: &str, limit: usize) -> Result<String> {
        let mut out = Vec::new();
        while let Some(chunk) = self.chunk(endpoint, doing).await? {
            out.extend_from_slice(&chunk);
            if out.len() > limit {
                out.truncate(limit);
                break;
            }
        }
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// A header as text; bytes that aren't UTF-8 are replaced.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }
}

/// Carries requests of the SDK over our client.
#[derive(Clone)]
struct Bridge(Http);

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bridge")
    }
}

impl SdkHttpConnector for Bridge {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request =
                request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?.map(Body::new);
            let _permit = http.pace.permit().await;
            http.pace.begin().await;
            let reply = tokio::time::timeout(http.patience.long_work, http.client.request(request))
                .await
                .map_err(|elapsed| ConnectorError::timeout(elapsed.into()))?
                .map_err(|error| ConnectorError::io(error.into()))?;
            http.heed(reply.status().as_u16(), reply.headers());
            reply
                .map(SdkBody::from_body_1_x)
                .try_into()
                .map_err(|error| ConnectorError::other(Box::new(error) as BoxError, None))
        })
    }
}
