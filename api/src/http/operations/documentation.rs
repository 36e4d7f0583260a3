//! What the door says about itself.

use axum::routing::get;

use super::{super::pages, *};

/// The operations, in the order of their documentation.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        id: "getErrorCode",
        method: "GET",
        path: "/errors/{code}",
        tag: DOCUMENTATION,
        summary: "What a code means",
        description: "The `type` of every problem leads here. A browser gets a page.",
        parameters: &[Parameter {
            name: "code",
            place: "path",
            required: true,
            holds: Holds::Code,
            about: "The code.",
            example: "HASH_CLAIMED",
        }],
        body: None,
        answers: &[Answer {
            status: 200,
            about: "The code.",
            body: Shape::JsonOrPage(ERROR_CODE, "error_code"),
            headers: &[],
        }],
        codes: &[Code::RouteNotFound],
        route: || get(pages::error),
    },
    Operation {
        id: "getDescription",
        method: "GET",
        path: "/openapi.json",
        tag: DOCUMENTATION,
        summary: "This description, in OpenAPI 3.1",
        description: "",
        parameters: &[],
        body: None,
        answers: &[Answer {
            status: 200,
            about: "The description.",
            body: Shape::Description,
            headers: &[],
        }],
        codes: &[],
        route: || get(pages::description),
    },
    Operation {
        id: "getDocumentation",
        method: "GET",
        path: "/docs",
        tag: DOCUMENTATION,
        summary: "This description as a page for people",
        description: "",
        parameters: &[],
        body: None,
        answers: &[Answer { status: 200, about: "The page.", body: Shape::Page, headers: &[] }],
        codes: &[],
        route: || get(pages::documentation),
    },
];
