//! Debian's PostgreSQL 15: the tests' third major, and with it stock client tools as an oracle.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

const POSTGRES: &str = "/usr/lib/postgresql/15/bin/initdb";
const PACKAGES: [&str; 2] = ["postgresql-15", "postgresql-client-15"];

/// Installs it by apt-get when it is missing; needs root and Debian 12 (or another source of the packages).
pub fn ensure(say: &mut dyn FnMut(&str)) -> Result<()> {
    if Path::new(POSTGRES).is_file() {
        return Ok(());
    }
    let packages = PACKAGES.join(" ");
    if !crate::cache::is_root() {
        bail!(
            "the tests need PostgreSQL 15 in /usr/lib/postgresql/15: `sudo apt-get install {packages}`, then try again"
        );
    }
    say(&format!("installing {packages}"));
    apt(&["update", "--quiet"])?;
    let install = ["install", "--quiet", "--yes", "--no-install-recommends"];
    apt(&[&install[..], &PACKAGES[..]].concat())?;
    if !Path::new(POSTGRES).is_file() {
        bail!("{packages} are installed, but there is no {POSTGRES}");
    }
    Ok(())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("the tests need PostgreSQL 15 in /usr/lib/postgresql/15, and this machine has no apt-get to install it")?;
    if !status.success() {
        bail!(
            "apt-get {} failed ({status}): the tests need PostgreSQL 15 (Debian 12: {})",
            arguments.join(" "),
            PACKAGES.join(" ")
        );
    }
    Ok(())
}
