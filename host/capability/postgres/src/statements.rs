//! What a statement of `execute` does to the world, read from its own words; and what may never run there.

use godwit_model::effect::Class;
use godwit_model::{Error, ErrorKind, Fault, Result};
use squawk_syntax::ast::AstNode as _;
use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode};

use crate::examine::{LARGEST_STATEMENT, examine};
use crate::gate::brief;

/// What is known of one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub class: Class,
    /// False where the words don't tell what it does (DO, CALL, a statement the grammar doesn't know).
    pub known: bool,
    /// A session setting: the session isn't used again afterwards.
    pub sets: bool,
}

/// Where a statement is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// In a transaction of the host's.
    Atomic,
    /// By itself.
    Standalone,
}

/// A statement that is refused, by its first words; `…` stands for anything in between.
struct Refused {
    words: &'static [&'static str],
    why: &'static str,
}

const TRANSACTION: &str = "would end or nest the host's transaction";
const SESSION: &str = "would change the session beyond the effect";
const OUTSIDE: &str = "reaches files or programs of the server, or the server itself";
const STREAM: &str = "rows move by `postgres.copy`";

const REFUSED: &[Refused] = &[
    Refused { words: &["BEGIN"], why: TRANSACTION },
    Refused { words: &["START", "TRANSACTION"], why: TRANSACTION },
    Refused { words: &["COMMIT"], why: TRANSACTION },
    Refused { words: &["END"], why: TRANSACTION },
    Refused { words: &["ROLLBACK"], why: TRANSACTION },
    Refused { words: &["ABORT"], why: TRANSACTION },
    Refused { words: &["SAVEPOINT"], why: TRANSACTION },
    Refused { words: &["RELEASE"], why: TRANSACTION },
    Refused { words: &["PREPARE"], why: TRANSACTION },
    Refused { words: &["SET", "TRANSACTION"], why: TRANSACTION },
    Refused { words: &["SET", "LOCAL", "TRANSACTION"], why: TRANSACTION },
    Refused { words: &["SET", "SESSION"], why: SESSION },
    Refused { words: &["SET", "LOCAL", "SESSION"], why: SESSION },
    Refused { words: &["SET", "LOCAL", "ROLE"], why: SESSION },
    Refused { words: &["SET", "ROLE"], why: SESSION },
    Refused { words: &["RESET"], why: SESSION },
    Refused { words: &["DISCARD"], why: SESSION },
    Refused { words: &["EXECUTE"], why: SESSION },
    Refused { words: &["DEALLOCATE"], why: SESSION },
    Refused { words: &["DECLARE"], why: SESSION },
    Refused { words: &["FETCH"], why: SESSION },
    Refused { words: &["MOVE"], why: SESSION },
    Refused { words: &["CLOSE"], why: SESSION },
    Refused { words: &["LISTEN"], why: SESSION },
    Refused { words: &["UNLISTEN"], why: SESSION },
    Refused { words: &["LOAD"], why: OUTSIDE },
    Refused { words: &["ALTER", "SYSTEM"], why: OUTSIDE },
    Refused { words: &["COPY"], why: STREAM },
];

/// What a statement does, by its first words; the first row that fits decides.
struct Known {
    words: &'static [&'static str],
    class: Class,
}

const fn known(words: &'static [&'static str], class: Class) -> Known {
    Known { words, class }
}

const KNOWN: &[Known] = &[
    known(&["CREATE", "OR", "REPLACE"], Class::Changes),
    known(&["CREATE"], Class::Creates),
    known(&["IMPORT", "FOREIGN", "SCHEMA"], Class::Creates),
    known(&["INSERT"], Class::Creates),
    known(&["SET"], Class::Creates),
    known(&["ANALYZE"], Class::Creates),
    known(&["ANALYSE"], Class::Creates),
    known(&["COMMENT"], Class::Changes),
    known(&["SECURITY", "LABEL"], Class::Changes),
    known(&["GRANT"], Class::Changes),
    known(&["REVOKE"], Class::Changes),
    known(&["ALTER"], Class::Changes),
    known(&["VACUUM"], Class::Changes),
    known(&["REINDEX"], Class::Changes),
    known(&["CLUSTER"], Class::Changes),
    known(&["CHECKPOINT"], Class::Changes),
    known(&["LOCK"], Class::Changes),
    known(&["NOTIFY"], Class::Changes),
    known(&["REFRESH", "MATERIALIZED", "VIEW"], Class::Changes),
    known(&["REASSIGN"], Class::Changes),
    known(&["SELECT"], Class::Changes),
    known(&["VALUES"], Class::Changes),
    known(&["TABLE"], Class::Changes),
    known(&["WITH"], Class::Changes),
    known(&["UPDATE"], Class::Overwrites),
    known(&["MERGE"], Class::Overwrites),
    known(&["DELETE"], Class::Destroys),
    known(&["TRUNCATE"], Class::Destroys),
    known(&["DROP"], Class::Destroys),
];

/// Reads one statement. What may not run is `denied`, what isn't one statement is `invalid`.
pub fn read(sql: &str, setting: Setting) -> Result<Verdict> {
    examine(sql, LARGEST_STATEMENT, || read_here(sql, setting))
}

fn read_here(sql: &str, setting: Setting) -> Result<Verdict> {
    let parse = SourceFile::parse(sql);
    let root = parse.syntax_node();
    let words = significant(&root);
    let Some(first) = words.first() else {
        return Err(invalid("an empty statement", sql));
    };
    let parsed = parse.errors().is_empty();
    let statements: Vec<SyntaxNode> = parse
        .tree()
        .stmts()
        .map(|s| s.syntax().clone())
        .filter(|s| s.kind() != SyntaxKind::EMPTY_STMT)
        .collect();
    if parsed && statements.len() != 1 {
        return Err(invalid("more than one statement in one text", sql));
    }
    if !parsed && has_second_statement(&words) {
        return Err(invalid("more than one statement in one text, or one that can't be parsed", sql));
    }
    if let Some(refused) = REFUSED.iter().find(|refused| begins(&words, refused.words)) {
        return Err(Error::new(
            ErrorKind::Denied,
            Fault::Plugin,
            format!(
                "{} isn't admitted: it {}; the statement was: {}",
                refused.words.join(" "),
                refused.why,
                brief(sql)
            ),
        ));
    }
    if words.windows(2).any(|pair| pair[0] == "SESSION_AUTHORIZATION")
        || words.iter().any(|w| w == "SESSION_AUTHORIZATION") && first == "SET"
    {
        return Err(Error::new(
            ErrorKind::Denied,
            Fault::Plugin,
            format!("it {SESSION}; the statement was: {}", brief(sql)),
        ));
    }
    let sets = first == "SET" && !begins(&words, &["SET", "CONSTRAINTS"]);
    if sets && setting == Setting::Atomic && !begins(&words, &["SET", "LOCAL"]) {
        return Err(Error::new(
            ErrorKind::Denied,
            Fault::Plugin,
            format!("SET outlives the transaction; the statement was: {}", brief(sql)),
        )
        .hint("use SET LOCAL"));
    }
    let Some(row) = KNOWN.iter().find(|row| begins(&words, row.words)) else {
        return Ok(Verdict { class: Class::Changes, known: false, sets });
    };
    let mut class = row.class;
    if first == "ALTER" && drops_content(&words) {
        class = Class::Destroys;
    }
    if first == "INSERT" && words.windows(2).any(|pair| pair == ["DO", "UPDATE"]) {
        class = Class::Overwrites;
    }
    // A function's body or a rule changes nothing when it is made.
    if first != "CREATE" {
        for node in statements.iter().flat_map(SyntaxNode::descendants) {
            class = class.max(match node.kind() {
                SyntaxKind::DELETE => Class::Destroys,
                SyntaxKind::UPDATE | SyntaxKind::MERGE => Class::Overwrites,
                _ => class,
            });
        }
    }
    Ok(Verdict { class, known: parsed, sets })
}

/// Words and symbols in capitals, without space and comments; texts stay as they are.
fn significant(root: &SyntaxNode) -> Vec<String> {
    root.descendants_with_tokens()
        .filter_map(|element| element.into_token())
        .filter(|token| !matches!(token.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT))
        .map(|token| {
            if token.text().starts_with('\'') { token.text().to_owned() } else { token.text().to_uppercase() }
        })
        .collect()
}

fn begins(words: &[String], with: &[&str]) -> bool {
    words.len() >= with.len() && words.iter().zip(with).all(|(a, b)| a == b)
}

/// Whether anything follows a semicolon, but for the body of a function in SQL (`BEGIN ATOMIC … END`).
fn has_second_statement(words: &[String]) -> bool {
    let body = words.windows(2).position(|pair| pair == ["BEGIN", "ATOMIC"]);
    let semicolon = words.iter().position(|word| word == ";");
    match (semicolon, body) {
        (None, _) => false,
        (Some(at), _) if at + 1 == words.len() => false,
        (Some(at), Some(body)) => at < body || words.first().is_none_or(|w| w != "CREATE"),
        (Some(_), None) => true,
    }
}

/// ALTER … DROP of something that holds content: a column, an attribute, a partition stays.
fn drops_content(words: &[String]) -> bool {
    const HARMLESS: &[&str] =
        &["CONSTRAINT", "DEFAULT", "NOT", "IDENTITY", "EXPRESSION", "EXTENSION", "TABLE"];
    words.windows(2).any(|pair| pair[0] == "DROP" && !HARMLESS.contains(&pair[1].as_str()))
}

fn invalid(what: &str, sql: &str) -> Error {
    Error::invalid(format!("{what}: {}", brief(sql))).fault(Fault::Plugin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(sql: &str) -> Class {
        read(sql, Setting::Atomic).unwrap_or_else(|e| panic!("{sql}: {e}")).class
    }

    #[test]
    fn classes_by_the_words() {
        for (sql, expected) in [
            ("CREATE TABLE s.t (a int)", Class::Creates),
            ("create unique index on t (a)", Class::Creates),
            (
                "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ DELETE FROM t; DELETE FROM u $$",
                Class::Creates,
            ),
            (
                "CREATE FUNCTION f() RETURNS void LANGUAGE sql BEGIN ATOMIC DELETE FROM t; DELETE FROM u; END",
                Class::Creates,
            ),
            ("CREATE OR REPLACE VIEW v AS SELECT 1", Class::Changes),
            ("COMMENT ON TABLE t IS 'drop column'", Class::Changes),
            ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 1)", Class::Changes),
            ("ALTER TABLE t DROP CONSTRAINT c", Class::Changes),
            ("ALTER TABLE t ALTER COLUMN a DROP NOT NULL", Class::Changes),
            ("ALTER TABLE t DROP COLUMN a", Class::Destroys),
            ("ALTER TABLE t DROP a", Class::Destroys),
            ("DROP TABLE t", Class::Destroys),
            ("TRUNCATE t", Class::Destroys),
            ("DELETE FROM t", Class::Destroys),
            ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", Class::Destroys),
            ("UPDATE t SET a = 1", Class::Overwrites),
            ("INSERT INTO t VALUES (1)", Class::Creates),
            ("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 2", Class::Overwrites),
            ("SET LOCAL check_function_bodies = off", Class::Creates),
            ("SET CONSTRAINTS ALL DEFERRED", Class::Creates),
            ("-- a comment first\nGRANT SELECT ON t TO u", Class::Changes),
            ("REFRESH MATERIALIZED VIEW v", Class::Changes),
            ("ANALYZE", Class::Creates),
        ] {
            assert_eq!(class(sql), expected, "{sql}");
        }
    }

    #[test]
    fn what_the_words_do_not_tell_is_unknown() {
        for sql in ["DO $$ BEGIN PERFORM 1; END $$", "CALL p()", "CREATE FROBNICATOR x WITH (a = 1) ZUZZ"] {
            assert!(!read(sql, Setting::Atomic).unwrap().known, "{sql}");
        }
    }

    #[test]
    fn nothing_leaves_the_transaction() {
        for sql in [
            "COMMIT",
            "begin",
            "/* x */ ROLLBACK",
            "SAVEPOINT a",
            "SET SESSION AUTHORIZATION bob",
            "SET LOCAL ROLE bob",
            "SET search_path = x",
            "SET LOCAL session_authorization = 'bob'",
            "ALTER SYSTEM SET wal_level = minimal",
            "COPY t FROM PROGRAM 'true'",
            "COPY t TO '/tmp/x'",
            "LOAD 'x'",
            "PREPARE TRANSACTION 'x'",
            "DISCARD ALL",
        ] {
            assert_eq!(read(sql, Setting::Atomic).unwrap_err().kind, ErrorKind::Denied, "{sql}");
        }
    }

    #[test]
    fn one_text_is_one_statement() {
        for sql in [
            "",
            "-- nothing",
            "SELECT 1; COMMIT",
            "CREATE TABLE t (a int); DROP TABLE u",
            "FROB x; COMMIT",
            ";",
        ] {
            assert_eq!(read(sql, Setting::Atomic).unwrap_err().kind, ErrorKind::Invalid, "{sql}");
        }
        assert_eq!(class("CREATE TABLE t (a int);"), Class::Creates);
    }

    #[test]
    fn a_standalone_set_marks_the_session() {
        assert!(read("SET maintenance_work_mem = '1GB'", Setting::Standalone).unwrap().sets);
        assert!(!read("VACUUM t", Setting::Standalone).unwrap().sets);
    }
}
