//! How large the payments are.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// lnd's dust limit (BOLT 3: an unknown witness program). A smaller HTLC has no output of its own
/// and counts as fee exposure.
pub(crate) const DUST_SAT: f64 = 354.0;

/// What a plan needs to know of the amounts, in satoshi.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Amounts {
    pub mean_sat: f64,
    /// 999 of 1,000 are not larger.
    pub p999_sat: f64,
    /// The share of payments below [`DUST_SAT`].
    pub dust_share: f64,
}

impl Amounts {
    /// A lognormal distribution: half of the payments are above `median_sat`.
    pub fn lognormal(median_sat: f64, sigma: f64) -> Amounts {
        // The quantile of 0.999 of a standard normal distribution.
        let p999_sat = median_sat * (sigma * 3.0902).exp();
        let mean_sat = median_sat * (sigma * sigma / 2.0).exp();
        let dust_share = if sigma > 0.0 {
            normal((DUST_SAT / median_sat).ln() / sigma)
        } else {
            f64::from(median_sat < DUST_SAT)
        };
        Amounts { mean_sat, p999_sat, dust_share }
    }

    /// As they were: a text file with an amount in satoshi in each line.
    ///
    /// # Errors
    /// When there is no amount, or a line is none.
    pub fn read(path: &Path) -> Result<Amounts> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut all = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let amount: f64 =
                line.parse().ok().filter(|sat: &f64| sat.is_finite() && *sat > 0.0).with_context(
                    || {
                        let path = path.display();
                        format!("{path}: line {number}: {line}: an amount in satoshi, above 0")
                    },
                )?;
            all.push(amount);
        }
        ensure!(!all.is_empty(), "{}: no amount", path.display());
        all.sort_by(f64::total_cmp);
        let count = all.len() as f64;
        let below = all.partition_point(|amount| *amount < DUST_SAT);
        Ok(Amounts {
            mean_sat: all.iter().sum::<f64>() / count,
            p999_sat: all[((count * 0.999).ceil() as usize).clamp(1, all.len()) - 1],
            dust_share: below as f64 / count,
        })
    }
}

/// The share of a standard normal distribution below `z` (Abramowitz and Stegun 26.2.17; the error
/// is below 1e-7).
fn normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let terms = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    let tail = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum;
    if z < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lognormal_distribution_has_its_moments() {
        let amounts = Amounts::lognormal(10_000.0, 1.0);
        assert!((amounts.mean_sat - 16_487.2).abs() < 0.1, "{amounts:?}");
        assert!((amounts.p999_sat / 219_817.0 - 1.0).abs() < 1e-3, "{amounts:?}");
        // ln(0.0354) = -3.341: 0.04 % of a normal distribution.
        assert!((amounts.dust_share - 0.000_417).abs() < 1e-5, "{amounts:?}");
        assert_eq!(Amounts::lognormal(100.0, 0.0).dust_share, 1.0);
        assert!((normal(1.96) - 0.975).abs() < 1e-4 && (normal(-1.96) - 0.025).abs() < 1e-4);
    }

    #[test]
    fn a_file_is_read_and_what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("amounts.txt");
        std::fs::write(&path, "100\n300\n\n5000\n").unwrap();
        let amounts = Amounts::read(&path).unwrap();
        assert_eq!((amounts.mean_sat, amounts.p999_sat), (1_800.0, 5_000.0));
        assert!((amounts.dust_share - 2.0 / 3.0).abs() < 1e-9);
        for (text, named) in [("", "no amount"), ("5\nx", "line 2"), ("-1", "line 1")] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", Amounts::read(&path).unwrap_err());
            assert!(error.contains(named), "{error}");
        }
    }
}
