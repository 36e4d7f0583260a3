//! The life of a node's connections: connect, look whether it can be used, watch, and again.
//!
//! ```text
//! files -> connect -> SERVER_ACTIVE -> in sync -> clock -> channels -> Connected
//!   ^                                                                     | watch
//!   +---- pause (100 ms to 10 s, with jitter) <---- Disconnected <--------+ any fault
//! ```
//!
//! Payments that are on their way when the connection for reads is lost go on over theirs.

use std::{
    rc::{Rc, Weak},
    time::Duration,
};

use fulgurite_core::port::{NodeEvent, NodeInfo, Whose};
use fulgurite_proto::lnrpc::{self, WalletState};
use tokio::{sync::watch, time::Instant};

use crate::{
    config::LndConfig,
    connect::chain,
    convert,
    grpc::Head,
    guard::{self, WITHDRAWN},
    session::{Credentials, Fault, GET_INFO, Session},
    shared::{Shared, Task},
};

const SUBSCRIBE_STATE: &str = "/lnrpc.State/SubscribeState";
const SUBSCRIBE_CHANNEL_EVENTS: &str = "/lnrpc.Lightning/SubscribeChannelEvents";
/// How often a node that is not in sync is asked again.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// A clock that moved less than this is not worth a report, in milliseconds.
const CLOCK_CHANGE_MS: i64 = 500;

/// A session that lasted this long shows that the node can be used: the next pause is short again.
const STABLE: Duration = Duration::from_secs(10);

const KEY_GONE: Fault =
    Fault::NotReady("the node has no root key for this engine's macaroon any more");

/// Lives for ever.
pub(crate) async fn live(shared: Rc<Shared>, kill: watch::Receiver<()>) {
    let mut failures = 0;
    let mut last_reason = String::new();
    loop {
        let fault = match open(&shared, kill.clone(), &mut last_reason).await {
            Ok((session, info, credentials)) => {
                let opened = Instant::now();
                let fault =
                    watch_session(&shared, session, info, credentials, &mut last_reason).await;
                if opened.elapsed() > STABLE {
                    failures = 0;
                }
                fault
            }
            Err(fault) => fault,
        };
        shared.session.take();
        let fault = match fault {
            Fault::Call(_, fault) if shared.is_key_gone(&fault, &Weak::new()) => KEY_GONE,
            other => other,
        };
        if let Fault::Fenced { epoch, reason } = &fault {
            shared.report(NodeEvent::Fenced { epoch: *epoch, reason: reason.clone() });
        }
        let reason = chain(&fault);
        report_disconnected(&shared, &reason, &mut last_reason);
        if shared.owes_answer.get() {
            shared.report_withdrawn(Err(reason), shared.config.key_at.may_be());
        }
        tokio::select! {
            () = tokio::time::sleep(shared.config.pause(failures)) => {}
            // Its key is to go at once: nobody waits for long.
            () = shared.owes.notified() => {}
        }
        failures = failures.saturating_add(1);
    }
}

/// Says why the node cannot be used, once per reason.
fn report_disconnected(shared: &Shared, reason: &str, last_reason: &mut String) {
    if reason != last_reason {
        tracing::warn!(node = shared.config.name, reason, "node cannot be used");
        shared.report(NodeEvent::Disconnected { reason: reason.to_owned() });
        reason.clone_into(last_reason);
    }
}

/// Connects, and waits until the node can be used.
async fn open(
    shared: &Shared,
    kill: watch::Receiver<()>,
    last_reason: &mut String,
) -> Result<(Rc<Session>, NodeInfo, Credentials), Fault> {
    let credentials = Credentials::read(&shared.config).await?;
    let mut session = Session::open(&shared.config, &credentials, kill).await?;
    wait_until_active(&session, |state| report_disconnected(shared, state, last_reason)).await?;
    not_withdrawn(shared, &session).await?;
    if let Some(guard) = &shared.config.guard {
        let had_key = shared.has_key.get() || is_where_the_key_was(shared, &session).await?;
        let is_withdrawn = || shared.withdrawn.get();
        let (baked, older) =
            guard::bake(&session, &shared.config, guard, had_key, is_withdrawn).await?;
        shared.has_key.set(true);
        session.use_macaroon(baked);
        session.older.replace(older);
        not_withdrawn(shared, &session).await?;
    }
    let info = loop {
        let info: lnrpc::GetInfoResponse =
            session.read(GET_INFO, &lnrpc::GetInfoRequest {}).await?;
        if shared.has_key.get() {
            shared.config.key_at.is_at(&node_info(&info, 0)?.identity_pubkey);
        }
        if info.synced_to_chain {
            break info;
        }
        not_withdrawn(shared, &session).await?;
        report_disconnected(shared, "the node is not in sync with its chain", last_reason);
        tokio::time::sleep(SYNC_INTERVAL).await;
    };
    let info = node_info(&info, session.clock_offset_ms().await?)?;
    session.dial_payments().await?;
    not_withdrawn(shared, &session).await?;
    Ok((Rc::new(session), info, credentials))
}

/// The engine goes on, or its key goes: the command that withdrew it found no session.
async fn not_withdrawn(shared: &Shared, session: &Session) -> Result<(), Fault> {
    if !shared.withdrawn.get() {
        return Ok(());
    }
    if let Some(key) = shared.config.key_at.may_be() {
        guard::revoke(session, &shared.config, Whose::Own).await?;
        shared.report_withdrawn(Ok(()), Some(key));
    }
    Err(WITHDRAWN)
}

/// An adapter before this one had this engine's key at this very node. Asked with the node's own
/// macaroon: another node may have its name by now, where no key is missing.
async fn is_where_the_key_was(shared: &Shared, session: &Session) -> Result<bool, Fault> {
    let Some(was_at) = shared.config.key_at.was_at() else {
        return Ok(false);
    };
    let info: lnrpc::GetInfoResponse = session.read(GET_INFO, &lnrpc::GetInfoRequest {}).await?;
    Ok(node_info(&info, 0)?.identity_pubkey == was_at)
}

fn node_info(info: &lnrpc::GetInfoResponse, clock_offset_ms: i64) -> Result<NodeInfo, Fault> {
    convert::node_info(info, clock_offset_ms)
        .ok_or(Fault::NotReady("the node's identity is not a key"))
}

async fn wait_until_active(session: &Session, mut report: impl FnMut(&str)) -> Result<(), Fault> {
    let head = Head { path: SUBSCRIBE_STATE, macaroon: None, timeout: None };
    let fault = |fault| Fault::Call(SUBSCRIBE_STATE, fault);
    let mut states = session
        .reads
        .start(head, &lnrpc::SubscribeStateRequest {})
        .map_err(|_| Fault::ConnectionLost)?;
    while let Some(answer) =
        states.message::<lnrpc::SubscribeStateResponse>().await.map_err(fault)?
    {
        match WalletState::try_from(answer.state) {
            Ok(WalletState::ServerActive) => return Ok(()),
            Ok(WalletState::NonExisting) => report("the node has no wallet"),
            Ok(WalletState::Locked) => report("the node's wallet is locked"),
            Ok(WalletState::Unlocked | WalletState::RpcActive | WalletState::WaitingToStart) => {
                report("the node is starting");
            }
            Err(_) => report("the node is in a state that is not known"),
        }
    }
    Err(Fault::ConnectionLost)
}

/// When the next regular question is due.
struct Due {
    channels: Instant,
    info: Instant,
    clock: Instant,
    files: Instant,
}

/// Watches a node that can be used until it cannot.
async fn watch_session(
    shared: &Rc<Shared>,
    session: Rc<Session>,
    info: NodeInfo,
    credentials: Credentials,
    last_reason: &mut String,
) -> Fault {
    let subscription =
        session.subscribe(SUBSCRIBE_CHANNEL_EVENTS, &lnrpc::ChannelEventSubscription {});
    let mut changes = match subscription {
        Ok(call) => call,
        Err(fault) => return fault,
    };
    // A macaroon without the right to list channels makes a node that cannot be used.
    let channels = match shared.channels.read(&session).await {
        Ok(channels) => channels,
        Err(fault) => return fault,
    };
    let _slots: Vec<Task> = (0..session.payments.len())
        .map(|slot| Task::start(keep_open(Rc::clone(&session), slot, shared.config.clone())))
        .collect();
    shared.session.replace(Some(Rc::clone(&session)));
    last_reason.clear();
    shared.report(NodeEvent::Connected(info.clone()));
    shared.report(NodeEvent::Channels(channels));
    let now = Instant::now();
    let mut watch = Watch {
        due: Due {
            channels: now + ms(shared.config.channels_interval_ms),
            info: now + ms(shared.config.info_interval_ms),
            clock: now + ms(shared.config.clock_interval_ms),
            files: now + ms(shared.config.files_interval_ms),
        },
        last_read: Some(now),
        shared,
        session: &session,
        info,
        credentials,
        bad_files: String::new(),
    };
    loop {
        let next = watch.next_due();
        tokio::select! {
            change = changes.message::<lnrpc::ChannelEventUpdate>() => match change {
                Ok(Some(_)) => watch.want_channels(),
                Ok(None) => return Fault::ConnectionLost,
                Err(fault) => return Fault::Call(SUBSCRIBE_CHANNEL_EVENTS, fault),
            },
            () = shared.channels.wanted() => watch.want_channels(),
            () = session.reads.closed() => return Fault::ConnectionLost,
            () = session.key_gone.notified() => return KEY_GONE,
            () = shared.owes.notified() => {
                if let Err(fault) = not_withdrawn(shared, &session).await {
                    return fault;
                }
            }
            () = tokio::time::sleep_until(next) => {
                if let Err(fault) = watch.ask().await {
                    return fault;
                }
            }
        }
    }
}

/// A node that is watched.
struct Watch<'a> {
    due: Due,
    /// When the channels were read last.
    last_read: Option<Instant>,
    shared: &'a Shared,
    session: &'a Session,
    info: NodeInfo,
    credentials: Credentials,
    /// What is wrong with the files now; empty when nothing is.
    bad_files: String,
}

impl Watch<'_> {
    fn next_due(&self) -> Instant {
        self.due.channels.min(self.due.info).min(self.due.clock).min(self.due.files)
    }

    /// Has the channels read soon: many changes in a row need one read.
    fn want_channels(&mut self) {
        let shortest = ms(self.shared.config.channels_interval_ms_min);
        let soon = self.last_read.map_or_else(Instant::now, |last| last + shortest);
        self.due.channels = self.due.channels.min(soon);
    }

    /// Asks everything that is due.
    async fn ask(&mut self) -> Result<(), Fault> {
        let config = &self.shared.config;
        let now = Instant::now();
        if self.due.channels <= now {
            self.due.channels = now + ms(config.channels_interval_ms);
            self.last_read = Some(now);
            self.read_channels().await?;
        }
        if self.due.info <= now || self.due.clock <= now {
            let with_clock = self.due.clock <= now;
            self.due.info = now + ms(config.info_interval_ms);
            if with_clock {
                self.due.clock = now + ms(config.clock_interval_ms);
            }
            self.read_info(with_clock).await?;
        }
        if self.due.files <= now {
            self.due.files = now + ms(config.files_interval_ms);
            self.read_files().await?;
        }
        Ok(())
    }

    /// Looks at the files again. What cannot be used changes nothing, and is told once.
    async fn read_files(&mut self) -> Result<(), Fault> {
        let config = &self.shared.config;
        let read = Credentials::read(config).await;
        let checked = read.and_then(|read| read.check(config).map(|_| read));
        let reason = match checked {
            Ok(read) if read != self.credentials => return Err(Fault::NewCredentials),
            Ok(_) => String::new(),
            Err(fault) => chain(&fault),
        };
        if !reason.is_empty() && reason != self.bad_files {
            tracing::warn!(
                node = config.name,
                reason,
                "a file of the node cannot be used: the \
                connection with the one before stays"
            );
        }
        self.bad_files = reason;
        Ok(())
    }

    async fn read_channels(&self) -> Result<(), Fault> {
        self.shared.report(NodeEvent::Channels(self.shared.channels.read(self.session).await?));
        Ok(())
    }

    async fn read_info(&mut self, with_clock: bool) -> Result<(), Fault> {
        let answer: lnrpc::GetInfoResponse =
            self.session.read(GET_INFO, &lnrpc::GetInfoRequest {}).await?;
        if !answer.synced_to_chain {
            return Err(Fault::NotReady("the node is not in sync with its chain"));
        }
        let mut clock_offset_ms = self.info.clock_offset_ms;
        if with_clock {
            let found = self.session.clock_offset_ms().await?;
            if (found - clock_offset_ms).abs() > CLOCK_CHANGE_MS {
                clock_offset_ms = found;
            }
        }
        let info = node_info(&answer, clock_offset_ms)?;
        if info != self.info {
            self.info = info.clone();
            self.shared.report(NodeEvent::Connected(info));
        }
        Ok(())
    }
}

/// Keeps one payment connection open while the session lasts.
async fn keep_open(session: Rc<Session>, slot: usize, config: LndConfig) {
    loop {
        let connection = session.payments[slot].borrow().clone();
        if let Some(connection) = connection {
            connection.closed().await;
            session.payments[slot].replace(None);
        }
        let mut failures = 0;
        let opened = loop {
            // Also before the first: a node that closes at once is not hammered.
            tokio::time::sleep(config.pause(failures)).await;
            match session.dialer.dial().await {
                Ok(connection) => break connection,
                Err(fault) => tracing::debug!(error = %fault, "payment connection cannot be made"),
            }
            failures = failures.saturating_add(1);
        };
        session.payments[slot].replace(Some(opened));
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
