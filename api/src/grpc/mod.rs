//! The gRPC door: thin adapters between tonic and [`crate::intake`], [`crate::query`].

mod batches;
mod calls;
mod engine;
mod health;
mod payments;
mod upload;
mod watch;

use std::time::Duration;

use fulgurite_proto::{
    FULGURITE_FILE_DESCRIPTOR_SET,
    fulgurite::v1::{
        batch_service_server::BatchServiceServer, engine_service_server::EngineServiceServer,
        payment_service_server::PaymentServiceServer,
    },
};
use tokio::net::TcpListener;
use tonic::{service::Routes, transport::Server};
use tonic_health::{pb::health_server::HealthServer, server::HealthService};

use crate::{
    Doors,
    connections::{Allowed, Incoming},
};

/// A connection that does not answer a keepalive for this long is closed.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The bytes that every HTTP/2 connection starts with (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// What a message may have beyond the orders in it.
const MESSAGE_OVERHEAD: usize = 1 << 10;
/// Requests that name one thing are small.
const SMALL_MESSAGE_MAX: usize = 64 << 10;

/// Every service: ours, health and reflection (v1 and v1alpha).
pub fn routes(doors: &Doors, health: HealthServer<HealthService>) -> axum::Router {
    let batches = BatchServiceServer::new(batches::Batches(doors.clone()))
        .max_decoding_message_size(doors.limits.message_bytes_max + MESSAGE_OVERHEAD);
    let payments = PaymentServiceServer::new(payments::Payments(doors.clone()))
        .max_decoding_message_size(SMALL_MESSAGE_MAX);
    let engine = EngineServiceServer::new(engine::EngineInfo(doors.clone()))
        .max_decoding_message_size(SMALL_MESSAGE_MAX);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FULGURITE_FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The details of an error: tools that know them by reflection only can show them.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1().expect("the descriptors come from our own build");
    let v1alpha = reflection().build_v1alpha().expect("the descriptors come from our own build");
    let routes = Routes::new(batches)
        .add_service(payments)
        .add_service(engine)
        .add_service(health)
        .add_service(v1)
        .add_service(v1alpha);
    let limits = &doors.limits;
    let routes = calls::whole(routes.into_axum_router(), limits.grpc_request_time_max);
    calls::bounded(routes, limits.concurrent_calls_max)
}

/// Serves gRPC on `listener` until the doors stop; then waits for the calls that are left.
pub async fn serve(listener: TcpListener, doors: Doors) {
    let (reporter, health) = health::of().await;
    let follow = tokio::spawn(health::follow(doors.clone(), reporter));
    let routes = routes(&doors, health);
    let allowed = Allowed {
        connections_max: doors.limits.grpc_connections_max,
        first_bytes: PREFACE_BYTES,
        first_bytes_time_max: doors.limits.grpc_preface_time_max,
        // A watch is read at its reader's pace; who is gone does not answer the keepalive.
        write_time_max: None,
        farewell: b"",
    };
    let incoming = Incoming::of(listener, allowed).into_stream();
    let server = Server::builder()
        .load_shed(true)
        .max_concurrent_streams(doors.limits.concurrent_streams_max)
        .http2_keepalive_interval(Some(doors.limits.keepalive))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
    let stop = async move { doors.stopped().await };
    let end = server.serve_with_incoming_shutdown(routes, incoming, stop).await;
    if let Err(fault) = end {
        tracing::error!(error = %fault, "the gRPC door ended");
    }
    follow.abort();
}
