//! The adapter's `time-before` caveat beside lncli's own, and before a real lnd.

use std::{fs, path::Path, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use fulgurite_core::time::UnixMs;
use fulgurite_lnd::macaroon::Macaroon;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    engine::NodeEntry,
    peer::{Peer, ending, wait_expired},
    regtest::{Network, Node},
};

const HOUR: Duration = Duration::from_secs(3_600);

/// What lncli shows of a macaroon, and its caveats apart from the rest.
async fn shown(node: &Node, file: &Path) -> Result<(Value, Vec<String>)> {
    let file = file.to_str().context("a path in UTF-8")?;
    let mut content = node.lncli(&["printmacaroon", "--macaroon_file", file]).await?;
    let caveats = content["caveats"].take();
    Ok((content, serde_json::from_value::<Option<_>>(caveats)?.unwrap_or_default()))
}

/// The macaroon that lncli makes of the node's own, good for so long.
async fn lnclis(node: &Node, folder: &Path, valid: Duration) -> Result<(Macaroon, PathBuf)> {
    let file = folder.join("lnclis.macaroon");
    let (admin, timeout) = (node.admin_macaroon(), format!("--timeout={}", valid.as_secs()));
    let (admin, to) = (admin.to_str().context("UTF-8")?, file.to_str().context("UTF-8")?);
    node.lncli(&["constrainmacaroon", &timeout, admin, to]).await?;
    Ok((Macaroon::parse(&fs::read(&file)?)?, file))
}

/// The time in a caveat.
fn time(caveat: &str) -> Result<Timestamp> {
    Ok(caveat.strip_prefix("time-before ").context("a time")?.parse()?)
}

/// Of one macaroon and one text, lncli and we make the same bytes; lncli can read a macaroon of
/// ours, and shows what it should. Our texts have milliseconds, lncli's nanoseconds.
///
/// # Errors
/// What does not hold.
pub async fn our_caveat_is_lnclis(network: &Network) -> Result<()> {
    let (node, folder) = (network.alice(), network.scratch("macaroons")?);
    let admin = Macaroon::parse(&fs::read(node.admin_macaroon())?)?;
    let (plain, none) = shown(node, &node.admin_macaroon()).await?;
    ensure!(none.is_empty(), "lnd's own macaroon has caveats: {none:?}");

    let (theirs, file) = lnclis(node, &folder, HOUR).await?;
    let (content, caveats) = shown(node, &file).await?;
    let [caveat] = caveats.as_slice() else { anyhow::bail!("lncli's caveats: {caveats:?}") };
    ensure!(content == plain, "lncli changed more than the caveats");
    let same = admin.with_caveat(caveat.as_bytes());
    ensure!(same.to_bytes() == theirs.to_bytes(), "not lncli's bytes for {caveat:?}");

    let end = time(caveat)?;
    let ours = admin.expiring_at(UnixMs(end.as_millisecond()));
    let file = folder.join("ours.macaroon");
    fs::write(&file, ours.to_bytes())?;
    let (content, caveats) = shown(node, &file).await?;
    ensure!(content == plain, "lncli reads something else of ours: {content}");
    let [our_caveat] = caveats.as_slice() else { anyhow::bail!("our caveats: {caveats:?}") };
    ensure!(time(our_caveat)?.as_millisecond() == end.as_millisecond(), "{our_caveat}");
    println!("lncli's caveat {caveat:?}, ours as lncli shows it {our_caveat:?}");

    // On top of lncli's caveat, and with the one that lncli itself adds to what it sends.
    let twice = theirs.expiring_at(UnixMs(end.as_millisecond()));
    fs::write(&file, twice.to_bytes())?;
    ensure!(shown(node, &file).await?.1.len() == 2, "a caveat was lost");
    let with = format!("--macaroonpath={}", file.display());
    let info = node.lncli(&[&with, "getinfo"]).await?;
    ensure!(info["identity_pubkey"] == node.public_key(), "lncli with our macaroon: {info}");
    Ok(())
}

/// lnd takes a macaroon of ours before its time and refuses it afterwards, in the words that it
/// has for lncli's.
///
/// # Errors
/// What does not hold.
pub async fn lnd_takes_our_caveat_until_its_time(
    network: &Network,
    payer: &NodeEntry,
) -> Result<()> {
    let (node, folder) = (network.alice(), network.scratch("macaroons")?);
    let admin = Macaroon::parse(&fs::read(node.admin_macaroon())?)?;
    let (theirs, file) = lnclis(node, &folder, Duration::from_secs(1)).await?;
    let (_, caveats) = shown(node, &file).await?;
    let their_caveat = caveats.first().context("lncli's caveat")?.clone();
    let end = UnixMs(Timestamp::now().as_millisecond()).plus_ms(1_500);
    let ours = admin.expiring_at(end);

    let peer = Peer::connect_with(payer, &ours.to_bytes()).await?;
    let before = peer.info().await;
    ensure!(before.is_ok(), "before its time: {before:?}");
    wait_expired(payer, &ours).await?;
    let now = Timestamp::now();
    ensure!(now.as_millisecond() >= end.0, "refused before its time, at {now}");
    wait_expired(payer, &theirs).await?;

    let our_end = Timestamp::from_millisecond(end.0)?;
    let our_caveat = format!("time-before {our_end:.3}");
    for (macaroon, caveat) in [(ours, our_caveat), (theirs, their_caveat)] {
        let refusal = Peer::connect_with(payer, &macaroon.to_bytes()).await?.info().await;
        let refusal = ending(&refusal.expect_err("it has expired"));
        let words = format!("Unknown: caveat \"{caveat}\" not satisfied: macaroon has expired");
        ensure!(refusal == words, "{refusal}");
    }
    Ok(())
}
