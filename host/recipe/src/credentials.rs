//! Where a url holds a credential.
//!
//! Everything works on the text as it was given: a url parser would normalise it, and what comes back from its token
//! has to be byte for byte what was given.

use std::ops::Range;

use godwit_model::Json;

/// Query parameters whose value is a credential, in lower case: libpq's (PostgreSQL manual, section 34.1.2), those of
/// S3's presigned URLs, and the usual names.
const SECRET_PARAMETERS: &[&str] = &[
    "access_token",
    "api_key",
    "apikey",
    "passwd",
    "password",
    "pwd",
    "secret",
    "sig",
    "signature",
    "sslpassword",
    "token",
    "x-amz-security-token",
    "x-amz-signature",
];

/// A url taken apart at its credentials.
#[derive(Debug)]
pub(crate) struct Credentials {
    text: String,
    /// In the order of the text: the part's name and its bytes.
    parts: Vec<(String, Range<usize>)>,
    /// The bytes of `user:password`, with the `@` after them left out.
    user_info: Option<Range<usize>>,
}

/// Finds the credentials of a url. The error says what is wrong, without showing the text.
pub(crate) fn split(text: &str) -> Result<Credentials, String> {
    let scheme = text.find("://").ok_or("it has no `scheme://`")?;
    let good_scheme = text[..scheme].starts_with(|c: char| c.is_ascii_alphabetic())
        && text[..scheme].chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !good_scheme {
        return Err("what stands before `://` is no scheme".to_owned());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it holds a space or a control character; write a space as %20".to_owned());
    }
    let start = scheme + 3;
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    let authority = &text[start..end];
    let mut parts = Vec::new();
    let mut user_info = None;
    match authority.rfind('@') {
        // An empty user information is none.
        Some(0) => {}
        Some(at) => {
            user_info = Some(start..start + at);
            parts.push(("userinfo".to_owned(), start..start + at));
        }
        // `user:p/w@host`: the password would pass as a path, and be shown.
        None if authority.contains(':') && text[end..].contains('@') => {
            return Err("a `/`, `?` or `#` in its password must be written as %2F, %3F or %23 \
                        (and an `@` after the host as %40)"
                .to_owned());
        }
        None => {}
    }
    let query_end = text[end..].find('#').map_or(text.len(), |at| end + at);
    if let Some(query) = text[end..query_end].find('?') {
        let mut at = end + query + 1;
        for pair in text[at..query_end].split('&') {
            let pair_start = at;
            at += pair.len() + 1;
            let Some((name, value)) = pair.split_once('=') else { continue };
            if !value.is_empty() && SECRET_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()) {
                let value_start = pair_start + name.len() + 1;
                parts.push((name.to_ascii_lowercase(), value_start..value_start + value.len()));
            }
        }
    }
    Ok(Credentials { text: text.to_owned(), parts, user_info })
}

impl Credentials {
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The url with each credential replaced.
    pub fn replace(&self, mut with: impl FnMut(&str, &str) -> String) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for (name, range) in &self.parts {
            out.push_str(&self.text[at..range.start]);
            out.push_str(&with(name, &self.text[range.clone()]));
            at = range.end;
        }
        out.push_str(&self.text[at..]);
        out
    }

    /// The url with its credentials cut out.
    pub fn without(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for (_, range) in &self.parts {
            out.push_str(&self.text[at..range.start]);
            at = range.end;
            if self.user_info.as_ref() == Some(range) {
                at += 1; // the `@`
            }
        }
        out.push_str(&self.text[at..]);
        out
    }

    /// The password alone, decoded, where it is long enough and no everyday word to be masked in every text.
    pub fn password(&self) -> Option<String> {
        let (user, password) = self.text[self.user_info.clone()?].split_once(':')?;
        let decoded = percent_decode(password);
        (decoded.len() >= 6 && decoded != user && !self.text.starts_with(&decoded)).then_some(decoded)
    }

    /// The password as it stands in the text; empty where there is none.
    fn raw_password(&self) -> &str {
        self.user_info
            .clone()
            .and_then(|range| self.text[range].split_once(':'))
            .map_or("", |(_, password)| password)
    }
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let decoded = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        match decoded {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What kind of credential a plain text holds in the open: a url's password or secret parameter. A token is none.
pub(crate) fn find(text: &str) -> Option<String> {
    let split = split(text).ok()?;
    if is_open(split.raw_password()) {
        return Some("a url with a password".to_owned());
    }
    split
        .parts
        .iter()
        .find(|(_, range)| Some(range) != split.user_info.as_ref() && is_open(&split.text[range.clone()]))
        .map(|(name, _)| format!("a url with the parameter `{name}`"))
}

/// Whether a text is keywords and values as libpq takes them (`host=… dbname=…`), not a url.
pub(crate) fn is_conninfo(text: &str) -> bool {
    let first = text.split_once('=').map_or("", |(first, _)| first.trim());
    !first.is_empty() && first.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// The keyword of such a text whose value is a credential in the open.
pub(crate) fn open_keyword(text: &str) -> Option<&'static str> {
    SECRET_PARAMETERS.iter().copied().find(|keyword| {
        text.match_indices(keyword).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + keyword.len()..]);
            let begins = before.chars().next_back().is_none_or(char::is_whitespace);
            let Some(value) = after.trim_start().strip_prefix('=').map(str::trim_start) else { return false };
            let value = value.trim_start_matches('\'');
            begins && !value.starts_with('⟦') && !value.starts_with(char::is_whitespace) && !value.is_empty()
        })
    })
}

/// [`find`] in any text of a JSON value.
pub(crate) fn find_in(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => find(text),
        Json::Array(items) => items.iter().find_map(find_in),
        Json::Object(members) => members.values().find_map(find_in),
        _ => None,
    }
}

/// Whether a credential stands in the open: not empty, and no token in it.
pub(crate) fn is_open(value: &str) -> bool {
    !value.is_empty() && !holds_token(value)
}

/// Whether a text holds a token of any run; see [`godwit_model::secret::token`].
pub(crate) fn holds_token(text: &str) -> bool {
    text.contains("⟦gws_")
}

/// [`holds_token`] for any text of a JSON value, keys included.
pub(crate) fn json_holds_token(value: &Json) -> bool {
    match value {
        Json::String(text) => holds_token(text),
        Json::Array(items) => items.iter().any(json_holds_token),
        Json::Object(members) => {
            members.iter().any(|(key, value)| holds_token(key) || json_holds_token(value))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_wherever_a_url_holds_them() {
        for (url, parts, without) in [
            ("postgres://127.0.0.1:5432/db", vec![], "postgres://127.0.0.1:5432/db"),
            ("postgres://u:p@127.0.0.1/db", vec!["u:p"], "postgres://127.0.0.1/db"),
            ("postgres://u:p@a@example.com/db", vec!["u:p@a"], "postgres://example.com/db"),
            ("postgres://u@example.com", vec!["u"], "postgres://example.com"),
            (
                "postgres://u:p@h/db?sslmode=require&sslpassword=x&Password=y#f",
                vec!["u:p", "x", "y"],
                "postgres://h/db?sslmode=require&sslpassword=&Password=#f",
            ),
            ("https://example.com/?token=", vec![], "https://example.com/?token="),
            ("https://example.com/@user", vec![], "https://example.com/@user"),
            ("postgres://@h/db", vec![], "postgres://@h/db"),
            ("postgres://h1:1,h2:2/db?host=/run", vec![], "postgres://h1:1,h2:2/db?host=/run"),
        ] {
            let split = split(url).unwrap();
            let mut found = Vec::new();
            let tokenised = split.replace(|_, value| {
                found.push(value.to_owned());
                format!("<{}>", found.len())
            });
            assert_eq!(found, parts, "{url}");
            assert_eq!(split.without(), without, "{url}");
            let mut back = tokenised;
            for (index, value) in found.iter().enumerate() {
                back = back.replace(&format!("<{}>", index + 1), value);
            }
            assert_eq!(back, url);
        }
    }

    #[test]
    fn keywords_and_values_hide_their_passwords_too() {
        for (text, open) in [
            ("host=h password=fake-word", Some("password")),
            ("password = 'fake-word' host=h", Some("password")),
            ("host=h sslpassword=x", Some("sslpassword")),
            ("host=h password=⟦gws_x⟧ user=u", None),
            ("host=h password='⟦gws_x⟧' user=u", None),
            ("host=password.example.com user=password", None),
            ("host=h password=", None),
        ] {
            assert!(is_conninfo(text), "{text}");
            assert_eq!(open_keyword(text), open, "{text}");
        }
        for url in ["postgres://h/x?sslmode=require", "⟦gws_x⟧", "h", "=x"] {
            assert!(!is_conninfo(url), "{url}");
        }
    }

    #[test]
    fn a_password_that_would_pass_as_a_path_is_refused_and_not_shown() {
        for url in
            ["postgres://u:p/w@example.com/db", "postgres://u:1/hunter2@example.com/db", "no url", "a b://x"]
        {
            let why = split(url).unwrap_err();
            assert!(!why.contains("hunter2") && !why.contains("p/w"), "{why}");
        }
    }

    #[test]
    fn the_password_alone_is_known_to_redaction() {
        assert_eq!(split("postgres://u:se%40cret@h").unwrap().password().as_deref(), Some("se@cret"));
        assert_eq!(split("postgres://postgres:postgres@h").unwrap().password(), None);
    }
}
