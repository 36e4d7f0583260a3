//! The engine as a process: started, killed, asked through its own command line.

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

pub use crate::{entry::NodeEntry, results::ResultRow};
use crate::{
    regtest::{Invoice, free_port},
    results,
};

const READY_MAX: Duration = Duration::from_secs(60);

/// One engine, its folder and its ports. Dropping it kills the process.
#[derive(Debug)]
pub struct Engine {
    program: PathBuf,
    folder: PathBuf,
    grpc: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
    environment: Vec<(&'static str, OsString)>,
    child: Option<Child>,
}

/// Lines of a configuration, whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sections<'a> {
    /// Sections of their own.
    pub extra: &'a str,
    /// In the section of the gRPC door.
    pub grpc: &'a str,
    /// In the section of the HTTP door.
    pub http: &'a str,
}

/// The `fulgurite` program: `FULGURITE_BIN`, or beside this program, or `bin/` of the workspace.
///
/// # Errors
/// When it was not built.
pub fn program() -> Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("fulgurite");
    let path = match std::env::var_os("FULGURITE_BIN") {
        Some(named) => PathBuf::from(named),
        None if beside.exists() => beside,
        None => crate::root().join("bin/fulgurite"),
    };
    ensure!(path.exists(), "{} is missing: run `make build`", path.display());
    Ok(path.canonicalize()?)
}

impl Engine {
    /// Starts an engine in `folder` that pays over `nodes`, and waits until it is ready. The waits
    /// behind a lost send are short; `extra` is added to its configuration.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(folder: &Path, nodes: &[NodeEntry], extra: &str) -> Result<Engine> {
        Engine::start_with(folder, nodes, Sections { extra, ..Sections::default() })
    }

    /// The same, with lines in the sections of its doors too.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_with(
        folder: &Path,
        nodes: &[NodeEntry],
        sections: Sections<'_>,
    ) -> Result<Engine> {
        let mut engine = Engine::prepare(folder, nodes, sections)?;
        engine.spawn()?;
        engine.wait_ready()?;
        Ok(engine)
    }

    /// The same, but it is not started yet.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub fn prepare(
        folder: &Path,
        nodes: &[NodeEntry],
        Sections { extra, grpc: in_grpc, http: in_http }: Sections<'_>,
    ) -> Result<Engine> {
        let [grpc, http, admin] = free_ports()?;
        // The disk of a test may be nearly full; a test of that says so itself.
        let is_set = extra.contains("disk_floor_mb");
        let journal = if is_set { "" } else { "[journal]\ndisk_floor_mb = 0\n" };
        let mut config = format!(
            "[engine]\ndata_dir = \"journal\"\n[grpc]\nlisten = \"{grpc}\"\n{in_grpc}[http]\n\
             listen = \"{http}\"\n{in_http}[admin]\nlisten = \"{admin}\"\n{journal}\
             [sends]\nexpiry_s = 3\ndeadline_ms = 3000\nfence_margin_ms = 1000\n{extra}\n"
        );
        for node in nodes {
            config += &node.section();
        }
        fs::create_dir_all(folder)?;
        fs::write(folder.join("fulgurite.toml"), config)?;
        let (program, folder, environment) = (program()?, folder.to_owned(), Vec::new());
        Ok(Engine { program, folder, grpc, http, admin, environment, child: None })
    }

    /// What is in the environment of the processes that are started from now on.
    pub fn set_environment(&mut self, environment: Vec<(&'static str, OsString)>) {
        self.environment = environment;
    }

    /// How the process ended, if it did by itself.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.as_mut().map(Child::try_wait).transpose()?.flatten())
    }

    /// Starts the process.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn spawn(&mut self) -> Result<()> {
        let log = fs::File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(self.folder.join("fulgurite.toml"));
        command.args(["--parent", &std::process::id().to_string()]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // A group of its own: Ctrl-C is for whoever started it, which then ends it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        self.child = Some(command.spawn().context("starting the engine")?);
        Ok(())
    }

    /// Where it and its configuration are kept.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn log(&self) -> PathBuf {
        self.folder.join("engine.log")
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Errors
    /// When it takes longer than a minute; with the engine's last words.
    pub fn wait_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while !self.get("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            let ended = match self.child.as_mut() {
                Some(child) => child.try_wait()?,
                None => bail!("the engine was not started"),
            };
            if ended.is_some() || started.elapsed() > READY_MAX {
                bail!("the engine is not ready ({ended:?}):\n{}", self.last_words());
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Everything that it logged.
    pub fn whole_log(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// One GET of the admin listener: head and body.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.admin, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let (host, close) = (self.admin, "Connection: close");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{close}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The value of one of its metrics, with its labels if it has any.
    ///
    /// # Errors
    /// When it does not show it.
    pub fn metric(&self, name: &str) -> Result<u64> {
        let answer = self.get("/metrics")?;
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no metric {name}"))?.parse()?)
    }

    /// The state of the payment with this hash, by the command line.
    ///
    /// # Errors
    /// When there is none.
    pub fn state_of(&self, invoice: &Invoice) -> Result<String> {
        let payment = self.payment_of(invoice)?;
        Ok(payment["state"].as_str().context("no state")?.to_owned())
    }

    /// The payment with this hash, by the command line.
    ///
    /// # Errors
    /// When there is none.
    pub fn payment_of(&self, invoice: &Invoice) -> Result<serde_json::Value> {
        let hash = hex::encode(invoice.payment_hash);
        let output = self.cli(&["payment", "list", "--hash", &hash, "--json"])?;
        let first = String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned);
        Ok(serde_json::from_str(&first.context("no payment")?)?)
    }

    /// Kills it as a crash would.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Asks it to stop (SIGTERM) and says with which code it ended and how long that took.
    ///
    /// # Errors
    /// When it does not end within ten seconds.
    pub fn terminate(&mut self) -> Result<(Option<i32>, Duration)> {
        let mut child = self.child.take().context("the engine runs")?;
        let started = Instant::now();
        let term = Command::new("kill").arg(child.id().to_string()).status()?;
        ensure!(term.success(), "kill failed");
        while started.elapsed() < Duration::from_secs(10) {
            if let Some(status) = child.try_wait()? {
                return Ok((status.code(), started.elapsed()));
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        drop(child.kill());
        bail!("the engine did not stop within 10 s")
    }

    /// Kills it, starts it again and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.kill9();
        self.spawn()?;
        self.wait_ready()
    }

    /// The id of its process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the engine runs")?.id())
    }

    /// Its memory in KiB, as the kernel says: `VmRSS` is the resident memory now, `VmHWM` at most.
    ///
    /// # Errors
    /// When it does not run.
    pub fn memory_kib(&self, name: &str) -> Result<u64> {
        let process = self.process()?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.with_context(|| format!("no {name}"))?.parse()?)
    }

    /// Where its gRPC door is.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Where its gRPC door is.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Where its HTTP door is.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where its admin listener is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// A command of the command line that talks to this engine, without standard input.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("FULGURITE_ENDPOINT", self.endpoint()).stdin(Stdio::null());
        command
    }

    /// Runs a command of the command line to its end.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(arguments).output()?)
    }

    /// Starts `batch submit` of these invoices; [`Submit::wait`] has the results.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn submit(&self, name: &str, invoices: &[Invoice]) -> Result<Submit> {
        let csv = self.folder.join(format!("{name}.csv"));
        let results = self.folder.join(format!("{name}.results.csv"));
        // With the name in it, the same invoices are another batch under another name.
        let mut text = String::from("destination,reference\n");
        for (row, invoice) in invoices.iter().enumerate() {
            text += &format!("{},{name}-{row}\n", invoice.payment_request);
        }
        fs::write(&csv, text)?;
        let (csv, out) = (csv.display().to_string(), results.display().to_string());
        let mut command = self.command(&["batch", "submit", &csv, "--results", &out]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Submit { child: Some(command.spawn()?), results })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// A `batch submit` on its way.
#[derive(Debug)]
pub struct Submit {
    child: Option<Child>,
    results: PathBuf,
}

impl Submit {
    /// True once it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    /// Waits for the end of one that is to be refused: exit code, and what it said.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn refusal(mut self) -> Result<(Option<i32>, String)> {
        let child = self.child.take().context("waited for once")?;
        let output = child.wait_with_output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// Waits for its end: exit code and results.
    ///
    /// # Errors
    /// When there are no results, with what it said.
    pub fn wait(mut self) -> Result<(Option<i32>, Vec<ResultRow>)> {
        let child = self.child.take().context("waited for once")?;
        let output = child.wait_with_output()?;
        let text = fs::read_to_string(&self.results).with_context(|| {
            format!("no results; it said: {}", String::from_utf8_lossy(&output.stderr))
        })?;
        Ok((output.status.code(), results::read(&text)?))
    }
}

fn free_ports() -> Result<[SocketAddr; 3]> {
    let port = || Ok::<_, anyhow::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
    Ok([port()?, port()?, port()?])
}
