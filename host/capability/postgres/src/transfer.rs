//! One part of a copy: rows out of a snapshot, into one transaction of the sink.

use bytes::{Bytes, BytesMut};
use godwit_model::capability::{Progress, StepScope};
use godwit_model::effect::Table;
use godwit_model::plugin::Pipe;
use godwit_model::{Error, Json, Result};
use serde_json::json;
use tokio::sync::mpsc;

use crate::catalog::{self, Column};
use crate::digest::{Format, RowFold, RowSum};
use crate::errors::Failure;
use crate::wire::{Wire, put_frame};

/// Blocks that may wait between reading and writing.
const AHEAD: usize = 4;
/// What a transform gets at once.
const CHUNK: usize = 1 << 20;
/// The largest row that a transform may get.
pub const MAX_TRANSFORMED_ROW: usize = 64 << 20;

/// Where rows of COPY text come from.
pub trait TextSource: Send {
    /// Appends whole rows until `rows` holds `enough` bytes. False when there are no more.
    fn rows(
        &mut self,
        rows: &mut BytesMut,
        enough: usize,
    ) -> impl Future<Output = Result<bool, Failure>> + Send;
}

/// Where COPY text goes.
pub trait TextSink: Send {
    fn text(&mut self, text: &[u8]) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A started COPY TO STDOUT in text format.
pub struct Rows<'a> {
    pub wire: &'a mut Wire,
    /// In bytes.
    pub max_row: usize,
}

impl TextSource for Rows<'_> {
    async fn rows(&mut self, rows: &mut BytesMut, enough: usize) -> Result<bool, Failure> {
        self.wire.copy_rows(rows, enough, self.max_row).await
    }
}

/// A started COPY FROM STDIN in text format.
pub struct Lines<'a> {
    pub wire: &'a mut Wire,
    frame: BytesMut,
}

impl<'a> Lines<'a> {
    pub fn new(wire: &'a mut Wire) -> Self {
        Self { wire, frame: BytesMut::new() }
    }
}

impl TextSink for Lines<'_> {
    async fn text(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.frame.clear();
        put_frame(text, &mut self.frame);
        self.wire.copy_send(&self.frame).await
    }
}

/// Counts for the display.
pub struct Counter<'a> {
    pub progress: &'a dyn Progress,
    pub label: &'a str,
}

impl Counter<'_> {
    fn add(&self, rows: u64, bytes: u64) {
        if rows > 0 || bytes > 0 {
            self.progress.transfer(self.label, rows, bytes);
        }
    }
}

/// Moves what a started COPY TO STDOUT sends into a started COPY FROM STDIN, frames untouched.
pub async fn forward(
    source: &mut Wire,
    sink: &mut Wire,
    format: Format,
    counter: &Counter<'_>,
) -> Result<RowSum, Failure> {
    let (blocks, mut arrived) = mpsc::channel::<Bytes>(AHEAD);
    let read = async move {
        let mut fold = RowFold::new(format);
        let mut seen = 0;
        while let Some(block) = source.copy_block(&mut fold).await? {
            let rows = fold.total().rows;
            counter.add(rows - seen, block.len() as u64);
            seen = rows;
            if blocks.send(block).await.is_err() {
                // The writing side has failed, and says why.
                break;
            }
        }
        Ok::<_, Failure>(fold.total())
    };
    let write = async move {
        while let Some(block) = arrived.recv().await {
            sink.copy_send(&block).await?;
        }
        Ok::<_, Failure>(())
    };
    let (sum, ()) = tokio::try_join!(read, write)?;
    Ok(sum)
}

/// Moves rows of COPY text, through transforms where there are any: whole rows in, COPY text out.
pub async fn text(
    mut source: impl TextSource,
    mut sink: impl TextSink,
    mut pipes: Vec<Box<dyn Pipe>>,
    counter: &Counter<'_>,
) -> Result<RowSum, Failure> {
    let (chunks, mut arrived) = mpsc::channel::<Bytes>(2);
    let read = async move {
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK + CHUNK / 4);
            let more = source.rows(&mut chunk, CHUNK).await.map_err(|e| e.context(counter.label))?;
            if !chunk.is_empty() && chunks.send(chunk.freeze()).await.is_err() || !more {
                return Ok::<_, Failure>(());
            }
        }
    };
    let write = async move {
        let mut out = TextOut::default();
        while let Some(chunk) = arrived.recv().await {
            if pipes.is_empty() {
                out.send(&mut sink, &chunk, counter).await?;
                continue;
            }
            let text = through(&mut pipes, &chunk).await?;
            out.send(&mut sink, &text, counter).await?;
        }
        // Each pipe's rest runs through those behind it.
        for index in 0..pipes.len() {
            let rest = pipes[index].finish().await?;
            let text = through(&mut pipes[index + 1..], &rest).await?;
            out.send(&mut sink, &text, counter).await?;
        }
        out.end(&mut sink, counter).await
    };
    let ((), sum) = tokio::try_join!(read, write)?;
    Ok(sum)
}

async fn through(pipes: &mut [Box<dyn Pipe>], chunk: &[u8]) -> Result<Vec<u8>> {
    let Some((first, others)) = pipes.split_first_mut() else { return Ok(chunk.to_vec()) };
    if chunk.is_empty() {
        return Ok(Vec::new());
    }
    let mut text = first.push(chunk).await?;
    for pipe in others {
        if text.is_empty() {
            break;
        }
        text = pipe.push(&text).await?;
    }
    Ok(text)
}

/// COPY text on its way to the sink, counted by rows.
#[derive(Default)]
struct TextOut {
    sum: RowSum,
    /// A row whose end hasn't come yet.
    open: Vec<u8>,
}

impl TextOut {
    async fn send(
        &mut self,
        sink: &mut impl TextSink,
        text: &[u8],
        counter: &Counter<'_>,
    ) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        let before = self.sum.rows;
        // COPY text escapes line breaks within values, so each one ends a row (manual, COPY, «Text Format»).
        let mut rest = text;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (row, after) = rest.split_at(end + 1);
            if self.open.is_empty() {
                self.sum.row(row);
            } else {
                self.open.extend_from_slice(row);
                self.sum.row(&self.open);
                self.open.clear();
            }
            rest = after;
        }
        self.open.extend_from_slice(rest);
        sink.text(text).await?;
        counter.add(self.sum.rows - before, text.len() as u64);
        Ok(())
    }

    async fn end(mut self, sink: &mut impl TextSink, counter: &Counter<'_>) -> Result<RowSum, Failure> {
        if !self.open.is_empty() {
            self.send(sink, b"\n", counter).await?;
        }
        Ok(self.sum)
    }
}

/// A stream's description for a transform; see `transform` in the WIT.
pub fn shape(named: &Table, table: &catalog::Table, columns: &[&Column]) -> Json {
    let columns: Vec<Json> =
        columns.iter().map(|column| json!({ "name": column.name, "type": column.r#type })).collect();
    json!({
        "kind": "table",
        "schema": named.schema,
        "table": named.name,
        "root": table.root,
        "columns": columns,
        "format": "text",
    })
}

/// The pipes of one part.
pub async fn pipes(scope: &StepScope, label: &str, shape: &Json) -> Result<Vec<Box<dyn Pipe>>> {
    let pipes = scope.transforms.open(label, shape).await?;
    if pipes.is_empty() {
        return Err(Error::host(format!("the transforms of `{label}` are gone since it was planned")));
    }
    Ok(pipes)
}
