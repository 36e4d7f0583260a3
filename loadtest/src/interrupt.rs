//! Ctrl-C, and the signal that `kill` sends. The first ends what runs, tidily; the second at once.

use std::sync::LazyLock;

use anyhow::Result;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// How many came.
static SEEN: LazyLock<watch::Sender<u32>> = LazyLock::new(|| watch::Sender::new(0));

/// From now on they end nothing by themselves, and none is lost.
///
/// # Errors
/// What the operating system says.
pub fn listen() -> Result<()> {
    let (mut interrupt, mut end) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = interrupt.recv() => {}
                Some(()) = end.recv() => {}
            }
            SEEN.send_modify(|seen| *seen = seen.saturating_add(1));
        }
    });
    Ok(())
}

/// Waits until `count` have come since [`listen`].
pub(crate) async fn came(count: u32) {
    // It never closes: the sender is not dropped.
    let _ = SEEN.subscribe().wait_for(|seen| *seen >= count).await;
}

/// `run`, or `None` when Ctrl-C comes before it has ended: what it owned is dropped.
///
/// # Errors
/// Those of `run`.
pub async fn or_none<T>(run: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    tokio::select! {
        biased;
        () = came(1) => Ok(None),
        done = run => done.map(Some),
    }
}
