//! How far a node's clock is ahead of ours, found by asking it whether macaroons have expired.
//!
//! lnd tells nobody its time, but refuses a macaroon whose `time-before` has come. A macaroon of
//! our time plus `x` is taken while the node's clock is less than `x` ahead. Two calls suffice
//! while the clocks agree within a second; otherwise the range is doubled, then halved.

use std::future::Future;

/// Clocks that agree this well are called equal, in milliseconds.
const EQUAL_MS: i64 = 1_000;
/// A difference above this is not measured further: 34 years.
const OFFSET_MS_MAX: i64 = EQUAL_MS << 30;

/// Finds the offset in milliseconds, to half a second and the time of a call; 0 within a second.
///
/// `is_ahead_less_than` asks the node: is your clock less than this many milliseconds ahead?
pub async fn offset<F, E>(mut is_ahead_less_than: impl FnMut(i64) -> F) -> Result<i64, E>
where
    F: Future<Output = Result<bool, E>>,
{
    let (mut low, mut high) = (-EQUAL_MS, EQUAL_MS);
    while high < OFFSET_MS_MAX && !is_ahead_less_than(high).await? {
        (low, high) = (high, high * 2);
    }
    while low < 0 && low > -OFFSET_MS_MAX && is_ahead_less_than(low).await? {
        (low, high) = (low * 2, low);
    }
    if (low, high) == (-EQUAL_MS, EQUAL_MS) {
        return Ok(0);
    }
    while high - low > EQUAL_MS {
        let middle = low + (high - low) / 2;
        if is_ahead_less_than(middle).await? { high = middle } else { low = middle }
    }
    Ok(low + (high - low) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, convert::Infallible, future::ready};

    fn measure(truth: i64) -> (i64, u32) {
        let calls = Cell::new(0);
        let mut found = std::pin::pin!(offset(|guess| {
            calls.set(calls.get() + 1);
            ready(Ok::<_, Infallible>(truth < guess))
        }));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match found.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(Ok(offset)) => (offset, calls.get()),
            std::task::Poll::Pending => unreachable!("every answer is ready"),
        }
    }

    #[test]
    fn two_calls_suffice_while_the_clocks_agree() {
        for truth in [-1_000, -300, 0, 999] {
            assert_eq!(measure(truth), (0, 2), "{truth}");
        }
    }

    #[test]
    fn a_clock_that_is_off_is_found_to_half_a_second() {
        for truth in [-1_001, 1_000, 1_500, -60_000, 3_600_000, -86_400_000, 900_000_000_000] {
            let (found, calls) = measure(truth);
            assert!((found - truth).abs() <= 500, "{truth} was taken for {found}");
            assert!(calls < 90, "{calls} calls for {truth}");
        }
    }
}
