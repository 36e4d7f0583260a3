//! Mutation twins: engines with one deliberate bug each, which the simulation must find.
//!
//! The bugs are in the simulation's own wiring of the rules, never in the rules: what is shipped
//! does not depend on this crate, so no shipped binary can contain one.

use crate::run::{Finder, Scenario, Violation};

// A macro, because an enum, its list and its words would be three copies of one table.
macro_rules! twins {
    ($($name:ident, $word:literal, $text:literal;)*) => {
        /// An engine with one deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each has its text beside it")]
        pub enum Twin { $($name,)* }

        impl Twin {
            /// All of them.
            pub const ALL: &[Twin] = &[$(Twin::$name,)*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Twin::$name => $word,)* }
            }

            /// What is wrong with it, and the rule that it breaks.
            pub fn bug(self) -> &'static str {
                match self { $(Twin::$name => $text,)* }
            }
        }
    };
}

twins! {
    AcknowledgesEarly, "acknowledges-early", "E1: acknowledges before the seal is durable";
    SendsEarly, "sends-early", "E1, E4: sends before the attempt is durable";
    ResendsEarly, "resends-early", "E1: sends again by leave of an event that is not durable";
    ForgetsClaims, "forgets-claims", "E2: forgets who owns a hash at a restart";
    ForgetsKeys, "forgets-keys", "I1: forgets idempotency keys at a restart";
    RetriesInFlight, "retries-in-flight", "E5: calls an attempt failed that is slow";
    NoCaveat, "no-caveat", "E6: sends with a macaroon that never expires";
    NoDeadline, "no-deadline", "E6: sends without a grpc-timeout";
    SendsOfTheDead, "sends-of-the-dead", "E8: makes the sends that a dead node actor left";
    IgnoresWithdrawal, "ignores-withdrawal", "E9: sends again what was cancelled";
    CutIsFailed, "cut-is-failed", "E10: takes a stream that was cut for a failure";
    NotFoundIsFailed, "not-found-is-failed", "E10: takes NotFound for never sent";
    ExpiredIsFailed, "expired-is-failed", "E11: takes an expired invoice for never sent";
    OldUpdate, "old-update", "E11: applies what is said of an old attempt to the present one";
    NoFence, "no-fence", "E12: believes FAILED without a fence";
    FenceOfOurs, "fence-of-ours", "E13 (1): goes by its own clock, and does not ask the node";
    FenceWithoutWait, "fence-without-wait", "E13 (2): does not wait behind the node's word";
    FenceOldAnswers, "fence-old-answers", "E13 (3): counts answers from before the fence";
    FenceJumps, "fence-jumps", "E13 (2): waits by a clock that can be set";
    PeerAway, "peer-away", "E15: takes a channel whose peer is away for one without the HTLC";
    NoWatchdog, "no-watchdog", "E15: waits for ever for a node that says nothing";
    NoBarrier, "no-barrier", "E16: rebuilds an actor without a barrier";
    ForgetsSends, "forgets-sends", "E17: forgets at a restart that sends may be on their way";
    SendsAtRestart, "sends-at-restart", "E17: sends open attempts anew at a restart";
    NoWitness, "no-witness", "E18: does not compare the nodes' payments with its journal";
    IgnoresStanding, "ignores-standing", "E19, E22: sends on to a node that is not in use";
}

/// What came of the search for a twin.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The lowest seed in which a check finds it, and how.
    pub found: Option<(u64, Violation)>,
    /// Seeds below, or all, in which it panicked.
    pub panics: Vec<(u64, Violation)>,
}

impl Twin {
    /// Runs worlds with this twin, from seed 1 on and at most so many, until a check finds it. A
    /// panic of the twin's own code is kept, and is none.
    pub fn find(self, seeds_max: u64) -> Search {
        let mut search = Search::default();
        for seed in 1..=seeds_max {
            let scenario = Scenario { twin: Some(self), ..Scenario::new(seed) };
            match scenario.run() {
                Ok(_) => {}
                Err(violation) if violation.finder == Finder::Check => {
                    search.found = Some((seed, violation));
                    break;
                }
                Err(violation) => search.panics.push((seed, violation)),
            }
        }
        search
    }

    /// The twin with this name.
    pub fn by_name(name: &str) -> Option<Twin> {
        Twin::ALL.iter().copied().find(|twin| twin.name() == name)
    }
}
