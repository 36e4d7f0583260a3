//! Shows how far a batch is: a bar on a terminal, else a line now and then.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use fulgurite_proto::fulgurite::v1 as proto;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{human::grouped, say, submit::Note, tell};

/// The line below the bar has at most so many characters.
const LINE_CHARS_MAX: usize = 75;
/// Without a terminal, a line so often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress of one batch, on standard error.
#[derive(Debug)]
pub struct Progress {
    shown: Shown,
    what: &'static str,
    total: u64,
    started: Instant,
    said: Option<Instant>,
    final_first: Option<i32>,
    away: bool,
}

/// How it is shown.
#[derive(Debug)]
enum Shown {
    /// On a terminal.
    Bar(ProgressBar),
    /// A line now and then.
    Lines,
    /// To a program: what happens, as objects, and no progress.
    Objects,
}

impl Progress {
    /// Nothing is sent or paid yet of `rows` rows; `what` happens to them first.
    pub fn new(what: &'static str, rows: usize, json: bool) -> Progress {
        let shown = match json {
            true => Shown::Objects,
            false if std::io::stderr().is_terminal() => Shown::Bar(bar(what, rows)),
            false => Shown::Lines,
        };
        let started = Instant::now();
        let total = rows as u64;
        Progress { shown, what, total, started, said: None, final_first: None, away: false }
    }

    /// Shows what happens.
    pub fn note(&mut self, note: &Note) {
        match note {
            Note::Sending(rows) => self.show(*rows as u64, "", ""),
            Note::Away(why) => {
                if !self.away {
                    self.line("the engine is away; trying again. What was said last:");
                    self.line(&format!("  {why}"));
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
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| say(text)),
            Shown::Lines => say(text),
            Shown::Objects => tell(&serde_json::json!({ "message": text })),
        }
    }

    /// Ends the bar; lines that follow come below.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    fn batch(&mut self, batch: &proto::Batch) {
        let counts = batch.counts.unwrap_or_default();
        let done = counts.succeeded_count + counts.failed_count + counts.cancelled_count;
        let total = counts.order_count - counts.refused_count;
        if self.final_first.is_none() {
            (self.final_first, self.started) = (Some(done), Instant::now());
            self.total = u64::try_from(total).unwrap_or_default();
        }
        let done_now = done - self.final_first.unwrap_or_default();
        let pace = pace(done_now, total - done, self.started.elapsed());
        let state = batch.state();
        let pace = if state == proto::batch::State::Paused { ", paused".into() } else { pace };
        let mut parts = Vec::new();
        for (count, what) in [
            (counts.succeeded_count, "succeeded"),
            (counts.failed_count, "failed"),
            (counts.cancelled_count, "cancelled"),
            (counts.unresolved_count, "UNRESOLVED"),
            (counts.in_flight_count, "in flight"),
        ] {
            if count > 0 {
                parts.push(format!("{} {what}", grouped(count.into())));
            }
        }
        let mut text = parts.join(", ");
        if state == proto::batch::State::Paused {
            text = format!("go on with: fulgurite batch resume {}", batch.batch_id);
        }
        self.what = "paying";
        self.show(u64::try_from(done).unwrap_or_default(), &pace, &text);
    }

    fn show(&mut self, position: u64, pace: &str, text: &str) {
        let (what, total) = (self.what, self.total);
        let percent = (position * 100).checked_div(total).unwrap_or_default();
        match &self.shown {
            Shown::Objects => {}
            Shown::Bar(bar) => {
                let pace = pace.trim_start_matches(", ");
                let between = if pace.is_empty() || text.is_empty() { "" } else { "; " };
                bar.set_length(total);
                bar.set_position(position);
                bar.set_prefix(what);
                // A longer line would break, and the bar with it.
                let line = format!("{pace}{between}{text}");
                bar.set_message(line.chars().take(LINE_CHARS_MAX).collect::<String>());
            }
            Shown::Lines if self.said.is_none_or(|said| said.elapsed() >= LINE_EVERY) => {
                self.said = Some(Instant::now());
                let (position, total) = (position as i64, total as i64);
                let of = format!("{} of {}", grouped(position), grouped(total));
                let text = if text.is_empty() { String::new() } else { format!("; {text}") };
                say(&format!("{what}: {of}, {percent} %{pace}{text}"));
            }
            Shown::Lines => {}
        }
    }
}

/// Two lines: the bar with its numbers, and what became of the rows.
fn bar(what: &'static str, rows: usize) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(5);
    let bar = ProgressBar::with_draw_target(Some(rows as u64), target);
    let template = "{prefix:<7} {bar:40} {human_pos}/{human_len} {percent:>3}%\n  {msg}";
    bar.set_style(
        ProgressStyle::with_template(template)
            .expect("the template is well formed")
            .progress_chars("━╸─"),
    );
    bar.set_prefix(what);
    bar
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
