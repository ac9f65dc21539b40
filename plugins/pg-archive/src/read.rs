//! Reading a table of contents.

use std::collections::BTreeSet;

use crate::fault::{Fault, FaultKind};
use crate::toc::*;

const MAGIC: &[u8] = b"PGDMP";
/// `archCustom` and `archTar` of `pg_backup.h`; a directory's says tar.
pub(crate) const CUSTOM: u8 = 1;
pub(crate) const TAR: u8 = 3;
/// `K_OFFSET_…` of `pg_backup_archiver.h`.
pub(crate) const POSITION_NOT_SET: u8 = 1;
pub(crate) const POSITION_SET: u8 = 2;
pub(crate) const NO_DATA: u8 = 3;

/// A text that isn't all ASCII: nothing before it says in which encoding it is.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    pub bytes: &'a [u8],
    pub field: &'static str,
    /// The number of the entry, from 0; none in the header.
    pub entry: Option<usize>,
}

/// Reads a table of contents in UTF-8 from the beginning of `bytes`; returns it with the number of bytes that it takes.
///
/// A fault that [is a truncation](Fault::is_truncation) may go away with more bytes; every other one stays.
pub fn read(bytes: &[u8]) -> Result<(Toc, usize), Fault> {
    read_with(bytes, |text| match std::str::from_utf8(text.bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(e) => Err((e.valid_up_to(), "isn't UTF-8".to_owned())),
    })
}

/// Reads a table of contents whose texts `decode` makes sense of; where it can't, it says at which byte of the text, and why.
pub fn read_with<'a>(
    bytes: &'a [u8],
    decode: impl FnMut(Text<'a>) -> Result<String, (usize, String)>,
) -> Result<(Toc, usize), Fault> {
    let mut reader = Reader { bytes, at: 0, entry: None, int_size: 4, offset_size: 8, decode };
    let mut toc = reader.header()?;
    let start = reader.at;
    let count = reader.int("the number of entries")?;
    let count = usize::try_from(count)
        .map_err(|_| reader.malformed(start, "the number of entries", format!("is {count}")))?;
    let mut ids = BTreeSet::new();
    for number in 0..count {
        reader.entry = Some(number);
        let start = reader.at;
        let entry = reader.entry(&toc)?;
        if !ids.insert(entry.dump_id) {
            let why = format!("is {}, as that of an entry before", entry.dump_id);
            return Err(reader.malformed(start, "the dump id", why));
        }
        toc.entries.push(entry);
    }
    Ok((toc, reader.at))
}

struct Reader<'a, D> {
    bytes: &'a [u8],
    at: usize,
    entry: Option<usize>,
    int_size: u8,
    offset_size: u8,
    decode: D,
}

impl<'a, D: FnMut(Text<'a>) -> Result<String, (usize, String)>> Reader<'a, D> {
    fn fault(&self, offset: usize, field: &'static str, kind: FaultKind) -> Fault {
        Fault { offset, field, entry: self.entry, kind }
    }

    fn malformed(&self, offset: usize, field: &'static str, why: impl Into<String>) -> Fault {
        self.fault(offset, field, FaultKind::Malformed(why.into()))
    }

    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], Fault> {
        match self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end)) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => Err(self.fault(self.at, field, FaultKind::Truncated)),
        }
    }

    fn byte(&mut self, field: &'static str) -> Result<u8, Fault> {
        Ok(self.take(1, field)?[0])
    }

    /// A sign, then the magnitude, least significant byte first.
    fn int(&mut self, field: &'static str) -> Result<i32, Fault> {
        let start = self.at;
        let sign = self.byte(field)?;
        let size = self.int_size;
        let magnitude = little_endian(self.take(usize::from(size), field)?);
        let value = match sign {
            0 => i64::try_from(magnitude).ok(),
            1 => i64::try_from(magnitude).ok().map(|value| -value),
            other => return Err(self.malformed(start, field, format!("has the sign {other}"))),
        };
        value
            .and_then(|value| i32::try_from(value).ok())
            .ok_or_else(|| self.malformed(start, field, "is larger than 32 bits"))
    }

    fn text(&mut self, field: &'static str) -> Result<Option<String>, Fault> {
        let start = self.at;
        let Ok(length) = usize::try_from(self.int(field)?) else { return Ok(None) };
        let content = self.at;
        let bytes = self.take(length, field)?;
        if bytes.contains(&0) {
            return Err(self.malformed(start, field, "holds a NUL"));
        }
        if let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii()) {
            return Ok(Some(text.to_owned()));
        }
        match (self.decode)(Text { bytes, field, entry: self.entry }) {
            Ok(text) => Ok(Some(text)),
            Err((at, why)) => Err(self.malformed(content + at, field, why)),
        }
    }

    /// A number that is written as a text.
    fn number<T: std::str::FromStr>(&mut self, field: &'static str) -> Result<Option<T>, Fault> {
        let start = self.at;
        let Some(text) = self.text(field)? else { return Ok(None) };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(self.malformed(start, field, "isn't a number")),
        }
    }

    fn header(&mut self) -> Result<Toc, Fault> {
        let magic = self.take(MAGIC.len(), "the magic word")?;
        if magic != MAGIC {
            return Err(self.malformed(0, "the magic word", "isn't `PGDMP`"));
        }
        let start = self.at;
        let version = Version {
            major: self.byte("the version")?,
            minor: self.byte("the version")?,
            revision: self.byte("the version")?,
        };
        if !version.is_known() {
            let why = format!(
                "is {version}; {} to {} can be read",
                Version::OLDEST,
                Version { revision: 0, ..Version::V1_16 }
            );
            return Err(self.malformed(start, "the version", why));
        }
        self.int_size = self.size("the size of integers")?;
        self.offset_size = self.size("the size of offsets")?;
        let start = self.at;
        let layout = match self.byte("the format")? {
            CUSTOM => Layout::Custom,
            TAR => Layout::Directory,
            other => return Err(self.malformed(start, "the format", format!("is {other}"))),
        };
        let compressed = self.compressed(version)?;
        let created = Created {
            second: self.int("the time")?,
            minute: self.int("the time")?,
            hour: self.int("the time")?,
            day: self.int("the time")?,
            month: self.int("the time")?,
            year: self.int("the time")?,
            daylight_saving: self.int("the time")?,
        };
        Ok(Toc {
            version,
            int_size: self.int_size,
            offset_size: self.offset_size,
            layout,
            compressed,
            created,
            database: self.text("the database's name")?,
            server_version: self.text("the server's version")?,
            dump_version: self.text("pg_dump's version")?,
            entries: Vec::new(),
        })
    }

    fn size(&mut self, field: &'static str) -> Result<u8, Fault> {
        let start = self.at;
        match self.byte(field)? {
            size @ 1..=8 => Ok(size),
            other => Err(self.malformed(start, field, format!("is {other}; 1 to 8 can be read"))),
        }
    }

    fn compressed(&mut self, version: Version) -> Result<Compressed, Fault> {
        const FIELD: &str = "the compression";
        if version < Version::V1_15 {
            return Ok(Compressed::Level(self.int(FIELD)?));
        }
        let start = self.at;
        match self.byte(FIELD)? {
            0 => Ok(Compressed::None),
            1 => Ok(Compressed::Gzip),
            2 => Ok(Compressed::Lz4),
            3 => Ok(Compressed::Zstd),
            other => Err(self.malformed(start, FIELD, format!("is the unknown algorithm {other}"))),
        }
    }

    fn entry(&mut self, toc: &Toc) -> Result<Entry, Fault> {
        let start = self.at;
        let dump_id = self.int("the dump id")?;
        if dump_id <= 0 {
            return Err(self.malformed(start, "the dump id", format!("is {dump_id}")));
        }
        let start = self.at;
        let had_dumper = match self.int("the mark of data")? {
            0 => false,
            1 => true,
            other => return Err(self.malformed(start, "the mark of data", format!("is {other}"))),
        };
        let catalog = self.number("the catalog's oid")?.unwrap_or(0);
        let oid = self.number("the oid")?.unwrap_or(0);
        let tag = self.text("the tag")?;
        let start = self.at;
        let desc = match self.text("the description")? {
            Some(desc) if !desc.is_empty() => desc,
            _ => return Err(self.malformed(start, "the description", "is missing")),
        };
        let start = self.at;
        let number = self.int("the section")?;
        let section = Section::of(number)
            .ok_or_else(|| self.malformed(start, "the section", format!("is {number}")))?;
        let definition = self.text("the definition")?;
        let drop = self.text("the drop statement")?;
        let copy = self.text("the copy statement")?;
        let namespace = self.text("the namespace")?;
        let tablespace = self.text("the tablespace")?;
        let access_method =
            if toc.version >= Version::V1_14 { self.text("the access method")? } else { None };
        let relkind = if toc.version >= Version::V1_16 { self.int("the kind of relation")? } else { 0 };
        let owner = self.text("the owner")?;
        let start = self.at;
        let with_oids = match self.text("the mark of oids")?.as_deref() {
            Some("true") => true,
            Some("false") => false,
            _ => return Err(self.malformed(start, "the mark of oids", "is neither `true` nor `false`")),
        };
        let mut dependencies = Vec::new();
        while let Some(dependency) = self.number("a dependency")? {
            dependencies.push(dependency);
        }
        let data = match toc.layout {
            Layout::Custom => self.offset()?,
            Layout::Directory => match self.text("the file's name")? {
                Some(name) if !name.is_empty() => Data::File(name),
                _ => Data::None,
            },
        };
        Ok(Entry {
            dump_id,
            had_dumper,
            catalog,
            oid,
            tag,
            desc,
            section,
            definition,
            drop,
            copy,
            namespace,
            tablespace,
            access_method,
            relkind,
            owner,
            with_oids,
            dependencies,
            data,
        })
    }

    fn offset(&mut self) -> Result<Data, Fault> {
        const FIELD: &str = "the data's offset";
        let start = self.at;
        let state = self.byte(FIELD)?;
        let size = self.offset_size;
        let offset = little_endian(self.take(usize::from(size), FIELD)?);
        match state {
            NO_DATA => Ok(Data::None),
            POSITION_NOT_SET => Ok(Data::Somewhere),
            POSITION_SET => Ok(Data::At(offset)),
            other => Err(self.malformed(start, FIELD, format!("has the unknown state {other}"))),
        }
    }
}

/// Of at most eight bytes.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
