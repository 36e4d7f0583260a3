//! Options of a batch: unset values become the engine's defaults.

use std::{fmt::Display, ops::RangeInclusive};

use fulgurite_core::{
    FeePolicy, Msat, UnixMs,
    order::{BatchOptions, Priority},
};
use fulgurite_proto::fulgurite::v1::{self, batch_options};

use super::{count, large, time};
use crate::problem::{Problem, invalid};

/// The effective options, or the field that is wrong. A deadline may have passed: whether that
/// matters depends on the key, which may belong to what was accepted before.
pub fn effective(
    options: Option<&v1::BatchOptions>,
    defaults: &BatchOptions,
) -> Result<BatchOptions, Problem> {
    let Some(set) = options else {
        return Ok(defaults.clone());
    };
    Ok(BatchOptions {
        start_paused: set.start_paused.unwrap_or(defaults.start_paused),
        accept_valid: set.accept_valid.unwrap_or(defaults.accept_valid),
        priority: priority(set.priority, defaults.priority)?,
        in_flight_max: ranged("in_flight_max", set.in_flight_max, 1..=100_000)?
            .unwrap_or(defaults.in_flight_max),
        payments_per_second_max: ranged(
            "payments_per_second_max",
            set.payments_per_second_max,
            0..=100_000,
        )?
        .unwrap_or(defaults.payments_per_second_max),
        per_destination_in_flight_max: ranged(
            "per_destination_in_flight_max",
            set.per_destination_in_flight_max,
            0..=100_000,
        )?
        .unwrap_or(defaults.per_destination_in_flight_max),
        failed_count_max: ranged("failed_count_max", set.failed_count_max, 0..=100_000)?
            .unwrap_or(defaults.failed_count_max),
        failed_percent_max: ranged("failed_percent_max", set.failed_percent_max, 0..=100)?
            .unwrap_or(defaults.failed_percent_max),
        fee_policy: fee_policy(set.fee_policy.as_ref(), defaults.fee_policy)?,
        deadline: deadline(set.deadline.as_ref(), defaults.deadline)?,
        attempts_max: ranged("attempts_max", set.attempts_max, 1..=100)?
            .unwrap_or(defaults.attempts_max),
        cltv_limit_blocks: ranged("cltv_limit_blocks", set.cltv_limit_blocks, 144..=2_016)?
            .unwrap_or(defaults.cltv_limit_blocks),
    })
}

/// The value, when it is set and within its range.
fn ranged<T: TryFrom<i32> + PartialOrd + Display>(
    name: &str,
    set: Option<i32>,
    range: RangeInclusive<T>,
) -> Result<Option<T>, Problem> {
    let Some(set) = set else { return Ok(None) };
    match T::try_from(set) {
        Ok(value) if range.contains(&value) => Ok(Some(value)),
        Ok(_) | Err(_) => {
            let message = format!("must be {} to {}", range.start(), range.end());
            Err(invalid(&format!("options.{name}"), &message))
        }
    }
}

fn priority(set: i32, default: Priority) -> Result<Priority, Problem> {
    match batch_options::Priority::try_from(set) {
        Ok(batch_options::Priority::Unspecified) => Ok(default),
        Ok(batch_options::Priority::Low) => Ok(Priority::Low),
        Ok(batch_options::Priority::Normal) => Ok(Priority::Normal),
        Ok(batch_options::Priority::High) => Ok(Priority::High),
        Err(_) => Err(invalid("options.priority", "is a value that this engine does not know")),
    }
}

fn fee_policy(set: Option<&v1::FeePolicy>, default: FeePolicy) -> Result<FeePolicy, Problem> {
    let Some(set) = set else { return Ok(default) };
    let base = u64::try_from(set.base_msat).ok().and_then(|msat| Msat::new(msat).ok());
    let Some(base) = base else {
        return Err(invalid("options.fee_policy.base_msat", "must be an amount, at least 0"));
    };
    match u32::try_from(set.proportional_ppm) {
        Ok(ppm) if ppm <= 1_000_000 => Ok(FeePolicy { base, proportional_ppm: ppm }),
        Ok(_) | Err(_) => {
            Err(invalid("options.fee_policy.proportional_ppm", "must be 0 to 1000000"))
        }
    }
}

fn deadline(
    set: Option<&prost_types::Timestamp>,
    default: Option<UnixMs>,
) -> Result<Option<UnixMs>, Problem> {
    let Some(set) = set else { return Ok(default) };
    match time::from_proto(set) {
        Some(deadline) => Ok(Some(deadline)),
        None => Err(invalid("options.deadline", "is not a time")),
    }
}

/// Effective options as a message, every value set.
pub fn to_proto(options: &BatchOptions) -> v1::BatchOptions {
    let priority = match options.priority {
        Priority::Low => batch_options::Priority::Low,
        Priority::Normal => batch_options::Priority::Normal,
        Priority::High => batch_options::Priority::High,
    };
    v1::BatchOptions {
        start_paused: Some(options.start_paused),
        accept_valid: Some(options.accept_valid),
        priority: priority.into(),
        in_flight_max: Some(count(options.in_flight_max)),
        payments_per_second_max: Some(count(options.payments_per_second_max)),
        per_destination_in_flight_max: Some(count(options.per_destination_in_flight_max)),
        failed_count_max: Some(count(options.failed_count_max)),
        failed_percent_max: Some(count(options.failed_percent_max)),
        fee_policy: Some(v1::FeePolicy {
            base_msat: large(options.fee_policy.base.get()),
            proportional_ppm: count(options.fee_policy.proportional_ppm),
        }),
        deadline: options.deadline.map(time::to_proto),
        attempts_max: Some(i32::from(options.attempts_max)),
        cltv_limit_blocks: Some(count(options.cltv_limit_blocks)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_options_are_the_defaults() {
        let defaults = BatchOptions::default();
        let unset = v1::BatchOptions::default();
        assert_eq!(effective(None, &defaults).ok(), Some(defaults.clone()));
        assert_eq!(effective(Some(&unset), &defaults).ok(), Some(defaults));
    }

    #[test]
    fn effective_options_come_back_as_they_were() {
        let options = BatchOptions {
            priority: Priority::High,
            accept_valid: true,
            deadline: Some(UnixMs(5_000)),
            attempts_max: 7,
            ..BatchOptions::default()
        };
        let back = effective(Some(&to_proto(&options)), &BatchOptions::default());
        assert_eq!(back.ok(), Some(options));
    }

    #[test]
    fn a_value_out_of_range_names_its_field() {
        let no_time = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        let bad = [
            v1::BatchOptions { in_flight_max: Some(0), ..Default::default() },
            v1::BatchOptions { failed_percent_max: Some(101), ..Default::default() },
            v1::BatchOptions { attempts_max: Some(-1), ..Default::default() },
            v1::BatchOptions { priority: 9, ..Default::default() },
            v1::BatchOptions { deadline: Some(no_time), ..Default::default() },
        ];
        for options in bad {
            let problem = effective(Some(&options), &BatchOptions::default()).expect_err("refused");
            assert_eq!(problem.violations.len(), 1, "{options:?}");
        }
    }
}
