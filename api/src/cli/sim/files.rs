//! What the simulated nodes leave in their folder for a first try: the configuration of an engine
//! that pays over them, and a file of invoices that they can pay.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use fulgurite_sim::{InvoiceOrder, NodeInfo, make_invoices};

use crate::cli::exit::Fault;

/// The first line of a configuration that is written anew at each start.
const MARK: &str = "# Written by `fulgurite sim` at each start. Remove this line to keep changes.";
/// What an invoice asks for: 1,000 to 50,000 sat.
const AMOUNT_MSAT: std::ops::RangeInclusive<u64> = 1_000_000..=50_000_000;
/// How long the invoices are valid: long enough for a day of trying things out.
const EXPIRY: Duration = Duration::from_secs(7 * 86_400);

/// The `[[node]]` tables of nodes; their files are named from `base` on, where they are below it.
pub fn node_tables(nodes: &[NodeInfo], base: &Path) -> String {
    let below = |path: &Path| path.strip_prefix(base).unwrap_or(path).to_owned();
    let table = |node: &NodeInfo| {
        format!(
            "[[node]]\nname = {:?}\naddress = {:?}\ntls_cert_path = {:?}\nmacaroon_path = {:?}\n",
            node.name,
            node.address,
            below(&node.tls_cert),
            below(&node.macaroon)
        )
    };
    nodes.iter().map(table).collect::<Vec<_>>().join("\n")
}

/// Writes the configuration of an engine that pays over `nodes`, unless somebody has made the one
/// that is there their own. Returns where it is.
///
/// # Errors
/// [`Fault::Failed`] with the path.
pub fn write_config(dir: &Path, nodes: &[NodeInfo]) -> Result<PathBuf, Fault> {
    let path = dir.join("fulgurite.toml");
    let theirs = fs::read_to_string(&path).is_ok_and(|text| !text.starts_with(MARK));
    if !theirs {
        let tables = node_tables(nodes, dir);
        let text = format!("{MARK}\n\n[engine]\ndata_dir = \"journal\"\n\n{tables}");
        fs::write(&path, text).map_err(|error| failed(&path, &error))?;
    }
    Ok(path)
}

/// Writes a CSV file of `count` new invoices that the nodes of the fleet with this seed can pay.
/// Returns where it is.
///
/// # Errors
/// [`Fault::Failed`] with the path.
pub fn write_payouts(dir: &Path, seed: u64, count: u32) -> Result<PathBuf, Fault> {
    let path = dir.join("payouts.csv");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let invoices = make_invoices(&InvoiceOrder {
        seed,
        first_index: first_index(now),
        count: count as usize,
        amount_msat: AMOUNT_MSAT,
        expiry: EXPIRY,
        ..InvoiceOrder::default()
    })
    .map_err(|fault| Fault::Failed(fault.to_string()))?;
    let write = || {
        let mut out = BufWriter::new(File::create(&path)?);
        writeln!(out, "destination,reference")?;
        for (number, invoice) in (1..).zip(&invoices) {
            writeln!(out, "{},payout-{number}", invoice.bolt11)?;
        }
        out.flush()
    };
    write().map_err(|error| failed(&path, &error))?;
    Ok(path)
}

/// The number of the first invoice made at `now`. The number decides the hash, so a start in a
/// later second makes others, which nobody has paid yet: 2^31 seconds with room for 2^17 invoices
/// each.
fn first_index(now: Duration) -> u64 {
    (now.as_secs() % (1 << 31)) << 17
}

fn failed(path: &Path, error: &std::io::Error) -> Fault {
    Fault::Failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use fulgurite_config::Config;

    use super::*;
    use crate::cli::input::Input;

    fn node(dir: &Path) -> NodeInfo {
        NodeInfo {
            name: "node-0".into(),
            address: "127.0.0.1:9".into(),
            tls_cert: dir.join("node-0/tls.cert"),
            macaroon: "/elsewhere/admin.macaroon".into(),
            pubkey: String::new(),
        }
    }

    #[test]
    fn the_configuration_is_good_and_stays_whoever_made_it_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = write_config(dir.path(), &[node(dir.path())]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("tls_cert_path = \"node-0/tls.cert\""), "{text}");
        let config = Config::load(&path).unwrap();
        assert_eq!(config.nodes[0].tls_cert_path, dir.path().join("node-0/tls.cert"));
        assert_eq!(config.nodes[0].macaroon_path, Path::new("/elsewhere/admin.macaroon"));

        write_config(dir.path(), &[node(dir.path()), node(dir.path())]).unwrap();
        assert_ne!(fs::read_to_string(&path).unwrap(), text, "not written anew");
        fs::write(&path, "# mine\n").unwrap();
        write_config(dir.path(), &[node(dir.path())]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "# mine\n");
    }

    #[test]
    fn the_payouts_are_orders_and_others_in_the_next_second() {
        let dir = tempfile::tempdir().unwrap();
        let path = write_payouts(dir.path(), 1, 30).unwrap();
        assert_eq!(Input::read(&path, None).unwrap().orders.len(), 30);
        let at = |seconds| first_index(Duration::from_secs(seconds));
        assert!(at(1_800_000_001) - at(1_800_000_000) >= 100_000);
        assert!(at(u64::MAX) + 100_000 < 1 << 48);
    }
}
