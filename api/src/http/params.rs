//! What a request carries: path, parameters, body. Parameters at most once unless they are a list;
//! what is not known is refused, never ignored.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
};
use fulgurite_proto::fulgurite::v1;
use http::request::Parts;

use super::Refused;
use crate::{
    Doors, connections,
    problem::{Problem, invalid, invalid_all},
    wire,
};

/// More than `{}` is refused anyway.
const EMPTY_BODY_MAX: usize = 1 << 10;

/// The part of the path that names one thing.
pub struct Id(pub String);

impl FromRequestParts<Doors> for Id {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Id, Refused> {
        match Path::<String>::from_request_parts(parts, doors).await {
            Ok(Path(id)) => Ok(Id(id)),
            Err(_) => Err(invalid("path", "is not UTF-8").into()),
        }
    }
}

/// A request without parameters and without a body, other than `{}`.
pub struct Nothing;

impl FromRequest<Doors> for Nothing {
    type Rejection = Refused;

    async fn from_request(request: Request, doors: &Doors) -> Result<Nothing, Refused> {
        let (mut parts, body) = request.into_parts();
        Params::from_request_parts(&mut parts, doors).await?.finish()?;
        NoBody::from_request(Request::from_parts(parts, body), doors).await?;
        Ok(Nothing)
    }
}

/// A request without a body, other than `{}`.
pub struct NoBody;

impl FromRequest<Doors> for NoBody {
    type Rejection = Refused;

    async fn from_request(request: Request, doors: &Doors) -> Result<NoBody, Refused> {
        let time_max = doors.limits.http_body_time_max;
        let body = connections::body::read(request.into_body(), EMPTY_BODY_MAX, time_max).await?;
        Ok(no_body(&body)?)
    }
}

fn no_body(body: &[u8]) -> Result<NoBody, Problem> {
    if !body.trim_ascii().is_empty() {
        wire::json_read::no_fields(body).map_err(invalid_all)?;
    }
    Ok(NoBody)
}

/// The whole body, within the limits of the door.
pub struct Whole(pub Bytes);

impl FromRequest<Doors> for Whole {
    type Rejection = Refused;

    async fn from_request(request: Request, doors: &Doors) -> Result<Whole, Refused> {
        let (bytes_max, time_max) =
            (doors.limits.http_body_bytes_max, doors.limits.http_body_time_max);
        Ok(Whole(connections::body::read(request.into_body(), bytes_max, time_max).await?))
    }
}

/// The parameters of a request that nobody has taken yet.
pub struct Params(Vec<(String, String)>);

impl FromRequestParts<Doors> for Params {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &Doors) -> Result<Params, Refused> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(pairs)) => Ok(Params(pairs)),
            Err(_) => Err(invalid("query", "cannot be read").into()),
        }
    }
}

impl Params {
    /// Takes a parameter; empty when it is missing.
    pub fn text(&mut self, name: &str) -> Result<String, Problem> {
        let mut found = self.list(name);
        match found.len() {
            0 => Ok(String::new()),
            1 => Ok(found.remove(0)),
            _ => Err(invalid(name, "is given more than once")),
        }
    }

    /// Takes every value of a parameter.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let all = std::mem::take(&mut self.0);
        let (found, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, _)| key == name);
        self.0 = left;
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// Takes a number from 0 to `max`; 0 when it is missing.
    pub fn number(&mut self, name: &str, max: i32) -> Result<i32, Problem> {
        if !self.has(name) {
            return Ok(0);
        }
        match self.text(name)?.parse() {
            Ok(number) if (0..=max).contains(&number) => Ok(number),
            Ok(_) | Err(_) => Err(invalid(name, &format!("must be 0 to {max}"))),
        }
    }

    /// Takes a truth; false when it is missing.
    pub fn truth(&mut self, name: &str) -> Result<bool, Problem> {
        if !self.has(name) {
            return Ok(false);
        }
        match self.text(name)?.as_str() {
            "false" => Ok(false),
            "true" => Ok(true),
            _ => Err(invalid(name, "must be true or false")),
        }
    }

    /// True when a parameter is there, even an empty one.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// Takes `wait_ms`.
    pub fn wait(&mut self) -> Result<Duration, Problem> {
        let ms = self.number("wait_ms", 30_000)?;
        Ok(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }

    /// Takes `view`.
    pub fn view(&mut self) -> Result<i32, Problem> {
        if !self.has("view") {
            return Ok(v1::View::Basic.into());
        }
        match self.text("view")?.as_str() {
            "basic" => Ok(v1::View::Basic.into()),
            "full" => Ok(v1::View::Full.into()),
            _ => Err(invalid("view", "must be basic or full")),
        }
    }

    /// Takes `state`, once or several times, as numbers of the enum that `read` knows.
    pub fn states(&mut self, read: impl Fn(&str) -> Option<i32>) -> Result<Vec<i32>, Problem> {
        let mut states = Vec::new();
        for text in self.list("state") {
            let name = format!("STATE_{}", text.to_ascii_uppercase());
            let is_lower = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            match read(&name).filter(|state| *state != 0 && is_lower) {
                Some(state) => states.push(state),
                None => return Err(invalid("state", "is not a state that this engine knows")),
            }
        }
        Ok(states)
    }

    /// Refuses what nobody took.
    pub fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(name, "is not a parameter of this request")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        assert!(params(&[("x", "1")]).finish().is_err());
        assert!(params(&[("view", "full"), ("view", "full")]).view().is_err());
        assert!(params(&[]).finish().is_ok());
    }

    #[test]
    fn a_request_that_takes_nothing_refuses_whatever_is_given() {
        for body in ["", "{}", " { } "] {
            assert!(no_body(body.as_bytes()).is_ok(), "{body:?}");
        }
        for body in ["{\"reason\":\"x\"}", "[]", "null", "x", "{"] {
            assert!(no_body(body.as_bytes()).is_err(), "{body:?}");
        }
    }

    #[test]
    fn values_are_read_within_their_range() {
        assert!(params(&[("wait_ms", "30001")]).wait().is_err());
        assert_eq!(params(&[("wait_ms", "5")]).wait(), Ok(Duration::from_millis(5)));
        assert!(params(&[("view", "FULL")]).view().is_err());
        for name in ["view", "wait_ms", "validate_only"] {
            let mut empty = params(&[(name, "")]);
            let refused = match name {
                "view" => empty.view().is_err(),
                "wait_ms" => empty.wait().is_err(),
                _ => empty.truth(name).is_err(),
            };
            assert!(refused, "{name} is given and empty");
        }
        let read = |name: &str| v1::payment::State::from_str_name(name).map(i32::from);
        let states = params(&[("state", "in_flight"), ("state", "failed")]).states(read);
        assert_eq!(states, Ok(vec![2, 5]));
        assert!(params(&[("state", "FAILED")]).states(read).is_err());
        assert!(params(&[("state", "unspecified")]).states(read).is_err());
    }
}
