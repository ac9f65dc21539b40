//! Keeps compiled code and manifests between runs, so that a known plugin is neither compiled nor started to be checked.
//!
//! One file for each component and engine: `<digest>-<settings>.cwasm`, a line of JSON ([`Entry`]) and then the code.
//! The folder is the user's own and 0700: compiled code is machine code that Godwit will run.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use godwit_model::Digest;
use godwit_model::plugin::{ConnectionKind, Manifest, PluginKind};
use serde::{Deserialize, Serialize};
use wasmtime::Engine;

/// Raised whenever the file format, or what this room admits of a component, changes.
const FORMAT: u32 = 2;
/// A manifest is far smaller; a longer first line isn't ours.
const MAX_ENTRY: u64 = 16 << 20;

/// What is known of a component without running it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) plugin: Digest,
    pub(crate) abi: String,
    pub(crate) kind: PluginKind,
    pub(crate) kinds: Vec<ConnectionKind>,
    pub(crate) interfaces: Vec<String>,
    pub(crate) manifest: Manifest,
    /// Of the compiled code that follows; see [`fold`].
    pub(crate) code: String,
}

/// The digest of compiled code. It finds damage, not forgery: whoever may write to the folder may write this, too, and
/// megabytes have to be folded each time a plugin is first called. XXH3-128 takes a tenth of SHA-256's time.
pub(crate) fn fold(code: &[u8]) -> String {
    format!("xxh3:{:032x}", xxhash_rust::xxh3::xxh3_128(code))
}

/// The folder of compiled code.
pub(crate) struct Cache {
    folder: PathBuf,
    settings: String,
}

impl Cache {
    /// Names the folder; nothing is created before there is something to keep.
    pub(crate) fn new(folder: PathBuf, engine: &Engine) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        (FORMAT, env!("CARGO_PKG_VERSION")).hash(&mut hasher);
        Self { folder, settings: format!("{:016x}", hasher.finish()) }
    }

    /// What is known of the component with this digest. `None` where nothing is kept, or what is kept can't be trusted.
    pub(crate) fn entry(&self, plugin: &Digest) -> Option<Entry> {
        self.open(plugin).map(|(entry, _)| entry)
    }

    /// Its compiled code, checked against the digest beside it.
    pub(crate) fn code(&self, plugin: &Digest) -> Option<Vec<u8>> {
        let (entry, mut rest) = self.open(plugin)?;
        let mut code = Vec::new();
        rest.read_to_end(&mut code).ok()?;
        (fold(&code) == entry.code).then_some(code)
    }

    fn open(&self, plugin: &Digest) -> Option<(Entry, BufReader<File>)> {
        if !is_private(&self.folder) {
            return None;
        }
        let mut reader = BufReader::new(File::open(self.path(plugin)).ok()?);
        let mut line = Vec::new();
        reader.by_ref().take(MAX_ENTRY).read_until(b'\n', &mut line).ok()?;
        let entry: Entry = serde_json::from_slice(&line).ok()?;
        (entry.plugin == *plugin).then_some((entry, reader))
    }

    /// Keeps an entry with its code. A failure costs time, not correctness: it is logged.
    pub(crate) fn keep(&self, entry: &Entry, code: &[u8]) {
        if let Err(error) = self.write(entry, code) {
            tracing::warn!(folder = %self.folder.display(), %error, "compiled plugins can't be kept");
        }
    }

    fn write(&self, entry: &Entry, code: &[u8]) -> io::Result<()> {
        create_private(&self.folder)?;
        if !is_private(&self.folder) {
            return Err(io::Error::other(
                "the folder belongs to somebody else or others may write to it: give it to this user, mode 0700",
            ));
        }
        // Written beside and renamed, so that a reader or a crash never sees half of it.
        let temporary = self.folder.join(format!(".{}-{}", entry.plugin, std::process::id()));
        let written = (|| {
            let mut file = File::create(&temporary)?;
            serde_json::to_writer(&mut file, entry)?;
            file.write_all(b"\n")?;
            file.write_all(code)?;
            drop(file);
            fs::rename(&temporary, self.path(&entry.plugin))
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn path(&self, plugin: &Digest) -> PathBuf {
        self.folder.join(format!("{plugin}-{}.cwasm", self.settings))
    }
}

#[cfg(unix)]
fn create_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // A folder made by somebody's `mkdir` gets the mode it should have; where it isn't ours, this fails.
    if fs::metadata(folder)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn create_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// Whether only this user can have written there.
#[cfg(unix)]
fn is_private(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    // `geteuid` takes nothing, touches no memory and can't fail.
    #[allow(unsafe_code)]
    let user = unsafe { libc::geteuid() };
    fs::metadata(folder).is_ok_and(|metadata| metadata.uid() == user && metadata.mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_private(folder: &Path) -> bool {
    folder.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(code: &[u8]) -> Entry {
        Entry {
            plugin: Digest::of(b"wasm"),
            abi: "0.1.0".to_owned(),
            kind: PluginKind::Transform,
            kinds: Vec::new(),
            interfaces: Vec::new(),
            manifest: Manifest {
                name: "echo".into(),
                version: "1.0.0".to_owned(),
                summary: String::new(),
                slots: Vec::new(),
                params_schema: serde_json::json!({}),
                outputs_schema: serde_json::Value::Null,
            },
            code: fold(code),
        }
    }

    fn cache(folder: &Path) -> Cache {
        Cache::new(folder.join("compiled"), &crate::engine::engine().unwrap())
    }

    #[test]
    fn reading_creates_nothing_and_writing_makes_a_private_folder() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let entry = entry(b"code");
        assert_eq!(cache.entry(&entry.plugin), None);
        assert!(!cache.folder.exists());
        cache.keep(&entry, b"code");
        assert!(is_private(&cache.folder));
        assert_eq!(cache.entry(&entry.plugin), Some(entry.clone()));
        assert_eq!(cache.code(&entry.plugin).as_deref(), Some(b"code".as_slice()));
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), 1);
    }

    #[test]
    fn what_does_not_fit_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let entry = entry(b"code");
        cache.keep(&entry, b"not that code");
        assert_eq!(cache.code(&entry.plugin), None);
        for damaged in ["", "{}", "not JSON\n", "{\"plugin\":"] {
            fs::write(cache.path(&entry.plugin), damaged).unwrap();
            assert_eq!(cache.entry(&entry.plugin), None, "{damaged}");
        }
        cache.keep(&entry, b"code");
        let other = cache.path(&Digest::of(b"other"));
        fs::rename(cache.path(&entry.plugin), other).unwrap();
        assert_eq!(cache.entry(&Digest::of(b"other")), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_may_write_to_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let entry = entry(b"code");
        cache.keep(&entry, b"code");
        fs::set_permissions(&cache.folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(cache.entry(&entry.plugin), None);
        cache.keep(&entry, b"code");
        assert_eq!(cache.entry(&entry.plugin), Some(entry));
    }
}
