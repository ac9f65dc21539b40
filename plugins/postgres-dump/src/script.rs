//! An archive as a script for psql.

use crate::contents::Contents;
use godwit_pg_archive::{Entry, if_exists};
use godwit_pg_catalog::sql::ident;
use godwit_sdk::types::Piece;

/// As pg_dump begins its scripts (`_doSetFixedOutputState` in `pg_backup_archiver.c`).
const SETTINGS: &str = "SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
";

/// Whether a script drops first what it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleaning {
    None,
    /// What isn't there is an error.
    Drop,
    IfExists,
}

/// The pieces of a script: text, and between them the rows of the entries that `file` knows a file for.
pub fn script(
    contents: &Contents,
    server: &str,
    cleaning: Cleaning,
    file: impl Fn(&Entry) -> Option<String>,
) -> Vec<Piece> {
    let entries = &contents.entries;
    let mut pieces = Vec::new();
    let mut text = format!(
        "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version {}\n-- Dumped by godwit {}\n\nSET client_encoding = '{}';\n{SETTINGS}\n",
        one_line(server),
        env!("CARGO_PKG_VERSION"),
        contents.encoding
    );
    for entry in entries.iter().rev().filter(|_| cleaning != Cleaning::None) {
        // What was written for this archive was written by this plugin: a statement to a line.
        for statement in entry.drop.iter().flat_map(|drop| drop.split_inclusive(";\n")) {
            text += &match cleaning {
                Cleaning::IfExists => tolerant(&entry.desc, statement),
                _ => statement.to_owned(),
            };
        }
    }
    for entry in entries.iter().filter(|entry| !is_setting(entry)) {
        // Titles stand in comments, which end with the line: a name with a line break must not get out of one.
        text += &format!("--\n-- {}\n--\n\n", one_line(&entry.title()));
        match (file(entry), &entry.copy) {
            (Some(path), None) => {
                pieces.push(Piece::Text(std::mem::take(&mut text).into_bytes()));
                pieces.push(Piece::ObjectScript(path));
            }
            (Some(path), Some(copy)) => {
                text += copy;
                pieces.push(Piece::Text(std::mem::take(&mut text).into_bytes()));
                pieces.push(Piece::Dumped(path));
            }
            _ => {
                // As pg_dump has it (`_selectTablespace` in pg_backup_archiver.c); nothing begins in another one.
                let tablespace = entry.tablespace.as_ref().filter(|name| !name.is_empty());
                if let Some(tablespace) = tablespace {
                    text += &format!("SET default_tablespace = {};\n\n", ident(tablespace));
                }
                text += entry.definition.as_deref().unwrap_or_default();
                if tablespace.is_some() {
                    text += "\nSET default_tablespace = '';\n";
                }
                text.push('\n');
                if let (Some(alter), Some(owner)) = (entry.alter_owner(), &entry.owner) {
                    text += &format!("{alter} {};\n\n", ident(owner));
                }
            }
        }
    }
    text += "--\n-- PostgreSQL database dump complete\n--\n\n";
    pieces.push(Piece::Text(text.into_bytes()));
    pieces
}

/// A statement that doesn't mind that something isn't there; what has no word for that catches the error.
fn tolerant(desc: &str, statement: &str) -> String {
    if statement.starts_with("--") {
        return statement.to_owned();
    }
    if desc == "BLOB" {
        // `DropLOIfExists` in pg_backup_db.c.
        let object = statement.trim_end().trim_end_matches(';');
        let number = object.rsplit('(').next().unwrap_or_default().trim_end_matches(')');
        return format!("{object} FROM pg_catalog.pg_largeobject_metadata WHERE oid = {number};\n");
    }
    let text = if_exists(desc, statement);
    // ALTER DOMAIN has one for the constraint, none for the domain.
    if text.contains(" IF EXISTS ") && !text.starts_with("ALTER DOMAIN ") {
        return text;
    }
    let missing = "invalid_schema_name OR undefined_table OR undefined_object OR undefined_function";
    format!("DO $godwit$ BEGIN {} EXCEPTION WHEN {missing} THEN NULL; END $godwit$;\n", text.trim_end())
}

/// What the script's own beginning says.
fn is_setting(entry: &Entry) -> bool {
    matches!(entry.desc.as_str(), "ENCODING" | "STDSTRINGS" | "SEARCHPATH")
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
