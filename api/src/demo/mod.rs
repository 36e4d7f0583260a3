//! `demo`: the engine at work, on one machine, in two minutes.
//!
//! Simulated nodes and the engine are processes of their own. A batch of real BOLT 11 invoices is
//! uploaded while the engine is killed, paid while the engine and a node are killed, and then
//! compared with the nodes' own books. It uses the public API alone, with the client code of
//! `batch submit`.

mod books;
mod cast;
pub mod child;
mod page;
mod play;
mod scrape;

use std::time::Instant;

use clap::{Args, value_parser};

use crate::{
    cli::exit::{Exit, Fault},
    serve::StopSignal,
};

/// How large the demo is.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many payments.
    #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u32).range(2_000..=100_000))]
    orders: u32,
    /// Decides which payments fail, and their invoices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leaves the folder with journal, books and logs for you to look at.
    #[arg(long)]
    keep: bool,
}

/// Plays the demo. Exit code 1 if a number is wrong. Nothing is left running, Ctrl-C or not.
///
/// # Errors
/// What kept it from being played to its end.
pub async fn run(args: DemoArgs) -> Result<Exit, Fault> {
    let mut stop = StopSignal::new().map_err(|error| Fault::Failed(error.to_string()))?;
    tokio::select! {
        played = play(&args) => played,
        // The processes and the folder go with the future that owns them.
        () = stop.received() => {
            eprintln!("interrupted; everything was ended and removed");
            Ok(Exit::INTERRUPTED)
        }
    }
}

async fn play(args: &DemoArgs) -> Result<Exit, Fault> {
    let started = Instant::now();
    let folder = cast::Folder::new(args.keep).map_err(|error| Fault::Failed(error.to_string()))?;
    eprintln!("starting {} simulated nodes and the engine, as processes of their own", cast::NODES);
    let mut cast = cast::Cast::start(&folder.path, args.seed).await?;
    let played = play::play(&mut cast, &folder.path, args).await;
    let played = played.map_err(|fault| explain(fault, &mut cast))?;
    let counted = cast.counted()?;
    let verdict = books::Books::read(&cast.infos).await?.compare(&played.results);
    let page = page::Page { played: &played, verdict, counted: &counted };
    page.print();
    let wrong = page.wrong();
    drop(cast);
    if wrong.is_empty() {
        let seconds = started.elapsed().as_secs();
        println!("\nAll numbers agree. {seconds} s in all; nothing is left running.");
        return Ok(Exit::SUCCESS);
    }
    println!("\nWRONG:");
    wrong.iter().for_each(|line| println!("  {line}"));
    Ok(Exit::INCOMPLETE)
}

/// Adds what the engine said last, when it is the engine that ended.
fn explain(fault: Fault, cast: &mut cast::Cast) -> Fault {
    match cast.engine.ended() {
        Some(status) => Fault::Failed(format!(
            "{fault}\nthe engine ended ({status}):\n    {}",
            cast.engine.last_words()
        )),
        None => fault,
    }
}
