//! Shows how far a batch is: a bar on a terminal, else a line now and then.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use fulgurite_proto::fulgurite::v1 as proto;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::submit::Note;

/// Without a terminal, a line so often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress of one batch, on standard error.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    said: Option<Instant>,
    final_first: Option<i32>,
    away: bool,
}

impl Progress {
    /// Nothing is sent or paid yet of `rows` rows.
    pub fn new(rows: usize) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(
                Some(rows as u64),
                ProgressDrawTarget::stderr_with_hz(5),
            );
            let template = "{prefix:>10} {bar:30} {pos}/{len} {percent:>3}% {msg}";
            bar.set_style(
                ProgressStyle::with_template(template)
                    .expect("the template is well formed")
                    .progress_chars("━╸─"),
            );
            bar
        });
        Progress { bar, started: Instant::now(), said: None, final_first: None, away: false }
    }

    /// Shows what happens.
    pub fn note(&mut self, note: &Note) {
        match note {
            Note::Sending(rows) => self.show("sending", *rows as u64, ""),
            Note::Away(why) => {
                if !self.away {
                    self.line(&format!("the engine is away ({why}); trying again"));
                }
                self.away = true;
            }
            Note::Batch(batch) => {
                if std::mem::take(&mut self.away) {
                    self.line("the engine is there again");
                }
                self.batch(batch);
            }
        }
    }

    /// Prints a line that stays, above the bar.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Ends the bar; lines that follow come below.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn batch(&mut self, batch: &proto::Batch) {
        let counts = batch.counts.unwrap_or_default();
        let done = counts.succeeded_count + counts.failed_count + counts.cancelled_count;
        let total = counts.order_count - counts.refused_count;
        if self.final_first.is_none() {
            (self.final_first, self.started) = (Some(done), Instant::now());
            if let Some(bar) = &self.bar {
                bar.set_length(u64::try_from(total).unwrap_or_default());
            }
        }
        let done_now = done - self.final_first.unwrap_or_default();
        let pace = pace(done_now, total - done, self.started.elapsed());
        let mut text =
            format!("{} in flight, {} failed", counts.in_flight_count, counts.failed_count);
        if counts.unresolved_count > 0 {
            text += &format!(", {} UNRESOLVED", counts.unresolved_count);
        }
        let state = batch.state();
        if state == proto::batch::State::Paused {
            text += &format!(", paused; resume: fulgurite batch resume {}", batch.batch_id);
        } else {
            text += &pace;
        }
        let done = u64::try_from(done).unwrap_or_default();
        self.show("paying", done, &text);
    }

    fn show(&mut self, what: &'static str, position: u64, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(what);
            bar.set_position(position);
            bar.set_message(text.to_owned());
        } else if self.said.is_none_or(|said| said.elapsed() >= LINE_EVERY) {
            self.said = Some(Instant::now());
            eprintln!("{what}: {position} {text}");
        }
    }
}

/// The rate and the time that is left, once there is something to judge by.
fn pace(done: i32, left: i32, elapsed: Duration) -> String {
    if done <= 0 || elapsed < Duration::from_millis(500) {
        return String::new();
    }
    let rate = f64::from(done) / elapsed.as_secs_f64();
    let eta = (f64::from(left) / rate).ceil() as u64;
    let (hours, minutes, seconds) = (eta / 3_600, eta / 60 % 60, eta % 60);
    let eta = match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes}:{seconds:02}"),
        (_, _) => format!("{hours}:{minutes:02}:{seconds:02}"),
    };
    format!(", {rate:.0}/s, {eta} left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // A table: one line is one pace.
    fn the_pace_is_of_what_was_done_here() {
        for (done, left, seconds, expected) in [
            (0,     100,     10, ""),
            (100,   100,     10, ", 10/s, 10 s left"),
            (100,   6_010,   10, ", 10/s, 10:01 left"),
            (1_000, 360_000, 10, ", 100/s, 1:00:00 left"),
        ] {
            assert_eq!(pace(done, left, Duration::from_secs(seconds)), expected);
        }
    }
}
