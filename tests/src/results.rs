//! The results file that `batch submit` writes.

use anyhow::{Context, Result};

/// One line of a results file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultRow {
    /// The payment's id; empty for a refused row.
    pub payment_id: String,
    /// The payment hash in hex.
    pub payment_hash: String,
    /// Its state.
    pub state: String,
    /// Why it failed or was refused.
    pub reason: String,
    /// The same for a person.
    pub message: String,
    /// What it cost.
    pub fee_msat: u64,
    /// The node of its last attempt; empty without one.
    pub node: String,
}

/// Reads the rows of a results file.
///
/// # Errors
/// When a column is missing.
pub fn read(text: &str) -> Result<Vec<ResultRow>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers()?.clone();
    let column = |name: &str| {
        header.iter().position(|column| column == name).with_context(|| format!("no {name} column"))
    };
    let [id, hash, state] = [column("payment_id")?, column("payment_hash")?, column("state")?];
    let [reason, message, fee] = [column("reason")?, column("message")?, column("fee_msat")?];
    let node = column("node")?;
    let mut rows = Vec::new();
    for row in reader.records() {
        let row = row?;
        let text = |at: usize| row.get(at).unwrap_or_default().to_owned();
        rows.push(ResultRow {
            payment_id: text(id),
            payment_hash: text(hash),
            state: text(state),
            reason: text(reason),
            message: text(message),
            fee_msat: text(fee).parse().unwrap_or(0),
            node: text(node),
        });
    }
    Ok(rows)
}
