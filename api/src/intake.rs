//! Taking orders: what both doors and both ways in (upload, single payment) have in common.

use std::sync::Arc;

use fulgurite_core::{
    Lsn, PaymentId, UnixMs,
    order::{BatchOptions, RefusedRow, Sealed},
};
use fulgurite_proto::fulgurite::v1;
use fulgurite_runtime::{
    Engine,
    upload::{Commit, Header, Upload},
};

use crate::{
    Doors,
    check::{Signatures, Terms, upload::Sorted, upload::UploadCheck},
    doors::now,
    fingerprint::Fingerprint,
    problem::{Code, Problem, invalid, order_refused},
    query,
    wire::{self, payment::View},
};

const KEY_CHARS_MAX: usize = 255;
const DESCRIPTION_BYTES_MAX: usize = 1_024;
const METADATA_PAIRS_MAX: usize = 32;
const METADATA_KEY_BYTES_MAX: usize = 64;
const METADATA_VALUE_BYTES_MAX: usize = 512;

/// The idempotency key of a request.
pub fn idempotency_key(key: &str) -> Result<Arc<str>, Problem> {
    let title = Code::IdempotencyKeyMissing.title();
    let wrong =
        |what: &str| Err(Problem::of(Code::IdempotencyKeyMissing, format!("{title}{what}")));
    if key.is_empty() {
        return wrong("");
    }
    if key.len() > KEY_CHARS_MAX {
        return wrong(&format!("; this one has {}", key.len()));
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("; this one has a blank or another character that is not");
    }
    Ok(key.into())
}

/// What stands against new orders with these options here and now. A repeat of what was accepted
/// before is answered all the same, so this counts only once the key is known to be new.
pub fn objection(options: &BatchOptions, signatures: Signatures, now: UnixMs) -> Option<Problem> {
    if options.deadline.is_some_and(|deadline| deadline <= now) {
        return Some(invalid("options.deadline", "has passed"));
    }
    if options.per_destination_in_flight_max > 0 && signatures == Signatures::Node {
        let message = "is not possible while the nodes check signatures: the payee is unknown";
        return Some(invalid("options.per_destination_in_flight_max", message));
    }
    None
}

/// Ends an upload. With an objection, only what its key was answered before is answered.
pub async fn commit(
    upload: Upload,
    order_count: u32,
    fingerprint: [u8; 32],
    objection: Option<Problem>,
) -> Result<Commit, Problem> {
    match objection {
        None => Ok(upload.commit(order_count, fingerprint).await?),
        Some(objection) => upload.repeated(fingerprint).await?.ok_or(objection),
    }
}

/// The header of an upload, checked.
pub fn upload_header(
    doors: &Doors,
    header: &v1::upload_batch_request::Header,
) -> Result<Header, Problem> {
    let idempotency_key = idempotency_key(&header.idempotency_key)?;
    let options = wire::options::effective(header.options.as_ref(), &doors.defaults)?;
    if header.description.len() > DESCRIPTION_BYTES_MAX {
        let message = format!("must have at most {DESCRIPTION_BYTES_MAX} bytes");
        return Err(invalid("description", &message));
    }
    if header.content_digest.len() > KEY_CHARS_MAX {
        let message = format!("must have at most {KEY_CHARS_MAX} bytes");
        return Err(invalid("content_digest", &message));
    }
    let metadata = metadata(header)?;
    let description = (!header.description.is_empty()).then(|| Sealed::plain(&header.description));
    Ok(Header {
        idempotency_key,
        content_digest: header.content_digest.as_str().into(),
        options,
        description,
        metadata,
        single: false,
    })
}

fn metadata(header: &v1::upload_batch_request::Header) -> Result<Vec<(Sealed, Sealed)>, Problem> {
    if header.metadata.len() > METADATA_PAIRS_MAX {
        let message = format!("must have at most {METADATA_PAIRS_MAX} pairs");
        return Err(invalid("metadata", &message));
    }
    let mut pairs: Vec<_> = header.metadata.iter().collect();
    pairs.sort_unstable();
    for (key, value) in &pairs {
        let long = key.len() > METADATA_KEY_BYTES_MAX || value.len() > METADATA_VALUE_BYTES_MAX;
        if key.is_empty() || long {
            let message = format!(
                "must have keys of 1 to {METADATA_KEY_BYTES_MAX} bytes and values of at most \
                 {METADATA_VALUE_BYTES_MAX}"
            );
            return Err(invalid("metadata", &message));
        }
    }
    Ok(pairs.iter().map(|(key, value)| (Sealed::plain(key), Sealed::plain(value))).collect())
}

/// What the orders of a request are judged by.
pub fn terms(options: &BatchOptions, set: Option<&v1::BatchOptions>, now: UnixMs) -> Terms {
    Terms {
        now,
        fee_policy: options.fee_policy,
        fee_policy_chosen: set.is_some_and(|set| set.fee_policy.is_some()),
    }
}

/// Refuses the rows whose hash another payment owns, as a commit would: for uploads that are only
/// validated.
pub fn refuse_claimed(engine: &Engine, sorted: &mut Sorted) {
    let refused = &mut sorted.refused;
    sorted.orders.retain(|(row, order)| match engine.claimed(*row, order) {
        Some(claimed) => {
            refused.push(claimed);
            false
        }
        None => true,
    });
}

/// The problem of a key that belongs to other content.
pub fn key_reused(batch: impl ToString, difference: String) -> Problem {
    Problem::of(
        Code::IdempotencyKeyReused,
        format!("the key belongs to other content; the first difference: {difference}"),
    )
    .with("batch_id", batch.to_string())
    .with("difference", difference)
}

/// Orders one payment.
pub async fn create_payment(
    doors: &Doors,
    request: v1::CreatePaymentRequest,
) -> Result<v1::CreatePaymentResponse, Problem> {
    let now = now();
    let idempotency_key = idempotency_key(&request.idempotency_key)?;
    let Some(order) = request.order else {
        return Err(invalid("order", "is required"));
    };
    let set = request.options.as_ref();
    if set.is_some_and(|set| set.accept_valid.is_some()) {
        return Err(invalid("options.accept_valid", "has no meaning for a single payment"));
    }
    let options = wire::options::effective(set, &doors.defaults)?;
    let objection = objection(&options, doors.signatures(), now);
    let terms = terms(&options, set, now);
    if request.validate_only {
        let (_, mut sorted) = checked(doors, &order, set, &terms)?;
        if let Some(objection) = objection {
            return Err(objection);
        }
        refuse_claimed(&doors.engine, &mut sorted);
        return validated(&sorted);
    }
    let header = Header {
        idempotency_key,
        content_digest: "".into(),
        options,
        description: None,
        metadata: Vec::new(),
        single: true,
    };
    // What is too much is refused before it costs anything.
    let mut upload = doors.engine.open_upload(header, 1)?;
    let (check, sorted) = checked(doors, &order, set, &terms)?;
    // A bad order goes this way too: its key may belong to the same order, accepted before.
    upload.add(sorted.orders, sorted.refused)?;
    match commit(upload, 1, check.fingerprint(), objection).await? {
        Commit::Accepted { batch, replayed } => {
            let payment = batch.accepted.batch.payment(1);
            let payment = created(doors, payment, batch.version).await?;
            Ok(v1::CreatePaymentResponse { payment: Some(payment), replayed })
        }
        Commit::RowsRefused(rows) => Err(order_refused(&rows)),
        Commit::KeyReused { batch, difference } => Err(key_reused(batch, difference)),
    }
}

/// Checks an order that comes alone.
fn checked(
    doors: &Doors,
    order: &v1::PaymentOrder,
    set: Option<&v1::BatchOptions>,
    terms: &Terms,
) -> Result<(UploadCheck, Sorted), Problem> {
    let row = doors.checker.check(order, terms)?;
    let mut check = UploadCheck::new(Fingerprint::of_single(set), doors.limits.batch_amount_max);
    let sorted = check.take(vec![row]);
    Ok((check, sorted))
}

/// The payment that was just accepted.
async fn created(doors: &Doors, payment: PaymentId, version: Lsn) -> Result<v1::Payment, Problem> {
    until_readable(doors, version).await?;
    let found = doors.engine.payment(payment).ok_or(Problem::new(Code::UnknownOutcome))?;
    Ok(query::shown(doors, &found, View::Basic))
}

/// Waits until the read model covers `version`: who was answered can read what was accepted. How
/// long that may take is the client's to say. An engine that stops first says so: a repeat with
/// the same key is answered.
pub async fn until_readable(doors: &Doors, version: Lsn) -> Result<(), Problem> {
    tokio::select! {
        biased;
        () = doors.engine.wait_past(version.saturating_sub(1)) => Ok(()),
        () = doors.stopped() => Err(Problem::new(Code::UnknownOutcome)),
    }
}

/// The answer to an order that was only validated: the payment that it would become, without id.
fn validated(sorted: &Sorted) -> Result<v1::CreatePaymentResponse, Problem> {
    let refused: &[RefusedRow] = &sorted.refused;
    let Some((row, order)) = sorted.orders.first().filter(|_| refused.is_empty()) else {
        return Err(order_refused(refused));
    };
    let text = |sealed: &Sealed| sealed.text().unwrap_or_default().to_owned();
    let payment = v1::Payment {
        row: wire::count(*row),
        reference: order.reference.as_ref().map(text).unwrap_or_default(),
        destination: Some(v1::payment::Destination::Bolt11(order.invoice.to_string())),
        payment_hash: order.payment_hash.to_string(),
        amount_msat: wire::large(order.amount.get()),
        fee_limit_msat: wire::large(order.fee_limit.get()),
        deadline: order.deadline.map(wire::time::to_proto),
        ..Default::default()
    };
    Ok(v1::CreatePaymentResponse { payment: Some(payment), replayed: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // A table: one line is one request and the field that stands against it.
    fn what_stands_against_new_orders_names_its_field() {
        let until = |ms| BatchOptions { deadline: Some(UnixMs(ms)), ..BatchOptions::default() };
        let spread = BatchOptions { per_destination_in_flight_max: 1, ..BatchOptions::default() };
        for (options, signatures, field) in [
            (BatchOptions::default(), Signatures::Node, None),
            (until(11),      Signatures::Door, None),
            (until(10),      Signatures::Door, Some("options.deadline")),
            (spread.clone(), Signatures::Door, None),
            (spread,         Signatures::Node, Some("options.per_destination_in_flight_max")),
        ] {
            let found = objection(&options, signatures, UnixMs(10));
            assert_eq!(found.as_ref().map(|found| found.violations[0].field.as_str()), field);
        }
    }

    #[test]
    fn a_key_is_1_to_255_visible_ascii() {
        for key in ["a", "file:sha256-00", &"x".repeat(255)] {
            assert!(idempotency_key(key).is_ok(), "{key}");
        }
        for key in ["", "a b", "ä", "a\n", &"x".repeat(256)] {
            let problem = idempotency_key(key).expect_err("refused");
            assert_eq!(problem.code, Code::IdempotencyKeyMissing, "{key}");
        }
    }
}
