//! Compiles guests of this workspace to WebAssembly components, from inside a build script.
//!
//! A guest is a `cdylib` target: the library of a plugin crate, or an example of a crate of test guests. Cargo is run
//! on the same workspace with the same lock file, in a target folder of its own, so that it doesn't wait for the Cargo
//! that runs the build script.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The target that gives a component directly.
pub const TARGET: &str = "wasm32-wasip2";
/// The Cargo profile of guests, in the workspace's manifest.
const PROFILE: &str = "guest";

/// Why guests could not be compiled, with the next step.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

type Result<T> = std::result::Result<T, Error>;

/// A guest that was found in the workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guest {
    /// The name of the folder of a plugin, or of an example.
    pub name: String,
    /// The Cargo package it belongs to.
    package: String,
    /// The name of the Cargo target.
    target: String,
    kind: Kind,
}

/// Which targets of a package are its guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The library: a plugin.
    Library,
    /// Each example: test guests.
    Examples,
}

/// A compiled guest.
#[derive(Clone, Debug)]
pub struct Component {
    pub name: String,
    /// The `.wasm` file.
    pub file: PathBuf,
}

/// Cargo's workspace, as a build script sees it.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    target_dir: PathBuf,
}

impl Workspace {
    /// The workspace around a package whose build script runs. `root` is relative to that package's folder.
    pub fn of_build_script(root: &str) -> Result<Self> {
        let root = variable("CARGO_MANIFEST_DIR")?.join(root);
        let root = root.canonicalize().map_err(|e| Error(format!("{}: {e}", root.display())))?;
        let out = variable("OUT_DIR")?;
        // <target>/<profile>/build/<package>/out: all guests share a folder beside the profiles. Wherever OUT_DIR looks
        // otherwise, it serves itself.
        let shared = out.ancestors().nth(4).filter(|_| out.iter().rev().nth(2) == Some(OsStr::new("build")));
        Ok(Self { target_dir: shared.unwrap_or(&out).join("guests"), root })
    }

    /// The root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Says to Cargo when the build script has to run again: whenever a path below the root changes. A path that isn't
    /// there is left out, as Cargo would run the script every time.
    pub fn watch(&self, paths: &[&str]) {
        for path in paths.iter().map(|path| self.root.join(path)).filter(|path| path.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }

    /// The guests of all packages in `folder`, sorted by name.
    pub fn guests(&self, folder: &str, kind: Kind) -> Result<Vec<Guest>> {
        let mut cargo = self.cargo("metadata");
        cargo.args(["--no-deps", "--format-version", "1"]);
        let metadata: Value = serde_json::from_slice(&run(cargo, "list the workspace's packages")?)
            .map_err(|e| Error(format!("`cargo metadata` gave no JSON: {e}")))?;
        let folder = self.root.join(folder);
        let mut guests = Vec::new();
        for package in array(&metadata["packages"]) {
            let home = Path::new(text(&package["manifest_path"])).parent().unwrap_or(Path::new(""));
            if home.parent() != Some(&folder) {
                continue;
            }
            for target in array(&package["targets"]) {
                let is_cdylib = array(&target["crate_types"]).iter().any(|t| text(t) == "cdylib");
                let is_example = array(&target["kind"]).iter().any(|k| text(k) == "example");
                if !is_cdylib || is_example != (kind == Kind::Examples) {
                    continue;
                }
                let name = match kind {
                    Kind::Library => home.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                    Kind::Examples => text(&target["name"]).to_owned(),
                };
                guests.push(Guest {
                    name,
                    package: text(&package["name"]).to_owned(),
                    target: text(&target["name"]).to_owned(),
                    kind,
                });
            }
        }
        guests.sort();
        Ok(guests)
    }

    /// Compiles guests, in their order.
    pub fn compile(&self, guests: &[Guest]) -> Result<Vec<Component>> {
        if guests.is_empty() {
            return Ok(Vec::new());
        }
        self.require_target()?;
        let mut cargo = self.cargo("build");
        cargo.args(["--target", TARGET, "--profile", PROFILE, "--message-format=json-render-diagnostics"]);
        cargo.arg("--target-dir").arg(&self.target_dir);
        let mut packages: Vec<&str> = guests.iter().map(|guest| guest.package.as_str()).collect();
        packages.dedup();
        for package in packages {
            cargo.args(["--package", package]);
        }
        if guests.iter().any(|guest| guest.kind == Kind::Library) {
            cargo.arg("--lib");
        }
        if guests.iter().any(|guest| guest.kind == Kind::Examples) {
            cargo.arg("--examples");
        }
        let messages = run(cargo, "compile the guests")?;
        let built: Vec<(String, PathBuf)> = messages
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
            .filter(|message| text(&message["reason"]) == "compiler-artifact")
            .flat_map(|message| {
                let target = text(&message["target"]["name"]).to_owned();
                let files: Vec<PathBuf> = array(&message["filenames"])
                    .iter()
                    .map(|file| PathBuf::from(text(file)))
                    .filter(|file| file.extension() == Some(OsStr::new("wasm")))
                    .collect();
                files.into_iter().map(move |file| (target.clone(), file))
            })
            .collect();
        guests
            .iter()
            .map(|guest| {
                let file =
                    built.iter().find(|(target, _)| *target == guest.target).map(|(_, file)| file.clone());
                let file = file.ok_or_else(|| {
                    Error(format!(
                        "Cargo built package `{}` without a component named `{}`",
                        guest.package, guest.target
                    ))
                })?;
                Ok(Component { name: guest.name.clone(), file })
            })
            .collect()
    }

    /// A Cargo of the same toolchain, without what the outer Cargo's flags would change.
    fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(is_foreign) {
                cargo.env_remove(name);
            }
        }
        // The same plugin has the same digest wherever it is built: no path of this machine gets into it.
        let mut flags = vec!["-C".to_owned(), "target-feature=+simd128".to_owned()];
        let home =
            env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
        if let Some(home) = home {
            flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
        }
        // The last prefix that matches wins, and the Cargo home may lie above the workspace.
        flags.push(format!("--remap-path-prefix={}=/godwit", self.root.display()));
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        cargo.current_dir(&self.root).args([subcommand, "--locked"]).stdin(Stdio::null());
        cargo
    }

    fn require_target(&self) -> Result<()> {
        let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(&self.root);
        let folder = String::from_utf8_lossy(&run(rustc, "look for the guests' target")?).trim().to_owned();
        if Path::new(&folder).is_dir() {
            return Ok(());
        }
        Err(Error(format!(
            "the Rust target {TARGET}, which plugins are compiled for, isn't installed\n  next: rustup target add {TARGET}"
        )))
    }
}

/// Variables that the outer Cargo or its caller set for the host's build, and that would change a guest's.
fn is_foreign(name: &str) -> bool {
    const EXACT: [&str; 8] = [
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_TARGET_DIR",
        "CARGO_UNSTABLE_BUILD_STD",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
    ];
    const PREFIXES: [&str; 5] =
        ["CARGO_BUILD_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PROFILE_", "CARGO_TARGET_"];
    EXACT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn variable(name: &str) -> Result<PathBuf> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| Error(format!("{name} isn't set: this runs in build scripts")))
}

fn run(mut command: Command, what: &str) -> Result<Vec<u8>> {
    let output = command.output().map_err(|e| {
        Error(format!("can't {what}: {} doesn't start: {e}", command.get_program().display()))
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Error(format!(
        "can't {what}: {} ended with {}\n{stderr}",
        command.get_program().display(),
        output.status
    )))
}

/// The items of a JSON array; none of anything else.
fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A JSON string; empty for anything else.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_build_leaves_no_mark_on_guests() {
        for name in [
            "RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_BUILD_TARGET",
            "CARGO_TARGET_DIR",
            "CARGO_CFG_UNIX",
        ] {
            assert!(is_foreign(name), "{name}");
        }
        for name in
            ["CARGO", "CARGO_HOME", "CARGO_MAKEFLAGS", "PATH", "RUSTUP_TOOLCHAIN", "CARGO_NET_OFFLINE"]
        {
            assert!(!is_foreign(name), "{name}");
        }
    }

    #[test]
    fn plugins_are_found_by_what_they_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
        let workspace = Workspace { target_dir: root.join("target/guests"), root };
        let names: Vec<String> =
            workspace.guests("plugins", Kind::Library).unwrap().into_iter().map(|guest| guest.name).collect();
        assert!(names.contains(&"postgres-copy".to_owned()), "{names:?}");
        assert!(!names.contains(&"sdk".to_owned()) && !names.contains(&"bundle".to_owned()), "{names:?}");
        assert!(names.is_sorted());
    }
}
