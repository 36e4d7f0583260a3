//! What the books of a run say when it is over.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use crate::result::{Counts, Quantiles, Second};

/// The closed books.
pub(crate) struct Books {
    pub counts: Counts,
    pub codes: BTreeMap<String, u64>,
    pub latency: BTreeMap<String, Quantiles>,
    pub seconds: Vec<Second>,
    /// The distribution of the outcome.
    pub outcome: Histogram<u64>,
    /// That of the time from the request on.
    pub service: Histogram<u64>,
    /// Until the last final state.
    pub took: Duration,
    /// Final states that came while arrivals were due.
    pub final_in_time: u64,
    /// Those of them that were paid.
    pub paid_in_time: u64,
    /// Of the payments that were due early enough (of all, when none were), the share that was
    /// final while arrivals were due. `None`: nothing was due.
    pub kept_up: Option<f64>,
}
