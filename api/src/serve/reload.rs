//! SIGHUP: the configuration's nodes are read again while the engine runs.
//!
//! All of it or nothing: a file that is wrong, a certificate or a macaroon that cannot be used, a
//! node that may not leave (rule E22) each leave everything as it was, and are logged with their
//! place.

use std::path::PathBuf;

use fulgurite_config::{Config, Node};
use fulgurite_lnd::{OwnKeys, check_files};
use fulgurite_runtime::{Engine, fleet::FleetChange};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::options;

/// SIGHUP, caught from the moment that it is made: it does not end the engine.
pub(super) fn hangup() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Reads the nodes again at each SIGHUP.
pub(super) async fn serve(
    mut hangup: Signal,
    path: Option<PathBuf>,
    mut config: Config,
    (engine, keys): (Engine, OwnKeys),
) {
    while hangup.recv().await.is_some() {
        let Some(path) = &path else {
            warn!("SIGHUP: there is no configuration file to read again");
            continue;
        };
        match reload(path, &config, (&engine, &keys)).await {
            Ok(nodes) => {
                info!(nodes = nodes.len(), "the configuration was read again");
                config.nodes = nodes;
            }
            Err(reason) => error!(
                reason,
                "the configuration was not read again: nothing changed; correct it, then send SIGHUP"
            ),
        }
    }
}

/// Brings the fleet to what the file says, and returns its nodes.
async fn reload(
    path: &std::path::Path,
    config: &Config,
    (engine, keys): (&Engine, &OwnKeys),
) -> Result<Vec<Node>, String> {
    let wanted = Config::load(path).map_err(|fault| fault.to_string())?;
    let others = config.changed_sections(&wanted);
    let next = Config { nodes: wanted.nodes, ..config.clone() };
    for node in &next.nodes {
        let checked = check_files(&options::lnd(node, keys)).await;
        checked.map_err(|reason| format!("node `{}`: {reason}", node.name))?;
    }
    let change = difference(config, &next, keys);
    engine.change_fleet(change).await.map_err(|refused| refused.to_string())?;
    if !others.is_empty() {
        let reason = others.join(", ");
        warn!(reason, "only nodes are read again: a change of these sections needs a restart");
    }
    Ok(next.nodes)
}

/// What `next` changes of the nodes.
fn difference(config: &Config, next: &Config, keys: &OwnKeys) -> FleetChange {
    let mut change = FleetChange::default();
    for node in &next.nodes {
        match config.nodes.iter().find(|known| known.name == node.name) {
            None => change.join.push(options::node(next, node, keys)),
            Some(known) if known != node => change.renew.push(options::node(next, node, keys)),
            Some(_) => {}
        }
    }
    let leaves = |node: &&Node| next.nodes.iter().all(|other| other.name != node.name);
    change.part =
        config.nodes.iter().filter(leaves).map(|node| node.name.as_str().into()).collect();
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(nodes: &[(&str, &str)]) -> Config {
        let node = |&(name, address): &(&str, &str)| Node {
            name: name.to_owned(),
            address: address.to_owned(),
            ..Node::default()
        };
        Config { nodes: nodes.iter().map(node).collect(), ..Config::default() }
    }

    #[test]
    fn nodes_join_change_and_leave_by_their_names() {
        let before = config(&[("a", "x:1"), ("b", "x:2"), ("c", "x:3")]);
        let after = config(&[("c", "x:3"), ("b", "x:9"), ("d", "x:4")]);
        let keys = OwnKeys::new(fulgurite_core::guard::KeyId::new(1, 1, 1));
        let change = difference(&before, &after, &keys);
        let names = |nodes: &[fulgurite_runtime::NodeOptions]| -> Vec<String> {
            nodes.iter().map(|node| node.name.to_string()).collect()
        };
        assert_eq!(names(&change.join), ["d"]);
        assert_eq!(names(&change.renew), ["b"]);
        assert_eq!(change.part.iter().map(|name| &**name).collect::<Vec<_>>(), ["a"]);
        let same = difference(&before, &before, &keys);
        assert!(same.join.is_empty() && same.renew.is_empty() && same.part.is_empty());
    }
}
