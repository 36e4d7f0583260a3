//! Options that would be ignored beside others: each is refused, for whoever wrote it meant it.

use anyhow::{Result, ensure};

use super::{
    Differences,
    running::Running,
    scenario::{EngineSettings, FleetSettings, Scenario, Target},
};

/// Checks the options of a run against its targets and its scenario.
///
/// # Errors
/// Which option has no effect, and what to do instead.
pub(super) fn check(
    differences: &Differences,
    scenario: &Scenario,
    targets: &[Target],
) -> Result<()> {
    let with = |target: Target| targets.contains(&target);
    let engine = targets.iter().any(|target| *target != Target::Bare);
    let only_for = |given: bool, option: &str, right: bool, of: &str| {
        ensure!(!given || right, "{option} is only for {of}: leave it out, or say --target");
        Ok(())
    };
    let Differences { batch_size, connections, threads, new_connections, .. } = differences;
    only_for(batch_size.is_some(), "--batch-size", with(Target::Batches), "the target batches")?;
    only_for(*new_connections, "--new-connections", with(Target::Http), "the target http")?;
    let counted = targets.iter().any(|target| *target != Target::Http);
    let others = "the targets batches, grpc and bare (http has one for each open request)";
    only_for(connections.is_some(), "--connections", counted, others)?;
    let others = "the targets batches, grpc and http (bare has one thread)";
    only_for(threads.is_some(), "--threads", engine, others)?;
    let verify = differences.verify_signatures.is_some();
    let others = "the targets batches, grpc and http (bare has no engine)";
    only_for(verify, "--verify-signatures", engine, others)?;
    running(&differences.running, targets, scenario.load.idle_connections)?;
    ensure!(
        !with(Target::Bare) || scenario.load.idle_connections == 0,
        "load.idle_connections are to an engine, and the target bare has none"
    );
    let Running { engine: runs, engine_pid, .. } = &differences.running;
    ensure!(
        scenario.slo.engine_rss_mib_max.is_none() || runs.is_none() || engine_pid.is_some(),
        "slo.engine_rss_mib_max, with --engine: its memory is read from --engine-pid PID"
    );
    let runs_already = differences.running.is_any();
    ensure!(
        !(verify && differences.running.engine.is_some()),
        "--verify-signatures is for an engine that the run starts: configure the one of --engine"
    );
    if runs_already || differences.running.lnd {
        only_load(scenario, runs_already)?;
    }
    Ok(())
}

/// Addresses, files and processes that nobody asks.
fn running(running: &Running, targets: &[Target], idle_connections: u32) -> Result<()> {
    let with = |target: Target| targets.contains(&target);
    let engine = targets.iter().any(|target| *target != Target::Bare);
    let Running { node, fleet, invoices, fleet_seed, .. } = running;
    ensure!(
        running.engine.is_none() || engine,
        "the target bare pays through nodes and needs nodes of its own (--fleet DIR or --node), \
         not --engine"
    );
    ensure!(
        !engine || running.engine.is_some() || fleet.is_none() && node.is_empty(),
        "--fleet and --node name nodes that run already, and the targets batches, grpc and http \
         need their engine: --engine IP:PORT"
    );
    ensure!(
        running.engine.is_none() || !with(Target::Bare) || fleet.is_some() || !node.is_empty(),
        "--engine, with the target bare: it pays through nodes, --fleet DIR or --node"
    );
    ensure!(
        node.is_empty() || with(Target::Bare),
        "--node is for the target bare: the nodes of an engine are in its own configuration"
    );
    ensure!(
        invoices.is_none() || running.engine.is_some() || !node.is_empty() || fleet.is_some(),
        "--invoices needs those who pay them: --engine IP:PORT, or --node and --target bare; \
         simulated nodes of the run's own know their invoices"
    );
    ensure!(
        fleet_seed.is_none() || running.is_any() && invoices.is_none(),
        "--fleet-seed is for simulated nodes that run already, without --invoices"
    );
    let http = running.engine_http.is_some();
    ensure!(
        running.engine.is_none() || http || !with(Target::Http) && idle_connections == 0,
        "the target http and idle connections need --engine-http IP:PORT beside --engine"
    );
    ensure!(
        !http || with(Target::Http) || idle_connections > 0,
        "--engine-http is only for the target http and for idle connections"
    );
    Ok(())
}

/// Nodes that are not simulated by the run itself get a load and nothing else; an engine that runs
/// already is as it was configured.
fn only_load(scenario: &Scenario, runs_already: bool) -> Result<()> {
    let with = if runs_already { "what runs already" } else { "--lnd" };
    let (engine, fleet) = (EngineSettings::default(), FleetSettings::default());
    let differs = |a: &str, b: &str| a != b;
    ensure!(
        scenario.faults.is_empty() && scenario.engine.history == engine.history,
        "scenario {}, with {with}: faults and history need nodes and an engine that the run starts \
         itself, simulated ones",
        scenario.name
    );
    let same = |scenario: &FleetSettings| toml::to_string(scenario);
    ensure!(
        !differs(&same(&scenario.fleet)?, &same(&fleet)?),
        "scenario {}, with {with}: its [fleet] is for simulated nodes that the run starts itself; \
         write a scenario of your own with its [load] and [slo]",
        scenario.name
    );
    let configured = !scenario.engine.config.is_empty()
        || differs(&scenario.engine.verify_signatures, &engine.verify_signatures);
    ensure!(
        !(runs_already && configured),
        "scenario {}, with {with}: its [engine] is for an engine that the run starts itself; \
         configure yours, and write a scenario of your own with its [load] and [slo]",
        scenario.name
    );
    Ok(())
}
