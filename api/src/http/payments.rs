//! `/v1/payments`.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, State},
    response::Response,
};
use fulgurite_journal::Follow;
use fulgurite_proto::fulgurite::v1;
use http::{HeaderMap, HeaderName, StatusCode, header, request::Parts};
use tokio::time::{Instant, timeout_at};

use super::{
    Refused, answer,
    params::{Id, NoBody, Nothing, Params, Whole},
};
use crate::{
    Doors, intake,
    problem::{Code, Problem, invalid_all},
    query, wire,
};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// `POST /v1/payments`: orders one payment.
pub async fn create(
    State(doors): State<Doors>,
    mut params: Params,
    Key(idempotency_key): Key,
    Whole(body): Whole,
) -> Result<Response, Refused> {
    let validate_only = params.truth("validate_only")?;
    params.finish()?;
    let idempotency_key = idempotency_key?;
    let (order, options) = wire::json_read::payment_request(&body).map_err(invalid_all)?;
    let order = Some(order);
    let request = v1::CreatePaymentRequest { idempotency_key, order, options, validate_only };
    let created = intake::create_payment(&doors, request).await?;
    let payment = created.payment.unwrap_or_default();
    let body = wire::json::payment(&payment);
    if validate_only {
        return Ok(answer::ok(body));
    }
    let mut response = answer::with(StatusCode::CREATED, body);
    let location = format!("/v1/payments/{}", payment.payment_id);
    answer::set(&mut response, header::LOCATION, &location);
    if created.replayed {
        answer::set(&mut response, HeaderName::from_static(IDEMPOTENT_REPLAYED), "true");
    }
    Ok(response)
}

/// The idempotency key of a request, or what is wrong with it: parameters are judged before it.
pub struct Key(Result<String, Problem>);

impl FromRequestParts<Doors> for Key {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Doors) -> Result<Key, Infallible> {
        Ok(Key(key(&parts.headers)))
    }
}

fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(key), None) => Ok(key.to_owned()),
        (None, None) => Err(Problem::new(Code::IdempotencyKeyMissing)),
        (_, Some(_)) => {
            let detail = "the Idempotency-Key header is there twice; send one";
            Err(Problem::of(Code::IdempotencyKeyMissing, detail))
        }
    }
}

/// `GET /v1/payments/{id}`: the payment, at once or when it is final.
pub async fn get(
    State(doors): State<Doors>,
    Id(payment_id): Id,
    mut params: Params,
    _: NoBody,
) -> Result<Response, Refused> {
    let (view, wait) = (params.view()?, params.wait()?);
    params.finish()?;
    let view = query::view(view)?;
    let id = query::payment_id(&payment_id)?;
    let until = Instant::now() + wait;
    let follow = (!wait.is_zero()).then(|| doors.engine.follow_end(id));
    loop {
        // Read first: what comes between the two wakes the wait below.
        let seen = follow.as_ref().map(Follow::seen);
        let payment = doors.engine.payment(id).ok_or_else(|| query::no_payment(&payment_id))?;
        let is_over = payment.is_final() || doors.is_stopping() || Instant::now() >= until;
        let (Some(follow), Some(seen), false) = (&follow, seen, is_over) else {
            let shown = query::shown(&doors, &payment, view);
            return Ok(answer::ok(wire::json::payment(&shown)));
        };
        let change = async {
            tokio::select! {
                () = follow.changed_after(seen) => {}
                () = doors.stopped() => {}
            }
        };
        // When the time is over, the payment is answered as it is.
        let _ = timeout_at(until, change).await;
    }
}

/// `POST /v1/payments/{id}/cancel`.
pub async fn cancel(
    State(doors): State<Doors>,
    Id(payment_id): Id,
    _: Nothing,
) -> Result<Response, Refused> {
    Ok(answer::ok(wire::json::payment(&query::cancel_payment(&doors, &payment_id).await?)))
}

/// `GET /v1/payments`: a page of payments.
pub async fn list(
    State(doors): State<Doors>,
    mut params: Params,
    _: NoBody,
) -> Result<Response, Refused> {
    let states = |name: &str| v1::payment::State::from_str_name(name).map(i32::from);
    let request = v1::ListPaymentsRequest {
        page_size: params.number("page_size", 1_000)?,
        page_token: params.text("page_token")?,
        batch_id: params.text("batch_id")?,
        states: params.states(states)?,
        payment_hash: params.text("payment_hash")?,
        reference: params.text("reference")?,
        view: params.view()?,
    };
    params.finish()?;
    let read = move |doors: &Doors| query::list_payments(doors, &request);
    let found = query::off_workers(&doors, read).await?;
    let payments = found.payments.iter().map(wire::json::payment).collect();
    Ok(answer::ok(wire::json::page("payments", payments, &found.next_page_token)))
}
