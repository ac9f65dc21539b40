//! Connections of one server under one budget that is never exceeded.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use godwit_model::{Error, ErrorKind, Fault, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Config, Wanted};
use crate::errors::Failure;
use crate::quote::literal;
use crate::wire::Wire;

/// How long a step waits for its turn to hold a snapshot.
const LEADER_WAIT: Duration = Duration::from_secs(120);
/// `too_many_connections`, of the server, the database or the role (manual, appendix A).
const TOO_MANY: &str = "53300";
/// The least that a budget shrinks to: a copy within one server takes three.
const LEAST: usize = 3;

/// One connection of the recipe: its settings and all that is open to it.
#[derive(Debug)]
pub struct Server {
    pub config: Config,
    /// Connections in use.
    budget: Arc<Semaphore>,
    /// Of these, the ones that hold a snapshot for the length of a step. Fewer than the budget, so that there is
    /// always one left that moves rows.
    leaders: Arc<Semaphore>,
    /// Open and not in use; oldest first. They count: an idle one is closed before the budget would be passed.
    idle: Mutex<VecDeque<(Key, Wire)>>,
    /// Server processes behind open connections.
    backends: Backends,
    /// Whether a pooler in between has been looked for.
    looked: AtomicBool,
    /// Held while the first connections are opened; what became of them, where they are opened for whoever comes.
    opening: tokio::sync::Mutex<Option<Error>>,
    /// Whose locks somebody has been told of.
    pub said: crate::waits::Said,
    /// How many connections there may be by now: the server may have fewer to give than the recipe allows.
    size: Mutex<Size>,
    /// The server that was taken, where the connection names several.
    chosen: tokio::sync::Mutex<Option<Config>>,
}

/// Connections in all, and those among them that hold a snapshot.
#[derive(Clone, Copy, Debug)]
struct Size {
    all: usize,
    leaders: usize,
}

type Backends = Arc<Mutex<HashSet<u32>>>;

/// A server process that is behind one open connection.
#[derive(Debug)]
pub struct Enlisted {
    backend: u32,
    backends: Backends,
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.backend);
    }
}

/// What an idle connection can be used for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub database: String,
    pub application: String,
    /// The snapshot that the connection's open transaction has imported.
    pub snapshot: Option<String>,
}

/// The right to use one connection of a server.
#[derive(Debug)]
pub struct Permit {
    permit: OwnedSemaphorePermit,
    server: Arc<Server>,
}

/// A connection in use. Dropped, it is closed; kept, somebody else may use it again.
#[derive(Debug)]
pub struct Lease {
    connection: Wire,
    key: Key,
    permit: Permit,
}

impl Server {
    pub fn new(config: Config) -> Self {
        let leaders = (config.max_connections / 2).max(1);
        Self {
            budget: Arc::new(Semaphore::new(config.max_connections)),
            leaders: Arc::new(Semaphore::new(leaders)),
            idle: Mutex::new(VecDeque::new()),
            backends: Backends::default(),
            looked: AtomicBool::new(false),
            opening: tokio::sync::Mutex::default(),
            said: crate::waits::Said::default(),
            size: Mutex::new(Size { all: config.max_connections, leaders }),
            chosen: tokio::sync::Mutex::default(),
            config,
        }
    }

    /// Waits for the right to use one connection.
    pub async fn permit(self: &Arc<Self>) -> Result<Permit> {
        let permit = self.budget.clone().acquire_owned().await.map_err(closed)?;
        Ok(Permit { permit, server: self.clone() })
    }

    /// The right to use one connection, where nobody else waits for it.
    pub fn try_permit(self: &Arc<Self>) -> Option<Permit> {
        let permit = self.budget.clone().try_acquire_owned().ok()?;
        Some(Permit { permit, server: self.clone() })
    }

    /// Waits for the right to use two at once, which taken one by one could block each other for good.
    pub async fn two_permits(self: &Arc<Self>) -> Result<(Permit, Permit)> {
        let size = self.size().all;
        if size < 3 {
            return Err(Error::invalid(format!(
                "connection `{}` is source and sink of one copy, and {size} connections are too few for it",
                self.config.name
            ))
            .hint("allow at least 3: one holds the snapshot, one reads, one writes"));
        }
        let mut both = self.budget.clone().acquire_many_owned(2).await.map_err(closed)?;
        let one = both.split(1).ok_or_else(|| Error::host("two permits are fewer than two"))?;
        Ok((Permit { permit: one, server: self.clone() }, Permit { permit: both, server: self.clone() }))
    }

    /// The right to hold a snapshot, with a connection to do it.
    pub async fn leader_permit(self: &Arc<Self>) -> Result<(OwnedSemaphorePermit, Permit)> {
        let wait = tokio::time::timeout(LEADER_WAIT, self.leaders.clone().acquire_owned()).await;
        let turn = wait
            .map_err(|_| {
                Error::unavailable(format!(
                    "connection `{}`: no connection came free for another snapshot within {} s",
                    self.config.name,
                    LEADER_WAIT.as_secs()
                ))
                .hint("raise `max_connections` of the connection, or let fewer steps run at once")
            })?
            .map_err(closed)?;
        Ok((turn, self.permit().await?))
    }

    /// Notes the server process behind a new connection. Two connections with one process have a pooler before them
    /// that deals processes out by the transaction: settings, markers and snapshots would go astray.
    fn enlist(&self, backend: Option<u32>) -> Result<Option<Enlisted>> {
        let Some(backend) = backend else { return Ok(None) };
        if !self.backends.lock().unwrap_or_else(PoisonError::into_inner).insert(backend) {
            return Err(Error::failed(format!(
                "connection `{}`: two sessions share server process {backend}: a transaction pooler sits in between",
                self.config.name
            ))
            .fault(Fault::Recipe)
            .hint("use the server's direct endpoint (another host or port), or a pooler in session mode"));
        }
        Ok(Some(Enlisted { backend, backends: self.backends.clone() }))
    }

    /// Opens a connection, the first one of a server together with a second one, to be used later: before a pooler that deals
    /// processes out by the transaction, both have the same process as long as neither has begun anything. Connections
    /// that are in a transaction when the next one is opened would have different ones, and the pooler would go unnoticed.
    async fn connect(self: &Arc<Self>, config: &Config, key: &Key) -> Result<Wire, Failure> {
        let begin = || Wire::begin(config, &key.database, &key.application);
        // Without another permit the next connection looks.
        let second = if self.looked.load(Ordering::Relaxed) { None } else { self.try_permit() };
        let Some(permit) = second else {
            let mut first = begin().await?;
            first.pin(config).await?;
            first.enlisted = self.enlist(first.backend)?;
            return Ok(first);
        };
        // This permit counts as well by now.
        self.make_room().await;
        let (mut first, second) = match tokio::join!(begin(), begin()) {
            // The server had one to give, and the other one got it.
            (Err(failure), Ok(second)) if failure.is(TOO_MANY) => (second, Err(failure)),
            (first, second) => (first?, second),
        };
        first.pin(config).await?;
        first.enlisted = self.enlist(first.backend)?;
        self.looked.store(true, Ordering::Relaxed);
        // A server that has no second connection to give is nothing to fail of here.
        if let Ok(mut second) = second
            && second.pin(config).await.is_ok()
        {
            second.enlisted = self.enlist(second.backend)?;
            let key = Key { snapshot: None, ..key.clone() };
            Lease { connection: second, key, permit }.keep();
        }
        Ok(first)
    }

    /// Opens the first connections to a database that a step is about to need, while it does something else.
    pub fn warm_up(self: &Arc<Self>, database: String, application: String) {
        if self.looked.load(Ordering::Relaxed) {
            return;
        }
        let (Ok(turn), Some(permit)) = (self.opening.try_lock(), self.try_permit()) else { return };
        drop(turn);
        let server = self.clone();
        tokio::spawn(async move {
            let mut outcome = server.opening.lock().await;
            match permit.open(Key { database, application, snapshot: None }).await {
                Ok(lease) => lease.keep(),
                Err(error) => *outcome = Some(error),
            }
        });
    }

    /// The idle connection that was used last, if possible by the same step; else one that only has to be told its name.
    fn take(&self, wanted: &Key) -> Option<(Key, Wire)> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let others = || {
            let does = |key: &Key| key.database == wanted.database && key.snapshot.is_none();
            wanted.snapshot.is_none().then(|| idle.iter().rposition(|(key, _)| does(key))).flatten()
        };
        let index = idle.iter().rposition(|(key, _)| key == wanted).or_else(others)?;
        idle.remove(index)
    }

    /// Closes idle connections until one more fits into the budget. The caller's permit is counted already.
    async fn make_room(&self) {
        loop {
            let size = self.size().all;
            let in_use = size - self.budget.available_permits().min(size);
            let oldest = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                if in_use + idle.len() <= size { None } else { idle.pop_front() }
            };
            match oldest {
                Some((_, connection)) => connection.close().await,
                None => return,
            }
        }
    }

    fn size(&self) -> Size {
        *self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the budget smaller by one, where the server has no more to give and somebody else's connection can be waited
    /// for; false where it can't be any smaller. Three remain for a copy within one server, and one more than there are
    /// leaders, which keep theirs.
    fn shrink(&self) -> bool {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).len();
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        let in_use = size.all - self.budget.available_permits().min(size.all);
        let smaller = size.all - 1;
        if smaller < LEAST || in_use + idle < 2 {
            return false;
        }
        while size.leaders > (smaller / 2).max(1) {
            let Ok(leader) = self.leaders.try_acquire() else { return false };
            leader.forget();
            size.leaders -= 1;
        }
        size.all = smaller;
        true
    }

    /// Where to connect to: the first server that is what the connection asks for, the same for as long as it answers,
    /// since snapshots and markers are of one server.
    async fn endpoint(&self, database: &str, application: &str) -> Result<Config> {
        if self.config.is_certain() {
            return Ok(self.config.clone());
        }
        let mut chosen = self.chosen.lock().await;
        if let Some(config) = &*chosen {
            return Ok(config.clone());
        }
        let mut endpoints = self.config.endpoints.clone();
        if self.config.balanced {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let start = now.subsec_nanos() as usize % endpoints.len();
            endpoints.rotate_left(start);
        }
        let mut refused = Vec::new();
        let mut other = None;
        for endpoint in &endpoints {
            let config = self.config.at(endpoint);
            let at = format!("{}:{}", endpoint.host, endpoint.port);
            match state(&config, database, application).await {
                Ok((in_recovery, read_only)) if config.wanted.admits(in_recovery, read_only) => {
                    *chosen = Some(config.clone());
                    return Ok(config);
                }
                Ok((in_recovery, read_only)) => {
                    let what = if in_recovery { "a standby" } else { "a primary" };
                    let mode = if read_only { ", read-only" } else { "" };
                    refused.push(format!("{at} is {what}{mode}"));
                    other.get_or_insert(config);
                }
                // Another host has another answer only where this one has none.
                Err(error) if error.kind == ErrorKind::Unavailable => {
                    refused.push(format!("{at}: {}", error.message))
                }
                Err(error) => return Err(error),
            }
        }
        if let (Some(config), Wanted::PreferStandby) = (other, self.config.wanted) {
            *chosen = Some(config.clone());
            return Ok(config);
        }
        Err(Error::unavailable(format!(
            "connection `{}`: none of its servers can be used as {}: {}",
            self.config.name,
            self.config.wanted.word(),
            refused.join("; ")
        ))
        .hint("check the hosts, and `target_session_attrs` of the connection"))
    }

    /// Closes idle connections that match.
    pub async fn close_idle(&self, matches: impl Fn(&Key) -> bool) {
        let gone: Vec<_> = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let (gone, kept) = idle.drain(..).partition(|(key, _)| matches(key));
            *idle = kept;
            let gone: VecDeque<_> = gone;
            gone.into()
        };
        for (_, connection) in gone {
            connection.close().await;
        }
    }
}

/// Whether a server is in recovery, and whether its sessions are read-only.
async fn state(config: &Config, database: &str, application: &str) -> Result<(bool, bool)> {
    let mut wire = Wire::connect(config, database, application).await?;
    let replies = wire
        .simple("SELECT pg_catalog.pg_is_in_recovery()::text, pg_catalog.current_setting('transaction_read_only')")
        .await?;
    wire.close().await;
    let row = replies.first().and_then(|reply| reply.rows.first());
    let value = |at: usize| row.and_then(|row| row.get(at)).and_then(|value| value.as_deref());
    Ok((value(0) == Some("true"), value(1) == Some("on")))
}

impl Permit {
    /// What to do after a connection didn't come about. A server that has no more connections to give makes the budget
    /// smaller: the right to use one goes, and is waited for anew until somebody hands a connection back.
    async fn after(self, failure: Failure) -> Result<Self> {
        let server = self.server.clone();
        if failure.is(TOO_MANY) && server.shrink() {
            self.permit.forget();
            return server.permit().await;
        }
        if failure.error.kind == ErrorKind::Unavailable && !failure.is(TOO_MANY) {
            // Next time, another host may have taken over.
            *server.chosen.lock().await = None;
        }
        Err(failure.into())
    }

    /// An open connection outside of a transaction, or a new one.
    pub async fn wire(self, database: &str, application: &str) -> Result<Lease> {
        self.wire_in(database, application, None).await
    }

    /// A connection in a READ ONLY transaction that sees the exported snapshot.
    pub async fn reader(self, database: &str, application: &str, snapshot: &str) -> Result<Lease> {
        self.wire_in(database, application, Some(snapshot)).await
    }

    async fn wire_in(self, database: &str, application: &str, snapshot: Option<&str>) -> Result<Lease> {
        if !self.server.looked.load(Ordering::Relaxed) {
            // Whoever has to wait for the first connections shares their fate.
            let waits = self.server.opening.try_lock().is_err();
            let failed = self.server.opening.lock().await.take();
            if let Some(error) = failed.filter(|_| waits) {
                return Err(error);
            }
        }
        self.open(Key {
            database: database.to_owned(),
            application: application.to_owned(),
            snapshot: snapshot.map(str::to_owned),
        })
        .await
    }

    async fn open(self, key: Key) -> Result<Lease> {
        let mut permit = self;
        loop {
            while let Some((former, mut connection)) = permit.server.take(&key) {
                if !connection.is_open() {
                    continue;
                }
                if former.application != key.application {
                    let rename = format!("SET application_name = {}", literal(&key.application));
                    if connection.simple_unawaited(&rename).await.is_err() {
                        continue;
                    }
                }
                return Ok(Lease { connection, key, permit });
            }
            permit.server.make_room().await;
            let config = permit.server.endpoint(&key.database, &key.application).await?;
            let mut connection = match permit.server.connect(&config, &key).await {
                Ok(connection) => connection,
                Err(failure) => {
                    permit = permit.after(failure).await?;
                    continue;
                }
            };
            if let Some(snapshot) = &key.snapshot {
                let import = format!(
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
                    literal(snapshot)
                );
                connection.simple(&import).await?;
            }
            return Ok(Lease { connection, key, permit });
        }
    }
}

impl Lease {
    /// Hands the connection back, in the state in which it was handed out.
    pub fn keep(self) {
        let Lease { connection, key, permit } = self;
        // First the connection, then the permit: whoever gets the permit finds it.
        permit.server.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back((key, connection));
        drop(permit.permit);
    }

    /// Ends the session; when this returns, the server has been told.
    pub async fn end(self) {
        self.connection.close().await;
    }
}

impl std::ops::Deref for Lease {
    type Target = Wire;
    fn deref(&self) -> &Wire {
        &self.connection
    }
}

impl std::ops::DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.connection
    }
}

fn closed<E>(_: E) -> Error {
    Error::host("the connection budget was closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_process_gives_a_pooler_away() {
        let server = Server::new(Config::for_tests());
        let first = server.enlist(Some(7)).unwrap();
        assert!(server.enlist(Some(8)).is_ok());
        let error = server.enlist(Some(7)).unwrap_err();
        assert!(error.message.contains("transaction pooler") && error.hint.is_some());
        drop(first);
        assert!(server.enlist(Some(7)).is_ok(), "a closed connection gives its process free");
    }
}
