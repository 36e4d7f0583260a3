//! Amounts in millisatoshi and the arithmetic on them that cannot overflow.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in millisatoshi (1 sat = 1,000 msat), the unit of every Lightning message.
///
/// Never negative and never above [`Msat::MAX`], so the sum of two amounts cannot wrap.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u64", into = "u64")]
pub struct Msat(u64);

/// The amount is above 21 million bitcoin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} msat is more than 21 million bitcoin")]
pub struct TooLarge(u64);

impl Msat {
    /// Nothing.
    pub const ZERO: Msat = Msat(0);
    /// 21 million bitcoin, in millisatoshi.
    pub const MAX: Msat = Msat(21_000_000 * 100_000_000 * 1_000);

    /// An amount of `msat`; an error above [`Msat::MAX`].
    pub const fn new(msat: u64) -> Result<Msat, TooLarge> {
        if msat > Self::MAX.0 { Err(TooLarge(msat)) } else { Ok(Msat(msat)) }
    }

    /// An amount of `sat` satoshi; anything above the maximum becomes the maximum.
    pub const fn from_sat_clamped(sat: u64) -> Msat {
        let msat = sat.saturating_mul(1_000);
        if msat > Self::MAX.0 { Self::MAX } else { Msat(msat) }
    }

    /// The number of millisatoshi, 0 to [`Msat::MAX`].
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sum, or `None` above [`Msat::MAX`].
    pub fn checked_add(self, other: Msat) -> Option<Msat> {
        self.0.checked_add(other.0).and_then(|sum| Msat::new(sum).ok())
    }

    /// The difference, or `None` below zero.
    pub fn checked_sub(self, other: Msat) -> Option<Msat> {
        self.0.checked_sub(other.0).map(Msat)
    }

    /// The sum, at most [`Msat::MAX`].
    pub fn saturating_add(self, other: Msat) -> Msat {
        self.checked_add(other).unwrap_or(Msat::MAX)
    }

    /// The difference, at least zero.
    pub fn saturating_sub(self, other: Msat) -> Msat {
        Msat(self.0.saturating_sub(other.0))
    }

    /// `ppm` millionths of the amount, rounded down (BOLT 7, `fee_proportional_millionths`).
    ///
    /// ```
    /// # use fulgurite_core::{Msat, amount::TooLarge};
    /// assert_eq!(Msat::new(1_000_199)?.parts_per_million(5_000), Msat::new(5_000)?);
    /// # Ok::<(), TooLarge>(())
    /// ```
    pub fn parts_per_million(self, ppm: u32) -> Msat {
        // The maximum is below 2^61 and ppm below 2^32: the product fits 128 bits.
        let part = u128::from(self.0) * u128::from(ppm) / 1_000_000;
        u64::try_from(part).ok().and_then(|msat| Msat::new(msat).ok()).unwrap_or(Msat::MAX)
    }
}

impl TryFrom<u64> for Msat {
    type Error = TooLarge;

    fn try_from(msat: u64) -> Result<Msat, TooLarge> {
        Msat::new(msat)
    }
}

impl From<Msat> for u64 {
    fn from(amount: Msat) -> u64 {
        amount.0
    }
}

impl fmt::Display for Msat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} msat", self.0)
    }
}

/// What a payment may pay in fees: a base and a share of its amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeePolicy {
    /// Allowed whatever the amount.
    pub base: Msat,
    /// Allowed on top, in millionths of the amount; 0 to 1,000,000.
    pub proportional_ppm: u32,
}

impl FeePolicy {
    /// The most that a payment of `amount` may pay in fees.
    pub fn limit(self, amount: Msat) -> Msat {
        self.base.saturating_add(amount.parts_per_million(self.proportional_ppm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_above_all_bitcoin_are_refused() {
        assert_eq!(Msat::new(Msat::MAX.get()), Ok(Msat::MAX));
        assert_eq!(Msat::new(Msat::MAX.get() + 1), Err(TooLarge(Msat::MAX.get() + 1)));
        assert_eq!(Msat::MAX.checked_add(Msat(1)), None);
        assert_eq!(Msat(1).checked_sub(Msat(2)), None);
    }

    #[test]
    fn a_fee_limit_is_base_plus_share_rounded_down() {
        let policy = FeePolicy { base: Msat(10_000), proportional_ppm: 5_000 };
        assert_eq!(policy.limit(Msat(1_000_000)), Msat(15_000));
        assert_eq!(policy.limit(Msat(199)), Msat(10_000));
        assert_eq!(policy.limit(Msat(200)), Msat(10_001));
    }
}
