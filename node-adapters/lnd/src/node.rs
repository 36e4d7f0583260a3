//! The node port over lnd: commands become calls, and what comes of them is reported.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    rc::{Rc, Weak},
    time::Duration,
};

use fulgurite_core::{
    id::SendId,
    port::{
        Command, ListCall, Node, NodeEvent, ProbeAnswer, SendEnd, SendPayment, SendReport,
        TrackCall, TrackReport, Whose,
    },
    time::UnixMs,
};
use fulgurite_proto::{lnrpc, routerrpc};
use tokio::sync::Notify;

use crate::{
    channels::Wanted,
    config::LndConfig,
    convert,
    grpc::{Call, CallFault, KillSwitch, NotHandedOver},
    guard,
    life::live,
    listed::Page,
    meaning,
    session::{Fault, Session},
    shared::{Shared, Task},
    told::Told,
};

const SEND_PAYMENT_V2: &str = "/routerrpc.Router/SendPaymentV2";
const LIST_PAYMENTS: &str = "/lnrpc.Lightning/ListPayments";
const TRACK_PAYMENT_V2: &str = "/routerrpc.Router/TrackPaymentV2";

/// An lnd node. It connects by itself and goes on trying; dropping it closes every connection
/// hard and ends every report.
pub struct LndNode {
    shared: Rc<Shared>,
    _life: Task,
    _kill: KillSwitch,
}

impl LndNode {
    /// Starts connecting. Must be called on a thread with a tokio `LocalSet` (an actix arbiter),
    /// and so must the commands. `events` is never called from within [`Node::command`].
    pub fn open(config: LndConfig, events: impl Fn(NodeEvent) + 'static) -> LndNode {
        let shared = Rc::new(Shared {
            config,
            events: Box::new(events),
            dropped: Cell::new(false),
            session: RefCell::new(None),
            channels: Wanted::default(),
            has_key: Cell::new(false),
            withdrawn: Cell::new(false),
            owes_answer: Cell::new(false),
            owes: Notify::new(),
            tracks: RefCell::default(),
        });
        let kill = KillSwitch::new();
        let life = Task::start(live(Rc::clone(&shared), kill.receiver()));
        LndNode { shared, _life: life, _kill: kill }
    }

    fn send(&self, payment: SendPayment) {
        let SendPayment { send, payment_hash, expiry, deadline, .. } = payment;
        let patience = deadline + Duration::from_millis(self.shared.config.send_grace_ms);
        let request = convert::send_request(payment);
        // An engine that ends hands nothing over, while its key may still be there.
        let session = self.shared.session().filter(|_| !self.shared.withdrawn.get());
        let caller = session.as_ref().map(Rc::downgrade).unwrap_or_default();
        let follow = Follow { shared: Rc::clone(&self.shared), caller, send, payment_hash };
        let call = session
            .ok_or(NotHandedOver)
            .and_then(|session| session.start_send(SEND_PAYMENT_V2, &request, expiry, deadline));
        match call {
            Ok(call) => spawn(follow.send(call, patience)),
            Err(NotHandedOver) => spawn(async move { follow.end(SendEnd::NotHandedOver) }),
        }
    }

    fn track(&self, call: TrackCall) {
        let request = routerrpc::TrackPaymentRequest {
            payment_hash: call.payment_hash.0.to_vec(),
            no_inflight_updates: false,
        };
        let shared = Rc::clone(&self.shared);
        let started = self
            .shared
            .session()
            .ok_or(NotHandedOver)
            .and_then(|session| session.start_track(TRACK_PAYMENT_V2, &request));
        match started {
            Ok(started) if call.follow => {
                // Who asks again has no use for the stream from before.
                let task = Task::start(track(shared, call, started));
                self.shared.tracks.borrow_mut().insert(call.attempt, (call.number, task));
            }
            Ok(started) => spawn(track(shared, call, started)),
            Err(NotHandedOver) => spawn(async move {
                let report = TrackReport::Unreachable("no connection".to_owned());
                shared.report(NodeEvent::Track { call, report });
            }),
        }
    }

    fn probe(&self, expiry: UnixMs) {
        let shared = Rc::clone(&self.shared);
        spawn(async move {
            let answer = match shared.session() {
                Some(session) => session.probe(expiry).await,
                None => ProbeAnswer::Unreachable,
            };
            shared.report(NodeEvent::ExpiryProbe { expiry, answer });
        });
    }

    fn revoke(&self, whose: Whose) {
        let shared = Rc::clone(&self.shared);
        let key = shared.config.key_at.may_be();
        if whose == Whose::Own {
            shared.withdrawn.set(true);
            if shared.session().is_none() && key.is_some() {
                // It is at the node, whatever state that is in: whoever connects deletes it.
                shared.owes_answer.set(true);
                return shared.owes.notify_one();
            }
        }
        spawn(async move {
            let revoked = match shared.session() {
                Some(session) => guard::revoke(&session, &shared.config, whose)
                    .await
                    .map_err(|fault| fault.to_string()),
                None if whose == Whose::Own => Ok(()),
                None => Err("no connection".to_owned()),
            };
            match whose {
                Whose::Own => shared.report_withdrawn(revoked, key),
                Whose::Older(_) => shared.report(NodeEvent::Revoked(whose, revoked)),
            }
        });
    }

    fn list(&self, call: ListCall) {
        let request = lnrpc::ListPaymentsRequest {
            include_incomplete: true,
            index_offset: call.index_offset,
            max_payments: u64::from(call.max),
            reversed: call.reversed,
            omit_hops: true,
            ..lnrpc::ListPaymentsRequest::default()
        };
        let shared = Rc::clone(&self.shared);
        spawn(async move {
            let page = match shared.session() {
                Some(session) => session
                    .read::<Page>(LIST_PAYMENTS, &request)
                    .await
                    .map_err(|fault| {
                        if let Fault::Call(_, fault) = &fault {
                            shared.is_key_gone(fault, &Rc::downgrade(&session));
                        }
                        fault.to_string()
                    })
                    .and_then(|page| {
                        page.payments().ok_or_else(|| "a payment without a hash".to_owned())
                    }),
                None => Err("no connection".to_owned()),
            };
            shared.report(NodeEvent::Payments { call, page });
        });
    }
}

impl Node for LndNode {
    fn command(&self, command: Command) {
        match command {
            Command::Send(payment) => self.send(*payment),
            Command::Track(call) => self.track(call),
            Command::ProbeExpiry { expiry } => self.probe(expiry),
            Command::ListPayments(call) => self.list(call),
            Command::Revoke(whose) => self.revoke(whose),
            // Without a session the channels are reported at the next connect.
            Command::ListChannels(call) => self.shared.channels.want(call),
        }
    }
}

impl Drop for LndNode {
    fn drop(&mut self) {
        self.shared.dropped.set(true);
        self.shared.session.take();
        self.shared.tracks.take();
    }
}

/// Its end is not waited for: a task that follows a call ends with the call.
fn spawn(future: impl Future<Output = ()> + 'static) {
    drop(tokio::task::spawn_local(future));
}

/// Reports what comes of one send.
struct Follow {
    shared: Rc<Shared>,
    /// Not held: its connections close without it.
    caller: Weak<Session>,
    send: SendId,
    payment_hash: fulgurite_core::id::PaymentHash,
}

impl Follow {
    async fn send(self, mut call: Call, patience: Duration) {
        let mut is_final = false;
        let fault = {
            // lnd ends the call at the `grpc-timeout`; the timer is for one that cannot.
            let mut silence = std::pin::pin!(tokio::time::sleep(patience));
            loop {
                tokio::select! {
                    biased;
                    message = call.message::<Told>() => match message {
                        Ok(Some(payment)) if payment.has_hash(self.payment_hash) => {
                            let report = payment.report();
                            is_final |= convert::is_final(report.status);
                            self.report(SendReport::Payment(report));
                        }
                        Ok(Some(_)) => break broken("an answer for another payment hash"),
                        Ok(None) => break broken("the stream ended before the payment was final"),
                        Err(fault) => break fault,
                    },
                    () = &mut silence => break broken("no end of the stream in time"),
                }
            }
        };
        self.shared.is_key_gone(&fault, &self.caller);
        // A final message says all there is to know, however the stream ends.
        self.end(if is_final { SendEnd::Completed } else { meaning::send_end(&fault) });
    }

    fn end(&self, end: SendEnd) {
        self.report(SendReport::Ended(end));
    }

    fn report(&self, report: SendReport) {
        self.shared.report(NodeEvent::Send { send: self.send, report });
    }
}

/// Reports what comes of one track, until the payment is final or the stream ends, or the first
/// answer alone.
async fn track(shared: Rc<Shared>, call: TrackCall, started: Call) {
    follow_track(&shared, call, started).await;
    // The last one to go: a later call has another number.
    let mut tracks = shared.tracks.borrow_mut();
    let is_ours = tracks.get(&call.attempt).is_some_and(|(number, _)| *number == call.number);
    let own = if is_ours && call.follow { tracks.remove(&call.attempt) } else { None };
    drop(tracks);
    drop(own);
}

async fn follow_track(shared: &Shared, call: TrackCall, mut started: Call) {
    let report = |report| shared.report(NodeEvent::Track { call, report });
    let mut is_shown = false;
    let fault = loop {
        match started.message::<Told>().await {
            Ok(Some(payment)) if payment.has_hash(call.payment_hash) => {
                let payment = payment.report();
                is_shown = true;
                let is_final = convert::is_final(payment.status);
                report(TrackReport::Payment(payment));
                if !call.follow {
                    return;
                }
                if is_final {
                    // lnd ends the call now; resetting the stream would cost a frame.
                    return while let Ok(Some(_)) = started.message::<Told>().await {};
                }
            }
            Ok(Some(_)) => break broken("an answer for another payment hash"),
            Ok(None) => break broken("the stream ended before the payment was final"),
            Err(fault) => break fault,
        }
    };
    // NotFound after the payment was shown is not an answer to this call's question.
    let unreachable = TrackReport::Unreachable(fault.to_string());
    report(if is_shown { unreachable } else { meaning::track_end(&fault) });
}

fn broken(text: &str) -> CallFault {
    CallFault::Broken(text.to_owned())
}
