//! Sessions of sqlx, for DDL, markers and the catalogs of a sink.

use std::str::FromStr as _;

use futures::TryStreamExt;
use godwit_model::{Error, Result};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, ValueRef as _};

use crate::config::{Config, SslMode};
use crate::errors::{Failure, sqlx_failure};
use crate::pool::Enlisted;
use crate::quote::literal;
use crate::wire::Reply;

/// What decides how values are written and names are found; pinned alike at both ends, whatever server, role or
/// database set (manual, chapter 19 «Server Configuration»).
const PINS: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
    ("search_path", ""),
    ("row_security", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("synchronize_seqscans", "off"),
];

/// Pins that are no more than a default: nothing that is copied depends on them.
const DEFAULTS: [&str; 3] = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];

/// Whether a setting has to be as the pins have it, whatever a connection would like.
pub fn is_pinned(name: &str) -> bool {
    PINS.iter().any(|(pin, _)| pin.eq_ignore_ascii_case(name))
        && !DEFAULTS.iter().any(|default| default.eq_ignore_ascii_case(name))
}

/// One request that pins a session's settings, sets those of the connection, and answers the server process behind the
/// session. With `raw`, bytes of a database that doesn't know its encoding come and go as they are, where every other one
/// is told to speak UTF-8, and would hold them against that.
pub fn pins(config: &Config, raw: bool) -> String {
    let mut text: String = PINS.iter().map(|(name, value)| format!("SET {name} = '{value}'; ")).collect();
    if let Some(keepalive) = config.keepalive.filter(|_| !config.is_local()) {
        text += &format!(
            "SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {}; SET tcp_keepalives_count = {}; ",
            keepalive.idle, keepalive.interval, keepalive.count
        );
    }
    // Limits that only newer majors have.
    text += "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings \
             WHERE name IN ('idle_session_timeout', 'transaction_timeout'); ";
    if raw {
        text += "SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', false) \
                 WHERE pg_catalog.getdatabaseencoding() = 'SQL_ASCII'; ";
    }
    // The names hold letters, digits, `_` and `.` alone.
    text.extend(config.settings.iter().map(|(name, value)| format!("SET {name} = {}; ", literal(value))));
    text + "SELECT pg_catalog.pg_backend_pid()::text"
}

/// The server process that answered the pins.
pub fn backend(replies: &[Reply]) -> Option<u32> {
    replies.last()?.one()?.parse().ok()
}

/// A session by sqlx. After an error it is dropped, unless the error was the server's and a rollback followed.
#[derive(Debug)]
pub struct Session {
    connection: PgConnection,
    /// The server process behind it.
    pub backend: Option<u32>,
    /// Keeps the process on the list of those in use.
    pub enlisted: Option<Enlisted>,
    at: String,
}

impl Session {
    pub async fn connect(config: &Config, database: &str, application: &str) -> Result<Self, Failure> {
        let at = config.identity(database);
        let options = options(config, database, application)?;
        let begun = async {
            let connection =
                PgConnection::connect_with(&options).await.map_err(|e| sqlx_failure(&at, e, 0))?;
            let mut session = Self { connection, backend: None, enlisted: None, at: at.clone() };
            session.backend = backend(&session.run(&pins(config, false)).await?);
            Ok(session)
        };
        tokio::time::timeout(config.connect_timeout, begun).await.unwrap_or_else(|_| {
            let seconds = config.connect_timeout.as_secs();
            Err(Error::unavailable(format!("{at}: no session within {seconds} s"))
                .hint("check host, port and firewall; `connect_timeout` allows more time")
                .into())
        })
    }

    /// Runs one or more statements by the simple protocol, in one round trip; the results of each.
    pub async fn run(&mut self, sql: &str) -> Result<Vec<Reply>, Failure> {
        self.execute(sql, true).await
    }

    /// The same, without keeping rows.
    pub async fn run_quietly(&mut self, sql: &str) -> Result<Vec<Reply>, Failure> {
        self.execute(sql, false).await
    }

    async fn execute(&mut self, sql: &str, keep: bool) -> Result<Vec<Reply>, Failure> {
        let mut replies = Vec::new();
        let mut current = Reply::default();
        // Statements are composed here or passed the gate; names and values in them are quoted.
        let mut stream = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_many(&mut self.connection);
        loop {
            match stream.try_next().await {
                Ok(Some(sqlx::Either::Left(result))) => {
                    current.tag = result.rows_affected().to_string();
                    replies.push(std::mem::take(&mut current));
                }
                Ok(Some(sqlx::Either::Right(row))) if keep => {
                    let mut values = Vec::with_capacity(row.len());
                    for index in 0..row.len() {
                        let value =
                            row.try_get_raw(index).map_err(|e| sqlx_failure(&self.at, e, replies.len()))?;
                        values.push(if value.is_null() {
                            None
                        } else {
                            Some(
                                value
                                    .as_str()
                                    .map_err(|e| Error::failed(format!("{}: {e}", self.at)))?
                                    .to_owned(),
                            )
                        });
                    }
                    current.rows.push(values);
                }
                Ok(Some(sqlx::Either::Right(_))) => {}
                Ok(None) => return Ok(replies),
                Err(e) => return Err(sqlx_failure(&self.at, e, replies.len())),
            }
        }
    }

    /// Ends the session in good order.
    pub async fn close(self) {
        // Nothing depends on it: a server that is gone has ended the session as well.
        let _ = self.connection.close().await;
    }
}

fn options(config: &Config, database: &str, application: &str) -> Result<PgConnectOptions> {
    let mode = match config.ssl_mode {
        SslMode::Disable => "disable",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
        SslMode::VerifyCa => "verify-ca",
        SslMode::VerifyFull => "verify-full",
    };
    let mode = PgSslMode::from_str(mode).map_err(|e| Error::host(e.to_string()))?;
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&config.host)
        .port(config.port)
        .username(&config.user)
        .database(database)
        .application_name(application)
        .ssl_mode(mode)
        // A start-up parameter that poolers refuse; the pins set it afterwards.
        .extra_float_digits(None)
        .statement_cache_capacity(0)
        // Statements may hold what a recipe declared secret.
        .disable_statement_logging();
    if let Some((certificate, key)) = &config.ssl_identity {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    if let Some(password) = config.password(database) {
        options = options.password(password.expose());
    }
    if let Some(path) = &config.ssl_root_cert {
        options = options.ssl_root_cert(path);
    }
    if config.is_local() {
        options = options.socket(&config.host);
    }
    Ok(options)
}
