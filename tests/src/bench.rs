//! What the sandbox costs, and the journal: native and guest in one run, side by side.
//!
//! Nothing here is asserted but that both do the same work; figures are printed beside the goals they are held against.

pub mod calls;
pub mod journal;
pub mod postgres;
pub mod start;
pub mod transforms;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Repetitions, of which the median counts.
    pub rounds: usize,
    /// Chunks of 1 MiB in a round of a transform.
    pub chunks: usize,
    /// Calls in a round.
    pub calls: u32,
    /// Processes started, plugins loaded.
    pub starts: usize,
    /// Runs of a recipe with each journal.
    pub runs: usize,
    /// Rows of each of ten tables.
    pub rows: u32,
    /// Small objects.
    pub objects: u32,
}

impl Effort {
    /// A minute or two.
    pub const FULL: Self =
        Self { rounds: 15, chunks: 64, calls: 200_000, starts: 15, runs: 3, rows: 60_000, objects: 3_000 };
    /// A few seconds: whether everything can be measured, not what it costs.
    pub const GLANCE: Self =
        Self { rounds: 1, chunks: 2, calls: 100, starts: 1, runs: 1, rows: 20, objects: 5 };
}

/// The middle of some figures; of an even number of them, the upper of the two.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The figures as lines of text. `program` is the path of `godwit-under-test`.
pub async fn report(program: &str, effort: Effort) -> String {
    use std::fmt::Write as _;

    let mut out = String::new();
    let mut say = |line: String| {
        // As they come: all of it takes a while.
        println!("{line}");
        writeln!(out, "{line}").expect("a text takes every line");
    };

    say(format!(
        "transforms, 1 MiB chunks, CPU time, median of {}{:>14}{:>14}{:>9}   goal 0.85",
        effort.rounds, "native", "guest", "ratio"
    ));
    for figure in transforms::measure(effort).await {
        say(format!(
            "  {:<44}{:>9.0} MB/s{:>9.0} MB/s{:>9.2}",
            figure.name,
            figure.native / 1e6,
            figure.guest / 1e6,
            figure.ratio
        ));
    }

    say(format!("\ncalls, CPU time, median of {}{:>34}{:>14}", effort.rounds, "native", "guest"));
    for figure in calls::measure(effort).await {
        let native = figure.native.map_or_else(String::new, |native| format!("{:.0} ns", native * 1e9));
        say(format!("  {:<44}{:>14}{:>11.0} ns", figure.name, native, figure.guest * 1e9));
    }

    say(format!("\nstart, wall time, median of {}{:>33}{:>14}", effort.starts, "least", "median"));
    for figure in start::measure(program, effort).await {
        let goal = figure.goal.map_or_else(String::new, |goal| format!("   goal < {:.0} ms", goal * 1e3));
        say(format!(
            "  {:<44}{:>11.2} ms{:>11.2} ms{goal}",
            figure.name,
            figure.least * 1e3,
            figure.median * 1e3
        ));
    }

    say(format!("\njournal's share of a run, median of {}", effort.runs));
    for figure in journal::measure(program, effort).await {
        say(format!(
            "  {}: {:.2} s, {:.2} s of CPU; with the journal in memory {:.2} s, {:.2} s",
            figure.name, figure.wall, figure.cpu, figure.wall_in_memory, figure.cpu_in_memory
        ));
        say(format!(
            "    {} calls; somebody waited for it {:.1} % of the time; {:.1} % of the CPU time   goal < 5 %",
            figure.times.calls,
            figure.waited_share * 100.0,
            figure.cpu_share * 100.0
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_middle_is_the_middle() {
        assert_eq!(super::median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(super::median([3.0, 1.0]), 3.0);
    }
}
