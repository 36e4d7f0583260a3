//! One run: arrivals are begun when they are due, whatever became of those before them.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Result, bail};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, timeout_at},
};

use super::{
    fault,
    live::Live,
    metrics,
    pacer::{self, Arrival},
    rig::{CpuTimes, Rig},
    scenario::{Load, Scenario},
    schedule::Schedule,
    tally::{Books, Tally},
};
use crate::{
    report,
    result::{
        Counts, RunResult, Stage, Usage,
        hlog::{self, IntervalLog},
        limits,
    },
    target::{Door, Idle, Shared, Slot},
};

/// Between the end of the preparations and the first arrival.
const LEAD: Duration = Duration::from_millis(200);
/// After Ctrl-C, what is in flight has so long to end.
const GRACE: Duration = Duration::from_secs(3);
/// The generator's lag at P99 above which a run says nothing about latency, in milliseconds.
const LAG_MAX_MS: f64 = 1.0;
/// The same for a run that only says how much gets through.
const LAG_SATURATED_MAX_MS: f64 = 20.0;

/// A run that is under way.
struct Drive<'a> {
    shared: Arc<Shared>,
    door: Arc<Door>,
    timeout: Duration,
    live: &'a mut Live,
    stop: Arc<AtomicBool>,
    rig: &'a Rig,
    /// When the first payment is due.
    start: Instant,
    /// The engine's resident memory, second by second.
    memory: Vec<(f64, f64)>,
}

/// Runs `scenario` against `rig`; the interval log goes into `folder`.
///
/// # Errors
/// When the target cannot be used at all. What it refuses or loses is counted.
pub(crate) async fn drive(
    (scenario, round): (&Scenario, u32),
    rig: &Rig,
    folder: Option<&Path>,
    live: &mut Live,
) -> Result<RunResult> {
    let load = &scenario.load;
    let schedule = Schedule::new(&load.stages, load.spacing, load.seed, scenario.each())?;
    let each = scenario.each() as usize;
    let count = schedule.arrivals().count() * each;
    let invoices = rig.reach.invoices.take(count)?;
    let door = Arc::new(Door::open(&rig.reach, load).await?);
    let mut idle = Idle::open(&rig.reach, load.idle_connections).await?;
    let (start, started) = (Instant::now() + LEAD, SystemTime::now() + LEAD);
    let name = match load.in_flight_max {
        0 => format!("{}-{round}", load.target.name()),
        limit => format!("{}-{limit}-{round}", load.target.name()),
    };
    let log = folder.map(|folder| {
        let path = folder.join(format!("{name}.hlog"));
        IntervalLog::create(&path, started, &format!("fulgurite-loadtest {}", scenario.name))
    });
    let timeout = Duration::from_secs_f64(load.timeout_s);
    let tally = Tally::new(start, schedule.lasts(), timeout, log.transpose()?);
    let shared = Arc::new(Shared {
        books: Arc::new(Mutex::new(tally)),
        invoices,
        each,
        key: format!("load-{:x}", started.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos()),
        priorities: load.priorities,
        seed: load.seed,
    });
    let before = (metrics::read(rig.reach.admin).await, rig.cpu()?, rig.engine_rss_mib());
    let faults = fault::schedule(scenario, rig, start)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (due, arrivals) = mpsc::unbounded_channel();
    pacer::pace(&schedule, start, &stop, due);
    live.begin(load.target.name(), round, schedule.lasts());
    let (shared_too, memory) = (Arc::clone(&shared), Vec::new());
    let mut run = Drive { shared: shared_too, door, timeout, live, stop, rig, start, memory };
    let interrupted = run.all(arrivals).await?;
    let idle_closed = idle.closed();
    let memory = std::mem::take(&mut run.memory);
    drop((run, idle));
    let elapsed = start.elapsed().min(schedule.lasts()).max(Duration::from_millis(1));
    let books = close(&shared)?;
    let cpu = rig.cpu()?;
    let after = (metrics::settled(rig.reach.admin).await, cpu);
    if let Some(folder) = folder {
        std::fs::write(folder.join(format!("{name}.hgrm")), hlog::hgrm(&books.outcome))?;
    }
    let lasts = if interrupted { elapsed } else { schedule.lasts() };
    let mut result = result(load, round, started, (lasts, interrupted), books)?;
    result.usage = usage(&result.counts, (before.1, after.1), (before.2, rig.engine_rss_mib()));
    result.engine_stages = metrics::between(&before.0, &after.0);
    result.memory_mib = memory;
    result.commits = metrics::commits(&before.0, &after.0);
    result.faults = faults;
    result.idle_closed = idle_closed;
    result.checks = limits::check(&scenario.slo, scenario, &result);
    Ok(result)
}

impl Drive<'_> {
    /// Begins every arrival and waits for all of them; true when Ctrl-C ended it.
    async fn all(&mut self, mut arrivals: mpsc::UnboundedReceiver<Arrival>) -> Result<bool> {
        let mut tasks = JoinSet::new();
        let mut look = tokio::time::interval(Duration::from_secs(1));
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut more, mut give_up) = (true, None);
        while more || !tasks.is_empty() {
            let patience = give_up.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
            tokio::select! {
                biased;
                arrival = arrivals.recv(), if more => match arrival {
                    Some(arrival) => drop(tasks.spawn(self.one(arrival))),
                    None => more = false,
                },
                _ = look.tick() => self.look()?,
                interrupt = tokio::signal::ctrl_c() => {
                    interrupt?;
                    eprintln!("interrupted: nothing more is sent; what is open has 3 s to end");
                    self.stop.store(true, Ordering::Relaxed);
                    arrivals.close();
                    // The second time is at once.
                    let wait = if give_up.is_some() { Duration::ZERO } else { GRACE };
                    give_up = Some(Instant::now() + wait);
                }
                () = tokio::time::sleep_until(patience.into()), if give_up.is_some() => {
                    tasks.shutdown().await;
                    more = false;
                }
                Some(done) = tasks.join_next() => done?,
            }
        }
        self.look()?;
        Ok(give_up.is_some())
    }

    /// One arrival, until its outcomes or its deadline.
    fn one(&self, arrival: Arrival) -> impl Future<Output = ()> + use<> {
        let (shared, door) = (Arc::clone(&self.shared), Arc::clone(&self.door));
        let deadline = arrival.planned + self.timeout;
        async move {
            let mut slot = Slot::begin(shared, arrival);
            let done = timeout_at(deadline.into(), door.send(&mut slot)).await;
            slot.finish(done.ok());
        }
    }

    fn look(&mut self) -> Result<()> {
        let mut books = self.shared.books();
        books.tick(Instant::now())?;
        self.live.show(&mut books);
        drop(books);
        let second = self.start.elapsed().as_secs_f64();
        self.memory.extend(self.rig.engine_rss_now_mib().map(|rss| (second, rss)));
        Ok(())
    }
}

/// Takes the books out and closes them.
fn close(shared: &Arc<Shared>) -> Result<Books> {
    let now = Instant::now();
    let empty = Tally::new(now, Duration::ZERO, Duration::ZERO, None);
    let tally = std::mem::replace(&mut *shared.books(), empty);
    let books = tally.finish()?;
    let (offered, ended) = (books.counts.offered, books.counts.ended());
    if offered != ended {
        bail!("{offered} payments were offered and {ended} ended: a fault of the load tester");
    }
    Ok(books)
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
        started: report::utc(started),
        seconds,
        took_s: books.took.as_secs_f64(),
        offered_per_s: books.counts.offered as f64 / seconds,
        achieved_per_s: books.final_in_time as f64 / seconds,
        paid_per_s: books.paid_in_time as f64 / seconds,
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
