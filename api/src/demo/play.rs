//! What happens on the stage: invoices, the upload and its kill, the payments and theirs.

use std::{
    cell::RefCell,
    path::Path,
    time::{Duration, Instant},
};

use fulgurite_proto::fulgurite::v1 as proto;
use fulgurite_sim::InvoiceOrder;
use tokio::sync::watch as latest;

use super::{DemoArgs, cast::Cast};
use crate::cli::{
    client::Client,
    exit::Fault,
    input::Input,
    progress::Progress,
    results::Results,
    submit::{self, Note, Upload, Uploaded},
    watch::{self, Shown},
};

/// The engine and the node that are killed come back; the client waits so long for them.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the killed node stays away.
const NODE_AWAY: Duration = Duration::from_millis(700);
/// The node that is killed.
const NODE_KILLED: usize = 1;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Played {
    /// The batch at its end.
    pub batch: proto::Batch,
    /// Every payment, as the engine sees it.
    pub results: Vec<proto::Payment>,
    /// How many orders were sent.
    pub orders: usize,
    /// How often the engine was killed.
    pub engine_kills: u32,
    /// How many batches the engine has, though the upload was repeated.
    pub batches: usize,
    /// Uploading the same file once more led to the same batch.
    pub replayed: bool,
    /// From the first row to the last outcome.
    pub took: Duration,
    /// From the start of the upload to its acceptance.
    pub upload_took: Duration,
}

/// Plays all of it.
///
/// # Errors
/// What kept it from being played to its end.
pub async fn play(cast: &mut Cast, folder: &Path, args: &DemoArgs) -> Result<Played, Fault> {
    let upload = upload(folder, args)?;
    let client = Client::new(&cast.endpoint, PATIENCE)?;
    let started = Instant::now();
    let mut progress = Progress::new("sending", upload.orders.len(), false);
    progress.line("uploading; the engine is killed halfway (SIGKILL), the upload repeated");
    let (accepted, upload_kills) =
        upload_with_kill(&client, &upload, (cast, &mut progress)).await?;
    let upload_took = started.elapsed();
    progress.line(&format!("accepted: {}", accepted.batch_id));
    let progress = RefCell::new(progress);
    let batch = watch_with_kills(&client, &accepted, (cast, &progress)).await?;
    let took = started.elapsed();
    progress.borrow().finish();
    eprintln!("comparing with the nodes' own books");
    let results = Results::fetch(&client, &batch.batch_id, &[]).await?;
    let again = submit::submit(&client, &upload, &mut |_| ()).await?;
    let replayed = matches!(&again, Uploaded::Accepted { batch: same, replayed: true, .. }
        if same.batch_id == batch.batch_id);
    Ok(Played {
        batches: count_batches(&client).await?,
        batch,
        results: results.payments,
        orders: upload.orders.len(),
        engine_kills: upload_kills + 1,
        replayed,
        took,
        upload_took,
    })
}

/// Makes the invoices, and a CSV file of them that is read like anybody's.
fn upload(folder: &Path, args: &DemoArgs) -> Result<Upload, Fault> {
    eprintln!("making {} BOLT 11 invoices", args.orders);
    let order = InvoiceOrder {
        seed: args.seed,
        count: args.orders as usize,
        amount_msat: 1_000_000..=50_000_000,
        expiry: Duration::from_secs(3_600),
        ..InvoiceOrder::default()
    };
    let invoices =
        fulgurite_sim::make_invoices(&order).map_err(|fault| Fault::Failed(fault.to_string()))?;
    let mut csv = String::from("destination,reference\n");
    for (row, invoice) in (1..).zip(&invoices) {
        csv += &format!("{},payout-{row}\n", invoice.bolt11);
    }
    let path = folder.join("payouts.csv");
    std::fs::write(&path, csv).map_err(|error| Fault::Failed(error.to_string()))?;
    let input = Input::read(&path, None)?;
    Ok(Upload {
        key: input.default_key(),
        orders: input.orders,
        digest: input.digest,
        options: proto::BatchOptions { attempts_max: Some(20), ..Default::default() },
        description: "demo".into(),
        metadata: Default::default(),
        validate_only: false,
    })
}

/// Uploads, and kills the engine when half of the rows are on their way.
async fn upload_with_kill(
    client: &Client,
    upload: &Upload,
    (cast, progress): (&mut Cast, &mut Progress),
) -> Result<(proto::Batch, u32), Fault> {
    let half = upload.orders.len() / 2;
    let mut kills = 0;
    let mut killed = Ok(());
    let mut note = |note: Note| {
        if matches!(note, Note::Sending(rows) if rows >= half) && kills == 0 {
            kills += 1;
            progress.line("killing the engine in the upload");
            killed = cast.kill_engine();
        }
        progress.note(&note);
    };
    let uploaded = submit::submit(client, upload, &mut note).await;
    killed?;
    match uploaded? {
        Uploaded::Accepted { batch, .. } => Ok((*batch, kills)),
        Uploaded::Refused(rows) => {
            let first = rows.first().map(|row| format!("row {}: {}", row.row, row.message));
            let first = first.unwrap_or_default();
            Err(Fault::Refused(format!("{} rows were refused; {first}", rows.len())))
        }
    }
}

/// Watches the batch to its end while the engine and a node are killed.
async fn watch_with_kills(
    client: &Client,
    accepted: &proto::Batch,
    (cast, progress): (&mut Cast, &RefCell<Progress>),
) -> Result<proto::Batch, Fault> {
    let (outcomes, seen) = latest::channel(0);
    let mut payment = |_: &proto::Payment| outcomes.send_modify(|count| *count += 1);
    let mut note = |note: Note| progress.borrow_mut().note(&note);
    let shown = Shown { payment: &mut payment, note: &mut note };
    let orders = accepted.counts.unwrap_or_default().order_count;
    let watching = async {
        let watched = watch::watch(client, &accepted.batch_id, shown).await;
        // Whoever still waits for outcomes has seen the last.
        outcomes.send_replace(i32::MAX);
        watched
    };
    let (watched, ()) = tokio::try_join!(watching, kills(cast, progress, (seen, orders)))?;
    Ok(watched.batch().clone())
}

/// Kills the engine after 30 % of the outcomes, and a node after 60 %.
async fn kills(
    cast: &mut Cast,
    progress: &RefCell<Progress>,
    (mut seen, orders): (latest::Receiver<i32>, i32),
) -> Result<(), Fault> {
    let mut after = async |percent: i32| {
        // The sender lives as long as the watch.
        let _ = seen.wait_for(|count| *count >= orders / 100 * percent).await;
    };
    after(30).await;
    progress.borrow().line("killing the engine in the middle of the batch");
    cast.kill_engine()?;
    after(60).await;
    let node = &mut cast.nodes[NODE_KILLED];
    progress.borrow().line(&format!("killing {}", node.name));
    node.kill();
    tokio::time::sleep(NODE_AWAY).await;
    progress.borrow().line(&format!("starting {} again", node.name));
    node.spawn().map_err(|error| Fault::Failed(error.to_string()))
}

async fn count_batches(client: &Client) -> Result<usize, Fault> {
    let request = proto::ListBatchesRequest { page_size: 1_000, ..Default::default() };
    let page = client.read(async || client.batches().list_batches(request.clone()).await);
    Ok(page.await?.batches.len())
}
