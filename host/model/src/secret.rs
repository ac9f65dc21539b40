//! Secrets and the opaque tokens that stand for them.
//!
//! A token looks like `gws_<name>_<12 hex>` between `⟦` and `⟧`. It is made from the run's id and the secret's name, so
//! that it stays the same when a run is resumed, and never from the value.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Digest, Error, RunId};

/// A text that is never shown: `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself: for the edge of a capability, and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The token that stands for secret `name` in run `run`.
pub fn token(run: &RunId, name: &str) -> String {
    let digest = Digest::of(format!("godwit-secret\0{run}\0{name}").as_bytes());
    format!("⟦gws_{name}_{}⟧", digest.short())
}

/// The secrets of a run by name, with their tokens.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    by_token: BTreeMap<String, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    name: String,
    value: Secret,
    in_url: bool,
}

/// A piece of a text that holds tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    Secret {
        value: &'a Secret,
        /// It is a part of a url as it was written there, with `%XX` for what a url can't hold.
        in_url: bool,
    },
}

impl Secrets {
    /// Adds a secret and returns its token. A name is added once; adding it again replaces its value.
    pub fn insert(&mut self, run: &RunId, name: &str, value: Secret) -> String {
        self.add(run, name, value, false)
    }

    /// Adds a part of a url as it was written there; see [`Piece::Secret`].
    pub fn insert_url_part(&mut self, run: &RunId, name: &str, value: Secret) -> String {
        self.add(run, name, value, true)
    }

    fn add(&mut self, run: &RunId, name: &str, value: Secret, in_url: bool) -> String {
        let token = token(run, name);
        self.by_token.insert(token.clone(), Known { name: name.to_owned(), value, in_url });
        token
    }

    /// Takes a text apart at its tokens.
    pub fn pieces<'a>(&'a self, text: &'a str) -> Vec<Piece<'a>> {
        let mut pieces = Vec::new();
        let mut rest = text;
        loop {
            let first = self
                .by_token
                .iter()
                .filter_map(|(token, known)| rest.find(token.as_str()).map(|at| (at, token.len(), known)));
            let Some((at, len, known)) = first.min_by_key(|(at, ..)| *at) else { break };
            if at > 0 {
                pieces.push(Piece::Text(&rest[..at]));
            }
            pieces.push(Piece::Secret { value: &known.value, in_url: known.in_url });
            rest = &rest[at + len..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest));
        }
        pieces
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Secrets) {
        self.by_token.extend(other.by_token);
    }

    /// Replaces each token in `text` by its value. A secret that `allowed` doesn't name stays a token and is returned
    /// as an error by its name; `None` allows all.
    pub fn reveal(&self, text: &str, allowed: Option<&[String]>) -> Result<String, String> {
        let mut out = text.to_owned();
        for (token, Known { name, value, .. }) in &self.by_token {
            if out.contains(token.as_str()) {
                if allowed.is_some_and(|allowed| !allowed.iter().any(|a| a == name)) {
                    return Err(name.clone());
                }
                out = out.replace(token.as_str(), value.expose());
            }
        }
        Ok(out)
    }

    /// Replaces each value and each token in `text` by `***`: the last defence before a log line is written.
    /// Values shorter than four bytes are left, as they would mask half of every text.
    pub fn redact(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (token, Known { value, .. }) in &self.by_token {
            out = out.replace(token.as_str(), "***");
            if value.expose().len() >= 4 {
                out = out.replace(value.expose(), "***");
            }
        }
        out
    }

    /// An error with the values and tokens in its message and its hint masked.
    pub fn redact_error(&self, mut error: Error) -> Error {
        error.message = self.redact(&error.message);
        error.hint = error.hint.map(|hint| self.redact(&hint));
        error
    }

    /// All values, for masking.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.by_token.values().map(|known| known.value.expose())
    }

    /// Whether `text` holds a token of this run.
    pub fn holds_token(&self, text: &str) -> bool {
        self.by_token.keys().any(|token| text.contains(token.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_value_nor_a_token_is_left_in_an_error() {
        let run = RunId::new("20261120-102600-0a1b");
        let mut secrets = Secrets::default();
        let token = secrets.insert(&run, "password", Secret::new("fake-but-secret"));
        let error = Error::failed(format!("refused {token}")).hint("not with fake-but-secret");
        let shown = secrets.redact_error(error);
        assert_eq!(shown.message, "refused ***");
        assert_eq!(shown.hint.as_deref(), Some("not with ***"));
        assert_eq!(format!("{:?} {}", Secret::new("x"), Secret::new("x")), "*** ***");
    }

    #[test]
    fn a_text_is_taken_apart_at_its_tokens() {
        let run = RunId::new("20261120-102600-0a1b");
        let mut secrets = Secrets::default();
        let (raw, part) = (Secret::new("fake%41"), Secret::new("u:fake%40word"));
        let one = secrets.insert(&run, "one", raw.clone());
        let two = secrets.insert_url_part(&run, "two", part.clone());
        assert_eq!(
            secrets.pieces(&format!("a{two}{one}b")),
            [
                Piece::Text("a"),
                Piece::Secret { value: &part, in_url: true },
                Piece::Secret { value: &raw, in_url: false },
                Piece::Text("b"),
            ]
        );
        assert_eq!(secrets.pieces(""), []);
    }

    #[test]
    fn a_token_is_revealed_only_where_it_is_allowed() {
        let run = RunId::new("20261120-102600-0a1b");
        let mut secrets = Secrets::default();
        let token = secrets.insert(&run, "password", Secret::new("fake-but-secret"));
        assert_eq!(token, super::token(&run, "password"), "a resumed run has the same token");
        let text = format!("postgres://app:{token}@db.example.com");
        assert_eq!(secrets.reveal(&text, Some(&[])), Err("password".to_owned()));
        let allowed = ["password".to_owned()];
        let revealed = secrets.reveal(&text, Some(&allowed)).unwrap();
        assert_eq!(revealed, "postgres://app:fake-but-secret@db.example.com");
    }
}
