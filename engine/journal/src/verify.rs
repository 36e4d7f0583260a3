//! Checks a stopped or copied journal from its first record to its last, and its views row by row,
//! without changing it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fulgurite_core::{Event, Lsn};

use crate::{
    anchor::{self, Anchor},
    reader::Groups,
    record::Position,
    snapshot::{self, Take},
    store::{Store, StoreError},
    views::{ViewFault, Views, stored_position},
    watermark::WatermarkFile,
};

mod rows;

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// How many records are whole and in the chain.
    pub records: u64,
    /// The last event that is; 0 for none.
    pub last_lsn: Lsn,
    /// What retention removed; the records behind it were read. `None`: nothing.
    pub removed: Option<Anchor>,
    /// How many starts of an engine there were in these records.
    pub epochs: u32,
    /// The place after the last good record: what to compare with another copy.
    pub position: Position,
}

/// Whether a journal is what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every record is whole and continues the one before, every event decodes, nothing that was
    /// acknowledged is missing, and the views are not ahead.
    Clean,
    /// From this event on nothing can be trusted.
    Damaged {
        /// The first event that is damaged or missing; 0 when not even the database opens.
        lsn: Lsn,
        /// What is wrong.
        reason: String,
    },
    /// Every record that is there is good, but the file that says how far they were acknowledged
    /// is of no use: whether records are gone at the end, the journal itself cannot tell.
    NoWatermark {
        /// The file.
        path: PathBuf,
        /// It is not there; else it holds no whole position.
        missing: bool,
    },
    /// There is no journal in the folder.
    NotAJournal,
}

/// Verifies the journal in a folder. It must not be open in another process, or a copy.
pub fn verify(folder: &Path) -> Report {
    let mut report = Report {
        verdict: Verdict::Clean,
        records: 0,
        last_lsn: 0,
        removed: None,
        epochs: 0,
        position: Position::default(),
    };
    report.verdict = match Store::open_read_only(folder) {
        Err(StoreError::NotAJournal(_)) => Verdict::NotAJournal,
        Err(error) => Verdict::Damaged { lsn: 0, reason: error.to_string() },
        Ok(store) => match check(folder, store, &mut report) {
            Ok(acknowledged) => watermark_verdict(folder, acknowledged, &report),
            Err((lsn, reason)) => Verdict::Damaged { lsn, reason },
        },
    };
    report
}

/// A journal without a good watermark file was acknowledged to nobody knows where, unless it was
/// killed in its very first commit: then the file is there, and empty.
pub(crate) fn watermark_verdict(
    folder: &Path,
    acknowledged: Option<Position>,
    report: &Report,
) -> Verdict {
    let path = Store::watermark_path(folder);
    let length = fs::metadata(&path).ok().map(|file| file.len());
    let is_first = report.removed.is_none() && report.records <= 1 && length == Some(0);
    match acknowledged {
        None if report.records > 0 && !is_first => {
            Verdict::NoWatermark { path, missing: length.is_none() }
        }
        _ => Verdict::Clean,
    }
}

/// Returns how far the journal was acknowledged, as far as that is known.
fn check(
    folder: &Path,
    store: Store,
    report: &mut Report,
) -> Result<Option<Position>, (Lsn, String)> {
    let acknowledged = WatermarkFile::read(&Store::watermark_path(folder));
    let unreadable = |fault: ViewFault| (1, format!("what retention wrote down: {fault}"));
    report.removed = anchor::read(&store).map_err(unreadable)?;
    report.position = anchor::start(report.removed);
    report.last_lsn = report.position.lsn;
    if let Some(known) = acknowledged.filter(|_| report.removed.is_some()) {
        let removed = report.position;
        if known.lsn < removed.lsn || (known.lsn == removed.lsn && known != removed) {
            let what =
                format!("the watermark file is of event {}, before what was removed", known.lsn);
            return Err((removed.lsn, what));
        }
    }
    let mut groups = Groups::after(&store, report.position, None);
    for group in &mut groups {
        let group = group.map_err(|damaged| (damaged.lsn, damaged.damage.to_string()))?;
        report.records += 1;
        report.last_lsn = group.end.lsn;
        report.position = group.end;
        let starts =
            group.events.iter().filter(|event| matches!(event, Event::EngineStarted { .. }));
        report.epochs += u32::try_from(starts.count()).unwrap_or(u32::MAX);
        if acknowledged.is_some_and(|known| known.lsn == group.end.lsn && known != group.end) {
            return Err((group.first_lsn, "it is not the record that was acknowledged".to_owned()));
        }
    }
    drop(groups);
    let missing = report.last_lsn + 1;
    if let Some(known) = acknowledged.filter(|known| known.lsn > report.last_lsn) {
        return Err((missing, format!("missing, but event {} was acknowledged", known.lsn)));
    }
    let removed = anchor::start(report.removed).lsn;
    check_views(store, removed, report.last_lsn).map_err(|reason| (missing, reason))?;
    Ok(acknowledged)
}

/// The views must not be ahead, the newest snapshot must be readable, and the rows agree.
fn check_views(store: Store, removed: Lsn, last: Lsn) -> Result<(), String> {
    let views = Views::stored(store.into());
    let read = || {
        let position = stored_position(&views.store)?;
        Ok::<_, ViewFault>((position, snapshot::load(&views, Take::Newest)?))
    };
    let (position, snapshot) = read().map_err(|fault| format!("a view: {fault}"))?;
    if snapshot.end.lsn < removed {
        return Err(format!(
            "no snapshot stands for the events up to {removed}, which are removed"
        ));
    }
    match position.max(snapshot.end.lsn) {
        ahead if ahead > last => Err(format!("the views contain event {ahead}, the journal not")),
        _ => rows::check(&views).map_err(|broken| format!("a view: {broken}")),
    }
}
