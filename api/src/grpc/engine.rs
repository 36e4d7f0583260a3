//! `EngineService`.

use fulgurite_proto::fulgurite::v1::{self, engine_service_server::EngineService};
use tonic::{Request, Response, Status};

use crate::{
    Doors,
    operate::{self, Steering},
    query, wire,
};

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

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeResponse>, Status> {
        let v1::DrainNodeRequest { name, by } = request.into_inner();
        let node = operate::steer_node(&self.0, &name, &by, Steering::Drain).await?;
        Ok(Response::new(v1::DrainNodeResponse { node: Some(node) }))
    }

    async fn undrain_node(
        &self,
        request: Request<v1::UndrainNodeRequest>,
    ) -> Result<Response<v1::UndrainNodeResponse>, Status> {
        let v1::UndrainNodeRequest { name, by } = request.into_inner();
        let node = operate::steer_node(&self.0, &name, &by, Steering::Undrain).await?;
        Ok(Response::new(v1::UndrainNodeResponse { node: Some(node) }))
    }

    async fn trust_node(
        &self,
        request: Request<v1::TrustNodeRequest>,
    ) -> Result<Response<v1::TrustNodeResponse>, Status> {
        let v1::TrustNodeRequest { name, by, checked } = request.into_inner();
        let node = operate::steer_node(&self.0, &name, &by, Steering::Trust(checked)).await?;
        Ok(Response::new(v1::TrustNodeResponse { node: Some(node) }))
    }

    async fn resolve_node(
        &self,
        request: Request<v1::ResolveNodeRequest>,
    ) -> Result<Response<v1::ResolveNodeResponse>, Status> {
        Ok(Response::new(operate::resolve_node(&self.0, request.into_inner()).await?))
    }
}
