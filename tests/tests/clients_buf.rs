//! The `.proto` files as buf judges them.

use std::fs;

use anyhow::{Context, Result};
use fulgurite_tests::clients::{program, run};

#[test]
fn buf_finds_nothing_to_lint() -> Result<()> {
    let mut buf = program("buf")?;
    let said = run(buf.arg("lint").arg(fulgurite_tests::root().join("proto")), "")?;
    assert_eq!(said.out, "");
    said.fine()?;
    Ok(())
}

#[test]
fn buf_finds_nothing_broken_and_names_what_is() -> Result<()> {
    let root = fulgurite_tests::root();
    let golden = root.join("tests/golden/proto/fulgurite.v1.binpb");
    let mut buf = program("buf")?;
    let said = run(buf.arg("breaking").arg(root.join("proto")).arg("--against").arg(&golden), "")?;
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{}", said.err);

    let copy = tempfile::tempdir()?;
    let folder = copy.path().join("fulgurite/v1");
    fs::create_dir_all(&folder)?;
    for file in fs::read_dir(root.join("proto/fulgurite/v1"))? {
        let file = file?;
        let text = fs::read_to_string(file.path())?;
        fs::write(folder.join(file.file_name()), text.replace("string preimage = 16;", ""))?;
    }
    let mut buf = program("buf")?;
    let said = run(buf.arg("breaking").arg(copy.path()).arg("--against").arg(&golden), "")?;
    let named = said.out.lines().next().context("buf named nothing")?;
    assert!(named.contains("\"preimage\" on message \"Payment\" was deleted"), "{named}");
    Ok(())
}
