//! Which real nodes were killed, and when: a kill excuses payments of its time alone.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use fulgurite_proto::fulgurite::v1 as proto;

/// A receiver may be killed a moment after the payer had the preimage, and give the HTLC back then.
const AFTER_END: Duration = Duration::from_secs(5);

/// Kills of nodes, by name.
#[derive(Debug, Default)]
pub struct Kills(BTreeMap<String, Vec<SystemTime>>);

impl Kills {
    /// A node was killed now.
    pub fn note(&mut self, node: &str) {
        self.0.entry(node.to_owned()).or_default().push(SystemTime::now());
    }

    /// Whether a node was killed while the payment lived: from its acceptance to its end and five
    /// seconds more, or to now when it has none.
    pub fn within(&self, node: &str, payment: &proto::Payment) -> bool {
        let time = |stamp: Option<_>| stamp.and_then(|stamp| SystemTime::try_from(stamp).ok());
        let began = time(payment.create_time).unwrap_or(SystemTime::UNIX_EPOCH);
        let ended = time(payment.finish_time).map(|ended| ended + AFTER_END);
        let lived = |at: &SystemTime| *at >= began && ended.is_none_or(|ended| *at <= ended);
        self.0.get(node).is_some_and(|kills| kills.iter().any(lived))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_excuses_payments_of_its_time_alone() {
        let mut kills = Kills::default();
        kills.note("bob");
        let now = SystemTime::now();
        let minute = Duration::from_secs(60);
        let lived = |began: SystemTime, ended: Option<SystemTime>| proto::Payment {
            create_time: Some(began.into()),
            finish_time: ended.map(Into::into),
            ..Default::default()
        };
        for (payment, is_excused) in [
            (lived(now - minute, None), true),
            (lived(now - minute, Some(now + minute)), true),
            (lived(now - minute, Some(now - Duration::from_secs(2))), true),
            (lived(now - 2 * minute, Some(now - minute)), false),
            (lived(now + minute, None), false),
        ] {
            assert_eq!(kills.within("bob", &payment), is_excused, "{payment:?}");
            assert!(!kills.within("carol", &payment), "nobody killed it");
        }
    }
}
