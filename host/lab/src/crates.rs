//! Garage from crates.io: compiled once by cargo into the cache folder, used offline afterwards. Standard library alone:
//! `xtask` includes this file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fetch::{self, at, run};

const VERSION: &str = "2.5.0";
const FOLDER: &str = "garage-2.5.0";

/// Its release profile optimises the whole program at the link, which takes longer than all the rest. What is left takes
/// some minutes on two cores, and is fast enough to test against.
const PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
];

/// The program `garage` in this cache folder, if it was compiled.
pub fn garage(cache: &Path) -> Option<PathBuf> {
    let program = cache.join(FOLDER).join("bin/garage");
    program.is_file().then_some(program)
}

/// Makes it available below `cache`, and does nothing where it is.
///
/// Needs cargo, a C compiler and a crate registry the first time, and 2 GB that are free again afterwards. `say` hears one
/// line. An error names the cause and what to do.
pub fn ensure(cache: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    fetch::once(cache, FOLDER, || garage(cache).is_some(), |scratch| build(scratch, say))
}

fn build(scratch: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf, String> {
    say(&format!("compiling Garage {VERSION}, an S3 server (some minutes, once)"));
    let (root, target) = (scratch.join("root"), scratch.join("target"));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Flags and folders of whoever builds Godwit aren't meant for it.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(name);
    }
    cargo
        .args(["install", "garage", "--version", VERSION, "--locked", "--quiet", "--no-track"])
        .args(["--no-default-features", "--features", "bundled-libs,sqlite", "--root"])
        .arg(&root)
        .arg("--target-dir")
        .arg(&target)
        .envs(PROFILE);
    run(
        &mut cargo,
        "Garage is compiled by cargo: see that it reaches its registry, that there is a C compiler (Debian: apt-get install gcc), and 2 GB of disk",
    )?;
    let program = root.join("bin/garage");
    let answer = run(Command::new(&program).arg("--version"), "what was compiled doesn't run: try again")?;
    if !answer.contains(VERSION) {
        return Err(format!("Garage {VERSION} calls itself {:?}", answer.trim()));
    }
    // Gone before the rename, so that a failure to remove it is no half-done cache.
    fs::remove_dir_all(&target).map_err(|e| at(&target, "cannot remove", &e))?;
    Ok(root)
}
