//! Running server programs: as another user when this process is root, ended by signals, never orphaned.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{LabError, Result, io};

/// The user that server programs run as when this process is root: PostgreSQL refuses root.
#[derive(Debug, Clone, Copy)]
pub struct ServerUser {
    uid: u32,
    gid: u32,
}

impl ServerUser {
    /// `postgres`, or `nobody`, when this process is root; `None` when it is not (then: ourselves).
    pub fn find() -> Result<Option<Self>> {
        if !crate::cache::is_root() {
            return Ok(None);
        }
        let path = Path::new("/etc/passwd");
        let text = std::fs::read_to_string(path).map_err(io("read", path))?;
        ["postgres", "nobody"].iter().find_map(|name| Self::parse(&text, name)).map(Some).ok_or_else(|| {
            LabError::Missing {
                what: "a user to run PostgreSQL as".into(),
                hint: "it refuses root: add a user `postgres` or `nobody`, or run as a normal user".into(),
            }
        })
    }

    /// passwd(5): `name:password:uid:gid:…`.
    fn parse(passwd: &str, name: &str) -> Option<Self> {
        let mut fields = passwd
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some(Self { uid, gid: fields.next()?.parse().ok()? })
    }

    /// Gives a path to this user.
    pub fn own(self, path: &Path) -> Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).map_err(io("chown", path))
    }

    /// The first ancestor of `path` that this user can't enter (mode bits only), if any.
    pub fn barred(self, path: &Path) -> Option<PathBuf> {
        use std::os::unix::fs::MetadataExt;
        path.ancestors().skip(1).find_map(|dir| {
            let meta = std::fs::metadata(dir).ok()?;
            let bit = match () {
                () if meta.uid() == self.uid => 0o100,
                () if meta.gid() == self.gid => 0o010,
                () => 0o001,
            };
            (meta.mode() & bit == 0).then(|| dir.to_owned())
        })
    }
}

/// A command in a process group of its own (Ctrl-C at the terminal must not reach a server that a run is being
/// stopped on), under the server's user, without the caller's `PG*` variables.
pub fn command(program: &Path, user: Option<ServerUser>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
    if let Some(user) = user {
        // As root, the standard library clears the supplementary groups with a uid.
        command.uid(user.uid).gid(user.gid).current_dir("/");
    }
    command
}

/// Runs to the end; gives stdout, or an error with stderr.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(io("run", Path::new(&program)))?;
    finished(program, &output)
}

/// The stdout of a program that ended well, or an error with its stderr.
pub fn finished(program: String, output: &std::process::Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    Err(LabError::Command { program, status: output.status.to_string(), stderr })
}

/// A signal as PostgreSQL's postmaster understands it (PostgreSQL manual, 18.5).
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// SIGINT: rolls back what is open, then ends.
    Fast,
    /// SIGQUIT: ends at once; recovery at the next start.
    Immediate,
    Kill,
}

/// Sends a signal to a process; one that is gone already is fine.
pub fn signal(pid: u32, signal: Signal) {
    let number = match signal {
        Signal::Fast => libc::SIGINT,
        Signal::Immediate => libc::SIGQUIT,
        Signal::Kill => libc::SIGKILL,
    };
    let Ok(pid) = libc::pid_t::try_from(pid) else { return };
    // SAFETY: kill(2) takes two integers and touches no memory of ours.
    #[allow(unsafe_code)] // The standard library can only send SIGKILL.
    unsafe {
        libc::kill(pid, number);
    }
}

/// Whether a process runs. A zombie does not: a persistent server outlives the value that started it, and then
/// nobody may be there to reap it.
pub fn alive(pid: u32) -> bool {
    let Ok(number) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: kill(2) with signal 0 sends nothing and touches no memory of ours.
    #[allow(unsafe_code)]
    let answer = unsafe { libc::kill(number, 0) };
    let exists = answer == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
    exists && !zombie(pid)
}

/// proc(5): the state follows the command's name, which stands in parentheses. Systems without /proc reap by
/// themselves.
fn zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
}

/// Polls until `done` or until `patience` has passed; says which.
pub fn wait(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// A small shell that ends a server and removes its folder when this process is gone, however it went: its
/// stdin is a pipe whose other end only we hold. (A parent-death signal would fire when the *thread* that
/// started the server ends.)
#[derive(Debug)]
pub struct Watchdog(Child);

impl Watchdog {
    const SCRIPT: &str = r#"cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
  kill -QUIT "$pid" 2>/dev/null
  tries=0
  while kill -0 "$pid" 2>/dev/null && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
fi
rm -rf "$1""#;

    /// Watches over the server whose data folder is `base/data`.
    pub fn over(base: &Path) -> Result<Self> {
        Command::new("/bin/sh")
            .args(["-c", Self::SCRIPT, "godwit-lab-watchdog"])
            .arg(base)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
            .map_err(io("run", Path::new("/bin/sh")))
    }

    /// Ends the watch without touching the server.
    pub fn dismiss(mut self) {
        // Killed before its pipe closes, so it never acts; both calls fail only when it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_lines_are_read() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:nobody:/:/usr/sbin/nologin\n";
        let user = ServerUser::parse(passwd, "nobody").expect("nobody is listed");
        assert_eq!((user.uid, user.gid), (65534, 65533));
        assert!(ServerUser::parse(passwd, "postgres").is_none());
    }
}
