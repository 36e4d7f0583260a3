//! Who may come in while nobody is asked who they are: programs on this machine, not web pages.
//!
//! A web page reaches a loopback port by DNS rebinding (its own name points to 127.0.0.1) and by
//! simple POSTs (no preflight). Against the first, the `Host` must be a loopback name with our
//! port; against the second, any `Origin` is refused and a body must be application/json. There
//! are no CORS headers.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Uri, header, uri::Authority};
use tokio::sync::Semaphore;

use super::Refused;
use crate::problem::{Code, Problem};

/// What the guard looks at.
pub struct Guard {
    port: u16,
    is_open: bool,
    places: Semaphore,
}

impl Guard {
    /// A guard of the listener at this port. With `is_open` any `Host` is taken. At most
    /// `requests_max` requests are let in at once.
    pub fn new(port: u16, is_open: bool, requests_max: u32) -> Guard {
        let places = usize::try_from(requests_max).unwrap_or(Semaphore::MAX_PERMITS);
        Guard { port, is_open, places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)) }
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        if headers.contains_key(header::ORIGIN) {
            return Err(Problem::of(Code::NotLocal, "requests of web pages are not taken"));
        }
        if !self.is_open && !self.is_ours(request.uri(), headers) {
            let detail = format!("the Host must be localhost:{} or a loopback address", self.port);
            return Err(Problem::of(Code::NotLocal, detail));
        }
        Ok(())
    }

    /// True when the request names this machine and this port.
    fn is_ours(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let named = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok().and_then(|host| host.parse().ok()),
            (None, None) => uri.authority().cloned(),
            (_, Some(_)) => None,
        };
        let Some(authority): Option<Authority> = named else {
            return false;
        };
        // An absolute request target may not say something else.
        if uri.authority().is_some_and(|other| *other != authority) {
            return false;
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_loopback = host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        is_loopback && authority.port_u16().unwrap_or(80) == self.port
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

/// The middleware of a route that takes a body: a page can send any but this type unasked.
pub async fn json_only(request: Request, next: Next) -> Response {
    if is_json(request.headers()) {
        next.run(request).await
    } else {
        Refused(Problem::new(Code::MediaTypeUnsupported)).into_response()
    }
}

/// The middleware.
pub async fn pass(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if let Err(problem) = guard.check(&request) {
        return Refused(problem).into_response();
    }
    let Ok(_place) = guard.places.try_acquire() else {
        return Refused(Problem::new(Code::Overloaded)).into_response();
    };
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut builder = http::Request::builder().uri("/v1/engine");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(axum::body::Body::empty()).expect("a request")
    }

    #[test]
    #[rustfmt::skip] // A table: one line is one request and its answer.
    fn only_programs_on_this_machine_come_in() {
        let guard = Guard::new(8080, false, 1);
        type Row = (&'static [(&'static str, &'static str)], Option<Code>);
        let table: [Row; 10] = [
            (&[("host", "localhost:8080")], None),
            (&[("host", "127.0.0.1:8080")], None),
            (&[("host", "[::1]:8080")], None),
            (&[("host", "localhost:8081")], Some(Code::NotLocal)),
            (&[("host", "localhost")], Some(Code::NotLocal)),
            (&[("host", "evil.example:8080")], Some(Code::NotLocal)),
            (&[("host", "localhost.evil.example:8080")], Some(Code::NotLocal)),
            (&[("host", "localhost:8080"), ("host", "evil.example:8080")], Some(Code::NotLocal)),
            (&[], Some(Code::NotLocal)),
            (&[("host", "localhost:8080"), ("origin", "http://localhost:8080")], Some(Code::NotLocal)),
        ];
        for (headers, expected) in table {
            let found = guard.check(&request(headers)).err().map(|problem| problem.code);
            assert_eq!(found, expected, "{headers:?}");
        }
    }

    #[test]
    fn a_body_is_json_or_nothing() {
        for (value, expected) in [
            (None, false),
            (Some("text/plain"), false),
            (Some("application/json, text/plain"), false),
            (Some("application/problem+json"), false),
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
        ] {
            let header = value.map(|value| ("content-type", value));
            let request = request(header.as_slice());
            assert_eq!(is_json(request.headers()), expected, "{value:?}");
        }
    }

    #[test]
    fn an_open_guard_still_refuses_web_pages() {
        let guard = Guard::new(8080, true, 1);
        assert!(guard.check(&request(&[("host", "engine.example:8080")])).is_ok());
        let page = request(&[("host", "engine.example:8080"), ("origin", "null")]);
        assert!(guard.check(&page).is_err());
    }
}
