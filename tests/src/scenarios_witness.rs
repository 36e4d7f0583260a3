//! Old copies of a journal and second engines, on real lnd and on the simulated one alike (rule
//! E18).

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    engine::{Engine, Sections},
    regtest::{Invoice, until},
    scenarios_operator::said,
    world::{Receiver, World},
};

const AMOUNT_MSAT: u64 = 1_000_000;
/// Longer than an engine takes to end on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The exit code of an engine that is not the only one.
const FENCED: Option<i32> = Some(75);

/// Accepts a batch that pays nothing before it is resumed, under its name as the key.
fn submit_paused(engine: &Engine, name: &str, invoices: &[Invoice]) -> Result<()> {
    let csv = engine.folder().join(format!("{name}.csv"));
    let rows = invoices.iter().map(|invoice| invoice.payment_request.clone() + "\n");
    fs::write(&csv, format!("destination\n{}", rows.collect::<String>()))?;
    let csv = csv.display().to_string();
    let (exit, text) =
        said(engine, &["batch", "submit", &csv, "--key", name, "--paused", "--no-wait"])?;
    ensure!(exit == Some(0), "{exit:?}: {text}");
    Ok(())
}

/// Resumes such a batch and waits until all of it is paid.
fn resume(engine: &Engine, name: &str) -> Result<()> {
    for command in ["resume", "watch"] {
        let (exit, text) = said(engine, &["batch", command, "--key", name])?;
        ensure!(exit == Some(0), "{command}: {exit:?}: {text}");
    }
    Ok(())
}

/// Copies the journal of an engine that does not run.
fn copy_journal(from: &Path, to: &Path) -> Result<()> {
    copy_folder(&from.join("journal"), &to.join("journal"))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to)?;
        } else {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

fn hex(invoice: &Invoice) -> String {
    hex::encode(invoice.payment_hash)
}

/// Waits until the engine has ended by itself; with its exit code and its last line.
async fn ended(engine: &mut Engine) -> Result<(Option<i32>, String)> {
    let status = until("the engine to end", PATIENCE, async || engine.ended()).await?;
    let words = engine.last_words();
    Ok((status.code(), words.lines().last().unwrap_or_default().to_owned()))
}

/// An engine that is started on an old copy of its journal, after the newer one has paid, refuses,
/// however often it is started, and says what was paid; also when the newer engine still runs.
///
/// # Errors
/// What does not hold.
pub async fn an_old_copy_refuses_to_start(world: &World, folder: &Path) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let invoices = near.invoices(3, AMOUNT_MSAT).await?;
    let (new, old) = (folder.join("new"), folder.join("old"));
    let mut engine = Engine::start(&new, &[world.payer()], "")?;
    submit_paused(&engine, "batch", &invoices)?;
    engine.terminate()?;
    copy_journal(&new, &old)?;
    engine.spawn()?;
    engine.wait_ready()?;
    resume(&engine, "batch")?;
    let mut copy = Engine::prepare(&old, &[world.payer()], Sections::default())?;
    for time in 1..=3 {
        copy.spawn()?;
        let (exit, words) = ended(&mut copy).await?;
        ensure!(exit == FENCED, "start {time}: {exit:?}: {words}");
        let named = invoices.iter().any(|invoice| words.contains(&hex(invoice)));
        ensure!(named && words.contains(&world.payer().name), "start {time}: {words}");
        ensure!(words.matches("T").count() >= 3, "both times: {words}");
        if time == 2 {
            engine.terminate()?;
        }
    }
    ensure!(near.settled(&invoices).await? == invoices.len(), "not all paid");
    Ok(())
}

/// What somebody else paid over the node is not ordered again; an engine that comes back to its own
/// journal pays on.
///
/// # Errors
/// What does not hold.
pub async fn what_others_paid_is_claimed(world: &World, folder: &Path) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let payer = crate::peer::Peer::connect(&world.payer()).await?;
    let invoices = near.invoices(3, AMOUNT_MSAT).await?;
    let [before, while_running, ours] = invoices.as_slice() else { unreachable!("three") };
    payer.pay(crate::regtest::plain_payment(before)).await?;
    let mut engine = Engine::start(folder, &[world.payer()], "[witness]\nevery_s = 1\n")?;
    let refused = |engine: &Engine, name: &str, invoice: &Invoice| {
        let one = engine.submit(name, std::slice::from_ref(invoice))?;
        one.refusal().map(|(exit, text)| (exit == Some(3)).then_some(text))
    };
    let text = refused(&engine, "before", before)?.context("paid before the start, ordered")?;
    ensure!(text.contains("not by this engine"), "{text}");
    payer.pay(crate::regtest::plain_payment(while_running)).await?;
    until("the engine to see the payment", PATIENCE, async || {
        let seen = "payments that were not ordered here are claimed";
        Ok((engine.whole_log().matches(seen).count() == 2).then_some(()))
    })
    .await?;
    engine.restart()?;
    for (name, invoice) in [("again", before), ("running", while_running)] {
        ensure!(refused(&engine, name, invoice)?.is_some(), "{name} was ordered");
    }
    submit_paused(&engine, "ours", std::slice::from_ref(ours))?;
    engine.restart()?;
    resume(&engine, "ours")
}
