//! One part of a copy: rows out of a snapshot, into one transaction of the sink.

use bytes::{Bytes, BytesMut};
use godwit_model::capability::{Progress, StepScope};
use godwit_model::plugin::Pipe;
use godwit_model::{Error, Json, Result};
use tokio::sync::mpsc;

use crate::digest::{Format, RowFold, RowSum};
use crate::errors::Failure;
use crate::wire::{Wire, put_frame};

/// Blocks that may wait between reading and writing.
const AHEAD: usize = 4;
/// What a transform gets at once.
const CHUNK: usize = 1 << 20;
/// The largest row that a transform may get.
const MAX_ROW: usize = 64 << 20;

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

/// Moves rows through transforms: whole rows of COPY text in, COPY text out.
pub async fn transform(
    source: &mut Wire,
    sink: &mut Wire,
    mut pipes: Vec<Box<dyn Pipe>>,
    counter: &Counter<'_>,
) -> Result<RowSum, Failure> {
    let (chunks, mut arrived) = mpsc::channel::<Bytes>(2);
    let read = async move {
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK + CHUNK / 4);
            let more =
                source.copy_rows(&mut chunk, CHUNK, MAX_ROW).await.map_err(|e| e.context(counter.label))?;
            if !chunk.is_empty() && chunks.send(chunk.freeze()).await.is_err() || !more {
                return Ok::<_, Failure>(());
            }
        }
    };
    let write = async move {
        let mut out = TextOut::default();
        while let Some(chunk) = arrived.recv().await {
            let text = through(&mut pipes, &chunk).await?;
            out.send(sink, &text, counter).await?;
        }
        // Each pipe's rest runs through those behind it.
        for index in 0..pipes.len() {
            let rest = pipes[index].finish().await?;
            let text = through(&mut pipes[index + 1..], &rest).await?;
            out.send(sink, &text, counter).await?;
        }
        out.end(sink, counter).await
    };
    let ((), sum) = tokio::try_join!(read, write)?;
    Ok(sum)
}

async fn through(pipes: &mut [Box<dyn Pipe>], chunk: &[u8]) -> Result<Vec<u8>> {
    let mut text = chunk.to_vec();
    for pipe in pipes {
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
    frame: BytesMut,
}

impl TextOut {
    async fn send(&mut self, sink: &mut Wire, text: &[u8], counter: &Counter<'_>) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        let before = self.sum.rows;
        // COPY text escapes line breaks within values, so each one ends a row (manual, COPY, «Text Format»).
        let mut rest = text;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
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
        self.frame.clear();
        put_frame(text, &mut self.frame);
        sink.copy_send(&self.frame).await?;
        counter.add(self.sum.rows - before, text.len() as u64);
        Ok(())
    }

    async fn end(mut self, sink: &mut Wire, counter: &Counter<'_>) -> Result<RowSum, Failure> {
        if !self.open.is_empty() {
            self.send(sink, b"\n", counter).await?;
        }
        Ok(self.sum)
    }
}

/// The pipes of one part.
pub async fn pipes(scope: &StepScope, label: &str, shape: &Json) -> Result<Vec<Box<dyn Pipe>>> {
    let pipes = scope.transforms.open(label, shape).await?;
    if pipes.is_empty() {
        return Err(Error::host(format!("the transforms of `{label}` are gone since it was planned")));
    }
    Ok(pipes)
}
