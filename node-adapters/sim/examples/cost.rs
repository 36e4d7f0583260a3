//! What a payment costs the simulation: CPU of the nodes' threads per payment, with a client in
//! another process that keeps a fixed number of payments in flight.
//!
//! ```text
//! cargo run --release -p fulgurite-sim --example cost -- [payments] [concurrency] [latency_ms]
//! ```

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fulgurite_proto::lnrpc::payment::PaymentStatus;
use fulgurite_sim::{
    Fleet, FleetConfig, FleetFile, InvoiceOrder, Knobs, Status, make_invoices, read_books,
};
use support::{Router, router, send_request};

#[path = "../tests/support/mod.rs"]
mod support;

type Fault = Box<dyn std::error::Error>;

fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: usize| {
        arguments.get(place).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if arguments.first().is_some_and(|first| first == "client") {
        let dir = Path::new(&arguments[1]);
        let local = tokio::task::LocalSet::new();
        return runtime.block_on(local.run_until(client(dir, number(2, 1), number(3, 256))));
    }
    let (payments, concurrency) = (number(0, 50_000), number(1, 256));
    let dir = tempfile::tempdir()?;
    let knobs = Knobs { latency_ms: number(2, 0) as f64, ..Knobs::default() };
    let config =
        FleetConfig { nodes: 2, dir: dir.path().to_owned(), knobs, ..FleetConfig::default() };
    let fleet = runtime.block_on(Fleet::start(config))?;
    let before = cpu_micros()?;
    let begun = Instant::now();
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(["client".as_ref(), dir.path().as_os_str()])
        .args([payments.to_string(), concurrency.to_string()])
        .spawn()?;
    child.wait()?;
    let cost = (cpu_micros()? - before) as f64 / payments as f64;
    let took = begun.elapsed().as_secs_f64();
    drop(fleet);
    let books = read_books(dir.path())?;
    let paid = books.iter().filter(|entry| entry.status == Status::Succeeded).count();
    println!("{paid} paid, {cost:.1} us of CPU each, {:.0} wall s with invoices", took);
    Ok(())
}

/// Pays with `concurrency` payments in flight over two connections to each node.
async fn client(dir: &Path, payments: usize, concurrency: usize) -> Result<(), Fault> {
    let invoices = make_invoices(&InvoiceOrder { count: payments, ..InvoiceOrder::default() })?;
    let invoices: Arc<[_]> = invoices.into();
    let next = Arc::new(AtomicUsize::new(0));
    let nodes = FleetFile::read(dir)?.nodes;
    let mut routers = Vec::new();
    for node in nodes.iter().chain(&nodes) {
        routers.push(router(node).await);
    }
    let begun = Instant::now();
    let workers: Vec<_> = (0..concurrency)
        .map(|worker| {
            let mut router = routers[worker % routers.len()].clone();
            let (invoices, next) = (Arc::clone(&invoices), Arc::clone(&next));
            tokio::task::spawn_local(async move {
                while let Some(invoice) = invoices.get(next.fetch_add(1, Ordering::Relaxed)) {
                    pay(&mut router, &invoice.bolt11).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await?;
    }
    let rate = payments as f64 / begun.elapsed().as_secs_f64();
    println!("{rate:.0} payments/s at {concurrency}");
    Ok(())
}

async fn pay(router: &mut Router, bolt11: &str) {
    let mut request = tonic::Request::new(send_request(bolt11));
    request.set_timeout(Duration::from_secs(10));
    let Ok(response) = router.send_payment_v2(request).await else {
        return;
    };
    let mut stream = response.into_inner();
    while let Ok(Some(payment)) = stream.message().await {
        assert_ne!(payment.status(), PaymentStatus::Failed);
    }
}

/// What this process has used so far, user and system, in microseconds.
fn cpu_micros() -> Result<u64, Fault> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').ok_or("no process")?.1;
    let ticks: Result<Vec<u64>, _> =
        fields.split_whitespace().skip(11).take(2).map(str::parse).collect();
    // 100 ticks a second on every Linux.
    Ok(ticks?.iter().sum::<u64>() * 10_000)
}
