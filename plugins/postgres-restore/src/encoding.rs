//! Archives that aren't in UTF-8. The target's server reads their texts, since it knows every encoding that an archive may
//! be in, and converts rows while it takes them: what pg_restore has it do by `SET client_encoding`.

use std::collections::{BTreeMap, BTreeSet};

use godwit_pg_archive::{Fault, Text, Toc, read, read_with};
use godwit_sdk::prelude::*;

use crate::TARGET;
use crate::archive::damaged;

/// Bytes of texts that are sent to be converted at once; they go as twice as many digits.
const BATCH: usize = 512 << 10;

/// A server's names for the archive's encoding and the target's, and which of its conversions there are. Where the archive's
/// database knew no encoding, its bytes are taken for the target's, as a session under `client_encoding = SQL_ASCII` has it.
const ENCODINGS: &str = "SELECT q.source, q.target, \
    EXISTS (SELECT 1 FROM pg_catalog.pg_conversion c WHERE c.condefault \
      AND c.conforencoding = pg_catalog.pg_char_to_encoding(q.source::name) \
      AND c.contoencoding = pg_catalog.pg_char_to_encoding('UTF8')) AS to_unicode, \
    EXISTS (SELECT 1 FROM pg_catalog.pg_conversion c WHERE c.condefault \
      AND c.conforencoding = pg_catalog.pg_char_to_encoding(q.source::name) \
      AND c.contoencoding = pg_catalog.pg_char_to_encoding(q.target::name)) AS to_target \
  FROM (SELECT pg_catalog.getdatabaseencoding()::text AS target, \
      CASE pg_catalog.pg_char_to_encoding($1::name) \
        WHEN -1 THEN '' \
        WHEN pg_catalog.pg_char_to_encoding('SQL_ASCII') THEN pg_catalog.getdatabaseencoding()::text \
        ELSE pg_catalog.pg_encoding_to_char(pg_catalog.pg_char_to_encoding($1::name))::text END AS source) AS q";

/// Texts in hexadecimal digits, in order: bytes come and go whatever the target's own encoding is.
const CONVERT: &str = "SELECT pg_catalog.encode(pg_catalog.convert(pg_catalog.decode(t.digits, 'hex'), $2::name, 'UTF8'), \
      'hex') AS digits \
    FROM pg_catalog.unnest(pg_catalog.string_to_array($1, ',')) WITH ORDINALITY AS t(digits, number) ORDER BY t.number";

/// A table of contents in a known encoding.
#[derive(Debug)]
pub struct Contents {
    pub toc: Toc,
    /// Of the rows, where the server has to be told.
    pub encoding: Option<String>,
    /// The entries that statements can't say, by dump id, with the field that they can't.
    pub unreadable: BTreeMap<i32, &'static str>,
}

/// A table of contents that says in which encoding it is, read as UTF-8 as far as that goes.
#[derive(Debug)]
pub struct Survey {
    toc: Toc,
    pub length: usize,
    /// The entries with other bytes than UTF-8, by number.
    other: BTreeMap<usize, &'static str>,
}

#[derive(Deserialize)]
struct Encodings {
    /// Empty where the server doesn't know it.
    source: String,
    target: String,
    to_unicode: bool,
    to_target: bool,
}

/// Reads a table of contents whose encoding isn't known. A name in its head was written by whoever called pg_dump, and needs
/// be in no encoding.
pub fn survey(bytes: &[u8]) -> Result<Survey, Fault> {
    let mut other = BTreeMap::new();
    let (toc, length) = read_with(bytes, |text: Text<'_>| {
        if let (Some(entry), Err(_)) = (text.entry, std::str::from_utf8(text.bytes)) {
            other.entry(entry).or_insert(text.field);
        }
        Ok(String::from_utf8_lossy(text.bytes).into_owned())
    })?;
    Ok(Survey { toc, length, other })
}

impl Survey {
    pub fn toc(&self) -> &Toc {
        &self.toc
    }

    /// Makes sense of the texts, by asking the target where they aren't in UTF-8.
    pub fn settle<H: Host>(self, host: &H, path: &str, bytes: &[u8]) -> Result<Contents> {
        let Some(declared) = declared(&self.toc) else {
            return Err(damaged(path, "it doesn't say in which encoding it is"));
        };
        if matches!(declared.to_uppercase().as_str(), "UTF8" | "UTF-8" | "UNICODE") {
            return match self.other.is_empty() {
                true => Ok(self.unconverted()),
                // It says where.
                false => read(bytes).map(|_| self.unconverted()).map_err(|fault| damaged(path, fault)),
            };
        }
        let found: Option<Encodings> = host.select(TARGET, ENCODINGS, &[Some(&declared)])?.pop();
        let Some(Encodings { source, target, to_unicode, to_target }) = found else {
            return Err(Error::Failed(format!(
                "the server of slot `{TARGET}` doesn't say what its encoding is"
            )));
        };
        if matches!(source.as_str(), "UTF8" | "SQL_ASCII") {
            return Ok(self.unconverted());
        }
        let refused = |why: String| {
            Error::Invalid(format!(
                "the archive `{path}` is in {declared}, {why}; nothing was touched. Dump again with `pg_dump -E UTF8`, or restore \
                 into a database in UTF8"
            ))
        };
        if !to_unicode {
            return Err(refused("which the target's server can't read".to_owned()));
        }
        if !to_target && target != source && target != "SQL_ASCII" {
            return Err(refused(format!(
                "and the target in {target}, between which the server knows no conversion"
            )));
        }
        let mut texts = BTreeSet::new();
        let gathered = read_with(bytes, |text: Text<'_>| {
            texts.extend(text.entry.map(|_| text.bytes));
            Ok(String::new())
        });
        gathered.map_err(|fault| damaged(path, fault))?;
        if target == "SQL_ASCII" && !texts.is_empty() {
            return Err(refused(
                "and the target in SQL_ASCII, where nothing is converted: names would be in UTF-8 beside rows that aren't"
                    .to_owned(),
            ));
        }
        let known = convert(host, &texts, &source).map_err(|error| match error {
            Error::Failed(why) | Error::Invalid(why) | Error::Missing(why) => {
                refused(format!("and its texts can't be read as that: {why}"))
            }
            other => other,
        })?;
        let read = read_with(bytes, |text: Text<'_>| {
            let found = known.get(text.bytes).filter(|_| text.entry.is_some());
            Ok(found.map_or_else(|| String::from_utf8_lossy(text.bytes).into_owned(), String::clone))
        });
        let (toc, _) = read.map_err(|fault| damaged(path, fault))?;
        Ok(Contents { toc, encoding: Some(source), unreadable: BTreeMap::new() })
    }

    fn unconverted(self) -> Contents {
        let id = |(number, field): (&usize, &&'static str)| {
            self.toc.entries.get(*number).map(|entry| (entry.dump_id, *field))
        };
        let unreadable = self.other.iter().filter_map(id).collect();
        Contents { toc: self.toc, encoding: None, unreadable }
    }
}

/// What `SET client_encoding = '…';` names.
fn declared(toc: &Toc) -> Option<String> {
    let entry = toc.entries.iter().find(|entry| entry.desc == "ENCODING")?;
    entry.definition.as_deref()?.split('\'').nth(1).map(str::to_owned)
}

/// Has the server convert the texts to UTF-8.
fn convert<'a, H: Host>(
    host: &H,
    texts: &BTreeSet<&'a [u8]>,
    encoding: &str,
) -> Result<BTreeMap<&'a [u8], String>> {
    #[derive(Deserialize)]
    struct Converted {
        digits: String,
    }
    let mut known = BTreeMap::new();
    let mut batch: Vec<&[u8]> = Vec::new();
    let mut bytes = 0;
    let mut rest = texts.iter().copied().peekable();
    while let Some(text) = rest.next() {
        bytes += text.len();
        batch.push(text);
        if rest.peek().is_some_and(|next| bytes + next.len() <= BATCH) {
            continue;
        }
        let digits = batch.iter().map(|text| hex(text)).collect::<Vec<_>>().join(",");
        let rows: Vec<Converted> = host.select(TARGET, CONVERT, &[Some(&digits), Some(encoding)])?;
        let converted: Option<Vec<String>> = rows.iter().map(|row| unhex(&row.digits)).collect();
        match converted.filter(|texts| texts.len() == batch.len()) {
            Some(texts) => known.extend(batch.drain(..).zip(texts)),
            None => return Err(Error::Failed("the server's answer is no text in UTF-8".into())),
        }
        bytes = 0;
    }
    Ok(known)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn unhex(digits: &str) -> Option<String> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    String::from_utf8(bytes?).ok().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_back() {
        assert_eq!(hex("aé".as_bytes()), "61c3a9");
        assert_eq!(unhex("61c3a9").as_deref(), Some("aé"));
        assert_eq!(unhex(""), Some(String::new()));
        for wrong in ["6", "6x", "e9", "é"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
