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
use rules::{DIGITS, Form, Mask, Params};

/// The transform on one stream.
pub struct MaskColumns {
    /// `schema.table`, for messages.
    label: String,
    /// Fields of a row.
    columns: usize,
    /// By the position of their column, in order.
    masks: Vec<(usize, Filter)>,
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
        let masks = masks.into_iter().map(|(column, mask, form)| (column, Filter::new(mask, form))).collect();
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
            row.extend_from_slice(&rows[..=end]);
            self.rows(&row, &mut out)?;
            rows = &rows[end + 1..];
        }
        let whole = memchr::memrchr(b'\n', rows).map_or(0, |end| end + 1);
        self.rows(&rows[..whole], &mut out)?;
        self.rest.extend_from_slice(&rows[whole..]);
        Ok(out)
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let row = std::mem::take(&mut self.rest);
        self.rows(&row, &mut out)?;
        Ok(out)
    }
}

impl MaskColumns {
    /// Masks rows. What isn't masked goes on as it is, in one piece from one masked field to the next.
    fn rows(&mut self, rows: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut gone_on = 0;
        let mut start = 0;
        while start < rows.len() {
            let end = memchr::memchr(b'\n', &rows[start..]).map_or(rows.len(), |length| start + length);
            let row = &rows[start..end];
            let mut tabs = memchr::memchr_iter(b'\t', row);
            // The column that begins at `at`, of those that were passed.
            let (mut column, mut at) = (0, 0);
            for mask in 0..self.masks.len() {
                let masked = self.masks[mask].0;
                if masked > column {
                    let tab = tabs.nth(masked - column - 1);
                    at = tab.ok_or_else(|| self.misshapen(row))? + 1;
                    column = masked;
                }
                let next = tabs.next();
                let field = &row[at..next.unwrap_or(row.len())];
                out.extend_from_slice(&rows[gone_on..start + at]);
                self.field(mask, field, out);
                gone_on = start + at + field.len();
                if let Some(tab) = next {
                    (column, at) = (column + 1, tab + 1);
                }
            }
            // A row of another shape would have its fields masked in the wrong places.
            if column + 1 + tabs.count() != self.columns {
                return Err(self.misshapen(row));
            }
            start = end + 1;
        }
        out.extend_from_slice(&rows[gone_on..]);
        Ok(())
    }

    fn field(&mut self, at: usize, field: &[u8], out: &mut Vec<u8>) {
        if field == NULL {
            out.extend_from_slice(NULL);
            return;
        }
        match &self.masks[at].1 {
            Filter::Constant(text) => out.extend_from_slice(text),
            Filter::Hash { length, prefix, suffix, form } => {
                self.value.clear();
                copy_text::decode(form.value(field), &mut self.value);
                let digest = self.hash.clone().chain_update(&self.value).finalize().into_bytes();
                let mut digits = [0; 64];
                for (two, byte) in digits.chunks_exact_mut(2).zip(digest) {
                    two[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
                    two[1] = b"0123456789abcdef"[usize::from(byte & 15)];
                }
                if *form == Form::Uuid {
                    put_uuid(&digits[..*length], out);
                    return;
                }
                out.extend_from_slice(prefix);
                out.extend_from_slice(&digits[..*length]);
                out.extend_from_slice(suffix);
            }
            Filter::Partial { keep_start, keep_end, with, form } => {
                // The blanks that fill a value up are put back as they were: as many characters are hidden as kept.
                let (field, blanks) = field.split_at(form.value(field).len());
                if copy_text::is_plain(field) && copy_text::is_plain(with.encode_utf8(&mut [0; 4]).as_bytes())
                {
                    let start = out.len();
                    out.extend_from_slice(field);
                    hide(&mut out[start..], *keep_start, *keep_end, *with as u8);
                    out.extend_from_slice(blanks);
                    return;
                }
                self.value.clear();
                copy_text::decode(field, &mut self.value);
                let text = String::from_utf8_lossy(&self.value);
                copy_text::encode(partial(&text, *keep_start, *keep_end, *with).as_bytes(), out);
                out.extend_from_slice(blanks);
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

/// A mask as it is applied.
enum Filter {
    /// The field itself, encoded.
    Constant(Vec<u8>),
    /// `prefix` and `suffix` encoded, `length` at most 64.
    Hash {
        length: usize,
        prefix: Vec<u8>,
        suffix: Vec<u8>,
        form: Form,
    },
    Partial {
        keep_start: usize,
        keep_end: usize,
        with: char,
        form: Form,
    },
}

impl Filter {
    fn new(mask: Mask, form: Form) -> Self {
        let encoded = |text: String| {
            let mut field = Vec::new();
            copy_text::encode(text.as_bytes(), &mut field);
            field
        };
        match mask {
            Mask::Null {} => Self::Constant(NULL.to_vec()),
            Mask::Fixed { value } if form == Form::Uuid => {
                let mut field = Vec::new();
                put_uuid(value.as_bytes(), &mut field);
                Self::Constant(field)
            }
            Mask::Fixed { value } => Self::Constant(encoded(form.filled(value, 0))),
            Mask::Hash { length, prefix, suffix } => {
                let length = length.unwrap_or(DIGITS).min(DIGITS);
                let suffix = form.filled(suffix, prefix.chars().count() + length);
                Self::Hash { length, prefix: encoded(prefix), suffix: encoded(suffix), form }
            }
            Mask::Partial { keep_start, keep_end, with } => {
                Self::Partial { keep_start, keep_end, with, form }
            }
        }
    }
}

impl Form {
    /// A field without the blanks that only fill it up.
    fn value(self, field: &[u8]) -> &[u8] {
        match self {
            Self::Blanks(_) => {
                &field[..field.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1)]
            }
            Self::AsIs | Self::Uuid => field,
        }
    }

    /// A text with the blanks that its type puts after it, where `before` characters come before it.
    fn filled(self, mut text: String, before: usize) -> String {
        if let Self::Blanks(length) = self {
            let missing = length.saturating_sub(before + text.chars().count());
            text.extend(std::iter::repeat_n(' ', missing));
        }
        text
    }
}

/// 32 digits as the type prints them.
fn put_uuid(digits: &[u8], out: &mut Vec<u8>) {
    for (at, digit) in digits.iter().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            out.push(b'-');
        }
        out.push(*digit);
    }
}

/// [`partial`] of a text of one byte a character.
fn hide(text: &mut [u8], keep_start: usize, keep_end: usize, with: u8) {
    let hidden = match text.len().checked_sub(keep_end) {
        Some(end) if end > keep_start => &mut text[keep_start..end],
        _ => text,
    };
    hidden.fill(with);
}

fn partial(text: &str, keep_start: usize, keep_end: usize, with: char) -> String {
    let length = text.chars().count();
    let is_hidden = |at: usize| {
        length <= keep_start.saturating_add(keep_end) || (at >= keep_start && at < length - keep_end)
    };
    text.chars().enumerate().map(|(at, c)| if is_hidden(at) { with } else { c }).collect()
}

godwit_sdk::export_transform!(MaskColumns);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_characters_are_hidden_alike() {
        for text in ["", "a", "ab", "abc", "abcdef", "a\tb\\c"] {
            for keep_start in [0, 1, 2, 3, 7, usize::MAX] {
                for keep_end in [0, 1, 3, 6, usize::MAX] {
                    let mut bytes = text.as_bytes().to_vec();
                    hide(&mut bytes, keep_start, keep_end, b'*');
                    let characters = partial(text, keep_start, keep_end, '*');
                    assert_eq!(bytes, characters.as_bytes(), "{text:?} {keep_start} {keep_end}");
                }
            }
        }
    }
}
