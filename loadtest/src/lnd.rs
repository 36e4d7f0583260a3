//! `fulgurite-loadtest lnd`: the engine beside the client that everybody writes first, over real
//! lnd on a private chain.
//!
//! That client has so many `SendPaymentV2` calls open and keeps nothing. It pays as many invoices
//! as the engine, through the same node, in turn with it; at its best concurrency, and where one
//! channel cannot hold what it sends at once.

use std::{collections::HashMap, fmt::Write, process::ExitCode, time::Instant};

use anyhow::{Result, ensure};
use clap::Args;
use fulgurite_proto::lnrpc::htlc_attempt::HtlcStatus;
use fulgurite_tests::regtest::{Binaries, Invoice, Network, Node, pay_naively};
use serde::Serialize;

use crate::{
    measure::Spread,
    regtest::{self, AMOUNT_MSAT, COST_MSAT, node_info, options},
    report::{self, Machine},
    scene::{Engine, Folder},
};

/// How much is paid.
#[derive(Clone, Copy, Debug, Args)]
pub struct LndArgs {
    /// Payments of each run.
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(100..=5_000))]
    payments: u32,
    /// How often all of it is repeated; in an even number each client is first as often as last.
    #[arg(long, default_value_t = 2, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10))]
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
    /// Payments that the engine accepted and did not pay, of all rounds.
    pub not_paid: u64,
    /// Payments of anybody that the payer's own books show as paid more than once.
    pub paid_twice: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    commit: Option<String>,
    payments: u32,
    rounds: u32,
    cases: Vec<Compared>,
}

/// What came of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Paid {
    per_second: f64,
    share: f64,
    not_paid: u64,
}

/// The exit code when it could not be run.
const NOT_RUN: u8 = 2;

/// Measures and prints; 1 when an accepted payment was not paid, or one was paid twice; 2 when the
/// programs of lnd are missing (`scripts/setup --with-go`).
///
/// # Errors
/// When one of them does not do its part.
pub async fn run(args: LndArgs) -> Result<ExitCode> {
    if let Err(error) = Binaries::find() {
        eprintln!("error: {error:#}");
        return Ok(ExitCode::from(NOT_RUN));
    }
    let (machine, commit) = (Machine::now(), report::commit());
    let cases = measure(args.payments as usize, args.rounds).await?;
    let wrong = cases.iter().filter_map(Compared::wrong).collect::<Vec<_>>();
    let report = Report { machine, commit, payments: args.payments, rounds: args.rounds, cases };
    report::print(args.json, &report, &text(&report))?;
    wrong.iter().for_each(|wrong| eprintln!("error: {wrong}"));
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every case.
///
/// # Errors
/// As [`run`].
pub(crate) async fn measure(payments: usize, rounds: u32) -> Result<Vec<Compared>> {
    let mut compared = Vec::new();
    let mut funded: Option<Funded> = None;
    for case in CASES {
        let (mut engine, mut naive) = (Vec::new(), vec![Vec::new(); case.at_once.len()]);
        let mut paid_twice = 0;
        for round in 1..=rounds {
            let here = Funded::for_round(funded.take(), &case, payments).await?;
            let paid = case.round(&here.network, payments, round).await?;
            engine.push(paid.engine);
            naive.iter_mut().zip(paid.naive).for_each(|(all, paid)| all.push(paid));
            // The books of the last round, and of those before it on the same network.
            let twice = twice(here.network.alice()).await?;
            paid_twice = paid_twice.max(twice);
            funded = Some(here);
        }
        compared.push(case.summary((&engine, &naive), paid_twice));
    }
    Ok(compared)
}

/// A network, and what alice can still pay over it.
struct Funded {
    channels: u32,
    left_msat: u64,
    network: Network,
}

impl Funded {
    /// The network of before when its channels are as many, and hold what a round pays; else a new
    /// one. A channel that runs dry in the middle would be measured instead of a client.
    async fn for_round(before: Option<Funded>, case: &Case, payments: usize) -> Result<Funded> {
        let cost_msat = case.cost_msat(payments);
        let usable =
            |known: &Funded| known.channels == case.channels && known.left_msat >= cost_msat;
        if let Some(mut known) = before.filter(usable) {
            known.left_msat -= cost_msat;
            return Ok(known);
        }
        let capacity_msat = case.capacity_msat();
        ensure!(
            capacity_msat >= cost_msat,
            "{}: a round is {payments} payments by each of {} clients of at most {COST_MSAT} msat: \
             {cost_msat} msat, and the channels hold {capacity_msat}; fewer --payments",
            case.name,
            case.at_once.len() + 1
        );
        eprintln!("a network of real lnd nodes comes up");
        let network = Network::start(&options(case.channels)).await?;
        Ok(Funded { channels: case.channels, left_msat: capacity_msat - cost_msat, network })
    }
}

/// How many payments the node has paid more than once, by its own books.
async fn twice(payer: &Node) -> Result<u64> {
    let mut received: HashMap<String, i64> = HashMap::new();
    for payment in payer.list_payments().await? {
        let settled = payment.htlcs.iter().filter(|htlc| htlc.status() == HtlcStatus::Succeeded);
        let amounts = settled.filter_map(|htlc| htlc.route.as_ref());
        // Parts of one payment have its amount together.
        let amount: i64 = amounts.map(|route| route.total_amt_msat - route.total_fees_msat).sum();
        *received.entry(payment.payment_hash.clone()).or_default() += amount;
    }
    let once = i64::try_from(AMOUNT_MSAT)?;
    Ok(received.values().filter(|amount| **amount > once).count() as u64)
}

/// What came of one round.
struct Round {
    engine: Paid,
    naive: Vec<Paid>,
}

impl Case {
    /// What all clients together take from alice's channels in a round.
    fn cost_msat(&self, payments: usize) -> u64 {
        let clients = self.at_once.len() as u64 + 1;
        clients * payments as u64 * COST_MSAT
    }

    /// What alice's new channels can pay.
    fn capacity_msat(&self) -> u64 {
        regtest::capacity_msat(self.channels)
    }

    /// In turn: whatever grows in the nodes' databases is before the one as often as before the
    /// other, when the rounds are even.
    async fn round(&self, network: &Network, payments: usize, round: u32) -> Result<Round> {
        let (payer, receiver) = (network.alice(), network.node(self.receiver));
        let first = match round % 2 {
            1 => Some(pay_with_engine(payer, receiver, payments).await?),
            _ => None,
        };
        let mut naive = Vec::new();
        for at_once in self.at_once {
            let invoices = receiver.add_invoices(payments, AMOUNT_MSAT).await?;
            let outcome = pay_naively(payer, &invoices, *at_once).await;
            let share = outcome.succeeded as f64 / payments as f64;
            let paid = Paid { per_second: outcome.rate(), share, not_paid: 0 };
            self.tell(&format!("{at_once} at once"), paid);
            naive.push(paid);
        }
        let engine = match first {
            Some(first) => first,
            None => pay_with_engine(payer, receiver, payments).await?,
        };
        self.tell("engine", engine);
        Ok(Round { engine, naive })
    }

    fn tell(&self, who: &str, Paid { per_second, share, .. }: Paid) {
        eprintln!("{}, {who}: {per_second:.1} paid/s, {share:.4} of all", self.name);
    }

    fn summary(&self, (engine, naive): (&[Paid], &[Vec<Paid>]), paid_twice: u64) -> Compared {
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
            not_paid: engine.iter().map(|paid| paid.not_paid).sum(),
            paid_twice,
            engine: engine_row,
            naive: naive.map(|(at_once, paid)| row(Some(*at_once), paid)).collect(),
        }
    }
}

impl Compared {
    /// What went wrong, whoever was faster.
    pub fn wrong(&self) -> Option<String> {
        let Compared { case, not_paid, paid_twice, .. } = self;
        (not_paid + paid_twice > 0).then(|| {
            format!(
                "{case}: {not_paid} accepted payments were not paid, {paid_twice} were paid twice"
            )
        })
    }
}

/// A new engine with the payer as its only node pays them in one batch.
async fn pay_with_engine(payer: &Node, receiver: &Node, payments: usize) -> Result<Paid> {
    let invoices: Vec<Invoice> = receiver.add_invoices(payments, AMOUNT_MSAT).await?;
    let folder = Folder::new()?;
    let config = "[engine]\nnetwork = \"regtest\"\n".parse()?;
    let mut engine = Engine::start_configured(&folder.path, &[node_info(payer)], config).await?;
    let orders = invoices.into_iter().map(|invoice| invoice.payment_request).collect();
    let paid = pay(&engine, orders, payments).await;
    engine.explain(paid)
}

async fn pay(engine: &Engine, orders: Vec<String>, payments: usize) -> Result<Paid> {
    let started = Instant::now();
    let accepted = engine.client.upload("lnd", orders).await?;
    let watched = engine.client.watch(&accepted.batch_id, payments).await?;
    let took = watched.last - started;
    let succeeded = watched.outcomes.iter().filter(|outcome| outcome.succeeded).count();
    Ok(Paid {
        per_second: succeeded as f64 / took.as_secs_f64(),
        share: succeeded as f64 / payments as f64,
        not_paid: payments.saturating_sub(succeeded) as u64,
    })
}

fn text(report: &Report) -> String {
    let mut text = report.machine.text();
    text += &format!("\nreal lnd, {} payments in each run; median [min-max]\n", report.payments);
    if report.rounds % 2 == 1 {
        text += "the rounds are odd: the engine was first once more than it was last\n";
    }
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
        text += &compared.wrong().map(|wrong| format!("  WRONG: {wrong}\n")).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_compared_with_the_best_of_its_own_round() {
        let paid = |per_second, share| Paid { per_second, share, not_paid: 0 };
        let engine = [paid(200.0, 1.0), paid(100.0, 1.0)];
        let naive = [
            vec![paid(100.0, 1.0), paid(40.0, 1.0)],
            vec![paid(160.0, 0.3), paid(50.0, 0.2)],
            vec![paid(50.0, 1.0), paid(20.0, 1.0)],
        ];
        let compared = CASES[2].summary((&engine, &naive), 0);
        assert_eq!((compared.ratio.min, compared.ratio.max), (1.25, 2.0));
        assert_eq!(compared.naive[1].paid_share, Spread::of([0.3, 0.2]));
        assert_eq!(compared.wrong(), None);
        let text = text(&report(1, vec![compared]));
        assert!(text.contains("naive, 450 at once"), "{text}");
        assert!(text.contains("the rounds are odd"), "{text}");
    }

    fn report(rounds: u32, cases: Vec<Compared>) -> Report {
        Report { machine: Machine::now(), commit: None, payments: 100, rounds, cases }
    }

    #[test]
    fn what_was_accepted_and_not_paid_or_paid_twice_is_wrong() {
        let engine = [Paid { per_second: 9.0, share: 0.99, not_paid: 1 }, Paid::default()];
        let naive = [vec![Paid::default(); 2]];
        let missing = CASES[0].summary((&engine, &naive), 0);
        assert!(missing.wrong().is_some_and(|wrong| wrong.contains("1 accepted payments")));
        let twice = CASES[0].summary((&engine[1..], &naive), 2);
        assert!(twice.wrong().is_some_and(|wrong| wrong.contains("2 were paid twice")));
        let text = text(&report(2, vec![twice]));
        assert!(text.contains("WRONG") && !text.contains("odd"), "{text}");
    }

    #[test]
    fn a_round_of_the_most_payments_fits_into_new_channels() {
        for case in CASES {
            assert!(case.cost_msat(5_000) <= case.capacity_msat(), "{}", case.name);
        }
        // One channel does not hold five rounds of the default: they were once paid over it.
        assert!(5 * CASES[2].cost_msat(2_000) > CASES[2].capacity_msat());
    }
}
