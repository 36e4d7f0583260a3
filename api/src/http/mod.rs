//! The HTTP door: the same functions as the gRPC door, as JSON.

mod answer;
mod batches;
mod guard;
mod params;
mod payments;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    middleware::from_fn_with_state,
    response::Response,
    routing::{get, post},
    serve::ListenerExt,
};
use fulgurite_proto::fulgurite::v1;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    Doors,
    problem::{Code, Problem, Retry},
    query, wire,
};

use params::nothing;
use payments::Pairs;

pub use answer::Refused;
pub use guard::{Guard, pass};

/// Every route, behind the guard.
pub fn router(doors: Doors, guard: Guard) -> Router {
    Router::new()
        .route("/v1/payments", post(payments::create).get(payments::list))
        .route("/v1/payments/{id}", get(payments::get))
        .route("/v1/payments/{id}/cancel", post(payments::cancel))
        .route("/v1/batches", get(batches::list))
        .route("/v1/batches/{id}", get(batches::get))
        .route("/v1/batches/{id}/refused_rows", get(batches::refused_rows))
        .route("/v1/batches/{id}/pause", post(batches::pause))
        .route("/v1/batches/{id}/resume", post(batches::resume))
        .route("/v1/batches/{id}/cancel", post(batches::cancel))
        .route("/v1/nodes", get(nodes))
        .route("/v1/engine", get(engine))
        .route("/errors/{code}", get(error))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(doors)
        .layer(from_fn_with_state(Arc::new(guard), guard::pass))
}

/// Serves HTTP on `listener` until the doors stop; then waits for the requests that are left. On
/// an address that other machines reach, requests for any host name are taken.
pub async fn serve(listener: TcpListener, doors: Doors) {
    let address = match listener.local_addr() {
        Ok(address) => address,
        Err(fault) => return tracing::error!(error = %fault, "the HTTP door has no address"),
    };
    let is_open = !address.ip().is_loopback();
    let guard = Guard::new(address.port(), is_open, doors.limits.http_requests_max);
    let router = router(doors.clone(), guard);
    // axum leaves Nagle's algorithm on, which costs 40 ms now and then.
    let listener = listener.tap_io(|stream| {
        if let Err(fault) = stream.set_nodelay(true) {
            tracing::debug!(error = %fault, "no TCP_NODELAY");
        }
    });
    let stop = async move { doors.stopped().await };
    if let Err(fault) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(error = %fault, "the HTTP door ended");
    }
}

async fn nodes(
    State(doors): State<Doors>,
    Query(pairs): Pairs,
    body: Body,
) -> Result<Response, Refused> {
    nothing(pairs, body).await?;
    let v1::ListNodesResponse { nodes } = query::list_nodes(&doors);
    let nodes: Vec<Value> = nodes.iter().map(wire::json::node).collect();
    Ok(answer::ok(&json!({ "nodes": nodes })))
}

async fn engine(
    State(doors): State<Doors>,
    Query(pairs): Pairs,
    body: Body,
) -> Result<Response, Refused> {
    nothing(pairs, body).await?;
    Ok(answer::ok(&wire::json::engine(&wire::node::engine(&doors))))
}

/// What a code means: the target of `type` in every problem.
async fn error(Path(name): Path<String>) -> Result<Response, Refused> {
    let code = Code::named(&name).ok_or(Problem::new(Code::RouteNotFound))?;
    let retry = match code.retry() {
        Retry::No => "no",
        Retry::After(_) => "later",
        Retry::SameKey => "same_key",
    };
    Ok(answer::ok(&json!({
        "code": code.name(),
        "title": code.title(),
        "status": code.http(),
        "retry": retry,
    })))
}

async fn no_route() -> Refused {
    Problem::new(Code::RouteNotFound).into()
}

async fn no_method() -> Refused {
    Problem::new(Code::MethodNotAllowed).into()
}
