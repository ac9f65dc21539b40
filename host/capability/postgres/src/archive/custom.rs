//! Data blocks of pg_dump's custom format: one file with a head, a table of contents, and blocks of chunks.
//!
//! The layout is that of PostgreSQL's pg_backup_archiver.c (`ReadHead`, `ReadInt`) and pg_backup_custom.c. Everything here
//! blocks.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use godwit_model::effect::Block;
use godwit_model::{Error, Result};

use super::{FilePlace, io_error};

/// The byte that a block of rows begins with (`BLK_DATA`).
const DATA: u8 = 1;
/// That of a block of large objects (`BLK_BLOBS`).
pub const BLOBS: u8 = 3;
/// `archCustom`.
const CUSTOM: u8 = 1;
/// More blocks than any archive has tables.
const MOST_BLOCKS: usize = 10_000_000;

/// A file of the custom format.
pub struct Archive {
    file: BufReader<File>,
    /// Bytes of an integer, without its sign.
    int_size: usize,
    what: String,
}

impl Archive {
    fn open(file: File, what: String) -> Result<Self> {
        let mut archive = Self { file: BufReader::with_capacity(1 << 16, file), int_size: 0, what };
        let mut magic = [0; 5];
        archive.fill(&mut magic)?;
        if magic != *b"PGDMP" {
            return Err(Error::invalid(format!("{}: it is no archive of pg_dump's", archive.what)));
        }
        let (major, minor) = (archive.byte()?, archive.byte()?);
        if major > 1 || minor > 0 {
            archive.byte()?;
        }
        archive.int_size = archive.byte()?.into();
        if !(1..=8).contains(&archive.int_size) {
            return Err(archive.damaged("an integer's size"));
        }
        if (major, minor) >= (1, 7) {
            archive.byte()?;
        }
        if archive.byte()? != CUSTOM {
            return Err(Error::invalid(format!("{}: it isn't of the custom format", archive.what)));
        }
        Ok(archive)
    }

    /// A file of large objects that is no archive yet: see [`super::objects`].
    pub fn headless(file: File, what: &str) -> Self {
        Self { file: BufReader::with_capacity(1 << 16, file), int_size: 4, what: what.to_owned() }
    }

    /// Opens a block of large objects, up to the first of them.
    pub fn open_objects(file: File, block: Block, what: &str) -> Result<Self> {
        let mut archive = Self::open(file, what.to_owned())?;
        archive.begin(block, BLOBS, "block of large objects")?;
        Ok(archive)
    }

    /// Goes to a block, which has to be what it is said to be.
    fn begin(&mut self, block: Block, kind: u8, name: &str) -> Result<()> {
        self.seek(SeekFrom::Start(block.offset))?;
        if (self.byte()?, self.int()?) == (kind, block.dump_id) {
            return Ok(());
        }
        Err(Error::failed(format!(
            "{}: at offset {} there is no {name} of entry {}",
            self.what, block.offset, block.dump_id
        ))
        .hint("the archive is damaged; make it anew"))
    }

    /// Reads bytes of a list of chunks; `left` of the present one.
    pub fn read_chunked(&mut self, left: &mut u64, ended: &mut bool, to: &mut [u8]) -> io::Result<usize> {
        if *left == 0 && !*ended {
            *left = self.chunk().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.message))?;
            *ended = *left == 0;
        }
        if *ended || to.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(*left).map_or(to.len(), |left| left.min(to.len()));
        let read = self.file.read(&mut to[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= read as u64;
        Ok(read)
    }

    fn fill(&mut self, to: &mut [u8]) -> Result<()> {
        self.file.read_exact(to).map_err(|e| io_error(&self.what, &e))
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.fill(&mut byte).map(|()| byte[0])
    }

    /// A sign and the bytes of a number, the lowest first.
    pub fn int(&mut self) -> Result<i32> {
        let negative = self.byte()? != 0;
        let mut bytes = [0; 8];
        let size = self.int_size;
        self.fill(&mut bytes[..size])?;
        let value = i64::try_from(u64::from_le_bytes(bytes)).ok();
        let value = value.map(|value| if negative { -value } else { value });
        value.and_then(|value| i32::try_from(value).ok()).ok_or_else(|| self.damaged("a number"))
    }

    /// The length of the next chunk; 0 ends a block.
    fn chunk(&mut self) -> Result<u64> {
        let length = self.int()?;
        u64::try_from(length).map_err(|_| self.damaged("a chunk's length"))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::failed(format!("{}: {what} makes no sense", self.what))
            .hint("the archive is truncated or damaged; make it anew")
    }

    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.file.seek(to).map_err(|e| io_error(&self.what, &e))
    }
}

/// All data blocks from `start` on. See `ArchiveReads::blocks`.
pub async fn blocks(place: &FilePlace, start: u64) -> Result<Vec<Block>> {
    place
        .blocking(move |files, grant, path| {
            let file = files.open(grant, path)?;
            let size = file.metadata().map_err(|e| io_error(path, &e))?.len();
            let mut archive = Archive::open(file, format!("`{path}`"))?;
            let mut blocks = Vec::new();
            let mut offset = archive.seek(SeekFrom::Start(start))?;
            while offset < size {
                let kind = archive.byte()?;
                let dump_id = archive.int()?;
                if blocks.len() == MOST_BLOCKS {
                    return Err(archive.damaged("the count of blocks"));
                }
                match kind {
                    DATA => blocks.push(Block { dump_id, offset }),
                    BLOBS => {
                        blocks.push(Block { dump_id, offset });
                        // Each large object is a list of chunks of its own; 0 instead of an object's number ends it.
                        while archive.int()? != 0 {
                            pass(&mut archive, size)?;
                        }
                        offset = archive.seek(SeekFrom::Current(0))?;
                        continue;
                    }
                    _ => return Err(archive.damaged("a block's kind")),
                }
                offset = pass(&mut archive, size)?;
            }
            Ok(blocks)
        })
        .await
}

/// Passes over the chunks of a block; returns where it ends.
fn pass(archive: &mut Archive, size: u64) -> Result<u64> {
    loop {
        let length = archive.chunk()?;
        if length == 0 {
            return archive.seek(SeekFrom::Current(0));
        }
        // `seek_relative` keeps what is buffered; a length is far below i64's end.
        let length = i64::try_from(length).map_err(|_| archive.damaged("a chunk's length"))?;
        archive.file.seek_relative(length).map_err(|e| io_error(&archive.what, &e))?;
        let at = archive.file.stream_position().map_err(|e| io_error(&archive.what, &e))?;
        if at > size {
            return Err(Error::failed(format!("{}: a block goes beyond the file's end", archive.what))
                .hint("the archive is truncated or damaged; make it anew"));
        }
    }
}

/// Bytes of a chunk that is written; pg_restore holds one at a time.
pub const CHUNK: usize = 65536;

/// A sign and four bytes.
pub fn write_number(value: i32, to: &mut impl Write) -> io::Result<()> {
    let [a, b, c, d] = value.unsigned_abs().to_le_bytes();
    to.write_all(&[u8::from(value < 0), a, b, c, d])
}

/// Writes what a file holds as a data block, with numbers of four bytes; see `archive.piece` in the WIT.
pub fn write_block(mut from: impl Read, dump_id: i32, to: &mut impl Write) -> io::Result<()> {
    to.write_all(&[DATA])?;
    write_number(dump_id, to)?;
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        chunk.clear();
        let length = from.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        // A chunk of no bytes is the end of the block.
        write_number(length as i32, to)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&chunk)?;
    }
}

/// The bytes of one block.
pub struct BlockReader {
    archive: Archive,
    /// Bytes left of the present chunk.
    left: u64,
    ended: bool,
}

impl BlockReader {
    /// Opens a block; it has to be a data block of the entry that it is said to be of.
    pub fn open(file: File, block: Block, what: &str) -> Result<Self> {
        let mut archive = Archive::open(file, what.to_owned())?;
        archive.begin(block, DATA, "data block")?;
        Ok(Self { archive, left: 0, ended: false })
    }
}

impl Read for BlockReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.archive.read_chunked(&mut self.left, &mut self.ended, to)
    }
}
