//! Evidence of rows: count, bytes and an order-independent digest, folded from COPY's own framing.

use godwit_model::effect::Evidence;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// How COPY writes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    Text,
    Binary,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

/// The algorithm's name in `Evidence.digest`: the sum, modulo 2^128, of the XXH3-128 of each row as COPY writes it.
const ALGORITHM: &str = "rows-xxh3-128";

/// Signature, flags and length of the extension area (manual, COPY, «Binary Format»).
const BINARY_HEADER: usize = 19;
/// A field count of −1.
const BINARY_TRAILER: &[u8] = &[0xff, 0xff];

/// What was folded; sums of parts add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSum {
    pub rows: u64,
    pub bytes: u64,
    /// As text in JSON, which has no 128-bit numbers.
    #[serde(with = "hex_u128")]
    pub sum: u128,
}

impl RowSum {
    pub fn add(&mut self, other: RowSum) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub fn row(&mut self, row: &[u8]) {
        self.rows += 1;
        self.bytes += row.len() as u64;
        self.sum = self.sum.wrapping_add(xxh3_128(row));
    }

    pub fn evidence(&self) -> Evidence {
        Evidence { items: self.rows, bytes: self.bytes, digest: format!("{ALGORITHM}:{:032x}", self.sum) }
    }
}

/// Folds a stream of CopyData frames, each of which is one row.
pub struct RowFold {
    format: Format,
    total: RowSum,
    /// The next frame is the stream's first one, which begins with the header in binary format.
    first: bool,
    large: Option<Large>,
}

/// A frame that comes in pieces.
struct Large {
    hash: Box<Xxh3>,
    bytes: u64,
    /// Header bytes still to be passed over.
    skip: usize,
}

impl RowFold {
    /// A frame that comes in pieces comes with so much of it at least.
    pub const HEAD: usize = BINARY_HEADER;

    pub fn new(format: Format) -> Self {
        Self { format, total: RowSum::default(), first: true, large: None }
    }

    pub fn total(&self) -> RowSum {
        self.total
    }

    /// A whole frame.
    pub fn frame(&mut self, payload: &[u8]) {
        let first = std::mem::take(&mut self.first);
        let row = match self.format {
            Format::Text => payload,
            Format::Binary => {
                let row = if first { payload.get(BINARY_HEADER..).unwrap_or(&[]) } else { payload };
                if row.is_empty() || row == BINARY_TRAILER {
                    return;
                }
                row
            }
        };
        self.total.row(row);
    }

    /// A frame whose payload follows in pieces.
    pub fn begin(&mut self) {
        let first = std::mem::take(&mut self.first);
        let skip = if first && self.format == Format::Binary { BINARY_HEADER } else { 0 };
        self.large = Some(Large { hash: Box::new(Xxh3::new()), bytes: 0, skip });
    }

    pub fn more(&mut self, piece: &[u8]) {
        if let Some(large) = &mut self.large {
            let skip = large.skip.min(piece.len());
            large.skip -= skip;
            large.hash.update(&piece[skip..]);
            large.bytes += (piece.len() - skip) as u64;
        }
    }

    pub fn end(&mut self) {
        if let Some(large) = self.large.take() {
            self.total.add(RowSum { rows: 1, bytes: large.bytes, sum: large.hash.digest128() });
        }
    }
}

mod hex_u128 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &u128, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{value:032x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
        u128::from_str_radix(&String::deserialize(d)?, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(format: Format, frames: &[&[u8]]) -> RowSum {
        let mut fold = RowFold::new(format);
        for frame in frames {
            fold.frame(frame);
        }
        fold.total()
    }

    #[test]
    fn order_does_not_matter_but_content_and_count_do() {
        let a = fold(Format::Text, &[b"1\ta\n", b"2\tb\n"]);
        assert_eq!(a, fold(Format::Text, &[b"2\tb\n", b"1\ta\n"]));
        assert_ne!(a.sum, fold(Format::Text, &[b"1\tb\n", b"2\ta\n"]).sum);
        assert_ne!(a.sum, fold(Format::Text, &[b"1\ta\n"]).sum);
        // A pair of equal rows doesn't cancel out, as it would under XOR.
        assert_ne!(fold(Format::Text, &[b"x\n", b"x\n"]).sum, 0);
    }

    #[test]
    fn binary_header_and_trailer_are_no_rows() {
        let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
        let row = b"\0\x01\0\0\0\x04\0\0\0\x07";
        let first = [&header[..], row].concat();
        assert_eq!(fold(Format::Binary, &[&first, row, b"\xff\xff"]).rows, 2);
        assert_eq!(fold(Format::Binary, &[&[&header[..], b"\xff\xff"].concat()]), RowSum::default());
        let alone = fold(Format::Binary, &[header, row, b"\xff\xff"]);
        assert_eq!(alone, fold(Format::Binary, &[&first, b"\xff\xff"]));
        assert_eq!(alone.bytes, row.len() as u64);
    }

    #[test]
    fn pieces_make_the_same_digest_as_the_whole() {
        let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
        let row: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let first = [&header[..], &row].concat();
        let mut pieces = RowFold::new(Format::Binary);
        pieces.begin();
        for piece in first.chunks(777) {
            pieces.more(piece);
        }
        pieces.end();
        assert_eq!(pieces.total(), fold(Format::Binary, &[&first]));
    }

    #[test]
    fn parts_add_up_and_survive_json() {
        let mut sum = fold(Format::Text, &[b"a\n"]);
        sum.add(fold(Format::Text, &[b"b\n"]));
        assert_eq!(sum, fold(Format::Text, &[b"a\n", b"b\n"]));
        let json = serde_json::to_string(&sum).unwrap();
        assert_eq!(serde_json::from_str::<RowSum>(&json).unwrap(), sum);
        assert!(sum.evidence().digest.starts_with("rows-xxh3-128:"));
    }
}
