//! Copies of whole databases: Godwit beside the stock tools and pgcopydb, interleaved, on the same two servers.
//!
//! Nothing here is asserted but that every way has moved the same rows; figures are printed beside the goals they are held
//! against. Building indexes is most of a copy on few cores, so its floor is shown: the stock tools building the same
//! ones with as many jobs.

mod distance;
mod sets;
mod ways;

use godwit_lab::postgres::{Major, PgServer};

use super::usage::Spent;
pub use sets::Set;
use ways::{Way, World};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Repetitions of every way, of which the median counts.
    pub rounds: usize,
    /// One in so many rows of each set.
    pub share: u32,
}

impl Effort {
    /// An hour on two cores, most of it that of the other ways.
    pub const FULL: Self = Self { rounds: 3, share: 1 };
    /// Some seconds: whether everything can be measured, not what it costs.
    pub const GLANCE: Self = Self { rounds: 1, share: 200 };
}

/// Measures these sets, and prints as it goes. `program` is the path of `godwit-under-test`.
pub async fn report(program: &str, effort: Effort, sets: &[Set]) -> Result<(), String> {
    let start = || {
        PgServer::builder(Major::V16)
            .setting("max_wal_size", "4GB")
            .setting("shared_buffers", "256MB")
            .setting("maintenance_work_mem", "512MB")
            .start()
    };
    let (source, target) = tokio::join!(start(), start());
    let (source, target) = (source.map_err(|e| e.to_string())?, target.map_err(|e| e.to_string())?);
    for set in sets {
        let name = set.name();
        if *set == Set::Empty {
            distance::report(program, &source, &target, effort.rounds).await?;
            continue;
        }
        source.create_database(name).await.map_err(|e| e.to_string())?;
        set.fill(&source, name, effort.share)?;
        let size = source
            .psql(name, "SELECT pg_size_pretty(pg_database_size(current_database()))")
            .map_err(|e| e.to_string())?;
        println!("\n{}: {size}, median of {}", set.title(), effort.rounds);
        println!(
            "  {:<34}{:>9}{:>9}{:>9}{:>12}{:>10}{:>10}",
            "", "wall s", "data s", "rest s", "CPU s", "peak MiB", "× godwit"
        );
        let world = World { program, source: &source, target: &target, database: name };
        let counts = ways::counts(&source, name)?;
        let mut spent: Vec<(Way, Vec<Spent>)> = Way::ALL.map(|way| (way, Vec::new())).into();
        for _ in 0..effort.rounds {
            for (way, all) in &mut spent {
                if *way == Way::GodwitMasked && !set.is_masked() {
                    continue;
                }
                let copy = format!("copy_{}", way.name());
                target.create_database(&copy).await.map_err(|e| e.to_string())?;
                // What one way has left in the write-ahead log is not the next one's to pay.
                target.psql("postgres", "CHECKPOINT").map_err(|e| e.to_string())?;
                let figure = way.run(&world, &copy)?;
                if way.is_whole() && ways::counts(&target, &copy)? != counts {
                    return Err(format!("{}: the rows of {name} didn't all arrive", way.title()));
                }
                target
                    .psql("postgres", &format!("DROP DATABASE {copy} (FORCE)"))
                    .map_err(|e| e.to_string())?;
                all.push(figure);
            }
        }
        let medians: Vec<(Way, Spent)> = spent
            .iter()
            .filter(|(_, all)| !all.is_empty())
            .map(|(way, all)| (*way, Spent::median(all)))
            .collect();
        let godwit = medians.iter().find(|(way, _)| *way == Way::Godwit).map(|(_, spent)| *spent);
        for (way, figure) in &medians {
            let ratio = godwit.filter(|_| way.is_whole()).map(|godwit| figure.wall / godwit.wall);
            println!(
                "  {:<34}{:>9.2}{:>9}{:>9}{:>12.2}{:>10.0}{:>10}",
                way.title(),
                figure.wall,
                shown(figure.data),
                shown(figure.data.map(|data| figure.wall - data)),
                figure.cpu,
                figure.peak / f64::from(1 << 20),
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
            );
        }
        goals(&medians);
    }
    Ok(())
}

fn shown(figure: Option<f64>) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.2}"))
}

/// Prints the ratios that the goals are about.
fn goals(medians: &[(Way, Spent)]) {
    let of = |wanted: Way| medians.iter().find(|(way, _)| *way == wanted).map(|(_, spent)| *spent);
    let Some(godwit) = of(Way::Godwit) else { return };
    let line = |what: &str, ratio: Option<f64>, goal: &str| {
        if let Some(ratio) = ratio {
            println!("    {what:<58}{ratio:>6.2}   goal ≤ {goal}");
        }
    };
    let data = godwit.data;
    line(
        "data phase to the binary floor",
        data.zip(of(Way::BinaryFloor)).map(|(data, floor)| data / floor.wall),
        "1.15",
    );
    line(
        "wall to pgcopydb",
        of(Way::Pgcopydb).map(|peer| godwit.wall / peer.wall),
        "0.80 (0.50 for many small tables)",
    );
    line("wall to pg_dump -Fc | pg_restore", of(Way::DumpPipe).map(|peer| godwit.wall / peer.wall), "0.55");
    line("client CPU to pgcopydb", of(Way::Pgcopydb).map(|peer| godwit.cpu / peer.cpu), "1.50");
    // By the data phases: a row of text beside a row of text.
    let rate = of(Way::TextFloor).zip(of(Way::GodwitMasked).and_then(|masked| masked.data));
    if let Some((floor, masked)) = rate {
        println!(
            "    {:<58}{:>6.2}   goal ≥ 0.70",
            "rate through mask-columns to psql's text",
            floor.wall / masked
        );
    }
    println!("    {:<58}{:>6.0}   goal ≤ 150", "peak memory, MiB", godwit.peak / f64::from(1 << 20));
}
