//! Connections of one server under one budget that is never exceeded.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use godwit_model::{Error, Fault, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::session::Session;
use crate::wire::Wire;

/// How long a step waits for its turn to hold a snapshot.
const LEADER_WAIT: Duration = Duration::from_secs(120);

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
    idle: Mutex<VecDeque<(Key, Idle)>>,
    /// Server processes behind open connections.
    backends: Backends,
    /// Whose locks somebody has been told of.
    pub said: crate::waits::Said,
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

#[derive(Debug)]
enum Idle {
    Session(Session),
    Wire(Wire),
}

/// The right to use one connection of a server.
#[derive(Debug)]
pub struct Permit {
    permit: OwnedSemaphorePermit,
    server: Arc<Server>,
}

/// A connection in use. Dropped, it is closed; kept, somebody else may use it again.
#[derive(Debug)]
pub struct Lease<T> {
    connection: T,
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
            said: crate::waits::Said::default(),
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
        if self.config.max_connections < 3 {
            return Err(Error::invalid(format!(
                "connection `{}` is source and sink of one copy, and max_connections {} is too few for it",
                self.config.name, self.config.max_connections
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

    /// An open session, or a new one.
    pub async fn session(self: &Arc<Self>, database: &str, application: &str) -> Result<Lease<Session>> {
        self.permit().await?.session(database, application).await
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

    fn take(&self, matches: impl Fn(&Key, &Idle) -> bool) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let index = idle.iter().rposition(|(key, connection)| matches(key, connection))?;
        idle.remove(index).map(|(_, connection)| connection)
    }

    /// Closes idle connections until one more fits into the budget. The caller's permit is counted already.
    async fn make_room(&self) {
        loop {
            let in_use = self.config.max_connections
                - self.budget.available_permits().min(self.config.max_connections);
            let oldest = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                if in_use + idle.len() <= self.config.max_connections { None } else { idle.pop_front() }
            };
            match oldest {
                Some((_, connection)) => connection.close().await,
                None => return,
            }
        }
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

impl Idle {
    async fn close(self) {
        match self {
            Self::Session(session) => session.close().await,
            Self::Wire(wire) => wire.close().await,
        }
    }
}

impl Permit {
    /// An open session, or a new one.
    pub async fn session(self, database: &str, application: &str) -> Result<Lease<Session>> {
        let key = Key { database: database.to_owned(), application: application.to_owned(), snapshot: None };
        let open = self.server.take(|k, idle| *k == key && matches!(idle, Idle::Session(_)));
        let connection = match open {
            Some(Idle::Session(session)) => session,
            _ => {
                self.server.make_room().await;
                let mut session = Session::connect(&self.server.config, database, application).await?;
                session.enlisted = self.server.enlist(session.backend)?;
                session
            }
        };
        Ok(Lease { connection, key, permit: self })
    }

    /// An open connection outside of a transaction, or a new one.
    pub async fn wire(self, database: &str, application: &str) -> Result<Lease<Wire>> {
        self.wire_in(database, application, None).await
    }

    /// A connection in a READ ONLY transaction that sees the exported snapshot.
    pub async fn reader(self, database: &str, application: &str, snapshot: &str) -> Result<Lease<Wire>> {
        self.wire_in(database, application, Some(snapshot)).await
    }

    async fn wire_in(self, database: &str, application: &str, snapshot: Option<&str>) -> Result<Lease<Wire>> {
        let key = Key {
            database: database.to_owned(),
            application: application.to_owned(),
            snapshot: snapshot.map(str::to_owned),
        };
        let mut open = None;
        while let Some(Idle::Wire(mut wire)) =
            self.server.take(|k, idle| *k == key && matches!(idle, Idle::Wire(_)))
        {
            if wire.is_open() {
                open = Some(wire);
                break;
            }
        }
        let connection = match open {
            Some(wire) => wire,
            None => {
                self.server.make_room().await;
                let mut wire = Wire::connect(&self.server.config, database, application).await?;
                wire.enlisted = self.server.enlist(wire.backend)?;
                if let Some(snapshot) = snapshot {
                    let import = format!(
                        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
                        crate::quote::literal(snapshot)
                    );
                    wire.simple(&import).await?;
                }
                wire
            }
        };
        Ok(Lease { connection, key, permit: self })
    }
}

impl Lease<Session> {
    /// Hands the session back, outside of a transaction.
    pub fn keep(self) {
        let Lease { connection, key, permit } = self;
        permit.put_back(key, Idle::Session(connection));
    }

    /// Ends the session; when this returns, the server has been told.
    pub async fn end(self) {
        self.connection.close().await;
    }
}

impl Lease<Wire> {
    /// Hands the connection back, in the state in which it was handed out.
    pub fn keep(self) {
        let Lease { connection, key, permit } = self;
        permit.put_back(key, Idle::Wire(connection));
    }
}

impl Permit {
    fn put_back(self, key: Key, connection: Idle) {
        // First the connection, then the permit: whoever gets the permit finds it.
        self.server.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back((key, connection));
        drop(self.permit);
    }
}

impl<T> std::ops::Deref for Lease<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.connection
    }
}

impl<T> std::ops::DerefMut for Lease<T> {
    fn deref_mut(&mut self) -> &mut T {
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
