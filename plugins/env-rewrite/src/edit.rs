//! Changing a file, absolutely: applied to its own result, an edit changes nothing.
//!
//! That is what lets a step resume. The step's own effect changes what it reads, and no content may be journalled, so
//! the content has to come out the same from the file as it was and from the file as it was left.

use std::collections::BTreeSet;

use godwit_sdk::prelude::*;

use crate::envfile::{EnvFile, Line, Pair, Quote};
use crate::token::{Pieces, has_token, public};
use crate::value::{decode, encode, holds};

/// The quotes of values that are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Quoting {
    /// As they are; none around a new key's value unless it needs them.
    #[default]
    Keep,
    /// Single quotes, also around a secret of which nobody knows whether it needs them.
    Single,
    Double,
}

/// A checked set of changes of one file.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    pub set: Vec<(String, String)>,
    pub unset: Vec<String>,
    pub rename: Vec<(String, String)>,
    pub map: Vec<(String, Vec<(String, String)>)>,
    pub quoting: Quoting,
    /// Whether a renamed or mapped key may be absent, and a mapped one may have another value: example files.
    pub lenient: bool,
}

/// What an edit makes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    pub content: Vec<u8>,
    pub facts: Facts,
}

/// What was found and decided, without values: journalled, so that a resumed call tells the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub created: bool,
    pub changed: bool,
    /// Keys that were set and not there before.
    pub added: Vec<String>,
    /// Keys to be unset that were not there.
    pub absent: Vec<String>,
    /// Pieces of the file afterwards.
    pub lines: usize,
    pub secrets: Vec<SecretShape>,
}

/// How a line that holds a secret is built. When it reads otherwise once the value is in, the value broke it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretShape {
    pub key: String,
    /// Bytes of the equals sign with the blanks around it.
    pub equals: usize,
    /// `none`, `single`, `double` or `backtick`.
    pub quote: String,
    /// Bytes of blanks and comment behind the value.
    pub tail: usize,
}

impl SecretShape {
    fn of(pair: &Pair) -> Self {
        Self {
            key: pair.key.clone(),
            equals: pair.equals.len(),
            quote: pair.quote.name().to_owned(),
            tail: pair.tail.len(),
        }
    }
}

impl Edit {
    /// The same changes for a file that everybody reads.
    pub fn for_example(&self, placeholder: &str) -> Self {
        let set = self.set.iter().map(|(key, value)| (key.clone(), public(value, placeholder))).collect();
        Self { set, lenient: true, ..self.clone() }
    }

    /// All keys that the edit names.
    pub fn touched(&self) -> impl Iterator<Item = &str> {
        let set = self.set.iter().map(|(key, _)| key);
        let renamed = self.rename.iter().flat_map(|(old, new)| [old, new]);
        let mapped = self.map.iter().map(|(key, _)| key);
        set.chain(&self.unset).chain(renamed).chain(mapped).map(String::as_str)
    }

    /// Applies the changes to a file's bytes; `None` is a file that isn't there.
    ///
    /// Fails with `missing` or `conflict` where the file isn't as the edit expects, and where the result would not read
    /// as it should: an unclosed quote elsewhere can do that.
    pub fn apply(&self, before: Option<&[u8]>) -> Result<Edited> {
        let before_bytes = before.unwrap_or_default();
        let edited = self.change(before_bytes)?;
        let after = EnvFile::parse(&edited.content);
        let is_sound = self.untouched(&EnvFile::parse(before_bytes)) == self.untouched(&after)
            && self.set.iter().all(|(key, value)| {
                after.has(key)
                    && after.pairs().filter(|p| p.key == *key).all(|p| decode(p) == value.as_bytes())
            })
            && self.change(&edited.content)?.content == edited.content;
        if !is_sound {
            return Err(Error::Conflict(
                "the file can't be changed without changing what else it says: look for a quote that isn't closed"
                    .to_owned(),
            ));
        }
        let secrets = self.set.iter().filter(|(_, value)| has_token(value)).filter_map(|(key, _)| {
            let pair = after.pairs().filter(|pair| pair.key == *key).last()?;
            Some(SecretShape::of(pair))
        });
        let facts = Facts {
            created: before.is_none(),
            changed: before != Some(&edited.content),
            lines: after.lines.len(),
            secrets: secrets.collect(),
            ..edited.facts
        };
        Ok(Edited { content: edited.content, facts })
    }

    fn change(&self, before: &[u8]) -> Result<Edited> {
        let mut file = EnvFile::parse(before);
        let mut facts = Facts::default();
        for (old, new) in &self.rename {
            match (file.has(old), file.has(new)) {
                (true, true) => {
                    return Err(Error::Conflict(format!(
                        "key `{old}` can't be renamed to `{new}`: both are there; unset one of them"
                    )));
                }
                (false, false) if !self.lenient => {
                    return Err(Error::Missing(format!(
                        "key `{old}` can't be renamed to `{new}`: it isn't there"
                    )));
                }
                _ => {}
            }
            for pair in file.pairs_mut().filter(|pair| pair.key == *old) {
                pair.key.clone_from(new);
            }
        }
        for key in &self.unset {
            if !file.has(key) {
                facts.absent.push(key.clone());
            }
            file.lines.retain(|line| !matches!(line, Line::Pair(pair) if pair.key == *key));
        }
        for (key, values) in &self.map {
            self.map_key(&mut file, key, values)?;
        }
        for (key, value) in &self.set {
            if !file.has(key) {
                facts.added.push(key.clone());
                let (quote, raw) = encode(self.style(Quote::None), value);
                file.append(key, quote, raw);
            }
            for pair in file.pairs_mut().filter(|pair| pair.key == *key) {
                (pair.quote, pair.raw) = encode(self.style(pair.quote), value);
            }
        }
        Ok(Edited { content: file.print(), facts })
    }

    fn map_key(&self, file: &mut EnvFile, key: &str, values: &[(String, String)]) -> Result<()> {
        if !file.has(key) && !self.lenient {
            return Err(Error::Missing(format!("key `{key}` can't be mapped: it isn't there")));
        }
        for pair in file.pairs_mut().filter(|pair| pair.key == key) {
            let value = decode(pair);
            if let Some((_, to)) = values.iter().find(|(from, _)| from.as_bytes() == value) {
                (pair.quote, pair.raw) = encode(self.style(pair.quote), to);
            } else if !self.lenient && !values.iter().any(|(_, to)| to.as_bytes() == value) {
                let known = values.iter().map(|(from, _)| format!("`{from}`")).collect::<Vec<_>>().join(", ");
                return Err(Error::Conflict(format!(
                    "key `{key}` can't be mapped: its value is none of those that `map` names ({known})"
                )));
            }
        }
        Ok(())
    }

    fn style(&self, now: Quote) -> Quote {
        match self.quoting {
            Quoting::Keep => now,
            Quoting::Single => Quote::Single,
            Quoting::Double => Quote::Double,
        }
    }

    /// What the file says beside the edit, as programs see it.
    fn untouched(&self, file: &EnvFile) -> Vec<(String, Vec<u8>)> {
        let touched: BTreeSet<&str> = self.touched().collect();
        file.pairs()
            .filter(|pair| !touched.contains(pair.key.as_str()))
            .map(|pair| (pair.key.clone(), decode(pair)))
            .collect()
    }

    /// Checks a file that the edit was applied to, one check for each key. `facts` are those of the first call.
    pub fn verify(&self, path: &str, content: &[u8], facts: &Facts) -> Vec<Check> {
        let file = EnvFile::parse(content);
        let name = |key: &str| format!("{path}: {key}");
        let mut checks = Vec::new();
        for (key, value) in &self.set {
            checks.push(self.verify_set(&file, name(key), key, value, facts));
        }
        for key in &self.unset {
            checks.push(Check::that(
                name(key),
                !file.has(key),
                format!("`{key}` should be unset, but is there"),
            ));
        }
        for (old, new) in &self.rename {
            let holds = !file.has(old) && (file.has(new) || self.lenient);
            checks.push(Check::that(name(new), holds, format!("`{old}` was not renamed to `{new}`")));
        }
        for (key, values) in &self.map {
            let is_mapped = |value: &[u8]| {
                let is_target = values.iter().any(|(_, to)| to.as_bytes() == value);
                is_target || self.lenient && !values.iter().any(|(from, _)| from.as_bytes() == value)
            };
            let holds = (file.has(key) || self.lenient)
                && file.pairs().filter(|pair| pair.key == *key).all(|pair| is_mapped(&decode(pair)));
            checks.push(Check::that(
                name(key),
                holds,
                format!("`{key}` has none of the values it was mapped to"),
            ));
        }
        checks
    }

    fn verify_set(&self, file: &EnvFile, name: String, key: &str, value: &str, facts: &Facts) -> Check {
        let Some(pair) = file.pairs().filter(|pair| pair.key == key).last() else {
            return Check::failed(name, format!("`{key}` should be set, but isn't there"));
        };
        let found = decode(pair);
        let pieces = Pieces::of(value);
        if !pieces.has_token() {
            return Check::that(name, found == value.as_bytes(), format!("`{key}` has another value"));
        }
        let is_whole = facts.secrets.contains(&SecretShape::of(pair)) && facts.lines == file.lines.len();
        let text = std::str::from_utf8(&found).ok().filter(|text| is_whole && pieces.admits(text));
        // Readers of unquoted values part ways at a leading quote and at any `#`.
        let is_cut = |text: &str| {
            pair.quote == Quote::None && (text.contains('#') || text.starts_with(['\'', '"', '`']))
        };
        let Some(text) = text.filter(|text| !is_cut(text)) else {
            return Check::failed(
                name,
                format!(
                    "the secret in `{key}` doesn't read back whole: it holds a character that ends an unquoted or \
                     quoted value; set `\"quote\": \"single\"` for this file (or `double`, if it holds single quotes)"
                ),
            );
        };
        let is_expanded = match pair.quote {
            Quote::None => !holds(Quote::None, text),
            Quote::Double => pair.raw.iter().any(|byte| matches!(byte, b'$' | b'\\')),
            Quote::Single | Quote::Backtick => false,
        };
        if is_expanded {
            return Check::not_comparable(
                name,
                format!(
                    "the secret in `{key}` holds a character that some programs expand or cut at when they read the \
                     file, such as `$`, a backslash or a blank; set `\"quote\": \"single\"` for it"
                ),
            );
        }
        Check::passed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    fn set(list: &[(&str, &str)]) -> Edit {
        Edit { set: pairs(list), ..Edit::default() }
    }

    fn apply(edit: &Edit, before: &str) -> String {
        String::from_utf8(edit.apply(Some(before.as_bytes())).unwrap().content).unwrap()
    }

    #[test]
    fn changes_values_and_nothing_else() {
        let before = "# hosted: db.example.com | local: localhost\r\n\
                      export DB_HOST = \"localhost\"  # the host\r\n\
                      DB_PORT=5435\r\n\
                      \r\n\
                      DB_NOTE='a # b'\r\n\
                      DB_PORT=5436 # again";
        let edit = set(&[("DB_HOST", "db.example.com"), ("DB_PORT", "16543"), ("DB_NAME", "railway")]);
        let after = "# hosted: db.example.com | local: localhost\r\n\
                     export DB_HOST = \"db.example.com\"  # the host\r\n\
                     DB_PORT=16543\r\n\
                     \r\n\
                     DB_NOTE='a # b'\r\n\
                     DB_PORT=16543 # again\r\n\
                     DB_NAME=railway";
        assert_eq!(apply(&edit, before), after);
        assert_eq!(edit.apply(Some(before.as_bytes())).unwrap().facts.added, ["DB_NAME"]);
        assert!(!edit.apply(Some(after.as_bytes())).unwrap().facts.changed);
    }

    #[test]
    fn unsets_renames_and_maps() {
        let edit = Edit {
            unset: vec!["VECTOR_DATABASE_URL".to_owned()],
            rename: pairs(&[("OLD", "NEW")]),
            map: vec![("PORT".to_owned(), pairs(&[("5433", "5432"), ("5435", "5432")]))],
            ..Edit::default()
        };
        let before = "A=1\nVECTOR_DATABASE_URL=\"x\ny\"\nOLD='z' # c\nPORT=5435\n";
        assert_eq!(apply(&edit, before), "A=1\nNEW='z' # c\nPORT=5432\n");
    }

    #[test]
    fn says_what_is_not_as_expected() {
        let rename = Edit { rename: pairs(&[("OLD", "NEW")]), ..Edit::default() };
        assert!(matches!(rename.apply(Some(b"A=1\n")), Err(Error::Missing(m)) if m.contains("OLD")));
        assert!(
            matches!(rename.apply(Some(b"OLD=1\nNEW=2\n")), Err(Error::Conflict(m)) if m.contains("both"))
        );
        let map = Edit { map: vec![("PORT".to_owned(), pairs(&[("1", "2")]))], ..Edit::default() };
        assert!(matches!(map.apply(Some(b"A=1\n")), Err(Error::Missing(_))));
        let error = map.apply(Some(b"PORT=secret-value\n")).unwrap_err();
        assert!(matches!(error, Error::Conflict(_)) && !error.to_string().contains("secret-value"));
    }

    #[test]
    fn refuses_what_an_unclosed_quote_would_swallow() {
        let before = b"A=\"open\nB=old\n";
        assert!(set(&[("B", "new")]).apply(Some(before)).is_ok());
        assert!(matches!(set(&[("B", "x\" # y")]).apply(Some(before)), Err(Error::Conflict(_))));
    }

    const TOKEN: &str = "⟦gws_password_0123456789ab⟧";

    /// Verifies the file that the host would leave when `secret` stands for the token.
    fn verify_secret(edit: &Edit, before: &str, secret: &str) -> Verdict {
        let edited = edit.apply(Some(before.as_bytes())).unwrap();
        let written = String::from_utf8(edited.content).unwrap().replace(TOKEN, secret);
        edit.verify(".env", written.as_bytes(), &edited.facts).remove(0).verdict
    }

    #[test]
    fn a_secret_that_breaks_its_line_fails_the_check() {
        let keep = set(&[("P", TOKEN)]);
        let single = Edit { quoting: Quoting::Single, ..keep.clone() };
        for before in ["P=old\n", "P=old # note\n", "P='old'\n", "P=\"old\" # note", "", "Q=1"] {
            assert_eq!(verify_secret(&keep, before, "plain-S3cret+/="), Verdict::Passed, "{before:?}");
            assert_eq!(verify_secret(&single, before, "p #ss \"wo$rd"), Verdict::Passed, "{before:?}");
        }
        for broken in ["p #ss", "two\nlines", "'open", " blank", "blank "] {
            assert!(matches!(verify_secret(&keep, "P=old\n", broken), Verdict::Failed(_)), "{broken:?}");
            assert!(
                matches!(verify_secret(&keep, "P=old # note\n", broken), Verdict::Failed(_)),
                "{broken:?}"
            );
        }
        assert!(matches!(verify_secret(&single, "P=old\n", "it's"), Verdict::Failed(_)));
        assert!(matches!(verify_secret(&keep, "P=\"old\"\n", "say \"x"), Verdict::Failed(_)));
        assert!(matches!(verify_secret(&keep, "P=old\n", "a$b"), Verdict::NotComparable(_)));
        let url = format!("postgres://u:{TOKEN}@h/d");
        assert_eq!(verify_secret(&set(&[("P", &url)]), "P=old\n", "pw"), Verdict::Passed);
        assert!(matches!(verify_secret(&set(&[("P", &url)]), "P=old\n", "p #w"), Verdict::Failed(_)));
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        let key = "(export )?[ABC]( ?)=( ?)";
        let value = prop_oneof![
            "[a-c ]{0,3}",
            "'[a-c#\"\n ]{0,4}'",
            "\"[a-c#'\n ]{0,4}\"",
            "`[a-c#' ]{0,4}`",
            "[a-c'\"`#\\\\ $]{0,5}"
        ];
        let tail = prop_oneof![Just(""), Just(" # c"), Just("#c"), Just("  ")];
        let pair = (key, value, tail).prop_map(|(k, v, t)| format!("{k}{v}{t}").into_bytes());
        prop_oneof![
            4 => pair,
            1 => "#[a-c='\"]{0,4}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..4)
        ]
    }

    fn file() -> impl Strategy<Value = Vec<u8>> {
        let eol = prop_oneof![Just("\n"), Just("\r\n"), Just("\r"), Just("")];
        let lines = prop::collection::vec((line(), eol), 0..6);
        (any::<bool>(), lines).prop_map(|(bom, lines)| {
            let mut out = if bom { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
            for (line, eol) in lines {
                out.extend(line);
                out.extend(eol.as_bytes());
            }
            out
        })
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let text = || "[a-c #'\"$\\\\\n]{0,4}";
        let quoting = prop_oneof![Just(Quoting::Keep), Just(Quoting::Single), Just(Quoting::Double)];
        let what = (
            prop::option::of(text()),
            prop::option::of(Just("B")),
            prop::option::of(Just(("A", "N"))),
            prop::option::of((text(), text())),
        );
        (what, quoting, any::<bool>()).prop_map(|((set, unset, rename, map), quoting, lenient)| Edit {
            set: set.into_iter().map(|value| ("S".to_owned(), value)).collect(),
            unset: unset.into_iter().map(str::to_owned).collect(),
            rename: rename.into_iter().map(|(old, new)| (old.to_owned(), new.to_owned())).collect(),
            map: map.into_iter().map(|(from, to)| ("C".to_owned(), vec![(from, to)])).collect(),
            quoting,
            lenient,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn printing_what_was_read_is_the_identity(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(EnvFile::parse(&bytes).print(), bytes);
        }

        #[test]
        fn printing_what_was_read_is_the_identity_on_likely_files(bytes in file()) {
            prop_assert_eq!(EnvFile::parse(&bytes).print(), bytes);
        }

        #[test]
        fn an_edit_is_idempotent(bytes in file(), edit in edit()) {
            if let Ok(once) = edit.apply(Some(&bytes)) {
                let twice = edit.apply(Some(&once.content)).unwrap();
                prop_assert_eq!(&twice.content, &once.content);
                prop_assert!(!twice.facts.changed);
                prop_assert_eq!(twice.facts.lines, once.facts.lines);
                prop_assert_eq!(&twice.facts.secrets, &once.facts.secrets);
                for check in edit.verify("f", &once.content, &once.facts) {
                    prop_assert_eq!(check.verdict, Verdict::Passed);
                }
            }
        }

        #[test]
        fn lines_beside_the_edit_stay_as_they_are(bytes in file(), value in "[a-c #'$]{0,4}") {
            let edit = set(&[("A", &value)]);
            if let Ok(edited) = edit.apply(Some(&bytes)) {
                let others = |bytes: &[u8]| -> Vec<Vec<u8>> {
                    EnvFile::parse(bytes).lines.into_iter()
                        .filter(|line| !matches!(line, Line::Pair(pair) if pair.key == "A"))
                        .map(|line| EnvFile { lines: vec![line] }.print())
                        // A byte order mark alone becomes the lead of the first line.
                        .filter(|line| line != b"\xef\xbb\xbf")
                        .collect()
                };
                // Where the key is new, the last line may have got its end.
                let (before, after) = (others(&bytes), others(&edited.content));
                let exact = before.len().saturating_sub(usize::from(!edited.facts.added.is_empty()));
                prop_assert_eq!(before.len(), after.len());
                prop_assert_eq!(&before[..exact], &after[..exact]);
            }
        }
    }
}
