//! Sessions that a former process of this run left behind.

use std::time::{Duration, Instant};

use godwit_model::{Result, RunId};

use crate::place::{Place, application_prefix};
use crate::quote::literal;
use crate::wire::Wire;

/// How long a resumed run waits for them to end. Whoever is still there then is met by its marker.
const PATIENCE: Duration = Duration::from_secs(20);

/// Ends the sessions of this run that aren't this process's, and waits until they are gone. Ending may be denied;
/// then it waits all the same.
pub async fn end(place: &Place, run: &RunId, process: &str) -> Result<()> {
    let mut session = match place.wire().await {
        Ok(session) => session,
        // The database is still to be made.
        Err(e) if e.code.as_deref() == Some("3D000") => return Ok(()),
        Err(e) => return Err(e),
    };
    let who = condition(run, process);
    let terminate =
        format!("SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE {who}");
    if let Err(failure) = session.simple(&terminate).await
        && !failure.is("42501")
    {
        return Err(failure.into());
    }
    let begun = Instant::now();
    while count(&mut session, &who).await? > 0 && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    session.keep();
    Ok(())
}

/// How many sessions another process of this run has in the database.
pub async fn alive(place: &Place, run: &RunId, process: &str) -> Result<u64> {
    let mut session = place.wire().await?;
    let count = count(&mut session, &condition(run, process)).await?;
    session.keep();
    Ok(count)
}

fn condition(run: &RunId, process: &str) -> String {
    // Names are compared by their parts, as `_` and `%` mean something to LIKE.
    format!(
        "pg_catalog.starts_with(application_name, {}) AND pg_catalog.right(application_name, {}) <> {} \
         AND datname = pg_catalog.current_database()",
        literal(&application_prefix(run)),
        process.len() + 1,
        literal(&format!("/{process}"))
    )
}

async fn count(session: &mut Wire, who: &str) -> Result<u64> {
    let replies = session
        .simple(&format!("SELECT pg_catalog.count(*)::text FROM pg_catalog.pg_stat_activity WHERE {who}"))
        .await?;
    Ok(replies.first().and_then(|reply| reply.one()).and_then(|count| count.parse().ok()).unwrap_or(0))
}
