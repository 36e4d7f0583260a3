//! The examples of the BOLT 11 specification get the verdicts that it says.

use std::time::Duration;

use fulgurite_proto::fulgurite::v1::PaymentOrder;

use super::*;
use crate::wire::batch::reason_name;

const EXAMPLES: &str = include_str!("bolt11.txt");
/// The key that signs nearly all of them.
const PAYEE: &str = "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad";
const HASH: &str = "0001020304050607080900010203040506070809000102030405060708090102";

/// The verdict on an example, of an engine on `network` whose clock shows `now`.
fn verdict(order: &PaymentOrder, network: Network, now: UnixMs) -> CheckedRow {
    let limits = Limits { expiry_margin: Duration::ZERO, ..Limits::default() };
    let judge = Judge {
        rules: Arc::new(Rules { network, signatures: Signatures::Door, limits }),
        own_nodes: OwnNodes::default(),
        reader: Reader::new(network, Signatures::Door),
    };
    judge.check(order, &Terms { now, ..terms() })
}

fn reasons_of(checked: CheckedRow) -> Vec<String> {
    let problems = checked.verdict.err().unwrap_or_default();
    let name = |problem: Problem| reason_name(&problem.of_row(1, None)).to_owned();
    problems.into_iter().map(name).collect()
}

#[test]
fn the_examples_of_bolt_11_get_the_verdicts_of_the_specification() {
    // When the invoices of the specification are one second old.
    let then = [UnixMs(1_496_314_659_000), UnixMs(1_572_468_704_000)];
    let mut read = [0, 0];
    for line in EXAMPLES.lines().filter(|line| !line.starts_with('#')) {
        let [verdict_wanted, msat, text] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("three words: {line}");
        };
        let given = if msat == "any" { amount(1_000_000) } else { None };
        let order = PaymentOrder { amount: given, ..order(text) };
        let network = match verdict_wanted {
            "testnet" => Network::Testnet,
            _ => Network::Mainnet,
        };
        let of_2019 = text.starts_with("lnbc9678785340p");
        let checked = verdict(&order, network, then[usize::from(of_2019)]);
        if !["mainnet", "testnet"].contains(&verdict_wanted) {
            read[1] += 1;
            assert_eq!(reasons_of(checked), [verdict_wanted], "{line}");
            continue;
        }
        read[0] += 1;
        let taken = checked.verdict.unwrap_or_else(|problems| panic!("{problems:?}: {line}"));
        assert!(msat == "any" || taken.amount.get().to_string() == msat, "{line}");
        let payee = taken.payee.map(hex::encode);
        // A high-S signature recovers to another key.
        let is_spec_s = !text.ends_with("0gx");
        assert_eq!(payee.as_deref() == Some(PAYEE), is_spec_s, "{payee:?}: {line}");
        assert_eq!(taken.payment_hash.to_string() == HASH, !of_2019, "{line}");
        // On another network, and today.
        assert_eq!(reasons_of(verdict(&order, Network::Regtest, NOW)), ["WRONG_NETWORK"], "{line}");
        assert_eq!(reasons_of(verdict(&order, network, NOW)), ["EXPIRED"], "{line}");
    }
    assert_eq!(read, [16, 9]);
}
