//! The floor: the same bytes from memory, one signed PUT each, over so many connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::sets::{BUCKET, Set};
use super::wire::{Connection, Store};

/// As many as the peers get.
pub const CONNECTIONS: usize = 32;

/// How often one object is tried.
const ATTEMPTS: u32 = 5;
/// The wait after the first failure; after each further one as much more.
const PAUSE: Duration = Duration::from_millis(100);

/// Puts a set into a bucket that is there.
pub fn put(store: &Store, set: Set, share: usize) -> Result<(), String> {
    let items = set.items(share);
    let content = set.content(&items);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut connection = Connection::open(store)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { return Ok(()) };
            let body = content.object(number, item.len);
            put_patiently(&mut connection, store, &item.key, &body)?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "a thread panicked".to_owned())?)
    })
}

/// One PUT, tried again where the server fails or says nothing, as every way that is measured does: Garage answers 503 while
/// its database is locked, and was seen to stop in the middle of a body. The same bytes may be put twice.
fn put_patiently<'a>(
    connection: &mut Connection<'a>,
    store: &'a Store,
    key: &str,
    body: &[u8],
) -> Result<(), String> {
    for attempt in 1.. {
        let why = match connection.send("PUT", &format!("/{BUCKET}/{key}"), "", body) {
            Ok(answer) if answer.status == 200 => break,
            Ok(answer) => {
                let said = format!("PUT {key}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
                if answer.status < 500 {
                    return Err(said);
                }
                said
            }
            Err(why) => why,
        };
        if attempt == ATTEMPTS {
            return Err(why);
        }
        eprintln!("raw PUT, again over another connection: {why}");
        std::thread::sleep(attempt * PAUSE);
        *connection = Connection::open(store)?;
    }
    Ok(())
}
