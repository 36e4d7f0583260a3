//! The command line. Data goes to standard output, everything else to standard error.
//!
//! One file per subject. The commands that talk to an engine use the public gRPC API alone, and
//! come back by themselves when the engine restarts.

mod batch;
mod beside;
pub mod client;
mod config;
#[cfg(test)]
mod docs;
mod engine;
pub mod exit;
mod human;
pub mod input;
mod journal;
mod options;
mod payment;
pub mod progress;
mod refusals;
mod resolve;
pub mod results;
pub mod sim;
pub mod submit;
pub mod watch;
pub mod words;
mod write;

use std::{
    future::Future,
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};

use client::Client;
use exit::{Exit, Fault};

/// Pays many Lightning invoices, each exactly once.
#[derive(Debug, Parser)]
#[command(name = "fulgurite", version, max_term_width = 80, after_help = exit::HELP)]
struct Cli {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

/// Where the engine is, and how answers are shown.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Remote {
    /// The engine's gRPC address.
    #[arg(
        long,
        global = true,
        env = "FULGURITE_ENDPOINT",
        default_value = "http://127.0.0.1:50051",
        value_name = "URL"
    )]
    pub endpoint: String,
    /// Prints one JSON object a line, as the HTTP API has them; problems go to standard error.
    #[arg(long, global = true)]
    pub json: bool,
    /// Gives up when an engine that was there stays away for so many seconds.
    #[arg(long, global = true, default_value_t = 120, value_name = "SECONDS")]
    pub patience: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the engine.
    Serve(crate::serve::ServeArgs),
    /// Runs simulated Lightning nodes.
    Sim(sim::SimArgs),
    /// Shows the engine at work: pays, is killed, recovers, and compares the books.
    Demo(crate::demo::DemoArgs),
    /// Proves on this machine what the engine promises; runs fulgurite-prove.
    #[command(disable_help_flag = true)]
    Prove(beside::BesideArgs),
    /// How many nodes, channels, how much liquidity a load needs; runs fulgurite-loadtest.
    #[command(disable_help_flag = true)]
    Plan(beside::BesideArgs),
    /// Reads configuration files.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Reads journals of engines that do not run.
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Asks the engine about itself.
    #[command(subcommand)]
    Engine(engine::EngineCommand),
    /// Asks the engine about its nodes.
    #[command(subcommand)]
    Node(engine::NodeCommand),
    /// Submits, watches and steers batches of payments.
    #[command(subcommand)]
    Batch(batch::BatchCommand),
    /// Orders and reads single payments.
    #[command(subcommand)]
    Payment(payment::PaymentCommand),
    /// Prints a script that completes this command line in a shell.
    #[command(after_help = write::COMPLETIONS_HELP)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Writes a manual page for each command.
    #[command(after_help = write::MAN_HELP)]
    Man {
        /// The folder that they are written to, such as ~/.local/share/man/man1.
        dir: std::path::PathBuf,
    },
}

/// The whole command line, for what describes it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command that the arguments name; the answer is the exit code of the process.
pub fn run(commit: Option<&str>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            print_line(&version(commit));
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse_arguments(&error).into(),
    };
    let json = cli.remote.json;
    let remote = cli.remote;
    let done = match cli.command {
        Command::Serve(args) => return crate::serve::run(&args).into(),
        Command::Sim(args) => blocking(sim::run(args)),
        Command::Demo(args) => blocking(crate::demo::run(args)),
        Command::Prove(args) => Err(beside::prove(args, json)),
        Command::Plan(args) => Err(beside::plan(args, json)),
        Command::Config(command) => config::run(command, json),
        Command::Journal(command) => journal::run(command, json),
        Command::Engine(command) => blocking(connected(remote, |to| engine::engine(to, command))),
        Command::Node(command) => blocking(connected(remote, |to| engine::node(to, command))),
        Command::Batch(command) => blocking(connected(remote, |to| batch::run(to, command))),
        Command::Payment(command) => blocking(connected(remote, |to| payment::run(to, command))),
        Command::Completions { shell } => write::completions(Cli::command(), shell),
        Command::Man { dir } => write::man(Cli::command(), &dir),
    };
    done.unwrap_or_else(|fault| {
        if json {
            tell(&fault.to_json())
        } else {
            say(&format!("error: {fault}"))
        }
        fault.exit()
    })
    .into()
}

/// What `--version` prints.
fn version(commit: Option<&str>) -> String {
    let commit = commit.filter(|commit| !commit.is_empty()).unwrap_or("unknown");
    format!("fulgurite {} (commit {commit})", env!("CARGO_PKG_VERSION"))
}

/// What clap says of arguments that it does not take: its own text, or a problem object.
fn refuse_arguments(error: &clap::Error) -> Exit {
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && is_json {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        tell(&Fault::Usage(first.to_owned()).to_json());
    } else {
        // A terminal that went away has nothing to be told.
        let _ = error.print();
    }
    if error.use_stderr() { Exit::USAGE } else { Exit::SUCCESS }
}

/// What a command that talks to an engine works with.
pub struct To {
    /// The engine.
    pub client: Client,
    /// How answers are shown.
    pub json: bool,
}

impl To {
    /// Does the work of a command about orders. Ctrl-C, which parts of it take themselves, is taken
    /// between them too; `again` is the command that shows what became of the orders.
    pub async fn unless_interrupted(
        &self,
        work: impl Future<Output = Result<Exit, Fault>>,
        again: &str,
    ) -> Result<Exit, Fault> {
        tokio::select! {
            biased;
            done = work => done,
            _ = tokio::signal::ctrl_c() => {
                self.say("interrupted; what was accepted goes on. To see it:");
                self.say(&format!("  {again}"));
                Ok(Exit::INTERRUPTED)
            }
        }
    }

    /// Says on standard error what happens; with `--json` as an object.
    pub fn say(&self, text: &str) {
        if self.json { tell(&serde_json::json!({ "message": text })) } else { say(text) }
    }
}

/// Says a line on standard error. One that is closed has nothing to be told.
pub fn say(line: &str) {
    let mut err = std::io::stderr();
    let line = if err.is_terminal() { human::wrapped(line) } else { line.to_owned() };
    let _ = writeln!(err, "{line}");
}

/// Says an object on standard error, in one line.
pub fn tell(value: &serde_json::Value) {
    let _ = writeln!(std::io::stderr(), "{value}");
}

async fn connected<F: Future<Output = Result<Exit, Fault>>>(
    remote: Remote,
    command: impl FnOnce(To) -> F,
) -> Result<Exit, Fault> {
    let client = Client::new(&remote.endpoint, std::time::Duration::from_secs(remote.patience))?;
    command(To { client, json: remote.json }).await
}

/// Runs `work` on a runtime of its own.
fn blocking(work: impl Future<Output = Result<Exit, Fault>>) -> Result<Exit, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Fault::Failed(format!("no runtime: {error}")))?;
    runtime.block_on(work)
}

/// Prints a line of data. A reader that went away has what it wanted, as with `head`: the command
/// ends quietly.
pub fn print_line(line: &str) {
    print_or_end(line, Exit::SUCCESS);
}

/// Prints a line about what becomes of orders. A reader that went away ends the command quietly,
/// but not as if all had succeeded.
pub fn print_outcome(line: &str) {
    print_or_end(line, Exit::LOCAL);
}

fn print_or_end(line: &str, without_reader: Exit) {
    let Err(error) = writeln!(std::io::stdout(), "{line}") else {
        return;
    };
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(without_reader.0.into());
    }
    say(&format!("error: standard output: {error}"));
    std::process::exit(Exit::LOCAL.0.into());
}
