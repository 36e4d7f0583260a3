//! Compiles the preload library; it is carried inside of the program.

use std::{env, path::PathBuf, process::Command};

const SOURCES: [&str; 3] = ["files.c", "points.c", "record.c"];

fn main() {
    println!("cargo::rerun-if-changed=preload");
    println!("cargo::rerun-if-env-changed=CC");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("preload.so");
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", "-o"];
    let status = Command::new(&compiler)
        .current_dir("preload")
        .args(flags)
        .arg(&out)
        .args(SOURCES)
        .arg("-ldl")
        .status()
        .unwrap_or_else(|error| panic!("{}: {error}: run scripts/setup", compiler.display()));
    assert!(status.success(), "the preload library does not compile");
}
