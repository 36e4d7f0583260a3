//! `payment`: orders and reads single payments.

use std::time::Duration;

use clap::{Args, Subcommand};
use fulgurite_proto::fulgurite::v1 as proto;

use super::{
    To,
    batch::PaymentState,
    client::Client,
    exit::{Exit, Fault},
    input,
    options::OptionArgs,
    print_line, print_outcome, words,
};
use crate::wire;

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
    /// Lists the payments of a batch, or those with a hash or a reference.
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
    #[arg(long, default_value = "")]
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
    #[arg(long)]
    reference: Option<String>,
}

/// Runs a command about payments.
///
/// # Errors
/// What the engine refuses, or that it was not reached.
pub async fn run(to: To, command: PaymentCommand) -> Result<Exit, Fault> {
    match command {
        PaymentCommand::Create(args) => create(&to, *args).await,
        PaymentCommand::Get { payment_id } => {
            show(&get(&to.client, &payment_id).await?, to.json, print_line);
            Ok(Exit::SUCCESS)
        }
        PaymentCommand::Cancel { payment_id } => {
            let request = proto::CancelPaymentRequest { payment_id };
            let call = async || to.client.payments().cancel_payment(request.clone()).await;
            let answer = to.client.repeat(call).await?;
            show(&answer.payment.unwrap_or_default(), to.json, print_line);
            Ok(Exit::SUCCESS)
        }
        PaymentCommand::List(args) => list(&to, args).await,
    }
}

async fn create(to: &To, args: CreateArgs) -> Result<Exit, Fault> {
    let from_sat = args.amount_sat.map(|sat| {
        sat.checked_mul(1_000).ok_or_else(|| Fault::Usage(format!("{sat} sat is too large")))
    });
    let amount_msat = from_sat.transpose()?.or(args.amount_msat);
    let deadline = args.deadline.as_deref().map(input::timestamp).transpose();
    let order = proto::PaymentOrder {
        destination: Some(proto::payment_order::Destination::Bolt11(args.destination)),
        amount: amount_msat.map(proto::payment_order::Amount::AmountMsat),
        fee_limit_msat: args.fee_limit_msat,
        deadline: deadline.map_err(Fault::Usage)?,
        reference: args.reference,
    };
    let request = proto::CreatePaymentRequest {
        idempotency_key: args.key,
        order: Some(order),
        options: Some(args.options.to_proto()?),
        validate_only: false,
    };
    let call = async || to.client.payments().create_payment(request.clone()).await;
    let answer = to.client.repeat(call).await?;
    let mut payment = answer.payment.unwrap_or_default();
    if answer.replayed {
        eprintln!("ordered before, with this key");
    }
    while args.wait && payment.finish_time.is_none() && !is_unresolved(&payment) {
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            _ = tokio::signal::ctrl_c() => {
                let payment_id = &payment.payment_id;
                eprintln!("interrupted; the payment goes on. fulgurite payment get {payment_id}");
                return Ok(Exit::INTERRUPTED);
            }
        }
        let found = get(&to.client, &payment.payment_id).await;
        payment = found.map_err(|fault| fault.after_acceptance(&payment.payment_id))?;
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
    let answer = client.repeat(async || client.payments().get_payment(request.clone()).await);
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
    loop {
        let call = async || to.client.payments().list_payments(request.clone()).await;
        let page = to.client.repeat(call).await?;
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
    let mut line = format!(
        "{} {} {} msat",
        payment.payment_id,
        words::payment_state(payment),
        payment.amount_msat
    );
    if !payment.reference.is_empty() {
        line += &format!(" {}", payment.reference);
    }
    if let Some(failure) = &payment.failure {
        line += &format!(" ({}: {})", words::failure_reason(failure), failure.message);
    }
    line
}

/// Prints a payment: an object, or a field a line.
fn show(payment: &proto::Payment, as_json: bool, print: fn(&str)) {
    let value = wire::json::payment(payment);
    if as_json {
        print(&value.to_string());
        return;
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        match value {
            serde_json::Value::String(text) => print(&format!("{key:<22} {text}")),
            other => print(&format!("{key:<22} {other}")),
        }
    }
}
