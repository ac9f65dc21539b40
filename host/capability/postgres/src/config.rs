//! Connection settings: the URL or its pieces, resolved.

mod conninfo;
mod hosts;
mod passfile;
mod service;
mod settings;

use std::path::PathBuf;
use std::time::Duration;

use godwit_model::capability::Connection;
use godwit_model::secret::{Piece, Secret};
use godwit_model::{ConnectionName, Error, Json, Result};

pub use hosts::{Endpoint, Wanted};
use passfile::Passfile;

use crate::channel_binding::ChannelBinding;
use crate::pins;

/// How TLS is asked for; as libpq's `sslmode` (manual, section 32.19), without `allow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Where a connection leads and how, ready to be used.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: ConnectionName,
    /// The servers that it may lead to, in the order of preference; at least one.
    pub endpoints: Vec<Endpoint>,
    /// The one that is meant: a host name, an address, or a folder of Unix sockets where it begins with `/`.
    pub host: String,
    pub port: u16,
    /// What a server has to be to be taken.
    pub wanted: Wanted,
    /// Servers are tried from any of them on.
    pub balanced: bool,
    pub user: String,
    password: Option<Secret>,
    /// Where there is no password.
    passfile: Passfile,
    pub database: String,
    pub ssl_mode: SslMode,
    pub channel_binding: ChannelBinding,
    pub ssl_root_cert: Option<PathBuf>,
    /// The client's own certificate and its key, both in PEM.
    pub ssl_identity: Option<(PathBuf, PathBuf)>,
    pub connect_timeout: Duration,
    /// Connections that are open at once, never more.
    pub max_connections: usize,
    /// Settings of each session beside the pins, in the order in which they are set.
    pub settings: Vec<(String, String)>,
    /// Probes of an idle connection, from both ends; none where they are left to the systems.
    pub keepalive: Option<Keepalive>,
}

/// When an idle connection is probed, in seconds, and how often until it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    pub idle: u32,
    pub interval: u32,
    pub count: u32,
}

/// Routers and load balancers forget connections that are idle for a few minutes.
const KEEPALIVE: Keepalive = Keepalive { idle: 60, interval: 10, count: 6 };

/// Connections of one server when the recipe doesn't say.
const DEFAULT_CONNECTIONS: usize = 4;
/// One session leads a snapshot, another one moves rows.
const LEAST_CONNECTIONS: usize = 2;
/// What a connection may say beside its `url`.
const FIELDS: [&str; 24] = [
    "host",
    "port",
    "database",
    "user",
    "password",
    "passfile",
    "service",
    "servicefile",
    "sslmode",
    "channel_binding",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "max_connections",
    "target_session_attrs",
    "load_balance_hosts",
    "connect_timeout",
    "options",
    "lock_timeout",
    "statement_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
];
/// What libpq knows beside those (manual, section 34.1.2): better refused than thought to work.
const UNSUPPORTED: [&str; 21] = [
    "client_encoding",
    "gsslib",
    "gssdelegation",
    "hostaddr",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslnegotiation",
    "sslpassword",
    "tcp_user_timeout",
];
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

impl Config {
    /// Reads a connection's settings: `url` and the single fields, which win over it, both over what a `service` says.
    /// Every fault is `invalid` and names the connection.
    pub fn new(connection: &Connection) -> Result<Self> {
        let mut raw = Raw::default();
        if connection.settings.contains_key("url") {
            raw.url(connection)?;
        }
        for field in FIELDS {
            let value = match connection.settings.get(field) {
                None | Some(Json::Null) => continue,
                Some(Json::String(_)) => connection.reveal(field).map(|s| s.expose().to_owned()),
                Some(Json::Number(number)) => Some(number.to_string()),
                Some(_) => {
                    return Err(Error::invalid(format!(
                        "`{field}` of connection `{}` isn't a text or a number",
                        connection.name
                    )));
                }
            };
            if let Some(value) = value {
                raw.set(connection, field, value)?;
            }
        }
        raw.finish(connection)
    }

    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self {
            name: "main".into(),
            endpoints: vec![Endpoint { host: "127.0.0.1".to_owned(), port: 5432 }],
            host: "127.0.0.1".to_owned(),
            port: 5432,
            wanted: Wanted::Any,
            balanced: false,
            settings: Vec::new(),
            keepalive: None,
            user: "app".to_owned(),
            password: None,
            passfile: Passfile::default(),
            database: "app".to_owned(),
            ssl_mode: SslMode::Disable,
            channel_binding: ChannelBinding::Prefer,
            ssl_root_cert: None,
            ssl_identity: None,
            connect_timeout: Duration::from_secs(2),
            max_connections: DEFAULT_CONNECTIONS,
        }
    }

    /// `postgres://host:port/database`: the thing without credentials. Several hosts are one thing, whichever is up.
    pub fn identity(&self, database: &str) -> String {
        let at = |end: &Endpoint| match end.host.contains(':') {
            true => format!("[{}]:{}", end.host, end.port),
            false => format!("{}:{}", end.host, end.port),
        };
        let all: Vec<String> = self.endpoints.iter().map(at).collect();
        format!("postgres://{}/{database}", all.join(","))
    }

    /// The same connection to one of its servers.
    pub fn at(&self, endpoint: &Endpoint) -> Self {
        Self { host: endpoint.host.clone(), port: endpoint.port, ..self.clone() }
    }

    /// Whether any server that answers will do, so that none has to be asked.
    pub fn is_certain(&self) -> bool {
        self.endpoints.len() == 1 && self.wanted == Wanted::Any
    }

    /// The password for a session with a database.
    pub fn password(&self, database: &str) -> Option<&Secret> {
        let found = || self.passfile.find(&self.host, self.port, database, &self.user);
        self.password.as_ref().or_else(found)
    }

    /// Why no password was found, where that is known.
    pub fn no_password(&self) -> String {
        match &self.passfile.ignored {
            Some(why) => format!("none is given; {why}"),
            None => "none is given".to_owned(),
        }
    }

    /// A folder of Unix sockets.
    pub fn is_local(&self) -> bool {
        self.host.starts_with('/')
    }
}

#[derive(Default)]
struct Raw {
    host: Option<String>,
    port: Option<String>,
    user: Option<String>,
    password: Option<Secret>,
    database: Option<String>,
    ssl_mode: Option<String>,
    channel_binding: Option<String>,
    ssl_root_cert: Option<String>,
    ssl_cert: Option<String>,
    ssl_key: Option<String>,
    passfile: Option<String>,
    service: Option<String>,
    servicefile: Option<String>,
    connect_timeout: Option<String>,
    max_connections: Option<String>,
    target_session_attrs: Option<String>,
    load_balance_hosts: Option<String>,
    options: Option<String>,
    lock_timeout: Option<String>,
    statement_timeout: Option<String>,
    keepalives: Option<String>,
    keepalives_idle: Option<String>,
    keepalives_interval: Option<String>,
    keepalives_count: Option<String>,
}

impl Raw {
    /// Takes the URL apart while secrets in it are still tokens, so that a password may hold any character.
    fn url(&mut self, connection: &Connection) -> Result<()> {
        let name = &connection.name;
        let shown = connection
            .shown("url")
            .ok_or_else(|| Error::invalid(format!("`url` of connection `{name}` isn't a text")))?;
        let reveal = |text: &str| connection.secrets.reveal(text, None).unwrap_or_else(|_| text.to_owned());
        // What stands in the url is written as in a url; a secret that was put there is what it is.
        let value = |text: &str| -> String {
            let pieces = connection.secrets.pieces(text);
            let decoded = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => decode(text),
                Piece::Secret { value, in_url: true } => decode(value.expose()),
                Piece::Secret { value, in_url: false } => value.expose().to_owned(),
            });
            decoded.collect()
        };
        let whole =
            if SCHEMES.iter().any(|s| shown.starts_with(s)) { shown.to_owned() } else { reveal(shown) };
        let Some(rest) = SCHEMES.iter().find_map(|scheme| whole.strip_prefix(scheme)) else {
            return self.conninfo(connection, shown, &reveal);
        };
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = match rest.rfind('@') {
            // A password may hold a slash; the path begins after the host.
            Some(at) => match rest[at..].find('/') {
                Some(slash) => (&rest[..at + slash], Some(&rest[at + slash + 1..])),
                None => (rest, None),
            },
            None => rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path))),
        };
        let (user_info, host) = match authority.rsplit_once('@') {
            Some((user_info, host)) => (Some(user_info), reveal(host)),
            None => (None, reveal(authority)),
        };
        if let Some(user_info) = user_info {
            let pieces = connection.secrets.pieces(user_info);
            let (user, password) = match (user_info.split_once(':'), pieces.as_slice()) {
                (Some((user, password)), _) => (value(user), Some(value(password))),
                // The user information of a url that was given as a whole.
                (None, [Piece::Secret { value, in_url: true }]) => match value.expose().split_once(':') {
                    Some((user, password)) => (decode(user), Some(decode(password))),
                    None => (decode(value.expose()), None),
                },
                (None, _) => (value(user_info), None),
            };
            self.user = Some(user).filter(|user| !user.is_empty());
            self.password = password.map(Secret::new);
        }
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for host in host.split(',') {
            let (host, port) = if let Some(rest) = host.strip_prefix('[') {
                let (host, after) = rest.split_once(']').ok_or_else(|| {
                    Error::invalid(format!("`url` of connection `{name}`: `[` without `]` in the host"))
                })?;
                (host.to_owned(), after.strip_prefix(':').unwrap_or_default())
            } else {
                match host.rsplit_once(':') {
                    Some((host, port)) => (decode(host), port),
                    None => (decode(host), ""),
                }
            };
            hosts.push(host);
            ports.push(port.to_owned());
        }
        self.host = Some(hosts.join(",")).filter(|hosts| !hosts.is_empty());
        self.port = Some(ports.join(",")).filter(|_| ports.iter().any(|port| !port.is_empty()));
        self.database = path.map(value).filter(|database| !database.is_empty());
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (key, text) = pair.split_once('=').unwrap_or((pair, ""));
            self.set(connection, &decode(key), value(text))?;
        }
        Ok(())
    }

    /// Takes a text of keywords and values. One that is a secret as a whole is parsed as such; in any other, secrets are
    /// values or parts of values.
    fn conninfo(
        &mut self,
        connection: &Connection,
        shown: &str,
        reveal: &impl Fn(&str) -> String,
    ) -> Result<()> {
        let name = &connection.name;
        let whole = if shown.contains('=') { shown.to_owned() } else { reveal(shown) };
        let hint = "write it as postgres://user:password@host:5432/database, or as host=… dbname=… user=…";
        if !whole.contains('=') || whole.contains("://") {
            return Err(Error::invalid(format!(
                "`url` of connection `{name}` doesn't begin with `postgres://`"
            ))
            .hint(hint));
        }
        let settings = conninfo::parse(&whole).map_err(|why| {
            Error::invalid(format!("`url` of connection `{name}` can't be read: {why}")).hint(hint)
        })?;
        for (key, value) in settings {
            self.set(connection, &key, reveal(&value))?;
        }
        Ok(())
    }

    fn set(&mut self, connection: &Connection, key: &str, value: String) -> Result<()> {
        let name = &connection.name;
        match key {
            "host" => self.host = Some(value),
            "port" => self.port = Some(value),
            "user" => self.user = Some(value),
            "password" => self.password = Some(Secret::new(value)),
            "database" | "dbname" => self.database = Some(value),
            "sslmode" => self.ssl_mode = Some(value),
            "channel_binding" => self.channel_binding = Some(value),
            "sslrootcert" => self.ssl_root_cert = Some(value),
            "sslcert" => self.ssl_cert = Some(value),
            "sslkey" => self.ssl_key = Some(value),
            "passfile" => self.passfile = Some(value),
            "service" => self.service = Some(value),
            "servicefile" => self.servicefile = Some(value),
            "connect_timeout" => self.connect_timeout = Some(value),
            "max_connections" => self.max_connections = Some(value),
            "target_session_attrs" => self.target_session_attrs = Some(value),
            "load_balance_hosts" => self.load_balance_hosts = Some(value),
            "options" => self.options = Some(value),
            "lock_timeout" => self.lock_timeout = Some(value),
            "statement_timeout" => self.statement_timeout = Some(value),
            "keepalives" => self.keepalives = Some(value),
            "keepalives_idle" => self.keepalives_idle = Some(value),
            "keepalives_interval" => self.keepalives_interval = Some(value),
            "keepalives_count" => self.keepalives_count = Some(value),
            // Texts are UTF-8 here, and the server is told so.
            "client_encoding" if matches!(value.to_lowercase().as_str(), "utf8" | "utf-8" | "auto") => {}
            // Godwit names its sessions itself, so that a resumed run finds its own.
            "application_name" | "fallback_application_name" => {}
            "gssencmode" if value != "require" => {}
            "gssencmode" => {
                return Err(Error::invalid(format!("connection `{name}`: `{key}=require` isn't supported"))
                    .hint("use sslmode=verify-full, which proves the server's identity, and drop it"));
            }
            _ if UNSUPPORTED.contains(&key) => {
                return Err(Error::invalid(format!(
                    "connection `{name}`: libpq's setting `{key}` isn't supported"
                ))
                .hint("take it out; README, \"Connections\", lists what there is"));
            }
            _ => {
                return Err(Error::invalid(format!("connection `{name}`: unknown setting `{key}`"))
                    .hint(format!("known are {}, application_name", FIELDS.join(", "))));
            }
        }
        Ok(())
    }

    /// Fills what isn't set from the service's settings.
    fn serve(&mut self, connection: &Connection) -> Result<()> {
        let Some(service) = self.service.take() else { return Ok(()) };
        let mut given = Raw::default();
        for (key, value) in service::settings(&connection.name, &service, self.servicefile.as_deref())? {
            given.set(connection, &key, value)?;
        }
        let fields = [
            (&mut self.host, given.host),
            (&mut self.port, given.port),
            (&mut self.user, given.user),
            (&mut self.database, given.database),
            (&mut self.ssl_mode, given.ssl_mode),
            (&mut self.channel_binding, given.channel_binding),
            (&mut self.ssl_root_cert, given.ssl_root_cert),
            (&mut self.ssl_cert, given.ssl_cert),
            (&mut self.ssl_key, given.ssl_key),
            (&mut self.passfile, given.passfile),
            (&mut self.connect_timeout, given.connect_timeout),
            (&mut self.max_connections, given.max_connections),
            (&mut self.target_session_attrs, given.target_session_attrs),
            (&mut self.load_balance_hosts, given.load_balance_hosts),
            (&mut self.options, given.options),
            (&mut self.lock_timeout, given.lock_timeout),
            (&mut self.statement_timeout, given.statement_timeout),
            (&mut self.keepalives, given.keepalives),
            (&mut self.keepalives_idle, given.keepalives_idle),
            (&mut self.keepalives_interval, given.keepalives_interval),
            (&mut self.keepalives_count, given.keepalives_count),
        ];
        for (field, given) in fields {
            if field.is_none() {
                *field = given;
            }
        }
        self.password = self.password.take().or(given.password);
        Ok(())
    }

    /// The settings of `options`, and the timeouts, which win over it. What the pins need to be as it is, is refused.
    fn session_settings(&self) -> std::result::Result<Vec<(String, String)>, String> {
        let options = self.options.as_deref().unwrap_or_default();
        let mut all = settings::options(options).map_err(|why| format!("`options` can't be read: {why}"))?;
        if let Some((name, _)) = all.iter().find(|(name, _)| pins::is_pinned(name)) {
            return Err(format!("`options` sets `{name}`, on which copies rely; take it out"));
        }
        for (name, value) in
            [("lock_timeout", &self.lock_timeout), ("statement_timeout", &self.statement_timeout)]
        {
            if let Some(text) = value {
                let value = settings::duration(text).map_err(|why| format!("`{name}`: {why}"))?;
                all.push((name.to_owned(), value));
            }
        }
        Ok(all)
    }

    fn keepalive(&self) -> std::result::Result<Option<Keepalive>, String> {
        let number = |name: &str, text: &Option<String>, default: u32| match text.as_deref() {
            None => Ok(default),
            // libpq: 0 is the system's own, which here is ours.
            Some(text) => match text.parse::<u32>() {
                Ok(0) => Ok(default),
                Ok(number) if number <= 1 << 20 => Ok(number),
                _ => Err(format!("`{name}` isn't a number of seconds or times")),
            },
        };
        match self.keepalives.as_deref() {
            Some("0") => return Ok(None),
            None | Some("1") => {}
            Some(_) => return Err("`keepalives` is neither 0 nor 1".to_owned()),
        }
        Ok(Some(Keepalive {
            idle: number("keepalives_idle", &self.keepalives_idle, KEEPALIVE.idle)?,
            interval: number("keepalives_interval", &self.keepalives_interval, KEEPALIVE.interval)?,
            count: number("keepalives_count", &self.keepalives_count, KEEPALIVE.count)?,
        }))
    }

    fn finish(mut self, connection: &Connection) -> Result<Config> {
        let name = &connection.name;
        self.serve(connection)?;
        let number = |field: &str, text: Option<String>, default: usize| match text {
            None => Ok(default),
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| Error::invalid(format!("connection `{name}`: `{field}` isn't a number"))),
        };
        let fault = |why: String| Error::invalid(format!("connection `{name}`: {why}"));
        let settings = self.session_settings().map_err(&fault)?;
        let keepalive = self.keepalive().map_err(&fault)?;
        let hosts = self.host.ok_or_else(|| {
            Error::invalid(format!("connection `{name}` names no host"))
                .hint("set `url` or `host` of the connection")
        })?;
        let endpoints =
            hosts::endpoints(&hosts, self.port.as_deref()).map_err(|why| fault(format!("it {why}")))?;
        let Some(Endpoint { host, port }) = endpoints.first().cloned() else {
            return Err(fault("it names no host".to_owned()));
        };
        let wanted = self.target_session_attrs.as_deref().unwrap_or("any");
        let wanted = Wanted::parse(wanted).ok_or_else(|| {
            fault(format!("target_session_attrs `{wanted}` isn't known"))
                .hint("use any, read-write, read-only, primary, standby or prefer-standby")
        })?;
        let balanced = match self.load_balance_hosts.as_deref() {
            None | Some("disable") => false,
            Some("random") => true,
            Some(other) => {
                return Err(
                    fault(format!("load_balance_hosts `{other}` isn't known")).hint("use disable or random")
                );
            }
        };
        let ssl_mode = match self.ssl_mode.as_deref() {
            None | Some("prefer") => SslMode::Prefer,
            Some("disable") => SslMode::Disable,
            Some("require") => SslMode::Require,
            Some("verify-ca") => SslMode::VerifyCa,
            Some("verify-full") => SslMode::VerifyFull,
            Some(other) => {
                return Err(Error::invalid(format!("connection `{name}`: sslmode `{other}` isn't known"))
                    .hint("use disable, prefer, require, verify-ca or verify-full"));
            }
        };
        // libpq: `require` with a root certificate behaves as `verify-ca` (manual, section 32.19.4).
        let ssl_mode = match ssl_mode {
            SslMode::Require if self.ssl_root_cert.is_some() => SslMode::VerifyCa,
            other => other,
        };
        let channel_binding = self.channel_binding.as_deref().unwrap_or("prefer");
        let channel_binding = ChannelBinding::parse(channel_binding).ok_or_else(|| {
            fault(format!("channel_binding `{channel_binding}` isn't known"))
                .hint("use disable, prefer or require")
        })?;
        if channel_binding == ChannelBinding::Require && ssl_mode == SslMode::Disable {
            return Err(fault(
                "channel_binding=require binds to TLS, which sslmode=disable forbids".to_owned(),
            )
            .hint("use sslmode=require or verify-full"));
        }
        let max_connections = number("max_connections", self.max_connections, DEFAULT_CONNECTIONS)?;
        if max_connections < LEAST_CONNECTIONS {
            return Err(Error::invalid(format!(
                "connection `{name}`: max_connections {max_connections} is too few"
            ))
            .hint(format!("allow at least {LEAST_CONNECTIONS}: one holds the snapshot, one moves rows")));
        }
        let ssl_identity = match (self.ssl_cert, self.ssl_key) {
            (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
            (None, None) => None,
            _ => {
                return Err(Error::invalid(format!(
                    "connection `{name}`: `sslcert` and `sslkey` belong together"
                ))
                .hint("give the client's certificate and its key, both in PEM"));
            }
        };
        let passfile = match self.password {
            Some(_) => Passfile::default(),
            None => Passfile::read(name, self.passfile.as_deref())?,
        };
        let user = self.user.unwrap_or_else(|| "postgres".to_owned());
        Ok(Config {
            name: name.clone(),
            endpoints,
            host,
            port,
            wanted,
            balanced,
            settings,
            keepalive,
            database: self.database.unwrap_or_else(|| user.clone()),
            user,
            password: self.password,
            passfile,
            ssl_mode,
            channel_binding,
            ssl_root_cert: self.ssl_root_cert.map(PathBuf::from),
            ssl_identity,
            connect_timeout: Duration::from_secs(
                number("connect_timeout", self.connect_timeout, 15)?.max(2) as u64
            ),
            max_connections,
        })
    }
}

/// Replaces `%XX`; what isn't a valid escape stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escape {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use godwit_model::plugin::ConnectionKind;
    use godwit_model::secret::Secrets;
    use godwit_model::{ErrorKind, RunId};

    use super::*;

    fn connection(settings: Json, secrets: Secrets) -> Connection {
        Connection {
            name: "main".into(),
            kind: ConnectionKind::Postgres,
            settings: settings
                .as_object()
                .map(|o| o.iter().map(|(k, v)| (k.clone(), v.clone())).collect::<BTreeMap<_, _>>())
                .unwrap_or_default(),
            secrets: Arc::new(secrets),
        }
    }

    fn config(settings: Json) -> Result<Config> {
        Config::new(&connection(settings, Secrets::default()))
    }

    #[test]
    fn a_whole_url() {
        let c = config(serde_json::json!({
            "url": "postgresql://app:p%40ss@db.example.com:6543/my%20db?sslmode=verify-full&connect_timeout=3"
        }))
        .unwrap();
        assert_eq!((c.host.as_str(), c.port, c.user.as_str()), ("db.example.com", 6543, "app"));
        assert_eq!(c.database, "my db");
        assert_eq!(c.password("x").unwrap().expose(), "p@ss");
        assert_eq!(c.ssl_mode, SslMode::VerifyFull);
        assert_eq!(c.connect_timeout, Duration::from_secs(3));
    }

    #[test]
    fn pieces_and_defaults() {
        let c =
            config(serde_json::json!({"host": "127.0.0.1", "port": 5433, "user": "u", "max_connections": 2}))
                .unwrap();
        assert_eq!(c.identity(&c.database), "postgres://127.0.0.1:5433/u");
        assert_eq!(c.max_connections, 2);
        assert_eq!(c.ssl_mode, SslMode::Prefer);
        let c = config(serde_json::json!({"url": "postgres://[::1]/x"})).unwrap();
        assert_eq!(c.identity("x"), "postgres://[::1]:5432/x");
    }

    #[test]
    fn keywords_and_values_are_a_connection_too() {
        let text = "host=a,b port=6543,6544 dbname='my db' user=u target_session_attrs=read-write \
                    options='-c geqo=off' connect_timeout=3 keepalives_idle=30 application_name=mine";
        let c = config(serde_json::json!({ "url": text, "lock_timeout": "5s" })).unwrap();
        assert_eq!(c.identity(&c.database), "postgres://a:6543,b:6544/my db");
        assert_eq!((c.wanted, c.is_certain()), (Wanted::ReadWrite, false));
        let settings: Vec<(&str, &str)> =
            c.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(settings, [("geqo", "off"), ("lock_timeout", "5s")]);
        assert_eq!(c.keepalive, Some(Keepalive { idle: 30, ..KEEPALIVE }));
        let second = c.at(&c.endpoints[1]);
        assert_eq!((second.host.as_str(), second.port), ("b", 6544));
        assert_eq!(second.identity("x"), c.identity("x"), "it is one thing, whichever is up");
        let c = config(serde_json::json!({"url": "postgres://h/x?keepalives=0"})).unwrap();
        assert_eq!(c.keepalive, None);
    }

    #[test]
    fn secrets_in_keywords_and_values_may_hold_any_character() {
        let mut secrets = Secrets::default();
        let run = RunId::from("r");
        let password = secrets.insert(&run, "password", Secret::new("fake' word=\\"));
        let whole = secrets.insert(&run, "whole", Secret::new("host=h user=u password='fake word'"));
        let secrets = Arc::new(secrets);
        let of = |url: String| {
            let mut connection = connection(serde_json::json!({ "url": url }), Secrets::default());
            connection.secrets = Arc::clone(&secrets);
            Config::new(&connection).unwrap()
        };
        assert_eq!(
            of(format!("host=h password={password}")).password("x").unwrap().expose(),
            "fake' word=\\"
        );
        assert_eq!(of(whole).password("x").unwrap().expose(), "fake word");
    }

    #[test]
    fn a_service_gives_what_is_not_given() {
        let folder = tempfile::tempdir().unwrap();
        let services = folder.path().join("services.conf");
        std::fs::write(
            &services,
            "[app]\nhost=db.example.com\nport=6543\ndbname=shop\nuser=u\npassword=fake-word\n",
        )
        .unwrap();
        let c = config(
            serde_json::json!({"service": "app", "servicefile": services.to_str(), "database": "other"}),
        )
        .unwrap();
        assert_eq!(c.identity(&c.database), "postgres://db.example.com:6543/other");
        assert_eq!((c.user.as_str(), c.password("other").unwrap().expose()), ("u", "fake-word"));
        let url = format!("postgres:///?service=app&servicefile={}", services.display());
        let c = config(serde_json::json!({ "url": url })).unwrap();
        assert_eq!(c.identity(&c.database), "postgres://db.example.com:6543/shop");
    }

    #[test]
    fn a_secret_in_a_url_may_hold_any_character() {
        let mut secrets = Secrets::default();
        let token = secrets.insert(&RunId::from("r"), "password", Secret::new("a@b/c:d?e#f%41"));
        let c = Config::new(&connection(
            serde_json::json!({"url": format!("postgres://app:{token}@127.0.0.1:5432/db")}),
            secrets,
        ))
        .unwrap();
        assert_eq!(c.password("db").unwrap().expose(), "a@b/c:d?e#f%41");
        assert_eq!((c.host.as_str(), c.database.as_str()), ("127.0.0.1", "db"));
        assert!(!format!("{c:?}").contains("a@b"));
    }

    #[test]
    fn the_user_information_of_a_url_is_written_as_in_a_url() {
        let mut secrets = Secrets::default();
        let token =
            secrets.insert_url_part(&RunId::from("r"), "source_url", Secret::new("u%40x:fake%3Aword"));
        let url = serde_json::json!({ "url": format!("postgres://{token}@127.0.0.1/db") });
        let c = Config::new(&connection(url, secrets)).unwrap();
        assert_eq!((c.user.as_str(), c.password("db").unwrap().expose()), ("u@x", "fake:word"));
    }

    #[test]
    fn a_url_that_is_a_secret_as_a_whole() {
        let mut secrets = Secrets::default();
        let token =
            secrets.insert(&RunId::from("r"), "url", Secret::new("postgres://u:secret-word@example.com/x"));
        let c = Config::new(&connection(serde_json::json!({ "url": token }), secrets)).unwrap();
        assert_eq!(c.identity(&c.database), "postgres://example.com:5432/x");
    }

    #[test]
    fn faults_name_the_connection_and_hide_the_password() {
        for (settings, part) in [
            (serde_json::json!({"url": "mysql://u:secret-word@h/x"}), "postgres://"),
            (serde_json::json!({"url": "postgres://u:secret-word@h:0/x"}), "out of range"),
            (serde_json::json!({"url": "postgres://u:secret-word@h:abc/x"}), "`port`"),
            (serde_json::json!({"url": "postgres://u:secret-word@h/x?sslmode=maybe"}), "sslmode"),
            (serde_json::json!({"url": "postgres://u:secret-word@h/x?frob=1"}), "frob"),
            (serde_json::json!({"url": "postgres://u:secret-word@a:1,b:2,:3/x"}), "empty host"),
            (serde_json::json!({"url": "postgres://u:secret-word@h/x?sslcrl=f"}), "libpq's setting `sslcrl`"),
            (serde_json::json!({"url": "host=h password='secret-word"}), "has no end"),
            (serde_json::json!({"url": "host=h password=secret-word frob=1"}), "frob"),
            (serde_json::json!({"host": "h", "target_session_attrs": "writable"}), "target_session_attrs"),
            (serde_json::json!({"host": "h", "load_balance_hosts": "yes"}), "load_balance_hosts"),
            (serde_json::json!({"host": "h", "options": "-c DateStyle=German"}), "`DateStyle`"),
            (serde_json::json!({"host": "h", "lock_timeout": "soon"}), "`lock_timeout`"),
            (serde_json::json!({"host": "h", "keepalives": "maybe"}), "`keepalives`"),
            (serde_json::json!({"host": "h", "keepalives_idle": "-1"}), "`keepalives_idle`"),
            (serde_json::json!({"host": "h", "max_connections": 1}), "too few"),
            (serde_json::json!({"host": "h", "sslcert": "client.crt"}), "belong together"),
            (serde_json::json!({"host": "h", "passfile": "absent/pgpass"}), "passfile"),
            (serde_json::json!({}), "no host"),
        ] {
            let error = config(settings).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.contains(part) && error.message.contains("`main`"), "{error}");
            assert!(!error.message.contains("secret-word"), "{error}");
        }
    }
}
