//! `/v1/batches`.

use axum::{
    body::Body,
    extract::{Path, Query, State},
    response::Response,
};
use fulgurite_core::batch::Input;
use fulgurite_proto::fulgurite::v1::{self, get_batch_request::Key};
use serde_json::json;

use super::{
    Refused, answer,
    params::{Params, nothing},
    payments::{Pairs, page},
};
use crate::{Doors, query, wire};

/// `GET /v1/batches/{id}`.
pub async fn get(
    State(doors): State<Doors>,
    Path(id): Path<String>,
    Query(pairs): Pairs,
) -> Result<Response, Refused> {
    Params::of(pairs).finish()?;
    let request = v1::GetBatchRequest { key: Some(Key::BatchId(id)) };
    Ok(answer::ok(&wire::json::batch(&query::get_batch(&doors, &request)?)))
}

/// `GET /v1/batches`: a page of batches; with `idempotency_key` the one batch that has it.
pub async fn list(State(doors): State<Doors>, Query(pairs): Pairs) -> Result<Response, Refused> {
    let mut params = Params::of(pairs);
    let key = params.text("idempotency_key")?;
    if !key.is_empty() {
        params.finish()?;
        let request = v1::GetBatchRequest { key: Some(Key::IdempotencyKey(key)) };
        let batch = wire::json::batch(&query::get_batch(&doors, &request)?);
        return Ok(answer::ok(&json!({ "batches": [batch] })));
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
    Ok(answer::ok(&page("batches", batches, found.next_page_token)))
}

/// `GET /v1/batches/{id}/refused_rows`: a page of refused rows.
pub async fn refused_rows(
    State(doors): State<Doors>,
    Path(batch_id): Path<String>,
    Query(pairs): Pairs,
) -> Result<Response, Refused> {
    let mut params = Params::of(pairs);
    let page_size = params.number("page_size", 1_000)?;
    let page_token = params.text("page_token")?;
    params.finish()?;
    let request = v1::ListRefusedRowsRequest { batch_id, page_size, page_token };
    let read = move |doors: &Doors| query::list_refused_rows(doors, &request);
    let found = query::off_workers(&doors, read).await?;
    let rows = found.rows.iter().map(wire::json::refused_row).collect();
    Ok(answer::ok(&page("rows", rows, found.next_page_token)))
}

/// `POST /v1/batches/{id}/pause`.
pub async fn pause(
    state: State<Doors>,
    path: Path<String>,
    Query(pairs): Pairs,
    body: Body,
) -> Result<Response, Refused> {
    nothing(pairs, body).await?;
    request(state, path, Input::Pause).await
}

/// `POST /v1/batches/{id}/resume`.
pub async fn resume(
    state: State<Doors>,
    path: Path<String>,
    Query(pairs): Pairs,
    body: Body,
) -> Result<Response, Refused> {
    nothing(pairs, body).await?;
    request(state, path, Input::Resume).await
}

/// `POST /v1/batches/{id}/cancel`.
pub async fn cancel(
    state: State<Doors>,
    path: Path<String>,
    Query(pairs): Pairs,
    body: Body,
) -> Result<Response, Refused> {
    nothing(pairs, body).await?;
    request(state, path, Input::Cancel).await
}

async fn request(
    State(doors): State<Doors>,
    Path(id): Path<String>,
    input: Input,
) -> Result<Response, Refused> {
    Ok(answer::ok(&wire::json::batch(&query::request(&doors, &id, input).await?)))
}
