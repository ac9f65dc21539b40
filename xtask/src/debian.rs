//! Debian's PostgreSQL 15: the tests' third major, and with it stock client tools as an oracle. And PgBouncer.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

const POSTGRES: &str = "/usr/lib/postgresql/15/bin/initdb";
const PACKAGES: [&str; 2] = ["postgresql-15", "postgresql-client-15"];

const PGBOUNCER: &str = "/usr/sbin/pgbouncer";
const PGCOPYDB: &str = "/usr/bin/pgcopydb";

/// Installs it by apt-get when it is missing; needs root and Debian 12 (or another source of the packages).
pub fn ensure(say: &mut dyn FnMut(&str)) -> Result<()> {
    install(POSTGRES, &PACKAGES, "the tests need PostgreSQL 15", say)?;
    install(PGBOUNCER, &["pgbouncer"], "the tests need PgBouncer", say)
}

/// The peer that copies are timed against.
pub fn ensure_pgcopydb(say: &mut dyn FnMut(&str)) -> Result<()> {
    install(PGCOPYDB, &["pgcopydb"], "the bench of copies needs pgcopydb", say)
}

fn install(program: &str, packages: &[&str], why: &str, say: &mut dyn FnMut(&str)) -> Result<()> {
    if Path::new(program).is_file() {
        return Ok(());
    }
    let shown = packages.join(" ");
    if !crate::cache::is_root() {
        bail!("{why}, and there is no {program}: `sudo apt-get install {shown}`, then try again");
    }
    say(&format!("installing {shown}"));
    apt(&["update", "--quiet"], why)?;
    let install = ["install", "--quiet", "--yes", "--no-install-recommends"];
    apt(&[&install[..], packages].concat(), why)?;
    if !Path::new(program).is_file() {
        bail!("{shown} are installed, but there is no {program}");
    }
    Ok(())
}

fn apt(arguments: &[&str], why: &str) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("{why}, and this machine has no apt-get to install it"))?;
    if !status.success() {
        bail!("apt-get {} failed ({status}): {why} (Debian 12 has it)", arguments.join(" "));
    }
    Ok(())
}
