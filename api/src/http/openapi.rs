//! The description of the HTTP door in OpenAPI 3.1, made from the table of its operations and from
//! the descriptors of the contract. `docs/openapi.json` is a copy, for whoever has no engine.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value, json};

use super::{
    answer,
    operations::{self, Answer, Body, EVERYWHERE, Holds, Operation, Parameter, Shape},
};
use crate::problem::{Code, Problem, Retry, invalid};

pub mod contract;
pub mod schema;
#[cfg(test)]
mod tests;

const EXAMPLES: &str = include_str!("openapi/examples.json");
const REQUEST_ID: &str = "req_01a2006681b476428fb81bf2f2ef2a60";
const PROBLEM_TYPE: &str = "application/problem+json";
const ABOUT: &str = "Orders and follows Lightning payments. An accepted order is paid exactly \
    once.\n\n\
    Field names are those of the gRPC contract `fulgurite.v1`. 64-bit integers are decimal \
    strings in answers; requests take strings or integers. Enums are words in lower case. What is \
    unset is absent. Times are RFC 3339 in UTC, with microseconds. A request with a field or \
    parameter that the engine does not know is refused.\n\n\
    Every refusal is `application/problem+json` and leaves nothing half done; `code` is stable. \
    Whenever an answer is lost or says UNKNOWN_OUTCOME, send the same again with the same \
    `Idempotency-Key`.\n\n\
    There is no authentication yet: the door serves programs on its own machine, by the names \
    localhost, 127.0.0.1 and [::1], and no web pages.";

/// The description as text.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        // Rendering a tree of strings and numbers cannot fail.
        serde_json::to_string_pretty(document()).unwrap_or_default() + "\n"
    });
    &TEXT
}

/// The description.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(build);
    &DOCUMENT
}

fn build() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations::all() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.to_ascii_lowercase()] = describe(operation);
    }
    let tags = operations::TAGS.iter();
    let tags = tags.map(|(name, about)| json!({ "name": name, "description": about }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fulgurite",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The engine that this comes from." }],
        "tags": tags.collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schema::all(&contract::Contract::new()),
            "examples": problem_examples(),
        },
    })
}

fn describe(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": responses(operation),
    });
    if !operation.description.is_empty() {
        described["description"] = operation.description.into();
    }
    if !operation.parameters.is_empty() {
        described["parameters"] = operation.parameters.iter().map(parameter).collect();
    }
    if let Some(Body { schema, example }) = operation.body {
        let content = json!({
            "schema": schema::reference(schema),
            "examples": { example: { "value": self::example(example) } },
        });
        described["requestBody"] =
            json!({ "required": true, "content": { "application/json": content } });
    }
    described
}

fn parameter(parameter: &Parameter) -> Value {
    let mut schema = match parameter.holds {
        Holds::Text("") => json!({ "type": "string" }),
        Holds::Text(pattern) => json!({ "type": "string", "pattern": pattern }),
        Holds::Number(max) => json!({ "type": "integer", "minimum": 0, "maximum": max }),
        Holds::Truth => json!({ "type": "boolean" }),
        Holds::Word(name) => schema::reference(&schema::enum_name(name)),
        Holds::Words(name) => {
            json!({ "type": "array", "items": schema::reference(&schema::enum_name(name)) })
        }
        Holds::Code => schema::codes(),
    };
    if parameter.required && parameter.place != "header" && schema["type"] == "string" {
        schema["minLength"] = 1.into();
    }
    let mut described = json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.about,
        "required": parameter.required,
        "schema": schema,
    });
    if !parameter.example.is_empty() {
        described["example"] = parameter_example(parameter);
    }
    described
}

fn parameter_example(parameter: &Parameter) -> Value {
    let text = parameter.example;
    match parameter.holds {
        Holds::Number(_) => text.parse::<i32>().unwrap_or_default().into(),
        Holds::Truth => (text == "true").into(),
        Holds::Words(_) => json!([text]),
        Holds::Text(_) | Holds::Word(_) | Holds::Code => text.into(),
    }
}

fn responses(operation: &Operation) -> Value {
    let mut responses: BTreeMap<u16, Value> = BTreeMap::new();
    for good in operation.answers {
        responses.insert(good.status, good_response(good));
    }
    for (status, codes) in by_status(operation) {
        let lines = codes.iter().map(|code| format!("* `{}`: {}", code.name(), code.title()));
        let examples = codes.iter().map(|code| {
            let at = format!("#/components/examples/{}", code.name());
            (code.name().to_owned(), json!({ "$ref": at }))
        });
        let examples: Map<String, Value> = examples.collect();
        let content = json!({ "schema": schema::reference(schema::PROBLEM), "examples": examples });
        let mut response = json!({
            "description": lines.collect::<Vec<_>>().join("\n"),
            "content": { PROBLEM_TYPE: content },
        });
        if codes.iter().any(|code| matches!(code.retry(), Retry::After(_))) {
            response["headers"] = headers(&[("Retry-After", "When to come back, in seconds.")]);
        }
        responses.insert(status, response);
    }
    responses.into_iter().map(|(status, answer)| (status.to_string(), answer)).collect()
}

/// What an operation may refuse with, by HTTP status.
pub fn by_status(operation: &Operation) -> BTreeMap<u16, Vec<Code>> {
    let mut found: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in operation.refusals().chain(EVERYWHERE.iter().copied()) {
        found.entry(code.http()).or_default().push(code);
    }
    found
}

fn good_response(good: &Answer) -> Value {
    let page = json!({ "schema": { "type": "string" } });
    let json_content = |schema: &str, example: &str| {
        json!({
            "schema": schema::reference(schema),
            "examples": { example: { "value": self::example(example) } },
        })
    };
    let content = match good.body {
        Shape::Json(schema, example) => {
            json!({ "application/json": json_content(schema, example) })
        }
        Shape::JsonOrPage(schema, example) => {
            json!({ "application/json": json_content(schema, example), "text/html": page })
        }
        Shape::Page => json!({ "text/html": page }),
        Shape::Description => json!({ "application/json": { "schema": { "type": "object" } } }),
    };
    let mut response = json!({ "description": good.about, "content": content });
    if !good.headers.is_empty() {
        response["headers"] = headers(good.headers);
    }
    response
}

fn headers(list: &[(&str, &str)]) -> Value {
    let described = list.iter().map(|(name, about)| {
        let header = json!({ "description": about, "schema": { "type": "string" } });
        ((*name).to_owned(), header)
    });
    Value::Object(described.collect())
}

/// The example with this name.
pub fn example(name: &str) -> Value {
    static ALL: LazyLock<Value> =
        LazyLock::new(|| serde_json::from_str(EXAMPLES).unwrap_or_default());
    ALL[name].clone()
}

fn problem_examples() -> Map<String, Value> {
    let examples = Code::ALL.iter().map(|code| {
        let body = answer::problem(problem_of(*code), REQUEST_ID);
        (code.name().to_owned(), json!({ "value": body }))
    });
    examples.collect()
}

/// A problem as a client may see it.
fn problem_of(code: Code) -> Problem {
    let payment = "pay_01a20066-8163-7017-a2c2-5f4cefaa0001";
    match code {
        Code::InvalidField => invalid("options.in_flight_max", "must be 1 to 100000"),
        Code::HashClaimed | Code::AlreadyPaid => Problem::new(code).with("payment_id", payment),
        Code::IdempotencyKeyReused => Problem::new(code)
            .with("batch_id", "bat_01a20066-8183-77e6-8944-d751d47e0000")
            .with("difference", "row 1 amount_msat"),
        Code::OrderRefused => Problem::of(code, "the invoice expired at 2026-11-21T10:00:00Z")
            .with("row_reason", "EXPIRED")
            .with("field", "bolt11"),
        _ => Problem::new(code),
    }
}
