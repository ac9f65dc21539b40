//! What the sandbox costs, and the journal: native and guest in one run, side by side.
//!
//! Nothing here is asserted but that both do the same work; figures are printed beside the goals they are held against.

pub mod calls;
pub mod journal;
pub mod objects;
pub mod postgres;
pub mod start;
pub mod transforms;
mod usage;

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

/// What can be measured by itself.
pub const SECTIONS: [&str; 4] = ["transforms", "calls", "start", "journal"];

/// The figures of some sections as lines of text, which are printed, too. `program` is the path of `godwit-under-test`.
pub async fn report(program: &str, effort: Effort, sections: &[&str]) -> String {
    let mut lines = Vec::new();
    for section in sections {
        let mut figures = match *section {
            "transforms" => of_transforms(effort).await,
            "calls" => of_calls(effort).await,
            "start" => of_start(program, effort).await,
            "journal" => of_journal(program, effort).await,
            other => panic!("there is no section `{other}`; there are {}", SECTIONS.join(", ")),
        };
        figures.push(String::new());
        // As they come: all of them take a while.
        println!("{}", figures.join("\n"));
        lines.append(&mut figures);
    }
    lines.join("\n")
}

async fn of_transforms(effort: Effort) -> Vec<String> {
    let mut lines = vec![format!(
        "transforms, 1 MiB chunks, CPU time, median of {:<3}{:>12}{:>14}{:>9}   goal 0.85",
        effort.rounds, "native", "guest", "ratio"
    )];
    lines.extend(transforms::measure(effort).await.iter().map(|figure| {
        let (native, guest) = (figure.native / 1e6, figure.guest / 1e6);
        format!("  {:<44}{native:>9.0} MB/s{guest:>9.0} MB/s{:>9.2}", figure.name, figure.ratio)
    }));
    lines
}

async fn of_calls(effort: Effort) -> Vec<String> {
    let mut lines =
        vec![format!("calls, CPU time, median of {:<19}{:>14}{:>14}", effort.rounds, "native", "guest")];
    lines.extend(calls::measure(effort).await.iter().map(|figure| {
        let native = figure.native.map_or_else(String::new, |native| format!("{:.0} ns", native * 1e9));
        format!("  {:<44}{native:>14}{:>11.0} ns", figure.name, figure.guest * 1e9)
    }));
    lines
}

async fn of_start(program: &str, effort: Effort) -> Vec<String> {
    let mut lines =
        vec![format!("start, median of {:<29}{:>14}{:>14}{:>14}", effort.starts, "least", "wall", "CPU")];
    lines.extend(start::measure(program, effort).await.iter().map(|figure| {
        let goal = figure.goal.map_or_else(String::new, |goal| format!("   goal < {:.0} ms", goal * 1e3));
        let (least, median, cpu) = (figure.least * 1e3, figure.median * 1e3, figure.cpu * 1e3);
        format!("  {:<44}{least:>11.2} ms{median:>11.2} ms{cpu:>11.2} ms{goal}", figure.name)
    }));
    lines
}

async fn of_journal(program: &str, effort: Effort) -> Vec<String> {
    let mut lines = vec![format!("journal's share of a run, median of {}; goal < 5 %", effort.runs)];
    for figure in journal::measure(program, effort).await {
        lines.push(format!(
            "  {}: {:.2} s, {:.2} s of CPU; with the journal in memory {:.2} s, {:.2} s",
            figure.name, figure.wall, figure.cpu, figure.wall_in_memory, figure.cpu_in_memory
        ));
        lines.push(format!(
            "    {} calls; somebody waited for it {:.1} % of the time; {:.1} % of the CPU time",
            figure.times.calls,
            figure.waited_share * 100.0,
            figure.cpu_share * 100.0
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_middle_is_the_middle() {
        assert_eq!(super::median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(super::median([3.0, 1.0]), 3.0);
    }
}
