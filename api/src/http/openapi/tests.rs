use std::{collections::BTreeSet, fs, path::Path};

use fulgurite_proto::fulgurite::v1;
use prost::Message;

use super::{
    contract::{Contract, Kind},
    *,
};
use crate::wire::{json as wire, json_read, json_write::Json};

/// Reads the bytes of a message and renders it.
type Render = fn(&[u8]) -> Json;

/// What the engine writes, but pages: those are below.
#[rustfmt::skip] // A table: one line is one message.
const RENDERED: &[(&str, Render)] = &[
    ("Attempt",      |bytes| wire::attempt(&v1::Attempt::decode(bytes).expect("bytes"))),
    ("Batch",        |bytes| wire::batch(&v1::Batch::decode(bytes).expect("bytes"))),
    ("BatchOptions", |bytes| wire::options(&v1::BatchOptions::decode(bytes).expect("bytes"))),
    ("Counts",       |bytes| wire::counts(&v1::Counts::decode(bytes).expect("bytes"))),
    ("Engine",       |bytes| wire::engine(&v1::Engine::decode(bytes).expect("bytes"))),
    ("Failure",      |bytes| wire::failure(&v1::Failure::decode(bytes).expect("bytes"))),
    ("FeePolicy",    |bytes| wire::fee_policy(&v1::FeePolicy::decode(bytes).expect("bytes"))),
    ("Limits",       |bytes| wire::limits(&v1::Limits::decode(bytes).expect("bytes"))),
    ("Node",         |bytes| wire::node(&v1::Node::decode(bytes).expect("bytes"))),
    ("Payment",      |bytes| wire::payment(&v1::Payment::decode(bytes).expect("bytes"))),
    ("ResolveNodeResponse", |bytes| {
        wire::node_resolved(&v1::ResolveNodeResponse::decode(bytes).expect("bytes"))
    }),
    ("RefusedRow",   |bytes| wire::refused_row(&v1::RefusedRow::decode(bytes).expect("bytes"))),
];

/// The bytes of a message with every field set; of an enum, the `word`th value.
fn full(contract: &Contract, name: &str, word: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in &contract.messages[name].fields {
        let inner = match &field.kind {
            Kind::Small | Kind::Large | Kind::Truth => {
                varint(&mut bytes, field.number << 3);
                bytes.push(1);
                continue;
            }
            Kind::Word(name) => {
                varint(&mut bytes, field.number << 3);
                let known = contract.enums[name].words.len();
                bytes.push(word.min(u8::try_from(known).expect("few words")));
                continue;
            }
            Kind::Text => b"x".to_vec(),
            Kind::Time => vec![8, 1],
            Kind::Pairs => vec![10, 1, b'k', 18, 1, b'v'],
            Kind::Object(name) => full(contract, name, word),
        };
        varint(&mut bytes, field.number << 3 | 2);
        varint(&mut bytes, u32::try_from(inner.len()).expect("short"));
        bytes.extend(inner);
    }
    bytes
}

fn varint(bytes: &mut Vec<u8>, mut value: u32) {
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// What does not fit the schema: the place and why.
fn misfits(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let mut schema = match schema["anyOf"].get(0) {
        Some(first) => first,
        None => schema,
    };
    while let Some(name) = schema["$ref"].as_str() {
        schema = document().pointer(name.trim_start_matches('#')).expect("a schema");
    }
    let mut refuse = |why: String| found.push(format!("{at}: {why}"));
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let is_of = |kind: &Value| match kind.as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    };
    if !kinds.iter().any(is_of) {
        return refuse(format!("{value} is not of type {kinds:?}"));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        refuse(format!("{value} is not in {}", schema["enum"]));
    }
    let digits = |text: &str| text.trim_start_matches('-').bytes().all(|it| it.is_ascii_digit());
    if schema["format"] == "int64" && value.as_str().is_some_and(|text| !digits(text)) {
        refuse(format!("{value} is not a decimal string"));
    }
    for needed in schema["required"].as_array().into_iter().flatten() {
        if value.get(needed.as_str().expect("a name")).is_none() {
            refuse(format!("{needed} is missing"));
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        misfits(&schema["items"], item, &format!("{at}/{index}"), found);
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let property = match &schema["properties"][name] {
            Value::Null => &schema["additionalProperties"],
            property => property,
        };
        if property.is_object() {
            misfits(property, inner, &format!("{at}/{name}"), found);
        } else {
            found.push(format!("{at}/{name} is not in the schema"));
        }
    }
}

fn assert_fits(schema: &Value, value: &Value, what: &str) {
    let mut found = Vec::new();
    misfits(schema, value, what, &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

fn names(value: &Value) -> BTreeSet<&String> {
    value.as_object().expect("an object").keys().collect()
}

#[test]
fn docs_openapi_json_is_what_the_engine_serves() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os("OPENAPI_WRITE").is_some() {
        fs::write(&path, text()).expect("docs/ can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text(),
        "docs/openapi.json is old; write it again: OPENAPI_WRITE=1 cargo test -p fulgurite openapi"
    );
}

#[test]
fn every_field_and_word_that_is_written_is_in_its_schema() {
    let contract = Contract::new();
    let schemas = &document()["components"]["schemas"];
    for (name, render) in RENDERED {
        let schema = &schemas[*name];
        for word in 1..=20 {
            let text = render(&full(&contract, name, word));
            let rendered = text.value();
            assert_eq!(text.to_string(), rendered.to_string(), "{name}: names in order, no blanks");
            assert_fits(schema, &rendered, name);
            assert_eq!(names(&rendered), names(&schema["properties"]), "{name}");
        }
        // What is said to be always there is there when nothing is set.
        assert_fits(schema, &render(&[]).value(), name);
    }
}

#[test]
fn every_message_that_is_written_is_rendered_above() {
    let rendered = RENDERED.iter().map(|(name, _)| *name);
    let pages = ["ListBatchesResponse", "ListNodesResponse", "ListPaymentsResponse"];
    let rendered: BTreeSet<_> = rendered.chain(pages).chain(["ListRefusedRowsResponse"]).collect();
    let written: BTreeSet<_> = schema::WRITTEN.iter().map(|(name, _)| *name).collect();
    assert_eq!(rendered, written);
    let contract = Contract::new();
    for (name, _) in schema::WRITTEN.iter().filter(|(name, _)| name.starts_with("List")) {
        let fields = &contract.messages[*name].fields;
        let token = if fields.len() > 1 { "token" } else { "" };
        let page = wire::page(fields[0].name.clone().leak(), Vec::new(), token).value();
        assert_eq!(names(&page), fields.iter().map(|field| &field.name).collect(), "{name}");
    }
}

#[test]
fn every_field_that_is_described_is_read() {
    let contract = Contract::new();
    let schemas = &document()["components"]["schemas"];
    let order = &schemas[schema::PAYMENT_REQUEST]["properties"];
    let options = &schemas["BatchOptionsInput"]["properties"];
    let mut request = sample(order);
    request["options"] = sample(options);
    request["options"]["fee_policy"] = sample(&schemas["FeePolicyInput"]["properties"]);
    let text = request.to_string();
    let (order, options) = json_read::payment_request(text.as_bytes()).expect("a request");
    let options = options.expect("options");
    let policy = options.fee_policy.expect("a policy");
    for (name, bytes) in [
        ("PaymentOrder", order.encode_to_vec()),
        ("BatchOptions", options.encode_to_vec()),
        ("FeePolicy", policy.encode_to_vec()),
    ] {
        let expected = contract.messages[name].fields.iter().map(|field| field.number);
        assert_eq!(numbers(&bytes), expected.collect::<BTreeSet<_>>(), "{name}");
    }
}

#[test]
fn every_field_of_a_resolution_is_read() {
    let contract = Contract::new();
    let schemas = &document()["components"]["schemas"];
    let mut request = sample(&schemas[schema::RESOLUTION]["properties"]);
    let preimage = request.as_object_mut().and_then(|fields| fields.remove("preimage"));
    request["not_paid"] = sample(&schemas["NotPaid"]["properties"]);
    let read = |value: &Value| json_read::resolution(value.to_string().as_bytes());
    let found = read(&request).expect("a request");
    let Some(v1::resolve_payment_request::Verdict::NotPaid(not_paid)) = &found.verdict else {
        panic!("not paid: {found:?}");
    };
    let fields = &contract.messages["ResolvePaymentRequest.NotPaid"].fields;
    let expected: BTreeSet<_> = fields.iter().map(|field| field.number).collect();
    assert_eq!(numbers(&not_paid.encode_to_vec()), expected);
    assert_eq!(found.by, "x");
    request["preimage"] = preimage.expect("a preimage");
    assert!(read(&request).is_err(), "one of both");
}

/// A value for each property.
fn sample(properties: &Value) -> Value {
    let properties = properties.as_object().expect("properties").iter();
    let values = properties.map(|(name, schema)| {
        let at = schema["anyOf"][0]["$ref"].as_str().unwrap_or_default();
        let kind = schema["type"].get(0).unwrap_or(&schema["type"]).as_str().unwrap_or_default();
        let value = match (kind, schema["format"].as_str().unwrap_or_default()) {
            (_, "date-time") => json!("2030-01-31T12:00:00Z"),
            (_, "int64") => json!("1"),
            ("integer", _) => json!(1),
            ("boolean", _) => json!(true),
            ("string", _) => json!("x"),
            _ if at.ends_with("Priority") => json!("high"),
            _ => json!({}),
        };
        (name.clone(), value)
    });
    Value::Object(values.collect())
}

/// The field numbers of a message's bytes.
fn numbers(mut bytes: &[u8]) -> BTreeSet<u32> {
    use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
    let mut found = BTreeSet::new();
    while !bytes.is_empty() {
        let (number, wire): (u32, WireType) = decode_key(&mut bytes).expect("a key");
        skip_field(wire, number, &mut bytes, DecodeContext::default()).expect("a field");
        found.insert(number);
    }
    found
}

#[test]
fn every_example_fits_its_schema_and_every_example_is_used() {
    let mut used = BTreeSet::new();
    let mut check = |content: &Value, what: &str| {
        for (name, example) in content["examples"].as_object().into_iter().flatten() {
            let example = match example["$ref"].as_str() {
                Some(at) => document().pointer(at.trim_start_matches('#')).expect("an example"),
                None => example,
            };
            assert_fits(&content["schema"], &example["value"], &format!("{what} {name}"));
            used.insert(name.clone());
        }
    };
    for operation in operations::all() {
        let described = &document()["paths"][operation.path];
        let described = &described[operation.method.to_ascii_lowercase()];
        check(&described["requestBody"]["content"]["application/json"], operation.id);
        for (status, response) in described["responses"].as_object().expect("responses") {
            for (media, content) in response["content"].as_object().expect("content") {
                let what = format!("{} {status} {media}", operation.id);
                let has = content["examples"].as_object().is_some_and(|it| !it.is_empty());
                let is_text = content["schema"]["$ref"].is_null();
                assert!(has || is_text, "{what} has no example");
                check(content, &what);
            }
        }
    }
    let examples: Value = serde_json::from_str(EXAMPLES).expect("JSON");
    let unused: Vec<_> =
        names(&examples).into_iter().filter(|name| !used.contains(*name)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn every_code_of_this_door_is_answered_by_an_operation() {
    let answered: BTreeSet<_> = operations::all()
        .flat_map(|operation| operation.refusals().chain(EVERYWHERE.iter().copied()))
        .map(|code| code.name())
        .collect();
    // What only the gRPC door, or no operation at all, answers.
    let others = [
        Code::RowsRefused,
        Code::BatchTooLarge,
        Code::CursorInvalid,
        Code::CursorExpired,
        Code::StreamRecycled,
        Code::DeadlineExceeded,
        Code::Unimplemented,
        Code::MethodNotAllowed,
    ];
    for code in Code::ALL {
        let elsewhere = others.contains(code);
        assert_ne!(answered.contains(code.name()), elsewhere, "{}", code.name());
    }
}
