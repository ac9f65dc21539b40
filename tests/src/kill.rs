//! A journal that ends its process with SIGKILL around one of its writes.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use godwit_model::Result;

use crate::around::{Around, WRITES};

/// At which write the process ends, and on which side of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    side: Side,
    /// Counts the calls of this method of the journal alone, such as `settle`; without it, every write.
    method: Option<String>,
    /// From 1.
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Just before the write.
    Before,
    /// Just after it became durable.
    After,
}

impl Moment {
    /// Reads `before:N`, `after:N`, `before:METHOD:N` or `after:METHOD:N`.
    pub fn parse(text: &str) -> Option<Self> {
        let (side, rest) = text.split_once(':')?;
        let side = match side {
            "before" => Side::Before,
            "after" => Side::After,
            _ => return None,
        };
        let (method, number) = match rest.split_once(':') {
            Some((method, number)) if WRITES.contains(&method) => (Some(method.to_owned()), number),
            Some(_) => return None,
            None => (None, rest),
        };
        Some(Self { side, method, number: number.parse().ok()? })
    }
}

/// Counts the writes of a journal, and ends the process at one of them.
pub struct Killing {
    moment: Option<Moment>,
    writes: AtomicU64,
    /// Those of the method that the moment names.
    named: AtomicU64,
    /// Where the count is written at each write, so that a test knows how many there are.
    count_file: Option<PathBuf>,
}

impl Killing {
    /// Without a moment it never ends the process.
    pub fn new(moment: Option<Moment>, count_file: Option<PathBuf>) -> Self {
        Self { moment, writes: AtomicU64::new(0), named: AtomicU64::new(0), count_file }
    }

    /// Called before each write; tells whether the process is to end after it.
    fn before(&self, method: &str) -> bool {
        let number = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(path) = &self.count_file {
            std::fs::write(path, number.to_string()).expect("the count file can be written");
        }
        let Some(moment) = &self.moment else { return false };
        let number = match &moment.method {
            None => number,
            Some(named) if named == method => self.named.fetch_add(1, Ordering::SeqCst) + 1,
            Some(_) => return false,
        };
        if number != moment.number {
            return false;
        }
        if moment.side == Side::Before {
            die();
        }
        true
    }
}

impl Around for Killing {
    async fn write<T: Send>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let dies = self.before(method);
        let result = call.await;
        if dies {
            die();
        }
        result
    }

    async fn read<T: Send>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        call.await
    }
}

#[allow(unsafe_code)]
fn die() -> ! {
    // SAFETY: kill and getpid have no preconditions; SIGKILL leaves no code of this process to run.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    // The signal ends every thread; this one may be scheduled once more before it arrives.
    loop {
        std::thread::park();
    }
}
