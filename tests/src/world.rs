//! A payer and two receivers, real or simulated: the scenarios run on both.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use fulgurite_sim::{Fleet, FleetConfig, Knobs};

use crate::{
    engine::NodeEntry,
    peer::Peer,
    regtest::{self, Network, until},
};

/// Longer than anything takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a scenario runs.
pub enum World {
    /// lnd on a private chain.
    Real(Box<Network>),
    /// Simulated nodes.
    Simulated(Box<Fleet>),
}

/// Who receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// The payer's peer.
    Near,
    /// Two hops away (one, in the simulation, which has no hops).
    Far,
}

impl World {
    /// The real network, with these channels.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn real(options: &regtest::Options) -> Result<World> {
        Ok(World::Real(Box::new(Network::start(options).await?)))
    }

    /// Three simulated nodes.
    ///
    /// # Errors
    /// When they do not come up.
    pub async fn simulated(folder: &Path, channels: usize, knobs: Knobs) -> Result<World> {
        let dir = folder.join("sim");
        fs::create_dir_all(&dir)?;
        let channel_capacity_sat = 16_000_000;
        let config =
            FleetConfig { channels, channel_capacity_sat, dir, knobs, ..FleetConfig::default() };
        Ok(World::Simulated(Box::new(Fleet::start(config).await?)))
    }

    /// The three nodes: payer, near, far.
    pub fn entries(&self) -> Vec<NodeEntry> {
        match self {
            World::Real(network) => network
                .nodes()
                .iter()
                .map(|node| NodeEntry {
                    name: node.name().to_owned(),
                    address: node.grpc_address(),
                    tls_cert: node.tls_cert(),
                    macaroon: node.admin_macaroon(),
                })
                .collect(),
            World::Simulated(fleet) => fleet
                .nodes()
                .iter()
                .map(|node| NodeEntry {
                    name: node.name.clone(),
                    address: node.address.clone(),
                    tls_cert: node.tls_cert.clone(),
                    macaroon: node.macaroon.clone(),
                })
                .collect(),
        }
    }

    /// The node that the engine pays over.
    pub fn payer(&self) -> NodeEntry {
        self.entries().swap_remove(0)
    }

    /// A connection to a receiver.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn receiver(&self, receiver: Receiver) -> Result<Peer> {
        let at = match receiver {
            Receiver::Near => 1,
            Receiver::Far => 2,
        };
        Peer::connect(&self.entries()[at]).await
    }

    /// Kills the payer and starts it again.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn restart_payer(&self) -> Result<()> {
        match self {
            World::Real(network) => {
                network.alice().kill9();
                network.alice().restart().await?;
                network.wait_usable().await
            }
            World::Simulated(fleet) => {
                fleet.restart(0, Duration::from_millis(300)).await?;
                Ok(())
            }
        }
    }

    /// Copies what the payer has on its disk into `folder`.
    ///
    /// # Errors
    /// When it cannot be copied, or the payer does not come back.
    pub async fn back_up_payer(&self, folder: &Path) -> Result<()> {
        match self {
            World::Real(network) => {
                network.alice().stop().await?;
                copy_folder(network.alice().home(), folder)?;
                network.alice().restart().await?;
                network.wait_usable().await
            }
            World::Simulated(fleet) => {
                fleet.kill(0).await?;
                copy_folder(&fleet.config().node_dir(0), folder)?;
                start_payer(fleet).await
            }
        }
    }

    /// Restores the payer from a backup: what it did since, it has forgotten. Its channels cannot
    /// be used any more.
    ///
    /// # Errors
    /// When it cannot be copied, or the payer does not come back.
    pub async fn restore_payer(&self, folder: &Path) -> Result<()> {
        match self {
            World::Real(network) => {
                network.alice().kill9();
                fs::remove_dir_all(network.alice().home())?;
                copy_folder(folder, network.alice().home())?;
                network.alice().restart().await
            }
            World::Simulated(fleet) => {
                fleet.kill(0).await?;
                fs::remove_dir_all(fleet.config().node_dir(0))?;
                copy_folder(folder, &fleet.config().node_dir(0))?;
                start_payer(fleet).await
            }
        }
    }

    /// Takes the payer's peer away: nothing can be sent.
    ///
    /// # Errors
    /// When the payer does not notice.
    pub async fn peer_away(&self) -> Result<()> {
        match self {
            World::Real(network) => network.bob().kill9(),
            World::Simulated(fleet) => self.turn_peer(fleet, true)?,
        }
        let payer = Peer::connect(&self.payer()).await?;
        until("the payer to miss its peer", PATIENCE, async || {
            Ok(payer.channels().await?.iter().all(|channel| !channel.active).then_some(()))
        })
        .await
    }

    /// Brings the payer's peer back. Its receiver must be connected to anew.
    ///
    /// # Errors
    /// When the channels do not come back.
    pub async fn peer_back(&self) -> Result<()> {
        match self {
            World::Real(network) => {
                network.bob().restart().await?;
                network.wait_usable().await?;
            }
            World::Simulated(fleet) => self.turn_peer(fleet, false)?,
        }
        let payer = Peer::connect(&self.payer()).await?;
        until("the payer to see its peer", PATIENCE, async || {
            Ok(payer.channels().await?.iter().all(|channel| channel.active).then_some(()))
        })
        .await
    }

    /// Closes channels of the payer by force: these in the real world, all of them in the simulated
    /// one. What is in flight there waits for the chain.
    ///
    /// # Errors
    /// When they are not closing.
    pub async fn force_close(&self, channels: &[u64]) -> Result<()> {
        match self {
            World::Real(network) => {
                for channel in channels {
                    network.alice().force_close(*channel).await?;
                }
                network.chain().generate(1).await?;
            }
            World::Simulated(fleet) => {
                let closed_channels = u32::try_from(fleet.config().channels)?;
                let knobs = fleet.config().knobs.clone();
                fleet.turn(Some(0), &Knobs { closed_channels, ..knobs })?;
            }
        }
        let payer = Peer::connect(&self.payer()).await?;
        until("the channels to be closing", PATIENCE, async || {
            let closing = payer.closing_channels().await?;
            Ok((closing >= channels.len()).then_some(()))
        })
        .await
    }

    /// Lets the chain go on: a block in the real world, until all is decided in the simulated one.
    ///
    /// # Errors
    /// When the chain does not.
    pub async fn chain_goes_on(&self) -> Result<()> {
        match self {
            World::Real(network) => network.chain().generate(1).await,
            World::Simulated(fleet) => {
                let closed_channels = u32::try_from(fleet.config().channels)?;
                let (resolved_channels, knobs) = (closed_channels, fleet.config().knobs.clone());
                let knobs = Knobs { closed_channels, resolved_channels, ..knobs };
                Ok(fleet.turn(Some(0), &knobs)?)
            }
        }
    }

    fn turn_peer(&self, fleet: &Fleet, peers_offline: bool) -> Result<()> {
        let knobs = Knobs { peers_offline, ..fleet.config().knobs.clone() };
        Ok(fleet.turn(Some(0), &knobs)?)
    }
}

/// Another program may have taken the port for a moment.
async fn start_payer(fleet: &Fleet) -> Result<()> {
    let start = async || {
        fleet.start_node(0).await?;
        Ok(Some(()))
    };
    until("the payer to start", PATIENCE, start).await
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&from, &to)?;
        } else {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}
