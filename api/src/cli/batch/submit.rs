//! `batch submit`: a file becomes a batch, and the batch its results.

use std::{collections::HashMap, path::PathBuf};

use clap::Args;
use fulgurite_proto::fulgurite::v1 as proto;

use super::{Followed, follow, show_outcome};
use crate::cli::{
    To,
    exit::{Denial, Exit, Fault},
    human::grouped,
    input::{Format, Input},
    options::{self, OptionArgs},
    print_outcome,
    progress::Progress,
    refusals,
    results::{self, Results},
    submit::{self, Upload, Uploaded},
    words,
};
use crate::problem::Code;

/// What `--help` says about the files.
pub(super) const FILES: &str = "\
CSV: a header line, then a row for each order. The columns, in any order:
    destination     a BOLT 11 invoice; required
    amount_sat, amount_msat
                    one of them, for an invoice without an amount
    fee_limit_msat  the most that may be paid in fees
    reference       your own name for the payment, unique in the file
    deadline        no attempt starts after it, such as 2030-01-31T12:00:00Z
NDJSON: an object a line, as in the HTTP API:
    {\"bolt11\": \"lnbc...\", \"reference\": \"payout-1\", \"amount_msat\": \"1000\"}
    with fee_limit_msat and deadline too; amounts are strings of digits
A file has at most 100,000 orders and 256 MiB, a row at most 64 KiB.
The same file with the same options is the same batch: running the command
again is safe.";

/// What to submit, and how.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// A CSV or NDJSON file; `-` reads standard input.
    file: PathBuf,
    /// The idempotency key. Default: one of the file's bytes, so that a file is paid once.
    #[arg(long)]
    key: Option<String>,
    /// How the file is written. Default: by its name, then by its first character.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Checks everything and pays nothing.
    #[arg(long)]
    dry_run: bool,
    /// Leaves bad rows out and accepts the others; without it one bad row refuses all.
    #[arg(long)]
    accept_valid: bool,
    /// Returns when the batch is accepted.
    #[arg(long)]
    no_wait: bool,
    /// Writes a line for each row to this file when the batch is finished or refused.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// No attempt of the batch starts after it, such as 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// A text that the batch keeps.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    description: String,
    /// A pair that the batch keeps; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    #[command(flatten)]
    options: OptionArgs,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl SubmitArgs {
    fn options(&self) -> Result<proto::BatchOptions, Fault> {
        Ok(proto::BatchOptions {
            accept_valid: self.accept_valid.then_some(true),
            deadline: options::deadline(self.deadline.as_deref())?,
            ..self.options.to_proto()
        })
    }
}

pub(super) async fn run(to: &To, args: SubmitArgs) -> Result<Exit, Fault> {
    let options = args.options()?;
    let mut input = Input::read(&args.file, args.format)?;
    let key = args.key.clone().unwrap_or_else(|| input.default_key());
    to.say(&format!("{} orders", grouped(input.orders.len() as i64)));
    to.say(&format!("key {key}"));
    let upload = Upload {
        orders: std::mem::take(&mut input.orders),
        key,
        digest: input.digest.clone(),
        options,
        description: args.description.clone(),
        metadata: args.metadata.iter().cloned().collect::<HashMap<_, _>>(),
        validate_only: args.dry_run,
    };
    let again = format!("fulgurite batch watch --key '{}'", upload.key);
    let job = Job { to, args: &args, upload, input };
    to.unless_interrupted(job.checked(), &again).await
}
/// A file that is uploaded.
struct Job<'a> {
    to: &'a To,
    args: &'a SubmitArgs,
    upload: Upload,
    /// Without its orders, which are in the upload.
    input: Input,
}

impl Job<'_> {
    /// Uploads the file, unless its own rows speak against it.
    async fn checked(mut self) -> Result<Exit, Fault> {
        // Without --accept-valid nothing of such a file is to be accepted; but what the engine says
        // of the other rows is wanted too. Only an engine that leaves bad rows out by default goes
        // on.
        if !self.input.bad.is_empty() && !self.args.accept_valid && !self.args.dry_run {
            self.upload.validate_only = true;
            match submit::submit(&self.to.client.impatient(), &self.upload, &mut |_| ()).await {
                Ok(Uploaded::Refused(rows)) => return self.refused(rows),
                Ok(Uploaded::Accepted { .. }) => self.upload.validate_only = false,
                Err(fault) => return self.refused_unasked(&fault),
            }
        }
        self.run().await
    }

    async fn run(&self) -> Result<Exit, Fault> {
        let mut progress = Progress::new("sending", self.upload.orders.len(), self.to.json);
        let mut note = |note| progress.note(&note);
        let uploaded = tokio::select! {
            uploaded = submit::submit(&self.to.client, &self.upload, &mut note) => uploaded,
            _ = tokio::signal::ctrl_c() => {
                progress.finish();
                self.to.say(&format!(
                    "interrupted; whether it was accepted: fulgurite batch watch --key '{}'",
                    self.upload.key
                ));
                return Ok(Exit::INTERRUPTED);
            }
        };
        progress.finish();
        match uploaded? {
            Uploaded::Refused(rows) => self.refused(rows),
            Uploaded::Accepted { batch, replayed, refused } => {
                self.accepted(&batch, replayed, refused).await
            }
        }
    }

    fn refused(&self, rows: Vec<proto::RefusedRow>) -> Result<Exit, Fault> {
        let rows = refusals::all_of(&self.input, rows);
        self.show_refused(&rows);
        self.write_refused(rows)?;
        let what = if self.args.accept_valid {
            "no row is good"
        } else {
            "correct the rows and submit again (the same --key may be used), or leave them out \
             with --accept-valid"
        };
        Err(Fault::Denied(Box::new(Denial {
            code: Code::RowsRefused.name().into(),
            detail: format!("nothing was accepted: {what}"),
            ..Denial::default()
        })))
    }

    /// Rows are bad, and the engine does not say what it thinks of the others.
    fn refused_unasked(&self, fault: &Fault) -> Result<Exit, Fault> {
        let rows: Vec<_> = refusals::of_reading(&self.input).collect();
        self.show_refused(&rows);
        self.write_refused(rows)?;
        let what = "nothing was sent; the engine was not asked about the other rows";
        Err(Fault::Refused(format!("{what}: {fault}")))
    }

    fn write_refused(&self, rows: Vec<proto::RefusedRow>) -> Result<(), Fault> {
        let Some(path) = &self.args.results else {
            return Ok(());
        };
        let mut results = Results { refused: rows, ..Results::default() };
        results.not_accepted(&self.upload.orders);
        results::write_file(path, &results.table(&self.input.lines))?;
        self.to.say(&format!("results: {}", path.display()));
        Ok(())
    }

    async fn accepted(
        &self,
        batch: &proto::Batch,
        replayed: bool,
        refused: Vec<proto::RefusedRow>,
    ) -> Result<Exit, Fault> {
        let refused = refusals::all_of(&self.input, refused);
        self.show_refused(&refused);
        let all = if refused.is_empty() { Exit::SUCCESS } else { Exit::INCOMPLETE };
        if self.args.dry_run {
            show_outcome(batch, self.to.json);
            self.to.say("nothing was written: this was a dry run");
            return Ok(all);
        }
        let again = if replayed { " before, with this key" } else { "" };
        self.to.say(&format!("accepted{again}: {}", batch.batch_id));
        if self.args.no_wait {
            show_outcome(batch, self.to.json);
            return Ok(all);
        }
        let followed = self.follow(batch).await;
        followed.map_err(|fault| super::goes_on(fault, &batch.batch_id))
    }

    /// Watches the batch to its end and writes the results.
    async fn follow(&self, batch: &proto::Batch) -> Result<Exit, Fault> {
        let followed = follow(self.to, batch).await?;
        if let (Some(path), Followed::Ended(_)) = (&self.args.results, &followed) {
            let batch_id = &batch.batch_id;
            let mut results = Results::fetch(&self.to.client, batch_id, &[]).await?;
            results.refused = refusals::all_of(&self.input, results.refused);
            results::write_file(path, &results.table(&self.input.lines)).inspect_err(|_| {
                let again = format!("fulgurite batch results {batch_id}");
                self.to.say(&format!("the results can be had again: {again}"));
            })?;
            self.to.say(&format!("results: {}", path.display()));
        }
        Ok(followed.exit())
    }

    fn show_refused(&self, rows: &[proto::RefusedRow]) {
        let lines = &self.input.lines;
        if self.to.json {
            for row in rows {
                let line = refusals::line_of(row.row, lines);
                print_outcome(&words::refused_row(row, line).to_string());
            }
            return;
        }
        refusals::in_words(rows, lines).iter().for_each(|line| self.to.say(line));
    }
}
