//! How long one effect goes on trying what comes to nothing.
//!
//! Series of attempts nest: a PUT is tried again, and in each of its attempts the GET that feeds it. Each series has its
//! bound; this is the bound of all of them together, from the first failure on, until a part of the effect arrives. Once
//! it is reached, each request is tried once more at most, also when the engine tries the whole effect again.

use std::cell::Cell;
use std::future::Future;
use std::time::{Duration, Instant};

struct Trial {
    limit: Duration,
    /// The first failure since anything arrived.
    failing: Cell<Option<Instant>>,
    /// An earlier attempt of the effect has spent all of it.
    spent: Cell<bool>,
}

tokio::task_local! {
    static TRIAL: Trial;
}

/// Does an effect's work within this bound. `spent`: an earlier attempt has left nothing of it. Also tells whether
/// anything is left.
pub(crate) async fn within<T>(limit: Duration, spent: bool, work: impl Future<Output = T>) -> (T, bool) {
    let trial = Trial { limit, failing: Cell::new(None), spent: Cell::new(spent) };
    TRIAL
        .scope(trial, async {
            let done = work.await;
            (done, is_spent())
        })
        .await
}

/// An attempt came to nothing.
pub(crate) fn failed() {
    let _ = TRIAL.try_with(|trial| trial.failing.set(trial.failing.get().or_else(|| Some(Instant::now()))));
}

/// A part of the effect is done for good.
pub(crate) fn arrived() {
    let _ = TRIAL.try_with(|trial| {
        trial.failing.set(None);
        trial.spent.set(false);
    });
}

/// Whether nothing is to be tried again. Never so outside of an effect: what only reads has one series.
pub(crate) fn is_spent() -> bool {
    TRIAL
        .try_with(|trial| {
            trial.spent.get() || trial.failing.get().is_some_and(|since| since.elapsed() >= trial.limit)
        })
        .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_arrives_renews_it() {
        let limit = Duration::from_millis(20);
        let (seen, spent) = within(limit, false, async {
            let mut seen = vec![is_spent()];
            failed();
            seen.push(is_spent());
            tokio::time::sleep(limit).await;
            failed();
            seen.push(is_spent());
            arrived();
            seen.push(is_spent());
            seen
        })
        .await;
        assert_eq!(seen, [false, false, true, false]);
        assert!(!spent);
        assert!(within(limit, true, async {}).await.1);
        assert!(!is_spent());
    }
}
