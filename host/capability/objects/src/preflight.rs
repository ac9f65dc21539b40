//! A browser's question before a request to another origin (Fetch standard, "CORS-preflight fetch").

use godwit_model::capability::{Bucketed, Preflight, PreflightAsk};
use godwit_model::{Error, Result};
use http::{HeaderValue, Method};

use crate::fault;
use crate::store::{Call, Store, patiently};

impl Store {
    /// Asks as a browser would, without credentials: any answer is one, but those that ask to wait.
    pub async fn preflight(&self, at: &Bucketed, ask: &PreflightAsk) -> Result<Preflight> {
        let value = |what: &str, text: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| Error::invalid(format!("the preflight's {what} `{text}` is no header value")))
        };
        let mut names: Vec<String> = ask.headers.iter().map(|name| name.to_ascii_lowercase()).collect();
        names.sort();
        let doing = format!("preflight of {}/{}", at.bucket, at.key);
        patiently(|_| async {
            let mut call = Call::new(Method::OPTIONS, &at.bucket, Some(&at.key));
            call.signed = false;
            call.headers.insert(http::header::ORIGIN, value("origin", &ask.origin)?);
            call.headers.insert(http::header::ACCESS_CONTROL_REQUEST_METHOD, value("method", &ask.method)?);
            if !names.is_empty() {
                call.headers.insert(
                    http::header::ACCESS_CONTROL_REQUEST_HEADERS,
                    value("list of headers", &names.join(","))?,
                );
            }
            let mut reply = self.call(call).await?;
            if matches!(reply.status, 429 | 500 | 502 | 503 | 504) {
                return Err(fault::of_answer(&self.endpoint, &doing, reply.status, None, None));
            }
            let headers = reply
                .headers
                .iter()
                .filter(|(name, _)| name.as_str().starts_with("access-control-"))
                .map(|(name, value)| {
                    (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                })
                .collect();
            let status = reply.status;
            // Read to its end, so that the connection can be used again.
            let _ = reply.text(&self.endpoint, &doing, 16 << 10).await;
            Ok(Preflight { status, headers })
        })
        .await
    }
}
