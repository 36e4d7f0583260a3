//! The HTTP door: the same functions as the gRPC door, as JSON.
//!
//! `operations` is the table of what it can do; routes, description and documentation come from
//! there.

mod answer;
mod batches;
mod engine;
mod guard;
mod openapi;
mod operate;
mod operations;
mod pages;
mod params;
mod payments;
mod serve;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter},
};
use http::{StatusCode, header};
use tokio::net::TcpListener;

use crate::{
    Doors,
    problem::{Code, Problem},
};

pub use answer::Refused;
pub use guard::{Guard, pass};
pub use serve::{Patience, serve as serve_router};

/// Every route, behind the guard.
pub fn router(doors: Doors, guard: Guard) -> Router {
    let mut paths: BTreeMap<&str, (MethodRouter<Doors>, String)> = BTreeMap::new();
    for operation in operations::all() {
        let (route, allow) = paths.entry(operation.path).or_default();
        let methods = (operation.route)();
        *route = std::mem::take(route).merge(match operation.method {
            "POST" => methods.route_layer(from_fn(guard::json_only)),
            _ => methods,
        });
        let methods = if operation.method == "GET" { "GET, HEAD" } else { operation.method };
        allow.push_str(methods);
        allow.push_str(", ");
    }
    let mut router = Router::new();
    for (path, (route, mut allow)) in paths {
        allow.push_str("OPTIONS");
        router = router.route(path, with_the_other_methods(route, allow.into()));
    }
    let guard = from_fn_with_state(Arc::new(guard), guard::pass);
    router.fallback(no_route).with_state(doors).layer(guard)
}

/// Adds OPTIONS, and a refusal of every other method. Nothing here is for web pages, so OPTIONS
/// answers no preflight.
fn with_the_other_methods(route: MethodRouter<Doors>, allow: Arc<str>) -> MethodRouter<Doors> {
    let allowed = Arc::clone(&allow);
    let options = move || async move { allowing(StatusCode::NO_CONTENT.into_response(), &allowed) };
    let refused = move || async move {
        let problem = Refused(Problem::new(Code::MethodNotAllowed));
        allowing(problem.into_response(), &allow)
    };
    route.on(MethodFilter::OPTIONS, options).fallback(refused)
}

fn allowing(mut response: Response, allow: &str) -> Response {
    answer::set(&mut response, header::ALLOW, allow);
    response
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
    let patience = Patience {
        connections_max: doors.limits.http_connections_max,
        head_time_max: doors.limits.http_head_time_max,
        write_time_max: doors.limits.http_body_time_max,
    };
    serve::serve(listener, router, patience, async move { doors.stopped().await }).await;
}

async fn no_route() -> Refused {
    Problem::of(Code::RouteNotFound, "there is nothing at this path; /docs lists what there is")
        .into()
}
