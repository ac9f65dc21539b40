//! The door: accepts connections, logs requests, answers preflights, and acts out the faults that no S3
//! operation could by itself (silence, cut bodies, resets).

use std::collections::BTreeMap;
use std::io::{self, Read};
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

use super::backend::{Rules, lock};
use super::conditions::Treatment;
use super::cors;
use super::generated::Generated;
use super::r2;
use super::receive::CHECKSUMS;
use super::store::Store;
use super::traffic::{Fault, Request, Traffic};

#[derive(Clone)]
pub struct Door {
    pub service: S3Service,
    pub store: Arc<Mutex<Store>>,
    pub traffic: Arc<Mutex<Traffic>>,
    pub rules: Rules,
    pub generated: Arc<Mutex<BTreeMap<String, Generated>>>,
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

        let mut treatment =
            Treatment { ignore_conditions: self.rules.ignores_conditions, ..Treatment::default() };
        let (mut cut_request, mut cut_answer, mut truncate, mut lose) = (None, None, None, false);
        let (mut wrong_etag, mut wrong_checksum, mut decode, mut change) = (false, false, false, None);
        let (mut corrupt, mut swallow) = (false, false);
        for fault in faults {
            match fault {
                Fault::Unavailable { .. } => {
                    drain(request.into_body()).await;
                    return Ok(refusal(503, "SlowDown", "Please reduce your request rate."));
                }
                Fault::TooManyRequests { .. } => {
                    drain(request.into_body()).await;
                    return Ok(refusal(429, "TooManyRequests", "Please reduce your request rate."));
                }
                Fault::RetryAfter { status, seconds, .. } => {
                    drain(request.into_body()).await;
                    let mut answer = refusal(status, "SlowDown", "Please reduce your request rate.");
                    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                    return Ok(answer);
                }
                Fault::InternalError { .. } => {
                    drain(request.into_body()).await;
                    return Ok(refusal(500, "InternalError", "We encountered an internal error."));
                }
                Fault::ConcurrentWrite { .. } => {
                    drain(request.into_body()).await;
                    let message =
                        "A conflicting operation occurred. If using PutObject you can retry the request.";
                    return Ok(refusal(409, "ConditionalRequestConflict", message));
                }
                Fault::HalfOpen { millis, .. } => {
                    drain(request.into_body()).await;
                    match millis {
                        Some(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
                        None => std::future::pending().await,
                    }
                    return Err(Cut);
                }
                Fault::RefuseToken { .. } => {
                    return Ok(refusal(
                        400,
                        "InvalidArgument",
                        "The continuation token provided is incorrect",
                    ));
                }
                Fault::Delay { millis, .. } => tokio::time::sleep(Duration::from_millis(millis)).await,
                Fault::IgnoreConditions => treatment.ignore_conditions = true,
                Fault::StaleListing { millis } => treatment.hide_newer = Some(Duration::from_millis(millis)),
                Fault::RepeatPage { .. } => treatment.repeat_page = true,
                Fault::WrongEtag => wrong_etag = true,
                Fault::WrongChecksum => wrong_checksum = true,
                Fault::DecodeGzip => decode = true,
                Fault::CorruptBody { .. } => corrupt = true,
                Fault::LoseCompleteAnswer { .. } => lose = true,
                Fault::SwallowAnswer { .. } => swallow = true,
                Fault::TruncateBody { after_bytes, .. } => truncate = Some(after_bytes),
                Fault::ChangeBefore { .. } => self.change(&seen),
                Fault::ChangeDuring { after_bytes, .. } => change = Some(after_bytes),
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
        if self.rules.r2
            && let Some(why) = r2::refuses(&seen)
        {
            drain(request.into_body()).await;
            return Ok(refusal(501, "NotImplemented", &why));
        }
        let listing = seen.bucket.as_ref().and_then(|name| lock(&self.generated).get(name).cloned());
        if let Some(answer) = listing.and_then(|listing| listing.answer(&seen, self.rules.page_size)) {
            return Ok(answer);
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
        if swallow {
            std::future::pending::<()>().await;
        }
        if lose || cut_request.is_some() {
            return Err(Cut);
        }
        if self.rules.encrypts {
            let how = HeaderValue::from_static("aws:kms");
            response.headers_mut().insert("x-amz-server-side-encryption", how);
        }
        if let (true, Some(etag)) = (wrong_etag, response.headers_mut().get_mut(header::ETAG)) {
            *etag = HeaderValue::from_static("\"00000000000000000000000000000bad\"");
        }
        if wrong_checksum {
            for name in CHECKSUMS {
                if let Some(sum) = response.headers_mut().get_mut(name) {
                    // Of the right length, and of nothing that anybody has.
                    let zeros =
                        sum.len().saturating_sub(sum.as_bytes().iter().filter(|b| **b == b'=').count());
                    let text = "A".repeat(zeros) + &"=".repeat(sum.len() - zeros);
                    *sum = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
                }
            }
        }
        if let Some(origin) = origin {
            let rules = seen
                .bucket
                .as_ref()
                .and_then(|bucket| lock(&self.store).buckets.get(bucket)?.settings.cors.clone());
            if let Some(headers) = rules.and_then(|rules| cors::allow(&rules, &origin, &seen.method, &[])) {
                response.headers_mut().extend(headers);
            }
        }
        if decode && response.headers().get(header::CONTENT_ENCODING).is_some_and(|held| held == "gzip") {
            response = decoded(response).await?;
        }
        if corrupt {
            response = response.map(corrupted);
        }
        if let Some(after) = change {
            // Nobody asks for more once the length is reached, so it happens before the last byte at the latest.
            let len = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
            let len: u64 = len.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
            let after = after.min(len.saturating_sub(1));
            let door = self.clone();
            response = response.map(|body| watched(body, after, move || door.change(&seen)));
        }
        let Some(bytes) = cut_answer.or(truncate) else { return Ok(response) };
        if cut_answer.is_some() {
            reset.store(true, Ordering::Release);
        }
        Ok(response.map(|body| cut(BodyStream::new(body), bytes)))
    }

    /// Gives the object of a request another content, behind everybody's back.
    fn change(&self, seen: &Request) {
        let (Some(bucket), Some(key)) = (&seen.bucket, &seen.key) else { return };
        let mut store = lock(&self.store);
        if let Some(object) = store.object(bucket, key).map(|held| held.changed()) {
            // A folder that can't be written shows at the next request.
            let _ = store.put(bucket, key, object);
        }
    }

    fn preflight(&self, seen: &Request, origin: Option<&str>, asked: &[String]) -> HttpResponse {
        let rules = seen
            .bucket
            .as_ref()
            .and_then(|bucket| lock(&self.store).buckets.get(bucket)?.settings.cors.clone());
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

fn refusal(status: u16, code: &str, message: &str) -> HttpResponse {
    let message = message.replace('&', "&amp;").replace('<', "&lt;");
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// An answer whose gzip was taken off, in chunks, and without what was true of the encoded bytes alone.
async fn decoded(response: HttpResponse) -> Result<HttpResponse, Cut> {
    let (mut head, body) = response.into_parts();
    let bytes = BodyExt::collect(body).await.map_err(|_| Cut)?.to_bytes();
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).map_err(|_| Cut)?;
    for name in [header::CONTENT_ENCODING, header::CONTENT_LENGTH, header::ACCEPT_RANGES] {
        head.headers.remove(name);
    }
    let chunks: Vec<_> = plain.chunks(64 << 10).map(Bytes::copy_from_slice).collect();
    let frames = stream::iter(chunks.into_iter().map(|chunk| Ok::<_, Cut>(Frame::data(chunk))));
    Ok(Response::from_parts(head, Body::http_body_unsync(StreamBody::new(frames))))
}

/// A body whose first byte is another one.
fn corrupted(body: Body) -> Body {
    let mut whole = true;
    let pieces = BodyStream::new(body).map(move |frame| {
        let mut data = frame?.into_data().unwrap_or_default().to_vec();
        if let Some(first) = data.first_mut().filter(|_| whole) {
            *first ^= 0xff;
            whole = false;
        }
        Ok::<_, s3s::StdError>(Frame::data(Bytes::from(data)))
    });
    Body::http_body_unsync(StreamBody::new(pieces))
}

/// What is done once, until it is done.
type Once = Option<Box<dyn FnOnce() + Send>>;

/// A body that does something once, when more bytes of it are taken than this, or at its end.
fn watched(body: Body, after: u64, act: impl FnOnce() + Send + 'static) -> Body {
    let mut left = usize::try_from(after).unwrap_or(usize::MAX);
    let act: Arc<Mutex<Once>> = Arc::new(Mutex::new(Some(Box::new(act))));
    let run = |act: &Mutex<Once>| {
        let taken = lock(act).take();
        if let Some(act) = taken {
            act();
        }
    };
    let at_the_end = Arc::clone(&act);
    let pieces = BodyStream::new(body).flat_map(move |frame| {
        let mut data = match frame.map(|frame| frame.into_data().unwrap_or_default()) {
            Ok(data) => data,
            Err(error) => return stream::iter(vec![Err(error)]),
        };
        if left >= data.len() {
            left -= data.len();
            return stream::iter(vec![Ok(Frame::data(data))]);
        }
        let rest = data.split_off(left);
        left = usize::MAX;
        run(&act);
        stream::iter(vec![Ok(Frame::data(data)), Ok(Frame::data(rest))])
    });
    let end = stream::once(async move { run(&at_the_end) }).filter_map(|()| std::future::ready(None));
    Body::http_body_unsync(StreamBody::new(pieces.chain(end)))
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

    // Without these two, hyper copies each body into one buffer first.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
