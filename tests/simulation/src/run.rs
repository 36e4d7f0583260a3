//! One seed from its beginning to its end, and what came of it.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use crate::{
    coverage::Coverage,
    fault::{Faults, Strike, Strikes},
    twin::Twin,
    world::World,
};

/// Which world to run.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// Everything follows from it.
    pub seed: u64,
    /// An engine with this bug, instead of the real one.
    pub twin: Option<Twin>,
    /// Only these strikes happen, by their numbers; `None` lets all happen.
    pub only: Option<BTreeSet<u32>>,
    /// The most orders of a batch; `None` leaves them as they are.
    pub rows_max: Option<usize>,
    /// Tells on standard error what happens.
    pub trace: bool,
}

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The assertion's words.
    pub message: String,
    /// What had gone wrong before.
    pub strikes: Vec<Strike>,
}

impl Scenario {
    /// The scenario of a seed, with the real engine and every fault.
    pub fn new(seed: u64) -> Scenario {
        Scenario { seed, ..Scenario::default() }
    }

    /// Runs it. `Err` is the first rule that was broken, by the rules' own assertions or by the
    /// checker's, or an end that did not come.
    pub fn run(&self) -> Result<Coverage, Violation> {
        be_quiet();
        let strikes = Strikes::default();
        let faults = Faults::new(self.seed, self.only.as_ref(), Strikes::clone(&strikes));
        QUIET.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| World::run(self, faults)));
        QUIET.set(false);
        result.map_err(|_| {
            let message = MESSAGE.with_borrow_mut(std::mem::take);
            Violation { message, strikes: strikes.borrow().clone() }
        })
    }
}

thread_local! {
    static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A broken rule is kept, not printed; other threads' panics are printed as ever.
fn be_quiet() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if QUIET.get() {
                MESSAGE.set(panic.to_string());
            } else {
                before(panic);
            }
        }));
    });
}
