//! The clone guard (rule E18): a macaroon of this engine's own, under a root key that no older
//! engine with a copy of its journal keeps.

use std::path::PathBuf;

use fulgurite_core::{
    guard::{KeyId, Listed},
    port::{NodeEvent, Whose},
};
use fulgurite_proto::lnrpc::{self, MacaroonPermission};
use http::HeaderValue;

use crate::{
    config::LndConfig,
    grpc::CallFault,
    macaroon::Macaroon,
    session::{Fault, Session, header, read_file},
};

/// It was told to leave no key behind.
pub(crate) const WITHDRAWN: Fault = Fault::NotReady("this engine's macaroon is withdrawn: it ends");
const BAKE_MACAROON: &str = "/lnrpc.Lightning/BakeMacaroon";
const LIST_MACAROON_IDS: &str = "/lnrpc.Lightning/ListMacaroonIDs";
const DELETE_MACAROON_ID: &str = "/lnrpc.Lightning/DeleteMacaroonID";
/// What the baked macaroon allows: all that the adapter calls.
const ALLOWED: [(&str, &str); 3] =
    [("info", "read"), ("offchain", "read"), ("uri", "/routerrpc.Router/SendPaymentV2")];

const NO_GUARD: Fault = Fault::NotReady("the node's guard macaroon was taken out");

/// The clone guard of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// A macaroon (binary) with `macaroon:generate`, `macaroon:read` and `macaroon:write`. As
    /// powerful as an admin's: used for nothing else.
    pub macaroon_path: PathBuf,
    /// The id of this engine's root key.
    pub key: KeyId,
}

/// Bakes this engine's macaroon when it is the only one with its journal. Also returns the keys of
/// the engines before it, to be revoked when the journal is known to be the newest. `had_key` when
/// its key was there before: then a key that is gone does not come back.
pub(crate) async fn bake(
    session: &Session,
    config: &LndConfig,
    guard: &Guard,
    had_key: bool,
    is_withdrawn: impl Fn() -> bool,
) -> Result<(Macaroon, Vec<u64>), Fault> {
    let asked = Asked::of(session, guard).await?;
    asked.older_keys(guard, had_key).await?;
    let permission = |(entity, action): (&str, &str)| MacaroonPermission {
        entity: entity.to_owned(),
        action: action.to_owned(),
    };
    let request = lnrpc::BakeMacaroonRequest {
        permissions: ALLOWED.map(permission).to_vec(),
        root_key_id: guard.key.number(),
    };
    // It was not there to be deleted when the engine was told to end.
    if is_withdrawn() {
        return Err(WITHDRAWN);
    }
    config.key_at.bakes(guard.key.number());
    let baked: lnrpc::BakeMacaroonResponse = asked.ask(BAKE_MACAROON, &request).await?;
    let baked = hex::decode(&baked.macaroon)
        .ok()
        .and_then(|baked| Macaroon::parse(&baked).ok())
        .ok_or(Fault::NotReady("the macaroon that the node baked is none"))?;
    // Again: of two engines that bake at the same time the second to look sees both.
    Ok((baked, asked.older_keys(guard, true).await?))
}

/// Deletes the keys of the engines before this one, or its own: from then on lnd refuses every
/// request that is made with them.
pub(crate) async fn revoke(
    session: &Session,
    config: &LndConfig,
    whose: Whose,
) -> Result<(), Fault> {
    let Some(guard) = &config.guard else {
        let left = whose == Whose::Own && config.key_at.may_be().is_some();
        return if left { Err(NO_GUARD) } else { Ok(()) };
    };
    let keys = match whose {
        Whose::Older(_) => session.older.borrow().clone(),
        Whose::Own => vec![guard.key.number()],
    };
    if keys.is_empty() {
        return Ok(());
    }
    let asked = Asked::of(session, guard).await?;
    for id in keys {
        asked.delete(id).await?;
        let (node, epoch) = (&config.name, KeyId::of(id).epoch);
        tracing::info!(node, epoch, "the macaroons of an engine are revoked");
    }
    match whose {
        Whose::Older(_) => session.older.borrow_mut().clear(),
        Whose::Own => config.key_at.is_deleted(),
    }
    Ok(())
}

/// This engine's key is gone. A newer engine that took over has deleted it, and may have paid and
/// be gone again with its own key: nothing that is left at the node tells that from a key that a
/// person deleted.
pub(crate) fn gone(guard: &Guard) -> NodeEvent {
    let (epoch, reason) = key_gone(guard);
    NodeEvent::Fenced { epoch, reason }
}

fn key_gone(guard: &Guard) -> (u32, String) {
    let reason = format!(
        "the root key {} of this engine's macaroon is gone: an engine with a copy of this journal \
         has taken over, somebody deleted the key, or the node's macaroons were put back",
        guard.key.number()
    );
    (guard.key.epoch, reason)
}

/// lnd has no key for this engine's macaroon any more: no request with it can start.
pub(crate) fn is_key_gone(config: &LndConfig, fault: &CallFault) -> bool {
    let key = config.guard.as_ref().map(|guard| guard.key.number());
    key.is_some_and(|key| crate::meaning::is_root_key_gone(fault, key))
}

struct Asked<'a> {
    session: &'a Session,
    bootstrap: HeaderValue,
}

impl<'a> Asked<'a> {
    async fn of(session: &'a Session, guard: &Guard) -> Result<Asked<'a>, Fault> {
        let path = &guard.macaroon_path;
        let broken = |fault| Fault::Macaroon(path.clone(), fault);
        let bootstrap = header(&Macaroon::parse(&read_file(path).await?).map_err(broken)?);
        Ok(Asked { session, bootstrap })
    }

    async fn ask<M: prost::Message + Default>(
        &self,
        path: &'static str,
        request: &impl prost::Message,
    ) -> Result<M, Fault> {
        let Session { reads, call_timeout, .. } = self.session;
        let answer = reads.unary(path, Some(&self.bootstrap), request, *call_timeout).await;
        answer.map_err(|fault| Fault::Call(path, fault))
    }

    /// The keys of the engines before this one, unless one is listed that is as new as this, or
    /// this one's is missing that must be there.
    async fn older_keys(&self, guard: &Guard, must_be_there: bool) -> Result<Vec<u64>, Fault> {
        let request = lnrpc::ListMacaroonIDsRequest {};
        let listed: lnrpc::ListMacaroonIDsResponse = self.ask(LIST_MACAROON_IDS, &request).await?;
        let own = guard.key.number();
        let other = match guard.key.among(&listed.root_key_ids) {
            Listed::Alone { .. } if must_be_there && !listed.root_key_ids.contains(&own) => {
                let (epoch, reason) = key_gone(guard);
                return Err(Fault::Fenced { epoch, reason });
            }
            Listed::Alone { older } => return Ok(older),
            Listed::NotAlone(other) => other,
        };
        // Ours must not stop the other at its next start: the engine has it deleted once it is
        // durable that this one is refused.
        let reason = format!(
            "an engine with a copy of this journal started in epoch {}, this one in epoch {} \
             (root key {})",
            other.epoch,
            guard.key.epoch,
            other.number()
        );
        Err(Fault::Fenced { epoch: other.epoch, reason })
    }

    async fn delete(&self, root_key_id: u64) -> Result<(), Fault> {
        let request = lnrpc::DeleteMacaroonIdRequest { root_key_id };
        // Whether it was there makes no difference: it is not there now.
        let _: lnrpc::DeleteMacaroonIdResponse = self.ask(DELETE_MACAROON_ID, &request).await?;
        Ok(())
    }
}
