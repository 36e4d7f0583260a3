//! lnd's answers and what the adapter takes them for, row by row of its table, on real lnd and on
//! the simulated one alike.
//!
//! These rows nobody can provoke from outside, or not at once:
//!
//! * `AlreadyExists: payment already exists`: for the milliseconds before the first HTLC;
//! * `verification failed: caveat …`: this lnd checks caveats apart from the signature, and says
//!   the rest without the first two words;
//! * `invoice contains unknown feature bits`: lnd checks this in other calls only;
//! * `FAILURE_REASON_TIMEOUT`: an attempt that fails after `timeout_seconds`, and not for good;
//! * `FAILURE_REASON_ERROR`: a fault inside lnd;
//! * `FAILURE_REASON_CANCELED`: needs `cancelable`, which the adapter never sets.

use std::{fs, time::Duration};

use anyhow::{Result, anyhow, ensure};
use fulgurite_core::time::UnixMs;
use fulgurite_lnd::{
    grpc::{Connection, Head, KillSwitch, timeout_header},
    macaroon::Macaroon,
    meaning, tls,
};
use fulgurite_proto::{
    lnrpc::{GetInfoRequest, GetInfoResponse, Payment},
    routerrpc::{SendPaymentRequest, TrackPaymentRequest},
};
use http::HeaderValue;
use tokio::task::LocalSet;

use crate::{
    engine::NodeEntry,
    odd::{self, Oddity},
    peer::{Peer, text},
    regtest::{Invoice, is_final, payment_hash, plain_payment, until},
    world::{Receiver, World},
};

const SEND_PAYMENT: &str = "/routerrpc.Router/SendPaymentV2";
const TRACK_PAYMENT: &str = "/routerrpc.Router/TrackPaymentV2";
const GET_INFO: &str = "/lnrpc.Lightning/GetInfo";
const AMOUNT_MSAT: u64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3_600);
/// Longer than anything takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of BOLT 11: "a cup of coffee", on mainnet.
const ON_MAINNET: &str = "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs\
                          pp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7e\
                          nxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0l\
                          p53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh";

const NO_AMOUNT: &str = "amount must be specified when paying a zero amount invoice";
const TWO_AMOUNTS: &str = "amount must not be specified when paying a non-zero amount invoice";
const NO_ADDRESS: &str = "payment request must contain either a payment address or blinded paths";
const AMP: &str =
    "the AMP flag (--amp or SendPaymentRequest.Amp) must be set to pay an AMP invoice";
const TOO_LONG: &str = "total time lock of 9999 exceeds max allowed 2016";
const TOO_SHORT: &str = "cltv limit 83 should be greater than 83";
const WRONG_NETWORK: &str = "invoice not for current active network 'regtest'";

/// What was said in the end, and what the adapter takes it for.
#[derive(Debug)]
struct Heard {
    said: String,
    means: String,
}

/// The payer, asked over the adapter's connections.
struct Payer {
    connection: Connection,
    macaroon: Macaroon,
    _kill: KillSwitch,
}

impl Payer {
    async fn connect(node: &NodeEntry) -> Result<Payer> {
        let config = tls::client_config(&fs::read(&node.tls_cert)?)?;
        let macaroon = Macaroon::parse(&fs::read(&node.macaroon)?)?;
        let kill = KillSwitch::new();
        let connection = Connection::open(&node.address, config, kill.receiver()).await?;
        Ok(Payer { connection, macaroon, _kill: kill })
    }

    async fn send(&self, request: &SendPaymentRequest) -> Result<Heard> {
        self.send_with(Some(self.macaroon.to_hex()), PATIENCE, request).await
    }

    async fn send_with(
        &self,
        macaroon: Option<String>,
        timeout: Duration,
        request: &SendPaymentRequest,
    ) -> Result<Heard> {
        let macaroon = macaroon.map(HeaderValue::try_from).transpose()?;
        let timeout = timeout_header(timeout);
        let head =
            Head { path: SEND_PAYMENT, macaroon: macaroon.as_ref(), timeout: Some(&timeout) };
        self.last(head, request, |fault| format!("{:?}", meaning::send_end(fault))).await
    }

    /// The last that there is to say about a payment.
    async fn track(&self, payment_hash: &[u8]) -> Result<Heard> {
        let request = TrackPaymentRequest {
            payment_hash: payment_hash.to_vec(),
            ..TrackPaymentRequest::default()
        };
        let macaroon = HeaderValue::try_from(self.macaroon.to_hex())?;
        let head = Head { path: TRACK_PAYMENT, macaroon: Some(&macaroon), timeout: None };
        self.last(head, &request, |fault| format!("{:?}", meaning::track_end(fault))).await
    }

    async fn last(
        &self,
        head: Head<'_>,
        request: &impl prost::Message,
        means: impl Fn(&fulgurite_lnd::grpc::CallFault) -> String,
    ) -> Result<Heard> {
        let call = self.connection.start(head, request);
        let mut call = call.map_err(|_| anyhow!("the connection is closed"))?;
        loop {
            match call.message::<Payment>().await {
                Ok(Some(payment)) if is_final(&payment) => {
                    let reason = meaning::failure_reason(payment.failure_reason);
                    return Ok(Heard { said: text(&payment), means: format!("{reason:?}") });
                }
                Ok(Some(_)) => {}
                Ok(None) => anyhow::bail!("the stream ended before the payment did"),
                Err(fault) => return Ok(Heard { said: fault.to_string(), means: means(&fault) }),
            }
        }
    }

    /// What a harmless call with this macaroon says of it.
    async fn probe(&self, macaroon: &Macaroon) -> Result<String> {
        let macaroon = HeaderValue::try_from(macaroon.to_hex())?;
        let answer = self
            .connection
            .unary::<GetInfoResponse>(GET_INFO, Some(&macaroon), &GetInfoRequest {}, PATIENCE)
            .await;
        Ok(format!("{:?}", meaning::probe_answer(&answer)))
    }

    /// A refusal that proves that nothing started: Track knows nothing.
    async fn knows_nothing(&self, row: &str, payment_hash: [u8; 32]) -> Result<()> {
        let heard = self.track(&payment_hash).await?;
        check(row, &heard, "NotFound: payment isn't initiated", "NotFound")
    }
}

/// Compares; `*` stands for anything, once.
fn check(row: &str, heard: &Heard, said: &str, means: &str) -> Result<()> {
    let like = |text: &str, pattern: &str| match pattern.split_once('*') {
        None => text == pattern,
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
    };
    let is_so = like(&heard.said, said) && like(&heard.means, means);
    ensure!(is_so, "{row}: {heard:?}, not {said:?} and {means:?}");
    Ok(())
}

/// Every row of the adapter's table that can be provoked.
///
/// # Errors
/// The first row that lnd answers otherwise, or that the adapter takes for something else.
pub async fn every_answer_has_its_meaning(world: &World) -> Result<()> {
    let rows = async {
        let payer = Payer::connect(&world.payer()).await?;
        duplicates(world, &payer).await?;
        refused_requests(world, &payer).await?;
        refused_macaroons(world, &payer).await?;
        failures(world, &payer).await
    };
    LocalSet::new().run_until(rows).await
}

/// Paid, in flight, expired, unknown.
async fn duplicates(world: &World, payer: &Payer) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    payer.knows_nothing("an unknown hash", [0xee; 32]).await?;
    let heard = payer.track(&[0xee; 31]).await?;
    let (said, means) = ("Unknown: invalid hash length of 31, want 32", "Unreachable(*)");
    check("half a hash", &heard, said, means)?;

    let paid = near.invoice(AMOUNT_MSAT, Duration::from_secs(5)).await?;
    let request = plain_payment(&paid);
    check("a payment", &payer.send(&request).await?, "SUCCEEDED", "Unknown")?;
    let (said, means) = ("AlreadyExists: invoice is already paid", "Refused(AlreadyExists)");
    check("paid", &payer.send(&request).await?, said, means)?;

    let held = near.hold_invoice([0x61; 32], AMOUNT_MSAT).await?;
    let request = plain_payment(&held);
    let admin = payer.macaroon.to_hex();
    // The stream ends in one of two ways, of which neither says anything.
    let heard = payer.send_with(Some(admin), Duration::from_secs(1), &request).await?;
    check("a deadline", &heard, "*", "Lost(*)")?;
    near.wait_held(held.payment_hash).await?;
    let (said, means) = ("AlreadyExists: payment is in transition", "Refused(AlreadyExists)");
    check("in flight", &payer.send(&request).await?, said, means)?;
    near.cancel(held.payment_hash).await?;
    let heard = payer.track(&held.payment_hash).await?;
    let said = "FAILED/FAILURE_REASON_INCORRECT_PAYMENT_DETAILS";
    check("held, then cancelled", &heard, said, "IncorrectPaymentDetails")?;

    let expired = until("the invoice to expire", PATIENCE, async || {
        let heard = payer.send(&plain_payment(&paid)).await?;
        Ok((!heard.said.starts_with("AlreadyExists")).then_some(heard))
    });
    let expired = expired.await?;
    let (said, means) =
        ("Unknown: invoice expired. Valid until 20* UTC", "Refused(InvoiceExpired)");
    check("paid, then expired", &expired, said, means)?;
    check("the truth of it", &payer.track(&paid.payment_hash).await?, "SUCCEEDED", "Unknown")
}

/// Refused for what is in the message.
#[rustfmt::skip] // A table: a request, lnd's text, its meaning.
async fn refused_requests(world: &World, payer: &Payer) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let own = Peer::connect(&world.payer()).await?.invoice(AMOUNT_MSAT, HOUR).await?;
    let (plain, any) = (near.invoice(AMOUNT_MSAT, HOUR).await?, near.invoice(0, HOUR).await?);
    let [no_address, amp, not_signed] = [Oddity::NoAddress, Oddity::Amp, Oddity::NotSigned]
        .map(|oddity| odd::invoice(oddity, payment_hash(&[oddity as u8 + 1; 32])));
    let (mainnet, short) = (written(ON_MAINNET, &plain), written("lnbcrt1", &plain));
    let mut torn = plain.clone();
    let last = torn.payment_request.pop();
    torn.payment_request.push(if last == Some('q') { 'p' } else { 'q' });
    let request = plain_payment(&plain);
    for (row, request, said, means) in [
        ("to itself",    plain_payment(&own),          "self-payments not allowed", "SelfPayment"),
        ("no amount",    plain_payment(&any),          NO_AMOUNT, "Invalid"),
        ("two amounts",  amount(&request, 1_000_000),  TWO_AMOUNTS, "Invalid"),
        ("no address",   plain_payment(&no_address?),  NO_ADDRESS, "Invalid"),
        ("AMP",          plain_payment(&amp?),         AMP, "Invalid"),
        ("a long lock",  time_lock(&request, 9_999),   TOO_LONG, "Invalid"),
        ("a short lock", time_lock(&request, 83),      TOO_SHORT, "Invalid"),
        ("not signed",   plain_payment(&not_signed?),  "invalid invoice signature", "Invalid"),
        ("no invoice",   plain_payment(&short),        "invalid bech32 string length 7", "Invalid"),
        ("torn",         plain_payment(&torn),         "checksum failed. Expected *", "Invalid"),
        ("mainnet",      plain_payment(&mainnet),      WRONG_NETWORK, "Invalid"),
    ] {
        let (said, means) = (format!("Unknown: {said}"), format!("Refused({means})"));
        check(row, &payer.send(&request).await?, &said, &means)?;
    }
    for hash in [own, plain, any].map(|invoice| invoice.payment_hash) {
        payer.knows_nothing("a refused request", hash).await?;
    }
    Ok(())
}

/// The same invoice with another text.
fn written(text: &str, invoice: &Invoice) -> Invoice {
    Invoice { payment_request: text.to_owned(), ..invoice.clone() }
}

fn amount(request: &SendPaymentRequest, amt_msat: i64) -> SendPaymentRequest {
    SendPaymentRequest { amt_msat, ..request.clone() }
}

fn time_lock(request: &SendPaymentRequest, cltv_limit: i32) -> SendPaymentRequest {
    SendPaymentRequest { cltv_limit, ..request.clone() }
}

/// Refused at the door, for the macaroon.
async fn refused_macaroons(world: &World, payer: &Payer) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let invoice = near.invoice(AMOUNT_MSAT, HOUR).await?;
    let expired = payer.macaroon.expiring_at(UnixMs(1_000));
    let mut forged = payer.macaroon.to_bytes();
    *forged.last_mut().expect("a signature") ^= 1;
    // The root key's id is the field before the rights: "0", of which there is a key.
    let mut keyless = payer.macaroon.to_bytes();
    let id = keyless.windows(3).position(|bytes| bytes == [0x12, 1, b'0']);
    keyless[id.ok_or_else(|| anyhow!("no root key's id"))? + 2] = b'9';
    for (row, macaroon, said, means) in [
        (
            "an expired macaroon",
            Some(expired.to_hex()),
            "Unknown: caveat \"time-before 1970-01-01T00:00:01.000Z\" not satisfied: \
             macaroon has expired",
            "Refused(MacaroonExpired)",
        ),
        (
            "a root key that is gone",
            Some(hex::encode(keyless)),
            "Unknown: cannot retrieve macaroon: cannot get macaroon: \
             root key with id 9 doesn't exist",
            "Refused(MacaroonExpired)",
        ),
        (
            "a forged macaroon",
            Some(hex::encode(forged)),
            "Unknown: verification failed: signature mismatch after caveat verification",
            "Lost(*)",
        ),
        ("no macaroon", None, "Unknown: expected 1 macaroon, got 0", "Lost(*)"),
    ] {
        let heard = payer.send_with(macaroon, PATIENCE, &plain_payment(&invoice)).await?;
        check(row, &heard, said, means)?;
    }
    payer.knows_nothing("a refused macaroon", invoice.payment_hash).await?;
    let probes = [payer.probe(&payer.macaroon).await?, payer.probe(&expired).await?];
    ensure!(probes == ["NotYet", "Expired"], "the probes: {probes:?}");
    Ok(())
}

/// Started, and failed.
async fn failures(world: &World, payer: &Payer) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let far = world.receiver(Receiver::Far).await?;
    let cancelled = near.hold_invoice([0x62; 32], AMOUNT_MSAT).await?;
    near.cancel(cancelled.payment_hash).await?;
    let large = near.invoice(900_000_000_000, HOUR).await?;
    let costly = far.invoice(AMOUNT_MSAT, HOUR).await?;
    let free = SendPaymentRequest { fee_limit_msat: 0, ..plain_payment(&costly) };
    for (row, request, said, means) in [
        (
            "cancelled",
            plain_payment(&cancelled),
            "INCORRECT_PAYMENT_DETAILS",
            "IncorrectPaymentDetails",
        ),
        ("too large", plain_payment(&large), "INSUFFICIENT_BALANCE", "InsufficientBalance"),
        ("no fee allowed", free, "NO_ROUTE", "NoRoute"),
    ] {
        let said = format!("FAILED/FAILURE_REASON_{said}");
        check(row, &payer.send(&request).await?, &said, means)?;
    }
    for hash in [cancelled, large, costly].map(|invoice| invoice.payment_hash) {
        check("failed, tracked", &payer.track(&hash).await?, "FAILED/*", "*")?;
    }
    Ok(())
}
