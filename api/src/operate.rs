//! What operators decide: how an unresolved payment ended, which nodes are used. The same answers
//! at both doors.

use fulgurite_core::{Preimage, order::Sealed};
use fulgurite_proto::fulgurite::v1::{self, resolve_payment_request::Verdict};
use fulgurite_runtime::{
    engine::PaymentRefused,
    operator::{ResolveRefused, Wish},
    operator_node::NodeWish,
};

use crate::{
    Doors,
    intake::until_readable,
    problem::{Code, Problem, invalid},
    query,
    wire::{self, payment::View},
};

/// The most bytes of a name.
const BY_BYTES_MAX: usize = 255;
/// The most payments that are named in an answer.
const LEFT_MAX: usize = 1_000;
/// The most bytes of a reason.
const REASON_BYTES_MAX: usize = 1_000;

/// Ends an unresolved payment as a person says (rule E20).
pub async fn resolve_payment(
    doors: &Doors,
    request: v1::ResolvePaymentRequest,
) -> Result<v1::Payment, Problem> {
    let id = query::payment_id(&request.payment_id)?;
    let by = text("by", &request.by, BY_BYTES_MAX)?;
    let wish = wish(request.verdict)?;
    let found = doors.engine.resolve_payment(id, by, wish).await;
    if let Err(ResolveRefused::Payment(PaymentRefused::Refused(_))) = &found {
        // Who looks at the payment now sees why.
        until_readable(doors, doors.engine.newest()).await?;
    }
    let found = found?.ok_or_else(|| query::no_payment(&request.payment_id))?;
    until_readable(doors, found.version).await?;
    Ok(query::shown(doors, &found, View::Full))
}

/// What a person wants of a node, as it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steering {
    /// No new attempt starts there.
    Drain,
    /// New attempts start there again.
    Undrain,
    /// It is believed again: what was checked.
    Trust(String),
}

/// Drains, undrains or trusts a node (rules E19, E22).
pub async fn steer_node(
    doors: &Doors,
    name: &str,
    by: &str,
    steering: Steering,
) -> Result<v1::Node, Problem> {
    let by = text("by", by, BY_BYTES_MAX)?;
    let wish = match steering {
        Steering::Drain => NodeWish::Drain,
        Steering::Undrain => NodeWish::Undrain,
        Steering::Trust(checked) => {
            NodeWish::Trust { checked: text("checked", &checked, REASON_BYTES_MAX)? }
        }
    };
    let found = doors.engine.steer_node(name, by, wish).await?.ok_or_else(|| no_node(name))?;
    Ok(wire::node::to_proto(&found))
}

/// Ends the payments of a node that is lost for ever as not paid (rules E19, E20).
pub async fn resolve_node(
    doors: &Doors,
    request: v1::ResolveNodeRequest,
) -> Result<v1::ResolveNodeResponse, Problem> {
    let v1::ResolveNodeRequest { name, by, reason, confirm } = request;
    let by = text("by", &by, BY_BYTES_MAX)?;
    let reason = text("reason", &reason, REASON_BYTES_MAX)?;
    let found = doors.engine.resolve_node(&name, (by, reason), confirm).await?;
    let resolved = found.ok_or_else(|| no_node(&name))?;
    until_readable(doors, doors.engine.newest()).await?;
    let left = resolved.left.iter().take(LEFT_MAX);
    Ok(v1::ResolveNodeResponse {
        payment_count: wire::count(resolved.payments),
        amount_msat: wire::large(resolved.amount.get()),
        left_payment_ids: left.map(|id| id.to_string()).collect(),
    })
}

fn no_node(name: &str) -> Problem {
    Problem::of(Code::NodeNotFound, format!("no node is called {name}"))
}

fn wish(verdict: Option<Verdict>) -> Result<Wish, Problem> {
    match verdict {
        Some(Verdict::Preimage(text)) => {
            let mut preimage = [0; 32];
            hex::decode_to_slice(&text, &mut preimage)
                .map_err(|_| invalid("preimage", "must be 32 bytes in hex"))?;
            Ok(Wish::Paid(Preimage(preimage)))
        }
        Some(Verdict::NotPaid(v1::resolve_payment_request::NotPaid {
            reason,
            confirm,
            node_lost,
        })) => {
            let reason = text("not_paid.reason", &reason, REASON_BYTES_MAX)?;
            Ok(Wish::NotPaid { reason, confirm, node_lost })
        }
        None => Err(invalid("verdict", "is required: preimage or not_paid")),
    }
}

/// What a person wrote, for the journal.
fn text(field: &str, text: &str, bytes_max: usize) -> Result<Sealed, Problem> {
    if text.trim().is_empty() {
        return Err(invalid(field, "is required"));
    }
    if text.len() > bytes_max {
        return Err(invalid(field, &format!("is {} bytes long: {bytes_max} at most", text.len())));
    }
    Ok(Sealed::plain(text))
}
