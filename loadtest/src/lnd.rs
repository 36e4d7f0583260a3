//! `fulgurite-loadtest lnd`: the engine beside the client that everybody writes first, over real
//! lnd on a private chain.
//!
//! That client has so many `SendPaymentV2` calls open and keeps nothing. It pays as many invoices
//! as the engine, through the same node, in turn with it; at its best concurrency, and where one
//! channel cannot hold what it sends at once.

use std::{fmt::Write, time::Instant};

use anyhow::Result;
use clap::Args;
use fulgurite_sim::NodeInfo;
use fulgurite_tests::regtest::{Invoice, Link, Network, Node, Options, pay_naively};
use serde::Serialize;

use crate::{
    measure::Spread,
    report::{self, Machine},
    scene::{Engine, Folder},
};

/// Above the dust limit, and small: all runs together drain no channel.
const AMOUNT_MSAT: u64 = 400_000;
/// Without it an lnd avoids for an hour what it failed over, and the next run pays for this one.
const FORGETS_FAILURES: &str = "--routerrpc.apriori.penaltyhalflife=1s";

/// How much is paid.
#[derive(Clone, Copy, Debug, Args)]
pub struct LndArgs {
    /// Payments of each run.
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(100..=5_000))]
    payments: u32,
    /// How often all of it is repeated.
    #[arg(long, default_value_t = 1, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=5))]
    rounds: u32,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// A way to pay, and how many payments the naive client has open.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    /// Channels between two neighbours.
    channels: u32,
    receiver: &'static str,
    at_once: &'static [usize],
}

const CASES: [Case; 3] = [
    Case { name: "direct, 5 channels", channels: 5, receiver: "bob", at_once: &[100, 200] },
    Case { name: "two hops, 5 channels", channels: 5, receiver: "carol", at_once: &[100, 1_500] },
    Case { name: "direct, 1 channel", channels: 1, receiver: "bob", at_once: &[100, 450, 1_000] },
];

/// One client over one way: each value once for each round.
#[derive(Clone, Debug, Serialize)]
struct Row {
    /// How many payments were open; `None` for the engine, which decides it.
    at_once: Option<usize>,
    /// Paid a second, from the first request to the last outcome.
    per_second: Spread,
    /// Of the payments.
    paid_share: Spread,
}

/// One way to pay.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    case: &'static str,
    engine: Row,
    naive: Vec<Row>,
    /// The engine's rate over that of the naive client at its best, round by round.
    pub ratio: Spread,
    /// The share of the engine's payments that were paid.
    pub paid_share: Spread,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    commit: Option<String>,
    payments: u32,
    cases: Vec<Compared>,
}

/// What came of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Paid {
    per_second: f64,
    share: f64,
}

/// Measures and prints.
///
/// # Errors
/// When the programs of lnd are missing (`scripts/setup --with-go`), or one does not do its part.
pub async fn run(args: LndArgs) -> Result<()> {
    let (machine, commit) = (Machine::now(), report::commit());
    let cases = measure(args.payments as usize, args.rounds).await?;
    let report = Report { machine, commit, payments: args.payments, cases };
    report::print(args.json, &report, &text(&report))
}

/// Every case.
///
/// # Errors
/// As [`run`].
pub(crate) async fn measure(payments: usize, rounds: u32) -> Result<Vec<Compared>> {
    let mut compared = Vec::new();
    let mut network: Option<(u32, Network)> = None;
    for case in CASES {
        // One network serves the cases with as many channels.
        let known = network.take().filter(|(channels, _)| *channels == case.channels);
        let here = match known {
            Some((_, here)) => here,
            None => {
                eprintln!("a network of real lnd nodes comes up");
                Network::start(&options(case.channels)).await?
            }
        };
        compared.push(case.compare(&here, payments, rounds).await?);
        network = Some((case.channels, here));
    }
    Ok(compared)
}

/// alice pays; bob and carol are in a row behind her.
fn options(channels: u32) -> Options {
    let link = |from: &str, to: &str| Link {
        from: from.to_owned(),
        to: to.to_owned(),
        channels,
        capacity_sat: 16_000_000,
        push_sat: 1_000_000,
    };
    Options {
        links: vec![link("alice", "bob"), link("bob", "carol")],
        lnd_options: vec![FORGETS_FAILURES.to_owned()],
        ..Options::default()
    }
}

impl Case {
    async fn compare(&self, network: &Network, payments: usize, rounds: u32) -> Result<Compared> {
        let (payer, receiver) = (network.alice(), network.node(self.receiver));
        let mut engine = Vec::new();
        let mut naive = vec![Vec::new(); self.at_once.len()];
        for round in 1..=rounds {
            // In turn: whatever grows in the nodes' databases is before the one as often as before
            // the other.
            if round % 2 == 1 {
                engine.push(pay_with_engine(payer, receiver, payments).await?);
            }
            for (paid, at_once) in naive.iter_mut().zip(self.at_once) {
                let invoices = receiver.add_invoices(payments, AMOUNT_MSAT).await?;
                let outcome = pay_naively(payer, &invoices, *at_once).await;
                let share = outcome.succeeded as f64 / payments as f64;
                paid.push(Paid { per_second: outcome.rate(), share });
                self.tell(&format!("{at_once} at once"), paid.last());
            }
            if round % 2 == 0 {
                engine.push(pay_with_engine(payer, receiver, payments).await?);
            }
            self.tell("engine", engine.last());
        }
        Ok(self.summary(&engine, &naive))
    }

    fn tell(&self, who: &str, paid: Option<&Paid>) {
        let Paid { per_second, share } = paid.copied().unwrap_or_default();
        eprintln!("{}, {who}: {per_second:.1} paid/s, {share:.4} of all", self.name);
    }

    fn summary(&self, engine: &[Paid], naive: &[Vec<Paid>]) -> Compared {
        let row = |at_once, paid: &[Paid]| Row {
            at_once,
            per_second: Spread::of(paid.iter().map(|paid| paid.per_second)),
            paid_share: Spread::of(paid.iter().map(|paid| paid.share)),
        };
        let best = |round: usize| {
            let all = naive.iter().filter_map(|paid| paid.get(round));
            all.map(|paid| paid.per_second).fold(f64::MIN_POSITIVE, f64::max)
        };
        let ratios = engine.iter().enumerate().map(|(at, paid)| paid.per_second / best(at));
        let naive = self.at_once.iter().zip(naive);
        let engine_row = row(None, engine);
        Compared {
            case: self.name,
            ratio: Spread::of(ratios),
            paid_share: engine_row.paid_share,
            engine: engine_row,
            naive: naive.map(|(at_once, paid)| row(Some(*at_once), paid)).collect(),
        }
    }
}

/// A new engine with the payer as its only node pays them in one batch.
async fn pay_with_engine(payer: &Node, receiver: &Node, payments: usize) -> Result<Paid> {
    let invoices: Vec<Invoice> = receiver.add_invoices(payments, AMOUNT_MSAT).await?;
    let folder = Folder::new()?;
    let node = NodeInfo {
        name: payer.name().to_owned(),
        address: payer.grpc_address(),
        tls_cert: payer.tls_cert(),
        macaroon: payer.admin_macaroon(),
        pubkey: payer.public_key(),
    };
    let config = "[engine]\nnetwork = \"regtest\"\n".parse()?;
    let mut engine = Engine::start_configured(&folder.path, &[node], config).await?;
    let orders = invoices.into_iter().map(|invoice| invoice.payment_request).collect();
    let paid = pay(&engine, orders, payments).await;
    engine.explain(paid)
}

async fn pay(engine: &Engine, orders: Vec<String>, payments: usize) -> Result<Paid> {
    let started = Instant::now();
    let accepted = engine.client.upload("lnd", orders).await?;
    let watched = engine.client.watch(&accepted.batch_id, payments).await?;
    let took = watched.last - started;
    let succeeded = watched.outcomes.iter().filter(|outcome| outcome.succeeded).count() as f64;
    Ok(Paid { per_second: succeeded / took.as_secs_f64(), share: succeeded / payments as f64 })
}

fn text(report: &Report) -> String {
    let mut text = report.machine.text();
    text += &format!("\nreal lnd, {} payments in each run; median [min-max]\n", report.payments);
    for compared in &report.cases {
        text += &format!("\n{:<24}{:>26}{:>26}\n", compared.case, "paid/s", "paid of all");
        for row in std::iter::once(&compared.engine).chain(&compared.naive) {
            let name = match row.at_once {
                None => "  engine".to_owned(),
                Some(at_once) => format!("  naive, {at_once} at once"),
            };
            let (rate, share) = (row.per_second.text(1), row.paid_share.text(4));
            // Writing to a String does not fail.
            let _ = writeln!(text, "{name:<24}{rate:>26}{share:>26}");
        }
        text += &format!("  engine over the best of the naive: {}\n", compared.ratio.text(2));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_compared_with_the_best_of_its_own_round() {
        let paid = |per_second, share| Paid { per_second, share };
        let engine = [paid(200.0, 1.0), paid(100.0, 1.0)];
        let naive = [
            vec![paid(100.0, 1.0), paid(40.0, 1.0)],
            vec![paid(160.0, 0.3), paid(50.0, 0.2)],
            vec![paid(50.0, 1.0), paid(20.0, 1.0)],
        ];
        let compared = CASES[2].summary(&engine, &naive);
        assert_eq!((compared.ratio.min, compared.ratio.max), (1.25, 2.0));
        assert_eq!(compared.naive[1].paid_share, Spread::of([0.3, 0.2]));
        let (machine, commit) = (Machine::now(), None);
        let text = text(&Report { machine, commit, payments: 100, cases: vec![compared] });
        assert!(text.contains("naive, 450 at once"), "{text}");
    }
}
