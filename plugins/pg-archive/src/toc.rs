//! A table of contents as plain data.

/// A version of the format. What each brought stands in `pg_backup_archiver.h` (`K_VERS_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u8,
    pub minor: u8,
    pub revision: u8,
}

impl Version {
    /// The oldest that is read; pg_dump 9.0 to 10.2.
    pub const OLDEST: Self = Self::minor(12);
    /// Table access methods; written by pg_dump 12 to 15, read by every pg_restore from 12 on.
    pub const V1_14: Self = Self::minor(14);
    /// The compression algorithm in the header; pg_dump 16.
    pub const V1_15: Self = Self::minor(15);
    /// `relkind`, and large objects with their metadata; pg_dump 17 and 18.
    pub const V1_16: Self = Self::minor(16);

    const fn minor(minor: u8) -> Self {
        Self { major: 1, minor, revision: 0 }
    }

    /// Whether this version is read and written here.
    pub fn is_known(self) -> bool {
        self.major == 1 && (Self::OLDEST.minor..=Self::V1_16.minor).contains(&self.minor)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.revision == 0 { Ok(()) } else { write!(f, "-{}", self.revision) }
    }
}

/// What kind of file the table of contents stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// At the head of a file of the custom format.
    Custom,
    /// `toc.dat` of a folder, or of a tar file: both are marked alike (`_CloseArchive` in `pg_backup_directory.c`).
    Directory,
}

/// How the header says that data are compressed. Files of a directory tell by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compressed {
    /// Up to 1.14: a level of gzip; 0 is none, −1 is the default.
    Level(i32),
    /// From 1.15 on, by `pg_compress_algorithm` of `src/include/common/compression.h`.
    None,
    Gzip,
    Lz4,
    Zstd,
}

/// When the archive was begun, as C's `struct tm` in the local time of whoever wrote it: months from 0, years from 1900.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Created {
    pub second: i32,
    pub minute: i32,
    pub hour: i32,
    pub day: i32,
    pub month: i32,
    pub year: i32,
    pub daylight_saving: i32,
}

/// Which part of a restore an entry belongs to (`teSection`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// With whatever stands before it: comments, privileges.
    None = 1,
    PreData = 2,
    Data = 3,
    PostData = 4,
}

impl Section {
    pub(crate) fn of(number: i32) -> Option<Self> {
        [Self::None, Self::PreData, Self::Data, Self::PostData]
            .into_iter()
            .find(|section| *section as i32 == number)
    }
}

/// Where the data of an entry are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// It has none.
    None,
    /// A file's name, without the suffix of its compression.
    File(String),
    /// The byte offset of its block in a file of the custom format.
    At(u64),
    /// A block of a file of the custom format, which was written to a pipe: nobody knows where.
    Somewhere,
}

/// One object, or the data of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Positive, and unique in its archive.
    pub dump_id: i32,
    /// Something wrote data for it.
    pub had_dumper: bool,
    /// The catalog and row that it was made of (`pg_class` and so on); 0 for none.
    pub catalog: u32,
    pub oid: u32,
    pub tag: Option<String>,
    /// `TABLE`, `TABLE DATA`, `INDEX`, …
    pub desc: String,
    pub section: Section,
    /// The statements that make it.
    pub definition: Option<String>,
    pub drop: Option<String>,
    /// `COPY … FROM stdin;`
    pub copy: Option<String>,
    pub namespace: Option<String>,
    pub tablespace: Option<String>,
    /// From 1.14 on.
    pub access_method: Option<String>,
    /// From 1.16 on: the letter of `pg_class.relkind`, or 0.
    pub relkind: i32,
    pub owner: Option<String>,
    /// Tables of PostgreSQL up to 11 could have a hidden column.
    pub with_oids: bool,
    /// Dump ids; some may name entries that aren't in the archive.
    pub dependencies: Vec<i32>,
    pub data: Data,
}

impl Entry {
    /// An entry without anything but what it is.
    pub fn new(dump_id: i32, desc: &str, tag: &str, section: Section) -> Self {
        Self {
            dump_id,
            had_dumper: false,
            catalog: 0,
            oid: 0,
            tag: Some(tag.to_owned()),
            desc: desc.to_owned(),
            section,
            definition: None,
            drop: None,
            copy: None,
            namespace: None,
            tablespace: None,
            access_method: None,
            relkind: 0,
            owner: None,
            with_oids: false,
            dependencies: Vec::new(),
            data: Data::None,
        }
    }

    /// `TABLE public.users`, for people.
    pub fn title(&self) -> String {
        let tag = self.tag.as_deref().unwrap_or_default();
        match self.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
            Some(namespace) => format!("{} {namespace}.{tag}", self.desc),
            None => format!("{} {tag}", self.desc),
        }
    }
}

/// A table of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toc {
    pub version: Version,
    /// Bytes of an integer: 1 to 8.
    pub int_size: u8,
    /// Bytes of a file offset: 1 to 8.
    pub offset_size: u8,
    pub layout: Layout,
    pub compressed: Compressed,
    pub created: Created,
    pub database: Option<String>,
    pub server_version: Option<String>,
    pub dump_version: Option<String>,
    pub entries: Vec<Entry>,
}

impl Toc {
    /// An empty one with the sizes that 64-bit machines write.
    pub fn new(version: Version, layout: Layout) -> Self {
        let compressed = if version < Version::V1_15 { Compressed::Level(0) } else { Compressed::None };
        Self {
            version,
            int_size: 4,
            offset_size: 8,
            layout,
            compressed,
            created: Created::default(),
            database: None,
            server_version: None,
            dump_version: None,
            entries: Vec::new(),
        }
    }
}
