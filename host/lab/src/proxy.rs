//! A way to a server on which connections can be held and cut: bytes pass untouched until a test says otherwise.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::error::{LabError, Result, io};

/// Pieces of up to 64 KiB that may be under way in one direction on a long way.
const UNDER_WAY: usize = 64;

/// When a connection is held: before the bytes that fulfil it are handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// More than so many bytes have come from the server.
    Received(u64),
    /// More than so many bytes were sent to the server.
    Sent(u64),
    /// A piece that is sent to the server has this text; useless under TLS.
    Text(String),
}

/// Listens on a free port of 127.0.0.1 and hands all on to another one. Dropped, it listens no more and cuts what is
/// open.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    listening: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    hold: Option<Hold>,
    /// Streams that are held now.
    held: usize,
    /// Connections that were begun before the last cut have a smaller number and end.
    generation: u64,
}

impl Proxy {
    /// A way to `port` of 127.0.0.1. It works as long as the runtime that it was made in.
    pub async fn before(port: u16) -> Result<Self> {
        Self::far(port, Duration::ZERO).await
    }

    /// A way to `port` of 127.0.0.1 on which a request and its answer take `round_trip` longer, however much is under way.
    pub async fn far(port: u16, round_trip: Duration) -> Result<Self> {
        let path = std::path::Path::new("127.0.0.1:0");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(io("listen on", path))?;
        let own = listener.local_addr().map_err(io("listen on", path))?.port();
        let shared = Arc::new(Shared::default());
        let listening = tokio::spawn(listen(listener, port, round_trip / 2, shared.clone()));
        Ok(Self { port: own, shared, listening })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same URL, by this way.
    pub fn url(&self, url: &str, server: u16) -> String {
        url.replacen(&format!("127.0.0.1:{server}/"), &format!("127.0.0.1:{}/", self.port), 1)
    }

    /// From now on, holds every stream that fulfils the condition.
    pub fn hold(&self, hold: Hold) {
        self.shared.lock().hold = Some(hold);
    }

    /// Waits until a stream is held; an error after `patience`.
    pub async fn held(&self, patience: Duration) -> Result<()> {
        let waiting = self.shared.wait(|state| state.held > 0);
        tokio::time::timeout(patience, waiting).await.map_err(|_| LabError::Start {
            what: "a held connection".into(),
            why: format!("nothing fulfilled the condition within {patience:?}"),
            log: String::new(),
        })
    }

    /// Holds nothing any more; what was held goes on.
    pub fn release(&self) {
        self.shared.lock().hold = None;
        self.shared.changed.notify_waiters();
    }

    /// Resets every connection that is open, and holds nothing any more. New ones pass.
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.hold = None;
        state.generation += 1;
        drop(state);
        self.shared.changed.notify_waiters();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.cut();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self, done: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registers before the look, so that a change in between isn't lost.
            changed.as_mut().enable();
            if done(&self.lock()) {
                return;
            }
            changed.await;
        }
    }
}

/// Counts a stream as held.
struct Held<'a>(&'a Shared);

impl<'a> Held<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.lock().held += 1;
        shared.changed.notify_waiters();
        Self(shared)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lock().held -= 1;
    }
}

async fn listen(listener: TcpListener, port: u16, delay: Duration, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            // A server that is down: the client's connection is closed at once.
            if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                connection(client, server, delay, &shared).await;
            }
        });
    }
}

async fn connection(client: TcpStream, server: TcpStream, delay: Duration, shared: &Shared) {
    for stream in [&client, &server] {
        // Only slower without.
        let _ = stream.set_nodelay(true);
    }
    let generation = shared.lock().generation;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let cut = shared.wait(|state| state.generation > generation);
    let moved = async {
        tokio::join!(
            pump(&mut from_client, &mut to_server, true, delay, shared, generation),
            pump(&mut from_server, &mut to_client, false, delay, shared, generation)
        )
    };
    let is_cut = tokio::select! {
        _ = moved => false,
        () = cut => true,
    };
    if is_cut {
        for (read, write) in [(from_client, to_client), (from_server, to_server)] {
            if let Ok(stream) = read.reunite(write) {
                // Closing with a linger time of zero sends RST (socket(7), SO_LINGER).
                let _ = stream.set_zero_linger();
            }
        }
    }
}

/// Hands bytes on until the stream ends, which is handed on too.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    to_server: bool,
    delay: Duration,
    shared: &Shared,
    generation: u64,
) {
    // What is under way: read at once, handed on when it has come far enough.
    let (under_way, mut arriving) =
        mpsc::channel::<(Instant, Vec<u8>)>(if delay.is_zero() { 1 } else { UNDER_WAY });
    let depart = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if under_way.send((Instant::now() + delay, buffer[..read].to_vec())).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(depart, arrive(&mut arriving, to, to_server, shared, generation));
}

/// Hands on what arrives, unless it is held.
async fn arrive(
    arriving: &mut mpsc::Receiver<(Instant, Vec<u8>)>,
    to: &mut OwnedWriteHalf,
    to_server: bool,
    shared: &Shared,
    generation: u64,
) {
    let mut passed = 0_u64;
    while let Some((due, piece)) = arriving.recv().await {
        tokio::time::sleep_until(due).await;
        let (piece, read) = (piece.as_slice(), piece.len());
        passed += read as u64;
        let fulfils = |state: &State| match &state.hold {
            Some(Hold::Received(bytes)) => !to_server && passed > *bytes,
            Some(Hold::Sent(bytes)) => to_server && passed > *bytes,
            Some(Hold::Text(text)) => {
                to_server && piece.windows(text.len().max(1)).any(|at| at == text.as_bytes())
            }
            None => false,
        };
        if fulfils(&shared.lock()) {
            let _held = Held::new(shared);
            shared.wait(|state| state.generation > generation || !fulfils(state)).await;
        }
        if to.write_all(piece).await.is_err() {
            break;
        }
    }
    // Whoever sends learns of it; the other side may be gone already.
    arriving.close();
    let _ = to.shutdown().await;
}
