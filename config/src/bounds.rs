//! Collects what is out of range, so that all of it is reported at once.

use std::{fmt::Display, ops::RangeInclusive};

/// The problems found so far: the key and what is allowed.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) found: Vec<(String, String)>,
}

impl Bounds {
    /// Asks for a value within `range`.
    pub(crate) fn within<T: PartialOrd + Display>(
        &mut self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
    ) {
        if !range.contains(&value) {
            let (low, high) = (range.start(), range.end());
            self.refuse(key, format!("{value} is not allowed: {low} to {high}"));
        }
    }

    /// Notes a problem of another kind.
    pub(crate) fn refuse(&mut self, key: &str, message: String) {
        self.found.push((key.to_owned(), message));
    }
}
