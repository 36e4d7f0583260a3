//! Waiting for something to become true.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const INTERVAL: Duration = Duration::from_millis(100);

/// Looks until there is an answer, at most `limit` long. An error counts as "not yet"; the last one
/// is in the error that is returned when the time is over.
///
/// # Errors
///
/// If the time is over; `what` says what was waited for.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let seen = look().await;
        if let Ok(Some(answer)) = seen {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            match seen {
                Err(error) => bail!("waited {limit:?} for {what}: {error:#}"),
                Ok(_) => bail!("waited {limit:?} for {what}"),
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
