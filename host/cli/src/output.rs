//! stdout, stderr and exit codes. The one map from an error to what a person reads.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use godwit_model::{Error, ErrorKind, Fault};

/// How a command ended; the numbers stand in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    VerificationFailed = 3,
    Denied = 4,
    Stopped = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// The exit code of an error.
pub fn exit_of(error: &Error) -> Exit {
    match (error.code.as_deref(), error.kind) {
        (Some("stopped"), _) => Exit::Stopped,
        (Some("verification"), _) => Exit::VerificationFailed,
        (_, ErrorKind::Denied) if error.fault == Fault::Recipe => Exit::Denied,
        (_, ErrorKind::Invalid) if error.fault == Fault::Recipe => Exit::Usage,
        _ => Exit::Failed,
    }
}

/// Writes a line to stdout. A closed pipe ends the output, not the work.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
}

/// Writes JSON to stdout.
pub fn say_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => say(&text),
        Err(error) => complain(&format!("the result can't be written as JSON: {error}"), None),
    }
}

/// Writes a line to stderr.
pub fn note(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{text}");
}

/// Writes an error and its hint to stderr.
pub fn complain(message: &str, hint: Option<&str>) {
    let style = Style::stderr();
    note(&format!("{} {message}", style.red("error:")));
    if let Some(hint) = hint {
        note(&format!("  {} {hint}", style.cyan("hint:")));
    }
}

/// Writes an error with its hint and returns its exit code.
pub fn report_error(error: &Error) -> Exit {
    complain(&error.to_string(), error.hint.as_deref());
    exit_of(error)
}

/// Asks a yes-or-no question on the terminal; `None` when there is no terminal to ask on.
pub fn ask(question: &str) -> Option<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{question} [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// ANSI colours, where the stream is a terminal and NO_COLOR isn't set.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    on: bool,
}

impl Style {
    pub fn stdout() -> Self {
        Self { on: std::io::stdout().is_terminal() && colour_allowed() }
    }

    pub fn stderr() -> Self {
        Self { on: std::io::stderr().is_terminal() && colour_allowed() }
    }

    pub fn is_on(self) -> bool {
        self.on
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
}

fn colour_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Bytes for people: `412 B`, `1.4 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
