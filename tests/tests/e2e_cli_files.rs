//! Files that no order is in, or too much of it: each is refused with what to do, in little memory.
//! No engine is asked.

use std::{
    fs,
    io::{self, Write},
    process::ChildStdin,
};

use anyhow::{Result, ensure};
use fulgurite_tests::cli::{Said, feed, run, without_engine};

/// The most memory that any file may cost.
const PEAK_MIB_MAX: u64 = 600;
/// So large are the pieces that endless files come in.
const PIECE: usize = 64 << 10;

type Feed = fn(&mut ChildStdin) -> io::Result<()>;

fn repeat(stdin: &mut ChildStdin, head: &str, unit: &str) -> io::Result<()> {
    stdin.write_all(head.as_bytes())?;
    let piece = unit.repeat(PIECE / unit.len());
    loop {
        stdin.write_all(piece.as_bytes())?;
    }
}

/// Bytes that look like nothing; the same in each run.
fn garbage(stdin: &mut ChildStdin) -> io::Result<()> {
    let mut state = 1_u64;
    let mut piece = vec![0; PIECE];
    for _ in 0..1_000 {
        for byte in &mut piece {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        stdin.write_all(&piece)?;
    }
    Ok(())
}

fn utf_16(stdin: &mut ChildStdin) -> io::Result<()> {
    let text: Vec<u8> =
        "\u{feff}destination\nlnbc1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    stdin.write_all(&text)
}

fn submit(feeding: Feed) -> Result<Said> {
    feed(&mut without_engine(&["batch", "submit", "-"])?, feeding)
}

#[test]
#[rustfmt::skip] // A table: one line is one file and what is said of it.
fn no_file_is_too_hostile() -> Result<()> {
    let files: [(&str, Feed, &str); 17] = [
        ("rows without end",         |to| repeat(to, "destination\n", "lnbc1\n"),         "line 100002: row 100001: a batch has at most 100000 orders: split the file"),
        ("NDJSON without end",       |to| repeat(to, "", "{\"bolt11\":\"a\"}\n"),         "line 100001: row 100001: a batch has at most 100000 orders"),
        ("bad rows without end",     |to| repeat(to, "destination,amount_sat\n", "a,x\n"), "row 1 (line 2): amount_sat `x` is not a whole number"),
        ("a line without end",       |to| repeat(to, "destination\nlnbc1\n", "x"),        "line 3: the file is larger than 256 MiB: split it"),
        ("a header without end",     |to| repeat(to, "", "destination,"),                 "line 1: the file is larger than 256 MiB"),
        ("a quote without end",      |to| repeat(to, "destination\n\"", "x\n"),           "line 2: a quotation mark is opened here and never closed"),
        ("an object without end",    |to| repeat(to, "{\"bolt11\":\"", "x"),              "line 1: the file is larger than 256 MiB"),
        ("nested without end",       |to| repeat(to, "{\"bolt11\":", "["),                "line 1: the file is larger than 256 MiB"),
        ("blank lines without end",  |to| repeat(to, "destination\n", "\n"),              "the file is larger than 256 MiB"),
        ("zeros without end",        |to| repeat(to, "", "\0"),                           "line 1: this is binary data, no CSV or NDJSON"),
        ("binary garbage",           garbage,                                             "line 1: this is binary data, no CSV or NDJSON"),
        ("UTF-16",                   utf_16,                                              "line 1: this is UTF-16; save it as UTF-8"),
        ("an empty file",            |_| Ok(()),                                          "line 1: the file is empty"),
        ("a header alone",           |to| to.write_all(b"destination\n"),                 "line 1: the file has no orders"),
        ("a wrong header",           |to| to.write_all(b"invoice\nlnbc1\n"),              "line 1: unknown column `invoice`: the columns are destination, "),
        ("no header",                |to| to.write_all("lnbc20m1pv".repeat(9).as_bytes()), "line 1: the first line must name the columns"),
        ("both amount columns",      |to| to.write_all(b"destination,amount_sat,amount_msat\n"), "line 1: amount_msat and amount_sat cannot both be there: drop one column"),
    ];
    for (what, feeding, expected) in files {
        let said = submit(feeding)?;
        println!("{what}: exit {:?}, {} MiB", said.code, said.peak_mib);
        ensure!(said.code == Some(3), "{what}: {said:?}");
        ensure!(said.err.contains(expected), "{what}: {}", said.err);
        ensure!(said.err.contains("- cannot be used; nothing was sent"), "{what}: {}", said.err);
        ensure!(said.peak_mib <= PEAK_MIB_MAX, "{what}: {} MiB", said.peak_mib);
        ensure!(said.out.is_empty() && !said.err.contains('\u{1b}'), "{what}: {said:?}");
    }
    Ok(())
}

#[test]
fn a_line_of_10_mb_is_a_bad_row_among_good_ones() -> Result<()> {
    let said = submit(|to| {
        let long = "x".repeat(10 << 20);
        write!(to, "destination\nlnbc1\n{long}\nlnbc2\n")
    })?;
    println!("a line of 10 MB: exit {:?}, {} MiB", said.code, said.peak_mib);
    ensure!(said.code == Some(3) && said.peak_mib <= PEAK_MIB_MAX, "{said:?}");
    ensure!(said.err.contains("row 2 (line 3): malformed: longer than 65536 bytes"), "{said:?}");
    ensure!(said.err.contains("3 orders"), "{said:?}");
    Ok(())
}

#[test]
fn the_largest_files_cost_little_memory() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let results = folder.path().join("results.csv");
    let path = results.to_str().unwrap_or_default();
    // As much as a file may have, and all of it is kept until it is sent.
    let full = feed(&mut without_engine(&["batch", "submit", "-"])?, |to| {
        let row = format!("lnbc{}\n", "x".repeat(2_600));
        to.write_all(b"destination\n")?;
        (0..100_000).try_for_each(|_| to.write_all(row.as_bytes()))
    })?;
    println!("100,000 rows of 2,600 bytes: exit {:?}, {} MiB", full.code, full.peak_mib);
    ensure!(full.code == Some(4) && full.peak_mib <= PEAK_MIB_MAX, "{full:?}");
    ensure!(full.err.contains("nothing was sent") && !full.err.contains("accepted"), "{full:?}");
    // Every row has every problem that a row can have.
    let bad = feed(&mut without_engine(&["batch", "submit", "-", "--results", path])?, |to| {
        to.write_all(b"destination,amount_sat,fee_limit_msat,reference,deadline\n")?;
        let text = "y".repeat(200);
        let row = format!(",{text},{text},{text},{text}\n");
        (0..100_000).try_for_each(|_| to.write_all(row.as_bytes()))
    })?;
    println!("100,000 rows with 4 problems: exit {:?}, {} MiB", bad.code, bad.peak_mib);
    ensure!(bad.code == Some(3) && bad.peak_mib <= PEAK_MIB_MAX, "{}", bad.err);
    ensure!(bad.err.contains("and more: 399,980 malformed."), "{}", bad.err);
    let results = fs::read_to_string(results)?;
    ensure!(results.lines().count() == 100_001, "{} lines", results.lines().count());
    let last = results.lines().last().unwrap_or_default();
    ensure!(last.starts_with("100000,100001,"), "{last}");
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_a_usage_fault() -> Result<()> {
    for (file, expected) in [("/nonexistent/orders.csv", "No such file"), ("/", "is a folder")] {
        let said = run(&mut without_engine(&["batch", "submit", file])?)?;
        ensure!(said.code == Some(2) && said.err.contains(expected), "{said:?}");
    }
    Ok(())
}
