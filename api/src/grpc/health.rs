//! `grpc.health.v1` follows the engine's readiness.

use std::time::Duration;

use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::Doors;

/// How often readiness is looked at.
const PERIOD: Duration = Duration::from_millis(500);
/// The whole engine, and each service of ours.
const SERVICES: [&str; 4] =
    ["", "fulgurite.v1.BatchService", "fulgurite.v1.PaymentService", "fulgurite.v1.EngineService"];

/// The health service and what sets it; not serving yet.
pub async fn of() -> (HealthReporter, HealthServer<HealthService>) {
    let reporter = HealthReporter::new();
    report(&reporter, ServingStatus::NotServing).await;
    let service = HealthService::from_health_reporter(reporter.clone());
    (reporter, HealthServer::new(service))
}

/// Follows the engine for ever.
pub async fn follow(doors: Doors, reporter: HealthReporter) {
    let mut shown = ServingStatus::NotServing;
    loop {
        let is_ready = doors.engine.readiness().is_ready() && !doors.is_stopping();
        let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        if status != shown {
            report(&reporter, status).await;
            shown = status;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}
