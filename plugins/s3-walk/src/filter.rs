//! Which objects take part: by patterns, size and age.

use godwit_sdk::prelude::*;

use crate::glob::Glob;

/// What a recipe says of it.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    pub include: &'a [String],
    pub exclude: &'a [String],
    /// Bytes.
    pub min_size: Option<u64>,
    pub max_size: Option<u64>,
    /// Such as `12h`.
    pub min_age: Option<&'a str>,
    pub max_age: Option<&'a str>,
}

impl Choice<'_> {
    /// `now` is in seconds since the Unix epoch: ages are taken from it.
    pub fn filter(&self, now: i64) -> Result<Filter> {
        let globs = |patterns: &[String]| {
            patterns.iter().map(|pattern| Glob::new(pattern)).collect::<Result<Vec<_>>>()
        };
        let before = |name: &str, age: Option<&str>| {
            age.map(|age| seconds(name, age).map(|age| now - age)).transpose()
        };
        Ok(Filter {
            include: globs(self.include)?,
            exclude: globs(self.exclude)?,
            min_size: self.min_size,
            max_size: self.max_size,
            latest: before("min_age", self.min_age)?,
            earliest: before("max_age", self.max_age)?,
        })
    }
}

/// Which keys take part.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub include: Vec<Glob>,
    pub exclude: Vec<Glob>,
    /// Bytes.
    pub min_size: Option<u64>,
    pub max_size: Option<u64>,
    /// Seconds since the Unix epoch: written then at the earliest, and at the latest.
    pub earliest: Option<i64>,
    pub latest: Option<i64>,
}

impl Filter {
    /// Whether an object of the source takes part.
    pub fn admits(&self, object: &ObjectInfo) -> bool {
        self.admits_key(&object.key) && self.admits_size_and_age(object)
    }

    /// Whether an object is as large and as old as asked for.
    pub fn admits_size_and_age(&self, object: &ObjectInfo) -> bool {
        self.min_size.is_none_or(|min| object.size >= min)
            && self.max_size.is_none_or(|max| object.size <= max)
            && self.earliest.is_none_or(|earliest| object.modified >= earliest)
            && self.latest.is_none_or(|latest| object.modified <= latest)
    }

    /// Whether the patterns admit a key.
    pub fn admits_key(&self, key: &str) -> bool {
        (self.include.is_empty() || self.include.iter().any(|glob| glob.matches(key)))
            && !self.exclude.iter().any(|glob| glob.matches(key))
    }
}

/// A duration such as `90s`, `30m`, `12h`, `7d`, or a sum of them.
fn seconds(name: &str, text: &str) -> Result<i64> {
    let wrong = || Error::Invalid(format!("`{name}` is `{text}`: give a duration such as `12h` or `30d`"));
    let mut total = 0i64;
    let mut rest = text;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        let mut chars = rest[digits..].chars();
        let unit = match chars.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(wrong()),
        };
        total = number.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = chars.as_str();
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_includes_then_excludes() {
        let glob = |pattern| Glob::new(pattern).unwrap();
        let filter =
            Filter { include: vec![glob("a/**")], exclude: vec![glob("**.tmp")], ..Filter::default() };
        assert!(filter.admits_key("a/b") && !filter.admits_key("a/b.tmp") && !filter.admits_key("b"));
        assert!(Filter::default().admits_key("anything"));
    }

    #[test]
    fn sizes_and_ages_choose() {
        let object = |size, modified| ObjectInfo {
            key: "k".into(),
            size,
            etag: "e".into(),
            modified,
            storage_class: None,
        };
        let filter = Filter {
            min_size: Some(10),
            max_size: Some(20),
            earliest: Some(100),
            latest: Some(200),
            ..Filter::default()
        };
        assert!(filter.admits(&object(10, 100)) && filter.admits(&object(20, 200)));
        for (size, modified) in [(9, 150), (21, 150), (15, 99), (15, 201)] {
            assert!(!filter.admits(&object(size, modified)), "{size} {modified}");
        }
    }
}
