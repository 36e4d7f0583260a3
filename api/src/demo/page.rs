//! The page at the end: what was paid, what it took, and whether all numbers agree.

use fulgurite_runtime::metrics::Stage;

use super::{
    books::Verdict,
    cast,
    play::Played,
    scrape::{Series, quantile},
};

const STAGES: &str = "fulgurite_stage_seconds";
const RESENDS: &str = "fulgurite_resends_total";
const FENCES: &str = "fulgurite_fences_total";
const NEVER_SENT: &str = "fulgurite_attempts_never_sent_total";

/// Everything that the page shows.
#[derive(Debug)]
pub struct Page<'a> {
    /// What was played.
    pub played: &'a Played,
    /// What the books say.
    pub verdict: Verdict,
    /// What the engines counted.
    pub counted: &'a Series,
}

impl Page<'_> {
    /// Prints it.
    pub fn print(&self) {
        let (played, verdict) = (self.played, &self.verdict);
        let counts = played.batch.counts.unwrap_or_default();
        let rate = played.orders as f64 / played.took.as_secs_f64();
        println!("\nResults of the engine, compared with the nodes' own books");
        for (what, value) in [
            ("orders", played.orders as u64),
            ("paid once, with proof", verdict.paid_once),
            ("paid twice", verdict.paid_twice),
            ("lost", verdict.lost),
            ("not proven", verdict.unproven),
            ("not paid, as the engine says", verdict.not_paid),
            ("paid and never ordered", verdict.unordered),
            ("unresolved", u64::try_from(counts.unresolved_count).unwrap_or_default()),
            ("batches of the repeated upload", played.batches as u64),
        ] {
            println!("  {what:<32} {value:>12}");
        }
        println!("  {:<32} {:>12} sat", "paid", verdict.amount_msat / 1_000);
        println!("  {:<32} {:>12} sat", "fees", verdict.fee_msat / 1_000);
        println!("  {:<32} {:>12.1} s", "upload, with a kill", played.upload_took.as_secs_f64());
        println!("  {:<32} {:>12.1} s, {rate:.0} payments/s", "all", played.took.as_secs_f64());
        self.print_recovery();
        self.print_latency();
    }

    fn print_recovery(&self) {
        println!("\nRecovery at work");
        println!("  {:<32} {:>12}", "kills of the engine (SIGKILL)", self.played.engine_kills);
        println!("  {:<32} {:>12}", "kills of a node", 1);
        for (what, counter) in [
            ("sent again, to the same node", RESENDS),
            ("fences waited for", FENCES),
            ("attempts that were never sent", NEVER_SENT),
        ] {
            println!("  {what:<32} {:>12.0}", self.counted.total(counter));
        }
        println!(
            "  The waits behind a lost send are shortened: {} s, {} ms and {} ms instead of \
             10 s each.",
            cast::SHORT_EXPIRY_S,
            cast::SHORT_DEADLINE_MS,
            cast::SHORT_MARGIN_MS
        );
    }

    fn print_latency(&self) {
        println!("\nLatency by stage, kills included");
        println!(
            "  {:<12} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "stage", "count", "P50", "P90", "P99", "P99.9"
        );
        for stage in Stage::ALL.map(Stage::name) {
            let buckets = self.counted.buckets(STAGES, ("stage", stage));
            let count = buckets.last().map_or(0.0, |(_, count)| *count);
            let at = |q| quantile(&buckets, q).map_or_else(|| "-".into(), duration);
            println!(
                "  {stage:<12} {count:>10.0} {:>10} {:>10} {:>10} {:>10}",
                at(0.5),
                at(0.9),
                at(0.99),
                at(0.999)
            );
        }
    }

    /// Every number that is not as it must be.
    pub fn wrong(&self) -> Vec<String> {
        let (played, verdict) = (self.played, &self.verdict);
        let orders = played.orders as u64;
        let mut wrong = Vec::new();
        let mut must = |holds: bool, text: &str| {
            if !holds {
                wrong.push(text.to_owned());
            }
        };
        must(verdict.paid_twice == 0, "orders were paid twice");
        must(verdict.lost == 0, "nodes paid orders that the engine does not call paid");
        must(verdict.unproven == 0, "orders are called paid that no node has paid");
        must(verdict.unordered == 0, "nodes paid what nobody ordered");
        must(verdict.paid_once == orders, "not every order was paid once");
        must(verdict.fee_msat == verdict.books_fee_msat, "the fees differ from the nodes' books");
        let amounts = verdict.amount_msat == verdict.books_amount_msat;
        must(amounts, "the amounts differ from the nodes' books");
        let batch = &played.batch;
        let sums = batch.fee_msat == verdict.fee_msat
            && batch.amount_succeeded_msat == verdict.amount_msat;
        must(sums, "the batch's sums differ from its payments'");
        must(played.results.len() as u64 == orders, "the engine lists another number of payments");
        must(played.batches == 1, "the repeated upload became more than one batch");
        must(played.replayed, "uploading the file once more did not lead to the same batch");
        must(played.engine_kills == 2, "the engine was not killed twice");
        for (counter, text) in [
            (RESENDS, "nothing was sent again: recovery was not seen at work"),
            (FENCES, "no fence was waited for: recovery was not seen at work"),
            (NEVER_SENT, "no attempt was never sent: recovery was not seen at work"),
        ] {
            must(self.counted.total(counter) > 0.0, text);
        }
        wrong
    }
}

/// Seconds in the unit that reads best.
fn duration(seconds: f64) -> String {
    let us = seconds * 1e6;
    match us {
        us if us < 1_000.0 => format!("{us:.0} us"),
        us if us < 1_000_000.0 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_unit_that_reads_best() {
        assert_eq!(duration(0.000_045), "45 us");
        assert_eq!(duration(0.012_34), "12.3 ms");
        assert_eq!(duration(2.5), "2.50 s");
    }
}
