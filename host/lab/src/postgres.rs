//! PostgreSQL servers: initialised in a moment, on a free loopback port, gone with the value that holds them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::disk::Disk;
use crate::error::{LabError, Result, io};
use crate::process::{self, ServerUser, Signal, Watchdog};

/// The superuser of every server here, and its password.
pub const USER: &str = "postgres";
pub const PASSWORD: &str = "postgres-demo";

/// A major version the lab can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Major {
    /// Debian's, with all contrib extensions and without pgvector; for tests alone.
    V15,
    /// The wheel's, with pgvector and without contrib extensions.
    V16,
    /// Another wheel's, with contrib extensions and without pgvector; for the oracle and for archives of its pg_dump.
    V17,
    /// The wheel's, with pgvector and without contrib extensions.
    V18,
}

impl Major {
    /// Those that every test runs on.
    pub const ALL: [Self; 3] = [Self::V15, Self::V16, Self::V18];
    pub const EVERY: [Self; 4] = [Self::V15, Self::V16, Self::V17, Self::V18];

    pub fn number(self) -> u32 {
        match self {
            Self::V15 => 15,
            Self::V16 => 16,
            Self::V17 => 17,
            Self::V18 => 18,
        }
    }

    /// The folder of its programs, or an error that says how to get them. Fetches nothing.
    pub fn bin_dir(self) -> Result<PathBuf> {
        let what = format!("PostgreSQL {self}");
        if self == Self::V15 {
            let bin = PathBuf::from("/usr/lib/postgresql/15/bin");
            let hint = "run `cargo xtask setup` as root, or apt-get install postgresql-15".into();
            return if bin.join("initdb").is_file() {
                Ok(bin)
            } else {
                Err(LabError::Missing { what, hint })
            };
        }
        let cache = crate::cache::dir();
        crate::wheel::bin_dir(&cache, self.number()).ok_or_else(|| LabError::Missing {
            what,
            hint: format!("it belongs into {}: run `cargo xtask setup`", cache.display()),
        })
    }
}

impl std::fmt::Display for Major {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number().fmt(f)
    }
}

/// How a server is to be started; [`PgServer::builder`] makes one.
#[derive(Debug, Clone)]
pub struct Builder {
    major: Major,
    settings: Vec<(String, String)>,
    folder: Option<PathBuf>,
    port: Option<u16>,
    /// On a disk that can be filled.
    disk: bool,
    /// As a standby of this server.
    primary: Option<PgServer>,
}

impl Builder {
    /// With a disk that [`PgServer::fill_disk`] fills.
    pub fn disk(mut self) -> Self {
        self.disk = true;
        self
    }

    /// A line of postgresql.conf; a later one wins over an earlier one and over the lab's own.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Initialises and starts it; returns when it accepts connections.
    pub async fn start(self) -> Result<PgServer> {
        tokio::task::spawn_blocking(move || self.start_blocking()).await?
    }

    fn start_blocking(self) -> Result<PgServer> {
        let bin = self.major.bin_dir()?;
        let user = ServerUser::find()?;
        let (base, scratch) = match &self.folder {
            Some(folder) => {
                fs::create_dir_all(folder).map_err(io("make", folder))?;
                (fs::canonicalize(folder).map_err(io("resolve", folder))?, None)
            }
            None => {
                let scratch = scratch_folder(user)?;
                (scratch.path().to_owned(), Some(scratch))
            }
        };
        if let Some(user) = user {
            if let Some(dir) = user.barred(&base) {
                let hint =
                    format!("PostgreSQL does not run as root, and its user may not enter {}", dir.display());
                return Err(LabError::Missing { what: format!("a usable folder {}", base.display()), hint });
            }
            user.own(&base)?;
        }
        let watchdog = if scratch.is_some() { Some(Watchdog::over(&base)?) } else { None };
        let disk = if self.disk { Some(Disk::new(&base)?) } else { None };
        let held = Mutex::new(Held { port: 0, child: None, watchdog, scratch });
        let inner = Inner { major: self.major, bin, base, user, disk, held };
        match &self.primary {
            Some(primary) => inner.follow(primary, &self.settings)?,
            None => inner.initialise(&self.settings)?,
        }
        inner.launch(self.port)?;
        Ok(PgServer(Arc::new(inner)))
    }
}

/// A PostgreSQL server on 127.0.0.1, with password authentication (scram-sha-256) for the superuser
/// [`USER`]. It logs every statement with its application name. Dropping it stops it at once and removes its
/// data, unless it was started by [`PgServer::persistent`].
#[derive(Debug, Clone)]
pub struct PgServer(Arc<Inner>);

impl PgServer {
    /// Starts a fresh, empty server of a major on a free port.
    pub async fn start(major: Major) -> Result<Self> {
        Self::builder(major).start().await
    }

    /// For a server with settings of its own.
    pub fn builder(major: Major) -> Builder {
        Builder { major, settings: Vec::new(), folder: None, port: None, disk: false, primary: None }
    }

    /// A hot standby of this server, by `pg_basebackup` and streaming replication; its superuser is this one's.
    pub fn standby(&self) -> Builder {
        Builder { primary: Some(self.clone()), ..Self::builder(self.major()) }
    }

    /// Starts, or finds running, the server whose data lie in `dir`; it stays when this value goes and ends
    /// with [`stop`](Self::stop). As root, `dir` has to be one that the server's user can enter
    /// (below [`crate::cache::dir`], say). Without a `port`, the one it last had, or a free one.
    pub async fn persistent(major: Major, dir: impl Into<PathBuf>, port: Option<u16>) -> Result<Self> {
        Builder { folder: Some(dir.into()), port, ..Self::builder(major) }.start().await
    }

    pub fn major(&self) -> Major {
        self.0.major
    }

    pub fn port(&self) -> u16 {
        self.0.held().port
    }

    /// The folder of this major's programs: `psql`, `pg_dump`, `pg_restore` …
    pub fn bin_dir(&self) -> &Path {
        &self.0.bin
    }

    /// The server's data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.0.base.join("data")
    }

    /// A connection URL of the superuser, password included.
    pub fn url(&self, database: &str) -> String {
        self.url_as(USER, PASSWORD, database)
    }

    /// A connection URL of another user.
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        let [user, password, database] = [user, password, database].map(percent_encoded);
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port())
    }

    /// Connection options of the superuser, for sqlx.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port())
            .username(USER)
            .password(PASSWORD)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// Makes an empty database.
    pub async fn create_database(&self, name: &str) -> Result<()> {
        self.exec("postgres", &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""))).await
    }

    /// Runs statements, separated by semicolons, in one simple query: one transaction unless they say otherwise.
    pub async fn exec(&self, database: &str, sql: &str) -> Result<()> {
        let mut session = self.somebody(database).await?;
        session.exec(sql).await?;
        session
            .connection
            .close()
            .await
            .map_err(|source| LabError::Sql { database: database.to_owned(), source })
    }

    /// A session of the superuser that stays open.
    pub async fn somebody(&self, database: &str) -> Result<Somebody> {
        Somebody::connect(&self.options(database)).await
    }

    /// The same, of another user.
    pub async fn somebody_as(&self, user: &str, password: &str, database: &str) -> Result<Somebody> {
        Somebody::connect(&self.options(database).username(user).password(password)).await
    }

    /// Runs a script through `psql -X -q -A -t -v ON_ERROR_STOP=1` and gives its output without the last
    /// newline: columns separated by `|`, one row a line. Blocks the thread.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        use std::io::Write;
        let mut psql = self.client("psql", database);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = psql.spawn().map_err(io("run", &self.0.bin.join("psql")))?;
        let stdin = child.stdin.take();
        let script = sql.to_owned();
        // A thread of its own: psql may fill its output before it has read the whole script.
        let writer = std::thread::spawn(move || {
            // A psql that stopped at an error closes its input: its exit status tells.
            let _ = stdin.map(|mut pipe| pipe.write_all(script.as_bytes()));
        });
        let output = child.wait_with_output().map_err(io("run", &self.0.bin.join("psql")))?;
        let _ = writer.join();
        let text = process::finished(format!("psql {database}"), &output)?;
        Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }

    /// A client program of this major (`pg_dump`, `pg_restore`, …), told by its environment how to connect to
    /// `database` as the superuser.
    pub fn client(&self, program: &str, database: &str) -> std::process::Command {
        let mut command = process::command(&self.0.bin.join(program), None);
        command.envs(self.environment(database));
        command
    }

    /// libpq's variables for the superuser in `database`.
    pub fn environment(&self, database: &str) -> [(&'static str, String); 5] {
        [
            ("PGHOST", "127.0.0.1".to_owned()),
            ("PGPORT", self.port().to_string()),
            ("PGUSER", USER.to_owned()),
            ("PGPASSWORD", PASSWORD.to_owned()),
            ("PGDATABASE", database.to_owned()),
        ]
    }

    /// The server's log so far: every statement, with its application name (`app=…`) and database (`db=…`).
    pub fn log(&self) -> String {
        read_lossy(&self.0.base.join("server.log"))
    }

    /// Lets no file of a table grow from now on, as on a full disk; or frees the disk again. For servers that were built
    /// with [`Builder::disk`].
    pub fn fill_disk(&self, full: bool) -> Result<()> {
        let hint = || LabError::Missing {
            what: "a disk that can be filled".into(),
            hint: "build the server with `disk()`".into(),
        };
        self.0.disk.as_ref().ok_or_else(hint)?.set_full(full)
    }

    /// The postmaster's process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.0.postmaster().map(|postmaster| postmaster.pid)
    }

    /// Ends it in good order (SIGINT: open transactions are rolled back). Its data stay until it is dropped.
    pub async fn stop(&self) -> Result<()> {
        self.blocking(|inner| inner.halt(Signal::Fast)).await
    }

    /// Ends it at once, as a crash would (SIGQUIT); [`restart`](Self::restart) then recovers.
    pub async fn crash(&self) -> Result<()> {
        self.blocking(|inner| inner.halt(Signal::Immediate)).await
    }

    /// Stops it if it runs, and starts it on the same port and data.
    pub async fn restart(&self) -> Result<()> {
        self.blocking(|inner| {
            inner.halt(Signal::Fast)?;
            let port = inner.held().port;
            inner.launch(Some(port))
        })
        .await
    }

    async fn blocking(&self, work: impl FnOnce(&Inner) -> Result<()> + Send + 'static) -> Result<()> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&inner)).await?
    }
}

/// Somebody else's session, with its transaction and its locks; it ends when it is dropped.
#[derive(Debug)]
pub struct Somebody {
    connection: PgConnection,
    database: String,
}

impl Somebody {
    async fn connect(options: &PgConnectOptions) -> Result<Self> {
        let database = options.get_database().unwrap_or_default().to_owned();
        match options.connect().await {
            Ok(connection) => Ok(Self { connection, database }),
            Err(source) => Err(LabError::Sql { database, source }),
        }
    }

    /// Runs statements, separated by semicolons, in one simple query.
    pub async fn exec(&mut self, sql: &str) -> Result<()> {
        // Fixtures are written by the tests themselves.
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await;
        done.map(drop).map_err(|source| LabError::Sql { database: self.database.clone(), source })
    }
}

#[derive(Debug)]
struct Inner {
    major: Major,
    bin: PathBuf,
    /// Holds `data/` and `server.log`.
    base: PathBuf,
    user: Option<ServerUser>,
    disk: Option<Disk>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    port: u16,
    /// `None` before the start, and for a persistent server that was found running.
    child: Option<Child>,
    watchdog: Option<Watchdog>,
    /// The folder of a server that is not persistent.
    scratch: Option<tempfile::TempDir>,
}

/// What `postmaster.pid` says (PostgreSQL sources, miscadmin.h: line 1 pid, 4 port, 8 status).
struct Postmaster {
    pid: u32,
    port: u16,
    ready: bool,
}

impl Inner {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn data(&self) -> PathBuf {
        self.base.join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.base.join("server.log")
    }

    /// initdb, unless the folder holds a server already.
    fn initialise(&self, settings: &[(String, String)]) -> Result<()> {
        let data = self.data();
        if data.join("PG_VERSION").exists() {
            return Ok(());
        }
        let password = self.base.join("password");
        fs::write(&password, PASSWORD).map_err(io("write", &password))?;
        if let Some(user) = self.user {
            user.own(&password)?;
        }
        let mut initdb = process::command(&self.bin.join("initdb"), self.user);
        initdb
            .args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"])
            .arg(format!("--username={USER}"))
            .arg("--pwfile")
            .arg(&password)
            .arg("-D")
            .arg(&data);
        process::output(&mut initdb)?;
        fs::remove_file(&password).map_err(io("remove", &password))?;

        self.configure(settings)
    }

    /// The data of another server, to follow it.
    fn follow(&self, primary: &PgServer, settings: &[(String, String)]) -> Result<()> {
        let mut backup = process::command(&self.bin.join("pg_basebackup"), self.user);
        backup
            .args(["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync", "-D"])
            .arg(self.data())
            .envs(primary.environment("postgres"));
        process::output(&mut backup)?;
        self.configure(settings)
    }

    fn configure(&self, settings: &[(String, String)]) -> Result<()> {
        let mut conf = String::from("\n# The lab's settings.\n");
        let lasting: &[(&str, &str)] = if self.held().scratch.is_some() {
            &[("fsync", "off"), ("full_page_writes", "off")]
        } else {
            &[]
        };
        let own = SETTINGS.iter().chain(lasting).map(|(name, value)| (*name, *value));
        let theirs = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.chain(theirs) {
            conf.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        let path = self.data().join("postgresql.conf");
        let mut file = fs::OpenOptions::new().append(true).open(&path).map_err(io("open", &path))?;
        std::io::Write::write_all(&mut file, conf.as_bytes()).map_err(io("write", &path))
    }

    /// Starts it on `port`, or on a free one, and waits until it accepts connections.
    fn launch(&self, port: Option<u16>) -> Result<()> {
        if let Some(running) = self.postmaster() {
            if let Some(wanted) = port.filter(|wanted| *wanted != running.port) {
                let why = format!("it already runs on port {}, not on {wanted}", running.port);
                return Err(self.start_error(why));
            }
            self.held().port = running.port;
            return Ok(());
        }
        let mut tries = 0;
        loop {
            let chosen = port.map_or_else(free_port, Ok)?;
            match self.launch_on(chosen) {
                // Another process was faster between our look and the server's bind; a fixed port may be in
                // the hands of a client's connection for a moment.
                Err(LabError::Start { log, .. }) if tries < 50 && log.contains("Address already in use") => {
                    tries += 1;
                    if port.is_some() {
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
                other => return other,
            }
        }
    }

    fn launch_on(&self, port: u16) -> Result<()> {
        let log_file = self.log_file();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_file)
            .map_err(io("open", &log_file))?;
        let before = log.metadata().map_err(io("read", &log_file))?.len();
        let out = log.try_clone().map_err(io("open", &log_file))?;
        let program = self.bin.join("postgres");
        let mut postgres = process::command(&program, self.user);
        postgres.arg("-D").arg(self.data()).arg("-p").arg(port.to_string()).stdout(out).stderr(log);
        postgres.envs(self.disk.iter().flat_map(Disk::environment));
        let mut child = postgres.spawn().map_err(io("run", &program))?;

        let mut ended = None;
        let settled = process::wait(Duration::from_secs(60), || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || self.postmaster().is_some_and(|postmaster| postmaster.ready)
        });
        if settled && ended.is_none() {
            let mut held = self.held();
            held.port = port;
            held.child = Some(child);
            return Ok(());
        }
        let why = match ended {
            Some(status) => format!("postgres ended ({status})"),
            None => "it was not ready within 60 s".to_owned(),
        };
        let _ = child.kill(); // It may be gone already.
        let _ = child.wait();
        let log = read_lossy(&log_file);
        let log = log.get(usize::try_from(before).unwrap_or(0)..).unwrap_or(&log).to_owned();
        Err(LabError::Start { what: format!("PostgreSQL {}", self.major), why, log })
    }

    fn start_error(&self, why: String) -> LabError {
        LabError::Start { what: format!("PostgreSQL {}", self.major), why, log: String::new() }
    }

    fn postmaster(&self) -> Option<Postmaster> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        let pid = lines.first()?.trim().parse().ok()?;
        let port = lines.get(3)?.trim().parse().ok()?;
        let ready = lines.get(7).is_some_and(|status| status.trim() == "ready");
        process::alive(pid).then_some(Postmaster { pid, port, ready })
    }

    /// Ends the server and waits for its end; harsher signals follow where the first is not heard.
    fn halt(&self, first: Signal) -> Result<()> {
        let child = self.held().child.take();
        let Some(pid) = child.as_ref().map(Child::id).or_else(|| self.postmaster().map(|p| p.pid)) else {
            return Ok(());
        };
        let mut child = child;
        let mut gone = || match &mut child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => !process::alive(pid),
        };
        if gone() {
            return Ok(());
        }
        for (signal, seconds) in [(first, 20), (Signal::Immediate, 10), (Signal::Kill, 10)] {
            process::signal(pid, signal);
            if process::wait(Duration::from_secs(seconds), &mut gone) {
                return Ok(());
            }
        }
        Err(self.start_error(format!("process {pid} does not end")))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (scratch, watchdog) = {
            let mut held = self.held();
            (held.scratch.take(), held.watchdog.take())
        };
        // A persistent server stays; a child handle that is dropped ends nothing.
        let Some(scratch) = scratch else { return };
        let _ = self.halt(Signal::Immediate); // Nobody is left to tell, and the watchdog tries once more.
        if self.postmaster().is_none() {
            if let Some(watchdog) = watchdog {
                watchdog.dismiss();
            }
            drop(scratch);
        }
    }
}

/// What every server of the lab runs with: small, on loopback alone, telling all it does.
const SETTINGS: [(&str, &str); 13] = [
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("max_connections", "100"),
    ("shared_buffers", "32MB"),
    ("max_wal_size", "512MB"),
    ("log_statement", "all"),
    ("log_line_prefix", "%m [%p] app=%a db=%d "),
    ("log_timezone", "UTC"),
    ("timezone", "UTC"),
    ("datestyle", "ISO, MDY"),
    ("lc_messages", "C"),
    ("password_encryption", "scram-sha-256"),
    ("logging_collector", "off"),
];

/// A new folder that the server's user can reach: in the system's place for temporary files, else in `/tmp`.
pub(crate) fn scratch_folder(user: Option<ServerUser>) -> Result<tempfile::TempDir> {
    let mut home = std::env::temp_dir();
    if user.is_some_and(|user| user.barred(&home.join("x")).is_some()) {
        home = PathBuf::from("/tmp");
    }
    tempfile::Builder::new().prefix("godwit-lab-").tempdir_in(&home).map_err(io("make a folder in", &home))
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    let path = Path::new("127.0.0.1:0");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(io("listen on", path))?;
    Ok(listener.local_addr().map_err(io("listen on", path))?.port())
}

fn read_lossy(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// RFC 3986: everything but unreserved characters is escaped.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
