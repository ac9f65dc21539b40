//! How many times a copy waits for a server that is far away.

use std::time::Duration;

use godwit_lab::postgres::PgServer;
use godwit_lab::proxy::Proxy;

use super::sets::Set;
use super::ways::{copying, godwit};
use crate::bench::median;

/// What a request and its answer take longer.
const ROUND_TRIP: Duration = Duration::from_millis(200);

/// Copies a schema beside the servers and far from them; the difference is the round trips that were waited for one after
/// the other. Rows would add one or two for each table, over as many connections as there are.
pub async fn report(
    program: &str,
    source: &PgServer,
    target: &PgServer,
    rounds: usize,
) -> Result<(), String> {
    let name = Set::Empty.name();
    source.create_database(name).await.map_err(|e| e.to_string())?;
    Set::Empty.fill(source, name, 1)?;
    let way = |port| async move { Proxy::far(port, ROUND_TRIP).await.map_err(|e| e.to_string()) };
    let (from, to) = (way(source.port()).await?, way(target.port()).await?);
    let recipe = copying(&serde_json::json!({ "with": { "schema_only": true } }));
    let mut trips = Vec::new();
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for distant in [false, true] {
            target.create_database("copy_empty").await.map_err(|e| e.to_string())?;
            let (mut here, mut there) = (source.url(name), target.url("copy_empty"));
            if distant {
                here = from.url(&here, source.port());
                there = to.url(&there, target.port());
            }
            let (program, recipe) = (program.to_owned(), recipe.clone());
            // The proxies live in this runtime, which must not be blocked.
            let run = tokio::task::spawn_blocking(move || {
                godwit(&program, &["copying.json"], &here, &there, Some(&recipe))
            });
            let spent = run.await.map_err(|e| e.to_string())??;
            if distant {
                far.push(spent.wall)
            } else {
                near.push(spent.wall)
            }
            target.psql("postgres", "DROP DATABASE copy_empty (FORCE)").map_err(|e| e.to_string())?;
        }
        if let (Some(near), Some(far)) = (near.last(), far.last()) {
            trips.push((far - near) / ROUND_TRIP.as_secs_f64());
        }
    }
    println!("\n{}, {ROUND_TRIP:?} away, median of {rounds}", Set::Empty.title());
    println!("  near {:.2} s, far {:.2} s", median(near.into_iter()), median(far.into_iter()));
    println!(
        "    {:<58}{:>6.0}   goal ≤ 50, beside the data",
        "round trips one after the other",
        median(trips.into_iter())
    );
    Ok(())
}
