//! The network between the engine and its node fails under a batch: on real lnd and on the
//! simulated one alike.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    engine::Engine,
    proxy::{Fate, Proxy},
    scenarios::{all_paid, finish, wait_settled},
    world::{Receiver, World},
};

const AMOUNT_MSAT: u64 = 1_000_000;
/// What a satellite adds, in each direction and to each piece.
const DELAY: Duration = Duration::from_millis(300);

/// Connections are closed, delayed, reset and left half open while a batch is paid over them.
/// Every payment is made, once, by the receivers' books.
///
/// # Errors
/// What does not hold.
pub async fn a_batch_outlives_its_network(
    world: &World,
    folder: &Path,
    (near, far): (usize, usize),
) -> Result<()> {
    let (near_peer, far_peer) =
        (world.receiver(Receiver::Near).await?, world.receiver(Receiver::Far).await?);
    let near = near_peer.invoices(near, AMOUNT_MSAT).await?;
    let far = far_peer.invoices(far, AMOUNT_MSAT).await?;
    let payer = world.payer();
    let proxy = Proxy::before(&payer.address).await?;
    let settings = "[batch]\nattempts_max = 20\n";
    let engine = Engine::start(folder, &[proxy.entry(payer)], settings)?;
    let all = [near.as_slice(), far.as_slice()].concat();
    let submit = engine.submit("network", &all)?;
    let faults = [Fate::Closed, Fate::Reset, Fate::Reset, Fate::Silent, Fate::Closed];
    for (number, fate) in (1..).zip(faults) {
        let share = all.len() * number / (faults.len() + 2);
        wait_settled((&near_peer, &near), (&far_peer, &far), share).await?;
        // A slow network from the second fault to the third.
        proxy.delay(if number == 2 { DELAY } else { Duration::ZERO });
        let open = engine.metric("fulgurite_open_payments")?;
        ensure!(open > 0, "nothing was open any more at fault {number}");
        proxy.end(fate);
        proxy.wait_reconnected().await?;
    }
    let (code, rows) = finish(submit).await?;
    all_paid(&rows, (&near_peer, &near), (&far_peer, &far)).await?;
    ensure!(code == Some(0), "exit code {code:?}");
    Ok(())
}
