//! What the words of the page mean, for somebody who reads it first.

use std::fmt::{Result, Write};

/// The words and what they mean.
const WORDS: [(&str, &str); 16] = [
    (
        "offered",
        "payments that were due a second. When each is due is fixed before the run begins.",
    ),
    ("achieved", "payments that became final while others were still due, a second of that time."),
    ("paid", "payments that succeeded, of those that were due."),
    (
        "planned time",
        "when a payment was due. Latency counts from it, so that time in which a stalled server \
         kept the client from asking counts too.",
    ),
    ("outcome", "the final state of a payment, at the client that watches."),
    (
        "ack",
        "the engine's durable acknowledgement: from here on it is paid once, whatever crashes.",
    ),
    (
        "P50, P99",
        "50 or 99 of 100 payments took at most so long. The percentile curve has every such \
         number; each step to the right is a tenth of the payments before it.",
    ),
    (
        "lag",
        "how late the generator itself was. Above its limit at P99 a run is invalid: it measured \
         the machine and not the engine.",
    ),
    (
        "CPU a payment",
        "processor time of one process, user and system, for each payment with a final state, in \
         microseconds.",
    ),
    ("nodes", "the simulated lnd nodes, one process. A costly fleet makes every engine look good."),
    (
        "generator",
        "this load tester: its client side of every call. The bare client is part of it.",
    ),
    (
        "bare",
        "no engine: the generator pays at the nodes itself, over TLS with a macaroon, and keeps \
         nothing. The yardstick for what an engine costs.",
    ),
    (
        "of bare",
        "the achieved rate of a run divided by that of the best bare client of the same round.",
    ),
    (
        "commit",
        "the journal's unit: events that are written and synced to disk together. The more events \
         share one, the less the disk costs.",
    ),
    ("peak memory", "the most memory that the engine had resident since it was started."),
    ("commit of the build", "the revision of the source; + when files differed from it."),
];

/// The list, closed until somebody asks.
pub(super) fn list(page: &mut String) -> Result {
    writeln!(page, "<details open><summary>What the words mean</summary><dl class=\"meaning\">")?;
    for (word, what) in WORDS {
        writeln!(page, "<dt>{word}</dt><dd>{what}</dd>")?;
    }
    writeln!(page, "</dl></details>")
}
