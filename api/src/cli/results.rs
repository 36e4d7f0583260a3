//! The results of a batch: a CSV line for each row, refused ones too.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use fulgurite_proto::fulgurite::v1 as proto;

use super::{client::Client, exit::Fault, refusals::line_of, words};
use crate::wire;

/// The columns of a results file.
pub const COLUMNS: [&str; 13] = [
    "row",
    "line",
    "payment_id",
    "payment_hash",
    "reference",
    "state",
    "amount_msat",
    "fee_msat",
    "preimage",
    "node",
    "attempts",
    "reason",
    "message",
];

/// The columns of a file that can be submitted again.
const INPUT_COLUMNS: [&str; 5] =
    ["destination", "amount_msat", "fee_limit_msat", "reference", "deadline"];

/// The same in NDJSON.
const INPUT_FIELDS: [&str; 5] =
    ["bolt11", "amount_msat", "fee_limit_msat", "reference", "deadline"];

const PAGE_SIZE: i32 = 1_000;

/// What is known of a batch's rows.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// The payments, by row.
    pub payments: Vec<proto::Payment>,
    /// What was refused, one entry per problem.
    pub refused: Vec<proto::RefusedRow>,
}

impl Results {
    /// Asks the engine for all rows of a batch, preimages included.
    ///
    /// # Errors
    /// What the engine refuses, or that it was not reached.
    pub async fn fetch(
        client: &Client,
        batch_id: &str,
        states: &[proto::payment::State],
    ) -> Result<Results, Fault> {
        let payments = payments(client, batch_id, states).await?;
        let refused = if states.is_empty() { refused(client, batch_id).await? } else { Vec::new() };
        Ok(Results { payments, refused })
    }

    /// A line for each row, by row. `lines` are the rows' lines in their file, where there is one.
    pub fn table(&self, lines: &[u64]) -> Vec<[String; COLUMNS.len()]> {
        let line = |row: i32| line_of(row, lines).map(|line| line.to_string()).unwrap_or_default();
        let mut table = BTreeMap::new();
        for payment in &self.payments {
            table.insert(payment.row, payment_line(payment, line(payment.row)));
        }
        for refused in &self.refused {
            let reason = words::row_reason(refused);
            let known = table
                .entry(refused.row)
                .or_insert_with(|| refused_line(refused, line(refused.row)));
            // A row with several problems has one line.
            for (at, text) in [(11, reason.as_str()), (12, refused.message.as_str())] {
                if !known[at].is_empty() {
                    known[at].push_str("; ");
                }
                known[at].push_str(text);
            }
        }
        table.into_values().collect()
    }

    /// The objects of an NDJSON file that can be submitted again.
    pub fn input_objects(&self) -> impl Iterator<Item = serde_json::Value> {
        self.payments.iter().map(|payment| {
            let mut object = wire::json::payment(payment).value();
            if let Some(fields) = object.as_object_mut() {
                fields.retain(|name, _| INPUT_FIELDS.contains(&name.as_str()));
            }
            object
        })
    }

    /// The lines of a file that can be submitted again.
    pub fn input(&self) -> Vec<[String; INPUT_COLUMNS.len()]> {
        self.payments.iter().map(input_line).collect()
    }

    /// Notes rows that neither were refused nor became payments: their batch was not accepted.
    pub fn not_accepted(&mut self, orders: &[proto::PaymentOrder]) {
        let refused: Vec<i32> = self.refused.iter().map(|row| row.row).collect();
        let rows = (1..).zip(orders).filter(|(row, _)| refused.binary_search(row).is_err());
        self.payments = rows
            .map(|(row, order)| proto::Payment {
                row,
                reference: order.reference.clone(),
                ..Default::default()
            })
            .collect();
    }
}

fn payment_line(payment: &proto::Payment, line: String) -> [String; COLUMNS.len()] {
    let state = words::payment_state(payment);
    let failure = payment.failure.as_ref();
    [
        payment.row.to_string(),
        line,
        payment.payment_id.clone(),
        payment.payment_hash.clone(),
        payment.reference.clone(),
        if state.is_empty() { "not_accepted".into() } else { state },
        payment.amount_msat.to_string(),
        payment.fee_msat.to_string(),
        payment.preimage.clone(),
        payment.node.clone(),
        payment.attempt_count.to_string(),
        failure.map(words::failure_reason).unwrap_or_default(),
        failure.map(|failure| failure.message.clone()).unwrap_or_default(),
    ]
}

/// Without the reason and the message, which follow for each problem.
fn refused_line(refused: &proto::RefusedRow, line: String) -> [String; COLUMNS.len()] {
    let mut fields = [const { String::new() }; COLUMNS.len()];
    fields[0] = refused.row.to_string();
    fields[1] = line;
    fields[2] = refused.payment_id.clone();
    fields[4] = refused.reference.clone();
    fields[5] = "refused".into();
    fields
}

fn input_line(payment: &proto::Payment) -> [String; INPUT_COLUMNS.len()] {
    let proto::payment::Destination::Bolt11(bolt11) =
        payment.destination.clone().unwrap_or(proto::payment::Destination::Bolt11(String::new()));
    [
        bolt11,
        payment.amount_msat.to_string(),
        payment.fee_limit_msat.to_string(),
        payment.reference.clone(),
        payment.deadline.map(|deadline| wire::time::proto_text(&deadline)).unwrap_or_default(),
    ]
}

async fn payments(
    client: &Client,
    batch_id: &str,
    states: &[proto::payment::State],
) -> Result<Vec<proto::Payment>, Fault> {
    let mut payments = Vec::new();
    let mut request = proto::ListPaymentsRequest {
        page_size: PAGE_SIZE,
        batch_id: batch_id.to_owned(),
        states: states.iter().map(|state| i32::from(*state)).collect(),
        view: proto::View::Full.into(),
        ..Default::default()
    };
    loop {
        let call = async || client.payments().list_payments(request.clone()).await;
        let page = client.read(call).await?;
        payments.extend(page.payments);
        if page.next_page_token.is_empty() {
            return Ok(payments);
        }
        request.page_token = page.next_page_token;
    }
}

async fn refused(client: &Client, batch_id: &str) -> Result<Vec<proto::RefusedRow>, Fault> {
    let mut rows = Vec::new();
    let mut request = proto::ListRefusedRowsRequest {
        page_size: PAGE_SIZE,
        batch_id: batch_id.to_owned(),
        ..Default::default()
    };
    loop {
        let call = async || client.batches().list_refused_rows(request.clone()).await;
        let page = client.read(call).await?;
        rows.extend(page.rows);
        if page.next_page_token.is_empty() {
            return Ok(rows);
        }
        request.page_token = page.next_page_token;
    }
}

/// Writes a results file: whole or not at all, and for its owner alone, because a preimage is a
/// proof of payment.
///
/// # Errors
/// [`Fault::Failed`] with the path.
pub fn write_file(path: &Path, table: &[[String; COLUMNS.len()]]) -> Result<(), Fault> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let scratch = path.with_file_name(name);
    let written = write_new(&scratch, table).and_then(|()| std::fs::rename(&scratch, path));
    written.map_err(|error| {
        // What is half written is worth nothing; that it stays is no second fault.
        let _ = std::fs::remove_file(&scratch);
        Fault::Failed(format!("{}: {error}", path.display()))
    })
}

fn write_new(path: &Path, table: &[[String; COLUMNS.len()]]) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut out = BufWriter::new(file);
    write_csv(&mut out, &COLUMNS, table)?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
}

/// Writes a header and lines as CSV.
///
/// # Errors
/// What the writer says.
pub fn write_csv<const N: usize>(
    out: impl Write,
    columns: &[&str; N],
    table: &[[String; N]],
) -> std::io::Result<()> {
    let mut out = csv::Writer::from_writer(out);
    out.write_record(columns).map_err(std::io::Error::other)?;
    for line in table {
        out.write_record(line).map_err(std::io::Error::other)?;
    }
    out.flush()
}

/// Prints results, or with `as_input` a file that can be submitted again.
///
/// # Errors
/// [`Fault::Failed`] when standard output takes nothing more.
pub fn print(results: &Results, as_input: bool) -> Result<(), Fault> {
    let out = std::io::stdout().lock();
    let written = if as_input {
        write_csv(out, &INPUT_COLUMNS, &results.input())
    } else {
        write_csv(out, &COLUMNS, &results.table(&[]))
    };
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Fault::Failed(error.to_string()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn results() -> Results {
        let failure = proto::Failure {
            reason: proto::failure::Reason::NoRoute.into(),
            message: "no route, or none within the fee limit".into(),
            ..Default::default()
        };
        let payment = |row: i32, state: proto::payment::State| proto::Payment {
            row,
            payment_id: format!("pay_{row}"),
            payment_hash: "ab".into(),
            state: state.into(),
            amount_msat: 5_000,
            attempt_count: 1,
            ..Default::default()
        };
        let succeeded = proto::Payment {
            reference: "a, \"b\"".into(),
            fee_msat: 7,
            preimage: "cd".into(),
            node: "node-0".into(),
            ..payment(1, proto::payment::State::Succeeded)
        };
        let failed =
            proto::Payment { failure: Some(failure), ..payment(4, proto::payment::State::Failed) };
        let refused = |row: i32, reason: proto::refused_row::Reason| proto::RefusedRow {
            row,
            reason: reason.into(),
            message: "what is wrong".into(),
            ..Default::default()
        };
        Results {
            payments: vec![succeeded, failed],
            refused: vec![
                refused(2, proto::refused_row::Reason::BadChecksum),
                refused(3, proto::refused_row::Reason::Expired),
                refused(3, proto::refused_row::Reason::CltvTooLong),
            ],
        }
    }

    #[test]
    fn a_results_file_has_a_line_for_each_row_and_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.csv");
        std::fs::write(&path, "older").unwrap();
        write_file(&path, &results().table(&[2, 3, 5, 6])).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = "\
row,line,payment_id,payment_hash,reference,state,amount_msat,fee_msat,preimage,node,attempts,reason,message
1,2,pay_1,ab,\"a, \"\"b\"\"\",succeeded,5000,7,cd,node-0,1,,
2,3,,,,refused,,,,,,bad_checksum,what is wrong
3,5,,,,refused,,,,,,expired; cltv_too_long,what is wrong; what is wrong
4,6,pay_4,ab,,failed,5000,0,,,1,no_route,\"no route, or none within the fee limit\"
";
        assert_eq!(text, expected);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn rows_of_a_refused_file_that_are_good_were_not_accepted() {
        let mut results = Results { refused: results().refused, ..Results::default() };
        results.not_accepted(&vec![proto::PaymentOrder::default(); 4]);
        let states: Vec<String> =
            results.table(&[]).into_iter().map(|line| line[5].clone()).collect();
        assert_eq!(states, ["not_accepted", "refused", "refused", "not_accepted"]);
    }
}
