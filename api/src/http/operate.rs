//! What operators decide.

use axum::{extract::State, response::Response};

use super::{
    Refused, answer,
    params::{Id, Params, Whole},
};
use crate::{
    Doors,
    operate::{self, Steering},
    problem::invalid_all,
    wire,
};

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
    Ok(answer::ok(wire::json::payment(&operate::resolve_payment(&doors, request).await?)))
}

/// `POST /v1/nodes/{name}/drain`, `undrain` and `trust`: `steering` makes the wish of what was
/// checked, which only `trust` asks for.
pub async fn steer(
    doors: Doors,
    Id(name): Id,
    params: Params,
    Whole(body): Whole,
    (trust, steering): (bool, fn(String) -> Steering),
) -> Result<Response, Refused> {
    params.finish()?;
    let (by, checked) = wire::json_read::steering(&body, trust).map_err(invalid_all)?;
    let node = operate::steer_node(&doors, &name, &by, steering(checked)).await?;
    Ok(answer::ok(wire::json::node(&node)))
}

/// `POST /v1/nodes/{name}/resolve`: ends the payments of a lost node.
pub async fn resolve_node(
    State(doors): State<Doors>,
    Id(name): Id,
    params: Params,
    Whole(body): Whole,
) -> Result<Response, Refused> {
    params.finish()?;
    let mut request = wire::json_read::node_resolution(&body).map_err(invalid_all)?;
    request.name = name;
    let resolved = operate::resolve_node(&doors, request).await?;
    Ok(answer::ok(wire::json::node_resolved(&resolved)))
}
