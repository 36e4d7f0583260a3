//! Payments that hang on real lnd: held, and by channels that are closed by force. A part of
//! `make test-long`: it takes a minute.

use std::time::Instant;

use anyhow::Result;
use fulgurite_tests::{regtest::Options, scenarios::passed, scenarios_hang as hang, world::World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_that_hang_on_real_lnd_end_with_what_is_true() -> Result<()> {
    let world = World::real(&Options::default()).await?;
    let folder = tempfile::tempdir()?;

    let started = Instant::now();
    let held = folder.path().join("held");
    hang::held_payments_leave_the_windows_and_keep_their_slots(&world, &held).await?;
    passed("held_payments_leave_the_windows_and_keep_their_slots", started);

    let started = Instant::now();
    let closed = folder.path().join("closed");
    hang::a_payment_by_a_channel_that_is_closed_ends_on_chain(&world, &closed).await?;
    passed("a_payment_by_a_channel_that_is_closed_ends_on_chain", started);
    Ok(())
}
