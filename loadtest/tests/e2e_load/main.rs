//! The load tester as its users meet it. One program, so that its tests run beside each other; the
//! longest are named to begin first.

mod common;
mod frozen;
mod history;
mod run;
mod whole;
