//! `batch`: submits, watches and steers batches.

use clap::{Args, Subcommand, ValueEnum};
use fulgurite_proto::fulgurite::v1 as proto;

use super::{
    To,
    client::Client,
    exit::{Exit, Fault},
    human::{self, Column, Side, grouped, sat},
    print_line, print_outcome,
    progress::Progress,
    results::{self, Results},
    watch::{self, Shown},
    words,
};
use crate::wire;

/// The columns of `batch list`: 79 wide.
const LIST: [Column; 5] = [
    ("BATCH", 40, Side::Left),
    ("CREATED UTC", 11, Side::Left),
    ("STATE", 10, Side::Left),
    ("ORDERS", 7, Side::Right),
    ("PAID", 7, Side::Right),
];

mod submit;

/// What to do with batches.
#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// Uploads a CSV or NDJSON file and watches it to its end.
    #[command(after_help = submit::FILES)]
    Submit(submit::SubmitArgs),
    /// Shows a batch.
    Get(Which),
    /// Follows a batch until every payment is final.
    Watch(Which),
    /// Starts no more attempts of a batch; what is in flight ends.
    Pause(Which),
    /// Starts attempts of a batch again.
    Resume(Which),
    /// Cancels what has no attempt in flight.
    Cancel(Which),
    /// Lists batches, newest first.
    List(ListArgs),
    /// Prints the rows of a batch as CSV, or with --json an object a row.
    Results(ResultsArgs),
}

/// Which batch: by its id or by the key that it was submitted with.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Its id.
    #[arg(value_name = "BATCH")]
    batch_id: Option<String>,
    /// The key that it was submitted with.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

/// Which batches.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only those in this state.
    #[arg(long, value_enum)]
    state: Option<BatchState>,
    /// Also payments that came alone.
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BatchState {
    Running,
    Paused,
    Cancelling,
    Finished,
}

/// Which rows, and how.
#[derive(Debug, Args)]
pub struct ResultsArgs {
    #[command(flatten)]
    which: Which,
    /// Only payments in this state.
    #[arg(long, value_enum)]
    state: Option<PaymentState>,
    /// Results, or a file that can be submitted again.
    #[arg(long = "as", value_enum, default_value = "results", value_name = "FORM")]
    form: Form,
}

/// A payment's state.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum PaymentState {
    /// Nothing in flight.
    Queued,
    /// An attempt is alive.
    InFlight,
    /// A person decides.
    Unresolved,
    /// Paid.
    Succeeded,
    /// Not paid.
    Failed,
    /// Not paid, as asked.
    Cancelled,
}

impl PaymentState {
    /// The state on the wire.
    pub fn to_proto(self) -> proto::payment::State {
        match self {
            PaymentState::Queued => proto::payment::State::Queued,
            PaymentState::InFlight => proto::payment::State::InFlight,
            PaymentState::Unresolved => proto::payment::State::Unresolved,
            PaymentState::Succeeded => proto::payment::State::Succeeded,
            PaymentState::Failed => proto::payment::State::Failed,
            PaymentState::Cancelled => proto::payment::State::Cancelled,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Results,
    Input,
}

/// Runs a command about batches.
///
/// # Errors
/// What the engine refuses, or that it was not reached.
pub async fn run(to: To, command: BatchCommand) -> Result<Exit, Fault> {
    match command {
        BatchCommand::Submit(args) => return submit::run(&to, args).await,
        BatchCommand::Watch(which) => {
            let batch = which.find(&to.client).await?;
            let batch_id = batch.batch_id.as_str();
            let watch = async {
                let watched = follow(&to, &batch).await;
                watched.map(|watched| watched.exit()).map_err(|fault| goes_on(fault, batch_id))
            };
            let again = format!("fulgurite batch watch {batch_id}");
            return to.unless_interrupted(watch, &again).await;
        }
        BatchCommand::Get(which) => show(&which.find(&to.client).await?, to.json),
        BatchCommand::Pause(which) => {
            let batch_id = which.find(&to.client).await?.batch_id;
            let request = proto::PauseBatchRequest { batch_id };
            let call = async || to.client.batches().pause_batch(request.clone()).await;
            show(&to.client.change(call).await?.batch.unwrap_or_default(), to.json);
        }
        BatchCommand::Resume(which) => {
            let batch_id = which.find(&to.client).await?.batch_id;
            let request = proto::ResumeBatchRequest { batch_id };
            let call = async || to.client.batches().resume_batch(request.clone()).await;
            show(&to.client.change(call).await?.batch.unwrap_or_default(), to.json);
        }
        BatchCommand::Cancel(which) => {
            let batch_id = which.find(&to.client).await?.batch_id;
            let request = proto::CancelBatchRequest { batch_id };
            let call = async || to.client.batches().cancel_batch(request.clone()).await;
            show(&to.client.change(call).await?.batch.unwrap_or_default(), to.json);
        }
        BatchCommand::List(args) => list(&to, &args).await?,
        BatchCommand::Results(args) => print_results(&to, &args).await?,
    }
    Ok(Exit::SUCCESS)
}

impl Which {
    async fn find(&self, client: &Client) -> Result<proto::Batch, Fault> {
        use proto::get_batch_request::Key;
        let key = match (&self.batch_id, &self.key) {
            (Some(batch_id), _) => Key::BatchId(batch_id.clone()),
            (None, key) => Key::IdempotencyKey(key.clone().unwrap_or_default()),
        };
        let request = proto::GetBatchRequest { key: Some(key) };
        let answer = client.read(async || client.batches().get_batch(request.clone()).await);
        answer.await?.batch.ok_or_else(|| Fault::Unreachable("the answer has no batch".into()))
    }
}

/// A fault after a batch was accepted, and the command that shows what became of it.
fn goes_on(fault: Fault, batch_id: &str) -> Fault {
    fault.after_acceptance(batch_id, &format!("fulgurite batch watch {batch_id}"))
}

/// Prints a batch that was asked for.
fn show(batch: &proto::Batch, as_json: bool) {
    print_line(&text(batch, as_json));
}

/// Prints what became of a batch that was submitted or watched.
fn show_outcome(batch: &proto::Batch, as_json: bool) {
    print_outcome(&text(batch, as_json));
}

/// A batch: an object, or what a person wants to know of it.
fn text(batch: &proto::Batch, as_json: bool) -> String {
    if as_json { wire::json::batch(batch).to_string() } else { in_words(batch) }
}

fn in_words(batch: &proto::Batch) -> String {
    let unit = |msat: i64| format!("{} sat", sat(msat));
    let pause = words::word(batch.pause_reason().as_str_name(), "PAUSE_REASON_");
    let state = words::batch_state(batch);
    // Of a dry run there is no state and no id.
    let state = if pause.is_empty() { state } else { format!("{state}: {pause}") };
    human::block(&[
        ("batch", batch.batch_id.clone()),
        ("state", state),
        ("description", batch.description.clone()),
        ("key", batch.idempotency_key.clone()),
        ("created", human::time(batch.create_time.as_ref())),
        ("finished", human::time(batch.finish_time.as_ref())),
        ("orders", counts(&batch.counts.unwrap_or_default())),
        ("ordered", unit(batch.amount_msat)),
        ("paid", unit(batch.amount_succeeded_msat)),
        ("fees", format!("{} of at most {}", unit(batch.fee_msat), unit(batch.fee_limit_msat))),
    ])
}

/// Such as `2,000: 1,990 succeeded, 10 failed`.
fn counts(counts: &proto::Counts) -> String {
    let parts = [
        (counts.succeeded_count, "succeeded"),
        (counts.failed_count, "failed"),
        (counts.cancelled_count, "cancelled"),
        (counts.refused_count, "refused"),
        (counts.queued_count, "queued"),
        (counts.in_flight_count, "in flight"),
        (counts.unresolved_count, "unresolved"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts = parts.map(|(count, what)| format!("{} {what}", grouped(count.into())));
    let parts = parts.collect::<Vec<_>>().join(", ");
    format!("{}: {parts}", grouped(counts.order_count.into()))
}

/// A batch in one line of `batch list`.
fn list_line(batch: &proto::Batch) -> String {
    let counts = batch.counts.unwrap_or_default();
    let created = human::time(batch.create_time.as_ref());
    human::row(
        &LIST,
        [
            batch.batch_id.clone(),
            created.get(5..16).unwrap_or_default().to_owned(),
            words::batch_state(batch),
            grouped(counts.order_count.into()),
            grouped(counts.succeeded_count.into()),
        ],
    )
}

async fn list(to: &To, args: &ListArgs) -> Result<(), Fault> {
    let state = args.state.map(|state| match state {
        BatchState::Running => proto::batch::State::Running,
        BatchState::Paused => proto::batch::State::Paused,
        BatchState::Cancelling => proto::batch::State::Cancelling,
        BatchState::Finished => proto::batch::State::Finished,
    });
    let mut request = proto::ListBatchesRequest {
        page_size: 1_000,
        states: state.into_iter().map(i32::from).collect(),
        include_single: args.all,
        ..Default::default()
    };
    if !to.json {
        print_line(&human::header(&LIST));
    }
    loop {
        let call = async || to.client.batches().list_batches(request.clone()).await;
        let page = to.client.read(call).await?;
        page.batches.iter().for_each(|batch| match to.json {
            true => show(batch, true),
            false => print_line(&list_line(batch)),
        });
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

async fn print_results(to: &To, args: &ResultsArgs) -> Result<(), Fault> {
    let batch = args.which.find(&to.client).await?;
    let states: Vec<_> = args.state.into_iter().map(PaymentState::to_proto).collect();
    let results = Results::fetch(&to.client, &batch.batch_id, &states).await?;
    if to.json && args.form == Form::Input {
        results.input_objects().for_each(|order| print_line(&order.to_string()));
        return Ok(());
    }
    if to.json {
        for payment in &results.payments {
            print_line(&wire::json::payment(payment).to_string());
        }
        for row in &results.refused {
            print_line(&words::refused_row(row, None).to_string());
        }
        return Ok(());
    }
    results::print(&results, args.form == Form::Input)
}

/// Watches a batch with a bar, then prints how it ended. Ctrl-C leaves the batch running.
async fn follow(to: &To, batch: &proto::Batch) -> Result<Followed, Fault> {
    let counts = batch.counts.unwrap_or_default();
    let rows = usize::try_from(counts.order_count).unwrap_or_default();
    let mut progress = Progress::new("paying", rows, to.json);
    let mut payment = |payment: &proto::Payment| {
        if to.json {
            print_outcome(&wire::json::payment(payment).to_string());
        }
    };
    let mut note = |note| progress.note(&note);
    let shown = Shown { payment: &mut payment, note: &mut note };
    let watched = tokio::select! {
        watched = watch::watch(&to.client, &batch.batch_id, shown) => Some(watched?),
        _ = tokio::signal::ctrl_c() => None,
    };
    progress.finish();
    let Some(watched) = watched else {
        let batch_id = &batch.batch_id;
        to.say("interrupted; the batch goes on. To watch it again:");
        to.say(&format!("  fulgurite batch watch {batch_id}"));
        return Ok(Followed::Interrupted);
    };
    show_outcome(watched.batch(), to.json);
    if let watch::Watched::Unresolved(batch) = &watched {
        let states = [proto::payment::State::Unresolved];
        let left = Results::fetch(&to.client, &batch.batch_id, &states).await?;
        to.say("not known to be paid or not; never paid again by itself:");
        left.payments.iter().for_each(|payment| {
            let (id, node) = (&payment.payment_id, &payment.node);
            to.say(&format!("  row {} {id} at {node}", payment.row));
        });
        to.say("fulgurite payment get ID shows what the node said; ask the recipient too. Then:");
        to.say("fulgurite payment resolve ID");
    }
    Ok(Followed::Ended(watched))
}

/// How following a batch ended.
enum Followed {
    Ended(watch::Watched),
    Interrupted,
}

impl Followed {
    fn exit(&self) -> Exit {
        match self {
            Followed::Ended(watched) => watched.exit(),
            Followed::Interrupted => Exit::INTERRUPTED,
        }
    }
}
