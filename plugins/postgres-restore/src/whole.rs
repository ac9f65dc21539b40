//! Whether a file of rows is whole, as far as can be told without unpacking it.

use std::io;

use flate2::read::MultiGzDecoder;
use godwit_sdk::prelude::*;

use crate::ARCHIVE;

/// What ends the rows of a table (`dumpTableData_copy` of pg_dump.c).
const END: &[u8] = b"\\.\n\n\n";
/// How much a byte of deflate can stand for at most (RFC 1951: a match of 258 bytes in 2 bits).
const MOST_UNPACKED: u64 = 1032;
/// Files of gzip up to this many bytes are unpacked: nothing else tells where they end.
const SMALL: u64 = 4 << 20;
/// Bytes of a file that are read at once: the heads of its blocks lie far apart.
const PIECE: u32 = 16;

/// Why a file of rows isn't whole; `None` where nothing speaks against it. What is damaged within a block is found out when
/// it is unpacked.
pub fn fault<H: Host>(host: &H, path: &str, size: u64, compression: Compression) -> Result<Option<String>> {
    let file = File { host, path, size };
    match compression {
        Compression::None => file.plain(),
        Compression::Gzip | Compression::Zlib => file.gzip(),
        Compression::Lz4 => file.lz4(),
        Compression::Zstd => file.zstd(),
    }
}

struct File<'a, H: Host> {
    host: &'a H,
    path: &'a str,
    size: u64,
}

impl<H: Host> File<'_, H> {
    /// At most `length` bytes from `at` on: none behind the end.
    fn read(&self, at: u64, length: u32) -> Result<Vec<u8>> {
        if at >= self.size {
            return Ok(Vec::new());
        }
        self.host.read_file_range(ARCHIVE, self.path, at, length)
    }

    fn number(&self, at: u64, bytes: u32) -> Result<Option<u64>> {
        let found = self.read(at, bytes)?;
        let value = found.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        Ok((found.len() == bytes as usize).then_some(value))
    }

    fn plain(&self) -> Result<Option<String>> {
        let tail = self.read(self.size.saturating_sub(END.len() as u64), END.len() as u32)?;
        Ok((tail != END).then(|| "it doesn't end as the rows of a table do".to_owned()))
    }

    /// A member's trailer says how many bytes it unpacks to (RFC 1952); there is no other way to its end than unpacking,
    /// which is done for small files.
    fn gzip(&self) -> Result<Option<String>> {
        if self.read(0, 3)? != [0x1f, 0x8b, 8] {
            return Ok(Some("it doesn't begin as a file of gzip does".to_owned()));
        }
        if self.size <= SMALL {
            let packed = self.read(0, self.size as u32)?;
            let unpacked = io::copy(&mut MultiGzDecoder::new(packed.as_slice()), &mut io::sink());
            return Ok(unpacked.err().map(|error| format!("it can't be unpacked: {error}")));
        }
        let most = self.size.saturating_mul(MOST_UNPACKED);
        let told = match self.number(self.size - 4, 4)? {
            // What is longer than the number is told modulo 2^32.
            Some(_) if most > u64::from(u32::MAX) => true,
            Some(unpacked) => (END.len() as u64..=most).contains(&unpacked),
            None => false,
        };
        Ok((!told).then(|| "it doesn't end as a file of gzip does".to_owned()))
    }

    /// Frames of the LZ4 frame format 1.6: a head, blocks with their sizes, an end mark.
    fn lz4(&self) -> Result<Option<String>> {
        let mut at = 0;
        while at < self.size {
            let head = self.read(at, PIECE)?;
            let (Some([0x04, 0x22, 0x4d, 0x18]), Some(flags)) = (head.get(..4), head.get(4).copied()) else {
                return Ok(Some(format!("no frame of lz4 begins at byte {at}")));
            };
            let has = |bit: u8| u64::from(flags & bit != 0);
            // Magic, flags, block descriptor, content size, dictionary, checksum of the head.
            at += 4 + 2 + 8 * has(0x08) + 4 * has(0x01) + 1;
            loop {
                let Some(size) = self.number(at, 4)? else { return Ok(Some(cut_off())) };
                at += 4;
                if size == 0 {
                    break;
                }
                // The highest bit says that the block isn't compressed.
                at += (size & 0x7fff_ffff) + 4 * has(0x10);
            }
            at += 4 * has(0x04);
        }
        Ok((at != self.size).then(cut_off))
    }

    /// Frames of Zstandard (RFC 8878, section 3.1): a head, blocks with their sizes, one of which is the last.
    fn zstd(&self) -> Result<Option<String>> {
        let mut at = 0;
        while at < self.size {
            let head = self.read(at, PIECE)?;
            let (Some(magic), Some(flags)) = (head.get(..4), head.get(4).copied()) else {
                return Ok(Some(cut_off()));
            };
            let magic = magic.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
            if magic & 0xffff_fff0 == 0x184d_2a50 {
                let Some(size) = self.number(at + 4, 4)? else { return Ok(Some(cut_off())) };
                at += 8 + size;
                continue;
            }
            if magic != 0xfd2f_b528 {
                return Ok(Some(format!("no frame of zstd begins at byte {at}")));
            }
            let single = flags & 0x20 != 0;
            let dictionary = [0, 1, 2, 4][usize::from(flags & 3)];
            let content = match flags >> 6 {
                0 => u64::from(single),
                size => 1 << size,
            };
            at += 5 + u64::from(!single) + dictionary + content;
            loop {
                let Some(block) = self.number(at, 3)? else { return Ok(Some(cut_off())) };
                // A repeated byte is one, whatever its size.
                let size = if block >> 1 & 3 == 1 { 1 } else { block >> 3 };
                at += 3 + size;
                if block & 1 != 0 {
                    break;
                }
            }
            at += if flags & 4 != 0 { 4 } else { 0 };
        }
        Ok((at != self.size).then(cut_off))
    }
}

fn cut_off() -> String {
    "it ends within a block: it was cut off".to_owned()
}
