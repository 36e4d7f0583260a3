//! A node's own invoices: made, looked up, held, settled, cancelled.

use std::time::Duration;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::Secp256k1;
use fulgurite_proto::{invoicesrpc, lnrpc};
use http::Response;
use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use sha2::{Digest, Sha256};

use crate::auth::Method;
use crate::bolt11;
use crate::network::{InvoiceState, NodeInvoice};
use crate::node::Node;
use crate::record::Record;
use crate::refusal::{Code, Refusal};
use crate::rpc::{Call, CallError, alive};
use crate::wire::{Reply, read, unary};

/// lnd's default for `expiry`, in seconds.
const EXPIRY_SECS: i64 = 86_400;

/// An invoice that is asked for.
struct Wanted {
    memo: String,
    payment_hash: [u8; 32],
    /// Zeros for a hold invoice.
    preimage: [u8; 32],
    amount_msat: u64,
    expiry_secs: i64,
}

/// Answers a call about invoices.
pub(crate) async fn answer(method: Method, call: Call) -> Result<Response<Reply>, CallError> {
    let Call { node: cell, body, deadline } = call;
    match method {
        Method::AddInvoice => {
            let request: lnrpc::Invoice = read(body, deadline).await?;
            let mut node = cell.borrow_mut();
            alive(&node)?;
            add_invoice(&mut node, &request).map(|added| unary(&added)).map_err(Some)
        }
        Method::AddHoldInvoice => {
            let request: invoicesrpc::AddHoldInvoiceRequest = read(body, deadline).await?;
            let mut node = cell.borrow_mut();
            alive(&node)?;
            add_hold_invoice(&mut node, &request).map(|added| unary(&added)).map_err(Some)
        }
        Method::SettleInvoice => {
            let request: invoicesrpc::SettleInvoiceMsg = read(body, deadline).await?;
            let preimage = bytes32(&request.preimage).map_err(Some)?;
            let node = cell.borrow();
            node.network.settle(preimage).map_err(|text| Some(Refusal::unknown(text)))?;
            Ok(unary(&invoicesrpc::SettleInvoiceResp {}))
        }
        Method::CancelInvoice => {
            let request: invoicesrpc::CancelInvoiceMsg = read(body, deadline).await?;
            let payment_hash = bytes32(&request.payment_hash).map_err(Some)?;
            let node = cell.borrow();
            node.network.cancel(payment_hash).map_err(|text| Some(Refusal::unknown(text)))?;
            Ok(unary(&invoicesrpc::CancelInvoiceResp {}))
        }
        Method::LookupInvoice => {
            let request: lnrpc::PaymentHash = read(body, deadline).await?;
            let payment_hash = bytes32(&request.r_hash).map_err(Some)?;
            look_up(&cell.borrow(), payment_hash).map(|found| unary(&found)).map_err(Some)
        }
        Method::LookupInvoiceV2 => {
            use invoicesrpc::lookup_invoice_msg::InvoiceRef;
            let request: invoicesrpc::LookupInvoiceMsg = read(body, deadline).await?;
            let Some(InvoiceRef::PaymentHash(payment_hash)) = &request.invoice_ref else {
                let text = "the simulation looks invoices up by payment hash";
                return Err(Some(Refusal::new(Code::InvalidArgument, text)));
            };
            let payment_hash = bytes32(payment_hash).map_err(Some)?;
            look_up(&cell.borrow(), payment_hash).map(|found| unary(&found)).map_err(Some)
        }
        // `calls` hands on no other method.
        _ => Err(None),
    }
}

/// A hash or a preimage.
///
/// # Errors
/// lnd's text for another length.
pub(crate) fn bytes32(bytes: &[u8]) -> Result<[u8; 32], Refusal> {
    let text = || format!("invalid hash length of {}, want 32", bytes.len());
    bytes.try_into().map_err(|_| Refusal::unknown(text()))
}

fn add_invoice(
    node: &mut Node,
    request: &lnrpc::Invoice,
) -> Result<lnrpc::AddInvoiceResponse, Refusal> {
    let preimage = if request.r_preimage.is_empty() {
        let number = node.network.count(node.identity.index).to_be_bytes();
        let now = node.now_ns().to_be_bytes();
        node.factory.derive(node.identity.name.as_bytes(), &[b"preimage", &number, &now])
    } else {
        bytes32(&request.r_preimage)?
    };
    let wanted = Wanted {
        memo: request.memo.clone(),
        payment_hash: Sha256::digest(preimage).into(),
        preimage,
        amount_msat: amount_msat(request.value, request.value_msat)?,
        expiry_secs: request.expiry,
    };
    let r_hash = wanted.payment_hash.to_vec();
    let (payment_request, add_index, payment_addr) = add(node, wanted)?;
    Ok(lnrpc::AddInvoiceResponse { r_hash, payment_request, add_index, payment_addr })
}

fn add_hold_invoice(
    node: &mut Node,
    request: &invoicesrpc::AddHoldInvoiceRequest,
) -> Result<invoicesrpc::AddHoldInvoiceResp, Refusal> {
    let wanted = Wanted {
        memo: request.memo.clone(),
        payment_hash: bytes32(&request.hash)?,
        preimage: [0; 32],
        amount_msat: amount_msat(request.value, request.value_msat)?,
        expiry_secs: request.expiry,
    };
    let (payment_request, add_index, payment_addr) = add(node, wanted)?;
    Ok(invoicesrpc::AddHoldInvoiceResp { payment_request, add_index, payment_addr })
}

fn amount_msat(value: i64, value_msat: i64) -> Result<u64, Refusal> {
    match (value, value_msat) {
        (0, msat) => u64::try_from(msat),
        (sat, 0) => u64::try_from(sat.saturating_mul(1_000)),
        _ => {
            return Err(Refusal::unknown("sat and msat arguments are mutually exclusive"));
        }
    }
    .map_err(|_| Refusal::unknown("payments of negative value are not allowed"))
}

/// Signs the invoice and writes it down: (text, add_index, payment_addr).
fn add(node: &mut Node, wanted: Wanted) -> Result<(String, u64, Vec<u8>), Refusal> {
    let Wanted { memo, payment_hash, preimage, amount_msat, expiry_secs } = wanted;
    let expiry_secs = if expiry_secs == 0 { EXPIRY_SECS } else { expiry_secs };
    let expiry = Duration::from_secs(u64::try_from(expiry_secs).unwrap_or(0));
    let secret = node.factory.derive(b"payment secret", &[&payment_hash]);
    let seconds = u64::try_from(node.now_ns() / 1_000_000_000).unwrap_or(0);
    let mut builder = InvoiceBuilder::new(Currency::Regtest)
        .description(memo)
        .payment_hash(sha256::Hash::from_byte_array(payment_hash))
        .payment_secret(PaymentSecret(secret))
        .duration_since_epoch(Duration::from_secs(seconds))
        .expiry_time(expiry)
        .min_final_cltv_expiry_delta(bolt11::CLTV_EXPIRY)
        .basic_mpp();
    if amount_msat > 0 {
        builder = builder.amount_milli_satoshis(amount_msat);
    }
    let (secp, key) = (Secp256k1::signing_only(), node.identity.key);
    let bolt11 = builder
        .build_signed(|message| secp.sign_ecdsa_recoverable(message, &key))
        .map_err(|error| Refusal::unknown(error.to_string()))?
        .to_string();
    let add_index = node.network.count(node.identity.index) + 1;
    let invoice = NodeInvoice {
        owner: node.identity.index,
        bolt11: bolt11.clone(),
        amount_msat: (amount_msat > 0).then_some(amount_msat),
        preimage,
        hold: preimage == [0; 32],
        add_index,
        state: InvoiceState::Open,
        paid_msat: 0,
        payer: None,
    };
    if !node.network.add(payment_hash, invoice) {
        return Err(Refusal::unknown("invoice with payment hash already exists"));
    }
    let invoice = bolt11.as_bytes();
    node.book.append(&Record::Invoice { payment_hash, preimage, add_index, invoice });
    Ok((bolt11, add_index, secret.to_vec()))
}

fn look_up(node: &Node, payment_hash: [u8; 32]) -> Result<lnrpc::Invoice, Refusal> {
    let own = |invoice: &NodeInvoice| invoice.owner == node.identity.index;
    let invoice = node
        .network
        .find(&payment_hash)
        .filter(own)
        .ok_or_else(|| Refusal::new(Code::NotFound, "unable to locate invoice"))?;
    let facts = bolt11::glance(&invoice.bolt11);
    let (created, expiry, secret) = facts.map_or((0, 0, Vec::new()), |facts| {
        (facts.timestamp as i64, facts.expiry_secs as i64, facts.payment_secret.to_vec())
    });
    let value_msat = invoice.amount_msat.unwrap_or(0) as i64;
    let settled = invoice.state == InvoiceState::Settled;
    // A preimage of zeros is one that is not known.
    let known = settled || !invoice.hold;
    Ok(lnrpc::Invoice {
        r_preimage: if known { invoice.preimage.to_vec() } else { Vec::new() },
        r_hash: payment_hash.to_vec(),
        value: value_msat / 1_000,
        value_msat,
        creation_date: created,
        expiry,
        payment_request: invoice.bolt11,
        cltv_expiry: bolt11::CLTV_EXPIRY,
        add_index: invoice.add_index,
        amt_paid_msat: if settled { invoice.paid_msat as i64 } else { 0 },
        state: invoice.state as i32,
        payment_addr: secret,
        ..lnrpc::Invoice::default()
    })
}
