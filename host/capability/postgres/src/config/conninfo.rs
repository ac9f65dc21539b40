//! Connection strings of keywords and values, as libpq takes them (manual, section 34.1.1.1).

/// The settings of a text such as `host=db.example.com port=5432 password='fake word'`. The error says what is wrong,
/// without showing the text.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut settings = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let number = settings.len() + 1;
        let (key, after) = rest.split_once('=').ok_or_else(|| format!("its {number}. setting has no `=`"))?;
        let key = key.trim();
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("the name of its {number}. setting is none"));
        }
        let (value, after) =
            value(after.trim_start()).ok_or_else(|| format!("the value of `{key}` has no end"))?;
        settings.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(settings)
}

/// A value, and what comes after it. `\` makes the next character a plain one, quotes hold blanks together.
fn value(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let body = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, next)| next)),
            '\'' if quoted.is_some() => return Some((value, &body[at + 1..])),
            c if quoted.is_none() && c.is_whitespace() => return Some((value, &body[at..])),
            c => value.push(c),
        }
    }
    quoted.is_none().then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_libpq_reads_them() {
        let text = r"host = db.example.com  port=5433 password='fake \'word\' \\' options='-c geqo=off' user=a\ b empty=''";
        let found = parse(text).unwrap();
        let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            found,
            [
                ("host", "db.example.com"),
                ("port", "5433"),
                ("password", r"fake 'word' \"),
                ("options", "-c geqo=off"),
                ("user", "a b"),
                ("empty", ""),
            ]
        );
        assert_eq!(parse("  ").unwrap(), []);
    }

    #[test]
    fn faults_do_not_show_the_text() {
        for text in ["host=a fake-word", "=fake-word", "a b=fake-word", "password='fake-word", "pass'word=x"]
        {
            let why = parse(text).unwrap_err();
            assert!(!why.contains("fake-word"), "{why}");
        }
    }
}
