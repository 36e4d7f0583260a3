//! `payment`: orders and reads single payments.

use std::time::Duration;

use clap::{Args, Subcommand};
use fulgurite_proto::fulgurite::v1 as proto;

use super::{
    To,
    batch::PaymentState,
    client::Client,
    exit::{Exit, Fault},
    human::{self, Column, Side, sat},
    options::{self, OptionArgs},
    print_line, print_outcome, resolve, words,
};
use crate::wire;

/// The columns of `payment list`: 79 wide with a short reference.
const LIST: [Column; 4] = [
    ("PAYMENT", 40, Side::Left),
    ("STATE", 10, Side::Left),
    ("SAT", 12, Side::Right),
    ("REFERENCE", 0, Side::Left),
];
/// How often a single payment is asked for while it is waited for.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// What to do with payments.
#[derive(Debug, Subcommand)]
pub enum PaymentCommand {
    /// Orders one payment.
    Create(Box<CreateArgs>),
    /// Shows a payment with its attempts and its preimage.
    Get {
        /// Its id.
        #[arg(value_name = "PAYMENT")]
        payment_id: String,
    },
    /// Cancels a payment that has no attempt under way.
    Cancel {
        /// Its id.
        #[arg(value_name = "PAYMENT")]
        payment_id: String,
    },
    /// Ends an unresolved payment as you say, for ever: it is never paid again.
    Resolve(resolve::ResolveArgs),
    /// Lists the payments of a batch, or those with a hash or a reference.
    #[command(
        override_usage = "fulgurite payment list [OPTIONS] <--batch|--hash|--reference> <IT>"
    )]
    List(ListArgs),
}

/// One order.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// A BOLT 11 invoice.
    destination: String,
    /// The amount in satoshi, for an invoice without one.
    #[arg(long, value_name = "SAT", conflicts_with = "amount_msat")]
    amount_sat: Option<i64>,
    /// The amount in millisatoshi, for an invoice without one.
    #[arg(long, value_name = "MSAT")]
    amount_msat: Option<i64>,
    /// The most that may be paid in fees, in millisatoshi.
    #[arg(long, value_name = "MSAT")]
    fee_limit_msat: Option<i64>,
    /// No attempt starts after it, such as 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// Your own name for the payment.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reference: String,
    /// The idempotency key: with the same one the same order is paid once.
    #[arg(long)]
    key: String,
    /// Waits until the payment is final.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    options: OptionArgs,
}

/// Which payments.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    among: Among,
    /// Only those in this state.
    #[arg(long, value_enum)]
    state: Option<PaymentState>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Among {
    /// Of this batch.
    #[arg(long, value_name = "BATCH")]
    batch: Option<String>,
    /// With this payment hash.
    #[arg(long, value_name = "HASH")]
    hash: Option<String>,
    /// With this reference.
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,
}

/// Runs a command about payments.
///
/// # Errors
/// What the engine refuses, or that it was not reached.
pub async fn run(to: To, command: PaymentCommand) -> Result<Exit, Fault> {
    match command {
        PaymentCommand::Create(args) => {
            let again = "the same command again, with the same --key";
            to.unless_interrupted(create(&to, *args), again).await
        }
        PaymentCommand::Get { payment_id } => {
            show(&get(&to.client, &payment_id).await?, to.json, print_line);
            Ok(Exit::SUCCESS)
        }
        PaymentCommand::Cancel { payment_id } => {
            let request = proto::CancelPaymentRequest { payment_id };
            let call = async || to.client.payments().cancel_payment(request.clone()).await;
            let answer = to.client.change(call).await?;
            show(&answer.payment.unwrap_or_default(), to.json, print_line);
            Ok(Exit::SUCCESS)
        }
        PaymentCommand::Resolve(args) => resolve::run(&to, args).await,
        PaymentCommand::List(args) => list(&to, args).await,
    }
}

async fn create(to: &To, args: CreateArgs) -> Result<Exit, Fault> {
    let from_sat = args.amount_sat.map(|sat| {
        sat.checked_mul(1_000).ok_or_else(|| Fault::Usage(format!("{sat} sat is too large")))
    });
    let amount_msat = from_sat.transpose()?.or(args.amount_msat);
    let order = proto::PaymentOrder {
        destination: Some(proto::payment_order::Destination::Bolt11(args.destination)),
        amount: amount_msat.map(proto::payment_order::Amount::AmountMsat),
        fee_limit_msat: args.fee_limit_msat,
        deadline: options::deadline(args.deadline.as_deref())?,
        reference: args.reference,
    };
    let request = proto::CreatePaymentRequest {
        idempotency_key: args.key,
        order: Some(order),
        options: Some(args.options.to_proto()),
        validate_only: false,
    };
    let call = async || to.client.payments().create_payment(request.clone()).await;
    let answer = tokio::select! {
        answer = to.client.change(call) => answer?,
        _ = tokio::signal::ctrl_c() => {
            to.say("interrupted; whether it was ordered: run the same command again, same --key");
            return Ok(Exit::INTERRUPTED);
        }
    };
    let mut payment = answer.payment.unwrap_or_default();
    if answer.replayed {
        to.say("ordered before, with this key");
    }
    let again = format!("fulgurite payment get {}", payment.payment_id);
    while args.wait && payment.finish_time.is_none() && !is_unresolved(&payment) {
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            _ = tokio::signal::ctrl_c() => {
                to.say("interrupted; the payment goes on. To see it:");
                to.say(&format!("  {again}"));
                return Ok(Exit::INTERRUPTED);
            }
        }
        let found = get(&to.client, &payment.payment_id).await;
        payment = found.map_err(|fault| fault.after_acceptance(&payment.payment_id, &again))?;
    }
    show(&payment, to.json, print_outcome);
    Ok(exit_of(&payment, args.wait))
}

fn is_unresolved(payment: &proto::Payment) -> bool {
    payment.state() == proto::payment::State::Unresolved
}

fn exit_of(payment: &proto::Payment, waited: bool) -> Exit {
    match payment.state() {
        _ if !waited => Exit::SUCCESS,
        proto::payment::State::Succeeded => Exit::SUCCESS,
        proto::payment::State::Unresolved => Exit::UNRESOLVED,
        _ => Exit::INCOMPLETE,
    }
}

async fn get(client: &Client, payment_id: &str) -> Result<proto::Payment, Fault> {
    let request = proto::GetPaymentRequest {
        payment_id: payment_id.to_owned(),
        view: proto::View::Full.into(),
    };
    let answer = client.read(async || client.payments().get_payment(request.clone()).await);
    answer.await?.payment.ok_or_else(|| Fault::Unreachable("the answer has no payment".into()))
}

async fn list(to: &To, args: ListArgs) -> Result<Exit, Fault> {
    let state = args.state.map(|state| i32::from(state.to_proto()));
    let mut request = proto::ListPaymentsRequest {
        page_size: 1_000,
        batch_id: args.among.batch.unwrap_or_default(),
        payment_hash: args.among.hash.unwrap_or_default(),
        reference: args.among.reference.unwrap_or_default(),
        states: state.into_iter().collect(),
        ..Default::default()
    };
    if !to.json {
        print_line(&human::header(&LIST));
    }
    loop {
        let call = async || to.client.payments().list_payments(request.clone()).await;
        let page = to.client.read(call).await?;
        page.payments.iter().for_each(|payment| {
            let line =
                if to.json { wire::json::payment(payment).to_string() } else { line(payment) };
            print_line(&line);
        });
        if page.next_page_token.is_empty() {
            return Ok(Exit::SUCCESS);
        }
        request.page_token = page.next_page_token;
    }
}

/// A payment in one line.
fn line(payment: &proto::Payment) -> String {
    let mut reference = payment.reference.clone();
    if let Some(failure) = &payment.failure {
        reference += &format!(" ({})", words::failure_reason(failure));
    }
    human::row(
        &LIST,
        [
            payment.payment_id.clone(),
            words::payment_state(payment),
            sat(payment.amount_msat),
            reference.trim_start().to_owned(),
        ],
    )
}

/// Prints a payment: an object, or what a person wants to know of it.
pub fn show(payment: &proto::Payment, as_json: bool, print: fn(&str)) {
    if as_json {
        print(&wire::json::payment(payment).to_string());
    } else {
        print(&in_words(payment));
    }
}

fn in_words(payment: &proto::Payment) -> String {
    let unit = |msat: i64| format!("{} sat", sat(msat));
    let proto::payment::Destination::Bolt11(invoice) =
        payment.destination.clone().unwrap_or(proto::payment::Destination::Bolt11(String::new()));
    let failure = payment
        .failure
        .as_ref()
        .map(|failure| format!("{}: {}", words::failure_reason(failure), failure.message));
    let row = if payment.row > 0 { format!(", row {}", payment.row) } else { String::new() };
    let mut pairs = vec![
        ("payment", payment.payment_id.clone()),
        ("state", words::payment_state(payment)),
        ("failure", failure.unwrap_or_default()),
        ("reference", payment.reference.clone()),
        ("amount", unit(payment.amount_msat)),
        ("fee", format!("{} of at most {}", unit(payment.fee_msat), unit(payment.fee_limit_msat))),
        ("batch", format!("{}{row}", payment.batch_id)),
        ("created", human::time(payment.create_time.as_ref())),
        ("finished", human::time(payment.finish_time.as_ref())),
        ("deadline", human::time(payment.deadline.as_ref())),
        ("unknown since", human::time(payment.outcome_unknown_since.as_ref())),
    ];
    pairs.extend(payment.attempts.iter().map(|attempt| ("attempt", attempt_in_words(attempt))));
    pairs.extend([
        ("hash", payment.payment_hash.clone()),
        ("preimage", payment.preimage.clone()),
        ("invoice", invoice),
    ]);
    human::block(&pairs)
}

/// Such as `2 over node-0, 2026-11-21 23:04:12: FAILURE_REASON_NO_ROUTE`.
fn attempt_in_words(attempt: &proto::Attempt) -> String {
    let (number, node) = (attempt.number, &attempt.node);
    let ended = match (attempt.end_time.is_some(), attempt.node_code.as_str()) {
        (false, _) => ": under way".into(),
        (true, "") => String::new(),
        (true, code) => format!(": {code}"),
    };
    format!("{number} over {node}, {}{ended}", human::time(attempt.start_time.as_ref()))
}
