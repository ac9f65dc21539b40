//! From a socket to a session: TLS, start-up, authentication.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use godwit_model::{Error, Fault};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding as Binding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::stream::Stream;
use super::{READ, Wire, text};
use crate::channel_binding::{self, ChannelBinding};
use crate::config::{Config, SslMode};
use crate::errors::{Failure, io_error};
use crate::pins;
use crate::tls;

impl Wire {
    /// Connects, authenticates and pins the session's settings.
    pub async fn connect(config: &Config, database: &str, application: &str) -> Result<Self, Failure> {
        let mut wire = Self::begin(config, database, application).await?;
        wire.pin(config).await?;
        Ok(wire)
    }

    /// Connects and authenticates. Nothing may be asked before [`Self::pin`].
    pub async fn begin(config: &Config, database: &str, application: &str) -> Result<Self, Failure> {
        let at = config.identity(database);
        let begun = async {
            let (stream, end_point) = open(config, &at).await?;
            let mut wire = Wire {
                stream,
                inbox: BytesMut::with_capacity(READ),
                pending_frame: 0,
                unawaited: 0,
                backend: None,
                enlisted: None,
                at: at.clone(),
            };
            wire.start(config, database, application, end_point).await?;
            Ok(wire)
        };
        tokio::time::timeout(config.connect_timeout, begun)
            .await
            .unwrap_or_else(|_| Err(too_late(config, &at)))
    }

    /// Pins the session's settings, and learns which process of the server is behind it.
    pub async fn pin(&mut self, config: &Config) -> Result<(), Failure> {
        let request = pins::request(config);
        match tokio::time::timeout(config.connect_timeout, self.simple(&request)).await {
            Ok(replies) => self.backend = pins::backend(&replies?),
            Err(_) => return Err(too_late(config, &self.at)),
        }
        Ok(())
    }

    async fn start(
        &mut self,
        config: &Config,
        database: &str,
        application: &str,
        end_point: Option<Vec<u8>>,
    ) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        let parameters = [
            ("user", config.user.as_str()),
            ("database", database),
            ("application_name", application),
            ("client_encoding", "UTF8"),
        ];
        frontend::startup_message(parameters, &mut out).map_err(|e| self.broken("start-up", &e))?;
        self.send(&out).await?;
        let mut exchange = Exchange { end_point, scram: None, bound: false };
        loop {
            let mut message = self.message().await?;
            match message.tag {
                b'R' if message.body.len() >= 4 => {
                    let method = message.body.get_i32();
                    if method == 0 {
                        exchange.check(config, &self.at)?;
                        continue;
                    }
                    let answer = self.answer(config, database, method, &message.body, &mut exchange)?;
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
        exchange: &mut Exchange,
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
                let offered = |name: &str| body.split(|b| *b == 0).any(|method| text(method) == name);
                let (method, binding) = exchange.bind(config, &offered).map_err(refuse)?;
                let begun = ScramSha256::new(password()?.expose().as_bytes(), binding);
                frontend::sasl_initial_response(method, begun.message(), &mut out).map_err(io)?;
                exchange.scram = Some(begun);
            }
            11 => {
                let scram = exchange.scram.as_mut().ok_or_else(|| self.unexpected(b'R'))?;
                scram.update(body).map_err(io)?;
                frontend::sasl_response(scram.message(), &mut out).map_err(io)?;
            }
            12 => {
                let scram = exchange.scram.as_mut().ok_or_else(|| self.unexpected(b'R'))?;
                scram.finish(body).map_err(|e| {
                    refuse(format!("the server couldn't prove that it knows the password: {e}"))
                })?;
            }
            other => return Err(refuse(format!("authentication method {other} isn't supported"))),
        }
        Ok(out)
    }
}

fn too_late(config: &Config, at: &str) -> Failure {
    let seconds = config.connect_timeout.as_secs();
    Error::unavailable(format!("{at}: no session within {seconds} s"))
        .hint("check host, port and firewall; `connect_timeout` allows more time")
        .into()
}

/// The state of authentication by SCRAM.
struct Exchange {
    /// What the session can be bound to; none without TLS.
    end_point: Option<Vec<u8>>,
    scram: Option<ScramSha256>,
    bound: bool,
}

impl Exchange {
    /// The mechanism among those that the server offers, and what is said of channel binding, which tells a server that it
    /// was meant to be offered where somebody in between has taken the offer away (RFC 5802, section 6).
    fn bind(
        &mut self,
        config: &Config,
        offered: &dyn Fn(&str) -> bool,
    ) -> Result<(&'static str, Binding), String> {
        let end_point = match config.channel_binding {
            ChannelBinding::Disable => None,
            ChannelBinding::Prefer | ChannelBinding::Require => self.end_point.take(),
        };
        let able = end_point.is_some();
        if let Some(end_point) = end_point.filter(|_| offered(SCRAM_SHA_256_PLUS)) {
            self.bound = true;
            return Ok((SCRAM_SHA_256_PLUS, Binding::tls_server_end_point(end_point)));
        }
        if !offered(SCRAM_SHA_256) {
            return Err(
                "the server offers no SCRAM-SHA-256 without channel binding, and the session can't be bound: that takes TLS, a \
                 certificate signed with a hash, and no channel_binding=disable"
                    .to_owned(),
            );
        }
        Ok((SCRAM_SHA_256, if able { Binding::unrequested() } else { Binding::unsupported() }))
    }

    /// Whether a session that the server admits is bound as the connection wants it.
    fn check(&self, config: &Config, at: &str) -> Result<(), Failure> {
        if config.channel_binding != ChannelBinding::Require || self.bound {
            return Ok(());
        }
        Err(Error::failed(format!(
            "{at}: the connection has channel_binding=require, and the server admitted it without channel binding"
        ))
        .fault(Fault::Recipe)
        .hint(
            "that needs TLS, a role with a SCRAM password, and no pooler in between; sslmode=verify-full alone proves the \
             server's identity as well",
        )
        .into())
    }
}

/// A stream to the server, and what a session over it can be bound to.
async fn open(config: &Config, at: &str) -> Result<(Stream, Option<Vec<u8>>), Failure> {
    #[cfg(unix)]
    if config.is_local() {
        let path = format!("{}/.s.PGSQL.{}", config.host, config.port);
        let stream =
            tokio::net::UnixStream::connect(path).await.map_err(|e| io_error(at, "can't connect", &e))?;
        return Ok((Stream::Unix(stream), None));
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
    let Some(client) = tls::client(config)? else { return Ok((Stream::Plain(stream), None)) };
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    stream.write_all(&out).await.map_err(|e| io_error(at, "TLS request", &e))?;
    let answer = stream.read_u8().await.map_err(|e| io_error(at, "TLS request", &e))?;
    if answer != b'S' {
        if config.ssl_mode == SslMode::Prefer {
            return Ok((Stream::Plain(stream), None));
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
    let certificate = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let end_point = certificate.and_then(|certificate| channel_binding::end_point(certificate));
    Ok((Stream::Tls(Box::new(tls)), end_point))
}
