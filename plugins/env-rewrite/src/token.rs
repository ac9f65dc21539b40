//! Secret tokens: what a credential is to a plugin.
//!
//! A token looks like `⟦gws_<name>_<12 hex>⟧`. A plugin may put it into longer texts; the host writes the value.

const OPEN: &str = "⟦gws_";
const CLOSE: &str = "⟧";

/// A text cut at its tokens.
#[derive(Debug, PartialEq, Eq)]
pub struct Pieces<'a> {
    /// One more than there are tokens.
    pub literals: Vec<&'a str>,
}

impl<'a> Pieces<'a> {
    pub fn of(text: &'a str) -> Self {
        let mut literals = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(OPEN)
            && let Some((_, after)) = after.split_once(CLOSE)
        {
            literals.push(before);
            rest = after;
        }
        literals.push(rest);
        Self { literals }
    }

    pub fn has_token(&self) -> bool {
        self.literals.len() > 1
    }

    /// Whether a text can be what became of this one: the literals in order, with something in each token's place.
    pub fn admits(&self, text: &str) -> bool {
        let [first, .., last] = self.literals.as_slice() else {
            return self.literals == [text];
        };
        let Some(mut rest) = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
            return false;
        };
        for literal in &self.literals[1..self.literals.len() - 1] {
            let Some(skip) = rest.chars().next().map(char::len_utf8) else { return false };
            let Some(found) = rest[skip..].find(literal) else { return false };
            rest = &rest[skip + found + literal.len()..];
        }
        !rest.is_empty()
    }
}

/// Whether a text holds a token.
pub fn has_token(text: &str) -> bool {
    Pieces::of(text).has_token()
}

/// What may stand for a value in a file that everybody reads: a URL keeps all but its credentials, another value that
/// holds a token is replaced as a whole.
pub fn public(value: &str, placeholder: &str) -> String {
    let pieces = Pieces::of(value);
    if !pieces.has_token() {
        value.to_owned()
    } else if value.contains("://") {
        pieces.literals.join(placeholder)
    } else {
        placeholder.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "⟦gws_db_password_0123456789ab⟧";

    #[test]
    fn placeholders_stand_for_what_is_secret() {
        assert_eq!(public("5432", "change_me"), "5432");
        assert_eq!(public(TOKEN, "change_me"), "change_me");
        assert_eq!(public(&format!("key-{TOKEN}"), "change_me"), "change_me");
        assert_eq!(
            public(&format!("postgres://app:{TOKEN}@db.example.com:5432/app?sslmode=require"), "change_me"),
            "postgres://app:change_me@db.example.com:5432/app?sslmode=require"
        );
    }

    #[test]
    fn admits_any_value_in_a_tokens_place() {
        let text = format!("postgres://{TOKEN}:{TOKEN}@h/d");
        let url = Pieces::of(&text);
        assert!(url.admits("postgres://u:p@h/d"));
        assert!(!url.admits("postgres://u:p@other/d"));
        assert!(!url.admits("postgres://@h/d"));
        assert!(!url.admits("postgres://u:@h/d"));
        assert!(Pieces::of(TOKEN).admits("x"));
        assert!(!Pieces::of(TOKEN).admits(""));
        assert!(Pieces::of("plain").admits("plain"));
        assert!(!Pieces::of("plain").admits("other"));
    }
}
