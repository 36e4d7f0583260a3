//! Payments over real lnd that have no end when the run ends, and why each has none.

use std::collections::HashSet;

use fulgurite_proto::fulgurite::v1 as proto;

use super::books::{Books, hash_of};
use crate::report::Counts;

/// What the engine says of a payment that its node shows in flight, with no HTLC on a channel.
const STUCK: &str = "IN_FLIGHT_WITHOUT_HTLC";

/// What was found of them.
#[derive(Debug, Default)]
pub struct Open {
    /// Those without a reason.
    pub wrong: Vec<String>,
    /// Unresolved ones, by reason.
    pub unresolved: Counts,
    /// Those under way, each with its HTLC on a channel of a payer.
    pub on_channels: u64,
}

/// Looks for the reason of each payment that has no end: at its node's own book, and among the
/// hashes of the HTLCs that are on the payers' channels (`outgoing`).
pub fn judge<'a>(
    unresolved: impl Iterator<Item = &'a proto::Payment>,
    under_way: impl Iterator<Item = &'a proto::Payment>,
    books: &Books,
    outgoing: &HashSet<[u8; 32]>,
) -> Open {
    let mut open = Open::default();
    let is_on_channel = |payment| hash_of(payment).is_some_and(|hash| outgoing.contains(&hash));
    for payment in unresolved {
        let code = payment.attempts.last().map_or("", |last| last.node_code.as_str());
        let shown = hash_of(payment).is_some_and(|hash| books.is_in_flight(&payment.node, hash));
        let is_so = code != STUCK || (shown && !is_on_channel(payment));
        if is_so && !code.is_empty() {
            open.unresolved.add(code);
        } else {
            let (id, node, on) = (&payment.payment_id, &payment.node, is_on_channel(payment));
            open.wrong.push(format!(
                "{id} is unresolved without a reason: code {code:?}, {node} shows it in flight: \
                 {shown}, on a channel: {on}"
            ));
        }
    }
    for payment in under_way {
        if is_on_channel(payment) {
            open.on_channels += 1;
        } else {
            open.wrong.push(format!("{} does not end", payment.payment_id));
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use fulgurite_sim::{BookEntry, FailureReason, Status};

    use super::*;

    const HASH: [u8; 32] = [0xaa; 32];

    fn books(status: Status) -> Books {
        Books::of([BookEntry {
            node: "alice".into(),
            payment_hash: HASH,
            status,
            reason: FailureReason::None,
            amount_msat: 1,
            fee_msat: 0,
            payment_index: 1,
            created_ns: 1,
        }])
    }

    #[test]
    fn what_has_no_end_has_a_reason_at_its_node() {
        let attempt = |code: &str| proto::Attempt { node_code: code.into(), ..Default::default() };
        let payment = |node: &str, code| proto::Payment {
            payment_id: "pay_1".into(),
            payment_hash: hex::encode(HASH),
            node: node.into(),
            attempts: vec![attempt(code)],
            ..Default::default()
        };
        let (none, out) = (HashSet::new(), HashSet::from([HASH]));
        let (flies, failed) = (books(Status::InFlight), books(Status::Failed));
        for (node, code, books, outgoing, is_wrong) in [
            ("alice", STUCK, &flies, &none, false),
            ("alice", "PAID_BEFORE", &failed, &none, false),
            ("alice", "", &flies, &none, true),
            ("alice", STUCK, &failed, &none, true),
            ("dave", STUCK, &flies, &none, true),
            ("alice", STUCK, &flies, &out, true),
        ] {
            let payment = payment(node, code);
            let open = judge([&payment].into_iter(), [].into_iter(), books, outgoing);
            assert_eq!(open.wrong.len(), usize::from(is_wrong), "{node} {code} {open:?}");
            assert_eq!(open.unresolved.is_empty(), is_wrong, "{node} {code} {open:?}");
        }
        let payment = payment("alice", "");
        let open = judge([].into_iter(), [&payment].into_iter(), &flies, &out);
        assert_eq!((open.on_channels, open.wrong.len()), (1, 0));
        let open = judge([].into_iter(), [&payment].into_iter(), &flies, &none);
        assert_eq!(open.wrong, ["pay_1 does not end"]);
    }
}
