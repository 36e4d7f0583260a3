//! One run: arrivals are begun when they are due, whatever became of those before them.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Result, bail};
use tokio::time::MissedTickBehavior;

use super::{
    books::Books,
    clerk::Clerk,
    fault,
    live::Live,
    metrics,
    rig::{CpuTimes, Rig},
    scenario::{Load, Scenario},
    schedule::Schedule,
    tally::Tally,
    worker::Workers,
};
use crate::{
    interrupt, report,
    result::{
        Counts, RunResult, Stage, Usage,
        hlog::{self, IntervalLog},
        limits,
    },
    target::{Idle, Shared},
};

/// Between the end of the preparations and the first arrival.
const LEAD: Duration = Duration::from_millis(200);
/// After Ctrl-C, what is in flight has so long to end.
const GRACE: Duration = Duration::from_secs(3);
/// The generator's lag at P99 above which a run says nothing about latency, in milliseconds.
const LAG_MAX_MS: f64 = 1.0;
/// The same for a run that only says how much gets through.
pub(crate) const LAG_SATURATED_MAX_MS: f64 = 20.0;

/// What a run needs before its clock can start.
struct Prepared {
    schedule: Schedule,
    shared: Arc<Shared>,
    workers: Workers,
    idle: Idle,
}

/// A run that is under way.
struct Drive<'a> {
    shared: Arc<Shared>,
    clerk: Clerk,
    workers: Workers,
    live: &'a mut Live,
    rig: &'a Rig,
    /// When the first payment is due.
    start: Instant,
    /// The engine's resident memory, second by second.
    memory: Vec<(f64, f64)>,
}

/// Runs `scenario` against `rig`; the interval log goes into `folder`. `None`: Ctrl-C came before
/// the clock started.
///
/// # Errors
/// When the target cannot be used at all. What it refuses or loses is counted.
pub(crate) async fn drive(
    (scenario, round): (&Scenario, u32),
    rig: &Rig,
    folder: Option<&Path>,
    live: &mut Live,
) -> Result<Option<RunResult>> {
    let Some(prepared) = interrupt::or_none(prepare(scenario, rig)).await? else {
        return Ok(None);
    };
    let Prepared { schedule, shared, mut workers, mut idle } = prepared;
    let (load, lasts) = (&scenario.load, schedule.lasts());
    let before = (metrics::read(rig.reach.admin).await, rig.cpu()?, rig.engine_rss_mib());
    let (start, started) = (Instant::now() + LEAD, SystemTime::now() + LEAD);
    let name = match load.in_flight_max {
        0 => format!("{}-{round}", load.target.name()),
        limit => format!("{}-{limit}-{round}", load.target.name()),
    };
    let log = folder.map(|folder| {
        let path = folder.join(format!("{name}.hlog"));
        IntervalLog::create(&path, started, &format!("fulgurite-loadtest {}", scenario.name))
    });
    let clerk = Clerk::new(log.transpose()?);
    *shared.books() = Tally::new(start, lasts, Duration::from_secs_f64(load.timeout_s));
    let faults = fault::schedule(scenario, rig, start)?;
    live.begin(load.target.name(), round, lasts);
    workers.pace(&schedule, start);
    let mut run = Drive { shared, clerk, workers, live, rig, start, memory: Vec::new() };
    let stopped = run.all().await?;
    let interrupted = stopped.is_some();
    let idle_closed = idle.closed();
    let memory = std::mem::take(&mut run.memory);
    let books = run.close();
    drop(idle);
    let books = books?;
    let cpu = rig.cpu_after();
    let after = (metrics::settled(rig.reach.admin).await, cpu);
    if let Some(folder) = folder {
        std::fs::write(folder.join(format!("{name}.hgrm")), hlog::hgrm(&books.outcome))?;
    }
    // Until Ctrl-C arrivals were due, and not in the grace that followed.
    let due = |until: Instant| until.saturating_duration_since(start).min(lasts);
    let lasts = stopped.map_or(lasts, due).max(Duration::from_millis(1));
    let mut result = result(load, round, started, (lasts, interrupted), books)?;
    result.usage = usage(&result.counts, (before.1, after.1), (before.2, rig.engine_rss_mib()));
    result.engine_stages = metrics::between(&before.0, &after.0);
    result.memory_mib = memory;
    result.commits = metrics::commits(&before.0, &after.0);
    result.faults = faults;
    result.idle_closed = idle_closed;
    result.checks = limits::check(&scenario.slo, scenario, &result);
    Ok(Some(result))
}

/// Signs or reads what is paid, and connects.
async fn prepare(scenario: &Scenario, rig: &Rig) -> Result<Prepared> {
    let load = &scenario.load;
    let schedule = Schedule::new(&load.stages, load.spacing, load.seed, scenario.each())?;
    let each = scenario.each() as usize;
    let invoices = rig.reach.invoices.take(schedule.arrivals().count() * each).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let shared = Arc::new(Shared {
        books: Mutex::new(no_books()),
        invoices,
        each,
        key: format!("load-{:x}", now.as_nanos()),
        priorities: load.priorities,
        seed: load.seed,
    });
    let idle = Idle::open(&rig.reach, load.idle_connections).await?;
    let workers = Workers::start(&rig.reach, load, &shared).await?;
    Ok(Prepared { schedule, shared, workers, idle })
}

impl Drive<'_> {
    /// Waits until every arrival has ended; when Ctrl-C came, if it did.
    async fn all(&mut self) -> Result<Option<Instant>> {
        let mut look = tokio::time::interval(Duration::from_secs(1));
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut stopped: Option<Instant> = None;
        loop {
            let patience = stopped.map_or(GRACE, |at| GRACE.saturating_sub(at.elapsed()));
            tokio::select! {
                ended = self.workers.ended() => {
                    ended?;
                    break;
                }
                _ = look.tick() => self.look()?,
                () = interrupt::came(1), if stopped.is_none() => {
                    eprintln!("interrupted: nothing more is sent; what is open has 3 s to end");
                    self.workers.stop();
                    stopped = Some(Instant::now());
                }
                // The second time is at once.
                () = interrupt::came(2), if stopped.is_some() => self.workers.abandon(),
                () = tokio::time::sleep(patience), if stopped.is_some() => {
                    self.workers.abandon();
                }
            }
        }
        self.look()?;
        Ok(stopped)
    }

    fn look(&mut self) -> Result<()> {
        let books = &self.shared.books;
        self.clerk.tick(books, Instant::now())?;
        self.live.show(|| self.clerk.look(books));
        let second = self.start.elapsed().as_secs_f64();
        self.memory.extend(self.rig.engine_rss_now_mib().map(|rss| (second, rss)));
        Ok(())
    }

    /// Closes the books.
    fn close(self) -> Result<Books> {
        let books = self.clerk.finish(&self.shared.books, no_books())?;
        let (offered, ended) = (books.counts.offered, books.counts.ended());
        if offered != ended {
            bail!("{offered} payments were offered and {ended} ended: a fault of the load tester");
        }
        Ok(books)
    }
}

/// Books of nothing: before a run and after it.
fn no_books() -> Tally {
    Tally::new(Instant::now(), Duration::ZERO, Duration::ZERO)
}

fn result(
    load: &Load,
    round: u32,
    started: SystemTime,
    (lasts, interrupted): (Duration, bool),
    books: Books,
) -> Result<RunResult> {
    let seconds = lasts.as_secs_f64();
    let lag_limit_ms = if load.saturation { LAG_SATURATED_MAX_MS } else { LAG_MAX_MS };
    let lag = books.latency.get(Stage::Lag.name()).map_or(0.0, |lag| lag.p99_ms);
    Ok(RunResult {
        target: load.target.name().into(),
        in_flight_max: load.in_flight_max,
        round,
        goal: None,
        scenario: None,
        started: report::utc(started),
        seconds,
        took_s: books.took.as_secs_f64(),
        offered_per_s: books.counts.offered as f64 / seconds,
        achieved_per_s: books.final_in_time as f64 / seconds,
        paid_per_s: books.paid_in_time as f64 / seconds,
        kept_up: books.kept_up,
        lag_limit_ms,
        valid: lag <= lag_limit_ms && books.counts.offered > 0,
        interrupted,
        curve: hlog::curve(&books.outcome),
        service_curve: hlog::curve(&books.service),
        counts: books.counts,
        codes: books.codes,
        latency: books.latency,
        timeline: books.seconds,
        usage: Usage::default(),
        engine_stages: Vec::new(),
        commits: None,
        memory_mib: Vec::new(),
        faults: Vec::new(),
        idle_closed: 0,
        engine_ended: None,
        checks: Vec::new(),
    })
}

fn usage(
    counts: &Counts,
    (before, after): (CpuTimes, CpuTimes),
    (rss_before, rss): (Option<f64>, Option<f64>),
) -> Usage {
    // Without a final state there is nothing to divide by.
    let each = |used: Duration| {
        let count = counts.final_states();
        (count > 0).then(|| used.as_secs_f64() * 1e6 / count as f64)
    };
    let of =
        |before: Option<Duration>, after: Option<Duration>| each(after?.saturating_sub(before?));
    Usage {
        engine_us: of(before.engine, after.engine),
        nodes_us: of(before.nodes, after.nodes),
        generator_us: each(after.own.saturating_sub(before.own)),
        engine_rss_mib: rss,
        engine_rss_before_mib: rss_before,
    }
}
