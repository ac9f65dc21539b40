//! Where the keys of one bucket lie in another.

use godwit_sdk::prelude::*;

use crate::glob::Glob;

/// A rule that names keys anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// A pattern as in `include`.
    pub from: String,
    /// The new key, in which `$1`, `$2`, … stand for what the pattern's first, second, … `*`, `**` or `?` stood for.
    pub to: String,
}

/// A rule of `rename`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewName {
    from: Glob,
    to: String,
}

impl NewName {
    pub fn new(rule: &Rename) -> Result<Self> {
        let from = Glob::new(&rule.from)?;
        let wrong = |why: String| {
            Err(Error::Invalid(format!(
                "`rename` from `{}` to `{}`: {why}; write `$1` for what the pattern's first wildcard stands for",
                rule.from, rule.to
            )))
        };
        let mut rest = rule.to.as_str();
        while let Some(at) = rest.find('$') {
            rest = &rest[at + 1..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            match rest[..digits].parse::<usize>() {
                Ok(number) if (1..=from.wildcards()).contains(&number) => {}
                Ok(number) => {
                    return wrong(format!("there is no `${number}`: the pattern has {}", from.wildcards()));
                }
                Err(_) => return wrong("a `$` stands before no number".to_owned()),
            }
            rest = &rest[digits..];
        }
        Ok(Self { from, to: rule.to.clone() })
    }

    /// The new name; `None` where the pattern doesn't fit.
    fn of(&self, key: &str) -> Option<String> {
        let captured = self.from.captures(key)?;
        let mut out = String::new();
        let mut rest = self.to.as_str();
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: usize = rest[..digits].parse().unwrap_or(0);
            out.push_str(number.checked_sub(1).and_then(|at| captured.get(at)).map_or("", String::as_str));
            rest = &rest[digits..];
        }
        out.push_str(rest);
        Some(out)
    }
}

/// Checks what every plugin says of its buckets: how many entries, and of a hundred objects how many are a sample.
pub fn check_scope(buckets: usize, sample_percent: u8) -> Result<()> {
    if buckets == 0 {
        return Err(Error::Invalid("`buckets` is empty: name at least one bucket".to_owned()));
    }
    if !(1..=100).contains(&sample_percent) {
        return Err(Error::Invalid(format!(
            "`sample_percent` is {sample_percent}: give a whole number from 1 to 100, or leave it out to take all"
        )));
    }
    Ok(())
}

/// An entry of `buckets`, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub source: String,
    pub target: String,
    pub prefix: String,
    pub target_prefix: String,
    /// Rules that name keys anew.
    pub names: Vec<NewName>,
}

impl Mapping {
    /// What is left out at the target is as at the source.
    pub fn new(
        source: &str,
        target: Option<&str>,
        prefix: &str,
        target_prefix: Option<&str>,
        names: &[NewName],
    ) -> Result<Self> {
        let mapping = Self {
            source: source.to_owned(),
            target: target.unwrap_or(source).to_owned(),
            prefix: prefix.to_owned(),
            target_prefix: target_prefix.unwrap_or(prefix).to_owned(),
            names: names.to_vec(),
        };
        if mapping.source.is_empty() || mapping.target.is_empty() {
            return Err(Error::Invalid(
                "an entry of `buckets` has an empty name: give the bucket's, or leave `target` out"
                    .to_owned(),
            ));
        }
        Ok(mapping)
    }

    /// The source's key of what comes after the prefix.
    pub fn source_key(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    /// The target's key of what comes after the prefix.
    pub fn target_key(&self, rest: &str) -> String {
        match self.names.iter().find_map(|name| name.of(rest)) {
            Some(new) => format!("{}{new}", self.target_prefix),
            None => format!("{}{rest}", self.target_prefix),
        }
    }
}
