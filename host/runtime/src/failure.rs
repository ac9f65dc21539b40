//! From what wasmtime, a guest or the host reports to one error that a person can use.

use std::collections::VecDeque;

use godwit_model::plugin::HostError;
use godwit_model::{Error, ErrorKind, Fault};
use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

use crate::limits::Passed;

/// How much of a guest's stderr an error carries.
const STDERR_TAIL: usize = 4 << 10;
/// How many errors told to a guest are remembered.
const TOLD: usize = 64;

/// An error of the host on its way through wasmtime: ends the call and comes out of it unchanged.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stopped(pub(crate) Error);

/// A guest that broke the contract in a way no limit and no trap describes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broke(pub(crate) String);

/// What a host function can end with besides its result.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The guest gets an error and goes on.
    Guest(Error),
    /// The call ends.
    Trap(wasmtime::Error),
}

impl From<HostError> for Trouble {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Guest(error) => Self::Guest(error),
            HostError::Stop(error) => Self::Trap(Stopped(error).into()),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Guest(error)
    }
}

impl From<Passed> for Trouble {
    fn from(passed: Passed) -> Self {
        Self::Trap(passed.into())
    }
}

impl From<Broke> for Trouble {
    fn from(broke: Broke) -> Self {
        Self::Trap(broke.into())
    }
}

impl From<wasmtime::Error> for Trouble {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

impl From<wasmtime::component::ResourceTableError> for Trouble {
    fn from(error: wasmtime::component::ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

/// For functions that can't answer with an error: there every error ends the call.
pub(crate) fn trap(error: HostError) -> wasmtime::Error {
    match error {
        HostError::Guest(error) | HostError::Stop(error) => Stopped(error).into(),
    }
}

/// Errors that a guest was told, so that one it hands on keeps its code, its hint and whose fault it is.
#[derive(Default)]
pub(crate) struct Told(VecDeque<(String, Error)>);

impl Told {
    /// The text of an error for a guest: message, code, next step.
    pub(crate) fn tell(&mut self, error: Error) -> String {
        let text = match &error.hint {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        };
        if self.0.len() == TOLD {
            self.0.pop_front();
        }
        self.0.push_back((text.clone(), error));
        text
    }

    /// The error behind a guest's words: one it was told, with what the guest put before it, or one of its own.
    pub(crate) fn recall(&self, kind: ErrorKind, text: String) -> Error {
        for (told, error) in self.0.iter().rev() {
            if error.kind == kind
                && let Some(before) = text.strip_suffix(told.as_str())
            {
                return Error { message: format!("{before}{}", error.message), ..error.clone() };
            }
        }
        let fault = match kind {
            ErrorKind::Invalid | ErrorKind::Denied => Fault::Recipe,
            ErrorKind::Pending => Fault::Host,
            ErrorKind::Missing | ErrorKind::Conflict | ErrorKind::Unavailable | ErrorKind::Failed => {
                Fault::Remote
            }
        };
        Error::new(kind, fault, text)
    }
}

/// Explains why a call ended early. `stderr` is what the guest wrote there.
pub(crate) fn explain(plugin: &str, error: &wasmtime::Error, stderr: &str) -> Error {
    if let Some(Stopped(error)) = error.downcast_ref() {
        return error.clone();
    }
    if let Some(passed) = error.downcast_ref::<Passed>() {
        return passed.explain(plugin);
    }
    if let Some(Broke(what)) = error.downcast_ref() {
        return Error::plugin(format!("plugin `{plugin}` broke the contract: {what}"))
            .hint("report this to the plugin's author");
    }
    let cause = if let Some(I32Exit(code)) = error.downcast_ref() {
        format!("plugin `{plugin}` called exit with code {code} instead of returning{}", words(stderr))
    } else if let Some(panic) = panic_text(stderr) {
        format!("plugin `{plugin}` panicked: {panic}")
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        let what = match trap {
            Trap::StackOverflow => "ran out of stack".to_owned(),
            Trap::UnreachableCodeReached => "aborted".to_owned(),
            other => format!("trapped: {other}"),
        };
        format!("plugin `{plugin}` {what}{}", words(stderr))
    } else {
        format!("plugin `{plugin}` failed: {error:#}{}", words(stderr))
    };
    Error::plugin(cause).hint("this is a fault of the plugin: report it to its author")
}

/// `: <text> (<place>)` of a Rust panic: «thread '…' panicked at <place>:», the text, and a note on backtraces.
fn panic_text(stderr: &str) -> Option<String> {
    let (_, rest) = stderr.rsplit_once(" panicked at ")?;
    let (place, rest) = rest.split_once('\n')?;
    let text = rest.split("note: run with `RUST_BACKTRACE").next().unwrap_or(rest).trim();
    Some(format!("{} ({})", tail(text), place.trim_end_matches(':')))
}

/// What the guest wrote last, for the end of a message.
fn words(stderr: &str) -> String {
    let text = tail(stderr.trim());
    if text.is_empty() { String::new() } else { format!("; the last it wrote to stderr: {text}") }
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(STDERR_TAIL);
    let from = (from..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    &text[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_its_text_and_its_place() {
        let stderr = "starting\n\nthread 'main' (1) panicked at src/lib.rs:10:5:\nno such table\nnote: run with \
                      `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        let error = explain("p", &Trap::UnreachableCodeReached.into(), stderr);
        assert_eq!(error.message, "plugin `p` panicked: no such table (src/lib.rs:10:5)");
        assert_eq!(error.fault, Fault::Plugin);
    }

    #[test]
    fn an_abort_shows_the_end_of_stderr() {
        let error =
            explain("p", &Trap::UnreachableCodeReached.into(), "memory allocation of 10 bytes failed\n");
        assert_eq!(
            error.message,
            "plugin `p` aborted; the last it wrote to stderr: memory allocation of 10 bytes failed"
        );
        assert_eq!(explain("p", &Trap::StackOverflow.into(), "").message, "plugin `p` ran out of stack");
    }

    #[test]
    fn what_a_guest_hands_on_keeps_code_and_hint() {
        let mut told = Told::default();
        let error = Error::conflict("table is there").hint("drop it").code("42P07");
        let text = told.tell(error.clone());
        assert_eq!(text, "table is there (42P07); drop it");
        let handed_on = told.recall(ErrorKind::Conflict, format!("copying users: {text}"));
        assert_eq!(handed_on.message, "copying users: table is there");
        assert_eq!((handed_on.code, handed_on.hint), (error.code, error.hint));
        let own = told.recall(ErrorKind::Failed, text);
        assert_eq!(own.hint, None);
    }

    #[test]
    fn a_tail_ends_on_a_character() {
        let text = "ü".repeat(STDERR_TAIL);
        assert!(tail(&text).len() <= STDERR_TAIL);
        assert!(!tail(&text).is_empty());
    }
}
