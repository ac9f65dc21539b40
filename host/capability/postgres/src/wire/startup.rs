//! From a socket to a session: TLS, start-up, authentication.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use godwit_model::{Error, Fault};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::stream::Stream;
use super::{READ, Wire, text};
use crate::config::{Config, SslMode};
use crate::errors::{Failure, io_error};
use crate::session::{backend, pins};
use crate::tls;

impl Wire {
    /// Connects, authenticates and pins the session's settings.
    pub async fn connect(config: &Config, database: &str, application: &str) -> Result<Self, Failure> {
        let at = config.identity(database);
        let begun = async {
            let stream = open(config, &at).await?;
            let mut wire = Wire {
                stream,
                inbox: BytesMut::with_capacity(READ),
                pending_frame: 0,
                unawaited: 0,
                backend: None,
                enlisted: None,
                at: at.clone(),
            };
            wire.start(config, database, application).await?;
            wire.backend = backend(&wire.simple(&pins(config, true)).await?);
            Ok(wire)
        };
        tokio::time::timeout(config.connect_timeout, begun).await.unwrap_or_else(|_| {
            let seconds = config.connect_timeout.as_secs();
            Err(Error::unavailable(format!("{at}: no session within {seconds} s"))
                .hint("check host, port and firewall; `connect_timeout` allows more time")
                .into())
        })
    }

    async fn start(&mut self, config: &Config, database: &str, application: &str) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        let parameters = [
            ("user", config.user.as_str()),
            ("database", database),
            ("application_name", application),
            ("client_encoding", "UTF8"),
        ];
        frontend::startup_message(parameters, &mut out).map_err(|e| self.broken("start-up", &e))?;
        self.send(&out).await?;
        let mut scram = None;
        loop {
            let mut message = self.message().await?;
            match message.tag {
                b'R' if message.body.len() >= 4 => {
                    let method = message.body.get_i32();
                    if method == 0 {
                        continue;
                    }
                    let answer = self.answer(config, database, method, &message.body, &mut scram)?;
                    if !answer.is_empty() {
                        self.send(&answer).await?;
                    }
                }
                // The key to cancel by, which a proxy makes up: `pg_backend_pid()` is the process.
                b'K' => {}
                b'E' => return Err(self.failure(&message.body, 0)),
                b'Z' => return Ok(()),
                // NegotiateProtocolVersion: an older server, which speaks 3.0 all the same.
                b'v' => {}
                tag => return Err(self.unexpected(tag)),
            }
        }
    }

    /// What to answer to an authentication request (manual, section 55.2.1).
    fn answer(
        &self,
        config: &Config,
        database: &str,
        method: i32,
        body: &[u8],
        scram: &mut Option<ScramSha256>,
    ) -> Result<BytesMut, Failure> {
        let mut out = BytesMut::new();
        let refuse = |why: String| -> Failure {
            Error::failed(format!("{}: {why}", self.at))
                .fault(Fault::Recipe)
                .hint("check user and password of the connection")
                .into()
        };
        let password = || {
            config.password(database).ok_or_else(|| {
                refuse(format!(
                    "the server asks for a password of `{}`, and {}",
                    config.user,
                    config.no_password()
                ))
            })
        };
        let io = |e: std::io::Error| refuse(format!("authentication failed: {e}"));
        match method {
            3 => frontend::password_message(password()?.expose().as_bytes(), &mut out).map_err(io)?,
            5 => {
                let salt = *body.first_chunk::<4>().ok_or_else(|| self.unexpected(b'R'))?;
                let hash = md5_hash(config.user.as_bytes(), password()?.expose().as_bytes(), salt);
                frontend::password_message(hash.as_bytes(), &mut out).map_err(io)?;
            }
            10 => {
                if !body.split(|b| *b == 0).any(|m| text(m) == SCRAM_SHA_256) {
                    return Err(refuse(
                        "the server offers no SCRAM-SHA-256 without channel binding".to_owned(),
                    ));
                }
                let begun = ScramSha256::new(password()?.expose().as_bytes(), ChannelBinding::unsupported());
                frontend::sasl_initial_response(SCRAM_SHA_256, begun.message(), &mut out).map_err(io)?;
                *scram = Some(begun);
            }
            11 => {
                let scram = scram.as_mut().ok_or_else(|| self.unexpected(b'R'))?;
                scram.update(body).map_err(io)?;
                frontend::sasl_response(scram.message(), &mut out).map_err(io)?;
            }
            12 => {
                let scram = scram.as_mut().ok_or_else(|| self.unexpected(b'R'))?;
                scram.finish(body).map_err(|e| {
                    refuse(format!("the server couldn't prove that it knows the password: {e}"))
                })?;
            }
            other => return Err(refuse(format!("authentication method {other} isn't supported"))),
        }
        Ok(out)
    }
}

async fn open(config: &Config, at: &str) -> Result<Stream, Failure> {
    #[cfg(unix)]
    if config.is_local() {
        let path = format!("{}/.s.PGSQL.{}", config.host, config.port);
        let stream =
            tokio::net::UnixStream::connect(path).await.map_err(|e| io_error(at, "can't connect", &e))?;
        return Ok(Stream::Unix(stream));
    }
    let mut stream = TcpStream::connect((config.host.as_str(), config.port))
        .await
        .map_err(|e| io_error(at, "can't connect", &e))?;
    stream.set_nodelay(true).map_err(|e| io_error(at, "can't set TCP_NODELAY", &e))?;
    if let Some(keepalive) = config.keepalive {
        let probes = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(keepalive.idle.into()))
            .with_interval(Duration::from_secs(keepalive.interval.into()))
            .with_retries(keepalive.count);
        socket2::SockRef::from(&stream)
            .set_tcp_keepalive(&probes)
            .map_err(|e| io_error(at, "can't set keep-alives", &e))?;
    }
    let Some(client) = tls::client(config)? else { return Ok(Stream::Plain(stream)) };
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    stream.write_all(&out).await.map_err(|e| io_error(at, "TLS request", &e))?;
    let answer = stream.read_u8().await.map_err(|e| io_error(at, "TLS request", &e))?;
    if answer != b'S' {
        if config.ssl_mode == SslMode::Prefer {
            return Ok(Stream::Plain(stream));
        }
        return Err(Error::failed(format!("{at}: the server offers no TLS"))
            .fault(Fault::Recipe)
            .hint("sslmode=disable connects without it, where the network is trusted")
            .into());
    }
    let tls = TlsConnector::from(client).connect(tls::server_name(config)?, stream).await.map_err(|e| {
        Error::failed(format!("{at}: TLS failed: {e}"))
            .hint("check `sslmode` and `sslrootcert` of the connection")
    })?;
    Ok(Stream::Tls(Box::new(tls)))
}
