//! The file that makes an archive whole: a table of contents, or a script put together from what was dumped.

use std::io::{self, Write};

use godwit_model::capability::{Ledger, StepScope};
use godwit_model::effect::{Class, Done, Effect, Evidence, Piece, Preparation, SealArchive};
use godwit_model::{Digest, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::dump::Counting;
use super::{Before, FilePlace, Written, custom, io_error, objects};

const BUFFER: usize = 1 << 18;

/// One archive's last file.
pub struct Seal<'a> {
    pub scope: &'a StepScope,
    pub effect: &'a Effect,
    pub request: &'a SealArchive,
    pub sink: FilePlace,
}

/// What is noted of the whole file before it gets its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Noted {
    #[serde(flatten)]
    written: Written,
    bytes: u64,
}

impl Seal<'_> {
    pub async fn prepare(&self) -> Result<Preparation> {
        let dumped = self.dumped().count();
        let before = Before::of(self.scope, &self.effect.key, &self.sink).await?;
        let details = match dumped {
            0 => Vec::new(),
            1 => vec!["put together with 1 dumped file".to_owned()],
            count => vec![format!("put together with {count} dumped files")],
        };
        Ok(Preparation {
            class: Class::Creates,
            irreversible: None,
            title: format!("seal {}", self.request.path),
            details,
            diff: None,
            estimate: None,
            before: serde_json::to_value(before).map_err(|e| Error::host(e.to_string()))?,
        })
    }

    pub async fn perform(&self, preparation: &Preparation, ledger: &dyn Ledger) -> Result<Done> {
        let before = Before::read(&preparation.before)?;
        let noted = match digest(&self.sink, self.request).await?.map(|(digest, _)| digest) {
            Some(there) => {
                let noted: Option<Noted> = match ledger.get("written").await? {
                    Some(json) => Some(serde_json::from_value(json).map_err(|e| {
                        Error::host(format!("`{}`: its journal entry can't be read: {e}", self.request.path))
                    })?),
                    None => None,
                };
                noted.filter(|noted| noted.written.sha256 == there).ok_or_else(|| self.sink.taken())?
            }
            None => {
                // An attempt that was cut off has made files of its own beside the one that comes last.
                let begun = ledger.get("begun").await?.is_some();
                if self.request.object_files().is_some() && !begun {
                    ledger.set("begun", json!(true)).await?;
                }
                let noted = self.write(&before, begun).await?;
                let json = serde_json::to_value(&noted).map_err(|e| Error::host(e.to_string()))?;
                ledger.set("written", json).await?;
                self.sink.commit(&before.tag).await?;
                noted
            }
        };
        for path in self.dumped() {
            // The temporary file of a dump is long gone, and so is the folder's emptiness.
            let none = Before { tag: before.tag.clone(), folders: Vec::new() };
            self.sink.beside(path).remove(none).await?;
        }
        Ok(Done {
            result: json!({ "bytes": noted.bytes }),
            evidence: Some(Evidence {
                items: 1,
                bytes: noted.bytes,
                digest: format!("sha256:{}", noted.written.sha256),
            }),
            fingerprint: serde_json::to_value(&noted.written).map_err(|e| Error::host(e.to_string()))?,
            notes: Vec::new(),
        })
    }

    fn dumped(&self) -> impl Iterator<Item = &str> {
        self.request.pieces.iter().filter_map(|piece| match piece {
            Piece::Dumped { path }
            | Piece::Block { path, .. }
            | Piece::Objects { path, .. }
            | Piece::ObjectScript { path }
            | Piece::ObjectFiles { path, .. } => Some(path.as_str()),
            Piece::Text { .. } => None,
        })
    }

    async fn write(&self, before: &Before, begun: bool) -> Result<Noted> {
        let (pieces, tag) = (self.request.pieces.clone(), before.tag.clone());
        self.sink
            .blocking(move |files, grant, path| {
                let failed = |e: io::Error| io_error(&format!("writing `{path}`"), &e);
                let file = files.begin(grant, path, &tag)?;
                let mut to = io::BufWriter::with_capacity(BUFFER, Counting::new(file));
                let mut listed = None;
                for piece in &pieces {
                    match piece {
                        Piece::Text { bytes } => to.write_all(bytes).map_err(failed)?,
                        Piece::Dumped { path } => {
                            let mut from = files.open(grant, path)?;
                            io::copy(&mut from, &mut to).map_err(failed)?;
                        }
                        Piece::Block { path, dump_id } => {
                            custom::write_block(files.open(grant, path)?, *dump_id, &mut to)
                                .map_err(failed)?;
                        }
                        Piece::Objects { path, dump_id } => {
                            let mut from = files.open(grant, path)?;
                            objects::write_block(&mut from, *dump_id, &mut to).map_err(failed)?;
                        }
                        Piece::ObjectScript { path } => {
                            objects::write_script(files.open(grant, path)?, &format!("`{path}`"), &mut to)?;
                        }
                        Piece::ObjectFiles { path: dumped, compression } => {
                            let dumped = (dumped.as_str(), *compression);
                            let (list, made) = objects::write_files(files, grant, dumped, path, &tag, begun)?;
                            to.write_all(list.as_bytes()).map_err(failed)?;
                            listed = Some(made);
                        }
                    }
                }
                let to = to.into_inner().map_err(|e| failed(e.into_error()))?;
                let packed = to.end();
                let (sha256, bytes) = match listed {
                    Some(made) => objects::with_files(files, grant, &packed.sha256, packed.bytes, &made)?,
                    None => (packed.sha256, packed.bytes),
                };
                Ok(Noted { written: Written { sha256, generation: 0 }, bytes })
            })
            .await
    }
}

/// What the sealed file holds now, with the files that it lists.
pub async fn observe(place: &FilePlace, request: &SealArchive) -> Result<Evidence> {
    let there = digest(place, request).await?;
    let (sha256, bytes) =
        there.ok_or_else(|| Error::missing(format!("there is no file `{}` any more", place.path)))?;
    Ok(Evidence { items: 1, bytes, digest: format!("sha256:{sha256}") })
}

/// Digest and bytes of what sealing makes; `None` where it isn't there.
pub async fn digest(place: &FilePlace, request: &SealArchive) -> Result<Option<(Digest, u64)>> {
    let compression = request.object_files().map(|(_, compression)| compression);
    place
        .blocking(move |files, grant, path| {
            if let Some(compression) = compression {
                return objects::digest(files, grant, compression, path);
            }
            let Some(digest) = files.digest(grant, path)? else { return Ok(None) };
            let metadata = files.open(grant, path)?.metadata();
            metadata.map(|file| Some((digest, file.len()))).map_err(|e| io_error(&format!("`{path}`"), &e))
        })
        .await
}

/// The files that sealing makes beside the one that it is named by.
pub async fn beside(place: &FilePlace, request: &SealArchive) -> Result<Vec<String>> {
    let Some((dumped, compression)) = request.object_files() else { return Ok(Vec::new()) };
    let dumped = dumped.to_owned();
    place.blocking(move |files, grant, path| objects::paths(files, grant, (&dumped, compression), path)).await
}
