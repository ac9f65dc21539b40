//! Settings that every session has, whatever server, role or database set.

use crate::config::Config;
use crate::quote::literal;
use crate::wire::Reply;

/// What decides how values are written and names are found; pinned alike at both ends, whatever server, role or
/// database set (manual, chapter 19 «Server Configuration»).
const PINS: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
    ("search_path", ""),
    ("row_security", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("synchronize_seqscans", "off"),
];

/// Pins that are no more than a default: nothing that is copied depends on them.
const DEFAULTS: [&str; 3] = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];

/// Whether a setting has to be as the pins have it, whatever a connection would like.
pub fn is_pinned(name: &str) -> bool {
    PINS.iter().any(|(pin, _)| pin.eq_ignore_ascii_case(name))
        && !DEFAULTS.iter().any(|default| default.eq_ignore_ascii_case(name))
}

/// One request that pins a session's settings, sets those of the connection, and answers the server process behind the
/// session. Bytes of a database that doesn't know its encoding come and go as they are, where every other one is told to
/// speak UTF-8, and would hold them against that.
pub fn request(config: &Config) -> String {
    let mut text: String = PINS.iter().map(|(name, value)| format!("SET {name} = '{value}'; ")).collect();
    if let Some(keepalive) = config.keepalive.filter(|_| !config.is_local()) {
        text += &format!(
            "SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {}; SET tcp_keepalives_count = {}; ",
            keepalive.idle, keepalive.interval, keepalive.count
        );
    }
    // Limits that only newer majors have.
    text += "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings \
             WHERE name IN ('idle_session_timeout', 'transaction_timeout'); ";
    text += "SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', false) \
             WHERE pg_catalog.getdatabaseencoding() = 'SQL_ASCII'; ";
    // The names hold letters, digits, `_` and `.` alone.
    text.extend(config.settings.iter().map(|(name, value)| format!("SET {name} = {}; ", literal(value))));
    text + "SELECT pg_catalog.pg_backend_pid()::text"
}

/// The server process that answered the pins.
pub fn backend(replies: &[Reply]) -> Option<u32> {
    replies.last()?.one()?.parse().ok()
}
