//! How many requests are under way at once, how many are begun a second, and how many bytes pass.
//!
//! A store that asks to slow down (429, 503) gets half as many requests at once, and after each round of answers one more
//! again: additive increase, multiplicative decrease. What it says in `Retry-After` holds for the whole connection.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::endpoint::Endpoint;

/// Requests that were under way together are refused together: they halve the number once.
const ONE_REFUSAL: Duration = Duration::from_millis(500);
/// The longest `Retry-After` that is waited for in one go.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What a limit lets through at once after a pause.
const BURST: Duration = Duration::from_millis(100);

/// The pace of one connection.
pub(crate) struct Pace {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    requests: Option<Limit>,
    pub bytes: Option<Limit>,
}

struct State {
    most: usize,
    /// Requests at once now.
    allowed: usize,
    /// Permits to take away once they come back.
    owed: usize,
    /// Answers since the number last changed.
    answers: usize,
    refused: Option<Instant>,
    /// The store wants to be left alone until then.
    quiet: Option<Instant>,
}

/// The right to one request.
pub(crate) struct Permit {
    pace: Arc<Pace>,
    held: Option<OwnedSemaphorePermit>,
}

impl Pace {
    pub fn new(endpoint: &Endpoint) -> Self {
        let most = endpoint.max_connections;
        Self {
            permits: Arc::new(Semaphore::new(most)),
            state: Mutex::new(State { most, allowed: most, owed: 0, answers: 0, refused: None, quiet: None }),
            requests: endpoint.max_requests.map(Limit::new),
            bytes: endpoint.max_bandwidth.map(Limit::new),
        }
    }

    /// Waits for the right to one more request at once.
    pub async fn permit(self: &Arc<Self>) -> Permit {
        // The semaphore is never closed.
        let held = self.permits.clone().acquire_owned().await.expect("the semaphore stays open");
        Permit { pace: self.clone(), held: Some(held) }
    }

    /// Waits until the next request may begin.
    pub async fn begin(&self) {
        loop {
            let quiet = self.state().quiet;
            match quiet {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until.into()).await,
                _ => break,
            }
        }
        if let Some(requests) = &self.requests {
            requests.take(1).await;
        }
    }

    /// The store asked to slow down, and perhaps said for how long.
    pub fn refused(&self, retry_after: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(wait) = retry_after {
            let until = now + wait.min(LONGEST_WAIT);
            state.quiet = Some(state.quiet.map_or(until, |quiet| quiet.max(until)));
        }
        if state.refused.is_some_and(|last| now.duration_since(last) < ONE_REFUSAL) {
            return;
        }
        state.refused = Some(now);
        state.answers = 0;
        let fewer = (state.allowed / 2).max(1);
        let cut = state.allowed - fewer;
        state.allowed = fewer;
        state.owed += cut - self.permits.forget_permits(cut);
        tracing::debug!(at_once = fewer, "the store asks to slow down");
    }

    /// The store answered without complaint.
    pub fn answered(&self) {
        let mut state = self.state();
        if state.allowed == state.most {
            return;
        }
        state.answers += 1;
        if state.answers >= state.allowed {
            state.answers = 0;
            state.allowed += 1;
            match state.owed {
                0 => self.permits.add_permits(1),
                _ => state.owed -= 1,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.pace.state();
        if state.owed > 0
            && let Some(held) = self.held.take()
        {
            state.owed -= 1;
            held.forget();
        }
    }
}

/// So many units a second.
pub(crate) struct Limit {
    rate: f64,
    next: Mutex<Instant>,
}

impl Limit {
    fn new(rate: u64) -> Self {
        Self { rate: rate.max(1) as f64, next: Mutex::new(Instant::now()) }
    }

    /// Waits until what was taken before is paid for, and takes so many more.
    pub async fn take(&self, units: u64) {
        let start = {
            let mut next = self.next.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let earliest = Instant::now().checked_sub(BURST).unwrap_or(*next);
            let start = (*next).max(earliest);
            *next = start + Duration::from_secs_f64(units as f64 / self.rate);
            start
        };
        if start > Instant::now() {
            tokio::time::sleep_until(start.into()).await;
        }
    }
}

/// How long an answer asks to wait (RFC 9110, section 10.2.3; in seconds alone: no store sends a date).
pub(crate) fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Whether this status asks to slow down (S3 API, "SlowDown"; RFC 6585, section 4).
pub(crate) fn asks_to_wait(status: u16) -> bool {
    matches!(status, 429 | 503)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(most: usize) -> Arc<Pace> {
        let state = State { most, allowed: most, owed: 0, answers: 0, refused: None, quiet: None };
        Arc::new(Pace {
            permits: Arc::new(Semaphore::new(most)),
            state: Mutex::new(state),
            requests: None,
            bytes: None,
        })
    }

    #[tokio::test]
    async fn a_refusal_halves_and_answers_bring_back() {
        let pace = pace(8);
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(pace.permit().await);
        }
        pace.refused(None);
        // Another one of the same moment changes nothing.
        pace.refused(None);
        held.truncate(4);
        assert_eq!(pace.permits.available_permits(), 0);
        held.clear();
        assert_eq!(pace.permits.available_permits(), 4);
        for _ in 0..4 {
            pace.answered();
        }
        assert_eq!(pace.permits.available_permits(), 5);
        for _ in 0..100 {
            pace.answered();
        }
        assert_eq!(pace.permits.available_permits(), 8);
    }

    #[tokio::test]
    async fn the_last_request_is_never_taken_away() {
        let pace = pace(1);
        pace.refused(Some(Duration::from_millis(50)));
        let begun = Instant::now();
        pace.begin().await;
        assert!(begun.elapsed() >= Duration::from_millis(49));
        drop(pace.permit().await);
    }

    #[tokio::test]
    async fn a_limit_spreads_what_passes() {
        let limit = Limit::new(1000);
        let begun = Instant::now();
        for _ in 0..6 {
            limit.take(50).await;
        }
        let took = begun.elapsed();
        // The first is free, and so is what the burst admits.
        assert!(took >= Duration::from_millis(140), "{took:?}");
    }
}
