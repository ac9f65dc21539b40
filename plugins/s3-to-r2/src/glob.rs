//! Patterns over keys.

use godwit_sdk::prelude::*;

/// A pattern: `*` stands for anything but `/`, `**` for anything, `?` for one character but `/`; the rest is literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Literal(char),
    One,
    /// `true`: across `/`.
    Any(bool),
}

impl Glob {
    /// An empty pattern would match nothing but the empty key, which is a mistake.
    pub fn new(pattern: &str) -> Result<Self> {
        if pattern.is_empty() {
            return Err(Error::Invalid("a pattern of `include` or `exclude` is empty".to_owned()));
        }
        let mut pieces = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(char) = chars.next() {
            pieces.push(match char {
                '*' if chars.next_if_eq(&'*').is_some() => Piece::Any(true),
                '*' => Piece::Any(false),
                '?' => Piece::One,
                literal => Piece::Literal(literal),
            });
        }
        Ok(Self { pieces })
    }

    /// Takes time in the product of both lengths at most.
    pub fn matches(&self, key: &str) -> bool {
        // The pieces before which a match of the text so far may stand.
        let mut at = vec![false; self.pieces.len() + 1];
        at[0] = true;
        self.skip_any(&mut at);
        for char in key.chars() {
            let mut next = vec![false; at.len()];
            for (index, piece) in self.pieces.iter().enumerate().filter(|(index, _)| at[*index]) {
                match piece {
                    Piece::Literal(literal) if *literal == char => next[index + 1] = true,
                    Piece::One if char != '/' => next[index + 1] = true,
                    Piece::Any(across) if *across || char != '/' => next[index] = true,
                    _ => {}
                }
            }
            self.skip_any(&mut next);
            at = next;
        }
        at[self.pieces.len()]
    }

    /// `*` and `**` also stand for nothing.
    fn skip_any(&self, at: &mut [bool]) {
        for (index, piece) in self.pieces.iter().enumerate() {
            if at[index] && matches!(piece, Piece::Any(_)) {
                at[index + 1] = true;
            }
        }
    }
}

/// Which keys take part.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub include: Vec<Glob>,
    pub exclude: Vec<Glob>,
}

impl Filter {
    pub fn admits(&self, key: &str) -> bool {
        (self.include.is_empty() || self.include.iter().any(|glob| glob.matches(key)))
            && !self.exclude.iter().any(|glob| glob.matches(key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, key: &str) -> bool {
        Glob::new(pattern).unwrap().matches(key)
    }

    #[test]
    fn stars_stop_at_slashes_and_double_stars_do_not() {
        for (pattern, key, expected) in [
            ("*.jpg", "a.jpg", true),
            ("*.jpg", "a/b.jpg", false),
            ("**.jpg", "a/b.jpg", true),
            ("datasets/*/images/*.jpg", "datasets/7/images/a.jpg", true),
            ("datasets/*/images/*.jpg", "datasets/7/8/images/a.jpg", false),
            ("datasets/**", "datasets/", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("a?c", "a\u{fc}c", true),
            ("**", "", true),
            ("[a].*", "[a].b", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn a_filter_includes_then_excludes() {
        let glob = |pattern| Glob::new(pattern).unwrap();
        let filter = Filter { include: vec![glob("a/**")], exclude: vec![glob("**.tmp")] };
        assert!(filter.admits("a/b") && !filter.admits("a/b.tmp") && !filter.admits("b"));
        assert!(Filter::default().admits("anything"));
    }

    proptest! {
        #[test]
        fn a_literal_matches_itself_alone(key in "[a-z/.%+ \u{fc}]{1,20}", other in "[a-z/.%+ \u{fc}]{1,20}") {
            prop_assert!(matches(&key, &key));
            prop_assert_eq!(matches(&key, &other), key == other);
            prop_assert!(matches("**", &other));
        }
    }
}
