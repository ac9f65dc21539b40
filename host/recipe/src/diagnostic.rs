//! What is wrong with a recipe, and where.

use std::fmt;
use std::ops::Range;

/// A recipe's text with the name under which messages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// A file's path as given, or the name of a bundled recipe.
    pub name: String,
    pub text: String,
}

impl Source {
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let byte = self.text.floor_char_boundary(byte);
        let before = &self.text[..byte];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// One fault of a recipe or of what was given to it. Never holds a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable: `recipe::unknown-key`.
    pub code: &'static str,
    /// Names the thing and the cause.
    pub message: String,
    /// The name of the [`Source`].
    pub file: String,
    /// Bytes of the source's text.
    pub span: Range<usize>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The next thing to do, where possible the line that mends it.
    pub hint: Option<String>,
    /// A few words for the marked place.
    pub label: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {} [{}]", self.file, self.line, self.column, self.message, self.code)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// A fault without its file: what the checks hand to [`Report::add`].
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    code: &'static str,
    span: Range<usize>,
    message: String,
    hint: Option<String>,
    label: Option<String>,
}

impl Fault {
    pub fn new(code: &'static str, span: &Range<usize>, message: impl Into<String>) -> Self {
        Self { code, span: span.clone(), message: message.into(), hint: None, label: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn hint_opt(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}

/// Gathers every fault of one source.
pub(crate) struct Report<'s> {
    source: &'s Source,
    found: Vec<Diagnostic>,
}

impl<'s> Report<'s> {
    pub fn new(source: &'s Source) -> Self {
        Self { source, found: Vec::new() }
    }

    pub fn add(&mut self, fault: Fault) {
        let start = self.source.text.floor_char_boundary(fault.span.start);
        let end = self.source.text.floor_char_boundary(fault.span.end).max(start);
        // A value of many lines is shown by its first.
        let end = self.source.text[start..end].find('\n').map_or(end, |at| start + at);
        let (line, column) = self.source.position(start);
        let diagnostic = Diagnostic {
            code: fault.code,
            message: fault.message,
            file: self.source.name.clone(),
            span: start..end,
            line,
            column,
            hint: fault.hint,
            label: fault.label,
        };
        // A step that foreach expands would say the same thing once for each of its items.
        if !self.found.contains(&diagnostic) {
            self.found.push(diagnostic);
        }
    }

    pub fn source(&self) -> &'s Source {
        self.source
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Everything found, in the order of the text.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|d| (d.span.start, d.span.end));
        self.found
    }
}

/// ` (did you mean …?)` material: the candidate that is nearest to `name`, if any is near.
pub(crate) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= name.chars().count().max(candidate.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// «did you mean `x`?», or else the whole choice.
pub(crate) fn suggest<'c>(
    name: &str,
    candidates: impl IntoIterator<Item = &'c str> + Clone,
) -> Option<String> {
    if let Some(near) = nearest(name, candidates.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let all: Vec<String> = candidates.into_iter().map(|candidate| format!("`{candidate}`")).collect();
    if all.is_empty() { None } else { Some(format!("possible: {}", all.join(", "))) }
}
