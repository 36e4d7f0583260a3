//! What can go wrong, how often, and what did in one seed.
//!
//! Each seed switches a random subset of the faults on and gives each its own probability (swarm
//! testing): rare combinations come up because common faults are out of their way. Each fault
//! draws from a stream of its own, so that leaving one out does not move the others' dice.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use crate::random::Random;

// A macro, because an enum, its list and its words would be three copies of one table.
macro_rules! faults {
    ($($name:ident, $rate:literal, $text:literal;)*) => {
        /// One thing that can go wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each has its text beside it")]
        pub enum Fault { $($name,)* }

        impl Fault {
            /// All of them.
            pub const ALL: &[Fault] = &[$(Fault::$name,)*];

            /// What it is, in words.
            pub fn name(self) -> &'static str {
                match self { $(Fault::$name => $text,)* }
            }

            /// How often it strikes where it can, in a hundred thousand, in an average seed.
            fn rate(self) -> u64 {
                match self { $(Fault::$name => $rate,)* }
            }
        }
    };
}

// One line is one fault: its name, its usual rate in a hundred thousand, its text.
faults! {
    // At every step.
    EngineCrash,            60, "the engine crashed";
    CrashBeforeSync,     1_600, "the engine crashed with something not yet on disk";
    CrashInRecovery,     1_500, "the engine crashed while it recovered";
    PanicBeforeSync,       400, "a batch actor panicked between append and sync";
    PanicBeforeSend,     1_500, "a node actor panicked with a send not yet made";
    // Every quarter of a second.
    BatchActorPanic,     1_900, "a batch actor panicked";
    NodeActorPanic,        900, "a node actor panicked";
    ConnectionCut,       3_500, "a connection was cut";
    NodeRestart,         1_500, "a node restarted";
    NodeDown,              300, "a node was down for long";
    NodeSlow,            1_200, "a node was slow";
    NodeForgets,           100, "a node was restored from a backup";
    HtlcLost,              600, "a node lost an HTLC and shows its payment in flight for ever";
    StuckFails,            600, "a node ended a payment that it had shown in flight for ever";
    SucceededAfterFailed,  300, "a node said SUCCEEDED after a final failure";
    ChannelFull,           600, "a channel was full";
    ChannelInactive,       900, "a channel's peer went away";
    ChannelGone,           300, "a channel was closed";
    ChannelNew,            300, "a channel was opened";
    ClockForward,          500, "the engine's clock was set forward";
    ClockBeforeFence,    5_000, "the engine's clock was set forward while a fence rose";
    ClockBack,             300, "the engine's clock was set back";
    // At each sync.
    SlowSync,           10_000, "the disk was slow";
    TornRecord,         30_000, "the last record was torn";
    // For each call, stream and message.
    NotHandedOver,       2_000, "a call could not be handed over";
    RequestLost,         8_000, "a request was lost";
    RequestLate,        12_000, "a request was late";
    MessageHeld,        10_000, "a message was held behind its headers";
    DatabaseSlow,       10_000, "a request waited for the node's database";
    RefusedInvalid,        500, "a node refused a request as invalid";
    RefusedOwn,            500, "a node refused to pay itself";
    CutBeforeFirst,      3_000, "a stream was cut before its first message";
    CutAfterFirst,       3_000, "a stream was cut after its first message";
    CutAfterLast,        3_000, "a stream was cut after its last message";
    UpdateLate,         18_000, "an update was late";
    UpdateDoubled,       4_000, "an update came twice";
    UpdateReordered,     5_000, "an update overtook another";
    ProbeLost,          10_000, "an expiry probe was lost";
    HtlcHeld,           10_000, "an HTLC was held for long";
    WrongPreimage,         500, "a node gave a wrong preimage";
    FeeAboveLimit,         500, "a node paid more in fees than was allowed";
    // Whatever the client does.
    PaidByOthers,        2_000, "somebody else had paid the invoice";
    AnswerLost,         20_000, "an answer to the client was lost";
    KeyRepeated,        15_000, "the client repeated a request that was answered";
    OtherKey,           15_000, "the client sent the same orders under another key";
    OtherBody,          10_000, "the client sent other orders under the same key";
    UploadDropped,      10_000, "the client gave an upload up";
    Paused,             15_000, "the operator paused a batch";
    Cancelled,           2_000, "the operator cancelled a batch";
    PaymentCancelled,    8_000, "the operator cancelled a payment";
    Resolved,           30_000, "the operator resolved a payment";
    Drained,            10_000, "the operator drained a node";
    Trusted,            20_000, "the operator trusted a node";
    // Aimed at what a rule is there for.
    MessageAtTheEnd,     5_000, "a request came just before its macaroon's end, its message after";
    InvoiceAtTheEnd,    25_000, "a request waited for the database while its invoice expired";
    AnswerAtTheFence,   60_000, "an old answer came when a fence was up";
    UndrainedAtResend,  20_000, "a node was put back in use when an attempt asked to be sent again";
    ResumedAtResend,    20_000, "a batch went on when an attempt asked to be sent again";
    // Of streams, again: the last, so that the dice of those before stay.
    UpdateLost,          1_500, "an update was lost without a word";
    // At each start.
    OldCopy,            10_000, "an old copy of the journal was started";
}

/// A fault that struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// Its number among all of the seed, from 1.
    pub number: u32,
    /// When, in milliseconds since the world began.
    pub at_ms: i64,
    /// What.
    pub fault: Fault,
}

/// The list of a seed's strikes. It outlives a world that ends in a panic.
pub type Strikes = Rc<RefCell<Vec<Strike>>>;

/// The faults of one seed.
pub(crate) struct Faults {
    lots: Vec<Lot>,
    struck: u32,
    only: Option<BTreeSet<u32>>,
    strikes: Strikes,
    /// Faults have stopped.
    pub calm: bool,
}

struct Lot {
    rate: u64,
    random: Random,
}

impl Faults {
    /// The faults of a seed. With `only`, none but the strikes with these numbers happen.
    pub fn new(seed: u64, only: Option<&BTreeSet<u32>>, strikes: Strikes) -> Faults {
        let mut swarm = Random::new(seed ^ 0x5741_524d);
        let lots = Fault::ALL.iter().zip(1..).map(|(fault, stream)| {
            let rate = match swarm.between(0, 19) {
                0..6 => 0,
                6..9 => fault.rate() / 3,
                9..14 => fault.rate(),
                _ => fault.rate() * 3,
            };
            Lot { rate, random: Random::new(seed.wrapping_mul(1_000).wrapping_add(stream)) }
        });
        let (lots, only) = (lots.collect(), only.cloned());
        Faults { lots, struck: 0, only, strikes, calm: false }
    }

    /// True when the fault strikes here; `at_ms` is since the world began.
    pub fn strikes(&mut self, fault: Fault, at_ms: i64) -> bool {
        let lot = &mut self.lots[fault as usize];
        if self.calm || lot.rate == 0 || lot.random.draw() % 100_000 >= lot.rate {
            return false;
        }
        let number = self.struck + 1;
        self.struck = number;
        if self.only.as_ref().is_some_and(|only| !only.contains(&number)) {
            return false;
        }
        self.strikes.borrow_mut().push(Strike { number, at_ms, fault });
        true
    }

    /// What struck so far.
    pub fn struck(&self) -> Vec<Fault> {
        self.strikes.borrow().iter().map(|strike| strike.fault).collect()
    }

    /// How bad it is: a number of the fault's own stream, from `low` to `high`.
    pub fn size(&mut self, fault: Fault, low: i64, high: i64) -> i64 {
        self.lots[fault as usize].random.between(low, high)
    }
}
