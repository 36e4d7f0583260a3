//! `serve`: the life of the engine's process.
//!
//! ```text
//!  configuration ─► admin listener ─► journal ─► actors, nodes ─► doors ─► ready
//!                     (not ready)                                            │ SIGTERM
//!                                    exit 0 ◄─ journal flushed ◄─ no new orders
//! ```
//!
//! Whatever goes wrong, the last line on standard error says what to do.

mod files;
mod gauges;
mod memory;
mod options;
mod reload;

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use fulgurite_config::Config;
use fulgurite_core::{PaymentHash, book::Book};
use fulgurite_lnd::OwnKeys;
use fulgurite_runtime::{Engine, clone_guard, fleet};
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tracing::{info, warn};

use crate::{Doors, admin, check::Checker, cli::exit::Exit, telemetry};

/// The doors' threads; the actors, the journal and the invoice check have their own.
const DOOR_THREADS: usize = 2;
/// Calls that are under way get so long to end when the engine stops.
const CALLS_MAX: Duration = Duration::from_millis(1_500);
/// Then the journal gets so long to be flushed: together below 5 s.
const FLUSH_MAX: Duration = Duration::from_secs(3);
/// Connections that wait to be taken; the kernel has a maximum of its own (`somaxconn`).
const QUEUE_MAX: u32 = 4_096;
/// How often the identity keys of our nodes are read again.
const KEYS_EVERY: Duration = Duration::from_millis(100);
/// How often an operator is told that anybody may come in.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How the engine is run.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The configuration. Without one, the defaults hold: `fulgurite config explain`.
    #[arg(long, env = "FULGURITE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A payment hash that the last line of exit code 75 named. Its payment becomes unresolved, and
    /// the start goes on. Only when no newer copy of the journal and no second engine exists, and a
    /// person paid it by hand: check that first. May be given several times.
    #[arg(
        long,
        env = "FULGURITE_ACCEPT_PAID_ELSEWHERE",
        value_name = "HASH",
        value_delimiter = ',',
        value_parser = payment_hash
    )]
    accept_paid_elsewhere: Vec<PaymentHash>,
    /// The number that the last line of exit code 75 named, when another engine has a copy of this
    /// journal: this one takes over, and the other is cut off. Only when that engine is stopped for
    /// good, and this journal is the newest. Holds for this one refusal.
    #[arg(long, env = "FULGURITE_TAKE_OVER", value_name = "NUMBER")]
    take_over: Option<u64>,
    /// Ends with the process that started it.
    #[arg(long, hide = true, value_name = "PID")]
    parent: Option<u32>,
}

/// Why the engine does not run, for the last line on standard error.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    message: String,
}

/// Runs the engine until SIGTERM or SIGINT.
pub fn run(args: &ServeArgs) -> Exit {
    if let Some(parent) = args.parent {
        crate::demo::child::die_with_parent(parent);
    }
    match start(args) {
        Ok(()) => Exit::SUCCESS,
        Err(failure) => {
            eprintln!("fulgurite: {}", failure.message);
            failure.exit
        }
    }
}

fn start(args: &ServeArgs) -> Result<(), Failure> {
    let config = match &args.config {
        Some(path) => Config::load(path).map_err(|fault| {
            misconfigured(format!(
                "{fault}\nfulgurite: correct the configuration, then start again"
            ))
        })?,
        None => Config::default(),
    };
    telemetry::start(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(DOOR_THREADS)
        .thread_name("doors")
        .enable_all()
        .build()
        .map_err(|error| misconfigured(format!("no threads can be started: {error}")))?;
    let served = runtime.block_on(serve(config, args));
    // What is left of calls ends with the process.
    runtime.shutdown_background();
    served
}

async fn serve(config: Config, args: &ServeArgs) -> Result<(), Failure> {
    let started = Instant::now();
    // Before the journal: a start that is stopped halfway ends in order, too.
    let deaf = |error| misconfigured(format!("no signals can be received: {error}"));
    let mut signal = StopSignal::new().map_err(deaf)?;
    let hangup = reload::hangup().map_err(deaf)?;
    let admin = admin::Admin::new();
    let listener = bind("admin.listen", config.admin.listen)?;
    tokio::spawn(admin::serve(listener, admin.clone()));
    let mut opening = std::pin::pin!(open_engine(&config, args));
    let (engine, keys) = tokio::select! {
        opened = &mut opening => opened?,
        () = signal.received() => {
            // A process that ends while RocksDB opens on another thread can crash in RocksDB's own
            // end: the journal is opened first, and closed in order.
            info!("stopping as soon as the journal is open");
            opening.await?.0.stop().await;
            return Ok(());
        }
    };
    // Before anything is acknowledged: an old copy of the journal is not to take orders.
    let start_wait = Duration::from_millis(u64::from(config.witness.start_wait_ms));
    if tokio::time::timeout(start_wait, engine.wait_compared()).await.is_err() {
        info!("the doors open before every node was compared with the journal");
    }
    let (doors, open) = open_doors(&config, &engine).await?;
    admin.started(engine.clone());
    tokio::spawn(read_node_keys(doors.clone()));
    tokio::spawn(memory::give_back(engine.clone()));
    if config.access.allow_unauthenticated_network {
        tokio::spawn(warn_of_open_network());
    }
    let recovery_ms = started.elapsed().as_millis();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        network = config.engine.network.name(),
        nodes = config.nodes.len(),
        recovery_ms,
        "serving"
    );
    tokio::spawn(reload::serve(
        hangup,
        args.config.clone(),
        config.clone(),
        (engine.clone(), keys),
    ));
    signal.received().await;
    stop(&engine, &doors, open).await;
    Ok(())
}

/// Opens the journal and starts the actors and the nodes' connections on what it recovered.
/// Also returns this engine's keys for the clone guard.
async fn open_engine(config: &Config, args: &ServeArgs) -> Result<(Engine, OwnKeys), Failure> {
    let journal = options::journal(config);
    let folder = config.engine.data_dir.display().to_string();
    // Before the start is written: one that is refused changes nothing.
    let names: Vec<String> = config.nodes.iter().map(|node| node.name.clone()).collect();
    let taken_over = args.take_over;
    let may_start = move |book: &Book| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        fleet::all_configured(book, &names).map_err(|open| misconfigured(open.to_string()))?;
        let fenced = |refused: clone_guard::Refused| Failure {
            exit: Exit::FENCED,
            message: refused.to_string(),
        };
        clone_guard::may_start(book, taken_over).map_err(fenced)
    };
    let open = move || fulgurite_journal::open_if(journal, crate::doors::now(), may_start);
    let opened = tokio::task::spawn_blocking(open).await;
    let opened = match opened {
        Ok(Ok(Ok(opened))) => opened,
        Ok(Ok(Err(refused))) => return Err(refused),
        Ok(Err(error)) => return Err(broken_journal(&folder, &with_causes(&error))),
        Err(panic) => return Err(broken_journal(&folder, &panic.to_string())),
    };
    clone_guard::take_over(&opened);
    let keys = OwnKeys::new(clone_guard::guard_key(&opened));
    let mut options = options::runtime(config, &keys);
    options.witness.accepted = args.accept_paid_elsewhere.clone();
    Ok((fulgurite_runtime::start(options, opened), keys))
}

/// Opens both doors; the tasks end when the doors are stopped.
async fn open_doors(config: &Config, engine: &Engine) -> Result<(Doors, JoinSet<()>), Failure> {
    let metrics = std::sync::Arc::clone(engine.metrics());
    let record = std::sync::Arc::new(move |us| {
        metrics.record(fulgurite_runtime::metrics::Stage::Check, Duration::from_micros(us));
    });
    let checker = Checker::start(options::rules(config), record)
        .map_err(|error| misconfigured(format!("the invoice check does not start: {error}")))?;
    let limits = files::within(options::limits(config), files::raise());
    let doors = Doors::new(engine.clone(), checker, limits, options::batch(config));
    add_node_keys(&doors);
    gauges::register(engine, &doors, config.access.allow_unauthenticated_network);
    let grpc = bind("grpc.listen", config.grpc.listen)?;
    let http = bind("http.listen", config.http.listen)?;
    let mut open = JoinSet::new();
    open.spawn(crate::grpc::serve(grpc, doors.clone()));
    open.spawn(crate::http::serve(http, doors.clone()));
    Ok((doors, open))
}

/// Lets the calls under way end, then flushes the journal.
async fn stop(engine: &Engine, doors: &Doors, mut open: JoinSet<()>) {
    info!("stopping: no new orders");
    doors.stop();
    let ended = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(CALLS_MAX, ended).await.is_err() {
        info!("calls that did not end are cut");
    }
    if tokio::time::timeout(FLUSH_MAX, engine.stop()).await.is_err() {
        warn!("the journal took too long to stop; what was acknowledged is on disk");
    }
    info!("stopped");
}

/// Invoices of our own nodes are refused: their keys are in the journal once they have connected.
async fn read_node_keys(doors: Doors) {
    loop {
        tokio::time::sleep(KEYS_EVERY).await;
        add_node_keys(&doors);
    }
}

fn add_node_keys(doors: &Doors) {
    for node in doors.engine.nodes() {
        doors.checker.own_nodes().add(&node.identity_pubkey);
    }
}

async fn warn_of_open_network() {
    loop {
        warn!("access.allow_unauthenticated_network is true: anybody who gets here can pay");
        tokio::time::sleep(WARN_EVERY).await;
    }
}

/// A listener as tokio makes it, but with a longer queue: clients whose burst overflows it believe
/// that they are connected, and nobody answers them.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE_MAX)
}

fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = listen(address).map_err(|error| {
        misconfigured(format!(
            "{address} cannot be opened: {error}; end what has it (is this engine running \
             already? then its journal is in use, too), or set another {key}"
        ))
    })?;
    info!(listener = key, address = %listener.local_addr().unwrap_or(address), "listening");
    Ok(listener)
}

/// SIGTERM and SIGINT. Both are caught from the moment that it is made.
#[derive(Debug)]
pub struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    /// Catches both from now on.
    ///
    /// # Errors
    /// When the process can receive no signals.
    pub fn new() -> std::io::Result<StopSignal> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(StopSignal { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn payment_hash(text: &str) -> Result<PaymentHash, String> {
    let mut hash = [0; 32];
    match hex::decode_to_slice(text, &mut hash) {
        Ok(()) => Ok(PaymentHash(hash)),
        Err(_) => Err("a payment hash is 64 hexadecimal digits".to_owned()),
    }
}

fn misconfigured(message: String) -> Failure {
    Failure { exit: Exit::CONFIG, message }
}

fn broken_journal(folder: &str, why: &str) -> Failure {
    let message = format!(
        "the journal in {folder} cannot be used: {why}; nothing was sent. For a damaged one, \
         `fulgurite journal verify {folder}` says where"
    );
    Failure { exit: Exit::JOURNAL, message }
}

/// An error with everything below it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        below = cause.source();
    }
    text
}
