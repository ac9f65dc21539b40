//! A disk that is full when a test says so, for a server that is none the wiser: its calls that would let a table's file
//! grow fail with ENOSPC, by a library that is loaded before the C library. Needs no privilege, only a C compiler, which
//! Rust needs to link anyway.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{LabError, Result, io};
use crate::process;

const SOURCE: &str = include_str!("disk/full.c");

/// The library and the file whose existence fills the disk.
#[derive(Debug)]
pub struct Disk {
    library: PathBuf,
    flag: PathBuf,
}

impl Disk {
    /// Compiles the library into `folder`.
    pub fn new(folder: &Path) -> Result<Self> {
        let (source, library, flag) =
            (folder.join("full.c"), folder.join("full.so"), folder.join("disk-is-full"));
        std::fs::write(&source, SOURCE).map_err(io("write", &source))?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        process::output(&mut cc).map_err(|error| match error {
            LabError::Io { .. } => LabError::Missing {
                what: "a C compiler `cc`".into(),
                hint: "it stands in for a full disk (Debian: apt-get install gcc)".into(),
            },
            other => other,
        })?;
        Ok(Self { library, flag })
    }

    /// What the server's environment has to say.
    pub fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("LAB_DISK_FULL", &self.flag)]
    }

    /// Fills the disk, or frees it.
    pub fn set_full(&self, full: bool) -> Result<()> {
        if full {
            return std::fs::write(&self.flag, "").map_err(io("write", &self.flag));
        }
        match std::fs::remove_file(&self.flag) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io("remove", &self.flag)(error))
            }
            _ => Ok(()),
        }
    }
}
