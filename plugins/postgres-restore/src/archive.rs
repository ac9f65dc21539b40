//! Opening an archive: its table of contents, and where its rows are.

use std::collections::BTreeMap;

use godwit_pg_archive::{Compressed, Data, Entry, Layout, Toc, Version};
use godwit_sdk::prelude::*;

use crate::encoding::{Contents, survey};
use crate::{ARCHIVE, whole};

/// The first piece that is read of a file of the custom format; more is read where its table of contents is longer.
const FIRST: u32 = 256 << 10;
/// As much is read at once. How long a table of contents may be, the memory of the step says.
const PIECE: u32 = 16 << 20;

/// What the names of compressed files end with.
const SUFFIXES: &[(&str, Compression)] = &[
    ("", Compression::None),
    (".gz", Compression::Gzip),
    (".lz4", Compression::Lz4),
    (".zst", Compression::Zstd),
];

/// An archive that was opened.
#[derive(Debug)]
pub struct Archive {
    pub toc: Toc,
    path: String,
    /// Of the table of contents: another one is another archive.
    pub identity: Identity,
    /// Of the rows, where the server has to be told.
    encoding: Option<String>,
    /// The entries that statements can't say, by dump id, with the field that they can't.
    pub unreadable: BTreeMap<i32, &'static str>,
    place: Place,
}

/// What tells one archive from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    bytes: u64,
    /// FNV-1a.
    hash: u64,
}

impl Identity {
    fn of(toc: &[u8]) -> Self {
        let hash = toc.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { bytes: toc.len() as u64, hash }
    }
}

#[derive(Debug)]
enum Place {
    /// Bytes of the files, by name.
    Folder(BTreeMap<String, u64>),
    File {
        bytes: u64,
        /// Where its blocks begin, in order, by dump id.
        blocks: Vec<Block>,
    },
}

/// The rows of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    pub path: String,
    pub compression: Compression,
    pub block: Option<Block>,
    /// Where the server has to be told.
    pub encoding: Option<String>,
    /// As they are stored.
    pub bytes: u64,
}

pub fn damaged(path: &str, why: impl std::fmt::Display) -> Error {
    Error::Invalid(format!(
        "the archive `{path}` is damaged: {why}; nothing was touched. Make it anew, or fetch it again"
    ))
}

impl Archive {
    /// Reads the table of contents and, of a file, where its blocks are.
    pub fn open<H: Host>(host: &H, path: &str) -> Result<Self> {
        let Some(there) = host.stat_file(ARCHIVE, path)? else {
            return Err(Error::Missing(format!(
                "there is no archive `{path}` in slot `{ARCHIVE}`; correct `path`, or make it by `postgres-dump`"
            )));
        };
        if there.is_dir { Self::open_folder(host, path) } else { Self::open_file(host, path, there.size) }
    }

    fn open_folder<H: Host>(host: &H, path: &str) -> Result<Self> {
        let files: BTreeMap<String, u64> = host
            .list_files(ARCHIVE, path)?
            .into_iter()
            .filter(|file| !file.is_dir)
            .map(|file| (file.path.rsplit('/').next().unwrap_or_default().to_owned(), file.size))
            .collect();
        let Some(bytes) = files.get("toc.dat") else {
            let zipped = files.keys().find(|name| name.starts_with("toc.dat."));
            return Err(Error::Invalid(match zipped {
                Some(name) => {
                    format!("`{path}/{name}` is compressed, and can't be read; unpack it to `toc.dat` first")
                }
                None => format!(
                    "the folder `{path}` is no archive: it has no `toc.dat`; correct `path`. An archive that \
                     `postgres-dump` didn't finish has none either"
                ),
            }));
        };
        let file = format!("{path}/toc.dat");
        let mut content = Vec::with_capacity(usize::try_from(*bytes).unwrap_or(0));
        loop {
            let piece = host.read_file_range(ARCHIVE, &file, content.len() as u64, PIECE)?;
            content.extend_from_slice(&piece);
            if piece.len() < PIECE as usize {
                break;
            }
        }
        let survey = survey(&content).map_err(|fault| damaged(&file, fault))?;
        let length = survey.length;
        if survey.toc().layout != Layout::Directory {
            return Err(damaged(path, "its `toc.dat` is the head of a file of the custom format"));
        }
        if length != content.len() {
            return Err(damaged(
                path,
                format_args!(
                    "its `toc.dat` goes on for {} bytes after its last entry",
                    content.len() - length
                ),
            ));
        }
        let contents = survey.settle(host, &file, &content)?;
        Ok(Self::of(contents, path, Identity::of(&content), Place::Folder(files)))
    }

    fn open_file<H: Host>(host: &H, path: &str, bytes: u64) -> Result<Self> {
        let mut head = host.read_file_range(ARCHIVE, path, 0, FIRST)?;
        recognise(path, &head)?;
        let survey = loop {
            match survey(&head) {
                Ok(found) => break found,
                Err(fault) if fault.is_truncation() && (head.len() as u64) < bytes => {
                    // As much again, so that parsing anew stays cheap.
                    let more = u32::try_from(head.len()).map_or(PIECE, |more| more.min(PIECE));
                    let piece = host.read_file_range(ARCHIVE, path, head.len() as u64, more)?;
                    if piece.is_empty() {
                        return Err(damaged(path, fault));
                    }
                    head.extend(piece);
                }
                Err(fault) => return Err(damaged(path, fault)),
            }
        };
        let (toc, length) = (survey.toc(), survey.length);
        if toc.layout != Layout::Custom {
            return Err(Error::Invalid(format!(
                "`{path}` is the `toc.dat` of a folder or a tar file; let `path` name the folder"
            )));
        }
        // Also where every offset is known: a file that was cut off is found out before anything is touched.
        let blocks = match toc.entries.iter().any(|entry| entry.data != Data::None) {
            true => host.archive_blocks(ARCHIVE, path, length as u64)?,
            false => Vec::new(),
        };
        let identity = Identity::of(head.get(..length).unwrap_or(&head));
        let contents = survey.settle(host, path, &head)?;
        Ok(Self::of(contents, path, identity, Place::File { bytes, blocks }))
    }

    fn of(contents: Contents, path: &str, identity: Identity, place: Place) -> Self {
        let Contents { toc, encoding, unreadable } = contents;
        Self { toc, path: path.to_owned(), identity, encoding, unreadable, place }
    }

    /// Fails where the rows of an entry are missing or were cut off, over all of them, as far as that can be told without
    /// unpacking: see [`whole::fault`].
    pub fn whole<H: Host>(&self, host: &H, entries: &[&Entry]) -> Result<()> {
        let mut faults = Vec::new();
        for entry in entries.iter().filter(|entry| entry.desc == "BLOBS") {
            match self.object_files(host, entry) {
                Err(Error::Invalid(why)) => faults.push(why),
                other => drop(other?),
            }
        }
        for entry in entries.iter().filter(|entry| entry.desc == "TABLE DATA") {
            let rows = match self.rows(entry) {
                Err(Error::Invalid(why)) => {
                    faults.push(why);
                    continue;
                }
                other => other?,
            };
            // The blocks of a file were passed over one by one when it was opened.
            if rows.block.is_some() {
                continue;
            }
            if let Some(why) = whole::fault(host, &rows.path, rows.bytes, rows.compression)? {
                faults.push(format!("`{}` with the rows of {}: {why}", rows.path, entry.title()));
            }
        }
        match faults.as_slice() {
            [] => Ok(()),
            [fault] if fault.contains("nothing was touched") => Err(Error::Invalid(fault.clone())),
            faults => Err(damaged(&self.path, faults.join("; "))),
        }
    }

    /// Where the rows of an entry are.
    pub fn rows(&self, entry: &Entry) -> Result<Rows> {
        match (&self.place, &entry.data) {
            (Place::Folder(files), Data::File(name)) => self.file(files, entry, name),
            (Place::File { bytes, blocks }, Data::At(_) | Data::Somewhere) => {
                self.block(*bytes, blocks, entry, &entry.data)
            }
            _ => Err(damaged(
                &self.path,
                format_args!("it doesn't say where the rows of {} are", entry.title()),
            )),
        }
    }

    fn file(&self, files: &BTreeMap<String, u64>, entry: &Entry, name: &str) -> Result<Rows> {
        if !is_plain(name) {
            return Err(damaged(
                &self.path,
                format_args!("the rows of {} are said to be in `{name}`", entry.title()),
            ));
        }
        // The table of contents leaves the suffix out (`_PrintFileData` in `pg_backup_directory.c`).
        for (suffix, compression) in SUFFIXES {
            let name = format!("{name}{suffix}");
            if let Some(bytes) = files.get(&name) {
                if *bytes == 0 {
                    let why = format!("the file `{name}` with the rows of {} is empty", entry.title());
                    return Err(damaged(&self.path, why));
                }
                let path = format!("{}/{name}", self.path);
                let encoding = self.encoding.clone();
                return Ok(Rows { path, compression: *compression, block: None, encoding, bytes: *bytes });
            }
        }
        let why = format!("the file `{name}` with the rows of {} is missing", entry.title());
        Err(damaged(&self.path, why))
    }

    /// Where the large objects of an entry are.
    pub fn objects(&self, entry: &Entry) -> Result<ObjectsFile> {
        let file = |path: String, compression| RowsFile { slot: ARCHIVE.to_owned(), path, compression };
        match (&self.place, &entry.data) {
            (Place::Folder(files), Data::File(name)) if is_plain(name) && files.contains_key(name) => {
                let path = format!("{}/{name}", self.path);
                Ok(ObjectsFile { file: file(path, self.compression_of_objects(files)), block: None })
            }
            (Place::File { bytes, blocks }, Data::At(_) | Data::Somewhere) => {
                let rows = self.block(*bytes, blocks, entry, &entry.data)?;
                Ok(ObjectsFile { file: file(rows.path, rows.compression), block: rows.block })
            }
            _ => Err(damaged(
                &self.path,
                format_args!("the file that lists the large objects of {} is missing", entry.title()),
            )),
        }
    }

    /// That of the first of them: one pg_dump compresses all alike, and [`Archive::object_files`] looks for each.
    fn compression_of_objects(&self, files: &BTreeMap<String, u64>) -> Compression {
        let first = files.range("blob_".to_owned()..).next().map_or("", |(name, _)| name.as_str());
        let found = SUFFIXES.iter().skip(1).find(|(suffix, _)| first.ends_with(suffix));
        found.map_or(Compression::None, |(_, compression)| *compression)
    }

    /// Looks whether the files that a folder's list of large objects names are there and whole.
    fn object_files<H: Host>(&self, host: &H, entry: &Entry) -> Result<()> {
        let ObjectsFile { file, block: None } = self.objects(entry)? else { return Ok(()) };
        let Place::Folder(files) = &self.place else { return Ok(()) };
        let wrong = |why: String| Err(damaged(&self.path, why));
        let suffix = SUFFIXES.iter().find(|(_, compression)| *compression == file.compression);
        let suffix = suffix.map_or("", |(suffix, _)| suffix);
        let list = host.read_file(ARCHIVE, &file.path)?;
        for line in String::from_utf8_lossy(&list).lines() {
            let name = line.split_once(' ').map_or("", |(_, name)| name);
            if !is_plain(name) {
                return wrong(format!("`{}` says `{line}`, which names no file", file.path));
            }
            let name = format!("{name}{suffix}");
            let Some(bytes) = files.get(&name) else {
                return wrong(format!("the file `{name}` with a large object is missing"));
            };
            // Of an object without bytes some versions write nothing. Nothing tells where plain bytes end.
            if *bytes == 0 || file.compression == Compression::None {
                continue;
            }
            let path = format!("{}/{name}", self.path);
            if let Some(why) = whole::fault(host, &path, *bytes, file.compression)? {
                return wrong(format!("`{path}` with a large object: {why}"));
            }
        }
        Ok(())
    }

    fn block(&self, bytes: u64, blocks: &[Block], entry: &Entry, data: &Data) -> Result<Rows> {
        let number = blocks.iter().position(|block| block.dump_id == entry.dump_id);
        let Some((number, block)) = number.and_then(|number| Some((number, *blocks.get(number)?))) else {
            return Err(damaged(
                &self.path,
                format_args!("it has no block with the rows of {} (id {})", entry.title(), entry.dump_id),
            ));
        };
        if let Data::At(offset) = data
            && *offset != block.offset
        {
            return Err(damaged(
                &self.path,
                format_args!(
                    "the rows of {} are said to begin at byte {offset}, but begin at byte {}",
                    entry.title(),
                    block.offset
                ),
            ));
        }
        let end = blocks.get(number + 1).map_or(bytes, |next| next.offset);
        Ok(Rows {
            path: self.path.clone(),
            compression: self.compression(),
            block: Some(block),
            encoding: self.encoding.clone(),
            bytes: end.saturating_sub(block.offset),
        })
    }

    /// Of the blocks of a file.
    fn compression(&self) -> Compression {
        match self.toc.compressed {
            Compressed::Level(0) | Compressed::None => Compression::None,
            Compressed::Level(_) | Compressed::Gzip => Compression::Gzip,
            Compressed::Lz4 => Compression::Lz4,
            Compressed::Zstd => Compression::Zstd,
        }
    }
}

/// A name of a file in the archive's own folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !name.starts_with('.')
}

/// Says what a file is that is no archive of the custom format.
fn recognise(path: &str, head: &[u8]) -> Result<()> {
    if head.starts_with(b"PGDMP") || head.len() < 5 && b"PGDMP".starts_with(head) {
        return Ok(());
    }
    let is_tar = head.get(257..262) == Some(b"ustar");
    let begin = head.get(..512).unwrap_or(head);
    // A character may be cut in two at the end.
    let is_utf8 = std::str::from_utf8(begin).map_or_else(|e| e.error_len().is_none(), |_| true);
    let is_text = is_utf8 && !begin.contains(&0);
    Err(Error::Invalid(if is_tar {
        format!("`{path}` is a tar file; unpack it into a folder, and let `path` name that (pg_dump -Ft)")
    } else if head.starts_with(&[0x1f, 0x8b]) {
        format!("`{path}` is compressed by gzip as a whole; unpack it first")
    } else if is_text {
        format!(
            "`{path}` is no archive but plain text; a script of SQL is run by `psql -v ON_ERROR_STOP=1 -f`, or dump again \
             with `pg_dump -Fc`"
        )
    } else {
        format!(
            "`{path}` is no archive: it doesn't begin with `PGDMP`; archives of pg_dump -Fc and -Fd in versions {} to {} \
             can be restored",
            Version::OLDEST,
            Version::V1_16
        )
    }))
}
