//! Patterns of transfer labels.

/// Whether a label fits a pattern in which `*` stands for any run of characters, also an empty one.
///
/// Everything else stands for itself: `public.*` fits every table of schema `public`.
pub fn label_matches(pattern: &str, label: &str) -> bool {
    let mut parts = pattern.split('*');
    // `split` yields at least one part.
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = label.strip_prefix(first) else { return false };
    let Some(mut last) = parts.next() else { return rest.is_empty() };
    for part in parts {
        match rest.find(last) {
            Some(at) => rest = &rest[at + last.len()..],
            None => return false,
        }
        last = part;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::label_matches;

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, label, fits) in [
            ("public.users", "public.users", true),
            ("public.users", "public.users2", false),
            ("public.*", "public.users", true),
            ("public.*", "audit.users", false),
            ("*", "", true),
            ("*.users", "public.users", true),
            ("p*.u*s", "public.users", true),
            ("p*.u*s", "public.user", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("**", "x", true),
            ("", "x", false),
            ("*x*y*", "axbyc", true),
            ("*x*y*", "aybxc", false),
        ] {
            assert_eq!(label_matches(pattern, label), fits, "{pattern} {label}");
        }
    }
}
