//! `simulation`: the engine's rules in simulated worlds where everything goes wrong, seed by seed;
//! or the twins, engines with one deliberate bug each, that the worlds must find.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use fulgurite_simulation::{
    coverage::{Coverage, Kind},
    run::{Finder, Scenario, Violation},
    shrink::shrink,
    twin::Twin,
};

use crate::report::Page;

/// A run of so many seeds must have seen everything at least once.
const SEEDS_FOR_COVERAGE: u64 = 3_000;
/// Within so many seeds a twin must be found.
const SEEDS_FOR_TWIN: u64 = 2_000;
/// The most runs that a shrink may take.
const SHRINK_RUNS_MAX: usize = 2_000;

/// What to run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// How many seeds, from --seed on [default: 10000, or 1 with --seed].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// The first seed.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(..1 << 63))]
    pub seed: Option<u64>,
    /// Lets only the faults with these numbers strike, as a seed that breaks a rule prints them.
    #[arg(long, value_name = "N,N", value_delimiter = ',', num_args = 0.., requires = "seed")]
    pub only: Option<Vec<u32>>,
    /// Leaves only so many orders in each batch.
    #[arg(long, value_name = "N", requires = "seed", value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: Option<u64>,
    /// Tells on standard error what happens in the world of --seed.
    #[arg(long, requires = "seed")]
    pub trace: bool,
    /// Runs the twins, engines with one deliberate bug each: how many seeds find them?
    #[arg(long, conflicts_with_all = ["seeds", "seed"])]
    pub twins: bool,
    /// Runs one engine with a deliberate bug, by its name in the table of the twins.
    #[arg(long, value_name = "NAME", conflicts_with = "twins", value_parser = twin_by_name)]
    pub twin: Option<Twin>,
    /// Threads [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub jobs: Option<u64>,
}

fn twin_by_name(name: &str) -> Result<Twin, String> {
    Twin::by_name(name).ok_or_else(|| {
        let known: Vec<&str> = Twin::ALL.iter().map(|twin| twin.name()).collect();
        format!("there is no twin of this name; they are {}", known.join(", "))
    })
}

/// Runs the seeds or the twins.
///
/// # Errors
/// [`Unusable`] when `--only` names faults that the world does not have.
pub fn run(args: &Args) -> Result<Page> {
    if args.twins { Ok(twins(args)) } else { seeds(args) }
}

/// Options that name nothing to try.
#[derive(Debug)]
pub struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

/// A seed that broke a rule.
struct Broken {
    seed: u64,
    violation: Violation,
}

/// What came of some seeds.
#[derive(Default)]
struct Outcome {
    seeds: u64,
    coverage: Coverage,
    /// The lowest seed that broke a rule.
    first: Option<Broken>,
}

impl Args {
    fn jobs(&self) -> usize {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.jobs.and_then(|jobs| usize::try_from(jobs).ok()).unwrap_or(cores)
    }

    fn scenario(&self, seed: u64) -> Scenario {
        let only = self.only.as_ref().map(|only| only.iter().copied().collect::<BTreeSet<u32>>());
        let rows_max = self.rows.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX));
        Scenario { seed, twin: self.twin, only, rows_max, trace: self.trace }
    }

    /// Runs seeds until one breaks a rule.
    fn run(&self, first: u64, count: u64) -> (Outcome, Duration) {
        let (next, end) = (AtomicU64::new(first), first.saturating_add(count));
        let total = Mutex::new(Outcome::default());
        let started = Instant::now();
        let work = || {
            let mut mine = Outcome::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    break;
                }
                mine.seeds += 1;
                match self.scenario(seed).run() {
                    Ok(coverage) => mine.coverage.add(&coverage),
                    Err(violation) => {
                        next.store(end, Ordering::Relaxed);
                        mine.first = Some(Broken { seed, violation });
                    }
                }
            }
            total.lock().unwrap_or_else(PoisonError::into_inner).add(mine);
        };
        thread::scope(|scope| {
            for _ in 0..self.jobs() {
                scope.spawn(work);
            }
        });
        (total.into_inner().unwrap_or_else(PoisonError::into_inner), started.elapsed())
    }
}

impl Outcome {
    fn add(&mut self, other: Outcome) {
        self.seeds += other.seeds;
        self.coverage.add(&other.coverage);
        let both = [self.first.take(), other.first];
        self.first = both.into_iter().flatten().min_by_key(|broken| broken.seed);
    }
}

fn seeds(args: &Args) -> Result<Page> {
    let first = args.seed.unwrap_or(1);
    let count = args.seeds.unwrap_or(if args.seed.is_some() { 1 } else { 10_000 });
    let (outcome, took) = args.run(first, count);
    let table = outcome.coverage.table();
    let of_kind = |kind| table.iter().filter(move |((of, _), _)| *of == kind);
    let struck: u64 = of_kind(Kind::Fault).map(|(_, times)| times).sum();
    let names_some = args.only.as_ref().is_some_and(|only| !only.is_empty());
    if names_some && struck == 0 && outcome.first.is_none() {
        let words = "--only names no fault that strikes in this world: nothing was tried; leave it \
                     out to let all of them strike";
        return Err(Unusable(words.to_owned()).into());
    }
    let mut page =
        Page::new("Simulation: the engine's rules in worlds where everything goes wrong");
    let rate = outcome.seeds as f64 * 60.0 / took.as_secs_f64().max(0.001) / args.jobs() as f64;
    page.table(
        "run",
        [
            ("seeds", outcome.seeds),
            ("first seed", first),
            ("threads", args.jobs() as u64),
            ("milliseconds", u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            ("seeds a minute and thread", rate as u64),
            ("seeds that broke a rule", u64::from(outcome.first.is_some())),
        ],
    );
    for kind in Kind::ALL {
        page.table(kind.name(), of_kind(kind).map(|((_, what), times)| (*what, *times)));
    }
    if count >= SEEDS_FOR_COVERAGE && outcome.first.is_none() {
        for (kind, what) in outcome.coverage.missing() {
            page.wrong(format!("never happened: {}: {what}", kind.name()));
        }
    }
    if let Some(broken) = &outcome.first {
        tell(&mut page, args, broken);
    }
    Ok(page)
}

/// Says how to repeat a seed that broke a rule, and the shortest schedule that breaks one too.
fn tell(page: &mut Page, args: &Args, broken: &Broken) {
    let scenario = Scenario { trace: false, ..args.scenario(broken.seed) };
    let (small, violation) = shrink(&scenario, broken.violation.clone(), SHRINK_RUNS_MAX);
    let twin = args.twin.map(|twin| format!(" --twin {}", twin.name())).unwrap_or_default();
    let repeat = format!("fulgurite-prove simulation --seed {}{twin}", broken.seed);
    let numbers: Vec<String> = small.only.iter().flatten().map(u32::to_string).collect();
    let rows = small.rows_max.map(|rows| format!(" --rows {rows}")).unwrap_or_default();
    let how = match broken.violation.finder {
        Finder::Check => "breaks a rule",
        Finder::Panic => "panics",
    };
    page.wrong(format!("seed {} {how}: {}", broken.seed, what(&broken.violation)));
    page.wrong(format!("repeat it with: {repeat}"));
    page.wrong(format!(
        "repeat the shortest schedule found with: {repeat}{rows} --only {}",
        numbers.join(",")
    ));
    let title = format!(
        "shortest schedule found, {} of {} faults: {}",
        violation.strikes.len(),
        broken.violation.strikes.len(),
        what(&violation)
    );
    let lines = violation.strikes.iter().map(|strike| {
        let at = format!("{}: {:.3} s", strike.number, strike.at_ms as f64 / 1_000.0);
        (at, strike.fault.name())
    });
    page.table(&title, lines);
}

/// The rule's own words, and where they stand in the source.
fn what(violation: &Violation) -> String {
    let mut lines = violation.message.lines();
    let place = lines.next().unwrap_or_default();
    let place = place.trim_start_matches("panicked at ").trim_end_matches(':');
    let words: Vec<&str> = lines.map(str::trim).collect();
    format!("{} ({place})", words.join(", "))
}

fn twins(args: &Args) -> Page {
    let next = AtomicU64::new(0);
    let found = Mutex::new(Vec::new());
    let work = || {
        loop {
            let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
            let Some(twin) = Twin::ALL.get(at) else {
                break;
            };
            let search = twin.find(SEEDS_FOR_TWIN);
            found.lock().unwrap_or_else(PoisonError::into_inner).push((at, *twin, search));
        }
    };
    thread::scope(|scope| {
        for _ in 0..args.jobs() {
            scope.spawn(work);
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(at, _, _)| *at);
    let mut page = Page::new("Twins: engines with one deliberate bug each, and who finds them");
    let seeds = found
        .iter()
        .map(|(_, twin, search)| (twin.name(), search.found.as_ref().map(|(seed, _)| *seed)));
    page.table("seeds to find", seeds);
    page.table("bug", found.iter().map(|(_, twin, _)| (twin.name(), twin.bug())));
    let how = found.iter().map(|(_, twin, search)| {
        (twin.name(), search.found.as_ref().map(|(_, violation)| what(violation)))
    });
    page.table("found by a check, as", how);
    for (_, twin, search) in &found {
        if let Some((seed, panic)) = search.panics.first() {
            page.note(format!(
                "{} panicked in {} worlds, which do not count; in seed {seed}: {}",
                twin.name(),
                search.panics.len(),
                what(panic)
            ));
        }
        if search.found.is_none() {
            let name = twin.name();
            page.wrong(format!("{name} was not found by a check within {SEEDS_FOR_TWIN} seeds"));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_that_no_world_has_are_no_success() {
        let only = |numbers: &[u32]| Args {
            seed: Some(5),
            only: Some(numbers.to_vec()),
            jobs: Some(1),
            ..Args::default()
        };
        assert!(run(&only(&[999_999])).unwrap_err().is::<Unusable>());
        assert!(run(&only(&[1])).unwrap().is_clean(), "a world has a first fault");
        assert!(run(&only(&[])).unwrap().is_clean(), "none at all is a world, too");
    }
}
