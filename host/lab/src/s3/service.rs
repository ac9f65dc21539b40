//! The door: accepts connections, logs requests, answers preflights, and acts out the faults that no S3
//! operation could by itself (silence, cut bodies, resets).

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::service::S3Service;
use s3s::{Body, HttpResponse};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::backend::lock;
use super::conditions::Treatment;
use super::cors;
use super::store::Store;
use super::traffic::{Fault, Request, Traffic};

#[derive(Clone)]
pub struct Door {
    pub service: S3Service,
    pub store: Arc<Mutex<Store>>,
    pub traffic: Arc<Mutex<Traffic>>,
}

/// Why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the lab cut this connection")]
struct Cut;

impl Door {
    /// Serves until the runtime ends.
    pub async fn serve(self, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, say: they come back when connections end.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            // Without it, Nagle and delayed acknowledgements make every small answer take 40 ms.
            let _ = stream.set_nodelay(true);
            let door = self.clone();
            tokio::spawn(async move {
                let reset = Arc::new(AtomicBool::new(false));
                let wire = Wire { stream, reset: Arc::clone(&reset) };
                let service = service_fn(move |request| {
                    let (door, reset) = (door.clone(), Arc::clone(&reset));
                    async move { door.answer(request, reset).await }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new());
                // An error here is a client that went away, or a fault that was asked for.
                let _ = http.serve_connection(TokioIo::new(wire), service).await;
            });
        }
    }

    async fn answer(
        self,
        request: http::Request<Incoming>,
        reset: Arc<AtomicBool>,
    ) -> Result<HttpResponse, Cut> {
        let seen = Request::of(request.method(), request.uri(), request.headers());
        let origin =
            request.headers().get(header::ORIGIN).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let asked: Vec<String> = preflight_words(request.headers());
        let faults = lock(&self.traffic).meet(seen.clone());

        let mut treatment = Treatment::default();
        let (mut cut_request, mut cut_answer, mut truncate, mut lose, mut wrong) =
            (None, None, None, false, false);
        for fault in faults {
            match fault {
                Fault::Unavailable { .. } => {
                    drain(request.into_body()).await;
                    return Ok(slow_down());
                }
                Fault::Delay { millis, .. } => tokio::time::sleep(Duration::from_millis(millis)).await,
                Fault::IgnoreConditions => treatment.ignore_conditions = true,
                Fault::WrongEtag => wrong = true,
                Fault::LoseCompleteAnswer { .. } => lose = true,
                Fault::TruncateBody { after_bytes, .. } => truncate = Some(after_bytes),
                Fault::ResetConnection { after_bytes, .. }
                    if matches!(*request.method(), Method::PUT | Method::POST) =>
                {
                    cut_request = Some(after_bytes);
                }
                Fault::ResetConnection { after_bytes, .. } => cut_answer = Some(after_bytes),
            }
        }
        if request.method() == Method::OPTIONS {
            return Ok(self.preflight(&seen, origin.as_deref(), &asked));
        }

        let mut request = request.map(|body| match cut_request {
            None => Body::from(body),
            Some(bytes) => {
                reset.store(true, Ordering::Release);
                cut(BodyStream::new(body), bytes)
            }
        });
        request.extensions_mut().insert(treatment);
        let mut response = self.service.call(request).await.map_err(|_| Cut)?;
        if lose || cut_request.is_some() {
            return Err(Cut);
        }
        if let (true, Some(etag)) = (wrong, response.headers_mut().get_mut(header::ETAG)) {
            *etag = HeaderValue::from_static("\"00000000000000000000000000000bad\"");
        }
        if let Some(origin) = origin {
            let rules = seen.bucket.and_then(|bucket| lock(&self.store).buckets.get(&bucket)?.cors.clone());
            if let Some(headers) = rules.and_then(|rules| cors::allow(&rules, &origin, &seen.method, &[])) {
                response.headers_mut().extend(headers);
            }
        }
        let Some(bytes) = cut_answer.or(truncate) else { return Ok(response) };
        if cut_answer.is_some() {
            reset.store(true, Ordering::Release);
        }
        Ok(response.map(|body| cut(BodyStream::new(body), bytes)))
    }

    fn preflight(&self, seen: &Request, origin: Option<&str>, asked: &[String]) -> HttpResponse {
        let rules =
            seen.bucket.as_ref().and_then(|bucket| lock(&self.store).buckets.get(bucket)?.cors.clone());
        let method = seen.header("access-control-request-method").unwrap_or_default();
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        let headers =
            origin.zip(rules).and_then(|(origin, rules)| cors::allow(&rules, origin, method, &asked));
        let mut response = Response::new(Body::empty());
        match headers {
            Some(headers) => *response.headers_mut() = headers,
            None => {
                let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>AccessForbidden</Code>\
                            <Message>CORSResponse: This CORS request is not allowed.</Message></Error>";
                *response.status_mut() = StatusCode::FORBIDDEN;
                *response.body_mut() = Body::from(text.to_owned());
            }
        }
        response
    }
}

fn preflight_words(headers: &http::HeaderMap) -> Vec<String> {
    let value = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok());
    let words = value.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn slow_down() -> HttpResponse {
    let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SlowDown</Code>\
                <Message>Please reduce your request rate.</Message></Error>";
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Reads a body that nobody wants, so that the connection can go on.
async fn drain(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// The first `limit` bytes of a body, then an error; a body that is shorter ends in the error too.
fn cut<S, E>(frames: S, limit: u64) -> Body
where
    S: Stream<Item = Result<Frame<Bytes>, E>> + Send + 'static,
    E: Send + 'static,
{
    let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
    let head =
        frames.filter_map(|frame| async { frame.ok()?.into_data().ok() }).scan((), move |(), mut data| {
            data.truncate(left);
            left -= data.len();
            std::future::ready((!data.is_empty()).then_some(Ok::<_, Cut>(Frame::data(data))))
        });
    let tail = stream::once(async {
        // What was written so far reaches the other side first.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(Cut)
    });
    Body::http_body_unsync(StreamBody::new(head.chain(tail)))
}

/// A connection that can end in a TCP reset instead of an orderly close.
struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Acquire) {
            // Closing with a linger time of zero sends RST (socket(7), SO_LINGER).
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Acquire) {
            return Poll::Ready(Ok(())); // A FIN would come before the RST.
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
