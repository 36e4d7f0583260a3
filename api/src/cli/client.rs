//! The connection to the engine, and what to do when it goes away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fulgurite_proto::fulgurite::v1 as proto;
use proto::{
    batch_service_client::BatchServiceClient, engine_service_client::EngineServiceClient,
    payment_service_client::PaymentServiceClient,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use super::exit::{Denial, Fault};
use crate::problem::DOMAIN;

/// A page of long invoices is larger than the 4 MiB that a client takes by default.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// An engine that was never there is not waited for as long as one that restarts.
const FIRST_CONTACT: Duration = Duration::from_secs(10);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(3);

/// The engine, over its public API. Cheap to clone; connects at the first call, and again by
/// itself.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: String,
    channel: Channel,
    patience: Duration,
    /// The engine has answered once, to any of the calls.
    reached: Arc<AtomicBool>,
}

impl Client {
    /// An engine at `endpoint`, such as `http://127.0.0.1:50051`. Once reached, it may stay away
    /// for `patience`.
    ///
    /// # Errors
    /// [`Fault::Usage`] if that is not an address.
    pub fn new(endpoint: &str, patience: Duration) -> Result<Client, Fault> {
        let channel = Endpoint::from_shared(url(endpoint)?)
            .map_err(|error| {
                let message = "is no address such as http://127.0.0.1:50051";
                Fault::Usage(format!("--endpoint {endpoint} {message}: {error}"))
            })?
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(15))
            .keep_alive_timeout(Duration::from_secs(10))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .connect_lazy();
        Ok(Client { endpoint: endpoint.to_owned(), channel, patience, reached: Arc::default() })
    }

    /// Batches.
    pub fn batches(&self) -> BatchServiceClient<Channel> {
        BatchServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Payments.
    pub fn payments(&self) -> PaymentServiceClient<Channel> {
        PaymentServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The engine itself.
    pub fn engine(&self) -> EngineServiceClient<Channel> {
        EngineServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The same engine, which is asked once and not waited for.
    pub fn impatient(&self) -> Client {
        Client { patience: Duration::ZERO, ..self.clone() }
    }

    /// Reads until there is an answer.
    ///
    /// # Errors
    /// What the engine refuses, or that it was not reached.
    pub async fn read<T>(
        &self,
        call: impl AsyncFnMut() -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, Fault> {
        self.repeat(Stake::Nothing, call).await
    }

    /// Asks for a change until there is an answer. `call` must be safe to repeat: by state, or with
    /// its key. The engine is looked for first: what never left is never "perhaps accepted".
    ///
    /// # Errors
    /// What the engine refuses, or that it was not reached.
    pub async fn change<T>(
        &self,
        call: impl AsyncFnMut() -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, Fault> {
        self.read(async || self.engine().get_engine(proto::GetEngineRequest {}).await).await?;
        self.repeat(Stake::Sent, call).await
    }

    async fn repeat<T>(
        &self,
        stake: Stake,
        mut call: impl AsyncFnMut() -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, Fault> {
        let mut reconnect = self.reconnect(stake);
        loop {
            match call().await {
                Ok(answer) => {
                    reconnect.reached();
                    return Ok(answer.into_inner());
                }
                Err(status) => reconnect.wait(&status).await?,
            }
        }
    }

    /// Counts how long the engine stays away, from the first call on that fails.
    pub fn reconnect(&self, stake: Stake) -> Reconnect {
        Reconnect { client: self.clone(), away_since: None, backoff: BACKOFF_FIRST, stake }
    }
}

/// What is at stake while the engine is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stake {
    /// Nothing: it was only to be read.
    Nothing,
    /// Orders that have not left yet.
    NotSent,
    /// Something was sent, and may have been accepted.
    Sent,
}

/// The URL of an endpoint: plain gRPC, which is all that the engine speaks.
fn url(endpoint: &str) -> Result<String, Fault> {
    match endpoint.split_once("://") {
        None => Ok(format!("http://{endpoint}")),
        Some(("http", _)) => Ok(endpoint.to_owned()),
        Some(("https", rest)) => Err(Fault::Usage(format!(
            "--endpoint {endpoint}: the engine speaks gRPC without TLS; use http://{rest}"
        ))),
        Some((scheme, _)) => Err(Fault::Usage(format!(
            "--endpoint {endpoint}: {scheme} is not spoken here; such as http://127.0.0.1:50051"
        ))),
    }
}

/// How long the engine has been away, and how long to wait before the next call.
#[derive(Debug)]
pub struct Reconnect {
    client: Client,
    /// When the first call failed since the engine was there.
    away_since: Option<Instant>,
    backoff: Duration,
    stake: Stake,
}

impl Reconnect {
    /// Notes that the engine is there.
    pub fn reached(&mut self) {
        self.client.reached.store(true, Ordering::Relaxed);
        self.away_since = None;
        self.backoff = BACKOFF_FIRST;
    }

    /// Notes that orders are about to leave.
    pub fn sends(&mut self) {
        self.stake = Stake::Sent;
    }

    fn patience(&self) -> Duration {
        let patience = self.client.patience;
        let reached = self.client.reached.load(Ordering::Relaxed);
        if reached { patience } else { FIRST_CONTACT.min(patience) }
    }

    /// Waits before another call.
    ///
    /// # Errors
    /// When `status` says that another call would end the same way, or patience is over.
    pub async fn wait(&mut self, status: &Status) -> Result<(), Fault> {
        // Whatever it says, it is there; but what goes wrong again and again is not waited for
        // longer than an engine that is away.
        if is_ours(status) {
            self.client.reached.store(true, Ordering::Relaxed);
        }
        match meaning(status) {
            Meaning::Refused => return Err(self.refusal(status)),
            // It is there, and says that it has no time: that is not being away.
            Meaning::Later(Some(delay)) => {
                self.reached();
                tokio::time::sleep(delay.clamp(BACKOFF_FIRST, Duration::from_secs(30))).await;
                return Ok(());
            }
            Meaning::Later(None) | Meaning::Away => {}
        }
        let away = self.away_since.get_or_insert_with(Instant::now).elapsed();
        if away >= self.patience() {
            return Err(self.unreachable(status, away));
        }
        tokio::time::sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        Ok(())
    }

    fn refusal(&self, status: &Status) -> Fault {
        let mut denial = Denial::of(status);
        if !is_ours(status) {
            denial.detail = format!("{}: {}", self.client.endpoint, text(status));
        }
        Fault::Denied(Box::new(denial))
    }

    fn unreachable(&self, status: &Status, away: Duration) -> Fault {
        let endpoint = &self.client.endpoint;
        let since = match away.as_secs() {
            0 => String::new(),
            seconds => format!(" for {seconds} s"),
        };
        let stake = match self.stake {
            Stake::Nothing => "",
            Stake::NotSent => "; nothing was sent",
            Stake::Sent => "; what was sent may have been accepted: run the same command again",
        };
        let reached = self.client.reached.load(Ordering::Relaxed);
        let hint = if reached { "" } else { first_contact(status.message()) };
        let text = text(status);
        Fault::Unreachable(format!("no engine at {endpoint}{since} ({text}){stake}{hint}"))
    }
}

/// What a status asks of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The engine said no: the same call would end the same way.
    Refused,
    /// The engine said "not now", and perhaps when.
    Later(Option<Duration>),
    /// The connection ended, or there was none.
    Away,
}

/// What the engine says carries its reason; anything else is the connection's own.
fn is_ours(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.domain == DOMAIN)
}

fn meaning(status: &Status) -> Meaning {
    if !is_ours(status) {
        return match status.code() {
            Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied => {
                Meaning::Refused
            }
            Code::InvalidArgument | Code::NotFound | Code::OutOfRange => Meaning::Refused,
            _ => Meaning::Away,
        };
    }
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::Aborted => {
            Meaning::Later(status.get_details_retry_info().and_then(|info| info.retry_delay))
        }
        Code::Internal | Code::Unknown | Code::DeadlineExceeded | Code::Cancelled => Meaning::Away,
        _ => Meaning::Refused,
    }
}

/// Whether the same call may end otherwise.
pub fn is_worth_repeating(status: &Status) -> bool {
    meaning(status) != Meaning::Refused
}

/// The reason that the engine gives, such as `ROWS_REFUSED`; empty when it gave none.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// A status for a person.
pub fn text(status: &Status) -> String {
    if is_ours(status) {
        return Denial::of(status).to_string();
    }
    // The connection's own words: the outermost says what was done, the innermost what went wrong.
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        source = error.source();
        if source.is_none() && !text.contains(&error.to_string()) {
            text = format!("{text}: {error}");
        }
    }
    text
}

/// What may be wrong where no engine was ever met; `message` is the connection's own.
fn first_contact(message: &str) -> &'static str {
    if message.contains("compression flag") || message.contains("response with status") {
        "; something answers there, but not gRPC: is it the HTTP or the admin address? The gRPC \
         address is grpc.listen, by default 127.0.0.1:50051"
    } else if message.contains("http2 error") {
        "; something answers there, but not gRPC, or with TLS. The engine's address is \
         grpc.listen, by default 127.0.0.1:50051"
    } else {
        "; is it started, and is this its grpc.listen?"
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn said(code: Code, retry: Option<Duration>) -> Status {
        let mut details = ErrorDetails::new();
        details.set_error_info("SOME_REASON", "fulgurite", HashMap::new());
        if retry.is_some() {
            details.set_retry_info(retry);
        }
        Status::with_error_details(code, "said", details)
    }

    fn client(patience: Duration) -> Client {
        Client::new("http://127.0.0.1:1", patience).expect("an address")
    }

    #[tokio::test]
    async fn an_engine_is_away_from_the_first_failure_on() {
        let mut reconnect = client(Duration::from_millis(50)).reconnect(Stake::Nothing);
        let away = Status::unavailable("cut");
        // A long call that ends in a cut is no time without an engine.
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(reconnect.wait(&away).await.is_ok());
        let fault = reconnect.wait(&away).await.expect_err("longer away than its patience");
        assert!(matches!(fault, Fault::Unreachable(_)), "{fault}");
        reconnect.reached();
        assert!(reconnect.wait(&away).await.is_ok());
    }

    #[tokio::test]
    async fn whoever_was_reached_once_is_waited_for_in_every_later_call() {
        let hour = Duration::from_secs(3_600);
        let client = client(hour);
        assert_eq!(client.reconnect(Stake::Nothing).patience(), FIRST_CONTACT);
        let mut reconnect = client.reconnect(Stake::Nothing);
        let refused = reconnect.wait(&said(Code::NotFound, None)).await;
        assert!(matches!(refused, Err(Fault::Denied(_))));
        assert_eq!(client.reconnect(Stake::Nothing).patience(), hour);
    }

    #[test]
    #[rustfmt::skip] // A table: one line is one status and what it asks for.
    fn only_what_the_engine_says_is_a_refusal() {
        let second = Some(Duration::from_secs(1));
        for (status, expected) in [
            (said(Code::InvalidArgument, None),      Meaning::Refused),
            (said(Code::AlreadyExists, None),        Meaning::Refused),
            (said(Code::OutOfRange, None),           Meaning::Refused),
            (said(Code::Unavailable, second),        Meaning::Later(second)),
            (said(Code::ResourceExhausted, second),  Meaning::Later(second)),
            (said(Code::Aborted, None),              Meaning::Later(None)),
            (said(Code::Internal, None),             Meaning::Away),
            (Status::unavailable("tcp connect"),     Meaning::Away),
            (Status::unknown("h2 protocol error"),   Meaning::Away),
            (Status::internal("h2 protocol error"),  Meaning::Away),
            (Status::unimplemented("no service"),    Meaning::Refused),
        ] {
            assert_eq!(meaning(&status), expected, "{status}");
        }
    }
}
