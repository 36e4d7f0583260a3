//! Reads the engine's `/metrics`, and adds up over restarts what a counter loses with its process.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Every series of a scrape: name with labels, and value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series(BTreeMap<String, f64>);

impl Series {
    /// Asks the admin listener. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When nobody answers there, or not with metrics.
    pub fn scrape(admin: SocketAddr) -> io::Result<Series> {
        get(admin, "/metrics").map(|text| Series::parse(&text))
    }

    fn parse(text: &str) -> Series {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Series(series.collect())
    }

    /// Adds another process's series. Only counters and histograms mean something afterwards.
    pub fn add(&mut self, other: &Series) {
        for (name, value) in &other.0 {
            *self.0.entry(name.clone()).or_default() += value;
        }
    }

    /// The sum of a counter over all its labels.
    pub fn total(&self, name: &str) -> f64 {
        let of_name =
            |series: &&String| series.split('{').next().is_some_and(|plain| plain == name);
        self.0
            .iter()
            .filter(|(series, _)| of_name(series))
            // The sum of nothing is -0.0.
            .fold(0.0, |sum, (_, value)| sum + value)
    }

    /// The cumulated buckets of a histogram with `label="value"`: upper bound and count, growing.
    pub fn buckets(&self, histogram: &str, label: (&str, &str)) -> Vec<(f64, f64)> {
        let start = format!("{histogram}_bucket{{");
        let mut buckets: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
        for (series, count) in &self.0 {
            let Some(labels) = series.strip_prefix(&start) else {
                continue;
            };
            if label_of(labels, label.0).as_deref() != Some(label.1) {
                continue;
            }
            let bound = label_of(labels, "le").and_then(|bound| match bound.as_str() {
                "+Inf" => Some(f64::INFINITY),
                bound => bound.parse().ok(),
            });
            let Some(bound) = bound else { continue };
            // Positive floats order like their bits.
            buckets.entry(bound.to_bits()).or_insert((bound, 0.0)).1 += count;
        }
        buckets.into_values().collect()
    }
}

/// The value of `label` in `a="b",c="d"}`.
fn label_of(labels: &str, label: &str) -> Option<String> {
    let labels = labels.trim_end_matches('}');
    let mut pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == label)?;
    Some(value.trim_matches('"').to_owned())
}

/// The value below which a share `q` of a histogram lies, linear within its bucket; `None` when
/// it is empty. In the last, open bucket it is the bucket's lower bound.
pub fn quantile(buckets: &[(f64, f64)], q: f64) -> Option<f64> {
    let total = buckets.last().map(|(_, count)| *count).filter(|total| *total > 0.0)?;
    let (mut bound_below, mut count_below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= q * total {
            if bound.is_infinite() {
                return Some(bound_below);
            }
            let within = (q * total - count_below) / (count - count_below).max(f64::MIN_POSITIVE);
            return Some(bound_below + (bound - bound_below) * within.clamp(0.0, 1.0));
        }
        (bound_below, count_below) = (*bound, *count);
    }
    Some(bound_below)
}

/// One HTTP request to this machine; the body of the answer.
///
/// # Errors
/// When nobody answers, or not with 200.
pub fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let wait = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, wait)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    // HTTP/1.0: the answer ends with the connection, never in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let first = head.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(first.to_owned()));
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE sends counter
sends_total{node=\"a\"} 2
sends_total{node=\"b\"} 3
stage_seconds_bucket{le=\"0.1\",stage=\"node\"} 50
stage_seconds_bucket{le=\"0.2\",stage=\"node\"} 90
stage_seconds_bucket{le=\"+Inf\",stage=\"node\"} 100
stage_seconds_count{stage=\"node\"} 100
# EOF
";

    #[test]
    fn what_two_processes_counted_is_added() {
        let mut series = Series::parse(TEXT);
        series.add(&Series::parse(TEXT));
        assert_eq!(series.total("sends_total"), 10.0);
        assert_eq!(series.total("sends"), 0.0);
    }

    #[test]
    #[rustfmt::skip] // A table: one line is one share and its value.
    fn quantiles_lie_within_their_bucket() {
        let buckets = Series::parse(TEXT).buckets("stage_seconds", ("stage", "node"));
        for (q, expected) in [
            (0.5,   Some(0.1)),
            (0.25,  Some(0.05)),
            (0.7,   Some(0.15)),
            (0.999, Some(0.2)),
        ] {
            let found = quantile(&buckets, q);
            let close = found.zip(expected).is_some_and(|(a, b): (f64, f64)| (a - b).abs() < 1e-9);
            assert!(close, "{q}: {found:?}");
        }
        assert_eq!(quantile(&[], 0.5), None);
    }
}
