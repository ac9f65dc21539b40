//! The floor: the same bytes from memory, one signed PUT each, over so many connections.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::sets::{BUCKET, Set};
use super::wire::{Connection, Store};

/// As many as the peers get.
pub const CONNECTIONS: usize = 32;

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
            let put = |connection: &mut Connection<'_>| {
                connection.send("PUT", &format!("/{BUCKET}/{}", item.key), "", &body)
            };
            let answer = match put(&mut connection) {
                Ok(answer) => answer,
                // Garage was seen to stop in the middle of a body, idle for good. The same bytes may be put twice.
                Err(why) => {
                    eprintln!("raw PUT, again over another connection: {why}");
                    connection = Connection::open(store)?;
                    put(&mut connection)?
                }
            };
            if answer.status != 200 {
                let said = String::from_utf8_lossy(&answer.body).into_owned();
                return Err(format!("PUT {}: {} {said}", item.key, answer.status));
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "a thread panicked".to_owned())?)
    })
}
