//! What two databases of a server differ in.

use std::collections::BTreeMap;

use godwit_lab::postgres::PgServer;

use crate::database;

/// The lines that one side has and the other hasn't.
#[derive(Debug)]
pub struct Differences {
    /// Godwit ended well.
    done: bool,
    lines: usize,
    /// With `<` or `>` in front.
    different_lines: Vec<String>,
    /// Tables, sequences and large objects.
    contents: usize,
    different_contents: Vec<String>,
}

impl Differences {
    /// Compares what `pg_dump` says of both, owners and privileges included, and what they hold.
    pub fn between(server: &PgServer, source: &str, target: &str, done: bool) -> Self {
        let dump = |name: &str| database::dump_with(server, name, &["--schema-only"]);
        let contents = |name: &str| database::contents(server, name).join("\n");
        let (from, to) = (dump(source), dump(target));
        let (held, holds) = (contents(source), contents(target));
        Self {
            done,
            lines: from.lines().count(),
            different_lines: different(&from, &to),
            contents: held.lines().count(),
            different_contents: different(&held, &holds),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.done && self.different_lines.is_empty() && self.different_contents.is_empty()
    }

    pub fn text(&self) -> String {
        [&self.different_lines[..], &self.different_contents]
            .concat()
            .iter()
            .map(|line| format!("{line}\n"))
            .collect()
    }
}

impl std::fmt::Display for Differences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} lines of pg_dump -s differ, {} of {} tables, sequences and large objects",
            self.different_lines.len(),
            self.lines,
            self.different_contents.iter().filter(|line| line.starts_with('<')).count(),
            self.contents
        )
    }
}

/// Lines in the one more often than in the other. What is only in another place is no difference: pg_dump sorts what has
/// no dependency by its names, so that it can't be.
fn different(from: &str, to: &str) -> Vec<String> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for line in from.lines() {
        *counts.entry(line).or_default() += 1;
    }
    for line in to.lines() {
        *counts.entry(line).or_default() -= 1;
    }
    let lines = counts.into_iter().flat_map(|(line, count)| {
        let side = if count > 0 { '<' } else { '>' };
        (0..count.unsigned_abs()).map(move |_| format!("{side} {line}"))
    });
    lines.collect()
}
