//! Good and bad files, one line each.

use super::*;

/// A file in short: `row/line destination amount fee_limit reference deadline` for each order,
/// or its problems.
fn summary(bytes: &[u8]) -> Vec<String> {
    match Input::parse(bytes, None) {
        Ok(input) => input
            .orders
            .iter()
            .zip(&input.lines)
            .enumerate()
            .map(|(at, (order, line))| {
                let Some(proto::payment_order::Destination::Bolt11(bolt11)) = &order.destination
                else {
                    panic!("no destination")
                };
                let amount = order.amount.map_or(-1, |amount| {
                    let proto::payment_order::Amount::AmountMsat(msat) = amount;
                    msat
                });
                let fee_limit = order.fee_limit_msat.unwrap_or(-1);
                let deadline = order.deadline.map_or(-1, |deadline| deadline.seconds);
                let reference = &order.reference;
                format!("{}/{line} {bolt11} {amount} {fee_limit} {reference} {deadline}", at + 1)
            })
            .collect(),
        Err(bad) => bad.iter().map(BadRow::to_string).collect(),
    }
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
#[rustfmt::skip] // A table: one line is one file and what is wrong with it.
fn files_that_are_refused() {
    for (file, expected) in [
        ("",                                            &["line 1: there is no column `destination`"][..]),
        ("destination\n",                               &["line 1: the file has no orders"]),
        ("amount_msat\n1\n",                            &["line 1: there is no column `destination`"]),
        ("destination,memo\nlnbc1,x\n",
         &["line 1: unknown column `memo`: the columns are destination, amount_msat, amount_sat, fee_limit_msat, reference, deadline"]),
        ("destination,destination\na,b\n",              &["line 1: column `destination` is there twice"]),
        ("destination,amount_sat,amount_msat\na,1,\n",  &["line 1: amount_msat and amount_sat cannot both be there: drop one column"]),
        ("destination,reference\n\nlnbc1\n",            &["row 1 (line 3): 1 fields instead of 2"]),
        ("destination,amount_sat\nlnbc1,1.5\nlnbc2,2\nlnbc3,-1\n",
         &["row 1 (line 2): amount_sat: `1.5` is not a whole number of 0 to 9223372036854775807",
           "row 3 (line 4): amount_sat: `-1` is not a whole number of 0 to 9223372036854775807"]),
        ("destination,amount_sat\nlnbc1,9223372036854775807\n", &["row 1 (line 2): amount_sat: 9223372036854775807 is too large"]),
        ("destination,amount_sat\nlnbc1,0\n",           &["row 1 (line 2): the amount is 0: leave it empty for the invoice's own"]),
        ("destination,amount_sat\n,5\n",                &["row 1 (line 2): destination is empty"]),
        ("destination,deadline\nlnbc1,tomorrow\n",      &["row 1 (line 2): deadline: `tomorrow` is not a time such as 2030-01-31T12:00:00Z"]),
        ("{\"bolt11\":\"a\"}\n{\"bolt\":\"b\"}\n",
         &["row 2 (line 2): bolt is not a field that this engine knows"]),
        ("{\"bolt11\":\"a\",\"amount_msat\":1.5}",      &["row 1 (line 1): amount_msat must be an integer, as a number or a string"]),
        ("{\"bolt11\":1,\"reference\":2}",              &["row 1 (line 1): bolt11 must be a string; reference must be a string"]),
        ("{\"bolt11\":",                                &["row 1 (line 1): is not JSON: EOF while parsing a value at column 10"]),
    ] {
        assert_eq!(summary(file.as_bytes()), expected, "{file}");
    }
    assert_eq!(summary(b"destination\nln\xff\n"), ["row 1 (line 2): this is not UTF-8"]);
}

#[test]
fn a_batch_has_at_most_100_000_orders() {
    let file = |rows: usize| format!("destination\n{}", "lnbc1\n".repeat(rows));
    assert_eq!(Input::parse(file(100_000).as_bytes(), None).unwrap().orders.len(), 100_000);
    let refused = summary(file(100_001).as_bytes());
    assert_eq!(refused, ["line 100002: a batch has at most 100000 orders: split the file"]);
}

#[test]
fn the_key_is_of_the_bytes() {
    let key = |file: &[u8]| Input::parse(file, None).unwrap().default_key();
    assert!(key(b"destination\nlnbc1\n").starts_with("file:sha256-"));
    assert_ne!(key(b"destination\nlnbc1\n"), key(b"destination\nlnbc1\n\n"));
}
