//! The one error type that crosses rooms: what class it is, whose fault, and what to do next.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `std::result::Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of an error; the same classes as `types.error` in the WIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request itself is wrong; asking again changes nothing.
    Invalid,
    /// Not granted.
    Denied,
    /// The thing isn't there.
    Missing,
    /// The thing is there, but not as expected: changed since, or known under the same key with another request.
    Conflict,
    /// The other side could not be reached or asked to wait; worth a retry.
    Unavailable,
    /// The other side refused, for a reason of its own.
    Failed,
    /// In a plan: the answer depends on an effect that was only recorded.
    Pending,
}

impl ErrorKind {
    /// The kebab-case name, as in the WIT and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Missing => "missing",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
            Self::Pending => "pending",
        }
    }
}

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The recipe, its inputs or its grants.
    Recipe,
    /// The plugin's code: a trap, a limit passed, a broken contract.
    Plugin,
    /// Godwit itself or the machine it runs on.
    Host,
    /// A server or a file system it talked to.
    Remote,
}

/// What went wrong, in words for a person, with its class and the next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    pub kind: ErrorKind,
    pub fault: Fault,
    /// Names the thing and the cause. Never holds a credential.
    pub message: String,
    /// The next thing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// SQLSTATE, HTTP status or errno name, where the other side gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl Error {
    pub fn new(kind: ErrorKind, fault: Fault, message: impl Into<String>) -> Self {
        Self { kind, fault, message: message.into(), hint: None, code: None }
    }

    /// The recipe, its inputs or a plugin's request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, Fault::Recipe, message)
    }

    /// A grant is missing.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Denied, Fault::Recipe, message)
    }

    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Missing, Fault::Remote, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, Fault::Remote, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, Fault::Remote, message)
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, Fault::Remote, message)
    }

    pub fn pending(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Pending, Fault::Host, message)
    }

    /// Godwit or its machine failed: a journal that can't be written, a full disk.
    pub fn host(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, Fault::Host, message)
    }

    /// The plugin broke: a trap, a limit, a contract not kept.
    pub fn plugin(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, Fault::Plugin, message)
    }

    /// Says what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    /// Puts `what` before the message: `what: message`.
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Worth trying again after a while.
    pub fn is_retryable(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }

    pub fn is_pending(&self) -> bool {
        self.kind == ErrorKind::Pending
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(code) = &self.code {
            write!(f, " ({code})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
