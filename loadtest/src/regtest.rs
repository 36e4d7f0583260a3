//! Real lnd nodes of a run's own, in a row on a private chain: alice pays, bob is her peer.

use anyhow::{Result, ensure};
use fulgurite_sim::{Invoice, NodeInfo};
use fulgurite_tests::regtest::{Link, Network, Node, Options};

/// What a payment is, in millisatoshi: above the dust limit, and small.
pub(crate) const AMOUNT_MSAT: u64 = 400_000;
/// What one payment takes from alice's side at most: the amount and bob's fee for the second hop.
pub(crate) const COST_MSAT: u64 = AMOUNT_MSAT + 2_000;
/// Channels between alice and bob for a load.
const CHANNELS: u32 = 5;
/// A channel's size and what the other side has of it from the start, in satoshi.
const CAPACITY_SAT: u64 = 16_000_000;
const PUSHED_SAT: u64 = 1_000_000;
/// What cannot be paid of a channel: a reserve of one percent, and the fees of a commitment
/// transaction with 483 outputs.
const KEPT_SAT: u64 = 500_000;
/// Without it an lnd avoids for an hour what it failed over, and the next run pays for this one.
const FORGETS_FAILURES: &str = "--routerrpc.apriori.penaltyhalflife=1s";

/// alice, bob and carol in a row, with so many channels between two neighbours.
pub(crate) fn options(channels: u32) -> Options {
    let link = |from: &str, to: &str| Link {
        from: from.to_owned(),
        to: to.to_owned(),
        channels,
        capacity_sat: CAPACITY_SAT,
        push_sat: PUSHED_SAT,
    };
    Options {
        links: vec![link("alice", "bob"), link("bob", "carol")],
        lnd_options: vec![FORGETS_FAILURES.to_owned()],
        ..Options::default()
    }
}

/// What alice's new channels can pay, in millisatoshi.
pub(crate) fn capacity_msat(channels: u32) -> u64 {
    u64::from(channels) * (CAPACITY_SAT - PUSHED_SAT - KEPT_SAT) * 1_000
}

/// A node as the engine and the bare client are told of it.
pub(crate) fn node_info(node: &Node) -> NodeInfo {
    NodeInfo {
        name: node.name().to_owned(),
        address: node.grpc_address(),
        tls_cert: node.tls_cert(),
        macaroon: node.admin_macaroon(),
        pubkey: node.public_key(),
    }
}

/// A network for a load of `payments`, and their invoices, which are bob's.
///
/// # Errors
/// When the programs of lnd are missing, or the channels would run dry in the middle.
pub(crate) async fn start(payments: usize) -> Result<(Network, Vec<Invoice>)> {
    let most = capacity_msat(CHANNELS) / COST_MSAT;
    ensure!(
        payments as u64 <= most,
        "the channels of --lnd hold {most} payments, and {payments} would be due: a lower --rate \
         or --duration"
    );
    eprintln!("a network of real lnd nodes comes up");
    let network = Network::start(&options(CHANNELS)).await?;
    eprintln!("bob makes {payments} invoices");
    let made = network.bob().add_invoices(payments, AMOUNT_MSAT).await?;
    let invoices = made.into_iter().map(|made| Invoice {
        bolt11: made.payment_request,
        payment_hash: made.payment_hash,
        amount_msat: made.amount_msat,
    });
    Ok((network, invoices.collect()))
}
