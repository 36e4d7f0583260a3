//! The scenarios of `lnd_payments.rs` on the simulated lnd: the same code, equal outcomes.

use std::time::Instant;

use anyhow::{Result, ensure};
use fulgurite_sim::Knobs;
use fulgurite_tests::{
    scenarios::{self, passed},
    scenarios_late as late, scenarios_meaning as meaning, scenarios_network as network,
    scenarios_witness as witness,
    world::World,
};

async fn world(folder: &std::path::Path, channels: usize) -> Result<World> {
    let knobs = Knobs { latency_ms: 20.0, ..Knobs::default() };
    World::simulated(folder, channels, knobs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_paid_and_the_receivers_books_agree() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 5).await?;
    scenarios::a_batch_is_paid(&world, &folder.path().join("e"), (200, 100), 0).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_paid_over_two_kills_of_the_engine() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // As slow as a real node, so that there is something to kill.
    let knobs = Knobs { latency_ms: 20.0, payments_per_second: 100.0, ..Knobs::default() };
    let world = World::simulated(folder.path(), 5, knobs).await?;
    scenarios::a_batch_is_paid(&world, &folder.path().join("e"), (200, 100), 2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_outlives_its_node() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // All that is in flight at the kill is not on its channel yet; slow enough that there is
    // something, however late a busy machine kills.
    let knobs = Knobs {
        latency_ms: 500.0,
        commit_ms: 1_000,
        payments_per_second: 60.0,
        ..Knobs::default()
    };
    let world = World::simulated(folder.path(), 5, knobs).await?;
    let engine = folder.path().join("e");
    let stuck = scenarios::a_batch_outlives_its_node(&world, &engine, (200, 100)).await?;
    ensure!(stuck > 0, "the kill found nothing between the books and the channels");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_payment_is_made_when_a_killed_node_loses_none() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 5).await?;
    let engine = folder.path().join("e");
    let stuck = scenarios::a_batch_outlives_its_node(&world, &engine, (200, 100)).await?;
    ensure!(stuck == 0, "{stuck} are stuck");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_payments_outlive_the_engine() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 5).await?;
    scenarios::held_payments_outlive_the_engine(&world, &folder.path().join("e")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paid_invoice_that_expired_is_never_unpaid() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 5).await?;
    let engine = folder.path().join("e");
    scenarios::a_paid_invoice_that_expired_is_never_unpaid(&world, &engine).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_larger_than_any_channel_fails_with_a_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 2).await?;
    let engine = folder.path().join("e");
    scenarios::an_invoice_larger_than_any_channel_fails_with_a_reason(&world, &engine).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_graceful_and_logs_hold_no_secret() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 5).await?;
    let engine = folder.path().join("e");
    scenarios::a_stop_is_graceful_and_logs_hold_no_secret(&world, &engine).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_payments_through_one_channel_all_succeed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 1).await?;
    let started = Instant::now();
    let rate = scenarios::all_succeed(&world, &folder.path().join("e"), 1_000).await?;
    println!("1000 of 1000 at {rate:.0}/s");
    passed("a_thousand_payments_through_one_channel", started);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_request_pays_a_failed_hash_unless_its_macaroon_expired() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 5).await?;
    late::a_held_request_pays_a_failed_hash_unless_its_macaroon_expired(&world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_data_pays_unless_it_comes_after_its_deadline() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 5).await?;
    late::held_data_without_a_deadline_pays_after_its_macaroon_expired(&world).await?;
    late::held_data_is_ignored_after_its_deadline(&world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_has_its_meaning() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 5).await?;
    meaning::every_answer_has_its_meaning(&world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_copy_of_the_journal_refuses_to_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 5).await?;
    witness::an_old_copy_refuses_to_start(&world, folder.path()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_paid_over_a_node_is_claimed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 5).await?;
    witness::what_others_paid_is_claimed(&world, &folder.path().join("e")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_outlives_its_network() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // As slow as a real node, so that every fault finds something under way.
    let knobs = Knobs { latency_ms: 20.0, payments_per_second: 100.0, ..Knobs::default() };
    let world = World::simulated(folder.path(), 5, knobs).await?;
    network::a_batch_outlives_its_network(&world, &folder.path().join("e"), (200, 100)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_engine_is_refused_or_cuts_the_first_off() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 5).await?;
    witness::a_second_engine_is_refused_or_cuts_the_first_off(&world, folder.path()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_engines_started_together_one_goes_on_at_most() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let world = world(folder.path(), 5).await?;
    witness::of_two_engines_started_together_one_goes_on_at_most(&world, folder.path()).await
}
