//! The files that HdrHistogram's own tools read: `.hlog`, an interval a second and stage, and
//! `.hgrm`, the percentiles of one distribution.

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};

use super::Stage;

/// The longest time of the log, in nanoseconds: an hour.
const NANOS_MAX: u64 = 3_600_000_000_000;

/// An interval log that grows with the run: an interrupted run leaves what it had.
pub(crate) struct IntervalLog {
    file: BufWriter<File>,
    serializer: V2DeflateSerializer,
    /// What is written next, in nanoseconds.
    nanos: Histogram<u64>,
}

impl IntervalLog {
    /// A new one at `path`. Its intervals are told from `started` on. Its values are nanoseconds:
    /// HistogramLogAnalyzer divides by a million to show milliseconds, and cannot be told else; so
    /// does HistogramLogProcessor unless it is told.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn create(path: &Path, started: SystemTime, what: &str) -> Result<IntervalLog> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let (file, serializer) = (BufWriter::new(file), V2DeflateSerializer::new());
        let nanos = Histogram::new_with_bounds(1, NANOS_MAX, 3)?;
        let mut log = IntervalLog { file, serializer, nanos };
        IntervalLogWriterBuilder::new()
            .add_comment(what)
            .add_comment("Nanoseconds, by the second in which a payment was due; Tag=outcome is the latency.")
            .with_start_time(started)
            .with_base_time(started)
            .begin_log_with(&mut log.file, &mut log.serializer)?;
        Ok(log)
    }

    /// Adds what was due in second `number`, in microseconds. Nothing is written for nothing.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn second(&mut self, number: usize, stage: Stage, values: &Histogram<u64>) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        self.nanos.reset();
        for step in values.iter_recorded() {
            let nanos = step.value_iterated_to().saturating_mul(1_000);
            self.nanos.saturating_record_n(nanos, step.count_since_last_iteration());
        }
        // One without headers writes intervals alone: the crate's writer borrows its file, and so
        // cannot be kept.
        let mut writer =
            IntervalLogWriterBuilder::new().begin_log_with(&mut self.file, &mut self.serializer)?;
        let start = Duration::from_secs(number as u64);
        writer
            .write_histogram(&self.nanos, start, Duration::from_secs(1), Tag::new(stage.name()))
            .map_err(|error| anyhow!("the interval log: {error}"))
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.file.flush()?)
    }
}

/// The quantiles of a distribution of microseconds, in milliseconds, ever closer towards 1.
pub(crate) fn curve(values: &Histogram<u64>) -> Vec<(f64, f64)> {
    let steps = values.iter_quantiles(5);
    let mut curve: Vec<(f64, f64)> = steps
        .map(|step| (step.quantile_iterated_to(), step.value_iterated_to() as f64 / 1e3))
        .collect();
    curve.dedup();
    curve
}

/// The text of a `.hgrm` file, in milliseconds, as HdrHistogram's plotter reads it.
pub(crate) fn hgrm(values: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0;
    for step in values.iter_quantiles(5) {
        total += step.count_since_last_iteration();
        let (value, quantile) =
            (step.value_iterated_to() as f64 / 1e3, step.quantile_iterated_to());
        let inverse =
            if quantile < 1.0 { format!("{:.2}", 1.0 / (1.0 - quantile)) } else { "inf".into() };
        // Writing to a String does not fail.
        let _ = writeln!(text, "{value:12.3} {quantile:2.12} {total:10} {inverse:>14}");
    }
    let (mean, deviation) = (values.mean() / 1e3, values.stdev() / 1e3);
    let (max, count) = (values.max() as f64 / 1e3, values.len());
    // As the Java library has them: enough steps in a bucket for the significant digits.
    let sub = (2 * 10_u64.pow(values.sigfig().into())).next_power_of_two();
    let buckets = values.buckets();
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {count:12}]");
    let _ = writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {sub:12}]");
    text
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    };

    use super::*;
    use base64::{Engine, engine::general_purpose::STANDARD};

    fn histogram(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        for value in values {
            histogram.record(*value).unwrap();
        }
        histogram
    }

    #[test]
    fn the_crates_own_reader_reads_the_log_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.hlog");
        let mut log = IntervalLog::create(&path, SystemTime::now(), "a test").unwrap();
        log.second(0, Stage::Outcome, &histogram(&[1_000, 2_000])).unwrap();
        log.second(0, Stage::Lag, &histogram(&[])).unwrap();
        log.second(3, Stage::Ack, &histogram(&[500])).unwrap();
        log.flush().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (mut found, mut bases) = (Vec::new(), 0);
        for entry in IntervalLogIterator::new(&bytes) {
            match entry.expect("a readable line") {
                LogEntry::Interval(interval) => {
                    let raw = STANDARD.decode(interval.encoded_histogram()).unwrap();
                    let values: Histogram<u64> =
                        Deserializer::new().deserialize(&mut raw.as_slice()).unwrap();
                    let tag = interval.tag().unwrap().as_str().to_owned();
                    let at = interval.start_timestamp().as_secs();
                    found.push((tag, at, values.len(), values.max() / 1_000_000));
                }
                LogEntry::BaseTime(_) | LogEntry::StartTime(_) => bases += 1,
            }
        }
        assert_eq!(found, [("outcome".to_owned(), 0, 2, 2), ("ack".to_owned(), 3, 1, 0)]);
        assert_eq!(bases, 2);
    }

    #[test]
    fn the_percentiles_grow_and_end_at_the_largest_value() {
        let values = histogram(&(1..=10_000).collect::<Vec<_>>());
        let curve = curve(&values);
        assert!(curve.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        assert_eq!(curve.last().map(|last| last.0), Some(1.0));
        let text = hgrm(&values);
        assert!(text.contains("Total count    =        10000"), "{text}");
        assert!(text.contains("SubBuckets     =         2048"), "{text}");
        assert!(text.lines().nth(2).is_some_and(|line| line.trim().starts_with("0.001")), "{text}");
    }
}
