//! Programs of others that call the engine, as `scripts/clients` installs them: grpcurl, ghz, buf,
//! schemathesis and Python with grpcio.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, ensure};

/// How a program ended and what it printed.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Its standard output, when it ended with 0.
    ///
    /// # Errors
    /// With all that it printed, when it did not.
    pub fn fine(self) -> Result<String> {
        ensure!(self.code == Some(0), "ended with {:?}:\n{}{}", self.code, self.out, self.err);
        Ok(self.out)
    }
}

/// One of the programs, such as `grpcurl`.
///
/// # Errors
/// When it is not installed and cannot be.
pub fn program(name: &str) -> Result<Command> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = match FOLDER.get() {
        Some(folder) => folder,
        None => FOLDER.get_or_init(|| script("clients").unwrap_or_default()),
    };
    let path = folder.join("bin").join(name);
    ensure!(path.exists(), "no {name}: run scripts/setup --with-clients");
    Ok(Command::new(path))
}

/// Runs one of the project's scripts, whose last line is the folder of what it installed.
///
/// # Errors
/// When it fails; what it said is on the standard error by then.
pub fn script(name: &str) -> Result<PathBuf> {
    let script = crate::find_root()?.join("scripts").join(name);
    let output = Command::new(&script)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {}", script.display()))?;
    ensure!(output.status.success(), "scripts/{name} failed: run it by hand");
    let text = String::from_utf8(output.stdout)?;
    let folder = text.lines().last().with_context(|| format!("scripts/{name} printed nothing"))?;
    Ok(PathBuf::from(folder))
}

/// Runs a program to its end, with `input` as its standard input.
///
/// # Errors
/// When it cannot be run; how it ended is for the caller to judge.
pub fn run(command: &mut Command, input: &str) -> Result<Said> {
    // From a file, so that neither side can wait for the other.
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("input");
    fs::write(&path, input)?;
    let output = command
        .stdin(fs::File::open(&path)?)
        .output()
        .with_context(|| format!("running {}", command.get_program().display()))?;
    Ok(Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Python's code of the contract, generated from the `.proto` files into `folder`.
///
/// # Errors
/// What the generator says.
pub fn generate_python(folder: &Path) -> Result<()> {
    let proto = crate::root().join("proto");
    let mut command = program("python")?;
    command.args(["-m", "grpc_tools.protoc", "--proto_path"]).arg(&proto);
    command.arg("--python_out").arg(folder).arg("--grpc_python_out").arg(folder);
    for file in fs::read_dir(proto.join("fulgurite/v1"))? {
        command.arg(file?.path());
    }
    run(&mut command, "")?.fine()?;
    Ok(())
}
