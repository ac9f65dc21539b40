//! What a guest's query may be: one reading statement without functions that reach out of the database.
//!
//! READ ONLY alone doesn't hold a superuser: COPY TO PROGRAM, `pg_read_file`, LOCK and DO run in it. So a query is
//! parsed by a PostgreSQL grammar and admitted only as SELECT, VALUES, TABLE, SHOW or EXPLAIN; then it runs as one
//! extended-protocol statement in a READ ONLY transaction, so that a difference between this grammar and the server's
//! can't smuggle a second statement in.

mod denied;

use godwit_model::{Error, ErrorKind, Fault, Result};
use squawk_syntax::ast::AstNode as _;
use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode, SyntaxToken};

use crate::examine::{LARGEST_QUERY, examine};
use crate::quote::literal;

/// A query that passed the gate, in the form in which it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// One text column: each row as a JSON object.
    Rows(String),
    /// EXPLAIN: plain lines.
    Lines(String),
}

/// Admits a query or says why not.
pub fn admit(sql: &str) -> Result<Admitted> {
    examine(sql, LARGEST_QUERY, || admit_here(sql))
}

fn admit_here(sql: &str) -> Result<Admitted> {
    let statement = single(sql)?;
    let text = statement.text().to_string();
    // A statement's node may hold its semicolon.
    let text = text.trim().trim_end_matches(';').trim_end();
    refuse_names(&statement)?;
    match statement.kind() {
        SyntaxKind::SHOW => show(&statement),
        SyntaxKind::EXPLAIN => {
            // EXPLAIN ANALYZE runs what it explains.
            if let Some(token) =
                words(&statement).find(|t| ["analyze", "analyse"].contains(&name(t).as_str()))
            {
                return Err(refused(format!("`EXPLAIN {}` runs the statement", token.text())));
            }
            let inner = statement
                .descendants()
                .skip(1)
                .find(|node| is_statement(node.kind()))
                .ok_or_else(|| refused("there is nothing to explain".to_owned()))?;
            reading(&inner)?;
            Ok(Admitted::Lines(text.to_owned()))
        }
        _ => {
            reading(&statement)?;
            // The line break ends a trailing comment.
            Ok(Admitted::Rows(format!("SELECT pg_catalog.row_to_json(q)::text FROM (\n{text}\n) AS q")))
        }
    }
}

/// Admits a boolean expression over a table's columns; what it returns stands in parentheses.
pub fn admit_filter(filter: &str) -> Result<String> {
    examine(filter, LARGEST_QUERY, || admit_filter_here(filter))
}

fn admit_filter_here(filter: &str) -> Result<String> {
    let whole = format!("SELECT 1 WHERE (\n{filter}\n)");
    let statement = single(&whole).map_err(|e| e.context("filter"))?;
    if statement.kind() != SyntaxKind::SELECT {
        return Err(refused("a filter is one boolean expression".to_owned()));
    }
    // Parentheses that close before they open would put text outside of ours.
    let mut depth = 0i64;
    let inner = SourceFile::parse(filter).syntax_node();
    for token in inner.descendants_with_tokens().filter_map(|e| e.into_token()) {
        match token.kind() {
            SyntaxKind::L_PAREN => depth += 1,
            SyntaxKind::R_PAREN => depth -= 1,
            SyntaxKind::SEMICOLON => return Err(refused("a filter holds no `;`".to_owned())),
            _ => {}
        }
        if depth < 0 {
            return Err(refused("a filter's parentheses don't match".to_owned()));
        }
    }
    refuse_names(&statement)?;
    reading(&statement)?;
    Ok(format!("(\n{filter}\n)"))
}

/// The only statement of a text.
fn single(sql: &str) -> Result<SyntaxNode> {
    let parse = SourceFile::parse(sql);
    if let Some(error) = parse.errors().first() {
        return Err(Error::invalid(format!(
            "the query can't be parsed: {}; the query was: {}",
            error.message(),
            brief(sql)
        ))
        .fault(Fault::Plugin));
    }
    let root = parse.syntax_node();
    let mut statements =
        parse.tree().stmts().map(|s| s.syntax().clone()).filter(|s| s.kind() != SyntaxKind::EMPTY_STMT);
    let statement = statements.next().ok_or_else(|| refused("there is no statement".to_owned()))?;
    if statements.next().is_some() {
        return Err(refused("there is more than one statement".to_owned()));
    }
    // Only space, comments and semicolons may stand outside.
    for element in root.children_with_tokens() {
        let kind = element.kind();
        let inside =
            element.as_node().is_some_and(|node| *node == statement || node.kind() == SyntaxKind::EMPTY_STMT);
        if !inside && !matches!(kind, SyntaxKind::WHITESPACE | SyntaxKind::COMMENT | SyntaxKind::SEMICOLON) {
            return Err(refused(format!(
                "`{}` stands outside of the statement",
                brief(&element.to_string())
            )));
        }
    }
    Ok(statement)
}

fn is_statement(kind: SyntaxKind) -> bool {
    READING.contains(&kind) || CHANGING.contains(&kind)
}

const READING: &[SyntaxKind] = &[
    SyntaxKind::SELECT,
    SyntaxKind::COMPOUND_SELECT,
    SyntaxKind::PAREN_SELECT,
    SyntaxKind::VALUES,
    SyntaxKind::TABLE,
];

/// What may stand inside of another statement and isn't a reading one.
const CHANGING: &[SyntaxKind] = &[
    SyntaxKind::INSERT,
    SyntaxKind::UPDATE,
    SyntaxKind::DELETE,
    SyntaxKind::MERGE,
    SyntaxKind::SELECT_INTO,
    SyntaxKind::INTO_CLAUSE,
    SyntaxKind::LOCKING_CLAUSE,
    SyntaxKind::EXECUTE,
    SyntaxKind::DECLARE,
    SyntaxKind::CREATE_TABLE_AS,
    SyntaxKind::CREATE_MATERIALIZED_VIEW,
    SyntaxKind::REFRESH,
    SyntaxKind::ERROR,
];

fn reading(statement: &SyntaxNode) -> Result<()> {
    if !READING.contains(&statement.kind()) {
        let word = words(statement).next().map_or_else(String::new, |t| t.text().to_uppercase());
        return Err(refused(format!("{word} isn't a reading statement")));
    }
    if let Some(node) = statement.descendants().find(|node| CHANGING.contains(&node.kind())) {
        return Err(refused(format!("`{}` isn't reading", brief(&node.text().to_string()))));
    }
    Ok(())
}

/// Refuses a denied function wherever its name may call it. A table or a column may bear such a name.
fn refuse_names(statement: &SyntaxNode) -> Result<()> {
    for token in words(statement) {
        if token.text().starts_with("U&\"") || token.text().starts_with("u&\"") {
            return Err(refused(format!("the identifier {} is written with escapes", token.text())));
        }
        let name = name(&token);
        if let Some(reason) = denied::reason(&name)
            && may_call(&token)
        {
            return Err(refused(format!("`{name}` is denied: it {reason}")));
        }
    }
    Ok(())
}

/// Whether PostgreSQL may take a name for a function's: before a parenthesis, or after a point, as `value.name` calls
/// `name(value)` where there is no such column (manual, 4.2.4 «Field Selection»; 38.5.4). A relation in FROM, which no
/// parenthesis follows, is none.
fn may_call(token: &SyntaxToken) -> bool {
    let trivial = |t: &SyntaxToken| matches!(t.kind(), SyntaxKind::COMMENT | SyntaxKind::WHITESPACE);
    let after = std::iter::successors(token.next_token(), SyntaxToken::next_token).find(|t| !trivial(t));
    let before = std::iter::successors(token.prev_token(), SyntaxToken::prev_token).find(|t| !trivial(t));
    after.is_some_and(|t| t.kind() == SyntaxKind::L_PAREN)
        || before.is_some_and(|t| t.kind() == SyntaxKind::DOT)
            && !token.parent_ancestors().any(|node| node.kind() == SyntaxKind::RELATION_NAME_REF)
}

/// Names and keywords.
fn words(statement: &SyntaxNode) -> impl Iterator<Item = SyntaxToken> + use<> {
    statement
        .descendants_with_tokens()
        .filter_map(|element| element.into_token())
        .filter(|token| token.text().starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"'))
        .filter(|token| !matches!(token.kind(), SyntaxKind::COMMENT | SyntaxKind::WHITESPACE))
}

/// A name as the server sees it: quoted as it stands, else in lower case.
fn name(token: &SyntaxToken) -> String {
    match token.text().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => token.text().to_lowercase(),
    }
}

/// SHOW as a query.
fn show(statement: &SyntaxNode) -> Result<Admitted> {
    let text: String = statement
        .descendants_with_tokens()
        .filter_map(|element| element.into_token())
        .filter(|token| !matches!(token.kind(), SyntaxKind::COMMENT | SyntaxKind::SEMICOLON))
        .map(|token| token.text().to_owned())
        .collect();
    let parts: Vec<_> = text.split_whitespace().skip(1).map(str::to_lowercase).collect();
    // The spellings that aren't settings' names (manual, SHOW).
    let setting = match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["time", "zone"] => "timezone".to_owned(),
        ["transaction", "isolation", "level"] => "transaction_isolation".to_owned(),
        ["all"] | [] => return Err(refused("SHOW takes the name of one setting".to_owned())),
        _ => parts.concat().replace('"', ""),
    };
    let column = crate::quote::ident(&setting);
    Ok(Admitted::Rows(format!(
        "SELECT pg_catalog.row_to_json(q)::text FROM (SELECT pg_catalog.current_setting({}) AS {column}) AS q",
        literal(&setting)
    )))
}

fn refused(why: String) -> Error {
    Error::new(
        ErrorKind::Denied,
        Fault::Plugin,
        format!("a query is one SELECT, VALUES, TABLE, SHOW or EXPLAIN: {why}"),
    )
    .hint("changes go through effects: `postgres.execute` on a slot that is granted `write`")
}

/// The beginning of a text, for messages.
pub fn brief(text: &str) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    let line = line.join(" ");
    if line.chars().count() <= 120 { line } else { line.chars().take(117).chain("…".chars()).collect() }
}

#[cfg(test)]
mod tests;
