//! How a check says that a rule is broken, unlike a panic of what it looks at.

use std::panic::panic_any;

/// What a check found, as the payload of its unwinding. A panic of the engine's code has a text.
pub struct Broken(pub String);

/// Ends the world: a rule is broken.
#[track_caller]
pub fn end(words: String) -> ! {
    panic_any(Broken(words))
}

/// Ends the world when a rule does not hold: `rule!(holds, "words {}", of)`.
macro_rules! rule {
    ($holds:expr, $($words:tt)+) => {{
        let holds: bool = $holds;
        if !holds {
            $crate::rule::end(format!($($words)+));
        }
    }};
}

/// Ends the world with these words.
macro_rules! broken {
    ($($words:tt)+) => { $crate::rule::end(format!($($words)+)) };
}

pub(crate) use {broken, rule};
