//! Cross-origin requests, as S3 answers them (S3 user guide, "Using cross-origin resource sharing").

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use s3s::dto::CORSRule;

/// The headers that allow a preflight (`method` of the announced request, `headers` announced), or `None` when
/// no rule matches; a plain request announces no headers.
pub fn allow(rules: &[CORSRule], origin: &str, method: &str, headers: &[&str]) -> Option<HeaderMap> {
    let rule = rules.iter().find(|rule| {
        rule.allowed_origins.iter().any(|pattern| matches(pattern, origin))
            && rule.allowed_methods.iter().any(|allowed| allowed == method)
            && headers.iter().all(|header| {
                let allowed = rule.allowed_headers.as_deref().unwrap_or_default();
                allowed
                    .iter()
                    .any(|pattern| matches(&pattern.to_ascii_lowercase(), &header.to_ascii_lowercase()))
            })
    })?;
    let any = rule.allowed_origins.iter().any(|pattern| pattern == "*");
    let mut answer = HeaderMap::new();
    let mut set = |name: HeaderName, value: String| {
        if let (false, Ok(value)) = (value.is_empty(), HeaderValue::from_str(&value)) {
            answer.insert(name, value);
        }
    };
    set(header::ACCESS_CONTROL_ALLOW_ORIGIN, if any { "*".into() } else { origin.into() });
    set(header::ACCESS_CONTROL_ALLOW_METHODS, rule.allowed_methods.join(", "));
    set(header::ACCESS_CONTROL_ALLOW_HEADERS, headers.join(", "));
    set(header::ACCESS_CONTROL_EXPOSE_HEADERS, rule.expose_headers.as_deref().unwrap_or_default().join(", "));
    if let Some(seconds) = rule.max_age_seconds {
        set(header::ACCESS_CONTROL_MAX_AGE, seconds.to_string());
    }
    set(header::VARY, "Origin".into());
    Some(answer)
}

/// A pattern holds at most one `*`.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            text.len() >= head.len() + tail.len() && text.starts_with(head) && text.ends_with(tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_matched() {
        let rule = CORSRule {
            allowed_origins: vec!["https://*.example.com".into()],
            allowed_methods: vec!["GET".into(), "HEAD".into()],
            allowed_headers: Some(vec!["*".into()]),
            max_age_seconds: Some(3000),
            ..CORSRule::default()
        };
        let rules = [rule];
        let answer = allow(&rules, "https://app.example.com", "GET", &["Range"]).expect("allowed");
        assert_eq!(answer["access-control-allow-origin"], "https://app.example.com");
        assert_eq!(answer["access-control-max-age"], "3000");
        assert!(allow(&rules, "https://app.example.com", "PUT", &[]).is_none());
        assert!(allow(&rules, "https://example.org", "GET", &[]).is_none());
    }
}
