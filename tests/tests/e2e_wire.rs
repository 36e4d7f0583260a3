//! What the gRPC door does with requests that are not as they should be, and what it says of
//! itself: unknown fields, the framework's own refusals, health, reflection.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::fulgurite::v1::{self as proto, upload_batch_request::Content};
use fulgurite_sim::Knobs;
use fulgurite_tests::{
    doors::{Stage, chunk, messages, orders, reason},
    raw::Raw,
};
use futures::{StreamExt, stream};
use prost::{Message, bytes::Bytes};
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt;

const AMOUNT_MSAT: u64 = 1_000_000;
const CREATE: &str = "/fulgurite.v1.PaymentService/CreatePayment";
const UPLOAD: &str = "/fulgurite.v1.BatchService/UploadBatch";
const GET: &str = "/fulgurite.v1.BatchService/GetBatch";
/// Field 11 of `PaymentOrder`, where an amount in another currency will be: "25 EUR".
const FIAT: &[u8] = &[11 << 3 | 2, 6, b'2', b'5', b' ', b'E', b'U', b'R'];

/// The field that a refusal names, after its reason was compared.
fn field<T: std::fmt::Debug>(answer: Result<T, Status>, wanted: &str) -> Result<String> {
    let Err(status) = answer else { anyhow::bail!("not refused: {answer:?}") };
    let found = status.get_details_error_info().map(|info| info.reason);
    ensure!(found.as_deref() == Some(wanted), "{found:?}, not {wanted}: {status}");
    ensure!(status.get_details_request_info().is_some(), "no request id: {status}");
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations);
    Ok(violations.unwrap_or_default().first().map(|v| v.field.clone()).unwrap_or_default())
}

/// A message field: its number, and a message with bytes added behind it.
fn with(number: u8, message: &impl Message, added: &[u8]) -> Vec<u8> {
    let mut content = message.encode_to_vec();
    content.extend(added);
    let mut wire = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut wire);
    wire.extend(content);
    wire
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_with_a_field_of_a_later_version_is_refused_and_not_paid() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let raw = Raw::connect(stage.engine.endpoint()).await?;
    let orders = orders(&stage.near.invoices(3, AMOUNT_MSAT).await?);

    let key = |key: &str| {
        let request =
            proto::CreatePaymentRequest { idempotency_key: key.to_owned(), ..Default::default() };
        request.encode_to_vec()
    };
    let single = [key("fiat"), with(2, &orders[0], FIAT)].concat();
    let at = field(raw.call(CREATE, single).await, "INVALID_FIELD")?;
    ensure!(at == "order.11", "{at}");
    // An option of a later version: field 13, when the batch starts.
    let options = proto::BatchOptions::default();
    let late = [key("fiat"), with(2, &orders[0], &[]), with(3, &options, &[13 << 3, 1])].concat();
    let at = field(raw.call(CREATE, late).await, "INVALID_FIELD")?;
    ensure!(at == "options.13", "{at}");
    // Another kind of destination.
    let keysend = with(2, &proto::PaymentOrder::default(), &[4 << 3 | 2, 1, b'x']);
    let at = field(raw.call(CREATE, [key("fiat"), keysend].concat()).await, "INVALID_FIELD")?;
    ensure!(at == "order.4", "{at}");

    let whole = messages("fiat", &orders, proto::BatchOptions::default());
    let message = |content: &Content| {
        let message = proto::UploadBatchRequest { content: Some(content.clone()) };
        Bytes::from(message.encode_to_vec())
    };
    let row = [with(2, &orders[0], &[]), with(2, &orders[1], FIAT)].concat();
    let rows: Bytes = [vec![2 << 3 | 2], varint(row.len() + 2), vec![8, 1], row].concat().into();
    let sent = vec![message(&whole[0]), rows, message(&whole[2])];
    let at = field(raw.stream(UPLOAD, stream::iter(sent)).await, "INVALID_FIELD")?;
    ensure!(at == "orders.orders[1].11", "{at}");
    let Content::Header(header) = &whole[0] else { anyhow::bail!("a header first") };
    let header = Bytes::from(with(1, header, &[0xf8, 0x01, 1]));
    let at = field(raw.stream(UPLOAD, stream::iter([header])).await, "INVALID_FIELD")?;
    ensure!(at == "header.31", "{at}");
    // A part of the stream that is not known is no part that is left out.
    let sent = vec![message(&whole[0]), Bytes::from_static(&[9 << 3 | 2, 0])];
    let at = field(raw.stream(UPLOAD, stream::iter(sent)).await, "INVALID_FIELD")?;
    ensure!(at == "9", "{at}");
    let unknown = [proto::GetBatchRequest::default().encode_to_vec(), vec![7 << 3, 1]].concat();
    ensure!(field(raw.call(GET, unknown).await, "INVALID_FIELD")? == "7", "a read");

    // No key is bound, no hash is claimed, nothing was paid: the same orders as they should be.
    ensure!(reason(stage.batch("fiat").await) == "BATCH_NOT_FOUND", "a batch");
    ensure!(!stage.upload(whole).await?.replayed, "accepted before");
    Ok(())
}

fn varint(value: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    prost::encoding::encode_varint(value as u64, &mut wire);
    wire
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_frameworks_own_refusals_are_dressed_like_ours() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let raw = Raw::connect(stage.engine.endpoint()).await?;
    let orders = orders(&stage.near.invoices(1, AMOUNT_MSAT).await?);
    let refused = |answer: Result<Bytes, Status>, wanted: &str, code: Code| {
        ensure!(answer.as_ref().is_err_and(|status| status.code() == code), "{answer:?}");
        field(answer, wanted).map(drop)
    };
    let large = vec![0; 70 << 10];
    refused(raw.call(CREATE, large).await, "MESSAGE_TOO_LARGE", Code::InvalidArgument)?;
    let large = Bytes::from(vec![0; 2 << 20]);
    let answer = raw.stream(UPLOAD, stream::iter([large])).await;
    refused(answer, "MESSAGE_TOO_LARGE", Code::InvalidArgument)?;
    let garbage = raw.call(GET, vec![0xff; 9]).await;
    refused(garbage, "INVALID_FIELD", Code::InvalidArgument)?;
    for method in ["/fulgurite.v1.BatchService/Freeze", "/fulgurite.v1.Later/Do", "/x/y"] {
        refused(raw.call(method, vec![]).await, "UNIMPLEMENTED", Code::Unimplemented)?;
    }
    let nothing = stream::iter([Bytes::new()]);
    let answer = raw.stream_with(GET, nothing, &[("grpc-encoding", "gzip")]).await;
    refused(answer, "UNIMPLEMENTED", Code::Unimplemented)?;
    // A message that never comes: the engine answers within the time that it was told. Our own
    // client does not read so many digits, or it would end the call itself.
    let header = messages("late", &orders, Default::default()).swap_remove(0);
    let header = proto::UploadBatchRequest { content: Some(header) }.encode_to_vec();
    let pending = stream::iter([Bytes::from(header)]).chain(stream::pending());
    let timeout = [("grpc-timeout", "0000000200m")];
    let answer = raw.stream_with(UPLOAD, pending, &timeout).await;
    refused(answer, "DEADLINE_EXCEEDED", Code::DeadlineExceeded)?;
    // Twice as many rows in a message as allowed.
    let many = vec![orders[0].clone(); 1_001];
    let mut contents = messages("many", &orders, Default::default());
    contents[1] = chunk(1, &many);
    let answer = reason(stage.upload(contents).await);
    ensure!(answer == "MESSAGE_TOO_LARGE", "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_calls_are_told_when_to_come_back() -> Result<()> {
    let stage = Stage::start(Knobs::default(), ("", "concurrent_calls_max = 1\n")).await?;
    let open = async {
        loop {
            let answer = stage.upload_stream(stream::pending()).await;
            // One of the calls below was faster.
            ensure!(reason(answer) == "OVERLOADED", "an upload without a message was answered");
        }
    };
    let others = async {
        // The one place is taken as soon as the open call is there; until then calls are served.
        let status = loop {
            if let Err(status) = stage.batch("none").await
                && status.code() == Code::ResourceExhausted
            {
                break status;
            }
        };
        let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
        ensure!(retry == Some(Duration::from_secs(1)), "{status:?}");
        ensure!(field(Err::<(), _>(status), "OVERLOADED")?.is_empty(), "a field");
        Ok(())
    };
    tokio::select! {
        answer = open => answer,
        done = others => done,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_said_of_each_service() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let mut health = HealthClient::new(stage.channel()?);
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let services = [
        "",
        "fulgurite.v1.BatchService",
        "fulgurite.v1.PaymentService",
        "fulgurite.v1.EngineService",
    ];
    let mut watches = Vec::new();
    for service in services {
        let mut watch = health.watch(ask(service)).await?.into_inner();
        // Ready is what the admin listener said; the health service follows within half a second.
        let mut status = health.check(ask(service)).await?.into_inner().status();
        while status != ServingStatus::Serving {
            status = watch.message().await?.context("a status")?.status();
        }
        watches.push(watch);
    }
    let answer = health.check(ask("fulgurite.v1.Later")).await;
    ensure!(answer.as_ref().is_err_and(|status| status.code() == Code::NotFound), "{answer:?}");
    field(answer, "ROUTE_NOT_FOUND")?;
    let (code, _) = stage.engine.terminate()?;
    ensure!(code == Some(0), "{code:?}");
    for mut watch in watches {
        // Not serving, or the end: what is never said is that it serves.
        let mut last = ServingStatus::Unknown;
        while let Ok(Some(answer)) = watch.message().await {
            last = answer.status();
        }
        ensure!(last != ServingStatus::ServiceUnknown, "{last:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_describes_every_service() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let mut client = ServerReflectionClient::new(stage.channel()?);
    let ask =
        |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let list = ask(MessageRequest::ListServices(String::new()));
    let symbol = ask(MessageRequest::FileContainingSymbol("fulgurite.v1.PaymentOrder".into()));
    let none = ask(MessageRequest::FileContainingSymbol("fulgurite.v1.Nothing".into()));
    let asked = stream::iter([list, symbol, none]);
    let mut answers = client.server_reflection_info(asked).await?.into_inner();
    let Some(MessageResponse::ListServicesResponse(services)) =
        answers.message().await?.context("an answer")?.message_response
    else {
        anyhow::bail!("no list of services")
    };
    let names: BTreeSet<String> = services.service.into_iter().map(|s| s.name).collect();
    for name in ["BatchService", "PaymentService", "EngineService"] {
        ensure!(names.contains(&format!("fulgurite.v1.{name}")), "{names:?}");
    }
    ensure!(names.contains("grpc.health.v1.Health"), "{names:?}");
    let Some(MessageResponse::FileDescriptorResponse(files)) =
        answers.message().await?.context("an answer")?.message_response
    else {
        anyhow::bail!("no file")
    };
    ensure!(!files.file_descriptor_proto.is_empty(), "no descriptor");
    let unknown = answers.message().await;
    ensure!(unknown.is_err_and(|status| status.code() == Code::NotFound), "a symbol of nothing");
    Ok(())
}
