//! SQLite's failures in words for a person.

use std::path::Path;

use godwit_model::Error;

/// [`Error::code`] of a journal that somebody else has locked.
pub(super) const BUSY: &str = "SQLITE_BUSY";

/// What was being done to the journal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doing {
    Opening,
    Migrating,
    Reading,
    Writing,
}

impl Doing {
    fn words(self) -> &'static str {
        match self {
            Self::Opening => "opened",
            Self::Migrating => "brought to this version's format",
            Self::Reading => "read",
            Self::Writing => "written",
        }
    }
}

/// A result code of SQLite (<https://www.sqlite.org/rescode.html>) that has a cause a person can mend.
struct Code {
    /// The primary code: the low byte of an extended one.
    primary: i64,
    name: &'static str,
    cause: &'static str,
    next: &'static str,
    /// Every other write would fail alike, so that none of a group is tried alone.
    spoils_group: bool,
}

const CODES: &[Code] = &[
    Code {
        primary: 13,
        name: "SQLITE_FULL",
        cause: "the disk is full",
        next: "free some space and resume",
        spoils_group: true,
    },
    Code {
        primary: 5,
        name: BUSY,
        cause: "it is locked by another process",
        next: "wait until the other godwit (or whatever has the file open) has ended, and resume",
        spoils_group: true,
    },
    Code {
        primary: 6,
        name: "SQLITE_LOCKED",
        cause: "it is locked within this process",
        next: "resume; if it stays, report it",
        spoils_group: true,
    },
    Code {
        primary: 11,
        name: "SQLITE_CORRUPT",
        cause: "the file is damaged",
        next: "restore the state folder from a copy, or give another one",
        spoils_group: true,
    },
    Code {
        primary: 26,
        name: "SQLITE_NOTADB",
        cause: "the file is damaged or was never a journal",
        next: "restore the state folder from a copy, or give another one",
        spoils_group: true,
    },
    Code {
        primary: 10,
        name: "SQLITE_IOERR",
        cause: "the disk failed",
        next: "check the file system, and resume",
        spoils_group: true,
    },
    Code {
        primary: 8,
        name: "SQLITE_READONLY",
        cause: "it may not be written",
        next: "check the owner and the mode of the file and its folder",
        spoils_group: true,
    },
    Code {
        primary: 3,
        name: "SQLITE_PERM",
        cause: "access is denied",
        next: "check the owner and the mode of the file and its folder",
        spoils_group: true,
    },
    Code {
        primary: 14,
        name: "SQLITE_CANTOPEN",
        cause: "the file or its folder can't be opened",
        next: "check the owner and the mode of the file and its folder",
        spoils_group: true,
    },
    Code {
        primary: 7,
        name: "SQLITE_NOMEM",
        cause: "memory ran out",
        next: "free some memory and resume",
        spoils_group: true,
    },
    Code {
        primary: 18,
        name: "SQLITE_TOOBIG",
        cause: "one value is larger than a gigabyte",
        next: "give the step less to keep in one value",
        spoils_group: false,
    },
    Code {
        primary: 19,
        name: "SQLITE_CONSTRAINT",
        cause: "another process changed or forgot the run at the same time",
        next: "look at the run with `godwit runs`",
        spoils_group: false,
    },
];

fn code_of(error: &sqlx::Error) -> Option<&'static Code> {
    let extended: i64 = error.as_database_error()?.code()?.parse().ok()?;
    CODES.iter().find(|code| code.primary == extended & 0xff)
}

/// Whether the failure is not of one write but of the journal.
pub(super) fn spoils_group(error: &sqlx::Error) -> bool {
    // What is not a database's answer is a lost connection.
    error.as_database_error().is_none() || code_of(error).is_some_and(|code| code.spoils_group)
}

/// Names the file, the cause and the next step.
pub(super) fn from_sqlx(path: &Path, doing: Doing, error: &sqlx::Error) -> Error {
    let what = format!("the journal {} can't be {}", path.display(), doing.words());
    // SQLite's messages name tables and columns, never values.
    let said =
        error.as_database_error().map_or_else(|| error.to_string(), |known| known.message().to_owned());
    match code_of(error) {
        Some(code) => Error::host(format!("{what}: {} ({said})", code.cause)).code(code.name).hint(code.next),
        None => Error::host(format!("{what}: {said}")),
    }
}
