//! The state folder: private, and kept out of version control.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use godwit_model::{Error, Result};

const FILE_NAME: &str = "journal.sqlite";
const IGNORE_NAME: &str = ".gitignore";
const IGNORE_ALL: &[u8] = b"*\n";

/// Where the journal of a state folder lies.
pub(super) fn journal_file(dir: &Path) -> PathBuf {
    dir.join(FILE_NAME)
}

/// Makes the folder (0700, with its own `.gitignore`) and an empty journal file (0600) where they are not there yet.
pub(super) fn prepare(dir: &Path) -> Result<PathBuf> {
    let file = journal_file(dir);
    make(dir, &file).map_err(|error| {
        Error::host(format!("the state folder {} can't be made: {error}", dir.display()))
            .hint("give a state folder in a place that you may write to")
    })?;
    Ok(file)
}

fn make(dir: &Path, file: &Path) -> io::Result<()> {
    if dir.join(".git").exists() {
        // A `.gitignore` of `*` would hide the whole project.
        return Err(io::Error::other(
            "it is the root of a git repository, and has to be a folder of its own",
        ));
    }
    let is_new = !dir.is_dir();
    if is_new {
        private(DirBuilder::new().recursive(true)).create(dir)?;
    }
    let is_ours = is_new || file.exists() || fs::read_dir(dir)?.next().is_none();
    if is_ours {
        // A folder that holds other things keeps the mode that its owner gave it.
        restrict(dir)?;
    }
    write_new(&dir.join(IGNORE_NAME), IGNORE_ALL)?;
    write_new(file, b"")?;
    // A new file is durable only with the entry that names it; SQLite looks after the contents.
    sync_folder(dir)?;
    if is_new && let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent)?;
    }
    Ok(())
}

/// Writes a file with mode 0600, unless it is there. SQLite gives its `-wal` and `-shm` files the mode of the journal.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    match private_file(OpenOptions::new().write(true).create_new(true)).open(path) {
        Ok(mut file) => {
            file.write_all(content)?;
            file.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn private(builder: &mut DirBuilder) -> &mut DirBuilder {
    use std::os::unix::fs::DirBuilderExt as _;
    builder.mode(0o700)
}

#[cfg(unix)]
fn private_file(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

#[cfg(unix)]
fn restrict(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if fs::metadata(dir)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

#[cfg(unix)]
fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
compile_error!("the journal needs Unix file modes to keep its folder private");
