//! Reading: payments, batches, refused rows, nodes. The same answers at both doors.

use fulgurite_core::{BatchId, PaymentHash, PaymentId, batch, batch::Summary, payment::Payment};
use fulgurite_proto::fulgurite::v1;
use fulgurite_runtime::engine::{Among, PaymentRefused, Requested, StateFilter};
use prost::Message;

use crate::{
    Doors,
    cursor::{self, Bound, Kind},
    intake::until_readable,
    problem::{Code, Problem, invalid, page_token},
    wire::{self, payment::View},
};

/// The most items of one page.
pub const PAGE_SIZE_MAX: usize = 1_000;
const PAGE_SIZE_DEFAULT: usize = 100;
/// A page that would be larger ends early; clients decode 4 MiB by default.
const PAGE_BYTES_MAX: usize = 3 << 20;
/// So many batches are looked at for one page; a page with fewer matches ends early.
const BATCHES_SCANNED_MAX: usize = 20_000;
/// A row has at most one problem of each reason.
const PROBLEMS_PER_ROW_MAX: usize = 20;

/// Reads off the tokio workers: many rows are read from the disk.
pub async fn off_workers<T: Send + 'static>(
    doors: &Doors,
    read: impl FnOnce(&Doors) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let doors = doors.clone();
    let read = tokio::task::spawn_blocking(move || read(&doors)).await;
    read.unwrap_or_else(|_| Err(Problem::new(Code::Internal)))
}

/// The id of a batch in a request.
pub fn batch_id(text: &str) -> Result<BatchId, Problem> {
    if text.is_empty() {
        return Err(invalid("batch_id", "is required"));
    }
    text.parse().map_err(|_| no_batch(text))
}

fn no_batch(id: &str) -> Problem {
    Problem::of(Code::BatchNotFound, format!("there is no batch {id}"))
}

/// There is no payment with this id.
pub fn no_payment(id: &str) -> Problem {
    Problem::of(Code::PaymentNotFound, format!("there is no payment {id}"))
}

/// The view of a request.
pub fn view(view: i32) -> Result<View, Problem> {
    View::from_proto(view).ok_or_else(|| invalid("view", "is not known to this engine"))
}

/// A batch by its id or key.
pub fn get_batch(doors: &Doors, request: &v1::GetBatchRequest) -> Result<v1::Batch, Problem> {
    let found = match &request.key {
        Some(v1::get_batch_request::Key::BatchId(id)) => {
            doors.engine.batch(batch_id(id)?).ok_or_else(|| no_batch(id))?
        }
        Some(v1::get_batch_request::Key::IdempotencyKey(key)) => {
            let missing = || Problem::of(Code::BatchNotFound, "no batch has this key");
            doors.engine.batch_by_key(key).ok_or_else(missing)?
        }
        None => return Err(invalid("key", "is required: batch_id or idempotency_key")),
    };
    Ok(wire::batch::to_proto(&found))
}

/// A page of batches, newest first.
pub fn list_batches(
    doors: &Doors,
    request: &v1::ListBatchesRequest,
) -> Result<v1::ListBatchesResponse, Problem> {
    let size = page_size(request.page_size)?;
    let mut wanted = request.states.clone();
    wanted.sort_unstable();
    for state in &wanted {
        if !matches!(v1::batch::State::try_from(*state), Ok(known) if known as i32 != 0) {
            return Err(invalid("states", "has a state that this engine does not know"));
        }
    }
    let matches = |batch: &Summary| {
        let state: i32 = wire::batch::state_to_proto(batch.state).into();
        wanted.is_empty() || wanted.contains(&state)
    };
    let bound = Bound::to(&[&bytes_of(&wanted), &[u8::from(request.include_single)]]);
    let last = position(Kind::Batches, bound, &request.page_token)?;
    let mut before = last.map(BatchId::from_uuid);
    let (mut batches, mut bytes, mut scanned) = (Vec::new(), 0, 0);
    let more = loop {
        let found = doors.engine.batches(before, request.include_single, size + 1);
        let is_end = found.len() <= size;
        scanned += found.len();
        let mut is_full = false;
        for batch in &found {
            if batches.len() == size {
                break;
            }
            if matches(batch) {
                let message = wire::batch::to_proto(batch);
                bytes += message.encoded_len();
                is_full = bytes > PAGE_BYTES_MAX && !batches.is_empty();
                if is_full {
                    break;
                }
                batches.push(message);
            }
            before = Some(batch.accepted.batch);
        }
        let all_seen = before == found.last().map(|last| last.accepted.batch) || found.is_empty();
        if is_end && all_seen {
            break false;
        }
        if is_full || batches.len() == size || scanned >= BATCHES_SCANNED_MAX {
            break true;
        }
    };
    let token = before
        .filter(|_| more)
        .map(|before| cursor::encode(Kind::Batches, bound, before.as_u128()));
    Ok(v1::ListBatchesResponse { batches, next_page_token: token.unwrap_or_default() })
}

/// A page of refused rows, by row.
pub fn list_refused_rows(
    doors: &Doors,
    request: &v1::ListRefusedRowsRequest,
) -> Result<v1::ListRefusedRowsResponse, Problem> {
    let size = page_size(request.page_size)?;
    let batch = batch_id(&request.batch_id)?;
    doors.engine.batch(batch).ok_or_else(|| no_batch(&request.batch_id))?;
    let bound = Bound::to(&[&batch.as_u128().to_be_bytes()]);
    let after = position(Kind::RefusedRows, bound, &request.page_token)?.unwrap_or(0);
    let after = u32::try_from(after).unwrap_or(u32::MAX);
    let mut rows = doors.engine.refused_rows(batch, after, size + PROBLEMS_PER_ROW_MAX + 1);
    let mut next_page_token = String::new();
    if rows.len() > size {
        // The problems of one row stay together.
        let last = rows[size - 1].row;
        let end = rows.iter().position(|row| row.row > last).unwrap_or(rows.len());
        if end < rows.len() {
            rows.truncate(end);
            next_page_token = cursor::encode(Kind::RefusedRows, bound, last.into());
        }
    }
    let rows = rows.iter().map(wire::batch::refused_to_proto).collect();
    Ok(v1::ListRefusedRowsResponse { rows, next_page_token })
}

/// Pauses, resumes or cancels; a batch that already stands as asked is answered as it is (I7).
pub async fn request(doors: &Doors, id: &str, input: batch::Input) -> Result<v1::Batch, Problem> {
    let batch = batch_id(id)?;
    let current = async || {
        until_readable(doors, doors.engine.newest()).await?;
        doors.engine.batch(batch).ok_or_else(|| no_batch(id))
    };
    let found = match doors.engine.request(batch, input).await {
        Ok(found) => {
            let found = found.ok_or_else(|| no_batch(id))?;
            until_readable(doors, found.version).await?;
            found
        }
        Err(Requested::Refused(batch::Refusal::AlreadySo)) => current().await?,
        // A finished batch cannot be cancelled any more, but it is no error to have asked twice.
        Err(Requested::Refused(batch::Refusal::Finished)) => {
            let found = current().await?;
            match input {
                batch::Input::Cancel if found.cancel_requested.is_some() => found,
                batch::Input::Cancel | batch::Input::Pause | batch::Input::Resume => {
                    return Err(Problem::new(Code::BatchFinished));
                }
            }
        }
        Err(refused) => return Err(refused.into()),
    };
    Ok(wire::batch::to_proto(&found))
}

/// The id of a payment in a request.
pub fn payment_id(text: &str) -> Result<PaymentId, Problem> {
    if text.is_empty() {
        return Err(invalid("payment_id", "is required"));
    }
    text.parse().map_err(|_| no_payment(text))
}

/// The payment as a message, with what is known of it right now beyond the journal.
pub fn shown(doors: &Doors, payment: &Payment, view: View) -> v1::Payment {
    let contact = doors.engine.contact(payment);
    let mut message = wire::payment::to_proto(payment, view);
    message.htlc_expiry_height = wire::count(contact.htlc_expiry_height);
    if message.outcome_unknown_since.is_none() {
        message.outcome_unknown_since = contact.lost_since.map(wire::time::to_proto);
    }
    message
}

/// A payment by its id.
pub fn get_payment(doors: &Doors, request: &v1::GetPaymentRequest) -> Result<v1::Payment, Problem> {
    let view = view(request.view)?;
    let id = payment_id(&request.payment_id)?;
    let found = doors.engine.payment(id).ok_or_else(|| no_payment(&request.payment_id))?;
    Ok(shown(doors, &found, view))
}

/// Cancels a payment that has no attempt under way; one that is cancelled is answered as it is.
pub async fn cancel_payment(doors: &Doors, id: &str) -> Result<v1::Payment, Problem> {
    let found = doors.engine.cancel_payment(payment_id(id)?).await;
    if let Err(PaymentRefused::Refused(_)) = &found {
        // Who looks at the payment now sees why.
        until_readable(doors, doors.engine.newest()).await?;
    }
    let found = found?.ok_or_else(|| no_payment(id))?;
    until_readable(doors, found.version).await?;
    Ok(shown(doors, &found, View::Full))
}

/// A page of payments.
pub fn list_payments(
    doors: &Doors,
    request: &v1::ListPaymentsRequest,
) -> Result<v1::ListPaymentsResponse, Problem> {
    let size = page_size(request.page_size)?;
    let view = view(request.view)?;
    let among = among(doors, request)?;
    let states = request.states.iter().map(|&state| state_filter(state));
    let states = states.collect::<Result<Vec<_>, _>>()?;
    let mut wanted = request.states.clone();
    wanted.sort_unstable();
    let bound = Bound::to(&[
        request.batch_id.as_bytes(),
        request.payment_hash.to_ascii_lowercase().as_bytes(),
        request.reference.as_bytes(),
        &bytes_of(&wanted),
    ]);
    let after = match position(Kind::Payments, bound, &request.page_token)? {
        None => None,
        Some(last) => {
            let last = PaymentId::from_uuid(last);
            Some(last.ok_or_else(|| page_token(cursor::Refusal::Invalid))?)
        }
    };
    let found = doors.engine.payments(&among, &states, after, size + 1);
    let (mut payments, mut bytes, mut last) = (Vec::new(), 0, None);
    for payment in found.iter().take(size) {
        let message = shown(doors, payment, view);
        bytes += message.encoded_len();
        if bytes > PAGE_BYTES_MAX && !payments.is_empty() {
            break;
        }
        last = Some(payment.id);
        payments.push(message);
    }
    let more = payments.len() < found.len();
    let token =
        last.filter(|_| more).map(|last| cursor::encode(Kind::Payments, bound, last.as_u128()));
    Ok(v1::ListPaymentsResponse { payments, next_page_token: token.unwrap_or_default() })
}

fn among(doors: &Doors, request: &v1::ListPaymentsRequest) -> Result<Among, Problem> {
    let v1::ListPaymentsRequest { batch_id: id, payment_hash, reference, .. } = request;
    let set = [id, payment_hash, reference].iter().filter(|text| !text.is_empty()).count();
    if set != 1 {
        return Err(invalid("batch_id", "or payment_hash or reference must be set: exactly one"));
    }
    if !id.is_empty() {
        let batch = batch_id(id)?;
        doors.engine.batch(batch).ok_or_else(|| no_batch(id))?;
        return Ok(Among::Batch(batch));
    }
    if !reference.is_empty() {
        return Ok(Among::Reference(reference.as_str().into()));
    }
    let mut hash = [0; 32];
    match hex::decode_to_slice(payment_hash, &mut hash) {
        Ok(()) => Ok(Among::Hash(PaymentHash(hash))),
        Err(_) => Err(invalid("payment_hash", "must be 64 hex digits")),
    }
}

fn state_filter(state: i32) -> Result<StateFilter, Problem> {
    match v1::payment::State::try_from(state) {
        Ok(v1::payment::State::Queued) => Ok(StateFilter::Queued),
        Ok(v1::payment::State::InFlight) => Ok(StateFilter::InFlight),
        Ok(v1::payment::State::Unresolved) => Ok(StateFilter::Unresolved),
        Ok(v1::payment::State::Succeeded) => Ok(StateFilter::Succeeded),
        Ok(v1::payment::State::Failed) => Ok(StateFilter::Failed),
        Ok(v1::payment::State::Cancelled) => Ok(StateFilter::Cancelled),
        Ok(v1::payment::State::Unspecified) | Err(_) => {
            Err(invalid("states", "has a state that this engine does not know"))
        }
    }
}

/// Every configured node, by name.
pub fn list_nodes(doors: &Doors) -> v1::ListNodesResponse {
    let mut nodes: Vec<_> = doors.engine.nodes().iter().map(wire::node::to_proto).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    v1::ListNodesResponse { nodes }
}

fn page_size(asked: i32) -> Result<usize, Problem> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX)),
        Err(_) => Err(invalid("page_size", "must be 0 to 1000")),
    }
}

fn position(kind: Kind, bound: Bound, token: &str) -> Result<Option<u128>, Problem> {
    if token.is_empty() {
        return Ok(None);
    }
    cursor::decode(kind, bound, token).map(Some).map_err(page_token)
}

fn bytes_of(states: &[i32]) -> Vec<u8> {
    states.iter().flat_map(|state| state.to_be_bytes()).collect()
}
