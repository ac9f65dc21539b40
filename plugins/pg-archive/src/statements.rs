//! Cutting SQL text into statements.

use std::fmt;

/// Text that ends within something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitFault {
    /// Byte offset of its beginning.
    pub offset: usize,
    /// What begins there.
    pub within: &'static str,
}

impl fmt::Display for SplitFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the SQL ends within {} that begins at byte {}", self.within, self.offset)
    }
}

impl std::error::Error for SplitFault {}

/// The statements of a text, without the semicolons between them and without what holds comments alone.
///
/// A semicolon ends a statement as psql sees it (`src/fe_utils/psqlscan.l`): outside of quotes, comments, parentheses,
/// and bodies in SQL's own syntax (`BEGIN ATOMIC … END`). Text is read under `standard_conforming_strings = on`.
pub fn split(sql: &str) -> Result<Vec<String>, SplitFault> {
    let mut scan = Scan { text: sql.as_bytes(), at: 0, ..Scan::default() };
    let mut statements = Vec::new();
    let mut start = 0;
    while let Some(byte) = scan.peek(0) {
        let here = scan.at;
        match byte {
            b';' if scan.parentheses.is_empty() && scan.blocks == 0 => {
                take(sql, start, here, scan.meaningful, &mut statements);
                scan.at += 1;
                start = scan.at;
                scan.begin();
            }
            _ => scan.token(byte)?,
        }
    }
    if let Some(offset) = scan.parentheses.first().copied().filter(|_| scan.meaningful) {
        return Err(SplitFault { offset, within: "a parenthesis" });
    }
    if scan.blocks > 0 {
        return Err(SplitFault { offset: start, within: "a BEGIN ATOMIC body" });
    }
    take(sql, start, scan.at, scan.meaningful, &mut statements);
    Ok(statements)
}

fn take(sql: &str, start: usize, end: usize, meaningful: bool, statements: &mut Vec<String>) {
    // Both ends lie at ASCII bytes or at the text's ends, hence on boundaries.
    if let Some(text) = sql.get(start..end).filter(|_| meaningful) {
        statements.push(text.trim().to_owned());
    }
}

#[derive(Default)]
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    /// Offsets of those that are open.
    parentheses: Vec<usize>,
    /// Open `BEGIN` and `CASE` of a routine's body.
    blocks: usize,
    /// The statement holds something else than space and comments.
    meaningful: bool,
    /// Its first words, as far as they are CREATE, OR, REPLACE, FUNCTION and PROCEDURE; other words are empty.
    head: Vec<String>,
}

impl Scan<'_> {
    fn begin(&mut self) {
        self.meaningful = false;
        self.head.clear();
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn token(&mut self, byte: u8) -> Result<(), SplitFault> {
        let here = self.at;
        match (byte, self.peek(1)) {
            (b'-', Some(b'-')) => {
                while self.peek(0).is_some_and(|b| b != b'\n' && b != b'\r') {
                    self.at += 1;
                }
                return Ok(());
            }
            (b'/', Some(b'*')) => return self.comment(),
            (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, _) => {
                self.at += 1;
                return Ok(());
            }
            _ => {}
        }
        self.meaningful = true;
        match byte {
            b'\'' => self.quoted(b'\'', false, "a string"),
            b'"' => self.quoted(b'"', false, "a quoted name"),
            b'$' => self.dollar(),
            b'(' => {
                self.parentheses.push(here);
                self.at += 1;
                Ok(())
            }
            b')' => {
                self.parentheses.pop();
                self.at += 1;
                Ok(())
            }
            _ if is_name_start(byte) => self.word(),
            b'0'..=b'9' => {
                // A number takes the letters behind it along, so that they aren't read as a word.
                while self.peek(0).is_some_and(|b| is_name_part(b) && b != b'$') {
                    self.at += 1;
                }
                Ok(())
            }
            _ => {
                self.at += 1;
                Ok(())
            }
        }
    }

    fn comment(&mut self) -> Result<(), SplitFault> {
        let here = self.at;
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (Some(_), _) => self.at += 1,
                (None, _) => return Err(SplitFault { offset: here, within: "a comment" }),
            }
        }
    }

    /// A quoted text, which a doubled quote doesn't end; nor does an escaped one, where backslashes escape.
    fn quoted(&mut self, quote: u8, escapes: bool, within: &'static str) -> Result<(), SplitFault> {
        let here = self.at;
        self.at += 1;
        loop {
            match self.peek(0) {
                None => return Err(SplitFault { offset: here, within }),
                Some(b'\\') if escapes => self.at += 2,
                Some(byte) if byte == quote => {
                    self.at += 1;
                    if self.peek(0) != Some(quote) {
                        return Ok(());
                    }
                    self.at += 1;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// `$$ … $$` or `$tag$ … $tag$`; anything else that begins with a dollar is one character.
    fn dollar(&mut self) -> Result<(), SplitFault> {
        let here = self.at;
        let mut end = here + 1;
        if self.text.get(end).copied().is_some_and(is_name_start) {
            while self.text.get(end).is_some_and(|b| is_name_part(*b) && *b != b'$') {
                end += 1;
            }
        }
        if self.text.get(end) != Some(&b'$') {
            self.at += 1;
            return Ok(());
        }
        let tag = &self.text[here..=end];
        let body = end + 1;
        match self.text[body..].windows(tag.len()).position(|window| window == tag) {
            Some(found) => {
                self.at = body + found + tag.len();
                Ok(())
            }
            None => Err(SplitFault { offset: here, within: "a dollar-quoted text" }),
        }
    }

    fn word(&mut self) -> Result<(), SplitFault> {
        let here = self.at;
        while self.peek(0).is_some_and(is_name_part) {
            self.at += 1;
        }
        let word = self.text[here..self.at].to_ascii_lowercase();
        if word == b"e" && self.peek(0) == Some(b'\'') {
            return self.quoted(b'\'', true, "a string");
        }
        self.block(&word);
        Ok(())
    }

    /// Keeps account of the body of a routine in SQL's own syntax, as psql does.
    fn block(&mut self, word: &[u8]) {
        if self.head.len() < 4 {
            let known = [&b"create"[..], b"or", b"replace", b"function", b"procedure"].contains(&word);
            let word = if known { String::from_utf8_lossy(word).into_owned() } else { String::new() };
            self.head.push(word);
        }
        let words: Vec<&str> = self.head.iter().map(String::as_str).collect();
        let of_routine = matches!(
            words.as_slice(),
            ["create", "function" | "procedure", ..]
                | ["create", "or", "replace", "function" | "procedure", ..]
        );
        if !of_routine || !self.parentheses.is_empty() {
            return;
        }
        match word {
            b"begin" => self.blocks += 1,
            b"case" if self.blocks > 0 => self.blocks += 1,
            b"end" => self.blocks = self.blocks.saturating_sub(1),
            _ => {}
        }
    }
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_name_part(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

/// A drop that doesn't mind that the thing isn't there; `desc` is its entry's.
pub fn if_exists(desc: &str, statement: &str) -> String {
    let mut text = statement.to_owned();
    for words in [format!("DROP {desc} "), "ALTER TABLE ".to_owned()] {
        if let Some(rest) = statement.strip_prefix(&words)
            && !rest.starts_with("IF EXISTS ")
        {
            text = format!("{words}IF EXISTS {rest}");
        }
    }
    // Only behind the table's name, which has a space only inside of quotes.
    match text.split_once(" DROP CONSTRAINT ") {
        Some((table, name)) if table.matches('"').count() % 2 == 0 && !name.starts_with("IF EXISTS ") => {
            format!("{table} DROP CONSTRAINT IF EXISTS {name}")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_may_be_gone() {
        let cases = [
            ("TABLE", "DROP TABLE public.t", "DROP TABLE IF EXISTS public.t"),
            ("TABLE", "DROP TABLE IF EXISTS public.t", "DROP TABLE IF EXISTS public.t"),
            (
                "FK CONSTRAINT",
                "ALTER TABLE ONLY public.t DROP CONSTRAINT k",
                "ALTER TABLE IF EXISTS ONLY public.t DROP CONSTRAINT IF EXISTS k",
            ),
            (
                "DEFAULT",
                "ALTER TABLE public.\"a DROP CONSTRAINT b\" ALTER c DROP DEFAULT",
                "ALTER TABLE IF EXISTS public.\"a DROP CONSTRAINT b\" ALTER c DROP DEFAULT",
            ),
            ("SEQUENCE OWNED BY", "ALTER SEQUENCE s OWNED BY NONE", "ALTER SEQUENCE s OWNED BY NONE"),
        ];
        for (desc, statement, expect) in cases {
            assert_eq!(if_exists(desc, statement), expect);
        }
    }

    fn check(sql: &str, expect: &[&str]) {
        assert_eq!(split(sql).unwrap(), expect, "{sql}");
    }

    #[test]
    fn semicolons_end_statements() {
        check("", &[]);
        check(" ; ;\n;", &[]);
        check("CREATE TABLE a (b int);\n\n\nALTER TABLE a;\n", &["CREATE TABLE a (b int)", "ALTER TABLE a"]);
        check("SELECT 1", &["SELECT 1"]);
    }

    #[test]
    fn quotes_hide_semicolons() {
        check("SELECT 'a;''b;', \"c;\"\"d;\"; x", &["SELECT 'a;''b;', \"c;\"\"d;\"", "x"]);
        check(r"SELECT E'a\';b', e'\\'; x", &[r"SELECT E'a\';b', e'\\'", "x"]);
        // A backslash is nothing special in a plain string, nor after a name that ends with an e.
        check(r"SELECT 'a\'; x", &[r"SELECT 'a\'", "x"]);
        check(r"SELECT type'a\'; x", &[r"SELECT type'a\'", "x"]);
        check(r#"SELECT U&'\0441;', U&"d;\0061"; x"#, &[r#"SELECT U&'\0441;', U&"d;\0061""#, "x"]);
        check("SELECT B'1;', x'a;'; y", &["SELECT B'1;', x'a;'", "y"]);
    }

    #[test]
    fn dollars_quote() {
        check("DO $$ a; $b$ ; $$; x", &["DO $$ a; $b$ ; $$", "x"]);
        check("DO $f$ a; $$ ; $f$; x", &["DO $f$ a; $$ ; $f$", "x"]);
        check("SELECT $1; SELECT a$b$c; x", &["SELECT $1", "SELECT a$b$c", "x"]);
        check("SELECT $größe$;$größe$; x", &["SELECT $größe$;$größe$", "x"]);
    }

    #[test]
    fn comments_are_part_of_a_statement_or_nothing() {
        check("-- only; this\n", &[]);
        check("/* a; /* b; */ c; */", &[]);
        check("-- *not* creating schema, since initdb creates it\n\n;", &[]);
        check(
            "/* a; */ SELECT 1 -- b;\n + 2; -- c;\nSELECT /* ' */ 3;",
            &["/* a; */ SELECT 1 -- b;\n + 2", "-- c;\nSELECT /* ' */ 3"],
        );
        check("SELECT 1-- x;\n;y", &["SELECT 1-- x;", "y"]);
    }

    #[test]
    fn parentheses_hold_rules_together() {
        let rule = "CREATE RULE r AS ON DELETE TO t DO INSTEAD ( INSERT INTO l VALUES (1); NOTIFY x)";
        check(&format!("{rule};\nx"), &[rule, "x"]);
    }

    #[test]
    fn bodies_of_routines_hold_together() {
        let body = "CREATE FUNCTION f(n int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN n > 0 THEN 1 ELSE 2 \
                    END; SELECT 2; END";
        check(&format!("{body};\nx; y"), &[body, "x", "y"]);
        let body = "create or replace procedure p() BEGIN ATOMIC INSERT INTO t VALUES (1); END";
        check(&format!("{body};\nx"), &[body, "x"]);
        // Words of the signature, and of other statements, are words alone.
        check("SELECT begin; END; x", &["SELECT begin", "END", "x"]);
        check("CREATE FUNCTION f(begin int) AS 'x'; y", &["CREATE FUNCTION f(begin int) AS 'x'", "y"]);
    }

    #[test]
    fn what_ends_within_something_is_a_fault() {
        for (sql, offset, within) in [
            ("SELECT 'a", 7, "a string"),
            (r"SELECT E'a\'", 8, "a string"),
            ("SELECT \"a", 7, "a quoted name"),
            ("DO $x$ a $y$", 3, "a dollar-quoted text"),
            ("a /* b /* c */", 2, "a comment"),
            ("a (b; c", 2, "a parenthesis"),
            ("x; CREATE FUNCTION f() BEGIN ATOMIC SELECT 1;", 2, "a BEGIN ATOMIC body"),
        ] {
            assert_eq!(split(sql), Err(SplitFault { offset, within }), "{sql}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_and_nothing_but_semicolons_space_and_comments_goes(text in "[a-zE$'\"();/*\\\\ \n é-]{0,60}") {
            if let Ok(statements) = split(&text) {
                let mut rest = text.as_str();
                for statement in statements {
                    let at = rest.find(&statement);
                    proptest::prop_assert!(at.is_some());
                    rest = &rest[at.unwrap_or_default() + statement.len()..];
                }
            }
        }
    }
}
