//! What [`foreign`](../foreign) needs from packages: the schemas of Debian's `roundcube-core` and `mediawiki`, and
//! Wagtail with Django from PyPI. Fetched once by apt-get and pip into the cache folder, used offline afterwards.
//! Nothing is installed. Standard library alone: `xtask` includes this file.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fetch::{self, at, run};

/// Debian 12's versions but for their security revisions, which are replaced in the archive and leave schemas alone.
const DEBIAN: [&str; 2] = ["roundcube-core=1.6.5+*", "mediawiki=1:1.39.*"];
const DEBIAN_FOLDER: &str = "schemas-debian-12";
/// (name in the cache, path in the package)
const SCHEMAS: [(&str, &str); 3] = [
    ("roundcube.sql", "usr/share/roundcube/SQL/postgres.initial.sql"),
    ("mediawiki-generated.sql", "usr/share/mediawiki/maintenance/postgres/tables-generated.sql"),
    ("mediawiki.sql", "usr/share/mediawiki/maintenance/postgres/tables.sql"),
];

/// Wagtail and all it imports, each at one version.
const REQUIREMENTS: &str = include_str!("packages/wagtail.txt");
const SETTINGS: &str = include_str!("packages/godwit_lab_settings.py");
/// The module of [`SETTINGS`], for `DJANGO_SETTINGS_MODULE`.
pub const SETTINGS_MODULE: &str = "godwit_lab_settings";

/// A schema's file in this cache folder: `roundcube.sql`, `mediawiki-generated.sql` or `mediawiki.sql`. `None` for
/// another name, or when nothing was fetched yet.
pub fn schema(cache: &Path, name: &str) -> Option<PathBuf> {
    let (name, _) = SCHEMAS.iter().find(|(known, _)| *known == name)?;
    let path = cache.join(DEBIAN_FOLDER).join(name);
    path.is_file().then_some(path)
}

/// The folder in this cache folder that Python imports Wagtail, Django and their settings from, if they were fetched
/// for the `python3` on the path: some of them are compiled for one Python. Runs `python3`.
pub fn wagtail(cache: &Path) -> Option<PathBuf> {
    let folder = cache.join(wagtail_folder().ok()?);
    let whole = |folder: &Path| folder.join(format!("{SETTINGS_MODULE}.py")).is_file();
    whole(&folder).then_some(folder)
}

/// Makes all of it available below `cache`, and does nothing where it already is.
///
/// Needs a Debian 12 with package lists (fetched anew where this process is root) and `python3` with pip the first
/// time. `say` hears one line per slow step. An error names the cause and what to do.
pub fn ensure(cache: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let there = || SCHEMAS.iter().all(|(name, _)| schema(cache, name).is_some());
    fetch::once(cache, DEBIAN_FOLDER, there, |scratch| fetch_schemas(scratch, say))?;
    let folder = wagtail_folder()?;
    fetch::once(cache, &folder, || wagtail(cache).is_some(), |scratch| fetch_wagtail(scratch, say))
}

fn fetch_schemas(scratch: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf, String> {
    let [downloads, unpacked, schemas] = ["download", "unpacked", "schemas"].map(|name| scratch.join(name));
    for folder in [&downloads, &unpacked, &schemas] {
        fs::create_dir_all(folder).map_err(|e| at(folder, "cannot make", &e))?;
    }
    say(&format!("fetching the schemas of {} (42 MB)", DEBIAN.join(" and ")));
    let download = || {
        let mut apt = Command::new("apt-get");
        apt.args(["download", "--quiet"]).args(DEBIAN).current_dir(&downloads);
        run(
            &mut apt,
            "the packages come from Debian 12: see that its package lists are there (`apt-get update`)",
        )
    };
    // A fresh machine has no lists, or lists of packages that have been replaced since.
    if let Err(error) = download() {
        if !crate::cache::is_root() {
            return Err(error);
        }
        run(Command::new("apt-get").args(["update", "--quiet"]), "see that apt-get reaches its servers")?;
        download()?;
    }
    let packages = fs::read_dir(&downloads).map_err(|e| at(&downloads, "cannot read", &e))?;
    for package in packages.filter_map(|entry| Some(entry.ok()?.path())) {
        if package.extension() == Some(OsStr::new("deb")) {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("--extract").arg(&package).arg(&unpacked);
            run(&mut unpack, "the download may be broken or the disk full: try again")?;
        }
    }
    for (name, path) in SCHEMAS {
        let from = unpacked.join(path);
        fs::copy(&from, schemas.join(name)).map_err(|e| at(&from, "cannot copy", &e))?;
    }
    Ok(schemas)
}

fn fetch_wagtail(scratch: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf, String> {
    let (requirements, site) = (scratch.join("requirements.txt"), scratch.join("site"));
    fs::write(&requirements, REQUIREMENTS).map_err(|e| at(&requirements, "cannot write", &e))?;
    let version = REQUIREMENTS.lines().find(|line| line.starts_with("wagtail==")).unwrap_or("wagtail");
    say(&format!("fetching {version} with what it imports (60 MB)"));
    let options = "-m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
                   --only-binary=:all: --no-compile --target";
    let mut pip = Command::new("python3");
    pip.args(options.split_whitespace()).arg(&site).arg("--requirement").arg(&requirements);
    run(
        &mut pip,
        "install Python 3.10 or newer with pip (Debian: apt-get install python3 python3-pip), and see that pip reaches its package index",
    )?;
    let settings = site.join(format!("{SETTINGS_MODULE}.py"));
    fs::write(&settings, SETTINGS).map_err(|e| at(&settings, "cannot write", &e))?;
    Ok(site)
}

/// `wagtail-VERSION-PYTHON`, where PYTHON is what this Python calls its compiled files, as `cpython-311`.
fn wagtail_folder() -> Result<String, String> {
    let mut python = Command::new("python3");
    python.args(["-c", "import sys; print(sys.implementation.cache_tag)"]);
    let tag = run(&mut python, "install Python 3 with pip (Debian: apt-get install python3 python3-pip)")?;
    let version = REQUIREMENTS.lines().find_map(|line| line.strip_prefix("wagtail==")).unwrap_or("unknown");
    Ok(format!("wagtail-{version}-{}", tag.trim()))
}
