//! Schema 1: what happens to nodes, and how they stand as rows of snapshots. Frozen: see the module
//! above.

use bincode::{BorrowDecode, Encode};
use fulgurite_core::{
    UnixMs,
    standing::{NodeChange, Quarantine, Standing},
};

use super::{DecodeError, numbers_v1, order_v1::SealedV1};

#[derive(Encode, BorrowDecode)]
pub(super) enum NodeChangeV1<'a> {
    Identified { identity_pubkey: &'a [u8] },
    Quarantined(u8),
    Trusted { identity_pubkey: &'a [u8], by: SealedV1<'a>, checked: SealedV1<'a> },
    Drained { by: SealedV1<'a> },
    Undrained { by: SealedV1<'a> },
    PaidAfterAll(u128),
}

#[derive(Encode, BorrowDecode)]
pub(super) struct StandingV1<'a> {
    identity_pubkey: &'a [u8],
    quarantine: Option<u8>,
    draining: bool,
    contradicted: Vec<u128>,
    replaced: Option<i64>,
}

fn quarantine(number: u8) -> Result<Quarantine, DecodeError> {
    match number {
        1 => Ok(Quarantine::IdentityChanged),
        2 => Ok(Quarantine::PaymentForgotten),
        3 => Ok(Quarantine::Lost),
        _ => Err(DecodeError::UnknownValue("quarantine")),
    }
}

impl<'a> From<&'a NodeChange> for NodeChangeV1<'a> {
    fn from(change: &'a NodeChange) -> NodeChangeV1<'a> {
        match change {
            NodeChange::Identified { identity_pubkey } => {
                NodeChangeV1::Identified { identity_pubkey }
            }
            NodeChange::Quarantined(why) => NodeChangeV1::Quarantined(*why as u8),
            NodeChange::Trusted { identity_pubkey, by, checked } => {
                NodeChangeV1::Trusted { identity_pubkey, by: by.into(), checked: checked.into() }
            }
            NodeChange::Drained { by } => NodeChangeV1::Drained { by: by.into() },
            NodeChange::Undrained { by } => NodeChangeV1::Undrained { by: by.into() },
            NodeChange::PaidAfterAll(payment) => NodeChangeV1::PaidAfterAll(payment.as_u128()),
        }
    }
}

impl TryFrom<NodeChangeV1<'_>> for NodeChange {
    type Error = DecodeError;

    fn try_from(change: NodeChangeV1<'_>) -> Result<NodeChange, DecodeError> {
        Ok(match change {
            NodeChangeV1::Identified { identity_pubkey } => {
                NodeChange::Identified { identity_pubkey: identity_pubkey.into() }
            }
            NodeChangeV1::Quarantined(why) => NodeChange::Quarantined(quarantine(why)?),
            NodeChangeV1::Trusted { identity_pubkey, by, checked } => NodeChange::Trusted {
                identity_pubkey: identity_pubkey.into(),
                by: by.into(),
                checked: checked.into(),
            },
            NodeChangeV1::Drained { by } => NodeChange::Drained { by: by.into() },
            NodeChangeV1::Undrained { by } => NodeChange::Undrained { by: by.into() },
            NodeChangeV1::PaidAfterAll(payment) => {
                NodeChange::PaidAfterAll(numbers_v1::payment(payment)?)
            }
        })
    }
}

impl<'a> From<&'a Standing> for StandingV1<'a> {
    fn from(standing: &'a Standing) -> StandingV1<'a> {
        StandingV1 {
            identity_pubkey: &standing.identity_pubkey,
            quarantine: standing.quarantine.map(|why| why as u8),
            draining: standing.draining,
            contradicted: standing.contradicted.iter().map(|payment| payment.as_u128()).collect(),
            replaced: standing.replaced.map(|time| time.0),
        }
    }
}

impl TryFrom<StandingV1<'_>> for Standing {
    type Error = DecodeError;

    fn try_from(row: StandingV1<'_>) -> Result<Standing, DecodeError> {
        let contradicted = row.contradicted.into_iter().map(numbers_v1::payment);
        Ok(Standing {
            identity_pubkey: row.identity_pubkey.into(),
            quarantine: row.quarantine.map(quarantine).transpose()?,
            draining: row.draining,
            contradicted: contradicted.collect::<Result<_, _>>()?,
            replaced: row.replaced.map(UnixMs),
        })
    }
}
