//! Writing a table of contents.

use crate::fault::{Fault, FaultKind};
use crate::read::{CUSTOM, NO_DATA, POSITION_NOT_SET, POSITION_SET, TAR};
use crate::toc::*;

/// The bytes of a table of contents. What the version's format can't say is a fault: a compression of another version, a
/// number that doesn't fit into the sizes, data of the other layout.
pub fn write(toc: &Toc) -> Result<Vec<u8>, Fault> {
    if !toc.version.is_known() {
        return Err(malformed(None, 0, "the version", format!("{} can't be written", toc.version)));
    }
    for (field, size) in [("the size of integers", toc.int_size), ("the size of offsets", toc.offset_size)] {
        if !(1..=8).contains(&size) {
            return Err(malformed(None, 0, field, format!("is {size}")));
        }
    }
    let mut writer = Writer { out: Vec::new(), toc, entry: None };
    writer.header()?;
    writer.int("the number of entries", i32::try_from(toc.entries.len()).unwrap_or(i32::MAX))?;
    for (number, entry) in toc.entries.iter().enumerate() {
        writer.entry = Some(number);
        writer.entry(entry)?;
    }
    Ok(writer.out)
}

fn malformed(entry: Option<usize>, offset: usize, field: &'static str, why: impl Into<String>) -> Fault {
    Fault { offset, field, entry, kind: FaultKind::Malformed(why.into()) }
}

struct Writer<'a> {
    out: Vec<u8>,
    toc: &'a Toc,
    entry: Option<usize>,
}

impl Writer<'_> {
    fn fault(&self, field: &'static str, why: impl Into<String>) -> Fault {
        malformed(self.entry, self.out.len(), field, why)
    }

    fn int(&mut self, field: &'static str, value: i32) -> Result<(), Fault> {
        let magnitude = u64::from(value.unsigned_abs());
        let size = usize::from(self.toc.int_size);
        if !fits(magnitude, size) {
            return Err(self.fault(field, format!("is {value}, which needs more than {size} bytes")));
        }
        self.out.push(u8::from(value < 0));
        self.out.extend_from_slice(&magnitude.to_le_bytes()[..size]);
        Ok(())
    }

    fn text(&mut self, field: &'static str, text: Option<&str>) -> Result<(), Fault> {
        let Some(text) = text else { return self.int(field, -1) };
        if text.contains('\0') {
            return Err(self.fault(field, "holds a NUL"));
        }
        let length = i32::try_from(text.len()).map_err(|_| self.fault(field, "is longer than 2 GiB"))?;
        self.int(field, length)?;
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn header(&mut self) -> Result<(), Fault> {
        let toc = self.toc;
        let Version { major, minor, revision } = toc.version;
        self.out.extend_from_slice(b"PGDMP");
        let layout = match toc.layout {
            Layout::Custom => CUSTOM,
            Layout::Directory => TAR,
        };
        self.out.extend_from_slice(&[major, minor, revision, toc.int_size, toc.offset_size, layout]);
        match (toc.version < Version::V1_15, toc.compressed) {
            (true, Compressed::Level(level)) => self.int("the compression", level)?,
            (false, Compressed::None) => self.out.push(0),
            (false, Compressed::Gzip) => self.out.push(1),
            (false, Compressed::Lz4) => self.out.push(2),
            (false, Compressed::Zstd) => self.out.push(3),
            (_, other) => {
                return Err(
                    self.fault("the compression", format!("can't be {other:?} in version {}", toc.version))
                );
            }
        }
        let Created { second, minute, hour, day, month, year, daylight_saving } = toc.created;
        for part in [second, minute, hour, day, month, year, daylight_saving] {
            self.int("the time", part)?;
        }
        self.text("the database's name", toc.database.as_deref())?;
        self.text("the server's version", toc.server_version.as_deref())?;
        self.text("pg_dump's version", toc.dump_version.as_deref())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Fault> {
        let version = self.toc.version;
        if entry.dump_id <= 0 {
            return Err(self.fault("the dump id", format!("is {}", entry.dump_id)));
        }
        if entry.desc.is_empty() {
            return Err(self.fault("the description", "is missing"));
        }
        self.int("the dump id", entry.dump_id)?;
        self.int("the mark of data", i32::from(entry.had_dumper))?;
        self.text("the catalog's oid", Some(&entry.catalog.to_string()))?;
        self.text("the oid", Some(&entry.oid.to_string()))?;
        self.text("the tag", entry.tag.as_deref())?;
        self.text("the description", Some(&entry.desc))?;
        self.int("the section", entry.section as i32)?;
        self.text("the definition", entry.definition.as_deref())?;
        self.text("the drop statement", entry.drop.as_deref())?;
        self.text("the copy statement", entry.copy.as_deref())?;
        self.text("the namespace", entry.namespace.as_deref())?;
        self.text("the tablespace", entry.tablespace.as_deref())?;
        if version >= Version::V1_14 {
            self.text("the access method", entry.access_method.as_deref())?;
        } else if entry.access_method.is_some() {
            return Err(self.fault("the access method", format!("isn't part of version {version}")));
        }
        // Older versions do without it: it is derived from the description where it matters.
        if version >= Version::V1_16 {
            self.int("the kind of relation", entry.relkind)?;
        }
        self.text("the owner", entry.owner.as_deref())?;
        self.text("the mark of oids", Some(if entry.with_oids { "true" } else { "false" }))?;
        for dependency in &entry.dependencies {
            self.text("a dependency", Some(&dependency.to_string()))?;
        }
        self.text("a dependency", None)?;
        self.data(&entry.data)
    }

    fn data(&mut self, data: &Data) -> Result<(), Fault> {
        match (self.toc.layout, data) {
            (Layout::Directory, Data::None) => self.text("the file's name", Some("")),
            (Layout::Directory, Data::File(name)) if !name.is_empty() => {
                self.text("the file's name", Some(name))
            }
            (Layout::Custom, Data::None) => self.offset(NO_DATA, 0),
            (Layout::Custom, Data::Somewhere) => self.offset(POSITION_NOT_SET, 0),
            (Layout::Custom, Data::At(offset)) => self.offset(POSITION_SET, *offset),
            (layout, data) => {
                Err(self.fault("the place of the data", format!("can't be {data:?} in {layout:?}")))
            }
        }
    }

    fn offset(&mut self, state: u8, offset: u64) -> Result<(), Fault> {
        let size = usize::from(self.toc.offset_size);
        if !fits(offset, size) {
            return Err(self.fault("the data's offset", format!("needs more than {size} bytes")));
        }
        self.out.push(state);
        self.out.extend_from_slice(&offset.to_le_bytes()[..size]);
        Ok(())
    }
}

fn fits(value: u64, bytes: usize) -> bool {
    bytes >= 8 || value >> (8 * bytes) == 0
}
