//! Query parameters: each at most once unless it is a list, unknown ones refused.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use fulgurite_proto::fulgurite::v1;

use crate::{
    problem::{Code, Problem, invalid, invalid_all},
    wire,
};

/// More than `{}` is refused anyway.
const EMPTY_BODY_MAX: usize = 1 << 10;

/// The parameters of a request that nobody has taken yet.
pub struct Params(Vec<(String, String)>);

impl Params {
    /// The parameters of a decoded query string.
    pub fn of(pairs: Vec<(String, String)>) -> Params {
        Params(pairs)
    }

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
        let text = self.text(name)?;
        if text.is_empty() {
            return Ok(0);
        }
        match text.parse() {
            Ok(number) if (0..=max).contains(&number) => Ok(number),
            Ok(_) | Err(_) => Err(invalid(name, &format!("must be 0 to {max}"))),
        }
    }

    /// Takes a truth; false when it is missing.
    pub fn truth(&mut self, name: &str) -> Result<bool, Problem> {
        match self.text(name)?.as_str() {
            "" | "false" => Ok(false),
            "true" => Ok(true),
            _ => Err(invalid(name, "must be true or false")),
        }
    }

    /// Takes `wait_ms`.
    pub fn wait(&mut self) -> Result<Duration, Problem> {
        let ms = self.number("wait_ms", 30_000)?;
        Ok(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }

    /// Takes `view`.
    pub fn view(&mut self) -> Result<i32, Problem> {
        match self.text("view")?.as_str() {
            "" | "basic" => Ok(v1::View::Basic.into()),
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

/// Refuses parameters, and a body other than `{}`, of a request that takes neither: what is not
/// known is never ignored.
pub async fn nothing(pairs: Vec<(String, String)>, body: Body) -> Result<(), Problem> {
    Params::of(pairs).finish()?;
    let Ok(body) = to_bytes(body, EMPTY_BODY_MAX).await else {
        return Err(Problem::new(Code::MessageTooLarge));
    };
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    wire::json_read::no_fields(&body).map_err(invalid_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::of(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        assert!(params(&[("x", "1")]).finish().is_err());
        assert!(params(&[("view", "full"), ("view", "full")]).view().is_err());
        assert!(params(&[]).finish().is_ok());
    }

    #[tokio::test]
    async fn a_request_that_takes_nothing_refuses_whatever_is_given() {
        let none = Vec::new;
        for body in ["", "{}", " { } "] {
            assert!(nothing(none(), Body::from(body)).await.is_ok(), "{body:?}");
        }
        for body in ["{\"reason\":\"x\"}", "[]", "null", "x", "{"] {
            assert!(nothing(none(), Body::from(body)).await.is_err(), "{body:?}");
        }
        let pairs = vec![("force".to_owned(), "true".to_owned())];
        assert!(nothing(pairs, Body::empty()).await.is_err());
    }

    #[test]
    fn values_are_read_within_their_range() {
        assert!(params(&[("wait_ms", "30001")]).wait().is_err());
        assert_eq!(params(&[("wait_ms", "5")]).wait(), Ok(Duration::from_millis(5)));
        assert!(params(&[("view", "FULL")]).view().is_err());
        let read = |name: &str| v1::payment::State::from_str_name(name).map(i32::from);
        let states = params(&[("state", "in_flight"), ("state", "failed")]).states(read);
        assert_eq!(states, Ok(vec![2, 5]));
        assert!(params(&[("state", "FAILED")]).states(read).is_err());
        assert!(params(&[("state", "unspecified")]).states(read).is_err());
    }
}
