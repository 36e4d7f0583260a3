//! Whoever sends half a request costs little and is let go.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use fulgurite_sim::Knobs;
use fulgurite_tests::{
    doors::{Stage, http, reason},
    engine::{Engine, Sections},
    raw::Raw,
};
use futures::future::try_join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{interval, timeout},
};

const CONNECTIONS: usize = 1_000;
/// What they may cost together.
const COST_MAX_KIB: u64 = 50 << 10;
/// Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the engine's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Short times, so that the test is: 2 s, and a keepalive after 1 s that is waited for 10 s.
const SECTIONS: Sections<'_> = Sections {
    extra: "",
    grpc: "preface_s_max = 2\nrequest_s_max = 2\nkeepalive_s = 1\n",
    http: "head_s_max = 2\nbody_s_max = 2\n",
};

/// Each connection is a file, here and there.
fn many_files() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Opens all connections at once, sends `bytes` on each, and waits until each is closed by the
/// engine. Returns what they cost in KiB, and what the first one was told.
async fn half(engine: &Engine, door: SocketAddr, bytes: &[u8]) -> Result<(u64, Vec<u8>)> {
    let before = engine.memory_kib("VmRSS")?;
    let open = |_| async {
        let mut stream = TcpStream::connect(door).await?;
        stream.write_all(bytes).await?;
        anyhow::Ok(stream)
    };
    let streams = try_join_all((0..CONNECTIONS).map(open)).await?;
    let most = engine.memory_kib("VmRSS")?;
    let ends = streams.into_iter().map(|mut stream| async move {
        let mut told = Vec::new();
        // A reset is an end, too.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut told)).await.context("never closed")?;
        anyhow::Ok(told)
    });
    let ends = try_join_all(ends);
    tokio::pin!(ends);
    let (mut most, mut look) = (most, interval(LOOK_EVERY));
    let told = loop {
        tokio::select! {
            told = &mut ends => break told?,
            _ = look.tick() => most = most.max(engine.memory_kib("VmRSS")?),
        }
    };
    let first = told.into_iter().next().unwrap_or_default();
    Ok((most.saturating_sub(before), first))
}

/// A header of HTTP/2 as a literal that needs no table (RFC 7541, section 6.2.2).
fn header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(u8::try_from(text.len()).expect("a short header"));
        bytes.extend(text.bytes());
    }
    bytes
}

/// A frame of HTTP/2 that says it has `length` bytes.
fn frame(kind: u8, flags: u8, stream: u8, length: usize, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// What a client has said when its cable is cut in the middle of a message.
fn half_a_message(door: SocketAddr) -> Vec<u8> {
    let headers = [
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", "/fulgurite.v1.PaymentService/CreatePayment"),
        header(":authority", &door.to_string()),
        header("content-type", "application/grpc"),
        header("te", "trailers"),
    ]
    .concat();
    let message = [&[0, 0, 0, 4, 0], [b'x'; 500].as_slice()].concat();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, 0, &[]),
        frame(1, 4, 1, headers.len(), &headers),
        frame(0, 0, 1, 1_029, &message),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_half_requests_cost_little_and_go_away() -> Result<()> {
    many_files()?;
    let mut stage = Stage::with(Knobs::default(), SECTIONS).await?;
    let (web, grpc) = (stage.engine.http(), stage.engine.grpc());
    let body = "{\"bolt11\": \"lnbcrt1";
    let head = format!("POST /v1/payments HTTP/1.1\r\nHost: localhost:{}\r\n", web.port());
    let rest = "Content-Type: application/json\r\nIdempotency-Key: half\r\nContent-Length: 900";
    let with_body = format!("{head}{rest}\r\n\r\n{body}");
    for (what, door, bytes, told) in [
        ("nothing, HTTP", web, Vec::new(), ""),
        ("half a head", web, head.clone().into_bytes(), ""),
        ("half a body", web, with_body.into_bytes(), "HTTP/1.1 408"),
        ("nothing, gRPC", grpc, Vec::new(), ""),
        ("half a preface", grpc, b"PRI * HTTP/".to_vec(), ""),
        ("half a message", grpc, half_a_message(grpc), "\0"),
    ] {
        // A new process: it has no memory left over from the last ones.
        stage.engine.restart()?;
        let started = Instant::now();
        let (cost, answer) = half(&stage.engine, door, &bytes).await?;
        let (kib, seconds) = (cost, started.elapsed().as_secs_f64());
        println!("{what}: {CONNECTIONS} connections, {kib} KiB, gone after {seconds:.1} s");
        ensure!(cost <= COST_MAX_KIB, "{what}: {cost} KiB");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        ensure!(answer.starts_with(told), "{what}: {answer}");
    }
    // The doors are open to everybody else, and nothing was accepted.
    let host = format!("Host: localhost:{}", web.port());
    let answer = http(web, "GET /v1/batches?include_single=true", &[&host], "").await?;
    ensure!(answer.status == 200 && answer.body["batches"] == serde_json::json!([]), "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_never_ends_is_refused_while_its_connection_lives() -> Result<()> {
    let stage = Stage::with(Knobs::default(), SECTIONS).await?;
    let raw = Raw::connect(stage.engine.endpoint()).await?;
    // A message that is begun and never whole, of a client that answers every keepalive.
    let endless = futures::stream::pending::<Bytes>();
    let method = "/fulgurite.v1.PaymentService/CreatePayment";
    let answer = timeout(PATIENCE, raw.stream(method, endless)).await?;
    ensure!(reason(answer) == "UPLOAD_TIMEOUT", "another reason");
    // The same connection goes on.
    let answer = raw.call("/fulgurite.v1.EngineService/GetEngine", Bytes::new()).await;
    ensure!(answer.is_ok(), "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads_the_answers_is_let_go() -> Result<()> {
    let one = Sections { http: "connections_max = 1\nbody_s_max = 2\n", ..Sections::default() };
    let stage = Stage::with(Knobs::default(), one).await?;
    let door = stage.engine.http();
    let host = format!("Host: localhost:{}", door.port());
    let mut deaf = TcpStream::connect(door).await?;
    // 200 answers of 170 KiB: more than the sockets' buffers hold.
    let many = format!("GET /openapi.json HTTP/1.1\r\n{host}\r\n\r\n").repeat(200);
    deaf.write_all(many.as_bytes()).await?;
    // A request that is on its way when its connection is closed sees a reset.
    let busy = http(door, "GET /v1/engine", &[&host], "").await;
    ensure!(busy.as_ref().map_or(true, |it| it.status == 503), "the place is taken: {busy:?}");
    timeout(PATIENCE, async {
        while !http(door, "GET /v1/engine", &[&host], "").await.is_ok_and(|it| it.status == 200) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .context("it keeps its place")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_above_the_limit_are_told_so() -> Result<()> {
    let few = Sections { http: "connections_max = 2\n", ..Sections::default() };
    let stage = Stage::with(Knobs::default(), few).await?;
    let door = stage.engine.http();
    let held = [TcpStream::connect(door).await?, TcpStream::connect(door).await?];
    let mut third = TcpStream::connect(door).await?;
    let mut told = String::new();
    timeout(PATIENCE, third.read_to_string(&mut told)).await??;
    ensure!(told.starts_with("HTTP/1.1 503") && told.contains("Retry-After: 1"), "{told}");
    drop(held);
    // Their places are free as soon as the engine sees that they are gone.
    let host = format!("Host: localhost:{}", door.port());
    timeout(PATIENCE, async {
        while !http(door, "GET /v1/engine", &[&host], "").await.is_ok_and(|it| it.status == 200) {
            tokio::task::yield_now().await;
        }
    })
    .await?;
    Ok(())
}
