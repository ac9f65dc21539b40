//! Compression, and where rows end. Everything here blocks.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use godwit_model::effect::Compression;
use godwit_model::{Error, Result};
use lz4_flex::frame::{FrameDecoder, FrameEncoder};
use memchr::memmem;

use super::io_error;

/// What ends the rows of a table in an archive: `dumpTableData_copy` of PostgreSQL's pg_dump.c.
pub const END: &[u8] = b"\\.\n\n\n";
/// The end marker's own line.
const MARKER: &[u8] = b"\\.\n";
/// Bytes handed on at once.
const CHUNK: usize = 1 << 20;
/// Bytes read at once.
const READ: usize = 1 << 18;

/// Unpacks what was read. In a block of the custom format gzip means zlib (PostgreSQL's compress_gzip.c).
pub fn decoder<'a>(
    compression: Compression,
    in_block: bool,
    from: impl Read + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(from),
        Compression::Zlib => Box::new(ZlibDecoder::new(from)),
        Compression::Gzip if in_block => Box::new(ZlibDecoder::new(from)),
        Compression::Gzip => Box::new(MultiGzDecoder::new(from)),
        Compression::Lz4 => Box::new(FrameDecoder::new(from)),
        Compression::Zstd => Box::new(zstd::Decoder::new(from)?),
    })
}

/// Packs what is written.
pub enum Encoder<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Lz4(Box<FrameEncoder<W>>),
    Zstd(zstd::Encoder<'static, W>),
    Zlib(ZlibEncoder<W>),
}

impl<W: Write> Encoder<W> {
    pub fn new(compression: Compression, to: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(to),
            Compression::Gzip => Self::Gzip(GzEncoder::new(to, flate2::Compression::default())),
            Compression::Lz4 => Self::Lz4(Box::new(FrameEncoder::new(to))),
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(to, zstd::DEFAULT_COMPRESSION_LEVEL)?),
            Compression::Zlib => Self::Zlib(ZlibEncoder::new(to, flate2::Compression::default())),
        })
    }

    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::None(to) => to.write_all(bytes),
            Self::Gzip(to) => to.write_all(bytes),
            Self::Lz4(to) => to.write_all(bytes),
            Self::Zstd(to) => to.write_all(bytes),
            Self::Zlib(to) => to.write_all(bytes),
        }
    }

    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::None(to) => Ok(to),
            Self::Gzip(to) => to.finish(),
            Self::Lz4(to) => to.finish().map_err(io::Error::other),
            Self::Zstd(to) => to.finish(),
            Self::Zlib(to) => to.finish(),
        }
    }
}

/// Reads rows up to their end marker and hands them on, whole ones at a time. `give` returns false to stop.
///
/// Holds a chunk, or the largest row: one that is above `max_row` bytes by more than what is read at once is an error. Rows without an end marker are truncated,
/// and what follows the marker has to be empty lines.
pub fn read_rows(
    mut from: impl Read,
    what: &str,
    max_row: usize,
    mut give: impl FnMut(Bytes) -> bool,
) -> Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(CHUNK + READ);
    // Up to here no line begins that is the marker.
    let mut seen = 0;
    loop {
        let had = buffer.len();
        buffer.resize(had + READ, 0);
        let read = loop {
            match from.read(&mut buffer[had..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|e| io_error(what, &e))?,
            }
        };
        buffer.truncate(had + read);
        if read == 0 {
            return Err(Error::failed(format!("{what}: the rows end without their end marker"))
                .hint("the archive is truncated or damaged; make it anew"));
        }
        if let Some(end) = marker(&buffer, seen) {
            let rest = buffer.split_off(end + MARKER.len());
            buffer.truncate(end);
            if !buffer.is_empty() && !give(Bytes::from(buffer)) {
                return Ok(());
            }
            return only_empty_lines(&rest, from, what);
        }
        let Some(last) = memchr::memrchr(b'\n', &buffer) else {
            if buffer.len() > max_row {
                return Err(too_large(what, max_row));
            }
            continue;
        };
        // The line after the last break may turn out to be the marker.
        seen = last + 1;
        if buffer.len() >= CHUNK {
            let rest = buffer.split_off(last + 1);
            let mut next = Vec::with_capacity(CHUNK + READ);
            next.extend_from_slice(&rest);
            if !give(Bytes::from(std::mem::replace(&mut buffer, next))) {
                return Ok(());
            }
            seen = 0;
        } else if buffer.len() - seen > max_row {
            return Err(too_large(what, max_row));
        }
    }
}

fn too_large(what: &str, max_row: usize) -> Error {
    Error::failed(format!("{what}: a row is larger than {max_row} bytes"))
        .hint("a transform gets rows of 64 MiB at most: leave the table without one")
}

/// Where the marker's line begins, if it is there; lines before `from` are known not to be it.
fn marker(buffer: &[u8], from: usize) -> Option<usize> {
    if buffer[from..].starts_with(MARKER) {
        return Some(from);
    }
    memmem::find(&buffer[from..], b"\n\\.\n").map(|at| from + at + 1)
}

fn only_empty_lines(head: &[u8], mut from: impl Read, what: &str) -> Result<()> {
    let stray = |bytes: &[u8]| bytes.iter().any(|byte| *byte != b'\n');
    let mut buffer = [0; 256];
    let mut strays = stray(head);
    // To the end, so that a decoder checks its checksum.
    loop {
        match from.read(&mut buffer) {
            Ok(0) if strays => {
                return Err(Error::failed(format!("{what}: something follows the rows' end marker"))
                    .hint("the archive is damaged; make it anew"));
            }
            Ok(0) => return Ok(()),
            Ok(read) => strays |= stray(&buffer[..read]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(io_error(what, &e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], step: usize) -> Result<Vec<u8>> {
        struct Steps<'a>(&'a [u8], usize);
        impl Read for Steps<'_> {
            fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
                let take = self.1.min(to.len()).min(self.0.len());
                to[..take].copy_from_slice(&self.0[..take]);
                self.0 = &self.0[take..];
                Ok(take)
            }
        }
        let mut rows = Vec::new();
        read_rows(Steps(bytes, step), "t", 1 << 30, |chunk| {
            assert!(chunk.ends_with(b"\n"), "whole rows");
            rows.extend_from_slice(&chunk);
            true
        })?;
        Ok(rows)
    }

    #[test]
    fn rows_end_at_their_marker() {
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(read(b"\\.\n\n\n", step).unwrap(), b"");
            assert_eq!(read(b"1\ta\n2\t\\\\.\n\\.\n\n\n", step).unwrap(), b"1\ta\n2\t\\\\.\n");
            assert_eq!(read(b"\\.x\n\\N\n\\.\n", step).unwrap(), b"\\.x\n\\N\n");
        }
    }

    #[test]
    fn truncated_and_damaged_rows_are_errors() {
        for bytes in [&b""[..], b"1\n", b"1\n\\.", b"1\n\\.\n\nx\n", b"\\.\n1\n\\.\n"] {
            for step in [1, 1000] {
                assert!(read(bytes, step).is_err(), "{}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn large_inputs_come_in_whole_rows() {
        let row = [&b"x".repeat(70_001)[..], b"\n"].concat();
        let mut bytes = row.repeat(100);
        let rows = bytes.clone();
        bytes.extend_from_slice(END);
        assert_eq!(read(&bytes, 33_333).unwrap(), rows);
        let large = b"x".repeat(3 << 20);
        let refused = read_rows(&large[..], "t", 1 << 20, |_| true).unwrap_err();
        assert!(refused.message.contains("larger than 1048576"), "{refused}");
    }

    #[test]
    fn what_is_packed_is_unpacked_and_damage_is_found() {
        let rows = b"1\tsome text\n".repeat(20_000);
        for compression in
            [Compression::None, Compression::Gzip, Compression::Lz4, Compression::Zstd, Compression::Zlib]
        {
            let mut encoder = Encoder::new(compression, Vec::new()).unwrap();
            encoder.write_all(&rows).unwrap();
            encoder.write_all(END).unwrap();
            let packed = encoder.finish().unwrap();
            let unpack = |packed: &[u8]| {
                let mut out = Vec::new();
                let decoder = decoder(compression, false, packed).map_err(|e| io_error("t", &e))?;
                read_rows(decoder, "t", 1 << 30, |chunk| {
                    out.extend_from_slice(&chunk);
                    true
                })
                .map(|()| out)
            };
            assert_eq!(unpack(&packed).unwrap(), rows, "{compression:?}");
            assert!(unpack(&packed[..packed.len() / 2]).is_err(), "{compression:?}: cut in the middle");
        }
    }
}
