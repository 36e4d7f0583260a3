//! Uploads over a connection of the test's choice.

use fulgurite_proto::fulgurite::v1::{
    self as proto, batch_service_client::BatchServiceClient, upload_batch_request::Content,
    upload_batch_response,
};
use futures::{Stream, StreamExt};
use tonic::{Status, transport::Channel};

/// The contract's own limit.
const REFUSED_ROWS_MAX: usize = 1_000;

/// How an upload was answered.
#[derive(Clone, Debug, Default)]
pub struct Uploaded {
    /// What was refused, when the whole was not.
    pub refused: Vec<proto::RefusedRow>,
    /// The batch.
    pub batch: proto::Batch,
    /// It was accepted before.
    pub replayed: bool,
}

/// Sends these messages over a connection.
///
/// # Errors
/// The status that the engine answers.
pub async fn upload_over(
    channel: Channel,
    contents: impl Stream<Item = Content> + Send + 'static,
) -> Result<Uploaded, Status> {
    let mut uploaded = Uploaded::default();
    upload_into(channel, contents, &mut uploaded).await?;
    Ok(uploaded)
}

/// The same; what was refused is in `uploaded` also when the end is a refusal.
///
/// # Errors
/// The status that the engine answers.
pub async fn upload_into(
    channel: Channel,
    contents: impl Stream<Item = Content> + Send + 'static,
    uploaded: &mut Uploaded,
) -> Result<(), Status> {
    let messages = contents.map(|content| proto::UploadBatchRequest { content: Some(content) });
    let mut answers = BatchServiceClient::new(channel).upload_batch(messages).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        match answer.content {
            Some(upload_batch_response::Content::Accepted(accepted)) => {
                uploaded.replayed = accepted.replayed;
                uploaded.batch = accepted.batch.unwrap_or_default();
            }
            Some(upload_batch_response::Content::Refused(refused)) => {
                if refused.rows.len() > REFUSED_ROWS_MAX {
                    return Err(Status::internal("more refused rows than a message may have"));
                }
                uploaded.refused.extend(refused.rows);
            }
            None => {}
        }
    }
    Ok(())
}
