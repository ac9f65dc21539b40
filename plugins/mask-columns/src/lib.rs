//! `mask-columns`: masks columns of the rows that a transfer moves.
//!
//! Works on the text format of COPY and touches nothing but the masked fields. Fails closed: a rule for a table that
//! doesn't come by, a selected column that isn't in the stream, a row that doesn't have the stream's columns, a stream
//! that isn't a table's, is an error before anything of it goes on.

mod copy_text;
mod rules;

use godwit_sdk::prelude::*;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use copy_text::NULL;
use rules::{Mask, Masks, Params};

/// The transform on one stream.
pub struct MaskColumns {
    /// `schema.table`, for messages.
    label: String,
    /// Fields of a row.
    columns: usize,
    /// In the order of their columns.
    masks: Masks,
    hash: Hmac<Sha256>,
    /// A row whose end has not come yet.
    rest: Vec<u8>,
    /// A decoded value, kept to save allocations.
    value: Vec<u8>,
}

impl Transform for MaskColumns {
    const NAME: &str = "mask-columns";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "masks columns on the way: keyed hash, null, fixed value, or part of the text";
    type Params = Params;

    fn selects(params: &Params) -> Result<Vec<String>> {
        params.selectors()
    }

    fn open(params: Params, shape: Shape) -> Result<Self> {
        let Shape::Table(table) = shape else {
            return Err(Error::Invalid(
                "only rows of tables can be masked: narrow the pattern of the recipe's `transforms`"
                    .to_owned(),
            ));
        };
        let label = table.label();
        if table.format != "text" {
            return Err(Error::Invalid(format!(
                "table `{label}` comes in COPY format `{}`; only `text` can be masked",
                table.format
            )));
        }
        let masks = params.masks(&table)?;
        let hash = Hmac::new_from_slice(params.key())
            .map_err(|_| Error::Invalid("`key` can't be used as a key of HMAC".to_owned()))?;
        Ok(Self { label, columns: table.columns.len(), masks, hash, rest: Vec::new(), value: Vec::new() })
    }

    fn push(&mut self, chunk: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(chunk.len() + chunk.len() / 8 + 64);
        let mut rows = chunk;
        if !self.rest.is_empty() {
            let Some(end) = memchr::memchr(b'\n', rows) else {
                self.rest.extend_from_slice(rows);
                return Ok(out);
            };
            let mut row = std::mem::take(&mut self.rest);
            row.extend_from_slice(&rows[..end]);
            self.row(&row, &mut out)?;
            out.push(b'\n');
            rows = &rows[end + 1..];
        }
        while let Some(end) = memchr::memchr(b'\n', rows) {
            self.row(&rows[..end], &mut out)?;
            out.push(b'\n');
            rows = &rows[end + 1..];
        }
        self.rest.extend_from_slice(rows);
        Ok(out)
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let row = std::mem::take(&mut self.rest);
        if !row.is_empty() {
            self.row(&row, &mut out)?;
        }
        Ok(out)
    }
}

impl MaskColumns {
    /// Masks one row, without its line feed.
    fn row(&mut self, row: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut rest = row;
        let mut column = 0;
        for at in 0..self.masks.len() {
            let masked = self.masks[at].0;
            // What stands before the masked column goes on as it is.
            let mut skipped = 0;
            while column < masked {
                let Some(tab) = memchr::memchr(b'\t', &rest[skipped..]) else {
                    return Err(self.misshapen(row));
                };
                skipped += tab + 1;
                column += 1;
            }
            out.extend_from_slice(&rest[..skipped]);
            rest = &rest[skipped..];
            let end = memchr::memchr(b'\t', rest).unwrap_or(rest.len());
            self.field(at, &rest[..end], out);
            rest = &rest[end..];
        }
        // A row of another shape would have its fields masked in the wrong places.
        if column + 1 + memchr::memchr_iter(b'\t', rest).count() != self.columns {
            return Err(self.misshapen(row));
        }
        out.extend_from_slice(rest);
        Ok(())
    }

    fn field(&mut self, at: usize, field: &[u8], out: &mut Vec<u8>) {
        if field == NULL {
            out.extend_from_slice(NULL);
            return;
        }
        match &self.masks[at].1 {
            Mask::Null {} => out.extend_from_slice(NULL),
            Mask::Fixed { value } => copy_text::encode(value.as_bytes(), out),
            Mask::Hash { length, prefix, suffix } => {
                self.value.clear();
                copy_text::decode(field, &mut self.value);
                let digest = self.hash.clone().chain_update(&self.value).finalize().into_bytes();
                copy_text::encode(prefix.as_bytes(), out);
                let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                out.extend(
                    digits.take(length.unwrap_or(64)).map(|digit| b"0123456789abcdef"[usize::from(digit)]),
                );
                copy_text::encode(suffix.as_bytes(), out);
            }
            Mask::Partial { keep_start, keep_end, with } => {
                self.value.clear();
                copy_text::decode(field, &mut self.value);
                let masked = partial(&String::from_utf8_lossy(&self.value), *keep_start, *keep_end, *with);
                copy_text::encode(masked.as_bytes(), out);
            }
        }
    }

    /// The error doesn't show the row: it holds what was to be masked.
    fn misshapen(&self, row: &[u8]) -> Error {
        Error::Failed(format!(
            "a row of table `{}` has {} fields instead of {}; nothing of it was passed on",
            self.label,
            memchr::memchr_iter(b'\t', row).count() + 1,
            self.columns
        ))
    }
}

fn partial(text: &str, keep_start: usize, keep_end: usize, with: char) -> String {
    let length = text.chars().count();
    let is_hidden = |at: usize| {
        length <= keep_start.saturating_add(keep_end) || (at >= keep_start && at < length - keep_end)
    };
    text.chars().enumerate().map(|(at, c)| if is_hidden(at) { with } else { c }).collect()
}

godwit_sdk::export_transform!(MaskColumns);
