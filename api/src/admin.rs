//! The admin listener: whether the process lives, whether it is ready, and its metrics.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::get,
};
use fulgurite_runtime::Engine;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tracing::error;

use crate::{
    http::{Guard, Patience, pass, serve_router},
    wire,
};

/// The text format that the metrics are written in.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The most requests at once: probes and scrapers are few.
const REQUESTS_MAX: u32 = 64;
/// How patient it is with them.
const PATIENCE: Patience = Patience {
    connections_max: 256,
    head_time_max: Duration::from_secs(60),
    write_time_max: Duration::from_secs(30),
};

/// What the listener answers from; cheap to clone.
#[derive(Clone, Default)]
pub struct Admin {
    engine: Arc<OnceLock<Engine>>,
}

impl Admin {
    /// The engine has not started: alive, not ready.
    pub fn new() -> Admin {
        Admin::default()
    }

    /// The engine has started and its doors are open.
    pub fn started(&self, engine: Engine) {
        // An engine starts once in a process; a second call changes nothing.
        let _ = self.engine.set(engine);
    }

    /// Why it is not ready; empty when it is.
    fn not_ready(&self) -> Vec<&'static str> {
        match self.engine.get() {
            None => vec!["the journal is being recovered"],
            Some(engine) => wire::node::not_ready(&engine.readiness()),
        }
    }
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, admin: Admin) {
    let guard = match listener.local_addr() {
        Ok(address) => guard(address),
        Err(error) => return error!(%error, "the admin listener has no address"),
    };
    serve_router(listener, router(admin, guard), PATIENCE, std::future::pending()).await;
}

/// The guard of the HTTP door: a web page that reaches this port by DNS rebinding would read
/// balances.
fn guard(address: SocketAddr) -> Guard {
    Guard::new(address.port(), !address.ip().is_loopback(), REQUESTS_MAX)
}

fn router(admin: Admin, guard: Guard) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .route("/metrics", get(metrics))
        .with_state(admin)
        .layer(from_fn_with_state(Arc::new(guard), pass))
}

async fn livez() -> Json<Value> {
    Json(json!({ "alive": true }))
}

/// 200 while orders are taken and can be paid, else 503 with the reasons.
async fn readyz(State(admin): State<Admin>) -> Response {
    let reasons = admin.not_ready();
    let body = json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (status(reasons.is_empty()), Json(body)).into_response()
}

/// 200 once the journal is recovered and the doors are open.
async fn startupz(State(admin): State<Admin>) -> Response {
    let started = admin.engine.get().is_some();
    (status(started), Json(json!({ "started": started }))).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    let encoded = match admin.engine.get() {
        Some(engine) => engine.metrics().encode(&mut text),
        None => {
            text.push_str("# EOF\n");
            Ok(())
        }
    };
    match encoded {
        Ok(()) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tower::ServiceExt;

    use super::*;

    fn router_of_tests() -> Router {
        router(Admin::new(), guard(([127, 0, 0, 1], 9_090).into()))
    }

    #[tokio::test]
    async fn web_pages_do_not_read_it() {
        for (name, value) in
            [("host", "evil.example:9090"), ("host", "localhost:80"), ("origin", "null")]
        {
            let request = Request::get("/metrics").header(name, value).body(Body::empty()).unwrap();
            let answer = router_of_tests().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), 403, "{name}: {value}");
        }
    }

    #[tokio::test]
    async fn before_the_start_it_lives_and_is_not_ready() {
        for (path, expected) in
            [("/livez", 200), ("/readyz", 503), ("/startupz", 503), ("/metrics", 200)]
        {
            let request = Request::get(path).header("host", "127.0.0.1:9090");
            let request = request.body(Body::empty()).unwrap();
            let answer = router_of_tests().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), expected, "{path}");
        }
    }
}
