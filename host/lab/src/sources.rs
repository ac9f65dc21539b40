//! PostgreSQL's own regression tests, from Debian's source packages: fetched once by apt-get into the cache folder, used
//! offline afterwards. Nothing is installed. Standard library alone: `xtask` includes this file.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fetch::{self, at, run};

const FOLDER: &str = "regression-sources";
/// Of 17 there are the headers of Debian 13, which hold no programs.
const HEADERS_OF_17: &str = "headers-17";
/// Debian's source packages: 15 as it is installed (what the server's headers and tests were made of), 18 at whatever
/// version the newest suite has. Debian 12 to 13 never had 16.
const MAJORS: [u32; 2] = [15, 18];
/// Of a source tree, what the tests need: they themselves, the trigger functions in C that they use, and a provider of
/// security labels.
const PARTS: [&str; 3] = ["src/test/regress", "contrib/spi", "src/test/modules/dummy_seclabel"];

/// The tree of a major with those of its parts that are needed, if it was fetched.
pub fn tree(cache: &Path, major: u32) -> Option<PathBuf> {
    let tree = cache.join(FOLDER).join(major.to_string());
    let has = |file: &str| tree.join(file).is_file();
    let whole =
        has("src/test/regress/parallel_schedule") && has("src/test/modules/dummy_seclabel/dummy_seclabel.c");
    whole.then_some(tree)
}

/// The folder with the server headers of PostgreSQL 15, if it was fetched; those of 16 and 18 are in the wheel.
pub fn headers_of_15(cache: &Path) -> Option<PathBuf> {
    let folder = cache.join(FOLDER).join("include-15");
    folder.join("postgres.h").is_file().then_some(folder)
}

/// The same of PostgreSQL 17.
pub fn headers_of_17(cache: &Path) -> Option<PathBuf> {
    let folder = cache.join(HEADERS_OF_17);
    folder.join("postgres.h").is_file().then_some(folder)
}

/// Makes all of it available below `cache`, and does nothing where it already is.
///
/// Needs a Debian 12 with PostgreSQL 15 installed, and network the first time. `say` hears one line per slow step. An
/// error names the cause and what to do.
pub fn ensure(cache: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let there = || MAJORS.iter().all(|major| tree(cache, *major).is_some()) && headers_of_15(cache).is_some();
    fetch::once(cache, FOLDER, there, |scratch| fill(scratch, say))?;
    fetch::once(cache, HEADERS_OF_17, || headers_of_17(cache).is_some(), |scratch| fill_headers(scratch, say))
}

/// Headers are files alone: those of another release of Debian do.
fn fill_headers(scratch: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf, String> {
    let unpacked = scratch.join("unpacked");
    fs::create_dir_all(scratch.join("lists/partial")).map_err(|e| at(scratch, "cannot make", &e))?;
    say("fetching the package lists of Debian 13 (15 MB), and PostgreSQL 17's headers");
    let list = scratch.join("sources.list");
    let lines = mirrors()?
        .into_iter()
        .filter(|mirror| !mirror.is_security && !mirror.suite.contains('-'))
        .map(|mirror| line("deb", &mirror.uri, "trixie"));
    fs::write(&list, lines.collect::<String>()).map_err(|e| at(&list, "cannot write", &e))?;
    run(&mut apt(scratch, &list, scratch, &["update"]), "see that apt-get reaches its servers")?;
    run(
        &mut apt(scratch, &list, scratch, &["download", "postgresql-server-dev-17"]),
        "the package may have been replaced just now: try again",
    )?;
    let package = files(scratch)?.into_iter().find(|file| file.extension() == Some(OsStr::new("deb")));
    let package = package.ok_or("apt-get downloaded no postgresql-server-dev-17")?;
    run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&unpacked), TRY_AGAIN)?;
    Ok(unpacked.join("usr/include/postgresql/17/server"))
}

/// apt-get with lists of its own below `scratch`, in the folder that it downloads into.
fn apt(scratch: &Path, list: &Path, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .arg(format!("-oDir::Etc::SourceList={}", list.display()))
        .arg("-oDir::Etc::SourceParts=/dev/null")
        .arg(format!("-oDir::State::Lists={}", scratch.join("lists").display()))
        .arg(format!("-oDir::Cache={}", scratch.join("cache").display()))
        .args(["-oAPT::Sandbox::User=root", "--quiet"])
        .args(arguments)
        .current_dir(folder);
    command
}

fn fill(scratch: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf, String> {
    let (downloads, filled) = (scratch.join("download"), scratch.join("filled"));
    for folder in [&downloads, &filled, &scratch.join("lists/partial")] {
        fs::create_dir_all(folder).map_err(|e| at(folder, "cannot make", &e))?;
    }
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${Version}", "postgresql-15"]);
    let installed = run(&mut query, "apt-get install postgresql-15")?;

    say("fetching the package lists of Debian's sources (45 MB)");
    let list = scratch.join("sources.list");
    fs::write(&list, source_lists()?).map_err(|e| at(&list, "cannot write", &e))?;
    let apt = |arguments: &[&str]| apt(scratch, &list, &downloads, arguments);
    run(&mut apt(&["update"]), "see that apt-get reaches its servers")?;
    say("fetching the sources of PostgreSQL 15 and 18 (46 MB)");
    for package in [format!("postgresql-15={installed}"), "postgresql-18".to_owned()] {
        let hint =
            "the installed version may have been replaced in the archive: apt-get install postgresql-15";
        run(&mut apt(&["source", "--download-only", &package]), hint)?;
    }
    let mut headers = Command::new("apt-get");
    headers
        .args(["download", "--quiet", &format!("postgresql-server-dev-15={installed}")])
        .current_dir(&downloads);
    run(&mut headers, "see that the package lists are there (apt-get update)")?;

    say("unpacking them");
    for file in files(&downloads)? {
        let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if name.ends_with(".deb") {
            let unpacked = scratch.join("headers");
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("--extract").arg(&file).arg(&unpacked);
            run(&mut unpack, TRY_AGAIN)?;
            let from = unpacked.join("usr/include/postgresql/15/server");
            let to = filled.join("include-15");
            fs::rename(&from, &to).map_err(|e| at(&from, "cannot move", &e))?;
        } else if let Some(major) =
            MAJORS.iter().find(|major| name.starts_with(&format!("postgresql-{major}_")))
            && name.contains(".orig.tar.")
        {
            unpack_tree(&file, &filled.join(major.to_string()))?;
        }
    }
    Ok(filled)
}

const TRY_AGAIN: &str = "the download may be broken or the disk full: try again";

fn unpack_tree(archive: &Path, to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|e| at(to, "cannot make", &e))?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(archive).arg("--directory").arg(to);
    tar.args(["--strip-components=1", "--no-same-owner", "--wildcards"]);
    tar.args(PARTS.map(|part| format!("*/{part}")));
    run(&mut tar, TRY_AGAIN).map(drop)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| at(folder, "cannot read", &e))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

/// An archive that this machine takes its packages from.
struct Mirror {
    is_security: bool,
    suite: String,
    uri: String,
}

fn mirrors() -> Result<Vec<Mirror>, String> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(LABEL) $(CODENAME) $(REPO_URI)", "Created-By: Packages"]);
    let targets = run(&mut command, "the sources come from Debian's archive")?;
    let of_debian = |target: &str| match target.split_whitespace().collect::<Vec<_>>()[..] {
        [label @ ("Debian" | "Debian-Security"), suite, uri] => {
            Some(Mirror { is_security: label != "Debian", suite: suite.to_owned(), uri: uri.to_owned() })
        }
        _ => None,
    };
    let mirrors: Vec<Mirror> = targets.lines().filter_map(of_debian).collect();
    if mirrors.is_empty() {
        return Err("apt-get has no package lists of Debian here: run `apt-get update` on a Debian 12".into());
    }
    Ok(mirrors)
}

fn line(kind: &str, uri: &str, suite: &str) -> String {
    const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
    format!("{kind} [signed-by={KEYS}] {uri} {suite} main\n")
}

/// Source lists for the archives that this machine takes its packages from, and for the newest suite there.
fn source_lists() -> Result<String, String> {
    let mut lists = String::new();
    for Mirror { is_security, suite, uri } in mirrors()? {
        lists += &line("deb-src", &uri, &suite);
        if !is_security && !suite.contains('-') {
            lists += &line("deb-src", &uri, "sid");
        }
    }
    Ok(lists)
}
