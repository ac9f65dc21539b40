//! Who owns what an entry makes, and whom its privileges are granted to.

use std::ops::Range;

use crate::toc::Entry;

/// What has an owner of its own that a statement can change (`_printTocEntry` in `pg_backup_archiver.c`).
const OWNED: &[&str] = &[
    "AGGREGATE",
    "BLOB",
    "COLLATION",
    "CONVERSION",
    "DOMAIN",
    "EVENT TRIGGER",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "FUNCTION",
    "MATERIALIZED VIEW",
    "OPERATOR",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "PROCEDURAL LANGUAGE",
    "PROCEDURE",
    "PUBLICATION",
    "SCHEMA",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "SUBSCRIPTION",
    "TABLE",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TYPE",
    "VIEW",
];

impl Entry {
    /// `ALTER TABLE public.users OWNER TO`, where the entry names an owner for what it makes.
    pub fn alter_owner(&self) -> Option<String> {
        let owned = OWNED.contains(&self.desc.as_str()) && self.owner.as_ref().is_some_and(|o| !o.is_empty());
        let drop = self.drop.as_deref().filter(|_| owned)?.trim();
        // A schema that every database has comes with a comment in the place of a statement.
        let object = match self.desc.as_str() {
            "SCHEMA" => format!("SCHEMA {}", quoted(self.tag.as_deref()?)),
            "BLOB" => format!("LARGE OBJECT {}", self.tag.as_deref()?),
            _ => {
                let first = drop.split(";\n").next()?.trim_end_matches(';');
                let object = first.strip_prefix("DROP ")?;
                object.strip_suffix(" CASCADE").unwrap_or(object).replacen(" IF EXISTS ", " ", 1)
            }
        };
        Some(format!("ALTER {object} OWNER TO"))
    }
}

/// The role that a GRANT or REVOKE names last, as it is called there; none is PUBLIC.
pub fn grantee(statement: &str) -> Option<String> {
    let (name, _) = last(statement)?;
    (name != "PUBLIC").then_some(name)
}

/// The last name of a statement, and where it stands, with its quotes.
fn last(statement: &str) -> Option<(String, Range<usize>)> {
    let statement = statement.trim_end().trim_end_matches(';').trim_end();
    let statement = statement.strip_suffix(" WITH GRANT OPTION").unwrap_or(statement);
    if !statement.ends_with('"') {
        let start = statement.rfind(' ')? + 1;
        return Some((statement[start..].to_owned(), start..statement.len()));
    }
    // Back to the quote that isn't one of a pair.
    let inner = &statement[..statement.len() - 1];
    let mut start = inner.len();
    while let Some(at) = inner[..start].rfind('"') {
        match inner[..at].strip_suffix('"') {
            Some(before) => start = before.len(),
            None => {
                start = at;
                break;
            }
        }
    }
    Some((inner.get(start + 1..)?.replace("\"\"", "\""), start..statement.len()))
}

/// The name that a text begins with, and its length with its quotes.
fn first(text: &str) -> Option<(String, usize)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', ',', ';']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), end));
    };
    let mut name = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
                name.push('"');
            }
            '"' => return Some((name, at + 2)),
            c => name.push(c),
        }
    }
    None
}

/// An entry's statement with other roles in the place of those that `rename` knows: of a GRANT or REVOKE, also of default
/// privileges, or of a CREATE POLICY. Anything else stays as it is.
pub fn renamed(statement: &str, rename: &mut dyn FnMut(&str) -> Option<String>) -> String {
    let mut text = statement.to_owned();
    if text.starts_with("CREATE POLICY ") {
        // The first word of the kind outside of names: what is said of rows comes after the roles.
        let Some(mut at) = outside(&text, " TO ").map(|at| at + " TO ".len()) else { return text };
        while let Some((name, length)) = first(&text[at..]) {
            let new = rename(&name).map_or_else(|| text[at..at + length].to_owned(), |new| quoted(&new));
            text.replace_range(at..at + length, &new);
            at += new.len();
            match text[at..].strip_prefix(", ") {
                Some(_) => at += ", ".len(),
                None => break,
            }
        }
        return text;
    }
    let is_granting =
        ["GRANT ", "REVOKE ", "ALTER DEFAULT PRIVILEGES "].iter().any(|word| text.starts_with(word));
    if !is_granting {
        return text;
    }
    if let Some((name, range)) = last(&text)
        && let Some(new) = rename(&name)
    {
        text.replace_range(range, &quoted(&new));
    }
    const FOR: &str = "ALTER DEFAULT PRIVILEGES FOR ROLE ";
    if let Some((name, length)) = text.strip_prefix(FOR).and_then(first)
        && let Some(new) = rename(&name)
    {
        text.replace_range(FOR.len()..FOR.len() + length, &quoted(&new));
    }
    text
}

/// Where a word stands outside of quoted names.
fn outside(text: &str, word: &str) -> Option<usize> {
    let is_outside = |at: &usize| text[..*at].matches('"').count().is_multiple_of(2);
    text.match_indices(word).map(|(at, _)| at).find(is_outside)
}

/// Takes a GRANT or REVOKE back: each by the other.
pub fn reversed(statement: &str) -> Option<String> {
    let begins =
        |words: &str| statement.find(words).filter(|at| *at == 0 || statement.starts_with("ALTER DEFAULT "));
    let ungranted = statement.strip_suffix(" WITH GRANT OPTION").unwrap_or(statement);
    if let Some(at) = begins("GRANT ") {
        let to = ungranted.rfind(" TO ")?;
        let (head, role) = (ungranted.get(at + 6..to)?, ungranted.get(to + 4..)?);
        return Some(format!("{}REVOKE {head} FROM {role}", &statement[..at]));
    }
    let at = begins("REVOKE ")?;
    let from = statement.rfind(" FROM ")?;
    let (head, role) = (statement.get(at + 7..from)?, statement.get(from + 6..)?);
    Some(format!("{}GRANT {head} TO {role}", &statement[..at]))
}

fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.chars().all(plain) && name.starts_with(|c: char| !c.is_ascii_digit()) && name != "user" {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toc::Section;

    #[test]
    fn roles_get_other_names_where_they_stand_for_roles() {
        let mut rename = |name: &str| match name {
            "one" => Some("Other one".to_owned()),
            "b\"c" => Some("plain".to_owned()),
            _ => None,
        };
        for (statement, expect) in [
            ("GRANT SELECT ON TABLE app.one TO one", "GRANT SELECT ON TABLE app.one TO \"Other one\""),
            (
                "GRANT ALL ON TABLE app.t TO \"b\"\"c\" WITH GRANT OPTION",
                "GRANT ALL ON TABLE app.t TO plain WITH GRANT OPTION",
            ),
            ("REVOKE ALL ON SCHEMA one FROM PUBLIC", "REVOKE ALL ON SCHEMA one FROM PUBLIC"),
            (
                "ALTER DEFAULT PRIVILEGES FOR ROLE one IN SCHEMA s GRANT SELECT ON TABLES TO \"b\"\"c\"",
                "ALTER DEFAULT PRIVILEGES FOR ROLE \"Other one\" IN SCHEMA s GRANT SELECT ON TABLES TO plain",
            ),
            (
                "CREATE POLICY \"a TO one\" ON app.t FOR SELECT TO two, one USING ((x = ' TO one'::text))",
                "CREATE POLICY \"a TO one\" ON app.t FOR SELECT TO two, \"Other one\" USING ((x = ' TO one'::text))",
            ),
            ("CREATE TABLE one (one text)", "CREATE TABLE one (one text)"),
        ] {
            assert_eq!(renamed(statement, &mut rename), expect);
        }
    }

    #[test]
    fn owners_are_those_of_what_is_dropped() {
        let of = |desc: &str, tag: &str, drop: &str| {
            let mut entry = Entry::new(1, desc, tag, Section::PreData);
            entry.owner = Some("o".to_owned());
            entry.drop = Some(drop.to_owned());
            entry.alter_owner()
        };
        let found = of("TABLE", "users", "DROP TABLE app.users;\n");
        assert_eq!(found.as_deref(), Some("ALTER TABLE app.users OWNER TO"));
        let found = of("TYPE", "label", "DROP TYPE app.label CASCADE;\n");
        assert_eq!(found.as_deref(), Some("ALTER TYPE app.label OWNER TO"));
        let found = of("SCHEMA", "public", "-- *not* dropping schema, since initdb creates it\n");
        assert_eq!(found.as_deref(), Some("ALTER SCHEMA public OWNER TO"));
        assert_eq!(of("INDEX", "i", "DROP INDEX app.i;\n"), None);
    }

    #[test]
    fn grantees_are_read_in_whatever_quotes() {
        assert_eq!(grantee("GRANT SELECT ON TABLE s.t TO reader;\n").as_deref(), Some("reader"));
        assert_eq!(
            grantee("GRANT ALL ON TABLE s.t TO \"a \"\"b\" WITH GRANT OPTION").as_deref(),
            Some("a \"b")
        );
        assert_eq!(grantee("REVOKE ALL ON SCHEMA public FROM PUBLIC"), None);
        assert_eq!(
            reversed("ALTER DEFAULT PRIVILEGES FOR ROLE o GRANT SELECT ON TABLES TO r WITH GRANT OPTION")
                .as_deref(),
            Some("ALTER DEFAULT PRIVILEGES FOR ROLE o REVOKE SELECT ON TABLES FROM r")
        );
        assert_eq!(
            reversed("REVOKE USAGE ON SCHEMA public FROM PUBLIC").as_deref(),
            Some("GRANT USAGE ON SCHEMA public TO PUBLIC")
        );
    }
}
