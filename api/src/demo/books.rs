//! The nodes' own books, and what they say about the engine's results.

use std::collections::HashMap;

use fulgurite_proto::{
    fulgurite::v1 as proto,
    lnrpc::{self, lightning_client::LightningClient},
};
use fulgurite_sim::NodeInfo;
use sha2::{Digest, Sha256};

use crate::cli::exit::Fault;

const PAGE: u64 = 5_000;

/// What the nodes have paid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// By payment hash: how often it was paid, and the fees of all of it.
    paid: HashMap<String, Paid>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Paid {
    times: u32,
    amount_msat: i64,
    fee_msat: i64,
}

/// What came of comparing the engine's results with the nodes' books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Orders that the engine says are paid and exactly one node has paid once, with the proof.
    pub paid_once: u64,
    /// Orders that were paid more than once.
    pub paid_twice: u64,
    /// Orders that the engine says are paid, but no node has paid them or the proof is wrong.
    pub unproven: u64,
    /// Orders that a node has paid, but the engine does not say so.
    pub lost: u64,
    /// Orders that are not paid, which engine and nodes agree on.
    pub not_paid: u64,
    /// Payments of the nodes that nobody ordered.
    pub unordered: u64,
    /// The fees by the engine's results, in millisatoshi.
    pub fee_msat: i64,
    /// The fees by the nodes' books, in millisatoshi.
    pub books_fee_msat: i64,
    /// What was paid by the engine's results, in millisatoshi.
    pub amount_msat: i64,
    /// What was paid by the nodes' books, in millisatoshi.
    pub books_amount_msat: i64,
}

impl Books {
    /// Asks every node for everything that it has paid.
    ///
    /// # Errors
    /// Which node does not answer.
    pub async fn read(nodes: &[NodeInfo]) -> Result<Books, Fault> {
        let mut books = Books::default();
        for node in nodes {
            let read = books.read_node(node).await;
            read.map_err(|error| Fault::Failed(format!("{}: {error}", node.name)))?;
        }
        Ok(books)
    }

    async fn read_node(&mut self, node: &NodeInfo) -> Result<(), String> {
        let file = |path| std::fs::read(path).map_err(|error: std::io::Error| error.to_string());
        let (cert, macaroon) = (file(&node.tls_cert)?, file(&node.macaroon)?);
        let connected = fulgurite_lnd::connect(&node.address, &cert, &macaroon).await;
        let (channel, macaroon) = connected.map_err(|fault| fault.to_string())?;
        let mut client =
            LightningClient::with_interceptor(channel, macaroon).max_decoding_message_size(1 << 30);
        let mut request = lnrpc::ListPaymentsRequest { max_payments: PAGE, ..Default::default() };
        loop {
            let page = client.list_payments(request).await.map_err(|status| status.to_string())?;
            let page = page.into_inner();
            for payment in &page.payments {
                self.note(payment);
            }
            if page.payments.is_empty() {
                return Ok(());
            }
            request.index_offset = page.last_index_offset;
        }
    }

    fn note(&mut self, payment: &lnrpc::Payment) {
        if payment.status() == lnrpc::payment::PaymentStatus::Succeeded {
            let paid = self.paid.entry(payment.payment_hash.clone()).or_default();
            paid.times += 1;
            paid.amount_msat += payment.value_msat;
            paid.fee_msat += payment.fee_msat;
        }
    }

    /// Compares the engine's results with the books.
    pub fn compare(&self, results: &[proto::Payment]) -> Verdict {
        let mut verdict = Verdict::default();
        for paid in self.paid.values() {
            verdict.books_fee_msat += paid.fee_msat;
            verdict.books_amount_msat += paid.amount_msat;
        }
        let mut ordered = 0;
        for payment in results {
            let times = self.paid.get(&payment.payment_hash).map_or(0, |paid| paid.times);
            ordered += usize::from(times > 0);
            let succeeded = payment.state() == proto::payment::State::Succeeded;
            if succeeded {
                verdict.fee_msat += payment.fee_msat;
                verdict.amount_msat += payment.amount_msat;
            }
            let count = match (succeeded, times) {
                (_, 2..) => &mut verdict.paid_twice,
                (true, 1) if is_proven(payment) => &mut verdict.paid_once,
                (true, 0 | 1) => &mut verdict.unproven,
                (false, 1) => &mut verdict.lost,
                (false, 0) => &mut verdict.not_paid,
            };
            *count += 1;
        }
        verdict.unordered = (self.paid.len() - ordered) as u64;
        verdict
    }
}

/// The preimage is the proof: its SHA-256 is the payment hash.
fn is_proven(payment: &proto::Payment) -> bool {
    let preimage = hex::decode(&payment.preimage).unwrap_or_default();
    hex::encode(Sha256::digest(preimage)) == payment.payment_hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u8) -> String {
        hex::encode(Sha256::digest([number; 32]))
    }

    fn result(number: u8, state: proto::payment::State) -> proto::Payment {
        proto::Payment {
            payment_hash: hash(number),
            state: state.into(),
            preimage: hex::encode([number; 32]),
            fee_msat: 10,
            amount_msat: 1_000,
            ..Default::default()
        }
    }

    fn books(paid: &[u8]) -> Books {
        let mut books = Books::default();
        for number in paid {
            books.note(&lnrpc::Payment {
                payment_hash: hash(*number),
                status: lnrpc::payment::PaymentStatus::Succeeded.into(),
                fee_msat: 10,
                value_msat: 1_000,
                ..Default::default()
            });
        }
        books
    }

    #[test]
    fn every_disagreement_is_seen() {
        use proto::payment::State::{Failed, Succeeded};
        let verdict = books(&[1, 2, 2, 3, 9]).compare(&[
            result(1, Succeeded),
            result(2, Succeeded),
            result(3, Failed),
            result(4, Succeeded),
            result(5, Failed),
        ]);
        let expected = Verdict {
            paid_once: 1,
            paid_twice: 1,
            unproven: 1,
            lost: 1,
            not_paid: 1,
            unordered: 1,
            fee_msat: 30,
            books_fee_msat: 50,
            amount_msat: 3_000,
            books_amount_msat: 5_000,
        };
        assert_eq!(verdict, expected);
    }

    #[test]
    fn a_wrong_preimage_proves_nothing() {
        let mut payment = result(1, proto::payment::State::Succeeded);
        payment.preimage = hex::encode([2; 32]);
        assert_eq!(books(&[1]).compare(&[payment]).unproven, 1);
    }
}
