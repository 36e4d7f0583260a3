//! Good and bad files, one line each.

use super::*;

/// A file in short: `row/line destination amount fee_limit reference deadline` for each order, its
/// problems for a row that is none, and why it was given up.
fn summary(bytes: &[u8]) -> Vec<String> {
    let input = match Input::parse(bytes, None) {
        Ok(input) => input,
        Err(text) => return text.split("\n  ").map(str::to_owned).collect(),
    };
    let rows = (1..).zip(&input.orders).zip(&input.lines);
    rows.flat_map(|((row, order), line)| match input.bad.iter().find(|bad| bad.row == row) {
        Some(bad) => {
            let problem = |problem| format!("row {row} (line {line}): {problem}");
            bad.problems.iter().map(problem).collect()
        }
        None => vec![order_in_short(order, row, *line)],
    })
    .collect()
}

fn order_in_short(order: &proto::PaymentOrder, row: usize, line: u64) -> String {
    let Some(proto::payment_order::Destination::Bolt11(bolt11)) = &order.destination else {
        panic!("no destination")
    };
    let amount = order.amount.map_or(-1, |amount| {
        let proto::payment_order::Amount::AmountMsat(msat) = amount;
        msat
    });
    let fee_limit = order.fee_limit_msat.unwrap_or(-1);
    let deadline = order.deadline.map_or(-1, |deadline| deadline.seconds);
    format!("{row}/{line} {bolt11} {amount} {fee_limit} {} {deadline}", order.reference)
}

#[test]
#[rustfmt::skip] // A table: one line is one file and what is read in it.
fn files_that_can_be_read() {
    for (file, expected) in [
        ("destination\nlnbc1\n",                                 &["1/2 lnbc1 -1 -1  -1"][..]),
        ("destination\nlnbc1",                                   &["1/2 lnbc1 -1 -1  -1"]),
        ("\u{feff}destination\r\nlnbc1\r\n\r\nlnbc2\r\n",        &["1/2 lnbc1 -1 -1  -1", "2/4 lnbc2 -1 -1  -1"]),
        ("destination\n\n\nlnbc1\n\n",                           &["1/4 lnbc1 -1 -1  -1"]),
        ("amount_sat,destination\n5,lnbc1\n,lnbc2\n",            &["1/2 lnbc1 5000 -1  -1", "2/3 lnbc2 -1 -1  -1"]),
        ("destination,amount_msat\n lnbc1 , 7 \n",               &["1/2 lnbc1 7 -1  -1"]),
        ("destination,reference\nlnbc1,\"a, \"\"b\"\"\"\n",      &["1/2 lnbc1 -1 -1 a, \"b\" -1"]),
        ("destination,reference\nlnbc1,\"two\nlines\"\nlnbc2,\n", &["1/2 lnbc1 -1 -1 two\nlines -1", "2/4 lnbc2 -1 -1  -1"]),
        ("destination,fee_limit_msat\nlnbc1,0\n",                &["1/2 lnbc1 -1 0  -1"]),
        ("destination,deadline\nlnbc1,1970-01-01T00:01:00Z\n",   &["1/2 lnbc1 -1 -1  60"]),
        ("{\"bolt11\":\"lnbc1\"}\n",                             &["1/1 lnbc1 -1 -1  -1"]),
        ("\n{\"bolt11\":\"lnbc1\",\"amount_msat\":\"7\"}\r\n\n{\"bolt11\":\"lnbc2\",\"amount_msat\":8,\"reference\":\"r\"}",
                                                                 &["1/2 lnbc1 7 -1  -1", "2/4 lnbc2 8 -1 r -1"]),
        // As in HTTP JSON, null is unset.
        ("{\"bolt11\":\"lnbc1\",\"amount_msat\":null}",    &["1/1 lnbc1 -1 -1  -1"]),
    ] {
        assert_eq!(summary(file.as_bytes()), expected, "{file}");
    }
}

#[test]
fn a_bad_row_keeps_its_number_and_can_never_be_paid() {
    let file = b"destination,amount_sat,reference\nlnbc1,5,a\nlnbc2,x,b\n\n,7,c\nlnbc4,8,d\n";
    let input = Input::parse(&file[..], None).expect("a good file");
    let bad: Vec<(usize, bool)> =
        input.bad.iter().map(|bad| (bad.row, bad.has_destination)).collect();
    assert_eq!((bad, &input.lines[..]), (vec![(2, true), (3, false)], &[2, 3, 5, 6][..]));
    let sent: Vec<String> = input.orders[..2]
        .iter()
        .zip(1..)
        .map(|(order, row)| order_in_short(order, row, 0))
        .collect();
    assert_eq!(sent, ["1/0 lnbc1 5000 -1 a -1", "2/0 lnbc2 -1 -1 b -1"]);
    assert_eq!((&input.orders[2].destination, input.orders[2].reference.as_str()), (&None, "c"));
}

#[test]
#[rustfmt::skip] // A table: one line is one file and what is wrong with it.
fn files_with_bad_rows() {
    let number = "is not a whole number of 0 to 9223372036854775807";
    for (file, expected) in [
        ("destination,reference\n\nlnbc1\n",
         &["row 1 (line 3): 1 fields, but the header has 2; a text with a comma needs quotation marks".to_owned()][..]),
        ("destination,amount_sat\nlnbc1,1.5\nlnbc2,2\nlnbc3,-1\n",
         &[format!("row 1 (line 2): amount_sat `1.5` {number}"), "2/3 lnbc2 2000 -1  -1".into(),
           format!("row 3 (line 4): amount_sat `-1` {number}")]),
        ("destination,amount_sat\nlnbc1,9223372036854775807\n", &["row 1 (line 2): amount_sat 9223372036854775807 is too large".into()]),
        ("destination,amount_sat\nlnbc1,0\n",           &["row 1 (line 2): amount_sat is 0; leave it empty for the invoice's own amount".into()]),
        ("destination,amount_sat\n,5\n",                &["row 1 (line 2): destination is empty; it must be a BOLT 11 invoice".into()]),
        ("destination,amount_msat,deadline\n,x,tomorrow\n",
         &["row 1 (line 2): destination is empty; it must be a BOLT 11 invoice".into(), format!("row 1 (line 2): amount_msat `x` {number}"),
           "row 1 (line 2): deadline `tomorrow` is not a time such as 2030-01-31T12:00:00Z".into()]),
        ("{\"bolt11\":\"a\"}\n{\"bolt\":\"b\"}\n",
         &["1/1 a -1 -1  -1".into(), "row 2 (line 2): bolt is not a field that this engine knows".into()]),
        ("{\"destination\":\"a\"}",                   &["row 1 (line 1): destination is called `bolt11` in NDJSON, as in the HTTP API".into()]),
        ("{\"bolt11\":\"a\",\"amount_msat\":1.5}",      &["row 1 (line 1): amount_msat must be an integer, as a number or a string".into()]),
        ("{\"bolt11\":1,\"reference\":2}",              &["row 1 (line 1): bolt11 must be a string".into(), "row 1 (line 1): reference must be a string".into()]),
        ("{\"bolt11\":",                                &["row 1 (line 1): is not JSON: EOF while parsing a value at column 10".into()]),
    ] {
        assert_eq!(summary(file.as_bytes()), expected, "{file}");
    }
    assert_eq!(summary(b"destination\nln\xff\n"), ["row 1 (line 2): this is not UTF-8"]);
    let long = format!("destination\n{}\nlnbc1\n", "x".repeat(10 << 20));
    assert_eq!(summary(long.as_bytes()), [
        "row 1 (line 2): longer than 65536 bytes: no order is; is a line break missing?", "2/3 lnbc1 -1 -1  -1"]);
    // A text of the file is shown short, and never as a terminal would obey it.
    let rude = format!("destination,amount_sat\nlnbc1,\u{1b}[2J{}\n", "9".repeat(90));
    let rude = summary(rude.as_bytes());
    assert_eq!(rude, [format!("row 1 (line 2): amount_sat `?[2J{}…` {number}", "9".repeat(36))]);
}

#[test]
#[rustfmt::skip] // A table: one line is one file and why it cannot be used.
fn files_that_are_given_up() {
    let columns = "destination, amount_msat, amount_sat, fee_limit_msat, reference, deadline";
    let invoice = "lnbcrt".repeat(10);
    for (file, expected) in [
        ("",                                            "line 1: the file is empty".to_owned()),
        ("\n\n",                                        "line 1: the file has no orders".into()),
        ("destination\n",                               "line 1: the file has no orders".into()),
        ("amount_msat\n1\n",                            format!("line 1: there is no column `destination`; the columns are {columns}")),
        ("\ndestination,memo\nlnbc1,x\n",               format!("line 2: unknown column `memo`: the columns are {columns}")),
        ("destination;memo\nlnbc1;x\n",                 "line 1: unknown column `destination;memo`: columns are separated by commas, not ';'".into()),
        (&invoice,                                      format!("line 1: the first line must name the columns, but it is `{}…`", &invoice[..40])),
        ("[{\"bolt11\":\"a\"}]",                        "line 1: this is a JSON array: NDJSON has one object a line, without brackets".into()),
        ("destination,destination\na,b\n",              "line 1: column `destination` is there twice".into()),
        ("destination,amount_sat,amount_msat\na,1,\n",  "line 1: amount_msat and amount_sat cannot both be there: drop one column".into()),
        ("destination\na\n\"b\nc\n",                    "line 3: a quotation mark is opened here and never closed".into()),
        ("d\0e\0s\0t\0",                               "line 1: this is UTF-16; save it as UTF-8 (spreadsheets call it CSV UTF-8)".into()),
    ] {
        assert_eq!(summary(file.as_bytes()), [expected], "{file}");
    }
}

#[test]
fn a_file_that_is_given_up_still_says_what_else_is_wrong() {
    let file = format!("destination,amount_sat\n{}\"open\n", "lnbc1,x\n".repeat(30));
    let told = summary(file.as_bytes());
    assert_eq!(told.len(), PROBLEMS_MAX + 2);
    assert!(told[0].starts_with("row 1 (line 2): amount_sat"), "{told:?}");
    assert_eq!(told[PROBLEMS_MAX], "and 10 more");
    assert!(told[PROBLEMS_MAX + 1].starts_with("line 32: a quotation mark"), "{told:?}");
}

#[test]
fn a_batch_has_at_most_100_000_orders() {
    let file = |rows: usize| format!("destination\n{}", "lnbc1\n".repeat(rows));
    assert_eq!(
        Input::parse(file(100_000).as_bytes(), None).expect("a good file").orders.len(),
        100_000
    );
    let refused = summary(file(100_001).as_bytes());
    let expected = "line 100002: row 100001: a batch has at most 100000 orders: split the file";
    assert_eq!(refused, [expected]);
}

#[test]
fn the_key_is_of_the_bytes() {
    let key = |file: &[u8]| Input::parse(file, None).expect("a good file").default_key();
    assert!(key(b"destination\nlnbc1\n").starts_with("file:sha256-"));
    assert_ne!(key(b"destination\nlnbc1\n"), key(b"destination\nlnbc1\n\n"));
}
