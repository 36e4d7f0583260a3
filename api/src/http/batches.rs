//! `/v1/batches`.

use axum::{extract::State, response::Response};
use fulgurite_core::batch::Input;
use fulgurite_proto::fulgurite::v1::{self, get_batch_request::Key};

use super::{
    Refused, answer,
    params::{Id, NoBody, Nothing, Params},
};
use crate::{
    Doors,
    problem::{Code, Problem},
    query, wire,
};

/// `GET /v1/batches/{id}`.
pub async fn get(State(doors): State<Doors>, Id(id): Id, _: Nothing) -> Result<Response, Refused> {
    let request = v1::GetBatchRequest { key: Some(Key::BatchId(id)) };
    Ok(answer::ok(wire::json::batch(&query::get_batch(&doors, &request)?)))
}

/// `GET /v1/batches`: a page of batches; with `idempotency_key` the one batch that has it.
pub async fn list(
    State(doors): State<Doors>,
    mut params: Params,
    _: NoBody,
) -> Result<Response, Refused> {
    if params.has("idempotency_key") {
        let key = params.text("idempotency_key")?;
        params.finish()?;
        return with_key(&doors, key);
    }
    let states = |name: &str| v1::batch::State::from_str_name(name).map(i32::from);
    let request = v1::ListBatchesRequest {
        page_size: params.number("page_size", 1_000)?,
        page_token: params.text("page_token")?,
        states: params.states(states)?,
        include_single: params.truth("include_single")?,
    };
    params.finish()?;
    let read = move |doors: &Doors| query::list_batches(doors, &request);
    let found = query::off_workers(&doors, read).await?;
    let batches = found.batches.iter().map(wire::json::batch).collect();
    Ok(answer::ok(wire::json::page("batches", batches, &found.next_page_token)))
}

fn with_key(doors: &Doors, key: String) -> Result<Response, Refused> {
    // Who lost the key must not take a list of all batches for the answer.
    if key.is_empty() {
        return Err(Problem::new(Code::IdempotencyKeyMissing).into());
    }
    let request = v1::GetBatchRequest { key: Some(Key::IdempotencyKey(key)) };
    let batch = wire::json::batch(&query::get_batch(doors, &request)?);
    Ok(answer::ok(wire::json::page("batches", vec![batch], "")))
}

/// `GET /v1/batches/{id}/refused_rows`: a page of refused rows.
pub async fn refused_rows(
    State(doors): State<Doors>,
    Id(batch_id): Id,
    mut params: Params,
    _: NoBody,
) -> Result<Response, Refused> {
    let page_size = params.number("page_size", 1_000)?;
    let page_token = params.text("page_token")?;
    params.finish()?;
    let request = v1::ListRefusedRowsRequest { batch_id, page_size, page_token };
    let read = move |doors: &Doors| query::list_refused_rows(doors, &request);
    let found = query::off_workers(&doors, read).await?;
    let rows = found.rows.iter().map(wire::json::refused_row).collect();
    Ok(answer::ok(wire::json::page("rows", rows, &found.next_page_token)))
}

/// `POST /v1/batches/{id}/pause`, `/resume` and `/cancel`.
pub async fn change(doors: Doors, Id(id): Id, input: Input) -> Result<Response, Refused> {
    Ok(answer::ok(wire::json::batch(&query::request(&doors, &id, input).await?)))
}
