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
    let Some(fleet) = &rig.fleet else {
        ensure!(scenario.faults.is_empty(), "faults need nodes of the run's own");
        return Ok(Vec::new());
    };
    let told = scenario.faults.iter().map(|fault| (fault.at_s, fault.text())).collect();
    for planned in plan(scenario)? {
        let steps = planned.steps.into_iter().map(|(node, begins, ends)| {
            let dir = fleet.dir().join(node_name(node as usize));
            ensure!(dir.is_dir(), "{} is missing", dir.display());
            Ok((dir, begins, ends))
        });
        let steps = steps.collect::<Result<_>>()?;
        let one = One { fault: planned.fault, process: fleet.process.handle()?, steps };
        tokio::spawn(one.happen(start));
    }
    Ok(told)
}

/// A fault, and what it turns.
#[derive(Debug)]
struct Planned {
    fault: Fault,
    /// Each node with its knobs from the beginning on, and from the end on when they change again.
    steps: Vec<(u32, Knobs, Option<Knobs>)>,
}

/// What the faults turn, in the order in which they happen. A node is killed when its number of
/// restarts changes: every file says how often it was killed before.
fn plan(scenario: &Scenario) -> Result<Vec<Planned>> {
    let base = &scenario.fleet.knobs;
    let mut restarts = vec![base.restarts; scenario.fleet.nodes as usize];
    let mut faults = scenario.faults.clone();
    faults.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    let mut planned = Vec::new();
    for fault in faults {
        let turned = fault.turned(base)?;
        let down_ms = u64::try_from(Duration::from_secs_f64(fault.for_s).as_millis())?;
        let nodes = match (fault.kind, fault.node) {
            (FaultKind::Freeze, _) => 0..0,
            (_, Some(node)) => node..node + 1,
            (_, None) => 0..scenario.fleet.nodes,
        };
        let steps = nodes.map(|node| {
            let restarts = &mut restarts[node as usize];
            *restarts += u32::from(fault.kind == FaultKind::Kill);
            let calm = Knobs { restarts: *restarts, ..base.clone() };
            match fault.kind {
                FaultKind::Kill => (node, Knobs { down_ms, ..calm }, None),
                _ => (node, Knobs { restarts: *restarts, ..turned.clone() }, Some(calm)),
            }
        });
        let steps = steps.collect();
        planned.push(Planned { fault, steps });
    }
    Ok(planned)
}

struct One {
    fault: Fault,
    process: Handle,
    steps: Vec<(PathBuf, Knobs, Option<Knobs>)>,
}

impl One {
    /// Ends with the run, whose nodes end with it: what it leaves undone hurts nobody.
    async fn happen(self, start: Instant) {
        let lasts = Duration::from_secs_f64(self.fault.for_s);
        let at = start + Duration::from_secs_f64(self.fault.at_s);
        tokio::time::sleep_until(at.into()).await;
        let is_freeze = self.fault.kind == FaultKind::Freeze;
        let done = if is_freeze { self.process.freeze() } else { self.begin() };
        self.say(done, "begins");
        // From now: on a busy machine it may have begun late, and must not be shorter for it.
        tokio::time::sleep(lasts).await;
        let done = if is_freeze { self.process.thaw() } else { self.end() };
        self.say(done, "ends");
    }

    fn begin(&self) -> Result<()> {
        self.steps.iter().try_for_each(|(dir, begins, _)| Ok(begins.store(dir)?))
    }

    fn end(&self) -> Result<()> {
        let turned = self.steps.iter().filter_map(|(dir, _, ends)| Some((dir, ends.as_ref()?)));
        turned.into_iter().try_for_each(|(dir, ends)| Ok(ends.store(dir)?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kill_restarts_its_node_and_nothing_else_does() {
        let scenario = Scenario::parse(
            "[fleet]\nnodes = 2\n\
             [[fault]]\nat_s = 9\nfor_s = 1\nkind = \"kill\"\nnode = 1\n\
             [[fault]]\nat_s = 1\nfor_s = 1\nkind = \"kill\"\nnode = 1\n\
             [[fault]]\nat_s = 3\nfor_s = 1\nkind = \"knobs\"\nknobs = { latency_ms = 7 }\n\
             [[fault]]\nat_s = 5\nfor_s = 2\nkind = \"freeze\"\n",
        );
        let planned = plan(&scenario.unwrap()).unwrap();
        let told: Vec<_> = planned
            .iter()
            .map(|planned| {
                let steps = planned.steps.iter().map(|(node, begins, ends)| {
                    let ends = ends.as_ref().map(|ends| (ends.restarts, ends.latency_ms));
                    (*node, begins.restarts, begins.latency_ms, ends)
                });
                (planned.fault.at_s, steps.collect::<Vec<_>>())
            })
            .collect();
        let expected = [
            (1.0, vec![(1, 1, 0.0, None)]),
            (3.0, vec![(0, 0, 7.0, Some((0, 0.0))), (1, 1, 7.0, Some((1, 0.0)))]),
            (5.0, vec![]),
            (9.0, vec![(1, 2, 0.0, None)]),
        ];
        assert_eq!(told, expected);
        assert_eq!(planned[0].steps[0].1.down_ms, 1_000);
    }
}
