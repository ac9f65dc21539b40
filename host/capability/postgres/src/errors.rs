//! What a server's refusal means: SQLSTATE to class and next step.

use godwit_model::{Error, ErrorKind, Fault};

/// One row of the class map. The longest `code` that begins a SQLSTATE decides.
struct Class {
    code: &'static str,
    kind: ErrorKind,
    hint: Option<&'static str>,
}

const fn row(code: &'static str, kind: ErrorKind, hint: Option<&'static str>) -> Class {
    Class { code, kind, hint }
}

/// PostgreSQL manual, appendix A «PostgreSQL Error Codes». Two letters are a class, five a condition.
const CLASSES: &[Class] = &[
    row("08", ErrorKind::Unavailable, None),
    row("0A", ErrorKind::Failed, None),
    row("22", ErrorKind::Failed, None),
    row(
        "22021",
        ErrorKind::Failed,
        Some("the bytes are no text in that encoding: use a target in the encoding that they are in"),
    ),
    row(
        "22P05",
        ErrorKind::Failed,
        Some(
            "one of the two encodings lacks the character: use a target in UTF8 or in the source's encoding",
        ),
    ),
    row(
        "23",
        ErrorKind::Failed,
        Some("a row breaks a constraint of the target: mend the row or the constraint"),
    ),
    row(
        "25006",
        ErrorKind::Failed,
        Some("the server or the role is read-only: use a primary and a role that may write"),
    ),
    row("25P03", ErrorKind::Unavailable, None),
    row(
        "26000",
        ErrorKind::Failed,
        Some("a transaction pooler sits in between: use the server's direct endpoint"),
    ),
    row("28", ErrorKind::Failed, Some("check user, password and database of the connection")),
    row("3D000", ErrorKind::Missing, Some("the database doesn't exist: create it or correct the name")),
    row("3F000", ErrorKind::Missing, None),
    row("40", ErrorKind::Unavailable, None),
    row("42", ErrorKind::Failed, None),
    row(
        "42501",
        ErrorKind::Failed,
        Some("grant the missing privilege to the role of this connection, or use another role"),
    ),
    row("42601", ErrorKind::Invalid, None),
    row("42703", ErrorKind::Missing, None),
    row("42704", ErrorKind::Missing, None),
    row("42883", ErrorKind::Missing, None),
    row("42P01", ErrorKind::Missing, None),
    row("42P04", ErrorKind::Conflict, None),
    row("42P06", ErrorKind::Conflict, None),
    row("42P07", ErrorKind::Conflict, None),
    row("42701", ErrorKind::Conflict, None),
    row("42710", ErrorKind::Conflict, None),
    row("42723", ErrorKind::Conflict, None),
    row("53100", ErrorKind::Failed, Some("the server's disk is full: free space there, then resume")),
    row("53200", ErrorKind::Unavailable, Some("the server ran out of memory")),
    row(
        "53300",
        ErrorKind::Unavailable,
        Some("the server has no connection free: lower `max_connections` of the connection"),
    ),
    row("53", ErrorKind::Failed, None),
    row("55006", ErrorKind::Unavailable, Some("somebody else uses the object: end their sessions")),
    row("55P03", ErrorKind::Unavailable, Some("another session holds a lock on the object")),
    row("57014", ErrorKind::Failed, Some("the statement was cancelled on the server")),
    row("57P01", ErrorKind::Unavailable, None),
    row("57P02", ErrorKind::Unavailable, None),
    row("57P03", ErrorKind::Unavailable, None),
    row("57P04", ErrorKind::Missing, None),
    row("57P05", ErrorKind::Unavailable, None),
];

/// The class of a SQLSTATE and the next step it suggests.
pub fn classify(sqlstate: &str) -> (ErrorKind, Option<&'static str>) {
    CLASSES
        .iter()
        .filter(|class| sqlstate.starts_with(class.code))
        .max_by_key(|class| class.code.len())
        .map_or((ErrorKind::Failed, None), |class| (class.kind, class.hint))
}

/// What a server answered instead of a result, with what is needed to name the culprit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub error: Box<Error>,
    /// Statements of the same request that were completed before.
    pub completed: usize,
    /// Where in the request's text, in characters from 1.
    pub position: Option<usize>,
    /// `schema.table` and the constraint, where the server names them.
    pub constraint: Option<Box<(String, String)>>,
}

impl Failure {
    pub fn is(&self, sqlstate: &str) -> bool {
        self.error.code.as_deref() == Some(sqlstate)
    }

    pub fn context(mut self, what: impl std::fmt::Display) -> Self {
        *self.error = self.error.clone().context(what);
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error: Box::new(error), completed: 0, position: None, constraint: None }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        *failure.error
    }
}

/// The fields of an ErrorResponse.
#[derive(Default)]
pub struct ServerFields {
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub context: Option<String>,
    pub position: Option<usize>,
    pub schema: Option<String>,
    pub table: Option<String>,
    pub constraint: Option<String>,
}

/// Turns a server's error into ours. `at` names the server without credentials.
pub fn server_failure(at: &str, fields: ServerFields, completed: usize) -> Failure {
    let (kind, hint) = classify(&fields.code);
    let fault = if fields.code.starts_with("28") { Fault::Recipe } else { Fault::Remote };
    let mut message = format!("{at}: {}", fields.message);
    if let Some(detail) = &fields.detail {
        message.push_str(&format!("; {detail}"));
    }
    if let Some(context) = fields.context.as_deref().and_then(|c| c.lines().next()) {
        message.push_str(&format!(" [{context}]"));
    }
    let mut error = Error::new(kind, fault, message).code(fields.code);
    // The server says what it knows of the cause, we what to do about it here.
    match (fields.hint.as_deref(), hint) {
        (Some(theirs), Some(ours)) => error = error.hint(format!("{}; {ours}", theirs.trim_end_matches('.'))),
        (Some(hint), None) | (None, Some(hint)) => error = error.hint(hint),
        (None, None) => {}
    }
    let constraint = fields.constraint.map(|constraint| {
        let table = format!("{}.{}", fields.schema.unwrap_or_default(), fields.table.unwrap_or_default());
        Box::new((table, constraint))
    });
    Failure { error: Box::new(error), completed, position: fields.position, constraint }
}

/// A connection that broke or never came about.
pub fn io_error(at: &str, what: &str, error: &std::io::Error) -> Error {
    Error::unavailable(format!("{at}: {what}: {error}"))
        .hint("check that the server runs and can be reached from here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_code_decides() {
        assert_eq!(classify("53300").0, ErrorKind::Unavailable);
        assert_eq!(classify("53400").0, ErrorKind::Failed);
        assert_eq!(classify("08006").0, ErrorKind::Unavailable);
        assert_eq!(classify("42P01").0, ErrorKind::Missing);
        assert_eq!(classify("42P99").0, ErrorKind::Failed);
        assert_eq!(classify("23505").0, ErrorKind::Failed);
        assert_eq!(classify("XX000"), (ErrorKind::Failed, None));
        assert_eq!(classify("40P01").0, ErrorKind::Unavailable);
    }

    #[test]
    fn a_failure_names_server_cause_and_next_step() {
        let fields = ServerFields {
            code: "42501".into(),
            message: "permission denied for table users".into(),
            ..ServerFields::default()
        };
        let error: Error = server_failure("postgres://db.example.com:5432/app", fields, 0).into();
        assert_eq!(
            error.to_string(),
            "postgres://db.example.com:5432/app: permission denied for table users (42501)"
        );
        assert!(error.hint.is_some_and(|hint| hint.contains("privilege")));
    }
}
