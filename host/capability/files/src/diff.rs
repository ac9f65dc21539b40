//! What a write changes, as a person may see it.

use godwit_model::secret::Secrets;
use similar::{Algorithm, DiffOp, TextDiff};

/// Lines of a diff that are shown.
const MAX_LINES: usize = 400;
/// Files beyond this are told by their sizes only.
const MAX_BYTES: usize = 1 << 20;

/// A unified diff with what is secret as `***`; `None` where there is nothing to show line by line.
///
/// In an env file every value is masked that isn't one of `known`; elsewhere, what is a secret of the run. Which lines
/// have changed is found on the lines as they are.
pub fn masked(
    path: &str,
    before: Option<&[u8]>,
    after: Option<&[u8]>,
    secrets: &Secrets,
    known: &[String],
) -> Option<String> {
    let old = text(before)?;
    let new = text(after)?;
    let (old_lines, new_lines) = (lines(old), lines(new));
    let (old_shown, new_shown) = if is_env(path) {
        (mask_env(&old_lines, secrets, known), mask_env(&new_lines, secrets, known))
    } else {
        (mask_text(&old_lines, old, secrets)?, mask_text(&new_lines, new, secrets)?)
    };
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).diff_slices(&old_lines, &new_lines);
    let mut out = vec![
        format!("--- {}", if before.is_some() { path } else { "/dev/null" }),
        format!("+++ {}", if after.is_some() { path } else { "/dev/null" }),
    ];
    let groups = diff.grouped_ops(3);
    if groups.is_empty() {
        return None;
    }
    for group in &groups {
        out.push(hunk_header(group));
        for op in group {
            let (old_range, new_range) = (op.old_range(), op.new_range());
            if matches!(op, DiffOp::Equal { .. }) {
                out.extend(new_shown[new_range].iter().map(|line| format!(" {line}")));
                continue;
            }
            out.extend(old_shown[old_range].iter().map(|line| format!("-{line}")));
            out.extend(new_shown[new_range].iter().map(|line| format!("+{line}")));
        }
    }
    if out.len() > MAX_LINES {
        let left = out.len() - MAX_LINES;
        out.truncate(MAX_LINES);
        out.push(format!("… {left} more lines"));
    }
    Some(out.join("\n") + "\n")
}

/// Whether a file's values are masked one by one.
fn is_env(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with(".env") || name.ends_with(".env")
}

/// The content as text; nothing there is an empty text.
fn text(content: Option<&[u8]>) -> Option<&str> {
    let content = content.unwrap_or_default();
    let text = std::str::from_utf8(content).ok()?;
    (content.len() <= MAX_BYTES && !text.contains('\0')).then_some(text)
}

/// Lines without their ends, a carriage return kept visible.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn shown(line: &str) -> String {
    match line.strip_suffix('\n') {
        Some(line) => line.trim_end_matches('\r').to_owned(),
        None => format!("{line}␄"),
    }
}

fn hunk_header(group: &[DiffOp]) -> String {
    let range = |first: std::ops::Range<usize>, last: std::ops::Range<usize>| {
        let length = last.end - first.start;
        format!("{},{length}", if length == 0 { first.start } else { first.start + 1 })
    };
    match (group.first(), group.last()) {
        (Some(first), Some(last)) => format!(
            "@@ -{} +{} @@",
            range(first.old_range(), last.old_range()),
            range(first.new_range(), last.new_range())
        ),
        _ => "@@".to_owned(),
    }
}

/// The lines of any text with the secrets of the run masked. `None` where a secret spans lines: it can't be masked line
/// by line.
fn mask_text(lines: &[&str], whole: &str, secrets: &Secrets) -> Option<Vec<String>> {
    let masked: Vec<String> = lines.iter().map(|line| secrets.redact(line)).collect();
    (masked.concat() == secrets.redact(whole)).then(|| masked.iter().map(|line| shown(line)).collect())
}

/// The lines of an env file with every value masked that isn't known. When in doubt, masks: what follows an open quote
/// up to the line that closes it, and what looks like an assignment in a comment.
fn mask_env(lines: &[&str], secrets: &Secrets, known: &[String]) -> Vec<String> {
    let mut open: Option<char> = None;
    lines
        .iter()
        .map(|line| {
            if let Some(quote) = open {
                if line.contains(quote) {
                    open = None;
                }
                return "***".to_owned();
            }
            let bare = line.trim_end_matches(['\n', '\r']);
            let is_comment = bare.trim_start().starts_with('#');
            let Some((before, value)) = bare.split_once('=').filter(|(name, _)| !is_comment || is_name(name))
            else {
                // Without an equals sign there is no value, but there may be a secret of the run, or half of one.
                return if is_comment || bare.trim().is_empty() {
                    secrets.redact(&shown(line))
                } else {
                    "***".to_owned()
                };
            };
            let trimmed = value.trim_start();
            let quote = trimmed.chars().next().filter(|first| matches!(first, '\'' | '"' | '`'));
            if let Some(quote) = quote
                && !is_comment
                && !trimmed[1..].contains(quote)
            {
                open = Some(quote);
                return format!("{before}={quote}***");
            }
            if is_known(trimmed, quote, known) {
                secrets.redact(&shown(line))
            } else {
                format!("{before}=***")
            }
        })
        .collect()
}

/// Whether what stands before an equals sign in a comment looks like a key.
fn is_name(text: &str) -> bool {
    let name = text.trim().trim_start_matches(['#', ' ', '\t']).trim_end();
    let name = name.rsplit([' ', '\t']).next().unwrap_or(name);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// Whether a value, without its quotes and its comment, may be shown.
fn is_known(value: &str, quote: Option<char>, known: &[String]) -> bool {
    let value = match quote {
        Some(quote) => match value[1..].split_once(quote) {
            // Only blanks and a comment may follow; anything else is part of a value.
            Some((inner, rest)) if rest.trim_start().is_empty() || rest.trim_start().starts_with('#') => {
                inner
            }
            _ => return false,
        },
        None => value.split(" #").next().unwrap_or(value).trim_end(),
    };
    value.is_empty() || known.iter().any(|known| known == value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_model::secret::Secret;

    fn secrets() -> (Secrets, String) {
        let mut secrets = Secrets::default();
        let token = secrets.insert(&"run".into(), "password", Secret::new("fake-s3cret"));
        (secrets, token)
    }

    fn env(before: &str, after: &str, known: &[&str]) -> String {
        let (secrets, _) = secrets();
        let known: Vec<String> = known.iter().map(|text| (*text).to_owned()).collect();
        masked("a/.env", Some(before.as_bytes()), Some(after.as_bytes()), &secrets, &known)
            .unwrap_or_default()
    }

    #[test]
    fn env_values_are_masked_unless_known() {
        let (_, token) = secrets();
        let before = "# hosted: db | local: localhost\nHOST=localhost # here\nPORT=5435\nPASSWORD=hunter22\nKEEP='x y'\n";
        let after = format!(
            "# hosted: db | local: localhost\nHOST=db.example.com # here\nPORT=\"16543\"\nPASSWORD={token}\nKEEP='x y'\nNEW=1\n"
        );
        let diff = env(before, &after, &["db.example.com", "16543"]);
        assert_eq!(
            diff,
            "--- a/.env\n+++ a/.env\n@@ -1,5 +1,6 @@\n # hosted: db | local: localhost\n-HOST=***\n-PORT=***\n\
             -PASSWORD=***\n+HOST=db.example.com # here\n+PORT=\"16543\"\n+PASSWORD=***\n KEEP=***\n+NEW=***\n"
        );
    }

    #[test]
    fn nothing_slips_through_odd_lines() {
        let after = "A=\"open hidden1\nhidden2\nclose\" # hidden3\n#OLD_KEY=hidden4\nB='x' hidden5\nC='x'hidden6\n\
                     export D=hidden7\nhidden8\nE=known#hidden9\nF=known\thidden10\n# use KEY=hidden11\n";
        let diff = env("", after, &["x", "known"]);
        assert!(!diff.contains("hidden"), "{diff}");
        assert!(diff.contains("+export D=***"));
    }

    #[test]
    fn other_files_lose_the_secrets_of_the_run() {
        let (secrets, token) = secrets();
        let before = b"password: fake-s3cret\nport: 1\n";
        let after = format!("password: {token}\nport: 2\n");
        let diff = masked("config.yml", Some(before), Some(after.as_bytes()), &secrets, &[]).unwrap();
        assert_eq!(
            diff,
            "--- config.yml\n+++ config.yml\n@@ -1,2 +1,2 @@\n-password: ***\n-port: 1\n+password: ***\n+port: 2\n"
        );
        assert_eq!(masked("x", Some(b"\0"), Some(b"a"), &secrets, &[]), None);
        assert_eq!(masked("x", Some(b"same"), Some(b"same"), &secrets, &[]), None);
    }

    #[test]
    fn a_secret_over_several_lines_is_not_shown_in_part() {
        let mut secrets = Secrets::default();
        secrets.insert(&"run".into(), "key", Secret::new("first\nsecond"));
        assert_eq!(masked("key.pem", None, Some(b"x\nfirst\nsecond\n"), &secrets, &[]), None);
    }

    #[test]
    fn a_new_file_comes_from_nothing() {
        let (secrets, _) = secrets();
        let diff = masked("notes.txt", None, Some(b"one\ntwo"), &secrets, &[]).unwrap();
        assert_eq!(diff, "--- /dev/null\n+++ notes.txt\n@@ -0,0 +1,2 @@\n+one\n+two␄\n");
    }
}
