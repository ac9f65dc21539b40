//! Measures the CPU time that a guest uses itself: neither the host's work on its behalf nor time asleep counts.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// The CPU clock of one store.
///
/// It runs while [`Clock::meter`] polls the guest's call, except between the entry of a host function and its exit.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spent: Duration,
    /// The thread's CPU time when the guest went on; `None` while it doesn't run. A poll stays on its thread.
    since: Option<Duration>,
    in_host: bool,
}

impl State {
    fn stop(&mut self) {
        if let Some(since) = self.since.take() {
            self.spent += thread_cpu_time().saturating_sub(since);
        }
    }
}

impl Clock {
    /// CPU time of the guest so far.
    pub(crate) fn spent(&self) -> Duration {
        let state = self.lock();
        let running = state.since.map_or(Duration::ZERO, |since| thread_cpu_time().saturating_sub(since));
        state.spent + running
    }

    /// Begins at zero again: a pipe's bound is for one chunk.
    pub(crate) fn reset(&self) {
        *self.lock() = State::default();
    }

    /// Stops the clock until the returned value is dropped: held by each host function.
    pub(crate) fn host_call(self: &Arc<Self>) -> HostCall {
        let mut state = self.lock();
        state.stop();
        state.in_host = true;
        HostCall(self.clone())
    }

    /// Lets the clock run while `call` is polled.
    pub(crate) async fn meter<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        std::future::poll_fn(|context| self.poll(call.as_mut(), context)).await
    }

    fn poll<F: Future>(&self, call: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        {
            let mut state = self.lock();
            if !state.in_host {
                state.since = Some(thread_cpu_time());
            }
        }
        let polled = call.poll(context);
        self.lock().stop();
        polled
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time in a host function, which isn't the guest's.
pub(crate) struct HostCall(Arc<Clock>);

impl Drop for HostCall {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.in_host = false;
        state.since = Some(thread_cpu_time());
    }
}

/// CPU time of this thread (`clock_gettime(3)`, `CLOCK_THREAD_CPUTIME_ID`).
#[cfg(unix)]
fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // `clock_gettime` writes to the given struct and nothing else; it can't fail for this clock.
    #[allow(unsafe_code)]
    unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time);
    }
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Where threads have no CPU clock, the wall clock stands in: polls are short.
#[cfg(not(unix))]
fn thread_cpu_time() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn burn(time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            std::hint::black_box(0);
        }
    }

    #[tokio::test]
    async fn counts_the_guest_and_not_the_host() {
        let clock = Arc::new(Clock::default());
        clock
            .meter(async {
                burn(Duration::from_millis(40));
                let host = clock.host_call();
                burn(Duration::from_millis(200));
                tokio::time::sleep(Duration::from_millis(50)).await;
                drop(host);
                tokio::time::sleep(Duration::from_millis(200)).await;
            })
            .await;
        let spent = clock.spent();
        assert!(spent > Duration::from_millis(2), "{spent:?}");
        assert!(spent < Duration::from_millis(150), "{spent:?}");
        clock.reset();
        assert_eq!(clock.spent(), Duration::ZERO);
    }
}
