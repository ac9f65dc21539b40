//! Copies of buckets: Godwit beside rclone, s5cmd and the floor, interleaved, between two servers.
//!
//! Nothing here is asserted but that every way has moved the same bytes; figures are printed beside the goals they are
//! held against. The servers are processes of their own, so that a client's CPU time is its own.

mod floor;
mod servers;
mod sets;
mod ways;
mod wire;

use std::path::Path;

pub use floor::put;
pub use servers::Place;
pub use sets::Set;
use sets::{BUCKET, Item};
use ways::{Phases, Programs, Way, World};
pub use wire::Store;
use wire::{Connection, Listed};

use super::median;
use super::usage::Spent;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Repetitions of every way, of which the median counts.
    pub rounds: usize,
    /// One in so many objects of each set.
    pub share: usize,
}

impl Effort {
    pub const FULL: Self = Self { rounds: 3, share: 1 };
    /// Whether everything can be measured, not what it costs.
    pub const GLANCE: Self = Self { rounds: 1, share: 200 };
}

/// The programs of this package that the bench runs, by their paths.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// `godwit-under-test`
    pub godwit: &'a str,
    /// `raw-put`
    pub raw_put: &'a str,
    /// `s3-server`
    pub server: &'a str,
}

/// Measures these sets on these servers, and prints as it goes.
pub async fn report(own: Own<'_>, effort: Effort, places: &[Place], sets: &[Set]) -> Result<(), String> {
    let cache = godwit_lab::cache::dir();
    godwit_lab::peers::ensure(&cache, &mut |line| eprintln!("bench: {line}"))?;
    let peer = |name: &str| {
        godwit_lab::peers::program(&cache, name).ok_or_else(|| format!("{name} is not in the cache folder"))
    };
    let programs = Programs {
        godwit: own.godwit.into(),
        raw_put: own.raw_put.into(),
        rclone: peer("rclone")?,
        s5cmd: peer("s5cmd")?,
    };
    for set in sets {
        for place in places {
            // Only the lab's server makes listings up.
            if *set != Set::Listing || *place == Place::Lab {
                one(Path::new(own.server), &programs, effort, *place, *set).await?;
            }
        }
    }
    Ok(())
}

async fn one(
    server: &Path,
    programs: &Programs,
    effort: Effort,
    place: Place,
    set: Set,
) -> Result<(), String> {
    let share = effort.share;
    let items = set.items(share);
    let source = place.start(server, Some((set, share))).await?;
    println!("\n{}, on {}, median of {}", set.title(), place.name(), effort.rounds);
    println!("  {:<44}{:>9}{:>9}{:>10}{:>10}", "", "wall s", "CPU s", "peak MiB", "× godwit");
    let mut spent: Vec<(Way, Vec<Spent>)> = Way::of(set).iter().map(|way| (*way, Vec::new())).collect();
    let mut phases = Vec::new();
    for _ in 0..effort.rounds {
        for (way, all) in &mut spent {
            // A target of its own: what one way has left there is not the next one's to pay.
            let there = matches!(set, Set::Done | Set::Listing).then_some((set, share));
            let target = place.start(server, there).await?;
            let world = World { programs, source: &source.store, target: &target.store, set, share };
            let (figure, of_godwit) = way.run(&world)?;
            all.push(figure);
            phases.extend(of_godwit);
            if set != Set::Listing {
                arrived(&source.store, &target.store, &items)
                    .map_err(|why| format!("{}: {why}", way.title()))?;
            }
        }
    }
    let medians: Vec<(Way, Spent)> = spent.iter().map(|(way, all)| (*way, Spent::median(all))).collect();
    print(&medians, &phases);
    Ok(())
}

fn print(medians: &[(Way, Spent)], phases: &[Phases]) {
    let godwit = medians.iter().find(|(way, _)| *way == Way::Godwit).map(|(_, spent)| *spent);
    for (way, figure) in medians {
        let ratio = godwit.map(|godwit| figure.wall / godwit.wall);
        println!(
            "  {:<44}{:>9.2}{:>9.2}{:>10.0}{:>10}",
            way.title(),
            figure.wall,
            figure.cpu,
            figure.peak / f64::from(1 << 20),
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
        );
    }
    if !phases.is_empty() {
        let of = |figure: fn(&Phases) -> f64| median(phases.iter().map(figure));
        println!(
            "    godwit's phases: start and plan {:.2} s, copying {:.2} s, verifying {:.2} s",
            of(|phases| phases.plan),
            of(|phases| phases.copy),
            of(|phases| phases.verify)
        );
    }
    goals(medians);
}

/// Prints the ratios that the goals are about.
fn goals(medians: &[(Way, Spent)]) {
    let of = |wanted: Way| medians.iter().find(|(way, _)| *way == wanted).map(|(_, spent)| *spent);
    let Some(godwit) = of(Way::Godwit) else { return };
    let line = |what: &str, ratio: Option<f64>, goal: &str| {
        if let Some(ratio) = ratio {
            println!("    {what:<48}{ratio:>6.2}   goal ≤ {goal}");
        }
    };
    let wall = |way: Way| of(way).map(|peer| godwit.wall / peer.wall);
    line("wall to rclone check", wall(Way::RcloneCheck), "1.00");
    if of(Way::RcloneCheck).is_none() {
        line("wall to the floor", wall(Way::Floor), "1.30");
        line("wall to rclone", wall(Way::Rclone), "0.55");
        line("wall to s5cmd", wall(Way::S5cmd), "0.45");
        line("client CPU to rclone", of(Way::Rclone).map(|peer| godwit.cpu / peer.cpu), "0.60");
    }
    println!("    {:<48}{:>6.0}   goal ≤ 150", "peak memory, MiB", godwit.peak / f64::from(1 << 20));
}

/// Whether all objects are at the target, and no other: by key and size, and by ETag where both are MD5 digests.
fn arrived(source: &Store, target: &Store, items: &[Item]) -> Result<(), String> {
    let list = |store: &Store| Connection::open(store)?.list(BUCKET);
    let (from, to) = (list(source)?, list(target)?);
    if from.len() != items.len() || to.len() != items.len() {
        return Err(format!("{} objects of {} arrived", to.len(), items.len()));
    }
    let plain = |listed: &Listed| !listed.etag.contains('-');
    for (from, to) in from.iter().zip(&to) {
        let same = from.key == to.key && from.len == to.len;
        if !same || (plain(from) && plain(to) && from.etag != to.etag) {
            return Err(format!("{from:?} arrived as {to:?}"));
        }
    }
    Ok(())
}
