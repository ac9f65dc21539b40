//! Rows of a table into a file.

use std::fs::File;
use std::io::{self, Write};

use bytes::Bytes;
use godwit_model::capability::{Ledger, Performed, StepScope};
use godwit_model::effect::{
    Class, Compression, Consistency, Done, DumpTable, Effect, Estimate, Evidence, Preparation,
};
use godwit_model::{Digest, Error, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::codec::{self, Encoder};
use super::{Before, FilePlace, Written, io_error, objects};
use crate::catalog::Table;
use crate::copy::ROOT;
use crate::digest::{Format, RowFold, RowSum};
use crate::errors::Failure;
use crate::frozen;
use crate::gate;
use crate::large_objects;
use crate::place::Place;
use crate::quote::{idents, qualified};
use crate::snapshot::Leader;
use crate::transfer::{self, Counter, MAX_TRANSFORMED_ROW, Rows, TextSink};

/// Chunks that may wait for the disk.
const AHEAD: usize = 2;
/// The largest row: what the protocol can say of it.
pub const MAX_ROW: usize = 1 << 30;
/// Bytes gathered for one write.
const BUFFER: usize = 1 << 18;

/// One table's dump, with both its ends.
pub struct Dump<'a> {
    pub scope: &'a StepScope,
    pub effect: &'a Effect,
    pub request: &'a DumpTable,
    pub source: &'a Place,
    pub leader: &'a Leader,
    pub table: &'a Table,
    pub sink: FilePlace,
}

impl Dump<'_> {
    pub async fn prepare(&self) -> Result<Preparation> {
        let label = self.request.source.label();
        self.table.pick(&self.request.source.columns, &label)?;
        let mut details = Vec::new();
        if self.scope.transforms.applies(&label) {
            details.push("through a transform".to_owned());
        }
        if let Some(filter) = &self.request.filter {
            gate::admit_filter(filter)?;
            details.push(format!("rows where {}", gate::brief(filter)));
        }
        if self.request.only && self.table.has_children {
            details.push("without the rows of tables that inherit from it".to_owned());
        }
        let before = Before::of(self.scope, &self.effect.key, &self.sink).await?;
        let mut before = serde_json::to_value(before).map_err(|e| Error::host(e.to_string()))?;
        before[ROOT] = self.table.root.clone().into();
        Ok(Preparation {
            class: Class::Creates,
            irreversible: None,
            title: format!("dump {label} → {}", self.request.sink.path),
            details,
            diff: None,
            estimate: Some(Estimate { items: self.table.rows, bytes: self.table.bytes, exact: false }),
            before,
        })
    }

    /// Writes the file, or finds that it is written.
    pub async fn perform(&self, preparation: &Preparation, ledger: &dyn Ledger) -> Result<Done> {
        let label = self.request.source.label();
        let before = Before::read(&preparation.before)?;
        let mut notes = Vec::new();
        if self.request.consistency == Consistency::Frozen {
            notes.extend(frozen::check(self.scope, self.source, Some(self.leader)).await?);
        } else {
            self.leader.mark_used(self.scope).await?;
        }
        if let Some(there) = self.sink.digest().await? {
            let noted: Option<Noted> = match ledger.get("written").await? {
                Some(json) => Some(serde_json::from_value(json).map_err(|e| {
                    Error::host(format!("dump of {label}: its journal entry can't be read: {e}"))
                })?),
                None => None,
            };
            let ours =
                noted.filter(|noted| noted.written.sha256 == there).ok_or_else(|| self.sink.taken())?;
            if self.request.consistency == Consistency::Frozen
                || ours.written.generation == self.leader.generation
            {
                return self.done(ours, notes);
            }
            // Of a snapshot that is lost.
            self.sink.remove(Before { folders: Vec::new(), ..before.clone() }).await?;
        }
        let noted = self.write(&before).await.map_err(|e| e.context(format!("dump of {label}")))?;
        let json = serde_json::to_value(&noted).map_err(|e| Error::host(e.to_string()))?;
        ledger.set("written", json).await?;
        if self.request.consistency == Consistency::Frozen {
            notes.extend(frozen::check(self.scope, self.source, Some(self.leader)).await?);
        }
        self.sink.commit(&before.tag).await?;
        notes.dedup();
        self.done(noted, notes)
    }

    fn done(&self, noted: Noted, mut notes: Vec<String>) -> Result<Done> {
        if self.request.consistency == Consistency::Snapshot && noted.written.generation > 1 {
            notes.push(format!(
                "dumped under snapshot {}: a former one was lost, its tables were begun again",
                noted.written.generation
            ));
        }
        Ok(Done {
            result: json!({ "rows": noted.sum.rows, "bytes": noted.sum.bytes, "file_bytes": noted.file_bytes }),
            evidence: Some(noted.sum.evidence()),
            fingerprint: serde_json::to_value(&noted.written).map_err(|e| Error::host(e.to_string()))?,
            notes,
        })
    }

    async fn write(&self, before: &Before) -> Result<Noted> {
        let label = self.request.source.label();
        let columns = self.table.pick(&self.request.source.columns, &label)?;
        let select = self.select()?;
        let objects = large_objects::are_in(&self.request.source);
        let page = self.table.block / 4;
        let pipes = match self.scope.transforms.applies(&label) {
            true => {
                let shape = transfer::shape(&self.request.source, self.table, &columns);
                transfer::pipes(self.scope, &label, &shape).await?
            }
            false => Vec::new(),
        };
        let mut source = self.leader.reader(self.source.server.permit().await?).await?;
        source.copy_out(&format!("COPY ({select}) TO STDOUT WITH (FORMAT text)")).await?;
        let tag = before.tag.clone();
        let file = self.sink.blocking(move |files, grant, path| files.begin(grant, path, &tag)).await?;
        let (sink, arrived) = mpsc::channel(AHEAD);
        let (path, compression) = (self.sink.path.clone(), self.request.sink.compression);
        let writer = tokio::task::spawn_blocking(move || match objects {
            true => objects::pack(file, &path, compression, page, arrived).map(|(all, sum)| (all, Some(sum))),
            false => pack(file, &path, compression, arrived).map(|all| (all, None)),
        });
        let counter = Counter { progress: self.scope.progress.as_ref(), label: &label };
        let max_row = if pipes.is_empty() { MAX_ROW } else { MAX_TRANSFORMED_ROW };
        let rows = Rows { wire: &mut source, max_row };
        let moved = transfer::text(rows, FileSink(sink.clone()), pipes, &counter).await;
        if moved.is_ok() {
            // A writer that has failed hears nothing any more, and says why below.
            let _ = sink.send(Packet::End).await;
        }
        drop(sink);
        let written = writer.await.map_err(|e| Error::host(format!("writing a file was cut off: {e}")))?;
        // What the disk said comes first: a source that couldn't send has only seen a closed door.
        let packed = match (written, moved) {
            (Err(error), _) => return Err(error),
            (Ok(_), Err(failure)) => return Err(failure.into()),
            (Ok((packed, written)), Ok(sum)) => Noted {
                written: Written { sha256: packed.sha256, generation: self.leader.generation },
                sum: written.unwrap_or(sum),
                file_bytes: packed.bytes,
            },
        };
        if packed.sum.rows == 0 {
            let replies = source.simple(&format!("SELECT count(*) FROM ({select}) AS q")).await?;
            match replies.first().and_then(|reply| reply.one()) {
                Some("0") => {}
                counted => {
                    return Err(Error::failed(format!(
                        "no rows came, and the source counts {}",
                        counted.unwrap_or("none")
                    )));
                }
            }
        }
        source.keep();
        Ok(packed)
    }

    fn select(&self) -> Result<String> {
        let source = &self.request.source;
        if large_objects::are_in(source) {
            // The bytes of an object are written in one go.
            return Ok(format!(
                "SELECT {} FROM {} ORDER BY loid, pageno",
                idents(source.columns.iter().map(String::as_str)),
                large_objects::ROWS
            ));
        }
        let only = if self.request.only && self.table.kind != "p" { "ONLY " } else { "" };
        let mut sql = format!(
            "SELECT {} FROM {only}{}",
            idents(source.columns.iter().map(String::as_str)),
            qualified(&source.schema, &source.name)
        );
        if let Some(filter) = &self.request.filter {
            sql.push_str(" WHERE ");
            sql.push_str(&gate::admit_filter(filter)?);
        }
        Ok(sql)
    }
}

/// What is noted of a whole file before it gets its name.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Noted {
    #[serde(flatten)]
    written: Written,
    sum: RowSum,
    file_bytes: u64,
}

/// What goes to the writer's thread.
pub enum Packet {
    Rows(Bytes),
    /// The rows are complete: without it, nothing is.
    End,
}

struct FileSink(mpsc::Sender<Packet>);

impl TextSink for FileSink {
    async fn text(&mut self, text: &[u8]) -> Result<(), Failure> {
        let packet = Packet::Rows(Bytes::copy_from_slice(text));
        self.0.send(packet).await.map_err(|_| Error::failed("the file can't be written").into())
    }
}

/// A whole file.
pub struct Packed {
    pub sha256: Digest,
    pub bytes: u64,
}

/// Counts and digests what goes into a file.
pub struct Counting {
    file: File,
    sha: Sha256,
    bytes: u64,
}

impl Counting {
    pub fn new(file: File) -> Self {
        Self { file, sha: Sha256::new(), bytes: 0 }
    }

    pub fn end(self) -> Packed {
        Packed { sha256: Digest::from_sha256(self.sha.finalize().into()), bytes: self.bytes }
    }
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes what arrives. An end that doesn't come leaves a file that nobody commits.
fn pack(
    file: File,
    path: &str,
    compression: Compression,
    mut arrived: mpsc::Receiver<Packet>,
) -> Result<Packed> {
    let write = || -> io::Result<Packed> {
        let to = io::BufWriter::with_capacity(BUFFER, Counting::new(file));
        let mut encoder = Encoder::new(compression, to)?;
        while let Some(packet) = arrived.blocking_recv() {
            match packet {
                Packet::Rows(rows) => encoder.write_all(&rows)?,
                Packet::End => encoder.write_all(codec::END)?,
            }
        }
        let to = encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(to.end())
    };
    write().map_err(|e| io_error(&format!("writing `{path}`"), &e))
}

/// Folds what the file holds now.
pub async fn observe(
    place: &FilePlace,
    compression: Compression,
    of_objects: bool,
    performed: &Performed,
) -> Result<Evidence> {
    if Written::of(performed)?.is_none() {
        return Err(Error::conflict(format!(
            "effect `{}` isn't done: there is nothing to compare",
            performed.effect.key
        )));
    }
    place
        .blocking(move |files, grant, path| {
            let mut fold = RowFold::new(Format::Text);
            let mut fold_rows = |rows: Bytes| {
                rows.split_inclusive(|byte| *byte == b'\n').for_each(|row| fold.frame(row));
                true
            };
            if of_objects {
                let kind = objects::SourceKind::Dumped;
                let source = objects::Source { path: path.to_owned(), compression, kind };
                objects::read_rows(files, grant, &source, objects::PAGE, fold_rows)?;
                return Ok(fold.total().evidence());
            }
            let what = format!("`{path}`");
            let file = files.open(grant, path)?;
            let from = codec::decoder(compression, false, io::BufReader::with_capacity(BUFFER, file))
                .map_err(|e| io_error(&what, &e))?;
            codec::read_rows(from, &what, MAX_ROW, &mut fold_rows)?;
            Ok(fold.total().evidence())
        })
        .await
}
