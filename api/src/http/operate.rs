//! What operators decide.

use axum::{extract::State, response::Response};
use fulgurite_proto::fulgurite::v1;

use super::{
    Refused, answer,
    params::{Id, Params, Whole},
};
use crate::{
    Doors,
    operate::{self, Steering},
    problem::{Problem, invalid_all},
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
    Ok(answer::ok(&wire::json::payment(&operate::resolve_payment(&doors, request).await?)))
}

/// `POST /v1/nodes/{name}/drain`: no new attempt starts there.
pub async fn drain(
    State(doors): State<Doors>,
    Id(name): Id,
    params: Params,
    Whole(body): Whole,
) -> Result<Response, Refused> {
    params.finish()?;
    let (by, _) = wire::json_read::steering(&body, false).map_err(invalid_all)?;
    steered(operate::steer_node(&doors, &name, &by, Steering::Drain).await)
}

/// `POST /v1/nodes/{name}/undrain`: new attempts start there again.
pub async fn undrain(
    State(doors): State<Doors>,
    Id(name): Id,
    params: Params,
    Whole(body): Whole,
) -> Result<Response, Refused> {
    params.finish()?;
    let (by, _) = wire::json_read::steering(&body, false).map_err(invalid_all)?;
    steered(operate::steer_node(&doors, &name, &by, Steering::Undrain).await)
}

/// `POST /v1/nodes/{name}/trust`: it is believed again.
pub async fn trust(
    State(doors): State<Doors>,
    Id(name): Id,
    params: Params,
    Whole(body): Whole,
) -> Result<Response, Refused> {
    params.finish()?;
    let (by, checked) = wire::json_read::steering(&body, true).map_err(invalid_all)?;
    steered(operate::steer_node(&doors, &name, &by, Steering::Trust(checked)).await)
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
    Ok(answer::ok(&wire::json::node_resolved(&resolved)))
}

fn steered(node: Result<v1::Node, Problem>) -> Result<Response, Refused> {
    Ok(answer::ok(&wire::json::node(&node?)))
}
