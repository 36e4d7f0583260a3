//! `UploadBatch`: rows in chunks, then one commit that accepts the whole or nothing.
//!
//! The next message is read only when the invoice check has room: at most a few chunks are under
//! way, so reading and checking overlap and memory stays flat. Nothing is sent before the commit
//! but an error (U3).

use std::{collections::VecDeque, time::Duration};

use fulgurite_core::{
    Msat,
    batch::Summary,
    order::{BatchOptions, RefusedRow},
};
use fulgurite_proto::fulgurite::v1::{
    self, PaymentOrder, UploadBatchRequest, UploadBatchResponse,
    upload_batch_request::{Commit, Content, Header, Orders},
    upload_batch_response,
};
use fulgurite_runtime::upload::{self as runtime, Upload};
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::time::{Instant, timeout_at};
use tonic::{Code as Grpc, Status, Streaming};

use super::calls;
use crate::{
    Doors,
    check::{
        Terms, Waiting,
        upload::{Sorted, UploadCheck},
    },
    doors::now,
    fingerprint::Fingerprint,
    intake,
    problem::{Code, Problem, invalid},
    query,
    wire::{
        self,
        batch::{REFUSED_ROWS_MAX, refused_to_proto},
    },
};

/// Chunks of one upload that are being checked while the next one is read.
const CHUNKS_UNDER_WAY_MAX: usize = 3;
/// From how many orders on a message is checked by two threads: to wake the other one costs as much
/// as checking two.
const SPLIT_FROM: usize = 4;
/// From how many orders on it is not: there is enough to do beside it.
const SPLIT_TO: usize = 64;
/// The most bytes of refused rows that are kept with a batch: its acceptance is one record of the
/// journal, which reads at most 256 MiB.
const REFUSED_BYTES_MAX: usize = 64 << 20;
/// What a refused row takes beside its texts.
const REFUSED_BYTES: usize = 64;

type Responses = BoxStream<'static, Result<UploadBatchResponse, Status>>;

/// Takes an upload up to its commit and gives the answer as a stream.
pub async fn upload(
    doors: &Doors,
    stream: Streaming<UploadBatchRequest>,
) -> Result<Responses, Problem> {
    let mut messages = Messages::of(doors, stream);
    let Content::Header(header) = messages.next().await? else {
        return Err(invalid("header", "must be the first message"));
    };
    let mut session = match Session::open(doors, &header)? {
        Opened::Session(session) => session,
        Opened::Replayed(summary) => return Ok(accepted(&summary, true)),
    };
    loop {
        match messages.next().await? {
            Content::Header(_) => return Err(invalid("header", "must be the first message only")),
            Content::Orders(orders) => session.orders(orders).await?,
            Content::Commit(commit) => return session.commit(commit).await,
        }
    }
}

/// The messages of an upload, each within its time.
struct Messages {
    doors: Doors,
    stream: Streaming<UploadBatchRequest>,
    end: Instant,
    silence_max: Duration,
}

impl Messages {
    fn of(doors: &Doors, stream: Streaming<UploadBatchRequest>) -> Messages {
        let end = Instant::now() + doors.limits.upload_time_max;
        let silence_max = doors.limits.upload_silence_max;
        Messages { doors: doors.clone(), stream, end, silence_max }
    }

    async fn next(&mut self) -> Result<Content, Problem> {
        let until = self.end.min(Instant::now() + self.silence_max);
        let message = tokio::select! {
            message = timeout_at(until, self.stream.message()) => message,
            () = self.doors.stopped() => return Err(Problem::new(Code::Stopping)),
        };
        match message {
            Err(_) => Err(Problem::new(Code::UploadTimeout)),
            Ok(Ok(Some(UploadBatchRequest { content: Some(content) }))) => Ok(content),
            Ok(Ok(Some(UploadBatchRequest { content: None }))) => {
                Err(invalid("content", "is missing or not known to this engine"))
            }
            Ok(Ok(None)) => Err(Problem::new(Code::UploadIncomplete)),
            Ok(Err(status)) => Err(unreadable(&status)),
        }
    }
}

/// What a message is that tonic does not give us: one that is refused, or a stream that broke.
fn unreadable(status: &Status) -> Problem {
    let refused = [Grpc::InvalidArgument, Grpc::OutOfRange, Grpc::ResourceExhausted];
    let problem = calls::problem_of(status).filter(|_| refused.contains(&status.code()));
    problem.unwrap_or_else(|| Problem::new(Code::UploadIncomplete))
}

enum Opened<'a> {
    Session(Box<Session<'a>>),
    Replayed(Box<Summary>),
}

/// An upload between its header and its commit.
struct Session<'a> {
    doors: &'a Doors,
    terms: Terms,
    check: UploadCheck,
    waiting: VecDeque<Waiting>,
    /// What the header said will come; 0 when it did not.
    announced: u32,
    received: u32,
    refused_bytes: usize,
    goal: Goal,
    /// What stands against it if it is new: counts once its key is looked up.
    objection: Option<Problem>,
}

/// Where the rows go.
enum Goal {
    /// To the engine.
    Accept(Upload),
    /// Nowhere: the upload is only validated.
    Validate(Validation),
}

/// What is known of an upload that is only validated.
struct Validation {
    options: BatchOptions,
    refused: Vec<RefusedRow>,
    orders: u32,
    amount: Msat,
    fee_limit: Msat,
}

impl<'a> Session<'a> {
    fn open(doors: &'a Doors, header: &Header) -> Result<Opened<'a>, Problem> {
        let now = now();
        let checked = intake::upload_header(doors, header)?;
        let order_count = u32::try_from(header.order_count)
            .map_err(|_| invalid("order_count", "must be at least 0"))?;
        if order_count > doors.limits.batch_orders_max {
            return Err(too_large(doors));
        }
        let terms = intake::terms(&checked.options, header.options.as_ref(), now);
        let objection = intake::objection(&checked.options, doors.signatures(), now);
        let goal = if header.validate_only {
            if let Some(objection) = objection {
                return Err(objection);
            }
            let options = checked.options;
            Goal::Validate(Validation {
                options,
                refused: Vec::new(),
                orders: 0,
                amount: Msat::ZERO,
                fee_limit: Msat::ZERO,
            })
        } else if let Some(summary) = replayed(doors, &checked) {
            return Ok(Opened::Replayed(summary));
        } else {
            Goal::Accept(doors.engine.open_upload(checked, order_count)?)
        };
        let fingerprint = Fingerprint::of_batch(header);
        let check = UploadCheck::new(fingerprint, doors.limits.batch_amount_max);
        let waiting = VecDeque::new();
        let session = Session {
            doors,
            terms,
            check,
            waiting,
            announced: order_count,
            received: 0,
            refused_bytes: 0,
            goal,
            objection,
        };
        Ok(Opened::Session(Box::new(session)))
    }

    async fn orders(&mut self, message: Orders) -> Result<(), Problem> {
        if i64::from(message.first_row) != i64::from(self.received) + 1 {
            let detail = format!(
                "first_row is {}, but row {} comes next; nothing was accepted",
                message.first_row,
                self.received + 1
            );
            return Err(Problem::of(Code::UploadIncomplete, detail));
        }
        let limits = &self.doors.limits;
        let rows = u32::try_from(message.orders.len()).unwrap_or(u32::MAX);
        if rows > limits.message_orders_max {
            let most = limits.message_orders_max;
            let detail = format!("{rows} orders in a message; send at most {most} in one");
            return Err(Problem::of(Code::MessageTooLarge, detail));
        }
        self.received = self.received.saturating_add(rows);
        if self.received > limits.batch_orders_max {
            return Err(too_large(self.doors));
        }
        let terms = Terms { now: now(), ..self.terms };
        for part in parts(message.orders) {
            if self.waiting.len() >= CHUNKS_UNDER_WAY_MAX {
                self.take_first().await?;
            }
            self.waiting.push_back(self.doors.checker.send(part, terms).await?);
        }
        Ok(())
    }

    /// Waits for the first chunk under way; false when there is none.
    async fn take_first(&mut self) -> Result<bool, Problem> {
        let Some(first) = self.waiting.pop_front() else {
            return Ok(false);
        };
        let mut sorted = self.check.take(first.rows().await?);
        if let Goal::Validate(_) = self.goal {
            sorted = query::off_workers(self.doors, move |doors| {
                intake::refuse_claimed(&doors.engine, &mut sorted);
                Ok(sorted)
            })
            .await?;
        }
        let Sorted { orders, mut refused } = sorted;
        match &mut self.goal {
            Goal::Accept(upload) => {
                self.refused_bytes += refused.iter().map(bytes_of).sum::<usize>();
                if upload.keeps_refused() && self.refused_bytes > REFUSED_BYTES_MAX {
                    return Err(too_many_refused());
                }
                upload.add(orders, refused)?;
            }
            Goal::Validate(validation) => {
                refused.sort_by_key(|refused| refused.row);
                validation.refused.append(&mut refused);
                validation.orders += u32::try_from(orders.len()).unwrap_or(u32::MAX);
                for (_, order) in &orders {
                    validation.amount = validation.amount.saturating_add(order.amount);
                    validation.fee_limit = validation.fee_limit.saturating_add(order.fee_limit);
                }
            }
        }
        Ok(true)
    }

    async fn commit(mut self, commit: Commit) -> Result<Responses, Problem> {
        if i64::from(commit.order_count) != i64::from(self.received) {
            let detail = format!(
                "the commit counts {} orders, {} came; nothing was accepted",
                commit.order_count, self.received
            );
            return Err(Problem::of(Code::UploadIncomplete, detail));
        }
        if self.received == 0 {
            return Err(invalid("order_count", "must be at least 1"));
        }
        if self.announced != 0 && self.announced != self.received {
            let detail = format!(
                "the header announced {} orders, {} came; nothing was accepted",
                self.announced, self.received
            );
            return Err(Problem::of(Code::UploadIncomplete, detail));
        }
        while self.take_first().await? {}
        let upload = match self.goal {
            Goal::Accept(upload) => upload,
            Goal::Validate(validation) => return Ok(validated(validation, self.check)),
        };
        let fingerprint = self.check.fingerprint();
        match intake::commit(upload, self.received, fingerprint, self.objection).await? {
            runtime::Commit::Accepted { batch, replayed } => {
                intake::until_readable(self.doors, batch.version).await?;
                Ok(accepted(&batch, replayed))
            }
            runtime::Commit::RowsRefused(rows) => Ok(rows_refused(rows)),
            runtime::Commit::KeyReused { batch, difference } => {
                Err(intake::key_reused(batch, difference))
            }
        }
    }
}

/// Few orders as two parts, for two threads: whoever sent them waits for the last one. Of many
/// orders one part is enough, as others are under way beside it.
fn parts(mut orders: Vec<PaymentOrder>) -> impl Iterator<Item = Vec<PaymentOrder>> {
    let is_split = (SPLIT_FROM..SPLIT_TO).contains(&orders.len());
    let rest = is_split.then(|| orders.split_off(orders.len().div_ceil(2)));
    std::iter::once(orders).chain(rest)
}

fn too_large(doors: &Doors) -> Problem {
    let detail = format!("a batch has at most {} orders", doors.limits.batch_orders_max);
    Problem::of(Code::BatchTooLarge, detail)
}

fn bytes_of(refused: &RefusedRow) -> usize {
    let reference = refused.reference.as_ref().map_or(0, |reference| reference.bytes.len());
    REFUSED_BYTES + reference + refused.message.len()
}

fn too_many_refused() -> Problem {
    let most = REFUSED_BYTES_MAX >> 20;
    let detail = format!(
        "the refused rows are more than {most} MiB, which is what is kept with a batch; correct \
         them, or send the batch in parts"
    );
    Problem::of(Code::BatchTooLarge, detail)
}

/// The batch that this very upload became before, when the client named its content (U4).
fn replayed(doors: &Doors, header: &runtime::Header) -> Option<Box<Summary>> {
    if header.content_digest.is_empty() {
        return None;
    }
    let found = doors.engine.replay(&header.idempotency_key, &header.content_digest)?;
    let runtime::Commit::Accepted { batch, .. } = found else {
        return None;
    };
    let accepted = &batch.accepted;
    let is_same = !accepted.single
        && accepted.options == header.options
        && accepted.description == header.description
        && accepted.metadata == header.metadata;
    // Another header goes the long way, whose end says what differs.
    is_same.then_some(batch)
}

fn accepted(summary: &Summary, replayed: bool) -> Responses {
    let batch = Some(wire::batch::to_proto(summary));
    let last = v1::Accepted { batch, replayed };
    responses(summary.accepted.refused.clone(), Ok(last))
}

fn rows_refused(rows: Vec<RefusedRow>) -> Responses {
    let problem = Problem::new(Code::RowsRefused).with("problem_count", rows.len().to_string());
    responses(rows, Err(problem.into_status()))
}

/// The answer to an upload that was only validated: the batch that it would become, without id.
fn validated(validation: Validation, check: UploadCheck) -> Responses {
    let Validation { options, refused, orders, amount, fee_limit } = validation;
    if !refused.is_empty() && (!options.accept_valid || orders == 0) {
        return rows_refused(refused);
    }
    let counts = v1::Counts {
        order_count: wire::count(check.rows()),
        refused_count: wire::count(check.rows() - orders),
        queued_count: wire::count(orders),
        ..Default::default()
    };
    let batch = v1::Batch {
        options: Some(wire::options::to_proto(&options)),
        counts: Some(counts),
        amount_msat: wire::large(amount.get()),
        fee_limit_msat: wire::large(fee_limit.get()),
        fingerprint: hex::encode(check.fingerprint()),
        ..Default::default()
    };
    responses(refused, Ok(v1::Accepted { batch: Some(batch), replayed: false }))
}

/// The refused rows in messages that are made as they are read, then the end.
fn responses(refused: Vec<RefusedRow>, end: Result<v1::Accepted, Status>) -> Responses {
    let mut rows = refused.into_iter();
    let messages = std::iter::from_fn(move || {
        let chunk = rows.by_ref().take(REFUSED_ROWS_MAX);
        let rows: Vec<_> = chunk.map(|row| refused_to_proto(&row)).collect();
        if rows.is_empty() {
            return None;
        }
        let refused = upload_batch_response::Content::Refused(v1::RefusedRows { rows });
        Some(Ok(UploadBatchResponse { content: Some(refused) }))
    });
    let end = end.map(|accepted| UploadBatchResponse {
        content: Some(upload_batch_response::Content::Accepted(accepted)),
    });
    stream::iter(messages).chain(stream::once(std::future::ready(end))).boxed()
}
