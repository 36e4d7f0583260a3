//! What is seen while the clock runs: on a terminal a view that is drawn again each second, else a
//! line every five.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use super::stages::Look;
use crate::result::{
    Quantiles,
    summary::{codes, milliseconds},
};

/// Without a terminal there is a line so often.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// The view.
pub(crate) struct Live {
    is_terminal: bool,
    is_quiet: bool,
    title: String,
    lasts: Duration,
    started: Instant,
    last: Instant,
    done_before: u64,
    drawn: usize,
}

impl Live {
    /// A view on standard error; none when `is_quiet`.
    pub fn new(is_quiet: bool) -> Live {
        let now = Instant::now();
        Live {
            is_terminal: std::io::stderr().is_terminal(),
            is_quiet,
            title: String::new(),
            lasts: Duration::ZERO,
            started: now,
            last: now,
            done_before: 0,
            drawn: 0,
        }
    }

    /// A run begins.
    pub fn begin(&mut self, target: &str, round: u32, lasts: Duration) {
        let now = Instant::now();
        self.title = format!("{target}, round {round}");
        (self.lasts, self.started, self.last) = (lasts, now, now);
        (self.done_before, self.drawn) = (0, 0);
    }

    /// Draws what `look` finds, when it is time for it.
    pub fn show(&mut self, look: impl FnOnce() -> Look) {
        let period = if self.is_terminal { Duration::ZERO } else { LINE_PERIOD };
        let since = self.last.elapsed();
        if self.is_quiet || since < period.max(Duration::from_millis(200)) {
            return;
        }
        let Look { counts, codes: reasons, open, recent, lag } = look();
        let (recent, lag) = (Quantiles::of(&recent), Quantiles::of(&lag));
        let rate = (counts.final_states() - self.done_before) as f64 / since.as_secs_f64();
        (self.last, self.done_before) = (Instant::now(), counts.final_states());
        let seconds = self.started.elapsed().as_secs();
        let head = format!(
            "{}  {seconds} of {} s   {rate:.0}/s   {open} in flight",
            self.title,
            self.lasts.as_secs()
        );
        let times = format!(
            "P50 {}  P90 {}  P99 {}  max {}   lag P99 {}",
            milliseconds(recent.p50_ms),
            milliseconds(recent.p90_ms),
            milliseconds(recent.p99_ms),
            milliseconds(recent.max_ms),
            milliseconds(lag.p99_ms),
        );
        let ends = format!(
            "paid {}  failed {}  refused {}  errors {}  timed out {}  unsent {}",
            counts.succeeded,
            counts.failed,
            counts.refused,
            counts.errors,
            counts.timed_out,
            counts.unsent
        );
        if !self.is_terminal {
            eprintln!("{head}   {times}   {ends}");
            return;
        }
        let mut lines = vec![head, times, ends];
        lines.extend(codes(&reasons).into_iter().take(5));
        let mut text = String::new();
        if self.drawn > 0 {
            text += &format!("\x1b[{}A\x1b[J", self.drawn);
        }
        for line in &lines {
            text += line;
            text += "\n";
        }
        self.drawn = lines.len();
        // A terminal that is gone has no reader.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
