//! A guest's queries: rows in pages under a byte budget.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use godwit_model::capability::{Cursor, MOST_ANSWER};
use godwit_model::{Error, Result};

use crate::errors::Failure;
use crate::gate::Admitted;
use crate::place::Place;
use crate::pool::Lease;
use crate::snapshot::Leader;
use crate::wire::Page;

/// Bytes of a page, unless one row is larger.
const PAGE: usize = 8 << 20;
/// Rows of the first request; later ones go by the rows' size.
const FIRST_ROWS: i32 = 500;
const MOST_ROWS: usize = 20_000;
const PORTAL: &str = "godwit";

/// Where a query's portal is open.
enum Open {
    /// In the step's snapshot.
    Leader(Arc<Leader>, String),
    /// In a READ ONLY transaction of its own.
    Own(Box<Lease>),
    Ended,
}

struct Rows {
    open: Open,
    lines: bool,
    queue: VecDeque<String>,
    /// Rows to ask for next.
    rows: i32,
}

/// A cursor that is being opened while the guest goes on: several that it opens one after the other are on their way at
/// once. What goes wrong comes with the first page.
pub struct Opening(State);

enum State {
    Coming(tokio::task::JoinHandle<Result<Box<dyn Cursor>>>),
    Open(Box<dyn Cursor>),
    Failed(Error),
}

impl Opening {
    /// Dropped before it is open, it opens all the same, and is closed then: a snapshot's connection may not be left in
    /// the middle of a request.
    pub fn new(open: impl Future<Output = Result<Box<dyn Cursor>>> + Send + 'static) -> Self {
        Self(State::Coming(tokio::spawn(open)))
    }
}

#[async_trait]
impl Cursor for Opening {
    async fn next(&mut self) -> Result<Vec<String>> {
        if let State::Coming(task) = &mut self.0 {
            let opened = task.await.map_err(|e| Error::host(format!("a query's task failed: {e}")));
            self.0 = match opened.and_then(|opened| opened) {
                Ok(cursor) => State::Open(cursor),
                Err(error) => State::Failed(error),
            };
        }
        match &mut self.0 {
            State::Open(cursor) => cursor.next().await,
            State::Failed(error) => Err(error.clone()),
            State::Coming(_) => Err(Error::host("a query is neither open nor failed")),
        }
    }
}

/// Opens a query in the step's snapshot.
pub async fn in_snapshot(
    leader: Arc<Leader>,
    query: &Admitted,
    params: &[Option<String>],
) -> Result<Box<dyn Cursor>> {
    let (sql, lines) = parts(query);
    let (portal, page) = leader.open_portal(sql, params, FIRST_ROWS).await?;
    let done = page.done;
    let mut rows =
        Rows { open: Open::Leader(leader, portal), lines, queue: VecDeque::new(), rows: FIRST_ROWS };
    rows.take(page);
    if done {
        rows.end().await?;
    }
    Ok(Box::new(rows))
}

/// Opens a query in a READ ONLY transaction of its own, which ends with the last row.
pub async fn fresh(place: &Place, query: &Admitted, params: &[Option<String>]) -> Result<Box<dyn Cursor>> {
    let (sql, lines) = parts(query);
    let mut wire = place.server.permit().await?.wire(&place.database, &place.application).await?;
    let opened = wire.open_portal(&[], &["BEGIN READ ONLY"], PORTAL, sql, params, FIRST_ROWS).await;
    let page = match opened {
        Ok(page) => page,
        Err(failure) => {
            if failure.error.code.is_some() && wire.simple("ROLLBACK").await.is_ok() {
                wire.keep();
            }
            return Err(failure.into());
        }
    };
    let done = page.done;
    let mut rows = Rows { open: Open::Own(Box::new(wire)), lines, queue: VecDeque::new(), rows: FIRST_ROWS };
    rows.take(page);
    if done {
        rows.end().await?;
    }
    Ok(Box::new(rows))
}

/// The whole answer, on a connection that shares the step's snapshot.
pub async fn answer_in_snapshot(
    place: &Place,
    leader: &Leader,
    query: &Admitted,
    params: &[Option<String>],
) -> Result<Vec<String>> {
    let mut wire = leader.reader(place.server.permit().await?).await?;
    let page = wire.read_whole(&[], parts(query).0, params, &[], MOST_ANSWER).await?;
    wire.keep();
    Ok(lines(query, page).collect())
}

/// The whole answer, in a READ ONLY transaction of its own.
pub async fn answer_fresh(place: &Place, query: &Admitted, params: &[Option<String>]) -> Result<Vec<String>> {
    let mut wire = place.server.permit().await?.wire(&place.database, &place.application).await?;
    let page =
        wire.read_whole(&["BEGIN READ ONLY"], parts(query).0, params, &["COMMIT"], MOST_ANSWER).await?;
    wire.keep();
    Ok(lines(query, page).collect())
}

/// The rows of a page as JSON.
fn lines(query: &Admitted, page: Page) -> impl Iterator<Item = String> {
    let (_, lines) = parts(query);
    page.rows.into_iter().map(move |row| {
        let text = row.into_iter().next().flatten().unwrap_or_default();
        if lines { serde_json::json!({ "QUERY PLAN": text }).to_string() } else { text }
    })
}

fn parts(query: &Admitted) -> (&str, bool) {
    match query {
        Admitted::Rows(sql) => (sql, false),
        Admitted::Lines(sql) => (sql, true),
    }
}

impl Rows {
    fn take(&mut self, page: Page) {
        let bytes: usize = page.rows.iter().flatten().flatten().map(String::len).sum();
        let count = page.rows.len().max(1);
        // Bounded by MOST_ROWS, so it fits.
        self.rows = (PAGE / (bytes / count).max(1)).clamp(1, MOST_ROWS) as i32;
        for row in page.rows {
            let text = row.into_iter().next().flatten().unwrap_or_default();
            self.queue.push_back(if self.lines {
                serde_json::json!({ "QUERY PLAN": text }).to_string()
            } else {
                text
            });
        }
    }

    async fn end(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.open, Open::Ended) {
            // A finished portal of the snapshot holds nothing, but its name; it goes with the next query.
            Open::Leader(leader, portal) => leader.abandon(portal),
            Open::Own(mut wire) => {
                // It has nothing to say that the rows haven't.
                wire.simple_unawaited("COMMIT").await?;
                (*wire).keep();
            }
            Open::Ended => {}
        }
        Ok(())
    }

    async fn more(&mut self) -> Result<()> {
        let page = match &mut self.open {
            Open::Leader(leader, portal) => leader.fetch_portal(portal, self.rows).await,
            Open::Own(wire) => wire.fetch_portal(PORTAL, self.rows).await.map_err(Error::from),
            Open::Ended => return Ok(()),
        };
        let page = match page {
            Ok(page) => page,
            Err(e) => {
                // The portal went with the error.
                self.open = Open::Ended;
                return Err(e);
            }
        };
        let done = page.done;
        self.take(page);
        if done { self.end().await } else { Ok(()) }
    }
}

#[async_trait]
impl Cursor for Rows {
    async fn next(&mut self) -> Result<Vec<String>> {
        if self.queue.is_empty() {
            self.more().await?;
        }
        let mut page = Vec::new();
        let mut bytes = 0;
        while let Some(row) = self.queue.front() {
            bytes += row.len();
            if bytes > PAGE && !page.is_empty() {
                break;
            }
            page.extend(self.queue.pop_front());
        }
        Ok(page)
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if let Open::Leader(leader, portal) = std::mem::replace(&mut self.open, Open::Ended) {
            leader.abandon(portal);
        }
    }
}

/// A single text that a query answers, for probes.
pub fn first_value(failure_at: &str, row: Option<&str>) -> Result<String, Failure> {
    let value: Option<serde_json::Map<String, serde_json::Value>> =
        row.and_then(|row| serde_json::from_str(row).ok());
    value
        .and_then(|object| object.into_iter().next())
        .and_then(|(_, value)| value.as_str().map(str::to_owned))
        .ok_or_else(|| Error::invalid(format!("{failure_at}: the probe answered no text")).into())
}
