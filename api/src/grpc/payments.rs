//! `PaymentService`.

use fulgurite_proto::fulgurite::v1::{self, payment_service_server::PaymentService};
use tonic::{Request, Response, Status};

use crate::{Doors, intake, operate, query};

/// The service.
pub struct Payments(pub Doors);

#[tonic::async_trait]
impl PaymentService for Payments {
    async fn create_payment(
        &self,
        request: Request<v1::CreatePaymentRequest>,
    ) -> Result<Response<v1::CreatePaymentResponse>, Status> {
        Ok(Response::new(intake::create_payment(&self.0, request.into_inner()).await?))
    }

    async fn get_payment(
        &self,
        request: Request<v1::GetPaymentRequest>,
    ) -> Result<Response<v1::GetPaymentResponse>, Status> {
        let payment = Some(query::get_payment(&self.0, request.get_ref())?);
        Ok(Response::new(v1::GetPaymentResponse { payment }))
    }

    async fn cancel_payment(
        &self,
        request: Request<v1::CancelPaymentRequest>,
    ) -> Result<Response<v1::CancelPaymentResponse>, Status> {
        let payment = query::cancel_payment(&self.0, &request.get_ref().payment_id).await?;
        Ok(Response::new(v1::CancelPaymentResponse { payment: Some(payment) }))
    }

    async fn resolve_payment(
        &self,
        request: Request<v1::ResolvePaymentRequest>,
    ) -> Result<Response<v1::ResolvePaymentResponse>, Status> {
        let payment = operate::resolve_payment(&self.0, request.into_inner()).await?;
        Ok(Response::new(v1::ResolvePaymentResponse { payment: Some(payment) }))
    }

    async fn list_payments(
        &self,
        request: Request<v1::ListPaymentsRequest>,
    ) -> Result<Response<v1::ListPaymentsResponse>, Status> {
        let request = request.into_inner();
        let read = move |doors: &Doors| query::list_payments(doors, &request);
        Ok(Response::new(query::off_workers(&self.0, read).await?))
    }
}
