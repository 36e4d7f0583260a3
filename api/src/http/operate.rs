//! What operators decide.

use axum::{extract::State, response::Response};

use super::{
    Refused, answer,
    params::{Id, Params, Whole},
};
use crate::{Doors, operate, problem::invalid_all, wire};

/// `POST /v1/payments/{id}/resolve`: ends an unresolved payment as a person says.
pub async fn resolve(
    State(doors): State<Doors>,
    Id(payment_id): Id,
    params: Params,
    Whole(body): Whole,
) -> Result<Response, Refused> {
    params.finish()?;
    let mut request = wire::json_read::resolution(&body).map_err(invalid_all)?;
    request.payment_id = payment_id;
    Ok(answer::ok(&wire::json::payment(&operate::resolve_payment(&doors, request).await?)))
}
