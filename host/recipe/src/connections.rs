//! The kinds of connection and their fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use godwit_model::capability::Connection;
use godwit_model::plugin::ConnectionKind;
use godwit_model::secret::Secrets;
use godwit_model::{ConnectionName, Json};

use crate::credentials;
use crate::diagnostic::{Fault, Report, suggest};
use crate::document::Node;
use crate::expression::describe;
use crate::template::Evaluated;

/// The type of a connection's field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldType {
    Text,
    /// Must not stand in the recipe in the open.
    Secret,
    Url(&'static [&'static str]),
    Whole {
        least: u64,
        most: u64,
    },
    /// Bytes.
    Size,
    OneOf(&'static [&'static str]),
}

/// A field of a connection, as a row of data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub name: &'static str,
    pub kind: FieldType,
    pub required: bool,
    pub summary: &'static str,
}

const fn field(name: &'static str, kind: FieldType, required: bool, summary: &'static str) -> Field {
    Field { name, kind, required, summary }
}

const SSL_MODES: &[&str] = &["disable", "prefer", "require", "verify-ca", "verify-full"];
/// libpq's words for a server's role.
const ATTRIBUTES: &[&str] = &["any", "read-write", "read-only", "primary", "standby", "prefer-standby"];
const SECONDS: FieldType = FieldType::Whole { least: 0, most: 100_000 };
const PORT: FieldType = FieldType::Whole { least: 1, most: 65_535 };
const BUDGET: FieldType = FieldType::Whole { least: 1, most: 1_000 };

/// libpq's names where there are such (PostgreSQL manual, section 34.1.2).
const POSTGRES: &[Field] = &[
    field(
        "url",
        FieldType::Url(&["postgres", "postgresql"]),
        false,
        "A connection string postgres://user:password@host:port/database?sslmode=…, or keywords and values (host=… \
         dbname=…); other fields win over its parts.",
    ),
    field(
        "host",
        FieldType::Text,
        false,
        "Host name or address; several, with commas between them, are tried in order.",
    ),
    field("port", PORT, false, "Port; 5432 unless given."),
    field("database", FieldType::Text, false, "Name of the database; the user's unless given."),
    field("user", FieldType::Text, false, "Name of the role."),
    field("password", FieldType::Secret, false, "Its password, by way of a secret input."),
    field("sslmode", FieldType::OneOf(SSL_MODES), false, "How TLS is used; prefer unless given."),
    field("sslrootcert", FieldType::Text, false, "A file of root certificates in PEM."),
    field("sslcert", FieldType::Text, false, "A file with the client's certificate in PEM."),
    field("sslkey", FieldType::Text, false, "A file with the key of the client's certificate in PEM."),
    field("passfile", FieldType::Text, false, "A password file; the one that libpq would use unless given."),
    field("service", FieldType::Text, false, "A service whose settings fill what isn't given here."),
    field("servicefile", FieldType::Text, false, "The file that defines the service."),
    field("max_connections", BUDGET, false, "The most connections that are open at once; 4 unless given."),
    field(
        "target_session_attrs",
        FieldType::OneOf(ATTRIBUTES),
        false,
        "What a server has to be; any unless given.",
    ),
    field(
        "load_balance_hosts",
        FieldType::OneOf(&["disable", "random"]),
        false,
        "Whether several hosts are tried from any of them on; disable unless given.",
    ),
    field("connect_timeout", SECONDS, false, "Seconds until a host is given up; 15 unless given."),
    field("options", FieldType::Text, false, "Settings of each session: -c name=value …"),
    field(
        "lock_timeout",
        FieldType::Text,
        false,
        "How long a statement waits for a lock, such as 30s; for ever unless given.",
    ),
    field(
        "statement_timeout",
        FieldType::Text,
        false,
        "How long a statement may take, such as 2h; for ever unless given.",
    ),
    field(
        "keepalives",
        FieldType::Whole { least: 0, most: 1 },
        false,
        "0 leaves idle connections to the system; 1 unless given.",
    ),
    field("keepalives_idle", SECONDS, false, "Seconds until an idle connection is probed; 60 unless given."),
    field("keepalives_interval", SECONDS, false, "Seconds until it is probed again; 10 unless given."),
    field("keepalives_count", SECONDS, false, "Probes until it is given up; 6 unless given."),
];

const S3: &[Field] = &[
    field(
        "endpoint",
        FieldType::Url(&["http", "https"]),
        false,
        "The S3 API's URL, without a bucket; AWS's unless given.",
    ),
    field("region", FieldType::Text, false, "Region; auto for Cloudflare R2."),
    field(
        "credentials",
        FieldType::OneOf(CREDENTIALS),
        false,
        "Where the keys come from: these fields, AWS's variables, a profile of AWS's files, or nowhere.",
    ),
    field("profile", FieldType::Text, false, "The profile; AWS_PROFILE's or default unless given."),
    field("access_key_id", FieldType::Text, false, "The access key's id."),
    field("secret_access_key", FieldType::Secret, false, "The access key itself, by way of a secret input."),
    field("session_token", FieldType::Secret, false, "A session token, by way of a secret input."),
    field("addressing", FieldType::OneOf(&["path", "virtual"]), false, "Where the bucket's name goes."),
    field("vendor", FieldType::Text, false, "The vendor, where the endpoint doesn't give it away."),
    field("max_connections", BUDGET, false, "The most connections that are open at once; 32 unless given."),
    field("max_bandwidth", FieldType::Size, false, "Bytes a second that are read and written, such as 50MB."),
    field(
        "max_requests_per_second",
        FieldType::Whole { least: 1, most: 1_000_000 },
        false,
        "Requests a second; without a limit unless given.",
    ),
];

/// Where an `s3` connection's keys come from.
const CREDENTIALS: &[&str] = &["keys", "environment", "profile", "anonymous"];

const DIR: &[Field] = &[field("path", FieldType::Text, true, "The folder.")];

pub(crate) const KINDS: [ConnectionKind; 3] =
    [ConnectionKind::Postgres, ConnectionKind::S3, ConnectionKind::Dir];

pub(crate) fn fields(kind: ConnectionKind) -> &'static [Field] {
    match kind {
        ConnectionKind::Postgres => POSTGRES,
        ConnectionKind::S3 => S3,
        ConnectionKind::Dir => DIR,
    }
}

pub(crate) fn kind_by_name(name: &str) -> Option<ConnectionKind> {
    KINDS.into_iter().find(|kind| kind.name() == name)
}

/// Finds the kind of a declared connection.
pub(crate) fn read_kind(name: &str, node: &Node, report: &mut Report<'_>) -> Option<ConnectionKind> {
    let names = KINDS.map(ConnectionKind::name);
    let Some(member) = node.member("kind") else {
        report.add(
            Fault::new(
                "recipe::missing-key",
                &crate::reader::opening(node),
                format!("connection `{name}` has no `kind`"),
            )
            .hint("\"kind\": \"postgres\", \"s3\" or \"dir\""),
        );
        return None;
    };
    let Some(text) = member.value.as_str() else {
        report.add(crate::reader::wrong_type(
            &member.value,
            &format!("`kind` of connection `{name}`"),
            "a string",
        ));
        return None;
    };
    let kind = kind_by_name(text);
    if kind.is_none() {
        report.add(
            Fault::new(
                "recipe::connection-kind",
                &member.value.span,
                format!("there is no kind of connection called `{text}`"),
            )
            .hint_opt(suggest(text, names)),
        );
    }
    kind
}

/// Checks the evaluated fields of a connection and makes it. `evaluated` lacks `kind`.
pub(crate) fn make(
    name: &str,
    kind: ConnectionKind,
    node: &Node,
    evaluated: &Evaluated,
    secrets: &Arc<Secrets>,
    report: &mut Report<'_>,
) -> Connection {
    let mut settings = BTreeMap::new();
    let empty = serde_json::Map::new();
    let given = evaluated.value.as_object().unwrap_or(&empty);
    for field in fields(kind) {
        let path = [field.name.to_owned()];
        let hole = evaluated.holes.iter().any(|hole| hole.path == path);
        let value = given.get(field.name).filter(|value| !value.is_null());
        if hole {
            continue;
        }
        match value {
            None if field.required || is_needed(kind, field.name, given) => report.add(
                Fault::new(
                    "recipe::missing-key",
                    &node
                        .member(field.name)
                        .map_or_else(|| crate::reader::opening(node), |m| m.value.span.clone()),
                    format!("connection `{name}` of kind {} has no `{}`", kind.name(), field.name),
                )
                .hint(format!("\"{}\": {}", field.name, placeholder(field))),
            ),
            None => {}
            Some(value) => match check_field(field, value) {
                Ok(value) => {
                    settings.insert(field.name.to_owned(), value);
                }
                Err((code, why, hint)) => {
                    let what = format!("`{}` of connection `{name}` {why}", field.name);
                    report.add(Fault::new(code, &node.span_at(&path), what).hint_opt(hint));
                }
            },
        }
    }
    match kind {
        ConnectionKind::Postgres => check_postgres(name, node, report),
        ConnectionKind::S3
            if node.member("endpoint").is_none() && node.member("region").is_none() && !tells_more(given) =>
        {
            report.add(
                Fault::new(
                    "recipe::missing-key",
                    &crate::reader::opening(node),
                    format!("connection `{name}` of kind s3 has neither `endpoint` nor `region`"),
                )
                .hint("\"endpoint\": \"https://…\"; for AWS itself, \"region\" is enough"),
            );
        }
        ConnectionKind::S3 | ConnectionKind::Dir => {}
    }
    Connection { name: ConnectionName::new(name), kind, settings, secrets: secrets.clone() }
}

/// Whether a field is needed because of others: keys, where they come from nowhere else.
fn is_needed(kind: ConnectionKind, field: &str, given: &serde_json::Map<String, Json>) -> bool {
    let own = matches!(given.get("credentials").and_then(Json::as_str), None | Some("keys"));
    kind == ConnectionKind::S3 && own && ["access_key_id", "secret_access_key"].contains(&field)
}

/// Whether endpoint and region may come from the environment or from a profile.
fn tells_more(given: &serde_json::Map<String, Json>) -> bool {
    matches!(given.get("credentials").and_then(Json::as_str), Some("environment" | "profile"))
}

fn placeholder(field: &Field) -> String {
    match field.kind {
        FieldType::Secret => format!("\"${{inputs.{}}}\"", field.name),
        FieldType::Whole { least, .. } => least.to_string(),
        FieldType::OneOf(choices) => format!("\"{}\"", choices.first().copied().unwrap_or_default()),
        FieldType::Url(schemes) => format!("\"{}://…\"", schemes.first().copied().unwrap_or_default()),
        FieldType::Size => "\"50MB\"".to_owned(),
        FieldType::Text => "\"…\"".to_owned(),
    }
}

type Trouble = (&'static str, String, Option<String>);

fn check_field(field: &Field, value: &Json) -> Result<Json, Trouble> {
    let wrong = |wanted: &str| ("recipe::type", format!("must be {wanted}, not {}", describe(value)), None);
    match field.kind {
        FieldType::Text => {
            let text = value.as_str().ok_or_else(|| wrong("a string"))?;
            if text.is_empty() {
                return Err(("recipe::connection", "is empty".to_owned(), None));
            }
            if field.name == "path" && credentials::holds_token(text) {
                return Err(("recipe::secret-misuse", "holds a secret".to_owned(), None));
            }
            Ok(value.clone())
        }
        FieldType::Secret => {
            let text = value.as_str().ok_or_else(|| wrong("a string"))?;
            if credentials::is_open(text) {
                return Err((
                    "recipe::plain-credential",
                    "holds a credential in the open".to_owned(),
                    Some(format!(
                        "declare an input {{ \"type\": \"secret\" }} and write \"{}\": {}",
                        field.name,
                        placeholder(field)
                    )),
                ));
            }
            Ok(value.clone())
        }
        FieldType::Url(schemes) => {
            let text = value.as_str().ok_or_else(|| wrong("a string"))?;
            if let Some(found) = credentials::find(text) {
                return Err((
                    "recipe::plain-credential",
                    format!("is {found} in the open"),
                    Some(format!(
                        "declare an input {{ \"type\": \"url\" }} and write \"{0}\": \"${{inputs.{0}}}\"",
                        field.name
                    )),
                ));
            }
            if schemes.contains(&"postgres") && credentials::is_conninfo(text) {
                return match credentials::open_keyword(text) {
                    Some(keyword) => Err((
                        "recipe::plain-credential",
                        format!("holds the `{keyword}` in the open"),
                        Some(format!(
                            "declare an input {{ \"type\": \"secret\" }} and write \"{keyword}=${{inputs.…}}\""
                        )),
                    )),
                    None => Ok(value.clone()),
                };
            }
            // A whole url in one secret can't be looked into; the capability will.
            if !text.starts_with('⟦') {
                credentials::split(text)
                    .map_err(|why| ("recipe::connection", format!("is no url: {why}"), None))?;
                let scheme = text.split("://").next().unwrap_or_default();
                if !schemes.contains(&scheme) {
                    let wanted: Vec<String> = schemes.iter().map(|s| format!("{s}://")).collect();
                    return Err((
                        "recipe::connection",
                        format!("begins with `{scheme}://`, not with {}", wanted.join(" or ")),
                        None,
                    ));
                }
            }
            Ok(value.clone())
        }
        FieldType::Whole { least, most } => {
            let wanted = format!("a whole number from {least} to {most}");
            let number = match value {
                Json::Number(number) => number.as_u64(),
                // What comes from an input of type string.
                Json::String(text) => text.parse().ok(),
                _ => return Err(wrong(&wanted)),
            };
            match number {
                Some(number) if (least..=most).contains(&number) => Ok(Json::from(number)),
                _ => Err(("recipe::type", format!("must be {wanted}"), None)),
            }
        }
        FieldType::Size => {
            let wanted = "a size such as 50MB or 64KiB";
            let bytes = match value {
                Json::Number(number) => number.as_u64(),
                Json::String(text) => crate::units::size(text),
                _ => return Err(wrong(wanted)),
            };
            match bytes {
                Some(bytes) if bytes > 0 => Ok(Json::from(bytes)),
                _ => Err(("recipe::type", format!("must be {wanted}"), None)),
            }
        }
        FieldType::OneOf(choices) => {
            let text = value.as_str().ok_or_else(|| wrong("a string"))?;
            if !choices.contains(&text) {
                let hint = suggest(text, choices.iter().copied());
                return Err(("recipe::connection", format!("can't be `{text}`"), hint));
            }
            Ok(value.clone())
        }
    }
}

fn check_postgres(name: &str, node: &Node, report: &mut Report<'_>) {
    const BESIDE: &[&str] = &["host", "port"];
    match node.member("url") {
        Some(_) => {
            for other in BESIDE {
                if let Some(member) = node.member(other) {
                    report.add(
                        Fault::new(
                            "recipe::connection",
                            &member.key_span,
                            format!("connection `{name}` has both `url` and `{other}`"),
                        )
                        .hint("give the url, or the single fields"),
                    );
                }
            }
        }
        None if node.member("host").is_none() && node.member("service").is_none() => report.add(
            Fault::new(
                "recipe::missing-key",
                &crate::reader::opening(node),
                format!("connection `{name}` of kind postgres has none of `url`, `host` and `service`"),
            )
            .hint("\"url\": \"${inputs.…}\" with an input of type url"),
        ),
        None => {}
    }
}
