//! A plan with its arithmetic, line by line.

use super::{Plan, SLOTS, SLOTS_RESERVE, amounts::DUST_SAT, model::Limit};

/// lnd's `channel-max-fee-exposure`, and the engine's `channels.fee_exposure_sat_max`.
const FEE_EXPOSURE_SAT: f64 = 500_000.0;

/// The whole plan.
pub(crate) fn text(plan: &Plan) -> String {
    let mut lines = demand(plan);
    lines.extend(supply(plan));
    lines.push(String::new());
    lines.extend(limits(plan));
    lines.join("\n")
}

fn demand(plan: &Plan) -> Vec<String> {
    let Plan { wanted, .. } = plan;
    let (rate, attempts) = (number(wanted.rate), wanted.attempts());
    let (success, most) = (wanted.success, wanted.attempts_max);
    let amounts = &wanted.amounts;
    let a_second = wanted.rate * attempts;
    vec![
        format!("wanted               {rate} payments a second"),
        format!(
            "amounts              mean {} sat, P99.9 {} sat, {:.2} % below {DUST_SAT} sat",
            number(amounts.mean_sat),
            number(amounts.p999_sat),
            amounts.dust_share * 100.0
        ),
        format!(
            "attempts a payment   (1 - {:.4}^{most}) / {success:.4} = {attempts:.4}; {:.4} % succeed",
            1.0 - success,
            wanted.paid_share() * 100.0
        ),
        format!("attempts a second    {rate} x {attempts:.4} = {}", number(a_second)),
        format!(
            "in flight (Little)   {}/s x {} s = {} attempts, x {} = {} HTLCs",
            number(a_second),
            number(wanted.latency_s),
            number(wanted.in_flight()),
            wanted.parts,
            number(wanted.in_flight() * wanted.parts)
        ),
    ]
}

fn supply(plan: &Plan) -> Vec<String> {
    let Plan { wanted, parts, .. } = plan;
    let a_second = number(wanted.rate * wanted.attempts());
    let word = |given: bool| if given { "given" } else { "needed" };
    let used = wanted.used_max;
    let node = if parts.node_rate.is_finite() {
        format!("{a_second}/s / ({}/s x {used}) and", number(parts.node_rate))
    } else {
        String::from("not limited by their rate;")
    };
    let htlcs = number(wanted.in_flight() * wanted.parts);
    let (mean, refill) = (number(wanted.amounts.mean_sat), number(parts.refill_s));
    let mut lines = vec![
        format!(
            "nodes                {node} {} in flight / ({} x {used}): {} {}",
            number(wanted.in_flight()),
            number(parts.window),
            number(parts.nodes),
            word(plan.given.0)
        ),
        format!(
            "HTLC slots           {htlcs} / ({SLOTS} - {SLOTS_RESERVE}) / {used} = {:.1} channels",
            wanted.in_flight() * wanted.parts / parts.slots / used
        ),
        format!(
            "liquidity            {}/s x {mean} sat x ({:.2} s in flight + {refill} s of refill) \
             = {} sat",
            number(wanted.rate),
            wanted.attempts() * wanted.latency_s,
            number(plan.liquidity_sat())
        ),
        format!(
            "                     / ({} sat x {} outbound x {used}) = {:.1} channels",
            number(parts.channel_sat / plan.outbound),
            plan.outbound,
            plan.liquidity_sat() / parts.channel_sat / used
        ),
        format!(
            "channels             {} of each of {} nodes: {}",
            number(parts.channels),
            number(parts.nodes),
            word(plan.given.1)
        ),
    ];
    if wanted.amounts.p999_sat > parts.channel_sat {
        lines.push(format!(
            "                     P99.9 of the amounts is above a channel's {} sat: larger channels",
            number(parts.channel_sat)
        ));
    }
    lines.extend(costs(plan));
    lines
}

fn costs(plan: &Plan) -> Vec<String> {
    let Plan { wanted, parts, .. } = plan;
    let dust = parts.slots * DUST_SAT;
    let within = if dust < FEE_EXPOSURE_SAT { "never the limit" } else { "can be the limit" };
    let disk = plan.disk_a_day();
    vec![
        format!(
            "fee exposure         {} slots x {DUST_SAT} sat of dust = {} of {} sat: {within}",
            number(parts.slots),
            number(dust),
            number(FEE_EXPOSURE_SAT)
        ),
        format!(
            "routing fees         {} msat x {} + {} ppm = {} sat a day",
            number(plan.fee_base_msat),
            wanted.parts,
            number(plan.fee_ppm),
            number(plan.fees_sat_a_day())
        ),
        format!(
            "processors           {}/s x {} us = {:.2} of {}",
            number(wanted.rate),
            number(parts.engine_us),
            wanted.rate * parts.engine_us / 1e6,
            parts.processors
        ),
        format!(
            "disk                 {}/s x {} bytes x 86,400 s = {:.1} GB a day, {:.0} GB in {} days",
            number(wanted.rate),
            number(plan.disk_bytes),
            disk / 1e9,
            disk * plan.keep_days / 1e9,
            plan.keep_days
        ),
    ]
}

fn limits(plan: &Plan) -> Vec<String> {
    let Plan { wanted, parts, .. } = plan;
    let mut lines = vec![format!("{:<40}{:>14}{:>8}", "lets through", "payments/s", "used")];
    for limit in Limit::ALL {
        let max = parts.max(wanted, limit);
        let used = wanted.rate / max * 100.0;
        lines.push(format!("  {:<38}{:>14}{used:>6.0} %", limit.name(), number(max)));
    }
    let (limit, max) = parts.bottleneck(wanted);
    let verdict = if plan.is_enough() { "enough" } else { "NOT ENOUGH" };
    lines.push(format!(
        "bottleneck: {}, {} payments/s; {verdict} for {} with {:.0} % head-room",
        limit.name(),
        number(max),
        number(wanted.rate),
        (1.0 - wanted.used_max) * 100.0
    ));
    lines.push(String::new());
    lines.push(format!("{:<40}{:>14}  then the bottleneck is", "doubled", "payments/s"));
    for (name, max, then) in plan.doubled() {
        lines.push(format!("  {name:<38}{:>14}  {then}", number(max)));
    }
    lines
}

/// Rounded, with commas; small ones with the decimals that matter.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return "no limit".into();
    }
    if value.abs() < 100.0 && value.fract().abs() > 1e-9 {
        let decimals = if value.abs() < 1.0 { 3 } else { 2 };
        return format!("{value:.decimals$}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::plan::{PlanArgs, plan};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        plan: PlanArgs,
    }

    fn planned(arguments: &str) -> anyhow::Result<String> {
        let line = Line::try_parse_from(["plan"].into_iter().chain(arguments.split(' ')))?;
        Ok(text(&plan(&line.plan)?))
    }

    #[test]
    fn numbers_are_read_easily() {
        let all = [0.5, 50.0, 999.6, 1_000.0, 1_234_567.0, f64::INFINITY].map(number);
        assert_eq!(all, ["0.500", "50", "1,000", "1,000", "1,234,567", "no limit"]);
    }

    #[test]
    fn the_plan_of_the_issue_names_its_numbers() {
        let text = planned("--rate 1000 --latency-ms 3000 --success 0.995 --node-rate 50").unwrap();
        for line in [
            "(1 - 0.0050^5) / 0.9950 = 1.0050; 100.0000 % succeed",
            "1,005/s x 3 s = 3,015 attempts, x 1 = 3,015 HTLCs",
            "1,005/s / (50/s x 0.7) and 3,015 in flight / (1,000 x 0.7): 29 needed",
            "3,015 / (483 - 20) / 0.7 = 9.3 channels",
            "463 slots x 354 sat of dust = 163,902 of 500,000 sat: never the limit",
            "bottleneck: liquidity",
            "enough for 1,000 with 30 % head-room",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_given_is_judged() {
        let text = planned("--rate 1000 --nodes 10 --channels 4 --refill-hours 0").unwrap();
        assert!(text.contains("10 given"), "{text}");
        assert!(text.contains("bottleneck: the nodes' own rate, 498 payments/s; NOT"), "{text}");
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused_and_named() {
        for (arguments, named) in [
            ("--rate 0", "--rate 0: above 0"),
            ("--rate 1 --success 1.5", "--success 1.5"),
            ("--rate NaN", "--rate"),
            ("--rate 1 --latency-ms inf", "--latency-ms inf"),
            ("--rate 1e300", "at most 1e15"),
            ("--rate 1 --amount-sigma 100", "--amount-sigma 100: 0 to 5"),
            ("--rate 1 --amount-dist nowhere.txt", "nowhere.txt"),
        ] {
            let error = format!("{:#}", planned(arguments).unwrap_err());
            assert!(error.contains(named), "{arguments}: {error}");
        }
    }
}
