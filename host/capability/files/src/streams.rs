//! Files as streams, for capabilities that move bulk bytes: begun beside their place, committed by a link.

use std::fs::File;
use std::io::{self, Read};

use cap_std::fs::{OpenOptions, OpenOptionsExt};
use godwit_model::capability::FileStreams;
use godwit_model::plugin::Grant;
use godwit_model::{Digest, Error, Result};
use sha2::{Digest as _, Sha256};

use crate::Files;
use crate::folder::{Folder, io_error, temporary};

/// Bytes read at once.
const BUFFER: usize = 1 << 18;

impl Folder {
    /// Opens a regular file; `missing` where there is none.
    fn stream(&self, path: &str) -> Result<File> {
        self.regular(path)?
            .map(|(file, _)| file.into_std())
            .ok_or_else(|| Error::missing(format!("there is no file `{path}` in folder `{}`", self.shown())))
    }

    fn begin(&self, path: &str, tag: &str) -> Result<File> {
        self.make_parents(path)?;
        self.remove_unfinished(path, tag)?;
        let mut options = OpenOptions::new();
        // Rows of a database are no less private than the database.
        options.write(true).create_new(true).mode(0o600);
        let at = temporary(&self.resolve(path)?, tag);
        self.dir()
            .open_with(&at, &options)
            .map(cap_std::fs::File::into_std)
            .map_err(|e| io_error(&e, format!("writing `{path}` in folder `{}`", self.shown())))
    }

    fn commit(&self, path: &str, tag: &str) -> Result<()> {
        self.link(path, tag, false)?;
        let at = self.resolve(path)?;
        self.sync(&at).map_err(|e| io_error(&e, format!("writing `{path}` in folder `{}`", self.shown())))
    }

    fn link(&self, path: &str, tag: &str, replace: bool) -> Result<()> {
        let at = self.resolve(path)?;
        let temporary = temporary(&at, tag);
        let synced = self.dir().open(&temporary).and_then(|file| file.sync_all());
        let done = match replace {
            true => synced.and_then(|()| self.dir().rename(&temporary, self.dir(), &at)),
            // A link, unlike a rename, takes nobody's place.
            false => synced
                .and_then(|()| self.dir().hard_link(&temporary, self.dir(), &at))
                .and_then(|()| self.dir().remove_file(&temporary)),
        };
        done.map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Error::conflict(format!(
                "`{path}` in folder `{}` appeared while it was being written: somebody else writes there",
                self.shown()
            ))
            .hint("move it away and resume, or begin a new run with another folder"),
            _ => io_error(&e, format!("writing `{path}` in folder `{}`", self.shown())),
        })
    }

    fn digest(&self, path: &str) -> Result<Option<Digest>> {
        let Some((file, _)) = self.regular(path)? else { return Ok(None) };
        let mut file = file.into_std();
        let mut sha = Sha256::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = file
                .read(&mut buffer)
                .map_err(|e| io_error(&e, format!("file `{path}` in folder `{}`", self.shown())))?;
            if read == 0 {
                return Ok(Some(Digest::from_sha256(sha.finalize().into())));
            }
            sha.update(&buffer[..read]);
        }
    }
}

impl FileStreams for Files {
    fn open(&self, grant: &Grant, path: &str) -> Result<File> {
        self.inner.open(grant)?.stream(path)
    }

    fn begin(&self, grant: &Grant, path: &str, tag: &str) -> Result<File> {
        self.inner.open(grant)?.begin(path, tag)
    }

    fn commit(&self, grant: &Grant, path: &str, tag: &str) -> Result<()> {
        self.inner.open(grant)?.commit(path, tag)
    }

    fn link(&self, grant: &Grant, path: &str, tag: &str, replace: bool) -> Result<()> {
        self.inner.open(grant)?.link(path, tag, replace)
    }

    fn digest(&self, grant: &Grant, path: &str) -> Result<Option<Digest>> {
        self.inner.open(grant)?.digest(path)
    }

    fn exists(&self, grant: &Grant, path: &str) -> Result<bool> {
        Ok(self.inner.open(grant)?.stat(path)?.is_some())
    }

    fn missing_folders(&self, grant: &Grant, path: &str) -> Result<Vec<String>> {
        self.inner.open(grant)?.missing_parents(path)
    }

    fn remove(&self, grant: &Grant, path: &str, tag: &str, folders: &[String]) -> Result<()> {
        let folder = self.inner.open(grant)?;
        folder.remove_unfinished(path, tag)?;
        if folder.stat(path)?.is_some() {
            folder.remove(path)?;
        }
        folder.remove_empty(folders)
    }
}
