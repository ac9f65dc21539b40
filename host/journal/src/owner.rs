//! Who works on a run, and whether that process still lives.

use std::fmt;
use std::sync::OnceLock;

use godwit_model::Result;
use godwit_model::journal::RunStatus;

use crate::fault;

/// A process, told from later ones with its number by when it started. As text: `host:pid:start`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub host: String,
    pub pid: u32,
    /// Clock ticks since the boot on Linux, what `ps -o lstart=` prints elsewhere, without colons. Empty if unknown.
    pub start: String,
}

impl Owner {
    /// This process.
    pub fn current() -> Self {
        static CURRENT: OnceLock<Owner> = OnceLock::new();
        CURRENT
            .get_or_init(|| {
                let pid = std::process::id();
                Self { host: host_name(), pid, start: start_of(pid).unwrap_or_default() }
            })
            .clone()
    }

    /// Reads the text form; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplitn(3, ':');
        let start = fields.next()?.to_owned();
        let pid = fields.next()?.parse().ok()?;
        let host = fields.next()?.to_owned();
        Some(Self { host, pid, start })
    }

    /// Whether this very process runs on this machine. A process of another machine counts as gone: nothing here can
    /// tell, and the target's markers guard against it.
    pub fn is_alive_here(&self) -> bool {
        self.host == Self::current().host
            && start_of(self.pid).is_some_and(|start| self.start.is_empty() || self.start == start)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.host, self.pid, self.start)
    }
}

/// Refuses (`conflict`) while a live process of this machine other than `asking` has the run.
pub(crate) fn admit(run: &str, holder: &str, asking: &str) -> Result<()> {
    if holder == asking {
        return Ok(());
    }
    match Owner::parse(holder) {
        Some(owner) if owner.is_alive_here() => Err(fault::owned(run, &owner)),
        // A text that isn't an owner's names no process that could be waited for.
        _ => Ok(()),
    }
}

/// Refuses (`conflict`) to forget a run that a live process of this machine works on.
pub(crate) fn admit_forget(run: &str, status: RunStatus, holder: &str) -> Result<()> {
    if status == RunStatus::Running { admit(run, holder, &Owner::current().to_string()) } else { Ok(()) }
}

/// When a process started, or `None` if there is none of this number.
#[cfg(target_os = "linux")]
fn start_of(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): the second field is the command in parentheses and may hold anything; after it come the state
    // (a zombie has ended) and, as field 22, the start time.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

#[cfg(not(target_os = "linux"))]
fn start_of(pid: u32) -> Option<String> {
    // POSIX `ps` tells both whether the process is there and, by an extension that the BSDs share, when it started.
    let output =
        std::process::Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
    let start = String::from_utf8_lossy(&output.stdout).trim().replace([':', ' '], "");
    (output.status.success() && !start.is_empty()).then_some(start)
}

#[cfg(target_os = "linux")]
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    or_localhost(name.trim())
}

#[cfg(not(target_os = "linux"))]
fn host_name() -> String {
    let name = std::process::Command::new("uname").arg("-n").output();
    or_localhost(name.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default().trim())
}

fn or_localhost(name: &str) -> String {
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_round_trips() {
        let owner = Owner::current();
        assert_eq!(Owner::parse(&owner.to_string()), Some(owner));
        let odd = Owner { host: "fe80::1".into(), pid: 7, start: String::new() };
        assert_eq!(Owner::parse(&odd.to_string()), Some(odd));
        assert_eq!(Owner::parse("somebody"), None);
        assert_eq!(Owner::parse("host:not-a-pid:1"), None);
    }

    #[test]
    fn only_the_very_process_counts_as_alive() {
        let me = Owner::current();
        assert!(me.is_alive_here());
        assert!(!Owner { start: "1".into(), ..me.clone() }.is_alive_here(), "a number used again");
        assert!(!Owner { host: "elsewhere.example.com".into(), ..me.clone() }.is_alive_here());
        assert!(Owner { start: String::new(), ..me }.is_alive_here(), "start unknown: the number decides");
    }

    #[test]
    fn a_process_that_has_ended_is_not_alive() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
        let owner = Owner { pid: child.id(), start: start_of(child.id()).expect("runs"), ..Owner::current() };
        assert!(owner.is_alive_here());
        child.kill().expect("can be killed");
        child.wait().expect("ends");
        assert!(!owner.is_alive_here());
    }
}
