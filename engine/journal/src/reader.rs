//! Reads the journal back, record by record, and proves each to be the successor of the last.

use fulgurite_core::{Event, Lsn};
use rocksdb::{DBRawIterator, ReadOptions};

use crate::{
    anchor, codec,
    record::{self, Damage, Header, Position},
    store::{Family, Store},
    views::ViewFault,
};

/// The events of one group commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The number of the first event; the others follow without a gap.
    pub first_lsn: Lsn,
    /// The start of the engine that wrote them.
    pub epoch: u32,
    /// The place after them.
    pub end: Position,
    /// The events; at least one.
    pub events: Vec<Event>,
}

impl Group {
    /// The events with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (Lsn, &Event)> {
        (self.first_lsn..).zip(&self.events)
    }
}

/// What is wrong, and from which event on nothing can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal is damaged at event {lsn}: {damage}")]
pub struct Damaged {
    /// The first event that is damaged or missing.
    pub lsn: Lsn,
    /// How.
    pub damage: Damage,
}

/// Reads groups in order. Ends after the first damage.
pub struct Groups<'a> {
    records: DBRawIterator<'a>,
    shard: Option<u32>,
    epoch: u32,
    position: Position,
    /// The records before were not read: take the first one's chain as it is.
    chain_unknown: bool,
    ended: bool,
}

impl<'a> Groups<'a> {
    /// The groups after a trusted position. A record of another shard is damage; `None` takes the
    /// first record's shard.
    pub fn after(store: &'a Store, position: Position, shard: Option<u32>) -> Groups<'a> {
        let mut records = raw_iterator(store);
        records.seek((position.lsn + 1).to_be_bytes());
        let (epoch, chain_unknown, ended) = (0, false, false);
        Groups { records, shard, epoch, position, chain_unknown, ended }
    }

    /// The groups from the first that retention left on.
    pub fn kept(store: &'a Store) -> Result<Groups<'a>, ViewFault> {
        Ok(Groups::after(store, anchor::start(anchor::read(store)?), None))
    }

    /// The groups from the one that holds `lsn` on; the chain is proved from its successor on.
    pub fn holding(store: &'a Store, lsn: Lsn) -> Groups<'a> {
        let mut records = raw_iterator(store);
        records.seek_for_prev(lsn.max(1).to_be_bytes());
        let first = records.key().and_then(number).unwrap_or(1);
        if !records.valid() {
            records.seek_to_first();
        }
        let position = Position { lsn: first - 1, chain: [0; 32] };
        let (shard, epoch, chain_unknown, ended) = (None, 0, first > 1, false);
        Groups { records, shard, epoch, position, chain_unknown, ended }
    }

    /// The place after the last group that was read.
    pub fn position(&self) -> Position {
        self.position
    }

    fn read(&mut self) -> Result<Option<Group>, Damage> {
        let Some((key, bytes)) = self.records.item() else {
            self.records.status()?;
            return Ok(None);
        };
        let (header, payload) = record::read(bytes)?;
        self.check(key, bytes, &header)?;
        let events = codec::decode_events(header.schema, payload, header.count)?;
        let (first_lsn, epoch, end) = (header.first_lsn, header.epoch, header.end());
        self.position = end;
        self.epoch = epoch;
        self.shard = Some(header.shard);
        self.chain_unknown = false;
        self.records.next();
        Ok(Some(Group { first_lsn, epoch, end, events }))
    }

    fn check(&self, key: &[u8], bytes: &[u8], header: &Header) -> Result<(), Damage> {
        if number(key) != Some(header.first_lsn) {
            return Err(Damage::Misplaced);
        }
        if self.shard.is_some_and(|shard| shard != header.shard) {
            return Err(Damage::Shard(header.shard));
        }
        let expected = self.position.lsn + 1;
        if header.first_lsn != expected {
            return Err(Damage::Gap { expected, found: header.first_lsn });
        }
        if header.epoch < self.epoch {
            return Err(Damage::Epoch { before: self.epoch, found: header.epoch });
        }
        if !self.chain_unknown && !record::continues(bytes, header, &self.position.chain) {
            return Err(Damage::Chain);
        }
        Ok(())
    }
}

impl Iterator for Groups<'_> {
    type Item = Result<Group, Damaged>;

    fn next(&mut self) -> Option<Result<Group, Damaged>> {
        if self.ended {
            return None;
        }
        match self.read() {
            Ok(Some(group)) => Some(Ok(group)),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(damage) => {
                self.ended = true;
                Some(Err(Damaged { lsn: self.position.lsn + 1, damage }))
            }
        }
    }
}

/// The key of a record whose first event has this number, and back.
pub fn key(first_lsn: Lsn) -> [u8; 8] {
    first_lsn.to_be_bytes()
}

fn number(key: &[u8]) -> Option<Lsn> {
    key.try_into().ok().map(Lsn::from_be_bytes)
}

fn raw_iterator(store: &Store) -> DBRawIterator<'_> {
    let mut options = ReadOptions::default();
    // A long scan must not push out what the doors read.
    options.fill_cache(false);
    options.set_verify_checksums(true);
    store.db().raw_iterator_cf_opt(store.family(Family::Journal), options)
}
