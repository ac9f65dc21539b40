//! What a command and all that it started have used.

use std::process::{Command, Stdio};
use std::time::Instant;

/// Time and memory of one copy.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// Seconds on the wall.
    pub wall: f64,
    /// Seconds of CPU of the client's processes; the servers' are not among them.
    pub cpu: f64,
    /// Resident bytes of the largest process at its largest.
    pub peak: f64,
    /// Seconds until the last row was copied, where that is known.
    pub data: Option<f64>,
}

/// Runs a command to its end. What it wrote to stderr is in the error where it fails.
pub fn measure(mut command: Command) -> Result<Spent, String> {
    let log = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    let errors = log.reopen().map_err(|e| e.to_string())?;
    // pgcopydb ends its whole process group when it fails.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let began = Instant::now();
    let child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
    let pid = libc::pid_t::try_from(child.id()).map_err(|e| e.to_string())?;
    let mut status = 0;
    // SAFETY: `rusage` is plain numbers, for which zero is a value.
    #[allow(unsafe_code)]
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `wait4` writes to the two given places and nothing else; the child is ours and nobody else waits for it.
    #[allow(unsafe_code)]
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    let wall = began.elapsed().as_secs_f64();
    if waited != pid || status != 0 {
        let said = std::fs::read_to_string(log.path()).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(20).collect();
        let said: Vec<&str> = last.into_iter().rev().collect();
        return Err(format!("{command:?} failed:\n{}", said.join("\n")));
    }
    #[allow(clippy::cast_precision_loss)] // seconds, and microseconds below a million
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    #[allow(clippy::cast_precision_loss)] // kibibytes far below 2^53
    let peak = usage.ru_maxrss as f64 * 1024.0;
    Ok(Spent { wall, cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime), peak, data: None })
}
