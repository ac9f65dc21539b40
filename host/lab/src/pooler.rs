//! PgBouncer before a server: what hosted databases put there, and what some clients can't work through.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::error::{LabError, Result, io};
use crate::postgres::{PASSWORD, PgServer, USER, free_port, scratch_folder};
use crate::process::{self, ServerUser, Signal, Watchdog};

/// Debian's.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// When a server's session is another client's to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    Session,
    Transaction,
}

/// A pooler on a free port of 127.0.0.1, for all databases of one server and its superuser. Gone when it is dropped.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    child: Child,
    watchdog: Option<Watchdog>,
    _folder: tempfile::TempDir,
}

impl Pooler {
    pub async fn before(server: &PgServer, mode: PoolMode) -> Result<Self> {
        let server = server.clone();
        tokio::task::spawn_blocking(move || Self::start(&server, mode)).await?
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn start(server: &PgServer, mode: PoolMode) -> Result<Self> {
        let program = PathBuf::from(PROGRAM);
        if !program.is_file() {
            let hint = "run `cargo xtask setup` as root, or apt-get install pgbouncer".into();
            return Err(LabError::Missing { what: "PgBouncer".into(), hint });
        }
        let user = ServerUser::find()?;
        let folder = scratch_folder(user)?;
        // Where the watchdog looks for whom to end.
        let data = folder.path().join("data");
        fs::create_dir(&data).map_err(io("make", &data))?;
        let port = free_port()?;
        let mode = match mode {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
        };
        let (config, users, log) =
            (data.join("pgbouncer.ini"), data.join("users.txt"), data.join("pgbouncer.log"));
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\nlogfile = {}\npidfile = {}\n",
            server.port(),
            users.display(),
            log.display(),
            data.join("postmaster.pid").display()
        );
        write(&config, &text)?;
        write(&users, &format!("\"{USER}\" \"{PASSWORD}\"\n"))?;
        if let Some(user) = user {
            for path in [folder.path(), &data, &config, &users] {
                user.own(path)?;
            }
        }
        let watchdog = Watchdog::over(folder.path())?;
        let mut pgbouncer = process::command(&program, user);
        pgbouncer.arg("--quiet").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = pgbouncer.spawn().map_err(io("run", &program))?;
        let pooler = Self { port, child, watchdog: Some(watchdog), _folder: folder };
        if process::wait(Duration::from_secs(20), || TcpStream::connect(("127.0.0.1", port)).is_ok()) {
            return Ok(pooler);
        }
        let log =
            fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Err(LabError::Start { what: "PgBouncer".into(), why: "it does not listen".into(), log })
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(io("write", path))
}

impl Drop for Pooler {
    fn drop(&mut self) {
        process::signal(self.child.id(), Signal::Kill);
        // It is gone already, or will be.
        let _ = self.child.wait();
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.dismiss();
        }
    }
}
