//! The door: which methods there are, and which macaroon opens them.
//!
//! lnd checks the macaroon when the HEADERS frame arrives and reads the message afterwards; so
//! does [`Guard::check`]: whoever passed may keep the message back for as long as its deadline.

use std::collections::BTreeMap;

use crate::macaroon::{Macaroon, Permission};
use crate::refusal::Refusal;

/// A method of lnd's API that the simulation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    SendPaymentV2,
    TrackPaymentV2,
    GetInfo,
    ListChannels,
    PendingChannels,
    ClosedChannels,
    SubscribeChannelEvents,
    DecodePayReq,
    AddInvoice,
    LookupInvoice,
    ListPayments,
    BakeMacaroon,
    ListMacaroonIds,
    DeleteMacaroonId,
    AddHoldInvoice,
    SettleInvoice,
    CancelInvoice,
    LookupInvoiceV2,
    SubscribeState,
    GetState,
}

/// Entity and action; `None`: open to everybody.
type Needs = Option<(&'static str, &'static str)>;

/// Path, method and the permission it needs.
type Row = (&'static str, Method, Needs);

const OFFCHAIN_WRITE: Needs = Some(("offchain", "write"));
const OFFCHAIN_READ: Needs = Some(("offchain", "read"));
const INFO_READ: Needs = Some(("info", "read"));
const INVOICES_WRITE: Needs = Some(("invoices", "write"));
const INVOICES_READ: Needs = Some(("invoices", "read"));
const MACAROON_GENERATE: Needs = Some(("macaroon", "generate"));
const MACAROON_READ: Needs = Some(("macaroon", "read"));
const MACAROON_WRITE: Needs = Some(("macaroon", "write"));

#[rustfmt::skip] // A table: one line is one method.
const METHODS: &[Row] = &[
    ("/routerrpc.Router/SendPaymentV2",         Method::SendPaymentV2,           OFFCHAIN_WRITE),
    ("/routerrpc.Router/TrackPaymentV2",        Method::TrackPaymentV2,          OFFCHAIN_READ),
    ("/lnrpc.Lightning/GetInfo",                Method::GetInfo,                 INFO_READ),
    ("/lnrpc.Lightning/ListChannels",           Method::ListChannels,            OFFCHAIN_READ),
    ("/lnrpc.Lightning/PendingChannels",        Method::PendingChannels,         OFFCHAIN_READ),
    ("/lnrpc.Lightning/ClosedChannels",         Method::ClosedChannels,          OFFCHAIN_READ),
    ("/lnrpc.Lightning/SubscribeChannelEvents", Method::SubscribeChannelEvents,  OFFCHAIN_READ),
    ("/lnrpc.Lightning/DecodePayReq",           Method::DecodePayReq,            OFFCHAIN_READ),
    ("/lnrpc.Lightning/AddInvoice",             Method::AddInvoice,              INVOICES_WRITE),
    ("/lnrpc.Lightning/LookupInvoice",          Method::LookupInvoice,           INVOICES_READ),
    ("/lnrpc.Lightning/ListPayments",           Method::ListPayments,            OFFCHAIN_READ),
    ("/lnrpc.Lightning/BakeMacaroon",           Method::BakeMacaroon,            MACAROON_GENERATE),
    ("/lnrpc.Lightning/ListMacaroonIDs",        Method::ListMacaroonIds,         MACAROON_READ),
    ("/lnrpc.Lightning/DeleteMacaroonID",       Method::DeleteMacaroonId,        MACAROON_WRITE),
    ("/invoicesrpc.Invoices/AddHoldInvoice",    Method::AddHoldInvoice,          INVOICES_WRITE),
    ("/invoicesrpc.Invoices/SettleInvoice",     Method::SettleInvoice,           INVOICES_WRITE),
    ("/invoicesrpc.Invoices/CancelInvoice",     Method::CancelInvoice,           INVOICES_WRITE),
    ("/invoicesrpc.Invoices/LookupInvoiceV2",   Method::LookupInvoiceV2,         INVOICES_WRITE),
    ("/lnrpc.State/SubscribeState",             Method::SubscribeState,          None),
    ("/lnrpc.State/GetState",                   Method::GetState,                None),
];

/// How many checked macaroons are remembered: one caveated macaroon serves seconds of sends.
const REMEMBERED: usize = 16;

impl Method {
    /// The method at `path`, `None` if the simulation does not have it.
    pub fn at(path: &str) -> Option<Method> {
        METHODS.iter().find(|(known, ..)| *known == path).map(|(_, method, _)| *method)
    }

    fn row(self) -> &'static Row {
        &METHODS[self as usize]
    }
}

/// What lnd's admin.macaroon allows.
pub(crate) fn admin_permissions() -> Vec<Permission> {
    let entities = ["address", "info", "invoices", "message", "offchain", "onchain", "peers"];
    let mut all: Vec<Permission> = entities
        .iter()
        .flat_map(|entity| ["read", "write"].map(|action| Permission::new(entity, action)))
        .collect();
    all.extend(["generate", "read", "write"].map(|action| Permission::new("macaroon", action)));
    all.extend(["generate", "read"].map(|action| Permission::new("signer", action)));
    all
}

/// The root keys of a node, and the macaroons that it has seen.
#[derive(Default)]
pub(crate) struct Guard {
    root_keys: BTreeMap<u64, [u8; 32]>,
    /// The most recently used first.
    remembered: Vec<Checked>,
}

/// A macaroon whose signature was found good.
struct Checked {
    header: Box<[u8]>,
    /// One bit for each method it opens.
    methods: u64,
    /// Ends in nanoseconds since 1970, with the caveat's text.
    ends: Vec<(i64, String)>,
    /// A caveat that is never satisfied.
    refused: Option<Refusal>,
}

impl Guard {
    /// The key with this id.
    pub fn root_key(&self, id: u64) -> Option<&[u8; 32]> {
        self.root_keys.get(&id)
    }

    /// All ids, ascending.
    pub fn root_key_ids(&self) -> impl Iterator<Item = u64> {
        self.root_keys.keys().copied()
    }

    /// Takes a root key; one with the same id is replaced.
    pub fn add_root_key(&mut self, id: u64, key: [u8; 32]) {
        self.remembered.clear();
        self.root_keys.insert(id, key);
    }

    /// Deletes a root key with all macaroons made with it. `false` if there is none.
    pub fn delete_root_key(&mut self, id: u64) -> bool {
        self.remembered.clear();
        self.root_keys.remove(&id).is_some()
    }

    /// Lets a call of `method` with this macaroon header pass at `now_ns` by the node's clock.
    ///
    /// # Errors
    /// lnd's refusal, code `Unknown`.
    pub fn check(
        &mut self,
        method: Method,
        header: Option<&[u8]>,
        now_ns: i64,
    ) -> Result<(), Refusal> {
        if method.row().2.is_none() {
            return Ok(());
        }
        let header = header.ok_or_else(|| Refusal::unknown("expected 1 macaroon, got 0"))?;
        let known = self.remembered.iter().position(|checked| *checked.header == *header);
        let place = match known {
            Some(place) => place,
            None => {
                let checked = self.verify(header)?;
                self.remembered.truncate(REMEMBERED - 1);
                self.remembered.insert(0, checked);
                0
            }
        };
        if place > 0 {
            self.remembered.swap(0, place);
        }
        self.remembered[0].allows(method, now_ns)
    }

    fn verify(&self, header: &[u8]) -> Result<Checked, Refusal> {
        let binary = hex::decode(header)
            .map_err(|error| Refusal::unknown(format!("encoding/hex: {error}")))?;
        let macaroon = Macaroon::read(&binary)
            .ok_or_else(|| Refusal::unknown("unmarshal v2: cannot parse macaroon"))?;
        let id = &macaroon.root_key_id;
        let key = id.parse().ok().and_then(|id| self.root_keys.get(&id)).ok_or_else(|| {
            Refusal::unknown(format!(
                "cannot retrieve macaroon: cannot get macaroon: root key with id {id} doesn't exist"
            ))
        })?;
        if !macaroon.is_made_with(key) {
            return Err(Refusal::unknown(
                "verification failed: signature mismatch after caveat verification",
            ));
        }
        let mut checked =
            Checked { header: header.into(), methods: 0, ends: Vec::new(), refused: None };
        for (path, method, needed) in METHODS {
            let opens = |permission: &Permission| {
                let (entity, action) = (permission.entity.as_str(), permission.action.as_str());
                (entity, action) == ("uri", path) || *needed == Some((entity, action))
            };
            if macaroon.permissions.iter().any(opens) {
                checked.methods |= 1 << *method as u32;
            }
        }
        for caveat in macaroon.caveats() {
            checked.add_caveat(&caveat);
        }
        Ok(checked)
    }
}

impl Checked {
    fn add_caveat(&mut self, caveat: &str) {
        let refusal = match caveat.split_once(' ') {
            Some(("time-before", time)) => match time.parse::<jiff::Timestamp>() {
                Ok(time) => {
                    let ns = i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
                    self.ends.push((ns, caveat.to_owned()));
                    return;
                }
                Err(error) => error.to_string(),
            },
            Some(("ipaddr", "127.0.0.1" | "::1")) => return,
            Some(("ipaddr", _)) => "macaroon locked to different IP address".into(),
            _ => "caveat not recognized".into(),
        };
        let text = format!("caveat {caveat:?} not satisfied: {refusal}");
        self.refused.get_or_insert_with(|| Refusal::unknown(text));
    }

    fn allows(&self, method: Method, now_ns: i64) -> Result<(), Refusal> {
        if self.methods & 1 << method as u32 == 0 {
            return Err(Refusal::unknown("permission denied"));
        }
        if let Some(refusal) = &self.refused {
            return Err(refusal.clone());
        }
        match self.ends.iter().find(|(end_ns, _)| now_ns >= *end_ns) {
            None => Ok(()),
            Some((_, caveat)) => Err(Refusal::unknown(format!(
                "caveat {caveat:?} not satisfied: macaroon has expired"
            ))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::macaroon::{add_caveat, bake};

    const NOON: &str = "2026-06-01T12:00:00Z";

    fn noon_ns() -> i64 {
        i64::try_from(NOON.parse::<jiff::Timestamp>().unwrap().as_nanosecond()).unwrap()
    }

    fn guard() -> Guard {
        let mut guard = Guard::default();
        guard.add_root_key(0, [1; 32]);
        guard.add_root_key(7, [2; 32]);
        guard
    }

    fn header(key: u8, id: &str, permissions: &[Permission], caveats: &[&str]) -> Vec<u8> {
        let mut binary = bake(&[key; 32], id, &[0; 16], permissions);
        for caveat in caveats {
            binary = add_caveat(&binary, caveat).unwrap();
        }
        hex::encode(binary).into_bytes()
    }

    #[test]
    fn every_method_stands_at_its_own_place_in_the_table() {
        for (place, (path, method, _)) in METHODS.iter().enumerate() {
            assert_eq!((*method as usize, Method::at(path)), (place, Some(*method)));
        }
        assert_eq!(Method::at("/lnrpc.Lightning/StopDaemon"), None);
    }

    #[test]
    #[rustfmt::skip] // A table: one line is one macaroon and what lnd says to it.
    fn macaroons_are_checked_as_lnd_does() {
        let admin = admin_permissions();
        let send = [Permission::new("uri", "/routerrpc.Router/SendPaymentV2")];
        let before = format!("time-before {NOON}");
        let later = "time-before 2027-01-01T00:00:00.5Z";
        let no_key = "cannot retrieve macaroon: cannot get macaroon: \
                      root key with id 9 doesn't exist";
        let forged = "verification failed: signature mismatch after caveat verification";
        let expired = format!("caveat \"{before}\" not satisfied: macaroon has expired");
        let expired = expired.as_str();
        let lucky = "caveat \"lucky\" not satisfied: caveat not recognized";
        for (header, method, ns, expected) in [
            (header(1, "0", &admin, &[]),              Method::GetInfo,       0, ""),
            (header(2, "7", &admin, &[]),              Method::GetInfo,       0, ""),
            (header(1, "0", &send, &[]),               Method::SendPaymentV2, 0, ""),
            (header(1, "0", &send, &[]),               Method::GetInfo,       0, "permission denied"),
            (header(1, "9", &admin, &[]),              Method::GetInfo,       0, no_key),
            (header(2, "0", &admin, &[]),              Method::GetInfo,       0, forged),
            (header(1, "0", &admin, &[&before]),       Method::GetInfo,      -1, ""),
            (header(1, "0", &admin, &[later, &before]), Method::GetInfo,      0, expired),
            (header(1, "0", &admin, &["ipaddr 127.0.0.1"]), Method::GetInfo,  0, ""),
            (header(1, "0", &admin, &["lucky"]),       Method::GetInfo,       0, lucky),
            (b"zz".to_vec(),                           Method::GetState,      0, ""),
        ] {
            let mut guard = guard();
            for _ in 0..2 {
                let text = match guard.check(method, Some(&header), noon_ns() + ns) {
                    Ok(()) => String::new(),
                    Err(refusal) => refusal.message.to_string(),
                };
                assert_eq!(text, expected);
            }
        }
    }

    #[test]
    fn deleting_a_root_key_ends_its_macaroons_at_once() {
        let mut guard = guard();
        let header = header(2, "7", &admin_permissions(), &[]);
        assert!(guard.check(Method::GetInfo, Some(&header), 0).is_ok());
        assert!(guard.delete_root_key(7) && !guard.delete_root_key(7));
        assert!(guard.check(Method::GetInfo, Some(&header), 0).is_err());
        assert!(guard.check(Method::GetInfo, None, 0).is_err());
    }
}
