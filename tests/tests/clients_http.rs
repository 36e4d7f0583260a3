//! The HTTP door as clients see it that nobody here wrote: curl, schemathesis, and a validator of
//! JSON Schemas.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context, Result, ensure};
use fulgurite_proto::fulgurite::v1 as proto;
use fulgurite_tests::{
    clients::{program, run},
    doors::{Stage, messages, orders},
};
use serde_json::{Value, json};

const AMOUNT_MSAT: u64 = 10_000;
const JSON: &str = "Content-Type: application/json";
const NOT_PAID: &str = r#"{"not_paid": {"reason": "the node is lost"}, "by": "somebody"}"#;
const LOST: &str = r#"{"by": "ada", "reason": "its disk is gone"}"#;
const TRUST: &str = r#"{"by": "ada", "checked": "its channels"}"#;

/// What curl got.
#[derive(Debug)]
struct Got {
    status: u16,
    media: String,
    head: String,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// One request by curl: `request` is method and path.
fn curl(stage: &Stage, request: &str, headers: &[&str], body: Option<&str>) -> Result<Got> {
    let (method, path) = request.split_once(' ').context("method and path")?;
    let url = format!("http://localhost:{}{path}", stage.engine.http().port());
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--include"]);
    match method {
        "HEAD" => command.arg("--head"),
        _ => command.args(["--request", method]),
    };
    for header in headers {
        command.args(["--header", header]);
    }
    if body.is_some() {
        command.args(["--data-binary", "@-"]);
    }
    let out = run(command.arg(url), body.unwrap_or_default())?.fine()?;
    let (head, body) = out.split_once("\r\n\r\n").context("a head")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    let head = head.to_ascii_lowercase();
    let media = head.lines().find_map(|line| line.strip_prefix("content-type: "));
    let media = media.unwrap_or_default().to_owned();
    Ok(Got { status, media, body: body.to_owned(), head })
}

/// A request and its answer: operation, request, body, status, and the code of a refusal.
type Case<'a> = (&'a str, String, Option<String>, u16, &'a str);

/// The description that the engine serves.
fn description(stage: &Stage) -> Result<Value> {
    Ok(curl(stage, "GET /openapi.json", &[], None)?.json())
}

/// Every operation of a description: method and path, and what is said of it.
fn operations(description: &Value) -> Vec<(String, &Value)> {
    let paths = description["paths"].as_object().into_iter().flatten();
    let all = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(move |(method, it)| (format!("{} {path}", method.to_uppercase()), it))
    });
    all.collect()
}

/// A paused batch of two payments and a refused row, and one payment that is made.
async fn furnish(stage: &Stage) -> Result<(String, [String; 2])> {
    let mut orders = orders(&stage.near.invoices(3, AMOUNT_MSAT).await?);
    orders[2].reference = "x".repeat(300);
    let options = proto::BatchOptions {
        start_paused: Some(true),
        accept_valid: Some(true),
        ..Default::default()
    };
    let batch = stage.upload(messages("http-batch", &orders, options)).await?.batch;
    let payments = stage.payments_of(&batch.batch_id).await?;
    let ids = payments.iter().map(|payment| payment.payment_id.clone()).collect::<Vec<_>>();
    Ok((batch.batch_id, ids.try_into().map_err(|ids| anyhow::anyhow!("two: {ids:?}"))?))
}

#[rustfmt::skip] // A table: one line is one request and its answer.
fn cases(invoice: &str, batch: &str, payments: &[String; 2]) -> Vec<Case<'static>> {
    let nothing = || Some("{}".to_owned());
    let by = || Some("{\"by\": \"ada\"}".to_owned());
    let order = |more: &str| Some(format!("{{\"bolt11\": \"{invoice}\"{more}}}"));
    let [first, second] = payments;
    let get = |path: &str| format!("GET {path}");
    let post = |path: &str| format!("POST {path}");
    vec![
        ("createPayment", post("/v1/payments?validate_only=true"), order(""), 200, ""),
        ("createPayment", post("/v1/payments"), order(""), 201, ""),
        ("createPayment", post("/v1/payments"), order(", \"amount_msat\": 1"), 422, "IDEMPOTENCY_KEY_REUSED"),
        ("createPayment", post("/v1/payments"), order(", \"amount_sat\": 1"), 400, "INVALID_FIELD"),
        ("createPayment", post("/v1/payments"), Some("{".into()), 400, "INVALID_FIELD"),
        ("createPayment", post("/v1/payments"), Some("x".repeat(70_000)), 413, "MESSAGE_TOO_LARGE"),
        ("createPayment", post("/v1/payments"), None, 415, "MEDIA_TYPE_UNSUPPORTED"),
        ("getPayment", get(&format!("/v1/payments/{first}?view=full&wait_ms=1")), None, 200, ""),
        ("getPayment", get(&format!("/v1/payments/{first}?wait_ms=30001")), None, 400, "INVALID_FIELD"),
        ("getPayment", get("/v1/payments/pay_nobody"), None, 404, "PAYMENT_NOT_FOUND"),
        ("listPayments", get(&format!("/v1/payments?batch_id={batch}&state=queued&page_size=1")), None, 200, ""),
        ("listPayments", get("/v1/payments"), None, 400, "INVALID_FIELD"),
        ("listPayments", get(&format!("/v1/payments?batch_id={batch}&page_token=x")), None, 400, "PAGE_TOKEN_MISMATCH"),
        ("cancelPayment", post(&format!("/v1/payments/{second}/cancel")), nothing(), 200, ""),
        ("cancelPayment", post("/v1/payments/pay_nobody/cancel"), nothing(), 404, "PAYMENT_NOT_FOUND"),
        ("getBatch", get(&format!("/v1/batches/{batch}")), None, 200, ""),
        ("getBatch", get("/v1/batches/bat_nobody"), None, 404, "BATCH_NOT_FOUND"),
        ("listBatches", get("/v1/batches?idempotency_key=http-batch"), None, 200, ""),
        ("listBatches", get("/v1/batches?include_single=true&state=paused&state=running"), None, 200, ""),
        ("listBatches", get("/v1/batches?idempotency_key="), None, 400, "IDEMPOTENCY_KEY_MISSING"),
        ("listRefusedRows", get(&format!("/v1/batches/{batch}/refused_rows")), None, 200, ""),
        ("listRefusedRows", get("/v1/batches/bat_nobody/refused_rows"), None, 404, "BATCH_NOT_FOUND"),
        ("pauseBatch", post(&format!("/v1/batches/{batch}/pause")), nothing(), 200, ""),
        ("pauseBatch", post(&format!("/v1/batches/{batch}/pause")), Some("{\"a\": 1}".into()), 400, "INVALID_FIELD"),
        ("resumeBatch", post(&format!("/v1/batches/{batch}/resume")), nothing(), 200, ""),
        ("resumeBatch", post("/v1/batches/bat_nobody/resume"), nothing(), 404, "BATCH_NOT_FOUND"),
        ("getPayment", get(&format!("/v1/payments/{first}?wait_ms=30000")), None, 200, ""),
        ("cancelPayment", post(&format!("/v1/payments/{first}/cancel")), nothing(), 409, "PAYMENT_FINISHED"),
        ("pauseBatch", post(&format!("/v1/batches/{batch}/pause")), nothing(), 409, "BATCH_FINISHED"),
        ("cancelBatch", post(&format!("/v1/batches/{batch}/cancel")), nothing(), 409, "BATCH_FINISHED"),
        ("resolvePayment", post(&format!("/v1/payments/{first}/resolve")), Some(NOT_PAID.into()), 409, "PAYMENT_FINISHED"),
        ("getEngine", get("/v1/engine"), None, 200, ""),
        ("getEngine", get("/v1/engine?verbose=1"), None, 400, "INVALID_FIELD"),
        ("listNodes", get("/v1/nodes"), None, 200, ""),
        ("listNodes", get("/v1/nodes?a=b&a=c"), None, 400, "INVALID_FIELD"),
        ("drainNode", post("/v1/nodes/node-0/drain"), by(), 200, ""),
        ("drainNode", post("/v1/nodes/nobody/drain"), by(), 404, "NODE_NOT_FOUND"),
        ("undrainNode", post("/v1/nodes/node-0/undrain"), by(), 200, ""),
        ("undrainNode", post("/v1/nodes/node-0/undrain"), nothing(), 400, "INVALID_FIELD"),
        ("trustNode", post("/v1/nodes/node-0/trust"), Some(TRUST.into()), 200, ""),
        ("trustNode", post("/v1/nodes/node-0/trust"), by(), 400, "INVALID_FIELD"),
        ("resolveNode", post("/v1/nodes/node-0/resolve"), Some(LOST.into()), 409, "NODE_ANSWERS"),
        ("getErrorCode", get("/errors/HASH_CLAIMED"), None, 200, ""),
        ("getErrorCode", get("/errors/hash_claimed"), None, 404, "ROUTE_NOT_FOUND"),
        ("getDescription", get("/openapi.json"), None, 200, ""),
        ("getDescription", get("/openapi.json?x=1"), None, 400, "INVALID_FIELD"),
        ("getDocumentation", get("/docs"), None, 200, ""),
        ("getDocumentation", get("/docs?x=1"), None, 400, "INVALID_FIELD"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_a_documented_answer_from_every_operation() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let (batch, payments) = furnish(&stage).await?;
    let invoice = &stage.near.invoices(1, AMOUNT_MSAT).await?[0];
    let description = description(&stage)?;
    let operations = operations(&description);
    let (mut good, mut bad) = (BTreeSet::new(), BTreeSet::new());
    for (id, request, body, status, code) in cases(&invoice.payment_request, &batch, &payments) {
        let described = operations.iter().find(|(_, it)| it["operationId"] == id);
        let described = described.with_context(|| format!("no operation {id}"))?.1;
        let all = [JSON, "Idempotency-Key: http-1"];
        let headers: &[&str] = if body.is_some() { &all } else { &[] };
        let got = curl(&stage, &request, headers, body.as_deref())?;
        ensure!(got.status == status, "{request}: {got:?}");
        let response = &described["responses"][status.to_string()];
        let media = got.media.split(';').next().unwrap_or_default();
        ensure!(response["content"][media].is_object(), "{request}: {status} {media}");
        if code.is_empty() {
            good.insert(id);
            continue;
        }
        bad.insert(id);
        let problem = got.json();
        ensure!(problem["code"] == code && problem["status"] == status, "{request}: {got:?}");
        // The type of every problem leads somewhere.
        let about = format!("GET {}", problem["type"].as_str().context("a type")?);
        ensure!(curl(&stage, &about, &[], None)?.json()["code"] == code, "{about}");
    }
    let all: BTreeSet<_> =
        operations.iter().filter_map(|(_, it)| it["operationId"].as_str()).collect();
    // The batch is finished above, and every payment is final: these are other tests'.
    good.extend(["cancelBatch", "resolveNode", "resolvePayment"]);
    ensure!(good == all && bad == all, "not asked: {good:?} {bad:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_over_curl_is_one_payment() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let invoice = &stage.near.invoices(1, AMOUNT_MSAT).await?[0];
    // In each way that JSON may be written: a string, and an unset value.
    let body =
        json!({"bolt11": invoice.payment_request, "fee_limit_msat": "5000", "reference": null});
    let body = body.to_string();
    let post = |headers: &[&str]| curl(&stage, "POST /v1/payments", headers, Some(&body));
    let first = post(&[JSON, "Idempotency-Key: one"])?;
    let again = post(&[JSON, "Idempotency-Key: one"])?;
    ensure!(first.status == 201 && again.status == 201, "{first:?} {again:?}");
    ensure!(!first.head.contains("idempotent-replayed"), "{first:?}");
    ensure!(again.head.contains("idempotent-replayed: true"), "{again:?}");
    let id = first.json()["payment_id"].as_str().context("an id")?.to_owned();
    ensure!(again.json()["payment_id"] == *id, "{again:?}");
    let place = format!("location: /v1/payments/{id}");
    ensure!(first.head.contains(&place), "{first:?}");
    let paid = curl(&stage, &format!("GET /v1/payments/{id}?wait_ms=30000"), &[], None)?.json();
    ensure!(paid["state"] == "succeeded" && paid["fee_limit_msat"] == "5000", "{paid}");
    for (headers, status, code) in [
        (vec!["Idempotency-Key: two"], 415, "MEDIA_TYPE_UNSUPPORTED"),
        (vec![JSON], 400, "IDEMPOTENCY_KEY_MISSING"),
        (
            vec![JSON, "Idempotency-Key: two", "Idempotency-Key: three"],
            400,
            "IDEMPOTENCY_KEY_MISSING",
        ),
        (vec![JSON, "Idempotency-Key: two"], 409, "ALREADY_PAID"),
        (vec![JSON, "Idempotency-Key: two", "Origin: null"], 403, "NOT_LOCAL"),
        (vec![JSON, "Idempotency-Key: two", "Host: evil.example"], 403, "NOT_LOCAL"),
    ] {
        let got = post(&headers)?;
        ensure!(got.status == status && got.json()["code"] == code, "{headers:?}: {got:?}");
        ensure!(got.media == "application/problem+json", "{got:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_knows_its_methods() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let description = description(&stage)?;
    for (path, methods) in description["paths"].as_object().context("paths")? {
        let path = path.replace("{code}", "INTERNAL").replace(['{', '}'], "x");
        let get = methods["get"].is_object();
        let allow = curl(&stage, &format!("OPTIONS {path}"), &[], None)?;
        ensure!(allow.status == 204 && allow.body.is_empty(), "{path}: {allow:?}");
        ensure!(!allow.head.contains("access-control"), "{path}: {allow:?}");
        for method in ["get", "post", "delete", "put", "patch"] {
            let line = allow.head.lines().find(|line| line.starts_with("allow: "));
            let named = line.context("Allow")?.contains(method);
            ensure!(named == methods[method].is_object(), "{method} {path}: {allow:?}");
            if !named {
                let request = format!("{} {path}", method.to_uppercase());
                let got = curl(&stage, &request, &[], None)?;
                let code = &got.json()["code"];
                ensure!(got.status == 405 && code == "METHOD_NOT_ALLOWED", "{request}: {got:?}");
                ensure!(got.head.lines().any(|it| Some(it) == line), "{request}: {got:?}");
            }
        }
        let head = curl(&stage, &format!("HEAD {path}"), &[], None)?;
        if get {
            let whole = curl(&stage, &format!("GET {path}"), &[], None)?;
            ensure!(head.status == whole.status && head.media == whole.media, "{path}: {head:?}");
        } else {
            ensure!(head.status == 405, "{path}: {head:?}");
        }
        ensure!(head.body.is_empty(), "{path}: {head:?}");
    }
    let lost = curl(&stage, "GET /v1/nothing", &[], None)?;
    ensure!(lost.status == 404 && lost.json()["code"] == "ROUTE_NOT_FOUND", "{lost:?}");
    // What HTTP itself refuses has no body, but it is refused.
    let long = format!("X-Long: {}", "x".repeat(20_000));
    ensure!(curl(&stage, "GET /v1/engine", &[&long], None)?.status == 431, "a long head");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_reads_the_documentation() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    // What a browser sends when somebody types an address.
    let browser = [
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Mode: navigate",
        "Upgrade-Insecure-Requests: 1",
    ];
    for (path, words) in [
        ("/docs", ["Order one payment", "PaymentRequest"]),
        ("/errors/UNKNOWN_OUTCOME", ["UNKNOWN_OUTCOME", "repeat with the same key"]),
    ] {
        let page = curl(&stage, &format!("GET {path}"), &browser, None)?;
        ensure!(page.status == 200 && page.media.starts_with("text/html"), "{page:?}");
        ensure!(page.head.contains("default-src 'none'"), "{page:?}");
        for word in words {
            ensure!(page.body.contains(word), "{path}: {word}");
        }
        // A name that was bound to this machine gets no page either.
        let rebound = curl(&stage, &format!("GET {path}"), &["Host: evil.example"], None)?;
        ensure!(rebound.status == 403, "{rebound:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_answer_that_is_not_documented() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let (batch, [payment, _]) = furnish(&stage).await?;
    let home = stage.folder();
    let rules =
        fs::read_to_string(fulgurite_tests::root().join("tests/clients/schemathesis.toml"))?;
    // Once with ids that it makes up, once with some that exist. Those are new each time, and so
    // would be what it makes of them at random: a gate needs the same each time.
    let ids = format!("[parameters]\nbatch_id = \"{batch}\"\npayment_id = \"{payment}\"\n{rules}");
    let all = "examples,coverage,fuzzing,stateful";
    let fixed = "examples,coverage,stateful";
    for (name, rules, phases) in [("made-up.toml", rules, all), ("known.toml", ids, fixed)] {
        fs::write(home.join(name), rules)?;
        let url = format!("http://localhost:{}/openapi.json", stage.engine.http().port());
        let mut command = program("schemathesis")?;
        command.current_dir(home).args(["--config-file", name, "run", &url]);
        command.args([
            "--phases",
            phases,
            "--seed",
            "1",
            "--max-examples",
            "10",
            "--no-color",
            "--warnings",
            "off",
        ]);
        let said = run(&mut command, "")?.fine()?;
        let last = said.lines().filter(|line| line.contains("generated")).collect::<String>();
        println!("{name}:{last}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_is_valid_for_another_validator_too() -> Result<()> {
    let text = fs::read_to_string(fulgurite_tests::root().join("docs/openapi.json"))?;
    let script = fulgurite_tests::root().join("tests/clients/examples.py");
    let count: u32 = run(program("python")?.arg(script), &text)?.fine()?.trim().parse()?;
    ensure!(count > 150, "{count} examples");
    Ok(())
}
