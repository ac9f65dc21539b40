//! Rows of a file, or of a block of one, into a table: one transaction that begins with its marker.

use std::io::{self, BufReader};
use std::time::UNIX_EPOCH;

use bytes::{Bytes, BytesMut};
use godwit_model::capability::StepScope;
use godwit_model::effect::{Class, Done, Effect, LoadTable, Preparation};
use godwit_model::{Error, Result, RunId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

use super::custom::BlockReader;
use super::dump::MAX_ROW;
use super::{FilePlace, codec, io_error, objects};
use crate::catalog::Table;
use crate::copy::{Fingerprint, Landing, PartDone, ROOT, may_freeze};
use crate::digest::Format;
use crate::emptying::Filled;
use crate::errors::Failure;
use crate::large_objects;
use crate::marker::{self, Marker};
use crate::place::Place;
use crate::transfer::{self, Counter, Lines, MAX_TRANSFORMED_ROW, TextSource};

/// Chunks that may wait for the server.
const AHEAD: usize = 2;
const BUFFER: usize = 1 << 18;

/// One table's load, with both its ends.
pub struct Load<'a> {
    pub scope: &'a StepScope,
    pub effect: &'a Effect,
    pub request: &'a LoadTable,
    pub source: FilePlace,
    pub sink: &'a Place,
}

/// Tells one state of a file from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    run: RunId,
    size: u64,
    /// Nanoseconds since the Unix epoch.
    modified: u64,
}

impl Load<'_> {
    pub async fn prepare(&self) -> Result<Preparation> {
        let stamp = self.stamp().await?;
        let label = self.request.sink.label();
        let mut details = Vec::new();
        if self.scope.transforms.applies(&label) {
            self.readable_by_transforms()?;
            details.push("through a transform".to_owned());
        }
        if let Some(encoding) = &self.request.encoding {
            details.push(format!("rows in {encoding}"));
        }
        if self.request.block.is_none() {
            details.push(format!("a file of {} bytes", stamp.size));
        }
        Ok(Preparation {
            class: Class::Creates,
            irreversible: None,
            title: format!("load {label} ← {}", self.request.source.path),
            details,
            diff: None,
            estimate: None,
            before: serde_json::to_value(stamp).map_err(|e| Error::host(e.to_string()))?,
        })
    }

    /// Transforms read rows by bytes of ASCII, which some encodings have within characters, and values as UTF-8.
    fn readable_by_transforms(&self) -> Result<()> {
        let Some(encoding) = &self.request.encoding else { return Ok(()) };
        Err(Error::invalid(format!(
            "load of {}: its rows are in {encoding}, and transforms read UTF-8",
            self.request.sink.label()
        ))
        .hint("make the archive anew by `pg_dump -E UTF8`, or leave the table without a transform"))
    }

    async fn stamp(&self) -> Result<Stamp> {
        let run = self.scope.run.clone();
        self.source
            .blocking(move |files, grant, path| {
                let metadata =
                    files.open(grant, path)?.metadata().map_err(|e| io_error(&format!("`{path}`"), &e))?;
                let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                let modified = modified.and_then(|at| u64::try_from(at.as_nanos()).ok()).unwrap_or(0);
                Ok(Stamp { run, size: metadata.len(), modified })
            })
            .await
    }

    /// Loads the rows, or learns from the marker that they are loaded.
    pub async fn perform(&self, preparation: &Preparation, table: &Table) -> Result<Done> {
        let label = self.request.sink.label();
        let noted: Stamp = serde_json::from_value(preparation.before.clone())
            .map_err(|e| Error::host(format!("load of {label}: its journal entry can't be read: {e}")))?;
        if self.stamp().await? != noted {
            return Err(Error::conflict(format!(
                "`{}` has changed since the run looked at it",
                self.source.path
            ))
            .hint("undo the run and begin a new one"));
        }
        // How much of a file a block is, nobody says.
        let bytes = if self.request.block.is_some() { 0 } else { noted.size };
        let done = self.move_rows(table, bytes).await.map_err(|e| e.context(format!("load of {label}")))?;
        let mut notes = Vec::new();
        if done.found_rows {
            notes.push(format!("{label} held rows before"));
        }
        let fingerprint = Fingerprint {
            run: self.scope.run.clone(),
            format: Format::Text,
            encoding: self.request.encoding.clone(),
            generation: 0,
            partitioned: table.kind == "p",
            filled: Filled {
                schema: self.request.sink.schema.clone(),
                name: self.request.sink.name.clone(),
                rows: done.sum.rows,
                xids: vec![done.xid],
                found_rows: done.found_rows,
            },
        };
        let mut fingerprint = serde_json::to_value(fingerprint).map_err(|e| Error::host(e.to_string()))?;
        fingerprint[ROOT] = table.root.clone().into();
        Ok(Done {
            result: json!({ "rows": done.sum.rows, "bytes": done.sum.bytes }),
            evidence: Some(done.sum.evidence()),
            fingerprint,
            notes,
        })
    }

    /// `bytes` is the size of the file.
    async fn move_rows(&self, table: &Table, bytes: u64) -> Result<PartDone> {
        let label = self.request.sink.label();
        let columns = table.pick(&self.request.sink.columns, &label)?;
        if self.scope.transforms.applies(&label) {
            self.readable_by_transforms()?;
        }
        let landing = Landing {
            sink: &self.request.sink,
            table,
            format: Format::Text,
            encoding: self.request.encoding.as_deref(),
            found_rows: None,
            label: &self.request.sink,
            freeze: !large_objects::are_in(&self.request.sink) && may_freeze(table, bytes),
        };
        let marker = Marker::of(self.scope, &self.effect.key, 0);
        let mut sink =
            self.sink.server.permit().await?.wire(&self.sink.database, &self.sink.application).await?;
        let begun = match landing.start(&mut sink, &marker).await {
            Ok(begun) => begun,
            Err(failure) if marker::is_done(&failure) => return landing.was_done(sink, &marker).await,
            Err(failure) => return Err(failure.into()),
        };
        let found_rows = begun.get(2).and_then(|reply| reply.one()) == Some("t");
        let pipes = match self.scope.transforms.applies(&label) {
            true => {
                let shape = transfer::shape(&self.request.sink, table, &columns);
                transfer::pipes(self.scope, &label, &shape).await?
            }
            false => Vec::new(),
        };
        let max_row = if pipes.is_empty() { MAX_ROW } else { MAX_TRANSFORMED_ROW };
        if found_rows && large_objects::are_in(&self.request.sink) {
            return Err(large_objects::in_the_way(&self.sink.identity()));
        }
        let source = match large_objects::are_in(&self.request.sink) {
            true => self.read_objects(table.block)?,
            false => self.read(max_row),
        };
        let counter = Counter { progress: self.scope.progress.as_ref(), label: &label };
        let sum = transfer::text(source, Lines::new(&mut sink), pipes, &counter).await?;
        let done = PartDone { sum, generation: 0, found_rows, xid: 0 };
        let done = landing.finish(&mut sink, &marker, done).await?;
        sink.keep();
        Ok(done)
    }

    /// Reads large objects on a thread of their own, as rows with pages of the sink's size.
    fn read_objects(&self, block: u64) -> Result<FileSource> {
        let (send, arrived) = mpsc::channel(AHEAD);
        let files = self.source.files.clone();
        // Each with the grant of its own slot.
        let mut sources = Vec::new();
        for (file, block) in self.request.sources() {
            let kind = block.map_or(objects::SourceKind::Files, objects::SourceKind::Block);
            let source = objects::Source { path: file.path.clone(), compression: file.compression, kind };
            sources.push((self.scope.grant(&file.slot)?.clone(), source));
        }
        let page = usize::try_from(block / 4).unwrap_or(objects::PAGE).max(1);
        tokio::task::spawn_blocking(move || {
            let unpack = || -> Result<()> {
                sources.iter().try_for_each(|(grant, source)| {
                    objects::read_rows(files.as_ref(), grant, source, page, |rows| {
                        send.blocking_send(Ok(Some(rows))).is_ok()
                    })
                })
            };
            let _ = send.blocking_send(unpack().map(|()| None));
        });
        Ok(FileSource { arrived, ended: false })
    }

    /// Reads the rows on a thread of their own.
    fn read(&self, max_row: usize) -> FileSource {
        let (send, arrived) = mpsc::channel(AHEAD);
        let (place, block) = (self.source.clone(), self.request.block);
        let compression = self.request.source.compression;
        tokio::task::spawn_blocking(move || {
            let what = format!("`{}`", place.path);
            let unpack = || -> Result<()> {
                let file = place.files.open(&place.grant, &place.path)?;
                let raw: Box<dyn io::Read> = match block {
                    Some(block) => Box::new(BlockReader::open(file, block, &what)?),
                    None => Box::new(BufReader::with_capacity(BUFFER, file)),
                };
                let rows =
                    codec::decoder(compression, block.is_some(), raw).map_err(|e| io_error(&what, &e))?;
                codec::read_rows(rows, &what, max_row, |chunk| send.blocking_send(Ok(Some(chunk))).is_ok())
            };
            // Who doesn't listen any more has failed, and says why.
            let _ = send.blocking_send(unpack().map(|()| None));
        });
        FileSource { arrived, ended: false }
    }
}

/// Rows as they come from the thread that reads them: `None` is their end.
struct FileSource {
    arrived: mpsc::Receiver<Result<Option<Bytes>>>,
    ended: bool,
}

impl TextSource for FileSource {
    async fn rows(&mut self, rows: &mut BytesMut, enough: usize) -> Result<bool, Failure> {
        while !self.ended && rows.len() < enough {
            match self.arrived.recv().await {
                Some(Ok(Some(chunk))) => rows.extend_from_slice(&chunk),
                Some(Ok(None)) => self.ended = true,
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Error::host("reading a file was cut off").into()),
            }
        }
        Ok(!self.ended)
    }
}
