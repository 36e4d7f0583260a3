//! The rows of a large upload are on the disk before its seal, each of them once; without a seal
//! they are nothing (rule E3).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fulgurite_proto::fulgurite::v1::{self as proto, upload_batch_request::Content};
use fulgurite_tests::{
    doors::{Stage, chunk, messages, orders, reason},
    regtest::until,
    scenarios_operator::said,
};

const AMOUNT_MSAT: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Rows in one event (`engine/runtime/src/upload.rs`).
const ROWS_AT_ONCE: usize = 250;

/// An upload in messages of so many rows.
fn in_messages(
    orders: &[proto::PaymentOrder],
    rows: usize,
    options: proto::BatchOptions,
) -> Vec<Content> {
    let mut contents = messages("rows", orders, options);
    let firsts = (1..).step_by(rows);
    let parts = firsts.zip(orders.chunks(rows)).map(|(first, orders)| chunk(first, orders));
    contents.splice(1..2, parts);
    contents
}

/// The events of one kind in the journal of a stopped engine, a line each.
fn journaled(stage: &Stage, event: &str) -> Result<Vec<String>> {
    let journal = stage.engine.folder().join("journal").display().to_string();
    let (exit, text) = said(&stage.engine, &["journal", "dump", &journal])?;
    ensure!(exit == Some(0), "{exit:?}: {text}");
    let wanted = format!("\"event\":\"{event}\"");
    Ok(text.lines().filter(|line| line.contains(&wanted)).map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_before_and_behind_the_seal_are_paid_once_over_a_restart() -> Result<()> {
    const ROWS: usize = 2 * ROWS_AT_ONCE + 120;
    let mut stage = Stage::set(1.0, "").await?;
    let all = orders(&stage.near.invoices(ROWS, AMOUNT_MSAT).await?);
    // Two rows lose their claims: one that is on the disk by then, and one that is not.
    for row in [100, ROWS - 10] {
        let key = format!("single-{row}");
        let created = stage.create(&key, &all[row - 1], Default::default()).await?;
        stage.final_payment(&created.payment.context("a payment")?.payment_id).await?;
    }
    let options = proto::BatchOptions { accept_valid: Some(true), ..Default::default() };
    let uploaded = stage.upload(in_messages(&all, 90, options)).await?;
    let refused: Vec<i32> = uploaded.refused.iter().map(|refused| refused.row).collect();
    ensure!(refused == [100, ROWS as i32 - 10], "refused: {refused:?}");
    let finished = async || {
        let batch = stage.batch("rows").await?;
        Ok((batch.state() == proto::batch::State::Finished).then_some(batch))
    };
    let before = until("the batch to be finished", PATIENCE, finished).await?;
    let succeeded = before.counts.map(|counts| counts.succeeded_count);
    ensure!(succeeded == Some(ROWS as i32 - 2), "{before:?}");
    stage.engine.restart()?;
    ensure!(stage.batch("rows").await? == before, "the same batch from the disk");
    let paid = stage.payments_of(&before.batch_id).await?;
    let mut rows: Vec<i32> = paid.iter().map(|payment| payment.row).collect();
    rows.sort_unstable();
    let wanted: Vec<i32> = (1..=ROWS as i32).filter(|row| !refused.contains(row)).collect();
    ensure!(rows == wanted, "every row once, in order");
    stage.engine.terminate()?;
    let added = journaled(&stage, "orders_added")?.len();
    ensure!(added == 2 + 3, "two payments; two events before the seal and one with it: {added}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_ends_without_a_commit_takes_back_what_it_wrote() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    // So many that some are on the disk when the end comes, however far the check is behind.
    let all = orders(&stage.near.invoices(8 * ROWS_AT_ONCE, AMOUNT_MSAT).await?);
    for rows in [all.len(), ROWS_AT_ONCE - 50] {
        let mut contents = in_messages(&all[..rows], 90, Default::default());
        contents.pop();
        let cut = stage.upload(contents).await;
        ensure!(cut.is_err(), "{cut:?}");
    }
    ensure!(reason(stage.batch("rows").await) == "BATCH_NOT_FOUND", "nothing was accepted");
    // Its invoices are free.
    let some = in_messages(&all[..ROWS_AT_ONCE + 50], 90, Default::default());
    let uploaded = stage.upload(some).await?;
    ensure!(!uploaded.replayed, "{uploaded:?}");
    stage.engine.terminate()?;
    let dropped = journaled(&stage, "upload_dropped")?.len();
    ensure!(dropped == 1, "the larger of the two wrote rows, the other none: {dropped}");
    let added = journaled(&stage, "orders_added")?.len();
    // The two of what was accepted, and those that were taken back.
    ensure!(added > 2, "what was taken back, and two that were accepted: {added}");
    Ok(())
}
