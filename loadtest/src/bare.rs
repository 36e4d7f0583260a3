//! The bare client: nothing but SendPaymentV2, nothing kept. What an engine is measured against.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fulgurite_lnd::MacaroonInterceptor;
use fulgurite_proto::{
    lnrpc::{Payment, payment::PaymentStatus},
    routerrpc::{SendPaymentRequest, router_client::RouterClient},
};
use fulgurite_sim::{Invoice, Knobs, NodeInfo};
use tokio::task::JoinSet;
use tonic::{Status, service::interceptor::InterceptedService, transport::Channel};

use crate::{
    process::own_cpu,
    scene::{Fleet, Folder},
};

/// A connection to one node.
pub(crate) type Router = RouterClient<InterceptedService<Channel, MacaroonInterceptor>>;

/// One run of the bare client.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// How many payments were in flight at once, over all nodes.
    pub concurrency: usize,
    /// From the first send to the last outcome.
    pub took: Duration,
    /// The client's processor time.
    pub client_cpu: Duration,
    /// The nodes' processor time.
    pub sim_cpu: Duration,
}

/// Pays `invoices` over new nodes.
///
/// # Errors
/// When one is not paid.
pub async fn run(invoices: &Arc<Vec<Invoice>>, concurrency: usize) -> Result<Run> {
    let folder = Folder::new()?;
    let fleet = Fleet::start(&folder.path, &Knobs::default()).await?;
    let mut routers = Vec::new();
    for node in &fleet.nodes {
        routers.push(connect(node).await?);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let (sim_before, own_before) = (fleet.process.cpu()?, own_cpu()?);
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for number in 0..concurrency {
        let router = routers[number % routers.len()].clone();
        workers.spawn(work(router, Arc::clone(invoices), Arc::clone(&next)));
    }
    let mut paid = 0;
    while let Some(worker) = workers.join_next().await {
        paid += worker??;
    }
    let took = started.elapsed();
    ensure!(paid == invoices.len(), "{paid} of {} payments were paid", invoices.len());
    Ok(Run {
        concurrency,
        took,
        client_cpu: own_cpu()? - own_before,
        sim_cpu: fleet.process.cpu()? - sim_before,
    })
}

/// Connects to one node.
///
/// # Errors
/// When it does not answer.
pub(crate) async fn connect(node: &NodeInfo) -> Result<Router> {
    let (certificate, macaroon) = (fs::read(&node.tls_cert)?, fs::read(&node.macaroon)?);
    let connected = fulgurite_lnd::connect(&node.address, &certificate, &macaroon).await;
    let (channel, interceptor) = connected.with_context(|| node.name.clone())?;
    Ok(RouterClient::with_interceptor(channel, interceptor))
}

/// Pays one invoice after the other until none is left; how many were paid.
async fn work(
    mut router: Router,
    invoices: Arc<Vec<Invoice>>,
    next: Arc<AtomicUsize>,
) -> Result<usize> {
    let mut paid = 0;
    while let Some(invoice) = invoices.get(next.fetch_add(1, Ordering::Relaxed)) {
        let status = pay(&mut router, invoice).await.context("SendPaymentV2")?.status();
        ensure!(status == PaymentStatus::Succeeded, "a payment ended {}", status.as_str_name());
        paid += 1;
    }
    Ok(paid)
}

/// One call, as the engine makes it, read to its end; the last that the node said.
///
/// # Errors
/// When the call breaks.
pub(crate) async fn pay(router: &mut Router, invoice: &Invoice) -> Result<Payment, Status> {
    // A fee that does not fit is refused by the node, not here.
    let fee_limit_msat = i64::try_from(10_000 + invoice.amount_msat / 200).unwrap_or(i64::MAX);
    let request = SendPaymentRequest {
        payment_request: invoice.bolt11.clone(),
        timeout_seconds: 30,
        fee_limit_msat,
        max_parts: 16,
        ..SendPaymentRequest::default()
    };
    let mut stream = router.send_payment_v2(request).await?.into_inner();
    let mut last = Payment::default();
    while let Some(payment) = stream.message().await? {
        last = payment;
    }
    Ok(last)
}
