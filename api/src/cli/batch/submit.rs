//! `batch submit`: a file becomes a batch, and the batch its results.

use std::path::PathBuf;

use clap::Args;
use fulgurite_proto::fulgurite::v1 as proto;

use super::{Followed, follow, show_outcome};
use crate::cli::{
    To,
    exit::{Exit, Fault},
    input::{Format, Input},
    options::OptionArgs,
    print_outcome,
    progress::Progress,
    results::{self, Results},
    submit::{self, Upload, Uploaded},
    words,
};

/// So many refused rows are shown on a terminal; a results file has all.
const SHOWN_MAX: usize = 20;

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
The same file with the same options is the same batch: running the command again is safe.";

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
    /// A text that the batch keeps.
    #[arg(long, default_value = "")]
    description: String,
    /// Checks everything and pays nothing.
    #[arg(long)]
    dry_run: bool,
    /// Returns when the batch is accepted.
    #[arg(long)]
    no_wait: bool,
    /// Writes a line for each row to this file when the batch is finished.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    #[command(flatten)]
    options: OptionArgs,
}

pub(super) async fn run(to: &To, args: SubmitArgs) -> Result<Exit, Fault> {
    let input = Input::read(&args.file, args.format)?;
    let key = args.key.clone().unwrap_or_else(|| input.default_key());
    let Input { orders, lines, digest } = input;
    eprintln!("{} orders, key {key}", orders.len());
    let upload = Upload {
        orders,
        key,
        digest,
        options: args.options.to_proto()?,
        description: args.description.clone(),
        validate_only: args.dry_run,
    };
    let mut progress = Progress::new(upload.orders.len());
    let mut note = |note| progress.note(&note);
    let uploaded = tokio::select! {
        uploaded = submit::submit(&to.client, &upload, &mut note) => uploaded,
        _ = tokio::signal::ctrl_c() => {
            progress.finish();
            eprintln!(
                "interrupted; whether it was accepted: fulgurite batch watch --key '{}'",
                upload.key
            );
            return Ok(Exit::INTERRUPTED);
        }
    };
    progress.finish();
    let job = Job { to, args: &args, upload: &upload, lines: &lines };
    match uploaded? {
        Uploaded::Refused(rows) => job.refused(rows),
        Uploaded::Accepted { batch, replayed, refused } => {
            job.accepted(&batch, replayed, &refused).await
        }
    }
}

/// A file that was uploaded.
struct Job<'a> {
    to: &'a To,
    args: &'a SubmitArgs,
    upload: &'a Upload,
    lines: &'a [u64],
}

impl Job<'_> {
    fn refused(&self, rows: Vec<proto::RefusedRow>) -> Result<Exit, Fault> {
        self.show_refused(&rows);
        eprintln!(
            "nothing was accepted. Correct the rows and submit again (the same --key may be \
             used), or leave them out with --accept-valid"
        );
        if let Some(path) = &self.args.results {
            let mut results = Results { refused: rows, ..Results::default() };
            results.not_accepted(&self.upload.orders);
            results::write_file(path, &results.table(self.lines))?;
        }
        Ok(Exit::REFUSED)
    }

    async fn accepted(
        &self,
        batch: &proto::Batch,
        replayed: bool,
        refused: &[proto::RefusedRow],
    ) -> Result<Exit, Fault> {
        self.show_refused(refused);
        if self.args.dry_run {
            show_outcome(batch, self.to.json);
            eprintln!("nothing was written: this was a dry run");
            return Ok(if refused.is_empty() { Exit::SUCCESS } else { Exit::INCOMPLETE });
        }
        let again = if replayed { " before, with this key" } else { "" };
        eprintln!("accepted{again}: {}", batch.batch_id);
        if self.args.no_wait {
            show_outcome(batch, self.to.json);
            return Ok(Exit::SUCCESS);
        }
        let followed = self.follow(batch).await;
        followed.map_err(|fault| fault.after_acceptance(&batch.batch_id))
    }

    /// Watches the batch to its end and writes the results.
    async fn follow(&self, batch: &proto::Batch) -> Result<Exit, Fault> {
        let followed = follow(self.to, batch).await?;
        if let (Some(path), Followed::Ended(_)) = (&self.args.results, &followed) {
            let batch_id = &batch.batch_id;
            let results = Results::fetch(&self.to.client, batch_id, &[]).await?;
            results::write_file(path, &results.table(self.lines)).inspect_err(|_| {
                eprintln!("the results can be had again: fulgurite batch results {batch_id}");
            })?;
            eprintln!("results: {}", path.display());
        }
        Ok(followed.exit())
    }

    fn show_refused(&self, rows: &[proto::RefusedRow]) {
        let line = |row: i32| {
            let at = usize::try_from(row).ok().and_then(|row| row.checked_sub(1));
            at.and_then(|at| self.lines.get(at)).copied()
        };
        if self.to.json {
            rows.iter()
                .for_each(|row| print_outcome(&words::refused_row(row, line(row.row)).to_string()));
            return;
        }
        for row in rows.iter().take(SHOWN_MAX) {
            let (number, reason) = (row.row, words::row_reason(row));
            let line = line(number).unwrap_or_default();
            eprintln!("row {number} (line {line}): {reason}: {}", row.message);
        }
        if rows.len() > SHOWN_MAX {
            eprintln!("and {} more: --results FILE has all of them", rows.len() - SHOWN_MAX);
        }
    }
}
