//! Answers: JSON, and problems as `application/problem+json` (RFC 9457).

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    problem::{Problem, Retry, request_id},
    wire::json_write::Json,
};

/// 200 with this body.
pub fn ok(body: Json) -> Response {
    with(StatusCode::OK, body)
}

/// A status with this body.
pub fn with(status: StatusCode, body: Json) -> Response {
    let mut response = Response::new(Body::from(body.into_text()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Answers are about money and change: nobody keeps them.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Sets a header whose value is visible ASCII; any other value is left out.
pub fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A problem on its way out.
#[derive(Debug)]
pub struct Refused(pub Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        Refused(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(problem) = self;
        let request_id = request_id();
        let code = problem.code;
        tracing::debug!(%request_id, code = code.name(), detail = %problem.detail, "refused");
        let status = StatusCode::from_u16(code.http());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = with(status, self::problem(problem, &request_id).into());
        set(&mut response, header::CONTENT_TYPE, "application/problem+json");
        if let Retry::After(ms) = code.retry() {
            set(&mut response, header::RETRY_AFTER, &ms.div_ceil(1_000).to_string());
        }
        response
    }
}

/// The body of a problem.
pub fn problem(problem: Problem, request_id: &str) -> Value {
    let code = problem.code;
    let mut body = json!({
        "type": format!("/errors/{}", code.name()),
        "title": code.title(),
        "status": code.http(),
        "detail": problem.detail,
        "code": code.name(),
        "retry": code.retry() != Retry::No,
        "request_id": request_id,
    });
    for (key, value) in problem.metadata {
        body[key] = value.into();
    }
    if !problem.violations.is_empty() {
        let errors = problem.violations.iter().map(|violation| {
            json!({ "pointer": pointer(&violation.field), "detail": violation.message })
        });
        body["errors"] = errors.collect();
    }
    body
}

/// A field as a JSON pointer; one that was read from JSON already is.
fn pointer(field: &str) -> String {
    if field.is_empty() || field.starts_with('/') {
        return field.to_owned();
    }
    format!("/{}", field.replace('.', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Code, invalid};

    async fn body(response: Response) -> Value {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("a body");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[tokio::test]
    async fn a_problem_says_code_retry_and_field() {
        let response = Refused(invalid("options.in_flight_max", "must be 1")).into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = body(response).await;
        assert_eq!(body["type"], "/errors/INVALID_FIELD");
        assert_eq!(body["retry"], false);
        assert_eq!(body["errors"][0]["pointer"], "/options/in_flight_max");
    }

    #[tokio::test]
    async fn a_problem_that_passes_says_when_to_come_back() {
        let response = Refused(Problem::new(Code::DiskLow)).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "30");
        assert_eq!(body(response).await["retry"], true);
    }
}
