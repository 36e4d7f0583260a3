//! Our part of lnd's API against lnd's own files: every message, field, enum value and method
//! that we declare is there, with the same number, type, label and oneof.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use fulgurite_tests::{
    descriptors::{Comparison, Index, compare, index},
    regtest::Binaries,
};
use prost_types::FileDescriptorSet;

const LND_FILES: [&str; 4] = [
    "lightning.proto",
    "stateservice.proto",
    "routerrpc/router.proto",
    "invoicesrpc/invoices.proto",
];

#[test]
fn our_part_of_lnds_api_is_lnds() -> Result<()> {
    let lnd = lnds_files()?;
    let comparison = compare((&index(&our_files(&our_folder())?), "we"), (&lnd, "lnd"));
    let Comparison { messages, fields, enum_values, methods, differences, .. } = comparison;
    println!(
        "compared with lnd: {messages} messages, {fields} fields, {enum_values} enum values, \
         {methods} methods"
    );
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(messages > 40 && fields > 150 && enum_values > 40 && methods == 20);
    Ok(())
}

#[test]
fn a_wrong_field_number_is_named() -> Result<()> {
    let copy = tempfile::tempdir()?;
    for file in fs::read_dir(our_folder())? {
        let file = file?;
        let text = fs::read_to_string(file.path())?;
        let wrong = text.replace("int64 value_msat = 8;", "int64 value_msat = 18;");
        fs::write(copy.path().join(file.file_name()), wrong)?;
    }
    let comparison = compare((&index(&our_files(copy.path())?), "we"), (&lnds_files()?, "lnd"));
    assert_eq!(comparison.differences, ["lnrpc.Payment.value_msat: lnd has number 8, we 18"]);
    Ok(())
}

fn our_folder() -> PathBuf {
    fulgurite_tests::root().join("proto/lnrpc")
}

fn our_files(folder: &Path) -> Result<FileDescriptorSet> {
    let mut files = Vec::new();
    for file in fs::read_dir(folder)? {
        files.push(file?.path());
    }
    Ok(protox::compile(files, [folder])?)
}

fn lnds_files() -> Result<Index> {
    let folder = Binaries::find()?.protos();
    let set = protox::compile(LND_FILES, [&folder])
        .with_context(|| format!("lnd's files in {}", folder.display()))?;
    Ok(index(&set))
}
