//! Keys of targets that keep objects as files in folders: which they refuse, and which of them need a file and a folder
//! of one name.

/// Bytes of the longest name between two slashes.
const LONGEST_NAME: usize = 255;

/// Why such a target takes no object of this key.
pub fn refusal(key: &str) -> Option<&'static str> {
    if key.starts_with('/') {
        return Some("it begins with `/`");
    }
    if key.contains('\0') {
        return Some("it holds a NUL");
    }
    // A key that ends with a slash names a folder; that last part isn't a name.
    key.strip_suffix('/').unwrap_or(key).split('/').find_map(|name| match name.trim() {
        _ if name.is_empty() => Some("it holds `//`"),
        "." | ".." => Some("a part of it is `.` or `..`"),
        _ if name.len() > LONGEST_NAME => Some("a part of it is longer than 255 bytes"),
        _ => None,
    })
}

/// The keys that the next ones of a walk may begin with, and whether the source has them.
#[derive(Debug, Default)]
pub struct Paths {
    open: Vec<(String, bool)>,
}

impl Paths {
    /// Looks at the next key of a walk in the order of bytes, without the prefix: the key before it that would be a file
    /// where this one needs a folder. What only the target has is its own affair.
    pub fn meets(&mut self, rest: &str, of_source: bool) -> Option<String> {
        while self.open.last().is_some_and(|(key, _)| !rest.starts_with(key.as_str())) {
            self.open.pop();
        }
        let below = |key: &str| rest[key.len()..].strip_prefix('/').is_some_and(|name| !name.is_empty());
        let met = self.open.iter().find(|(key, theirs)| (of_source || *theirs) && below(key));
        let met = met.map(|(key, _)| key.clone());
        self.open.push((rest.to_owned(), of_source));
        met
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_no_paths_are_refused() {
        for key in ["/a", "a//b", "a//", "./a", "a/..", "a/ .. /b", "a\0b", &format!("a/{}", "x".repeat(256))]
        {
            assert!(refusal(key).is_some(), "{key}");
        }
        for key in ["a", "a/", "a/b.c", "...", "a/..b", "ä/日本", &format!("a/{}/b", "x".repeat(255))] {
            assert_eq!(refusal(key), None, "{key}");
        }
    }

    #[test]
    fn a_file_is_no_folder() {
        let met = |keys: &[(&str, bool)]| {
            let mut paths = Paths::default();
            let mut sorted = keys.to_vec();
            sorted.sort_unstable();
            sorted.into_iter().filter_map(|(key, source)| paths.meets(key, source)).collect::<Vec<_>>()
        };
        // Much may lie between a key and those below it.
        assert_eq!(met(&[("a", true), ("a!", true), ("a-b", true), ("a/x", true), ("ab", true)]), ["a"]);
        assert_eq!(met(&[("a/b", true), ("a/b/c", false), ("a/b/d", true)]), ["a/b", "a/b"]);
        assert_eq!(met(&[("a", false), ("a/x", false)]), [] as [&str; 0]);
        assert_eq!(met(&[("a", true), ("a/", true), ("a.b", true), ("b/x", true)]), [] as [&str; 0]);
    }
}
