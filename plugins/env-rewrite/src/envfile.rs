//! A lossless reading of `.env` files: what is read and not changed is printed byte for byte.
//!
//! The format has no standard. This reading is the common ground of dotenv (JavaScript), python-dotenv, Docker Compose
//! and a POSIX shell:
//!
//! - `KEY=value`, optionally after `export`, with blanks around the key; everything else is text and kept as it is;
//! - `'…'`, `"…"` and `` `…` `` may span lines; after the closing quote only blanks and a comment may follow, otherwise
//!   the quote is part of an unquoted value;
//! - an unquoted value ends at the end of the line or before blanks and `#`.
//!
//! Bytes needn't be UTF-8. Lines end with LF, CRLF or CR.

/// How a value is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote {
    None,
    Single,
    Double,
    Backtick,
}

impl Quote {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            b'\'' => Some(Self::Single),
            b'"' => Some(Self::Double),
            b'`' => Some(Self::Backtick),
            _ => None,
        }
    }

    /// The quote as it stands on both sides of a value.
    pub fn mark(self) -> &'static [u8] {
        match self {
            Self::None => b"",
            Self::Single => b"'",
            Self::Double => b"\"",
            Self::Backtick => b"`",
        }
    }

    /// A name for people and memos.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Single => "single",
            Self::Double => "double",
            Self::Backtick => "backtick",
        }
    }
}

/// An assignment; its fields in order are its bytes, with the quotes around `raw`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// A byte order mark, indentation, `export`.
    pub lead: Vec<u8>,
    pub key: String,
    /// The equals sign with the blanks around it.
    pub equals: Vec<u8>,
    pub quote: Quote,
    /// What stands between the quotes, escapes as written.
    pub raw: Vec<u8>,
    /// Blanks and the comment after the value.
    pub tail: Vec<u8>,
    /// The line's end; empty at the end of a file without one.
    pub eol: Vec<u8>,
}

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Pair(Pair),
    /// A comment, a blank line, or what isn't understood; with its end.
    Text(Vec<u8>),
}

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFile {
    pub lines: Vec<Line>,
}

impl EnvFile {
    /// Reads any bytes; never fails.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut lines = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let (line, next) = parse_pair(bytes, at).map_or_else(
                || {
                    let next = line_end(bytes, at).1;
                    (Line::Text(bytes[at..next].to_vec()), next)
                },
                |(pair, next)| (Line::Pair(pair), next),
            );
            lines.push(line);
            at = next;
        }
        Self { lines }
    }

    /// The file's bytes; of a file that was only read, exactly those that were read.
    pub fn print(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for line in &self.lines {
            match line {
                Line::Text(text) => out.extend_from_slice(text),
                Line::Pair(pair) => {
                    let mark = pair.quote.mark();
                    for piece in [
                        &pair.lead,
                        pair.key.as_bytes(),
                        &pair.equals,
                        mark,
                        &pair.raw,
                        mark,
                        &pair.tail,
                        &pair.eol,
                    ] {
                        out.extend_from_slice(piece);
                    }
                }
            }
        }
        out
    }

    /// All assignments in order.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.lines.iter().filter_map(|line| match line {
            Line::Pair(pair) => Some(pair),
            Line::Text(_) => None,
        })
    }

    /// All assignments in order, to change.
    pub fn pairs_mut(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.lines.iter_mut().filter_map(|line| match line {
            Line::Pair(pair) => Some(pair),
            Line::Text(_) => None,
        })
    }

    /// Whether a key is assigned anywhere.
    pub fn has(&self, key: &str) -> bool {
        self.pairs().any(|pair| pair.key == key)
    }

    /// The end that this file's lines have: its first one.
    pub fn eol(&self) -> &[u8] {
        self.lines.iter().map(Line::eol).find(|eol| !eol.is_empty()).unwrap_or(b"\n")
    }

    /// Adds an unindented assignment at the end. A file without a last line end keeps to that.
    pub fn append(&mut self, key: &str, quote: Quote, raw: Vec<u8>) {
        let eol = self.eol().to_vec();
        let mut last = eol.clone();
        // A byte order mark alone is not a line that wants an end.
        let is_bom = |line: &Line| matches!(line, Line::Text(text) if text == BOM);
        if let Some(line) = self.lines.last_mut()
            && line.eol().is_empty()
            && !is_bom(line)
        {
            match line {
                Line::Text(text) => text.extend_from_slice(&eol),
                Line::Pair(pair) => pair.eol = eol,
            }
            last = Vec::new();
        }
        self.lines.push(Line::Pair(Pair {
            lead: Vec::new(),
            key: key.to_owned(),
            equals: b"=".to_vec(),
            quote,
            raw,
            tail: Vec::new(),
            eol: last,
        }));
    }
}

impl Line {
    fn eol(&self) -> &[u8] {
        match self {
            Self::Pair(pair) => &pair.eol,
            Self::Text(text) if text.ends_with(b"\r\n") => b"\r\n",
            Self::Text(text) if text.ends_with(b"\n") => b"\n",
            Self::Text(text) if text.ends_with(b"\r") => b"\r",
            Self::Text(_) => b"",
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Whether a name can be a key: a letter or `_`, then letters, digits, `_`, `.` and `-`.
pub fn is_key(name: &str) -> bool {
    key_end(name.as_bytes(), 0) == name.len() && !name.is_empty()
}

fn key_end(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(byte) if byte.is_ascii_alphabetic() || *byte == b'_' => {}
        _ => return at,
    }
    bytes[at..]
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')))
        .map_or(bytes.len(), |length| at + length)
}

fn skip_blanks(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| !is_blank(*byte)).map_or(bytes.len(), |length| at + length)
}

/// A blank within a line.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c)
}

/// Where the line's content ends, and where the next line begins.
fn line_end(bytes: &[u8], at: usize) -> (usize, usize) {
    match bytes[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        None => (bytes.len(), bytes.len()),
        Some(length) => {
            let end = at + length;
            let is_crlf = bytes[end] == b'\r' && bytes.get(end + 1) == Some(&b'\n');
            (end, end + if is_crlf { 2 } else { 1 })
        }
    }
}

fn parse_pair(bytes: &[u8], start: usize) -> Option<(Pair, usize)> {
    let mut at = start;
    if at == 0 && bytes.starts_with(BOM) {
        at = BOM.len();
    }
    at = skip_blanks(bytes, at);
    // `export =1` assigns to `export`.
    let after_export =
        bytes[at..].strip_prefix(b"export").filter(|rest| rest.first().copied().is_some_and(is_blank));
    if after_export.is_some() {
        let key = skip_blanks(bytes, at + b"export".len());
        if key_end(bytes, key) > key {
            at = key;
        }
    }
    let key_at = at;
    let key_end = key_end(bytes, key_at);
    if key_end == key_at {
        return None;
    }
    let equals = skip_blanks(bytes, key_end);
    if bytes.get(equals) != Some(&b'=') {
        return None;
    }
    let value = skip_blanks(bytes, equals + 1);
    let found = match bytes.get(value).copied().and_then(Quote::of) {
        Some(quote) => quoted(bytes, value, quote),
        None => None,
    }
    .unwrap_or_else(|| unquoted(bytes, equals + 1, value));
    let value_end = found.end + found.quote.mark().len();
    let (end, next) = line_end(bytes, value_end);
    let pair = Pair {
        lead: bytes[start..key_at].to_vec(),
        key: String::from_utf8_lossy(&bytes[key_at..key_end]).into_owned(), // ASCII by key_end
        equals: bytes[key_end..found.start - found.quote.mark().len()].to_vec(),
        quote: found.quote,
        raw: bytes[found.start..found.end].to_vec(),
        tail: bytes[value_end..end].to_vec(),
        eol: bytes[end..next].to_vec(),
    };
    Some((pair, next))
}

/// Where a value stands, without its quotes.
struct Found {
    start: usize,
    end: usize,
    quote: Quote,
}

fn quoted(bytes: &[u8], open: usize, quote: Quote) -> Option<Found> {
    let start = open + 1;
    let mark = bytes[open];
    let fits = |close: usize| {
        let rest = skip_blanks(bytes, close + 1);
        matches!(bytes.get(rest), None | Some(b'\n' | b'\r' | b'#'))
    };
    let literal = || bytes[start..].iter().position(|byte| *byte == mark).map(|length| start + length);
    let escaped = || {
        let mut at = start;
        loop {
            match bytes.get(at)? {
                b'\\' => at += 2,
                byte if *byte == mark => return Some(at),
                _ => at += 1,
            }
        }
    };
    // A backslash is a character of its own to a shell within single quotes, an escape to python-dotenv: whichever
    // reading leaves a well-formed line.
    let close = match quote {
        Quote::Double => escaped().filter(|close| fits(*close)),
        _ => literal().filter(|close| fits(*close)).or_else(|| escaped().filter(|close| fits(*close))),
    }?;
    Some(Found { start, end: close, quote })
}

/// `after` is where the equals sign ends, `value` where the blanks behind it end.
fn unquoted(bytes: &[u8], after: usize, value: usize) -> Found {
    let (line, _) = line_end(bytes, value);
    let comment = (value..line)
        .find(|at| bytes[*at] == b'#' && (*at > value || value > after) && is_blank(bytes[*at - 1]))
        .unwrap_or(line);
    let end = (value..comment).rev().find(|at| !is_blank(bytes[*at])).map_or(value, |at| at + 1);
    // The blanks before a comment belong to it, also where the value is empty.
    if end == value {
        Found { start: after, end: after, quote: Quote::None }
    } else {
        Found { start: value, end, quote: Quote::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (key, quote, raw, tail) of each assignment.
    fn read(text: &str) -> Vec<(String, Quote, String, String)> {
        let file = EnvFile::parse(text.as_bytes());
        assert_eq!(file.print(), text.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        file.pairs().map(|pair| (pair.key.clone(), pair.quote, text(&pair.raw), text(&pair.tail))).collect()
    }

    fn one(text: &str) -> (Quote, String, String) {
        let pairs = read(text);
        assert_eq!(pairs.len(), 1, "{text:?} reads as {pairs:?}");
        let (_, quote, raw, tail) = pairs.into_iter().next().unwrap();
        (quote, raw, tail)
    }

    #[test]
    fn reads_values_as_the_common_readers_do() {
        let cases: &[(&str, Quote, &str, &str)] = &[
            ("A=1", Quote::None, "1", ""),
            ("A=1\n", Quote::None, "1", ""),
            ("A=1\r\n", Quote::None, "1", ""),
            ("  export  A = 1 # one\n", Quote::None, "1", " # one"),
            ("\u{feff}A=1\n", Quote::None, "1", ""),
            ("A=\n", Quote::None, "", ""),
            ("A= # nothing\n", Quote::None, "", " # nothing"),
            ("A=#value\n", Quote::None, "#value", ""),
            ("A=x#y z # c\n", Quote::None, "x#y z", " # c"),
            ("A=x  \n", Quote::None, "x", "  "),
            ("A='x # y' # c\n", Quote::Single, "x # y", " # c"),
            ("A=\"x \\\" y\"#c\n", Quote::Double, "x \\\" y", "#c"),
            ("A=`it's \"so\"`\n", Quote::Backtick, "it's \"so\"", ""),
            ("A=\"one\ntwo\r\nthree\"\n", Quote::Double, "one\ntwo\r\nthree", ""),
            ("A='C:\\'\n", Quote::Single, "C:\\", ""),
            ("A='it\\'s'\n", Quote::Single, "it\\'s", ""),
            ("A=\"foo\"bar\n", Quote::None, "\"foo\"bar", ""),
            ("A=it's\n", Quote::None, "it's", ""),
            ("a.b-c=1\n", Quote::None, "1", ""),
            ("export=1\n", Quote::None, "1", ""),
            ("A=postgres://u:p@h:5432/d?x=1&y=2#f\n", Quote::None, "postgres://u:p@h:5432/d?x=1&y=2#f", ""),
        ];
        for (text, quote, raw, tail) in cases {
            assert_eq!(one(text), (*quote, (*raw).to_owned(), (*tail).to_owned()), "{text:?}");
        }
    }

    #[test]
    fn an_unclosed_quote_takes_no_other_line() {
        let pairs = read("A=\"open\nB=2\nC=\"x\"\n");
        assert_eq!(pairs.iter().map(|p| p.0.as_str()).collect::<Vec<_>>(), ["A", "B", "C"]);
        assert_eq!(pairs[0].2, "\"open");
    }

    #[test]
    fn what_is_no_assignment_is_text() {
        for text in ["# A=1\n", "export A\n", "1A=1\n", "A: 1\n", "=1\n", "\n", "   ", "A B=1\n", "\u{feff}"]
        {
            assert!(read(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn appends_with_the_line_ends_of_the_file() {
        let append = |text: &str| {
            let mut file = EnvFile::parse(text.as_bytes());
            file.append("B", Quote::None, b"2".to_vec());
            String::from_utf8(file.print()).unwrap()
        };
        assert_eq!(append(""), "B=2\n");
        assert_eq!(append("\u{feff}"), "\u{feff}B=2\n");
        assert_eq!(append("A=1\n"), "A=1\nB=2\n");
        assert_eq!(append("A=1\r\n"), "A=1\r\nB=2\r\n");
        assert_eq!(append("A=1"), "A=1\nB=2");
        assert_eq!(append("A=1\r\n# end"), "A=1\r\n# end\r\nB=2");
    }
}
