//! Messages of the contract as JSON Schemas, by the rules of API.md 3: what the engine writes,
//! and what it reads.

use std::collections::BTreeMap;

use fulgurite_proto::fulgurite::v1;
use serde_json::{Map, Value, json};

use super::contract::{Contract, Enum, Field, Kind};
use crate::{
    problem::Code,
    wire::{json as wire, json_write::Json},
};

/// Where schemas are referred to.
const SCHEMAS: &str = "#/components/schemas/";
/// What `POST /v1/payments` takes: an order with the `options` beside it.
pub const PAYMENT_REQUEST: &str = "PaymentRequest";
/// What resolves a payment.
pub const RESOLUTION: &str = "Resolution";
/// What drains or undrains a node.
pub const STEERING: &str = "NodeSteering";
/// What makes a node believed again.
pub const TRUST: &str = "NodeTrust";
/// What ends the payments of a lost node.
pub const NODE_RESOLUTION: &str = "NodeResolution";
/// The body of a request that takes nothing.
pub const NOTHING: &str = "Nothing";
/// Every refusal.
pub const PROBLEM: &str = "Problem";
/// What a code means.
pub const ERROR_CODE: &str = "ErrorCode";

/// Renders a message of which nothing is set.
type Default = fn() -> Json;

/// What the engine writes: each message with its rendering when nothing is set, which shows what
/// is always there.
pub const WRITTEN: &[(&str, Default)] = &[
    ("Attempt", || wire::attempt(&v1::Attempt::default())),
    ("Batch", || wire::batch(&v1::Batch::default())),
    ("BatchOptions", || wire::options(&v1::BatchOptions::default())),
    ("Counts", || wire::counts(&v1::Counts::default())),
    ("Engine", || wire::engine(&v1::Engine::default())),
    ("Failure", || wire::failure(&v1::Failure::default())),
    ("FeePolicy", || wire::fee_policy(&v1::FeePolicy::default())),
    ("Limits", || wire::limits(&v1::Limits::default())),
    ("ListBatchesResponse", || wire::page("batches", Vec::new(), "")),
    ("ListNodesResponse", || wire::page("nodes", Vec::new(), "")),
    ("ListPaymentsResponse", || wire::page("payments", Vec::new(), "")),
    ("ListRefusedRowsResponse", || wire::page("rows", Vec::new(), "")),
    ("Node", || wire::node(&v1::Node::default())),
    ("Payment", || wire::payment(&v1::Payment::default())),
    ("ResolveNodeResponse", || wire::node_resolved(&v1::ResolveNodeResponse::default())),
    ("RefusedRow", || wire::refused_row(&v1::RefusedRow::default())),
];

/// A reference to a schema.
pub fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{SCHEMAS}{name}") })
}

/// The schema of an enum's name: `Payment.State` is `PaymentState`.
pub fn enum_name(name: &str) -> String {
    name.replace('.', "")
}

/// Every schema, by its name.
pub fn all(contract: &Contract) -> Map<String, Value> {
    let mut schemas = BTreeMap::new();
    for (name, default) in WRITTEN {
        let message = &contract.messages[*name];
        let properties = message.fields.iter().map(|field| (field.name.clone(), written(field)));
        let properties: Map<String, Value> = properties.collect();
        let always = default().value();
        let always = always.as_object().map(|fields| fields.keys().collect::<Vec<_>>());
        let mut schema = json!({
            "type": "object", "description": message.about, "properties": properties,
        });
        if let Some(required) = always.filter(|required| !required.is_empty()) {
            schema["required"] = json!(required);
        }
        schemas.insert((*name).to_owned(), schema);
    }
    for (name, words) in &contract.enums {
        schemas.insert(enum_name(name), words_of(words));
    }
    schemas.insert("FeePolicyInput".into(), read(contract, "FeePolicy"));
    schemas.insert("BatchOptionsInput".into(), read(contract, "BatchOptions"));
    schemas.insert(PAYMENT_REQUEST.into(), payment_request(contract));
    schemas.insert("NotPaid".into(), not_paid(contract));
    schemas.insert(RESOLUTION.into(), resolution(contract));
    schemas.insert(STEERING.into(), without_name(contract, "DrainNodeRequest"));
    schemas.insert(TRUST.into(), without_name(contract, "TrustNodeRequest"));
    schemas.insert(NODE_RESOLUTION.into(), node_resolution(contract));
    schemas.insert(NOTHING.into(), nothing());
    schemas.insert(PROBLEM.into(), problem());
    schemas.insert(ERROR_CODE.into(), error_code());
    schemas.into_iter().collect()
}

fn words_of(words: &Enum) -> Value {
    let list: Vec<_> = words.words.iter().map(|(word, _)| word).collect();
    let lines = words.words.iter().map(|(word, about)| format!("* `{word}`: {about}"));
    let about = format!("{}\n\n{}", words.about, lines.collect::<Vec<_>>().join("\n"));
    json!({ "type": "string", "description": about, "enum": list })
}

/// A field as the engine writes it.
fn written(field: &Field) -> Value {
    let one = match &field.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Small => json!({ "type": "integer", "format": "int32" }),
        Kind::Large => json!({ "type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$" }),
        Kind::Truth => json!({ "type": "boolean" }),
        Kind::Time => time(),
        Kind::Pairs => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Word(name) => reference(&enum_name(name)),
        Kind::Object(name) => reference(name),
    };
    described(field, one)
}

/// A message as the engine reads it: nothing but what it knows.
fn read(contract: &Contract, name: &str) -> Value {
    let message = &contract.messages[name];
    let properties = message.fields.iter().map(|field| (field.name.clone(), taken(field)));
    let properties: Map<String, Value> = properties.collect();
    json!({
        "type": "object", "description": message.about, "properties": properties,
        "additionalProperties": false,
    })
}

/// A field as the engine reads it: `null` is as if it were absent.
fn taken(field: &Field) -> Value {
    let mut one = match &field.kind {
        Kind::Small => json!({
            "type": "integer", "format": "int32", "minimum": 0, "maximum": i32::MAX,
        }),
        Kind::Large => json!({
            "type": ["string", "integer"], "format": "int64", "pattern": "^[0-9]{1,19}$",
            "minimum": 0, "maximum": i64::MAX,
        }),
        Kind::Object(name) => reference(&format!("{name}Input")),
        Kind::Text | Kind::Truth | Kind::Time | Kind::Pairs | Kind::Word(_) => written(field),
    };
    match one["type"].take() {
        Value::Null => one = json!({ "anyOf": [reference_of(&one), { "type": "null" }] }),
        Value::Array(mut kinds) => {
            kinds.push("null".into());
            one["type"] = kinds.into();
        }
        kind => one["type"] = json!([kind, "null"]),
    }
    described(field, one)
}

/// The reference alone, without a description beside it.
fn reference_of(schema: &Value) -> Value {
    json!({ "$ref": schema["$ref"] })
}

fn described(field: &Field, one: Value) -> Value {
    let mut schema = if field.repeated { json!({ "type": "array", "items": one }) } else { one };
    schema["description"] = field.about.as_str().into();
    schema
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn payment_request(contract: &Contract) -> Value {
    let mut schema = read(contract, "PaymentOrder");
    // One kind of destination is known so far.
    schema["required"] = json!(["bolt11"]);
    schema["properties"]["bolt11"]["type"] = "string".into();
    schema["properties"]["bolt11"]["maxLength"] = 7_089.into();
    schema["properties"]["reference"]["maxLength"] = 255.into();
    let mut options = json!({ "anyOf": [reference("BatchOptionsInput"), { "type": "null" }] });
    options["description"] = "Options, as for a batch.".into();
    schema["properties"]["options"] = options;
    schema
}

fn not_paid(contract: &Contract) -> Value {
    let mut schema = read(contract, "ResolvePaymentRequest.NotPaid");
    schema["required"] = json!(["reason"]);
    schema["properties"]["reason"]["type"] = "string".into();
    schema
}

fn resolution(contract: &Contract) -> Value {
    let mut schema = read(contract, "ResolvePaymentRequest");
    let mut not_paid = json!({ "anyOf": [reference("NotPaid"), { "type": "null" }] });
    not_paid["description"] = "Not paid; instead of `preimage`.".into();
    schema["properties"]["not_paid"] = not_paid;
    schema["required"] = json!(["by"]);
    schema["properties"]["by"]["type"] = "string".into();
    // It is in the path.
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.remove("payment_id");
    }
    schema
}

/// A request about a node, all of it required; the name is in the path.
fn without_name(contract: &Contract, name: &str) -> Value {
    let mut schema = read(contract, name);
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.remove("name");
        for property in properties.values_mut() {
            property["type"] = "string".into();
            property["minLength"] = 1.into();
            property["pattern"] = "\\S".into();
        }
        schema["required"] = properties.keys().map(String::as_str).collect();
    }
    schema
}

fn node_resolution(contract: &Contract) -> Value {
    let mut schema = without_name(contract, "ResolveNodeRequest");
    schema["properties"]["confirm"] =
        read(contract, "ResolveNodeRequest")["properties"]["confirm"].clone();
    schema["required"] = json!(["by", "reason"]);
    schema
}

fn nothing() -> Value {
    json!({
        "type": "object", "description": "An object without fields.",
        "additionalProperties": false,
    })
}

/// A string that is a code.
pub fn codes() -> Value {
    let names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
    json!({ "type": "string", "enum": names })
}

fn problem() -> Value {
    let mut code = codes();
    code["description"] = "What kind of refusal it is; stable.".into();
    let text = |about: &str| json!({ "type": "string", "description": about });
    json!({
        "type": "object",
        "description": "A refusal (RFC 9457). Some codes have more fields: facts for a program.",
        "required": ["type", "title", "status", "detail", "code", "retry", "request_id"],
        "properties": {
            "type": text("A page of this engine about the code."),
            "title": text("What the code means."),
            "status": { "type": "integer", "description": "The HTTP status." },
            "detail": text("What happened here, for a person."),
            "code": code,
            "retry": {
                "type": "boolean",
                "description": "Sending the same again can help, with the same key; `Retry-After` \
                    says when.",
            },
            "request_id": text("The name of this request in the engine's log."),
            "errors": {
                "type": "array",
                "description": "The fields that are wrong.",
                "items": {
                    "type": "object",
                    "required": ["pointer", "detail"],
                    "properties": {
                        "pointer": text("The field as a JSON pointer, or the parameter's name."),
                        "detail": text("What is wrong with it."),
                    },
                },
            },
            "payment_id": text("The payment that has the hash (HASH_CLAIMED, ALREADY_PAID)."),
            "batch_id": text("The batch that has the key (IDEMPOTENCY_KEY_REUSED)."),
            "difference": text("The first difference (IDEMPOTENCY_KEY_REUSED)."),
            "row_reason": text("What is wrong with the order (ORDER_REFUSED)."),
            "field": text("The field of the order (ORDER_REFUSED)."),
        },
    })
}

fn error_code() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    json!({
        "type": "object",
        "description": "What a code means.",
        "required": ["code", "title", "status", "grpc_status", "retry", "advice"],
        "properties": {
            "code": codes(),
            "title": text("What it means."),
            "status": { "type": "integer", "description": "The HTTP status." },
            "grpc_status": text("The gRPC status."),
            "retry": { "type": "boolean", "description": "Sending the same again can help." },
            "advice": text("What to do."),
        },
    })
}
