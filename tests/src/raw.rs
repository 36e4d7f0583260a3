//! gRPC calls whose messages are bytes: what a client sends that was built from other files than
//! the engine's, or from none.

use bytes::{Buf, BufMut, Bytes};
use futures::{Stream, stream};
use http::uri::PathAndQuery;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::AsciiMetadataKey,
    transport::{Channel, Endpoint},
};

/// Takes bytes as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Plain;
    type Decoder = Plain;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// A client of bytes.
#[derive(Debug)]
pub struct Raw {
    channel: Channel,
}

impl Raw {
    /// A client of this endpoint, with a connection of its own.
    ///
    /// # Errors
    /// When nobody is there.
    pub async fn connect(endpoint: String) -> Result<Raw, tonic::transport::Error> {
        let channel = Endpoint::from_shared(endpoint)?.connect().await?;
        Ok(Raw { channel })
    }

    /// Sends one message to a method such as `/fulgurite.v1.BatchService/GetBatch` and returns
    /// the first answer.
    ///
    /// # Errors
    /// The status that the engine answers.
    pub async fn call(
        &self,
        method: &'static str,
        message: impl Into<Bytes>,
    ) -> Result<Bytes, Status> {
        let message = message.into();
        self.stream(method, stream::once(async { message })).await
    }

    /// Sends these messages and returns the first answer; none is an error.
    ///
    /// # Errors
    /// The status that the engine answers.
    pub async fn stream(
        &self,
        method: &'static str,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Bytes, Status> {
        self.stream_with(method, messages, &[]).await
    }

    /// The same with headers beside it, such as `grpc-timeout`.
    ///
    /// # Errors
    /// The status that the engine answers.
    pub async fn stream_with(
        &self,
        method: &'static str,
        messages: impl Stream<Item = Bytes> + Send + 'static,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Bytes, Status> {
        let mut request = Request::new(messages);
        for (name, value) in headers {
            let value = value.parse().map_err(|_| Status::internal("no header"))?;
            request.metadata_mut().insert(AsciiMetadataKey::from_static(name), value);
        }
        let mut client = Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(method);
        let mut answers = client.streaming(request, path, Plain).await?.into_inner();
        answers.message().await?.ok_or_else(|| Status::unknown("ended without an answer"))
    }
}
