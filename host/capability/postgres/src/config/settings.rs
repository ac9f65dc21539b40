//! Settings of sessions: what `options` says as libpq and the server's command line have it.

/// The settings of `-c name=value --other-name=value`. The error says which part is none.
pub fn options(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut settings = Vec::new();
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let pair = match word.strip_prefix("-c") {
            Some("") => words.next().ok_or("`-c` stands at its end")?,
            Some(pair) => pair.to_owned(),
            None => match word.strip_prefix("--") {
                Some(pair) => pair.to_owned(),
                None => return Err(format!("`{word}` isn't `-c name=value`")),
            },
        };
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` has no `=`"))?;
        // The server's command line takes dashes for underscores.
        let name = name.replace('-', "_");
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
        };
        if !is_name(&name) {
            return Err(format!("`{name}` is no name of a setting"));
        }
        settings.push((name, value.to_owned()));
    }
    Ok(settings)
}

/// The words of a command line: blanks part them, unless `\` stands before.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// A duration as the server's settings take it: a number of milliseconds, or with `ms`, `s`, `m`, `min`, `h`, `d`.
pub fn duration(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "m" => "min",
        unit @ ("" | "ms" | "s" | "min" | "h" | "d") => unit,
        unit => return Err(format!("`{unit}` is no unit of time")),
    };
    let number: u32 = digits.parse().map_err(|_| format!("`{text}` isn't a duration such as `30s`"))?;
    Ok(format!("{number}{unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_a_command_line() {
        let found =
            options(r"-c geqo=off -cstatement_timeout=5min --lock-timeout=1s -c app.name=a\ b").unwrap();
        let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            found,
            [("geqo", "off"), ("statement_timeout", "5min"), ("lock_timeout", "1s"), ("app.name", "a b")]
        );
        for wrong in ["-c", "geqo=off", "-c geqo", "-c a;b=1", "-N 5", "--=x"] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms").unwrap(), "500ms");
        assert_eq!(duration("5m").unwrap(), "5min");
        assert_eq!(duration("0").unwrap(), "0");
        for wrong in ["", "s", "5y", "1.5s", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
