//! Before-images: what a file was before a run changed it, in the state folder.
//!
//! They hold credentials: a folder of mode 0700 that git ignores, files of mode 0600, removed by `godwit forget RUN`.
//! The journal knows names and digests only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use godwit_model::capability::StateDir;
use godwit_model::{Digest, EffectKey, Error, Result, RunId, StepId};

use crate::folder::io_error;

/// The before-images of all runs.
pub struct Images {
    /// `<state>/before`.
    root: PathBuf,
}

impl Images {
    pub fn new(state: &StateDir) -> Self {
        Self { root: state.0.join("before") }
    }

    /// Keeps content under a name that follows from it and from the effect, durably. Idempotent; what has been kept is
    /// never replaced. Returns the name, which holds the run.
    pub fn keep(&self, run: &RunId, step: &StepId, key: &EffectKey, content: &[u8]) -> Result<String> {
        let name = format!("{}-{}", effect_name(step, key), Digest::of(content).short());
        self.write(run, &name, content)?;
        Ok(format!("{run}/{name}"))
    }

    /// The content under a name, which has to have this digest.
    pub fn load(&self, name: &str, sha256: &Digest) -> Result<Vec<u8>> {
        let (run, file) = name.split_once('/').unwrap_or(("", name));
        let path = self.folder(run)?.join(component(file)?);
        let content = fs::read(&path).map_err(|e| {
            io_error(&e, format!("before-image `{name}`"))
                .hint("it was removed, perhaps by `godwit forget`: put the file back by hand")
        })?;
        if Digest::of(&content) != *sha256 {
            return Err(Error::host(format!("before-image `{name}` has changed since it was kept"))
                .hint("don't use it unseen: compare it with a backup, and put the file back by hand"));
        }
        Ok(content)
    }

    /// Notes the digest of what an effect is about to write, durably: what tells, after a crash, a file that the run
    /// left from one that somebody else changed.
    pub fn note_after(&self, run: &RunId, step: &StepId, key: &EffectKey, sha256: &Digest) -> Result<()> {
        self.write(run, &format!("{}.after", effect_name(step, key)), sha256.as_str().as_bytes())
    }

    /// What `note_after` noted.
    pub fn after(&self, run: &RunId, step: &StepId, key: &EffectKey) -> Result<Option<Digest>> {
        let path = self.folder(run.as_str())?.join(format!("{}.after", effect_name(step, key)));
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Digest::new(text))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error(&e, format!("`{}`", path.display()))),
        }
    }

    /// Removes all of a run.
    pub fn forget(&self, run: &RunId) -> Result<bool> {
        match fs::remove_dir_all(self.folder(run.as_str())?) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(io_error(&e, format!("removing the before-images of run `{run}`"))),
        }
    }

    fn folder(&self, run: &str) -> Result<PathBuf> {
        Ok(self.root.join(component(run)?))
    }

    fn write(&self, run: &RunId, name: &str, content: &[u8]) -> Result<()> {
        let folder = self.folder(run.as_str())?;
        let path = folder.join(name);
        self.try_write(&folder, &path, content).map_err(|e| {
            io_error(&e, format!("keeping a before-image in `{}`", folder.display()))
                .hint("nothing was changed; free some space or name another state folder with `--state`")
        })
    }

    fn try_write(&self, folder: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let ignore = self.root.join(".gitignore");
        if !ignore.exists() {
            replace(&ignore, b"*\n")?;
        }
        replace(path, content)?;
        for made in [folder, &self.root, self.root.parent().unwrap_or(&self.root)] {
            File::open(made)?.sync_all()?;
        }
        Ok(())
    }
}

/// A name for the files of one effect.
fn effect_name(step: &StepId, key: &EffectKey) -> String {
    Digest::of(format!("{step}\0{key}").as_bytes()).short().to_owned()
}

/// The text where it is one component of a path.
fn component(text: &str) -> Result<&str> {
    if text.is_empty() || text.contains(['/', '\0']) || matches!(text, "." | "..") {
        return Err(Error::invalid(format!("`{}` can't name a before-image", text.escape_debug())));
    }
    Ok(text)
}

/// Writes a file whole or not at all.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    // Effects are prepared side by side: each writes a temporary file of its own.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{number}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn images_are_private_and_can_be_forgotten() {
        let state = tempfile::tempdir().unwrap();
        let images = Images::new(&StateDir(state.path().to_owned()));
        let (run, step, key) = ("run-1".into(), "step".into(), "write:.env".into());
        let name = images.keep(&run, &step, &key, b"content").unwrap();
        assert_eq!(images.keep(&run, &step, &key, b"content").unwrap(), name);
        assert_eq!(images.load(&name, &Digest::of(b"content")).unwrap(), b"content");
        assert!(images.load(&name, &Digest::of(b"other")).is_err());
        assert_eq!(images.after(&run, &step, &key).unwrap(), None);
        images.note_after(&run, &step, &key, &Digest::of(b"x")).unwrap();
        assert_eq!(images.after(&run, &step, &key).unwrap(), Some(Digest::of(b"x")));
        let mode = |path: &str| fs::metadata(state.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("before"), 0o700);
        assert_eq!(mode("before/run-1"), 0o700);
        assert_eq!(mode(&format!("before/{name}")), 0o600);
        assert_eq!(fs::read_to_string(state.path().join("before/.gitignore")).unwrap(), "*\n");
        assert!(images.forget(&run).unwrap());
        assert!(!images.forget(&run).unwrap());
        assert!(images.load(&name, &Digest::of(b"content")).is_err());
        assert!(images.forget(&"..".into()).is_err());
    }
}
