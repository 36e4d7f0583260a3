//! `/v1/engine`, `/v1/nodes`.

use axum::{extract::State, response::Response};

use super::{Refused, answer, params::Nothing};
use crate::{Doors, query, wire};

/// `GET /v1/engine`.
pub async fn get(State(doors): State<Doors>, _: Nothing) -> Result<Response, Refused> {
    Ok(answer::ok(wire::json::engine(&wire::node::engine(&doors))))
}

/// `GET /v1/nodes`.
pub async fn nodes(State(doors): State<Doors>, _: Nothing) -> Result<Response, Refused> {
    let nodes = query::list_nodes(&doors).nodes.iter().map(wire::json::node).collect();
    Ok(answer::ok(wire::json::page("nodes", nodes, "")))
}
