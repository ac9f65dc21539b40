//! Fetching into the cache folder, once: whole or not at all. Standard library alone: `xtask` includes this file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes `cache/folder`, unless `there` says that it is. `fill` gets an empty scratch folder in the cache, and returns
/// the folder in it that becomes `cache/folder` by a rename, so an interrupted fetch leaves no half. Processes that
/// fetch at the same moment wait for each other.
pub fn once(
    cache: &Path,
    folder: &str,
    there: impl Fn() -> bool,
    fill: impl FnOnce(&Path) -> Result<PathBuf, String>,
) -> Result<(), String> {
    if there() {
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
    if there() {
        return Ok(());
    }

    // One name, guarded by the lock: what an interrupted fetch left is cleared by the next one.
    let scratch = cache.join(format!(".{folder}.part"));
    remove(&scratch)?;
    fs::create_dir_all(&scratch).map_err(|e| at(&scratch, "cannot make", &e))?;
    let done = set_mode(&scratch, 0o755).and_then(|()| fill(&scratch)).and_then(|filled| {
        let home = cache.join(folder);
        remove(&home)?;
        fs::rename(filled, &home).map_err(|e| at(&home, "cannot move what was fetched to", &e))
    });
    remove(&scratch)?;
    done
}

/// Runs to the end; gives stdout, or an error with the last lines of stderr and `hint`.
pub fn run(command: &mut Command, hint: &str) -> Result<String, String> {
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

pub fn set_mode(path: &Path, mode: u32) -> Result<(), String> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| at(path, "cannot set the mode of", &e))
}

pub fn at(path: &Path, what: &str, error: &std::io::Error) -> String {
    format!("{what} {}: {error}", path.display())
}

fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(at(path, "cannot remove", &e)),
        _ => Ok(()),
    }
}
