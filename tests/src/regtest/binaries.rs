//! Where the programs are, and calling those that answer in JSON.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The folder of the programs, when they are not to be looked for with `scripts/lnd`.
const FOLDER_VARIABLE: &str = "FULGURITE_LND_BIN";

const PROGRAMS: [&str; 4] = ["lnd", "lncli", "btcd", "btcctl"];

/// The folder with lnd, lncli, btcd, btcctl and `protos`, lnd's own `.proto` files.
#[derive(Clone, Debug)]
pub struct Binaries(PathBuf);

impl Binaries {
    /// Finds the programs: in the folder `FULGURITE_LND_BIN` names, otherwise with `scripts/lnd`,
    /// which builds them if this machine does not have them yet.
    ///
    /// # Errors
    ///
    /// If they are missing; the text says what to run.
    pub fn find() -> Result<Self> {
        let folder = match std::env::var_os(FOLDER_VARIABLE) {
            Some(folder) => PathBuf::from(folder),
            None => crate::clients::script("lnd")
                .with_context(|| format!("real lnd: {FOLDER_VARIABLE} is not set"))?,
        };
        for program in PROGRAMS {
            if !folder.join(program).is_file() {
                let folder = folder.display();
                bail!("no {program} in {folder}: run scripts/lnd, or set {FOLDER_VARIABLE}");
            }
        }
        Ok(Self(folder))
    }

    /// The path of one program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The folder with lnd's own `.proto` files, an include root: `lightning.proto`,
    /// `routerrpc/router.proto`, `invoicesrpc/invoices.proto` and so on.
    #[must_use]
    pub fn protos(&self) -> PathBuf {
        self.0.join("protos")
    }
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
///
/// With what it wrote to stderr, if its exit status is not 0.
pub(super) async fn call(program: &Path, home: &Path, arguments: &[String]) -> Result<String> {
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .env("HOME", home)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("running {}", program.display()))?;
    if !output.status.success() {
        let what = arguments.join(" ");
        bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The text at `pointer` (RFC 6901) of an answer.
pub(super) fn text<'a>(answer: &'a Value, pointer: &str) -> Result<&'a str> {
    answer
        .pointer(pointer)
        .and_then(Value::as_str)
        .with_context(|| format!("no text {pointer} in {answer}"))
}

/// The number at `pointer`; lncli prints 64-bit numbers as text.
pub(super) fn number(answer: &Value, pointer: &str) -> Result<u64> {
    Ok(text(answer, pointer)?.parse()?)
}

/// The list at `pointer`.
pub(super) fn list<'a>(answer: &'a Value, pointer: &str) -> Result<&'a [Value]> {
    answer
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .with_context(|| format!("no list {pointer} in {answer}"))
}
