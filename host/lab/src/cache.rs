//! Where downloaded servers are kept between runs. Standard library alone: `xtask` includes this file.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The folder for what was fetched once: `$GODWIT_CACHE`, else `/var/cache/godwit` for root (whose home the
/// server's user may not enter), else `$XDG_CACHE_HOME/godwit` or `~/.cache/godwit`. It need not exist yet.
pub fn dir() -> PathBuf {
    if let Some(dir) = path_from("GODWIT_CACHE") {
        return dir;
    }
    if is_root() {
        return PathBuf::from("/var/cache/godwit");
    }
    if let Some(dir) = path_from("XDG_CACHE_HOME") {
        return dir.join("godwit");
    }
    path_from("HOME").unwrap_or_else(std::env::temp_dir).join(".cache/godwit")
}

/// Whether this process runs as root, as `id -u` says. A system without `id` counts as not root.
pub fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| {
        Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0")
    })
}

fn path_from(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
