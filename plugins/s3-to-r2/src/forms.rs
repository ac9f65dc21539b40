//! Keys that differ in their Unicode form alone (UAX 15), for targets that take those for one key.
//!
//! Of two such keys one at least isn't in form C. So only keys of that kind are remembered, by a digest of their form C:
//! what comes later in the listing is held against these. Where the form C itself lies before the key in the order of the
//! listing, the source is asked for it. Names that are all in form C, as most are, cost no memory and no request.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};

use godwit_s3_walk::{Filter, Mapping, SOURCE};
use godwit_sdk::prelude::*;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// Keys that are remembered: 20 MiB.
const MOST: usize = 1 << 20;
/// Keys that are asked for at once.
const AT_ONCE: usize = 500;

/// What was seen of such keys.
#[derive(Debug, Default)]
pub struct Forms {
    /// Digests of the forms C of keys that have another form.
    seen: HashSet<u64>,
    /// Keys without the prefix, with their forms C, which lie before them: to be asked for.
    due: Vec<(String, String)>,
    overflowed: bool,
}

impl Forms {
    /// Takes up what an earlier call saw.
    pub fn recall(&mut self, seen: &[u64]) {
        self.seen.extend(seen);
    }

    /// Looks at the next key, without the prefix: whether one before it differs in its form alone. `noted` gets what a
    /// later call has to recall.
    pub fn meets(&mut self, rest: &str, noted: &mut Vec<u64>) -> bool {
        // A key of ASCII lies before all that are the same in another form.
        if rest.is_ascii() {
            return false;
        }
        if is_nfc(rest) {
            return !self.seen.is_empty() && self.seen.contains(&digest(rest));
        }
        let form: String = rest.nfc().collect();
        let digest = digest(&form);
        if self.seen.contains(&digest) {
            return true;
        }
        let full = self.seen.len() >= MOST;
        if full {
            self.overflowed = true;
        } else {
            self.seen.insert(digest);
            noted.push(digest);
        }
        if full || form.as_str() < rest {
            self.due.push((rest.to_owned(), form));
        }
        false
    }

    /// Asks the source for what lies before the keys; gives those of them that it meets.
    pub fn ask<H: Host>(&mut self, host: &H, mapping: &Mapping, filter: &Filter) -> Result<Vec<String>> {
        let mut met = Vec::new();
        for group in std::mem::take(&mut self.due).chunks(AT_ONCE) {
            let keys: Vec<String> = group.iter().map(|(_, form)| mapping.source_key(form)).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            for ((rest, _), found) in group.iter().zip(host.stat_objects(SOURCE, &mapping.source, &keys)) {
                if found?.is_some_and(|object| filter.admits(&object)) {
                    met.push(rest.clone());
                }
            }
        }
        Ok(met)
    }

    /// What was not looked for.
    pub fn remark(&self) -> Option<String> {
        self.overflowed.then(|| {
            format!(
                "more than {MOST} keys are not in Unicode form C: those that came later were compared with keys in that \
                 form alone"
            )
        })
    }
}

/// A key in which letters of other forms can be told apart.
pub fn spelled(key: &str) -> String {
    key.chars()
        .flat_map(|char| if char.is_ascii() { vec![char] } else { char.escape_unicode().collect() })
        .collect()
}

/// The same within a run, also where it is resumed: a run keeps to one build of a plugin.
fn digest(key: &str) -> u64 {
    let mut fold = DefaultHasher::new();
    fold.write(key.as_bytes());
    fold.finish()
}

#[cfg(test)]
mod tests {
    use godwit_sdk::mock::{MockHost, MockObject};

    use super::*;

    fn mapping() -> Mapping {
        Mapping::new("b", None, "p/", None, &[]).unwrap()
    }

    /// Walks through keys in the order of their bytes; gives those that meet another.
    fn met(keys: &[&str]) -> (Vec<String>, usize) {
        let mut host = MockHost::new().with_bucket(SOURCE, "b");
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        for key in &sorted {
            host = host.with_object(SOURCE, "b", &format!("p/{key}"), MockObject::new("x"));
        }
        let (mut forms, mut noted) = (Forms::default(), Vec::new());
        let mut met: Vec<String> = Vec::new();
        for key in sorted {
            if forms.meets(key, &mut noted) {
                met.push(key.to_owned());
            }
        }
        met.extend(forms.ask(&host, &mapping(), &Filter::default()).unwrap());
        assert_eq!(forms.remark(), None);
        (met, noted.len())
    }

    #[test]
    fn keys_of_two_forms_are_found_however_far_apart() {
        for (keys, second) in [
            (["cafe\u{301}", "caf\u{e9}"], "caf\u{e9}"),
            // Between them lies whatever begins with `caf`.
            (["cafe\u{301}/x", "caf\u{e9}/x"], "caf\u{e9}/x"),
            // Form C lies before, and may be ASCII: the kelvin sign is a K.
            (["273 \u{212a}", "273 K"], "273 \u{212a}"),
            (["\u{212b}", "\u{c5}"], "\u{212b}"),
            // Neither is in form C.
            (["\u{1e63}\u{307}", "s\u{307}\u{323}"], "\u{1e63}\u{307}"),
            // Marks in another order; letters put together of three.
            (["q\u{323}\u{307}", "q\u{307}\u{323}"], "q\u{323}\u{307}"),
            (["\u{1112}\u{1161}\u{11ab}", "\u{d55c}"], "\u{d55c}"),
        ] {
            assert_eq!(met(&keys).0, [second], "{keys:?}");
        }
    }

    #[test]
    fn other_keys_are_let_be() {
        let (found, noted) = met(&["cafe", "caf\u{e8}", "cafe\u{301}", "日本語", "\u{1f426}", "K", "k"]);
        assert_eq!((found, noted), (Vec::new(), 1));
        let (found, noted) = met(&["\u{e4}", "\u{fc}", "日本語"]);
        assert_eq!((found, noted), (Vec::new(), 0));
    }

    #[test]
    fn a_resumed_call_knows_what_the_first_one_saw() {
        let (mut first, mut noted) = (Forms::default(), Vec::new());
        assert!(!first.meets("cafe\u{301}", &mut noted));
        let mut second = Forms::default();
        second.recall(&noted);
        assert!(second.meets("caf\u{e9}", &mut noted));
    }

    #[test]
    fn forms_are_spelled_out() {
        assert_eq!(spelled("a/cafe\u{301}.txt"), "a/cafe\\u{301}.txt");
    }
}
