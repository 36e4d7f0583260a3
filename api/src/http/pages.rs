//! Pages for people, and the description for programs. Everything is in the binary; nothing is
//! fetched from elsewhere, and no page runs a script.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, header};
use serde_json::json;

use super::{
    Refused, answer, openapi,
    params::{Id, Nothing},
};
use crate::{
    Doors,
    problem::{Code, Problem, Retry},
};

mod advice;
mod documentation;
mod html;

/// A page may look as it says itself, and load nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /docs`.
pub async fn documentation(State(_): State<Doors>, _: Nothing) -> Response {
    page(documentation::text().to_owned())
}

/// `GET /openapi.json`.
pub async fn description(State(_): State<Doors>, _: Nothing) -> Response {
    let mut response = Response::new(Body::from(openapi::text()));
    answer::set(&mut response, header::CONTENT_TYPE, "application/json");
    answer::set(&mut response, header::CACHE_CONTROL, "no-cache");
    response
}

/// `GET /errors/{code}`: what a code means, the target of `type` in every problem. A browser gets
/// a page.
pub async fn error(Id(name): Id, headers: HeaderMap, _: Nothing) -> Result<Response, Refused> {
    let unknown = || Problem::of(Code::RouteNotFound, "there is no such code; /docs lists them");
    let code = Code::named(&name).ok_or_else(unknown)?;
    let mut response = if wants_page(&headers) {
        page(documentation::code_page(code))
    } else {
        answer::ok(
            json!({
                "code": code.name(),
                "title": code.title(),
                "status": code.http(),
                "grpc_status": advice::grpc_name(code),
                "retry": code.retry() != Retry::No,
                "advice": advice::plain(code),
            })
            .into(),
        )
    };
    answer::set(&mut response, header::VARY, "accept");
    Ok(response)
}

/// A browser names HTML; programs ask for anything, or for JSON.
fn wants_page(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
    accepted.any(|list| list.split(',').any(|it| it.trim_start().starts_with("text/html")))
}

fn page(text: String) -> Response {
    let mut response = axum::response::Html(text).into_response();
    answer::set(&mut response, header::CACHE_CONTROL, "no-cache");
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
    ] {
        answer::set(&mut response, name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_gets_a_page_and_a_program_json() {
        for (accept, expected) in [
            (None, false),
            (Some("*/*"), false),
            (Some("application/json"), false),
            (Some("text/html"), true),
            (Some("application/xhtml+xml, text/html;q=0.9, */*;q=0.8"), true),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().expect("a header"));
            }
            assert_eq!(wants_page(&headers), expected, "{accept:?}");
        }
    }
}
