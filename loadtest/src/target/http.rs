//! One `POST /v1/payments` for each payment, and one long poll for its outcome.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use http::{Request, Response, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::{net::TcpStream, sync::Semaphore};

use super::{Refusal, Slot, place};
use crate::run::{rig::Reach, scenario::Load, tally::End};

/// The longest that the engine keeps a question, in milliseconds.
const WAIT_MS: u32 = 30_000;

/// Connections that wait for their next request.
pub(crate) struct Http {
    address: Option<SocketAddr>,
    idle: Mutex<Vec<SendRequest<String>>>,
    keep_alive: bool,
    requests: Arc<Semaphore>,
}

/// What is read of a payment or a problem.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    payment_id: String,
    state: String,
    failure: Failure,
    code: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    reason: String,
}

impl Http {
    /// Connects with the requests.
    pub fn open(reach: &Reach, load: &Load, requests: Arc<Semaphore>) -> Http {
        Http {
            address: reach.http,
            idle: Mutex::default(),
            keep_alive: !load.new_connections,
            requests,
        }
    }

    /// Orders one payment and asks until it is final.
    ///
    /// # Errors
    /// Why there is no outcome.
    pub async fn send(&self, slot: &mut Slot) -> Result<(), Refusal> {
        let _place = place(&self.requests).await?;
        slot.start();
        let mut order = json!({ "bolt11": slot.invoice().bolt11 });
        if let Some(priority) = slot.priority() {
            let word = priority.as_str_name().to_lowercase();
            order["options"] = json!({ "priority": word });
        }
        let post = Request::post("/v1/payments")
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", slot.key());
        let mut payment = self.ask(post, order.to_string()).await?;
        slot.acked();
        let path = format!("/v1/payments/{}?wait_ms={WAIT_MS}", payment.payment_id);
        loop {
            let end = match payment.state.as_str() {
                "succeeded" => End::Succeeded,
                "failed" | "cancelled" => End::Failed,
                "unresolved" => End::Unresolved,
                _ => {
                    payment = self.ask(Request::get(&path), String::new()).await?;
                    continue;
                }
            };
            let code = (end != End::Succeeded).then(|| payment.failure.reason.to_uppercase());
            slot.ended(Instant::now(), end, code);
            return Ok(());
        }
    }

    /// One request over a connection that is idle, or a new one.
    async fn ask(&self, request: http::request::Builder, body: String) -> Result<Answer, Refusal> {
        let address = self.address.ok_or_else(|| Refusal::broken("no HTTP address"))?;
        let request = request.header(header::HOST, address.to_string());
        let request = request.body(body).map_err(|error| Refusal::broken(error.to_string()))?;
        let broken = |error: hyper::Error| Refusal::broken(format!("http: {error}"));
        let mut sender = self.connection(address).await?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let (status, answer) = read(response).await.map_err(broken)?;
        if self.keep_alive {
            self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(sender);
        }
        let answer: Answer = serde_json::from_slice(&answer).unwrap_or_default();
        match (status, answer.code.as_str()) {
            (200..=299, _) => Ok(answer),
            (_, "") => Err(Refusal::broken(format!("http {status}"))),
            (status, code) => {
                // 500 and an unknown outcome: nobody knows what became of it.
                let is_error = status == 500 || code == "UNKNOWN_OUTCOME";
                Err(Refusal { code: answer.code, is_error })
            }
        }
    }

    async fn connection(&self, address: SocketAddr) -> Result<SendRequest<String>, Refusal> {
        loop {
            let waiting = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
            let Some(mut sender) = waiting else { break };
            // The engine closes connections that are silent for long: such a one carries nothing.
            if !sender.is_closed() && sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let connected = TcpStream::connect(address).await;
        let stream = connected.map_err(|error| Refusal::broken(format!("connect: {error}")))?;
        let _ = stream.set_nodelay(true);
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            shaken.map_err(|error| Refusal::broken(format!("http: {error}")))?;
        // It ends with its sender.
        tokio::spawn(connection);
        Ok(sender)
    }
}

async fn read(response: Response<Incoming>) -> Result<(u16, bytes::Bytes), hyper::Error> {
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}
