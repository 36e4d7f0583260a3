//! `payment resolve`: a person ends an unresolved payment.

use clap::Args;
use fulgurite_proto::fulgurite::v1::{
    self as proto,
    resolve_payment_request::{NotPaid, Verdict},
};

use super::{
    To,
    exit::{Exit, Fault},
    payment::show,
    print_line,
};

/// How it ended.
#[derive(Debug, Args)]
pub struct ResolveArgs {
    /// Its id.
    #[arg(value_name = "PAYMENT")]
    payment_id: String,
    /// It was paid: give the preimage.
    #[arg(
        long,
        requires = "preimage",
        conflicts_with = "not_paid",
        required_unless_present = "not_paid"
    )]
    paid: bool,
    /// The proof of payment, as the node or the payee shows it.
    #[arg(long, value_name = "HEX", requires = "paid")]
    preimage: Option<String>,
    /// It was not paid. The node is asked first, which takes up to a minute.
    #[arg(long, requires = "reason")]
    not_paid: bool,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", requires = "not_paid")]
    reason: Option<String>,
    /// Decides. Without it, what was checked is shown and nothing is decided.
    #[arg(long, requires = "not_paid")]
    confirm: bool,
    /// The node is lost for ever: nobody is asked, and whether it paid is your word alone.
    #[arg(long, requires = "not_paid")]
    node_lost: bool,
    /// Who decides, for the journal.
    #[arg(long, env = "USER", value_name = "NAME")]
    by: String,
}

/// Runs the command.
///
/// # Errors
/// What the engine refuses, or that it was not reached.
pub async fn run(to: &To, args: ResolveArgs) -> Result<Exit, Fault> {
    let request = args.into_request()?;
    let call = async || to.client.payments().resolve_payment(request.clone()).await;
    let answer = to.client.change(call).await?;
    show(&answer.payment.unwrap_or_default(), to.json, print_line);
    Ok(Exit::SUCCESS)
}

impl ResolveArgs {
    fn into_request(self) -> Result<proto::ResolvePaymentRequest, Fault> {
        let ResolveArgs { payment_id, preimage, reason, confirm, node_lost, by, .. } = self;
        let verdict = match (preimage, reason) {
            (Some(preimage), None) => Verdict::Preimage(preimage),
            (None, Some(reason)) => Verdict::NotPaid(NotPaid { reason, confirm, node_lost }),
            (Some(_), Some(_)) | (None, None) => {
                let text = "either --paid --preimage HEX or --not-paid --reason TEXT";
                return Err(Fault::Usage(text.to_owned()));
            }
        };
        Ok(proto::ResolvePaymentRequest { payment_id, verdict: Some(verdict), by })
    }
}
