//! `BatchService`.

use fulgurite_core::batch::Input;
use fulgurite_proto::fulgurite::v1::{
    self, UploadBatchRequest, UploadBatchResponse, WatchBatchResponse,
    batch_service_server::BatchService,
};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::{upload, watch};
use crate::{Doors, query};

/// The service.
pub struct Batches(pub Doors);

#[tonic::async_trait]
impl BatchService for Batches {
    type UploadBatchStream = BoxStream<'static, Result<UploadBatchResponse, Status>>;
    type WatchBatchStream = BoxStream<'static, Result<WatchBatchResponse, Status>>;

    async fn upload_batch(
        &self,
        request: Request<Streaming<UploadBatchRequest>>,
    ) -> Result<Response<Self::UploadBatchStream>, Status> {
        Ok(Response::new(upload::upload(&self.0, request.into_inner()).await?))
    }

    async fn get_batch(
        &self,
        request: Request<v1::GetBatchRequest>,
    ) -> Result<Response<v1::GetBatchResponse>, Status> {
        let batch = Some(query::get_batch(&self.0, request.get_ref())?);
        Ok(Response::new(v1::GetBatchResponse { batch }))
    }

    async fn list_batches(
        &self,
        request: Request<v1::ListBatchesRequest>,
    ) -> Result<Response<v1::ListBatchesResponse>, Status> {
        let request = request.into_inner();
        let read = move |doors: &Doors| query::list_batches(doors, &request);
        Ok(Response::new(query::off_workers(&self.0, read).await?))
    }

    async fn list_refused_rows(
        &self,
        request: Request<v1::ListRefusedRowsRequest>,
    ) -> Result<Response<v1::ListRefusedRowsResponse>, Status> {
        let request = request.into_inner();
        let read = move |doors: &Doors| query::list_refused_rows(doors, &request);
        Ok(Response::new(query::off_workers(&self.0, read).await?))
    }

    async fn pause_batch(
        &self,
        request: Request<v1::PauseBatchRequest>,
    ) -> Result<Response<v1::PauseBatchResponse>, Status> {
        let batch = query::request(&self.0, &request.get_ref().batch_id, Input::Pause).await?;
        Ok(Response::new(v1::PauseBatchResponse { batch: Some(batch) }))
    }

    async fn resume_batch(
        &self,
        request: Request<v1::ResumeBatchRequest>,
    ) -> Result<Response<v1::ResumeBatchResponse>, Status> {
        let batch = query::request(&self.0, &request.get_ref().batch_id, Input::Resume).await?;
        Ok(Response::new(v1::ResumeBatchResponse { batch: Some(batch) }))
    }

    async fn cancel_batch(
        &self,
        request: Request<v1::CancelBatchRequest>,
    ) -> Result<Response<v1::CancelBatchResponse>, Status> {
        let batch = query::request(&self.0, &request.get_ref().batch_id, Input::Cancel).await?;
        Ok(Response::new(v1::CancelBatchResponse { batch: Some(batch) }))
    }

    async fn watch_batch(
        &self,
        request: Request<v1::WatchBatchRequest>,
    ) -> Result<Response<Self::WatchBatchStream>, Status> {
        Ok(Response::new(watch::watch(&self.0, request.get_ref())?))
    }
}
