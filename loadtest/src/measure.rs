//! One measured thing, repeated: its middle and its extremes.

use serde::{Deserialize, Serialize};

/// The middle value of several runs, the smallest and the largest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one; of an even number, the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of `values`; zeros when there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (values.first(), values.last()) else {
            return Spread { median: 0.0, min: 0.0, max: 0.0 };
        };
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Spread { median: (lower + upper) / 2.0, min: *min, max: *max }
    }

    /// `median [min-max]` with so many decimals.
    pub fn text(&self, decimals: usize) -> String {
        let Spread { median, min, max } = self;
        format!("{median:.decimals$} [{min:.decimals$}-{max:.decimals$}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_extremes() {
        assert_eq!(Spread::of([3.0, 1.0, 9.0]).text(1), "3.0 [1.0-9.0]");
        assert_eq!(Spread::of([2.0, 1.0]).median, 1.5);
        assert_eq!(Spread::of([]).text(0), "0 [0-0]");
    }
}
