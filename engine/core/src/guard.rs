//! The clone guard (rule E18): ids of the root keys that engines bake their macaroons with. lnd
//! lists them and deletes them, and refuses whoever comes with a deleted one.

use crate::{id::NodeName, port::Lsn, time::UnixMs};

/// What a journal keeps of a node that refused its engine. A copy must not win by being restarted:
/// each start would raise its epoch, until its key is the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAlone {
    /// The event's number, by which a person overrides this refusal and no later one.
    pub lsn: Lsn,
    /// Which node.
    pub node: NodeName,
    /// When.
    pub time: UnixMs,
}

/// The id of a root key: which installation, which epoch, and what tells two engines of one epoch
/// apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId {
    /// Whose journal, below 2^31.
    pub installation: u32,
    /// The engine's epoch, below 2^21.
    pub epoch: u32,
    /// Random, below 2^12.
    pub random: u32,
}

const EPOCH_BITS: u32 = 21;
const RANDOM_BITS: u32 = 12;

impl KeyId {
    /// The id with these parts; what is too large for its place stops at the end of its range, or
    /// is cut off where it is random.
    pub fn new(installation: u32, epoch: u32, random: u32) -> KeyId {
        KeyId {
            installation: installation & 0x7fff_ffff,
            epoch: epoch.min((1 << EPOCH_BITS) - 1),
            random: random & ((1 << RANDOM_BITS) - 1),
        }
    }

    /// The number that lnd knows it by.
    pub fn number(self) -> u64 {
        let high = u64::from(self.installation) << EPOCH_BITS | u64::from(self.epoch);
        high << RANDOM_BITS | u64::from(self.random)
    }

    /// The parts of a number; those of other people's keys mean nothing.
    pub fn of(number: u64) -> KeyId {
        let part = |shift: u32, bits: u32| ((number >> shift) & ((1 << bits) - 1)) as u32;
        KeyId {
            installation: part(EPOCH_BITS + RANDOM_BITS, 31),
            epoch: part(RANDOM_BITS, EPOCH_BITS),
            random: part(0, RANDOM_BITS),
        }
    }

    /// What the keys that a node lists mean for the engine that has just baked this one.
    pub fn among(self, listed: &[u64]) -> Listed {
        let others = listed.iter().filter(|number| **number != self.number());
        let ours = others.filter(|number| KeyId::of(**number).installation == self.installation);
        let (newer, older): (Vec<u64>, Vec<u64>) =
            ours.partition(|number| KeyId::of(**number).epoch >= self.epoch);
        match newer.into_iter().max() {
            Some(newest) => Listed::NotAlone(KeyId::of(newest)),
            None => Listed::Alone { older },
        }
    }
}

/// What a node's list of root keys means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// No engine of this installation is as new. The keys of older ones are to be deleted.
    Alone {
        /// Their numbers.
        older: Vec<u64>,
    },
    /// An engine with a copy of this journal started in the same epoch, or later.
    NotAlone(KeyId),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(epoch: u32, random: u32) -> u64 {
        KeyId::new(7, epoch, random).number()
    }

    #[test]
    fn a_key_is_its_number() {
        for id in [
            KeyId::new(1, 1, 0),
            KeyId::new(0x7fff_ffff, 0x1f_ffff, 0xfff),
            KeyId::new(0x1234_5678, 99, 0x123),
        ] {
            assert_eq!(KeyId::of(id.number()), id);
        }
        assert_eq!(KeyId::new(u32::MAX, u32::MAX, u32::MAX).number(), u64::MAX);
    }

    #[test]
    fn older_keys_of_the_installation_are_deleted_and_no_others() {
        let stranger = KeyId::new(8, 9, 1).number();
        let listed = [0, 5, stranger, key(1, 9), key(2, 1), key(3, 4)];
        let alone = KeyId::new(7, 3, 4).among(&listed);
        assert_eq!(alone, Listed::Alone { older: vec![key(1, 9), key(2, 1)] });
        assert_eq!(KeyId::new(7, 3, 4).among(&[]), Listed::Alone { older: vec![] });
    }

    #[test]
    fn of_two_engines_of_one_epoch_the_second_to_look_stops_and_so_does_an_older_one() {
        let (one, two) = (KeyId::new(7, 3, 1), KeyId::new(7, 3, 2));
        let both = [one.number(), two.number()];
        assert_eq!(one.among(&both), Listed::NotAlone(two));
        assert_eq!(two.among(&both), Listed::NotAlone(one));
        assert_eq!(one.among(&[one.number()]), Listed::Alone { older: vec![] });
        assert_eq!(one.among(&[key(4, 0), one.number()]), Listed::NotAlone(KeyId::new(7, 4, 0)));
    }
}
