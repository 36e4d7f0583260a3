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
    rule::Broken,
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

/// Who found that something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finder {
    /// A check, which knows only the orders, the answers, the disk and the nodes' books.
    Check,
    /// The engine's own code: it panicked.
    Panic,
}

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Who found it.
    pub finder: Finder,
    /// The check's or the panic's words, after the place in the source.
    pub message: String,
    /// What had gone wrong before.
    pub strikes: Vec<Strike>,
}

impl Scenario {
    /// The scenario of a seed, with the real engine and every fault.
    pub fn new(seed: u64) -> Scenario {
        Scenario { seed, ..Scenario::default() }
    }

    /// Runs it. `Err` is the first rule that was broken, an end that did not come, or a panic of
    /// the rules' own assertions.
    pub fn run(&self) -> Result<Coverage, Violation> {
        let strikes = Strikes::default();
        let faults = Faults::new(self.seed, self.only.as_ref(), Strikes::clone(&strikes));
        caught(|| World::run(self, faults)).map_err(|(finder, message)| Violation {
            finder,
            message,
            strikes: strikes.borrow().clone(),
        })
    }
}

/// What it returns, or who ended it and with which words.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, (Finder, String)> {
    be_quiet();
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    result.map_err(|payload| {
        let finder = if payload.is::<Broken>() { Finder::Check } else { Finder::Panic };
        (finder, MESSAGE.with_borrow_mut(std::mem::take))
    })
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
                let broken = panic.payload().downcast_ref().map(|Broken(words)| words);
                MESSAGE.set(match broken.zip(panic.location()) {
                    Some((words, place)) => format!("{place}:\n{words}"),
                    None => panic.to_string(),
                });
            } else {
                before(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::rule;

    #[test]
    fn a_panic_is_no_finding_of_a_check() {
        let says = |run: fn()| caught(run).map_err(|(finder, words)| (finder, words.contains("7")));
        assert_eq!(says(|| rule!(3 < 7, "3 and 7")), Ok(()));
        assert_eq!(says(|| rule!(3 > 7, "3 and 7")), Err((Finder::Check, true)));
        assert_eq!(says(|| panic!("3 and 7")), Err((Finder::Panic, true)));
        let (_, words) = caught(|| rule!(3 > 7, "3 and 7")).expect_err("it does not hold");
        assert!(words.contains("run.rs:") && words.ends_with(":\n3 and 7"), "{words}");
    }
}
