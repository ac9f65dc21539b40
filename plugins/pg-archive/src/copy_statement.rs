//! The statement that an entry's rows are loaded by.

/// What `COPY schema.table (columns) FROM stdin;` names, unquoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyTarget {
    pub schema: String,
    pub name: String,
    /// In the order of the rows' fields; empty where the statement names none.
    pub columns: Vec<String>,
}

impl CopyTarget {
    /// Reads the statement as pg_dump writes it; the reason where it is another one.
    pub fn parse(statement: &str) -> Result<Self, String> {
        let tokens = tokens(statement)?;
        let mut rest = tokens.iter();
        let mut next = || rest.next();
        let unexpected = |token: Option<&Token>, wanted: &str| match token {
            Some(token) => format!("`{}` stands where {wanted} was expected", token.shown()),
            None => format!("it ends where {wanted} was expected"),
        };
        let name = |token: Option<&Token>, wanted: &str| match token {
            Some(Token::Name(name)) => Ok(name.clone()),
            other => Err(unexpected(other, wanted)),
        };
        let keyword = |token: Option<&Token>, word: &str| match token {
            Some(Token::Name(name)) if name == word => Ok(()),
            other => Err(unexpected(other, &word.to_uppercase())),
        };
        let symbol = |token: Option<&Token>, symbol: char| match token {
            Some(Token::Symbol(found)) if *found == symbol => Ok(()),
            other => Err(unexpected(other, &format!("`{symbol}`"))),
        };
        keyword(next(), "copy")?;
        let schema = name(next(), "a schema's name")?;
        symbol(next(), '.')?;
        let table = name(next(), "a table's name")?;
        let mut columns = Vec::new();
        let mut token = next();
        if token == Some(&Token::Symbol('(')) {
            loop {
                columns.push(name(next(), "a column's name")?);
                match next() {
                    Some(Token::Symbol(',')) => {}
                    Some(Token::Symbol(')')) => break,
                    other => return Err(unexpected(other, "`,` or `)`")),
                }
            }
            token = next();
        }
        keyword(token, "from")?;
        keyword(next(), "stdin")?;
        symbol(next(), ';')?;
        match next() {
            None => Ok(Self { schema, name: table, columns }),
            other => Err(unexpected(other, "its end")),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A plain name in lower case, or a quoted one as it is.
    Name(String),
    Symbol(char),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Symbol(symbol) => symbol.to_string(),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        if first == '"' {
            let mut name = String::new();
            let mut chars = rest.char_indices().skip(1).peekable();
            let end = loop {
                match chars.next() {
                    Some((_, '"')) if chars.peek().is_some_and(|(_, c)| *c == '"') => {
                        chars.next();
                        name.push('"');
                    }
                    Some((at, '"')) => break at + 1,
                    Some((_, c)) => name.push(c),
                    None => return Err("a quoted name has no end".to_owned()),
                }
            };
            tokens.push(Token::Name(name));
            rest = &rest[end..];
        } else if is_part(first) {
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            tokens.push(Token::Name(rest[..end].to_lowercase()));
            rest = &rest[end..];
        } else {
            tokens.push(Token::Symbol(first));
            rest = &rest[first.len_utf8()..];
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(schema: &str, name: &str, columns: &[&str]) -> CopyTarget {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        CopyTarget { schema: schema.to_owned(), name: name.to_owned(), columns }
    }

    #[test]
    fn as_pg_dump_writes_it() {
        for (statement, expect) in [
            ("COPY public.t (a, \"B c\") FROM stdin;\n", target("public", "t", &["a", "B c"])),
            ("COPY app.no_columns  FROM stdin;\n", target("app", "no_columns", &[])),
            (
                "COPY \"Odd \"\"Name\".\"x, (y).z\" (\"a\"\"b\", \"größe\", \"from\") FROM stdin;\n",
                target("Odd \"Name", "x, (y).z", &["a\"b", "größe", "from"]),
            ),
        ] {
            assert_eq!(CopyTarget::parse(statement), Ok(expect));
        }
    }

    #[test]
    fn another_statement_is_refused_by_what_is_wrong() {
        for (statement, why) in [
            ("", "COPY"),
            ("COPY t (a) FROM stdin;", "`(` stands where `.`"),
            ("COPY s.t (a b) FROM stdin;", "`b`"),
            ("COPY s.t (a) FROM '/etc/passwd';", "stands where STDIN"),
            ("COPY s.t (a) FROM PROGRAM;", "`program`"),
            ("COPY s.t () FROM stdin;", "a column's name"),
            ("COPY s.t (a) FROM stdin; DROP TABLE x;", "`drop`"),
            ("COPY s.\"t", "no end"),
        ] {
            let error = CopyTarget::parse(statement).unwrap_err();
            assert!(error.contains(why), "{statement}: {error}");
        }
    }
}
