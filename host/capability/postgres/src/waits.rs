//! Saying what a request waits for: locks that sessions of others hold, and indexes that take their time.
//!
//! A request waits as long as it takes: a time limit would also end what waits for another effect of the same run. So
//! somebody has to be told who is in the way.

use std::collections::HashSet;
use std::convert::Infallible;
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
    tokio::select! {
        biased;
        done = work => done,
        never = watch(scope, places) => match never {},
    }
}

async fn watch(scope: &StepScope, places: &[Place]) -> Infallible {
    loop {
        tokio::time::sleep(PATIENCE).await;
        for place in places {
            // Nothing depends on it: the request itself meets whatever is wrong.
            let _ = look(scope, place).await;
        }
    }
}

/// The indexes that sessions of a run build: table and phase, and how much of the phase is done (manual, section 27.4.4
/// «CREATE INDEX Progress Reporting»).
fn index_builds(ours: &str) -> String {
    format!(
        "SELECT 'index on ' || p.relid::pg_catalog.regclass || ', ' || p.phase,
            (CASE WHEN p.tuples_total > 0 THEN p.tuples_done ELSE p.blocks_done END)::text,
            (CASE WHEN p.tuples_total > 0 THEN p.tuples_total ELSE p.blocks_total END)::text
         FROM pg_catalog.pg_stat_progress_create_index p JOIN pg_catalog.pg_stat_activity a ON a.pid = p.pid
         WHERE pg_catalog.starts_with(a.application_name, {ours}) AND p.datname = pg_catalog.current_database()
         ORDER BY p.pid"
    )
}

/// One of several requests looks for all of them, and only with a connection that nobody needs.
async fn look(scope: &StepScope, place: &Place) -> Result<()> {
    let Ok(mut said) = place.server.said.0.try_lock() else { return Ok(()) };
    if said.looked.is_some_and(|at| at.elapsed() < PATIENCE) {
        return Ok(());
    }
    let Some(permit) = place.server.try_permit() else { return Ok(()) };
    said.looked = Some(Instant::now());
    let mut session = permit.wire(&place.database, &place.application).await?;
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
    let replies = session.simple(&format!("{sql}; {}", index_builds(&ours))).await?;
    session.keep();
    let [waits, builds] = replies.as_slice() else { return Ok(()) };
    for row in &builds.rows {
        let [Some(what), Some(done), Some(total)] = row.as_slice() else { continue };
        let total = total.parse().ok().filter(|total| *total > 0);
        scope.progress.work(what, done.parse().unwrap_or(0), total, "steps");
    }
    for row in &waits.rows {
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
