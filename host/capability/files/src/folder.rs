//! A folder that nothing leaves: reading, replacing and removing files below it.

use std::io::{self, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt, OpenOptions, OpenOptionsExt};
use godwit_model::capability::FileStat;
use godwit_model::effect::Evidence;
use godwit_model::{ConnectionName, Digest, Error, Result};
use serde::{Deserialize, Serialize};

/// The largest file that is read as a whole.
pub const MAX_READ: u64 = 64 << 20;

/// Mode and owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// A file that is there.
pub struct Found {
    pub content: Vec<u8>,
    pub attributes: Attributes,
}

impl Found {
    pub fn sha256(&self) -> Digest {
        Digest::of(&self.content)
    }

    pub fn evidence(&self) -> Evidence {
        Evidence { items: 1, bytes: self.content.len() as u64, digest: format!("sha256:{}", self.sha256()) }
    }
}

/// A slot's folder.
pub struct Folder {
    dir: Dir,
    /// The folder as it was named, for messages.
    shown: String,
    root: PathBuf,
    state: PathBuf,
}

impl Folder {
    /// Opens the folder of a connection. `state` is the folder that nobody gets at through it.
    pub fn open(connection: &ConnectionName, path: &Path, state: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        if !path.is_absolute() {
            return Err(Error::host(format!(
                "the path of connection `{connection}` is not absolute: {shown}"
            )));
        }
        let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(|e| {
            io_error(&e, format!("folder `{shown}` of connection `{connection}`"))
                .hint("make the folder, or correct the connection's `path`")
        })?;
        Ok(Self { dir, shown, root: crate::real_path(path), state: state.to_owned() })
    }

    /// The whole content of a file; `missing` where nothing is there.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let found = self.found(path)?;
        found
            .map(|found| found.content)
            .ok_or_else(|| Error::missing(format!("there is no file `{path}` in folder `{}`", self.shown)))
    }

    /// The folder as it was named.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Part of a file; see `FileReads::read_range`.
    pub fn read_range(&self, path: &str, offset: u64, length: u32) -> Result<Vec<u8>> {
        if u64::from(length) > MAX_READ {
            return Err(Error::invalid(format!(
                "{length} bytes of file `{path}` are asked for at once; {} MiB are the most",
                MAX_READ >> 20
            )));
        }
        let error = |e: io::Error| io_error(&e, format!("file `{path}` in folder `{}`", self.shown));
        let (file, _) = self
            .regular(path)?
            .ok_or_else(|| Error::missing(format!("there is no file `{path}` in folder `{}`", self.shown)))?;
        let mut file = file.into_std();
        file.seek(io::SeekFrom::Start(offset)).map_err(error)?;
        let mut content = Vec::new();
        file.take(u64::from(length)).read_to_end(&mut content).map_err(error)?;
        Ok(content)
    }

    /// Opens the regular file at a path; `None` where nothing is there. Anything else is an error.
    pub fn regular(&self, path: &str) -> Result<Option<(cap_std::fs::File, cap_std::fs::Metadata)>> {
        let at = self.resolve(path)?;
        let error = |e: &io::Error| io_error(e, format!("file `{path}` in folder `{}`", self.shown));
        // Looked at before it is opened: opening a pipe waits for whoever writes to it.
        let metadata = match self.dir.metadata(&at) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(error(&e)),
        };
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "no regular file" };
            return Err(Error::invalid(format!("`{path}` in folder `{}` is {what}", self.shown)));
        }
        let file = self.dir.open(&at).map_err(|e| error(&e))?;
        Ok(Some((file, metadata)))
    }

    /// The file at a path; `None` where nothing is there. Anything but a regular file is an error.
    pub fn found(&self, path: &str) -> Result<Option<Found>> {
        let error = |e: &io::Error| io_error(e, format!("file `{path}` in folder `{}`", self.shown));
        let Some((file, metadata)) = self.regular(path)? else { return Ok(None) };
        if metadata.len() > MAX_READ {
            return Err(Error::invalid(format!(
                "file `{path}` has {} bytes; files of more than {} MiB aren't read as a whole",
                metadata.len(),
                MAX_READ >> 20
            )));
        }
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
        file.take(MAX_READ + 1).read_to_end(&mut content).map_err(|e| error(&e))?;
        if content.len() as u64 > MAX_READ {
            return Err(Error::invalid(format!("file `{path}` grew beyond {} MiB", MAX_READ >> 20)));
        }
        let attributes =
            Attributes { mode: metadata.mode() & 0o7777, uid: metadata.uid(), gid: metadata.gid() };
        Ok(Some(Found { content, attributes }))
    }

    pub fn stat(&self, path: &str) -> Result<Option<FileStat>> {
        let at = if path.is_empty() { PathBuf::from(".") } else { self.resolve(path)? };
        match self.dir.metadata(&at) {
            Ok(metadata) => Ok(Some(stat(path.to_owned(), &metadata))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error(&e, format!("`{path}` in folder `{}`", self.shown))),
        }
    }

    /// The entries of a folder by path. A symbolic link that leads nowhere or out is listed with what it is itself.
    pub fn list(&self, path: &str) -> Result<Vec<FileStat>> {
        let at = if path.is_empty() { PathBuf::from(".") } else { self.resolve(path)? };
        let error = |e: io::Error| io_error(&e, format!("folder `{path}` in folder `{}`", self.shown));
        let mut entries = Vec::new();
        for entry in self.dir.read_dir(&at).map_err(error)? {
            let entry = entry.map_err(error)?;
            let name = entry.file_name().into_string().map_err(|name| {
                Error::invalid(format!("a name in folder `{path}` is not UTF-8: {}", name.display()))
            })?;
            let metadata = match self.dir.metadata(at.join(&name)) {
                Ok(metadata) => metadata,
                Err(_) => entry.metadata().map_err(error)?,
            };
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            entries.push(stat(path, &metadata));
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Folders above a path that aren't there, outermost first.
    pub fn missing_parents(&self, path: &str) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        let mut at = check_path(path)?;
        while let Some((parent, _)) = at.rsplit_once('/') {
            match self.stat(parent)? {
                Some(stat) if stat.is_dir => break,
                Some(_) => return Err(Error::invalid(format!("`{parent}` is a file, not a folder"))),
                None => missing.insert(0, parent.to_owned()),
            }
            at = parent;
        }
        Ok(missing)
    }

    /// Makes the folders above a path.
    pub fn make_parents(&self, path: &str) -> Result<()> {
        for parent in self.missing_parents(path)? {
            match self.dir.create_dir(self.resolve(&parent)?) {
                // Another effect of the same batch may make it at the same time.
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(io_error(&e, format!("folder `{parent}` in folder `{}`", self.shown)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Replaces a file or makes it, durably and at once: a temporary file, then a rename. Makes missing folders.
    ///
    /// `attributes` of what was there are kept; a new file gets `mode`, narrowed by the umask. Returns what a person
    /// should know.
    pub fn replace(
        &self,
        path: &str,
        content: &[u8],
        attributes: Option<Attributes>,
        mode: u32,
        tag: &str,
    ) -> Result<Vec<String>> {
        self.make_parents(path)?;
        let at = self.resolve(path)?;
        let temporary = temporary(&at, tag);
        let written = self.write_temporary(&temporary, content, attributes, mode).and_then(|notes| {
            self.dir.rename(&temporary, &self.dir, &at)?;
            self.sync(&at)?;
            Ok(notes)
        });
        written.map_err(|e| {
            // Best effort: the error that counts is the first one.
            let _ = self.dir.remove_file(&temporary);
            io_error(&e, format!("writing `{path}` in folder `{}`", self.shown))
        })
    }

    fn write_temporary(
        &self,
        at: &Path,
        content: &[u8],
        attributes: Option<Attributes>,
        mode: u32,
    ) -> io::Result<Vec<String>> {
        // Left by an attempt that was cut off.
        match self.dir.remove_file(at) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut options = OpenOptions::new();
        // A file that will be narrower than the umask allows is so from the start.
        options.write(true).create_new(true).mode(if attributes.is_some() { 0o600 } else { mode });
        let mut file = self.dir.open_with(at, &options)?;
        file.write_all(content)?;
        let mut notes = Vec::new();
        let file = file.into_std();
        if let Some(kept) = attributes {
            let now = file.metadata()?;
            use std::os::unix::fs::MetadataExt as _;
            if (now.uid(), now.gid()) != (kept.uid, kept.gid)
                && let Err(e) = std::os::unix::fs::fchown(&file, Some(kept.uid), Some(kept.gid))
            {
                notes.push(format!("owner and group {}:{} could not be kept: {e}", kept.uid, kept.gid));
            }
            // After chown, which clears some bits.
            use std::os::unix::fs::PermissionsExt as _;
            file.set_permissions(std::fs::Permissions::from_mode(kept.mode))?;
        }
        file.sync_all()?;
        Ok(notes)
    }

    /// Whether an attempt to replace a file was cut off.
    pub fn has_unfinished(&self, path: &str, tag: &str) -> Result<bool> {
        Ok(self.dir.symlink_metadata(temporary(&self.resolve(path)?, tag)).is_ok())
    }

    /// Removes what an attempt that was cut off has left.
    pub fn remove_unfinished(&self, path: &str, tag: &str) -> Result<()> {
        match self.dir.remove_file(temporary(&self.resolve(path)?, tag)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(io_error(&e, format!("removing an unfinished `{path}` in folder `{}`", self.shown)))
            }
            _ => Ok(()),
        }
    }

    /// Removes a file, durably.
    pub fn remove(&self, path: &str) -> Result<()> {
        let at = self.resolve(path)?;
        self.dir
            .remove_file(&at)
            .and_then(|()| self.sync(&at))
            .map_err(|e| io_error(&e, format!("removing `{path}` in folder `{}`", self.shown)))
    }

    /// Removes folders that are empty, innermost first; others stay.
    pub fn remove_empty(&self, folders: &[String]) -> Result<()> {
        for folder in folders.iter().rev() {
            match self.dir.remove_dir(self.resolve(folder)?) {
                Ok(()) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {}
                Err(e) => {
                    return Err(io_error(&e, format!("removing folder `{folder}` in `{}`", self.shown)));
                }
            }
        }
        Ok(())
    }

    /// Makes the entry of a file durable.
    pub fn sync(&self, at: &Path) -> io::Result<()> {
        let parent = at.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.dir.open(parent)?.sync_all()
    }

    /// The place of a path with symbolic links followed, below this folder. The file itself needn't be there.
    pub fn resolve(&self, path: &str) -> Result<PathBuf> {
        let path = check_path(path)?;
        let error = |e: &io::Error| io_error(e, format!("`{path}` in folder `{}`", self.shown));
        let at = match self.dir.canonicalize(path) {
            Ok(at) => at,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let given = Path::new(path);
                if self.dir.symlink_metadata(given).is_ok() {
                    return Err(Error::conflict(format!(
                        "`{path}` in folder `{}` is a symbolic link to nothing",
                        self.shown
                    ))
                    .hint("remove the link, or make what it names"));
                }
                match (given.parent(), given.file_name()) {
                    (Some(parent), Some(name)) if !parent.as_os_str().is_empty() => {
                        match self.dir.canonicalize(parent) {
                            Ok(parent) => parent.join(name),
                            Err(e) if e.kind() == io::ErrorKind::NotFound => given.to_owned(),
                            Err(e) => return Err(error(&e)),
                        }
                    }
                    _ => given.to_owned(),
                }
            }
            Err(e) => return Err(error(&e)),
        };
        if self.root.join(&at).starts_with(&self.state) {
            return Err(Error::denied(format!(
                "`{path}` belongs to the state of godwit, which no plugin gets at"
            )));
        }
        Ok(at)
    }
}

/// Where the content is written before it is put in place: in the same folder, so that a rename does it.
pub fn temporary(at: &Path, tag: &str) -> PathBuf {
    at.with_file_name(format!(".godwit-{tag}.tmp"))
}

/// The path where it is relative, `/`-separated and without `..`.
fn check_path(path: &str) -> Result<&str> {
    let is_plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty()
        || !is_plain
        || path.contains('\0')
        || path.split('/').any(|part| matches!(part, "" | "."))
    {
        return Err(Error::invalid(format!("`{}` is no path below a folder", path.escape_debug()))
            .hint("give a relative path without `.`, `..` and empty parts, such as `config/.env`"));
    }
    Ok(path)
}

fn stat(path: String, metadata: &cap_std::fs::Metadata) -> FileStat {
    FileStat { path, size: if metadata.is_dir() { 0 } else { metadata.len() }, is_dir: metadata.is_dir() }
}

/// An error of the file system in words, classed by its number.
pub fn io_error(error: &io::Error, what: String) -> Error {
    use io::ErrorKind as Kind;
    let message = format!("{what}: {error}");
    match error.kind() {
        Kind::NotFound => Error::missing(message).code("ENOENT"),
        // cap-std refuses what leads out by itself, without asking the kernel.
        Kind::PermissionDenied if error.raw_os_error().is_none() => {
            Error::denied(format!("{what} leads out of the folder")).hint(
                "a symbolic link points out of it: grant the folder that it points to, or replace the link by a file",
            )
        }
        Kind::PermissionDenied => Error::failed(message)
            .code("EACCES")
            .hint("run godwit as a user who may write there, or change the permissions"),
        Kind::StorageFull => Error::failed(message).code("ENOSPC").hint("free some space, then resume the run"),
        Kind::ReadOnlyFilesystem => Error::failed(message).code("EROFS"),
        Kind::Interrupted | Kind::ResourceBusy | Kind::WouldBlock => Error::unavailable(message),
        _ => Error::failed(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_model::ErrorKind;
    use std::os::unix::fs::symlink;

    fn folder(root: &Path) -> Folder {
        Folder::open(&"files".into(), root, &crate::real_path(&root.join(".godwit"))).unwrap()
    }

    #[test]
    fn paths_stay_below_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        std::fs::create_dir(root.path().join(".godwit")).unwrap();
        std::fs::write(root.path().join(".godwit/before"), "x").unwrap();
        symlink(outside.path().join("secret"), root.path().join("file-out")).unwrap();
        symlink(outside.path(), root.path().join("folder-out")).unwrap();
        symlink(".godwit", root.path().join("state")).unwrap();
        symlink("nowhere", root.path().join("dangling")).unwrap();
        let folder = folder(root.path());
        for path in ["", "/etc/passwd", "../x", "a/../b", "./a", "a//b", "a/", ".", "a\0b"] {
            assert_eq!(folder.read(path).unwrap_err().kind, ErrorKind::Invalid, "{path:?}");
        }
        for path in ["file-out", "folder-out/secret", ".godwit/before", "state/before"] {
            assert_eq!(folder.read(path).unwrap_err().kind, ErrorKind::Denied, "{path:?}");
            assert_eq!(
                folder.replace(path, b"", None, 0o644, "t").unwrap_err().kind,
                ErrorKind::Denied,
                "{path:?}"
            );
        }
        assert_eq!(
            folder.replace("folder-out/new", b"", None, 0o644, "t").unwrap_err().kind,
            ErrorKind::Denied
        );
        assert_eq!(folder.replace(".godwit/new", b"", None, 0o644, "t").unwrap_err().kind, ErrorKind::Denied);
        assert_eq!(folder.replace("dangling", b"", None, 0o644, "t").unwrap_err().kind, ErrorKind::Conflict);
        assert_eq!(std::fs::read_to_string(outside.path().join("secret")).unwrap(), "x");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn replaces_through_links_inside_and_keeps_the_mode() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("shared")).unwrap();
        std::fs::write(root.path().join("shared/env"), "old").unwrap();
        std::fs::set_permissions(root.path().join("shared/env"), {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::Permissions::from_mode(0o640)
        })
        .unwrap();
        symlink("shared/env", root.path().join(".env")).unwrap();
        let folder = folder(root.path());
        let kept = folder.found(".env").unwrap().unwrap().attributes;
        assert!(folder.replace(".env", b"new", Some(kept), 0o600, "t").unwrap().is_empty());
        assert!(root.path().join(".env").is_symlink());
        assert_eq!(std::fs::read_to_string(root.path().join("shared/env")).unwrap(), "new");
        assert_eq!(folder.found(".env").unwrap().unwrap().attributes.mode, 0o640);
        assert_eq!(
            std::fs::read_dir(root.path().join("shared")).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn makes_folders_and_removes_empty_ones() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(root.path());
        let missing = folder.missing_parents("a/b/c.txt").unwrap();
        assert_eq!(missing, ["a", "a/b"]);
        folder.replace("a/b/c.txt", b"x", None, 0o600, "t").unwrap();
        assert_eq!(folder.found("a/b/c.txt").unwrap().unwrap().attributes.mode, 0o600);
        assert_eq!(folder.list("").unwrap(), [FileStat { path: "a".into(), size: 0, is_dir: true }]);
        assert_eq!(folder.list("a/b").unwrap()[0].path, "a/b/c.txt");
        folder.remove_empty(&missing).unwrap();
        assert!(folder.stat("a/b").unwrap().is_some());
        folder.remove("a/b/c.txt").unwrap();
        folder.remove_empty(&missing).unwrap();
        assert!(folder.stat("a").unwrap().is_none());
    }

    #[test]
    fn only_regular_files_are_read() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("folder")).unwrap();
        let folder = folder(root.path());
        assert_eq!(folder.read("folder").unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(folder.read("absent").unwrap_err().kind, ErrorKind::Missing);
        assert_eq!(folder.read("absent/file").unwrap_err().kind, ErrorKind::Missing);
        let large = std::fs::File::create(root.path().join("large")).unwrap();
        large.set_len(MAX_READ + 1).unwrap();
        assert_eq!(folder.read("large").unwrap_err().kind, ErrorKind::Invalid);
    }
}
