//! `EngineService`.

use fulgurite_proto::fulgurite::v1::{self, engine_service_server::EngineService};
use tonic::{Request, Response, Status};

use crate::{Doors, query, wire};

/// The service.
pub struct EngineInfo(pub Doors);

#[tonic::async_trait]
impl EngineService for EngineInfo {
    async fn get_engine(
        &self,
        _request: Request<v1::GetEngineRequest>,
    ) -> Result<Response<v1::GetEngineResponse>, Status> {
        let engine = Some(wire::node::engine(&self.0));
        Ok(Response::new(v1::GetEngineResponse { engine }))
    }

    async fn list_nodes(
        &self,
        _request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        Ok(Response::new(query::list_nodes(&self.0)))
    }
}
