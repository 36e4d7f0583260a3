//! What happens to the nodes while the clock runs.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use fulgurite_sim::{Knobs, node_name};

use super::{
    rig::Rig,
    scenario::{Fault, FaultKind, Scenario},
};
use crate::process::Handle;

/// Tells what will happen, and lets it happen at its time.
///
/// # Errors
/// When the nodes are not the run's own.
pub(crate) fn schedule(
    scenario: &Scenario,
    rig: &Rig,
    start: Instant,
) -> Result<Vec<(f64, String)>> {
    let mut told = Vec::new();
    for fault in &scenario.faults {
        let Some(fleet) = &rig.fleet else { anyhow::bail!("faults need nodes of the run's own") };
        let turned = fault.turned(&scenario.fleet.knobs)?;
        let dir = match fault.node {
            Some(node) => fleet.dir().join(node_name(node as usize)),
            None => fleet.dir().to_owned(),
        };
        ensure!(dir.is_dir(), "{} is missing", dir.display());
        let one = One { fault: fault.clone(), process: fleet.process.handle()?, dir, turned };
        told.push((fault.at_s, fault.text()));
        tokio::spawn(one.happen(scenario.fleet.knobs.clone(), start));
    }
    Ok(told)
}

struct One {
    fault: Fault,
    process: Handle,
    dir: PathBuf,
    turned: Knobs,
}

impl One {
    /// Ends with the run, whose nodes end with it: what it leaves undone hurts nobody.
    async fn happen(self, base: Knobs, start: Instant) {
        let lasts = Duration::from_secs_f64(self.fault.for_s);
        let at = start + Duration::from_secs_f64(self.fault.at_s);
        tokio::time::sleep_until(at.into()).await;
        let done = match self.fault.kind {
            FaultKind::Freeze => self.process.freeze(),
            FaultKind::Kill => {
                let restarts = base.restarts + 1;
                let down_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
                Ok(Knobs { restarts, down_ms, ..base.clone() }.store(&self.dir))
                    .and_then(|done| Ok(done?))
            }
            FaultKind::Knobs => self.turned.store(&self.dir).map_err(Into::into),
        };
        self.say(done, "begins");
        // From now: on a busy machine it may have begun late, and must not be shorter for it.
        tokio::time::sleep(lasts).await;
        let done = match self.fault.kind {
            FaultKind::Freeze => self.process.thaw(),
            FaultKind::Kill => Ok(()),
            FaultKind::Knobs => base.store(&self.dir).map_err(Into::into),
        };
        self.say(done, "ends");
    }

    fn say(&self, done: Result<()>, what: &str) {
        match done {
            Ok(()) => eprintln!("{} {what}", self.fault.text()),
            Err(error) => eprintln!("{} did not happen: {error:#}", self.fault.text()),
        }
    }
}

impl Fault {
    /// One line.
    pub fn text(&self) -> String {
        let nodes = self.node.map_or("all nodes".to_owned(), |node| node_name(node as usize));
        let what = match self.kind {
            FaultKind::Freeze => "all nodes frozen".to_owned(),
            FaultKind::Kill => format!("{nodes} killed"),
            FaultKind::Knobs => {
                let knobs: Vec<_> =
                    self.knobs.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{nodes}: {}", knobs.join(", "))
            }
        };
        format!("{what} for {} s", self.for_s)
    }
}
