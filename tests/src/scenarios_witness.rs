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
///
/// # Errors
/// When it is refused, with what the command said.
pub fn submit_paused(engine: &Engine, name: &str, invoices: &[Invoice]) -> Result<()> {
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
///
/// # Errors
/// When it is not.
pub fn resume(engine: &Engine, name: &str) -> Result<()> {
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
    let mut times = Vec::new();
    for time in 1..=3 {
        copy.spawn()?;
        let (exit, words) = ended(&mut copy).await?;
        ensure!(exit == FENCED, "start {time}: {exit:?}: {words}");
        let named = invoices.iter().any(|invoice| words.contains(&hex(invoice)));
        ensure!(named && words.contains(&world.payer().name), "start {time}: {words}");
        // What a start that was refused wrote is no news of the journal's payments.
        let known = words.split("changed last at ").nth(1).and_then(|at| at.split(',').next());
        let known = known.with_context(|| format!("start {time}: {words}"))?.to_owned();
        times.push(known);
        ensure!(times.iter().all(|other| *other == times[0]), "{times:?}");
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
        // Before it started they were none of its business; now somebody pays beside it.
        Ok(engine.whole_log().contains("somebody else pays over the node").then_some(()))
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

/// The payer as a node whose guard may bake: here its admin's macaroon.
fn guarded(world: &World) -> String {
    let node = world.payer();
    format!(
        "[witness]\nevery_s = 1\n[[node]]\nname = {:?}\naddress = {:?}\ntls_cert_path = {:?}\n\
         macaroon_path = {:?}\nguard_macaroon_path = {:?}\n",
        node.name, node.address, node.tls_cert, node.macaroon, node.macaroon
    )
}

/// An engine in this folder, not yet started.
fn guarded_engine(folder: &Path, extra: &str) -> Result<Engine> {
    Engine::prepare(folder, &[], Sections { extra, ..Sections::default() })
}

/// The number in the last words of an engine that was refused.
fn refusal(words: &str) -> Result<String> {
    let number = words.rsplit_once("--take-over ").map(|(_, rest)| rest);
    let number = number.and_then(|rest| rest.split('`').next());
    Ok(number.with_context(|| format!("no way out: {words}"))?.to_owned())
}

/// Restarts raise the epoch, and change nothing: a copy does not win by being tried again.
async fn stays_refused(engine: &mut Engine) -> Result<()> {
    let number = refusal(&engine.last_words())?;
    for time in 1..=3 {
        engine.spawn()?;
        let (exit, words) = ended(engine).await?;
        let same = refusal(&words)? == number && words.contains("said that another engine");
        ensure!(exit == FENCED && same, "start {time}: {exit:?}: {words}");
    }
    Ok(())
}

/// Starts an engine that was refused, as a person who knows that its journal is the newest.
fn take_over(engine: &mut Engine) -> Result<()> {
    let number = refusal(&engine.last_words())?;
    engine.set_environment(vec![("FULGURITE_TAKE_OVER", number.into())]);
    engine.spawn()
}

/// Two engines on copies of one journal, one after the other: the one that was first goes on while
/// the copy is refused, and is cut off by a copy that is as new.
///
/// # Errors
/// What does not hold.
pub async fn a_second_engine_is_refused_or_cuts_the_first_off(
    world: &World,
    folder: &Path,
) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let invoices = near.invoices(6, AMOUNT_MSAT).await?;
    let (guard, first_folder, copy) = (guarded(world), folder.join("a"), folder.join("b"));
    let mut first = guarded_engine(&first_folder, &guard)?;
    first.spawn()?;
    first.wait_ready()?;
    submit_paused(&first, "one", &invoices[..3])?;
    submit_paused(&first, "two", &invoices[3..])?;
    first.terminate()?;
    copy_journal(&first_folder, &copy)?;
    first.spawn()?;
    first.wait_ready()?;
    // The same epoch: whoever has baked its key there first is not alone for the second.
    let mut second = guarded_engine(&copy, &guard)?;
    second.spawn()?;
    let (exit, words) = ended(&mut second).await?;
    ensure!(exit == FENCED && words.contains("root key"), "{exit:?}: {words}");
    resume(&first, "one")?;
    stays_refused(&mut second).await?;
    // A person says that it is the newest, but the first has paid meanwhile: refused, and the first
    // is not cut off.
    take_over(&mut second)?;
    let (exit, words) = ended(&mut second).await?;
    ensure!(exit == FENCED && words.contains("made a payment"), "{exit:?}: {words}");
    resume(&first, "two")?;
    ensure!(near.settled(&invoices).await? == invoices.len(), "not all paid");

    // A copy that misses nothing, and starts later: it goes on, and lnd refuses the first.
    first.terminate()?;
    let newest = folder.join("c");
    copy_journal(&first_folder, &newest)?;
    first.spawn()?;
    first.wait_ready()?;
    let mut third = guarded_engine(&newest, &guard)?;
    third.spawn()?;
    let (exit, words) = ended(&mut third).await?;
    ensure!(exit == FENCED && words.contains("root key"), "{exit:?}: {words}");
    stays_refused(&mut third).await?;
    take_over(&mut third)?;
    third.wait_ready()?;
    let more = near.invoices(1, AMOUNT_MSAT).await?;
    // It is told at its next call: it reads the node's payments each second.
    let (exit, words) = ended(&mut first).await?;
    ensure!(exit == FENCED && words.contains("is gone"), "{exit:?}: {words}");
    // Whoever was cut off does not come back by being restarted.
    stays_refused(&mut first).await?;
    submit_paused(&third, "three", &more)?;
    resume(&third, "three")?;
    ensure!(near.settled(&more).await? == 1, "the newer engine pays");
    Ok(())
}

/// Two engines on copies of one journal, started together: at most one goes on, and whatever is
/// paid is paid once.
///
/// # Errors
/// What does not hold.
pub async fn of_two_engines_started_together_one_goes_on_at_most(
    world: &World,
    folder: &Path,
) -> Result<()> {
    let near = world.receiver(Receiver::Near).await?;
    let invoices = near.invoices(20, AMOUNT_MSAT).await?;
    let (guard, folders) = (guarded(world), [folder.join("a"), folder.join("b")]);
    let mut engine = guarded_engine(&folders[0], &guard)?;
    engine.spawn()?;
    engine.wait_ready()?;
    submit_paused(&engine, "batch", &invoices)?;
    let (exit, text) = said(&engine, &["batch", "resume", "--key", "batch"])?;
    ensure!(exit == Some(0), "{exit:?}: {text}");
    engine.kill9();
    copy_journal(&folders[0], &folders[1])?;
    let mut both = [engine, guarded_engine(&folders[1], &guard)?];
    both.iter_mut().try_for_each(Engine::spawn)?;
    until("one of them to end", PATIENCE, async || {
        let ended = both.iter_mut().map(Engine::ended).collect::<Result<Vec<_>>>()?;
        let fenced = |status: &std::process::ExitStatus| status.code() == FENCED;
        ensure!(ended.iter().flatten().all(fenced), "{ended:?}");
        Ok(ended.iter().any(Option::is_some).then_some(()))
    })
    .await?;
    // Whichever is left or started again pays what is left.
    let [mut last, other] = both;
    drop(other);
    last.kill9();
    last.spawn()?;
    let mut ready = last.wait_ready();
    if ready.is_err() && last.last_words().contains("--take-over") {
        // It was refused, too, and is the only one now.
        take_over(&mut last)?;
        ready = last.wait_ready();
    }
    match ready {
        Ok(()) => {
            let (exit, text) = said(&last, &["batch", "watch", "--key", "batch"])?;
            ensure!(exit == Some(0), "{exit:?}: {text}");
            ensure!(near.settled(&invoices).await? == invoices.len(), "not all paid");
        }
        // The other one had paid more.
        Err(_) => ensure!(last.last_words().contains("made a payment"), "{}", last.last_words()),
    }
    Ok(())
}
