//! What a run must have done to prove something.

use fulgurite_proto::fulgurite::v1::payment::State;

use super::{cycle::Found, ledger::Ledger};
use crate::preload::Point;

/// In so many cycles each point is aimed at five times.
const CYCLES_FOR_POINTS: u32 = 10 * Point::ALL.len() as u32;
/// Shares are judged from so many cycles on: one kill of a payer is much of a few.
const CYCLES_FOR_SHARES: u32 = 20;
/// Of a killed lnd's payments some stay in flight for ever; 200 cycles left 1.8 %, 20 left 4 %.
const UNRESOLVED_PERCENT_MAX: usize = 10;
/// And some of its HTLCs stay on a channel: the same cycles left less than 0.1 %.
const UNDER_WAY_PERCENT_MAX: usize = 1;

/// Why a run of so many cycles proves less than its page would say; empty when it does not.
pub fn missing(cycles: u32, found: &Found, ledger: &Ledger) -> Vec<String> {
    let succeeded = ledger.finals().filter(|payment| payment.state() == State::Succeeded).count();
    let (unresolved, under_way) = (ledger.unresolved().count(), ledger.under_way().count());
    let all = ledger.finals().count() + unresolved + under_way;
    let mut missing = Vec::new();
    if succeeded == 0 {
        missing.push("it proves nothing: no payment succeeded".to_owned());
    }
    if found.in_flight == 0 {
        missing.push("it proves nothing: no payment was in flight at a kill".to_owned());
    }
    if cycles >= CYCLES_FOR_POINTS {
        let never = Point::ALL.iter().filter(|point| found.kills.of(point.name()) == 0);
        missing.extend(never.map(|point| format!("never killed at the point: {}", point.name())));
    }
    for (what, count, percent_max) in [
        ("unresolved", unresolved, UNRESOLVED_PERCENT_MAX),
        ("under way at the end", under_way, UNDER_WAY_PERCENT_MAX),
    ] {
        if cycles >= CYCLES_FOR_SHARES && count * 100 > all * percent_max {
            missing.push(format!("{count} of {all} payments are {what}: over {percent_max} %"));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_in_which_nothing_happened_proves_nothing() {
        let (mut found, ledger) = (Found::default(), Ledger::default());
        let few = missing(CYCLES_FOR_POINTS - 1, &found, &ledger).join("; ");
        assert!(few.contains("succeeded") && few.contains("in flight at a kill"), "{few}");
        assert!(!few.contains("never killed"), "{few}");
        found.in_flight = 1;
        let last = Point::ALL[Point::ALL.len() - 1];
        Point::ALL.iter().filter(|point| **point != last).for_each(|point| {
            found.kills.add(point.name());
        });
        let many = missing(CYCLES_FOR_POINTS, &found, &ledger);
        assert_eq!(many.len(), 2, "{many:?}");
        assert_eq!(many[1], format!("never killed at the point: {}", last.name()));
    }
}
