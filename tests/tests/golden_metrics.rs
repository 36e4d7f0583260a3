//! docs/metrics.md and `/metrics` say the same: names, types, labels, stages. A run with faults on
//! purpose makes every series appear but those of what must not happen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fulgurite_sim::Knobs;
use fulgurite_tests::{
    engine::Engine,
    world::{Receiver, World},
};

/// Has no series before an actor dies.
const ONLY_WHEN_BROKEN: [&str; 1] = ["fulgurite_actor_deaths_total"];

/// A family: its type, and the labels of its series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
}

/// The rows of the tables `name | type | labels | meaning`.
fn documented(page: &str) -> BTreeMap<String, Family> {
    let cells = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `fulgurite_")?.split('|').collect();
        let name = format!("fulgurite_{}", cells[0].trim().trim_end_matches('`'));
        let words = cells[2].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = words.filter(|label| !label.is_empty()).collect();
        Some((name, Family { kind: cells[1].trim().to_owned(), labels }))
    });
    cells.collect()
}

/// The first column of the table of stages.
fn documented_stages(page: &str) -> BTreeSet<String> {
    let table = page.lines().skip_while(|line| !line.starts_with("| stage |")).skip(2);
    let rows = table.take_while(|line| line.starts_with("| `"));
    rows.filter_map(|line| Some(line.split('`').nth(1)?.to_owned())).collect()
}

/// The families of an answer in the Prometheus text format that have a series.
fn exposed(answer: &str) -> BTreeMap<String, Family> {
    let types = answer.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name.to_owned(), kind.to_owned()))
    });
    let types: BTreeMap<String, String> = types.collect();
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in answer.lines().filter(|line| line.starts_with("fulgurite_")) {
        let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let Some((family, kind)) = family_of(name, &types) else { continue };
        let found = families.entry(family).or_default();
        found.kind = kind;
        let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(n, _)| n);
        found.labels.extend(names.filter(|name| *name != "le").map(str::to_owned));
    }
    families
}

/// The family as the page names it: counters and infos by the name of their series.
fn family_of(series: &str, types: &BTreeMap<String, String>) -> Option<(String, String)> {
    let stems = ["", "_total", "_info", "_bucket", "_sum", "_count"];
    let (base, kind) = stems.iter().find_map(|end| {
        let base = series.strip_suffix(end)?;
        Some((base, types.get(base)?))
    })?;
    let name = if kind == "histogram" { base } else { series };
    Some((name.to_owned(), kind.clone()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_metrics_is_what_the_engine_shows() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let knobs = Knobs { latency_ms: 5.0, drop_share: 0.5, fail_share: 0.2, ..Knobs::default() };
    let world = World::simulated(folder.path(), 2, knobs).await?;
    let near = world.receiver(Receiver::Near).await?;
    let invoices = near.invoices(40, 1_000_000).await?;
    let engine = Engine::start(&folder.path().join("e"), &[world.payer()], "")?;
    let submit = engine.submit("metrics", &invoices)?;
    let (code, _) = tokio::task::spawn_blocking(move || submit.wait()).await??;
    ensure!(matches!(code, Some(0 | 1)), "exit code {code:?}");
    // The recorders of the threads are merged every second.
    tokio::task::spawn_blocking(|| std::thread::park_timeout(Duration::from_millis(1_500))).await?;

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = fs::read_to_string(page)?;
    let answer = engine.get("/metrics")?;
    let (documented, exposed) = (documented(&page), exposed(&answer));
    ensure!(documented.len() > 10, "the tables were not found");
    for (name, family) in &exposed {
        let said = documented.get(name).with_context(|| format!("{name} is not on the page"))?;
        ensure!(said == family, "{name}: the page says {said:?}, the engine {family:?}");
    }
    for name in documented.keys().filter(|name| !ONLY_WHEN_BROKEN.contains(&name.as_str())) {
        ensure!(exposed.contains_key(name), "{name} is on the page and was not shown");
    }
    let stages = answer.lines().filter_map(|line| {
        let rest = line.strip_prefix("fulgurite_stage_seconds_count{stage=\"")?;
        Some(rest.split('"').next()?.to_owned())
    });
    let stages: BTreeSet<String> = stages.collect();
    ensure!(stages == documented_stages(&page), "stages: {stages:?}");
    Ok(())
}
