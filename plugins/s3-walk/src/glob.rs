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

    /// How many `*`, `**` and `?` there are.
    pub fn wildcards(&self) -> usize {
        self.pieces.iter().filter(|piece| !matches!(piece, Piece::Literal(_))).count()
    }

    /// What each wildcard stands for, the leftmost ones for as little as possible; `None` where the key doesn't match.
    pub fn captures(&self, key: &str) -> Option<Vec<String>> {
        let chars: Vec<char> = key.chars().collect();
        // fits[p][c]: the pieces from `p` on match the characters from `c` on.
        let (pieces, length) = (self.pieces.len(), chars.len());
        let mut fits = vec![vec![false; length + 1]; pieces + 1];
        fits[pieces][length] = true;
        for piece in (0..pieces).rev() {
            for at in (0..=length).rev() {
                let step = at < length && fits[piece + 1][at + 1];
                fits[piece][at] = match self.pieces[piece] {
                    Piece::Literal(literal) => step && chars[at] == literal,
                    Piece::One => step && chars[at] != '/',
                    Piece::Any(across) => {
                        fits[piece + 1][at]
                            || (at < length && (across || chars[at] != '/') && fits[piece][at + 1])
                    }
                };
            }
        }
        if !fits[0][0] {
            return None;
        }
        let (mut captured, mut at) = (Vec::new(), 0);
        for piece in 0..pieces {
            let from = at;
            match self.pieces[piece] {
                Piece::Literal(_) => {
                    at += 1;
                    continue;
                }
                Piece::One => at += 1,
                Piece::Any(_) => {
                    while !fits[piece + 1][at] {
                        at += 1;
                    }
                }
            }
            captured.push(chars[from..at].iter().collect());
        }
        Some(captured)
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
    fn wildcards_are_captured_from_the_left() {
        let captures = |pattern: &str, key: &str| Glob::new(pattern).unwrap().captures(key);
        let some = |parts: &[&str]| Some(parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(captures("data/*/img/**", "data/7/img/a/b.jpg"), some(&["7", "a/b.jpg"]));
        assert_eq!(captures("**/*.?pg", "a/b/c.jpg"), some(&["a/b", "c", "j"]));
        assert_eq!(captures("*-*", "a-b-c"), some(&["a", "b-c"]));
        assert_eq!(captures("a/*", "a/b/c"), None);
        assert_eq!(captures("plain", "plain"), some(&[]));
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
