//! Saying what a request waits for: locks that sessions of others hold.
//!
//! A request waits as long as it takes: a time limit would also end what waits for another effect of the same run. So
//! somebody has to be told who is in the way.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use godwit_model::Result;
use godwit_model::capability::StepScope;
use tokio::sync::Mutex;

use crate::place::{Place, application_prefix};
use crate::quote::literal;

/// How long a request takes before somebody looks, and between two looks.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was said of one server.
#[derive(Debug, Default)]
pub struct Said(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    looked: Option<Instant>,
    /// Each wait is said once.
    said: HashSet<String>,
}

/// Does the work, and says so where it waits for locks in one of the databases.
pub async fn told<T>(scope: &StepScope, places: &[Place], work: impl Future<Output = T>) -> T {
    let watch = async {
        loop {
            tokio::time::sleep(PATIENCE).await;
            for place in places {
                // Nothing depends on it: the request itself meets whatever is wrong.
                let _ = look(scope, place).await;
            }
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        () = watch => unreachable!("it watches as long as the work takes"),
    }
}

/// One of several requests looks for all of them, and only with a connection that nobody needs.
async fn look(scope: &StepScope, place: &Place) -> Result<()> {
    let Ok(mut said) = place.server.said.0.try_lock() else { return Ok(()) };
    if said.looked.is_some_and(|at| at.elapsed() < PATIENCE) {
        return Ok(());
    }
    let Some(permit) = place.server.try_permit() else { return Ok(()) };
    said.looked = Some(Instant::now());
    let mut session = permit.session(&place.database, &place.application).await?;
    let ours = literal(&application_prefix(&scope.run));
    let sql = format!(
        "SELECT DISTINCT coalesce(l.relation::pg_catalog.regclass::text, 'a ' || l.locktype),
            b.pid::text, coalesce(b.usename::text, '?'), coalesce(b.application_name, ''), coalesce(b.state, '?'),
            coalesce(pg_catalog.date_trunc('second', b.xact_start)::text, '?')
         FROM pg_catalog.pg_stat_activity a
         JOIN pg_catalog.pg_locks l ON l.pid = a.pid AND NOT l.granted
         CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid)) AS blocker(pid)
         JOIN pg_catalog.pg_stat_activity b ON b.pid = blocker.pid
         WHERE pg_catalog.starts_with(a.application_name, {ours})
           AND NOT pg_catalog.starts_with(b.application_name, {ours})"
    );
    let replies = session.run(&sql).await?;
    session.keep();
    for row in replies.iter().flat_map(|reply| &reply.rows) {
        let [Some(what), Some(pid), Some(user), Some(application), Some(state), Some(since)] = row.as_slice()
        else {
            continue;
        };
        if said.said.insert(format!("{what} {pid} {since}")) {
            scope.progress.waits(&format!(
                "{} waits for a lock on {what}, which session {pid} of `{user}` (`{application}`, {state}) holds in a \
                 transaction since {since}; it goes on when that ends",
                place.identity()
            ));
        }
    }
    Ok(())
}
