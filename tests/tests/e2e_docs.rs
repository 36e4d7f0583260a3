//! The examples of docs/api.md and of the README, run word for word, as a person would: the next
//! line once the last one has settled.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use fulgurite_tests::{clients, engine::program};

/// In a network of its own nothing else has the default ports. A machine that forbids that gets the
/// examples as they are.
const ALONE: [&str; 5] = ["unshare", "--user", "--map-root-user", "--net", "--"];
const LOOPBACK_UP: &str = "import fcntl, socket, struct
try: fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH14x', b'lo', 0x49))
except PermissionError: pass";

/// The lines of the `sh` blocks of a part of a page.
fn examples(part: &str) -> Vec<String> {
    let (mut inside, mut lines) = (false, Vec::new());
    for line in part.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => lines.push(line.to_owned()),
            _ => {}
        }
    }
    lines
}

/// A script of them. Behind a line that starts something it waits for what a person would see.
fn script(lines: &[String]) -> String {
    let mut text = String::from(
        "set -euo pipefail\n\
         settled() { for _ in $(seq 600); do \"$@\" >settled.txt 2>&1 && return; sleep 0.1; done; \
         echo \"this did not settle: $*\"; cat settled.txt; exit 1; }\n\
         trap 'kill $(jobs -p) || true' EXIT\n",
    );
    for line in lines {
        // What it prints comes behind it.
        text += line;
        text.push('\n');
        let command = line.split(" #").next().unwrap_or_default().trim_end();
        if command.contains("sim ") && command.ends_with('&') {
            text += "settled test -s sim/payouts.csv\n";
        } else if command.contains("serve ") && command.ends_with('&') {
            text += "settled curl -sSf http://127.0.0.1:9090/readyz\n";
        }
    }
    text
}

/// One after the other: without a network of its own each has the default ports.
static DEFAULT_PORTS: Mutex<()> = Mutex::new(());

/// Runs the lines in `folder`, with the programs that they name in the path.
fn run(folder: &Path, lines: &[String]) -> Result<String> {
    let root = fulgurite_tests::root();
    let _alone = DEFAULT_PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    fs::create_dir(folder.join("bin"))?;
    symlink(program()?, folder.join("bin/fulgurite"))?;
    for name in ["docs", "proto"] {
        symlink(root.join(name), folder.join(name))?;
    }
    fs::write(folder.join("examples.sh"), script(lines))?;
    let python = clients::program("python")?.get_program().to_owned();
    let clients = Path::new(&python).parent().context("it has a folder")?.to_owned();
    let up = "python -c \"$LOOPBACK_UP\" && exec bash examples.sh";
    let alone = Command::new(ALONE[0]).args(&ALONE[1..]).arg("true").output();
    let may_be_alone = alone.is_ok_and(|output| output.status.success());
    let mut command = if may_be_alone {
        let mut command = Command::new(ALONE[0]);
        command.args(&ALONE[1..]).args(["bash", "-c", up]);
        command
    } else {
        let mut command = Command::new("bash");
        command.arg("examples.sh");
        command
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(clients).chain(std::env::split_paths(&path));
    let output = command
        .current_dir(folder)
        .env("LOOPBACK_UP", LOOPBACK_UP)
        .env("PATH", std::env::join_paths(paths)?)
        .env_remove("FULGURITE_ENDPOINT")
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ended with {}:\n{said}\n{errors}", output.status);
    Ok(said)
}

#[test]
fn every_example_of_the_api_works() -> Result<()> {
    let page = fs::read_to_string(fulgurite_tests::root().join("docs/api.md"))?;
    let folder = tempfile::tempdir()?;
    let said = run(folder.path(), &examples(&page))?;
    println!("{said}");
    for what in [
        "\"replayed\": true",
        "finished 3 of 3",
        "\"state\":\"succeeded\"",
        "PAYMENT_FINISHED",
        "REASON_MALFORMED",
        "STATE_CANCELLED",
        "\"status\": \"SERVING\"",
        "ended with 69",
        "BATCH_NOT_FOUND",
    ] {
        assert!(said.contains(what), "nothing printed {what}:\n{said}");
    }
    // Every refusal of an example is meant.
    for code in said.split("\"code\":\"").skip(1) {
        let code = code.split('"').next().unwrap_or_default();
        let meant = ["PAYMENT_FINISHED", "BATCH_FINISHED", "BATCH_NOT_FOUND", "NODE_ANSWERS"]
            .contains(&code);
        assert!(meant, "an example printed {code}:\n{said}");
    }
    Ok(())
}

#[test]
fn every_method_and_route_has_an_example() -> Result<()> {
    let page = fs::read_to_string(fulgurite_tests::root().join("docs/api.md"))?;
    let examples = examples(&page).join("\n");
    let set = fulgurite_proto::FULGURITE_FILE_DESCRIPTOR_SET;
    let set: prost_types::FileDescriptorSet = prost::Message::decode(set)?;
    let mut count = 0;
    for service in set.file.iter().flat_map(|file| &file.service) {
        for method in &service.method {
            let call = format!("fulgurite.v1.{}/{}", service.name(), method.name());
            assert!(examples.contains(&call), "docs/api.md has no example of {call}");
            count += 1;
        }
    }
    assert!(count >= 14, "{count} methods");
    let description = fs::read_to_string(fulgurite_tests::root().join("docs/openapi.json"))?;
    let description: serde_json::Value = serde_json::from_str(&description)?;
    let shown: Vec<&str> = page.split("http://127.0.0.1:8080").skip(1).map(path_of).collect();
    for route in description["paths"].as_object().context("paths")?.keys() {
        let named = shown.iter().any(|path| is_of_route(path, route));
        assert!(named || route == "/docs", "docs/api.md has no example of {route}");
    }
    Ok(())
}

/// The path at the start of a text.
fn path_of(text: &str) -> &str {
    let end =
        text.find(|letter: char| !letter.is_ascii_alphanumeric() && !"/_-.$".contains(letter));
    &text[..end.unwrap_or(text.len())]
}

/// Whether a path is one of this route; a part of it can be a variable of the shell.
fn is_of_route(path: &str, route: &str) -> bool {
    let (path, route) = (path.split('/'), route.split('/'));
    let same = |(part, wanted): (&str, &str)| {
        part == wanted || wanted.starts_with('{') || part.starts_with('$')
    };
    path.clone().count() == route.clone().count() && path.zip(route).all(same)
}

#[test]
fn a_path_is_of_its_route() {
    assert_eq!(path_of("/v1/payments/$PAYMENT?wait_ms=1"), "/v1/payments/$PAYMENT");
    assert!(is_of_route("/v1/batches/$BATCH/$verb", "/v1/batches/{batch_id}/pause"));
    assert!(!is_of_route("/v1/payments", "/v1/batches"));
    assert!(!is_of_route("/v1/payments", "/v1/payments/{payment_id}"));
}

#[test]
fn the_readme_s_first_batch_works() -> Result<()> {
    let page = fs::read_to_string(fulgurite_tests::root().join("README.md"))?;
    let part = page.split("## A first batch").nth(1).context("a first batch")?;
    let part = part.split("\n## ").next().unwrap_or_default();
    let mut lines = examples(part);
    ensure!(lines.first().is_some_and(|line| line.starts_with("make build")), "{lines:?}");
    lines.remove(0);
    if std::env::var_os("FULGURITE_BIN").is_none() {
        // Where the clone is; the other lines write files.
        let mut make = Command::new("make");
        clients::run(make.arg("build").current_dir(fulgurite_tests::root()), "")?.fine()?;
    }
    let folder = tempfile::tempdir()?;
    let said = run(folder.path(), &lines)?;
    println!("{said}");
    let results = fs::read_to_string(folder.path().join("results.csv"))?;
    assert_eq!(results.lines().filter(|line| line.contains(",succeeded,")).count(), 100, "{said}");
    Ok(())
}
