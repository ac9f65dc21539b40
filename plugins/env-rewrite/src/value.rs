//! Values as programs see them, and as they are written.

use crate::envfile::{Pair, Quote, is_blank};

/// The value of an assignment as a program sees it.
///
/// Within double quotes `\n`, `\r`, `\t`, `\\`, `\"`, `\$` and `` \` `` are escapes; within single quotes and backticks
/// only the quote itself can be escaped. Variables are not expanded.
pub fn decode(pair: &Pair) -> Vec<u8> {
    let mark = pair.quote.mark().first().copied();
    match pair.quote {
        Quote::None => pair.raw.clone(),
        Quote::Double => unescape(&pair.raw, |byte| match byte {
            b'n' => Some(b'\n'),
            b'r' => Some(b'\r'),
            b't' => Some(b'\t'),
            b'\\' | b'"' | b'$' | b'`' => Some(byte),
            _ => None,
        }),
        // The quote stands inside only where it is escaped; otherwise a backslash is a backslash.
        Quote::Single | Quote::Backtick if mark.is_some_and(|mark| pair.raw.contains(&mark)) => {
            unescape(&pair.raw, |byte| (Some(byte) == mark).then_some(byte))
        }
        Quote::Single | Quote::Backtick => pair.raw.clone(),
    }
}

fn unescape(raw: &[u8], escape: impl Fn(u8) -> Option<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        match (raw[at], raw.get(at + 1).copied().and_then(&escape)) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Writes a value so that the common readers agree on it: in the style `wanted` where that can hold it, else in the
/// plainest one that can. What comes back stays the same when it is `wanted` again.
pub fn encode(wanted: Quote, value: &str) -> (Quote, Vec<u8>) {
    let quote = if holds(wanted, value) {
        wanted
    } else if holds(Quote::None, value) {
        Quote::None
    } else if holds(Quote::Single, value) && !value.contains(['\n', '\r']) {
        Quote::Single
    } else {
        Quote::Double
    };
    let raw = match quote {
        Quote::Double => escape(value),
        _ => value.as_bytes().to_vec(),
    };
    (quote, raw)
}

/// Whether a style can hold a value so that readers agree on it.
pub fn holds(quote: Quote, value: &str) -> bool {
    match quote {
        // dotenv cuts an unquoted value at any `#`, a shell at a blank; both expand or drop `$` and backslashes.
        Quote::None => {
            !value.contains(['#', '$', '\\', '`', '\'', '"', '\n', '\r']) && !value.bytes().any(is_blank) && {
                // Readers trim by their own notion of white space.
                value.trim() == value
            }
        }
        // python-dotenv takes a backslash before the closing quote for an escape.
        Quote::Single => !value.contains('\'') && !value.ends_with('\\'),
        Quote::Backtick => !value.contains('`') && !value.ends_with('\\'),
        // Readers differ on escapes within double quotes, all but those of line ends; where another style is free of
        // them, that one is better.
        Quote::Double => {
            !value.contains(['"', '\\', '$']) || !holds(Quote::Single, value) || value.contains(['\n', '\r'])
        }
    }
}

fn escape(value: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'"' | b'\\' | b'$' => out.extend_from_slice(&[b'\\', byte]),
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envfile::EnvFile;
    use proptest::prelude::*;

    fn written(wanted: Quote, value: &str) -> String {
        let (quote, raw) = encode(wanted, value);
        let mut file = EnvFile::default();
        file.append("K", quote, raw);
        String::from_utf8(file.print()).unwrap().trim_end_matches('\n').to_owned()
    }

    #[test]
    fn keeps_the_style_where_it_can_hold_the_value() {
        assert_eq!(written(Quote::None, "5432"), "K=5432");
        assert_eq!(written(Quote::Single, "5432"), "K='5432'");
        assert_eq!(written(Quote::Double, "a b"), "K=\"a b\"");
        assert_eq!(written(Quote::None, ""), "K=");
        assert_eq!(written(Quote::None, "a b"), "K='a b'");
        assert_eq!(written(Quote::None, "a#b"), "K='a#b'");
        assert_eq!(written(Quote::Double, "a$b"), "K='a$b'");
        assert_eq!(written(Quote::Single, "it's"), "K=\"it's\"");
        assert_eq!(written(Quote::None, "one\ntwo"), "K=\"one\\ntwo\"");
        assert_eq!(written(Quote::Double, "it's $5"), "K=\"it's \\$5\"");
        assert_eq!(written(Quote::None, "postgres://u:p@h:1/d?a=b&c=d"), "K=postgres://u:p@h:1/d?a=b&c=d");
    }

    fn style() -> impl Strategy<Value = Quote> {
        prop_oneof![Just(Quote::None), Just(Quote::Single), Just(Quote::Double), Just(Quote::Backtick)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_written_is_read_again(wanted in style(), value in "[a-z \t\n\r#$'\"`\\\\=é\u{a0}]{0,12}") {
            let (quote, raw) = encode(wanted, &value);
            let mut file = EnvFile::default();
            file.append("K", quote, raw.clone());
            let read = EnvFile::parse(&file.print());
            let pairs: Vec<&Pair> = read.pairs().collect();
            prop_assert_eq!(pairs.len(), 1);
            prop_assert_eq!(decode(pairs[0]), value.as_bytes());
            prop_assert_eq!(encode(quote, &value), (quote, raw), "the style is stable");
        }
    }
}
