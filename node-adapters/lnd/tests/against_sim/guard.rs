//! The clone guard (rule E18): what is another engine's work, and what is not.

use fulgurite_core::{guard::KeyId, port::Whose};
use fulgurite_lnd::{Guard, KeyAt, MacaroonInterceptor};
use fulgurite_proto::lnrpc::{self, MacaroonPermission, lightning_client::LightningClient};
use tonic::{service::interceptor::InterceptedService, transport::Channel};

use super::*;

/// The key of the engine under test.
fn key() -> KeyId {
    KeyId::new(7, 4, 1)
}

/// That of an engine with a copy of its journal that started later.
fn newer() -> KeyId {
    KeyId::new(7, 5, 9)
}

/// A person with the node's own macaroon.
struct Admin(LightningClient<InterceptedService<Channel, MacaroonInterceptor>>);

impl Admin {
    async fn of(rig: &Rig) -> Admin {
        Admin::at(rig, 0).await
    }

    async fn at(rig: &Rig, node: usize) -> Admin {
        let info = &rig.fleet.nodes()[node];
        let (cert, macaroon) =
            (std::fs::read(&info.tls_cert).unwrap(), std::fs::read(&info.macaroon).unwrap());
        let connected = fulgurite_lnd::connect(&info.address, &cert, &macaroon).await;
        let (channel, interceptor) = connected.unwrap();
        Admin(LightningClient::new(InterceptedService::new(channel, interceptor)))
    }

    /// Bakes a macaroon with these permissions on macaroons; binary.
    async fn bakes(&mut self, root_key: u64, actions: &[&str]) -> Vec<u8> {
        let permission = |action: &&str| MacaroonPermission {
            entity: "macaroon".to_owned(),
            action: (*action).to_owned(),
        };
        let permissions = actions.iter().map(permission).collect();
        let request = lnrpc::BakeMacaroonRequest { permissions, root_key_id: root_key };
        let baked = self.0.bake_macaroon(request).await.unwrap().into_inner().macaroon;
        hex::decode(baked).unwrap()
    }

    async fn deletes(&mut self, root_key_id: u64) {
        let request = lnrpc::DeleteMacaroonIdRequest { root_key_id };
        self.0.delete_macaroon_id(request).await.unwrap();
    }

    async fn keys(&mut self) -> Vec<u64> {
        let request = lnrpc::ListMacaroonIDsRequest {};
        self.0.list_macaroon_i_ds(request).await.unwrap().into_inner().root_key_ids
    }
}

impl Rig {
    /// The adapter again, now with a clone guard that has this macaroon.
    fn guards(&mut self, macaroon: &[u8]) {
        self.opens(0, macaroon, &KeyAt::default());
    }

    /// The same at this node, and adapters before it may have known of the key.
    fn opens(&mut self, node: usize, macaroon: &[u8], key_at: &KeyAt) {
        let info = &self.fleet.nodes()[node];
        let macaroon_path = self._dir.path().join("guard.macaroon");
        std::fs::write(&macaroon_path, macaroon).unwrap();
        let config = LndConfig {
            name: info.name.clone(),
            address: info.address.clone(),
            tls_cert_path: info.tls_cert.clone(),
            macaroon_path: info.macaroon.clone(),
            reconnect_ms_max: 500,
            channels_interval_ms_min: 10,
            guard: Some(Guard { macaroon_path, key: key() }),
            key_at: key_at.clone(),
            ..LndConfig::default()
        };
        let (sender, events) = mpsc::unbounded_channel();
        self.node = LndNode::open(config, move |event| drop(sender.send(event)));
        self.events = events;
    }

    async fn guards_as_admin(&mut self) {
        self.guards(&self.admin_macaroon(0));
        self.connected().await;
    }

    fn admin_macaroon(&self, node: usize) -> Vec<u8> {
        std::fs::read(&self.fleet.nodes()[node].macaroon).unwrap()
    }

    /// The engine ends: what came of deleting its key.
    async fn withdraws(&mut self) -> Result<(), String> {
        self.node.command(Command::Revoke(Whose::Own));
        loop {
            match self.event().await {
                NodeEvent::Revoked(Whose::Own, deleted) => break deleted,
                NodeEvent::Fenced { .. }
                | NodeEvent::Disconnected { .. }
                | NodeEvent::Channels(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// A call with the baked macaroon, as an engine makes one all the time.
    fn calls(&self) {
        self.node.command(Command::ListChannels(ChannelsCall { number: 1, closed: false }));
    }

    /// Waits until the node refuses the engine; with the other engine's epoch.
    async fn fenced(&mut self) -> u32 {
        loop {
            match self.event().await {
                NodeEvent::Fenced { epoch, .. } => break epoch,
                NodeEvent::Disconnected { .. }
                | NodeEvent::Connected(_)
                | NodeEvent::Channels(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn an_engine_is_refused_also_when_its_own_key_cannot_be_deleted() {
    run(Knobs::default(), async |rig| {
        let mut admin = Admin::of(rig).await;
        for key in [key(), newer()] {
            admin.bakes(key.number(), &["read"]).await;
        }
        let no_write = admin.bakes(1, &["generate", "read"]).await;
        rig.guards(&no_write);
        assert_eq!(rig.fenced().await, newer().epoch);
    });
}

#[test]
fn an_engine_whose_key_is_gone_is_refused_whoever_deleted_it() {
    run(Knobs::default(), async |rig| {
        rig.guards_as_admin().await;
        let mut admin = Admin::of(rig).await;
        admin.deletes(key().number()).await;
        rig.calls();
        assert_eq!(rig.fenced().await, key().epoch);
        // Nor does it bake anew when it connects again.
        assert_eq!(rig.fenced().await, key().epoch);
        assert!(!admin.keys().await.contains(&key().number()));
    });
}

#[test]
fn a_key_that_went_while_the_node_was_away_is_not_baked_again() {
    run(Knobs::default(), async |rig| {
        rig.guards_as_admin().await;
        rig.fleet.kill(0).await.unwrap();
        while !matches!(rig.event().await, NodeEvent::Disconnected { .. }) {}
        rig.fleet.start_node(0).await.unwrap();
        let mut admin = Admin::of(rig).await;
        admin.deletes(key().number()).await;
        // As a rule before the engine is back and lists the keys; else its next call is refused.
        rig.calls();
        assert_eq!(rig.fenced().await, key().epoch);
        assert!(!admin.keys().await.contains(&key().number()));
    });
}

#[test]
fn a_node_that_comes_back_with_the_key_is_used_again() {
    run(Knobs::default(), async |rig| {
        rig.guards_as_admin().await;
        rig.fleet.restart(0, Duration::ZERO).await.unwrap();
        // Whoever was refused would panic here.
        rig.connected().await;
        assert!(Admin::of(rig).await.keys().await.contains(&key().number()));
    });
}

#[test]
fn a_send_finds_that_the_key_is_gone() {
    run(Knobs::default(), async |rig| {
        rig.guards_as_admin().await;
        Admin::of(rig).await.deletes(key().number()).await;
        let order = rig.order(0, now().plus_ms(15_000), Duration::from_secs(10));
        rig.node.command(Command::Send(Box::new(order)));
        // Before the send's end: nothing is sent again.
        loop {
            match rig.event().await {
                NodeEvent::Fenced { epoch, .. } => break assert_eq!(epoch, key().epoch),
                NodeEvent::Channels(_) => {}
                other => panic!("{other:?}"),
            }
        }
        let (_, end) = rig.end_of_send().await;
        assert_eq!(end, SendEnd::Refused(Refused::MacaroonExpired));
    });
}

#[test]
fn a_key_that_a_newer_engine_deleted_is_not_baked_again() {
    run(Knobs::default(), async |rig| {
        rig.guards_as_admin().await;
        let mut admin = Admin::of(rig).await;
        admin.bakes(newer().number(), &["read"]).await;
        admin.deletes(key().number()).await;
        rig.calls();
        // First what its call was refused for, then what it lists.
        assert_eq!(rig.fenced().await, key().epoch);
        assert_eq!(rig.fenced().await, newer().epoch);
        assert!(!admin.keys().await.contains(&key().number()));
    });
}

#[test]
fn an_engine_that_withdraws_its_key_takes_nobody_for_another_engine() {
    run(Knobs::default(), async |rig| {
        rig.guards_as_admin().await;
        rig.withdraws().await.unwrap();
        rig.calls();
        loop {
            match rig.event().await {
                NodeEvent::Disconnected { reason } if reason.contains("withdrawn") => break,
                NodeEvent::Fenced { .. } | NodeEvent::Connected(_) => panic!("it ends"),
                _ => {}
            }
        }
        assert!(!Admin::of(rig).await.keys().await.contains(&key().number()));
        assert_eq!(rig.pay(0).await.1, SendEnd::NotHandedOver);
    });
}

#[test]
fn an_engine_that_is_refused_before_it_has_a_key_leaves_none() {
    run(Knobs::default(), async |rig| {
        let mut admin = Admin::of(rig).await;
        admin.bakes(newer().number(), &["read"]).await;
        rig.guards(&rig.admin_macaroon(0));
        assert_eq!(rig.fenced().await, newer().epoch);
        // The node has gone away: nobody looks there for a key that was never baked.
        rig.fleet.kill(0).await.unwrap();
        rig.withdraws().await.unwrap();
    });
}

#[test]
fn a_refused_engines_key_stays_until_it_is_withdrawn_and_goes_without_a_session() {
    run(Knobs::default(), async |rig| {
        rig.guards_as_admin().await;
        Admin::of(rig).await.bakes(newer().number(), &["read"]).await;
        rig.fleet.restart(0, Duration::ZERO).await.unwrap();
        assert_eq!(rig.fenced().await, newer().epoch);
        let mut admin = Admin::of(rig).await;
        assert!(admin.keys().await.contains(&key().number()), "the refusal is not durable yet");
        rig.withdraws().await.unwrap();
        assert!(!admin.keys().await.contains(&key().number()));
    });
}

#[test]
fn a_key_at_a_node_that_cannot_be_reached_is_said_to_be_left_there() {
    run(Knobs::default(), async |rig| {
        rig.guards_as_admin().await;
        rig.fleet.kill(0).await.unwrap();
        while !matches!(rig.event().await, NodeEvent::Disconnected { .. }) {}
        let error = rig.withdraws().await.unwrap_err();
        assert!(error.starts_with(&format!("root key {}: ", key().number())), "{error}");
    });
}

#[test]
fn an_adapter_that_is_opened_anew_bakes_no_key_that_is_gone_but_one_at_another_node() {
    run(Knobs::default(), async |rig| {
        let key_at = KeyAt::default();
        rig.opens(0, &rig.admin_macaroon(0), &key_at);
        rig.connected().await;
        // With the key there it goes on.
        rig.opens(0, &rig.admin_macaroon(0), &key_at);
        rig.connected().await;
        rig.opens(1, &rig.admin_macaroon(1), &key_at);
        rig.connected().await;
        rig.opens(1, &rig.admin_macaroon(1), &key_at);
        rig.connected().await;
        Admin::at(rig, 1).await.deletes(key().number()).await;
        rig.opens(1, &rig.admin_macaroon(1), &key_at);
        assert_eq!(rig.fenced().await, key().epoch);
        assert!(!Admin::at(rig, 1).await.keys().await.contains(&key().number()));
    });
}
