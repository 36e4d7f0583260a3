//! Generates the code of every `.proto` file in `lnrpc/` and `fulgurite/v1/`, without protoc.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use prost::Message;

type Fault = Box<dyn std::error::Error>;

fn main() -> Result<(), Fault> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Without its .proto files the package is empty, but there.
    fs::write(out.join("fulgurite.v1.rs"), "")?;
    let (lnd, ours) = (Path::new("lnrpc"), Path::new("fulgurite/v1"));
    compile([lnd, lnd], "tonic_prost::ProstCodec", &out.join("lnrpc.bin"))?;
    compile([Path::new("."), ours], "crate::strict::StrictCodec", &out.join("fulgurite.bin"))
}

/// Compiles the files of `folder`, imported relative to `root`, for this codec, and writes their
/// descriptors.
fn compile([root, folder]: [&Path; 2], codec: &str, descriptors: &Path) -> Result<(), Fault> {
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<Result<_, Fault>>()?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    files.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    let set = protox::compile(&files, [root])?;
    fs::write(descriptors, set.encode_to_vec())?;
    if !files.is_empty() {
        let mut config = tonic_prost_build::Config::new();
        config.enable_type_names();
        tonic_prost_build::configure()
            .emit_rerun_if_changed(false)
            .codec_path(codec)
            .compile_fds_with_config(set, config)?;
    }
    Ok(())
}
