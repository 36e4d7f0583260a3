//! The command line around engines that do not run, do not start, or cannot say how a payment ends.

use std::{
    fs,
    os::unix::fs::{FileExt, symlink},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use fulgurite_sim::Knobs;
use fulgurite_tests::{
    cli::{Said, feed, run},
    doors::Stage,
    engine::{Engine, program},
    world::{Receiver, World},
};

fn local(arguments: &[&str]) -> Result<Said> {
    run(Command::new(program()?).args(arguments))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_and_journal_verify_end_with_their_codes() -> Result<()> {
    let mut stage = Stage::set(1.0, "").await?;
    let config = stage.engine.folder().join("fulgurite.toml");
    let journal = stage.engine.folder().join("journal");
    let (config, journal) = (text(&config)?, text(&journal)?);
    let said = local(&["config", "check", config])?;
    ensure!(said.code == Some(0), "{said:?}");

    // Another engine on the same addresses, then on the same journal.
    let said = local(&["serve", "--config", config])?;
    ensure!(said.code == Some(78) && said.err.contains("cannot be opened"), "{said:?}");
    let other = stage.engine.folder().join("other.toml");
    fs::write(
        &other,
        "[engine]\ndata_dir = \"journal\"\n[grpc]\nlisten = \"127.0.0.1:0\"\n[http]\n\
         listen = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
    )?;
    let said = local(&["serve", "--config", text(&other)?])?;
    ensure!(said.code == Some(74), "{said:?}");
    let last = said.err.lines().last().unwrap_or_default();
    ensure!(last.contains("the journal in") && last.contains("nothing was sent"), "{last}");
    fs::write(&other, "[engine]\nno_such_key = 1\n")?;
    for arguments in [["serve", "--config", text(&other)?], ["config", "check", text(&other)?]] {
        let said = local(&arguments)?;
        ensure!(said.code == Some(78) && said.err.contains("no_such_key"), "{said:?}");
    }

    let (code, _) = stage.engine.terminate()?;
    ensure!(code == Some(0), "{code:?}");
    let said = local(&["journal", "verify", journal])?;
    ensure!(said.code == Some(0) && said.out.contains("clean, "), "{said:?}");
    let said = local(&["journal", "verify", text(stage.folder())?, "--json"])?;
    ensure!(said.code == Some(2) && said.out.contains("not_a_journal"), "{said:?}");
    let said = local(&["journal", "dump", text(stage.folder())?])?;
    ensure!(said.code == Some(2) && said.err.contains("not a journal"), "{said:?}");
    let (mark, away) = (Path::new(journal).join("watermark"), stage.folder().join("away"));
    fs::rename(&mark, &away)?;
    let said = local(&["journal", "verify", journal])?;
    ensure!(said.code == Some(1) && said.out.contains("watermark is missing"), "{said:?}");
    ensure!(said.err.contains("copy that file too"), "what to do: {said:?}");
    let said = local(&["journal", "verify", journal, "--json"])?;
    ensure!(said.code == Some(1) && said.out.contains("no_watermark"), "{said:?}");
    fs::rename(&away, &mark)?;
    damage(Path::new(journal))?;
    let said = local(&["journal", "verify", journal])?;
    ensure!(said.code == Some(1) && said.out.contains("damaged from event"), "{said:?}");
    Ok(())
}

/// Changes bytes in the middle of the largest file of the database.
fn damage(journal: &Path) -> Result<()> {
    let files = fs::read_dir(journal.join("rocksdb"))?.filter_map(|entry| entry.ok());
    let content = files.filter(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        name.ends_with(".sst") || name.ends_with(".log")
    });
    let largest = content.max_by_key(|file| file.metadata().map_or(0, |data| data.len()));
    let path = largest.context("a file of the database")?.path();
    let length = path.metadata()?.len();
    let file = fs::File::options().write(true).open(&path)?;
    Ok(file.write_all_at(&[0xA5; 64], length / 3)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_that_nobody_can_decide_are_exit_code_5() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Half of what is in flight when the node is killed is not on its channel yet.
    let knobs = Knobs { latency_ms: 100.0, commit_ms: 50, ..Knobs::default() };
    let world = World::simulated(folder.path(), 5, knobs).await?;
    let near = world.receiver(Receiver::Near).await?;
    let invoices = near.invoices(200, 1_000_000).await?;
    let soon = "payment_timeout_s = 5\nstuck_after_s = 1\n[batch]\nattempts_max = 20\n";
    let engine = Engine::start(&folder.path().join("e"), &[world.payer()], soon)?;
    let submit = engine.submit("batch", &invoices)?;
    while near.settled(&invoices).await? < 60 {
        tokio::task::yield_now().await;
    }
    world.restart_payer().await?;
    let (code, rows) = tokio::task::spawn_blocking(move || submit.wait()).await??;
    let stuck = rows.iter().filter(|row| row.state == "unresolved").count();
    ensure!(code == Some(5) && stuck > 0, "{code:?}, {stuck} stuck");
    let list = run(&mut engine.command(&["batch", "list", "--json"]))?;
    let (batches, _) = list.objects()?;
    let id = batches[0]["batch_id"].as_str().context("an id")?;
    let watch = run(&mut engine.command(&["batch", "watch", id]))?;
    ensure!(watch.code == Some(5), "{watch:?}");
    ensure!(watch.err.contains("not known to be paid or not"), "{}", watch.err);
    let named = watch.err.lines().filter(|line| line.starts_with("  row ")).count();
    ensure!(named == stuck, "{named} of {stuck}: {}", watch.err);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_bad_rows_are_all_listed() -> Result<()> {
    let stage = Stage::set(1.0, "").await?;
    let results = stage.folder().join("results.csv");
    let arguments = ["batch", "submit", "-", "--results", text(&results)?];
    // The command line refuses every third row, the engine the others, and these for two reasons.
    let said = feed(&mut stage.engine.command(&arguments), |to| {
        use std::io::Write;
        let mut to = std::io::BufWriter::new(to);
        to.write_all(b"destination,amount_sat,reference\n")?;
        for row in 1..=100_000 {
            let amount = if row % 3 == 0 { "x" } else { "" };
            writeln!(to, "lnbcrt1nonsense{row},{amount},same")?;
        }
        to.flush()
    })?;
    println!("100,000 bad rows: exit {:?}, {} MiB", said.code, said.peak_mib);
    ensure!(said.code == Some(3) && said.peak_mib <= 600, "{}", said.err);
    ensure!(said.err.lines().filter(|line| line.starts_with("row ")).count() == 20, "{}", said.err);
    ensure!(said.err.contains("and more: "), "{}", said.err);
    let listed = fs::read_to_string(results)?;
    let rows = listed.lines().skip(1);
    let mut number = 0;
    for line in rows {
        number += 1;
        ensure!(line.starts_with(&format!("{number},{},", number + 1)), "{line}");
        let judged = line.contains("bad_checksum") || line.contains("not a BOLT 11 invoice");
        ensure!(line.contains(",refused,") && judged, "{line}");
        ensure!(line.contains("duplicate_reference") == (number > 1), "{line}");
        ensure!(line.contains("amount_sat `x`") == (number % 3 == 0), "{line}");
    }
    ensure!(number == 100_000, "{number} rows");
    Ok(())
}

#[test]
fn shells_and_man_learn_every_command() -> Result<()> {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = local(&["completions", shell])?;
        ensure!(said.code == Some(0), "{said:?}");
        for word in ["accept-valid", "journal", "verify", "per-destination-in-flight-max"] {
            ensure!(said.out.contains(word), "{shell}: {word}");
        }
    }
    let folder = tempfile::tempdir()?;
    let pages = folder.path().join("man1");
    let said = local(&["man", text(&pages)?])?;
    ensure!(said.code == Some(0), "{said:?}");
    let page = fs::read_to_string(pages.join("fulgurite-batch-submit.1"))?;
    ensure!(page.starts_with(".") && page.contains("accept\\-valid"), "{page}");
    ensure!(pages.join("fulgurite-payment-create.1").exists(), "payment create");
    Ok(())
}

/// A copy of the program, for what it finds beside itself: there is nothing.
#[test]
fn proofs_and_plans_are_run_by_the_program_beside_this_one_or_on_the_path() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (alone, path) = (folder.path().join("fulgurite"), folder.path().join("path"));
    let whole = program()?;
    fs::hard_link(&whole, &alone).or_else(|_| fs::copy(&whole, &alone).map(drop))?;
    fs::create_dir(&path)?;
    let prove = |first: &[&str]| {
        let mut command = Command::new(&alone);
        command.args(first).args(["prove", "crash", "--cycles", "3", "--help"]).env("PATH", &path);
        run(&mut command)
    };
    let said = prove(&[])?;
    ensure!(said.code == Some(2) && said.err.contains("neither beside this program"), "{said:?}");
    symlink("/bin/echo", path.join("fulgurite-prove"))?;
    let said = prove(&[])?;
    ensure!(said.code == Some(0) && said.out == "crash --cycles 3 --help\n", "{said:?}");
    let said = prove(&["--json"])?;
    ensure!(said.out == "--json crash --cycles 3 --help\n", "{said:?}");
    symlink("/bin/echo", path.join("fulgurite-loadtest"))?;
    let mut command = Command::new(&alone);
    let said = run(command.args(["--json", "plan", "--rate", "5", "--help"]).env("PATH", &path))?;
    ensure!(said.out == "plan --json --rate 5 --help\n", "{said:?}");
    symlink("/bin/false", folder.path().join("fulgurite-prove"))?;
    let said = prove(&[])?;
    ensure!(said.code == Some(1) && said.out.is_empty(), "the one beside it is first: {said:?}");
    Ok(())
}

#[test]
fn the_version_names_the_commit_of_the_build() -> Result<()> {
    for flag in ["--version", "-V"] {
        let said = local(&[flag])?;
        let start = concat!("fulgurite ", env!("CARGO_PKG_VERSION"), " (commit ");
        let commit = said.out.strip_prefix(start).and_then(|rest| rest.strip_suffix(")\n"));
        let commit = commit.with_context(|| format!("{said:?}"))?;
        let number = commit.strip_suffix('+').unwrap_or(commit);
        let is_number = number.len() >= 10 && number.chars().all(|one| one.is_ascii_hexdigit());
        ensure!(said.code == Some(0) && (is_number || commit == "unknown"), "{said:?}");
    }
    Ok(())
}
