//! Large objects in archives: the bytes of each, where a database has pages as rows.
//!
//! A dump makes one file of them: for each its number, its bytes in chunks, compressed by themselves, and a chunk of no
//! bytes; a number of 0 ends it. That is a block of the custom format (`_StartLOs` in pg_backup_custom.c) without its head.
//! Sealing makes of it what the archive's format wants: a block, statements for psql, or a file for each object. A load
//! reads blocks and files, and makes rows again, the same that the sink will have. Everything here blocks.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use bytes::Bytes;
use godwit_model::effect::{Block, Compression};
use godwit_model::plugin::Grant;
use godwit_model::{Digest, Error, Result};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::codec::{self, Encoder};
use super::custom::{Archive, CHUNK, write_number};
use super::dump::{Counting, Packed, Packet};
use super::{FileStreams, io_error};
use crate::digest::{Format, RowFold, RowSum};

/// Bytes of a page with blocks of the usual size (`LOBLKSIZE` in `src/include/storage/large_object.h`).
pub const PAGE: usize = 2048;
/// Bytes of rows handed on at once.
const ENOUGH: usize = 1 << 18;
const BUFFER: usize = 1 << 18;
/// Bytes of one `lowrite`: pg_dump's own (`LOBBUFSIZE`).
const WRITTEN: usize = 16384;

/// Makes rows of `pg_largeobject` out of the bytes of objects: see [`crate::large_objects::ROWS`].
struct Pager<G> {
    page: usize,
    object: u32,
    number: u64,
    held: Vec<u8>,
    rows: Vec<u8>,
    give: G,
}

impl<G: FnMut(Bytes) -> bool> Pager<G> {
    fn new(page: usize, give: G) -> Self {
        Self { page, object: 0, number: 0, held: Vec::new(), rows: Vec::new(), give }
    }

    /// False where nobody listens any more, as with all below.
    fn begin(&mut self, object: u32) -> bool {
        (self.object, self.number) = (object, 0);
        self.row("-1", 0)
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let (taken, rest) = bytes.split_at(bytes.len().min(self.page - self.held.len()));
            self.held.extend_from_slice(taken);
            bytes = rest;
            if self.held.len() == self.page && !self.full() {
                return false;
            }
        }
        true
    }

    fn full(&mut self) -> bool {
        let number = self.number.to_string();
        self.number += 1;
        self.row(&number, self.held.len())
    }

    fn end(&mut self) -> bool {
        self.held.is_empty() || self.full()
    }

    /// A row as COPY writes it: the backslash of `\x` is one that text has to escape.
    fn row(&mut self, number: &str, length: usize) -> bool {
        self.rows.extend_from_slice(format!("{}\t{number}\t\\\\x", self.object).as_bytes());
        hex(&self.held[..length], &mut self.rows);
        self.rows.push(b'\n');
        self.held.clear();
        self.rows.len() < ENOUGH || self.flush()
    }

    fn flush(&mut self) -> bool {
        self.rows.is_empty() || (self.give)(Bytes::from(std::mem::take(&mut self.rows)))
    }
}

fn hex(bytes: &[u8], to: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        to.push(DIGITS[usize::from(byte >> 4)]);
        to.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn unhex(text: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    for [high, low] in pairs {
        to.push(digit(*high)? << 4 | digit(*low)?);
    }
    rest.is_empty().then_some(())
}

/// One row: object, page, bytes.
fn parse(row: &[u8]) -> Option<(u32, i64, Vec<u8>)> {
    let mut fields = row.strip_suffix(b"\n")?.split(|byte| *byte == b'\t');
    let (object, page, data) = (fields.next()?, fields.next()?, fields.next()?);
    let number = |field: &[u8]| std::str::from_utf8(field).ok().map(str::to_owned);
    let mut bytes = Vec::new();
    unhex(data.strip_prefix(b"\\\\x")?, &mut bytes)?;
    let none = fields.next().is_none();
    Some((number(object)?.parse().ok()?, number(page)?.parse().ok()?, bytes)).filter(|_| none)
}

/// Writes a chunk whenever there is enough for one.
struct Chunks<W: Write> {
    to: W,
    held: Vec<u8>,
}

impl<W: Write> Write for Chunks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.held.len());
        self.held.extend_from_slice(&bytes[..taken]);
        if self.held.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.held.is_empty() {
            write_number(self.held.len() as i32, &mut self.to)?;
            self.to.write_all(&self.held)?;
            self.held.clear();
        }
        Ok(())
    }
}

/// The object that is being written.
struct Begun<W: Write> {
    object: u32,
    /// Bytes so far: what lies between pages that are there reads as zeros.
    length: u64,
    encoder: Encoder<Chunks<W>>,
}

impl<W: Write> Begun<W> {
    fn new(object: u32, compression: Compression, mut to: W) -> io::Result<Self> {
        write_number(object as i32, &mut to)?;
        let encoder = Encoder::new(compression, Chunks { to, held: Vec::with_capacity(CHUNK) })?;
        Ok(Self { object, length: 0, encoder })
    }

    fn end(self) -> io::Result<W> {
        let mut chunks = self.encoder.finish()?;
        chunks.flush()?;
        write_number(0, &mut chunks.to)?;
        Ok(chunks.to)
    }
}

/// Writes the objects whose rows arrive, in the order of their pages, which have up to `page_size` bytes; what they come to
/// as rows of whole pages.
pub fn pack(
    file: File,
    path: &str,
    compression: Compression,
    page_size: u64,
    mut arrived: mpsc::Receiver<Packet>,
) -> Result<(Packed, RowSum)> {
    let failed = |e: io::Error| io_error(&format!("writing `{path}`"), &e);
    let mut fold = RowFold::new(Format::Text);
    let mut pager = Pager::new(PAGE, |rows: Bytes| {
        rows.split_inclusive(|byte| *byte == b'\n').for_each(|row| fold.frame(row));
        true
    });
    let mut to = Some(BufWriter::with_capacity(BUFFER, Counting::new(file)));
    let mut begun: Option<Begun<BufWriter<Counting>>> = None;
    let mut whole = false;
    let zeros = [0; PAGE];
    while let Some(packet) = arrived.blocking_recv() {
        let rows = match packet {
            Packet::Rows(rows) => rows,
            Packet::End => {
                whole = true;
                break;
            }
        };
        for row in rows.split_inclusive(|byte| *byte == b'\n') {
            let (object, page, bytes) = parse(row).ok_or_else(|| {
                Error::failed("large objects: what came is no row of `pg_largeobject`")
                    .hint("leave them out of what a transform is applied to")
            })?;
            if page < 0 {
                if let Some(before) = begun.take() {
                    pager.end();
                    to = Some(before.end().map_err(failed)?);
                }
                let Some(free) = to.take() else {
                    return Err(Error::host("large objects: one was begun within another"));
                };
                begun = Some(Begun::new(object, compression, free).map_err(failed)?);
                pager.begin(object);
                continue;
            }
            let begins = u64::try_from(page).unwrap_or(0).saturating_mul(page_size);
            let current = begun.as_mut().filter(|current| current.object == object);
            let Some(current) = current.filter(|current| current.length <= begins) else {
                return Err(Error::failed(format!(
                    "large object {object}: its page {page} came out of its order"
                )));
            };
            while current.length < begins {
                let gap = usize::try_from(begins - current.length).map_or(PAGE, |gap| gap.min(PAGE));
                current.encoder.write_all(&zeros[..gap]).map_err(failed)?;
                pager.bytes(&zeros[..gap]);
                current.length += gap as u64;
            }
            current.encoder.write_all(&bytes).map_err(failed)?;
            pager.bytes(&bytes);
            current.length += bytes.len() as u64;
        }
    }
    if let Some(last) = begun.take() {
        pager.end();
        to = Some(last.end().map_err(failed)?);
    }
    pager.flush();
    let Some(mut to) = to.filter(|_| whole) else {
        // Whoever sent the rows says why it stopped.
        return Err(Error::failed("the file can't be written"));
    };
    write_number(0, &mut to).map_err(failed)?;
    let packed = to.into_inner().map_err(|e| failed(e.into_error()))?.end();
    drop(pager);
    Ok((packed, fold.total()))
}

/// The bytes of one object, as they are stored.
struct Stored<'a> {
    archive: &'a mut Archive,
    left: u64,
    ended: bool,
}

impl<'a> Stored<'a> {
    fn new(archive: &'a mut Archive) -> Self {
        Self { archive, left: 0, ended: false }
    }

    /// Passes over what was not read.
    fn drain(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(|_| ())
    }
}

impl Read for Stored<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.archive.read_chunked(&mut self.left, &mut self.ended, to)
    }
}

/// Calls for each object of a block whose head was read, with its number and its stored bytes.
fn each(archive: &mut Archive, mut work: impl FnMut(u32, &mut dyn Read) -> Result<bool>) -> Result<()> {
    loop {
        let object = archive.int()? as u32;
        if object == 0 {
            return Ok(());
        }
        let mut stored = Stored::new(archive);
        if !work(object, &mut stored)? {
            return Ok(());
        }
        stored.drain().map_err(|e| io_error("large objects", &e))?;
    }
}

/// Reads one object's bytes into the pager; false where nobody listens any more. Of an object without bytes some versions
/// store nothing at all, not even what a compressed stream begins with.
fn unpack<G: FnMut(Bytes) -> bool>(
    pager: &mut Pager<G>,
    object: u32,
    compression: Compression,
    in_block: bool,
    stored: &mut dyn Read,
) -> io::Result<bool> {
    if !pager.begin(object) {
        return Ok(false);
    }
    let mut stored = BufReader::with_capacity(CHUNK, stored);
    if !stored.fill_buf()?.is_empty() {
        let mut from = codec::decoder(compression, in_block, stored)?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = from.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            if !pager.bytes(&buffer[..read]) {
                return Ok(false);
            }
        }
    }
    Ok(pager.end())
}

/// Reads the objects of a source as rows with pages of this size, and hands them on.
pub fn read_rows(
    files: &dyn FileStreams,
    grant: &Grant,
    source: &Source,
    page: usize,
    give: impl FnMut(Bytes) -> bool,
) -> Result<()> {
    let Source { path, compression, kind } = source;
    let mut pager = Pager::new(page, give);
    let what = format!("`{path}`");
    match kind {
        SourceKind::Block(block) => {
            let mut archive = Archive::open_objects(files.open(grant, path)?, *block, &what)?;
            each(&mut archive, |object, stored| {
                unpack(&mut pager, object, *compression, true, stored)
                    .map_err(|e| io_error(&format!("{what}: large object {object}"), &e))
            })?;
        }
        SourceKind::Dumped => {
            let mut archive = Archive::headless(files.open(grant, path)?, &what);
            each(&mut archive, |object, stored| {
                unpack(&mut pager, object, *compression, false, stored)
                    .map_err(|e| io_error(&format!("{what}: large object {object}"), &e))
            })?;
        }
        SourceKind::Files => {
            for (object, name) in listed(files, grant, path)? {
                let path = beside(path, &format!("{name}{}", suffix(*compression)));
                let mut file = files.open(grant, &path)?;
                if !unpack(&mut pager, object, *compression, false, &mut file)
                    .map_err(|e| io_error(&format!("`{path}`"), &e))?
                {
                    return Ok(());
                }
            }
        }
    }
    pager.flush();
    Ok(())
}

/// Where large objects are.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: String,
    pub compression: Compression,
    pub kind: SourceKind,
}

#[derive(Clone, Copy, Debug)]
pub enum SourceKind {
    /// A block of a file of the custom format.
    Block(Block),
    /// What a dump made, not yet part of anything.
    Dumped,
    /// Files that the path's file lists.
    Files,
}

/// The suffix of a file's name by its compression (`_PrintFileData` in pg_backup_directory.c).
fn suffix(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "",
        Compression::Gzip => ".gz",
        Compression::Lz4 => ".lz4",
        Compression::Zstd => ".zst",
        Compression::Zlib => ".z",
    }
}

/// Another name in the folder of a path.
fn beside(path: &str, name: &str) -> String {
    match path.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{name}"),
        None => name.to_owned(),
    }
}

/// What a list of large objects says: `16384 blob_16384.dat` in each line.
fn listed(files: &dyn FileStreams, grant: &Grant, path: &str) -> Result<Vec<(u32, String)>> {
    let mut objects = Vec::new();
    for line in BufReader::new(files.open(grant, path)?).lines() {
        let line = line.map_err(|e| io_error(&format!("`{path}`"), &e))?;
        let object = line.split_once(' ').and_then(|(object, name)| {
            let is_plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
            Some((object.parse().ok()?, name.to_owned())).filter(|_| is_plain)
        });
        objects.push(object.ok_or_else(|| {
            Error::failed(format!("`{path}`: `{line}` names no file of a large object"))
                .hint("the archive is damaged; make it anew")
        })?);
    }
    Ok(objects)
}

/// Copies what a dump made as a block of the custom format.
pub fn write_block(from: &mut impl Read, dump_id: i32, to: &mut impl Write) -> io::Result<()> {
    to.write_all(&[super::custom::BLOBS])?;
    write_number(dump_id, to)?;
    io::copy(from, to).map(|_| ())
}

/// Writes what a dump made, uncompressed, as statements that fill objects that are there (`StartRestoreLO`,
/// `dump_lo_buf` in pg_backup_archiver.c).
pub fn write_script(file: File, what: &str, to: &mut impl Write) -> Result<()> {
    let failed = |e: io::Error| io_error(what, &e);
    to.write_all(b"BEGIN;\n\n").map_err(failed)?;
    each(&mut Archive::headless(file, what), |object, stored| {
        let mut write = || -> io::Result<()> {
            // 131072 is INV_WRITE.
            writeln!(to, "SELECT pg_catalog.lo_open('{object}', 131072);")?;
            let mut bytes = Vec::with_capacity(WRITTEN);
            loop {
                bytes.clear();
                Read::take(&mut *stored, WRITTEN as u64).read_to_end(&mut bytes)?;
                if bytes.is_empty() {
                    return to.write_all(b"SELECT pg_catalog.lo_close(0);\n\n");
                }
                let mut text = Vec::with_capacity(2 * bytes.len());
                hex(&bytes, &mut text);
                to.write_all(b"SELECT pg_catalog.lowrite(0, '\\x")?;
                to.write_all(&text)?;
                to.write_all(b"');\n")?;
            }
        };
        write().map(|()| true).map_err(failed)
    })?;
    to.write_all(b"COMMIT;\n\n").map_err(failed)
}

/// The tag of an effect's files beside the one that it is named by: unfinished ones are named by tags alone.
pub fn tag_of_files(tag: &str) -> String {
    format!("{tag}-object")
}

/// Makes a file for each object of what a dump made, beside the list at `path`, and returns the list's text. A file that is
/// there and says something else is somebody else's, unless the effect was `begun` before. Returned are the list's text and
/// the files' paths.
pub fn write_files(
    files: &dyn FileStreams,
    grant: &Grant,
    dumped: (&str, Compression),
    path: &str,
    tag: &str,
    begun: bool,
) -> Result<(String, Vec<String>)> {
    let (from, compression) = dumped;
    let tag = &tag_of_files(tag);
    let what = format!("`{from}`");
    let (mut list, mut paths) = (String::new(), Vec::new());
    each(&mut Archive::headless(files.open(grant, from)?, &what), |object, stored| {
        let name = format!("blob_{object}.dat");
        let at = beside(path, &format!("{name}{}", suffix(compression)));
        let failed = |e: io::Error| io_error(&format!("writing `{at}`"), &e);
        let mut to = BufWriter::with_capacity(CHUNK, Counting::new(files.begin(grant, &at, tag)?));
        io::copy(stored, &mut to).map_err(failed)?;
        let packed = to.into_inner().map_err(|e| failed(e.into_error()))?.end();
        let there = files.digest(grant, &at)?;
        if there.as_ref().is_some_and(|there| !begun && *there != packed.sha256) {
            return Err(Error::conflict(format!("`{at}` is there, and it isn't what this run wrote"))
                .hint("move it away and resume the run, or begin a new run with another path"));
        }
        files.link(grant, &at, tag, there.is_some())?;
        list.push_str(&format!("{object} {name}\n"));
        paths.push(at);
        Ok(true)
    })?;
    Ok((list, paths))
}

/// The paths of the files that belong to a list: those that it names, or, where it isn't there yet, those that the dumped
/// file would make.
pub fn paths(
    files: &dyn FileStreams,
    grant: &Grant,
    dumped: (&str, Compression),
    path: &str,
) -> Result<Vec<String>> {
    let (from, compression) = dumped;
    let place = |name: &str| beside(path, &format!("{name}{}", suffix(compression)));
    if files.exists(grant, path)? {
        return Ok(listed(files, grant, path)?.iter().map(|(_, name)| place(name)).collect());
    }
    let mut paths = Vec::new();
    if files.exists(grant, from)? {
        let what = format!("`{from}`");
        each(&mut Archive::headless(files.open(grant, from)?, &what), |object, _| {
            paths.push(place(&format!("blob_{object}.dat")));
            Ok(true)
        })?;
    }
    Ok(paths)
}

/// The digest and the bytes of a list and of the files that it names; `None` where there is no list.
pub fn digest(
    files: &dyn FileStreams,
    grant: &Grant,
    compression: Compression,
    path: &str,
) -> Result<Option<(Digest, u64)>> {
    let Some(list) = files.digest(grant, path)? else { return Ok(None) };
    let bytes = size(files, grant, path)?;
    let paths = paths(files, grant, ("", compression), path)?;
    with_files(files, grant, &list, bytes, &paths).map(Some)
}

/// The same, of a list that is known by its digest and length.
pub fn with_files(
    files: &dyn FileStreams,
    grant: &Grant,
    list: &Digest,
    mut bytes: u64,
    paths: &[String],
) -> Result<(Digest, u64)> {
    let mut sha = Sha256::new();
    sha.update(list.to_string().as_bytes());
    for at in paths {
        // One that is gone changes the digest, like one that was altered.
        let there = files.digest(grant, at)?;
        if there.is_some() {
            bytes += size(files, grant, at)?;
        }
        sha.update(there.map(|digest| digest.to_string()).unwrap_or_default().as_bytes());
        sha.update(b"\n");
    }
    Ok((Digest::from_sha256(sha.finalize().into()), bytes))
}

fn size(files: &dyn FileStreams, grant: &Grant, at: &str) -> Result<u64> {
    let file = files.open(grant, at)?;
    file.metadata().map(|file| file.len()).map_err(|e| io_error(&format!("`{at}`"), &e))
}
